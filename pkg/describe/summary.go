package describe

import (
	"time"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// BaseSummary is a base image in short.
type BaseSummary struct {
	Name      string       `json:"name"`
	Ref       string       `json:"ref"`
	Digest    string       `json:"digest,omitempty"` // that the tag holds now
	Updated   time.Time    `json:"updated,omitzero"` // when the tag moved last, or was first recorded
	Ripening  int          `json:"ripening"`         // digests that are not ripe yet for an image
	Next      time.Time    `json:"next,omitzero"`    // when an image is due for one next, if the tag does not move again
	Due       int          `json:"due"`              // images that are to be rebuilt for it
	Held      int          `json:"held"`             // digests that are held
	Withdrawn int          `json:"withdrawn"`        // digests that were withdrawn
	Untrusted int          `json:"untrusted"`        // digests that could not be verified
	Users     int          `json:"users"`            // images that use it
	Newer     *state.Newer `json:"newer,omitempty"`  // tags of newer releases
	AllUsers  int          `json:"allUsers"`         // images that are built on it, directly or not
	Pinned    int          `json:"pinned"`           // images that use it pinned only, with pins that nothing moves
}

// Summary returns the base image in short.
func (b *Base) Summary() BaseSummary {
	s := BaseSummary{Name: b.Name, Ref: b.Ref, Digest: b.Digest, Updated: b.Updated, AllUsers: b.AllUsers, Newer: b.Newer}
	for i := range b.Candidates {
		if !b.Candidates[i].Withdrawn.IsZero() {
			s.Withdrawn++
		}
		has := map[policy.ClockStatus]bool{}
		for _, r := range b.Candidates[i].Ripens {
			has[r.Status] = true
		}
		if has[policy.IsRipening] {
			s.Ripening++
		}
		if has[policy.IsHeld] {
			s.Held++
		}
		if has[policy.IsUntrusted] {
			s.Untrusted++
		}
	}
	moving, due := map[string]bool{}, map[string]bool{}
	for i := range b.Users {
		u := &b.Users[i]
		moving[u.Image] = moving[u.Image] || !u.Pinned
		if u.Due {
			due[u.Image] = true
		}
		if !u.Until.IsZero() && (s.Next.IsZero() || u.Until.Before(s.Next)) {
			s.Next = u.Until
		}
	}
	s.Users, s.Due = len(moving), len(due)
	for _, moves := range moving {
		if !moves {
			s.Pinned++
		}
	}
	return s
}
