// Package analyze runs an analysis: it reads the Dockerfiles of images, asks registries for base images and published images,
// and records the result in the state of a fleet.
package analyze

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Clients are the external services that an analysis uses.
type Clients struct {
	Source   source.Source      // of Dockerfiles; may be nil if Scope.Dockerfiles is empty
	Registry *registry.Client   // nil: no registry is asked
	HTTP     http.RoundTripper  // fetches the trusted root of signatures; may be nil if factory.trust needs none
	API      *forgeapi.Clients  // lists attestations that GitHub holds; nil: they are not asked
	Progress *progress.Progress // nil: none is shown
	Now      func() time.Time
	Clock    *servertime.Clock // compares Now with the Date headers of servers; may be nil
}

// CheckClock returns an error if servers contradict the clock: times recorded by a wrong clock would stay wrong.
func (s *Clients) CheckClock() error {
	if err := s.Clock.Check(); err != nil {
		return fmt.Errorf("nothing was recorded or started: %w", err)
	}
	return nil
}

// NewClients returns the [Clients] for a fleet.
type NewClients func(*fleet.Fleet) (Clients, error)

// Scope selects what an analysis reads. Base images without recorded digests are always read.
type Scope struct {
	Dockerfiles []string      // images whose Dockerfiles are read
	Published   []string      // images whose tags are read from the registry
	Bases       []string      // names of base images whose tags are resolved
	AllBases    bool          // resolve all base images in use
	Rotation    fair.Rotation // order of the work under a deadline
	Expected    []string      // images whose tags are read; the Dockerfiles of those that are new are read too
	Neighbors   []string      // images of which some are probed, and analyzed if they are new; in this order

	probed
}

// everything returns the scope of all enrolled images.
func everything(f *fleet.Fleet) Scope {
	return Scope{Dockerfiles: f.Graph.Order(), Published: f.Graph.Order(), AllBases: true}
}

// scopeOf returns the scope of the selected images: their Dockerfiles, published tags and base images. An unknown name is a
// [fleet.UsageError].
func scopeOf(f *fleet.Fleet, selected fleet.Selection) (Scope, error) {
	images, err := f.Images(selected)
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

// leaveOut leaves out images whose state files cannot be read: nothing may be recorded for them.
func (s *Scope) leaveOut(f *fleet.Fleet) {
	for _, names := range []*[]string{&s.Dockerfiles, &s.Published, &s.Expected, &s.Neighbors} {
		*names = f.Readable(*names)
	}
}

// ImageReport is the result of analyzing one image.
type ImageReport struct {
	Image      string          `json:"image"`
	Kind       string          `json:"kind"` // managed or external
	Dockerfile string          `json:"dockerfile,omitempty"`
	Version    string          `json:"version,omitempty"` // the newest published tag that matches the tag rule
	Digest     string          `json:"digest,omitempty"`
	Bases      []string        `json:"bases,omitempty"`
	Parents    []string        `json:"parents,omitempty"`
	Unresolved []state.Missing `json:"unresolved,omitempty"`
	Warnings   []string        `json:"warnings,omitempty"`
	Error      string          `json:"error,omitempty"`
	NotSeen    bool            `json:"notSeen,omitempty"` // ctx ended before it was analyzed completely
}

// BaseReport is the result of resolving the tag of one base image.
type BaseReport struct {
	Base   string `json:"base"`
	Ref    string `json:"ref"`
	Digest string `json:"digest,omitempty"`
	Error  string `json:"error,omitempty"`
	// NotSeen reports that ctx ended before the tag was resolved.
	NotSeen bool `json:"notSeen,omitempty"`
}

// Report is the result of an analysis.
type Report struct {
	Images []ImageReport `json:"images"`
	Bases  []BaseReport  `json:"bases,omitempty"`
	// UnknownConfigs are the images that Dockerfiles build on whose config could not be read.
	UnknownConfigs []UnknownConfig `json:"unknownConfigs,omitempty"`
	fleet.Change
	Failed      int  `json:"failed"`                // images and base images that keep their state
	Interrupted bool `json:"interrupted,omitempty"` // ctx ended before everything was analyzed
	// Skipped is the reason why nothing was analyzed; empty otherwise.
	Skipped string `json:"skipped,omitempty"`
}

// maxParallel bounds the concurrent tasks of an analysis. Most of the time is spent waiting; clients limit the requests to
// one host.
const maxParallel = 32

// Fleet analyzes everything in scope and updates the state of f in memory: Dockerfiles first, then the tags of enrolled and
// of base images, then the base images that new images were built on. Failures are reported and leave the state of their
// image unchanged, and so does the end of ctx. Fleet writes nothing: [Run] saves the change in a [store.Store].
func Fleet(ctx context.Context, f *fleet.Fleet, scope Scope, clients Clients) (*Report, error) {
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	scope.leaveOut(f)
	a := newAnalysis(f, scope, clients)
	a.Progress.Start(len(scope.Dockerfiles)+len(scope.Published), "analyzing")
	defer a.Progress.Finish()
	phases := 4
	if scope.AllBases && f.Config.Factory.Lint.NewerTags {
		phases++
	}
	if len(scope.Dockerfiles) > 0 {
		phases++
	}
	runPhase := func(phase func(context.Context)) { // each phase gets an equal share of the remaining time
		part, cancel := fair.Share(ctx, phases, "this phase")
		defer cancel()
		phase(part)
		phases--
	}
	if len(scope.Dockerfiles) > 0 {
		runPhase(func(ctx context.Context) { a.dockerfiles(ctx, scope.Dockerfiles) })
		a.dropUnread(&scope)
	}
	if a.Registry != nil {
		runPhase(func(ctx context.Context) { a.published(ctx, scope.Published) })
	}
	f.Graph = graph.Build(f.Config, f.State)
	if err := a.refuseCycles(); err != nil {
		return nil, err
	}
	for _, name := range f.Graph.Order() {
		f.AddBases(name)
	}
	if a.Registry != nil {
		runPhase(func(ctx context.Context) { a.resolveBases(ctx, scope) })
		a.forgetTrust()
		if len(f.Config.Factory.Trust) > 0 {
			runPhase(a.verifyBases)
		}
		a.recordTriggers()
		if scope.AllBases && f.Config.Factory.Lint.NewerTags {
			runPhase(a.recordNewer)
		}
		runPhase(func(ctx context.Context) { a.recordBuiltOn(ctx, scope.Published) })
	}
	a.recordPins()
	a.recordAnalyses(ctx)
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

// analysis is the state of one call of [Fleet].
type analysis struct {
	*fleet.Fleet
	Clients
	now      time.Time
	rotation fair.Rotation
	files    map[string]*dockerfileResult  // by image
	images   map[string]*publicationResult // by image
	bases    map[string]*baseResult        // by base image
	asked    map[string]bool               // base images in scope

	chosen    map[string]*publicationResult // by image: what was read before the analysis
	snapshots once[state.Snapshot]          // of tags, by reference
	configs   configs                       // of what Dockerfiles build on
}

func newAnalysis(f *fleet.Fleet, scope Scope, clients Clients) *analysis {
	a := &analysis{
		Fleet: f, Clients: clients, now: clients.Now(), rotation: scope.Rotation, chosen: scope.chosen,
		files: map[string]*dockerfileResult{}, images: map[string]*publicationResult{}, bases: map[string]*baseResult{},
		configs: configs{wanted: map[configKey]bool{}, read: map[configKey]*configResult{}},
	}
	if a.rotation.Pass == 0 {
		a.rotation.Pass = a.now.Unix() / int64(time.Hour/time.Second)
	}
	return a
}

func setOf(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[name] = true
	}
	return out
}

// forEach calls fn for every task, up to [maxParallel] at a time, until ctx is done. Results of calls that were skipped or
// interrupted are left out.
func forEach[T any](ctx context.Context, a *analysis, tasks []fair.Task, fn func(context.Context, string) T) map[string]T {
	found := make([]*T, len(tasks))
	fair.Run(ctx, maxParallel, tasks, func(i int) {
		done := a.Progress.Item(tasks[i].Name)
		defer done()
		if f := fn(ctx, tasks[i].Name); ctx.Err() == nil {
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

// tasks returns a task for each name, rotated if ctx has a deadline.
func (a *analysis) tasks(ctx context.Context, names []string, of func(name string) fair.Task) []fair.Task {
	if _, bounded := ctx.Deadline(); bounded {
		names = a.rotation.Order(names)
	}
	out := make([]fair.Task, len(names))
	for i, name := range names {
		out[i] = of(name)
		out[i].Name = name
	}
	return out
}

// sourceOf returns the task that reads the Dockerfile of an image.
func (a *analysis) sourceOf(name string) fair.Task {
	t := fair.Task{Owner: name}
	if src := a.Config.Find(name).Source; src != nil {
		t.Host = src.Host
	}
	return t
}

// registryOf returns the task that reads the published tags of an image.
func (a *analysis) registryOf(name string) fair.Task {
	return fair.Task{Host: a.Config.Find(name).Registry, Owner: name}
}

// refuseCycles reverts the Dockerfiles that make images depend on each other, so that the analysis of the others is kept.
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
		refused := cmp.Or(a.Unreadable(state.ImagesFolder, name), change.RefusedOf(state.ImagesFolder, name))
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
		switch found, refused := a.bases[name], cmp.Or(a.Unreadable(state.BasesFolder, name), change.RefusedOf(state.BasesFolder, name)); {
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
	a.reportLeftOut(r)
	return r
}

// reportLeftOut reports the unreadable state files of images that are not enrolled and of base images that are not used.
func (a *analysis) reportLeftOut(r *Report) {
	for _, found := range a.LeftOut() {
		name := strings.TrimSuffix(path.Base(found.File), ".yaml")
		text := finding.List{found}.Error()
		switch path.Base(path.Dir(found.File)) {
		case state.ImagesFolder:
			if a.Config.Find(name) != nil {
				continue
			}
			r.Images = append(r.Images, ImageReport{Image: name, Error: text})
		case state.BasesFolder:
			if slices.Contains(a.Graph.Bases(), name) {
				continue
			}
			r.Bases = append(r.Bases, BaseReport{Base: name, Error: text})
		}
		r.Failed++
	}
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

// assume records assumed base digests where there is no evidence, parents first.
func (a *analysis) assume() {
	for _, name := range a.Graph.Order() {
		policy.Assume(a.Config.Find(name), a.State, a.Graph)
	}
	tags := a.tagsInUse()
	for _, facts := range a.State.Images {
		facts.ForgetTags(func(tag string) bool { return slices.Contains(tags[facts.Repository], tag) })
	}
}
