package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Executor starts rebuilds and knows what became of them: Kargo, or the forges themselves.
type Executor interface {
	// Ready says what is missing to start a rebuild now; empty when nothing is. It changes nothing.
	Ready(ctx context.Context, o *Order) (missing string, err error)
	// Find says what became of a rebuild that was started, or may have been; nil when there is no sign of it, so that it
	// can be started. Progress is Requested where that cannot be told yet.
	Find(ctx context.Context, o *Order) (*Progress, error)
	// Trace says what is known of the run of a rebuild that is over; nil when nothing is, without asking for it anew.
	Trace(ctx context.Context, o *Order) (*Progress, error)
	// Start starts a rebuild. A RefusedError error is final; after any other, Find tells whether it was started all the same.
	Start(ctx context.Context, o *Order) (*Progress, error)
	// Others are the rebuilds that somebody else started and that run now, or have ended well.
	Others(ctx context.Context) ([]Other, error)
}

// Order is a rebuild as an Executor needs it.
type Order struct {
	state.Rebuild
	Image *config.Image
	For   []Wanted          // what it is for, by preference
	Alone bool              // no other enrolled image is built by the same workflow or project
	Taken func(string) bool // whether a run, given by its id, is known to be another rebuild's
}

// Wanted is a base or parent that an image is rebuilt for.
type Wanted struct {
	Base      string // without its digest
	Digest    string
	Warehouse string // that watches it; empty when Kargo cannot watch it
}

// Progress is what became of a rebuild: Running, Built or Failed, or Requested while nobody can tell.
type Progress struct {
	Status  state.Status
	Run     string // id at the forge; empty while that is not known
	RunURL  string
	Message string
}

// Other is a rebuild that somebody started by hand.
type Other struct {
	ID      string
	Stage   string
	By      string
	Digest  string // of what it is for, where that is known
	Started time.Time
	Over    bool // all that is still to come of it is its image
	Progress
}

// RefusedError is the final word of whoever was to start a rebuild.
type RefusedError struct{ Err error }

func (r *RefusedError) Error() string { return r.Err.Error() }

func (r *RefusedError) Unwrap() error { return r.Err }

// order makes the Order of the rebuild of an image that state has.
func order(f *fleet.Fleet, img *config.Image) *Order {
	return orderOf(f, img, *f.State.Images[img.Name].Rebuild)
}

func orderOf(f *fleet.Fleet, img *config.Image, r state.Rebuild) *Order {
	o := &Order{Image: img, Rebuild: r, Taken: takenBy(f, img.Name), Alone: builtAlone(f, img)}
	for _, dep := range f.Graph.Deps(img.Name) {
		if !dep.Moves() {
			continue
		}
		w := Wanted{Base: dep.Ref.String(), Warehouse: warehouseOf(f, &dep)}
		target := o.target(w.Base)
		switch {
		case target != nil:
			w.Digest = target.Digest
		case len(o.Bases) > 0: // it is for something else
			continue
		case dep.Parent != "":
			if parent := f.State.Images[dep.Parent]; parent != nil && parent.PublishedTag(dep.Ref.Tag) != nil {
				w.Digest = parent.PublishedTag(dep.Ref.Tag).Digest
			}
		default:
			if base := f.State.Bases[dep.Base]; base != nil {
				w.Digest = base.CurrentDigest
			}
		}
		o.For = append(o.For, w)
	}
	if !slices.ContainsFunc(o.For, Wanted.watched) {
		o.For = append(o.For, otherBases(f, img.Name, o)...)
	}
	return o
}

// watched reports whether Kargo can have Freight of it.
func (w Wanted) watched() bool { return w.Warehouse != "" }

// warehouseOf returns the name of the Warehouse that watches a dependency; empty when Kargo cannot watch it.
func warehouseOf(f *fleet.Fleet, dep *graph.Dep) string {
	warehouse, registry, repository := kargo.BaseWarehouse(dep.Base), dep.Ref.Registry, dep.Ref.Repository
	if dep.Parent != "" {
		parent := f.Config.Find(dep.Parent)
		warehouse, registry, repository = kargo.ImageWarehouse(dep.Parent), parent.Registry, parent.Repository
	}
	if !kargo.Watchable(f.Config, registry, repository) {
		return ""
	}
	return warehouse
}

// otherBases returns what else an image is built on and Kargo can watch. A Promotion must carry some Freight: that of
// another base, when the rebuild is for one that Kargo cannot watch.
func otherBases(f *fleet.Fleet, image string, o *Order) []Wanted {
	var out []Wanted
	for _, dep := range f.Graph.Deps(image) {
		w := Wanted{Base: dep.Ref.String(), Warehouse: warehouseOf(f, &dep)}
		if dep.Moves() && w.watched() && o.target(w.Base) == nil {
			out = append(out, w)
		}
	}
	return out
}

// builtAlone reports whether no other enrolled image is built by the same workflow or project.
func builtAlone(f *fleet.Fleet, img *config.Image) bool {
	return !slices.ContainsFunc(f.Config.Images, func(x config.Image) bool {
		return x.Name != img.Name && x.Managed() && x.Source.Host == img.Source.Host && x.Source.Repo == img.Source.Repo &&
			x.Source.Workflow == img.Source.Workflow && x.Source.Branch == img.Source.Branch
	})
}

func (o *Order) target(ref string) *state.Target {
	for i := range o.Bases {
		if o.Bases[i].Ref == ref {
			return &o.Bases[i]
		}
	}
	return nil
}

// takenBy returns the runs at the forge of an image that belong to other rebuilds than its current one.
// They are gathered when somebody asks.
func takenBy(f *fleet.Fleet, image string) func(run string) bool {
	taken := sync.OnceValue(func() map[string]bool { return runsOfOthers(f, image) })
	return func(run string) bool { return taken()[run] }
}

func runsOfOthers(f *fleet.Fleet, image string) map[string]bool {
	taken, host := map[string]bool{}, f.Config.Find(image).Source.Host
	for name, facts := range f.State.Images {
		if img := f.Config.Find(name); img == nil || !img.Managed() || img.Source.Host != host {
			continue // ids are of one forge
		}
		if r := facts.Rebuild; r != nil && name != image && r.Run != "" {
			taken[r.Run] = true
		}
		for i := range facts.RebuildHistory {
			taken[facts.RebuildHistory[i].Run] = true
		}
	}
	return taken
}

// InKargo is an Executor that has Kargo rebuild: it creates Promotions. What it read once stays true for it, so each pass
// needs a new one.
type InKargo struct {
	Client *cluster.Client

	stages     *cluster.Stages
	promotions map[string]cluster.Promotion // by rebuild: its label, or the name of one that a person made
	others     []cluster.Promotion
	failed     error // of load: it is not tried again for each rebuild
}

func (k *InKargo) load(ctx context.Context) error {
	if k.promotions != nil || k.failed != nil {
		return k.failed
	}
	err := k.read(ctx)
	if err != nil && ctx.Err() == nil {
		k.failed = err
	}
	return err
}

func (k *InKargo) read(ctx context.Context) error {
	stages, err := k.Client.Stages(ctx)
	if err != nil {
		return err
	}
	list, err := k.Client.Promotions(ctx)
	if err != nil {
		return err
	}
	k.stages, k.promotions, k.others = stages, map[string]cluster.Promotion{}, nil
	for _, p := range list {
		if p.Rebuild != "" {
			if before, ok := k.promotions[p.Rebuild]; !ok || before.Created.Before(p.Created) {
				k.promotions[p.Rebuild] = p
			}
			continue
		}
		k.promotions[p.Name] = p
		if !p.Done() || p.Succeeded() {
			k.others = append(k.others, p)
		}
	}
	return nil
}

// Ready implements Executor: the Stage must exist, and Freight that it can take.
func (k *InKargo) Ready(ctx context.Context, o *Order) (string, error) {
	if err := k.load(ctx); err != nil {
		return "", err
	}
	if len(o.For) == 0 {
		return "all its bases are pinned, so no Freight can trigger it; start the build by hand or with --direct", nil
	}
	if !slices.ContainsFunc(o.For, Wanted.watched) {
		return "Kargo can watch nothing that it is built on, so it has no Stage: start this build by hand, or with --direct", nil
	}
	if len(k.stages.Rebuild) == 0 {
		return fmt.Sprintf("Kargo project %q has no rebuild Stage at all: have dist applied, or give --project if it is another one", k.Client.Project()), nil
	}
	if stage := kargo.RebuildStage(o.Image.Name); !k.stages.Rebuild[stage] {
		return fmt.Sprintf("there is no Stage %q in Kargo: run `imagefactory synth` and have dist applied, or start the build by hand", stage), nil
	}
	err := k.Client.Ready(ctx, inCluster(o))
	if errors.Is(err, cluster.ErrNoFreight) {
		return err.Error(), nil
	}
	return "", err
}

func inCluster(o *Order) cluster.PromotionSpec {
	out := cluster.PromotionSpec{Rebuild: o.ID, Image: o.Image.Name}
	for _, w := range o.For {
		if w.watched() {
			out.Wanted = append(out.Wanted, cluster.Freight{Warehouse: w.Warehouse, Digest: w.Digest})
		}
	}
	return out
}

// Find implements Executor.
func (k *InKargo) Find(ctx context.Context, o *Order) (*Progress, error) {
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	if p, ok := k.promotions[o.ID]; ok {
		return progressOf(&p), nil
	}
	if stage := kargo.RebuildStage(o.Image.Name); o.Status == state.Requested && !k.stages.Rebuild[stage] {
		return nil, fmt.Errorf("project %q has no Stage %q, so it does not tell whether a Promotion to it was made: have dist applied, or give --project if it is another one",
			k.Client.Project(), stage)
	}
	return nil, nil
}

// Warnings returns what keeps Kargo from observing.
func (k *InKargo) Warnings() []string {
	if k.stages == nil {
		return nil
	}
	out := make([]string, len(k.stages.Holds))
	for i, h := range k.stages.Holds {
		by := ""
		if h.Actor != "" {
			by = " by " + h.Actor
		}
		out[i] = fmt.Sprintf("auto-promotion of Stage %s is held%s: new Freight of Warehouse %s starts no analysis; resume auto-promotion in Kargo's UI", h.Stage, by, h.Warehouse)
	}
	return out
}

// Trace implements Executor: the Promotion tells the run even after the image was seen.
func (k *InKargo) Trace(ctx context.Context, o *Order) (*Progress, error) { return k.Find(ctx, o) }

// Start implements Executor.
func (k *InKargo) Start(ctx context.Context, o *Order) (*Progress, error) {
	p, err := k.Client.Create(ctx, inCluster(o))
	if err != nil {
		return nil, err
	}
	return progressOf(p), nil
}

// Others implements Executor.
func (k *InKargo) Others(ctx context.Context) ([]Other, error) {
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	out := make([]Other, len(k.others))
	for i := range k.others {
		p := &k.others[i]
		if p.Digest == "" { // it waits for another one
			var err error
			if p.Digest, err = k.Client.DigestOf(ctx, p.Freight); err != nil {
				return nil, err
			}
		}
		out[i] = Other{ID: p.Name, Stage: p.Stage, By: p.Actor, Digest: p.Digest, Started: p.Created, Over: p.Done(), Progress: *progressOf(p)}
	}
	return out, nil
}

// progressOf reads a Promotion. One whose forge did not name the run ends when the build is started: what became of that
// is then seen from what is published.
func progressOf(p *cluster.Promotion) *Progress {
	out := &Progress{Status: state.Running, RunURL: p.RunURL}
	if p.RunID != kargo.UnknownRun {
		out.Run = p.RunID
	}
	switch {
	case !p.Done(), p.Succeeded() && out.Run == "":
	case p.Succeeded():
		out.Status = state.Built
	default:
		out.Status, out.Message = state.Failed, p.Message
		if out.Message == "" {
			out.Message = "the Promotion ended as " + p.Phase
		}
	}
	return out
}

// AtForges is an Executor that has the forges rebuild, without Kargo.
type AtForges struct{ Client *forge.Client }

// Ready implements Executor.
func (AtForges) Ready(_ context.Context, o *Order) (string, error) {
	if o.Image.Source.Provider == config.GitHub && o.Image.Source.Workflow == "" {
		return "source.workflow is not set: no workflow to start", nil
	}
	return "", nil
}

// Find implements Executor.
func (d AtForges) Find(ctx context.Context, o *Order) (*Progress, error) {
	if o.Status == state.Running && o.Run != "" {
		r, err := d.Client.Follow(ctx, o.Image, forge.Run{ID: o.Run, URL: o.RunURL})
		if err != nil {
			return nil, err
		}
		p := &Progress{Status: state.Running, Run: o.Run, RunURL: o.RunURL, Message: r.Message}
		switch r.Status {
		case forge.Succeeded:
			p.Status = state.Built
		case forge.Failed:
			p.Status = state.Failed
		}
		return p, nil
	}
	run, found, err := d.Client.Find(ctx, atForge(o), func(r forge.Run) bool { return o.Taken(r.ID) })
	switch {
	case err != nil:
		return nil, err
	case found == forge.Found:
		return &Progress{Status: state.Running, Run: run.ID, RunURL: run.URL}, nil
	case o.Status == state.Running: // it was started: its image tells the rest
		return &Progress{Status: state.Running}, nil
	case found == forge.Ambiguous:
		return &Progress{Status: state.Requested, Message: cannotTell}, nil
	case found == forge.Unread:
		return &Progress{Status: state.Requested, Message: cannotRead}, nil
	}
	return nil, nil // there is none; or there was one of several, and all are over without its image
}

// Why a rebuild is neither running nor started again.
const (
	cannotTell = "it may have been started: a run is there that may be its own; looking again until that is over " +
		"(put {{promotion}} into the run-name of the workflow, and runs can be told apart)"
	cannotRead = "it may have been started: since then there are more runs than are read, or ones that the token may not read"
)

// Trace implements Executor: a run that is known is recorded when it starts.
func (AtForges) Trace(context.Context, *Order) (*Progress, error) { return nil, nil }

// Start implements Executor.
func (d AtForges) Start(ctx context.Context, o *Order) (*Progress, error) {
	run, err := d.Client.Start(ctx, atForge(o), func(r forge.Run) bool { return o.Taken(r.ID) })
	if refused := (*forge.RefusedError)(nil); errors.As(err, &refused) {
		return nil, &RefusedError{err}
	}
	if err != nil {
		return nil, err
	}
	return &Progress{Status: state.Running, Run: run.ID, RunURL: run.URL}, nil
}

// Others implements Executor: a forge does not say what its runs are for.
func (AtForges) Others(context.Context) ([]Other, error) { return nil, nil }

func atForge(o *Order) forge.Dispatch {
	out := forge.Dispatch{Rebuild: o.ID, Image: o.Image, RequestedAt: o.RequestedAt.Time, Shared: !o.Alone}
	if len(o.For) > 0 {
		out.Base, out.Digest = o.For[0].Base, o.For[0].Digest
	}
	return out
}
