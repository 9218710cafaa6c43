package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// tokenOfGitea checks that a token is valid. Gitea does not tell its scopes: the workflow checks show them.
func (d *doctor) tokenOfGitea(ctx context.Context, clients *forgeapi.Clients, t tokenCheck) Check {
	api, err := clients.Gitea(ctx, t.source, forgeapi.GiteaStarts)
	if err != nil {
		return bad("correct source.host", "%s", err)
	}
	err = api.Get(ctx, "user", nil, nil)
	if f := invalidToken(err, t.token, t.hint); f != nil {
		return *f
	}
	return ok("%s is valid; the workflow checks below show its permissions", t.token)
}

func (d *doctor) giteaWorkflow(ctx context.Context, s *config.Source, images []*config.Image) []Check {
	api, err := d.api.Gitea(ctx, s, forgeapi.GiteaStarts)
	if err != nil {
		return []Check{bad("correct source.host", "%s", err)}
	}
	text, f := d.giteaWorkflowFile(ctx, api, s, images)
	if f != nil {
		return []Check{*f}
	}
	found := dispatchable(text, images)
	if len(found) == 0 {
		found = []Check{d.giteaStartable(ctx, api, s)}
	}
	return append(found, unlocked(text, images)...)
}

// giteaWorkflowFile reads the workflow file of the branch that is built, or returns the failed check.
func (d *doctor) giteaWorkflowFile(ctx context.Context, api *forgeapi.Gitea, s *config.Source, images []*config.Image) ([]byte, *Check) {
	var repo struct {
		FullName   string `json:"full_name"`
		HasActions bool   `json:"has_actions"`
	}
	err := api.Get(ctx, api.Repo(s.Repo), nil, &repo)
	if err == nil && repo.FullName == "" {
		err = api.Unexpected("")
	}
	if f := d.failed(err, s, "no repository "+s.Repo+", or the token has no access to it"); f != nil {
		return nil, f
	}
	if !repo.HasActions {
		f := bad("enable Actions in the settings of the repository", "Actions are disabled in the repository")
		return nil, &f
	}
	for _, folder := range s.Provider.WorkflowFolders() {
		var file struct {
			Content []byte `json:"content"`
		}
		err = api.Get(ctx, api.Repo(s.Repo, append([]string{"contents"}, append(strings.Split(folder, "/"), s.Workflow)...)...), url.Values{"ref": {s.Branch}}, &file)
		if err == nil {
			return file.Content, nil
		}
		if !forgeapi.IsNotFound(err) {
			break
		}
	}
	return nil, d.noWorkflow(err, s, images, "no workflow "+s.Workflow+" on the branch "+s.Branch)
}

// giteaStartable requests a start of the workflow on a branch that cannot exist. If the token may start it, Gitea answers that there
// is no such branch.
func (d *doctor) giteaStartable(ctx context.Context, api *forgeapi.Gitea, s *config.Source) Check {
	if api.Token == "" {
		return ok(accepts + "; no token to check whether it can be started")
	}
	_, err := api.Send(ctx, http.MethodPost, api.Repo(s.Repo, "actions", "workflows", s.Workflow, "dispatches"), nil,
		map[string]any{"ref": "imagefactory..doctor"}, nil) // two dots are invalid in the name of a branch
	switch e := forgeapi.As(err); {
	case e != nil && e.Disabled():
		return bad("enable it on the Actions page of the repository", "not enabled (%s)", e.Message)
	case forgeapi.HasStatus(err, http.StatusUnauthorized, http.StatusForbidden) && !e.Limited:
		token, _ := d.token(ctx, credentials.API, s.Host) // it was found above
		return readOnly(bad("give the token "+forgeapi.GiteaStarts+": "+d.hint(s.Host), "the token cannot start it (%d: %s)", e.Status, e.Message), d.starts(token))
	case forgeapi.IsNotFound(err) && strings.Contains(e.Message, "ref"):
		return ok(accepts + ", and the token can start it")
	case e != nil && e.Status == 0:
		return bad("check source.host and the network", "%s", err)
	}
	return ok(accepts + "; it was not checked whether the token can start it")
}
