package forge

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const (
	githubPage  = 30 // runs in one answer; each has some 15 KiB
	githubPages = 5
	// githubInputs is the number of characters that all inputs together may have.
	githubInputs = 65_535
)

const gitHubNeeds = "read and write access to the Actions of the repository"

// gitHub is a repository at GitHub.
type gitHub struct {
	*forgeapi.GitHub
	src         *config.Source
	owner, repo string
	workflow    string // escaped
}

func openGitHub(ctx context.Context, c *Client, src *config.Source) (service, *forgeapi.Endpoint, error) {
	api, err := c.o.API.GitHub(ctx, src, gitHubNeeds)
	if err != nil {
		return nil, nil, err
	}
	owner, repo, _ := strings.Cut(src.Repo, "/")
	return &gitHub{GitHub: api, src: src, owner: owner, repo: repo, workflow: url.PathEscape(src.Workflow)}, api.Endpoint, nil
}

func (g *gitHub) builder() string {
	return fmt.Sprintf("workflow %q of %s at %s, branch %s", g.src.Workflow, g.src.Repo, g.Host, g.src.Branch)
}

// start requests the run's ID, which GitHub returns since February 2026. If the server refuses the request because of that,
// start sends it without.
func (g *gitHub) start(ctx context.Context, d Dispatch) (Run, error) {
	size := 0
	event := github.CreateWorkflowDispatchEventRequest{Ref: g.src.Branch, Inputs: map[string]any{}, ReturnRunDetails: github.Ptr(true)}
	for name, value := range fill(g.src.Inputs, d) {
		event.Inputs[name] = value
		size += utf8.RuneCountInString(value)
	}
	if size > githubInputs {
		return Run{}, &RefusedError{fmt.Errorf("the inputs have %d characters, but GitHub accepts %d (shorten source.inputs, or let the workflow read the lock with the action pin)", size, githubInputs)}
	}
	run, err := g.dispatch(ctx, event)
	if forgeapi.HasStatus(err, http.StatusBadRequest, http.StatusUnprocessableEntity) && strings.Contains(forgeapi.As(err).Message, "return_run_details") {
		event.ReturnRunDetails = nil
		run, err = g.dispatch(ctx, event)
	}
	return run, refusal(err, g.advice)
}

func (g *gitHub) dispatch(ctx context.Context, event github.CreateWorkflowDispatchEventRequest) (Run, error) {
	details, resp, err := g.Actions.CreateWorkflowDispatchEventByFileName(ctx, g.owner, g.repo, g.workflow, event)
	switch {
	case err != nil:
		return Run{}, g.Error(err)
	case details.GetWorkflowRunID() > 0:
	case resp.StatusCode == http.StatusNoContent: // without the run
		return Run{}, nil
	default:
		return Run{}, g.Unexpected("")
	}
	return Run{ID: strconv.FormatInt(details.GetWorkflowRunID(), 10), URL: webURL(details.GetHTMLURL())}, nil
}

// advice returns what to do about a refusal.
func (g *gitHub) advice(e *forgeapi.Error) string {
	repo, branch := g.src.BuilderKeys()
	for _, a := range []struct{ part, advice string }{
		{"'workflow_dispatch' trigger", "add workflow_dispatch to `on:` of the workflow file, on branch " + g.src.Branch},
		{"Unexpected inputs", "declare them in the workflow file, under on.workflow_dispatch.inputs, or remove them from source.inputs"},
		{"Required input", "set it in source.inputs"},
		{"not in the list of allowed values", "correct source.inputs, or the options in the workflow file"},
		{"No ref found", "correct " + branch},
		{"disabled workflow", "enable the workflow on the Actions page of the repository"},
	} {
		if strings.Contains(e.Message, a.part) {
			return a.advice
		}
	}
	if e.Status == http.StatusNotFound {
		return "check " + repo + " and source.workflow, whose file must also be on the default branch, and that the token has " + gitHubNeeds
	}
	return "check the workflow file and source.inputs"
}

// list lists the dispatched runs. A title with the rebuild ID (run-name, with an input that holds {{promotion}}) is an exact
// match; one with the ID of another rebuild is never a match.
func (g *gitHub) list(ctx context.Context, d Dispatch, since time.Time, taken func(Run) bool) (candidates, error) {
	var seen candidates
	listed := 0
	opts := &github.ListWorkflowRunsOptions{
		Event: "workflow_dispatch", Branch: g.src.Branch, Created: ">=" + since.UTC().Format(time.RFC3339),
		ExcludePullRequests: true, ListOptions: github.ListOptions{PerPage: githubPage},
	}
	for range githubPages {
		page, resp, err := g.Actions.ListWorkflowRunsByFileName(ctx, g.owner, g.repo, g.workflow, opts)
		if err != nil {
			return candidates{}, forgeapi.Explain(g.Error(err), g.advice)
		}
		if page == nil || page.TotalCount == nil {
			return candidates{}, g.Unexpected("")
		}
		listed += len(page.WorkflowRuns)
		for _, r := range page.WorkflowRuns {
			run := Run{ID: strconv.FormatInt(r.GetID(), 10), URL: webURL(r.GetHTMLURL())}
			if r.GetID() <= 0 || !r.GetCreatedAt().IsZero() && r.GetCreatedAt().Before(since) || taken(run) {
				continue
			}
			switch named, ours := names(r.GetDisplayTitle(), d.Rebuild); {
			case ours:
				return candidates{exact: &run}, nil
			case !named:
				seen.add(run, r.GetStatus() == "completed")
			}
		}
		if resp.NextPage == 0 {
			if listed < min(page.GetTotalCount(), githubPage*githubPages) {
				return candidates{}, g.Unexpected(fmt.Sprintf("%d runs listed of %d", listed, page.GetTotalCount()))
			}
			return seen, nil
		}
		opts.Page = resp.NextPage
	}
	seen.more = true
	return seen, nil
}

func (g *gitHub) follow(ctx context.Context, id int64) (*RunState, error) {
	r, _, err := g.Actions.GetWorkflowRunByID(ctx, g.owner, g.repo, id)
	if err = g.Error(err); forgeapi.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, forgeapi.Explain(err, g.advice)
	}
	result := &RunState{Run: Run{URL: webURL(r.GetHTMLURL())}, Phase: Running}
	switch {
	case r.GetStatus() == "", r.GetStatus() == "completed" && r.GetConclusion() == "":
		return nil, g.Unexpected("")
	case r.GetStatus() != "completed":
	case r.GetConclusion() == "success":
		result.Phase = Succeeded
	default:
		result.Phase, result.Message = Failed, "ended as "+g.Clean(r.GetConclusion())
	}
	return result, nil
}

// visible lists the runs: a token may have access to the repository and not to its runs.
func (g *gitHub) visible(ctx context.Context) error {
	opts := &github.ListWorkflowRunsOptions{ExcludePullRequests: true, ListOptions: github.ListOptions{PerPage: 1}}
	page, _, err := g.Actions.ListWorkflowRunsByFileName(ctx, g.owner, g.repo, g.workflow, opts)
	if err == nil && (page == nil || page.TotalCount == nil) {
		return g.Unexpected("")
	}
	return forgeapi.Explain(g.Error(err), g.advice)
}
