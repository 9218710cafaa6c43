package registry

import (
	"context"
	"net/http"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// byLayers finds the known snapshot of the final base whose layers are the first ones of the image, on every platform
// that counts. Layers are compared uncompressed, since a push may compress them anew. Two contents with the same layers
// cannot be told apart: then there is no evidence.
func (c *Client) byLayers(ctx context.Context, src source, images []image, b *Base) ([]state.BuiltOn, error) {
	images = slices.DeleteFunc(slices.Clone(images), func(i image) bool {
		return len(b.Platforms) > 0 && i.platform != "" && !slices.Contains(b.Platforms, i.platform)
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

// probes are the snapshots to compare with: the oldest, which is the baseline, and the newest ones.
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

// prefix is how many layers of the images come from the snapshot; 0 when they are not its layers on every platform, or
// when that cannot be known.
func (c *Client) prefix(ctx context.Context, src source, known state.Snapshot, images []image, layers [][]string) (int, error) {
	total := 0
	for i := range images {
		platform := images[i].platform
		if _, listed := known.Platforms[platform]; len(known.Platforms) > 0 && !listed {
			return 0, nil
		}
		cfg, err := c.configOf(ctx, src, known.Effective(platform), platform)
		if isStatus(err, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden) || isWrong(err) {
			return 0, nil // as for a base that has become private, or was removed from Docker Hub
		}
		if err != nil {
			return 0, err
		}
		first := cfg.RootFS.DiffIDs
		if len(first) == 0 || len(first) > len(layers[i]) || !slices.Equal(first, layers[i][:len(first)]) {
			return 0, nil
		}
		total += len(first)
	}
	return total, nil
}
