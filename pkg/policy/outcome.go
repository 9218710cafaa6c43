package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Overdue reports whether an active rebuild has exceeded [RunTimeout], and returns the failure message to record for it.
func Overdue(r *state.Rebuild, now time.Time) (message string, overdue bool) {
	switch {
	case r == nil || !r.Status.Active():
		return "", false
	case r.Status == state.Built:
		return unseen + " within " + config.Duration(RunTimeout).String(), timedOut(r.FinishedAt, now)
	case r.Status == state.Requested:
		message = "could not be started within " + config.Duration(RunTimeout).String()
		if r.Message != "" {
			message += ": " + r.Message
		}
		return message, timedOut(r.RequestedAt, now)
	default:
		return unended + " within " + config.Duration(RunTimeout).String(), timedOut(r.Claimed(), now)
	}
}

// Prefixes of the messages of rebuilds whose image was not seen.
const (
	unseen  = "the run succeeded, but no new image was seen"
	unended = "the run did not end"
)

// Unseen reports whether a rebuild failed because no new image was seen. The rule that chooses the published tag may be
// wrong then.
func Unseen(r *state.Rebuild) bool {
	return r != nil && r.Status == state.Failed && (strings.HasPrefix(r.Message, unseen) || strings.HasPrefix(r.Message, unended))
}

// timedOut reports whether t is at least RunTimeout away from now. A time in the future counts too, or else the rebuild would
// never end.
func timedOut(t state.Time, now time.Time) bool {
	return now.Sub(t.Time) >= RunTimeout || t.Sub(now) >= RunTimeout
}

// Outcome returns the status of a rebuild according to the published image, whose builtOn must be recorded already. The
// rebuild has succeeded if every base that made it due has the expected digest or a later one. Without evidence it is
// unproven, which counts as built.
func Outcome(img *config.Image, st *state.State, g *graph.Graph, now time.Time) (state.RebuildStatus, string) {
	facts := st.Images[img.Name]
	if facts == nil || facts.Rebuild == nil {
		return state.Unproven, "no rebuild is recorded"
	}
	deps := map[string]*graph.Dep{}
	for i, dep := range g.Deps(img.Name) {
		deps[dep.Ref.String()] = &g.Deps(img.Name)[i]
	}
	status, message := state.Succeeded, ""
	for _, t := range facts.Rebuild.Bases {
		dep, on := deps[t.Ref], facts.On(t.Ref)
		if dep == nil {
			continue // no longer used
		}
		switch judge(img, st, dep, on, t.Snapshot, pastOnly(facts.LastBuilt, now), now) {
		case state.WrongBase:
			return state.WrongBase, fmt.Sprintf("the new image is built on %s of %s, not on %s or later", on.Digest, state.Short(t.Ref), t.Digest)
		case state.Unproven:
			status, message = state.Unproven, "no evidence of which digest of "+state.Short(t.Ref)+" the new image is built on"
		}
	}
	return status, message
}

// judge returns Succeeded if the image is built on the target or a later digest of a base.
func judge(img *config.Image, st *state.State, dep *graph.Dep, on *state.BuiltOn, target state.Snapshot, built, now time.Time) state.RebuildStatus {
	platforms := PlatformsOf(img, dep.Uses)
	switch {
	case on == nil || on.Evidence == state.Recorded || on.Evidence == state.Assumed:
		return state.Unproven
	case same(on.Snapshot, target, platforms):
		return state.Succeeded
	case dep.Parent != "":
		p := publishedBy(st.Images[dep.Parent], dep.Ref.Tag)
		return succeededIf(p != nil && same(on.Snapshot, p.Snapshot, platforms))
	}
	if st.Unreadable(state.BasesFolder, dep.Base) {
		return state.Unproven
	}
	base := st.Bases[dep.Base]
	if base == nil || base.Baseline == nil {
		return state.WrongBase
	}
	list := candidates(base.Corrected(now), platforms)
	want, listed := position(list, base, &state.BuiltOn{Snapshot: target}, built, platforms)
	if !listed { // dropped from the candidates in the meantime
		return state.Unproven
	}
	got, known := position(list, base, on, built, platforms)
	if !known { // the tag held it between two observations, so it is newer than the one before
		return succeededIf(got >= want)
	}
	return succeededIf(got == want || got > want && (!list[got].isWithdrawn() || list[got].isReleased()))
}

func succeededIf(ok bool) state.RebuildStatus {
	if ok {
		return state.Succeeded
	}
	return state.WrongBase
}
