package forge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const gitLabRequestNeeds = "the scope api, and the role Developer in the project"

// gitLabRepository is a [Repository] at GitLab.
type gitLabRepository struct {
	*forgeapi.GitLab
	src *config.Source
}

func openGitLabRepository(ctx context.Context, api *forgeapi.Clients, src *config.Source) (Repository, *forgeapi.Endpoint, error) {
	client, err := api.GitLab(ctx, src, gitLabRequestNeeds)
	if err != nil {
		return nil, nil, err
	}
	return &gitLabRepository{client, src}, client.Endpoint, nil
}

func (g *gitLabRepository) explained(err error) error {
	return forgeapi.Explain(g.Error(err), func(*forgeapi.Error) string {
		return "check source.repo, and that the token has " + gitLabRequestNeeds
	})
}

// Head implements [Repository].
func (g *gitLabRepository) Head(ctx context.Context, branch string) (string, error) {
	b, _, err := g.Branches.GetBranch(g.src.Repo, branch, gitlab.WithContext(ctx))
	switch err = g.explained(err); {
	case forgeapi.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	case b == nil || b.Commit == nil || !isCommit(b.Commit.ID):
		return "", g.Unexpected("invalid commit")
	}
	return b.Commit.ID, nil
}

// ReadFile implements [Repository].
func (g *gitLabRepository) ReadFile(ctx context.Context, file, commit string) ([]byte, error) {
	f, _, err := g.RepositoryFiles.GetFile(g.src.Repo, file, &gitlab.GetFileOptions{Ref: &commit}, gitlab.WithContext(ctx))
	switch err = g.explained(err); {
	case forgeapi.IsNotFound(err) && strings.Contains(forgeapi.As(err).Message, "File"):
		return nil, ErrNoFile
	case isTooLarge(err):
		return nil, tooLarge(file)
	case err != nil:
		return nil, err
	case f == nil || f.Encoding != "base64":
		return nil, g.Unexpected("invalid file")
	}
	content, err := base64.StdEncoding.DecodeString(f.Content)
	if err != nil {
		return nil, g.Unexpected("invalid file")
	}
	if len(content) > MaxFile {
		return nil, tooLarge(file)
	}
	return content, g.checkLink(ctx, file, commit, content)
}

// checkLink returns an error for a symbolic link, whose content in the API is its target: a single line.
func (g *gitLabRepository) checkLink(ctx context.Context, file, commit string, content []byte) error {
	if strings.Contains(string(content), "\n") || len(content) == 0 {
		return nil
	}
	folder, name := path.Split(file)
	entries, _, err := g.Repositories.ListTree(g.src.Repo, &gitlab.ListTreeOptions{
		Path: gitlab.Ptr(strings.TrimSuffix(folder, "/")), Ref: &commit, ListOptions: gitlab.ListOptions{PerPage: gitlabPage},
	}, gitlab.WithContext(ctx))
	if err != nil {
		return g.explained(err)
	}
	if slices.ContainsFunc(entries, func(e *gitlab.TreeNode) bool { return e != nil && e.Name == name && e.Mode == "120000" }) {
		return notRegular(file)
	}
	return nil
}

// Compare implements [Repository].
func (g *gitLabRepository) Compare(ctx context.Context, base, head string) (*Comparison, error) {
	c, _, err := g.Repositories.Compare(g.src.Repo, &gitlab.CompareOptions{From: &base, To: &head}, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return nil, g.explained(err)
	case c == nil || c.Commits == nil || c.CompareTimeout || slices.Contains(c.Commits, nil) || slices.Contains(c.Diffs, nil):
		return nil, g.Unexpected("")
	}
	out := &Comparison{}
	for _, commit := range c.Commits {
		out.Commits = append(out.Commits, BranchCommit{commit.ID, commit.Message})
	}
	for _, d := range c.Diffs {
		out.Files = append(out.Files, d.NewPath)
	}
	return out, nil
}

// Commit implements [Repository]. GitLab replaces a branch in one step, but cannot compare it with what it should be; it is read
// just before.
func (g *gitLabRepository) Commit(ctx context.Context, c Commit) (string, error) {
	head, err := g.Head(ctx, c.Branch)
	if err != nil {
		return "", err
	}
	if head != c.Replace {
		return "", fmt.Errorf("branch %s has moved to %s meanwhile", c.Branch, head)
	}
	opts := &gitlab.CreateCommitOptions{Branch: &c.Branch, CommitMessage: &c.Message, StartSHA: &c.Parent}
	if c.Replace != "" {
		opts.Force = gitlab.Ptr(true)
	}
	for _, file := range slices.Sorted(maps.Keys(c.Files)) {
		opts.Actions = append(opts.Actions, &gitlab.CommitActionOptions{
			Action: gitlab.Ptr(gitlab.FileUpdate), FilePath: gitlab.Ptr(file), Encoding: gitlab.Ptr("base64"),
			Content: gitlab.Ptr(base64.StdEncoding.EncodeToString(c.Files[file])),
		})
	}
	commit, _, err := g.Commits.CreateCommit(g.src.Repo, opts, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return "", g.explained(err)
	case commit == nil || !isCommit(commit.ID):
		return "", g.Unexpected("invalid commit")
	}
	return commit.ID, nil
}

// DeleteBranch implements [Repository].
func (g *gitLabRepository) DeleteBranch(ctx context.Context, branch, head string) error {
	now, err := g.Head(ctx, branch)
	if err != nil || now == "" {
		return err
	}
	if now != head {
		return fmt.Errorf("branch %s has moved to %s meanwhile", branch, now)
	}
	_, err = g.Branches.DeleteBranch(g.src.Repo, branch, gitlab.WithContext(ctx))
	return g.explained(err)
}

// Requests implements [Repository].
func (g *gitLabRepository) Requests(ctx context.Context, from, into string) ([]Request, error) {
	list, _, err := g.MergeRequests.ListProjectMergeRequests(g.src.Repo, &gitlab.ListProjectMergeRequestsOptions{
		SourceBranch: &from, TargetBranch: &into, State: gitlab.Ptr("all"), OrderBy: gitlab.Ptr("created_at"), Sort: gitlab.Ptr("desc"),
		ListOptions: gitlab.ListOptions{PerPage: requestsRead},
	}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, g.explained(err)
	}
	if list == nil || slices.Contains(list, nil) {
		return nil, g.Unexpected("")
	}
	var out []Request
	for _, m := range list {
		if m.SourceBranch == from && m.TargetBranch == into && m.SourceProjectID == m.TargetProjectID { // not of a fork
			out = append(out, gitLabRequest(m))
		}
	}
	return out, nil
}

func gitLabRequest(m *gitlab.BasicMergeRequest) Request {
	r := Request{
		Number: m.IID, URL: webURL(m.WebURL), State: Open, Title: m.Title, Body: m.Description, Head: m.SHA, AutoMerge: m.MergeWhenPipelineSucceeds,
	}
	if m.CreatedAt != nil {
		r.Opened = *m.CreatedAt
	}
	switch m.State {
	case "merged":
		r.State = Merged
	case "closed":
		r.State = Closed
	}
	return r
}

// Open implements [Repository].
func (g *gitLabRepository) Open(ctx context.Context, n NewRequest) (*Request, error) {
	opts := &gitlab.CreateMergeRequestOptions{
		Title: &n.Title, Description: &n.Body, SourceBranch: &n.From, TargetBranch: &n.Into, RemoveSourceBranch: gitlab.Ptr(true),
	}
	if len(n.Labels) > 0 {
		opts.Labels = (*gitlab.LabelOptions)(&n.Labels)
	}
	assignees, missing := g.users(ctx, n.Assignees)
	reviewers, missingReviewers := g.users(ctx, n.Reviewers)
	opts.AssigneeIDs, opts.ReviewerIDs = assignees, reviewers
	missing = append(missing, missingReviewers...)
	m, _, err := g.MergeRequests.CreateMergeRequest(g.src.Repo, opts, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return nil, g.explained(err)
	case m == nil || m.IID <= 0:
		return nil, g.Unexpected("")
	}
	r := gitLabRequest(&m.BasicMergeRequest)
	if err := errors.Join(missing...); err != nil {
		return &r, &IncompleteError{err}
	}
	return &r, nil
}

// users returns the IDs of users, nil if there are none, and why some are missing.
func (g *gitLabRepository) users(ctx context.Context, names []string) (found *[]int64, missing []error) {
	var ids []int64
	for _, name := range names {
		id, err := g.user(ctx, name)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, missing
	}
	return &ids, missing
}

// user returns the ID of a user.
func (g *gitLabRepository) user(ctx context.Context, name string) (int64, error) {
	users, _, err := g.Users.ListUsers(&gitlab.ListUsersOptions{Username: &name}, gitlab.WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("finding user %q: %w", name, g.explained(err))
	}
	if len(users) != 1 || users[0] == nil {
		return 0, fmt.Errorf("no user %q at %s", name, g.Host)
	}
	return users[0].ID, nil
}

// Edit implements [Repository].
func (g *gitLabRepository) Edit(ctx context.Context, r *Request, title, body string) error {
	_, _, err := g.MergeRequests.UpdateMergeRequest(g.src.Repo, r.Number, &gitlab.UpdateMergeRequestOptions{Title: &title, Description: &body}, gitlab.WithContext(ctx))
	return g.explained(err)
}

// Comment implements [Repository].
func (g *gitLabRepository) Comment(ctx context.Context, r *Request, text string) error {
	_, _, err := g.Notes.CreateMergeRequestNote(g.src.Repo, r.Number, &gitlab.CreateMergeRequestNoteOptions{Body: &text}, gitlab.WithContext(ctx))
	return g.explained(err)
}

// Close implements [Repository].
func (g *gitLabRepository) Close(ctx context.Context, r *Request) error {
	_, _, err := g.MergeRequests.UpdateMergeRequest(g.src.Repo, r.Number, &gitlab.UpdateMergeRequestOptions{StateEvent: gitlab.Ptr("close")}, gitlab.WithContext(ctx))
	return g.explained(err)
}

// Outdated implements [Repository].
func (g *gitLabRepository) Outdated(ctx context.Context, r *Request) (bool, error) {
	m, _, err := g.MergeRequests.GetMergeRequest(g.src.Repo, r.Number, nil, gitlab.WithContext(ctx))
	switch {
	case err != nil:
		return false, g.explained(err)
	case m == nil || m.IID != r.Number:
		return false, g.Unexpected("")
	}
	switch m.DetailedMergeStatus { // computed in the background, and "checking" until then
	case "conflict", "need_rebase":
		return true, nil
	}
	return false, nil
}

// AutoMerge implements [Repository]. A request that could be merged at once is merged.
func (g *gitLabRepository) AutoMerge(ctx context.Context, r *Request, method MergeMethod) error {
	if r.AutoMerge {
		return nil
	}
	opts := &gitlab.AcceptMergeRequestOptions{
		AutoMerge: gitlab.Ptr(true), MergeWhenPipelineSucceeds: gitlab.Ptr(true), SHA: &r.Head, //nolint:staticcheck // before GitLab 17.11
	}
	if method == Squash {
		opts.Squash = gitlab.Ptr(true)
	}
	_, _, err := g.MergeRequests.AcceptMergeRequest(g.src.Repo, r.Number, opts, gitlab.WithContext(ctx))
	if err = g.explained(err); forgeapi.HasStatus(err, http.StatusMethodNotAllowed, http.StatusUnprocessableEntity) {
		return fmt.Errorf("%w (it cannot be merged yet: checks or approvals are missing; every pass asks again)", err)
	}
	return err
}
