package kargo

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Options tell the Jobs in the cluster where state and images.yaml are. Their defaults come from the git checkout.
type Options struct {
	StateURL   string // URL of the state repository
	StatePath  string // folder of the state files in it
	ConfigPath string // path of images.yaml in it
}

// Objects is like [Each] but returns a slice.
func Objects(cfg *config.Config, st *state.State, g *graph.Graph, opts Options) ([]Object, []Omission, error) {
	objects, n, omitted, err := Each(cfg, st, g, opts)
	if err != nil {
		return nil, nil, err
	}
	return slices.AppendSeq(make([]Object, 0, n), objects), omitted, nil
}

// Each returns the n objects of dist: first the shared ones, then those of each base image, then those of each enrolled image,
// by name. Objects are generated one at a time, because a large fleet has many. An object that Kargo would refuse is left
// out, with all objects that need it, and listed in omitted. Each fails if there is no state repository, or if Kargo cannot
// watch a mirror.
func Each(cfg *config.Config, st *state.State, g *graph.Graph, opts Options) (objects iter.Seq[Object], n int, omitted []Omission, err error) {
	if opts.StateURL == "" {
		return nil, 0, nil, errors.New("no state repository (set factory.state.url in images.yaml)")
	}
	if err := errors.Join(RefusedMirrors(cfg, g)...); err != nil {
		return nil, 0, nil, err
	}
	// The Roles, which come first, name the rebuild Stages. So all objects are generated twice, which is faster than keeping
	// them.
	count := 0
	first := newBuilder(cfg, st, g, opts, func(Object) { count++ })
	first.ofImages()
	fleet := first.fleet()
	objects = func(yield func(Object) bool) {
		more := true
		emit := func(o Object) { more = more && yield(o) }
		for _, o := range fleet {
			emit(o)
		}
		newBuilder(cfg, st, g, opts, emit).ofImages()
	}
	return objects, len(fleet) + count, first.omitted, nil
}

type builder struct {
	cfg  *config.Config
	st   *state.State
	g    *graph.Graph
	opts Options

	emit     func(Object)             // is called with each object of an image or base image
	rebuilds []string                 // names of the rebuild Stages
	tasks    map[config.Provider]bool // PromotionTasks in use
	omitted  []Omission
	missing  map[string]bool // Warehouses that were left out
}

func newBuilder(cfg *config.Config, st *state.State, g *graph.Graph, opts Options, emit func(Object)) *builder {
	return &builder{cfg: cfg, st: st, g: g, opts: opts, emit: emit, tasks: map[config.Provider]bool{}, missing: map[string]bool{}}
}

// ofImages generates the objects of base images and of images.
func (b *builder) ofImages() {
	b.bases()
	b.images()
}

func (b *builder) header(api, kind, name string) Header {
	return Header{APIVersion: api, ObjectKind: kind, Metadata: Metadata{
		Name: name, Namespace: b.cfg.Factory.Project, Labels: Labels{managedByLabel: managedBy},
	}}
}

// subject is a repository that a Warehouse watches and whose Freight an observe Stage analyzes.
type subject struct {
	warehouse string
	flag      string // how the analysis names it
	shown     string // its reference, in familiar form
	comment   string
	labels    Labels
	color     string      // of its observe Stage
	links     Annotations // of its observe Stage
	interval  config.Duration
	image     ImageSubscription
}

// RefusedMirrors returns an error for each mirror that Warehouses would watch and Kargo refuses. [Objects] fails with them.
func RefusedMirrors(cfg *config.Config, g *graph.Graph) []error {
	used := map[string]bool{}
	for _, name := range g.Bases() {
		used[g.BaseRef(name).Registry] = true
	}
	for i := range cfg.Images {
		used[cfg.Images[i].Registry] = true
	}
	var errs []error
	for _, registry := range slices.Sorted(maps.Keys(used)) {
		if err := checkMirror(cfg, registry); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (b *builder) bases() {
	for _, name := range b.g.Bases() {
		if !b.g.Watched(name) {
			continue
		}
		ref := b.g.BaseRef(name)
		s := subject{
			warehouse: BaseWarehouse(name),
			flag:      "--base-image=" + name,
			shown:     shown(ref.String()),
			comment:   b.describeBase(name),
			labels:    Labels{managedByLabel: managedBy, baseLabel: name},
			color:     colorOfBase,
			interval:  *b.cfg.Factory.Poll.BaseImages,
			image:     ImageSubscription{RepoURL: repoURL(b.cfg, ref.Registry, ref.Repository), ImageSelectionStrategy: string(config.Digest), Constraint: ref.Tag},
		}
		if reason := subscriptionProblem(&s.image); reason != "" {
			b.omit(s.warehouse, Omission{Base: name, Ref: ref.String(), Reason: reason})
			continue
		}
		b.watch(s)
	}
}

// images generates the objects of the enrolled images. It first collects what can be watched, because the parents of an
// image can come after it.
func (b *builder) images() {
	names := b.cfg.Names()
	subjects := make([]subject, len(names))
	for i, name := range names {
		img := b.cfg.Find(name)
		tags, _ := graph.TagsOf(img, b.st.Images[name])
		if b.watchedAsBase(img, tags) {
			continue
		}
		s := b.imageSubject(img, tags)
		if reason := subscriptionProblem(&s.image); reason != "" {
			b.omit(s.warehouse, Omission{Image: name, Ref: img.Ref(), Reason: reason})
			continue
		}
		subjects[i] = s
	}
	for i, name := range names {
		if subjects[i].warehouse != "" {
			b.watch(subjects[i])
		}
		b.rebuild(b.cfg.Find(name))
	}
}

func (b *builder) omit(warehouse string, o Omission) {
	b.missing[warehouse] = true
	b.omitted = append(b.omitted, o)
}

func (b *builder) imageSubject(img *config.Image, tags config.Tags) subject {
	sub := ImageSubscription{
		RepoURL: repoURL(b.cfg, img.Registry, img.Repository), ImageSelectionStrategy: string(tags.Strategy),
		AllowTagsRegexes: tags.Allow, IgnoreTagsRegexes: tags.Ignore,
	}
	if tags.Strategy == config.SemVer || tags.Strategy == config.Digest {
		sub.Constraint = tags.Constraint
	}
	return subject{
		warehouse: ImageWarehouse(img.Name),
		flag:      "--image=" + img.Name,
		shown:     shown(img.Ref()),
		comment:   b.describeImage(img),
		labels:    imageLabels(img),
		color:     colorOfImage,
		links:     imageLinks(img),
		interval:  *b.cfg.Factory.Poll.Images,
		image:     sub,
	}
}

// watchedAsBase reports whether an external image follows a tag that the Warehouse of a base image already watches.
func (b *builder) watchedAsBase(img *config.Image, tags config.Tags) bool {
	if img.Managed() || tags.Strategy != config.Digest {
		return false
	}
	ref, err := state.ParseRef(img.Ref() + ":" + tags.Constraint)
	return err == nil && b.g.Watched(b.g.BaseName(ref))
}

// repoURL returns the repository that a Warehouse watches. That is the one on the first mirror of the registry, if there is
// one, because the analysis asks the mirrors too: Kargo must not see a new digest before the analysis can.
func repoURL(cfg *config.Config, registry, repository string) string {
	if mirrors := cfg.Factory.Mirrors[registry]; len(mirrors) > 0 {
		registry = strings.TrimSuffix(mirrors[0], "/")
	}
	return registry + "/" + repository
}

// watch adds a Warehouse and its observe Stage.
func (b *builder) watch(s subject) {
	s.image.DiscoveryLimit, s.image.StrictSemvers = 1, true
	w := &Warehouse{Header: b.header(kargoAPI, "Warehouse", s.warehouse), Spec: WarehouseSpec{
		FreightCreationPolicy: "Automatic",
		Interval:              s.interval.Std().String(),
		Subscriptions:         []Subscription{{Image: s.image}},
	}}
	w.comment, w.Metadata.Labels = s.comment, s.labels
	w.Metadata.Annotations = Annotations{description: "Watches " + s.shown}
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
	stage.comment, stage.Metadata.Labels = s.comment, maps.Clone(s.labels)
	stage.Metadata.Labels[RoleLabel] = string(Observe)
	stage.Metadata.Annotations = Annotations{description: "Records new digests of " + s.shown}
	stage.Metadata.Annotations[color] = s.color
	maps.Copy(stage.Metadata.Annotations, s.links)
	b.emit(w)
	b.emit(stage)
}

// observed is a step without side effects: a Stage without steps passes Freight on and verifies nothing.
func observed() Step {
	return Step{As: "observed", Config: map[string]string{"freight": value("quote(ctx.targetFreight.name)")}, Uses: "compose-output"}
}

func from(warehouse string) FreightRequest {
	return FreightRequest{Origin: FreightOrigin{Kind: "Warehouse", Name: warehouse}, Sources: FreightSources{Direct: true}}
}
