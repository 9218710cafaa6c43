package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// observe resolves the tags that something waits for, and looks for the images of running rebuilds.
func (a *attempt) observe(ctx context.Context) error {
	if a.clients.Registry == nil {
		a.reportUnreadable() // as the analysis does
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.ObserveTimeout)
	defer cancel()
	r, err := analyze.Fleet(ctx, a.fleet, a.scope(), a.clients)
	if err != nil {
		return err
	}
	a.reportObserved(r)
	return nil
}

// scope returns what the pass observes.
func (a *attempt) scope() analyze.Scope {
	decisions := a.decide()
	scope := analyze.Scope{Bases: policy.Recheck(decisions)}
	for i := range decisions {
		switch d := &decisions[i]; d.Status {
		case policy.Due, policy.Starting, policy.Running, policy.Blocked:
			scope.Published = append(scope.Published, d.Image)
		}
	}
	if a.opts.Sweep {
		addSweepShard(a.fleet, &scope, a.now)
	}
	scope.Rotation = fair.Rotation{Pass: passAt(a.fleet, a.now), First: a.missed.names}
	return scope
}

func (a *attempt) reportObserved(r *analyze.Report) {
	missed := map[string]bool{}
	for _, img := range r.Images {
		if img.NotSeen {
			img.Error = cmp.Or(img.Error, fair.ErrLate.Error())
			missed[img.Image] = true
		}
		if img.Error != "" {
			a.problem(img.Image, errors.New(img.Error))
		} else if facts := a.fleet.State.Images[img.Image]; facts != nil {
			policy.EndBuilt(a.fleet.Config.Find(img.Image), a.fleet.State, a.fleet.Graph, a.now)
		}
	}
	for _, b := range r.Bases {
		if b.NotSeen {
			b.Error = fair.ErrLate.Error()
			missed[b.Base] = true
		}
		if b.Error != "" {
			a.unresolved[b.Base] = true
			a.problem("", fmt.Errorf("%s: %s", b.Ref, b.Error))
		}
	}
	a.missed.names = missed
}

// reportUnreadable reports the images and base images whose state files cannot be read. What depends on them is not decided.
func (a *attempt) reportUnreadable() {
	for _, name := range a.fleet.Config.Names() {
		if err := a.fleet.Unreadable(state.ImagesFolder, name); err != nil {
			a.problem(name, err)
		}
	}
	for _, name := range a.fleet.Graph.Bases() {
		if err := a.fleet.Unreadable(state.BasesFolder, name); err != nil {
			a.problem("", err)
		}
	}
}
