package fleet

import (
	"fmt"
	"time"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Decide returns the decisions on all enrolled images, or on the named ones, in rebuild order.
func (f *Fleet) Decide(names []string, now time.Time) ([]policy.Decision, error) {
	all := policy.Decide(f.Config, f.State, f.Graph, now)
	if len(names) == 0 {
		return all, nil
	}
	wanted, err := f.Images(names)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for _, img := range wanted {
		keep[img.Name] = true
	}
	var out []policy.Decision
	for _, d := range all {
		if keep[d.Image] {
			out = append(out, d)
		}
	}
	return out, nil
}

// Startable returns those of the decisions about all images that promote would start now.
func (f *Fleet) Startable(decisions []policy.Decision) []policy.Decision {
	return append([]policy.Decision{}, policy.Startable(f.Config, decisions)...) // never null in JSON
}

// Lock holds the digest that a build of an image should use for each base.
type Lock struct {
	Image string                `json:"image"`
	Bases []policy.BaseDecision `json:"bases"`
}

// Pin returns the lock of a managed image, from state alone.
func (f *Fleet) Pin(name string, now time.Time) (*Lock, error) {
	img, err := f.Image(name)
	if err != nil {
		return nil, err
	}
	if !img.Managed() {
		return nil, Usagef("%q is an external image: it is not built here, so it has no lock", name)
	}
	if facts := f.State.Images[name]; facts == nil || facts.Dockerfile == nil && len(facts.BaseImages) == 0 { // an empty lock would let the build float
		why := "it was never analyzed"
		if facts != nil && facts.AnalysisError != "" {
			why = "its last analysis failed: " + state.Text(facts.AnalysisError)
		}
		return nil, fmt.Errorf("pinning %q: %s; run `imagefactory analyze %s`", name, why, name)
	}
	return &Lock{Image: name, Bases: policy.Lock(img, f.State, f.Graph, now)}, nil
}
