package plan

import (
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// durations knows how long rebuilds take.
type durations struct {
	st    *state.State
	fleet time.Duration // median of all images; 0 if none has succeeded
}

func newDurations(st *state.State) *durations {
	var all []time.Duration
	for _, facts := range st.Images {
		all = appendDurations(all, facts)
	}
	return &durations{st, median(all)}
}

// of returns the expected duration of a rebuild of an image.
func (d *durations) of(image string) (config.Duration, Source) {
	if own := median(appendDurations(nil, d.st.Images[image])); own > 0 {
		return config.Duration(own), FromHistory
	}
	if d.fleet > 0 {
		return config.Duration(d.fleet), FromFleet
	}
	return config.Duration(DefaultDuration), FromDefault
}

// appendDurations appends how long the successful rebuilds of an image took, from their start until the image was seen.
func appendDurations(out []time.Duration, facts *state.Image) []time.Duration {
	add := func(r *state.Rebuild) {
		if took := r.FinishedAt.Sub(r.Claimed().Time); r.Status.CountsAsBuilt() && took > 0 && took < policy.RunTimeout {
			out = append(out, took)
		}
	}
	for i := range facts.RebuildHistory {
		add(&facts.RebuildHistory[i])
	}
	if facts.Rebuild != nil {
		add(facts.Rebuild)
	}
	return out
}

// median returns the middle of the durations in whole seconds, the lower one of two; 0 if there are none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2].Truncate(time.Second)
}
