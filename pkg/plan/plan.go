// Package plan predicts which rebuilds come next, and when. It plays the future of a fleet with package policy, on a copy of the
// state: it decides nothing itself and does no I/O. It assumes that no tag moves, that builds succeed and take as long as
// usual, and that promote makes its passes by factory.schedule.
package plan

import (
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// DefaultHorizon is how far a plan looks ahead unless Options say otherwise.
const DefaultHorizon = 30 * 24 * time.Hour

// DefaultDuration is the expected duration of a rebuild while no rebuild of the fleet has succeeded yet.
const DefaultDuration = 30 * time.Minute

// Options are the input of a plan.
type Options struct {
	Config  *config.Config
	State   *state.State // not changed
	Graph   *graph.Graph
	Now     time.Time
	Horizon time.Duration // default [DefaultHorizon]
	// Change asks for the effect of one move of a tag that has not happened. The plan then holds only the first rebuild of
	// each image that picks it up.
	Change *Change
}

// Change is a move of a tag that has not happened: of a base image, or of the published tag of a managed image.
type Change struct {
	Ref    string `json:"ref"`              // normalised reference
	Image  string `json:"image,omitempty"`  // the managed image that publishes it
	Base   string `json:"base,omitempty"`   // the base image that it belongs to
	Digest string `json:"digest,omitempty"` // what the tag holds then; "" for a digest that nobody knows yet
}

// Plan is what happens until the horizon if nothing unforeseen does.
type Plan struct {
	Now        time.Time  `json:"now"`
	Until      time.Time  `json:"until"`            // the horizon
	Schedule   string     `json:"schedule"`         // of the passes of promote, in UTC
	Change     *Change    `json:"change,omitempty"` // whose effect is shown
	Items      []Entry    `json:"items"`            // in the order in which they start
	Dispatches []Dispatch `json:"dispatches"`       // by time, then forge
	Skipped    []Skip     `json:"skipped"`          // in rebuild order
	Others     int        `json:"others"`           // enrolled images that are neither rebuilt nor skipped
}

// Status is how a planned rebuild stands.
type Status string

// Statuses of a planned rebuild.
const (
	Running Status = "running" // started before; At is when
	Blocked Status = "blocked" // recorded before, and could not be started; the next pass tries again
	Now     Status = "now"     // starts with a pass of promote that is made now
	Planned Status = "planned" // starts with the pass at At
)

// Entry is one rebuild.
type Entry struct {
	Image  string    `json:"image"`
	Status Status    `json:"status"`
	Wave   int       `json:"wave"` // 1, or one more than the parent whose new image it waits for
	At     time.Time `json:"at"`   // the pass that starts it
	Ends   time.Time `json:"ends"` // when its image is expected
	// Stop is what keeps it from starting before At, although it is due.
	Stop policy.Stop `json:"stop,omitempty"`
	// After is the planned rebuild of a parent that it waits for.
	After string `json:"after,omitempty"`
	// Latest is when it starts at the latest, however often the tags of its bases move until then: under the policy settle
	// each move restarts the wait. It is zero where no move can delay it.
	Latest time.Time `json:"latest,omitzero"`
	Reason string    `json:"reason"`
	Bases  []Base    `json:"bases,omitempty"` // what makes it due
	// Takes is the reference whose Change the build takes with it, although something else makes it due.
	Takes string `json:"takes,omitempty"`
	Forge string `json:"forge"`
	Owner string `json:"owner,omitempty"` // of images.yaml
	// Expected is how long it takes, from the request until the image is seen, and ExpectedFrom how that is known.
	Expected     config.Duration `json:"expected"`
	ExpectedFrom Source          `json:"expectedFrom"`
	Rebuild      string          `json:"rebuild,omitempty"` // ID, if it is running or starts now
	RunURL       string          `json:"runURL,omitempty"`
}

// Source is where an expected duration comes from.
type Source string

// Sources of an expected duration.
const (
	FromHistory Source = "history" // the median of the image's successful rebuilds
	FromFleet   Source = "fleet"   // the median of all images
	FromDefault Source = "default" // [DefaultDuration]
)

// Base is a base image or parent that makes a rebuild due.
type Base struct {
	Ref    string `json:"ref"`
	Parent string `json:"parent,omitempty"` // managed image that publishes it
	// Digest is what the rebuild is for; "" for the image that a planned rebuild of the parent is going to publish.
	Digest string    `json:"digest,omitempty"`
	Since  time.Time `json:"since,omitzero"` // when it became due
	// Number counts the digests that the tag moved through since the published image was built: 3 is the third.
	Number     int         `json:"number,omitempty"`
	Released   bool        `json:"released,omitempty"` // by a person, before it had ripened
	Leaves     bool        `json:"leaves,omitempty"`   // the image is built on a digest that was withdrawn or is held
	OnHeld     bool        `json:"onHeld,omitempty"`   // the image is built on a held digest
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is a digest that came after the one that an image is built on.
type Candidate struct {
	Digest    string    `json:"digest"`
	Seen      time.Time `json:"seen"`
	Ripe      time.Time `json:"ripe"` // when it has waited for the image's rebuildDelay
	Withdrawn bool      `json:"withdrawn,omitempty"`
	Held      bool      `json:"held,omitempty"`
	Released  bool      `json:"released,omitempty"`
	Missing   []string  `json:"missing,omitempty"` // platforms of the image that it lacks
	Untrusted string    `json:"untrusted,omitempty"`
	// Adds are the vulnerabilities that it has and that the digest which the image is built on does not have, as far as scans know.
	Adds []state.FindingJSON `json:"adds,omitempty"`
}

// Adds returns the vulnerabilities that the rebuild takes with the digest that it is for, the worst first.
func (b *Base) Adds() []state.FindingJSON {
	for i := range b.Candidates {
		if c := &b.Candidates[i]; c.Digest == b.Digest {
			return c.Adds
		}
	}
	return nil
}

// Dispatch is how many builds start at one forge in one hour.
type Dispatch struct {
	Hour   time.Time `json:"hour"`
	Forge  string    `json:"forge"`
	Builds int       `json:"builds"`
}

// Skip is an image with a newer base that no rebuild of the plan picks up, or not for one of its references.
type Skip struct {
	Image string `json:"image"`
	Ref   string `json:"ref,omitempty"` // the reference that it is about, if it is about one
	Cause Cause  `json:"cause"`
	Why   string `json:"why"`
	// Until is when it is due, if that is known and after the horizon.
	Until time.Time `json:"until,omitzero"`
}

// Cause is why an image is skipped.
type Cause string

// Causes for which images are skipped.
const (
	SkipPinned   Cause = "pinned"   // the Dockerfile names a digest
	SkipOptedOut Cause = "optedOut" // autoRebuild is false
	SkipPaused   Cause = "paused"   // by a person, or no window opens
	SkipHeld     Cause = "held"     // a person held the digest
	// SkipIncomplete is for a digest that lacks a platform, SkipUntrusted for one that could not be verified.
	SkipIncomplete Cause = "incomplete"
	SkipUntrusted  Cause = "untrusted"
	SkipFailed     Cause = "failed"  // too many failures in a row
	SkipManual     Cause = "manual"  // no API can start its build
	SkipUnknown    Cause = "unknown" // not analyzed, or not resolved
	SkipLater      Cause = "later"   // after the horizon
	SkipCurrent    Cause = "current" // what it uses stays the same
)
