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
// withdrawn by then, is untrusted, or had not ripened. It returns "" if the build was right, or if nothing is known of the digest.
func (p *Past) Unripe(img *config.Image, base *state.Base, on state.Snapshot, platforms []string, at time.Time) string {
	if base == nil || base.Baseline == nil {
		return ""
	}
	key := tagKey{base, strings.Join(platforms, " ")}
	list, known := p.tags[key]
	if !known {
		list = candidates(base, platforms)
		p.tags[key] = list
	}
	i := indexOf(list, effective(asRecorded(base, on), platforms))
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
