package registry

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// Snapshot resolves a reference: its digest and, for an index, the digest of each platform's manifest. Attestations,
// artifacts and what has no platform are left out, and platforms are written as BuildKit does (linux/arm64 for
// linux/arm64/v8), with their os.version. A single manifest has the platform that its config names, or none. A reference to
// anything else than an image is ErrNoImage.
//
// When known has the digest that a HEAD gives, known is the answer, and nothing else is asked: a digest never changes.
// For the same reason nothing is asked at all for a reference with the digest of known.
func (c *Client) Snapshot(ctx context.Context, ref state.Ref, known *state.Snapshot) (state.Snapshot, error) {
	s, err := c.snapshot(ctx, ref, known)
	if err != nil {
		return state.Snapshot{}, fmt.Errorf("resolving %q: %w", ref, err)
	}
	return s, nil
}

func (c *Client) snapshot(ctx context.Context, ref state.Ref, known *state.Snapshot) (state.Snapshot, error) {
	src, err := c.source(ref)
	if err != nil {
		return state.Snapshot{}, err
	}
	identifier := ref.Digest
	if identifier == "" {
		digest, err := c.head(ctx, src, ref.Tag)
		if err != nil {
			return state.Snapshot{}, err
		}
		if identifier = digest; digest == "" {
			identifier = ref.Tag
		}
	}
	if known != nil && known.Digest == identifier {
		return *known, nil
	}
	m, err := c.manifest(ctx, src, identifier)
	if IsAbsent(err) && ref.Digest == "" && identifier != ref.Tag { // the tag has moved, or the HEAD was answered from a cache
		m, err = c.manifest(ctx, src, ref.Tag)
	}
	if err != nil {
		return state.Snapshot{}, err
	}
	return c.snapshotOf(ctx, src, m)
}

// head asks for the digest of a tag without getting the manifest, which would count against a pull limit. The digest is
// empty where a registry does not answer such questions as the specification says.
func (c *Client) head(ctx context.Context, src source, tag string) (string, error) {
	return ask(ctx, src.places, func(at place) (string, error) {
		a, err := c.send(ctx, at, http.MethodHead, "manifests/"+tag, acceptManifests, maxManifestBytes)
		switch {
		case isStatus(err, http.StatusMethodNotAllowed, http.StatusNotImplemented):
			return "", nil
		case isStatus(err, http.StatusNotFound) && !at.mirror:
			return "", c.confirm(ctx, at, tag)
		case err != nil:
			return "", err
		}
		digest := a.header.Get("Docker-Content-Digest")
		if _, err := v1.NewHash(digest); err != nil {
			return "", nil //nolint:nilerr // a GET tells the digest too
		}
		return digest, digestError(at.host(), digest)
	})
}

// confirm asks again for what a HEAD did not find, whose answer has no body to say why: it may come from anybody on the
// way. Where the manifest is there after all, there is no error.
func (c *Client) confirm(ctx context.Context, at place, tag string) error {
	_, err := c.send(ctx, at, http.MethodGet, "manifests/"+tag, acceptManifests, maxManifestBytes)
	return err
}

func (c *Client) snapshotOf(ctx context.Context, src source, m *manifest) (state.Snapshot, error) {
	s := state.Snapshot{Digest: m.digest}
	if m.index {
		found, err := c.platformsOf(ctx, src, m)
		if len(found) > 0 {
			s.Platforms = found
		}
		return s, err
	}
	cfg, err := c.config(ctx, src, m)
	if err != nil {
		return state.Snapshot{}, err
	}
	if platform := cfg.platform(); platform != "" {
		s.Platforms = state.Platforms{platform: m.digest}
	}
	return s, nil
}

// Built says when an image was built, as its config has it. It is the zero time when that is not known, as in
// reproducible builds, or when the reference does not exist. Of an index it is that of the platform, or of the first one
// when none is given.
func (c *Client) Built(ctx context.Context, ref state.Ref, platform string) (time.Time, error) {
	src, err := c.source(ref)
	if err != nil {
		return time.Time{}, err
	}
	identifier := ref.Digest
	if identifier == "" {
		identifier = ref.Tag
	}
	cfg, err := c.configOf(ctx, src, identifier, platform)
	if err != nil && !IsAbsent(err) {
		return time.Time{}, fmt.Errorf("asking when %q was built: %w", ref, err)
	}
	return cfg.built(), nil
}

// configOf gets the config of an image, of one platform where it is an index. It is empty when the index lacks it.
func (c *Client) configOf(ctx context.Context, src source, identifier, platform string) (imageConfig, error) {
	m, err := c.manifest(ctx, src, identifier)
	if err != nil {
		return imageConfig{}, err
	}
	if m.index {
		found, err := c.platformsOf(ctx, src, m)
		if err != nil {
			return imageConfig{}, err
		}
		if platform == "" && len(found) > 0 {
			platform = slices.Min(slices.Collect(maps.Keys(found)))
		}
		manifests := state.Snapshot{Platforms: found}.Manifests(platform)
		if len(manifests) == 0 {
			return imageConfig{}, nil
		}
		if m, err = c.manifest(ctx, src, manifests[0]); err != nil {
			return imageConfig{}, err
		}
	}
	return c.config(ctx, src, m)
}
