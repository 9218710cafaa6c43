package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/Masterminds/semver/v3"
	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// minInterval is the shortest poll interval. Kargo accepts shorter ones, but registries would block them.
const minInterval = Duration(5 * time.Second)

// validator checks decoded values, alone and together.
type validator struct {
	*decoder
	cfg    *Config
	root   *yaml.Node
	images *yaml.Node
	owners map[string]string // label to owner
}

func (v *validator) run() {
	v.factory(child(v.root, "factory"))
	v.defaults(child(v.root, "defaults"))
	if v.images == nil || v.images.Kind != yaml.SequenceNode {
		return
	}
	if len(v.images.Content) > maxImages {
		v.add(finding.BadValue, v.images, fmt.Sprintf("%d images; at most %d are supported", len(v.images.Content), maxImages), "split the fleet")
		return
	}
	byName := make(map[string]*yaml.Node, len(v.images.Content))
	managed := make(map[string]int, len(v.images.Content))
	for i := range v.cfg.Images {
		img, n := &v.cfg.Images[i], v.images.Content[i]
		if n.Tag == "!!null" {
			v.add(finding.Missing, n, fmt.Sprintf("images[%d] is empty", i), "remove the dash")
		}
		if n.Kind != yaml.MappingNode {
			continue // reported by the decoder
		}
		v.image(img, n)
		if img.Name == "" {
			continue
		}
		name := child(n, "name")
		img.Line, img.Column = name.Line, name.Column
		if first := byName[img.Name]; first == name {
			v.add(finding.Duplicate, n, fmt.Sprintf("entry %q appears more than once in the list, through an alias", img.Name), "names must be unique")
		} else if first != nil {
			v.add(finding.Duplicate, name, fmt.Sprintf("name %q is taken by the entry on line %d", img.Name, first.Line), "names must be unique")
		} else {
			byName[img.Name] = name
		}
		v.sharedRepository(img, i, name, managed)
	}
}

// sharedRepository reports two managed images that publish the same tags of one repository.
func (v *validator) sharedRepository(img *Image, i int, at *yaml.Node, managed map[string]int) {
	if !img.Managed() || img.Repository == "" {
		return
	}
	registry, repository := hostname.Repository(v.registryOf(img), img.Repository)
	key := registry + "/" + repository
	first, taken := managed[key]
	if !taken {
		managed[key] = i
		return
	}
	if other := &v.cfg.Images[first]; other.Tags == nil || img.Tags == nil {
		v.add(finding.Duplicate, at, fmt.Sprintf("images %q and %q both publish to %s", other.Name, img.Name, key), "set `tags` on both to tell their tags apart")
	}
}

func (v *validator) factory(n *yaml.Node) {
	f := &v.cfg.Factory
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	if f.Project != "" {
		v.label(child(n, "project"), "factory.project", f.Project, 63)
	}
	if state := child(n, "state"); f.State.URL != "" {
		v.check(child(state, "url"), "factory.state.url", checkStateURL(f.State.URL))
	}
	v.branch(child(child(n, "state"), "branch"), "factory.state.branch", f.State.Branch)
	v.relative(child(child(n, "state"), "path"), "factory.state.path", f.State.Path)
	v.branch(child(child(n, "config"), "ref"), "factory.config.ref", f.Config.Ref)
	v.file(child(child(n, "config"), "path"), "factory.config.path", f.Config.Path)
	if f.AnalysisImage != "" {
		_, err := reference.ParseNormalizedNamed(f.AnalysisImage)
		v.check(child(n, "analysisImage"), "factory.analysisImage", err)
	}
	if f.Schedule != "" {
		v.check(child(n, "schedule"), "factory.schedule", checkSchedule(f.Schedule))
	}
	v.windows(child(n, "windows"), "factory.windows", f.Windows)
	poll := child(n, "poll")
	v.interval(child(poll, "baseImages"), "factory.poll.baseImages", f.Poll.BaseImages)
	v.interval(child(poll, "images"), "factory.poll.images", f.Poll.Images)
	if f.MaxConcurrent != nil && *f.MaxConcurrent < 1 {
		v.add(finding.BadValue, child(n, "maxConcurrentRebuilds"), "factory.maxConcurrentRebuilds: want at least 1", "")
	}
	if f.ReportURL != "" {
		v.check(child(n, "reportURL"), "factory.reportURL", checkPageURL(f.ReportURL))
	}
	v.lint(child(n, "lint"))
	v.registries(child(n, "registries"))
	v.trust(child(n, "trust"))
	v.scan(child(n, "scan"))
	v.notify(child(n, "notify"))
	v.receivers(child(n, "webhookReceivers"), f.Receivers)
	v.jobs(child(n, "jobs"))
	v.pullRequests(child(n, "pullRequests"))
	v.metrics(child(n, "metrics"), child(child(n, "jobs"), "env"))
	mirrors := child(n, "mirrors")
	v.hosts(mirrors, "factory.mirrors")
	for host, list := range f.Mirrors {
		v.check(keyNode(mirrors, host), "factory.mirrors", checkRegistry(host))
		for i, m := range list {
			v.check(item(child(mirrors, host), i), fmt.Sprintf("factory.mirrors.%s[%d]", host, i), checkMirror(m))
		}
	}
	credentials := child(n, "credentials")
	v.hosts(credentials, "factory.credentials")
	for host, c := range f.Credentials {
		at := child(credentials, host)
		v.check(keyNode(credentials, host), "factory.credentials", checkHost(host))
		v.secret(child(at, "git"), "factory.credentials."+host+".git", c.Git)
		v.secret(child(at, "api"), "factory.credentials."+host+".api", c.API)
		v.secret(child(at, "registry"), "factory.credentials."+host+".registry", c.Registry)
		v.app(child(at, "app"), host, c)
	}
}

// app checks a GitHub App and that its host is GitHub's, as far as the entries say.
func (v *validator) app(n *yaml.Node, host string, c Credential) {
	if c.App == nil {
		return
	}
	at := "factory.credentials." + host + ".app"
	if c.App.Secret == "" {
		v.missing(n, "secret", at+": secret is missing")
	} else {
		v.check(child(n, "secret"), at+".secret", firstProblem(c.App.Secret, validation.IsDNS1123Subdomain(c.App.Secret)))
	}
	if c.API != nil {
		v.add(finding.BadValue, orNode(n, v.root), at+": api is set too", "remove api: the token of the App is used instead")
	}
	for i := range v.cfg.Images {
		if s := v.cfg.Images[i].Source; s != nil && s.Host == host && s.Provider != GitHub && s.Provider.known() {
			v.add(finding.BadValue, orNode(n, v.root), fmt.Sprintf("%s: only GitHub has Apps, but %q is built at %s with the provider %s", at, v.cfg.Images[i].Name, host, s.Provider), "")
			return
		}
	}
}

// hosts reports keys that are two spellings of one host.
func (v *validator) hosts(n *yaml.Node, at string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		host := hostname.Normalize(key.Value)
		if other := first[host]; other != nil && other.Value != key.Value {
			v.add(finding.Duplicate, key, fmt.Sprintf("%s: %q is the same host as %q on line %d", at, key.Value, other.Value, other.Line), "keep one of them")
			continue
		}
		first[host] = key
	}
}

func (v *validator) secret(n *yaml.Node, at string, s *SecretKey) {
	if s == nil || n == nil {
		return
	}
	if s.Secret == "" || s.Key == "" {
		v.add(finding.Missing, n, at+": want both secret and key", "")
		return
	}
	if len(validation.IsDNS1123Subdomain(s.Secret)) > 0 {
		v.add(finding.BadValue, child(n, "secret"), fmt.Sprintf("%s.secret: invalid name of a Secret %q", at, s.Secret), "use lower case letters, digits, dashes and dots")
	}
	if len(validation.IsConfigMapKey(s.Key)) > 0 {
		v.add(finding.BadValue, child(n, "key"), fmt.Sprintf("%s.key: invalid key of a Secret %q", at, s.Key), "use letters, digits, dashes, dots and _")
	}
}

func (v *validator) defaults(n *yaml.Node) {
	d := &v.cfg.Defaults
	if n == nil {
		return
	}
	v.registry(child(n, "registry"), "defaults.registry", d.Registry)
	v.policy(child(n, "rebuildPolicy"), "defaults.rebuildPolicy", d.RebuildPolicy)
	v.urgent(child(n, "urgent"), "defaults.urgent", d.Urgent)
	v.owned(n, "defaults.", d.Owner, d.Labels)
	if src := child(n, "source"); src != nil {
		v.provider(child(src, "provider"), "defaults.source.provider", d.Source.Provider)
		if d.Source.Host != "" {
			v.check(child(src, "host"), "defaults.source.host", checkHost(d.Source.Host))
		}
		v.branch(child(src, "branch"), "defaults.source.branch", d.Source.Branch)
		v.workflow(child(src, "workflow"), "defaults.source.workflow", d.Source.Workflow)
		v.platforms(child(src, "platforms"), "defaults.source.platforms", d.Source.Platforms)
		v.pinsWay(child(src, "updatePins"), "defaults.source.updatePins", d.Source.UpdatePins)
	}
}

func (v *validator) image(img *Image, n *yaml.Node) {
	at := "image"
	if img.Name == "" {
		v.missing(n, "name", "every entry needs a name")
	} else {
		at = img.Name
		v.label(child(n, "name"), "name", img.Name, maxNameLength)
	}
	v.registry(child(n, "registry"), at+": registry", img.Registry)
	if img.Repository == "" {
		v.missing(n, "repository", fmt.Sprintf("image %q has no repository", img.Name))
	} else if message, fix := v.repository(img); message != "" {
		v.add(finding.BadValue, child(n, "repository"), at+": "+message, fix)
	}
	v.policy(child(n, "rebuildPolicy"), at+": rebuildPolicy", img.RebuildPolicy)
	if img.RebuildDelay != nil && img.MaxRebuildDelay != nil && *img.MaxRebuildDelay < *img.RebuildDelay {
		v.add(finding.BadValue, child(n, "maxRebuildDelay"), fmt.Sprintf("%s: maxRebuildDelay %s is shorter than rebuildDelay %s", at, img.MaxRebuildDelay, img.RebuildDelay), "")
	}
	v.urgent(child(n, "urgent"), at+": urgent", img.Urgent)
	v.windows(child(n, "windows"), at+": windows", img.Windows)
	v.owned(n, at+": ", img.Owner, img.Labels)
	if tags := child(n, "tags"); tags != nil && img.Tags != nil && tags.Kind != yaml.SequenceNode {
		v.tags(tags, at+": tags", img.Tags)
	}
	if src := child(n, "source"); src != nil && src.Kind == yaml.MappingNode {
		v.source(img, src, at+": source")
	} else if img.Source == nil && img.AutoRebuild != nil && *img.AutoRebuild {
		v.add(finding.Missing, child(n, "autoRebuild"), fmt.Sprintf("%s: autoRebuild without source: an external image is never rebuilt", at), "add source, or remove autoRebuild")
	}
}

// registryOf returns the registry of an entry, as it is written or by default.
func (v *validator) registryOf(img *Image) string {
	return cmp.Or(img.Registry, v.cfg.defaultRegistry(img.Managed()))
}

// repository checks that the repository is only a path: without registry, tag or digest.
func (v *validator) repository(img *Image) (message, fix string) {
	const want = "want a path such as owner/name, without registry and tag"
	text := img.Repository
	if _, rest, isURL := strings.Cut(text, "://"); isURL {
		return "repository " + shown(text) + " contains a scheme", suggestRegistry(rest)
	}
	if host, _, ok := strings.Cut(text, "/"); ok && v.isHost(host, img) {
		return fmt.Sprintf("repository %s begins with the registry %q", shown(text), host), suggestRegistry(text)
	}
	name, tag, digest := splitTag(text)
	switch _, err := reference.WithName("registry.invalid/" + name); {
	case err != nil && strings.ToLower(name) != name:
		return fmt.Sprintf("invalid repository %s: upper case letters", shown(text)), want
	case err != nil:
		return fmt.Sprintf("invalid repository %s", shown(text)), want
	case digest:
		return "repository " + shown(text) + " contains a digest", "set repository: " + name + "; the entry follows a tag: `tags`"
	case tag != "":
		return "repository " + shown(text) + " contains a tag", fmt.Sprintf("set repository: %s and tags: %q", name, tag)
	}
	return "", ""
}

// publicRegistry matches well-known registries. As the first folder of a repository in another registry they only occur in caches.
var publicRegistry = lazy.Regexp(`(?i)^(([-\w.]+\.)?docker\.(io|com)|ghcr\.io|quay\.io|([-\w]+\.)?gcr\.io|[-\w]+-docker\.pkg\.dev|mcr\.microsoft\.com|` +
	`public\.ecr\.aws|registry\.k8s\.io|registry\.gitlab\.com|[-\w]+\.azurecr\.io|[-\w.]+\.amazonaws\.com)$`)

// isHost reports whether the first element of a repository is a registry. A dot alone is not enough: private registries that
// cache others often use their hosts as folder names. Docker Hub and GitHub have no such folders, and no managed image is
// published to a cache.
func (v *validator) isHost(first string, img *Image) bool {
	registry := hostname.Normalize(v.registryOf(img))
	switch {
	case strings.Contains(first, ":"), first == "localhost", hostname.Normalize(first) == registry:
		return true
	case !strings.Contains(first, "."):
		return false
	}
	return registry == DefaultExternalReg || registry == DefaultRegistry || img.Managed() && publicRegistry().MatchString(first)
}

// suggestRegistry returns a hint that splits a reference into the keys of an entry.
func suggestRegistry(text string) string {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil || strings.ContainsAny(text, "@?#") { // it may contain a password
		return "set registry to the host, and repository to the path after it"
	}
	registry, repository := hostname.Repository(reference.Domain(named), reference.Path(named))
	fix := fmt.Sprintf("set registry: %s and repository: %s", registry, repository)
	if t, ok := named.(reference.Tagged); ok {
		fix += fmt.Sprintf(" and tags: %q", t.Tag())
	}
	return fix
}

// splitTag splits a tag and a digest from the path of a reference.
func splitTag(text string) (name, tag string, digest bool) {
	name, _, digest = strings.Cut(text, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name, tag = name[:at], name[at+1:]
	}
	return name, tag, digest
}

func (v *validator) tags(n *yaml.Node, at string, t *Tags) {
	switch t.Strategy {
	case SemVer:
		if t.Constraint != "" {
			_, err := semver.NewConstraint(t.Constraint)
			v.check(child(n, "constraint"), at+".constraint", err)
		}
	case Digest:
		if !tagPattern().MatchString(t.Constraint) {
			v.add(finding.BadValue, n, fmt.Sprintf("%s: strategy Digest follows one tag: invalid tag %q", at, t.Constraint), "set constraint to the tag")
		}
	case NewestBuild, Lexical:
	case "":
		v.missing(n, "strategy", at+": strategy is missing")
	default:
		names := []string{string(SemVer), string(Digest), string(NewestBuild), string(Lexical)}
		v.add(finding.BadValue, child(n, "strategy"), fmt.Sprintf("%s: unknown strategy %q", at, t.Strategy), suggest(string(t.Strategy), names))
	}
	for key, list := range map[string][]string{"allow": t.Allow, "ignore": t.Ignore} {
		for i, re := range list {
			_, err := regexp.Compile(re)
			v.check(item(child(n, key), i), fmt.Sprintf("%s.%s[%d]", at, key, i), err)
		}
	}
}

var (
	tagPattern   = lazy.Regexp(`^[\w][\w.-]{0,127}$`)
	ownerRepo    = lazy.Regexp(`^[A-Za-z0-9][-A-Za-z0-9_.]*/[A-Za-z0-9_.][-A-Za-z0-9_.]*$`)
	gitPath      = lazy.Regexp(`^[-A-Za-z0-9_.~+/]+$`)
	groupProject = lazy.Regexp(`^[A-Za-z0-9_][-A-Za-z0-9_.]*(/[A-Za-z0-9_][-A-Za-z0-9_.]*)+$`)
	platformForm = lazy.Regexp(`(?i)^[a-z0-9]+(\([0-9]+(\.[0-9]+)*\))?/[-a-z0-9_]+(/[a-z0-9.]+)?$`)
	placeholder  = lazy.Regexp(`\{\{([^{}]*)\}\}`)
	hostForm     = lazy.Regexp(`^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	workflowForm = lazy.Regexp(`^[A-Za-z0-9_.][-A-Za-z0-9_. ]*$`)
	variableForm = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// placeholders are the names that workflow inputs and pipeline variables may use between double braces.
var placeholders = []string{"image", "base", "digest", "promotion", "repo", "branch", lockPlaceholder}

func (v *validator) source(img *Image, n *yaml.Node, at string) {
	s := img.Source
	effective := *s
	effective.applyDefaults(&v.cfg.Defaults.Source)
	if effective.Provider == "" {
		v.missing(n, "provider", at+": provider is missing")
		return
	}
	v.provider(child(n, "provider"), at+".provider", s.Provider)
	if s.Host != "" {
		v.check(child(n, "host"), at+".host", checkHost(s.Host))
	}
	v.repo(n, at, &effective)
	v.branch(child(n, "branch"), at+".branch", s.Branch)
	v.file(child(n, "dockerfile"), at+".dockerfile", s.Dockerfile)
	v.build(n, at, s)
	v.platforms(child(n, "platforms"), at+".platforms", s.Platforms)
	v.updatePins(n, at, s, &effective)
	if key := effective.MissingKey(); key != "" && (img.AutoRebuild == nil || *img.AutoRebuild) {
		v.missing(n, key, at+": "+key+" is missing, so no rebuild can be started")
	}
	v.workflow(child(n, "workflow"), at+".workflow", s.Workflow)
	v.workflowRepo(n, at, &effective)
	v.providerKeys(n, at, effective.Provider)
	if strings.ContainsFunc(s.Job, unicode.IsControl) {
		v.add(finding.BadValue, child(n, "job"), fmt.Sprintf("%s.job: invalid job name %q", at, s.Job), "")
	}
	v.templates(child(n, "inputs"), at+".inputs", s.Inputs)
	v.templates(child(n, "variables"), at+".variables", s.Variables)
	for name := range s.Variables {
		if !variableForm().MatchString(name) {
			v.add(finding.BadValue, keyNode(child(n, "variables"), name), fmt.Sprintf("%s.variables: invalid variable name %q", at, name), "want letters, digits and _")
		}
	}
	v.webhook(child(n, "webhook"), at+".webhook", s.Webhook)
	v.noSecrets(child(n, "inputs"), at+".inputs", s.Inputs)
	v.noSecrets(child(n, "variables"), at+".variables", s.Variables)
	v.noSecrets(child(n, "buildArgs"), at+".buildArgs", s.BuildArgs)
	for name := range s.BuildArgs {
		if name == "" || strings.ContainsAny(name, "=\n") {
			v.add(finding.BadValue, keyNode(child(n, "buildArgs"), name), fmt.Sprintf("%s.buildArgs: invalid name of a build argument %q", at, name), "")
		}
	}
}

// noSecrets reports values that have the form of a token. Their names tell nothing: an input may be the name of a Secret.
func (v *validator) noSecrets(n *yaml.Node, at string, values map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if holdsSecret("", values[name]) {
			v.add(finding.BadValue, orNode(child(n, name), n), fmt.Sprintf("%s.%s: a secret does not belong into images.yaml", at, name), "let the build read it from a secret of the forge")
		}
	}
}

func (v *validator) repo(n *yaml.Node, at string, s *Source) {
	node, t := orNode(child(n, "repo"), n), s.Provider.traits()
	bad := func(why, fix string) {
		v.add(finding.BadValue, node, fmt.Sprintf("%s.repo: %s", at, why), fix)
	}
	switch {
	case s.Repo == "":
		v.missing(n, "repo", at+": repo is missing")
	case hasDots(s.Repo):
		bad(shown(s.Repo)+" contains a . or .. as part of its path", "")
	case !s.Provider.known(): // reported already
	case t.repo != nil && !t.repo().MatchString(s.Repo):
		bad("invalid "+t.repoNoun+" "+shown(s.Repo), t.repoFix)
	case t.repo != nil:
		if s.Host == "" {
			v.missing(n, "host", at+": host is missing (provider "+string(s.Provider)+" has no public server)")
		}
	case strings.Contains(s.Repo, "://"):
		v.check(node, at+".repo", checkRepoURL(s.Repo))
	case s.Host == "" && !strings.HasPrefix(s.Repo, "/"):
		v.missing(n, "host", at+": host is missing (provider "+string(s.Provider)+" needs a URL in repo, or host and a path in repo)")
	case !strings.HasPrefix(s.Repo, "/") && !gitPath().MatchString(s.Repo):
		bad("invalid path of a repository "+shown(s.Repo), "want a path on host, such as group/project")
	}
}

func (v *validator) workflowRepo(n *yaml.Node, at string, s *Source) {
	v.branch(child(n, "workflowBranch"), at+".workflowBranch", s.WorkflowBranch)
	t := s.Provider.traits()
	switch {
	case s.WorkflowRepo == "" && s.WorkflowBranch != "":
		v.missing(n, "workflowRepo", at+": workflowBranch is set without workflowRepo")
	case s.WorkflowRepo != "" && t.repo != nil && (hasDots(s.WorkflowRepo) || !t.repo().MatchString(s.WorkflowRepo)):
		v.add(finding.BadValue, child(n, "workflowRepo"), at+".workflowRepo: invalid "+t.repoNoun+" "+shown(s.WorkflowRepo), "want a repository at the host of the Dockerfile, written as repo is")
	}
}

// providerKeys reports keys that do not apply to the entry's provider.
func (v *validator) providerKeys(n *yaml.Node, at string, p Provider) {
	if !p.known() {
		return
	}
	accepted := p.traits().keys
	for _, key := range []string{"workflow", "workflowRepo", "workflowBranch", "inputs", "job", "variables", "webhook", "updatePins", "pinFiles"} {
		if k := keyNode(n, key); k != nil && !slices.Contains(accepted, key) {
			v.add(finding.BadValue, k, fmt.Sprintf("%s.%s: only for provider %s, but the provider is %s", at, key, strings.Join(startingProviders(key), " or "), p), "")
		}
	}
}

func (v *validator) templates(n *yaml.Node, at string, values map[string]string) {
	for key, value := range values {
		v.unknownPlaceholders(orNode(child(n, key), n), at+"."+key, value, placeholders)
	}
}

// unknownPlaceholders reports the placeholders of a text that are not known.
func (v *validator) unknownPlaceholders(n *yaml.Node, at, text string, known []string) {
	for _, m := range placeholder().FindAllStringSubmatch(text, -1) {
		if name := strings.TrimSpace(m[1]); !slices.Contains(known, name) {
			v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown placeholder %q", at, m[0]), suggest(name, known))
		}
	}
}

func (v *validator) workflow(n *yaml.Node, at, name string) {
	if name != "" && (!workflowForm().MatchString(name) || strings.Trim(name, ". ") == "") {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: invalid workflow file name %q", at, name), "want the name of a file in .github/workflows or .gitea/workflows, such as build.yml")
	}
}

func (v *validator) provider(n *yaml.Node, at string, p Provider) {
	if p != "" && !p.known() {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown provider %q", at, p), suggest(string(p), texts(Providers())))
	}
}

func (v *validator) policy(n *yaml.Node, at string, p RebuildPolicy) {
	if p != "" && p != Mature && p != Settle {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown policy %q", at, p), suggest(string(p), []string{string(Mature), string(Settle)}))
	}
}

func (v *validator) platforms(n *yaml.Node, at string, list []string) {
	for i, p := range list {
		if !platformForm().MatchString(p) {
			v.add(finding.BadValue, item(n, i), fmt.Sprintf("%s[%d]: invalid platform %q", at, i, p), "want os/arch, such as linux/arm64 or windows(10.0.20348)/amd64")
		}
	}
}

func (v *validator) registry(n *yaml.Node, at, host string) {
	if host != "" {
		v.check(n, at, checkRegistry(host))
	}
}

func (v *validator) interval(n *yaml.Node, at string, d *Duration) {
	if d != nil && *d < minInterval {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %s is too short", at, d), "want at least "+minInterval.String())
	}
}

// branch checks a branch name against the relevant rules of git check-ref-format, so that it is safe in URLs and commands.
func (v *validator) branch(n *yaml.Node, at, name string) {
	if name != "" && badBranch(name) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: invalid branch name %q", at, name), "")
	}
}

func badBranch(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return true
		}
	}
	return name == "@" || name == "HEAD" || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") ||
		strings.Contains(name, "@{") || strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

func (v *validator) relative(n *yaml.Node, at, p string) {
	if p != "" && (path.IsAbs(p) || slices.Contains(strings.Split(p, "/"), "..") || strings.Contains(p, `\`) || strings.ContainsFunc(p, unicode.IsControl)) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %q is not a path inside the repository", at, p), "want a relative path with / and without ..")
	}
}

// file is like relative, but also rejects folders.
func (v *validator) file(n *yaml.Node, at, p string) {
	if strings.HasSuffix(p, "/") || p != "" && path.Clean(p) == "." {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %q is a folder", at, p), "want the path of a file")
		return
	}
	v.relative(n, at, p)
}

func (v *validator) check(n *yaml.Node, at string, err error) {
	if err != nil {
		v.add(finding.BadValue, orNode(n, v.root), fmt.Sprintf("%s: %v", at, err), "")
	}
}

// missing reports a missing or empty key. The decoder has already reported a value of another type.
func (v *validator) missing(n *yaml.Node, key, message string) {
	if c := child(n, key); c != nil && c.Kind != yaml.ScalarNode {
		return
	}
	v.add(finding.Missing, n, message, fmt.Sprintf("add %q", key))
}

// hasDots reports whether an element of a path, plain or URL-escaped, is . or .. .
func hasDots(p string) bool {
	if plain, err := url.PathUnescape(p); err == nil {
		p = plain
	}
	parts := strings.Split(p, "/")
	return slices.Contains(parts, "..") || slices.Contains(parts, ".")
}

// label checks a value that becomes part of the names of Kubernetes objects.
func (v *validator) label(n *yaml.Node, at, name string, longest int) {
	switch {
	case len(name) > longest:
		v.add(finding.BadValue, n, fmt.Sprintf("invalid %s %q: %d characters, at most %d are allowed", at, name, len(name), longest), "")
	case len(validation.IsDNS1123Label(name)) > 0:
		fix := "use lower case letters, digits and dashes"
		if near := notInLabel().ReplaceAllString(strings.ToLower(name), "-"); len(validation.IsDNS1123Label(near)) == 0 {
			fix += fmt.Sprintf(": did you mean %q?", near)
		}
		v.add(finding.BadValue, n, fmt.Sprintf("invalid %s %q", at, name), fix)
	}
}

var notInLabel = lazy.Regexp(`[^a-z0-9]+`)

func checkHost(host string) error {
	if strings.Contains(host, "://") {
		return errors.New("want a host without scheme") // not shown: a URL may contain a password
	}
	if name, rest, isPath := strings.Cut(host, "/"); isPath && hostForm().MatchString(name) && !strings.ContainsAny(rest, "@?#") {
		return fmt.Errorf("%q is a path: want the host %q alone", host, name)
	}
	if len(host) > 255 || !hostForm().MatchString(host) || strings.Contains(host, "..") {
		return fmt.Errorf("invalid host %s", shown(host))
	}
	if _, port, ok := strings.Cut(host, ":"); ok {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("invalid port in host %q", host)
		}
	}
	return nil
}

// checkRegistry accepts hosts that Docker recognises as a registry in a reference.
func checkRegistry(host string) error {
	if err := checkHost(host); err != nil {
		return err
	}
	if !hostname.IsRegistry(host) {
		return fmt.Errorf("invalid registry %q: without a dot or a port it would be a Docker Hub namespace; want a host such as registry.example.com or %s:5000", host, host)
	}
	return nil
}

// checkMirror accepts a registry, or a registry with a path prefix for all repositories.
func checkMirror(m string) error {
	if strings.Contains(m, "://") {
		return checkHost(m)
	}
	host, prefix, _ := strings.Cut(strings.TrimRight(m, "/"), "/")
	if err := checkRegistry(host); err != nil || prefix == "" {
		return err
	}
	if _, err := reference.WithName("registry.invalid/" + prefix); err != nil {
		return fmt.Errorf("invalid path %q: %w", prefix, err)
	}
	return nil
}

// checkStateURL accepts http(s) URLs only: the Jobs reach the repository over the network.
func checkStateURL(s string) error {
	if u, err := url.Parse(s); err == nil && u.Scheme == "file" {
		return fmt.Errorf("%s: want an https URL", shown(s))
	}
	return checkRepoURL(s)
}

// checkPageURL accepts http(s) URLs without credentials and fragment. A brace could begin a template in Kargo.
func checkPageURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "", strings.ContainsAny(s, "{}#<>\"' "):
		return fmt.Errorf("invalid URL %s: want one such as https://acme.example/images/", shown(s))
	case u.User != nil:
		return fmt.Errorf("the URL of host %q contains credentials", u.Host)
	}
	return nil
}

// shown quotes a value unless it may contain a password. git@host:path contains none.
func shown(value string) string {
	user, _, found := strings.Cut(value, "@")
	if found && strings.Contains(user, ":") || strings.ContainsAny(value, "?#") {
		return "(not shown: it may contain a password)"
	}
	return strconv.Quote(value)
}

// checkRepoURL accepts http(s) and file URLs without credentials, which belong into Secrets.
func checkRepoURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("invalid URL %s", shown(s))
	case u.User != nil:
		return fmt.Errorf("the URL of host %q contains credentials; reference a Secret in factory.credentials instead", u.Host)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file":
		return fmt.Errorf("%s: want an https URL", shown(s))
	case hasDots(u.Path):
		return fmt.Errorf("%s contains a . or .. as part of its path", shown(s))
	case u.Scheme != "file" && u.Host == "", u.Path == "", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("%s: want a URL such as https://github.com/owner/repo.git", shown(s))
	}
	return nil
}

// keyNode returns the node of the key itself, or nil.
func keyNode(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return nil
}

func item(n *yaml.Node, i int) *yaml.Node {
	if n == nil || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}

func orNode(n, fallback *yaml.Node) *yaml.Node {
	if n != nil {
		return n
	}
	return fallback
}
