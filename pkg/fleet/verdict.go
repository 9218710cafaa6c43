package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Release makes a candidate of a base image due now: the newest that was not withdrawn, or the one that BASE@DIGEST names.
// BASE is the name of a base image or its reference. The state changes only in memory; package store saves it.
func (f *Fleet) Release(base, reason string, now time.Time) (*Change, error) {
	return f.decide(base, reason, verdict{verb: "release", past: "released", effect: "due now for %s", trusted: true}, func(_ *state.Base, c *state.Candidate) { c.Release(reason, now) })
}

// ReleaseUntrusted is like [Fleet.Release], and also releases a candidate that is not verified as factory.trust requires.
func (f *Fleet) ReleaseUntrusted(base, reason string, now time.Time) (*Change, error) {
	return f.decide(base, reason, verdict{verb: "release", past: "released", effect: "due now for %s"}, func(b *state.Base, c *state.Candidate) {
		if b.Distrust(c) != "" {
			c.TrustWaived = state.At(now)
		}
		c.Release(reason, now)
	})
}

// Hold keeps a candidate from becoming due until it is released. It is named as for [Fleet.Release].
func (f *Fleet) Hold(base, reason string, now time.Time) (*Change, error) {
	return f.decide(base, reason, verdict{verb: "hold", past: "held", effect: "%s will not be rebuilt for it"}, func(_ *state.Base, c *state.Candidate) { c.Hold(reason, now) })
}

// verdict holds the words for a release or a hold.
type verdict struct {
	verb, past, effect string
	trusted            bool // refused for an untrusted candidate
}

func (f *Fleet) decide(spec, reason string, v verdict, do func(*state.Base, *state.Candidate)) (*Change, error) {
	base, candidate, err := f.candidate(spec)
	if err != nil {
		return nil, err
	}
	untrusted := base.Distrust(candidate)
	if v.trusted && untrusted != "" {
		return nil, Usagef("%s@%s is untrusted: %s (release it all the same with --untrusted)", state.Short(base.Ref()), state.ShortDigest(candidate.Digest), state.Text(untrusted))
	}
	c, err := f.changeAll(func() { do(base, candidate) })
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%s@%s (%q)", state.Short(base.Ref()), state.ShortDigest(candidate.Digest), reason)
	if untrusted != "" {
		what += ", untrusted: " + state.Text(untrusted)
	}
	images := plural.Listed(f.Graph.Dependents(base.Name), 3)
	c.Done, c.Plan = v.past+" "+what+": "+fmt.Sprintf(v.effect, images), v.verb+" "+what
	return c, nil
}

// Reset clears the failures in a row of an image, so that its rebuilds start again.
func (f *Fleet) Reset(name, reason string) (*Change, error) {
	img, err := f.Image(name)
	if err != nil {
		return nil, err
	}
	facts := f.State.Images[img.Name]
	if facts == nil || facts.Rebuild == nil || facts.Rebuild.Failures == 0 {
		return nil, Usagef("nothing to reset: no rebuild of %q has failed", name)
	}
	c, err := f.changeAll(func() { facts.Reset(reason) })
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("reset %s (%q)", name, reason)
	c.Done, c.Plan = what+": its rebuilds start again", what
	return c, nil
}

// Change calls do, which changes the state in memory, and returns the change.
func (f *Fleet) Change(do func()) (*Change, error) {
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	do()
	c := f.ChangeSince(before)
	return &c, nil
}

// changeAll is like [Fleet.Change], but fails if any file is refused.
func (f *Fleet) changeAll(do func()) (*Change, error) {
	c, err := f.Change(do)
	if err != nil {
		return nil, err
	}
	return c, c.refusal()
}

// Base returns the name of the base image in use with that name or reference, or "".
func (f *Fleet) Base(nameOrRef string) string {
	if len(f.Graph.Dependents(nameOrRef)) > 0 {
		return nameOrRef
	}
	ref, err := state.ParseRef(nameOrRef)
	if err != nil || f.Config.Find(nameOrRef) != nil {
		return ""
	}
	if name := f.Graph.BaseName(ref); len(f.Graph.Dependents(name)) > 0 {
		return name
	}
	return ""
}

// minDigits is how many digits of a digest must be given.
const minDigits = 4

// candidatesOf returns the candidates of a base image whose digest equals or begins with the given one: "sha256:0123abcd" or
// "0123abcd".
func candidatesOf(base *state.Base, digest string) []*state.Candidate {
	digits := strings.TrimPrefix(digest, "sha256:")
	if len(digits) < minDigits {
		return nil
	}
	var out []*state.Candidate
	for i := range base.Candidates {
		if c := &base.Candidates[i]; strings.HasPrefix(c.Digest, "sha256:"+digits) {
			out = append(out, c)
		}
	}
	return out
}

// candidate returns the base image and the candidate that BASE or BASE@DIGEST names.
func (f *Fleet) candidate(spec string) (*state.Base, *state.Candidate, error) {
	name, digest, pinned := strings.Cut(spec, "@")
	base := f.State.Bases[f.Base(name)]
	switch {
	case base == nil:
		return nil, nil, Usagef("unknown base image %q (`imagefactory graph` shows those in use)", name)
	case len(base.Candidates) == 0:
		return nil, nil, Usagef("no candidates of %s: its tag has not moved", base.Ref())
	case !pinned:
		for i := range slices.Backward(base.Candidates) {
			if c := &base.Candidates[i]; c.Withdrawn.IsZero() {
				return base, c, nil
			}
		}
		last := base.Candidates[len(base.Candidates)-1].Digest
		return nil, nil, Usagef("all candidates of %s were withdrawn; name one: %s@%s", base.Ref(), name, last)
	}
	found := candidatesOf(base, digest)
	switch {
	case len(found) == 1:
		return base, found[0], nil
	case len(found) > 1:
		return nil, nil, Usagef("ambiguous digest %s: %d candidates of %s begin with it", digest, len(found), base.Ref())
	}
	return nil, nil, Usagef("unknown candidate %s of %s (the newest is %s)", digest, base.Ref(), base.Candidates[len(base.Candidates)-1].Digest)
}
