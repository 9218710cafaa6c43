package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/distribution/reference"
	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// minInterval is the shortest poll interval; Kargo refuses nothing shorter, but a registry would.
const minInterval = Duration(5 * time.Second)

// validator checks what decoding cannot: values that must make sense, alone and together.
type validator struct {
	*decoder
	cfg    *Config
	root   *yaml.Node
	images *yaml.Node
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
		for n.Kind == yaml.AliasNode {
			n = n.Alias
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
		if first := byName[img.Name]; first != nil {
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
	registry := img.Registry
	setDefault(&registry, v.cfg.Defaults.Registry)
	setDefault(&registry, DefaultRegistry)
	key := registry + "/" + img.Repository
	first, taken := managed[key]
	if !taken {
		managed[key] = i
		return
	}
	if other := &v.cfg.Images[first]; other.Tags == nil || img.Tags == nil {
		v.add(finding.Duplicate, at, fmt.Sprintf("images %q and %q both publish to %s", other.Name, img.Name, key), "set `tags` on both to say which tags each publishes")
	}
}

func (v *validator) factory(n *yaml.Node) {
	f := &v.cfg.Factory
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	if f.Project != "" {
		v.check(child(n, "project"), "factory.project", dnsLabel(f.Project, 63))
	}
	if state := child(n, "state"); f.State.URL != "" {
		v.check(child(state, "url"), "factory.state.url", checkStateURL(f.State.URL))
	}
	v.branch(child(child(n, "state"), "branch"), "factory.state.branch", f.State.Branch)
	v.relative(child(child(n, "state"), "path"), "factory.state.path", f.State.Path)
	v.branch(child(child(n, "config"), "ref"), "factory.config.ref", f.Config.Ref)
	v.relative(child(child(n, "config"), "path"), "factory.config.path", f.Config.Path)
	if f.AnalysisImage != "" {
		_, err := reference.ParseNormalizedNamed(f.AnalysisImage)
		v.check(child(n, "analysisImage"), "factory.analysisImage", err)
	}
	if f.Schedule != "" {
		_, err := cron.ParseStandard(f.Schedule)
		v.check(child(n, "schedule"), "factory.schedule", err)
	}
	poll := child(n, "poll")
	v.interval(child(poll, "baseImages"), "factory.poll.baseImages", f.Poll.BaseImages)
	v.interval(child(poll, "images"), "factory.poll.images", f.Poll.Images)
	if f.MaxConcurrent != nil && *f.MaxConcurrent < 1 {
		v.add(finding.BadValue, child(n, "maxConcurrentRebuilds"), "factory.maxConcurrentRebuilds: want at least 1", "")
	}
	v.jobs(valueNode(n, "jobs"))
	mirrors := child(n, "mirrors")
	for host, list := range f.Mirrors {
		v.check(keyNode(mirrors, host), "factory.mirrors", checkHost(host))
		for i, m := range list {
			registry, _, _ := strings.Cut(m, "/")
			if strings.Contains(m, "://") {
				registry = m
			}
			v.check(item(child(mirrors, host), i), fmt.Sprintf("factory.mirrors.%s[%d]", host, i), checkHost(registry))
		}
	}
	credentials := child(n, "credentials")
	for host, c := range f.Credentials {
		at := child(credentials, host)
		v.check(keyNode(credentials, host), "factory.credentials", checkHost(host))
		v.secret(child(at, "git"), "factory.credentials."+host+".git", c.Git)
		v.secret(child(at, "api"), "factory.credentials."+host+".api", c.API)
		v.secret(child(at, "registry"), "factory.credentials."+host+".registry", c.Registry)
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
	v.check(child(n, "secret"), at+".secret", firstProblem(s.Secret, validation.IsDNS1123Subdomain(s.Secret)))
	v.check(child(n, "key"), at+".key", firstProblem(s.Key, validation.IsConfigMapKey(s.Key)))
}

func (v *validator) defaults(n *yaml.Node) {
	d := &v.cfg.Defaults
	if n == nil {
		return
	}
	v.registry(child(n, "registry"), "defaults.registry", d.Registry)
	v.policy(child(n, "rebuildPolicy"), "defaults.rebuildPolicy", d.RebuildPolicy)
	if src := child(n, "source"); src != nil {
		v.provider(child(src, "provider"), "defaults.source.provider", d.Source.Provider)
		if d.Source.Host != "" {
			v.check(child(src, "host"), "defaults.source.host", checkHost(d.Source.Host))
		}
		v.branch(child(src, "branch"), "defaults.source.branch", d.Source.Branch)
		v.workflow(child(src, "workflow"), "defaults.source.workflow", d.Source.Workflow)
		v.platforms(child(src, "platforms"), "defaults.source.platforms", d.Source.Platforms)
	}
}

func (v *validator) image(img *Image, n *yaml.Node) {
	at := "image"
	if img.Name == "" {
		v.missing(n, "name", "every entry needs a name")
	} else {
		at = img.Name
		v.check(child(n, "name"), "name", dnsLabel(img.Name, maxNameLength))
	}
	v.registry(child(n, "registry"), at+": registry", img.Registry)
	if img.Repository == "" {
		v.missing(n, "repository", fmt.Sprintf("image %q has no repository", img.Name))
	} else if _, err := reference.WithName("registry.invalid/" + img.Repository); err != nil {
		v.add(finding.BadValue, child(n, "repository"), fmt.Sprintf("%s: repository: parsing %q: %v", at, img.Repository, err), "want a path such as owner/name, without registry and tag")
	}
	v.policy(child(n, "rebuildPolicy"), at+": rebuildPolicy", img.RebuildPolicy)
	if img.RebuildDelay != nil && img.MaxRebuildDelay != nil && *img.MaxRebuildDelay < *img.RebuildDelay {
		v.add(finding.BadValue, child(n, "maxRebuildDelay"), fmt.Sprintf("%s: maxRebuildDelay %s is shorter than rebuildDelay %s", at, img.MaxRebuildDelay, img.RebuildDelay), "")
	}
	if tags := child(n, "tags"); tags != nil && tags.Kind != yaml.SequenceNode {
		v.tags(tags, at+": tags", img.Tags)
	}
	if src := child(n, "source"); src != nil && src.Kind == yaml.MappingNode {
		v.source(img, src, at+": source")
	} else if img.Source == nil && img.AutoRebuild != nil && *img.AutoRebuild {
		v.add(finding.Missing, child(n, "autoRebuild"), fmt.Sprintf("%s: autoRebuild without source: an external image is never rebuilt", at), "add source, or remove autoRebuild")
	}
}

func (v *validator) tags(n *yaml.Node, at string, t *Tags) {
	switch t.Strategy {
	case SemVer:
		if t.Constraint != "" {
			_, err := semver.NewConstraint(t.Constraint)
			v.check(child(n, "constraint"), at+".constraint", err)
		}
	case Digest:
		if !tagPattern.MatchString(t.Constraint) {
			v.add(finding.BadValue, n, fmt.Sprintf("%s: strategy Digest follows one tag, and %q is none", at, t.Constraint), "set constraint to the tag")
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
	tagPattern   = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)
	ownerRepo    = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.]*/[A-Za-z0-9_.][-A-Za-z0-9_.]*$`)
	groupProject = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9_.]*(/[A-Za-z0-9_][-A-Za-z0-9_.]*)+$`)
	platformForm = regexp.MustCompile(`^[a-z0-9]+(\([0-9]+(\.[0-9]+)*\))?/[a-z0-9_]+(/[a-z0-9.]+)?$`)
	placeholder  = regexp.MustCompile(`\{\{([^{}]*)\}\}`)
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	workflowForm = regexp.MustCompile(`^[A-Za-z0-9_.][-A-Za-z0-9_. ]*$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Placeholders are the names that workflow inputs and pipeline variables may use between double braces.
var Placeholders = []string{"image", "base", "digest", "promotion"}

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
	v.relative(child(n, "dockerfile"), at+".dockerfile", s.Dockerfile)
	v.platforms(child(n, "platforms"), at+".platforms", s.Platforms)
	if needsWorkflow := effective.Provider == GitHub && (img.AutoRebuild == nil || *img.AutoRebuild); needsWorkflow && effective.Workflow == "" {
		v.missing(n, "workflow", at+": workflow is missing: nothing could start a rebuild")
	}
	v.workflow(child(n, "workflow"), at+".workflow", s.Workflow)
	v.onlyFor(n, at, effective.Provider, GitHub, "workflow", "inputs")
	v.onlyFor(n, at, effective.Provider, GitLab, "job", "variables")
	v.templates(child(n, "inputs"), at+".inputs", s.Inputs)
	v.templates(child(n, "variables"), at+".variables", s.Variables)
	for name := range s.Variables {
		if !variableForm.MatchString(name) {
			v.add(finding.BadValue, keyNode(child(n, "variables"), name), fmt.Sprintf("%s.variables: %q is no variable name", at, name), "want letters, digits and _")
		}
	}
	for name := range s.BuildArgs {
		if name == "" || strings.ContainsAny(name, "=\n") {
			v.add(finding.BadValue, keyNode(child(n, "buildArgs"), name), fmt.Sprintf("%s.buildArgs: %q is no build argument", at, name), "")
		}
	}
}

func (v *validator) repo(n *yaml.Node, at string, s *Source) {
	node := child(n, "repo")
	switch {
	case s.Repo == "":
		v.missing(n, "repo", at+": repo is missing")
	case hasDotDot(s.Repo):
		v.add(finding.BadValue, orNode(node, n), fmt.Sprintf("%s.repo: %s leaves its folder", at, shown(s.Repo)), "")
	case s.Provider == GitHub && !ownerRepo.MatchString(s.Repo):
		v.add(finding.BadValue, orNode(node, n), fmt.Sprintf("%s.repo: %s is no GitHub repository", at, shown(s.Repo)), "want owner/repo; a self-hosted server goes into host")
	case s.Provider == GitLab && !groupProject.MatchString(s.Repo):
		v.add(finding.BadValue, orNode(node, n), fmt.Sprintf("%s.repo: %s is no GitLab project", at, shown(s.Repo)), "want group/project; a self-hosted server goes into host")
	case s.Provider == Git && strings.Contains(s.Repo, "://"):
		v.check(orNode(node, n), at+".repo", checkRepoURL(s.Repo))
	case s.Provider == Git && s.Host == "" && !strings.HasPrefix(s.Repo, "/"):
		v.missing(n, "host", at+": host is missing: a git server is known by a URL in repo, or by host and a path in repo")
	}
}

// onlyFor reports keys that mean nothing for the provider at hand.
func (v *validator) onlyFor(n *yaml.Node, at string, got, want Provider, keys ...string) {
	if got == want || !got.known() {
		return
	}
	for _, key := range keys {
		if k := keyNode(n, key); k != nil {
			v.add(finding.BadValue, k, fmt.Sprintf("%s.%s: only for provider %s, and this one is %s", at, key, want, got), "")
		}
	}
}

func (v *validator) templates(n *yaml.Node, at string, values map[string]string) {
	for key, value := range values {
		for _, m := range placeholder.FindAllStringSubmatch(value, -1) {
			if !slices.Contains(Placeholders, strings.TrimSpace(m[1])) {
				v.add(finding.BadValue, orNode(child(n, key), n), fmt.Sprintf("%s.%s: unknown placeholder %q", at, key, m[0]), suggest(strings.TrimSpace(m[1]), Placeholders))
			}
		}
	}
}

func (v *validator) workflow(n *yaml.Node, at, name string) {
	if name != "" && !workflowForm.MatchString(name) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %q is no workflow file name", at, name), "want the name of a file in .github/workflows, such as build.yml")
	}
}

func (v *validator) provider(n *yaml.Node, at string, p Provider) {
	if p != "" && !p.known() {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown provider %q", at, p), suggest(string(p), []string{string(GitHub), string(GitLab), string(Git)}))
	}
}

func (v *validator) policy(n *yaml.Node, at string, p RebuildPolicy) {
	if p != "" && p != Mature && p != Settle {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown policy %q", at, p), suggest(string(p), []string{string(Mature), string(Settle)}))
	}
}

func (v *validator) platforms(n *yaml.Node, at string, list []string) {
	for i, p := range list {
		if !platformForm.MatchString(p) {
			v.add(finding.BadValue, item(n, i), fmt.Sprintf("%s[%d]: %q is no platform", at, i, p), "want os/arch, such as linux/arm64 or windows(10.0.20348)/amd64")
		}
	}
}

func (v *validator) registry(n *yaml.Node, at, host string) {
	if host != "" {
		v.check(n, at, checkHost(host))
	}
}

func (v *validator) interval(n *yaml.Node, at string, d *Duration) {
	if d != nil && *d < minInterval {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %s is too short", at, d), "want at least "+minInterval.String())
	}
}

// branch checks the rules of git check-ref-format that matter, so that the name is safe in URLs and commands.
func (v *validator) branch(n *yaml.Node, at, name string) {
	if name == "" {
		return
	}
	bad := strings.HasPrefix(name, "-") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".lock") ||
		strings.HasSuffix(name, ".") || strings.Contains(name, "..") || strings.Contains(name, "//") || strings.Contains(name, "@{") ||
		strings.ContainsAny(name, " ~^:?*[\\") || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f })
	if bad {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %q is no branch name that git accepts", at, name), "")
	}
}

func (v *validator) relative(n *yaml.Node, at, p string) {
	if p != "" && (path.IsAbs(p) || hasDotDot(p) || strings.ContainsRune(p, 0) || strings.Contains(p, `\`)) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %q is not a path inside the repository", at, p), "want a relative path with / and without ..")
	}
}

func (v *validator) check(n *yaml.Node, at string, err error) {
	if err != nil {
		v.add(finding.BadValue, orNode(n, v.root), fmt.Sprintf("%s: %v", at, err), "")
	}
}

// missing reports a key that is not there or empty. A value of another type was reported by the decoder.
func (v *validator) missing(n *yaml.Node, key, message string) {
	if c := child(n, key); c != nil && c.Kind != yaml.ScalarNode {
		return
	}
	v.add(finding.Missing, n, message, fmt.Sprintf("add %q", key))
}

func hasDotDot(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

func dnsLabel(s string, longest int) error {
	if len(s) > longest {
		return fmt.Errorf("%q has %d characters, at most %d fit", s, len(s), longest)
	}
	return firstProblem(s, validation.IsDNS1123Label(s))
}

func firstProblem(s string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%q: %s", s, problems[0])
}

func checkHost(host string) error {
	if strings.Contains(host, "://") {
		return errors.New("want a host without scheme") // not shown: a URL can hold a password
	}
	if len(host) > 255 || !hostForm.MatchString(host) || strings.Contains(host, "..") {
		return fmt.Errorf("%s is no host name", shown(host))
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

// shown quotes a value, unless a password can be in it. There is none in git@host:path.
func shown(value string) string {
	user, _, found := strings.Cut(value, "@")
	if found && strings.Contains(user, ":") || strings.ContainsAny(value, "?#") {
		return "a value that can hold a password"
	}
	return strconv.Quote(value)
}

// checkRepoURL accepts http(s) and file URLs without credentials: secrets belong into Secrets.
func checkRepoURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no URL", shown(s))
	case u.User != nil:
		return fmt.Errorf("the URL of host %q contains credentials; reference a Secret in factory.credentials instead", u.Host)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file":
		return fmt.Errorf("%q: want an https URL", s)
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
