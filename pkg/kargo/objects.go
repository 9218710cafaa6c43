package kargo

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Options are what the Jobs in the cluster must know and images.yaml may leave to the checkout.
type Options struct {
	StateURL   string // URL of the state repository
	StatePath  string // folder of the state files in it
	ConfigPath string // path of images.yaml in it
}

// Objects returns every object of dist: first what exists once, then each base image's, then each enrolled image's, by
// name. It fails when the state repository is not known, and when a repository has a name that Kargo refuses to watch;
// all of those are in the error.
func Objects(cfg *config.Config, st *state.State, g *graph.Graph, opts Options) ([]Object, error) {
	if opts.StateURL == "" {
		return nil, errors.New("the state repository is not known: set factory.state.url in images.yaml")
	}
	b := builder{cfg: cfg, st: st, g: g, opts: opts, tasks: map[config.Provider]bool{}, objects: make([]Object, 0, 16+3*len(cfg.Images)+2*len(g.Bases()))}
	b.bases()
	b.images()
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return slices.Concat(b.fleet(), b.objects), nil
}

type builder struct {
	cfg  *config.Config
	st   *state.State
	g    *graph.Graph
	opts Options

	objects  []Object
	rebuilds []string                 // names of the rebuild Stages
	tasks    map[config.Provider]bool // PromotionTasks in use
	errs     []error
}

func (b *builder) header(api, kind, name string) Header {
	return Header{APIVersion: api, ObjectKind: kind, Metadata: Metadata{
		Name: name, Namespace: b.cfg.Factory.Project, Labels: Labels{ManagedBy: managedBy},
	}}
}

// subject is what a Warehouse watches and its observe Stage has analyzed.
type subject struct {
	warehouse string
	flag      string // how the analysis names it
	labels    Labels
	interval  config.Duration
	image     ImageSubscription
}

func (b *builder) bases() {
	for _, name := range b.g.Bases() {
		if !b.g.Watched(name) {
			continue
		}
		ref := b.g.BaseRef(name)
		b.watch(subject{
			warehouse: BaseWarehouse(name),
			flag:      "--base-image=" + name,
			labels:    Labels{ManagedBy: managedBy, Base: name},
			interval:  *b.cfg.Factory.Poll.BaseImages,
			image:     ImageSubscription{RepoURL: b.repoURL(ref.Registry, ref.Repository), ImageSelectionStrategy: string(config.Digest), Constraint: ref.Tag},
		})
	}
}

func (b *builder) images() {
	for _, name := range b.cfg.Names() {
		img := b.cfg.Find(name)
		tags, _ := graph.TagsOf(img, b.st.Images[name])
		if b.watchedAsBase(img, tags) {
			continue
		}
		sub := ImageSubscription{
			RepoURL: b.repoURL(img.Registry, img.Repository), ImageSelectionStrategy: string(tags.Strategy),
			AllowTagsRegexes: tags.Allow, IgnoreTagsRegexes: tags.Ignore,
		}
		if tags.Strategy == config.SemVer || tags.Strategy == config.Digest {
			sub.Constraint = tags.Constraint
		}
		b.watch(subject{
			warehouse: ImageWarehouse(name),
			flag:      "--image=" + name,
			labels:    Labels{ManagedBy: managedBy, Image: name},
			interval:  *b.cfg.Factory.Poll.Images,
			image:     sub,
		})
		b.rebuild(img)
	}
}

// watchedAsBase says whether an external image follows the very tag that a base image's Warehouse watches.
func (b *builder) watchedAsBase(img *config.Image, tags config.Tags) bool {
	if img.Managed() || tags.Strategy != config.Digest {
		return false
	}
	ref, err := state.ParseRef(img.Ref() + ":" + tags.Constraint)
	return err == nil && b.g.Watched(state.BaseName(ref))
}

// repoForm is what Kargo's admission webhook accepts as an image repository.
var repoForm = regexp.MustCompile(`^(\w+([.-]\w+)*(:\d+)?/)?\w+([.-]\w+)*(/\w+([.-]\w+)*)*$`)

// repoURL is the repository as a Warehouse watches it: at the first mirror of its registry where there is one, so that
// Kargo sees the tags move when the analysis, which asks the mirrors too, can see it.
func (b *builder) repoURL(registry, repository string) string {
	if mirrors := b.cfg.Factory.Mirrors[registry]; len(mirrors) > 0 {
		registry = strings.TrimSuffix(mirrors[0], "/")
	}
	return registry + "/" + repository
}

// watch adds a Warehouse and its observe Stage.
func (b *builder) watch(s subject) {
	if !repoForm.MatchString(s.image.RepoURL) {
		b.errs = append(b.errs, fmt.Errorf("watching %q: Kargo accepts no such repository name", s.image.RepoURL))
	}
	s.image.DiscoveryLimit, s.image.StrictSemvers = 1, true
	w := &Warehouse{Header: b.header(kargoAPI, "Warehouse", s.warehouse), Spec: WarehouseSpec{
		FreightCreationPolicy: "Automatic",
		Interval:              s.interval.Std().String(),
		Subscriptions:         []Subscription{{Image: s.image}},
	}}
	w.Metadata.Labels = s.labels
	image := imageOf(s.image.RepoURL, s.warehouse)
	stage := &Stage{Header: b.header(kargoAPI, "Stage", observeStage(s.warehouse)), Spec: StageSpec{
		PromotionTemplate: PromotionTemplate{Spec: PromotionTemplateSpec{Steps: []Step{observed()}}},
		RequestedFreight:  []FreightRequest{from(s.warehouse)},
		Verification: &Verification{
			AnalysisTemplates: []TemplateRef{{Name: AnalysisTemplateName}},
			Args: []Var{
				{Name: subjectArg, Value: s.flag},
				{Name: tagArg, Value: value("quote(" + image + ".Tag)")},
				{Name: digestArg, Value: value("quote(" + image + ".Digest)")},
			},
		},
	}}
	stage.Metadata.Labels = s.labels
	stage.Metadata.Labels.Role = Observe
	b.objects = append(b.objects, w, stage)
}

// observed is a step without side effects: a Stage without steps passes Freight on and verifies nothing.
func observed() Step {
	return Step{As: "observed", Config: map[string]string{"freight": value("quote(ctx.targetFreight.name)")}, Uses: "compose-output"}
}

func from(warehouse string) FreightRequest {
	return FreightRequest{Origin: FreightOrigin{Kind: "Warehouse", Name: warehouse}, Sources: FreightSources{Direct: true}}
}
