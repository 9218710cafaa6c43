package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const gitHubIssueNeeds = "read and write access to the issues of the repository"

// gitHubIssues are the [Issues] of a repository at GitHub.
type gitHubIssues struct {
	*forgeapi.GitHub
	owner, repo string
}

func openGitHubIssues(ctx context.Context, clients *forgeapi.Clients, src *config.Source) (Issues, *forgeapi.Endpoint, error) {
	api, err := clients.GitHub(ctx, src, gitHubIssueNeeds)
	if err != nil {
		return nil, nil, err
	}
	owner, repo, _ := strings.Cut(src.Repo, "/")
	return &gitHubIssues{api, owner, repo}, api.Endpoint, nil
}

func (g *gitHubIssues) explained(err error) error {
	return forgeapi.Explain(g.Error(err), func(*forgeapi.Error) string { return issuesRepoHelp + gitHubIssueNeeds })
}

// Issues implements [Issues].
func (g *gitHubIssues) Issues(ctx context.Context, label string, since time.Time) ([]Issue, error) {
	return listIssues(since, "open", func(state string) ([]Issue, error) {
		opts := &github.IssueListByRepoOptions{State: state, Labels: []string{label}, Sort: "created", Direction: "asc"}
		if state == "closed" {
			opts.Since = since
		}
		return g.list(ctx, label, opts)
	})
}

func (g *gitHubIssues) list(ctx context.Context, label string, opts *github.IssueListByRepoOptions) ([]Issue, error) {
	var out []Issue
	err := allPages(g.Host, label, func(page int) (int, error) {
		opts.ListOptions = github.ListOptions{Page: page, PerPage: issuesPage}
		list, _, err := g.GitHub.Issues.ListByRepo(ctx, g.owner, g.repo, opts)
		if err != nil {
			return 0, g.explained(err)
		}
		if list == nil || slices.Contains(list, nil) {
			return 0, g.Unexpected("")
		}
		for _, i := range list {
			if !i.IsPullRequest() && hasGitHubLabel(i, label) {
				out = append(out, gitHubIssue(i))
			}
		}
		return len(list), nil
	})
	return out, err
}

// hasGitHubLabel reports whether an issue has a label. GitHub ignores the case of its labels.
func hasGitHubLabel(i *github.Issue, label string) bool {
	return slices.ContainsFunc(i.Labels, func(l *github.Label) bool { return l != nil && strings.EqualFold(l.GetName(), label) })
}

func gitHubIssue(i *github.Issue) Issue {
	return Issue{Number: int64(i.GetNumber()), URL: webURL(i.GetHTMLURL()), Open: i.GetState() == "open", Title: i.GetTitle(), Body: i.GetBody()}
}

// OpenIssue implements [Issues]. GitHub creates an issue without its labels if the token may not set them; such a token cannot create
// a label either.
func (g *gitHubIssues) OpenIssue(ctx context.Context, n NewIssue) (*Issue, error) {
	_, _, err := g.GitHub.Issues.CreateLabel(ctx, g.owner, g.repo, &github.Label{
		Name: &n.Label, Color: github.Ptr(strings.TrimPrefix(labelColor, "#")), Description: github.Ptr(labelText),
	})
	if err = g.explained(err); err != nil && !forgeapi.HasStatus(err, http.StatusUnprocessableEntity) { // which means that it exists
		return nil, fmt.Errorf("creating the label %q: %w", n.Label, err)
	}
	made, _, err := g.GitHub.Issues.Create(ctx, g.owner, g.repo, &github.IssueRequest{Title: &n.Title, Body: &n.Body, Labels: github.Ptr(n.labels())})
	if err != nil {
		return nil, g.explained(err)
	}
	if made.GetNumber() <= 0 {
		return nil, g.Unexpected("")
	}
	i := gitHubIssue(made)
	if !hasGitHubLabel(made, n.Label) {
		return nil, unlabelled(ctx, g, &i, n.Label)
	}
	if len(n.Assignees) == 0 {
		return &i, nil
	}
	if _, _, err := g.GitHub.Issues.AddAssignees(ctx, g.owner, g.repo, made.GetNumber(), n.Assignees); err != nil {
		return &i, &IncompleteError{fmt.Errorf("setting assignees: %w", g.explained(err))}
	}
	return &i, nil
}

// EditIssue implements [Issues].
func (g *gitHubIssues) EditIssue(ctx context.Context, number int64, e IssueEdit) error {
	state := "closed"
	if e.Open {
		state = "open"
	}
	edited, _, err := g.GitHub.Issues.Edit(ctx, g.owner, g.repo, int(number), &github.IssueRequest{Title: &e.Title, Body: &e.Body, State: &state})
	if err != nil {
		return g.explained(err)
	}
	if edited.GetState() != state {
		return errors.New(g.Host + ": the issue was not changed")
	}
	return nil
}
