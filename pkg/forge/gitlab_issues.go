package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const gitLabIssueNeeds = "the scope api, and the role Reporter in the project"

// gitLabIssues are the [Issues] of a project at GitLab.
type gitLabIssues struct{ gitLabRepository }

func openGitLabIssues(ctx context.Context, api *forgeapi.Clients, src *config.Source) (Issues, *forgeapi.Endpoint, error) {
	client, err := api.GitLab(ctx, src, gitLabIssueNeeds)
	if err != nil {
		return nil, nil, err
	}
	return &gitLabIssues{gitLabRepository{client, src}}, client.Endpoint, nil
}

func (g *gitLabIssues) explained(err error) error {
	return forgeapi.Explain(g.Error(err), func(*forgeapi.Error) string { return issuesRepoHelp + gitLabIssueNeeds })
}

// Issues implements [Issues].
func (g *gitLabIssues) Issues(ctx context.Context, label string, since time.Time) ([]Issue, error) {
	return listIssues(since, "opened", func(state string) ([]Issue, error) {
		opts := &gitlab.ListProjectIssuesOptions{
			State: &state, Labels: &gitlab.LabelOptions{label}, OrderBy: gitlab.Ptr("created_at"), Sort: gitlab.Ptr("asc"),
		}
		if state == "closed" {
			opts.UpdatedAfter = &since
		}
		return g.list(ctx, label, opts)
	})
}

func (g *gitLabIssues) list(ctx context.Context, label string, opts *gitlab.ListProjectIssuesOptions) ([]Issue, error) {
	var out []Issue
	err := allPages(g.Host, label, func(page int) (int, error) {
		opts.ListOptions = gitlab.ListOptions{Page: int64(page), PerPage: issuesPage}
		list, _, err := g.GitLab.Issues.ListProjectIssues(g.src.Repo, opts, gitlab.WithContext(ctx))
		if err != nil {
			return 0, g.explained(err)
		}
		if list == nil || slices.Contains(list, nil) {
			return 0, g.Unexpected("")
		}
		for _, i := range list {
			if slices.Contains(i.Labels, label) {
				out = append(out, gitLabIssue(i))
			}
		}
		return len(list), nil
	})
	return out, err
}

func gitLabIssue(i *gitlab.Issue) Issue {
	return Issue{Number: i.IID, URL: webURL(i.WebURL), Open: i.State == "opened", Title: i.Title, Body: i.Description}
}

// OpenIssue implements [Issues].
func (g *gitLabIssues) OpenIssue(ctx context.Context, n NewIssue) (*Issue, error) {
	_, _, err := g.Labels.CreateLabel(g.src.Repo, &gitlab.CreateLabelOptions{
		Name: &n.Label, Color: gitlab.Ptr(labelColor), Description: gitlab.Ptr(labelText),
	}, gitlab.WithContext(ctx))
	if err = g.explained(err); err != nil && !forgeapi.HasStatus(err, http.StatusConflict) { // which means that it exists
		return nil, fmt.Errorf("creating the label %q: %w", n.Label, err)
	}
	labels := gitlab.LabelOptions(n.labels())
	opts := &gitlab.CreateIssueOptions{Title: &n.Title, Description: &n.Body, Labels: &labels}
	ids, missing := g.users(ctx, n.Assignees)
	opts.AssigneeIDs = ids
	made, _, err := g.GitLab.Issues.CreateIssue(g.src.Repo, opts, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return nil, g.explained(err)
	case made == nil || made.IID <= 0:
		return nil, g.Unexpected("")
	}
	i := gitLabIssue(made)
	if !slices.Contains(made.Labels, n.Label) {
		return nil, unlabelled(ctx, g, &i, n.Label)
	}
	if err := errors.Join(missing...); err != nil {
		return &i, &IncompleteError{err}
	}
	return &i, nil
}

// EditIssue implements [Issues]. GitLab refuses to open an open issue, and to close a closed one, by ignoring it.
func (g *gitLabIssues) EditIssue(ctx context.Context, number int64, e IssueEdit) error {
	event, state := "close", "closed"
	if e.Open {
		event, state = "reopen", "opened"
	}
	edited, _, err := g.GitLab.Issues.UpdateIssue(g.src.Repo, number, &gitlab.UpdateIssueOptions{Title: &e.Title, Description: &e.Body, StateEvent: &event}, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return g.explained(err)
	case edited == nil || edited.State != state:
		return errors.New(g.Host + ": the issue was not changed")
	}
	return nil
}
