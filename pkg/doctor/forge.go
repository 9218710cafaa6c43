package doctor

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/rest"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// soon is how long before its end a token is worth a warning.
const soon = 14 * 24 * time.Hour

// token finds a credential, and notes what must not be shown.
func (d *doctor) token(ctx context.Context, use credentials.Use, host string) (credentials.Token, error) {
	t, err := d.Credentials.Token(ctx, use, host)
	d.hide(t.Value)
	return t, err
}

// hide notes what must not be shown.
func (d *doctor) hide(secret string) {
	if secret != "" {
		d.mu.Lock()
		d.secrets = append(d.secrets, secret)
		d.mu.Unlock()
	}
}

// clean keeps what others wrote from showing a secret.
func (d *doctor) clean(text string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sanitize.Foreign(text, d.secrets...)
}

// forges are the sources at hosts with an API, one for each host, by host.
func (d *doctor) forges() []*config.Source {
	byHost := map[string]*config.Source{}
	for i := range d.Config.Images {
		if s := d.Config.Images[i].Source; s != nil && s.Triggerable() && byHost[s.Host] == nil {
			byHost[s.Host] = s
		}
	}
	var out []*config.Source
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		out = append(out, byHost[host])
	}
	return out
}

func (d *doctor) ask(ctx context.Context, s *config.Source, path string) (*rest.Answer, error) {
	return d.api.Do(ctx, rest.Request{Method: http.MethodGet, Host: s.Host, URL: s.APIURL() + path})
}

// tokens checks the token for the API of each host.
func (d *doctor) tokens() []Check {
	var out []Check
	for _, s := range d.forges() {
		out = append(out, Check{"token " + s.Host, func(ctx context.Context) []Finding { return []Finding{d.tokenOf(ctx, s)} }})
	}
	return out
}

func (d *doctor) tokenOf(ctx context.Context, s *config.Source) Finding {
	hint := d.Credentials.Hint(credentials.API, s.Host)
	token, err := d.token(ctx, credentials.API, s.Host)
	switch {
	case err != nil:
		return bad(hint, "%s", err)
	case token.Value == "":
		return warning(hint, "no token found: public repositories only, and promote --direct cannot start builds")
	}
	return d.judge(ctx, s, token, d.starts(token), hint)
}

// starts says whether a token has to start builds: that of the Jobs is Kargo's, too. Another, such as that of CI, may only read
// on purpose.
func (d *doctor) starts(t credentials.Token) bool {
	return strings.HasPrefix(t.From, d.Credentials.Dir+"/")
}

// judge asks a forge about a token, and whether that may start builds if it has to.
func (d *doctor) judge(ctx context.Context, s *config.Source, token credentials.Token, starts bool, hint string) Finding {
	path := "/rate_limit"
	if s.Provider == config.GitLab {
		path = "/personal_access_tokens/self"
	}
	api := rest.New(rest.Options{Now: d.Now, Transport: d.Transport, Token: func(context.Context, string) (string, error) { return token.Value, nil }})
	a, err := api.Do(ctx, rest.Request{Method: http.MethodGet, Host: s.Host, URL: s.APIURL() + path})
	switch {
	case err != nil:
		return bad("check source.host and the network", "%s", err)
	case a.Status == http.StatusUnauthorized:
		return bad("make a new token; "+hint, "%s is not valid: it is wrong, was revoked or has expired (401)", token)
	case s.Provider == config.GitLab:
		return d.gitLabToken(a, s, token, starts, hint)
	}
	return d.gitHubToken(a, token, starts, hint)
}

// onlyReads makes a warning of what keeps a token from starting builds, when others do that.
func onlyReads(f Finding, starts bool) Finding {
	if f.Result == Error && !starts {
		f.Result, f.Message = Warning, f.Message+": Kargo has a token of its own, promote --direct has not"
	}
	return f
}

// unscoped are the tokens of GitHub that have permissions and no scopes, whatever the header says of those.
var unscoped = regexp.MustCompile(`^(github_pat|ghs|ghu)_`)

// gitHubToken reads what GitHub says of a token in the headers of any answer.
func (d *doctor) gitHubToken(a *rest.Answer, token credentials.Token, starts bool, hint string) Finding {
	if at, err := time.Parse("2006-01-02 15:04:05 MST", a.Header.Get("GitHub-Authentication-Token-Expiration")); err == nil && at.Before(d.Now().Add(soon)) {
		return warning("make a new token; "+hint, "%s expires on %s", token, at.UTC().Format(time.DateOnly))
	}
	if _, scoped := a.Header["X-Oauth-Scopes"]; !scoped || unscoped.MatchString(token.Value) {
		return ok("%s is valid; its permissions are those that the workflows below show", token)
	}
	scopes := strings.FieldsFunc(a.Header.Get("X-OAuth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case slices.Contains(scopes, "repo"):
		return ok("%s is valid, with the scope repo", token)
	case slices.Contains(scopes, "public_repo"):
		return warning("give it the scope repo where repositories are private", "%s has the scope public_repo: it starts builds of public repositories only", token)
	}
	f := bad("give it the scope repo, or use a fine-grained token with Actions: write and Contents: read", "%s lacks the scope \"repo\" (scopes: %s)", token, either(strings.Join(scopes, ", "), "none"))
	return onlyReads(f, starts)
}

func (d *doctor) gitLabToken(a *rest.Answer, s *config.Source, token credentials.Token, starts bool, hint string) Finding {
	var self struct {
		Active  *bool    `json:"active"`
		Scopes  []string `json:"scopes"`
		Expires string   `json:"expires_at"`
	}
	if a.Status != http.StatusOK {
		return notChecked("use a personal, group or project access token", "%s says nothing of %s (%d)", s.Host, token, a.Status)
	}
	if err := a.JSON(s.Host, &self); err != nil {
		return bad("check source.host", "%s", err)
	}
	if self.Active != nil && !*self.Active {
		return bad("make a new token; "+hint, "%s is not active any longer", token)
	}
	if !slices.Contains(self.Scopes, "api") {
		f := bad("give it the scope api, which starting a pipeline needs", "%s lacks the scope \"api\" (scopes: %s)", token, either(strings.Join(self.Scopes, ", "), "none"))
		return onlyReads(f, starts)
	}
	if at, err := time.Parse(time.DateOnly, self.Expires); err == nil && at.Before(d.Now().Add(soon)) {
		return warning("make a new token; "+hint, "%s expires on %s", token, self.Expires)
	}
	return ok("%s is valid, with the scope api", token)
}

func either(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// builders checks each workflow and each project with pipelines once, whatever number of images it builds.
func (d *doctor) builders() []Check {
	type builder struct{ host, repo, branch, workflow string }
	images := map[builder][]*config.Image{}
	for i := range d.Config.Images {
		img := &d.Config.Images[i]
		if s := img.Source; s != nil && s.Triggerable() && (s.Provider == config.GitLab || s.Workflow != "") {
			at := builder{s.Host, s.Repo, s.Branch, s.Workflow}
			images[at] = append(images[at], img)
		}
	}
	keys := slices.SortedFunc(maps.Keys(images), func(a, b builder) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	var out []Check
	for _, at := range keys {
		s := images[at][0].Source
		if s.Provider == config.GitLab {
			out = append(out, Check{"pipeline " + s.Repo, func(ctx context.Context) []Finding { return []Finding{d.pipeline(ctx, s, images[at])} }})
			continue
		}
		out = append(out, Check{"workflow " + s.Repo + " " + s.Workflow, func(ctx context.Context) []Finding { return d.workflow(ctx, s, images[at]) }})
	}
	return out
}

// usable says whether an answer can be worked with, and what is wrong when it cannot.
func (d *doctor) usable(a *rest.Answer, err error, s *config.Source, missing string) *Finding {
	var f Finding
	switch hint := d.Credentials.Hint(credentials.API, s.Host); {
	case err != nil:
		f = bad("check source.host and the network", "%s", err)
	case a.Status == http.StatusNotFound:
		f = bad("correct source.repo, source.workflow or source.branch, or let the token see it: "+hint, "%s", missing)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		f = bad("give the token read and write access to Actions, and read access to Contents: "+hint, "%s denies access (%d: %s)", s.Host, a.Status, a.Message())
	case a.Status != http.StatusOK:
		f = bad("correct source.repo: was it moved?", "%s answers %d: %s", s.Host, a.Status, a.Message())
	default:
		return nil
	}
	return &f
}

func (d *doctor) workflow(ctx context.Context, s *config.Source, images []*config.Image) []Finding {
	repo := "/repos/" + s.Repo
	a, err := d.ask(ctx, s, repo)
	if f := d.usable(a, err, s, "there is no repository "+s.Repo+", or the token may not see it"); f != nil {
		return []Finding{*f}
	}
	a, err = d.ask(ctx, s, repo+"/actions/workflows/"+url.PathEscape(s.Workflow))
	if f := d.usable(a, err, s, "the default branch has no workflow "+s.Workflow); f != nil {
		return []Finding{*f}
	}
	var about struct {
		State string `json:"state"`
		Path  string `json:"path"`
	}
	if err := a.JSON(s.Host, &about); err != nil {
		return []Finding{bad("check source.host", "%s", err)}
	}
	if about.State != "active" {
		return []Finding{bad("enable it on the Actions page, or with: gh workflow enable "+s.Workflow+" --repo "+s.Repo, "it is not enabled (%s)", about.State)}
	}
	a, err = d.ask(ctx, s, repo+"/contents/.github/workflows/"+url.PathEscape(s.Workflow)+"?ref="+url.QueryEscape(s.Branch))
	if f := d.usable(a, err, s, "branch "+s.Branch+" has no workflow "+s.Workflow); f != nil {
		return []Finding{*f}
	}
	var file struct {
		Content string `json:"content"`
	}
	if err := a.JSON(s.Host, &file); err != nil {
		return []Finding{bad("check source.host", "%s", err)}
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(file.Content, "\n", ""))
	if err != nil {
		return []Finding{notChecked("", "its file cannot be read: %s", err)}
	}
	found := dispatchable(text, images)
	if len(found) == 0 {
		found = []Finding{d.startable(ctx, s)}
	}
	return found
}

// startable asks GitHub to start the workflow on a branch that cannot exist: who may start it is told that there is no such
// branch. Only that shows what a fine-grained token may do.
func (d *doctor) startable(ctx context.Context, s *config.Source) Finding {
	const good = "it is enabled and takes the inputs that are sent"
	token, err := d.token(ctx, credentials.API, s.Host)
	if err != nil || token.Value == "" {
		return ok(good + "; whether it can be started is not known without a token")
	}
	a, err := d.api.Do(ctx, rest.Request{
		Method: http.MethodPost, Host: s.Host, URL: s.APIURL() + "/repos/" + s.Repo + "/actions/workflows/" + url.PathEscape(s.Workflow) + "/dispatches",
		Body: map[string]any{"ref": "imagefactory..doctor"}, // no name of a branch may have two dots
	})
	switch {
	case err != nil:
		return bad("check source.host and the network", "%s", err)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound:
		f := bad("give the token read and write access to the Actions of "+s.Repo+": "+d.Credentials.Hint(credentials.API, s.Host), "the token may not start it (%d: %s)", a.Status, a.Message())
		return onlyReads(f, d.starts(token))
	}
	return ok(good + ", and the token may start it")
}

// dispatchable checks that a workflow can be started with what images.yaml sends.
func dispatchable(text []byte, images []*config.Image) []Finding {
	var file struct {
		On yaml.Node `yaml:"on"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return []Finding{bad("correct the workflow file", "it is no valid YAML")}
	}
	dispatch, found := trigger(&file.On)
	if !found {
		return []Finding{bad("add workflow_dispatch to `on:` of the workflow file", "it cannot be started: it has no trigger workflow_dispatch")}
	}
	var declared struct {
		Inputs map[string]struct {
			Required bool `yaml:"required"`
			Default  any  `yaml:"default"`
		} `yaml:"inputs"`
	}
	if dispatch != nil {
		if err := dispatch.Decode(&declared); err != nil {
			return []Finding{bad("correct on.workflow_dispatch of the workflow file", "its inputs are not what GitHub understands")}
		}
	}
	var out []Finding
	for _, img := range images {
		for _, name := range slices.Sorted(maps.Keys(img.Source.Inputs)) {
			if _, known := declared.Inputs[name]; !known {
				out = append(out, bad("declare it under on.workflow_dispatch.inputs, or remove it from source.inputs", "%s sends the input %q, which it does not declare", img.Name, name))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(declared.Inputs)) {
			in := declared.Inputs[name]
			if _, sent := img.Source.Inputs[name]; in.Required && in.Default == nil && !sent {
				out = append(out, bad("set it in source.inputs, or give it a default in the workflow file", "%s does not send the input %q, which it requires", img.Name, name))
			}
		}
	}
	return out
}

// trigger finds workflow_dispatch in `on`, which is a name, a list of names, or a mapping.
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

// GitLab's roles: the least that may start pipelines, the least that may on a branch that is protected as by default, and
// the highest.
const (
	developer  = 30
	maintainer = 40
	owner      = 50
)

func (d *doctor) pipeline(ctx context.Context, s *config.Source, images []*config.Image) Finding {
	project := "/projects/" + url.PathEscape(s.Repo)
	a, err := d.ask(ctx, s, project)
	if f := d.usable(a, err, s, "there is no project "+s.Repo+", or the token may not see it"); f != nil {
		return *f
	}
	type level struct {
		Level int `json:"access_level"`
	}
	var about struct {
		Builds      string `json:"builds_access_level"`
		CIFile      string `json:"ci_config_path"`
		Variables   string `json:"ci_pipeline_variables_minimum_override_role"`
		Permissions *struct {
			Project *level `json:"project_access"`
			Group   *level `json:"group_access"`
		} `json:"permissions"`
	}
	if err := a.JSON(s.Host, &about); err != nil {
		return bad("check source.host", "%s", err)
	}
	if about.Builds == "disabled" {
		return bad("enable CI/CD under Settings > General > Visibility", "the project has no CI/CD")
	}
	token, _ := d.token(ctx, credentials.API, s.Host) // an error is reported with the token
	starts := d.starts(token)
	role := 0 // not known
	if p := about.Permissions; p != nil && (p.Project != nil || p.Group != nil) {
		for _, l := range []*level{p.Project, p.Group} {
			if l != nil {
				role = max(role, l.Level)
			}
		}
		if role < developer {
			return onlyReads(bad("give the token's user or bot the role Developer", "the token may not start pipelines (its access level is %d)", role), starts)
		}
	}
	for _, img := range images {
		least := map[string]int{"maintainer": maintainer, "owner": owner}[about.Variables]
		if len(img.Source.Variables) == 0 && img.Source.Job == "" {
			continue
		}
		const fix = "allow it for a role that the token has: Settings > CI/CD > Variables > minimum role to use pipeline variables"
		switch {
		case about.Variables == "no_one_allowed":
			return bad(fix, "%s sends pipeline variables, which the project lets nobody do", img.Name)
		case role > 0 && role < least:
			return onlyReads(bad(fix, "%s sends pipeline variables, which the project lets only a %s do (the token's access level is %d)", img.Name, about.Variables, role), starts)
		}
	}
	a, err = d.ask(ctx, s, project+"/repository/branches/"+url.PathEscape(s.Branch))
	if f := d.usable(a, err, s, "there is no branch "+s.Branch); f != nil {
		return *f
	}
	var branch struct {
		Protected bool `json:"protected"`
		Push      bool `json:"can_push"`
		Merge     bool `json:"developers_can_merge"`
	}
	if err := a.JSON(s.Host, &branch); err != nil {
		return bad("check source.host", "%s", err)
	}
	if branch.Protected && !branch.Push && !branch.Merge && role > 0 && role < maintainer {
		return onlyReads(bad("give the token's user or bot the role Maintainer, or allow Developers to merge: Settings > Repository > Protected branches",
			"the token may not start pipelines of the protected branch %s (its access level is %d)", s.Branch, role), starts)
	}
	if file := either(about.CIFile, ".gitlab-ci.yml"); !strings.ContainsAny(file, "@:") { // else it is in another project, or elsewhere
		a, err = d.ask(ctx, s, project+"/repository/files/"+url.PathEscape(file)+"?ref="+url.QueryEscape(s.Branch))
		if f := d.usable(a, err, s, "branch "+s.Branch+" has no "+file+", so no pipeline of its own to start"); f != nil {
			f.Result = Warning // a group or the server may have one for all projects
			return *f
		}
	}
	return ok("the project has CI/CD and the branch %s", s.Branch)
}
