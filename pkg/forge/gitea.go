package forge

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const (
	giteaPage  = 30
	giteaPages = 5
)

// gitea is a repository at Gitea or Forgejo.
type gitea struct {
	*forgeapi.Gitea
	src *config.Source
}

func openGitea(ctx context.Context, c *Client, src *config.Source) (service, *forgeapi.Endpoint, error) {
	api, err := c.o.API.Gitea(ctx, src, forgeapi.GiteaStarts)
	if err != nil {
		return nil, nil, err
	}
	return &gitea{Gitea: api, src: src}, api.Endpoint, nil
}

func (g *gitea) builder() string {
	return fmt.Sprintf("workflow %q of %s at %s, branch %s", g.src.Workflow, g.src.Repo, g.Host, g.src.Branch)
}

// started is the response to a dispatch: the first keys are Gitea's, ID is Forgejo's.
type started struct {
	RunID   int64  `json:"workflow_run_id"`
	HTMLURL string `json:"html_url"`
	ID      int64  `json:"id"`
}

// start requests the run's ID, which Gitea returns since 1.26 and Forgejo since 12, each for a parameter of its own. Older servers
// ignore both and return no content.
func (g *gitea) start(ctx context.Context, d Dispatch) (Run, error) {
	body := map[string]any{"ref": g.src.Branch, "inputs": fill(g.src.Inputs, d), "return_run_info": true}
	var run started
	status, err := g.Send(ctx, http.MethodPost, g.Repo(g.src.Repo, "actions", "workflows", g.src.Workflow, "dispatches"),
		url.Values{"return_run_details": {"true"}}, body, &run)
	switch id := cmp.Or(run.RunID, run.ID); {
	case err != nil:
		return Run{}, refusal(err, g.advice)
	case id > 0:
		return Run{ID: strconv.FormatInt(id, 10), URL: webURL(run.HTMLURL)}, nil
	case status == http.StatusNoContent: // without the run
		return Run{}, nil
	}
	return Run{}, g.Unexpected("")
}

// advice returns what to do about a refusal.
func (g *gitea) advice(e *forgeapi.Error) string {
	repo, branch := g.src.BuilderKeys()
	switch {
	case e.Disabled():
		return "enable the workflow in the Actions of " + g.src.Repo
	case strings.Contains(e.Message, "workflow"):
		return "check source.workflow: the file must be on the branch " + g.src.Branch
	case strings.Contains(e.Message, "ref"):
		return "correct " + branch
	case e.Status == http.StatusNotFound:
		return "check " + repo + ", that Actions are enabled in the repository, and that the token has " + forgeapi.GiteaStarts
	}
	return "check the workflow file and source.inputs"
}

// giteaRun is a workflow run: Gitea's keys are those of GitHub, Forgejo has others for some.
type giteaRun struct {
	ID         int64     `json:"id"`
	HTMLURL    string    `json:"html_url"`
	Title      string    `json:"display_title"`
	Branch     string    `json:"head_branch"`
	Path       string    `json:"path"` // build.yml@refs/heads/main
	Event      string    `json:"event"`
	Status     string    `json:"status"`
	Conclusion string    `json:"conclusion"`
	Started    time.Time `json:"started_at"`

	ForgejoTitle    string    `json:"title"`
	ForgejoBranch   string    `json:"prettyref"`
	ForgejoWorkflow string    `json:"workflow_id"`
	ForgejoTrigger  string    `json:"trigger_event"`
	Created         time.Time `json:"created"`
}

// dispatched reports whether a request started the run of a workflow on a branch.
func (r *giteaRun) dispatched(workflow, branch string) bool {
	file, _, _ := strings.Cut(cmp.Or(r.ForgejoWorkflow, r.Path), "@")
	return file == workflow && cmp.Or(r.ForgejoBranch, r.Branch) == branch && cmp.Or(r.ForgejoTrigger, r.Event) == "workflow_dispatch"
}

// before reports whether the run certainly was created before a time. Gitea only returns when a run started, which may be later.
func (r *giteaRun) before(t time.Time) bool {
	at := r.Created
	if at.IsZero() {
		at = r.Started
	}
	return at.Unix() > 0 && at.Before(t)
}

// ended returns the conclusion of a run; empty while it runs. Forgejo has one status for both.
func (r *giteaRun) ended() string {
	if r.Status == "completed" {
		return r.Conclusion
	}
	switch r.Status {
	case "success", "failure", "cancelled", "skipped":
		return r.Status
	}
	return ""
}

// list lists the dispatched runs, the newest first. A title with the rebuild ID (run-name, with an input that holds {{promotion}}) is
// an exact match; one with the ID of another rebuild is never a match. IDs grow, so that the list ends at a run that is too old.
func (g *gitea) list(ctx context.Context, d Dispatch, since time.Time, taken func(Run) bool) (candidates, error) {
	var seen candidates
	for n := range giteaPages {
		page, err := g.page(ctx, n+1)
		if forgeapi.HasStatus(err, http.StatusNotFound) && !forgeapi.IsNotFound(err) && g.responds(ctx) {
			return candidates{more: true}, nil // the server is older than the list
		}
		if err != nil {
			return candidates{}, forgeapi.Explain(err, g.advice)
		}
		for i := range page {
			r := &page[i]
			run := Run{ID: strconv.FormatInt(r.ID, 10), URL: webURL(r.HTMLURL)}
			if r.before(since) {
				return seen, nil
			}
			if r.ID <= 0 || !r.dispatched(g.src.Workflow, g.src.Branch) || taken(run) {
				continue
			}
			switch named, ours := names(cmp.Or(r.Title, r.ForgejoTitle), d.Rebuild); {
			case ours:
				return candidates{exact: &run}, nil
			case !named:
				seen.add(run, r.ended() != "")
			}
		}
		if len(page) < giteaPage {
			return seen, nil
		}
	}
	seen.more = true
	return seen, nil
}

// page returns a page of the runs. Gitea filters them by branch and event, Forgejo ignores that.
func (g *gitea) page(ctx context.Context, n int) ([]giteaRun, error) {
	var list struct {
		Total *int64     `json:"total_count"`
		Runs  []giteaRun `json:"workflow_runs"`
	}
	err := g.Get(ctx, g.Repo(g.src.Repo, "actions", "runs"), url.Values{
		"event": {"workflow_dispatch"}, "branch": {g.src.Branch}, "page": {strconv.Itoa(n)}, "limit": {strconv.Itoa(giteaPage)},
	}, &list)
	if err == nil && list.Total == nil {
		return nil, g.Unexpected("")
	}
	return list.Runs, err
}

// responds reports whether the server is one of Gitea or Forgejo, and not a gateway without a route to it.
func (g *gitea) responds(ctx context.Context) bool {
	var server struct {
		Version string `json:"version"`
	}
	err := g.Get(ctx, "version", nil, &server)
	return err == nil && server.Version != ""
}

func (g *gitea) follow(ctx context.Context, id int64) (*RunState, error) {
	var r giteaRun
	err := g.Get(ctx, g.Repo(g.src.Repo, "actions", "runs", strconv.FormatInt(id, 10)), nil, &r)
	if forgeapi.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, forgeapi.Explain(err, g.advice)
	}
	result := &RunState{Run: Run{URL: webURL(r.HTMLURL)}, Phase: Running}
	switch end := r.ended(); {
	case r.Status == "", r.Status == "completed" && end == "":
		return nil, g.Unexpected("")
	case end == "":
	case end == "success":
		result.Phase = Succeeded
	default:
		result.Phase, result.Message = Failed, "ended as "+g.Clean(end)
	}
	return result, nil
}

// visible lists the runs: a token may have access to the repository and not to its runs.
func (g *gitea) visible(ctx context.Context) error {
	_, err := g.page(ctx, 1)
	return forgeapi.Explain(err, g.advice)
}
