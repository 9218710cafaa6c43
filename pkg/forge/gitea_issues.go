package forge

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const giteaIssueNeeds = "the scope write:issue, and write access to the issues of the repository"

// giteaIssues are the [Issues] of a repository at Gitea or Forgejo.
type giteaIssues struct{ giteaRepository }

func openGiteaIssues(ctx context.Context, clients *forgeapi.Clients, src *config.Source) (Issues, *forgeapi.Endpoint, error) {
	api, err := clients.Gitea(ctx, src, giteaIssueNeeds)
	if err != nil {
		return nil, nil, err
	}
	return &giteaIssues{giteaRepository{api, src}}, api.Endpoint, nil
}

// giteaIssue is an issue in a response.
type giteaIssue struct {
	Number int64        `json:"number"`
	URL    string       `json:"html_url"`
	Title  string       `json:"title"`
	Body   string       `json:"body"`
	State  string       `json:"state"`
	Labels []giteaLabel `json:"labels"`
	Pull   *struct{}    `json:"pull_request"`
}

func (i *giteaIssue) issue() Issue {
	return Issue{Number: i.Number, URL: webURL(i.URL), Open: i.State == "open", Title: i.Title, Body: i.Body}
}

// Issues implements [Issues]. Gitea ignores a label in the query that does not exist.
func (g *giteaIssues) Issues(ctx context.Context, label string, since time.Time) ([]Issue, error) {
	if id, err := g.findLabel(ctx, label); err != nil || id == 0 {
		return nil, err
	}
	return listIssues(since, "open", func(state string) ([]Issue, error) {
		query := url.Values{"state": {state}, "type": {"issues"}, "labels": {label}, "limit": {strconv.Itoa(issuesPage)}}
		if state == "closed" {
			query.Set("since", since.UTC().Format(time.RFC3339))
		}
		return g.list(ctx, label, query)
	})
}

func (g *giteaIssues) list(ctx context.Context, label string, query url.Values) ([]Issue, error) {
	var out []Issue
	err := allPages(g.Host, label, func(page int) (int, error) {
		query.Set("page", strconv.Itoa(page))
		var list []giteaIssue
		if err := g.get(ctx, "/issues", query, &list); err != nil {
			return 0, err
		}
		if list == nil {
			return 0, g.Unexpected("")
		}
		for i := range list {
			if list[i].Number <= 0 {
				return 0, g.Unexpected("")
			}
			if list[i].Pull == nil && slices.Contains(list[i].Labels, giteaLabel{label}) {
				out = append(out, list[i].issue())
			}
		}
		return len(list), nil
	})
	slices.SortFunc(out, func(a, b Issue) int { return int(a.Number - b.Number) })
	return out, err
}

// findLabel returns the ID of a label of the repository; 0 if there is none.
func (g *giteaIssues) findLabel(ctx context.Context, name string) (id int64, err error) {
	err = allPages(g.Host, name, func(page int) (int, error) {
		var list []struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		}
		if err := g.get(ctx, "/labels", url.Values{"page": {strconv.Itoa(page)}, "limit": {strconv.Itoa(issuesPage)}}, &list); err != nil {
			return 0, err
		}
		if list == nil {
			return 0, g.Unexpected("")
		}
		for _, l := range list {
			if l.ID <= 0 {
				return 0, g.Unexpected("")
			}
			if l.Name == name {
				id = l.ID
				return 0, nil
			}
		}
		return len(list), nil
	})
	return id, err
}

// OpenIssue implements [Issues]. Gitea creates an issue without its labels if the token may not set them.
func (g *giteaIssues) OpenIssue(ctx context.Context, n NewIssue) (*Issue, error) {
	id, err := g.findLabel(ctx, n.Label)
	if err != nil {
		return nil, err
	}
	if id == 0 {
		var made struct {
			ID int64 `json:"id"`
		}
		if err := g.send(ctx, http.MethodPost, "/labels", map[string]string{"name": n.Label, "color": labelColor, "description": labelText}, &made); err != nil {
			return nil, err
		}
		if id = made.ID; id <= 0 {
			return nil, g.Unexpected("")
		}
	}
	var made giteaIssue
	if err := g.send(ctx, http.MethodPost, "/issues", map[string]any{"title": n.Title, "body": n.Body, "labels": []int64{id}}, &made); err != nil {
		return nil, err
	}
	if made.Number <= 0 {
		return nil, g.Unexpected("")
	}
	i := made.issue()
	if !slices.Contains(made.Labels, giteaLabel{n.Label}) {
		return nil, unlabelled(ctx, g, &i, n.Label)
	}
	return &i, g.decorate(ctx, i.Number, NewRequest{Labels: n.labels()[1:], Assignees: n.Assignees})
}

// EditIssue implements [Issues].
func (g *giteaIssues) EditIssue(ctx context.Context, number int64, e IssueEdit) error {
	state := "closed"
	if e.Open {
		state = "open"
	}
	var edited giteaIssue
	if err := g.send(ctx, http.MethodPatch, issuePath(number), map[string]string{"title": e.Title, "body": e.Body, "state": state}, &edited); err != nil {
		return err
	}
	if edited.State != state {
		return errors.New(g.Host + ": the issue was not changed")
	}
	return nil
}
