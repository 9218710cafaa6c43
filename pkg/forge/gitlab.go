package forge

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
)

const (
	rebuildVariable = "IMAGEFACTORY_REBUILD" // tells pipelines apart

	gitlabPage  = 100
	gitlabPages = 3
	gitlabReads = 30 // pipelines whose variables are read in one look
)

// gitLab is a project at GitLab.
type gitLab struct {
	*wire
	src *config.Source
	api *gitlab.Client
}

// newGitLab switches off what the library would send again: after a status 5xx also a POST, that may have been accepted.
func newGitLab(w *wire, src *config.Source) (service, error) {
	w.auth = func(h http.Header, token string) { h.Set("Private-Token", token) }
	w.grant = "the scope api, and a role in the project that may run pipelines on the branch"
	client, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, gitlab.WithHTTPClient(w.client()),
		gitlab.WithBaseURL(w.api.String()), gitlab.WithoutRetries())
	if err != nil {
		return nil, fmt.Errorf("source.host %q: %w", src.Host, err)
	}
	return &gitLab{wire: w, src: src, api: client}, nil
}

func (g *gitLab) builder() string {
	return fmt.Sprintf("a pipeline of %s at %s, branch %s", g.src.Repo, g.host, g.src.Branch)
}

// variables are those of the image's entry.
func (g *gitLab) variables(o Order) map[string]string {
	out := fill(g.src.Variables, o)
	if g.src.Job != "" {
		out[config.JobVariable] = g.src.Job
	}
	return out
}

// start names the rebuild in a variable, so that its pipeline can be found. Where the project takes no variables and the
// entry has none, it does without.
func (g *gitLab) start(ctx context.Context, o Order) (Run, error) {
	variables := g.variables(o)
	own := len(variables)
	variables[rebuildVariable] = o.Rebuild
	run, err := g.create(ctx, variables)
	if own == 0 && refusesVariables(err) {
		run, err = g.create(ctx, nil)
	}
	return run, refusal(err, g.advice)
}

func (g *gitLab) create(ctx context.Context, variables map[string]string) (Run, error) {
	opts := &gitlab.CreatePipelineOptions{Ref: &g.src.Branch}
	if len(variables) > 0 {
		var list []*gitlab.PipelineVariableOptions
		for _, key := range slices.Sorted(maps.Keys(variables)) {
			list = append(list, &gitlab.PipelineVariableOptions{Key: &key, Value: gitlab.Ptr(variables[key])})
		}
		opts.Variables = &list
	}
	p, _, err := g.api.Pipelines.CreatePipeline(g.src.Repo, opts, gitlab.WithContext(ctx))
	if err != nil {
		return Run{}, g.problem(err)
	}
	if p == nil || p.ID <= 0 {
		return Run{}, g.odd()
	}
	return Run{ID: strconv.FormatInt(p.ID, 10), URL: webURL(p.WebURL)}, nil
}

// refusesVariables says whether the project's setting ci_pipeline_variables_minimum_override_role forbids variables.
func refusesVariables(err error) bool {
	return hasStatus(err, http.StatusBadRequest) && says(err, "set pipeline variables")
}

// advice says what to do about a refusal.
func (g *gitLab) advice(f *failure) string {
	switch {
	case refusesVariables(f):
		return "let the token's role use pipeline variables (Settings > CI/CD > Variables, or ci_pipeline_variables_minimum_override_role " +
			"in the projects API), or give the token that role, or remove source.job and source.variables"
	case strings.Contains(f.message, "Reference not found"):
		return "correct source.branch"
	case strings.Contains(f.message, "will not run for the selected trigger"), strings.Contains(f.message, "filtered out"):
		return "let workflow:rules and the rules of the jobs in .gitlab-ci.yml run for the pipeline source \"api\""
	case f.status == http.StatusNotFound:
		return "check source.repo, and that the token has " + g.grant
	case f.status == http.StatusMethodNotAllowed:
		return "the project has moved: correct source.repo"
	}
	return "check .gitlab-ci.yml, source.branch and source.variables"
}

// look lists the pipelines that were made through the API. Their variables tell which rebuild they are for. One without
// any can be for an entry that has none; one whose variables may not be read can be any.
func (g *gitLab) look(ctx context.Context, o Order, since time.Time, taken func(Run) bool) (sighting, error) {
	pipelines, more, err := g.since(ctx, since)
	if err != nil {
		return sighting{}, advised(err, g.advice)
	}
	seen := sighting{more: more}
	bare, reads := len(g.variables(o)) == 0, 0
	for _, p := range pipelines {
		run := Run{ID: strconv.FormatInt(p.ID, 10), URL: webURL(p.WebURL)}
		if p.ID <= 0 || taken(run) {
			continue
		}
		named, ours := names(p.Name, o.Rebuild)
		if ours {
			return sighting{exact: &run}, nil
		}
		if named {
			continue
		}
		if reads++; reads > gitlabReads {
			seen.more = true
			break
		}
		variables, _, err := g.api.Pipelines.GetPipelineVariables(g.src.Repo, p.ID, gitlab.WithContext(ctx))
		switch err = g.problem(err); {
		case isNotFound(err): // deleted since
		case hasStatus(err, http.StatusForbidden):
			seen.more = true
		case err != nil:
			return sighting{}, advised(err, g.advice)
		case variables == nil, slices.Contains(variables, nil):
			return sighting{}, g.odd()
		case isFor(variables, o.Rebuild):
			return sighting{exact: &run}, nil
		case len(variables) == 0 && bare:
			seen.add(run, ended(p.Status))
		}
	}
	return seen, nil
}

func isFor(variables []*gitlab.PipelineVariable, rebuild string) bool {
	return slices.ContainsFunc(variables, func(v *gitlab.PipelineVariable) bool { return v.Key == rebuildVariable && v.Value == rebuild })
}

// since lists the pipelines of the branch that were made through the API after a time, and says whether there may be more.
// Old servers do not know every filter, so all are checked here too.
func (g *gitLab) since(ctx context.Context, since time.Time) ([]*gitlab.PipelineInfo, bool, error) {
	opts := &gitlab.ListProjectPipelinesOptions{
		Ref: &g.src.Branch, Source: gitlab.Ptr("api"), CreatedAfter: &since, UpdatedAfter: &since,
		OrderBy: gitlab.Ptr("id"), Sort: gitlab.Ptr("desc"), ListOptions: gitlab.ListOptions{PerPage: gitlabPage},
	}
	var out []*gitlab.PipelineInfo
	for range gitlabPages {
		page, resp, err := g.api.Pipelines.ListProjectPipelines(g.src.Repo, opts, gitlab.WithContext(ctx))
		if err != nil {
			return nil, false, g.problem(err)
		}
		if page == nil || slices.Contains(page, nil) {
			return nil, false, g.odd()
		}
		for _, p := range page {
			if p.Source != "api" && p.Source != "" || p.CreatedAt != nil && p.CreatedAt.Before(since) {
				continue
			}
			out = append(out, p)
		}
		if resp.NextPage == 0 {
			return out, false, nil
		}
		opts.Page = resp.NextPage
	}
	return out, true, nil
}

func (g *gitLab) follow(ctx context.Context, id int64) (*Result, error) {
	p, _, err := g.api.Pipelines.GetPipeline(g.src.Repo, id, gitlab.WithContext(ctx))
	if err = g.problem(err); isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, advised(err, g.advice)
	}
	if p == nil || p.Status == "" {
		return nil, g.odd()
	}
	result := &Result{Run: Run{URL: webURL(p.WebURL)}, Status: Running}
	switch {
	case p.Status == "success":
		result.Status = Succeeded
	case ended(p.Status):
		result.Status, result.Message = Failed, "ended as "+p.Status
	}
	return result, nil
}

// ended reports whether a pipeline of that status is over.
func ended(status string) bool {
	switch status {
	case "success", "failed", "canceled", "skipped":
		return true
	}
	return false
}

// visible asks for the list of pipelines: a token may be allowed to see the project and not those.
func (g *gitLab) visible(ctx context.Context) error {
	page, _, err := g.api.Pipelines.ListProjectPipelines(g.src.Repo, &gitlab.ListProjectPipelinesOptions{ListOptions: gitlab.ListOptions{PerPage: 1}}, gitlab.WithContext(ctx))
	if err == nil && page == nil {
		return g.odd()
	}
	return advised(g.problem(err), g.advice)
}
