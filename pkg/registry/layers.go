package registry

import (
	"context"
	"net/http"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// byLayers returns the known snapshot of the final base whose layers are the first ones of the image, on every platform that
// counts. Layers are compared uncompressed, since a push may compress them again. Two snapshots with the same layers are no
// evidence.
func (c *Client) byLayers(ctx context.Context, src source, images []image, b *Base) ([]state.BuiltOn, error) {
	images = slices.DeleteFunc(slices.Clone(images), func(i image) bool {
		return !b.buildsFor(i.platform)
	})
	baseSource, err := c.source(b.Ref)
	if err != nil || len(images) == 0 {
		return nil, err
	}
	var matching []state.Snapshot
	longest := 0
	layers, err := c.layersOf(ctx, src, images)
	if err != nil {
		return nil, err
	}
	for _, known := range probes(b.Known) {
		n, err := c.prefix(ctx, baseSource, known, images, layers)
		switch {
		case err != nil:
			return nil, err
		case n > longest:
			matching, longest = []state.Snapshot{known}, n
		case n > 0 && n == longest && !slices.ContainsFunc(matching, func(s state.Snapshot) bool { return sameFor(s, known, images) }):
			matching = append(matching, known)
		}
	}
	if len(matching) != 1 {
		return nil, nil
	}
	return []state.BuiltOn{{Ref: b.Ref.String(), Snapshot: matching[0], Evidence: state.Layers}}, nil
}

// probes returns the snapshots to compare with: the oldest, which is the baseline, and the newest ones.
func probes(known []state.Snapshot) []state.Snapshot {
	if len(known) <= maxLayerProbes {
		return known
	}
	return append([]state.Snapshot{known[0]}, known[len(known)-maxLayerProbes+1:]...)
}

func sameFor(a, b state.Snapshot, images []image) bool {
	return !slices.ContainsFunc(images, func(i image) bool { return a.Effective(i.platform) != b.Effective(i.platform) })
}

func (c *Client) layersOf(ctx context.Context, src source, images []image) ([][]string, error) {
	out := make([][]string, len(images))
	for i := range images {
		cfg, err := c.config(ctx, src, images[i].manifest)
		if err != nil {
			return nil, err
		}
		out[i] = cfg.RootFS.DiffIDs
	}
	return out, nil
}

// prefix returns how many layers of the images come from the snapshot; 0 if a platform differs, or if it is unknown.
func (c *Client) prefix(ctx context.Context, src source, known state.Snapshot, images []image, layers [][]string) (int, error) {
	total := 0
	for i := range images {
		n, err := c.prefixOf(ctx, src, known, images[i].platform, layers[i])
		if err != nil || n == 0 {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// prefixOf returns how many of the layers come from one of the snapshot's manifests for a platform.
func (c *Client) prefixOf(ctx context.Context, src source, known state.Snapshot, platform string, layers []string) (int, error) {
	manifests := known.Manifests(platform)
	if len(known.Platforms) == 0 {
		manifests = []string{known.Digest}
	}
	longest := 0
	for _, digest := range manifests {
		cfg, err := c.configOf(ctx, src, digest, platform)
		if IsAbsent(err) || isStatus(err, http.StatusUnauthorized, http.StatusForbidden) || isInvalid(err) {
			continue // as for a base that has become private, or was removed from Docker Hub
		}
		if err != nil {
			return 0, err
		}
		first := cfg.RootFS.DiffIDs
		if len(first) <= len(layers) && slices.Equal(first, layers[:len(first)]) {
			longest = max(longest, len(first))
		}
	}
	return longest, nil
}
