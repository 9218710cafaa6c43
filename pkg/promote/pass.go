package promote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// pass holds what is kept when a pass is computed again because another process changed the state.
type pass struct {
	opts     Options
	executor executor // set by setup
	clients  analyze.Clients
	statuses map[string]statusResult // by rebuild: results of the executor, unless it found nothing
	external []externalRebuild       // nil until read
	missed   Missed
}

// statusResult is the result of [executor.Find].
type statusResult struct {
	status *runStatus
	err    error
}

// setup creates the executor and the clients once: the data that they have read stays valid for the pass.
func (p *pass) setup(f *fleet.Fleet) (err error) {
	if p.executor != nil {
		return nil
	}
	if p.clients, err = p.opts.Clients(f); err != nil {
		return err
	}
	p.executor, err = p.opts.Backend.executor(f)
	return err
}

// attempt is one computation of a pass, on one version of the state.
type attempt struct {
	*pass
	fleet      *fleet.Fleet
	now        time.Time         // the time that is recorded; it moves on once, after observing
	orphans    []string          // images with a rebuild that was recorded and not started
	decisions  []policy.Decision // about the state that is stored
	claimed    []*rebuildRequest // recorded by this attempt, and started by it if the state is stored
	selected   map[string]bool   // images whose rebuilds may be started
	unresolved map[string]bool   // base images whose tags could not be resolved
	facts      map[string]string // by image, as recorded before: what issues are about
	report     *Report
}

func newAttempt(p *pass, f *fleet.Fleet) (*attempt, error) {
	selected, err := f.Selected(p.opts.Select)
	if err != nil {
		return nil, err
	}
	a := &attempt{pass: p, selected: selected, fleet: f, now: p.opts.Now(), unresolved: map[string]bool{}, facts: factIDs(f), report: &Report{
		Started: []Started{}, Ended: []Ended{}, Dropped: []Ended{}, NotReady: []Problem{}, Problems: []Problem{}, Warnings: []string{}, // never null in JSON
		unfinished: map[string]bool{},
	}}
	if s := p.opts.Select.Labels; s != nil && len(selected) == 0 {
		a.report.Warnings = append(a.report.Warnings, f.Config.ExplainNoMatch(s))
	}
	return a, nil
}

// record changes the state in memory: results of rebuilds, new observations, and claims.
func (a *attempt) record(ctx context.Context) (*fleet.Change, error) {
	before, err := a.fleet.State.Encode()
	if err != nil {
		return nil, err
	}
	running := activeRebuilds(a.fleet)
	a.syncRebuilds(ctx)
	if err := a.adopt(ctx); err != nil {
		return nil, err
	}
	policy.CloseOverdue(a.fleet.State, a.now)
	if err := a.observe(ctx); err != nil {
		return nil, err
	}
	if err := a.clients.CheckClock(); err != nil { // with registries or without
		return nil, err
	}
	a.now = a.opts.Now() // a slow forge or registry takes no time away from starting
	a.fleet.Judge(a.now) // candidates that were too young when they were scanned
	if ctx.Err() == nil {
		a.claim(ctx)
	}
	a.decisions = a.decide()
	a.recordStuck()
	a.reportEnded(running)
	a.countRebuilds()
	if w, ok := a.executor.(warner); ok {
		a.report.Warnings = append(a.report.Warnings, w.Warnings()...)
	}
	change := a.fleet.ChangeSince(before)
	a.reportRefused(&change)
	a.claimed = slices.DeleteFunc(a.claimed, func(r *rebuildRequest) bool { return change.RefusedOf(state.ImagesFolder, r.Image.Name) != nil })
	return &change, nil
}

// warner is an executor that can explain why Kargo does not observe.
type warner interface{ Warnings() []string }

func (a *attempt) decide() []policy.Decision {
	return policy.Decide(a.fleet.Config, a.fleet.State, a.fleet.Graph, a.now)
}

// countRebuilds counts the active and the blocked rebuilds of the selected images.
func (a *attempt) countRebuilds() {
	for _, d := range a.decisions {
		switch {
		case !a.selected[d.Image]:
			continue
		case d.Status.Busy():
			a.report.Active++
		case d.Status == policy.Blocked:
			a.report.Blocked++
		default:
			continue
		}
		a.report.unfinished[d.Image] = true
	}
}

// activeRebuilds returns the IDs of the active rebuilds of enrolled images, by image.
func activeRebuilds(f *fleet.Fleet) map[string]string {
	out := map[string]string{}
	for name, facts := range f.State.Images {
		if f.Config.Find(name) != nil && facts.Rebuild != nil && facts.Rebuild.Status.Active() {
			out[name] = facts.Rebuild.ID
		}
	}
	return out
}

// reportEnded reports the rebuilds that were active before and have ended.
func (a *attempt) reportEnded(running map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if r := a.fleet.State.Images[name].Rebuild; r != nil && r.ID == running[name] && !r.Status.Active() {
			a.report.Ended = append(a.report.Ended, Ended{name, r.ID, r.Status, r.Message})
		}
	}
}

// reportRefused reports the files that could not be recorded.
func (a *attempt) reportRefused(c *fleet.Change) {
	for _, file := range slices.Sorted(maps.Keys(c.Refused)) {
		image := ""
		if path.Dir(file) == state.ImagesFolder {
			image = strings.TrimSuffix(path.Base(file), ".yaml")
		}
		a.problem(image, fmt.Errorf("recording %s: %w", file, c.Refused[file]))
	}
}

// reportBlocked reports a rebuild that is recorded and cannot be started now.
func (a *attempt) reportBlocked(image string, r *state.Rebuild) {
	why := "no slot was free on its forge"
	if r.Message != "" {
		why = state.Text(r.Message)
	}
	a.problem(image, fmt.Errorf("rebuild %s is not started yet: %s", r.ID, why))
}

func (a *attempt) problem(image string, err error) {
	a.report.Problems = append(a.report.Problems, Problem{image, err.Error()})
}

// withDeadline returns ctx with a timeout whose cause is that no time was left.
func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errors.New("no time was left after "+d.String()))
}
