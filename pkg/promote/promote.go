// Package promote runs passes: it records the results of rebuilds, claims the rebuilds that are due, starts them through Kargo or
// at the forges, and has package propose bring the pull requests that move pins up to date.
package promote

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/store"
)

const (
	// claimTTL is how long a recorded rebuild belongs to the pass that recorded it.
	claimTTL = policy.StartGrace
	// startDeadline is how long after recording a rebuild a pass may still start it. It is well before claimTTL.
	startDeadline = claimTTL / 2
	// startTimeout bounds one call of Start. It ends a minute before claimTTL does, so that the run is visible at the forge
	// before another pass may look for it.
	startTimeout = claimTTL - startDeadline - time.Minute
	// observeTimeout is the default of [Options.ObserveTimeout].
	observeTimeout = startDeadline / 2
)

// Options configure a pass.
type Options struct {
	// Backend starts rebuilds: [Kargo] or [Direct].
	Backend Backend
	// Clients returns the clients that observe tags. Without a Registry, no tag is resolved again.
	Clients analyze.NewClients
	// Sweep observes a share of all images and base images too, so that changes without an event are found.
	Sweep bool
	// Select selects the images whose rebuilds are started. The results of all rebuilds are recorded.
	Select fleet.Selection
	// Repository returns the repository of a source, for the pull requests that move pins. Without it, none is opened.
	Repository func(context.Context, *config.Source) (forge.Repository, error)
	// Issues returns the issues of a repository, for [config.Issues]. Without it, none is opened.
	Issues func(context.Context, *config.Source) (forge.Issues, error)
	// Now is the clock.
	Now func() time.Time
	// ObserveTimeout bounds the time to ask for the status of rebuilds, and then the time to observe registries. Default 2m30s.
	ObserveTimeout time.Duration
	// Missed lists what the previous pass had no time for, from its Report. A process that makes a single pass needs none: every
	// pass begins at another place, by the clock.
	Missed Missed
	// Log receives decisions and changes at debug level. Default: none.
	Log *slog.Logger
}

// Run runs one pass: it records the results of earlier rebuilds, resolves the tags that something waits for, decides,
// records the rebuilds that it is about to start, starts them, and brings the pull requests that move pins up to date. Two promoters race for recording: the one whose change
// is stored starts the rebuild. A rebuild that was recorded and not started is started by a later pass, under the same ID.
func Run(ctx context.Context, store store.Store, opts Options) (*Report, error) {
	opts.ObserveTimeout = cmp.Or(opts.ObserveTimeout, observeTimeout)
	opts.Log = cmp.Or(opts.Log, slog.New(slog.DiscardHandler))
	p := &pass{opts: opts, statuses: map[string]statusResult{}, missed: opts.Missed}
	var a *attempt
	saved, err := store.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		err := p.setup(f)
		if err != nil {
			return nil, err
		}
		if a, err = newAttempt(p, f); err != nil {
			return nil, err
		}
		return a.record(ctx)
	})
	if err != nil {
		return nil, err
	}
	a.report.Saved, a.report.Missed = saved, p.missed
	outcomes := a.start(ctx)
	requests := a.propose(ctx)
	a.syncIssues(ctx)
	a.report.Stopped = ctx.Err() != nil
	if len(outcomes) == 0 && !propose.Record(a.fleet, requests) {
		return a.report, nil
	}
	var change *fleet.Change
	after, err := store.Update(context.WithoutCancel(ctx), func(_ context.Context, f *fleet.Fleet) (_ *fleet.Change, err error) {
		change, err = recordOutcomes(f, outcomes, requests, opts.Now())
		return change, err
	})
	if err != nil {
		return a.report, fmt.Errorf("recording started rebuilds: %w", err)
	}
	a.reportRefused(change)
	a.report.Saved.Files += after.Files
	a.report.Saved.Commit = cmp.Or(after.Commit, a.report.Saved.Commit)
	return a.report, nil
}
