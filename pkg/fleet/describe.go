package fleet

import (
	"os"
	"path/filepath"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// Describer returns what describes the images and base images of the fleet at one time.
func (f *Fleet) Describer(now time.Time) (*describe.Describer, error) {
	p, err := plan.Make(plan.Options{Config: f.Config, State: f.State, Graph: f.Graph, Now: now})
	if err != nil {
		return nil, err
	}
	return describe.New(describe.Input{
		Config: f.Config, State: f.State, Graph: f.Graph, Now: now, StateDir: filepath.ToSlash(f.Paths.StateDir),
		Decisions: policy.Decide(f.Config, f.State, f.Graph, now), Plan: p, Findings: f.warnings(now), Objects: f.objects(), Read: readFile,
	}), nil
}

// readFile returns the content of a file that was read before, for the places of its facts; nil if it is gone.
func readFile(file string) []byte {
	data, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		return nil
	}
	return data
}

// objects returns the objects that Synth writes for images and base images; none if it writes nothing.
func (f *Fleet) objects() []describe.Object {
	objects, _, _, err := f.each()
	if err != nil {
		return nil // Warnings reports why
	}
	var out []describe.Object
	for o := range objects {
		if base, image := o.Subject(); base != "" || image != "" {
			out = append(out, describe.Object{Kind: o.Kind(), Name: o.Name(), Base: base, Image: image})
		}
	}
	return out
}
