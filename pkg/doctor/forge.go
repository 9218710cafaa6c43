package doctor

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// soon is how long before its expiry a token is worth a warning.
const soon = 14 * 24 * time.Hour

// token returns a credential and hides it from the output.
func (d *doctor) token(ctx context.Context, use credentials.Use, host string) (credentials.Token, error) {
	t, err := d.Credentials.Token(ctx, use, host)
	d.hide(t.Value)
	return t, err
}

// hide registers a secret that [doctor.clean] removes from texts.
func (d *doctor) hide(secret string) {
	if secret != "" {
		d.mu.Lock()
		d.secrets = append(d.secrets, secret)
		d.mu.Unlock()
	}
}

// clean removes secrets from a text that may come from outside.
func (d *doctor) clean(text string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sanitize.Foreign(text, d.secrets...)
}

// forges returns one source per host with an API, sorted by host.
func (d *doctor) forges() []*config.Source {
	byHost := map[string]*config.Source{}
	if s := d.Config.Factory.Notify.Issues.Central(); s != nil {
		byHost[s.Host] = s
	}
	for i := range d.Config.Images {
		if s := d.Config.Images[i].Source; s != nil && s.HasAPI() && byHost[s.Host] == nil {
			byHost[s.Host] = s
		}
	}
	var out []*config.Source
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		out = append(out, byHost[host])
	}
	return out
}

// hint returns how to set a token for the API of a host.
func (d *doctor) hint(host string) string { return d.Credentials.Hint(credentials.API, host) }

// tokens checks the token for the API of each host.
func (d *doctor) tokens() []probe {
	var out []probe
	for _, s := range d.forges() {
		out = append(out, probe{"token " + s.Host, func(ctx context.Context) []Check { return []Check{d.tokenOf(ctx, s)} }})
	}
	return out
}

func (d *doctor) tokenOf(ctx context.Context, s *config.Source) Check {
	hint := d.hint(s.Host)
	token, err := d.token(ctx, credentials.API, s.Host)
	switch {
	case err != nil:
		return bad(hint, "%s", err)
	case token.Value == "":
		return warning(hint, "no token found: public repositories only, and promote --direct cannot start builds")
	}
	return d.checkToken(ctx, s, token, d.starts(token), hint)
}

// starts reports whether a token must be able to start builds, as that of the Jobs, which Kargo shares. Other tokens, such as
// that of CI, may be read-only on purpose.
func (d *doctor) starts(t credentials.Token) bool {
	return strings.HasPrefix(t.From, d.Credentials.Dir+"/")
}

// provider is how the servers of a provider are checked.
type provider struct {
	needs    string // permissions of a token
	builder  string // what builds images: a workflow or a pipeline
	token    func(d *doctor, ctx context.Context, clients *forgeapi.Clients, t tokenCheck) Check
	building func(d *doctor, ctx context.Context, s *config.Source, images []*config.Image) []Check
}

// tokenCheck is a token to check. It must be able to start builds if starts is set.
type tokenCheck struct {
	source *config.Source
	token  credentials.Token
	starts bool
	hint   string // how to set another token
}

// checksOf returns the checks of a provider that can start builds.
func checksOf(p config.Provider) provider {
	return map[config.Provider]provider{
		config.GitHub: {gitHubNeeds, "workflow", (*doctor).tokenOfGitHub, (*doctor).workflow},
		config.GitLab: {gitLabNeeds, "pipeline", (*doctor).tokenOfGitLab, (*doctor).pipeline},
		config.Gitea:  {forgeapi.GiteaStarts, "workflow", (*doctor).tokenOfGitea, (*doctor).giteaWorkflow},
	}[p]
}

// Permissions of tokens.
const (
	gitHubNeeds = "read and write access to Actions, and read access to Contents"
	gitLabNeeds = "the scope api"
)

// checkToken checks that a token is valid, and that it can start builds if it must.
func (d *doctor) checkToken(ctx context.Context, s *config.Source, token credentials.Token, starts bool, hint string) Check {
	return checksOf(s.Provider).token(d, ctx, d.api.WithToken(token.Value), tokenCheck{s, token, starts, hint})
}

func (d *doctor) tokenOfGitLab(ctx context.Context, clients *forgeapi.Clients, t tokenCheck) Check {
	api, err := clients.GitLab(ctx, t.source, gitLabNeeds)
	if err != nil {
		return bad("correct source.host", "%s", err)
	}
	self, _, err := api.PersonalAccessTokens.GetSinglePersonalAccessToken(gitlab.WithContext(ctx))
	if f := invalidToken(api.Error(err), t.token, t.hint); f != nil {
		return *f
	}
	if err != nil || self == nil {
		return notChecked("use a personal, group or project access token", "%s does not describe %s", t.source.Host, t.token)
	}
	return d.gitLabToken(self, t.token, t.starts, t.hint)
}

func (d *doctor) tokenOfGitHub(ctx context.Context, clients *forgeapi.Clients, t tokenCheck) Check {
	api, err := clients.GitHub(ctx, t.source, gitHubNeeds)
	if err != nil {
		return bad("correct source.host", "%s", err)
	}
	resp, err := api.Get(ctx, "rate_limit", nil, nil)
	if f := invalidToken(err, t.token, t.hint); f != nil {
		return *f
	}
	if e := forgeapi.As(err); e != nil { // a server without rate limits answers 404
		return d.gitHubToken(e.Header, t.token, t.starts, t.hint)
	}
	return d.gitHubToken(resp.Header, t.token, t.starts, t.hint)
}

// invalidToken returns the failed check if a token was refused, or if the forge did not respond.
func invalidToken(err error, token credentials.Token, hint string) *Check {
	var f Check
	switch e := forgeapi.As(err); {
	case err == nil:
		return nil
	case forgeapi.HasStatus(err, http.StatusUnauthorized):
		f = bad("create a new token; "+hint, "%s is invalid, revoked or expired (401)", token)
	case e != nil && e.Header != nil && !e.Limited && !e.Temporary():
		return nil
	default:
		f = bad("check source.host and the network", "%s", err)
	}
	return &f
}

// readOnly downgrades a problem to a warning if the token need not start builds.
func readOnly(f Check, starts bool) Check {
	if f.Result == Error && !starts {
		f.Result, f.Message = Warning, f.Message+"; Kargo uses its own token, but promote --direct cannot start builds"
	}
	return f
}

// unscoped reports whether a token of GitHub has permissions instead of scopes, whatever the header says.
func unscoped(token string) bool {
	return strings.HasPrefix(token, "github_pat_") || strings.HasPrefix(token, "ghs_") || strings.HasPrefix(token, "ghu_")
}

// gitHubToken checks the headers in which GitHub describes the token of a request.
func (d *doctor) gitHubToken(header http.Header, token credentials.Token, starts bool, hint string) Check {
	if at, err := time.Parse("2006-01-02 15:04:05 MST", header.Get("GitHub-Authentication-Token-Expiration")); err == nil && at.Before(d.Now().Add(soon)) {
		return warning("create a new token; "+hint, "%s expires on %s", token, at.UTC().Format(time.DateOnly))
	}
	if _, scoped := header["X-Oauth-Scopes"]; !scoped || unscoped(token.Value) {
		return ok("%s is valid; the workflow checks below show its permissions", token)
	}
	scopes := strings.FieldsFunc(header.Get("X-OAuth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case slices.Contains(scopes, "repo"):
		return ok("%s is valid, with the scope \"repo\"", token)
	case slices.Contains(scopes, "public_repo"):
		return warning("add the scope repo if repositories are private", "%s has the scope \"public_repo\": it can only start builds of public repositories", token)
	}
	f := bad("add the scope repo, or use a fine-grained token with Actions: write and Contents: read", "%s lacks the scope \"repo\" (scopes: %s)", token, either(strings.Join(scopes, ", "), "none"))
	return readOnly(f, starts)
}

func (d *doctor) gitLabToken(self *gitlab.PersonalAccessToken, token credentials.Token, starts bool, hint string) Check {
	if !self.Active {
		return bad("create a new token; "+hint, "%s is no longer active", token)
	}
	if !slices.Contains(self.Scopes, "api") {
		f := bad("add the scope api, which is needed to start pipelines", "%s lacks the scope \"api\" (scopes: %s)", token, either(strings.Join(self.Scopes, ", "), "none"))
		return readOnly(f, starts)
	}
	if self.ExpiresAt != nil && time.Time(*self.ExpiresAt).Before(d.Now().Add(soon)) {
		return warning("create a new token; "+hint, "%s expires on %s", token, time.Time(*self.ExpiresAt).Format(time.DateOnly))
	}
	return ok("%s is valid, with the scope \"api\"", token)
}

func either(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// builders checks each workflow and each project with pipelines once, however many images it builds.
func (d *doctor) builders() []probe {
	type builder struct{ host, repo, branch, workflow string }
	images := map[builder][]*config.Image{}
	for i := range d.Config.Images {
		img := &d.Config.Images[i]
		if img.Managed() && img.Source.HasAPI() && img.Source.MissingKey() == "" {
			s := img.Source.Builder()
			at := builder{s.Host, s.Repo, s.Branch, s.Workflow}
			images[at] = append(images[at], img)
		}
	}
	keys := slices.SortedFunc(maps.Keys(images), func(a, b builder) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	var out []probe
	for _, at := range keys {
		s := images[at][0].Source.Builder()
		p := checksOf(s.Provider)
		name := strings.TrimSpace(p.builder + " " + s.Repo + " " + s.Workflow)
		out = append(out, probe{name, func(ctx context.Context) []Check { return p.building(d, ctx, s, images[at]) }})
	}
	return out
}

// failed returns the failed check for an error of a forge; nil for no error.
func (d *doctor) failed(err error, s *config.Source, missing string) *Check {
	var f Check
	repo, branch := s.BuilderKeys()
	switch e := forgeapi.As(err); {
	case err == nil:
		return nil
	case forgeapi.IsNotFound(err):
		f = bad("correct "+repo+", source.workflow or "+branch+", or give the token access: "+d.hint(s.Host), "%s", missing)
	case forgeapi.HasStatus(err, http.StatusUnauthorized):
		f = bad("create a new token; "+d.hint(s.Host), "%s refuses the token (401: %s)", s.Host, e.Message)
	case forgeapi.HasStatus(err, http.StatusForbidden) && !e.Limited:
		f = bad("give the token "+checksOf(s.Provider).needs+": "+d.hint(s.Host), "%s denies access (%d: %s)", s.Host, e.Status, e.Message)
	case e != nil && e.FromAPI() && !e.Temporary() && !e.Limited:
		f = bad("correct "+repo+"; was it moved?", "%s", err)
	default:
		err = forgeapi.Explain(err, func(*forgeapi.Error) string { return "" })
		f = bad("check source.host and the network", "%s", err)
	}
	return &f
}

// noWorkflow returns the failed check for an error of a forge that was asked for a workflow file, in a repository that can be read.
func (d *doctor) noWorkflow(err error, s *config.Source, images []*config.Image, missing string) *Check {
	f := d.failed(err, s, missing)
	if f != nil && forgeapi.IsNotFound(err) && s.WorkflowRepo == "" { // workflows of other repositories are not written
		f.Fix = "write it: imagefactory workflow " + images[0].Name + " --write DIR, then commit and push it; if it exists, " + f.Fix
	}
	return f
}

func (d *doctor) workflow(ctx context.Context, s *config.Source, images []*config.Image) []Check {
	api, err := d.api.GitHub(ctx, s, gitHubNeeds)
	if err != nil {
		return []Check{bad("correct source.host", "%s", err)}
	}
	text, f := d.workflowFile(ctx, api, s, images)
	if f != nil {
		return []Check{*f}
	}
	found := dispatchable(text, images)
	if len(found) == 0 {
		found = []Check{d.startable(ctx, api, s)}
	}
	return append(found, unlocked(text, images)...)
}

// workflowFile reads the workflow file of the branch that is built, or returns the failed check.
func (d *doctor) workflowFile(ctx context.Context, api *forgeapi.GitHub, s *config.Source, images []*config.Image) ([]byte, *Check) {
	owner, repo, _ := strings.Cut(s.Repo, "/")
	unexpected := func() *Check { return d.failed(api.Unexpected(""), s, "") }
	r, _, err := api.Repositories.Get(ctx, owner, repo)
	if f := d.failed(api.Error(err), s, "no repository "+s.Repo+", or the token has no access to it"); f != nil {
		return nil, f
	}
	if r == nil {
		return nil, unexpected()
	}
	about, _, err := api.Actions.GetWorkflowByFileName(ctx, owner, repo, url.PathEscape(s.Workflow))
	if f := d.noWorkflow(api.Error(err), s, images, "no workflow "+s.Workflow+" on the default branch"); f != nil {
		return nil, f
	}
	if about.GetState() == "" {
		return nil, unexpected()
	}
	if about.GetState() != "active" {
		f := bad("enable it on the Actions page, or with: gh workflow enable "+s.Workflow+" --repo "+s.Repo, "not enabled (%s)", about.GetState())
		return nil, &f
	}
	file, _, _, err := api.Repositories.GetContents(ctx, owner, repo, ".github/workflows/"+s.Workflow, &github.RepositoryContentGetOptions{Ref: s.Branch})
	if f := d.noWorkflow(api.Error(err), s, images, "no workflow "+s.Workflow+" on the branch "+s.Branch); f != nil {
		return nil, f
	}
	if file == nil || file.Content == nil {
		return nil, unexpected()
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(*file.Content, "\n", ""))
	if err != nil {
		f := notChecked("check source.host", "reading the workflow file: %s", err)
		return nil, &f
	}
	return text, nil
}

// startable requests a start of the workflow on a branch that cannot exist. If the token may start it, GitHub answers that
// there is no such branch. This is the only way to learn the permissions of a fine-grained token.
func (d *doctor) startable(ctx context.Context, api *forgeapi.GitHub, s *config.Source) Check {
	if api.Token == "" {
		return ok(accepts + "; no token to check whether it can be started")
	}
	owner, repo, _ := strings.Cut(s.Repo, "/")
	_, _, err := api.Actions.CreateWorkflowDispatchEventByFileName(ctx, owner, repo, url.PathEscape(s.Workflow),
		github.CreateWorkflowDispatchEventRequest{Ref: "imagefactory..doctor"}) // two dots are invalid in the name of a branch
	err = api.Error(err)
	switch e := forgeapi.As(err); {
	case forgeapi.HasStatus(err, http.StatusUnauthorized, http.StatusForbidden) && !e.Limited, forgeapi.IsNotFound(err):
		token, _ := d.token(ctx, credentials.API, s.Host) // it was found above
		f := bad("give the token read and write access to the Actions of "+s.Repo+": "+d.hint(s.Host), "the token cannot start it (%d: %s)", e.Status, e.Message)
		return readOnly(f, d.starts(token))
	case err != nil && (e == nil || !e.Permanent()):
		return bad("check source.host and the network", "%s", err)
	}
	return ok(accepts + ", and the token can start it")
}

// accepts describes a workflow without problems.
const accepts = "enabled, and accepts the inputs that are sent"

// dispatchable checks that a workflow can be started, and accepts the inputs that images.yaml sends.
func dispatchable(text []byte, images []*config.Image) []Check {
	var file struct {
		On yaml.Node `yaml:"on"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return []Check{bad("correct the workflow file", "invalid YAML")}
	}
	dispatch, found := trigger(&file.On)
	if !found {
		return []Check{bad("add workflow_dispatch to `on:` of the workflow file", "cannot be started: missing trigger workflow_dispatch")}
	}
	var declared struct {
		Inputs map[string]struct {
			Required bool `yaml:"required"`
			Default  any  `yaml:"default"`
		} `yaml:"inputs"`
	}
	if dispatch != nil {
		if err := dispatch.Decode(&declared); err != nil {
			return []Check{bad("correct on.workflow_dispatch of the workflow file", "invalid inputs")}
		}
	}
	var out []Check
	for _, img := range images {
		for _, name := range slices.Sorted(maps.Keys(img.Source.Inputs)) {
			if _, known := declared.Inputs[name]; !known {
				out = append(out, bad("declare it under on.workflow_dispatch.inputs, or remove it from source.inputs", "%s sends the undeclared input %q", img.Name, name))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(declared.Inputs)) {
			in := declared.Inputs[name]
			if _, sent := img.Source.Inputs[name]; in.Required && in.Default == nil && !sent {
				out = append(out, bad("set it in source.inputs, or give it a default in the workflow file", "%s does not send the required input %q", img.Name, name))
			}
		}
	}
	return out
}

// unlocked checks that a workflow builds with the lock if its images set pinBases.
func unlocked(text []byte, images []*config.Image) []Check {
	var names []string
	var fix string
	for _, img := range images {
		if img.Source.PinsBases() {
			names, fix = append(names, img.Name), cmp.Or(fix, fleet.UseLock(img))
		}
	}
	if len(names) == 0 || !fleet.BuildsWithoutLock(text) {
		return nil
	}
	return []Check{warning(fix, "builds without the lock, but pinBases is set for %s", plural.Listed(names, 5))}
}

// trigger returns workflow_dispatch in `on`, which is a name, a list of names, or a mapping.
func trigger(on *yaml.Node) (*yaml.Node, bool) {
	const name = "workflow_dispatch"
	switch on.Kind {
	case yaml.ScalarNode:
		return nil, on.Value == name
	case yaml.SequenceNode:
		return nil, slices.ContainsFunc(on.Content, func(n *yaml.Node) bool { return n.Value == name })
	}
	for i := 0; i+1 < len(on.Content); i += 2 {
		if on.Content[i].Value == name {
			return on.Content[i+1], true
		}
	}
	return nil, false
}

// Access levels of GitLab: Developers may start pipelines, Maintainers may do so on protected branches.
const (
	developer  = 30
	maintainer = 40
	owner      = 50
)

func (d *doctor) pipeline(ctx context.Context, s *config.Source, images []*config.Image) []Check {
	return []Check{d.checkPipeline(ctx, s, images)}
}

func (d *doctor) checkPipeline(ctx context.Context, s *config.Source, images []*config.Image) Check {
	api, err := d.api.GitLab(ctx, s, gitLabNeeds)
	if err != nil {
		return bad("correct source.host", "%s", err)
	}
	project, _, err := api.Projects.GetProject(s.Repo, nil, gitlab.WithContext(ctx))
	if f := d.failed(api.Error(err), s, "no project "+s.Repo+", or the token has no access to it"); f != nil {
		return *f
	}
	if project == nil {
		return *d.failed(api.Unexpected(""), s, "")
	}
	if project.BuildsAccessLevel == gitlab.DisabledAccessControl {
		return bad("enable CI/CD under Settings > General > Visibility", "CI/CD is disabled in the project")
	}
	token, _ := d.token(ctx, credentials.API, s.Host) // an error is reported with the token
	starts := d.starts(token)
	role := accessLevel(project)
	if role > 0 && role < developer {
		return readOnly(bad("give the token's user or bot the role Developer", "the token cannot start pipelines (access level %d)", role), starts)
	}
	if f := forbiddenVariables(project, role, images, starts); f != nil {
		return *f
	}
	branch, _, err := api.Branches.GetBranch(s.Repo, s.Branch, gitlab.WithContext(ctx))
	if f := d.failed(api.Error(err), s, "no branch "+s.Branch); f != nil {
		return *f
	}
	if branch == nil {
		return *d.failed(api.Unexpected(""), s, "")
	}
	if branch.Protected && !branch.CanPush && !branch.DevelopersCanMerge && role > 0 && role < maintainer {
		return readOnly(bad("give the token's user or bot the role Maintainer, or allow Developers to merge: Settings > Repository > Protected branches",
			"the token cannot start pipelines of the protected branch %s (access level %d)", s.Branch, role), starts)
	}
	if file := either(project.CIConfigPath, ".gitlab-ci.yml"); !strings.ContainsAny(file, "@:") { // otherwise the file is in another project or at a URL
		_, _, err = api.RepositoryFiles.GetFile(s.Repo, file, &gitlab.GetFileOptions{Ref: &s.Branch}, gitlab.WithContext(ctx))
		if f := d.noWorkflow(api.Error(err), s, images, "no "+file+" on the branch "+s.Branch+", so it has no pipeline of its own"); f != nil {
			f.Result = Warning // a group or the server may define one for all projects
			return *f
		}
	}
	return ok("CI/CD is enabled and the branch %s exists", s.Branch)
}

// accessLevel returns the access level of the token in a project; 0 if unknown.
func accessLevel(p *gitlab.Project) int {
	level := 0
	if p.Permissions == nil {
		return 0
	}
	if a := p.Permissions.ProjectAccess; a != nil {
		level = max(level, int(a.AccessLevel))
	}
	if a := p.Permissions.GroupAccess; a != nil {
		level = max(level, int(a.AccessLevel))
	}
	return level
}

// forbiddenVariables returns a failed check if an image sends pipeline variables and the project does not allow the token to.
func forbiddenVariables(p *gitlab.Project, role int, images []*config.Image, starts bool) *Check {
	const fix = "allow it for a role that the token has: Settings > CI/CD > Variables > minimum role to use pipeline variables"
	allowed := p.CIPipelineVariablesMinimumOverrideRole
	least := map[gitlab.CIPipelineVariablesMinimumOverrideRoleValue]int{"maintainer": maintainer, "owner": owner}[allowed]
	for _, img := range images {
		if len(img.Source.Variables) == 0 && img.Source.Job == "" {
			continue
		}
		if allowed == "no_one_allowed" {
			f := bad(fix, "%s sends pipeline variables, but the project does not allow them", img.Name)
			return &f
		}
		if role > 0 && role < least {
			f := readOnly(bad(fix, "%s sends pipeline variables, but the project only allows them for the role %s (the token has access level %d)", img.Name, allowed, role), starts)
			return &f
		}
	}
	return nil
}
