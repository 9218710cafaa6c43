package analyze

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

// Event is a digest that Kargo observed for a tag of an enrolled image or of a base image.
type Event struct {
	Image  string // name of the enrolled image; else
	Base   string // name of the base image
	Tag    string
	Digest string
}

// Name returns the name of the image or base image; empty for no event.
func (e Event) Name() string {
	if e.Image != "" {
		return e.Image
	}
	return e.Base
}

// skip returns why the event needs no analysis; empty if it does.
func (e Event) skip(f *fleet.Fleet) string {
	switch {
	case e.Name() == "":
		return ""
	case !e.used(f):
		return e.Name() + " is no longer in use; nothing to do"
	case e.recorded(f):
		return fmt.Sprintf("%s of %s is already recorded; nothing to do", e.Digest, e.Name())
	}
	return ""
}

// used reports whether the image of the event is still enrolled or in use.
func (e Event) used(f *fleet.Fleet) bool {
	if e.Image != "" {
		return f.Config.Find(e.Image) != nil
	}
	return len(f.Graph.Dependents(e.Base)) > 0
}

// recorded reports whether another analysis has recorded the digest of the event already.
func (e Event) recorded(f *fleet.Fleet) bool {
	if e.Image != "" {
		facts := f.State.Images[e.Image]
		if facts == nil || e.Digest == "" || facts.Dockerfile == nil && f.Config.Find(e.Image).Managed() {
			return false
		}
		tag := facts.PublishedTag(e.Tag) // a newer tag may be current by now
		return facts.CurrentDigest == e.Digest || facts.CurrentDigest != "" && tag != nil && tag.Digest == e.Digest
	}
	base := f.State.Bases[e.Base]
	if base == nil {
		return false
	}
	seen := base.Seen(e.Digest)
	return seen != nil && len(seen.Platforms) > 0
}

// scopeOfEvent returns the scope of an event: its image, all base images, every image that is new or being rebuilt, and for an
// enrolled image its neighbors. So many events at once need few commits.
func scopeOfEvent(f *fleet.Fleet, e Event) Scope {
	scope := Scope{AllBases: true, Rotation: fair.Rotation{First: map[string]bool{e.Name(): true}}}
	if e.Image != "" {
		scope.Dockerfiles, scope.Published = []string{e.Image}, []string{e.Image}
		scope.Neighbors = neighbors(f, e.Image)
	}
	for _, name := range f.Graph.Order() {
		facts := f.State.Images[name]
		isNew := facts == nil || facts.Dockerfile == nil && f.Config.Find(name).Managed()
		if isNew && !slices.Contains(scope.Dockerfiles, name) {
			scope.Dockerfiles = append(scope.Dockerfiles, name)
		}
		if expected(facts) && name != e.Image {
			scope.Expected = append(scope.Expected, name)
		}
	}
	return scope
}

// expected reports whether a new published image is expected: none was ever observed, or it is being rebuilt.
func expected(facts *state.Image) bool {
	return facts == nil || facts.CurrentDigest == "" && facts.Unpublished.IsZero() ||
		facts.Rebuild != nil && facts.Rebuild.Status.Active()
}

// Options select what [Run] analyzes. Without Select and Event, it analyzes everything.
type Options struct {
	Clients NewClients
	Timeout time.Duration // after which partial results are recorded; 0 for none
	Select  fleet.Selection
	Event   Event
	Record  func(*fleet.Fleet) // records more after the analysis, in the same change, such as findings; may be nil

	Inform func(text string)                          // prints why Run waits; may be nil
	Sleep  func(context.Context, time.Duration) error // waits for another analysis; default: real time passes
	Random func() float64                             // decides how long it waits, from (0, 1]; default: a random number
}

// Run analyzes the fleet of a store and saves the change. If another writer changed the state in the meantime, the analysis
// is repeated and Run returns the last report. The report is nil if ctx ended before there was one.
func Run(ctx context.Context, s store.Store, o Options) (*Report, store.Saved, error) {
	if o.Sleep == nil {
		o.Sleep = httpx.Sleep
	}
	if o.Random == nil {
		o.Random = random
	}
	t := &turn{o: &o, over: o.Event.Name() == ""}
	for {
		report, saved, err := t.run(ctx, s)
		if err != nil || t.over || report != nil {
			return report, saved, err
		}
		if err := t.wait(ctx); err != nil {
			return nil, saved, err
		}
	}
}

// run makes an analysis, or returns no report if it is not its turn yet.
func (t *turn) run(ctx context.Context, s store.Store) (*Report, store.Saved, error) {
	o := t.o
	var report *Report
	saved, err := s.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		report = nil
		if why := o.Event.skip(f); why != "" {
			report = skipped(why)
			if o.Event.Base == "" || !o.Event.used(f) {
				return nil, nil
			}
			return &report.Change, o.record(f, report)
		}
		if t.left > 0 {
			return nil, nil
		}
		if s := o.Select.Labels; s != nil && len(f.Config.Select(s)) == 0 {
			report = skipped(f.Config.ExplainNoMatch(s))
			return nil, nil
		}
		scope, err := o.scope(f)
		if err != nil {
			return nil, err
		}
		clients, err := o.Clients(f)
		if err != nil {
			return nil, err
		}
		within := ctx
		if o.Timeout > 0 {
			var cancel context.CancelFunc
			within, cancel = context.WithTimeout(ctx, o.Timeout)
			defer cancel()
		}
		scope.probe(within, f, clients, t.over)
		if !t.over && len(scope.fresh) >= burstSize {
			t.begin(f, &scope.probed)
			return nil, nil
		}
		if report, err = Fleet(within, f, scope, clients); err != nil {
			return nil, err
		}
		report.Interrupted = ctx.Err() != nil
		return &report.Change, o.record(f, report)
	})
	return report, saved, err
}

// record calls Record, and adds its changes to those of the analysis.
func (o *Options) record(f *fleet.Fleet, report *Report) error {
	if o.Record == nil {
		return nil
	}
	before := report.Before
	if before == nil { // nothing was analyzed
		var err error
		if before, err = f.State.Encode(); err != nil {
			return err
		}
	}
	o.Record(f)
	report.Change = f.ChangeSince(before)
	return nil
}

// skipped returns the report of an analysis that had nothing to do.
func skipped(why string) *Report {
	return &Report{Images: []ImageReport{}, Change: fleet.Change{Changed: []string{}}, Skipped: why}
}

func (o *Options) scope(f *fleet.Fleet) (Scope, error) {
	switch {
	case !o.Select.All():
		return scopeOf(f, o.Select)
	case o.Event.Name() != "":
		return scopeOfEvent(f, o.Event), nil
	}
	return everything(f), nil
}

// Late returns the numbers of images and base images that were not analyzed in time.
func (r *Report) Late() (images, bases int) {
	for i := range r.Images {
		if r.Images[i].NotSeen {
			images++
		}
	}
	for i := range r.Bases {
		if r.Bases[i].NotSeen {
			bases++
		}
	}
	return images, bases
}

// Done reports whether the image of the event was analyzed without an error.
func (r *Report) Done(e Event) bool {
	for i := range r.Images {
		if img := &r.Images[i]; e.Image != "" && img.Image == e.Image {
			return img.Error == "" && !img.NotSeen
		}
	}
	for i := range r.Bases {
		if b := &r.Bases[i]; e.Base != "" && b.Base == e.Base {
			return b.Error == "" && !b.NotSeen
		}
	}
	return true
}
