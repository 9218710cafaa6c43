package policy

import (
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Past judges builds of the past by facts that are known now.
type Past struct{ tags map[tagKey][]candidate }

// NewPast returns a Past. The facts that it is asked about must not change meanwhile.
func NewPast() *Past { return &Past{map[tagKey][]candidate{}} }

// Unripe returns why an image that was built at a time should not have been built on a digest of a base image: it was held or
// withdrawn by then, is untrusted, had not ripened, or its tag was never seen to hold it. It returns "" if the build was right,
// or if the image does not prove what it was built on.
func (p *Past) Unripe(img *config.Image, base *state.Base, on *state.BuiltOn, platforms []string, at time.Time) string {
	if base == nil || base.Baseline == nil || on.Evidence == state.Recorded || on.Evidence == state.Assumed {
		return ""
	}
	key := tagKey{base, strings.Join(platforms, " ")}
	list, known := p.tags[key]
	if !known {
		list = candidates(base, platforms)
		p.tags[key] = list
	}
	i := indexOf(list, effective(asRecorded(base, on.Snapshot), platforms))
	if i < 0 && watched(base, at) {
		return "never seen under its tag"
	}
	if i <= 0 {
		return ""
	}
	v, c := view{img: img, now: at, locked: true}, list[i]
	if c.since.After(at) { // it returned only later
		c.since = c.seen
	}
	switch {
	case v.releasedNow(&c) && c.untrusted == "":
		return ""
	case c.isHeld() && !c.held.After(at):
		return "held"
	case c.isWithdrawn() && !c.withdrawn.After(at):
		return "withdrawn"
	case c.untrusted != "":
		return "untrusted"
	case !v.aged(&c, v.delay()):
		return "younger than " + img.Delay().String()
	}
	return ""
}

// watched reports whether every digest that a build at a time could take from the tag is a candidate, except for those that the
// tag held between two observations. A build takes up to [RunTimeout], and only so many candidates are kept.
func watched(base *state.Base, at time.Time) bool {
	return len(base.Candidates) < state.MaxCandidates && at.Sub(base.Baseline.FirstSeen.Time) > RunTimeout
}

// builtOnUnripe returns which bases the published image should not have been built on, or "".
func builtOnUnripe(bases []BaseDecision) string {
	var out []string
	for i := range bases {
		if b := &bases[i]; b.Unripe != "" {
			out = append(out, state.Short(b.Ref)+" that was "+b.Unripe)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "built on a digest of " + strings.Join(out, ", and on one of ")
}
