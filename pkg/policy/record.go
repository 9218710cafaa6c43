package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Begin records the rebuild that a decision starts, before it is started. The decision must be due, and overdue rebuilds
// closed.
func Begin(st *state.State, dec Decision, now time.Time) {
	st.Images[dec.Image].Request(state.Rebuild{ID: dec.Rebuild, Reason: dec.Reason, Bases: dec.Targets, RequestedAt: state.At(now)})
}

// Reconsider decides about an image as if its rebuild, which was recorded and never started, had not been.
func Reconsider(cfg *config.Config, st *state.State, g *graph.Graph, image string, now time.Time) Decision {
	facts := st.Images[image]
	kept := *facts
	facts.CancelRequest()
	defer func() { *facts = kept }()
	decisions := Decide(cfg, st, g, now)
	return decisions[slices.IndexFunc(decisions, func(d Decision) bool { return d.Image == image })]
}

// CloseOverdue records the failure of every rebuild that should be over and is not, and returns the names of their
// images, sorted.
func CloseOverdue(st *state.State, now time.Time) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(st.Images)) {
		r := st.Images[name].Rebuild
		if message, overdue := Overdue(r, now); overdue {
			r.Finish(state.Failed, message, now)
			out = append(out, name)
		}
	}
	return out
}

// Publication is the newest published image of a managed image, as its registry shows it.
type Publication struct {
	Version string
	Digest  string
	Created time.Time       // what the image says of itself; believed only for the first one that is seen
	BuiltOn []state.BuiltOn // what is known by evidence of what it was built on; often nothing
}

// RecordPublication records the newest published image and what it was built on, gives the rebuild that it ends its
// outcome, and reports whether anything changed. What its tags hold (state.Image.ObservePublished) is to be recorded
// first, so that nothing that is built on it is due a moment too early.
//
// Without evidence, an image that appears while our rebuild is active is taken for its result, built on what the rebuild
// was for; one that appears otherwise tells nothing, and is assumed to be built on what the one before it was. The first
// one that is seen is assumed to be built on the baselines.
func RecordPublication(img *config.Image, st *state.State, g *graph.Graph, seen Publication, now time.Time) bool {
	facts := st.Images[img.Name]
	if facts == nil || seen.Digest == "" {
		return false
	}
	fresh, first := facts.CurrentDigest != seen.Digest, facts.CurrentDigest == ""
	news := fresh || facts.CurrentVersion != seen.Version || !facts.Unpublished.IsZero()
	facts.CurrentVersion, facts.CurrentDigest, facts.Unpublished = seen.Version, seen.Digest, state.Time{}
	if fresh {
		facts.LastBuilt = state.At(now)
		if first && !seen.Created.IsZero() && seen.Created.Before(now) {
			facts.LastBuilt = state.At(seen.Created)
		}
	}
	for _, on := range seen.BuiltOn {
		news = facts.SetBuiltOn(on) || news
	}
	active := facts.Rebuild != nil && facts.Rebuild.Status.Active()
	if fresh {
		demoteEvidence(facts, seen.BuiltOn)
	}
	if fresh && active {
		recordBuiltOn(img, st, g, seen.BuiltOn, now)
	}
	if fresh {
		forgetUnused(facts, g.Deps(img.Name))
	}
	news = Assume(img, st, g) || news
	if fresh && facts.Rebuild != nil {
		endRebuild(img, st, g, now)
	}
	return news
}

// demoteEvidence turns what was proven of the previous image into an assumption, where nothing is proven of the new one.
func demoteEvidence(facts *state.Image, proven []state.BuiltOn) {
	for i := range facts.BuiltOn {
		on := &facts.BuiltOn[i]
		if !slices.ContainsFunc(proven, func(p state.BuiltOn) bool { return p.Ref == on.Ref }) {
			on.Evidence = state.Assumed
		}
	}
}

// endRebuild records the outcome of the rebuild that a new image shows. One on an older base, seen while the run goes on, is
// somebody else's. One that comes after the rebuild was given up still ends it, when it proves to be what was wanted.
func endRebuild(img *config.Image, st *state.State, g *graph.Graph, now time.Time) {
	r := st.Images[img.Name].Rebuild
	status, message := Outcome(img, st, g, now)
	switch {
	case r.Status == state.Built, r.Status.Active() && status != state.WrongBase:
		r.Finish(status, message, now)
	case !r.Status.Active() && !r.Status.CountsAsBuilt() && status == state.Succeeded:
		r.Finish(status, "seen after the rebuild was given up", now)
	}
}

// recordBuiltOn records what a rebuilt image was built on if there is no evidence. When in
// doubt it records the older digest: that costs an extra rebuild, whereas a newer one would lose an update.
func recordBuiltOn(img *config.Image, st *state.State, g *graph.Graph, evidence []state.BuiltOn, now time.Time) {
	facts := st.Images[img.Name]
	requested := facts.Rebuild.RequestedAt.Time
	if facts.Rebuild.RequestedAt.Ahead(now) {
		requested = now.Add(-RunTimeout) // it would be over if it had been requested before
	}
	for _, b := range lockAt(img, st, g, requested, now) {
		proven := slices.ContainsFunc(evidence, func(on state.BuiltOn) bool { return on.Ref == b.Ref })
		if used := usedBy(img, st, &b, facts, requested, now); !proven && used.Digest != "" {
			facts.SetBuiltOn(state.BuiltOn{Ref: b.Ref, Snapshot: used, Evidence: state.Recorded})
		}
	}
}

// usedBy is what the running rebuild has used at least. A build with the lock used the lock; another one what the tag
// held at the time of the request, or what came later. Of a parent it is what made the rebuild due, or what was built on
// before when it did not.
func usedBy(img *config.Image, st *state.State, b *BaseDecision, facts *state.Image, requested, now time.Time) state.Snapshot {
	base, on := st.Bases[b.Base], facts.On(b.Ref)
	if base != nil && base.Baseline != nil && b.Origin != FromPin && !img.Source.PinsBases() {
		return heldAt(base.Corrected(now), requested)
	}
	for _, t := range facts.Rebuild.Bases {
		if t.Ref == b.Ref {
			return t.Snapshot
		}
	}
	if b.Parent != "" && on != nil {
		return on.Snapshot
	}
	return b.Lock
}

// heldAt returns what the tag was known to hold at a time, or something older.
func heldAt(base *state.Base, at time.Time) state.Snapshot {
	for _, c := range slices.Backward(base.Candidates) {
		if !c.FirstSeen.After(at) && !c.Returned.After(at) && (c.Withdrawn.IsZero() || c.Withdrawn.After(at)) {
			return c.Snapshot
		}
	}
	return base.Baseline.Snapshot
}

func forgetUnused(facts *state.Image, deps []graph.Dep) {
	facts.BuiltOn = slices.DeleteFunc(facts.BuiltOn, func(on state.BuiltOn) bool {
		return !slices.ContainsFunc(deps, func(d graph.Dep) bool { return d.Ref.String() == on.Ref })
	})
}

// Assume records, for each reference of which it is not known what the published image was built on, that it was the
// baseline, or what the parent has published by now. It reports whether anything changed. Every analysis
// calls it, since a base or a parent may become known later than the image.
func Assume(img *config.Image, st *state.State, g *graph.Graph) bool {
	facts := st.Images[img.Name]
	if facts == nil || facts.CurrentDigest == "" {
		return false
	}
	news := false
	for _, dep := range g.Deps(img.Name) {
		if facts.On(dep.Ref.String()) != nil || dep.Ref.Pinned() {
			continue
		}
		var assumed state.Snapshot
		if base := st.Bases[dep.Base]; base != nil && base.Baseline != nil {
			assumed = base.Baseline.Snapshot
		} else if p := publishedBy(st.Images[dep.Parent], dep.Ref.Tag); p != nil {
			assumed = p.Snapshot
		}
		if assumed.Digest != "" {
			news = facts.SetBuiltOn(state.BuiltOn{Ref: dep.Ref.String(), Snapshot: assumed, Evidence: state.Assumed}) || news
		}
	}
	return news
}
