package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// start starts the rebuild that the last decision about an image asks for.
func (f *future) start(img *image) {
	d := img.last
	f.facts(img.Name)
	policy.Begin(f.st, d, f.now)
	r := f.st.Images[img.Name].Rebuild
	r.Status = state.Running
	e := f.entry(img, Planned, f.now)
	e.Reason = d.Reason
	switch {
	case img.retry != nil:
		e.Status, e.Rebuild = Blocked, img.retry.id
		if img.retry.message != "" {
			e.Reason = "could not be started yet: " + img.retry.message
		}
		img.retry = nil
	case f.now.Equal(f.Now):
		e.Status, e.Rebuild = Now, r.ID
	default:
		e.Stop = img.stop
	}
	adds := f.added(img)
	for i := range d.Bases {
		switch b := &d.Bases[i]; {
		case b.Due:
			f.addBase(&e, img, b, adds)
		case f.st.Images[img.Name].CurrentDigest == "" && b.Origin != policy.FromPin: // its first build uses the parent's new image
			f.follow(&e, b.Parent)
		}
	}
	taken := f.taken(img, d.Bases)
	if taken != "" && f.Change != nil && !slices.ContainsFunc(d.Targets, func(t state.Target) bool { return t.Ref == taken }) {
		e.Takes = taken
	}
	img.ends, img.wave, img.awake = e.Ends, e.Wave, true
	f.entries = append(f.entries, planned{e, taken != ""})
}

// baseDigest is a digest of a base image, under the reference that an image uses.
type baseDigest struct{ ref, digest string }

// added returns what the candidates of an image's bases would add to it, the worst first.
func (f *future) added(img *image) map[baseDigest][]state.FindingJSON {
	if f.scans == nil {
		return nil
	}
	out := map[baseDigest][]state.FindingJSON{}
	for _, a := range f.scans.Added(img.Image) {
		of := baseDigest{a.Base, a.Digest}
		out[of] = append(out[of], a.FindingJSON)
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b state.FindingJSON) int { return a.Severity.Compare(b.Severity) })
	}
	return out
}

// addBase adds a base or parent that makes a rebuild due.
func (f *future) addBase(e *Entry, img *image, b *policy.BaseDecision, adds map[baseDigest][]state.FindingJSON) {
	base := Base{Ref: b.Ref, Parent: b.Parent, Since: b.Since, Released: b.Released, Leaves: b.Origin == policy.FromOlder, OnHeld: b.OnHeld}
	if !f.madeUp[b.Lock.Digest] {
		base.Digest = b.Lock.Digest
	}
	if b.Parent != "" {
		f.follow(e, b.Parent)
		e.Bases = append(e.Bases, base)
		return
	}
	latest := time.Time{}
	for _, c := range newer(f.clocks(img, b.Ref)) {
		base.Candidates = append(base.Candidates, Candidate{
			Digest: c.Digest, Seen: c.Seen, Ripe: c.Ripe, Withdrawn: !c.Withdrawn.IsZero(), Held: !c.Held.IsZero(), Released: !c.Released.IsZero(), Missing: c.Missing, Untrusted: c.Untrusted,
			Adds: adds[baseDigest{b.Ref, c.Digest}],
		})
		if c.Digest == b.Lock.Digest {
			base.Number = len(base.Candidates)
		}
		if latest.IsZero() && c.Withdrawn.IsZero() && c.Held.IsZero() && len(c.Missing) == 0 && c.Untrusted == "" {
			latest = img.OpenWindows().NextOpen(c.Ripe.Add(img.MaxDelay().Std()-img.Delay().Std()), false).At
		}
	}
	if img.RebuildPolicy != config.Mature && e.Status == Planned && latest.After(e.At) && (e.Latest.IsZero() || latest.Before(e.Latest)) {
		e.Latest = latest
	}
	e.Bases = append(e.Bases, base)
}

// follow puts a rebuild into the wave after that of a parent whose new image it waits for.
func (f *future) follow(e *Entry, parent string) {
	if at, known := f.index[parent]; known && f.images[at].wave >= e.Wave {
		e.Wave, e.After = f.images[at].wave+1, parent
	}
}

// newer returns the digests after the one that the published image is built on; all but the baseline if that is not known.
func newer(clocks []policy.Clock) []policy.Clock {
	for i := range clocks {
		if clocks[i].Built {
			return clocks[i+1:]
		}
	}
	if len(clocks) == 0 {
		return nil
	}
	return clocks[1:]
}

// taken returns the reference under which a build that starts now takes the Change, or "".
func (f *future) taken(img *image, bases []policy.BaseDecision) string {
	for i := range bases {
		b := &bases[i]
		digest := b.Lock.Digest
		if base := f.st.Bases[b.Base]; base != nil && b.Origin != policy.FromPin && !img.Source.PinsBases() {
			digest = base.CurrentDigest // without the lock, a build takes what the tag holds
		}
		if f.affected[digest] {
			return b.Ref
		}
	}
	return ""
}

// publish ends the running rebuild of an image by an image that nobody has built yet.
func (f *future) publish(img *image) {
	img.ends = time.Time{}
	f.appear(img, f.makeUp(img.Name))
	if r := f.st.Images[img.Name].Rebuild; r.Status.Active() {
		r.Finish(state.Unproven, "", f.now)
	}
	facts := f.st.Images[img.Name]
	f.affected[facts.CurrentDigest] = f.Change != nil && f.Change.Image == img.Name || slices.ContainsFunc(facts.BuiltOn, func(on state.BuiltOn) bool {
		return f.affected[on.Digest]
	})
}

// makeUp returns a digest that no image has.
func (f *future) makeUp(of string) string {
	sum := sha256.Sum256([]byte("planned " + of + " " + strconv.Itoa(len(f.madeUp))))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	f.madeUp[digest] = true
	return digest
}

// appear records a new image under every tag that the one before it has, or under the tags that others use if there is none.
func (f *future) appear(img *image, digest string) {
	facts := f.facts(img.Name)
	isFirst := facts.CurrentDigest == ""
	seen := state.Snapshot{Digest: digest}
	for _, tag := range f.tagsOf(img, facts) {
		facts.ObservePublished(tag, seen, f.now)
	}
	policy.RecordPublication(img.Image, f.st, f.Graph, policy.Publication{Version: facts.CurrentVersion, Digest: digest}, f.now)
	img.awake = true
	for _, child := range img.children {
		f.images[child].awake = true
		if isFirst {
			f.facts(f.images[child].Name)
			policy.Assume(f.images[child].Image, f.st, f.Graph)
		}
	}
}

// tagsOf returns the tags that a new image of a repository gets.
func (f *future) tagsOf(img *image, facts *state.Image) []string {
	var tags []string
	if facts.CurrentDigest != "" {
		for i := range facts.Published {
			if p := &facts.Published[i]; p.Tag == facts.CurrentVersion || p.Digest == facts.CurrentDigest {
				tags = append(tags, p.Tag)
			}
		}
		return tags
	}
	for _, child := range img.children {
		for _, dep := range f.Graph.Deps(f.images[child].Name) {
			if dep.Parent == img.Name {
				tags = append(tags, dep.Ref.Tag)
			}
		}
	}
	return tags
}

// change makes the Change.
func (f *future) change() {
	c, digest := f.Change, f.Change.Digest
	if digest == "" {
		digest = f.makeUp(c.Ref)
	}
	f.affected[digest] = true
	if at, known := f.index[c.Image]; known {
		f.appear(&f.images[at], digest)
		return
	}
	if base := f.st.Bases[c.Base]; base != nil {
		base = base.Clone()
		base.Observe(state.Snapshot{Digest: digest}, f.now)
		f.st.Bases[c.Base] = base
	}
}
