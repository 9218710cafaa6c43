package policy_test

import (
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const maxStateFile = 48 << 10

// lockSeen is the lock of one reference in the step before.
type lockSeen struct{ digest, image string }

// checkLock asserts what a build with the lock may use.
func (w *world) checkLock(name string, b *policy.BaseDecision) {
	if b.Base == "" {
		return
	}
	base, on := w.st.Bases[b.Base], w.st.Images[name].On(b.Ref)
	c := base.Find(b.Lock.Digest)
	if c == nil {
		require.True(w.t, b.Lock.Digest == base.Baseline.Digest || on != nil && b.Lock.Digest == on.Digest, "%s: lock of %s is a digest of nowhere", name, b.Ref)
		return
	}
	for _, p := range w.cfg.Find(name).Source.Platforms {
		require.False(w.t, c.Lacks(p) && (on == nil || on.Digest != c.Digest), "%s %s: lock of %s lacks %s", w.now, name, b.Ref, p)
	}
	require.True(w.t, c.Withdrawn.IsZero() || !c.Released.IsZero(), "%s %s: lock of %s is withdrawn", w.now, name, b.Ref)
	if on != nil && w.seqOf[on.Digest] == w.seqOf[c.Digest] {
		return
	}
	require.True(w.t, c.Held.IsZero(), "%s: lock of %s is held", name, b.Ref)
	seen := c.FirstSeen.Time
	for _, o := range base.Candidates { // the same content under another index
		if w.seqOf[o.Digest] == w.seqOf[c.Digest] && o.FirstSeen.Before(seen) {
			seen = o.FirstSeen.Time
		}
	}
	if c.Returned.After(seen) {
		seen = c.Returned.Time
	}
	delay := w.cfg.Find(name).Delay().Std()
	require.True(w.t, !c.Released.IsZero() || w.now.Sub(seen) >= delay, "%s %s: lock of %s is younger than the delay", w.now, name, b.Ref)
	w.checkAge(name, base, c, delay)
}

// checkAge asserts, by what the model knows, that a digest was not taken before it could have ripened: since it was pushed,
// or came back after it had been away for long.
func (w *world) checkAge(name string, base *state.Base, c *state.Candidate, delay time.Duration) {
	at, known := w.appeared[c.Digest]
	for _, o := range base.Candidates { // a step in which the platforms of the image stayed the same
		if w.seqOf[o.Digest] == w.seqOf[c.Digest] && w.appeared[o.Digest].Before(at) && !w.fails(name, map[string]state.Snapshot{"": o.Snapshot}) {
			at = w.appeared[o.Digest]
		}
	}
	if known && c.Released.IsZero() {
		require.GreaterOrEqual(w.t, w.now.Sub(at), delay-state.ClockSkew, "%s %s: the lock is on a digest that appeared at %s", w.now, name, at)
	}
}

// checkStart asserts what may be started.
func (w *world) checkStart(dec policy.Decision) {
	facts := w.st.Images[dec.Image]
	require.False(w.t, w.active(dec.Image), "%s: two rebuilds at once", dec.Image)
	require.True(w.t, w.cfg.Find(dec.Image).Rebuilds())
	require.False(w.t, w.ids[dec.Rebuild], "%s: rebuild id used twice", dec.Image)
	w.ids[dec.Rebuild] = true
	require.NotEmpty(w.t, dec.Targets)
	w.checkStops(dec)
	for _, target := range dec.Targets {
		on := facts.On(target.Ref)
		require.NotNil(w.t, on, "%s: due for %s, of which nothing is known", dec.Image, target.Ref)
		require.NotEqual(w.t, on.Digest, target.Digest, "%s: rebuilt for what it is built on", dec.Image)
		if seq := w.seqOf[target.Digest]; seq != 0 {
			base := w.st.Base(target.Ref)
			if s := base.Seen(on.Digest); s != nil && len(s.Platforms) > 0 { // else nobody can know what it holds
				require.NotEqual(w.t, seq, w.seqOf[on.Digest], "%s: rebuilt for the same effective digest of %s", dec.Image, target.Ref)
			}
			c := base.Find(target.Digest)
			require.True(w.t, c == nil || c.Held.IsZero() && (c.Withdrawn.IsZero() || !c.Released.IsZero()), "%s: rebuilt for a held or withdrawn digest", dec.Image)
		}
	}
}

// checkStops asserts that a rebuild starts neither in a pause nor outside the windows, nor too soon after the last one.
func (w *world) checkStops(dec policy.Decision) {
	img, facts := w.cfg.Find(dec.Image), w.st.Images[dec.Image]
	require.False(w.t, w.stopped(img, len(dec.Urgent) > 0), "%s %s: started in a freeze", w.now, dec.Image)
	if len(dec.Urgent) > 0 {
		return
	}
	for _, r := range append(slices.Clone(facts.RebuildHistory), *orEmpty(facts.Rebuild)) {
		if !r.Status.CountsAsBuilt() || w.now.Sub(r.RequestedAt.Time) >= img.Interval().Std() {
			continue
		}
		require.True(w.t, w.decidedByHand(dec, r.RequestedAt.Time), "%s %s: rebuilt %s after the last time", w.now, dec.Image, w.now.Sub(r.RequestedAt.Time))
	}
}

func orEmpty(r *state.Rebuild) *state.Rebuild {
	if r == nil {
		return &state.Rebuild{}
	}
	return r
}

// decidedByHand reports whether a person released or held a digest of a base since a time.
func (w *world) decidedByHand(dec policy.Decision, since time.Time) bool {
	for _, b := range dec.Bases {
		if base := w.st.Bases[b.Base]; base != nil {
			for _, c := range base.Candidates {
				if c.Released.After(since) || c.Held.After(since) {
					return true
				}
			}
		}
	}
	return false
}

// stopped reports whether a pause or a window keeps an image from being rebuilt now, by the definition of windows.
func (w *world) stopped(img *config.Image, urgent bool) bool {
	if w.st.PauseOf(img.Name, w.now) != nil {
		return true
	}
	for _, window := range img.OpenWindows() {
		if urgent && window.Urgent {
			continue
		}
		active := false
		for at := w.now; w.now.Sub(at) < window.Duration; at = at.Add(-time.Hour) {
			active = active || window.Schedule.Next(at.Add(-time.Second)).Equal(at)
		}
		if active == window.Deny { // at most one window for each image
			return true
		}
	}
	return false
}

// check asserts what must hold after every step.
func (w *world) check() {
	w.decisions = w.decide()
	for _, dec := range w.decisions {
		for i := range dec.Bases {
			w.checkLock(dec.Image, &dec.Bases[i])
			w.checkOrderOfLocks(dec.Image, &dec.Bases[i])
		}
		w.checkNotStarving(dec.Image)
	}
	w.loosened = false
	if w.daily(10) {
		w.checkSize()
	}
}

func (w *world) checkSize() {
	files, err := w.st.Encode()
	require.NoError(w.t, err)
	for path, data := range files {
		require.Less(w.t, len(data), maxStateFile, path)
	}
}

// checkOrderOfLocks asserts that a lock never goes back while the published image stays the same, except away from a
// withdrawn digest, or because a person held it or changed the delay.
func (w *world) checkOrderOfLocks(name string, b *policy.BaseDecision) {
	if b.Base == "" {
		return
	}
	key, published := name+" "+b.Ref, w.st.Images[name].CurrentDigest
	before := w.lastLock[key]
	w.lastLock[key] = lockSeen{b.Lock.Digest, published}
	if w.loosened || before.image != published || w.seqOf[b.Lock.Digest] >= w.seqOf[before.digest] {
		return
	}
	c := w.st.Bases[b.Base].Find(before.digest)
	require.True(w.t, c == nil || !c.Withdrawn.IsZero(), "%s %s: the lock of %s went back", w.now, name, b.Ref)
}

// checkNotStarving asserts that an image gets, in time, to every content that its bases' tags moved through.
func (w *world) checkNotStarving(name string) {
	img := w.cfg.Find(name)
	if !img.Rebuilds() || w.exempt[name] || w.failAll {
		return
	}
	if w.stopped(img, false) {
		w.excused = w.now
	}
	built := w.images[name]
	for _, ref := range w.deps[name] {
		if parent, ok := strings.CutPrefix(ref, "ghcr.io/acme/"); ok {
			p := w.images[strings.TrimSuffix(parent, ":latest")]
			if built.used[ref].Digest != p.digest {
				w.notLaterThan(p.at, img.Interval().Std(), "%s is not rebuilt on %s", name, ref)
			}
			continue
		}
		t := w.tags[ref]
		for _, p := range t.waiting {
			if p.seq <= w.seqOf[built.used[ref].Digest] {
				continue
			}
			bound := img.Delay().Std()
			if newest := p.seq == t.current.seq; img.RebuildPolicy == config.Settle && !newest {
				bound = img.MaxDelay().Std()
			}
			w.notLaterThan(w.returned(ref, p), bound+img.Interval().Std(), "%s starves for push %d of %s, and is on %d", name, p.seq, ref, w.seqOf[built.used[ref].Digest])
			break // the first is the one that waits the longest
		}
	}
}

// returned is since when a push waits: its time, or when it was seen to be back. Replicas that disagree can look for hours as
// if it was gone.
func (w *world) returned(ref string, p push) time.Time {
	at := p.at
	for _, c := range w.st.Base(ref).Candidates {
		if w.seqOf[c.Digest] == p.seq && c.Returned.After(at) {
			at = c.Returned.Time
		}
	}
	return at
}

func (w *world) notLaterThan(since time.Time, bound time.Duration, message string, args ...any) {
	if since.Before(w.excused) {
		since = w.excused
	}
	if w.now.Sub(since) <= bound+w.slack {
		return
	}
	for _, dec := range w.decide() {
		w.t.Logf("%+v", dec)
	}
	files, _ := w.st.Encode()
	for p, data := range files {
		w.t.Log(p, string(data))
	}
	require.LessOrEqual(w.t, w.now.Sub(since), bound+w.slack, append([]any{"at %s: " + message, w.now}, args...)...)
}

// settle lets everything come to rest, without failures and new pushes, and asserts that nothing was lost.
func (w *world) settle() {
	w.quiet, w.failAll, w.skew, w.jitter = true, false, 0, 0
	w.st.Pauses = nil
	for _, t := range w.tags {
		t.flaps = nil
	}
	longest := w.rule.delay
	for i := range w.cfg.Images {
		longest = max(longest, w.cfg.Images[i].Delay().Std())
	}
	for range int((longest + 8*day) / time.Hour) {
		w.step(nil)
	}
	for _, dec := range w.decide() {
		if w.exempt[dec.Image] {
			continue
		}
		require.Contains(w.t, []policy.Status{policy.Current, policy.OptedOut, policy.Held}, dec.Status, "%s: %s", dec.Image, dec.Reason)
		facts, built := w.st.Images[dec.Image], w.images[dec.Image]
		require.Equal(w.t, built.digest, facts.CurrentDigest)
		for _, b := range dec.Bases {
			if b.Base == "" || dec.Status != policy.Current {
				continue
			}
			t := w.tags[b.Ref]
			require.Equal(w.t, t.current.Digest, w.st.Bases[b.Base].CurrentDigest, "%s was not observed", b.Ref)
			require.Equal(w.t, t.current.seq, w.seqOf[built.used[b.Ref].Digest], "%s is not on what %s holds", dec.Image, b.Ref)
		}
	}
	before, err := w.st.Encode()
	require.NoError(w.t, err)
	w.now = w.now.Add(time.Hour)
	w.sweep()
	after, err := w.st.Encode()
	require.NoError(w.t, err)
	require.Empty(w.t, state.Changed(before, after), "a pass that learns nothing changes a file")
	w.checkSize()
}
