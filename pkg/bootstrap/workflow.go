package bootstrap

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// WorkflowOptions configure [NewWorkflow].
type WorkflowOptions struct {
	Release string   // of imagefactory whose action or component fetches the lock, such as v1.2.3
	Commit  string   // of that release, if it is known
	Context string   // folder of the repository that is the build context
	Tags    []string // tags that a build publishes; default: the one that the entry follows
	Dir     string   // a checkout of the repository, if there is one: the file goes into a folder of workflows that it has

	actions map[string]string // versions of the present file, by name of the action
}

// Workflow is a CI configuration that builds an image with its lock.
type Workflow struct {
	Path    string // in the repository of the image
	Content []byte
	Notes   []string // what to change in images.yaml, so that it is used
}

// workflowBuilder makes the CI configuration for the images that one workflow or project builds.
type workflowBuilder struct {
	WorkflowOptions
	file     string
	fleet    *fleet.Fleet
	location kargo.Options
	images   []*config.Image // that the workflow builds; the wanted one alone at GitLab
	notes    []string
}

// Or returns the options, with those of present for the ones that are not set.
func (o WorkflowOptions) Or(present WorkflowOptions) WorkflowOptions {
	if o.Release == "" {
		o.Release, o.Commit = present.Release, cmp.Or(o.Commit, present.Commit)
	}
	o.Context = cmp.Or(o.Context, present.Context, ".")
	if len(o.Tags) == 0 {
		o.Tags = present.Tags
	}
	o.actions = maps.Clone(present.actions)
	if o.Release != present.Release || o.Commit != present.Commit {
		delete(o.actions, ownAction)
	}
	return o
}

// WorkflowPath returns the path of the file that [NewWorkflow] returns, in the repository of the image. dir is a checkout of it, or "".
func WorkflowPath(f *fleet.Fleet, name, dir string) (string, error) {
	img, err := f.Image(name)
	if err != nil {
		return "", err
	}
	switch {
	case !img.Managed():
		return "", fleet.Usagef("%q is an external image: it is not built here, so it has no workflow", name)
	case formatOf(img.Source.Provider).path == nil:
		return "", fleet.Usagef("%q: source.provider is %s, which runs no workflows", name, img.Source.Provider)
	case img.Source.MissingKey() != "": // workflow
		return "", fleet.Usagef("%q: source.workflow is not set, so its workflow has no file name", name)
	}
	if repo := img.Source.WorkflowRepo; repo != "" {
		return "", fleet.Usagef("%q: its workflow is in %s (source.workflowRepo), and only workflows next to the Dockerfile can be written; write it yourself", name, repo)
	}
	return formatOf(img.Source.Provider).path(img, dir), nil
}

// format is the CI configuration of a provider.
type format struct {
	path   func(img *config.Image, dir string) string
	write  func(*workflowBuilder, *config.Image) (*Workflow, error)
	tag    string // one that grows with each build
	shared bool   // several images may have the same file
}

// formatOf returns the format of a provider; without a path for one that runs no workflows.
func formatOf(p config.Provider) format {
	return map[config.Provider]format{
		config.GitHub: {workflowFile, (*workflowBuilder).gitHub, "1.0.${{ github.run_number }}", true},
		config.GitLab: {func(img *config.Image, _ string) string { return gitLabWorkflow(img.Name) }, (*workflowBuilder).gitLab, "1.0.$CI_PIPELINE_IID", false},
		config.Gitea:  {workflowFile, (*workflowBuilder).gitHub, "1.0.${{ github.run_number }}", true},
	}[p]
}

// workflowFile returns the path of a workflow file: in the first folder that the checkout has of those in which the forge looks for
// one, by default in the folder named after the provider.
func workflowFile(img *config.Image, dir string) string {
	folder := "." + string(img.Source.Provider) + "/workflows"
	for _, candidate := range img.Source.Provider.WorkflowFolders() {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(candidate))); dir != "" && err == nil && info.IsDir() {
			folder = candidate
			break
		}
	}
	return path.Join(folder, img.Source.Workflow)
}

// NewWorkflow returns the CI configuration that builds an image as it is enrolled. A GitHub workflow has a job for each image
// that it builds.
func NewWorkflow(f *fleet.Fleet, name string, o WorkflowOptions) (*Workflow, error) {
	file, err := WorkflowPath(f, name, o.Dir)
	if err != nil {
		return nil, err
	}
	if err := checkRelease(o.Release); err != nil {
		return nil, err
	}
	if o.Commit != "" && !commitForm().MatchString(o.Commit) {
		return nil, fleet.Usagef("invalid commit %q: want its 40 hexadecimal digits", o.Commit)
	}
	img := f.Config.Find(name)
	location, err := f.Location()
	if err != nil {
		return nil, err
	}
	b := &workflowBuilder{WorkflowOptions: o, file: file, fleet: f, location: location, images: []*config.Image{img}}
	format := formatOf(img.Source.Provider)
	if !format.shared {
		return format.write(b, img)
	}
	b.images = nil
	for i := range f.Config.Images {
		if x := &f.Config.Images[i]; x.Managed() && sameWorkflow(x.Source, img.Source) {
			b.images = append(b.images, x)
		}
	}
	return format.write(b, img)
}

func sameWorkflow(a, b *config.Source) bool {
	return a.Provider == b.Provider && a.Host == b.Host && a.Repo == b.Repo && a.Branch == b.Branch && a.Workflow == b.Workflow && b.WorkflowRepo == "" && a.WorkflowRepo == ""
}

// note adds a note once.
func (b *workflowBuilder) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

// render returns the Workflow of an image with a value as YAML.
func (b *workflowBuilder) render(name string, value any) (*Workflow, error) {
	data, err := yamlenc.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing the workflow of %q: %w", name, err)
	}
	header, err := b.header(name)
	if err != nil {
		return nil, err
	}
	return &Workflow{Path: b.file, Content: []byte(header + "\n" + b.withVersions(string(data))), Notes: b.notes}, nil
}

// checkBuild returns an error if an image cannot be built as a workflow with BuildKit on Linux does.
func (b *workflowBuilder) checkBuild(img *config.Image) error {
	if file, _ := img.Source.BuildFile(); file != "" && b.Context != "." {
		return fleet.Usagef("%q: %s says its build context: leave --context out", img.Name, file)
	}
	if i := slices.IndexFunc(img.Source.Platforms, func(p string) bool { return !strings.HasPrefix(p, "linux/") }); i >= 0 {
		return fleet.Usagef("%q: platform %s is not built on a Linux runner; write its workflow yourself", img.Name, img.Source.Platforms[i])
	}
	own := img.Source.Written()
	for _, list := range []map[string]string{own.BuildArgs, own.BuildContexts} {
		for _, key := range slices.Sorted(maps.Keys(list)) {
			if strings.TrimSpace(key) != key || strings.ContainsAny(key, "=\"\r\n") {
				return fleet.Usagef("%q: a workflow cannot pass the build argument or context %q: its name contains =, a quote or a line break, or has spaces around it", img.Name, key)
			}
			if value := list[key]; strings.TrimSpace(value) != value || strings.ContainsAny(value, "\r\n") || strings.Contains(value, `,"`) {
				return fleet.Usagef("%q: a workflow cannot pass the value of %s: it contains a line break or a quote after a comma, or has spaces around it", img.Name, key)
			}
		}
	}
	if !img.Source.PinsBases() {
		b.note("%s: set source.pinBases: true once this workflow is used, so that its build is expected to use the lock", img.Name)
	}
	return nil
}

// references returns the references that a build of an image publishes. Only a tag of the command line may contain expressions
// of the CI system.
func (b *workflowBuilder) references(img *config.Image) ([]string, error) {
	tags := b.Tags
	if len(tags) == 0 {
		rule, known := graph.TagsOf(img, b.fleet.State.Images[img.Name])
		if !known {
			rule = config.Tags{Strategy: config.Digest, Constraint: "latest"}
		}
		if rule.Strategy != config.Digest {
			return nil, fleet.Usagef("%q follows its tags by %s, so each build needs a tag of its own: pass --tag, such as --tag '%s'", img.Name, rule.Strategy, formatOf(img.Source.Provider).tag)
		}
		if _, err := state.ParseRef(img.Ref() + ":" + rule.Constraint); err != nil { // it may come from a state file
			return nil, fleet.Usagef("%q: invalid tag %q in state: pass --tag", img.Name, rule.Constraint)
		}
		tags = []string{rule.Constraint}
		if img.Tags == nil && len(b.images) == 1 { // state may say otherwise later
			b.Tags = tags
		}
	}
	out := make([]string, len(tags))
	for i, tag := range tags {
		out[i] = img.Ref() + ":" + tag
	}
	return out, nil
}

// pairs returns NAME=VALUE for each entry, sorted.
func pairs(values map[string]string) []string {
	out := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+"="+values[name])
	}
	return out
}

// emulated reports whether a platform needs emulation on a runner for linux/amd64.
func emulated(platform string) bool { return platform != "linux/amd64" && platform != "linux/386" }

// lockSource is where the lock of an image is read; empty fields have the defaults of the action.
type lockSource struct{ repository, ref, path, config, configRef string }

// lockFrom returns where a build in the repository of src reads the lock, and whether that is another repository.
func (b *workflowBuilder) lockFrom(src *config.Source) (from lockSource, elsewhere bool, err error) {
	state, err := url.Parse(b.location.StateURL)
	if err != nil {
		return from, false, fmt.Errorf("reading the URL of the state repository: %w", err)
	}
	repo := strings.TrimSuffix(strings.Trim(state.Path, "/"), ".git")
	from.repository = strings.TrimSuffix(b.location.StateURL, ".git")
	if state.Host == src.Host && formatOf(src.Provider).shared { // the action reads its own host
		from.repository = repo
	}
	elsewhere = state.Host != src.Host || repo != src.Repo
	if !elsewhere {
		from.repository = ""
	}
	f := &b.fleet.Config.Factory
	unless := func(value, normal string) string {
		if value == normal {
			return ""
		}
		return value
	}
	branch := cmp.Or(f.State.Branch, config.DefaultBranch)
	from.ref = unless(branch, config.DefaultBranch)
	from.path = unless(path.Clean(b.location.StatePath), config.DefaultStateFolder)
	from.config = unless(b.location.ConfigPath, config.DefaultConfigFile)
	from.configRef = unless(f.Config.Ref, branch)
	return from, elsewhere, nil
}

// ownAction is the action that fetches the lock.
const ownAction = "imagefactory/imagefactory/pin"

// actions are those of others: their commits, with the version as a comment.
var actions = map[string]string{
	"actions/checkout":           "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
	"docker/setup-qemu-action":   "96fe6ef7f33517b61c61be40b68a1882f3264fb8 # v4.2.0",
	"docker/setup-buildx-action": "37fe631027851001ddb9b187196cc803df7f5f0e # v4.3.0",
	"docker/login-action":        "4907a6ddec9925e35a0a9e82d7399ccc52663121 # v4.1.0",
	"docker/build-push-action":   "53b7df96c91f9c12dcc8a07bcb9ccacbed38856a # v7.3.0",
	"docker/bake-action":         "a66e1c87e2eca0503c343edf1d208c716d54b8a8 # v7.1.0",
}

// withVersions adds the versions of actions. Those of the present file stay: a bot may have updated them. Lines of other texts,
// such as build arguments, contain a =.
func (b *workflowBuilder) withVersions(text string) string {
	own := b.Release
	if b.Commit != "" {
		own = b.Commit + " # " + b.Release
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, uses := strings.CutPrefix(strings.TrimLeft(line, " -"), "uses: "); uses && !strings.Contains(line, "=") {
			name = strings.TrimPrefix(name, gitHubActions)
			version := cmp.Or(b.actions[name], actions[name])
			if name == ownAction {
				version = cmp.Or(b.actions[name], own)
			}
			line += "@" + version
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

// verbatim returns s for a place where GitHub evaluates expressions, so that none in s is.
func verbatim(s string) string { return strings.ReplaceAll(s, "${{", "${{ '${{' }}") }

var inputName = lazy.Regexp(`^[A-Za-z_][-A-Za-z0-9_]*$`)

// maxGitHubInputs is the number of inputs that a workflow can declare.
const maxGitHubInputs = 25

var releaseForm = lazy.Regexp(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// checkRelease returns an error for an invalid version of a release.
func checkRelease(release string) error {
	switch {
	case release == "":
		return fleet.Usagef("this imagefactory is not a release: pass the one whose action fetches the lock, such as --release v1.2.3")
	case !releaseForm().MatchString(release):
		return fleet.Usagef("invalid release %q: want a version such as v1.2.3", release)
	}
	return nil
}

// inputsWith returns the names of the inputs or variables whose templates match, sorted.
func inputsWith(templates map[string]string, match *regexp.Regexp) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		if match.MatchString(templates[name]) {
			out = append(out, name)
		}
	}
	return out
}

var (
	onlyImage     = lazy.Regexp(`^\{\{\s*image\s*\}\}$`)
	onlyLock      = lazy.Regexp(`^\{\{\s*lock\s*\}\}$`)
	withPromotion = lazy.Regexp(`\{\{\s*promotion\s*\}\}`)
)
