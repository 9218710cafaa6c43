package kargo

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
)

// rebuild adds the rebuild Stage of an image. An image without a workflow has none, and neither has one whose base images are
// all pinned, because a Stage needs a Warehouse to take Freight from.
func (b *builder) rebuild(img *config.Image) {
	if !startable(img) {
		return
	}
	sources, moves := b.sources(img.Name)
	if len(sources) == 0 {
		if moves {
			b.omitted = append(b.omitted, Omission{Image: img.Name, Stage: true, Reason: "Kargo can watch none of its base images"})
		}
		return
	}
	requests := make([]FreightRequest, len(sources))
	for i, s := range sources {
		requests[i] = from(s.warehouse)
	}
	if img.Source.TakesLock() { // Kargo takes the variables of a Promotion from its Stage, which was written before
		b.omitted = append(b.omitted, Omission{Image: img.Name, Stage: true, Reason: "Kargo cannot pass {{lock}} to a build"})
		return
	}
	task, vars := taskSpecs[img.Source.Provider].name, []Var(nil)
	if img.Source.Webhook != nil {
		task = WebhookTask(img.Name)
		b.emit(webhookTask(b, img, sources))
	} else {
		vars = b.call(img, sources)
	}
	if sizeOf(vars) > maxTexts {
		b.omitted = append(b.omitted, Omission{Image: img.Name, Stage: true, Reason: fmt.Sprintf("its inputs or variables are larger than %d KiB", maxTexts>>10)})
		return
	}
	b.tasks[img.Source.Provider] = img.Source.Webhook == nil
	stage := &Stage{Header: b.header(kargoAPI, "Stage", RebuildStage(img.Name)), Spec: StageSpec{
		PromotionTemplate: PromotionTemplate{Spec: PromotionTemplateSpec{Steps: []Step{{As: TaskAlias, Task: &TaskRef{Name: task}, Vars: vars}}}},
		RequestedFreight:  requests,
	}}
	stage.Metadata.Labels = imageLabels(img)
	stage.Metadata.Labels[RoleLabel] = string(Rebuild)
	stage.Metadata.Annotations = Annotations{description: "Starts a build of " + shown(img.Ref())}
	stage.comment = b.describeImage(img)
	stage.Metadata.Annotations[color] = colorOfRebuild
	maps.Copy(stage.Metadata.Annotations, imageLinks(img))
	b.emit(stage)
	b.rebuilds = append(b.rebuilds, stage.Metadata.Name)
}

// startable reports whether a build can be started. The workflow may be missing if autoRebuild is false.
func startable(img *config.Image) bool {
	return img.Managed() && img.Source.Triggerable() && img.Source.MissingKey() == ""
}

// source is a Warehouse whose Freight can trigger a rebuild.
type source struct {
	warehouse string
	repoURL   string // as the Warehouse watches it
	repo      string // as written in Dockerfiles
}

func sizeOf(vars []Var) int {
	n := 0
	for i := range vars {
		n += len(vars[i].Value)
	}
	return n
}

// sources returns the Warehouses of the image's base images, in the order of the state file. moves reports whether the image
// uses a tag that can move, watched or not.
func (b *builder) sources(name string) (out []source, moves bool) {
	for _, d := range b.g.Deps(name) {
		if !d.Moves() {
			continue
		}
		moves = true
		s := b.sourceOf(&d)
		if !b.missing[s.warehouse] && !slices.ContainsFunc(out, func(o source) bool { return o.warehouse == s.warehouse }) {
			out = append(out, s)
		}
	}
	return out, moves
}

func (b *builder) sourceOf(d *graph.Dep) source {
	warehouse, registry, repository := BaseWarehouse(d.Base), d.Ref.Registry, d.Ref.Repository
	if d.Parent != "" {
		parent := b.cfg.Find(d.Parent)
		warehouse, registry, repository = ImageWarehouse(d.Parent), parent.Registry, parent.Repository
	}
	return source{warehouse: warehouse, repoURL: repoURL(b.cfg, registry, repository), repo: registry + "/" + repository}
}

// call returns the variables with which an image calls the PromotionTask of its provider. Variables equal to the task's defaults are
// left out.
func (b *builder) call(img *config.Image, sources []source) []Var {
	var vars []Var
	if src := img.Source; src.Host != config.HomeHost(src.Provider) {
		vars = b.apiVars(src)
	}
	return append(vars, taskSpecs[img.Source.Provider].call(img, sources)...)
}

// workflowVars returns the variables for a workflow with inputs.
func workflowVars(img *config.Image, sources []source) []Var {
	src := img.Source.Builder()
	vars := []Var{{repoVar, pathEscape(src.Repo)}, {workflowVar, url.PathEscape(src.Workflow)}, {refVar, text(src.Branch)}}
	return append(vars, inputVars(img, sources)...)
}

// inputVars returns the variable with the inputs of an image, if it has some.
func inputVars(img *config.Image, sources []source) []Var {
	if len(img.Source.Inputs) == 0 {
		return nil
	}
	return []Var{{inputsVar, value(newTemplates(img, sources).object(img.Source.Inputs))}}
}

// pipelineVars returns the variables for a pipeline of GitLab.
func pipelineVars(img *config.Image, sources []source) []Var {
	src := img.Source.Builder()
	vars := []Var{{projectVar, url.PathEscape(src.Repo)}, {refVar, text(src.Branch)}}
	if src.Job != "" || len(src.Variables) > 0 {
		vars = append(vars, Var{variablesVar, value(newTemplates(img, sources).pipelineVariables(src))})
	}
	return append(vars, inputVars(img, sources)...)
}

// pathEscape escapes each segment of a path.
func pathEscape(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}

// templates compiles the values of workflow inputs and pipeline variables into expressions.
type templates struct {
	image     string
	source    *config.Source
	promotion string
	base      string
	digest    string
	prelude   string // binds the variables that base and digest use
	used      bool   // base or digest is used
}

func newTemplates(img *config.Image, sources []source) *templates {
	repoURLs := make(map[string]string, len(sources))
	repos := make(map[string]string, len(sources))
	for _, s := range sources {
		repoURLs[s.warehouse], repos[s.warehouse] = s.repoURL, s.repo
	}
	t := &templates{
		image: literal(img.Name), source: img.Source, promotion: "ctx.promotion",
		prelude: "let image = imageFrom(" + byOrigin(repoURLs) + ", warehouse(" + origin + ")); ",
		base:    "image.RepoURL + ':' + image.Tag",
		digest:  "image.Digest",
	}
	if !maps.Equal(repoURLs, repos) { // the Warehouse watches a mirror, but the build must see the original name
		t.base = byOrigin(repos) + " + ':' + image.Tag"
	}
	return t
}

// byOrigin returns the expression that selects the value for the Warehouse of the Promotion's Freight.
func byOrigin(values map[string]string) string {
	keys := slices.Sorted(maps.Keys(values))
	if first := values[keys[0]]; !slices.ContainsFunc(keys, func(k string) bool { return values[k] != first }) {
		return literal(first)
	}
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = literal(k) + ": " + literal(values[k])
	}
	return "{" + strings.Join(list, ", ") + "}[" + origin + "]"
}

// object compiles values into an expression for a map.
func (t *templates) object(values map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, literal(k)+": "+t.compile(values[k]))
	}
	return t.with("{" + strings.Join(list, ", ") + "}")
}

// pipelineVariables compiles a pipeline's variables into an expression for a list of keys and values, as GitLab's API expects.
func (t *templates) pipelineVariables(src *config.Source) string {
	var list []string
	add := func(key, expression string) {
		list = append(list, "{'key': "+literal(key)+", 'value': "+expression+"}")
	}
	for _, k := range slices.Sorted(maps.Keys(src.Variables)) {
		if k != config.JobVariable || src.Job == "" {
			add(k, t.compile(src.Variables[k]))
		}
	}
	if src.Job != "" {
		add(config.JobVariable, literal(src.Job))
	}
	return t.with("[" + strings.Join(list, ", ") + "]")
}

func (t *templates) with(expression string) string {
	if t.used {
		return t.prelude + expression
	}
	return expression
}

// compile compiles a text with placeholders into an expression.
func (t *templates) compile(s string) string {
	if s == "" {
		return literal("")
	}
	var parts []string
	for _, p := range config.Parts(s) {
		if p.Placeholder != "" {
			parts = append(parts, t.expression(p.Placeholder))
		} else {
			parts = append(parts, literal(p.Text))
		}
	}
	return strings.Join(parts, " + ")
}

func (t *templates) expression(name string) string {
	switch name {
	case "image":
		return t.image
	case "repo":
		return literal(t.source.Repo)
	case "branch":
		return literal(t.source.Branch)
	case "promotion":
		return t.promotion
	case "base":
		t.used = true
		return t.base
	case "digest":
		t.used = true
		return t.digest
	}
	return ""
}
