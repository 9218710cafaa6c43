// Package promote makes passes: it takes over the outcome of rebuilds, claims what is due, and starts it, through Kargo or at the forges.
package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

const (
	grace = policy.StartGrace
	// startWithin is how long after recording it a pass still starts a rebuild: well before another one may.
	startWithin = grace / 2
	// startFor is how long starting one may take, so that it can be seen at the forge when another pass looks for it.
	startFor = grace - startWithin - time.Minute
	// lookFor bounds how long a pass asks what became of rebuilds, and then how long it looks at registries, before it
	// starts anything. What it did not get to comes first in the next pass.
	lookFor = startWithin / 2

	basesPeriod  = 6 * time.Hour  // in which a sweep looks at every base image
	imagesPeriod = 24 * time.Hour // in which a sweep looks at every enrolled image
)

// Options say how rebuilds are started.
type Options struct {
	Executor func(*fleet.Fleet) (Executor, error) // a new one for each pass
	Clients  analyze.NewClients                   // without a Registry, tags are not resolved again
	Sweep    bool                                 // look at a share of everything, so that what no event told of is found too
	Now      func() time.Time
	LookFor  time.Duration // how long to ask forges, and then registries; default 2m30s
	Missed   *Missed       // what the pass before had no time for; nil for a single pass
}

// Missed remembers what a pass had no time for, so that the next one begins with it. A process that makes one pass needs
// none: each pass begins at another place, by the clock.
type Missed struct {
	names    map[string]bool // of images and base images that were not looked at
	rebuilds []string        // images whose rebuild was not asked for, those first that wait for the longest time
}

// Report is what a pass came to.
type Report struct {
	Started  []Started   `json:"started"`
	Ended    []Ended     `json:"ended"`             // rebuilds that this pass found to be over
	Dropped  []Ended     `json:"dropped"`           // recorded before, never started, and not due any longer
	NotReady []Problem   `json:"notReady"`          // due, but nothing is there to start them with
	Problems []Problem   `json:"problems"`          // what failed; the next pass tries again
	Warnings []string    `json:"warnings"`          // what keeps Kargo from observing or starting
	Active   int         `json:"active"`            // rebuilds that run now, or are being started
	Blocked  int         `json:"blocked"`           // rebuilds that could not be started; Problems say why
	Stopped  bool        `json:"stopped,omitempty"` // before the pass was complete
	Saved    store.Saved `json:"-"`

	unfinished map[string]bool // images whose rebuild is active or blocked
}

// Unfinished returns the names of the images whose rebuild is active or blocked, sorted.
func (r *Report) Unfinished() []string {
	return slices.Sorted(maps.Keys(r.unfinished))
}

// Started is a rebuild that was started.
type Started struct {
	Image   string `json:"image"`
	Rebuild string `json:"rebuild"`
	Reason  string `json:"reason"`
	RunURL  string `json:"runURL,omitempty"`
}

// Ended is a rebuild whose outcome became known.
type Ended struct {
	Image   string       `json:"image"`
	Rebuild string       `json:"rebuild"`
	Status  state.Status `json:"status"`
	Message string       `json:"message,omitempty"`
}

// Problem is something that did not work, of one image.
type Problem struct {
	Image string `json:"image,omitempty"`
	Error string `json:"error"`
}

// Run makes one pass: it takes over what became of rebuilds, resolves again the tags that something waits for, decides,
// records what it is about to start, and starts it. Recording comes first and is what two promoters race for: the one
// whose change is kept starts the rebuild. A rebuild that was recorded and never started is started by a later pass, under
// the same id.
func Run(ctx context.Context, store store.Store, opts Options) (*Report, error) {
	p := &pass{Options: opts, now: opts.Now, found: map[string]foundProgress{}}
	p.LookFor = cmp.Or(opts.LookFor, lookFor)
	saved, err := store.Update(ctx, p.record)
	if err != nil {
		return nil, err
	}
	p.report.Saved = saved
	p.start(ctx)
	p.report.Stopped = ctx.Err() != nil
	if len(p.outcomes) > 0 {
		after, err := store.Update(context.WithoutCancel(ctx), p.recordStarted)
		if err != nil {
			return &p.report, fmt.Errorf("recording what was started: %w", err)
		}
		p.report.Saved.Files += after.Files
		if after.Commit != "" {
			p.report.Saved.Commit = after.Commit
		}
	}
	return &p.report, nil
}

// pass is one pass of Run.
type pass struct {
	Options
	now      func() time.Time
	executor Executor
	clients  analyze.Clients
	found    map[string]foundProgress // by rebuild: what the executor has said, but for what it saw no sign of
	others   []Other
	orphans  []string // images with a rebuild that was recorded and that nobody started
	claimed  []*Order // recorded by this pass, to be started by it
	claimAt  time.Time
	outcomes map[string]outcome // by rebuild: what became of starting it
	unseen   map[string]bool    // base images whose tags could not be resolved
	report   Report
}

type foundProgress struct {
	progress *Progress
	err      error
}

type outcome struct {
	image    string
	progress *Progress
	refused  string
	trouble  string // why it is not known to be started
}

// record decides and records. It may be called again, on newer state.
func (p *pass) record(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
	p.orphans, p.claimed, p.claimAt, p.unseen = nil, nil, p.now(), map[string]bool{}
	p.report = Report{Started: []Started{}, Ended: []Ended{}, Dropped: []Ended{}, NotReady: []Problem{}, Problems: []Problem{}, Warnings: []string{}}
	if err := p.equip(f); err != nil {
		return nil, err
	}
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	running := activeRebuilds(f)
	within, cancel := context.WithTimeoutCause(ctx, p.LookFor, errors.New("no time was left after "+p.LookFor.String()))
	p.takeOver(within, f)
	cancel()
	if err := p.adopt(ctx, f); err != nil {
		return nil, err
	}
	policy.CloseOverdue(f.State, p.claimAt)
	if err := p.look(ctx, f); err != nil {
		return nil, err
	}
	if err := p.clients.CheckClock(); err != nil { // with registries or without
		return nil, err
	}
	p.claimAt = p.now() // a forge or a registry that was slow does not take the time to start
	if ctx.Err() == nil {
		p.claim(ctx, f)
	}
	p.reportEnded(f, running)
	p.count(f)
	if w, ok := p.executor.(warner); ok {
		p.report.Warnings = append(p.report.Warnings, w.Warnings()...)
	}
	change := f.ChangeSince(before)
	p.leaveOut(&change)
	return &change, nil
}

// leaveOut starts nothing that could not be recorded.
func (p *pass) leaveOut(c *fleet.Change) {
	p.refused(c)
	p.claimed = slices.DeleteFunc(p.claimed, func(o *Order) bool { return c.RefusedOf(state.ImagesFolder, o.Image.Name) != nil })
}

// warner is an Executor that knows what keeps others from working.
type warner interface{ Warnings() []string }

// count counts the rebuilds that go on, and those that could not be started.
func (p *pass) count(f *fleet.Fleet) {
	p.report.unfinished = map[string]bool{}
	for _, d := range policy.Decide(f.Config, f.State, f.Graph, p.claimAt) {
		switch {
		case d.Status.Busy():
			p.report.Active++
		case d.Status == policy.Blocked:
			p.report.Blocked++
		default:
			continue
		}
		p.report.unfinished[d.Image] = true
	}
}

// equip makes what the pass looks and starts with, once: what it was told stays true for the pass.
func (p *pass) equip(f *fleet.Fleet) (err error) {
	if p.executor != nil {
		return nil
	}
	if p.clients, err = p.Clients(f); err != nil {
		return err
	}
	p.executor, err = p.Executor(f)
	return err
}

// activeRebuilds returns the ids of the rebuilds of enrolled images that are not over, by image.
func activeRebuilds(f *fleet.Fleet) map[string]string {
	out := map[string]string{}
	for name, facts := range f.State.Images {
		if f.Config.Find(name) != nil && facts.Rebuild != nil && facts.Rebuild.Status.Active() {
			out[name] = facts.Rebuild.ID
		}
	}
	return out
}

// takeOver records what became of the rebuilds that were started, and finds those that nobody started.
func (p *pass) takeOver(ctx context.Context, f *fleet.Fleet) {
	var names []string
	for _, name := range f.Graph.Order() {
		if facts := f.State.Images[name]; facts != nil && facts.Rebuild != nil && f.Config.Find(name).Managed() {
			names = append(names, name)
		}
	}
	names = fair.Rotation{Pass: passAt(f, p.claimAt)}.Order(names)
	if p.Missed != nil {
		before := slices.DeleteFunc(p.Missed.rebuilds, func(name string) bool { return !slices.Contains(names, name) })
		names = slices.Concat(before, slices.DeleteFunc(names, func(name string) bool { return slices.Contains(before, name) }))
	}
	var missed []string
	hostOf := func(name string) string { return f.Config.Find(name).Source.Host }
	fair.ByHost(ctx, names, hostOf, func(within context.Context, name string) bool {
		if ctx.Err() != nil {
			missed = append(missed, name)
		}
		return p.takeOverOne(within, f, f.Config.Find(name), f.State.Images[name].Rebuild)
	})
	if p.Missed != nil {
		p.Missed.rebuilds = missed
	}
}

// takeOverOne reports whether what was asked was answered.
func (p *pass) takeOverOne(ctx context.Context, f *fleet.Fleet, img *config.Image, r *state.Rebuild) bool {
	if !r.Status.Active() && r.Run == "" && p.claimAt.Sub(r.RequestedAt.Time) < policy.RunTimeout {
		p.trace(ctx, order(f, img), r)
	}
	if r.Status != state.Running && r.Status != state.Requested {
		return true
	}
	if r.Status == state.Requested && p.claimAt.Sub(r.Claimed().Time) < grace {
		if r.Message != "" {
			p.blocked(img.Name, r)
		}
		return true // whoever recorded it is about to start it, or has just tried
	}
	progress, err := p.find(ctx, order(f, img))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case err != nil:
		p.problem(img.Name, fmt.Errorf("asking what became of rebuild %s: %w", r.ID, err))
		return false
	case progress != nil && progress.Status == state.Requested: // nobody can tell
		r.Message = state.Text(progress.Message)
		p.blocked(img.Name, r)
	case progress != nil:
		progress.applyTo(r, p.claimAt)
	case r.Status == state.Requested:
		if _, overdue := policy.Overdue(r, p.claimAt); !overdue {
			p.orphans = append(p.orphans, img.Name)
		}
	}
	return true
}

// trace adds the run to a rebuild whose image was seen before a pass asked for the run.
func (p *pass) trace(ctx context.Context, o *Order, r *state.Rebuild) {
	progress, err := p.executor.Trace(ctx, o)
	switch {
	case err != nil:
		p.problem(o.Image.Name, fmt.Errorf("asking for the run of rebuild %s: %w", r.ID, err))
	case progress != nil:
		r.Run, r.RunURL = progress.Run, progress.RunURL
	}
}

// claim records what this pass starts: rebuilds that were recorded and never started, and new ones. Of the free slots of a
// forge the former get half at first, an odd one in every second pass, so that neither keeps the other waiting for good.
func (p *pass) claim(ctx context.Context, f *fleet.Fleet) {
	slots := policy.NewSlots(f.Config, policy.Decide(f.Config, f.State, f.Graph, p.claimAt))
	slices.SortStableFunc(p.orphans, func(a, b string) int {
		return f.State.Images[a].Rebuild.Claimed().Compare(f.State.Images[b].Rebuild.Claimed().Time)
	})
	odd := int(passAt(f, p.claimAt) % 2)
	half := map[string]int{} // by host: slots for orphans
	p.claimOrphans(f, func(img *config.Image) bool {
		host := img.Source.Host
		if _, known := half[host]; !known {
			half[host] = (slots.Free(img) + odd) / 2
		}
		half[host]--
		return half[host] >= 0 && slots.Take(img)
	})
	p.begin(ctx, f, slots)
	p.claimOrphans(f, slots.Take)
	for _, name := range p.orphans {
		p.blocked(name, f.State.Images[name].Rebuild)
	}
}

// claimOrphans has this pass start what was recorded and never started, if it is still due and there is a slot: meanwhile
// somebody may have held the digest, or its tag gone back.
func (p *pass) claimOrphans(f *fleet.Fleet, take func(*config.Image) bool) {
	var left []string
	for _, name := range p.orphans {
		facts, img := f.State.Images[name], f.Config.Find(name)
		if !facts.Rebuild.Status.Active() {
			continue // its image was seen
		}
		switch d := policy.Reconsider(f.Config, f.State, f.Graph, name, p.claimAt); {
		case p.failed(&d):
		case d.Status == policy.Due:
			if !take(img) {
				left = append(left, name)
				continue
			}
			facts.Rebuild.TriedAt, facts.Rebuild.Message = state.At(p.claimAt), ""
			p.claimed = append(p.claimed, order(f, img))
		case d.Status == policy.Waiting && len(d.Targets) > 0: // for a parent
		default:
			p.report.Dropped = append(p.report.Dropped, Ended{Image: name, Rebuild: facts.Rebuild.ID, Message: d.Reason})
			facts.Unrequest()
		}
	}
	p.orphans = left
}

// blocked reports a rebuild that is recorded and cannot be started now.
func (p *pass) blocked(image string, r *state.Rebuild) {
	why := "no slot was free on its forge"
	if r.Message != "" {
		why = state.Text(r.Message)
	}
	p.problem(image, fmt.Errorf("rebuild %s is not started yet: %s", r.ID, why))
}

func (p *pass) find(ctx context.Context, o *Order) (*Progress, error) {
	known, ok := p.found[o.ID]
	if !ok {
		known.progress, known.err = p.executor.Find(ctx, o)
		if known.progress != nil || known.err != nil && ctx.Err() == nil { // else somebody else may start it before record is called again
			p.found[o.ID] = known
		}
	}
	return known.progress, known.err
}

// applyTo records progress.
func (g *Progress) applyTo(r *state.Rebuild, now time.Time) {
	if g.Run != "" {
		r.Run = g.Run
	}
	if g.RunURL != "" {
		r.RunURL = g.RunURL
	}
	if g.Status == state.Running {
		r.Status, r.Message = state.Running, ""
		return
	}
	r.Finish(g.Status, g.Message, now)
}

// adopt records the rebuilds that people started, so that none is started beside them.
func (p *pass) adopt(ctx context.Context, f *fleet.Fleet) error {
	if p.others == nil {
		others, err := p.executor.Others(ctx)
		if err != nil {
			return err
		}
		p.others = append([]Other{}, others...)
	}
	for _, o := range p.others {
		name := strings.TrimPrefix(o.Stage, kargo.RebuildStage(""))
		img, facts := f.Config.Find(name), f.State.Images[name]
		if p.claimAt.Sub(o.Started) >= policy.RunTimeout {
			continue // it waits for something else than a build
		}
		if img == nil || !img.Managed() || facts == nil || !adoptable(facts, &o, p.claimAt) {
			continue
		}
		reason := "promoted by hand in Kargo"
		if o.By != "" {
			reason += " by " + sanitize.Line(o.By)
		}
		facts.Request(state.Rebuild{ID: o.ID, Reason: reason, Bases: targetsOf(f, name, o.Digest), RequestedAt: state.At(o.Started)})
		o.applyTo(facts.Rebuild, p.claimAt)
	}
	return nil
}

// adoptable reports whether state lacks a rebuild that a person started, and can still learn what became of it: one that is
// over is of use only while its image was not seen.
func adoptable(facts *state.Image, o *Other, now time.Time) bool {
	if r := facts.Rebuild; r != nil && (r.Status.Active() || r.ID == o.ID || o.Over && r.RequestedAt.After(o.Started) && !r.RequestedAt.Ahead(now)) {
		return false
	}
	if slices.ContainsFunc(facts.RebuildHistory, func(r state.Rebuild) bool { return r.ID == o.ID }) {
		return false
	}
	return !o.Over || facts.LastBuilt.Before(o.Started) || facts.LastBuilt.Ahead(now)
}

// targetsOf returns the references of an image that a digest belongs to.
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

// look resolves again what something waits for, and looks for the images of rebuilds that run.
func (p *pass) look(ctx context.Context, f *fleet.Fleet) error {
	if p.clients.Registry == nil {
		return nil
	}
	decisions := policy.Decide(f.Config, f.State, f.Graph, p.claimAt)
	scope := analyze.Scope{Bases: policy.Recheck(decisions)}
	for i := range decisions {
		switch d := &decisions[i]; d.Status {
		case policy.Due, policy.Starting, policy.Running, policy.Blocked:
			scope.Published = append(scope.Published, d.Image)
		}
	}
	if p.Sweep {
		addTurns(f, &scope, p.claimAt, interval(f, p.claimAt))
	}
	scope.Turn.Pass = passAt(f, p.claimAt)
	if p.Missed != nil {
		scope.Turn.First = p.Missed.names
	}
	within, cancel := context.WithTimeout(ctx, p.LookFor)
	defer cancel()
	r, err := analyze.Fleet(within, f, scope, p.clients)
	if err != nil {
		return err
	}
	missed := map[string]bool{}
	for _, img := range r.Images {
		if img.NotSeen {
			img.Error = cmp.Or(img.Error, fair.ErrLate.Error())
			missed[img.Image] = true
		}
		if img.Error != "" {
			p.problem(img.Image, errors.New(img.Error))
		}
	}
	for _, b := range r.Bases {
		if b.NotSeen {
			b.Error = fair.ErrLate.Error()
			missed[b.Base] = true
		}
		if b.Error != "" {
			p.unseen[b.Base] = true
			p.problem("", fmt.Errorf("%s: %s", b.Ref, b.Error))
		}
	}
	if p.Missed != nil {
		p.Missed.names = missed
	}
	return nil
}

// interval is the time between two passes, by the schedule.
func interval(f *fleet.Fleet, now time.Time) time.Duration {
	s, err := cron.ParseStandard(f.Config.Factory.Schedule)
	if err != nil {
		return time.Hour
	}
	first := s.Next(now)
	return s.Next(first).Sub(first)
}

// passAt returns the number of the pass at a time, by the schedule.
func passAt(f *fleet.Fleet, now time.Time) int64 {
	return now.Unix() / max(int64(interval(f, now)/time.Second), 1)
}

// addTurns adds what has its turn in a sweep.
func addTurns(f *fleet.Fleet, scope *analyze.Scope, now time.Time, interval time.Duration) {
	for _, name := range f.Graph.Bases() {
		if turn(name, now, interval, basesPeriod) && !slices.Contains(scope.Bases, name) {
			scope.Bases = append(scope.Bases, name)
		}
	}
	for _, name := range f.Graph.Order() {
		if turn(name, now, interval, imagesPeriod) && !slices.Contains(scope.Published, name) {
			scope.Published = append(scope.Published, name)
		}
	}
}

// turn reports whether a name has its turn in the pass at a time: once in each period, if passes come at that interval.
func turn(name string, now time.Time, interval, period time.Duration) bool {
	if interval <= 0 || interval >= period {
		return true
	}
	passes := uint64(period / interval)
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()%passes == uint64(now.Unix()/int64(interval/time.Second))%passes
}

// begin records the rebuilds that are to be started now; none when it cannot be asked what can be.
func (p *pass) begin(ctx context.Context, f *fleet.Fleet, slots *policy.Slots) {
	var ready []policy.Decision
	for _, d := range policy.Decide(f.Config, f.State, f.Graph, p.claimAt) {
		img := f.Config.Find(d.Image)
		if d.Status != policy.Due || !img.Source.Triggerable() || p.failed(&d) {
			continue
		}
		missing, err := p.executor.Ready(ctx, orderOf(f, img, state.Rebuild{ID: d.Rebuild, Bases: d.Targets}))
		if err != nil {
			p.problem("", fmt.Errorf("asking what can be started: %w", err))
			return
		}
		if missing != "" {
			p.report.NotReady = append(p.report.NotReady, Problem{d.Image, missing})
			continue
		}
		ready = append(ready, d)
	}
	for _, d := range ready {
		if img := f.Config.Find(d.Image); slots.Take(img) {
			policy.Begin(f.State, d, p.claimAt)
			p.claimed = append(p.claimed, order(f, img))
		}
	}
}

// failed reports whether this pass could not find out about an image, or about a tag that makes it due. Then it waits for the
// next one.
func (p *pass) failed(d *policy.Decision) bool {
	return slices.ContainsFunc(p.report.Problems, func(x Problem) bool { return x.Image == d.Image }) ||
		slices.ContainsFunc(d.Bases, func(b policy.BaseDecision) bool { return b.Due && p.unseen[b.Base] })
}

// reportEnded adds the rebuilds that ended during the pass to the report.
func (p *pass) reportEnded(f *fleet.Fleet, running map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if r := f.State.Images[name].Rebuild; r != nil && r.ID == running[name] && !r.Status.Active() {
			p.report.Ended = append(p.report.Ended, Ended{name, r.ID, r.Status, r.Message})
		}
	}
}

// start starts what was recorded. What cannot be started now stays recorded, for a later pass.
func (p *pass) start(ctx context.Context) {
	p.outcomes = map[string]outcome{}
	within, cancel := context.WithTimeoutCause(ctx, startWithin, errors.New("no time was left after "+startWithin.String()))
	defer cancel()
	fair.ByHost(within, p.claimed, func(o *Order) string { return o.Image.Source.Host }, func(part context.Context, o *Order) bool {
		return p.startOne(ctx, part, o)
	})
}

// startOne reports whether it had an answer. The pass is stopped when ctx is over; within is the time for this one.
func (p *pass) startOne(ctx, within context.Context, o *Order) bool {
	name := o.Image.Name
	if ctx.Err() != nil || within.Err() != nil || p.now().Sub(p.claimAt) >= startWithin {
		why := "no time was left"
		if ctx.Err() != nil {
			why = "stopped"
		}
		p.problem(name, fmt.Errorf("starting rebuild %s: %s; a later pass does it", o.ID, why))
		return false
	}
	within, cancel := context.WithTimeoutCause(within, startFor, errors.New("no answer came within "+startFor.String()))
	defer cancel()
	progress, err := p.executor.Start(within, o)
	refused := (*RefusedError)(nil)
	switch {
	case errors.As(err, &refused):
		p.outcomes[o.ID] = outcome{image: name, refused: reason(err)}
		p.report.Ended = append(p.report.Ended, Ended{name, o.ID, state.Failed, refused.Error()})
		p.report.Active--
		delete(p.report.unfinished, name)
		p.problem(name, refused)
	case ctx.Err() != nil && err != nil: // that says nothing of the rebuild
		p.problem(name, fmt.Errorf("starting rebuild %s: interrupted; a later pass checks whether it started", o.ID))
		return false
	case err != nil:
		if within.Err() != nil {
			err = context.Cause(within)
		}
		p.outcomes[o.ID] = outcome{image: name, trouble: reason(err)}
		p.report.Active--
		p.report.Blocked++
		p.problem(name, fmt.Errorf("starting rebuild %s: %w", o.ID, err))
		return false
	default:
		p.outcomes[o.ID] = outcome{image: name, progress: progress}
		p.report.Started = append(p.report.Started, Started{name, o.ID, o.Reason, progress.RunURL})
	}
	return true
}

// reason is why a build could not be started, without which build: that the reader of its state knows.
func reason(err error) string {
	if start := (*forge.StartError)(nil); errors.As(err, &start) {
		err = start.Err
	}
	return state.Text(err.Error())
}

// recordStarted records what became of starting rebuilds. It may be called again, on newer state.
func (p *pass) recordStarted(_ context.Context, f *fleet.Fleet) (*fleet.Change, error) {
	now := p.now()
	change, err := f.Change(func() {
		for id, o := range p.outcomes {
			facts := f.State.Images[o.image]
			if facts == nil || facts.Rebuild == nil || facts.Rebuild.ID != id || facts.Rebuild.Status != state.Requested {
				continue // somebody knows more by now
			}
			switch {
			case o.progress != nil:
				o.progress.applyTo(facts.Rebuild, now)
			case o.refused != "":
				facts.Rebuild.Finish(state.Failed, o.refused, now)
			default:
				facts.Rebuild.Message = state.Text(o.trouble)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	p.refused(change)
	return change, nil
}

// refused reports what could not be recorded.
func (p *pass) refused(c *fleet.Change) {
	for _, file := range slices.Sorted(maps.Keys(c.Refused)) {
		image := ""
		if path.Dir(file) == state.ImagesFolder {
			image = strings.TrimSuffix(path.Base(file), ".yaml")
		}
		p.problem(image, fmt.Errorf("recording %s: %w", file, c.Refused[file]))
	}
}

func (p *pass) problem(image string, err error) {
	p.report.Problems = append(p.report.Problems, Problem{image, err.Error()})
}
