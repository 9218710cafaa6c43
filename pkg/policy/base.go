package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// bases returns the decision on each reference that the image uses.
func (d *decider) bases(img *config.Image, facts *state.Image) []BaseDecision {
	if facts == nil {
		return nil
	}
	deps := d.g.Deps(img.Name)
	out := make([]BaseDecision, 0, len(deps))
	for i := range deps {
		dep := &deps[i]
		b := BaseDecision{Ref: dep.Ref.String(), Parent: dep.Parent, Base: dep.Base, Origin: FromNowhere}
		on := facts.On(b.Ref)
		switch {
		case dep.Updated:
			d.pinned(&b, img, dep, facts)
		case dep.Ref.Pinned():
			b.Lock, b.Origin = state.Snapshot{Digest: dep.Ref.Digest}, FromPin
			if base := d.st.Bases[dep.Base]; base != nil {
				b.Current = base.CurrentDigest
			}
		case dep.Parent != "":
			d.parent(&b, dep, on, facts, PlatformsOf(img, dep.Uses))
		default:
			if base := d.st.Bases[dep.Base]; base != nil && base.Baseline != nil {
				b.Current = base.CurrentDigest
				d.upstream(&b, img, base, on, facts, PlatformsOf(img, dep.Uses))
			} else if on != nil {
				b.Lock, b.Origin = on.Snapshot, FromBuilt
			}
		}
		out = append(out, b)
	}
	return out
}

// parent decides on a reference that another managed image publishes: it is due as soon as the parent is published.
func (d *decider) parent(b *BaseDecision, dep *graph.Dep, on *state.BuiltOn, facts *state.Image, platforms []string) {
	published := publishedBy(d.st.Images[dep.Parent], dep.Ref.Tag)
	switch {
	case published == nil && on != nil:
		b.Lock, b.Origin = on.Snapshot, FromBuilt
	case published == nil:
	default:
		b.Lock, b.Origin, b.Current = published.Snapshot, FromPublished, published.Digest
		b.Due = on != nil && !same(on.Snapshot, published.Snapshot, platforms)
		if b.Due {
			b.Since = pastOnly(published.Since, d.clock)
			b.Outdated = b.Since
			b.Urgent, b.released = d.passedOn(dep.Parent, builtAt(facts))
		}
	}
}

// pastOnly returns t, or the zero time if t is in the future, which only a wrong clock can have written.
func pastOnly(t state.Time, clock time.Time) time.Time {
	if t.Ahead(clock) {
		return time.Time{}
	}
	return t.Time
}

// publishedBy returns the content of a parent's tag, or nil if it is not known.
func publishedBy(parent *state.Image, tag string) *state.Published {
	if parent == nil {
		return nil
	}
	if p := parent.PublishedTag(tag); p != nil {
		return p
	}
	if parent.CurrentVersion == tag && parent.CurrentDigest != "" {
		return &state.Published{Tag: tag, Snapshot: state.Snapshot{Digest: parent.CurrentDigest}, Since: parent.LastBuilt}
	}
	return nil
}

// candidate is a digest that a tag held, as seen from the platforms of one image. Digests with the same effective digests
// are one candidate.
type candidate struct {
	state.Snapshot // the first digest that was not withdrawn since, or the one that was released
	effective      string
	seen           time.Time // first
	since          time.Time // start of the delay: when it was first seen, when it returned, or when it was verified at last
	withdrawn      time.Time // zero unless the tag went back to an older digest
	held           time.Time
	released       time.Time // counts only if later than held: the last decision is valid
	missing        []string  // platforms of the image that it lacks, although an earlier digest of the tag had them
	untrusted      string    // why it could not be verified
	urgent         []string  // findings for which a scan released it
	adds           []string  // findings for which a scan held it
	reason         string    // of the release by a scan
}

// isUsable reports whether a build may use the candidate once it has ripened.
func (c *candidate) isUsable() bool { return !c.isHeld() && len(c.missing) == 0 && c.untrusted == "" }

func (c *candidate) isHeld() bool { return !c.held.IsZero() && !c.released.After(c.held) }

func (c *candidate) isReleased() bool { return !c.released.IsZero() && !c.isHeld() }

func (c *candidate) isWithdrawn() bool { return !c.withdrawn.IsZero() }

// tagKey is a tag, as seen from the platforms of an image.
type tagKey struct {
	base      *state.Base
	platforms string
}

// candidates returns the candidates of a tag from a cache, since most images use the same few tags.
func (d *decider) candidates(base *state.Base, platforms []string) []candidate {
	key := tagKey{base, strings.Join(platforms, " ")}
	list, known := d.tags[key]
	if !known {
		list = candidates(base.Corrected(d.clock), platforms)
		d.tags[key] = list
	}
	return list
}

// candidates returns the candidates of a tag, oldest first, as seen from the platforms of an image: digests that differ only
// for other platforms are one candidate, and a tag that returns to an older candidate withdraws the later ones. The first is
// the baseline, which is never withdrawn.
func candidates(base *state.Base, platforms []string) []candidate {
	offered := make([]bool, len(platforms))
	// Builds need a digest, so the baseline stays the last resort even if it is not verified.
	out := appendCandidate(make([]candidate, 0, 1+len(base.Candidates)), base.Baseline, "", platforms, offered)
	list := inOrder(base.Candidates)
	for i := range list {
		out = appendCandidate(out, &list[i], base.Distrust(&list[i]), platforms, offered)
	}
	for i := 1; i+1 < len(out); i++ {
		if len(out[i].Platforms) == 0 && len(out[0].Platforms) > 0 {
			out[i].missing = platforms // the tag moved on before they were read: it may have been incomplete
		}
	}
	return out
}

// missingOf returns the platforms that a digest lacks, although an earlier digest of its tag had them, and adds those that it
// has to offered. A platform that no digest ever had is not missing: the image does not build on the tag for it.
func missingOf(s state.Snapshot, platforms []string, offered []bool) (missing []string) {
	if len(s.Platforms) == 0 {
		return nil
	}
	for i, p := range platforms {
		switch lacks := s.Lacks(p); {
		case !lacks:
			offered[i] = true
		case offered[i]:
			missing = append(missing, p)
		}
	}
	return missing
}

// inOrder returns candidates sorted by the time they were first seen. They are stored like that, but a file can have been
// edited by hand.
func inOrder(list []state.Candidate) []state.Candidate {
	for i := 1; i < len(list); i++ {
		if list[i].FirstSeen.Before(list[i-1].FirstSeen.Time) {
			list = slices.Clone(list)
			slices.SortStableFunc(list, func(a, b state.Candidate) int { return a.FirstSeen.Compare(b.FirstSeen.Time) })
			break
		}
	}
	return list
}

func appendCandidate(list []candidate, c *state.Candidate, untrusted string, platforms []string, offered []bool) []candidate {
	missing := missingOf(c.Snapshot, platforms, offered)
	eff, since := effective(c.Snapshot, platforms), later(c.FirstSeen.Time, later(c.Returned.Time, c.Trusted.Time))
	at := indexOf(list, eff)
	switch {
	case at < 0:
		list = append(list, candidate{
			Snapshot: c.Snapshot, effective: eff, seen: c.FirstSeen.Time, since: since, withdrawn: c.Withdrawn.Time, missing: missing, untrusted: untrusted,
		})
		at = len(list) - 1
	case c.Withdrawn.IsZero():
		if list[at].isWithdrawn() && !list[at].isReleased() && (untrusted == "" || list[at].untrusted != "") {
			list[at].Snapshot = c.Snapshot
		}
		if list[at].isWithdrawn() && since.Sub(list[at].withdrawn) >= state.WithdrawalWait { // it returns under another digest
			list[at].since = since
		}
		if list[at].untrusted != "" && untrusted == "" { // of two indexes of one content, the verified one
			list[at].Snapshot, list[at].untrusted, list[at].since = c.Snapshot, "", later(list[at].since, since)
		}
		list[at].withdrawn = time.Time{}
		for i := at + 1; i < len(list); i++ {
			if !list[i].isWithdrawn() {
				list[i].withdrawn = c.FirstSeen.Time
			}
		}
	}
	if c.Released.After(list[at].released) { // somebody asked for this digest
		list[at].Snapshot = c.Snapshot
		list[at].untrusted, list[at].urgent, list[at].reason = untrusted, c.Urgent, c.Reason
	}
	if c.Held.After(list[at].held) {
		list[at].adds = c.Adds
	}
	list[at].held = later(list[at].held, c.Held.Time)
	list[at].released = later(list[at].released, c.Released.Time)
	return list
}

// forImage returns the candidates without the releases and holds by a scan that do not concern an image: it does not set `urgent`,
// the candidate is too young for it or was withdrawn, or it does not want candidates to be held.
func forImage(list []candidate, img *config.Image, now time.Time) []candidate {
	u := img.Urgent
	cloned := false
	for i := range list {
		c := &list[i]
		release := len(c.urgent) > 0 && (u == nil || c.isWithdrawn() || now.Sub(c.since) < min(u.Age(), img.Delay().Std()))
		hold := len(c.adds) > 0 && (u == nil || !u.Holds())
		if !release && !hold {
			continue
		}
		if !cloned { // the list is shared by images
			list, cloned = slices.Clone(list), true
			c = &list[i]
		}
		if release {
			c.released, c.urgent = time.Time{}, nil
		}
		if hold {
			c.held, c.adds = time.Time{}, nil
		}
	}
	return list
}

func indexOf(list []candidate, effective string) int {
	for i := range list { // no copies of elements: this is the innermost loop
		if list[i].effective == effective {
			return i
		}
	}
	return -1
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// effective returns the digests that a build for the platforms uses, as one string to compare.
func effective(s state.Snapshot, platforms []string) string {
	switch len(platforms) {
	case 0:
		return s.Digest
	case 1:
		return s.Effective(platforms[0])
	}
	parts := make([]string, len(platforms))
	for i, p := range platforms {
		parts[i] = s.Effective(p)
	}
	return strings.Join(parts, " ")
}

func same(a, b state.Snapshot, platforms []string) bool {
	return a.Digest == b.Digest || effective(a, platforms) == effective(b, platforms)
}

// upstream decides on a base image: which digest a build should use now, whether to rebuild for it, and which newer one
// waits. The lock does not depend on the rebuild policy, which only decides when to rebuild: a push that restarts the wait
// does not change the digest that a running rebuild is for.
func (d *decider) upstream(b *BaseDecision, img *config.Image, base *state.Base, on *state.BuiltOn, facts *state.Image, platforms []string) {
	v := d.view(img, base, platforms)
	built := pastOnly(facts.LastBuilt, d.clock)
	at, listed := position(v.list, base, on, built, platforms)
	from := at + 1
	if !listed && at > 0 && !rebuiltFor(facts.Rebuild, b.Ref, v.list[at], platforms) {
		// It is unknown whether this candidate is older or newer than the digest that the image was built on. It is newer
		// if the tag still holds it a whole delay after the build.
		v.list = slices.Clone(v.list)
		v.list[at].since = later(v.list[at].since, built)
		from = at
	}
	ripe := v.ripe(from)
	leaves := v.leavable(at, listed)
	older := -1
	if leaves && ripe < 0 {
		older = v.ripe(0)
	}
	b.OnHeld = listed && v.list[at].isHeld()
	if on != nil && !built.IsZero() {
		b.Unripe = (&Past{d.tags}).Unripe(img, base, on, platforms, built)
	}
	switch {
	case ripe >= 0:
		b.Lock, b.Origin = v.list[ripe].Snapshot, FromRipe
		b.Released = v.releasedNow(&v.list[ripe]) && !v.aged(&v.list[ripe], v.delay())
		if b.Due, b.Since = v.triggered(from, ripe); b.Due {
			b.Urgent, b.fixes, b.released = v.verdicts(from, ripe)
		}
	case older >= 0:
		ripe = older
		b.Lock, b.Origin = v.list[ripe].Snapshot, FromOlder
	case on != nil:
		b.Lock, b.Origin = on.Snapshot, FromBuilt
	default:
		b.Lock, b.Origin = v.list[0].Snapshot, FromBaseline
	}
	if b.Outdated = v.newer(from); b.Outdated.IsZero() && leaves {
		b.Outdated = later(v.list[at].withdrawn, v.list[at].held)
	}
	waits := from
	if b.Due {
		waits = ripe + 1
	}
	v.waiting(b, waits)
	switch {
	case !leaves || b.Due:
	case ripe >= 0:
		v.leave(b, ripe, &v.list[at])
	default: // everything older is held too
		b.Held = true
	}
}

// leavable reports whether an image that is built on a candidate is to leave it: it was withdrawn or is held.
func (v *view) leavable(at int, listed bool) bool {
	c := &v.list[at]
	return listed && (c.isHeld() || c.isWithdrawn() && !v.releasedNow(c))
}

// view returns the candidates of a tag, as seen from an image.
func (d *decider) view(img *config.Image, base *state.Base, platforms []string) view {
	return view{img: img, now: d.now, locked: img.Source.PinsBases(), list: forImage(d.candidates(base, platforms), img, d.now)}
}

// view is the candidates of one tag, as seen from one image at one time.
type view struct {
	img    *config.Image
	now    time.Time
	locked bool // builds use the lock instead of what the tag holds
	list   []candidate
}

func (v *view) delay() time.Duration { return v.img.Delay().Std() }

// aged reports whether a candidate has waited that long.
func (v *view) aged(c *candidate, wait time.Duration) bool { return v.now.Sub(c.since) >= wait }

// releasedNow reports whether a candidate is released. A release after now does not count, so that the lock of an earlier
// time can be computed.
func (v *view) releasedNow(c *candidate) bool { return c.isReleased() && !c.released.After(v.now) }

// eligible reports whether a build may use a candidate. A withdrawn one must be released, and only a build with the lock can
// get it.
func (v *view) eligible(c *candidate) bool {
	return c.isUsable() && (!c.isWithdrawn() || v.locked && v.releasedNow(c))
}

// ripe returns the index of the newest candidate that may be used now, or -1. The baseline may be used at any age.
func (v *view) ripe(from int) int {
	for i := len(v.list) - 1; i >= from; i-- {
		if c := &v.list[i]; v.eligible(c) && (i == 0 || v.releasedNow(c) || v.aged(c, v.delay())) {
			return i
		}
	}
	return -1
}

// current returns the index of the candidate that the tag holds: the newest that was not withdrawn.
func (v *view) current() int {
	for i := len(v.list) - 1; i > 0; i-- {
		if !v.list[i].isWithdrawn() {
			return i
		}
	}
	return 0
}

// newer returns when the first candidate from there on that may be used, now or later, was seen; the zero time if there is none.
func (v *view) newer(from int) time.Time {
	for i := from; i < len(v.list); i++ {
		if c := &v.list[i]; v.eligible(c) {
			return c.since
		}
	}
	return time.Time{}
}

// headUnusable reports whether a build would use a digest that is held, incomplete or untrusted, because it uses what the tag
// holds.
func (v *view) headUnusable() bool { return !v.locked && !v.list[v.current()].isUsable() }

// triggered reports whether to rebuild for the ripe candidate, and since when.
func (v *view) triggered(from, ripe int) (bool, time.Time) {
	if v.headUnusable() {
		return false, time.Time{}
	}
	var first, newest *candidate
	for i := from; i < len(v.list); i++ {
		c := &v.list[i]
		if !v.eligible(c) {
			continue
		}
		if i <= ripe && v.releasedNow(c) {
			return true, c.released
		}
		if first == nil {
			first = c
		}
		newest = c
	}
	switch longest := v.img.MaxDelay().Std(); {
	case v.img.RebuildPolicy == config.Mature:
		return true, later(first.since.Add(v.delay()), first.released)
	case v.aged(newest, v.delay()):
		return true, newest.since.Add(v.delay())
	case v.aged(first, longest):
		return true, first.since.Add(longest)
	}
	return false, time.Time{}
}

// leave decides on a rebuild that moves an image off the digest that it is built on. A held digest is left at once. A
// withdrawn one is left after state.WithdrawalWait (or the delay, if that is shorter), because registry replicas that disagree
// look like a tag that goes back and forth. A build without the lock must also get the wanted digest from the tag.
func (v *view) leave(b *BaseDecision, to int, from *candidate) {
	due := from.held
	if !from.isHeld() {
		due = from.withdrawn.Add(min(v.delay(), state.WithdrawalWait))
	}
	switch {
	case v.headUnusable():
		head := &v.list[v.current()]
		b.Held, b.Missing, b.Untrusted = b.Held || head.isHeld(), head.missing, head.untrusted
	case !v.locked && v.current() != to:
	case v.now.Before(due):
		b.Waiting, b.Moved, b.Until = b.Lock.Digest, time.Time{}, due
	default:
		b.Due, b.Since = true, due
		b.left = from.held
		b.Waiting, b.Moved, b.Until = "", time.Time{}, time.Time{}
	}
}

// waiting sets the newer digest that waits, and when it becomes due if the tag does not move again.
func (v *view) waiting(b *BaseDecision, from int) {
	var first *candidate
	for i := from; i < len(v.list); i++ {
		c := &v.list[i]
		b.Held = b.Held || c.isHeld()
		b.Withdrawn = b.Withdrawn || c.isWithdrawn() && !v.releasedNow(c)
		if !v.eligible(c) {
			continue
		}
		if first == nil {
			first = c
		}
		b.Waiting, b.Moved, b.Until = c.Digest, c.since, c.since.Add(v.delay())
	}
	if head := v.current(); head >= from {
		b.Missing, b.Untrusted = v.list[head].missing, v.list[head].untrusted
	}
	if first == nil {
		return
	}
	if v.headUnusable() {
		b.Waiting, b.Moved, b.Until = "", time.Time{}, time.Time{}
		return
	}
	earliest := first.since.Add(v.delay())
	if v.img.RebuildPolicy != config.Mature {
		earliest = first.since.Add(v.img.MaxDelay().Std())
	}
	if earliest.Before(b.Until) {
		b.Until = earliest
	}
}

// position returns the index of the candidate that the image was built on. A digest that is not listed was replaced between
// two observations: it counts as the one that the tag held when the image was built.
func position(list []candidate, base *state.Base, on *state.BuiltOn, built time.Time, platforms []string) (at int, listed bool) {
	if on == nil {
		return 0, true
	}
	eff := effective(asRecorded(base, on.Snapshot), platforms)
	if at := indexOf(list, eff); at >= 0 {
		return at, true
	}
	for i := len(list) - 1; i > 0; i-- {
		if !built.IsZero() && !list[i].seen.After(built) {
			return i, false
		}
	}
	return 0, false
}

// asRecorded returns the snapshot of the same digest from the base image's state: evidence often lacks platforms.
func asRecorded(base *state.Base, s state.Snapshot) state.Snapshot {
	if c := base.Find(s.Digest); c != nil {
		return c.Snapshot
	}
	if base.Baseline.Digest == s.Digest {
		return base.Baseline.Snapshot
	}
	return s
}

// rebuiltFor reports whether the last rebuild was for a candidate and counts as built.
func rebuiltFor(r *state.Rebuild, ref string, c candidate, platforms []string) bool {
	return r != nil && r.Status.CountsAsBuilt() && slices.ContainsFunc(r.Bases, func(t state.Target) bool {
		return t.Ref == ref && same(t.Snapshot, c.Snapshot, platforms)
	})
}

// rebuildID returns the ID of a rebuild: a hash of its image, its targets and the rebuild before it. Concurrent passes that
// make the same decision get the same ID, and a retry gets a new one.
func rebuildID(image string, targets []state.Target, before *state.Rebuild) string {
	h := sha256.New()
	h.Write([]byte(image))
	for _, t := range targets {
		h.Write([]byte("\n" + t.Ref + " " + t.Digest))
	}
	if before != nil {
		h.Write([]byte("\nafter " + before.ID + " " + before.RequestedAt.UTC().Format(time.RFC3339)))
	}
	return idPrefix + hex.EncodeToString(h.Sum(nil))[:16]
}
