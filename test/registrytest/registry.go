// Package registrytest provides an image registry for tests: that of go-containerregistry, on this machine, with images like
// those that BuildKit pushes.
package registrytest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
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
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/proxytest"
)

// Registry is a registry on loopback. Without a User it needs no credentials.
type Registry struct {
	Host           string
	User, Password string

	t         testing.TB
	transport http.RoundTripper // trusts the certificate

	mu       sync.Mutex
	requests []string
	pushing  int // number of pushes of this package in flight
	fault    func(w http.ResponseWriter, r *http.Request) bool
}

// Content is a pushed image.
type Content struct {
	Ref       string            // with registry and tag
	Digest    string            // of the index
	Platforms map[string]string // platform to the digest of its manifest

	images map[string]v1.Image
}

// New starts an empty registry; it stops with the test.
func New(t testing.TB) *Registry { return start(t, httptest.NewServer, newRegistry()) }

// NewTLS starts a registry with the certificate of package httptest, which names example.com and this machine.
func NewTLS(t testing.TB) *Registry { return start(t, httptest.NewTLSServer, newRegistry()) }

// Before starts a registry that keeps its images in another one, at a host without TLS.
func Before(t testing.TB, host string) *Registry {
	return start(t, httptest.NewServer, proxytest.To(host))
}

// newRegistry returns a registry without images.
func newRegistry() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
}

func start(t testing.TB, listen func(http.Handler) *httptest.Server, inner http.Handler) *Registry {
	r := &Registry{t: t}
	server := listen(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		pushing, fault := r.pushing > 0, r.fault
		if !pushing {
			r.requests = append(r.requests, q.Method+" "+q.URL.Path)
		}
		r.mu.Unlock()
		user, password, _ := q.BasicAuth()
		switch {
		case pushing:
		case fault != nil && fault(w, q):
			return
		case r.User != "" && (user != r.User || password != r.Password):
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.Host, r.transport = server.Listener.Addr().String(), server.Client().Transport
	return r
}

// Break sets a handler that replaces the response of the registry if it returns true; nil removes it.
func (r *Registry) Break(fault func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// Requests returns the requests since the last call as METHOD PATH, without the pushes of this package.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.requests
	r.requests = nil
	return out
}

// Base pushes an image for linux/amd64 and linux/arm64, such as "library/node:22". The same version has the same digest.
func (r *Registry) Base(tag, version string) Content {
	images := map[string]v1.Image{}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		images[platform] = r.image(nil, platform, tag+" "+version+" "+platform)
	}
	return r.push(tag, images, nil)
}

// Configured pushes an image for linux/amd64 and linux/arm64 with a config that builds FROM it inherit.
func (r *Registry) Configured(tag, version string, config v1.Config) Content {
	images := map[string]v1.Image{}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		img, err := mutate.Config(r.image(nil, platform, tag+" "+version+" "+platform), config)
		require.NoError(r.t, err)
		images[platform] = img
	}
	return r.push(tag, images, nil)
}

// Again pushes a tag that keeps the image of c for one platform and has new ones for the others.
func (r *Registry) Again(tag string, c Content, platform, version string) Content {
	images := map[string]v1.Image{}
	for p, img := range c.images {
		if images[p] = img; p != platform {
			images[p] = r.image(nil, p, tag+" "+version+" "+p)
		}
	}
	return r.push(tag, images, nil)
}

// Built describes the build of an image.
type Built struct {
	Version    string    // each version has its own digest
	From       *Content  // image whose layers come first
	Used       []Content // other images that the build used
	Provenance bool      // attach provenance, as BuildKit does by default
}

// Publish pushes the result of a build for linux/amd64, with provenance like BuildKit's.
func (r *Registry) Publish(tag string, b Built) Content {
	const platform = "linux/amd64"
	var from v1.Image
	used := b.Used
	if b.From != nil {
		from, used = b.From.images[platform], append([]Content{*b.From}, used...)
	}
	img := r.image(from, platform, tag+" "+b.Version)
	var attestation v1.Image
	if b.Provenance {
		attestation = r.attestation(img, used)
	}
	return r.push(tag, map[string]v1.Image{platform: img}, attestation)
}

// Windows pushes an index of images for windows/amd64 that differ in os.version only. Its arguments are pairs of a version and
// the text in its image; the same text has the same digest.
func (r *Registry) Windows(tag string, versionsAndTexts ...string) Content {
	c := Content{Ref: r.Host + "/" + tag, Platforms: map[string]string{}}
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for pair := range slices.Chunk(versionsAndTexts, 2) {
		img := r.image(nil, "windows/amd64", pair[1])
		cfg, err := img.ConfigFile()
		require.NoError(r.t, err)
		cfg = cfg.DeepCopy()
		cfg.OSVersion = pair[0]
		img, err = mutate.ConfigFile(img, cfg)
		require.NoError(r.t, err)
		c.Platforms["windows("+pair[0]+")/amd64"] = r.digest(img)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: cfg.Platform()}})
	}
	r.write(&c, idx)
	return c
}

// Dated pushes an image for linux/amd64 with a creation time.
func (r *Registry) Dated(tag string, at time.Time) Content {
	img := r.image(nil, "linux/amd64", tag)
	img, err := mutate.CreatedAt(img, v1.Time{Time: at})
	require.NoError(r.t, err)
	return r.push(tag, map[string]v1.Image{"linux/amd64": img}, nil)
}

// Annotated pushes an image for linux/amd64 with annotations.
func (r *Registry) Annotated(tag string, annotations map[string]string) {
	img, ok := mutate.Annotations(r.image(nil, "linux/amd64", tag), annotations).(v1.Image)
	require.True(r.t, ok)
	ref, err := name.ParseReference(r.Host + "/" + tag)
	require.NoError(r.t, err)
	r.pushes(func() error { return remote.Write(ref, img, remote.WithTransport(r.transport)) })
}

// Artifact pushes an artifact: a manifest whose config has another type than an image config.
func (r *Registry) Artifact(tag, configType string) {
	img := mutate.ConfigMediaType(r.image(nil, "linux/amd64", tag), types.MediaType(configType))
	ref, err := name.ParseReference(r.Host + "/" + tag)
	require.NoError(r.t, err)
	r.pushes(func() error { return remote.Write(ref, img, remote.WithTransport(r.transport)) })
}

// Attach pushes an artifact that refers to the image with a digest in a repository, as Sigstore bundles do.
func (r *Registry) Attach(repository, digest, artifactType string, data []byte, annotations map[string]string) {
	layer := mutate.Addendum{Layer: static.NewLayer(data, types.MediaType(artifactType)), MediaType: types.MediaType(artifactType)}
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(artifactType)), layer)
	require.NoError(r.t, err)
	hash, err := v1.NewHash(digest)
	require.NoError(r.t, err)
	annotated, ok := mutate.Annotations(img, annotations).(v1.Image)
	require.True(r.t, ok)
	artifact, ok := mutate.Subject(annotated, v1.Descriptor{MediaType: types.OCIImageIndex, Digest: hash}).(v1.Image)
	require.True(r.t, ok)
	ref, err := name.NewDigest(r.Host + "/" + repository + "@" + r.digest(artifact))
	require.NoError(r.t, err)
	r.pushes(func() error { return remote.Write(ref, artifact, remote.WithTransport(r.transport)) })
}

// Layer is a layer of an artifact.
type Layer struct {
	Data        []byte
	Annotations map[string]string
}

// Layers pushes an artifact with layers of a type, as cosign pushes signatures and attestations.
func (r *Registry) Layers(tag, mediaType string, layers ...Layer) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer(l.Data, types.MediaType(mediaType)), MediaType: types.MediaType(mediaType), Annotations: l.Annotations,
		})
		require.NoError(r.t, err)
	}
	ref, err := name.ParseReference(r.Host + "/" + tag)
	require.NoError(r.t, err)
	r.pushes(func() error { return remote.Write(ref, img, remote.WithTransport(r.transport)) })
}

func (r *Registry) image(base v1.Image, platform, text string) v1.Image {
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	img, err := mutate.AppendLayers(base, static.NewLayer(archive(text), types.OCIUncompressedLayer))
	require.NoError(r.t, err)
	cfg, err := img.ConfigFile()
	require.NoError(r.t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, _ = strings.Cut(platform, "/")
	cfg.Created = v1.Time{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(r.t, err)
	return img
}

// archive returns a layer with a text in the file /a.
func archive(text string) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	_ = w.WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: int64(len(text))}) // a buffer has no errors
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return out.Bytes()
}

// attestation returns SLSA provenance v1 like BuildKit's, reduced to the images that the build used.
func (r *Registry) attestation(of v1.Image, used []Content) v1.Image {
	type resource struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest"`
	}
	var dependencies []resource
	for _, u := range used {
		ref, err := name.NewTag(u.Ref)
		require.NoError(r.t, err)
		purl := fmt.Sprintf("pkg:docker/%s/%s@%s?digest=%s&platform=linux%%2Famd64",
			strings.ReplaceAll(ref.RegistryStr(), ":", "%3A"), ref.RepositoryStr(), ref.TagStr(), u.Digest)
		dependencies = append(dependencies, resource{purl, map[string]string{"sha256": strings.TrimPrefix(u.Digest, "sha256:")}})
	}
	data, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v1",
		"subject": []resource{{"pkg:docker/app@1", map[string]string{"sha256": strings.TrimPrefix(r.digest(of), "sha256:")}}},
		"predicate": map[string]any{
			"buildDefinition": map[string]any{"buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md", "resolvedDependencies": dependencies},
			"runDetails":      map[string]any{"builder": map[string]any{"id": ""}},
		},
	})
	require.NoError(r.t, err)
	m, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), mutate.Addendum{
		Layer: static.NewLayer(data, "application/vnd.in-toto+json"), MediaType: "application/vnd.in-toto+json",
		Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
	})
	require.NoError(r.t, err)
	return m
}

func (r *Registry) push(tag string, images map[string]v1.Image, attestation v1.Image) Content {
	c := Content{Ref: r.Host + "/" + tag, Platforms: map[string]string{}, images: images}
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range slices.Sorted(maps.Keys(images)) {
		p, err := v1.ParsePlatform(platform)
		require.NoError(r.t, err)
		c.Platforms[platform] = r.digest(images[platform])
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: images[platform], Descriptor: v1.Descriptor{Platform: p}})
		if attestation != nil {
			idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{
					"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": c.Platforms[platform],
				},
			}})
		}
	}
	r.write(&c, idx)
	return c
}

// write pushes an index.
func (r *Registry) write(c *Content, idx v1.ImageIndex) {
	c.Digest = r.digest(idx)
	ref, err := name.ParseReference(c.Ref)
	require.NoError(r.t, err)
	r.pushes(func() error { return remote.WriteIndex(ref, idx, remote.WithTransport(r.transport)) })
}

// pushes runs a push without counting its requests or applying faults to them.
func (r *Registry) pushes(push func() error) {
	r.mu.Lock()
	r.pushing++
	r.mu.Unlock()
	require.NoError(r.t, push())
	r.mu.Lock()
	r.pushing--
	r.mu.Unlock()
}

func (r *Registry) digest(of interface{ Digest() (v1.Hash, error) }) string {
	h, err := of.Digest()
	require.NoError(r.t, err)
	return h.String()
}
