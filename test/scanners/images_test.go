package scanners

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// pkg is an installed Debian package.
type pkg struct{ name, source, version string }

// The packages of the base image before and after upstream fixed the hole in openssl, and after it added curl.
var (
	oldBase   = []pkg{{"libssl3", "openssl", "3.0.11-1~deb12u2"}, {"zlib1g", "zlib", "1:1.2.13.dfsg-1"}, {"bash", "bash", "5.2.15-2+b2"}}
	fixedBase = []pkg{{"libssl3", "openssl", "3.0.13-1~deb12u1"}, {"zlib1g", "zlib", "1:1.2.13.dfsg-1"}, {"bash", "bash", "5.2.15-2+b2"}}
	worseBase = append([]pkg{{"libcurl4", "curl", "7.88.1-10+deb12u5"}}, fixedBase...)
)

// fakeRegistry is a registry on loopback.
type fakeRegistry struct{ host string }

func newRegistry(t testing.TB) fakeRegistry {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(discard)))
	t.Cleanup(server.Close)
	return fakeRegistry{host: strings.TrimPrefix(server.URL, "http://")}
}

// push publishes an image under repository:tag and returns its digest.
func (r fakeRegistry) push(t testing.TB, reference string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + reference)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
	digest, err := image.Digest()
	require.NoError(t, err)
	return digest.String()
}

// pushIndex publishes an index of an image for linux/amd64 and one for another platform, and returns the index's digest.
func (r fakeRegistry) pushIndex(t testing.TB, reference string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(r.host + "/" + reference)
	require.NoError(t, err)
	other, err := mutate.ConfigFile(base(t, nil), &v1.ConfigFile{OS: "linux", Architecture: "arm64", Created: v1.Time{Time: created}})
	require.NoError(t, err)
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	require.NoError(t, remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	require.NoError(t, err)
	return digest.String()
}

// base returns an image of Debian 12 with the packages.
func base(t testing.TB, packages []pkg) v1.Image {
	t.Helper()
	var status strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nMaintainer: A <a@example.com>\nArchitecture: amd64\n", p.name)
		if p.source != p.name {
			fmt.Fprintf(&status, "Source: %s\n", p.source)
		}
		fmt.Fprintf(&status, "Version: %s\nDescription: test\n\n", p.version)
	}
	return appendLayer(t, configured(t), 0o644, map[string][]byte{
		"etc/debian_version":  []byte("12.5\n"),
		"etc/os-release":      []byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n"),
		"var/lib/dpkg/status": []byte(status.String()),
	})
}

func configured(t testing.TB) v1.Image {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Created: v1.Time{Time: created}})
	require.NoError(t, err)
	return image
}

var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// on returns an image with the app in a layer of its own, annotated with the base that it was built on.
func on(t testing.TB, base v1.Image, reference string) v1.Image {
	t.Helper()
	digest, err := base.Digest()
	require.NoError(t, err)
	image := appendLayer(t, base, 0o755, map[string][]byte{"usr/bin/app": app(t)})
	annotated, ok := mutate.Annotations(image, map[string]string{
		"org.opencontainers.image.base.name":   reference,
		"org.opencontainers.image.base.digest": digest.String(),
	}).(v1.Image)
	require.True(t, ok)
	return annotated
}

// app returns a Go binary with golang.org/x/text in it.
func app(t testing.TB) []byte {
	t.Helper()
	binary, err := builtApp()
	require.NoError(t, err)
	return binary
}

var builtApp = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, "./app")
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=") // part of the version in the binary
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the app: %w: %s", err, out)
	}
	return os.ReadFile(file)
})

func appendLayer(t testing.TB, image v1.Image, mode int64, files map[string][]byte) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for path, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(content)), ModTime: created, Format: tar.FormatPAX}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	require.NoError(t, err)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "test"}})
	require.NoError(t, err)
	return image
}
