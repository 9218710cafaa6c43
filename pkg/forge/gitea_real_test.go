package forge_test

import (
	"context"
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// realGitea returns the repository GITEA_REPO of the server GITEA_HOST, for which GITEA_TOKEN is a token: `make gitea` starts the server
// and runs these tests. The repository has the files Dockerfile and other, a label deps, and a user bob.
func realGitea(t *testing.T) forge.Repository {
	t.Helper()
	host := os.Getenv("GITEA_HOST")
	if host == "" {
		t.Skip("GITEA_HOST names no server: run `make gitea`")
	}
	client := forge.New(forge.Options{API: forgeapi.New(forgeapi.Options{
		Token: func(context.Context, string) (string, error) { return os.Getenv("GITEA_TOKEN"), nil },
	})})
	repo, err := client.Repository(t.Context(), &config.Source{Provider: config.Gitea, Host: host, Repo: os.Getenv("GITEA_REPO"), Branch: "main"})
	require.NoError(t, err)
	return repo
}

// real holds the steps of a request at a real Gitea.
type real struct {
	*testing.T
	forge.Repository
}

func (r real) head(branch string) string {
	r.Helper()
	sha, err := r.Head(r.Context(), branch)
	require.NoError(r, err)
	return sha
}

func (r real) change(branch, parent, replace, text string) string {
	r.Helper()
	sha, err := r.Commit(r.Context(), forge.Commit{Branch: branch, Parent: parent, Replace: replace, Message: "Move a pin\n\nbody", Files: map[string][]byte{"Dockerfile": []byte(text)}})
	require.NoError(r, err)
	return sha
}

func (r real) outdated(req *forge.Request) bool {
	r.Helper()
	yes, err := r.Outdated(r.Context(), req)
	require.NoError(r, err)
	return yes
}

func (r real) requests(from string) []forge.Request {
	r.Helper()
	list, err := r.Requests(r.Context(), from, "main")
	require.NoError(r, err)
	return list
}

func TestRequestAtRealGitea(t *testing.T) {
	r := real{t, realGitea(t)}
	branch := "imagefactory/pins/" + rand.Text()
	assert.Empty(t, r.head(branch))
	assert.Empty(t, r.requests(branch))
	main := r.head("main")

	first := r.change(branch, main, "", "FROM b\r\n")
	assert.Equal(t, first, r.head(branch))
	content, err := r.ReadFile(t.Context(), "Dockerfile", first)
	require.NoError(t, err)
	assert.Equal(t, "FROM b\r\n", string(content))
	cmp, err := r.Compare(t.Context(), main, first)
	require.NoError(t, err)
	assert.Equal(t, &forge.Comparison{Base: main, Commits: []forge.BranchCommit{{SHA: first, Message: cmp.Commits[0].Message}}, Files: []string{"Dockerfile"}}, cmp)
	assert.Contains(t, cmp.Commits[0].Message, "Move a pin\n\nbody")
	same, err := r.Compare(t.Context(), first, main)
	require.NoError(t, err)
	assert.Equal(t, &forge.Comparison{Base: main}, same)

	req, err := r.Open(t.Context(), forge.NewRequest{From: branch, Into: "main", Title: "title", Body: "text", Labels: []string{"deps"}, Assignees: []string{"bob"}, Reviewers: []string{"bob"}})
	require.NoError(t, err)
	assert.Equal(t, first, req.Head)
	require.NoError(t, r.Edit(t.Context(), req, "other", "more"))
	require.NoError(t, r.Comment(t.Context(), req, "hello"))
	list := r.requests(branch)
	require.Len(t, list, 1)
	assert.Equal(t, forge.Request{Number: req.Number, URL: req.URL, State: forge.Open, Title: "other", Body: "more", Head: first, Opened: list[0].Opened}, list[0])
	assert.WithinDuration(t, time.Now(), list[0].Opened, time.Hour)
	assert.False(t, r.outdated(req))

	_, err = r.Commit(t.Context(), forge.Commit{Branch: branch, Parent: main, Replace: main, Message: "x", Files: map[string][]byte{"Dockerfile": []byte("FROM c\n")}})
	require.Error(t, err, "somebody has pushed to the branch")
	assert.Equal(t, first, r.head(branch))
	assert.Empty(t, r.head(branch+"-next"))
	second := r.change(branch, main, first, "FROM c\r\n")
	assert.Equal(t, second, r.head(branch))
	list = r.requests(branch)
	require.Len(t, list, 1)
	assert.Equal(t, forge.Open, list[0].State)

	// A conflicting change of main.
	moved := r.change("main-"+branch, main, "", "FROM z\n")
	other, err := r.Open(t.Context(), forge.NewRequest{From: "main-" + branch, Into: "main", Title: "z"})
	require.NoError(t, err)
	r.merge(other, moved)
	require.Eventually(t, func() bool { return r.outdated(req) }, 20*time.Second, 200*time.Millisecond)
	main = r.head("main")
	third := r.change(branch, main, second, "FROM c\n")
	cmp, err = r.Compare(t.Context(), main, third)
	require.NoError(t, err)
	assert.Equal(t, main, cmp.Base)
	assert.Len(t, cmp.Commits, 1)
	assert.False(t, r.outdated(req))
	require.Error(t, r.DeleteBranch(t.Context(), branch, second))
	r.merge(&forge.Request{Number: req.Number}, third)
	list = r.requests(branch)
	require.Len(t, list, 1)
	assert.Equal(t, forge.Merged, list[0].State)
	require.NoError(t, r.DeleteBranch(t.Context(), branch, third))
	require.Len(t, r.requests(branch), 1, "also when its branch is gone")

	// A request that is closed.
	closed := r.change(branch, r.head("main"), "", "FROM d\n")
	req, err = r.Open(t.Context(), forge.NewRequest{From: branch, Into: "main", Title: "d", Labels: []string{"none"}})
	var incomplete *forge.IncompleteError
	require.ErrorAs(t, err, &incomplete)
	require.ErrorContains(t, err, `no label "none"`)
	require.NoError(t, r.Close(t.Context(), req))
	list = r.requests(branch)
	require.Len(t, list, 2)
	assert.Equal(t, []forge.RequestState{forge.Closed, forge.Merged}, []forge.RequestState{list[0].State, list[1].State})
	require.NoError(t, r.DeleteBranch(t.Context(), branch, closed))
}

// merge merges a request, once the server has found out that it can.
func (r real) merge(req *forge.Request, head string) {
	r.Helper()
	req.Head = head
	require.Eventually(r, func() bool {
		main := r.head("main")
		return r.AutoMerge(r.Context(), req, forge.MergeCommit) == nil && r.head("main") != main
	}, 20*time.Second, 200*time.Millisecond)
}

func TestFilesAtRealGitea(t *testing.T) {
	r := real{t, realGitea(t)}
	main := r.head("main")
	_, err := r.ReadFile(t.Context(), "none", main)
	require.ErrorIs(t, err, forge.ErrNoFile)
	_, err = r.ReadFile(t.Context(), "folder", main)
	require.ErrorContains(t, err, "not a regular file")
	_, err = r.ReadFile(t.Context(), "big", main)
	require.ErrorContains(t, err, "larger than")
}

// TestIssueAtRealGitea opens, finds, edits and closes an issue.
func TestIssueAtRealGitea(t *testing.T) {
	realGitea(t)
	client := forge.New(forge.Options{API: forgeapi.New(forgeapi.Options{
		Token: func(context.Context, string) (string, error) { return os.Getenv("GITEA_TOKEN"), nil },
	})})
	list, err := client.Issues(t.Context(), &config.Source{Provider: config.Gitea, Host: os.Getenv("GITEA_HOST"), Repo: os.Getenv("GITEA_REPO")})
	require.NoError(t, err)
	label, since := "found by "+rand.Text(), time.Now().Add(-time.Hour)
	found := func() []forge.Issue {
		t.Helper()
		all, err := list.Issues(t.Context(), label, since)
		require.NoError(t, err)
		return all
	}
	assert.Empty(t, found(), "a label that does not exist")
	made, err := list.OpenIssue(t.Context(), forge.NewIssue{Title: "one", Body: "text\n<!-- mark -->\n", Label: label, Labels: []string{"deps"}, Assignees: []string{"bob"}})
	require.NoError(t, err)
	assert.Equal(t, []forge.Issue{*made}, found())
	assert.Equal(t, "text\n<!-- mark -->\n", made.Body)
	require.NoError(t, list.EditIssue(t.Context(), made.Number, forge.IssueEdit{Title: "two", Body: "closed"}))
	require.Len(t, found(), 1)
	assert.False(t, found()[0].Open)
	assert.Equal(t, "two", found()[0].Title)
	since = time.Now().Add(time.Hour)
	assert.Empty(t, found(), "closed before")
	require.NoError(t, list.EditIssue(t.Context(), made.Number, forge.IssueEdit{Title: "two", Body: "again", Open: true}))
	assert.True(t, found()[0].Open)
}
