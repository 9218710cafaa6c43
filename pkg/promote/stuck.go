package promote

import (
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// recordStuck records which images are stuck, if anybody is to be told, so that they are told once. It runs after claim.
func (a *attempt) recordStuck() {
	limit := a.fleet.Config.Factory.Notify.Limit()
	if limit == 0 {
		return
	}
	for i := range a.decisions {
		d := &a.decisions[i]
		facts := a.fleet.State.Images[d.Image]
		switch {
		case facts == nil, d.Status == policy.Unknown:
		case d.Stuck(a.now, limit):
			if facts.Stuck.IsZero() {
				facts.Stuck = state.At(d.Since)
			}
		case !d.Unstarted():
			facts.Stuck = state.Time{}
		}
	}
}
