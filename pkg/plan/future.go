package plan

import (
	"fmt"
	"maps"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Make returns the plan of a fleet.
func Make(o Options) (*Plan, error) {
	if o.Horizon == 0 {
		o.Horizon = DefaultHorizon
	}
	o.Now = o.Now.UTC().Truncate(time.Second) // as the times in state are
	schedule, err := cron.ParseStandard(o.Config.Factory.Schedule)
	if err != nil {
		return nil, fmt.Errorf("parsing factory.schedule %q: %w", o.Config.Factory.Schedule, err)
	}
	f := newFuture(o, schedule)
	for !f.now.IsZero() {
		f.pass()
		f.now = f.next()
	}
	return f.plan(), nil
}

// future is a fleet whose clock moves on from pass to pass.
type future struct {
	Options
	schedule cron.Schedule
	st       *state.State // a copy; images are cloned before they change
	cloned   map[string]bool
	now      time.Time // of the pass
	until    time.Time
	expected *durations

	scans   *exposure.Fleet // nil if no base image was scanned
	rejudge []time.Time     // when scans may release or hold other candidates, though no fact changes
	changed bool            // facts changed since they were judged

	images   []image        // managed images that were analyzed, parents first
	index    map[string]int // by name
	entries  []planned
	affected map[string]bool // digests that hold the Change
	madeUp   map[string]bool // digests of images that are not built yet
}

// image is what the future knows of an image beside its facts.
type image struct {
	*config.Image
	parents, children []int
	// An image is decided about in every pass while it is awake, else again at the time wake, if that is not zero.
	awake bool
	wake  time.Time
	first policy.Decision // of the first pass
	last  policy.Decision
	stop  policy.Stop // of the last decision before it was due and not stopped
	ends  time.Time   // when its running rebuild ends; zero if none runs
	retry *retry      // its rebuild that was recorded before, and could not be started
	wave  int         // of its last rebuild
}

// retry is a rebuild that was recorded and not started. Like promote, a pass decides about it as if it had not been recorded.
type retry struct {
	id, message string
	from        time.Time // when a pass may try again
	tried       bool
}

// planned is an Entry, and what the plan does not show of it.
type planned struct {
	Entry
	affected bool // it picks up the Change
}

func newFuture(o Options, schedule cron.Schedule) *future {
	f := &future{
		Options: o, schedule: schedule, now: o.Now, until: o.Now.Add(o.Horizon), expected: newDurations(o.State),
		st: &state.State{
			Images: maps.Clone(o.State.Images), Bases: maps.Clone(o.State.Bases), ImageScans: o.State.ImageScans, BaseScans: o.State.BaseScans, Pauses: o.State.Pauses,
		},
		cloned: map[string]bool{}, index: map[string]int{}, affected: map[string]bool{}, madeUp: map[string]bool{},
	}
	for _, name := range o.Graph.Order() {
		img := o.Config.Find(name)
		if !img.Managed() || o.State.Images[name] == nil {
			continue
		}
		at := len(f.images)
		f.index[name] = at
		f.images = append(f.images, image{Image: img, awake: true})
		for _, p := range o.Graph.Parents(name) {
			parent := f.index[p]
			f.images[at].parents = append(f.images[at].parents, parent)
			f.images[parent].children = append(f.images[parent].children, at)
		}
	}
	f.takeOver()
	if o.Change != nil {
		f.change()
	}
	if len(f.st.BaseScans) > 0 {
		f.readScans()
	}
	return f
}

// facts returns the facts about an image, for a change.
func (f *future) facts(name string) *state.Image {
	if !f.cloned[name] {
		f.st.Images[name], f.cloned[name] = f.st.Images[name].Clone(), true
	}
	return f.st.Images[name]
}

// readScans prepares for the releases and holds by scans, which change candidates.
func (f *future) readScans() {
	for name := range f.st.BaseScans {
		if base := f.st.Bases[name]; base != nil {
			f.st.Bases[name] = base.Clone()
		}
	}
	f.scans = &exposure.Fleet{Config: f.Config, State: f.st, Graph: f.Graph, Now: f.now}
	f.rejudge, f.changed = f.scans.Times(), true
}

// judge releases and holds candidates for the findings of scans, as a pass of promote does, and wakes the images that want it.
func (f *future) judge() {
	for len(f.rejudge) > 0 && !f.rejudge[0].After(f.now) {
		f.rejudge, f.changed = f.rejudge[1:], true
	}
	if f.scans == nil || !f.changed {
		return
	}
	f.changed, f.scans.Now = false, f.now
	f.scans.Judge()
	for i := range f.images {
		if img := &f.images[i]; img.Urgent != nil {
			img.awake = true
		}
	}
}

// takeOver takes over the rebuilds that are under way.
func (f *future) takeOver() {
	for i := range f.images {
		img := &f.images[i]
		r := f.State.Images[img.Name].Rebuild
		if r == nil || !r.Status.Active() {
			continue
		}
		r = f.facts(img.Name).Rebuild
		message, overdue := policy.Overdue(r, f.now)
		again := r.Claimed().Add(policy.StartGrace)
		switch {
		case overdue:
			r.Finish(state.Failed, message, f.now)
		case r.Status == state.Requested && (r.Message != "" || !again.After(f.now)):
			img.retry = &retry{id: r.ID, message: state.Text(r.Message), from: again}
		default:
			f.resume(img, r)
		}
	}
}

// resume adds a rebuild that runs. One that takes longer than usual may end any time.
func (f *future) resume(img *image, r *state.Rebuild) {
	e := f.entry(img, Running, r.Claimed().Time)
	e.Reason, e.Rebuild, e.RunURL = state.Text(r.Reason), r.ID, state.Text(r.RunURL)
	for _, t := range r.Bases {
		e.Bases = append(e.Bases, Base{Ref: t.Ref, Digest: t.Digest})
	}
	img.ends = e.At.Add(e.Expected.Std())
	if img.ends.Before(f.now) || r.Status == state.Built {
		img.ends = f.now.Add(1)
	}
	img.wave, e.Ends = e.Wave, img.ends.Truncate(time.Second)
	if r.Status == state.Requested {
		r.Status = state.Running
	}
	f.entries = append(f.entries, planned{Entry: e})
}

func (f *future) entry(img *image, status Status, at time.Time) Entry {
	e := Entry{Image: img.Name, Status: status, Wave: 1, At: at, Forge: img.Source.BuildHost(), Owner: img.Owner}
	e.Expected, e.ExpectedFrom = f.expected.of(img.Name)
	e.Ends = at.Add(e.Expected.Std())
	return e
}

// next returns the time of the next pass in which something can change, or the zero time.
func (f *future) next() time.Time {
	var soonest time.Time
	for i := range f.images {
		for _, t := range []time.Time{f.images[i].wake, f.images[i].ends} {
			if t.After(f.now) && (soonest.IsZero() || t.Before(soonest)) {
				soonest = t
			}
		}
	}
	if len(f.rejudge) > 0 && (soonest.IsZero() || f.rejudge[0].Before(soonest)) {
		soonest = f.rejudge[0]
	}
	if soonest.IsZero() {
		return time.Time{}
	}
	pass := f.schedule.Next(soonest.Add(-time.Nanosecond).UTC())
	if pass.After(f.until) {
		return time.Time{}
	}
	return pass
}

// pass is a pass of promote: it sees the images that were published, decides, and starts what may start.
func (f *future) pass() {
	for i := range f.images {
		if img := &f.images[i]; !img.ends.IsZero() && !img.ends.After(f.now) {
			f.publish(img)
			f.changed = true
		}
	}
	f.judge()
	for i := range f.images {
		if img := &f.images[i]; img.retry != nil && !img.retry.tried && !img.retry.from.After(f.now) {
			f.facts(img.Name).CancelRequest()
			img.retry.tried, img.awake = true, true
		}
	}
	slots := f.slots()
	var started, retried []*image
	for _, img := range f.decide(slots) {
		switch {
		case img.retry != nil:
			retried = append(retried, img)
		case slots.Take(img.Image):
			started = append(started, img)
		}
	}
	for _, img := range retried {
		if slots.Take(img.Image) {
			started = append(started, img)
		}
	}
	for _, img := range started {
		f.start(img)
	}
}

// slots returns the slots that running rebuilds leave.
func (f *future) slots() *policy.Slots {
	var busy []policy.Decision
	for i := range f.images {
		if !f.images[i].ends.IsZero() {
			busy = append(busy, policy.Decision{Image: f.images[i].Name, Status: policy.Running})
		}
	}
	return policy.NewSlots(f.Config, busy)
}

// decide decides about all images whose decision can have changed, parents first, and returns those that are due. It stops
// when no forge with such an image has a slot.
func (f *future) decide(slots *policy.Slots) []*image {
	stirred, left := f.stirred()
	free := map[string]int{}
	for _, i := range stirred {
		free[f.images[i].Source.BuildHost()] = slots.Free(f.images[i].Image)
	}
	var due []*image
	decider := policy.NewDecider(f.Config, f.st, f.Graph, f.now)
	for _, i := range stirred {
		img := &f.images[i]
		host := img.Source.BuildHost()
		f.settle(img, decider.Decide(img.Name))
		if img.last.Status == policy.Due && img.Source.Triggerable() {
			due = append(due, img)
			free[host]--
		}
		if left[host]--; free[host] <= 0 {
			left[host] = 0
		}
		if allDone(left) && !f.now.Equal(f.Now) { // the first pass decides about all
			break
		}
	}
	return due
}

// allDone reports whether no forge has an image left that can start.
func allDone(left map[string]int) bool {
	for _, n := range left {
		if n > 0 {
			return false
		}
	}
	return true
}

// stirred returns the images whose decision can have changed, parents first, and their number by forge. These are the ones
// that are awake or have slept long enough, and all that are built on them.
func (f *future) stirred() (list []int, byForge map[string]int) {
	byForge = map[string]int{}
	is := make([]bool, len(f.images))
	for i := range f.images {
		img := &f.images[i]
		is[i] = img.awake || !img.wake.IsZero() && !img.wake.After(f.now)
		for _, p := range img.parents {
			is[i] = is[i] || is[p]
		}
		if is[i] {
			list = append(list, i)
			byForge[img.Source.BuildHost()]++
		}
	}
	return list, byForge
}

// settle takes over a decision, and until when it stays the same.
func (f *future) settle(img *image, d policy.Decision) {
	if img.first.Image == "" {
		img.first = d
	}
	img.last, img.wake = d, time.Time{}
	if d.Status != policy.Due {
		img.stop = d.Stop
	}
	switch d.Status {
	case policy.Current, policy.Held, policy.Incomplete, policy.Untrusted, policy.OptedOut, policy.Unknown:
		img.awake = false
	case policy.Waiting, policy.Paused:
		img.awake, img.wake = d.After != "", d.Until
		if d.StopAhead != "" {
			img.wake = ripens(&d)
		}
	case policy.Failed:
		img.awake, img.wake = !d.Until.IsZero(), d.Until
	default:
		img.awake = true
	}
	switch {
	case img.retry == nil:
	case !img.retry.tried:
		img.wake = img.retry.from
	case d.Status != policy.Due && d.After == "": // dropped
		img.retry = nil
	}
	for i := range d.Bases {
		if b := &d.Bases[i]; b.Held || b.Withdrawn || b.Origin == policy.FromOlder || len(b.Missing) > 0 || b.Untrusted != "" { // an older digest may ripen, which Until does not say
			f.wakeForOlder(img, b)
		}
	}
}

// ripens returns when the first digest that an image waits for ripens.
func ripens(d *policy.Decision) time.Time {
	var first time.Time
	for i := range d.Bases {
		if t := d.Bases[i].Until; !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// wakeForOlder wakes an image when the next digest of a base ripens.
func (f *future) wakeForOlder(img *image, b *policy.BaseDecision) {
	for _, c := range f.clocks(img, b.Ref) {
		if c.Ripe.After(f.now) && (img.wake.IsZero() || c.Ripe.Before(img.wake)) {
			img.wake = c.Ripe
		}
	}
}

// clocks returns the digests of a base as an image sees them.
func (f *future) clocks(img *image, ref string) []policy.Clock {
	deps := f.Graph.Deps(img.Name)
	for i := range deps {
		if deps[i].Ref.String() == ref {
			return policy.Clocks(img.Image, f.st, &deps[i], f.now)
		}
	}
	return nil
}
