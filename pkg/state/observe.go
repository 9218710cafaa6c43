package state

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// MaxCandidates is the number of candidates that a base image keeps.
const MaxCandidates = 64

// Limits that keep files small; the git history has the rest.
const (
	maxUpdateHistory    = 10
	maxRebuildHistory   = 10
	maxPublished        = 100 // tags, unless more are in use
	maxTriggers         = 64  // ONBUILD triggers of a base image, for each platform
	maxTriggerBytes     = 8 << 10
	maxTriggerPlatforms = 32
)

// Observe records the current content of the base image's tag and reports whether the state changed. The first observation
// is the baseline. A digest that was never seen before becomes a candidate. A digest that was seen before means that the tag
// went back: newer candidates are withdrawn, and the digest itself no longer is. It keeps its FirstSeen, so that it ripens
// even if the tag goes back and forth; but after a withdrawal of [WithdrawalWait] or longer it has Returned and ripens again.
//
// Observe replaces times in the future as [Base.Corrected] does. Within [ClockSkew], an observation is never older than the
// one before it.
func (b *Base) Observe(seen Snapshot, now time.Time) bool {
	if seen.Digest == "" { // an incomplete response
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

// fillPlatforms adds effective digests that were not known at an earlier observation. A digest's platforms never change.
func fillPlatforms(s *Snapshot, seen Snapshot) bool {
	if len(s.Platforms) > 0 || len(seen.Platforms) == 0 {
		return false
	}
	s.Platforms = maps.Clone(seen.Platforms)
	return true
}

// withdrawAfter marks the candidates after index i as withdrawn and reports whether any was not.
func (b *Base) withdrawAfter(i int, at Time) bool {
	changed := false
	for j := i + 1; j < len(b.Candidates); j++ {
		if c := &b.Candidates[j]; c.Withdrawn.IsZero() {
			c.Withdrawn, changed = at, true
		}
	}
	return changed
}

// thin limits the number of candidates. It drops the one with the smallest gap between its neighbours relative to its age,
// so that older candidates are kept at larger distances. Without it, the newest ripe candidate can only be an older one,
// never a younger one. The newest candidate stays, and so do held and released ones unless there is no other to drop.
func (b *Base) thin(now time.Time) {
	for len(b.Candidates) > MaxCandidates {
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

// SetNewer records the tags of newer releases; empty for none.
func (b *Base) SetNewer(release, line string) {
	if release == "" && line == "" {
		b.Newer = nil
		return
	}
	now := Newer{}
	if b.Newer != nil {
		now = *b.Newer // keys of a newer version
	}
	now.Release, now.Line = release, line
	b.Newer = &now
}

// TriggersOf returns the ONBUILD triggers of a digest for a platform, or nil if they are not known.
func (b *Base) TriggersOf(platform, digest string) *Triggers {
	for i := range b.Triggers {
		if t := &b.Triggers[i]; t.Platform == platform && t.Digest == digest {
			return t
		}
	}
	return nil
}

// SetTriggers records the ONBUILD triggers of a platform, unless they exceed a limit: then each analysis reads them again.
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

// Current returns the last observed content of the tag, or nil if its platforms are not known.
func (b *Base) Current() *Snapshot {
	s := b.Seen(b.CurrentDigest)
	if s == nil || len(s.Platforms) == 0 {
		return nil
	}
	return s
}

// Seen returns the snapshot of the baseline or candidate with a digest, or nil.
func (b *Base) Seen(digest string) *Snapshot {
	if b.Baseline != nil && b.Baseline.Digest == digest {
		return &b.Baseline.Snapshot
	}
	if c := b.Find(digest); c != nil {
		return &c.Snapshot
	}
	return nil
}

// Find returns the candidate with a digest, or nil.
func (b *Base) Find(digest string) *Candidate {
	for i := range b.Candidates {
		if b.Candidates[i].Digest == digest {
			return &b.Candidates[i]
		}
	}
	return nil
}

// Release makes a candidate due now and ends a hold.
func (c *Candidate) Release(reason string, now time.Time) {
	c.Released, c.Held, c.Reason = At(now), Time{}, Text(reason)
	c.Urgent, c.Adds = nil, nil
}

// Hold keeps a candidate from becoming due until it is released.
func (c *Candidate) Hold(reason string, now time.Time) {
	c.Held, c.Released, c.TrustWaived, c.Reason = At(now), Time{}, Time{}, Text(reason)
	c.Urgent, c.Adds = nil, nil
}

// ObservePublished records the current content of a tag of the image and reports whether the state changed.
func (i *Image) ObservePublished(tag string, seen Snapshot, now time.Time) bool {
	if seen.Digest == "" { // an incomplete response
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

// ForgetTags limits the number of published tags. It drops the oldest ones that are not in use.
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

// PublishedTag returns the content of a tag of the image, or nil if it is not known.
func (i *Image) PublishedTag(tag string) *Published {
	for j := range i.Published {
		if i.Published[j].Tag == tag {
			return &i.Published[j]
		}
	}
	return nil
}

// On returns the digest of a base that the published image was built on, or nil if it is not known.
func (i *Image) On(ref string) *BuiltOn {
	for j := range i.BuiltOn {
		if i.BuiltOn[j].Ref == ref {
			return &i.BuiltOn[j]
		}
	}
	return nil
}

// SetBuiltOn records the digest of a base that the published image was built on and reports whether the state changed.
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

// Request records that a rebuild is about to be started. The previous one goes into the history.
func (i *Image) Request(r Rebuild) {
	r.Status, r.Reason = Requested, Text(r.Reason)
	if i.Rebuild != nil {
		i.RebuildHistory = lastOf(append(i.RebuildHistory, *i.Rebuild), maxRebuildHistory)
		r.Failures = i.Rebuild.Failures
	}
	i.Rebuild = &r
}

// Claimed returns when a pass last claimed the rebuild in order to start it. TriedAt, if set, is always later than
// RequestedAt, even if clocks differ.
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

// RebuildsSince returns since when the state file records every rebuild; the zero time if none was left out yet.
func (i *Image) RebuildsSince() time.Time {
	if len(i.RebuildHistory) < maxRebuildHistory {
		return time.Time{}
	}
	return i.RebuildHistory[0].RequestedAt.Time
}

// CancelRequest undoes a [Image.Request] whose rebuild was not started: the previous rebuild is the last one again.
func (i *Image) CancelRequest() {
	i.Rebuild = nil
	if n := len(i.RebuildHistory); n > 0 {
		last := i.RebuildHistory[n-1]
		i.Rebuild, i.RebuildHistory = &last, slices.Clone(i.RebuildHistory[:n-1])
	}
}

// Finish records the end of the rebuild, or of its run if the status is Built. Failures in a row are counted until a rebuild
// counts as built.
func (r *Rebuild) Finish(status RebuildStatus, message string, now time.Time) {
	r.Status, r.Message, r.FinishedAt = status, Text(message), At(now)
	switch {
	case status == Failed || status == WrongBase:
		r.Failures++
	case status.CountsAsBuilt():
		r.Failures = 0
	}
}

// Reset clears the failures in a row, so that rebuilds start again, and reports whether there were any.
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
