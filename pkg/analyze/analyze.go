package analyze

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Clients are the external services that an analysis uses.
type Clients struct {
	Source   source.Source      // of Dockerfiles; may be nil when none is to be read
	Registry *registry.Client   // nil: no registry is asked
	Progress *progress.Progress // nil: none is shown
	Now      func() time.Time
	Clock    *servertime.Clock // what servers say of Now; may be nil
}

// CheckClock fails when servers contradict the clock: what a wrong one records would stay wrong.
func (s *Clients) CheckClock() error {
	if err := s.Clock.Check(); err != nil {
		return fmt.Errorf("nothing was recorded or started: %w", err)
	}
	return nil
}

// NewClients makes the Clients for a fleet.
type NewClients func(*fleet.Fleet) (Clients, error)

// Scope is what an analysis looks at, beside the base images that it finds and that were never looked at.
type Scope struct {
	Dockerfiles []string      // the Dockerfiles of these images
	Published   []string      // what the registry holds of these images
	Bases       []string      // what the tags of these base images hold, by name
	AllBases    bool          // those of all base images in use
	Turn        fair.Rotation // where to begin, when there is not enough time for everything
}

// Everything returns the scope of all enrolled images.
func Everything(f *fleet.Fleet) Scope {
	return Scope{Dockerfiles: f.Graph.Order(), Published: f.Graph.Order(), AllBases: true}
}

// scopeOf returns all there is to know about the named images, which must be enrolled: a name that is not is a UsageError.
func scopeOf(f *fleet.Fleet, names []string) (Scope, error) {
	images, err := f.Images(names)
	if err != nil {
		return Scope{}, err
	}
	s := Scope{}
	for _, img := range images {
		s.Dockerfiles = append(s.Dockerfiles, img.Name)
		for _, dep := range f.Graph.Deps(img.Name) {
			if dep.Base != "" && !slices.Contains(s.Bases, dep.Base) {
				s.Bases = append(s.Bases, dep.Base)
			}
		}
	}
	s.Published = s.Dockerfiles
	return s, nil
}

// ImageReport is what analyzing one image came to.
type ImageReport struct {
	Image      string          `json:"image"`
	Kind       string          `json:"kind"` // managed or external
	Dockerfile string          `json:"dockerfile,omitempty"`
	Version    string          `json:"version,omitempty"` // the published tag that counts
	Digest     string          `json:"digest,omitempty"`
	Bases      []string        `json:"bases,omitempty"`
	Parents    []string        `json:"parents,omitempty"`
	Unresolved []state.Missing `json:"unresolved,omitempty"`
	Warnings   []string        `json:"warnings,omitempty"`
	Error      string          `json:"error,omitempty"`
	NotSeen    bool            `json:"notSeen,omitempty"` // ctx ended before all of it was looked at
}

// BaseReport is what looking at one tag of a base image came to.
type BaseReport struct {
	Base   string `json:"base"`
	Ref    string `json:"ref"`
	Digest string `json:"digest,omitempty"`
	Error  string `json:"error,omitempty"`
	// NotSeen says that ctx ended before the tag was looked at.
	NotSeen bool `json:"notSeen,omitempty"`
}

// Report is what an analysis came to.
type Report struct {
	Images []ImageReport `json:"images"`
	Bases  []BaseReport  `json:"bases,omitempty"`
	// UnknownConfigs are images that Dockerfiles build on and of which the config could not be read.
	UnknownConfigs []UnknownConfig `json:"unknownConfigs,omitempty"`
	fleet.Change
	Failed      int  `json:"failed"`                // images and base images that keep their state
	Interrupted bool `json:"interrupted,omitempty"` // not everything was looked at
	// Skipped is why there was nothing to analyze.
	Skipped string `json:"-"`
}

// looks is how many things are looked at at once. Most of that is waiting; clients bound what one host is asked.
const looks = 32

// Fleet looks at everything in scope and updates the fleet's state in memory: Dockerfiles, then the tags of enrolled and
// of base images, then what new images were built on. What fails is reported and keeps its state; the rest goes on. When
// ctx ends, what was not looked at yet keeps its state too. Nothing is written: see Store.
func Fleet(ctx context.Context, f *fleet.Fleet, scope Scope, clients Clients) (*Report, error) {
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	a := &analysis{
		Fleet: f, Clients: clients, now: clients.Now(), turn: scope.Turn,
		files: map[string]*dockerfileFound{}, images: map[string]*publicationFound{}, bases: map[string]*baseFound{},
		configs: configs{wanted: map[configKey]bool{}, read: map[configKey]*configRead{}},
	}
	if a.turn.Pass == 0 {
		a.turn.Pass = a.now.Unix() / int64(time.Hour/time.Second)
	}
	a.Progress.Start(len(scope.Dockerfiles)+len(scope.Published), "analyzing")
	defer a.Progress.Finish()
	phases := 3
	if len(scope.Dockerfiles) > 0 {
		phases = 4
	}
	within := func(look func(context.Context)) { // no phase takes the time of those after it
		part, cancel := fair.Share(ctx, phases, "it")
		defer cancel()
		look(part)
		phases--
	}
	if phases == 4 {
		within(func(ctx context.Context) { a.dockerfiles(ctx, scope.Dockerfiles) })
	}
	if a.Registry != nil {
		within(func(ctx context.Context) { a.published(ctx, scope.Published) })
	}
	f.Graph = graph.Build(f.Config, f.State)
	if err := a.refuseCycles(); err != nil {
		return nil, err
	}
	for _, name := range f.Graph.Order() {
		f.AddBases(name)
	}
	if a.Registry != nil {
		within(func(ctx context.Context) { a.tags(ctx, scope) })
		a.rememberTriggers()
		within(func(ctx context.Context) { a.evidence(ctx, scope.Published) })
	}
	a.rememberAnswers(ctx)
	if err := a.CheckClock(); err != nil {
		return nil, err
	}
	change := f.ChangeSince(before)
	report := a.report(scope, &change)
	if report.Interrupted = ctx.Err() != nil; !report.Interrupted {
		report.UnknownConfigs = a.unknownConfigs()
	}
	return report, nil
}

// analysis is what one Analyze has found so far.
type analysis struct {
	*fleet.Fleet
	Clients
	now    time.Time
	turn   fair.Rotation
	files  map[string]*dockerfileFound  // by image
	images map[string]*publicationFound // by image
	bases  map[string]*baseFound        // by base image
	asked  map[string]bool              // base images to be looked at

	snapshots once[state.Snapshot] // of tags, by reference
	configs   configs              // of what Dockerfiles build on
}

func setOf(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[name] = true
	}
	return out
}

// each looks at every task, many at once, until ctx is done. The tasks that were not looked at are not in the answer, nor
// those during which ctx ended: their errors say nothing of them.
func each[T any](ctx context.Context, a *analysis, tasks []fair.Task, look func(context.Context, string) T) map[string]T {
	found := make([]*T, len(tasks))
	fair.Run(ctx, looks, tasks, func(i int) {
		done := a.Progress.Item(tasks[i].Name)
		defer done()
		if f := look(ctx, tasks[i].Name); ctx.Err() == nil {
			found[i] = &f
		}
	})
	out := make(map[string]T, len(tasks))
	for i := range tasks {
		if found[i] != nil {
			out[tasks[i].Name] = *found[i]
		}
	}
	return out
}

// tasks makes a task of each name, in the order of this pass.
func (a *analysis) tasks(ctx context.Context, names []string, of func(name string) fair.Task) []fair.Task {
	if _, bounded := ctx.Deadline(); bounded {
		names = a.turn.Order(names)
	}
	out := make([]fair.Task, len(names))
	for i, name := range names {
		out[i] = of(name)
		out[i].Name = name
	}
	return out
}

// sourceOf is the task to read the Dockerfile of an image.
func (a *analysis) sourceOf(name string) fair.Task {
	t := fair.Task{Owner: name}
	if src := a.Config.Find(name).Source; src != nil {
		t.Host = src.Host
	}
	return t
}

// registryOf is the task to look at the published image.
func (a *analysis) registryOf(name string) fair.Task {
	return fair.Task{Host: a.Config.Find(name).Registry, Owner: name}
}

// refuseCycles takes back what this analysis learnt of images that are built on each other, so that the others go on.
func (a *analysis) refuseCycles() error {
	found := fleet.Cycles(a.Config, a.Graph)
	if len(found) == 0 {
		return nil
	}
	for _, loop := range a.Graph.Cycles() {
		for _, name := range loop {
			if d := a.files[name]; d != nil && d.err == nil {
				d.revert()
				d.err = errorOf(found, a.Config.Find(name))
				a.ImageState(a.Config.Find(name)).AnalysisError = state.Text(d.err.Error())
			}
		}
	}
	a.Graph = graph.Build(a.Config, a.State)
	return fleet.Cycles(a.Config, a.Graph).Err()
}

func (a *analysis) report(scope Scope, change *fleet.Change) *Report {
	r := &Report{Images: []ImageReport{}, Change: *change}
	files, published := setOf(scope.Dockerfiles), setOf(scope.Published)
	for _, name := range a.Graph.Order() {
		refused := change.RefusedOf(state.ImagesFolder, name)
		if !files[name] && !published[name] && refused == nil {
			continue
		}
		img, p := a.describe(a.Config.Find(name)), a.images[name]
		if refused != nil {
			img.Error = refused.Error()
		}
		img.NotSeen = files[name] && a.files[name] == nil || published[name] && a.Registry != nil && (p == nil || p.notSeen)
		if img.Error != "" {
			r.Failed++
		}
		r.Images = append(r.Images, img)
	}
	for _, name := range a.Graph.Bases() {
		b := BaseReport{Base: name, Ref: a.Graph.BaseRef(name).String()}
		switch found, refused := a.bases[name], change.RefusedOf(state.BasesFolder, name); {
		case refused != nil:
			b.Error = refused.Error()
			r.Failed++
		case found == nil && !a.asked[name]:
			continue
		case found == nil:
			b.NotSeen = true
		case found.err != nil:
			b.Error = found.err.Error()
			r.Failed++
		default:
			b.Digest = found.snapshot.Digest
		}
		r.Bases = append(r.Bases, b)
	}
	return r
}

func (a *analysis) describe(img *config.Image) ImageReport {
	r := ImageReport{Image: img.Name, Kind: "external"}
	if img.Managed() {
		r.Kind = "managed"
	}
	var problems []string
	if d := a.files[img.Name]; d != nil {
		r.Unresolved, r.Warnings = d.unresolved, d.warnings
		if d.file != nil {
			r.Dockerfile = d.file.Path
		}
		if d.err != nil {
			problems = append(problems, strings.TrimSpace(d.err.Error()))
		}
	}
	if p := a.images[img.Name]; p != nil {
		r.Version, r.Digest = p.tag, p.snapshot.Digest
		r.Warnings = append(r.Warnings, p.warnings...)
		if p.err != nil {
			problems = append(problems, strings.TrimSpace(p.err.Error()))
		}
	}
	if r.Error = strings.Join(problems, "; "); r.Error != "" {
		return r
	}
	for _, dep := range a.Graph.Deps(img.Name) {
		if dep.Parent != "" {
			r.Parents = append(r.Parents, dep.Parent)
		} else {
			r.Bases = append(r.Bases, dep.Ref.String())
		}
	}
	r.Parents = slices.Compact(slices.Sorted(slices.Values(r.Parents)))
	return r
}

// assume fills in what nothing proves, parents first.
func (a *analysis) assume() {
	for _, name := range a.Graph.Order() {
		policy.Assume(a.Config.Find(name), a.State, a.Graph)
	}
	tags := a.tagsInUse()
	for _, facts := range a.State.Images {
		facts.ForgetTags(func(tag string) bool { return slices.Contains(tags[facts.Repository], tag) })
	}
}
