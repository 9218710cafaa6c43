package promote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// syncRebuilds records the status of the rebuilds that were started, and finds the orphans.
func (a *attempt) syncRebuilds(ctx context.Context) {
	ctx, cancel := withDeadline(ctx, a.opts.ObserveTimeout)
	defer cancel()
	f := a.fleet
	var names []string
	for _, name := range f.Graph.Order() {
		if facts := f.State.Images[name]; facts != nil && facts.Rebuild != nil && f.Config.Find(name).Managed() {
			names = append(names, name)
		}
	}
	names = fair.Rotation{Pass: passAt(f, a.now)}.Order(names)
	first := slices.DeleteFunc(slices.Clone(a.missed.rebuilds), func(name string) bool { return !slices.Contains(names, name) })
	names = slices.Concat(first, slices.DeleteFunc(names, func(name string) bool { return slices.Contains(first, name) }))
	var missed []string
	hostOf := func(name string) string { return f.Config.Find(name).Source.Host }
	fair.ByHost(ctx, names, hostOf, func(within context.Context, name string) bool {
		if ctx.Err() != nil {
			missed = append(missed, name)
		}
		return a.syncRebuild(within, f.Config.Find(name), f.State.Images[name].Rebuild)
	})
	a.missed.rebuilds = missed
}

// syncRebuild reports whether the executor responded.
func (a *attempt) syncRebuild(ctx context.Context, img *config.Image, r *state.Rebuild) bool {
	if !r.Status.Active() && r.Run == "" && a.now.Sub(r.RequestedAt.Time) < policy.RunTimeout {
		a.lookupRun(ctx, newRequest(a.fleet, img), r)
	}
	if r.Status != state.Running && r.Status != state.Requested {
		return true
	}
	if r.Status == state.Requested && a.now.Sub(r.Claimed().Time) < claimTTL {
		if r.Message != "" {
			a.reportBlocked(img.Name, r)
		}
		return true // another pass is about to start it, or has just tried
	}
	status, err := a.find(ctx, newRequest(a.fleet, img))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case err != nil:
		a.problem(img.Name, fmt.Errorf("reading the status of rebuild %s: %w", r.ID, err))
		return false
	case status != nil && status.Status == state.Requested: // not known whether it was started
		r.Message = state.Text(status.Message)
		a.reportBlocked(img.Name, r)
	case status != nil:
		status.applyTo(r, a.now)
	case r.Status == state.Requested:
		if _, overdue := policy.Overdue(r, a.now); !overdue {
			a.orphans = append(a.orphans, img.Name)
		}
	}
	return true
}

// lookupRun records the run of a rebuild whose image was seen before a pass asked for the run.
func (a *attempt) lookupRun(ctx context.Context, req *rebuildRequest, r *state.Rebuild) {
	status, err := a.executor.LookupRun(ctx, req)
	switch {
	case err != nil:
		a.problem(req.Image.Name, fmt.Errorf("looking up the run of rebuild %s: %w", r.ID, err))
	case status != nil:
		r.Run, r.RunURL = status.Run, status.RunURL
	}
}

// find asks the executor once per pass. "Not found" is asked again: meanwhile another pass may have started the rebuild.
func (p *pass) find(ctx context.Context, req *rebuildRequest) (*runStatus, error) {
	known, ok := p.statuses[req.ID]
	if !ok {
		known.status, known.err = p.executor.Find(ctx, req)
		if known.status != nil || known.err != nil && ctx.Err() == nil {
			p.statuses[req.ID] = known
		}
	}
	return known.status, known.err
}

// applyTo records the status in a rebuild.
func (s *runStatus) applyTo(r *state.Rebuild, now time.Time) {
	if s.Run != "" {
		r.Run = s.Run
	}
	if s.RunURL != "" {
		r.RunURL = s.RunURL
	}
	if s.Status == state.Running {
		r.Status, r.Message = state.Running, ""
		return
	}
	r.Refused = s.Refused
	r.Finish(s.Status, s.Message, now)
}

// adopt records the rebuilds that people started, so that no other one is started beside them.
func (a *attempt) adopt(ctx context.Context) error {
	if a.external == nil {
		external, err := a.executor.External(ctx)
		if err != nil {
			return err
		}
		a.external = append([]externalRebuild{}, external...)
	}
	for _, e := range a.external {
		name := strings.TrimPrefix(e.Stage, kargo.RebuildStage(""))
		img, facts := a.fleet.Config.Find(name), a.fleet.State.Images[name]
		if a.now.Sub(e.Started) >= policy.RunTimeout {
			continue // it waits for something else than a build
		}
		if img == nil || !img.Managed() || facts == nil || !adoptable(facts, &e, a.now) {
			continue
		}
		reason := "promoted by hand in Kargo"
		if e.By != "" {
			reason += " by " + sanitize.Line(e.By)
		}
		facts.Request(state.Rebuild{ID: e.ID, Reason: reason, Bases: targetsOf(a.fleet, name, e.Digest), RequestedAt: state.At(e.Started)})
		e.applyTo(facts.Rebuild, a.now)
		policy.EndAdopted(img, a.fleet.State, a.fleet.Graph, a.now)
		if r := facts.Rebuild; !r.Status.Active() {
			a.report.Ended = append(a.report.Ended, Ended{name, r.ID, r.Status, r.Message})
		}
	}
	return nil
}

// adoptable reports whether state lacks an external rebuild, and none that was requested later is recorded if it is over.
func adoptable(facts *state.Image, e *externalRebuild, now time.Time) bool {
	if r := facts.Rebuild; r != nil && (r.Status.Active() || r.ID == e.ID || e.Over && r.RequestedAt.After(e.Started) && !r.RequestedAt.Ahead(now)) {
		return false
	}
	return !slices.ContainsFunc(facts.RebuildHistory, func(r state.Rebuild) bool { return r.ID == e.ID })
}

// targetsOf returns the reference of an image that a digest belongs to, as the targets of a rebuild.
func targetsOf(f *fleet.Fleet, name, digest string) []state.Target {
	for _, dep := range f.Graph.Deps(name) {
		if base := f.State.Bases[dep.Base]; base != nil && digest != "" {
			if s := base.Seen(digest); s != nil {
				return []state.Target{{Ref: dep.Ref.String(), Snapshot: *s}}
			}
		}
	}
	return nil
}
