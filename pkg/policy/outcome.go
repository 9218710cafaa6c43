package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Overdue reports whether a rebuild that is not over should be, and what then is to be recorded as its failure.
func Overdue(r *state.Rebuild, now time.Time) (message string, overdue bool) {
	switch {
	case r == nil || !r.Status.Active():
		return "", false
	case r.Status == state.Built:
		return unseen + " within " + config.Duration(RunTimeout).String(), timedOut(r.FinishedAt, now)
	case r.Status == state.Requested:
		message = "nothing could start it within " + config.Duration(RunTimeout).String()
		if r.Message != "" {
			message += ": " + r.Message
		}
		return message, timedOut(r.RequestedAt, now)
	default:
		return unended + " within " + config.Duration(RunTimeout).String(), timedOut(r.Claimed(), now)
	}
}

// These begin the messages of rebuilds whose image was not found.
const (
	unseen  = "the run succeeded, but no new image was seen"
	unended = "the run did not end"
)

// Unseen reports whether a rebuild failed because no new image was seen. The rule by which the published image is found may
// look at the wrong tags.
func Unseen(r *state.Rebuild) bool {
	return r != nil && r.Status == state.Failed && (strings.HasPrefix(r.Message, unseen) || strings.HasPrefix(r.Message, unended))
}

// timedOut reports whether RunTimeout is over. A time that is as far ahead counts too, or the rebuild would never end.
func timedOut(t state.Time, now time.Time) bool {
	return now.Sub(t.Time) >= RunTimeout || t.Sub(now) >= RunTimeout
}

// Outcome judges a rebuild by the published image: builtOn must hold what is known of the new image. It has succeeded
// when every base that made it due is the expected content or a later one. Where there is no evidence it is unproven,
// which counts as built.
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
			continue // no longer used: nothing to expect
		}
		switch judge(img, st, dep, on, t.Snapshot, pastOnly(facts.LastBuilt, now), now) {
		case state.WrongBase:
			return state.WrongBase, fmt.Sprintf("the new image is built on %s of %s, not on %s or later", on.Digest, state.Short(t.Ref), t.Digest)
		case state.Unproven:
			status, message = state.Unproven, "no evidence of the digest of "+state.Short(t.Ref)+" that the new image is built on"
		}
	}
	return status, message
}

// judge reports whether what the image was built on is the target or later.
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
	base := st.Bases[dep.Base]
	if base == nil || base.Baseline == nil {
		return state.WrongBase
	}
	list := candidates(base.Corrected(now), platforms)
	want, listed := position(list, base, &state.BuiltOn{Snapshot: target}, built, platforms)
	if !listed { // dropped from the candidates meanwhile
		return state.Unproven
	}
	got, known := position(list, base, on, built, platforms)
	if !known { // what the tag held between two looks: newer than what was seen there
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
