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

// Snapshot resolves a reference: its digest and, for an index, the digest of each platform's manifest. It leaves out
// attestations, artifacts and entries without a platform, and writes platforms as BuildKit does (linux/arm64 for
// linux/arm64/v8), with their os.version. The platform of a single manifest is that of its config, if any. It returns
// [ErrNoImage] for anything but an image.
//
// If a HEAD returns the digest of known, Snapshot returns known, since the content of a digest never changes. For a reference
// with that digest it sends no request at all.
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
	if IsAbsent(err) && ref.Digest == "" && identifier != ref.Tag { // the tag has moved, or a cache answered the HEAD
		m, err = c.manifest(ctx, src, ref.Tag)
	}
	if err != nil {
		return state.Snapshot{}, err
	}
	return c.snapshotOf(ctx, src, m)
}

// head returns the digest of a tag without a GET, which would count against a pull limit. It is empty if the registry does
// not support that as specified.
func (c *Client) head(ctx context.Context, src source, tag string) (string, error) {
	return firstOf(ctx, src.places, func(at place) (string, error) {
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
			return "", nil //nolint:nilerr // a GET returns the digest too
		}
		return digest, digestError(at.host(), digest)
	})
}

// confirm repeats a HEAD that found nothing as a GET: the response to a HEAD has no body that shows that the registry, and
// not a proxy, sent it. It returns nil if the manifest exists after all.
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

// Built returns the time at which an image was built, according to its config; zero if it is unknown, as in reproducible
// builds, or if the reference does not exist. For an index it is that of the platform, or of the first one if none is given.
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
		return time.Time{}, fmt.Errorf("reading the build time of %q: %w", ref, err)
	}
	return cfg.built(), nil
}

// configOf returns the config of an image, or of one platform of an index; empty if the index lacks the platform.
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
