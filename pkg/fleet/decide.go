package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Decide returns the decisions on the selected images, in rebuild order.
func (f *Fleet) Decide(s Selection, now time.Time) ([]policy.Decision, error) {
	keep, err := f.Selected(s)
	if err != nil {
		return nil, err
	}
	all := policy.Decide(f.Config, f.State, f.Graph, now)
	return slices.DeleteFunc(all, func(d policy.Decision) bool { return !keep[d.Image] }), nil
}

// Startable returns the decisions about the selected images that promote would start now if it starts no others. It takes the
// decisions about all images, because all of them take slots.
func (f *Fleet) Startable(all []policy.Decision, s Selection) ([]policy.Decision, error) {
	keep, err := f.Selected(s)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(d policy.Decision) bool { return d.Status == policy.Due && !keep[d.Image] })
	return append([]policy.Decision{}, policy.Startable(f.Config, all)...), nil // never null in JSON
}

// Lock holds the digest that a build of an image should use for each base.
type Lock struct {
	Image string                `json:"image"`
	Bases []policy.BaseDecision `json:"bases"`
}

// unreadableFor returns a state file that was left out and on which the lock of an image depends; "" if there is none.
func (f *Fleet) unreadableFor(image string) string {
	if f.State.Unreadable(state.ImagesFolder, image) {
		return stateFile(f.Paths.StateDir, state.ImagesFolder, image)
	}
	for _, dep := range f.Graph.Deps(image) {
		switch {
		case dep.Parent != "" && f.State.Unreadable(state.ImagesFolder, dep.Parent):
			return stateFile(f.Paths.StateDir, state.ImagesFolder, dep.Parent)
		case dep.Base != "" && f.State.Unreadable(state.BasesFolder, dep.Base):
			return stateFile(f.Paths.StateDir, state.BasesFolder, dep.Base)
		}
	}
	return ""
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
	if file := f.unreadableFor(name); file != "" {
		return nil, fmt.Errorf("pinning %q: %s cannot be read (restore the file from git)", name, file)
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
