package promote

import (
	"context"
	"time"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Backend starts rebuilds: [Kargo] or [Direct].
type Backend interface {
	// executor returns the executor for one pass.
	executor(f *fleet.Fleet) (executor, error)
}

// executor starts rebuilds and reads their status. It serves one pass.
type executor interface {
	// Ready returns what is missing to start a rebuild now; "" if nothing is. It changes nothing.
	Ready(ctx context.Context, r *rebuildRequest) (missing string, err error)
	// Find returns the status of a rebuild that was started, or may have been; nil if it surely was not, so that it can be
	// started. The status is Requested if that is not known yet.
	Find(ctx context.Context, r *rebuildRequest) (*runStatus, error)
	// LookupRun returns the run of a rebuild that has ended; nil if it is not known. It sends no request of its own.
	LookupRun(ctx context.Context, r *rebuildRequest) (*runStatus, error)
	// Start starts a rebuild. A refusedError is permanent; after any other error it may have started all the same: Find finds out.
	Start(ctx context.Context, r *rebuildRequest) (*runStatus, error)
	// External returns the rebuilds that people started and that are running, or have succeeded.
	External(ctx context.Context) ([]externalRebuild, error)
}

// runStatus is the status of a rebuild: Running, Built or Failed, or Requested while it is not known.
type runStatus struct {
	Status  state.RebuildStatus
	Run     string // ID at the forge; "" while it is not known
	RunURL  string
	Message string
	Refused bool // the forge refused to start it
}

// externalRebuild is a rebuild that a person started.
type externalRebuild struct {
	ID      string
	Stage   string
	By      string
	Digest  string // of the base that it is for; "" if not known
	Started time.Time
	Over    bool // its run has ended; only its image is missing
	runStatus
}

// refusedError is a permanent error: retrying the same request would fail again.
type refusedError struct{ Err error }

func (r *refusedError) Error() string { return r.Err.Error() }

func (r *refusedError) Unwrap() error { return r.Err }
