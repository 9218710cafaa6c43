package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/long"
)

// planner plans in every step of a world and compares each plan with the rebuilds that then start, until something happens
// that no plan can foresee.
type planner struct {
	plans    []taken
	starts   []planStart
	known    string // what the last plan could know
	every    int    // hours between two plans
	compared int    // rebuilds that were planned and started
}

// taken is a plan, and how many rebuilds had started before.
type taken struct {
	*plan.Plan
	starts int
}

type planStart struct {
	image string
	at    time.Time
}

// pass is the time between two passes of a world.
const pass = time.Hour

// starting asserts that what a plan starts now is what this pass starts.
func (p *planner) starting(w *world, decisions []policy.Decision) {
	if p == nil {
		return
	}
	if len(decisions) == 0 && w.hours()%p.every != 0 {
		return
	}
	var want, have []string
	for _, e := range p.plan(w).Items {
		if e.Status == plan.Now {
			have = append(have, e.Image+" "+e.Rebuild)
		}
	}
	for _, d := range decisions {
		want = append(want, d.Image+" "+d.Rebuild)
		p.starts = append(p.starts, planStart{d.Image, w.now})
	}
	require.Equal(w.t, want, have, "%s: what the plan starts now", w.now)
}

func (p *planner) plan(w *world) *plan.Plan {
	made, err := plan.Make(plan.Options{Config: w.cfg, State: w.st, Graph: w.g, Now: w.now})
	require.NoError(w.t, err)
	return made
}

// step compares, and makes a plan.
func (p *planner) step(w *world) {
	if p == nil {
		return
	}
	if known := facts(w); known != p.known {
		p.compare(w, w.now)
		p.known, p.plans = known, nil
	}
	if w.hours()%p.every == 0 {
		p.plans = append(p.plans, taken{p.plan(w), len(p.starts)})
	}
}

// facts returns what moves or is changed by others than promote and the builds that it starts.
func facts(w *world) string {
	var b strings.Builder
	fmt.Fprint(&b, w.moves, w.failAll, w.rule.delay, w.skew, len(w.deps))
	for _, name := range slices.Sorted(maps.Keys(w.deps)) {
		fmt.Fprint(&b, w.deps[name])
		if r := w.st.Images[name].Rebuild; r != nil {
			fmt.Fprint(&b, r.Failures)
		}
	}
	if w.st.Pauses != nil {
		fmt.Fprint(&b, *w.st.Pauses.All)
	}
	if w.failAll { // a plan takes it that builds succeed
		fmt.Fprint(&b, w.now)
	}
	for _, name := range slices.Sorted(maps.Keys(w.st.Bases)) {
		base := w.st.Bases[name]
		fmt.Fprint(&b, base.CurrentDigest, base.LastUpdated)
		for i := range base.Candidates {
			c := &base.Candidates[i]
			fmt.Fprint(&b, c.Digest, c.Withdrawn, c.Returned, c.Held, c.Released)
		}
	}
	return b.String()
}

// compare asserts that the plans since the last surprise foresaw the rebuilds that started before a time: the same images in
// the same order, within one pass.
func (p *planner) compare(w *world, before time.Time) {
	for _, made := range p.plans {
		var have []planStart
		for _, s := range p.starts[made.starts:] {
			if s.at.Before(before) {
				have = append(have, s)
			}
		}
		var want []planStart
		for _, e := range made.Items {
			if e.Status != plan.Running {
				want = append(want, planStart{e.Image, e.At})
			}
		}
		for i, s := range have {
			require.Less(w.t, i, len(want), "at %s nobody planned the start of %s at %s: %v", made.Now, s.image, s.at, want)
			require.Equal(w.t, want[i].image, s.image, "planned at %s: %v, started: %v", made.Now, want, have)
			require.LessOrEqual(w.t, s.at.Sub(want[i].at).Abs(), pass, "planned at %s for %s: %s at %s", made.Now, want[i].at, s.image, s.at)
		}
		for _, s := range want[len(have):] {
			require.False(w.t, s.at.Add(pass).Before(before), "planned at %s and not started by %s: %s at %s", made.Now, before, s.image, s.at)
		}
		p.compared += len(have)
	}
}

// TestPlansComeTrue: while nothing unforeseen happens, promote starts what was planned.
func TestPlansComeTrue(t *testing.T) {
	var compared atomic.Int64
	t.Run("patterns", func(t *testing.T) {
		for _, p := range patterns {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				for i, r := range rules {
					w := newWorld(t, 1, r, calm, p.deps(), p.extra)
					w.builds, w.planner = []time.Duration{50 * time.Minute, 150 * time.Minute}[i%2], &planner{every: long.Iterations(7, 1)}
					for name := range w.deps { // how long builds take is known
						w.st.Images[name].RebuildHistory = []state.Rebuild{{ID: "r-0", Status: state.Succeeded, RequestedAt: state.At(epoch), FinishedAt: state.At(epoch.Add(w.builds))}}
					}
					for range 90 * 24 {
						w.step(p.step)
					}
					w.planner.compare(w, w.now)
					compared.Add(int64(w.planner.compared))
				}
			})
		}
	})
	require.Greater(t, compared.Load(), int64(1000), "rebuilds that were planned and started")
	t.Log(compared.Load())
}
