package promote

import (
	"context"
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// claim records the rebuilds that this pass starts: orphans and new ones. Orphans first get half of the free slots of a
// forge, rounded up in every second pass, so that neither kind keeps the other waiting for good.
func (a *attempt) claim(ctx context.Context) {
	rebuildOf := func(name string) *state.Rebuild { return a.fleet.State.Images[name].Rebuild }
	a.orphans = slices.DeleteFunc(a.orphans, func(name string) bool { return !a.selected[name] })
	slots := policy.NewSlots(a.fleet.Config, a.decide())
	slices.SortStableFunc(a.orphans, func(x, y string) int {
		return rebuildOf(x).Claimed().Compare(rebuildOf(y).Claimed().Time)
	})
	odd := int(passAt(a.fleet, a.now) % 2)
	half := map[string]int{} // by host: slots for orphans
	a.claimOrphans(ctx, func(img *config.Image) bool {
		host := img.Source.Host
		if _, known := half[host]; !known {
			half[host] = (slots.Free(img) + odd) / 2
		}
		half[host]--
		return half[host] >= 0 && slots.Take(img)
	})
	a.claimDue(ctx, slots)
	a.claimOrphans(ctx, slots.Take)
	for _, name := range a.orphans {
		a.reportBlocked(name, rebuildOf(name))
	}
}

// claimOrphans claims the orphans that are still due and get a slot. Meanwhile somebody may have held the digest, or the
// tag may have been rolled back.
func (a *attempt) claimOrphans(ctx context.Context, take func(*config.Image) bool) {
	f := a.fleet
	var left []string
	for _, name := range a.orphans {
		facts, img := f.State.Images[name], f.Config.Find(name)
		if !facts.Rebuild.Status.Active() {
			continue // its image was seen
		}
		d := policy.Reconsider(f.Config, f.State, f.Graph, name, a.now)
		fleet.LogDecisions(ctx, a.opts.Log, []policy.Decision{d})
		closed := ""
		if c, ok := a.executor.(closer); ok {
			closed = c.Closed(name)
		}
		switch {
		case a.failed(&d):
		case closed != "": // it was refused for that; it is due again when the window opens
			a.report.Dropped = append(a.report.Dropped, Ended{Image: name, Rebuild: facts.Rebuild.ID, Message: closed})
			facts.CancelRequest()
		case d.Status == policy.Due:
			if !take(img) {
				left = append(left, name)
				continue
			}
			facts.Rebuild.TriedAt, facts.Rebuild.Message = state.At(a.now), ""
			a.claimed = append(a.claimed, newRequest(f, img))
		case d.After != "": // it waits for a parent
		default:
			a.report.Dropped = append(a.report.Dropped, Ended{Image: name, Rebuild: facts.Rebuild.ID, Message: d.Reason})
			facts.CancelRequest()
		}
	}
	a.orphans = left
}

// closer is an executor that knows windows of its own. What they close is not recorded as a rebuild, so that it never fails.
type closer interface{ Closed(image string) string }

// claimDue records new rebuilds for the images that are due; none if the executor cannot report what it can start.
func (a *attempt) claimDue(ctx context.Context, slots *policy.Slots) {
	f := a.fleet
	var ready []policy.Decision
	decisions := a.decide()
	fleet.LogDecisions(ctx, a.opts.Log, decisions)
	for _, d := range decisions {
		img := f.Config.Find(d.Image)
		if d.Status != policy.Due || !a.selected[d.Image] || !img.Source.Triggerable() || a.failed(&d) {
			continue
		}
		missing, err := a.executor.Ready(ctx, requestFor(f, img, state.Rebuild{ID: d.Rebuild, Bases: d.Targets}))
		if err != nil {
			a.problem("", fmt.Errorf("checking which builds can be started: %w", err))
			return
		}
		if missing != "" {
			a.report.NotReady = append(a.report.NotReady, Problem{d.Image, missing})
			continue
		}
		ready = append(ready, d)
	}
	for _, d := range ready {
		if img := f.Config.Find(d.Image); slots.Take(img) {
			policy.Begin(f.State, d, a.now)
			a.claimed = append(a.claimed, newRequest(f, img))
		}
	}
}

// failed reports whether this pass could not read the image or one of its due bases; such an image is left for the next pass.
func (a *attempt) failed(d *policy.Decision) bool {
	return slices.ContainsFunc(a.report.Problems, func(x Problem) bool { return x.Image == d.Image }) ||
		slices.ContainsFunc(d.Bases, func(b policy.BaseDecision) bool { return b.Due && a.unresolved[b.Base] })
}
