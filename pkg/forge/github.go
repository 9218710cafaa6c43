package forge

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
)

const (
	githubPage  = 30 // runs in one answer; each has some 15 KiB
	githubPages = 5
)

// gitHub is a repository at GitHub.
type gitHub struct {
	*wire
	src         *config.Source
	owner, repo string
	workflow    string // escaped
	api         *github.Client
}

func newGitHub(w *wire, src *config.Source) (service, error) {
	w.auth = func(h http.Header, token string) { h.Set("Authorization", "Bearer "+token) }
	w.grant = "read and write access to the Actions of the repository"
	base := w.api.String() + "/"
	client, err := github.NewClient(github.WithHTTPClient(w.client()), github.WithURLs(&base, nil), github.WithDisableRateLimitCheck())
	if err != nil {
		return nil, fmt.Errorf("source.host %q: %w", src.Host, err)
	}
	owner, repo, _ := strings.Cut(src.Repo, "/")
	return &gitHub{wire: w, src: src, owner: owner, repo: repo, workflow: url.PathEscape(src.Workflow), api: client}, nil
}

func (g *gitHub) builder() string {
	return fmt.Sprintf("workflow %q of %s at %s, branch %s", g.src.Workflow, g.src.Repo, g.host, g.src.Branch)
}

// start asks for the run's id (GitHub has given it since February 2026), and once more without asking when the server
// refuses the request because of that.
func (g *gitHub) start(ctx context.Context, o Order) (Run, error) {
	event := github.CreateWorkflowDispatchEventRequest{Ref: g.src.Branch, Inputs: map[string]any{}, ReturnRunDetails: github.Ptr(true)}
	for name, value := range fill(g.src.Inputs, o) {
		event.Inputs[name] = value
	}
	run, err := g.dispatch(ctx, event)
	if hasStatus(err, http.StatusBadRequest, http.StatusUnprocessableEntity) && says(err, "return_run_details") {
		event.ReturnRunDetails = nil
		run, err = g.dispatch(ctx, event)
	}
	return run, refusal(err, g.advice)
}

func (g *gitHub) dispatch(ctx context.Context, event github.CreateWorkflowDispatchEventRequest) (Run, error) {
	details, resp, err := g.api.Actions.CreateWorkflowDispatchEventByFileName(ctx, g.owner, g.repo, g.workflow, event)
	switch {
	case err != nil:
		return Run{}, g.problem(err)
	case details.GetWorkflowRunID() > 0:
	case resp.StatusCode == http.StatusNoContent: // it does not say which run it is
		return Run{}, nil
	default:
		return Run{}, g.odd()
	}
	return Run{ID: strconv.FormatInt(details.GetWorkflowRunID(), 10), URL: webURL(details.GetHTMLURL())}, nil
}

// advice says what to do about a refusal.
func (g *gitHub) advice(f *failure) string {
	for _, a := range []struct{ part, advice string }{
		{"'workflow_dispatch' trigger", "add workflow_dispatch to `on:` of the workflow file, on branch " + g.src.Branch},
		{"Unexpected inputs", "declare them in the workflow file, under on.workflow_dispatch.inputs, or remove them from source.inputs"},
		{"Required input", "set it in source.inputs"},
		{"not in the list of allowed values", "correct source.inputs, or the options in the workflow file"},
		{"No ref found", "correct source.branch"},
		{"disabled workflow", "enable the workflow on the Actions page of the repository"},
	} {
		if strings.Contains(f.message, a.part) {
			return a.advice
		}
	}
	if f.status == http.StatusNotFound {
		return "check source.repo and source.workflow (its file must be on the default branch too), and that the token has " + g.grant
	}
	return "check the workflow file and source.inputs"
}

// look lists the dispatched runs. One with the rebuild in its title (run-name, with an input that holds {{promotion}}) is
// exact, and one with another rebuild's is somebody else's.
func (g *gitHub) look(ctx context.Context, o Order, since time.Time, taken func(Run) bool) (sighting, error) {
	var seen sighting
	listed := 0
	opts := &github.ListWorkflowRunsOptions{
		Event: "workflow_dispatch", Branch: g.src.Branch, Created: ">=" + since.UTC().Format(time.RFC3339),
		ExcludePullRequests: true, ListOptions: github.ListOptions{PerPage: githubPage},
	}
	for range githubPages {
		page, resp, err := g.api.Actions.ListWorkflowRunsByFileName(ctx, g.owner, g.repo, g.workflow, opts)
		if err != nil {
			return sighting{}, advised(g.problem(err), g.advice)
		}
		if page == nil || page.TotalCount == nil {
			return sighting{}, g.odd()
		}
		listed += len(page.WorkflowRuns)
		for _, r := range page.WorkflowRuns {
			run := Run{ID: strconv.FormatInt(r.GetID(), 10), URL: webURL(r.GetHTMLURL())}
			if r.GetID() <= 0 || !r.GetCreatedAt().IsZero() && r.GetCreatedAt().Before(since) || taken(run) {
				continue
			}
			switch named, ours := names(r.GetDisplayTitle(), o.Rebuild); {
			case ours:
				return sighting{exact: &run}, nil
			case !named:
				seen.add(run, r.GetStatus() == "completed")
			}
		}
		if resp.NextPage == 0 {
			if listed < min(page.GetTotalCount(), githubPage*githubPages) {
				return sighting{}, &failure{host: g.host, message: fmt.Sprintf("it lists %d runs of the %d that there are", listed, page.GetTotalCount())}
			}
			return seen, nil
		}
		opts.Page = resp.NextPage
	}
	seen.more = true
	return seen, nil
}

func (g *gitHub) follow(ctx context.Context, id int64) (*Result, error) {
	r, _, err := g.api.Actions.GetWorkflowRunByID(ctx, g.owner, g.repo, id)
	if err = g.problem(err); isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, advised(err, g.advice)
	}
	result := &Result{Run: Run{URL: webURL(r.GetHTMLURL())}, Status: Running}
	switch {
	case r.GetStatus() == "", r.GetStatus() == "completed" && r.GetConclusion() == "":
		return nil, g.odd()
	case r.GetStatus() != "completed":
	case r.GetConclusion() == "success":
		result.Status = Succeeded
	default:
		result.Status, result.Message = Failed, "ended as "+g.clean(r.GetConclusion())
	}
	return result, nil
}

// visible asks for the list of runs: a token may be allowed to see the repository and not its runs.
func (g *gitHub) visible(ctx context.Context) error {
	opts := &github.ListWorkflowRunsOptions{ExcludePullRequests: true, ListOptions: github.ListOptions{PerPage: 1}}
	page, _, err := g.api.Actions.ListWorkflowRunsByFileName(ctx, g.owner, g.repo, g.workflow, opts)
	if err == nil && (page == nil || page.TotalCount == nil) {
		return g.odd()
	}
	return advised(g.problem(err), g.advice)
}
