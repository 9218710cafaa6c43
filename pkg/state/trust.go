package state

import "time"

// NotVerified is the reason of a candidate that was recorded before a rule for its base image was, and not verified since.
const NotVerified = "not verified yet"

// Distrust returns why a candidate may not be used: its signature or provenance is not verified as images.yaml requires, and nobody
// has waived that. It is empty for a candidate that may be.
func (b *Base) Distrust(c *Candidate) string {
	switch {
	case !c.TrustWaived.IsZero():
		return ""
	case c.Untrusted != "":
		return c.Untrusted
	case b.Demand != "" && c.Verified != b.Demand:
		return NotVerified
	}
	return ""
}

// Unverified returns at most most of the digests that are to be verified, newest first, with the baseline as the last.
// Withdrawn ones are left out.
func (b *Base) Unverified(most int) []string {
	var out []string
	add := func(c *Candidate) {
		if c.Withdrawn.IsZero() && c.Verified != b.Demand && len(out) < most {
			out = append(out, c.Digest)
		}
	}
	if b.Demand == "" {
		return nil
	}
	for i := len(b.Candidates) - 1; i >= 0; i-- {
		add(&b.Candidates[i])
	}
	if b.Baseline != nil {
		add(b.Baseline)
	}
	return out
}

// SetVerified records that the digest carries what the base image's Demand names. A digest that was untrusted before waits from now
// on: the wait is for others to notice a signature that should not exist.
func (b *Base) SetVerified(digest string, now time.Time) {
	if c := b.verdictOf(digest); c != nil {
		if c.Untrusted != "" {
			c.Trusted = At(now)
		}
		c.Untrusted, c.Verified = "", b.Demand
	}
}

// SetUntrusted records why the digest could not be verified. If that is unknown because something could not be asked, an earlier reason
// stays.
func (b *Base) SetUntrusted(digest, reason string, unknown bool) {
	if c := b.verdictOf(digest); c != nil {
		if c.Untrusted == "" || !unknown {
			c.Untrusted = Text(reason)
		}
		c.Verified, c.Trusted = "", Time{}
	}
}

// ForgetTrust removes what was recorded about signatures, for a base image that no longer needs any.
func (b *Base) ForgetTrust() {
	forget := func(c *Candidate) { c.Untrusted, c.Verified, c.Trusted, c.TrustWaived = "", "", Time{}, Time{} }
	if b.Baseline != nil {
		forget(b.Baseline)
	}
	for i := range b.Candidates {
		forget(&b.Candidates[i])
	}
}

// verdictOf returns the candidate or baseline with a digest, or nil.
func (b *Base) verdictOf(digest string) *Candidate {
	if b.Baseline != nil && b.Baseline.Digest == digest {
		return b.Baseline
	}
	return b.Find(digest)
}
