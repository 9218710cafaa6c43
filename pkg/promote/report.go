package promote

import (
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/issues"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

// Report is the result of a pass.
type Report struct {
	Started  []Started `json:"started"`
	Ended    []Ended   `json:"ended"`             // rebuilds that have ended since the pass before
	Dropped  []Ended   `json:"dropped"`           // recorded before, never started, and no longer due
	NotReady []Problem `json:"notReady"`          // due, but nothing can start them
	Problems []Problem `json:"problems"`          // failures; the next pass retries
	Warnings []string  `json:"warnings"`          // what keeps Kargo from observing or starting
	Active   int       `json:"active"`            // rebuilds that are running or being started
	Blocked  int       `json:"blocked"`           // rebuilds that could not be started; Problems say why
	Stopped  bool      `json:"stopped,omitempty"` // before the pass was complete
	// Requests are the pull requests that move pins, and what this pass did with them.
	Requests []propose.Result `json:"requests,omitempty"`
	// Issues are the issues at the forges that this pass changed.
	Issues []issues.Result `json:"issues,omitempty"`
	Saved  store.Saved     `json:"-"`
	Missed Missed          `json:"-"` // for the Options of the next pass

	unfinished map[string]bool // images whose rebuild is active or blocked
}

// Unfinished returns the names of the images whose rebuild is active or blocked, sorted.
func (r *Report) Unfinished() []string {
	return slices.Sorted(maps.Keys(r.unfinished))
}

// Missed lists what a pass had no time for; the next pass of the same process begins with it.
type Missed struct {
	names    map[string]bool // images and base images that were not observed
	rebuilds []string        // images whose rebuild was not asked for, longest wait first
}

// Started is a rebuild that was started.
type Started struct {
	Image   string `json:"image"`
	Rebuild string `json:"rebuild"`
	Reason  string `json:"reason"`
	RunURL  string `json:"runURL,omitempty"`
}

// Ended is a rebuild that has ended.
type Ended struct {
	Image   string              `json:"image"`
	Rebuild string              `json:"rebuild"`
	Status  state.RebuildStatus `json:"status"`
	Message string              `json:"message,omitempty"`
}

// Problem is a failure, of one image or of the pass.
type Problem struct {
	Image string `json:"image,omitempty"`
	Error string `json:"error"`
}
