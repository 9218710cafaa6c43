package promote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// outcome is the result of starting one rebuild. One of its last three fields is set.
type outcome struct {
	image   string
	status  *runStatus
	refused string // a permanent error
	failed  string // why it is not known to be started
}

// start starts the claimed rebuilds and returns the outcomes by rebuild. What cannot be started now stays recorded, for a
// later pass.
func (a *attempt) start(ctx context.Context) map[string]outcome {
	outcomes := map[string]outcome{}
	within, cancel := withDeadline(ctx, startDeadline)
	defer cancel()
	hostOf := func(r *rebuildRequest) string { return r.Image.Source.Host }
	fair.ByHost(within, a.claimed, hostOf, func(within context.Context, r *rebuildRequest) bool {
		o, responded := a.startOne(ctx, within, r)
		if o != nil {
			outcomes[r.ID] = *o
		}
		return responded
	})
	return outcomes
}

// startOne starts a rebuild within its share of the time; ctx is done when the pass is interrupted. It reports whether the
// executor responded. The outcome is nil if nothing is to be recorded.
func (a *attempt) startOne(ctx, within context.Context, r *rebuildRequest) (_ *outcome, responded bool) {
	name := r.Image.Name
	if ctx.Err() != nil || within.Err() != nil || a.opts.Now().Sub(a.now) >= startDeadline {
		why := "no time was left"
		if ctx.Err() != nil {
			why = "interrupted"
		}
		a.problem(name, fmt.Errorf("starting rebuild %s: %s; the next pass starts it", r.ID, why))
		return nil, false
	}
	within, cancel := context.WithTimeoutCause(within, startTimeout, errors.New("no response within "+startTimeout.String()))
	defer cancel()
	status, err := a.executor.Start(within, r)
	refused := (*refusedError)(nil)
	switch {
	case errors.As(err, &refused):
		a.report.Ended = append(a.report.Ended, Ended{name, r.ID, state.Failed, refused.Error()})
		a.report.Active--
		delete(a.report.unfinished, name)
		a.problem(name, refused)
		return &outcome{image: name, refused: reason(err)}, true
	case ctx.Err() != nil && err != nil: // an interruption is not a failure of the rebuild
		a.problem(name, fmt.Errorf("starting rebuild %s: interrupted; the next pass will check whether it started", r.ID))
		return nil, false
	case err != nil:
		if within.Err() != nil {
			err = context.Cause(within)
		}
		a.report.Active--
		a.report.Blocked++
		a.problem(name, fmt.Errorf("starting rebuild %s: %w", r.ID, err))
		return &outcome{image: name, failed: reason(err)}, false
	}
	a.report.Started = append(a.report.Started, Started{name, r.ID, r.Reason, status.RunURL})
	return &outcome{image: name, status: status}, true
}

// reason returns why a build could not be started, without the name of the build: its state file says which one.
func reason(err error) string {
	if start := (*forge.StartError)(nil); errors.As(err, &start) {
		err = start.Err
	}
	return state.Text(err.Error())
}

// recordOutcomes records the outcomes of starting rebuilds, and the open pull requests.
func recordOutcomes(f *fleet.Fleet, outcomes map[string]outcome, requests []propose.Result, now time.Time) (*fleet.Change, error) {
	return f.Change(func() {
		propose.Record(f, requests)
		for id, o := range outcomes {
			facts := f.State.Images[o.image]
			if facts == nil || facts.Rebuild == nil || facts.Rebuild.ID != id || facts.Rebuild.Status != state.Requested {
				continue // another pass knows more by now
			}
			switch {
			case o.status != nil:
				o.status.applyTo(facts.Rebuild, now)
			case o.refused != "":
				refused := runStatus{Status: state.Failed, Message: o.refused, Refused: true}
				refused.applyTo(facts.Rebuild, now)
			default:
				facts.Rebuild.Message = o.failed
			}
		}
	})
}
