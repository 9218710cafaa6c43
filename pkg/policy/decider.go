package policy

import (
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Decider decides about one image at a time. It must be asked for parents before their children: an image that it was not
// asked for keeps no other one waiting.
type Decider struct{ d decider }

// NewDecider returns a Decider for one time. The facts must not change while it is in use.
func NewDecider(cfg *config.Config, st *state.State, g *graph.Graph, now time.Time) *Decider {
	return &Decider{decider{cfg: cfg, st: st, g: g, now: now, clock: now, blockers: map[string]blocker{}, tags: map[tagKey][]candidate{}}}
}

// Decide returns the decision about an enrolled image, as [Decide] does, except for Decision.Queued.
func (d *Decider) Decide(name string) Decision { return d.d.image(d.d.cfg.Find(name)) }

// Clock is a digest that a tag held, as one image sees it, with the times that decide when it is due. Digests with the same
// effective digests have one Clock.
type Clock struct {
	state.Snapshot
	Seen      time.Time   `json:"seen"`               // when it was first seen
	Ripe      time.Time   `json:"ripe"`               // when it has waited for the image's rebuildDelay
	Withdrawn time.Time   `json:"withdrawn,omitzero"` // when the tag went back behind it
	Held      time.Time   `json:"held,omitzero"`
	Released  time.Time   `json:"released,omitzero"`
	Missing   []string    `json:"missing,omitempty"`   // platforms of the image that it lacks
	Untrusted string      `json:"untrusted,omitempty"` // why it could not be verified
	Built     bool        `json:"built,omitempty"`     // the published image is built on it
	Status    ClockStatus `json:"status"`
}

// ClockStatus is how a digest stands for one image.
type ClockStatus string

// Statuses of a digest.
const (
	IsBaseline  ClockStatus = "baseline"  // the tag held it when the base image was first recorded
	IsRipening  ClockStatus = "ripening"  // until Clock.Ripe
	IsRipe      ClockStatus = "ripe"      // has waited for the image's rebuildDelay
	IsReleased  ClockStatus = "released"  // before it was ripe
	IsHeld      ClockStatus = "held"      // until it is released
	IsWithdrawn ClockStatus = "withdrawn" // the tag went back behind it
	// IsIncomplete means that it lacks a platform of the image, and IsUntrusted that it could not be verified. Neither ripens.
	IsIncomplete ClockStatus = "incomplete"
	IsUntrusted  ClockStatus = "untrusted"
)

// status returns how the candidate stands at a time; the first of a list is the baseline.
func (c *candidate) status(first bool, delay time.Duration, now time.Time) ClockStatus {
	switch {
	case c.isHeld():
		return IsHeld
	case first:
		return IsBaseline
	case len(c.missing) > 0:
		return IsIncomplete
	case c.untrusted != "":
		return IsUntrusted
	case c.isReleased() && (c.isWithdrawn() || now.Sub(c.since) < delay):
		return IsReleased
	case c.isWithdrawn():
		return IsWithdrawn
	case now.Sub(c.since) < delay:
		return IsRipening
	}
	return IsRipe
}

// Clocks returns the digests that the tag of a base image held, oldest first, as an image sees them. The first is the
// baseline. It returns nil for a reference whose pin nothing moves, that a managed image publishes, or whose registry was not asked yet.
func Clocks(img *config.Image, st *state.State, dep *graph.Dep, now time.Time) []Clock {
	return NewDecider(nil, st, nil, now).Clocks(img, dep)
}

// Clocks is like [Clocks], and reads each tag once for all images that build the same platforms.
func (d *Decider) Clocks(img *config.Image, dep *graph.Dep) []Clock {
	st, now := d.d.st, d.d.clock
	base, facts := st.Bases[dep.Base], st.Images[img.Name]
	if !dep.Moves() || base == nil || base.Baseline == nil || facts == nil {
		return nil
	}
	platforms := PlatformsOf(img, dep.Uses)
	list := d.d.candidates(base, platforms)
	on := facts.On(dep.Ref.String())
	if dep.Updated {
		on = builtOnTag(facts, dep.Ref)
	}
	at, listed := position(list, base, on, pastOnly(facts.LastBuilt, now), platforms)
	out, delay := make([]Clock, len(list)), img.Delay().Std()
	for i := range list {
		c := &list[i]
		out[i] = Clock{
			Snapshot: c.Snapshot, Seen: c.seen, Ripe: c.since.Add(delay), Withdrawn: c.withdrawn, Held: c.held,
			Released: c.released, Missing: c.missing, Untrusted: c.untrusted, Built: listed && i == at, Status: c.status(i == 0, delay, now),
		}
	}
	return out
}
