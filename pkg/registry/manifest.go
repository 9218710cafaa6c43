package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxManifestBytes   = 4 << 20 // the least that registries must accept, according to the OCI distribution specification
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

	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	Annotations  map[string]string `json:"annotations"`
}

// parseManifest decodes a manifest of the given content type. As the OCI image specification requires, it refuses content
// that is ambiguous between types.
func parseManifest(host, contentType string, body []byte) (*manifest, error) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = contentType
	}
	t := types.MediaType(mediaType)
	index := t == types.OCIImageIndex || t == types.DockerManifestList
	switch {
	case index, t == types.OCIManifestSchema1, t == types.DockerManifestSchema2:
	case strings.HasPrefix(mediaType, "application/vnd."):
		return nil, &Error{Host: host, problem: "the manifest has content type " + sanitize.MediaType(mediaType), cause: ErrNoImage}
	default: // such as a login page
		return nil, bad(host, "the response is not a manifest (content type: %s)", sanitize.MediaType(mediaType))
	}
	m := &manifest{index: index}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, &Error{Host: host, problem: "the manifest is not valid JSON", cause: jsonProblem(err), content: true}
	}
	switch {
	case m.MediaType != "" && m.MediaType != mediaType:
		return nil, invalid(host, "the manifest has media type %s, but content type %s", sanitize.MediaType(m.MediaType), mediaType)
	case index && (m.Config != nil || m.Layers != nil), !index && m.Manifests != nil:
		return nil, invalid(host, "the manifest is an image and an index at once")
	case !index && m.Config == nil:
		return nil, invalid(host, "the manifest has no config")
	}
	return m, nil
}

// manifest returns a manifest by tag or digest. Small ones are cached by digest.
func (c *Client) manifest(ctx context.Context, src source, identifier string) (*manifest, error) {
	c.mu.Lock()
	m := c.manifests[src.repository+"@"+identifier]
	c.mu.Unlock()
	if m != nil {
		return m, nil
	}
	return firstOf(ctx, src.places, func(at place) (*manifest, error) {
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

// digestAlgorithm is the only one that state files support.
const digestAlgorithm = "sha256"

// digestError returns why a digest cannot be recorded, or nil.
func digestError(host, s string) error {
	algorithm, _, _ := strings.Cut(s, ":")
	switch {
	case isSupported(s):
		return nil
	case slices.Contains(otherAlgorithms, algorithm):
		return invalid(host, "unsupported digest algorithm %s (want %s)", algorithm, digestAlgorithm)
	}
	return invalid(host, "invalid digest in the response")
}

// isSupported reports whether evidence that names the digest can be recorded.
func isSupported(digest string) bool {
	h, err := v1.NewHash(digest)
	return err == nil && h.Algorithm == digestAlgorithm
}

// otherAlgorithms are those that the OCI image specification registers. Other names are not repeated in errors.
var otherAlgorithms = []string{"sha384", "sha512", "blake3"}

// checkDigest computes the digest of content and compares it with the wanted one, if any.
func checkDigest(host string, content []byte, want string) (string, error) {
	if want != "" {
		if err := digestError(host, want); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(content)
	got := digestAlgorithm + ":" + hex.EncodeToString(sum[:])
	if want != "" && got != want {
		return "", invalid(host, "the content has digest %s, not %s", got, want)
	}
	return got, nil
}

// blob returns a blob and checks its digest.
func (c *Client) blob(ctx context.Context, src source, d *v1.Descriptor, limit int64) ([]byte, error) {
	return firstOf(ctx, src.places, func(at place) ([]byte, error) {
		if d.Size > limit {
			return nil, invalid(at.host(), "blob %s is larger than %d KiB", d.Digest, limit>>10)
		}
		a, err := c.send(ctx, at, http.MethodGet, "blobs/"+d.Digest.String(), "", limit)
		if err != nil {
			return nil, err
		}
		_, err = checkDigest(at.host(), a.body, d.Digest.String())
		return a.body, err
	})
}

// imageConfig is the part of an image config that is used.
type imageConfig struct {
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version"`
	OSFeatures   []string `json:"os.features"`
	Architecture string   `json:"architecture"`
	Variant      string   `json:"variant"`
	Created      string   `json:"created"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	Config json.RawMessage `json:"config"`

	annotations map[string]string // of the manifest
}

// config returns the config of an image manifest, and [ErrNoImage] for anything else.
func (c *Client) config(ctx context.Context, src source, m *manifest) (imageConfig, error) {
	var cfg imageConfig
	if err := m.notImage(src.host()); err != nil {
		return cfg, err
	}
	body, err := c.blob(ctx, src, m.Config, maxConfigBytes)
	if err != nil {
		return cfg, err
	}
	err = json.Unmarshal(body, &cfg)
	cfg.annotations = m.Annotations
	if t := m.Config.MediaType; t != types.OCIConfigJSON && t != types.DockerConfigJSON && (err != nil || cfg.RootFS.Type != "layers") {
		return cfg, &Error{Host: src.host(), problem: "its config has no type, and is not that of an image", cause: ErrNoImage}
	}
	if err != nil {
		return cfg, &Error{Host: src.host(), problem: "the image config is not valid JSON", cause: jsonProblem(err)}
	}
	if len(m.Layers) > 0 && cfg.OS == "" && cfg.RootFS.Type == "" && len(cfg.RootFS.DiffIDs) == 0 { // an artifact under the type of an image
		return cfg, &Error{Host: src.host(), problem: "its config is not that of an image", cause: ErrNoImage}
	}
	return cfg, nil
}

// built returns when the image was built, by the rule of Kargo 1.12: the time in an annotation of the manifest, else the later one of
// a label and of the config's creation date. A label may be inherited from the base image.
func (cfg *imageConfig) built() time.Time {
	if t := createdIn(cfg.annotations); !t.IsZero() {
		return t
	}
	var config struct {
		Labels map[string]string
	}
	_ = json.Unmarshal(cfg.Config, &config) // anybody may write anything into it; without labels the creation date counts
	t := buildTime(cfg.Created)
	if label := createdIn(config.Labels); label.After(t) {
		return label
	}
	return t
}

// createdIn returns the build time in annotations or labels; zero if they have none.
func createdIn(values map[string]string) time.Time {
	for _, key := range []string{"org.opencontainers.image.created", "org.label-schema.build-date"} {
		if t := buildTime(values[key]); !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// buildTime parses a build time. Reproducible builds write times up to 1980, which count as unknown.
func buildTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1980 {
		return time.Time{}
	}
	return t.UTC()
}

func (cfg *imageConfig) platform() string {
	return platformName(ocispecs.Platform{OS: cfg.OS, OSVersion: cfg.OSVersion, OSFeatures: cfg.OSFeatures, Architecture: cfg.Architecture, Variant: cfg.Variant})
}

// platformsOf returns the platforms of an index and the digest of each one's manifest. If two platforms are equal, the first
// counts, as in a build. If no entry has a platform, it reads their configs. It returns [ErrNoImage] for an index without an
// image.
func (c *Client) platformsOf(ctx context.Context, src source, index *manifest) (state.Platforms, error) {
	w := indexWalk{platforms: state.Platforms{}}
	if err := c.walk(ctx, src, index, 1, &w); err != nil {
		return nil, err
	}
	if len(w.platforms) > 0 {
		return w.platforms, nil
	}
	found := false
	for _, d := range w.others[:min(len(w.others), maxPlatforms)] {
		m, err := c.manifest(ctx, src, d.Digest.String())
		if err != nil {
			return nil, err
		}
		cfg, err := c.config(ctx, src, m)
		if errors.Is(err, ErrNoImage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		w.add(cfg.platform(), m.digest)
	}
	if !found {
		return nil, &Error{Host: src.host(), problem: "the index " + index.digest + " holds no image", cause: ErrNoImage}
	}
	return w.platforms, nil
}

// indexWalk collects the manifests of an index and of those nested in it.
type indexWalk struct {
	platforms state.Platforms
	others    []*v1.Descriptor // entries without a platform, whose config may have one
	nested    int
}

func (w *indexWalk) add(platform, digest string) {
	if _, taken := w.platforms[platform]; platform != "" && !taken {
		w.platforms[platform] = digest
	}
}

func (c *Client) walk(ctx context.Context, src source, m *manifest, depth int, w *indexWalk) error {
	for i := range m.Manifests {
		d := &m.Manifests[i]
		kind := kindOf(d)
		if kind == notAnImage {
			continue
		}
		if err := digestError(src.host(), d.Digest.String()); err != nil {
			return err
		}
		platform := descriptorPlatform(d)
		switch {
		case kind == anIndex:
			w.nested++
			if depth >= maxDepth || w.nested > maxNested {
				return invalid(src.host(), "index %s: too many nested indexes", m.digest)
			}
			inner, err := c.manifest(ctx, src, d.Digest.String())
			if err != nil {
				return err
			}
			if err := c.walk(ctx, src, inner, depth+1, w); err != nil {
				return err
			}
		case platform == "":
			w.others = append(w.others, d)
		default:
			w.add(platform, d.Digest.String())
		}
	}
	return nil
}

const (
	attestationType    = "vnd.docker.reference.type"
	attestationOf      = "vnd.docker.reference.digest"
	attestationIs      = "attestation-manifest"
	predicateTypeLabel = "in-toto.io/predicate-type"
)

func descriptorPlatform(d *v1.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	p := d.Platform
	return platformName(ocispecs.Platform{OS: p.OS, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures, Architecture: p.Architecture, Variant: p.Variant})
}

var (
	platformForm = lazy.Regexp(`^[a-z0-9_-]+(\([a-zA-Z0-9._+-]+\))?/[a-z0-9._-]+(/[a-z0-9._-]+)?$`)
	notInOption  = lazy.Regexp(`[^a-zA-Z0-9._-]+`)
)

const (
	maxPlatformOption   = 64 // bytes of os.version and of each feature
	maxPlatformFeatures = 8
)

// platformName writes a platform as BuildKit does, with os.version and os.features if there are any; "" if it is invalid.
func platformName(p ocispecs.Platform) string {
	if p.OS == "" || p.Architecture == "" || p.OS == "unknown" || p.Architecture == "unknown" {
		return ""
	}
	option := func(s string) string {
		s = notInOption().ReplaceAllString(s, "_")
		return s[:min(len(s), maxPlatformOption)]
	}
	p = platforms.Normalize(p) // a copy of the features, too
	p.OSVersion = option(p.OSVersion)
	for i := range p.OSFeatures {
		p.OSFeatures[i] = option(p.OSFeatures[i])
	}
	s := platforms.FormatAll(p)
	if len(p.OSFeatures) > maxPlatformFeatures || !platformForm().MatchString(s) {
		return ""
	}
	if again, err := platforms.Parse(s); err != nil || platforms.FormatAll(platforms.Normalize(again)) != s {
		return "" // such as a variant that is a dot: it would parse as another platform
	}
	return s
}
