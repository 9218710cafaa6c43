package state

import (
	"slices"
	"time"
)

const (
	// ClockSkew is how far the clocks of two observers may differ.
	ClockSkew = 10 * time.Minute

	// WithdrawalWait is how long a tag must have gone back before the withdrawal counts: before an image is rebuilt to leave
	// the withdrawn digest (or after its delay, if that is shorter), and before a digest that returns has to ripen again.
	// Registry replicas that disagree look like a tag that goes back and forth faster than that.
	WithdrawalWait = 6 * time.Hour
)

// Ahead reports whether the time is so far after now that only a wrong clock can have written it.
func (t Time) Ahead(now time.Time) bool { return t.Sub(now) > ClockSkew }

// Corrected returns the base image with each time in the future replaced by the latest time that is possible: a digest was
// first seen before the candidate that follows it, and everything was recorded by now. It returns b itself if no time is
// ahead of now, and a copy otherwise.
func (b *Base) Corrected(now time.Time) *Base {
	if !slices.ContainsFunc(b.times(), func(t *Time) bool { return t.Ahead(now) }) {
		return b
	}
	out, bound := b.Clone(), At(now)
	for _, t := range out.times() { // the clock of another observer may be slightly ahead; keep the order of its times
		if t.After(bound.Time) && !t.Ahead(now) {
			bound = *t
		}
	}
	latest := bound
	for i := len(out.Candidates) - 1; i >= 0; i-- {
		latest = boundSeen(&out.Candidates[i], latest, now)
	}
	if out.Baseline != nil {
		boundSeen(out.Baseline, latest, now)
	}
	for _, t := range out.times() {
		if t.Ahead(now) {
			*t = bound
		}
	}
	return out
}

// boundSeen limits the time at which a candidate was first seen to latest, and returns the limit for the candidate before it.
func boundSeen(c *Candidate, latest Time, now time.Time) Time {
	if c.FirstSeen.Ahead(now) {
		c.FirstSeen = latest
	}
	if c.FirstSeen.Before(latest.Time) {
		return c.FirstSeen
	}
	return latest
}

// times returns every time in the state of the base image.
func (b *Base) times() []*Time {
	out := []*Time{&b.LastUpdated}
	for i := range b.Candidates {
		out = b.Candidates[i].times(out)
	}
	if b.Baseline != nil {
		out = b.Baseline.times(out)
	}
	for i := range b.UpdateHistory {
		out = append(out, &b.UpdateHistory[i].At)
	}
	return out
}

func (c *Candidate) times(to []*Time) []*Time {
	return append(to, &c.FirstSeen, &c.Withdrawn, &c.Returned, &c.Released, &c.Held, &c.Trusted, &c.TrustWaived)
}

// times returns every time in the state of the image.
func (i *Image) times() []*Time {
	out := []*Time{&i.LastBuilt, &i.Unpublished}
	for j := range i.Published {
		out = append(out, &i.Published[j].Since)
	}
	if i.Rebuild != nil {
		out = i.Rebuild.times(out)
	}
	for j := range i.RebuildHistory {
		out = i.RebuildHistory[j].times(out)
	}
	return out
}

func (r *Rebuild) times(to []*Time) []*Time {
	return append(to, &r.RequestedAt, &r.TriedAt, &r.FinishedAt)
}

// FirstAhead returns the first time in the state of the base image that lies in the future; ok is false if none does.
func (b *Base) FirstAhead(now time.Time) (t Time, ok bool) { return firstAhead(b.times(), now) }

// FirstAhead returns the first time in the state of the image that lies in the future; ok is false if none does.
func (i *Image) FirstAhead(now time.Time) (t Time, ok bool) { return firstAhead(i.times(), now) }

func firstAhead(times []*Time, now time.Time) (Time, bool) {
	for _, t := range times {
		if t.Ahead(now) {
			return *t, true
		}
	}
	return Time{}, false
}
