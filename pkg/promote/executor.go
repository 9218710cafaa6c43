package promote

import (
	"context"
	"time"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Backend starts rebuilds: [Kargo] or [Direct].
type Backend interface {
	// executor returns a new Executor for one pass.
	executor(f *fleet.Fleet) (Executor, error)
}

// Executor starts rebuilds and reads their status. It serves one pass.
type Executor interface {
	// Ready returns what is missing to start a rebuild now; "" if nothing is. It changes nothing.
	Ready(ctx context.Context, r *RebuildRequest) (missing string, err error)
	// Find returns the status of a rebuild that was started, or may have been; nil if it surely was not, so that it can be
	// started. The status is Requested if that is not known yet.
	Find(ctx context.Context, r *RebuildRequest) (*RunStatus, error)
	// LookupRun returns the run of a rebuild that has ended; nil if it is not known. It sends no request of its own.
	LookupRun(ctx context.Context, r *RebuildRequest) (*RunStatus, error)
	// Start starts a rebuild. A RefusedError is permanent; after any other error, Find tells whether it was started all the same.
	Start(ctx context.Context, r *RebuildRequest) (*RunStatus, error)
	// External returns the rebuilds that people started and that are running, or have succeeded.
	External(ctx context.Context) ([]External, error)
}

// RunStatus is the status of a rebuild: Running, Built or Failed, or Requested while it is not known.
type RunStatus struct {
	Status  state.RebuildStatus
	Run     string // ID at the forge; "" while it is not known
	RunURL  string
	Message string
}

// External is a rebuild that a person started.
type External struct {
	ID      string
	Stage   string
	By      string
	Digest  string // of the base that it is for; "" if not known
	Started time.Time
	Over    bool // its run has ended; only its image is missing
	RunStatus
}

// RefusedError is a permanent error: retrying the same request would fail again.
type RefusedError struct{ Err error }

func (r *RefusedError) Error() string { return r.Err.Error() }

func (r *RefusedError) Unwrap() error { return r.Err }
