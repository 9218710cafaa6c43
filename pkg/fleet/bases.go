package fleet

import (
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// Bases returns the base images in use, by name: all, those with the given names or references, or those that the selected
// images use.
func (f *Fleet) Bases(s Selection, now time.Time) ([]describe.BaseSummary, error) {
	names, err := f.baseNames(s)
	if err != nil {
		return nil, err
	}
	d := describe.New(describe.Input{Config: f.Config, State: f.State, Graph: f.Graph, Now: now, Decisions: policy.Decide(f.Config, f.State, f.Graph, now)})
	out := make([]describe.BaseSummary, len(names))
	for i, name := range names {
		out[i] = d.Base(name).Summary()
	}
	return out, nil
}

func (f *Fleet) baseNames(s Selection) ([]string, error) {
	if s.All() {
		return f.Graph.Bases(), nil
	}
	var names []string
	if s.Labels == nil {
		for _, spec := range s.Names {
			name := f.anyBase(spec)
			if name == "" {
				return nil, Usagef("no base image %q (`imagefactory status --bases` lists those in use)", spec)
			}
			names = append(names, name)
		}
	} else {
		keep, err := f.Selected(s)
		if err != nil {
			return nil, err
		}
		for _, name := range f.Graph.Bases() {
			if slices.ContainsFunc(f.Graph.Dependents(name), func(image string) bool { return keep[image] }) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
