package forge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const (
	gitHubRequestNeeds = "read and write access to the contents and pull requests of the repository"
	// requestsRead is the number of requests of one branch that are read.
	requestsRead = 50
	noCommit     = "0000000000000000000000000000000000000000" // of a branch that does not exist
	modeSymlink  = 0o120000
)

// gitHubRepository is a [Repository] at GitHub.
type gitHubRepository struct {
	*forgeapi.GitHub
	src         *config.Source
	owner, repo string
	node        string // its ID for GraphQL
}

func openGitHubRepository(ctx context.Context, clients *forgeapi.Clients, src *config.Source) (Repository, *forgeapi.Endpoint, error) {
	api, err := clients.GitHub(ctx, src, gitHubRequestNeeds)
	if err != nil {
		return nil, nil, err
	}
	owner, repo, _ := strings.Cut(src.Repo, "/")
	return &gitHubRepository{GitHub: api, src: src, owner: owner, repo: repo}, api.Endpoint, nil
}

// explained returns the error of the library, with what to do about a permanent one.
func (g *gitHubRepository) explained(err error) error {
	return forgeapi.Explain(g.Error(err), func(*forgeapi.Error) string {
		return "check source.repo, and that the token has " + gitHubRequestNeeds
	})
}

// Head implements [Repository].
func (g *gitHubRepository) Head(ctx context.Context, branch string) (string, error) {
	ref, _, err := g.Git.GetRef(ctx, g.owner, g.repo, "heads/"+branch)
	switch err = g.explained(err); {
	case forgeapi.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	}
	return g.checked(ref.GetObject().GetSHA())
}

// checked returns a commit that the forge named.
func (g *gitHubRepository) checked(sha string) (string, error) {
	if !isCommit(sha) {
		return "", g.Unexpected("invalid commit")
	}
	return sha, nil
}

// isCommit reports whether s is the name of a commit.
func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// ReadFile implements [Repository]. The contents API follows links, so the file is looked up in the tree of its folder.
func (g *gitHubRepository) ReadFile(ctx context.Context, file, commit string) ([]byte, error) {
	folder := path.Dir(file)
	if folder == "." {
		folder = ""
	}
	var found struct {
		Repository *struct {
			Object *struct {
				Entries []struct {
					Name, Type, OID string
					Mode            int
				}
			}
		}
	}
	const query = `query($owner: String!, $name: String!, $tree: String!) { repository(owner: $owner, name: $name) {` +
		` object(expression: $tree) { ... on Tree { entries { name type mode oid } } } } }`
	if err := g.GraphQL(ctx, query, map[string]any{"owner": g.owner, "name": g.repo, "tree": commit + ":" + folder}, &found); err != nil {
		return nil, err
	}
	if found.Repository == nil {
		return nil, g.Unexpected("")
	}
	if found.Repository.Object == nil {
		return nil, ErrNoFile
	}
	for _, e := range found.Repository.Object.Entries {
		switch {
		case e.Name != path.Base(file):
		case e.Type != "blob" || e.Mode == modeSymlink:
			return nil, notRegular(file)
		case !isCommit(e.OID):
			return nil, g.Unexpected("invalid blob")
		default:
			return g.blob(ctx, file, e.OID)
		}
	}
	return nil, ErrNoFile
}

// blob reads the content of a file.
func (g *gitHubRepository) blob(ctx context.Context, file, id string) ([]byte, error) {
	blob, _, err := g.Git.GetBlob(ctx, g.owner, g.repo, id)
	switch err = g.explained(err); {
	case isTooLarge(err):
		return nil, tooLarge(file)
	case err != nil:
		return nil, err
	}
	content, err := base64.StdEncoding.DecodeString(blob.GetContent()) // it ignores the line breaks
	if err != nil || blob.GetEncoding() != "base64" {
		return nil, g.Unexpected("invalid blob")
	}
	if len(content) > MaxFile {
		return nil, tooLarge(file)
	}
	return content, nil
}

// Compare implements [Repository].
func (g *gitHubRepository) Compare(ctx context.Context, base, head string) (*Comparison, error) {
	c, _, err := g.Repositories.CompareCommits(ctx, g.owner, g.repo, base, head, nil)
	if err != nil {
		return nil, g.explained(err)
	}
	if c == nil || c.TotalCommits == nil || !isCommit(c.GetMergeBaseCommit().GetSHA()) {
		return nil, g.Unexpected("")
	}
	if c.GetTotalCommits() != len(c.Commits) {
		return nil, fmt.Errorf("%s: %d commits ahead, too many to read", g.Host, c.GetTotalCommits())
	}
	out := &Comparison{Base: c.GetMergeBaseCommit().GetSHA()}
	for _, commit := range c.Commits {
		out.Commits = append(out.Commits, BranchCommit{commit.GetSHA(), commit.GetCommit().GetMessage()})
	}
	for _, f := range c.Files {
		out.Files = append(out.Files, f.GetFilename())
	}
	return out, nil
}

// refUpdate moves, creates or deletes a branch, if it is at a commit.
func refUpdate(branch, before, after string) map[string]any {
	u := map[string]any{"name": "refs/heads/" + branch, "afterOid": after, "force": true}
	if before != "" {
		u["beforeOid"] = before
	}
	return u
}

// updateRefs changes several branches, all of them or none.
func (g *gitHubRepository) updateRefs(ctx context.Context, updates ...map[string]any) error {
	if g.node == "" {
		repo, _, err := g.Repositories.Get(ctx, g.owner, g.repo)
		if err != nil {
			return g.explained(err)
		}
		if repo.GetNodeID() == "" {
			return g.Unexpected("a repository without node_id")
		}
		g.node = repo.GetNodeID()
	}
	const mutation = `mutation($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }`
	return g.GraphQL(ctx, mutation, map[string]any{"input": map[string]any{"repositoryId": g.node, "refUpdates": updates}}, nil)
}

// Commit implements [Repository]. GitHub signs the commits that it makes itself, on top of a branch; so one that replaces another is
// made on a branch beside it, and the branch moves in one step: a request whose branch has no commits of its own, even for a moment,
// is closed by GitHub.
func (g *gitHubRepository) Commit(ctx context.Context, c Commit) (string, error) {
	branch, before := c.Branch, noCommit
	if c.Replace != "" {
		branch, before = c.next(), ""
	}
	if err := g.updateRefs(ctx, refUpdate(branch, before, c.Parent)); err != nil {
		return "", err
	}
	commit, err := g.commit(ctx, branch, c)
	if err != nil || c.Replace == "" {
		return commit, err
	}
	return commit, g.updateRefs(ctx, refUpdate(c.Branch, c.Replace, commit), refUpdate(branch, commit, noCommit))
}

// commit adds a commit to a branch that is at the parent.
func (g *gitHubRepository) commit(ctx context.Context, branch string, c Commit) (string, error) {
	var additions []map[string]string
	for file, content := range c.Files {
		additions = append(additions, map[string]string{"path": file, "contents": base64.StdEncoding.EncodeToString(content)})
	}
	slices.SortFunc(additions, func(a, b map[string]string) int { return strings.Compare(a["path"], b["path"]) })
	headline, body, _ := strings.Cut(c.Message, "\n")
	var made struct {
		CreateCommitOnBranch *struct{ Commit *struct{ OID string } }
	}
	const mutation = `mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }`
	err := g.GraphQL(ctx, mutation, map[string]any{"input": map[string]any{
		"branch":          map[string]string{"repositoryNameWithOwner": g.src.Repo, "branchName": branch},
		"expectedHeadOid": c.Parent,
		"message":         map[string]string{"headline": headline, "body": strings.TrimSpace(body)},
		"fileChanges":     map[string]any{"additions": additions},
	}}, &made)
	if err != nil {
		return "", err
	}
	if made.CreateCommitOnBranch == nil || made.CreateCommitOnBranch.Commit == nil {
		return "", g.Unexpected("")
	}
	return g.checked(made.CreateCommitOnBranch.Commit.OID)
}

// DeleteBranch implements [Repository].
func (g *gitHubRepository) DeleteBranch(ctx context.Context, branch, head string) error {
	return g.updateRefs(ctx, refUpdate(branch, head, noCommit))
}

// Requests implements [Repository].
func (g *gitHubRepository) Requests(ctx context.Context, from, into string) ([]Request, error) {
	list, _, err := g.PullRequests.List(ctx, g.owner, g.repo, &github.PullRequestListOptions{
		State: "all", Head: g.owner + ":" + from, Base: into, Sort: "created", Direction: "desc", ListOptions: github.ListOptions{PerPage: requestsRead},
	})
	if err != nil {
		return nil, g.explained(err)
	}
	if list == nil || slices.Contains(list, nil) {
		return nil, g.Unexpected("")
	}
	var out []Request
	for _, p := range list {
		// An old server that ignores a filter, or a fork of the same owner.
		if p.GetHead().GetRef() == from && p.GetBase().GetRef() == into && strings.EqualFold(p.GetHead().GetRepo().GetFullName(), g.src.Repo) {
			out = append(out, gitHubRequest(p))
		}
	}
	return out, nil
}

func gitHubRequest(p *github.PullRequest) Request {
	r := Request{
		Number: int64(p.GetNumber()), URL: webURL(p.GetHTMLURL()), State: Open, Title: p.GetTitle(), Body: p.GetBody(),
		Head: p.GetHead().GetSHA(), Opened: p.GetCreatedAt().Time, AutoMerge: p.GetAutoMerge() != nil, node: p.GetNodeID(),
	}
	switch {
	case !p.GetMergedAt().IsZero():
		r.State = Merged
	case p.GetState() == "closed":
		r.State = Closed
	}
	return r
}

// Open implements [Repository].
func (g *gitHubRepository) Open(ctx context.Context, n NewRequest) (*Request, error) {
	p, _, err := g.PullRequests.Create(ctx, g.owner, g.repo, &github.NewPullRequest{Title: &n.Title, Head: &n.From, Base: &n.Into, Body: &n.Body})
	if err != nil {
		return nil, g.explained(err)
	}
	if p.GetNumber() <= 0 {
		return nil, g.Unexpected("")
	}
	r := gitHubRequest(p)
	return &r, g.decorate(ctx, p.GetNumber(), n)
}

// decorate sets labels, assignees and reviewers.
func (g *gitHubRepository) decorate(ctx context.Context, number int, n NewRequest) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("setting %s: %w", what, g.explained(err)))
		}
	}
	if len(n.Labels) > 0 {
		_, _, err := g.Issues.AddLabelsToIssue(ctx, g.owner, g.repo, number, n.Labels)
		note("labels", err)
	}
	if len(n.Assignees) > 0 {
		_, _, err := g.Issues.AddAssignees(ctx, g.owner, g.repo, number, n.Assignees)
		note("assignees", err)
	}
	if len(n.Reviewers) > 0 {
		var ask github.ReviewersRequest
		for _, name := range n.Reviewers {
			if _, team, ok := strings.Cut(name, "/"); ok {
				ask.TeamReviewers = append(ask.TeamReviewers, team)
			} else {
				ask.Reviewers = append(ask.Reviewers, name)
			}
		}
		_, _, err := g.PullRequests.RequestReviewers(ctx, g.owner, g.repo, number, ask)
		note("reviewers", err)
	}
	if err := errors.Join(errs...); err != nil {
		return &IncompleteError{err}
	}
	return nil
}

// Edit implements [Repository].
func (g *gitHubRepository) Edit(ctx context.Context, r *Request, title, body string) error {
	_, _, err := g.PullRequests.Edit(ctx, g.owner, g.repo, int(r.Number), &github.PullRequest{Title: &title, Body: &body})
	return g.explained(err)
}

// Comment implements [Repository].
func (g *gitHubRepository) Comment(ctx context.Context, r *Request, text string) error {
	_, _, err := g.Issues.CreateComment(ctx, g.owner, g.repo, int(r.Number), &github.IssueComment{Body: &text})
	return g.explained(err)
}

// Close implements [Repository].
func (g *gitHubRepository) Close(ctx context.Context, r *Request) error {
	_, _, err := g.PullRequests.Edit(ctx, g.owner, g.repo, int(r.Number), &github.PullRequest{State: github.Ptr("closed")})
	return g.explained(err)
}

// Outdated implements [Repository].
func (g *gitHubRepository) Outdated(ctx context.Context, r *Request) (bool, error) {
	p, _, err := g.PullRequests.Get(ctx, g.owner, g.repo, int(r.Number))
	if err != nil {
		return false, g.explained(err)
	}
	switch p.GetMergeableState() { // computed in the background, and "unknown" until then
	case "behind", "dirty":
		return true, nil
	}
	return false, nil
}

// AutoMerge implements [Repository]. GitHub refuses it for a request that could be merged at once; such a request is merged.
func (g *gitHubRepository) AutoMerge(ctx context.Context, r *Request, method MergeMethod) error {
	if r.AutoMerge {
		return nil
	}
	input := map[string]any{"pullRequestId": r.node, "expectedHeadOid": r.Head, "mergeMethod": strings.ToUpper(string(method))}
	const enable = `mutation($input: EnablePullRequestAutoMergeInput!) { enablePullRequestAutoMerge(input: $input) { clientMutationId } }`
	err := g.GraphQL(ctx, enable, map[string]any{"input": input}, nil)
	var refused *forgeapi.GraphQLError
	switch {
	case !errors.As(err, &refused):
		return err
	case strings.Contains(refused.Message, "Auto merge is not allowed"):
		return fmt.Errorf("%w (allow auto-merge in the settings of the repository)", err)
	case !strings.Contains(refused.Message, "clean status"):
		return err
	}
	const merge = `mutation($input: MergePullRequestInput!) { mergePullRequest(input: $input) { clientMutationId } }`
	return g.GraphQL(ctx, merge, map[string]any{"input": input}, nil)
}
