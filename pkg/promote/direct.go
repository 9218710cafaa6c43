package promote

import (
	"context"
	"errors"
	"time"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Direct is the Backend that starts workflows and pipelines at the forges, without Kargo.
type Direct struct {
	Client *forge.Client
	Now    func() time.Time // the clock, which decides what the lock of a build contains
}

func (d Direct) executor(*fleet.Fleet) (executor, error) { return directExecutor{d.Client, d.Now}, nil }

// directExecutor is the executor of [Direct].
type directExecutor struct {
	client *forge.Client
	now    func() time.Time
}

// Ready implements [executor].
func (directExecutor) Ready(_ context.Context, r *rebuildRequest) (string, error) {
	if key := r.Image.Source.MissingKey(); key != "" {
		return "source." + key + " is not set: no workflow to start", nil
	}
	return "", nil
}

// Find implements [executor].
func (d directExecutor) Find(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	if r.Status == state.Running && r.Run != "" {
		return d.follow(ctx, r)
	}
	run, found, err := d.client.Find(ctx, dispatchOf(r), func(run forge.Run) bool { return r.Taken(run.ID) })
	switch {
	case err != nil:
		return nil, err
	case found == forge.Found:
		return &runStatus{Status: state.Running, Run: run.ID, RunURL: run.URL}, nil
	case r.Status == state.Running: // it was started; its image shows the rest
		return &runStatus{Status: state.Running}, nil
	case found == forge.Ambiguous:
		return &runStatus{Status: state.Requested, Message: ambiguousRuns}, nil
	case found == forge.Unread:
		return &runStatus{Status: state.Requested, Message: unreadRuns}, nil
	}
	return nil, nil // no run exists; or several candidates ended without the image
}

// follow returns the status of a known run.
func (d directExecutor) follow(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	result, err := d.client.Follow(ctx, r.Image, forge.Run{ID: r.Run, URL: r.RunURL})
	if err != nil {
		return nil, err
	}
	status := &runStatus{Status: state.Running, Run: r.Run, RunURL: r.RunURL, Message: result.Message}
	switch result.Phase {
	case forge.Succeeded:
		status.Status = state.Built
	case forge.Failed:
		status.Status = state.Failed
	}
	return status, nil
}

// Reasons why a rebuild is neither running nor started again.
const (
	ambiguousRuns = "it may have been started: another run could be its own; the next pass checks again until that run ends " +
		"(put {{promotion}} into the run-name of the workflow to identify runs)"
	unreadRuns = "it may have been started: not all runs could be read (too many newer ones, a token without access, or a webhook)"
)

// LookupRun implements [executor]: a known run is recorded when it starts.
func (directExecutor) LookupRun(context.Context, *rebuildRequest) (*runStatus, error) {
	return nil, nil
}

// Start implements [executor].
func (d directExecutor) Start(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	dispatch := dispatchOf(r)
	if r.Image.Source.TakesLock() {
		lock, err := r.Lock(d.now())
		if err != nil {
			return nil, err
		}
		if dispatch.Lock, err = lock.Input(); err != nil {
			return nil, err
		}
	}
	run, err := d.client.Start(ctx, dispatch, func(run forge.Run) bool { return r.Taken(run.ID) })
	if refused := (*forge.RefusedError)(nil); errors.As(err, &refused) {
		return nil, &refusedError{err}
	}
	if err != nil {
		return nil, err
	}
	return &runStatus{Status: state.Running, Run: run.ID, RunURL: run.URL}, nil
}

// External implements [executor]: a forge does not show what its runs are for.
func (directExecutor) External(context.Context) ([]externalRebuild, error) { return nil, nil }

// dispatchOf returns what to send to the forge for a request.
func dispatchOf(r *rebuildRequest) forge.Dispatch {
	out := forge.Dispatch{Rebuild: r.ID, Image: r.Image, RequestedAt: r.RequestedAt.Time, Shared: !r.Alone}
	if len(r.For) > 0 {
		out.Base, out.Digest = r.For[0].Base, r.For[0].Digest
	}
	return out
}
