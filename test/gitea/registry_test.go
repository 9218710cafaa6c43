package gitea_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// images is a registry on loopback.
type images struct {
	t    *testing.T
	host string
}

func newRegistry(t *testing.T) *images {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return &images{t, strings.TrimPrefix(server.URL, "http://")}
}

func (r *images) ref(tag string) name.Reference {
	ref, err := name.ParseReference(r.host + "/" + tag)
	require.NoError(r.t, err)
	return ref
}

// push pushes an image with one layer under a tag, and returns its digest.
func (r *images) push(tag, text string) string {
	r.t.Helper()
	return r.write(tag, empty.Image, text)
}

// build pushes an image with the layers of another and one more.
func (r *images) build(tag, base string) {
	r.t.Helper()
	below, err := remote.Image(r.ref(base))
	require.NoError(r.t, err)
	r.write(tag, below, tag)
}

func (r *images) write(tag string, below v1.Image, text string) string {
	r.t.Helper()
	image, err := mutate.AppendLayers(below, static.NewLayer([]byte(text), types.DockerUncompressedLayer))
	require.NoError(r.t, err)
	config, err := image.ConfigFile()
	require.NoError(r.t, err)
	config.OS, config.Architecture = "linux", "amd64"
	image, err = mutate.ConfigFile(image, config)
	require.NoError(r.t, err)
	require.NoError(r.t, remote.Write(r.ref(tag), image))
	digest, err := image.Digest()
	require.NoError(r.t, err)
	return digest.String()
}

// digest returns the digest of a tag.
func (r *images) digest(tag string) string {
	r.t.Helper()
	head, err := remote.Head(r.ref(tag))
	require.NoError(r.t, err)
	return head.Digest.String()
}
