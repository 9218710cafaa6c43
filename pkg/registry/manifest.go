package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagefactory/imagefactory/pkg/internal/plain"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxManifestBytes   = 4 << 20 // what registries accept at least, by the OCI distribution specification
	maxConfigBytes     = 4 << 20
	maxProvenanceBytes = 16 << 20
	maxDepth           = 3  // an index in an index in an index
	maxNested          = 16 // indexes in one snapshot
	maxRemembered      = 512
	maxRememberedBytes = 64 << 10 // of one manifest
)

var acceptManifests = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}, ", ")

// manifest is an image manifest or an index.
type manifest struct {
	digest string
	index  bool

	MediaType   string            `json:"mediaType"`
	Config      *v1.Descriptor    `json:"config"`
	Layers      []v1.Descriptor   `json:"layers"`
	Manifests   []v1.Descriptor   `json:"manifests"`
	Annotations map[string]string `json:"annotations"`
}

// parseManifest reads a manifest of the type that the registry says it has. Content that could be read as another type
// is refused, as the OCI image specification asks for.
func parseManifest(host, contentType string, body []byte) (*manifest, error) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = contentType
	}
	t := types.MediaType(mediaType)
	index := t == types.OCIImageIndex || t == types.DockerManifestList
	if !index && t != types.OCIManifestSchema1 && t != types.DockerManifestSchema2 {
		return nil, &Error{Host: host, problem: "the manifest has content type " + plain.MediaType(mediaType), cause: errNoImage}
	}
	m := &manifest{index: index}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, &Error{Host: host, problem: "the manifest is not valid JSON", cause: jsonProblem(err), content: true}
	}
	switch {
	case m.MediaType != "" && m.MediaType != mediaType:
		return nil, wrong(host, "the manifest says it is %s, and its content type %s", plain.MediaType(m.MediaType), mediaType)
	case index && (m.Config != nil || m.Layers != nil), !index && m.Manifests != nil:
		return nil, wrong(host, "the manifest is an image and an index at once")
	case !index && m.Config == nil:
		return nil, wrong(host, "the manifest has no config")
	}
	return m, nil
}

// manifest gets a manifest by tag or digest. One that is asked for by digest may be remembered.
func (c *Client) manifest(ctx context.Context, src source, identifier string) (*manifest, error) {
	c.mu.Lock()
	m := c.manifests[src.repository+"@"+identifier]
	c.mu.Unlock()
	if m != nil {
		return m, nil
	}
	return ask(ctx, src.places, func(at place) (*manifest, error) {
		m, size, err := c.getManifest(ctx, at, identifier)
		if err == nil && size <= maxRememberedBytes {
			c.remember(src.repository+"@"+m.digest, m)
		}
		return m, err
	})
}

func (c *Client) remember(key string, m *manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.manifests) >= maxRemembered {
		clear(c.manifests)
	}
	c.manifests[key] = m
}

func (c *Client) getManifest(ctx context.Context, at place, identifier string) (m *manifest, size int, err error) {
	a, err := c.send(ctx, at, http.MethodGet, "manifests/"+identifier, acceptManifests, maxManifestBytes)
	if err != nil {
		return nil, 0, err
	}
	want := identifier
	byDigest := strings.Contains(identifier, ":")
	if !byDigest {
		want = a.header.Get("Docker-Content-Digest")
	}
	digest, err := checkDigest(at.host(), a.body, want)
	if err != nil {
		return nil, 0, err
	}
	m, err = parseManifest(at.host(), a.header.Get("Content-Type"), a.body)
	if err != nil {
		return nil, 0, err
	}
	m.digest = digest
	return m, len(a.body), nil
}

// checkDigest computes the digest of content and compares it with the one that is wanted, if any.
func checkDigest(host string, content []byte, want string) (string, error) {
	algorithm := "sha256"
	if want != "" {
		h, err := v1.NewHash(want)
		if err != nil {
			return "", wrong(host, "invalid digest in the answer")
		}
		algorithm = h.Algorithm
	}
	hasher, err := v1.Hasher(algorithm)
	if err != nil {
		return "", wrong(host, "invalid digest in the answer")
	}
	hasher.Write(content)
	got := algorithm + ":" + hex.EncodeToString(hasher.Sum(nil))
	if want != "" && got != want {
		return "", wrong(host, "the content has digest %s, not %s", got, want)
	}
	return got, nil
}

// blob gets a blob and checks it.
func (c *Client) blob(ctx context.Context, src source, d *v1.Descriptor, limit int64) ([]byte, error) {
	return ask(ctx, src.places, func(at place) ([]byte, error) {
		if d.Size > limit {
			return nil, wrong(at.host(), "the blob %s is larger than the %d KiB that are read", d.Digest, limit>>10)
		}
		a, err := c.send(ctx, at, http.MethodGet, "blobs/"+d.Digest.String(), "", limit)
		if err != nil {
			return nil, err
		}
		_, err = checkDigest(at.host(), a.body, d.Digest.String())
		return a.body, err
	})
}

// imageConfig is what an image says of itself.
type imageConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	Created      string `json:"created"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// config gets the config of an image manifest. What is no image (a chart, a signature) has an empty one.
func (c *Client) config(ctx context.Context, src source, m *manifest) (imageConfig, error) {
	var cfg imageConfig
	if t := m.Config.MediaType; t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return cfg, nil
	}
	body, err := c.blob(ctx, src, m.Config, maxConfigBytes)
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(body, &cfg); err != nil {
		return cfg, &Error{Host: src.host(), problem: "the image config is not valid JSON", cause: jsonProblem(err)}
	}
	return cfg, nil
}

// built is when the image was built. Times up to 1980 are what reproducible builds write instead of one.
func (cfg *imageConfig) built() time.Time {
	t, err := time.Parse(time.RFC3339Nano, cfg.Created)
	if err != nil || t.Year() <= 1980 {
		return time.Time{}
	}
	return t.UTC()
}

func (cfg *imageConfig) platform() string { return platformName(cfg.OS, cfg.Architecture, cfg.Variant) }

// platformsOf lists the platforms of an index and the digest of each one's manifest. Where two are the same, the first
// counts, as in a build.
func (c *Client) platformsOf(ctx context.Context, src source, index *manifest) (state.Platforms, error) {
	out := state.Platforms{}
	nested := 0
	var walk func(m *manifest, depth int) error
	walk = func(m *manifest, depth int) error {
		for i := range m.Manifests {
			d := &m.Manifests[i]
			if d.MediaType == types.OCIImageIndex || d.MediaType == types.DockerManifestList {
				nested++
				if depth >= maxDepth || nested > maxNested {
					return wrong(src.host(), "the index %s holds too many indexes within each other", index.digest)
				}
				inner, err := c.manifest(ctx, src, d.Digest.String())
				if err != nil {
					return err
				}
				if err := walk(inner, depth+1); err != nil {
					return err
				}
				continue
			}
			platform := descriptorPlatform(d)
			if _, taken := out[platform]; platform != "" && !taken {
				out[platform] = d.Digest.String()
			}
		}
		return nil
	}
	return out, walk(index, 1)
}

const (
	attestationType    = "vnd.docker.reference.type"
	attestationOf      = "vnd.docker.reference.digest"
	attestationIs      = "attestation-manifest"
	predicateTypeLabel = "in-toto.io/predicate-type"
)

func descriptorPlatform(d *v1.Descriptor) string {
	if d.Platform == nil || d.Digest.Hex == "" || d.Annotations[attestationType] != "" {
		return ""
	}
	return platformName(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant)
}

var platformForm = regexp.MustCompile(`^[a-z0-9._-]+/[a-z0-9._-]+(/[a-z0-9._-]+)?$`)

// platformName writes a platform as BuildKit does, and nothing for what is none.
func platformName(os, arch, variant string) string {
	if os == "" || arch == "" || os == "unknown" || arch == "unknown" {
		return ""
	}
	p := platforms.Normalize(ocispecs.Platform{OS: os, Architecture: arch, Variant: variant})
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	if !platformForm.MatchString(s) {
		return ""
	}
	return s
}
