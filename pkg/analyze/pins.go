package analyze

import (
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// recordPins records when the Dockerfiles that were read first had the pinned references that pull requests move, and the digests that
// their tags hold, if this analysis resolved them.
func (a *analysis) recordPins() {
	for _, name := range a.Graph.Order() {
		facts := a.State.Images[name]
		deps := a.Graph.Deps(name)
		for i := range deps {
			if deps[i].Updated {
				a.recordPin(facts.Use(deps[i].Ref.String()), &deps[i])
			}
		}
	}
}

func (a *analysis) recordPin(use *state.BaseUse, dep *graph.Dep) {
	if use == nil {
		return
	}
	if use.Pin == nil {
		use.Pin = &state.Pin{Since: state.At(a.now)}
	}
	if use.Pin.TagHeld != "" {
		return
	}
	if found := a.bases[dep.Base]; found != nil && found.err == nil {
		use.Pin.TagHeld = found.snapshot.Digest
	}
	if p := a.images[dep.Parent]; p != nil && p.err == nil && !p.unpublished {
		if tag := a.State.Images[dep.Parent].PublishedTag(dep.Ref.Tag); tag != nil {
			use.Pin.TagHeld = tag.Digest
		}
	}
}
