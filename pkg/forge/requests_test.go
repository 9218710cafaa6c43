package forge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

const pins = "imagefactory/pins/main"

// repository returns a repository with one file.
func (w *world) repository(t *testing.T, p config.Provider) (forge.Repository, *forgetest.Repo) {
	var remote *forgetest.Repo
	switch p {
	case config.GitHub:
		remote = w.GitHub("team/app")
	default:
		remote = w.GitLab("team/app")
	}
	remote.Commit("app/Dockerfile", "FROM a\r\n")
	repo, err := w.client.Repository(t.Context(), w.image(p).Source)
	require.NoError(t, err)
	return repo, remote
}

// forgesWithRequests are the providers that requests are opened at.
var forgesWithRequests = []config.Provider{config.GitHub, config.GitLab}

func forEachForge(t *testing.T, test func(t *testing.T, w *world, repo forge.Repository, remote *forgetest.Repo)) {
	for _, p := range forgesWithRequests {
		t.Run(string(p), func(t *testing.T) {
			w := newWorld(t)
			repo, remote := w.repository(t, p)
			test(t, w, repo, remote)
		})
	}
}

// propose makes a branch with one commit and opens a request for it.
func propose(t *testing.T, repo forge.Repository, remote *forgetest.Repo) *forge.Request {
	head, err := repo.Head(t.Context(), "main")
	require.NoError(t, err)
	commit, err := repo.Commit(t.Context(), forge.Commit{Branch: pins, Parent: head, Message: "move\n\nbody", Files: map[string][]byte{"app/Dockerfile": []byte("FROM b\r\n")}})
	require.NoError(t, err)
	r, err := repo.Open(t.Context(), forge.NewRequest{
		From: pins, Into: "main", Title: "title", Body: "text", Labels: []string{"deps"}, Assignees: []string{"ann"}, Reviewers: []string{"bob"},
	})
	require.NoError(t, err)
	require.Equal(t, commit, r.Head)
	require.Equal(t, commit, remote.Head(pins))
	return r
}

func TestRequestIsOpenedFromOneCommit(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		main := remote.Head("main")
		none, err := repo.Head(t.Context(), pins)
		require.NoError(t, err)
		assert.Empty(t, none)
		before, err := repo.Requests(t.Context(), pins, "main")
		require.NoError(t, err)
		assert.Empty(t, before)

		r := propose(t, repo, remote)
		pull := remote.Pulls()[0]
		assert.Equal(t, []string{"deps"}, pull.Labels)
		assert.Equal(t, []string{"ann"}, pull.Assignees)
		assert.Equal(t, []string{"bob"}, pull.Reviewers)
		assert.Equal(t, "move\n\nbody", remote.Message(pins))
		content, err := repo.ReadFile(t.Context(), "app/Dockerfile", r.Head)
		require.NoError(t, err)
		assert.Equal(t, "FROM b\r\n", string(content))
		cmp, err := repo.Compare(t.Context(), main, r.Head)
		require.NoError(t, err)
		assert.Equal(t, []forge.BranchCommit{{SHA: r.Head, Message: "move\n\nbody"}}, cmp.Commits)
		assert.Equal(t, []string{"app/Dockerfile"}, cmp.Files)

		found, err := repo.Requests(t.Context(), pins, "main")
		require.NoError(t, err)
		require.Len(t, found, 1)
		assert.Equal(t, *r, found[0])
		assert.Equal(t, forge.Open, r.State)
		assert.NotEmpty(t, r.URL)
	})
}

func TestCommitReplacesAnotherWithoutClosingTheRequest(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		main := remote.Commit("other", "x")
		second, err := repo.Commit(t.Context(), forge.Commit{Branch: pins, Parent: main, Replace: r.Head, Message: "again", Files: map[string][]byte{"app/Dockerfile": []byte("FROM c")}})
		require.NoError(t, err)
		assert.Equal(t, second, remote.Head(pins))
		assert.Equal(t, "FROM c", remote.File(pins, "app/Dockerfile"))
		assert.Equal(t, "x", remote.File(pins, "other"))
		assert.Equal(t, "open", remote.Pulls()[0].State)
		assert.Empty(t, remote.Head(pins+"-next"))
	})
}

func TestCommitOfSomebodyElseIsNotReplaced(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		theirs := remote.Push(pins, "fix", "fix", "x")
		_, err := repo.Commit(t.Context(), forge.Commit{Branch: pins, Parent: remote.Head("main"), Replace: r.Head, Message: "again", Files: map[string][]byte{"app/Dockerfile": []byte("FROM c")}})
		require.Error(t, err)
		assert.Equal(t, theirs, remote.Head(pins))
		require.Error(t, repo.DeleteBranch(t.Context(), pins, r.Head))
		require.NoError(t, repo.DeleteBranch(t.Context(), pins, theirs))
		assert.Empty(t, remote.Head(pins))
	})
}

func TestRequestIsEditedCommentedAndClosed(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		require.NoError(t, repo.Edit(t.Context(), r, "new", "other text"))
		require.NoError(t, repo.Comment(t.Context(), r, "a word"))
		require.NoError(t, repo.Close(t.Context(), r))
		pull := remote.Pulls()[0]
		assert.Equal(t, []string{"new", "other text", "closed"}, []string{pull.Title, pull.Body, pull.State})
		assert.Equal(t, []string{"a word"}, pull.Comments)
		found, err := repo.Requests(t.Context(), pins, "main")
		require.NoError(t, err)
		assert.Equal(t, forge.Closed, found[0].State)
	})
}

func TestRequestThatConflictsOrIsBehindIsOutdated(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		outdated := func() bool {
			out, err := repo.Outdated(t.Context(), r)
			require.NoError(t, err)
			return out
		}
		remote.Commit("other", "x")
		assert.False(t, outdated())
		remote.UpToDate = true
		assert.True(t, outdated(), "the rules of the branch want it to be up to date")
		remote.UpToDate = false
		remote.Commit("app/Dockerfile", "FROM z")
		assert.True(t, outdated(), "a conflict")
	})
}

func TestAutoMerge(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		remote.AllowAutoMerge, remote.Protected = true, true
		require.NoError(t, repo.AutoMerge(t.Context(), r, forge.Squash))
		assert.Equal(t, "open", remote.Pulls()[0].State)
		found, err := repo.Requests(t.Context(), pins, "main")
		require.NoError(t, err)
		assert.True(t, found[0].AutoMerge)
		require.NoError(t, repo.AutoMerge(t.Context(), &found[0], forge.Squash), "nothing to do")
	})
}

func TestRequestThatNothingBlocksIsMerged(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		r := propose(t, repo, remote)
		remote.AllowAutoMerge = true
		require.NoError(t, repo.AutoMerge(t.Context(), r, forge.MergeCommit))
		assert.Equal(t, "merged", remote.Pulls()[0].State)
		assert.Equal(t, "FROM b\r\n", remote.File("main", "app/Dockerfile"))
		found, err := repo.Requests(t.Context(), pins, "main")
		require.NoError(t, err)
		assert.Equal(t, forge.Merged, found[0].State)
	})
}

func TestFilesThatCannotBeChanged(t *testing.T) {
	forEachForge(t, func(t *testing.T, _ *world, repo forge.Repository, remote *forgetest.Repo) {
		remote.Link("link", "app/Dockerfile")
		_, err := repo.ReadFile(t.Context(), "app/missing", remote.Head("main"))
		require.ErrorIs(t, err, forge.ErrNoFile)
		_, err = repo.ReadFile(t.Context(), "none/Dockerfile", remote.Head("main"))
		require.ErrorIs(t, err, forge.ErrNoFile)
		_, err = repo.ReadFile(t.Context(), "link", remote.Head("main"))
		require.ErrorContains(t, err, "link is not a regular file")
		for _, size := range []int{forge.MaxFile + 1, 40 << 20} { // the response with the second one is not read to its end
			remote.Commit("large", strings.Repeat("x", size))
			_, err = repo.ReadFile(t.Context(), "large", remote.Head("main"))
			require.ErrorAs(t, err, new(*forge.FileError))
			require.ErrorContains(t, err, "large is larger than 1048576 bytes")
		}
	})
}

func TestFailedLookupSaysNothing(t *testing.T) {
	forEachForge(t, func(t *testing.T, w *world, repo forge.Repository, _ *forgetest.Repo) {
		for _, f := range []forgetest.Fault{
			{Status: http.StatusNotFound, Body: "<html>not found</html>"}, // of a gateway
			{Status: http.StatusOK, Body: "<html>"},
			{Status: http.StatusOK, Body: "{}"},
			{Status: http.StatusForbidden, Body: `{"message":"Resource not accessible"}`},
		} {
			for call, do := range map[string]func() error{
				"Head":     func() error { _, err := repo.Head(t.Context(), pins); return err },
				"Requests": func() error { _, err := repo.Requests(t.Context(), pins, "main"); return err },
				"ReadFile": func() error { _, err := repo.ReadFile(t.Context(), "app/Dockerfile", "1234"); return err },
				"Compare":  func() error { _, err := repo.Compare(t.Context(), "1234", "5678"); return err },
			} {
				w.Unfail()
				w.Fail(f)
				err := do()
				require.Errorf(t, err, "%s: %d %s", call, f.Status, f.Body)
				require.NotErrorIs(t, err, forge.ErrNoFile)
			}
		}
	})
}

func TestOpenedRequestWithoutLabelsIsReported(t *testing.T) {
	w := newWorld(t)
	repo, remote := w.repository(t, config.GitHub)
	_, err := repo.Commit(t.Context(), forge.Commit{Branch: pins, Parent: remote.Head("main"), Message: "m", Files: map[string][]byte{"f": []byte("x")}})
	require.NoError(t, err)
	w.Fail(forgetest.Fault{Match: "POST /api/v3/repos/team/app/issues/1/labels", Status: http.StatusForbidden, Body: `{"message":"Resource not accessible"}`})
	r, err := repo.Open(t.Context(), forge.NewRequest{From: pins, Into: "main", Title: "t", Labels: []string{"deps"}, Reviewers: []string{"acme/platform", "bob"}})
	var incomplete *forge.IncompleteError
	require.ErrorAs(t, err, &incomplete)
	require.ErrorContains(t, err, "setting labels: ")
	assert.EqualValues(t, 1, r.Number)
	assert.ElementsMatch(t, []string{"team platform", "bob"}, remote.Pulls()[0].Reviewers)
}

func TestAutoMergeThatTheRepositoryDoesNotAllow(t *testing.T) {
	w := newWorld(t)
	repo, remote := w.repository(t, config.GitHub)
	err := repo.AutoMerge(t.Context(), propose(t, repo, remote), forge.Squash)
	require.ErrorContains(t, err, "Auto merge is not allowed for this repository (allow auto-merge in the settings of the repository)")
}

func TestRepositoryNeedsTokenAndForge(t *testing.T) {
	w := newWorld(t)
	img := w.image(config.GitHub)
	_, err := forge.New(forge.Options{}).Repository(t.Context(), img.Source)
	require.ErrorContains(t, err, "no token for "+w.Host)
	img.Source.Provider = config.Git
	var refused *forge.RefusedError
	_, err = w.client.Repository(t.Context(), img.Source)
	require.ErrorAs(t, err, &refused)
}

func TestAllPagesOfGiteaAreRead(t *testing.T) {
	w := newWorld(t)
	w.Handle("GET /api/v1/repos/team/app/pulls", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		text := map[string]string{ // of a server that sends at most two
			"1": `[{"number": 5}, {"number": 4}]`,
			"2": fmt.Sprintf(`[{"number": 3}, {"number": 2, "state": "open", "head": {"label": %q, "repo": {"full_name": "team/app"}}, "base": {"label": "main"}}]`, pins),
			"3": `[{"number": 1}]`,
		}[r.URL.Query().Get("page")]
		_, _ = rw.Write([]byte(text))
	})
	repo, err := w.client.Repository(t.Context(), w.image(config.Gitea).Source)
	require.NoError(t, err)
	found, err := repo.Requests(t.Context(), pins, "main")
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, int64(2), found[0].Number)
	assert.Len(t, w.Requests("GET "), 3)
}
