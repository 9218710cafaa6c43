package forge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// Issues are the issues of a repository at a forge.
type Issues interface {
	// Issues returns the issues with a label, oldest first: all open ones, and the closed ones that changed since a time. It returns
	// an error unless it has read all of them.
	Issues(ctx context.Context, label string, since time.Time) ([]Issue, error)
	// OpenIssue opens an issue. Its label exists afterwards. An issue that does not get its label is closed again, because
	// [Issues.Issues] would not find it.
	OpenIssue(ctx context.Context, n NewIssue) (*Issue, error)
	// EditIssue replaces the title and the text of an issue, and opens or closes it.
	EditIssue(ctx context.Context, number int64, e IssueEdit) error
}

// Issue is an issue.
type Issue struct {
	Number int64
	URL    string // "" if it is not safe to print
	Open   bool
	Title  string
	Body   string
}

// NewIssue is an issue to open.
type NewIssue struct {
	Title, Body string
	Label       string   // by which it is found
	Labels      []string // further ones
	Assignees   []string // user names
}

// IssueEdit is the new content of an issue.
type IssueEdit struct {
	Title, Body string
	Open        bool
}

const (
	issuesPage     = 50
	maxIssuePages  = 20 // of a list
	labelColor     = "#d93f0b"
	labelText      = "Opened by imagefactory"
	issuesRepoHelp = "check the repository of factory.notify.issues, that it has issues, and that the token has "
)

// issueTrackers open the issues of a source's repository at its forge.
var issueTrackers = map[config.Provider]func(context.Context, *forgeapi.Clients, *config.Source) (Issues, *forgeapi.Endpoint, error){
	config.GitHub: openGitHubIssues,
	config.GitLab: openGitLabIssues,
	config.Gitea:  openGiteaIssues,
}

// HasIssues reports whether a provider has issues.
func HasIssues(p config.Provider) bool { return issueTrackers[p] != nil }

// Issues returns the issues of a source's repository. It needs a token.
func (c *Client) Issues(ctx context.Context, src *config.Source) (Issues, error) {
	open := issueTrackers[src.Provider]
	if open == nil {
		return nil, &RefusedError{fmt.Errorf("source.provider is %s, which has no issues", src.Provider)}
	}
	i, endpoint, err := open(ctx, c.o.API, src)
	if err != nil {
		return nil, err
	}
	return i, requireToken(endpoint)
}

// labels returns the labels of a new issue.
func (n *NewIssue) labels() []string {
	return append([]string{n.Label}, slices.DeleteFunc(slices.Clone(n.Labels), func(l string) bool { return l == n.Label })...)
}

// allPages reads the pages of a list of issues until one is not full. The read function appends to out, and returns the size of a page.
func allPages(host, label string, read func(page int) (int, error)) error {
	for page := 1; page <= maxIssuePages; page++ {
		n, err := read(page)
		if err != nil || n < issuesPage {
			return err
		}
	}
	return fmt.Errorf("%s: more than %d issues have the label %q (set factory.notify.issues.label to one that nothing else uses)", host, maxIssuePages*issuesPage, label)
}

// listIssues reads the open issues, and the closed ones that changed since a time unless that is zero.
func listIssues(since time.Time, open string, list func(state string) ([]Issue, error)) ([]Issue, error) {
	out, err := list(open)
	if err != nil || since.IsZero() {
		return out, err
	}
	more, err := list("closed")
	if err != nil {
		return nil, err
	}
	for _, i := range more { // one that was reopened meanwhile is in both
		if !slices.ContainsFunc(out, func(o Issue) bool { return o.Number == i.Number }) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b Issue) int { return int(a.Number - b.Number) })
	return out, nil
}

// unlabelled closes an issue that did not get its label.
func unlabelled(ctx context.Context, tracker Issues, i *Issue, label string) error {
	err := fmt.Errorf("issue %d did not get the label %q (the token must be allowed to set labels)", i.Number, label)
	return errors.Join(err, tracker.EditIssue(ctx, i.Number, IssueEdit{Title: i.Title, Body: i.Body}))
}
