package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/tagline"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// mergeWait is how long after a pin has moved the image is left to the build that the merge starts.
const mergeWait = time.Hour

// PinUpdate is a pinned reference that is to be moved by a pull request.
type PinUpdate struct {
	From   string    `json:"from"` // as the Dockerfile has it
	To     string    `json:"to"`
	Parent string    `json:"parent,omitempty"`
	Base   string    `json:"base,omitempty"`
	Since  time.Time `json:"since,omitzero"`   // when it became due
	Seen   time.Time `json:"seen,omitzero"`    // when the digest was first seen; for a parent, published
	Urgent []string  `json:"urgent,omitempty"` // findings that it fixes, and for which a scan released it
	Reason string    `json:"reason,omitempty"` // of the release, or why the pinned digest is left
}

// pinned decides on a pinned reference that pull requests move: whether its pin is to be moved, and whether the image is to be rebuilt
// because it is not built on the pinned digest.
func (d *decider) pinned(b *BaseDecision, img *config.Image, dep *graph.Dep, facts *state.Image) {
	platforms := PlatformsOf(img, dep.Uses)
	pin := pinOf(facts, dep)
	to := d.pinTarget(b, img, dep, facts, pin, platforms)
	b.Lock, b.Origin, b.Due, b.Since, b.left = state.Snapshot{Digest: dep.Ref.Digest}, FromPin, false, time.Time{}, time.Time{}
	if to != nil {
		b.Pin = to
	}
	d.moved(b, dep, facts, pin, platforms)
}

// pinOf returns what is recorded about a pin.
func pinOf(facts *state.Image, dep *graph.Dep) state.Pin {
	if use := facts.Use(dep.Ref.String()); use != nil && use.Pin != nil {
		return *use.Pin
	}
	return state.Pin{}
}

// pinTarget returns what a pin is to be moved to now, or nil. It sets what waits.
func (d *decider) pinTarget(b *BaseDecision, img *config.Image, dep *graph.Dep, facts *state.Image, pin state.Pin, platforms []string) *PinUpdate {
	if dep.Parent != "" {
		return d.pinnedParent(b, dep, facts, pin, platforms)
	}
	base := d.st.Bases[dep.Base]
	if base == nil || base.Baseline == nil {
		return nil
	}
	b.Current = base.CurrentDigest
	mature := *img
	mature.RebuildPolicy = config.Mature // a newer digest that waits does not keep back one that has ripened
	v := d.view(&mature, base, platforms)
	v.locked = true // a pin names exactly one digest
	at, from := pinPosition(v.list, base, dep.Ref.Digest, pin, platforms)
	if from < 0 {
		return nil
	}
	return v.movePin(b, dep, at, from)
}

// pinPosition returns the index of the pinned digest, -1 if it is not among the candidates, and that of the first newer one, -1 if
// none is known to be newer. Of a tag that is pushed often, state keeps neither all candidates nor what the tag held when the pin was
// first seen; what was seen since then is newer.
func pinPosition(list []candidate, base *state.Base, digest string, pin state.Pin, platforms []string) (at, from int) {
	if at = indexOf(list, effective(asRecorded(base, state.Snapshot{Digest: digest}), platforms)); at >= 0 {
		return at, at + 1
	}
	if pin.TagHeld == "" {
		return -1, -1
	}
	if from = indexOf(list, effective(asRecorded(base, state.Snapshot{Digest: pin.TagHeld}), platforms)); from >= 0 || pin.Since.IsZero() {
		return -1, from
	}
	return -1, slices.IndexFunc(list, func(c candidate) bool { return !c.seen.Before(pin.Since.Time) })
}

// movePin returns the move of a pin to the newest digest from an index on that has ripened, or to an older one where the pinned digest
// is held or was withdrawn.
func (v *view) movePin(b *BaseDecision, dep *graph.Dep, at, from int) *PinUpdate {
	leaves := at >= 0 && v.leavable(at, true)
	ripe := v.ripeAfter(from)
	b.OnHeld = at >= 0 && v.list[at].isHeld()
	older := false
	if ripe < 0 && leaves {
		ripe = v.ripe(0)
		older = ripe >= 0
	}
	if b.Outdated = v.newer(from); b.Outdated.IsZero() && leaves {
		b.Outdated = later(v.list[at].withdrawn, v.list[at].held)
	}
	if ripe < 0 {
		b.Held = leaves
		v.waiting(b, from)
		return nil
	}
	if older {
		b.Lock = v.list[ripe].Snapshot
		v.waiting(b, from)
		v.leave(b, ripe, &v.list[at])
		if !b.Due {
			return nil
		}
	} else {
		v.waiting(b, ripe+1)
		b.Since = v.ripeSince(ripe)
	}
	c := &v.list[ripe]
	to := dep.Ref
	to.Digest = c.Digest
	p := &PinUpdate{From: b.Ref, To: to.String(), Base: dep.Base, Since: b.Since, Seen: c.seen}
	p.Urgent, p.Reason, _ = v.verdicts(max(from, 0), ripe)
	switch {
	case older && b.OnHeld:
		p.Reason = "the pinned digest is held"
	case older:
		p.Reason = "the pinned digest was withdrawn"
	case p.Reason == "" && v.releasedNow(c) && !v.aged(c, v.delay()):
		p.Reason = "released"
	}
	slices.Sort(p.Urgent)
	p.Urgent = slices.Compact(p.Urgent)
	b.Released, b.Urgent = v.releasedNow(c) && !v.aged(c, v.delay()), p.Urgent
	return p
}

// ripeAfter is like ripe, but the baseline must have ripened too: it is newer than a pin that was not seen under the tag.
func (v *view) ripeAfter(from int) int {
	if i := v.ripe(from); i > 0 || i == 0 && (v.releasedNow(&v.list[0]) || v.aged(&v.list[0], v.delay())) {
		return i
	}
	return -1
}

// ripeSince returns when a candidate that may be used now became so.
func (v *view) ripeSince(i int) time.Time {
	c := &v.list[i]
	since := c.since.Add(v.delay())
	if v.releasedNow(c) && c.released.Before(since) {
		return c.released
	}
	return since
}

// pinnedParent returns the move of a pin to what a parent published last, or nil.
func (d *decider) pinnedParent(b *BaseDecision, dep *graph.Dep, facts *state.Image, pin state.Pin, platforms []string) *PinUpdate {
	parent := d.st.Images[dep.Parent]
	if parent == nil {
		return nil
	}
	to, newer := dep.Ref, false
	if version := parent.CurrentVersion; isLater(version, to.Tag) {
		to.Tag, newer = version, true
	}
	p := publishedBy(parent, to.Tag)
	if p == nil {
		return nil
	}
	b.Current = p.Digest
	newer = newer || p.Digest == pin.TagHeld || !pin.Since.IsZero() && !p.Since.Before(pin.Since.Time)
	if !newer || to.Tag == dep.Ref.Tag && same(state.Snapshot{Digest: dep.Ref.Digest}, p.Snapshot, platforms) {
		return nil
	}
	to.Digest = p.Digest
	since := pastOnly(p.Since, d.clock)
	b.Outdated = since
	urgent, _ := d.passedOn(dep.Parent, builtAt(facts))
	return &PinUpdate{From: b.Ref, To: to.String(), Parent: dep.Parent, Since: since, Seen: since, Urgent: urgent}
}

// isLater reports whether a version is a later release than a tag of the same form.
func isLater(version, tag string) bool {
	newer := tagline.NewerThan(tag, []string{version})
	return newer.Release != "" || newer.Line != ""
}

// moved decides whether an image is to be rebuilt because its pin has moved: the build that the merge starts has not published it
// within mergeWait.
func (d *decider) moved(b *BaseDecision, dep *graph.Dep, facts *state.Image, pin state.Pin, platforms []string) {
	on := builtOnTag(facts, dep.Ref)
	if on == nil || pin.Since.IsZero() || pin.Since.Ahead(d.clock) || !d.differs(on, dep, platforms) {
		return
	}
	if on.Evidence == state.Assumed && facts.LastBuilt.After(pin.Since.Add(-mergeWait)) {
		return // published about when the pin moved: most likely by the build that the merge started
	}
	due := pin.Since.Add(mergeWait)
	if d.now.Before(due) {
		b.Merged = due
		return
	}
	b.Due, b.Since = true, due
}

// differs reports whether the published image is known to be built on another digest than the pinned one: on an earlier pin, or on
// another candidate of the tag. Digests of indexes and of their manifests cannot be compared unless the tag was seen to hold them.
func (d *decider) differs(on *state.BuiltOn, dep *graph.Dep, platforms []string) bool {
	pinned := state.Snapshot{Digest: dep.Ref.Digest}
	if same(on.Snapshot, pinned, platforms) {
		return false
	}
	base := d.st.Bases[dep.Base]
	if base == nil || base.Baseline == nil {
		return strings.HasSuffix(on.Ref, "@"+on.Digest)
	}
	a, b := asRecorded(base, on.Snapshot), asRecorded(base, pinned)
	if len(a.Platforms) > 0 && len(b.Platforms) > 0 {
		return !same(a, b, platforms)
	}
	return strings.HasSuffix(on.Ref, "@"+on.Digest)
}

// builtOnTag returns what the published image was built on under the tag of a pinned reference, or nil if that is not known.
func builtOnTag(facts *state.Image, ref state.Ref) *state.BuiltOn {
	if on := facts.On(ref.String()); on != nil {
		return on
	}
	var found *state.BuiltOn
	for i := range facts.BuiltOn {
		on := &facts.BuiltOn[i]
		r, err := state.ParseRef(on.Ref)
		if err != nil || !r.Pinned() || facts.Use(on.Ref) != nil || r.Registry != ref.Registry || r.Repository != ref.Repository {
			continue
		}
		if found = on; r.Tag == ref.Tag {
			break
		}
	}
	return found
}

// proposed sets the status of an image whose pins are to be moved, or are being moved by an open pull request, and that has nothing
// to be rebuilt for.
func (d *decider) proposed(dec *Decision, img *config.Image, facts *state.Image) {
	dec.PullRequest = facts.PullRequest
	if !img.Rebuilds() {
		return
	}
	var moves []string
	for i := range dec.Bases {
		b := &dec.Bases[i]
		if dec.Status == Current && !b.Merged.IsZero() {
			dec.Status, dec.Until = Waiting, b.Merged
			dec.Reason = "pin of " + state.Short(b.Ref) + " has moved; waits for the build that the merge starts"
		}
		if p := b.Pin; p != nil {
			dec.Pins = append(dec.Pins, *p)
			from, _, _ := strings.Cut(p.From, "@")
			moves = append(moves, state.Short(from))
			dec.pinsUrgent = dec.pinsUrgent || len(p.Urgent) > 0
		}
	}
	if len(moves) == 0 {
		return
	}
	if dec.PinsStop = d.pinsStop(img, dec.pinsUrgent); dec.Status != Current && dec.Status != Waiting {
		return
	}
	what := strings.Join(moves, ", ")
	dec.Status, dec.Until, dec.StopAhead = Waiting, time.Time{}, ""
	switch r := facts.PullRequest; {
	case r != nil && r.Message != "":
		dec.Reason = fmt.Sprintf("pull request %s for %s, opened %s: %s", state.Text(r.URL), what, ago(d.now.Sub(r.Since.Time)), state.Text(r.Message))
	case r != nil:
		dec.Reason = fmt.Sprintf("pull request %s for %s waits to be merged, opened %s", state.Text(r.URL), what, ago(d.now.Sub(r.Since.Time)))
	case dec.PinsStop != "":
		dec.Reason = "pin of " + what + " is to be moved; " + dec.PinsStop
	default:
		dec.Reason = "pin of " + what + " is to be moved by a pull request"
	}
}

// pinsStop returns what keeps pull requests for an image from being opened or brought up to date now, or "".
func (d *decider) pinsStop(img *config.Image, urgent bool) string {
	if p := d.st.PauseOf(img.Name, d.now); p != nil {
		return p.String()
	}
	if opening := img.OpenWindows().NextOpen(d.now, urgent); !opening.At.Equal(d.now) {
		return windowReason(opening, d.now, d.now)
	}
	return ""
}
