package state

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Bounds that keep files small; git has the rest.
const (
	maxCandidates       = 64
	maxUpdateHistory    = 10
	maxRebuildHistory   = 10
	maxPublished        = 100 // tags, unless more of them are in use
	maxTriggers         = 64  // ONBUILD triggers of a base image, for each platform
	maxTriggerBytes     = 8 << 10
	maxTriggerPlatforms = 32
)

// Observe records what the base image's tag holds now and reports whether that is new. The first observation is the
// baseline. A digest never seen before becomes a candidate. One that was seen before means that the tag went back:
// every newer candidate is withdrawn, and it is not withdrawn itself any longer; its FirstSeen stays, so that a tag
// that goes back and forth still ripens. One that was withdrawn for WithdrawalWait has Returned, and ripens anew.
//
// Times of the future, which a wrong clock has written, become what Corrected makes of them. Within ClockSkew, nothing is
// older than what came before it.
func (b *Base) Observe(seen Snapshot, now time.Time) bool {
	if seen.Digest == "" { // half an answer is no observation
		return false
	}
	changed := false
	if c := b.Corrected(now); c != b {
		*b, changed = *c, true
	}
	at := At(now)
	if at.Before(b.LastUpdated.Time) {
		at = b.LastUpdated
	}
	if b.Baseline == nil || b.Baseline.Digest == "" {
		b.Baseline = &Candidate{Snapshot: seen, FirstSeen: at}
		b.CurrentDigest, b.LastUpdated = seen.Digest, at
		return true
	}
	changed = changed || b.CurrentDigest != seen.Digest
	if b.CurrentDigest != seen.Digest {
		b.UpdateHistory = lastOf(append(b.UpdateHistory, Update{At: at, From: b.CurrentDigest, To: seen.Digest}), maxUpdateHistory)
		b.PreviousDigest, b.CurrentDigest, b.LastUpdated = b.CurrentDigest, seen.Digest, at
	}
	if seen.Digest == b.Baseline.Digest {
		filled := fillPlatforms(&b.Baseline.Snapshot, seen)
		return b.withdrawAfter(-1, at) || filled || changed
	}
	for i := range b.Candidates {
		c := &b.Candidates[i]
		if c.Digest != seen.Digest {
			continue
		}
		back := !c.Withdrawn.IsZero()
		if back && at.Sub(c.Withdrawn.Time) >= WithdrawalWait {
			c.Returned = at
		}
		c.Withdrawn = Time{}
		filled := fillPlatforms(&c.Snapshot, seen)
		return b.withdrawAfter(i, at) || back || filled || changed
	}
	b.Candidates = append(b.Candidates, Candidate{Snapshot: seen, FirstSeen: at})
	b.LastUpdated = at
	b.thin(at.Time)
	return true
}

// fillPlatforms adds effective digests that an earlier observation could not learn. A digest's platforms never change.
func fillPlatforms(s *Snapshot, seen Snapshot) bool {
	if len(s.Platforms) > 0 || len(seen.Platforms) == 0 {
		return false
	}
	s.Platforms = maps.Clone(seen.Platforms)
	return true
}

func (b *Base) withdrawAfter(i int, at Time) bool {
	changed := false
	for j := i + 1; j < len(b.Candidates); j++ {
		if c := &b.Candidates[j]; c.Withdrawn.IsZero() {
			c.Withdrawn, changed = at, true
		}
	}
	return changed
}

// thin keeps the file small. It drops the candidate whose neighbours are nearest in relation to its age: the older, the
// fewer are kept. Dropping one can only make an older one the newest that is old enough, never a younger one. The newest
// stays, and so does what a person decided on, as long as there is anything else to drop.
func (b *Base) thin(now time.Time) {
	for len(b.Candidates) > maxCandidates {
		drop, least := 0, math.Inf(1)
		before := b.Baseline.FirstSeen.Time
		for i := range b.Candidates[:len(b.Candidates)-1] {
			c := &b.Candidates[i]
			gap := b.Candidates[i+1].FirstSeen.Sub(before)
			if score := float64(gap) / float64(max(now.Sub(c.FirstSeen.Time), 1)); score < least && c.Held.IsZero() && c.Released.IsZero() {
				drop, least = i, score
			}
			before = c.FirstSeen.Time
		}
		b.Candidates = slices.Delete(b.Candidates, drop, drop+1)
	}
}

// TriggersOf returns the ONBUILD triggers of a digest for a platform, nil when they are not known.
func (b *Base) TriggersOf(platform, digest string) *Triggers {
	for i := range b.Triggers {
		if t := &b.Triggers[i]; t.Platform == platform && t.Digest == digest {
			return t
		}
	}
	return nil
}

// SetTriggers records the ONBUILD triggers of a platform. Too many to keep are not recorded: they are read again.
func (b *Base) SetTriggers(seen Triggers) {
	size := len(seen.Platform)
	for _, trigger := range seen.OnBuild {
		size += len(trigger)
	}
	i, found := slices.BinarySearchFunc(b.Triggers, seen.Platform, func(t Triggers, platform string) int {
		return strings.Compare(t.Platform, platform)
	})
	switch {
	case len(seen.OnBuild) > maxTriggers || size > maxTriggerBytes:
		if found {
			b.Triggers = slices.Delete(b.Triggers, i, i+1)
		}
	case found:
		seen.Extra = b.Triggers[i].Extra
		b.Triggers[i] = seen
	case len(b.Triggers) < maxTriggerPlatforms:
		b.Triggers = slices.Insert(b.Triggers, i, seen)
	}
}

// Current returns what the tag was last seen to hold, or nil when its platforms are not known.
func (b *Base) Current() *Snapshot {
	s := b.Seen(b.CurrentDigest)
	if s == nil || len(s.Platforms) == 0 {
		return nil
	}
	return s
}

// Seen returns what was seen under the tag with a digest, as baseline or candidate, or nil.
func (b *Base) Seen(digest string) *Snapshot {
	if b.Baseline != nil && b.Baseline.Digest == digest {
		return &b.Baseline.Snapshot
	}
	if c := b.Find(digest); c != nil {
		return &c.Snapshot
	}
	return nil
}

// Find returns the candidate of a digest, or nil.
func (b *Base) Find(digest string) *Candidate {
	for i := range b.Candidates {
		if b.Candidates[i].Digest == digest {
			return &b.Candidates[i]
		}
	}
	return nil
}

// Release makes a candidate due now. It takes back a hold.
func (c *Candidate) Release(reason string, now time.Time) {
	c.Released, c.Held, c.Reason = At(now), Time{}, Text(reason)
}

// Hold keeps a candidate from ever becoming due, until it is released.
func (c *Candidate) Hold(reason string, now time.Time) {
	c.Held, c.Released, c.Reason = At(now), Time{}, Text(reason)
}

// ObservePublished records what a tag of the image holds and reports whether that is new.
func (i *Image) ObservePublished(tag string, seen Snapshot, now time.Time) bool {
	if seen.Digest == "" { // half an answer is no observation
		return false
	}
	at := slices.IndexFunc(i.Published, func(p Published) bool { return p.Tag == tag })
	if at < 0 {
		i.Published = append(i.Published, Published{Tag: tag, Snapshot: seen, Since: At(now)})
		slices.SortFunc(i.Published, func(a, b Published) int { return strings.Compare(a.Tag, b.Tag) })
		return true
	}
	p := &i.Published[at]
	if p.Digest == seen.Digest {
		ahead := p.Since.Ahead(now)
		if ahead {
			p.Since = At(now)
		}
		return fillPlatforms(&p.Snapshot, seen) || ahead
	}
	p.Snapshot, p.Since = seen, At(now)
	return true
}

// ForgetTags drops what the oldest tags held that are neither the published image nor in use, when there are many.
func (i *Image) ForgetTags(inUse func(tag string) bool) {
	for len(i.Published) > maxPublished {
		oldest := -1
		for j := range i.Published {
			p := &i.Published[j]
			if p.Tag != i.CurrentVersion && !inUse(p.Tag) && (oldest < 0 || p.Since.Before(i.Published[oldest].Since.Time)) {
				oldest = j
			}
		}
		if oldest < 0 {
			return
		}
		i.Published = slices.Delete(i.Published, oldest, oldest+1)
	}
}

// PublishedTag returns what a tag of the image holds, or nil when that is not known.
func (i *Image) PublishedTag(tag string) *Published {
	for j := range i.Published {
		if i.Published[j].Tag == tag {
			return &i.Published[j]
		}
	}
	return nil
}

// On returns what the published image was built on for a reference, or nil when that is not known.
func (i *Image) On(ref string) *BuiltOn {
	for j := range i.BuiltOn {
		if i.BuiltOn[j].Ref == ref {
			return &i.BuiltOn[j]
		}
	}
	return nil
}

// SetBuiltOn records what the published image was built on and reports whether that is new.
func (i *Image) SetBuiltOn(b BuiltOn) bool {
	old := i.On(b.Ref)
	if old == nil {
		i.BuiltOn = append(i.BuiltOn, b)
		slices.SortFunc(i.BuiltOn, func(a, b BuiltOn) int { return strings.Compare(a.Ref, b.Ref) })
		return true
	}
	if old.Digest == b.Digest && old.Evidence == b.Evidence && maps.Equal(old.Platforms, b.Platforms) {
		return false
	}
	b.Extra = old.Extra
	*old = b
	return true
}

// Request records that a rebuild is about to be started. The one before goes into the history.
func (i *Image) Request(r Rebuild) {
	r.Status, r.Reason = Requested, Text(r.Reason)
	if i.Rebuild != nil {
		i.RebuildHistory = lastOf(append(i.RebuildHistory, *i.Rebuild), maxRebuildHistory)
		r.Failures = i.Rebuild.Failures
	}
	i.Rebuild = &r
}

// Claimed returns when a pass last undertook to start the rebuild. TriedAt is always the later of the two, whatever the
// clocks said.
func (r *Rebuild) Claimed() Time {
	if !r.TriedAt.IsZero() {
		return r.TriedAt
	}
	return r.RequestedAt
}

// Duration returns how long the rebuild took from the request to the published image, and false unless it counts as built.
func (r *Rebuild) Duration() (time.Duration, bool) {
	took := r.FinishedAt.Sub(r.RequestedAt.Time)
	return took, r.Status.CountsAsBuilt() && !r.RequestedAt.IsZero() && took >= 0
}

// CancelRequest undoes a [Image.Request] whose rebuild was not started: the previous rebuild is the last one again.
func (i *Image) CancelRequest() {
	i.Rebuild = nil
	if n := len(i.RebuildHistory); n > 0 {
		last := i.RebuildHistory[n-1]
		i.Rebuild, i.RebuildHistory = &last, slices.Clone(i.RebuildHistory[:n-1])
	}
}

// Finish records the end of the current rebuild, or with Built that of its run. Failures in a row go on counting from the
// one before until an image is seen.
func (r *Rebuild) Finish(status RebuildStatus, message string, now time.Time) {
	r.Status, r.Message, r.FinishedAt = status, Text(message), At(now)
	switch {
	case status == Failed || status == WrongBase:
		r.Failures++
	case status.CountsAsBuilt():
		r.Failures = 0
	}
}

// Reset forgets failures in a row, so that rebuilds start again, and reports whether there were any.
func (i *Image) Reset(reason string) bool {
	if i.Rebuild == nil || i.Rebuild.Failures == 0 {
		return false
	}
	i.Rebuild.Failures, i.Rebuild.Message = 0, Text("reset: "+reason)
	return true
}

func lastOf[T any](list []T, n int) []T {
	if len(list) > n {
		return slices.Delete(list, 0, len(list)-n)
	}
	return list
}
