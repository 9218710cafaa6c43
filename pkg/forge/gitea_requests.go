package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

const (
	giteaRequestNeeds = "the scopes write:repository and write:issue, and write access to the repository"
	giteaRequestPages = 5 // of requestsRead requests each; Gitea filters them by their target branch only
)

// giteaRepository is a [Repository] at Gitea or Forgejo.
type giteaRepository struct {
	*forgeapi.Gitea
	src *config.Source
}

func openGiteaRepository(ctx context.Context, clients *forgeapi.Clients, src *config.Source) (Repository, *forgeapi.Endpoint, error) {
	api, err := clients.Gitea(ctx, src, giteaRequestNeeds)
	if err != nil {
		return nil, nil, err
	}
	return &giteaRepository{api, src}, api.Endpoint, nil
}

// get reads a path below the repository. path is escaped.
func (g *giteaRepository) get(ctx context.Context, path string, query url.Values, into any) error {
	err := g.Get(ctx, g.Repo(g.src.Repo)+path, query, into)
	return g.explained(err)
}

// send changes something below the repository. path is escaped.
func (g *giteaRepository) send(ctx context.Context, method, path string, body, into any) error {
	_, err := g.Send(ctx, method, g.Repo(g.src.Repo)+path, nil, body, into)
	return g.explained(err)
}

// explained returns an error with what to do about a permanent one.
func (g *giteaRepository) explained(err error) error {
	return forgeapi.Explain(err, func(*forgeapi.Error) string { return "check source.repo, and that the token has " + giteaRequestNeeds })
}

// giteaPath returns the path of a file or a branch below a folder of the API.
func giteaPath(folder, name string) string {
	return (&url.URL{Path: folder + name}).EscapedPath()
}

// Head implements [Repository].
func (g *giteaRepository) Head(ctx context.Context, branch string) (string, error) {
	var found struct {
		Commit struct {
			ID string `json:"id"`
		} `json:"commit"`
	}
	switch err := g.get(ctx, giteaPath("/branches/", branch), nil, &found); {
	case forgeapi.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	}
	return g.checked(found.Commit.ID)
}

// checked returns a commit that the forge named.
func (g *giteaRepository) checked(sha string) (string, error) {
	if !isCommit(sha) {
		return "", g.Unexpected("invalid commit")
	}
	return sha, nil
}

// giteaFile is a file in a response of the contents API.
type giteaFile struct {
	Type    string `json:"type"`
	SHA     string `json:"sha"`
	Size    int64  `json:"size"`
	Content []byte `json:"content"` // in base64
}

// file reads a regular file at a commit.
func (g *giteaRepository) file(ctx context.Context, file, commit string) (*giteaFile, error) {
	var response json.RawMessage
	err := g.get(ctx, giteaPath("/contents/", file), url.Values{"ref": {commit}}, &response)
	switch {
	case forgeapi.IsNotFound(err):
		return nil, ErrNoFile
	case isTooLarge(err):
		return nil, tooLarge(file)
	case err != nil:
		return nil, err
	}
	var found giteaFile
	if len(response) > 0 && response[0] == '[' || json.Unmarshal(response, &found) == nil && found.Type != "" && found.Type != "file" {
		return nil, notRegular(file)
	}
	switch {
	case found.Type != "file" || !isCommit(found.SHA):
		return nil, g.Unexpected("invalid file")
	case found.Size > MaxFile:
		return nil, tooLarge(file)
	case int64(len(found.Content)) != found.Size:
		return nil, g.Unexpected("damaged file")
	}
	return &found, nil
}

// ReadFile implements [Repository].
func (g *giteaRepository) ReadFile(ctx context.Context, file, commit string) ([]byte, error) {
	found, err := g.file(ctx, file, commit)
	if err != nil {
		return nil, err
	}
	return found.Content, nil
}

// giteaCommit is a commit in a comparison.
type giteaCommit struct {
	SHA    string `json:"sha"`
	Commit struct {
		Message string `json:"message"`
	} `json:"commit"`
	Parents []struct {
		SHA string `json:"sha"`
	} `json:"parents"`
	Files []struct {
		Name string `json:"filename"`
	} `json:"files"`
}

// Compare implements [Repository]. Gitea names neither the common commit nor the files of both together, so they are put together from
// the commits, newest first: the common commit is the first parent that is none of them, and the files of a merge are those of others.
func (g *giteaRepository) Compare(ctx context.Context, base, head string) (*Comparison, error) {
	var c struct {
		Total   *int          `json:"total_commits"`
		Commits []giteaCommit `json:"commits"`
	}
	if err := g.get(ctx, "/compare/"+url.PathEscape(base)+"..."+url.PathEscape(head), nil, &c); err != nil {
		return nil, err
	}
	if c.Total == nil || *c.Total != len(c.Commits) {
		return nil, g.Unexpected("")
	}
	out := &Comparison{}
	ahead := map[string]bool{}
	for i := range c.Commits {
		ahead[c.Commits[i].SHA] = true
	}
	files := map[string]bool{}
	for i := range c.Commits {
		commit := &c.Commits[i]
		out.Commits = append(out.Commits, BranchCommit{commit.SHA, commit.Commit.Message})
		for _, parent := range commit.Parents {
			if out.Base == "" && !ahead[parent.SHA] {
				out.Base = parent.SHA
			}
		}
		for _, f := range commit.Files {
			if len(commit.Parents) == 1 && !files[f.Name] {
				files[f.Name] = true
				out.Files = append(out.Files, f.Name)
			}
		}
	}
	if len(c.Commits) == 0 {
		out.Base = head
	}
	if !isCommit(out.Base) {
		return nil, g.Unexpected("invalid commit")
	}
	slices.Reverse(out.Commits)
	slices.Sort(out.Files)
	return out, nil
}

// Commit implements [Repository]. Gitea signs the commits that it makes itself, on top of a branch, if it has a key; so one that
// replaces another is made on a branch beside it, and the branch moves in one step: a request whose branch is deleted is closed.
func (g *giteaRepository) Commit(ctx context.Context, c Commit) (string, error) {
	branch := c.Branch
	if c.Replace != "" {
		branch = c.next()
		if err := g.deleteBranch(ctx, branch); err != nil && !forgeapi.IsNotFound(err) { // one that an interrupted run left
			return "", err
		}
	}
	if err := g.send(ctx, http.MethodPost, "/branches", map[string]string{"new_branch_name": branch, "old_ref_name": c.Parent}, nil); err != nil {
		return "", err
	}
	commit, err := g.commit(ctx, branch, c)
	if err != nil || c.Replace == "" {
		return commit, err
	}
	moved := g.move(ctx, c.Branch, c.Replace, commit)
	if err := g.deleteBranch(ctx, branch); err != nil && moved == nil {
		return "", err
	}
	return commit, moved
}

// move moves a branch from a commit to another.
func (g *giteaRepository) move(ctx context.Context, branch, from, to string) error {
	err := g.send(ctx, http.MethodPut, giteaPath("/branches/", branch), map[string]any{"new_commit_id": to, "old_commit_id": from, "force": true}, nil)
	if forgeapi.HasStatus(err, http.StatusMethodNotAllowed) || forgeapi.HasStatus(err, http.StatusNotFound) && !forgeapi.IsNotFound(err) {
		return fmt.Errorf("moving branch %q: %s cannot move a branch in one step (Gitea 1.26 and later can; merge or close the request)", branch, g.Host)
	}
	return err
}

// commit adds a commit to a branch that is at the parent.
func (g *giteaRepository) commit(ctx context.Context, branch string, c Commit) (string, error) {
	var changes []map[string]any
	for file, content := range c.Files {
		before, err := g.file(ctx, file, c.Parent)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", file, err)
		}
		changes = append(changes, map[string]any{"operation": "update", "path": file, "sha": before.SHA, "content": content})
	}
	slices.SortFunc(changes, func(a, b map[string]any) int { return strings.Compare(a["path"].(string), b["path"].(string)) })
	var made struct {
		Commit struct {
			SHA string `json:"sha"`
		} `json:"commit"`
	}
	err := g.send(ctx, http.MethodPost, "/contents", map[string]any{"branch": branch, "message": c.Message, "files": changes}, &made)
	if err != nil {
		return "", err
	}
	return g.checked(made.Commit.SHA)
}

func (g *giteaRepository) deleteBranch(ctx context.Context, branch string) error {
	return g.send(ctx, http.MethodDelete, giteaPath("/branches/", branch), nil, nil)
}

// DeleteBranch implements [Repository].
func (g *giteaRepository) DeleteBranch(ctx context.Context, branch, head string) error {
	now, err := g.Head(ctx, branch)
	if err != nil {
		return err
	}
	if now != head {
		return fmt.Errorf("deleting branch %q: it has moved", branch)
	}
	return g.deleteBranch(ctx, branch)
}

// giteaPull is a pull request.
type giteaPull struct {
	Number    int64     `json:"number"`
	URL       string    `json:"html_url"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	State     string    `json:"state"`
	Merged    bool      `json:"merged"`
	Mergeable bool      `json:"mergeable"`
	MergeBase string    `json:"merge_base"`
	Created   time.Time `json:"created_at"`
	Head      giteaRef  `json:"head"`
	Base      giteaRef  `json:"base"`
}

type giteaRef struct {
	Branch string `json:"label"`
	SHA    string `json:"sha"`
	Repo   *struct {
		FullName string `json:"full_name"`
	} `json:"repo"` // nil if it was deleted
}

func (p *giteaPull) request() Request {
	r := Request{Number: p.Number, URL: webURL(p.URL), State: Open, Title: p.Title, Body: p.Body, Head: p.Head.SHA, Opened: p.Created}
	switch {
	case p.Merged:
		r.State = Merged
	case p.State == "closed":
		r.State = Closed
	}
	return r
}

// Requests implements [Repository].
func (g *giteaRepository) Requests(ctx context.Context, from, into string) ([]Request, error) {
	var out []Request
	size := 0
	for page := range giteaRequestPages {
		var list []giteaPull
		err := g.get(ctx, "/pulls", url.Values{
			"state": {"all"}, "base_branch": {into}, "page": {strconv.Itoa(page + 1)}, "limit": {strconv.Itoa(requestsRead)},
		}, &list)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if p := &list[i]; p.Head.Branch == from && p.Base.Branch == into && p.Head.Repo != nil && strings.EqualFold(p.Head.Repo.FullName, g.src.Repo) {
				out = append(out, p.request())
			}
		}
		if page == 0 {
			size = len(list) // a server may send fewer than it is asked for
		}
		if len(list) == 0 || len(list) < size {
			break
		}
	}
	return out, nil
}

func pullPath(number int64, below ...string) string {
	return path.Join(append([]string{"/pulls", strconv.FormatInt(number, 10)}, below...)...)
}

func issuePath(number int64, below ...string) string {
	return path.Join(append([]string{"/issues", strconv.FormatInt(number, 10)}, below...)...)
}

// Open implements [Repository].
func (g *giteaRepository) Open(ctx context.Context, n NewRequest) (*Request, error) {
	var p giteaPull
	if err := g.send(ctx, http.MethodPost, "/pulls", map[string]any{"title": n.Title, "head": n.From, "base": n.Into, "body": n.Body}, &p); err != nil {
		return nil, err
	}
	if p.Number <= 0 {
		return nil, g.Unexpected("")
	}
	r := p.request()
	return &r, g.decorate(ctx, p.Number, n)
}

// decorate sets labels, assignees and reviewers.
func (g *giteaRepository) decorate(ctx context.Context, number int64, n NewRequest) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("setting %s: %w", what, err))
		}
	}
	if len(n.Labels) > 0 {
		note("labels", g.label(ctx, number, n.Labels))
	}
	if len(n.Assignees) > 0 {
		note("assignees", g.send(ctx, http.MethodPatch, issuePath(number), map[string]any{"assignees": n.Assignees}, nil))
	}
	if len(n.Reviewers) > 0 {
		ask := map[string][]string{}
		for _, name := range n.Reviewers {
			if _, team, ok := strings.Cut(name, "/"); ok {
				ask["team_reviewers"] = append(ask["team_reviewers"], team)
			} else {
				ask["reviewers"] = append(ask["reviewers"], name)
			}
		}
		note("reviewers", g.send(ctx, http.MethodPost, pullPath(number, "requested_reviewers"), ask, nil))
	}
	if err := errors.Join(errs...); err != nil {
		return &IncompleteError{err}
	}
	return nil
}

type giteaLabel struct {
	Name string `json:"name"`
}

// label adds labels. Gitea ignores one that does not exist.
func (g *giteaRepository) label(ctx context.Context, number int64, names []string) error {
	var set []giteaLabel
	if err := g.send(ctx, http.MethodPost, issuePath(number, "labels"), map[string]any{"labels": names}, &set); err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(set, giteaLabel{name}) {
			return fmt.Errorf("no label %q in the repository (create it)", name)
		}
	}
	return nil
}

// Edit implements [Repository].
func (g *giteaRepository) Edit(ctx context.Context, r *Request, title, body string) error {
	return g.send(ctx, http.MethodPatch, pullPath(r.Number), map[string]string{"title": title, "body": body}, nil)
}

// Comment implements [Repository].
func (g *giteaRepository) Comment(ctx context.Context, r *Request, text string) error {
	return g.send(ctx, http.MethodPost, issuePath(r.Number, "comments"), map[string]string{"body": text}, nil)
}

// Close implements [Repository].
func (g *giteaRepository) Close(ctx context.Context, r *Request) error {
	return g.send(ctx, http.MethodPatch, pullPath(r.Number), map[string]string{"state": "closed"}, nil)
}

// Outdated implements [Repository]. Until Gitea has checked whether a request can be merged, it says that it cannot, and its merge_base
// is an old one. So this counts only for a request whose target really has commits that it lacks.
func (g *giteaRepository) Outdated(ctx context.Context, r *Request) (bool, error) {
	var p giteaPull
	if err := g.get(ctx, pullPath(r.Number), nil, &p); err != nil {
		return false, err
	}
	if p.MergeBase == p.Base.SHA {
		return false, nil
	}
	if c, err := g.Compare(ctx, p.Base.SHA, p.Head.SHA); err != nil || c.Base == p.Base.SHA {
		return false, err
	}
	if !p.Mergeable {
		return true, nil
	}
	var rule struct {
		Blocks bool `json:"block_on_outdated_branch"`
	}
	switch err := g.get(ctx, "/branch_protections/"+url.PathEscape(p.Base.Branch), nil, &rule); {
	case forgeapi.IsNotFound(err), forgeapi.HasStatus(err, http.StatusForbidden): // no rule of that name, or none that the token may read
		return false, nil
	case err != nil:
		return false, err
	}
	return rule.Blocks, nil
}

// AutoMerge implements [Repository]. It merges the request if that is possible now. Otherwise Gitea does so when a check ends or somebody
// approves; nothing else makes it look again, so this is for each pass.
func (g *giteaRepository) AutoMerge(ctx context.Context, r *Request, method MergeMethod) error {
	err := g.merge(ctx, r, method, false)
	if !forgeapi.HasStatus(err, http.StatusMethodNotAllowed) {
		return err
	}
	err = g.merge(ctx, r, method, true)
	if forgeapi.HasStatus(err, http.StatusConflict) && strings.Contains(forgeapi.As(err).Message, "scheduled") {
		return nil
	}
	return err
}

func (g *giteaRepository) merge(ctx context.Context, r *Request, method MergeMethod, later bool) error {
	return g.send(ctx, http.MethodPost, pullPath(r.Number, "merge"), map[string]any{
		"Do": string(method), "head_commit_id": r.Head, "merge_when_checks_succeed": later,
	}, nil)
}
