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
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const (
	rebuildVariable = "IMAGEFACTORY_REBUILD" // holds the ID of the rebuild

	gitlabPage  = 100
	gitlabPages = 3
	gitlabReads = 30 // pipelines whose variables one list reads
)

const gitLabNeeds = "the scope api, and a role in the project that may run pipelines on the branch"

// gitLab is a project at GitLab.
type gitLab struct {
	*forgeapi.GitLab
	src *config.Source
}

func openGitLab(ctx context.Context, c *Client, src *config.Source) (service, *forgeapi.Endpoint, error) {
	api, err := c.o.API.GitLab(ctx, src, gitLabNeeds)
	if err != nil {
		return nil, nil, err
	}
	return &gitLab{GitLab: api, src: src}, api.Endpoint, nil
}

func (g *gitLab) builder() string {
	return fmt.Sprintf("a pipeline of %s at %s, branch %s", g.src.Repo, g.Host, g.src.Branch)
}

// variables returns the variables of the image's entry.
func (g *gitLab) variables(d Dispatch) map[string]string {
	out := fill(g.src.Variables, d)
	if g.src.Job != "" {
		out[config.JobVariable] = g.src.Job
	}
	return out
}

// start puts the rebuild ID into a variable, so that its pipeline can be found, unless the project forbids variables and the
// entry has none.
func (g *gitLab) start(ctx context.Context, d Dispatch) (Run, error) {
	variables := g.variables(d)
	own := len(variables)
	variables[rebuildVariable] = d.Rebuild
	run, err := g.create(ctx, variables, fill(g.src.Inputs, d))
	if own == 0 && refusesVariables(err) {
		run, err = g.create(ctx, nil, fill(g.src.Inputs, d))
	}
	return run, refusal(err, g.advice)
}

func (g *gitLab) create(ctx context.Context, variables, inputs map[string]string) (Run, error) {
	opts := &gitlab.CreatePipelineOptions{Ref: &g.src.Branch}
	for name, value := range inputs {
		if opts.Inputs == nil {
			opts.Inputs = gitlab.PipelineInputsOption{}
		}
		opts.Inputs[name] = gitlab.NewPipelineInputValue(value)
	}
	if len(variables) > 0 {
		var list []*gitlab.PipelineVariableOptions
		for _, key := range slices.Sorted(maps.Keys(variables)) {
			list = append(list, &gitlab.PipelineVariableOptions{Key: &key, Value: gitlab.Ptr(variables[key])})
		}
		opts.Variables = &list
	}
	p, _, err := g.Pipelines.CreatePipeline(g.src.Repo, opts, gitlab.WithContext(ctx))
	if err != nil {
		return Run{}, g.Error(err)
	}
	if p == nil || p.ID <= 0 {
		return Run{}, g.Unexpected("")
	}
	return Run{ID: strconv.FormatInt(p.ID, 10), URL: webURL(p.WebURL)}, nil
}

// refusesVariables reports whether the project's setting ci_pipeline_variables_minimum_override_role forbids variables.
func refusesVariables(err error) bool {
	return forgeapi.HasStatus(err, http.StatusBadRequest) && strings.Contains(forgeapi.As(err).Message, "set pipeline variables")
}

// advice returns what to do about a refusal.
func (g *gitLab) advice(e *forgeapi.Error) string {
	repo, branch := g.src.BuilderKeys()
	switch {
	case refusesVariables(e):
		return "let the token's role use pipeline variables under Settings > CI/CD > Variables, or with ci_pipeline_variables_minimum_override_role " +
			"in the projects API, or give the token that role, or remove source.job and source.variables"
	case strings.Contains(e.Message, "Reference not found"):
		return "correct " + branch
	case strings.Contains(e.Message, "will not run for the selected trigger"), strings.Contains(e.Message, "filtered out"):
		return "let workflow:rules and the rules of the jobs in .gitlab-ci.yml run for the pipeline source \"api\""
	case e.Status == http.StatusNotFound:
		return "check " + repo + ", and that the token has " + gitLabNeeds
	case e.Status == http.StatusMethodNotAllowed:
		return "the project has moved: correct " + repo
	}
	return "check .gitlab-ci.yml, " + branch + ", source.inputs and source.variables"
}

// list lists the pipelines that were created through the API. Their variables name the rebuild. A pipeline without variables
// may be for an entry that has none; a pipeline whose variables the token cannot read may be for any.
func (g *gitLab) list(ctx context.Context, d Dispatch, since time.Time, taken func(Run) bool) (candidates, error) {
	pipelines, more, err := g.since(ctx, since)
	if err != nil {
		return candidates{}, forgeapi.Explain(err, g.advice)
	}
	seen := candidates{more: more}
	bare, reads := len(g.variables(d)) == 0, 0
	for _, p := range pipelines {
		run := Run{ID: strconv.FormatInt(p.ID, 10), URL: webURL(p.WebURL)}
		if p.ID <= 0 || taken(run) {
			continue
		}
		named, ours := names(p.Name, d.Rebuild)
		if ours {
			return candidates{exact: &run}, nil
		}
		if named {
			continue
		}
		if reads++; reads > gitlabReads {
			seen.more = true
			break
		}
		variables, _, err := g.Pipelines.GetPipelineVariables(g.src.Repo, p.ID, gitlab.WithContext(ctx))
		switch err = g.Error(err); {
		case forgeapi.IsNotFound(err): // deleted since
		case forgeapi.HasStatus(err, http.StatusForbidden):
			seen.more = true
		case err != nil:
			return candidates{}, forgeapi.Explain(err, g.advice)
		case variables == nil, slices.Contains(variables, nil):
			return candidates{}, g.Unexpected("")
		case isFor(variables, d.Rebuild):
			return candidates{exact: &run}, nil
		case len(variables) == 0 && bare:
			seen.add(run, ended(p.Status))
		}
	}
	return seen, nil
}

func isFor(variables []*gitlab.PipelineVariable, rebuild string) bool {
	return slices.ContainsFunc(variables, func(v *gitlab.PipelineVariable) bool { return v.Key == rebuildVariable && v.Value == rebuild })
}

// since lists the pipelines of the branch that were created through the API after a time, and reports whether there may be
// more. Old servers ignore some filters, so all are checked again here.
func (g *gitLab) since(ctx context.Context, since time.Time) ([]*gitlab.PipelineInfo, bool, error) {
	opts := &gitlab.ListProjectPipelinesOptions{
		Ref: &g.src.Branch, Source: gitlab.Ptr("api"), CreatedAfter: &since, UpdatedAfter: &since,
		OrderBy: gitlab.Ptr("id"), Sort: gitlab.Ptr("desc"), ListOptions: gitlab.ListOptions{PerPage: gitlabPage},
	}
	var out []*gitlab.PipelineInfo
	for range gitlabPages {
		page, resp, err := g.Pipelines.ListProjectPipelines(g.src.Repo, opts, gitlab.WithContext(ctx))
		if err != nil {
			return nil, false, g.Error(err)
		}
		if page == nil || slices.Contains(page, nil) {
			return nil, false, g.Unexpected("")
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

func (g *gitLab) follow(ctx context.Context, id int64) (*RunState, error) {
	p, _, err := g.Pipelines.GetPipeline(g.src.Repo, id, gitlab.WithContext(ctx))
	if err = g.Error(err); forgeapi.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, forgeapi.Explain(err, g.advice)
	}
	if p == nil || p.Status == "" {
		return nil, g.Unexpected("")
	}
	result := &RunState{Run: Run{URL: webURL(p.WebURL)}, Phase: Running}
	switch {
	case p.Status == "success":
		result.Phase = Succeeded
	case ended(p.Status):
		result.Phase, result.Message = Failed, "ended as "+p.Status
	}
	return result, nil
}

// ended reports whether a pipeline with that status has ended.
func ended(status string) bool {
	switch status {
	case "success", "failed", "canceled", "skipped":
		return true
	}
	return false
}

// visible lists the pipelines: a token may have access to the project and not to those.
func (g *gitLab) visible(ctx context.Context) error {
	page, _, err := g.Pipelines.ListProjectPipelines(g.src.Repo, &gitlab.ListProjectPipelinesOptions{ListOptions: gitlab.ListOptions{PerPage: 1}}, gitlab.WithContext(ctx))
	if err == nil && page == nil {
		return g.Unexpected("")
	}
	return forgeapi.Explain(g.Error(err), g.advice)
}
