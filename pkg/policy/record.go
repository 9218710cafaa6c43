package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Begin records the rebuild of a due decision before it is started. Overdue rebuilds must be closed already.
func Begin(st *state.State, dec Decision, now time.Time) {
	st.Images[dec.Image].Request(state.Rebuild{
		ID: dec.Rebuild, Reason: dec.Reason, Bases: dec.Targets, Urgent: dec.Urgent, Released: dec.released, RequestedAt: state.At(now),
	})
}

// Reconsider returns the decision on an image as if its rebuild, which was recorded but never started, were not recorded.
func Reconsider(cfg *config.Config, st *state.State, g *graph.Graph, image string, now time.Time) Decision {
	facts := st.Images[image]
	kept := *facts
	facts.CancelRequest()
	defer func() { *facts = kept }()
	decisions := Decide(cfg, st, g, now)
	return decisions[slices.IndexFunc(decisions, func(d Decision) bool { return d.Image == image })]
}

// CloseOverdue records the failure of every overdue rebuild and returns the names of their images, sorted; see [Overdue].
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

// Publication is the newest published version of a managed image, as observed in its registry.
type Publication struct {
	Version string
	Digest  string
	Created time.Time       // creation time that the image claims; used only for the first version that is observed
	BuiltOn []state.BuiltOn // base digests for which there is evidence; often none
}

// RecordPublication records the newest published version of an image and what it was built on, sets the outcome of the
// rebuild that it ends, and reports whether anything changed. The digests of its tags must be recorded first
// ([state.Image.ObservePublished]), so that images built on it are not due too early.
//
// Without evidence, a version that appears while a rebuild is active is taken for the result of that rebuild. Any other
// version is assumed to be built on the same digests as the one before it, and the first one on the baselines.
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

// demoteEvidence marks the base digests of the previous version as assumed where there is no evidence for the new one.
func demoteEvidence(facts *state.Image, proven []state.BuiltOn) {
	for i := range facts.BuiltOn {
		on := &facts.BuiltOn[i]
		if !slices.ContainsFunc(proven, func(p state.BuiltOn) bool { return p.Ref == on.Ref }) {
			on.Evidence = state.Assumed
		}
	}
}

// endRebuild records the outcome of the rebuild that published a new version. A version on an older base that appears
// during the run is from another build. A version that appears after the rebuild failed still makes it succeed if there is
// evidence for the expected bases, unless the rebuild had no run: then it stays failed, and is no longer to be repeated.
func endRebuild(img *config.Image, st *state.State, g *graph.Graph, now time.Time) {
	r := st.Images[img.Name].Rebuild
	status, message := Outcome(img, st, g, now)
	switch {
	case r.Status == state.Built, r.Status.Active() && status != state.WrongBase:
		r.Finish(status, message, now)
	case r.Status.Active(), r.Status.CountsAsBuilt(), status != state.Succeeded:
	case r.Refused:
		r.Failures = 0
	default:
		r.Finish(status, "seen after the rebuild had failed", now)
	}
}

// EndAdopted sets the outcome of a rebuild that is recorded now, after its image: a version that was observed since the rebuild was
// requested is taken for its result, as if the rebuild had been recorded first ([RecordPublication]).
func EndAdopted(img *config.Image, st *state.State, g *graph.Graph, now time.Time) {
	facts := st.Images[img.Name]
	r := facts.Rebuild
	if !r.Status.Active() || !observedSince(facts, r.RequestedAt, now) {
		return
	}
	evidence := slices.DeleteFunc(slices.Clone(facts.BuiltOn), func(on state.BuiltOn) bool { return on.Evidence == state.Assumed })
	recordBuiltOn(img, st, g, evidence, now)
	if status, message := Outcome(img, st, g, now); status != state.WrongBase {
		r.Finish(status, message, now)
	}
}

// publishGrace is how long after its run an image may become visible: registries and mirrors can be late.
const publishGrace = 10 * time.Minute

// EndBuilt sets the outcome of a rebuild whose run has succeeded and whose image was observed before that, on an older base than
// expected. While the run lasted, the image could be from another build. The published version must have been read in this pass.
func EndBuilt(img *config.Image, st *state.State, g *graph.Graph, now time.Time) {
	facts := st.Images[img.Name]
	r := facts.Rebuild
	if r == nil || r.Status != state.Built || now.Sub(r.FinishedAt.Time) < publishGrace || !observedSince(facts, r.Claimed(), now) {
		return
	}
	if status, message := Outcome(img, st, g, now); status == state.WrongBase {
		r.Finish(status, message, now)
	}
}

// observedSince reports whether the published version was first observed after a time.
func observedSince(facts *state.Image, t state.Time, now time.Time) bool {
	return facts.LastBuilt.After(t.Time) && !facts.LastBuilt.Ahead(now)
}

// recordBuiltOn records what a rebuilt image was built on if there is no evidence. When in doubt it records the older digest:
// that costs an extra rebuild, whereas a newer one would lose an update.
func recordBuiltOn(img *config.Image, st *state.State, g *graph.Graph, evidence []state.BuiltOn, now time.Time) {
	facts := st.Images[img.Name]
	requested := facts.Rebuild.RequestedAt.Time
	if facts.Rebuild.RequestedAt.Ahead(now) {
		requested = now.Add(-RunTimeout) // the earliest possible time, since the rebuild is still active
	}
	for _, b := range lockAt(img, st, g, requested, now) {
		proven := slices.ContainsFunc(evidence, func(on state.BuiltOn) bool { return on.Ref == b.Ref })
		if used := usedBy(img, st, &b, facts, requested, now); !proven && used.Digest != "" {
			facts.SetBuiltOn(state.BuiltOn{Ref: b.Ref, Snapshot: used, Evidence: state.Recorded})
		}
	}
}

// usedBy returns the oldest digest of a base that the active rebuild can have used. A build with the lock used the lock; any
// other used what the tag held when the rebuild was requested, or something newer. For a parent it is the digest that made
// the rebuild due, or else the one that the image was built on before.
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

// heldAt returns the snapshot that the tag was known to hold at a time, or an older one.
func heldAt(base *state.Base, at time.Time) state.Snapshot {
	for _, c := range slices.Backward(base.Candidates) {
		if !c.FirstSeen.After(at) && !c.Returned.After(at) && (c.Withdrawn.IsZero() || c.Withdrawn.After(at)) {
			return c.Snapshot
		}
	}
	return base.Baseline.Snapshot
}

// forgetUnused drops the base digests of references that the image no longer uses.
func forgetUnused(facts *state.Image, deps []graph.Dep) {
	facts.BuiltOn = slices.DeleteFunc(facts.BuiltOn, func(on state.BuiltOn) bool {
		return !slices.ContainsFunc(deps, func(d graph.Dep) bool { return d.Ref.String() == on.Ref })
	})
}

// Assume fills in the unknown base digests of the published image: the baseline of a base image, or the digest that a parent
// publishes now. It reports whether anything changed. Every analysis calls it, since a base or a parent may become known
// later than the image.
func Assume(img *config.Image, st *state.State, g *graph.Graph) bool {
	facts := st.Images[img.Name]
	if facts == nil || facts.CurrentDigest == "" {
		return false
	}
	news := false
	for _, dep := range g.Deps(img.Name) {
		if facts.On(dep.Ref.String()) != nil || !dep.Moves() || dep.Updated && builtOnTag(facts, dep.Ref) != nil {
			continue
		}
		var assumed state.Snapshot
		if dep.Updated {
			assumed.Digest = dep.Ref.Digest
		} else if base := st.Bases[dep.Base]; base != nil && base.Baseline != nil {
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
