package registry_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// server is go-containerregistry's registry on loopback, with faults put in front of it.
type server struct {
	*httptest.Server
	t    *testing.T
	host string

	mu       sync.Mutex
	requests []string // without the pings of the sign-in
	fault    func(w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{t: t}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if r.URL.Path != "/v2/" {
			s.requests = append(s.requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v2/"))
		}
		fault := s.fault
		s.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "http://")
	return s
}

// breaks sets the fault. It says true when it has answered.
func (s *server) breaks(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// asked returns the requests since the last call.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func (s *server) ref(name string) state.Ref {
	s.t.Helper()
	ref, err := state.ParseRef(s.host + "/" + name)
	require.NoError(s.t, err)
	return ref
}

func (s *server) push(to string, what remote.Taggable) {
	s.t.Helper()
	ref, err := name.ParseReference(s.host + "/" + to)
	require.NoError(s.t, err)
	switch v := what.(type) {
	case v1.ImageIndex:
		require.NoError(s.t, remote.WriteIndex(ref, v))
	case v1.Image:
		require.NoError(s.t, remote.Write(ref, v))
	default:
		require.NoError(s.t, remote.Put(ref, what))
	}
	s.asked()
}

// noSleep counts the waits instead of waiting.
type noSleep struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (n *noSleep) sleep(ctx context.Context, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits = append(n.waits, d)
	return ctx.Err()
}

func (n *noSleep) all() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.waits
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func client(o registry.Options) *registry.Client {
	if o.Keychain == nil {
		o.Keychain = anonymous{}
	}
	if o.HTTP.Sleep == nil {
		o.HTTP.Sleep = new(noSleep).sleep
	}
	return registry.New(o)
}

// raw is content that is pushed as it is.
type raw struct {
	body      []byte
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.body, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }
func (r raw) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(strings.NewReader(string(r.body)))
	return h, err
}
func (r raw) Size() (int64, error)          { return int64(len(r.body)), nil }
func (r raw) ArtifactType() (string, error) { return "", nil }
func digestOf(t *testing.T, d interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := d.Digest()
	require.NoError(t, err)
	return h.String()
}

func platform(s string) *v1.Platform {
	p, err := v1.ParsePlatform(s)
	if err != nil {
		panic(err)
	}
	return p
}

// newImage makes an image of a platform ("" for none), built at a time, on a base when there is one.
func newImage(t *testing.T, of string, created time.Time, base v1.Image) v1.Image {
	t.Helper()
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	layer, err := random.Layer(64, types.OCILayer)
	require.NoError(t, err)
	img, err := mutate.AppendLayers(base, layer)
	require.NoError(t, err)
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = "", "", ""
	if of != "" {
		p := platform(of)
		cfg.OS, cfg.Architecture, cfg.Variant = p.OS, p.Architecture, p.Variant
	}
	cfg.Created = v1.Time{Time: created}
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(t, err)
	return img
}

type entry struct {
	platform    string
	what        mutate.Appendable
	annotations map[string]string
}

func newIndex(entries ...entry) v1.ImageIndex {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, e := range entries {
		d := v1.Descriptor{Annotations: e.annotations}
		if e.platform != "" {
			d.Platform = platform(e.platform)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: e.what, Descriptor: d})
	}
	return idx
}

type dep struct{ uri, digest string }

// provenance writes an attestation for an image as BuildKit does.
func provenance(t *testing.T, of v1.Image, version string, deps ...dep) entry {
	t.Helper()
	type resource struct {
		Name   string            `json:"name,omitempty"`
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	list := []resource{{URI: "https://github.com/owner/repo.git#refs/heads/main", Digest: map[string]string{"sha1": strings.Repeat("a", 40)}}}
	for _, d := range deps {
		list = append(list, resource{URI: d.uri, Digest: map[string]string{"sha256": strings.TrimPrefix(d.digest, "sha256:")}})
	}
	predicate := map[string]any{"buildType": "https://mobyproject.org/buildkit@v1", "materials": list, "invocation": map[string]any{"configSource": map[string]any{}}}
	if version == "v1" {
		predicate = map[string]any{
			"buildDefinition": map[string]any{"buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md", "resolvedDependencies": list},
			"runDetails":      map[string]any{"builder": map[string]any{"id": ""}},
		}
	}
	data, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/" + version, "predicate": predicate,
		"subject": []resource{{Name: "pkg:docker/app@1", Digest: map[string]string{"sha256": strings.TrimPrefix(digestOf(t, of), "sha256:")}}},
	})
	require.NoError(t, err)
	return attestation(t, of, version, data)
}

func attestation(t *testing.T, of v1.Image, version string, data []byte) entry {
	t.Helper()
	m := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	m, err := mutate.Append(m, mutate.Addendum{
		Layer: static.NewLayer(data, "application/vnd.in-toto+json"), MediaType: "application/vnd.in-toto+json",
		Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/" + version},
	})
	require.NoError(t, err)
	return entry{platform: "unknown/unknown", what: m, annotations: map[string]string{
		"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digestOf(t, of),
	}}
}

func fakeDigest(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
