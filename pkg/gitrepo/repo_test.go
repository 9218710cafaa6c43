package gitrepo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/long"
)

const canary = "glpat-canary-0123456789"

// writerVariable makes this test binary a writer that is killed: see TestKilledAtAnyMoment.
const writerVariable = "IMAGEFACTORY_TEST_WRITER"

func TestMain(m *testing.M) {
	if url := os.Getenv(writerVariable); url != "" {
		writeForEver(url)
	}
	os.Exit(m.Run())
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func options(url string) gitrepo.Options {
	return gitrepo.Options{URL: url, Branch: "main", Path: "state", Now: func() time.Time { return noon }}
}

func open(t testing.TB, o gitrepo.Options) *gitrepo.Repo {
	t.Helper()
	repo, err := gitrepo.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	return repo
}

// impatient counts the waits instead of waiting.
func impatient(o *gitrepo.Options) *int {
	waits := 0
	o.Sleep = func(ctx context.Context, _ time.Duration) error { waits++; return ctx.Err() }
	return &waits
}

func write(path, text string) func(context.Context, gitrepo.Tree) (gitrepo.Change, error) {
	return func(context.Context, gitrepo.Tree) (gitrepo.Change, error) {
		return gitrepo.Change{Files: map[string][]byte{path: []byte(text)}, Message: "Write " + path + "\n"}, nil
	}
}

func TestChangeIsOneCommit(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"images.yaml": "[]\n", "state/images/web.yaml": "old\n", "state/images/old.yaml": "x\n", "docs/a b/ü.md": "hello\n"})
	repo := open(t, options(url))
	got, err := repo.Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		data, err := fs.ReadFile(tree.FS, "images.yaml")
		require.NoError(t, err)
		assert.Equal(t, "[]\n", string(data))
		assert.Equal(t, strings.TrimSpace(git.Git("fleet", "rev-parse", "main")), tree.Commit)
		return gitrepo.Change{Message: "web: moved\n", Files: map[string][]byte{
			"state/images/web.yaml": []byte("new\n"), "state/images/old.yaml": nil, "state/base-images/node.yaml": []byte("n\n"),
		}}, nil
	})
	require.NoError(t, err)
	assert.True(t, got.Pushed)
	assert.Equal(t, 1, got.Attempts)
	assert.Equal(t, strings.TrimSpace(git.Git("fleet", "rev-parse", "main")), got.Commit)
	assert.Equal(t, []string{"web: moved", "First"}, git.Log("fleet"))
	assert.Equal(t, map[string]string{
		"images.yaml": "[]\n", "state/images/web.yaml": "new\n", "state/base-images/node.yaml": "n\n", "docs/a b/ü.md": "hello\n",
	}, git.Files("fleet"))
	assert.Equal(t, "2026-03-01T12:00:00+00:00", strings.TrimSpace(git.Git("fleet", "log", "-1", "--format=%cI")))
	git.Git("fleet", "fsck", "--full", "--strict")

	git.Requests()
	got, err = repo.Update(t.Context(), write("state/images/web.yaml", "new\n")) // nothing new
	require.NoError(t, err)
	assert.Equal(t, gitrepo.Push{Attempts: 1}, got)
	assert.Len(t, git.Requests(), 1, "what the branch points to, and nothing else")

	got, err = repo.Update(t.Context(), write("state/images/web.yaml", "newer\n"))
	require.NoError(t, err)
	assert.True(t, got.Pushed)
	assert.Len(t, git.Requests(), 3)
}

func TestFileSystem(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/images/web.yaml": "web\n", "state/images/a.yaml": "a\n", "b": "b\n"})
	git.Git("fleet", "branch", "release")
	git.Git("fleet", "tag", "-m", "v1", "v1", "main")
	git.Commit("fleet", map[string]string{"b": "later\n"}, "Second")
	repo := open(t, options(url))
	_, err := repo.Update(t.Context(), func(ctx context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		sub, err := fs.Sub(tree.FS, "state/images")
		require.NoError(t, err)
		names, err := fs.Glob(sub, "*.yaml")
		require.NoError(t, err)
		assert.Equal(t, []string{"a.yaml", "web.yaml"}, names)
		info, err := fs.Lstat(sub, "web.yaml")
		require.NoError(t, err)
		assert.Equal(t, int64(4), info.Size())
		assert.True(t, info.Mode().IsRegular())
		for _, missing := range []string{"none.yaml", "web.yaml/x"} {
			_, err = fs.ReadFile(sub, missing)
			require.ErrorIs(t, err, fs.ErrNotExist, missing)
		}
		_, err = fs.ReadFile(tree.FS, "../x")
		require.ErrorIs(t, err, fs.ErrInvalid)
		for _, ref := range []string{"release", "v1"} {
			other, err := repo.FS(ctx, ref)
			require.NoError(t, err, ref)
			data, err := fs.ReadFile(other, "b")
			require.NoError(t, err)
			assert.Equal(t, "b\n", string(data), ref)
		}
		_, err = repo.FS(ctx, "nowhere")
		require.ErrorContains(t, err, `no branch or tag "nowhere"`)
		return gitrepo.Change{}, nil
	})
	require.NoError(t, err)
}

func TestMissingBranchIsCreated(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"images.yaml": "[]\n"})
	o := options(url)
	o.Branch = "imagefactory/state"
	got, err := open(t, o).Update(t.Context(), write("state/images/web.yaml", "web\n"))
	require.NoError(t, err)
	assert.True(t, got.Pushed)
	assert.Equal(t, "state/images/web.yaml\n", git.Git("fleet", "ls-tree", "-r", "--name-only", "imagefactory/state"))
	assert.Equal(t, []string{"First"}, git.Log("fleet"))
}

func TestLostPushRace(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/counter": "0"})
	o := options(url)
	waits := impatient(&o)
	calls := 0
	got, err := open(t, o).Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		if calls++; calls <= 3 {
			git.Commit("fleet", map[string]string{"state/counter": strconv.Itoa(calls)}, "Faster")
		}
		n := count(t, tree)
		return gitrepo.Change{Files: map[string][]byte{"state/counter": []byte(strconv.Itoa(n + 1))}, Message: "Count\n"}, nil
	})
	require.NoError(t, err)
	assert.Equal(t, 4, got.Attempts)
	assert.Equal(t, 3, *waits)
	assert.Equal(t, "4", git.Files("fleet")["state/counter"])
	assert.Equal(t, []string{"Count", "Faster", "Faster", "Faster", "First"}, git.Log("fleet"))
}

func count(t testing.TB, tree gitrepo.Tree) int {
	data, err := fs.ReadFile(tree.FS, "state/counter")
	if err != nil { // callers run in goroutines of their own, where require must not be called
		t.Error(err)
		return 0
	}
	n, err := strconv.Atoi(string(data))
	assert.NoError(t, err)
	return n
}

func TestIdenticalCommitsAreToldApart(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/counter": "0"})
	second := open(t, options(url))
	claims := 0
	claim := func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		if count(t, tree) > 0 {
			return gitrepo.Change{}, nil // somebody else has it
		}
		claims++
		return gitrepo.Change{Files: map[string][]byte{"state/counter": []byte("1")}, Message: "Claim\n"}, nil
	}
	o := options(url)
	impatient(&o)
	got, err := open(t, o).Update(t.Context(), func(ctx context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		change, err := claim(ctx, tree)
		if claims == 1 {
			twin, err := second.Update(ctx, claim) // the same change in the same second, and faster
			require.NoError(t, err)
			require.True(t, twin.Pushed)
		}
		return change, err
	})
	require.NoError(t, err)
	assert.False(t, got.Pushed)
	assert.Equal(t, []string{"Claim", "First"}, git.Log("fleet"))
}

func TestOversizedFilesAreNotReadIntoMemory(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"zeros": strings.Repeat("0", 4<<20)})
	o := options(url)
	o.MaxFetch = 1 << 20
	waits := impatient(&o)
	_, err := open(t, o).View(t.Context())
	require.ErrorContains(t, err, "larger than 1 MiB together")
	require.ErrorContains(t, err, "use a smaller branch")
	assert.Zero(t, *waits)
}

func TestOnlyTheFilesThatAreReadAreFetched(t *testing.T) {
	files := map[string]string{"a/Dockerfile": "FROM node:22\n", "b/Dockerfile": "FROM redis:8\n", "big": strings.Repeat("0", 2<<20), "x": strings.Repeat("x", 80<<10), "y": strings.Repeat("y", 80<<10)}
	for name, c := range map[string]struct {
		settings []string
		fetched  int64 // bytes at most
		small    bool  // the server leaves out what is large
	}{
		"single files": {[]string{"uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"}, 100 << 10, true},
		"whole commits, whatever the server says": {[]string{"uploadpack.allowFilter", "uploadpack.allowReachableSHA1InWant"}, 16 << 20, false},
		"whole commits, without what is large":    {[]string{"uploadpack.allowFilter"}, 1 << 20, true},
		"whole commits":                           {nil, 16 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			git := gittest.NewServer(t, gittest.Options{})
			o := options(git.Init("fleet", files))
			for _, setting := range c.settings {
				git.Git("fleet", "config", setting, "true")
			}
			o.Lazy, o.MaxBlob, o.MaxFetch = true, 1<<20, c.fetched
			if !c.small {
				o.MaxBlob = 8 << 20
			}
			tree, err := open(t, o).View(t.Context())
			require.NoError(t, err)
			var group sync.WaitGroup
			for _, path := range []string{"a/Dockerfile", "b/Dockerfile", "a/Dockerfile"} {
				group.Go(func() {
					info, err := fs.Stat(tree.FS, path)
					assert.NoError(t, err) //nolint:testifylint // require must not be called outside the test's goroutine
					assert.EqualValues(t, len(files[path]), info.Size())
					got, err := fs.ReadFile(tree.FS, path)
					assert.NoError(t, err) //nolint:testifylint // require must not be called outside the test's goroutine
					assert.Equal(t, files[path], string(got))
				})
			}
			group.Wait()
			got, err := fs.ReadFile(tree.FS, "big")
			if c.small {
				require.ErrorContains(t, err, "is too large to be fetched")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, files["big"], string(got))
		})
	}
}

func TestFailingServerIsNotAskedForEveryFile(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	o := options(git.Init("fleet", map[string]string{"Dockerfile": "FROM node:22\n", "big": strings.Repeat("0", 1<<20)}))
	for _, setting := range []string{"uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"} {
		git.Git("fleet", "config", setting, "true")
	}
	o.Lazy, o.MaxFetch = true, 100<<10
	waits := impatient(&o)
	passing := []gittest.Fault{{Status: 503}, {Break: true}, {Status: 429, Header: http.Header{"Retry-After": {"7"}}}}
	read := func(faults []gittest.Fault) (string, error) {
		tree, err := open(t, o).View(t.Context())
		require.NoError(t, err)
		for _, fault := range faults {
			fault.Match = "/git-upload-pack"
			git.Fail(fault)
		}
		got, err := fs.ReadFile(tree.FS, "Dockerfile")
		return string(got), err
	}
	got, err := read(passing)
	require.NoError(t, err)
	assert.Equal(t, "FROM node:22\n", got)
	assert.Equal(t, 3, *waits)

	git.Requests()
	_, err = read(slices.Repeat([]gittest.Fault{{Status: 500}}, 6))
	require.ErrorContains(t, err, "fetching from the server: status 500")
	_, err = read([]gittest.Fault{{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}})
	require.ErrorContains(t, err, "status 429, retry in 1h0m0s")
	assert.Len(t, git.Requests(), 2*2+6+1)
}

func TestTransientErrors(t *testing.T) {
	for name, faults := range map[string][]gittest.Fault{
		"bad gateway on fetch":    {{Match: "service=git-upload-pack", Status: 502}},
		"too many requests":       {{Match: "service=git-upload-pack", Status: 429}, {Match: "service=git-upload-pack", Status: 429}},
		"cut while fetching":      {{Match: "/git-upload-pack", Break: true}},
		"bad gateway before push": {{Match: "service=git-receive-pack", Status: 503}},
		"push is not done":        {{Match: ".git/git-receive-pack", Status: 502}},
		"answer of push is lost":  {{Match: ".git/git-receive-pack", Status: 502, After: true}},
		"connection of push cut":  {{Match: ".git/git-receive-pack", Break: true, After: true}},
	} {
		t.Run(name, func(t *testing.T) {
			git := gittest.NewServer(t, gittest.Options{})
			url := git.Init("fleet", map[string]string{"state/counter": "0"})
			o := options(url)
			impatient(&o)
			git.Fail(faults...)
			got, err := open(t, o).Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
				return gitrepo.Change{Files: map[string][]byte{"state/counter": []byte(strconv.Itoa(count(t, tree) + 1))}, Message: "Count\n"}, nil
			})
			require.NoError(t, err)
			assert.True(t, got.Pushed)
			assert.Equal(t, 1+len(faults), got.Attempts)
			assert.Equal(t, []string{"Count", "First"}, git.Log("fleet"), "neither lost nor doubled")
			assert.Equal(t, strings.TrimSpace(git.Git("fleet", "rev-parse", "main")), got.Commit)
		})
	}
}

func TestFailingServerIsRetried(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	o := options(git.Init("fleet", map[string]string{"state/a": "0"}))
	for _, header := range []http.Header{nil, nil, {"Retry-After": {"7"}}, nil} {
		git.Fail(gittest.Fault{Match: "service=git-upload-pack", Status: 429, Header: header})
	}
	var waits []time.Duration
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.NoError(t, err)
	require.Len(t, waits, 4)
	for i, least := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 7 * time.Second, 2 * time.Second} {
		assert.GreaterOrEqual(t, waits[i], least)
	}
}

func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	o := options(git.Init("fleet", map[string]string{"state/a": "0"}))
	waits := impatient(&o)
	git.Fail(gittest.Fault{Match: "service=git-upload-pack", Status: 429, Header: http.Header{"Retry-After": {"3600"}}})
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "status 429, retry in 1h0m0s")
	assert.Zero(t, *waits)
}

func TestPersistentErrors(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/a": "0"})
	for range 50 {
		git.Fail(gittest.Fault{Match: "service=git-upload-pack", Status: 500})
	}
	o := options(url)
	waits := impatient(&o)
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "git repository "+url+": reading from the server: status 500")
	assert.Equal(t, 5, *waits)
	assert.Equal(t, []string{"First"}, git.Log("fleet"))
}

func TestOnlyNeededRequestsAreSent(t *testing.T) {
	o := options("http://127.0.0.1:1/fleet.git")
	o.MaxFailures = 1
	waits := impatient(&o)
	_, err := open(t, o).View(t.Context())
	require.ErrorContains(t, err, "connection refused")
	assert.Zero(t, *waits)
}

func TestMissingPermissionComesWithAFix(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{User: "bot", Password: canary})
	url := git.Init("fleet", map[string]string{"state/a": "0"})
	o := options(url)
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "set a credential for git on "+git.Host)

	o.Auth = func(context.Context, string) (string, string, error) { return "bot", "wrong" + canary, nil }
	_, err = open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "no access")
	assert.NotContains(t, err.Error(), canary)

	o.Auth = func(_ context.Context, host string) (string, string, error) {
		assert.Equal(t, git.Host, host)
		return "bot", canary, nil
	}
	_, err = open(t, o).Update(t.Context(), write("state/a", "1"))
	require.NoError(t, err)
	assert.NotContains(t, git.Git("fleet", "log", "-p", "--format=fuller"), canary)

	o.URL = git.URL("nowhere")
	_, err = open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "check the URL")

	hook := filepath.Join(git.Dir("fleet"), "hooks", "pre-receive")
	require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\necho protected >&2\nexit 1\n"), 0o755))
	o.URL = url
	waits := impatient(&o)
	_, err = open(t, o).Update(t.Context(), write("state/a", "2"))
	require.ErrorContains(t, err, "pre-receive hook declined (allow this credential to push, or keep state on its own branch")
	assert.Zero(t, *waits)
}

func TestURLsThatAreRefused(t *testing.T) {
	for url, want := range map[string]string{
		"git@github.com:acme/images.git":             "want its https URL",
		"ssh://git@github.com/acme/images.git":       "want its https URL",
		"/srv/git/images.git":                        "want its https URL",
		"http://github.com/acme/images.git":          "refusing unencrypted",
		"https://bot:" + canary + "@github.com/a/b":  "holds a credential",
		"https://github.com/a/b?token=" + canary:     "has a query or a fragment",
		"https://github.com/a/b#" + canary:           "has a query or a fragment",
		"https://bot:" + canary + "%zz@github.com/a": "want its https URL",
	} {
		_, err := gitrepo.Open(t.Context(), options(url))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), canary)
	}
	for _, path := range []string{"../x", "/abs", "a//b", ".git", "a/.GIT/b"} {
		o := options("https://github.com/acme/images.git")
		o.Path = path
		_, err := gitrepo.Open(t.Context(), o)
		require.ErrorContains(t, err, "invalid path", path)
	}
	for _, branch := range []string{"", "../main", "a..b", "a b", "-x", "x.lock", "HEAD", "refs/heads/main"} {
		o := options("https://github.com/acme/images.git")
		o.Branch = branch
		_, err := gitrepo.Open(t.Context(), o)
		require.ErrorContains(t, err, "invalid branch", branch)
	}
}

func TestNothingIsWrittenOutsideOfTheStateFolder(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/a": "0", "images.yaml": "[]\n"})
	work := t.TempDir()
	clone := exec.Command("git", "clone", "-q", git.Dir("fleet"), ".")
	clone.Dir = work
	require.NoError(t, clone.Run())
	require.NoError(t, os.Symlink("../images.yaml", filepath.Join(work, "state", "link.yaml")))
	require.NoError(t, os.Symlink("..", filepath.Join(work, "state", "up")))
	git.CommitFolder(work, "Links")
	repo := open(t, options(url))
	for path, want := range map[string]string{
		"images.yaml": "not below", "state/../images.yaml": "not below", "/etc/passwd": "not below", "state": "not below",
		"state/.git/config": "not below", "statefile": "not below",
		"state/link.yaml": "symlink or directory", "state/up/images.yaml": "symlink or file", "state/a/b": "symlink or file",
	} {
		_, err := repo.Update(t.Context(), write(path, "x"))
		require.ErrorContains(t, err, want, path)
	}
	_, err := repo.Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		for _, path := range []string{"state/link.yaml", "state/up/images.yaml"} {
			_, err := fs.ReadFile(tree.FS, path)
			require.ErrorContains(t, err, "not followed", path)
		}
		return gitrepo.Change{}, nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"Links", "First"}, git.Log("fleet"))
}

func TestPrivateCA(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{TLS: true})
	url := git.Init("fleet", map[string]string{"state/a": "0"})
	o := options(url)
	waits := impatient(&o)
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	assert.Equal(t, 5, *waits)
	o.Transport = transport(git.Client().Transport)
	_, err = open(t, o).Update(t.Context(), write("state/a", "1"))
	require.NoError(t, err)
	assert.Equal(t, "1", git.Files("fleet")["state/a"])
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	var got []string
	var mu sync.Mutex
	elsewhere := gittest.NewServer(t, gittest.Options{})
	elsewhere.Init("fleet", map[string]string{"state/a": "0"})
	o := options("http://" + elsewhere.Host + "/moved.git")
	o.Auth = func(context.Context, string) (string, string, error) { return "bot", canary, nil }
	o.Transport = transport(roundTripper(func(q *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if q.URL.Host == elsewhere.Host {
			return &http.Response{
				StatusCode: http.StatusFound, Request: q, Body: http.NoBody,
				Header: http.Header{"Location": {"http://127.0.0.2:9/fleet.git/info/refs?service=git-upload-pack"}},
			}, nil
		}
		got = append(got, q.URL.Host+" "+q.Header.Get("Authorization"))
		return nil, errors.New("nobody is there")
	}))
	impatient(&o)
	_, err := open(t, o).Update(t.Context(), write("state/a", "1"))
	require.Error(t, err)
	for _, line := range got {
		assert.Equal(t, "127.0.0.2:9 ", line)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }

func TestNoRedirectIntoPrivateNetwork(t *testing.T) {
	o := options("https://git.example.com/acme/images.git")
	o.Transport = transport(roundTripper(func(q *http.Request) (*http.Response, error) {
		assert.Equal(t, "git.example.com", q.URL.Host)
		return &http.Response{
			StatusCode: http.StatusFound, Request: q, Body: http.NoBody,
			Header: http.Header{"Location": {"https://10.0.0.7/acme/images.git/info/refs?service=git-upload-pack"}},
		}, nil
	}))
	impatient(&o)
	_, err := open(t, o).View(t.Context())
	require.ErrorContains(t, err, "refusing a redirect to the private address 10.0.0.7")
}

func TestManyWritersLoseNothing(t *testing.T) {
	writers := long.Iterations(12, 50)
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/counter": "0"})
	storm(t, url, writers)
	files := git.Files("fleet")
	assert.Equal(t, strconv.Itoa(writers), files["state/counter"])
	for i := range writers {
		assert.Equal(t, strconv.Itoa(i), files[fmt.Sprintf("state/images/w%d.yaml", i)])
	}
	assert.Len(t, git.Log("fleet"), writers+1)
	assert.Equal(t, strconv.Itoa(writers+1), strings.TrimSpace(git.Git("fleet", "rev-list", "--count", "--first-parent", "main")))
	git.Git("fleet", "fsck", "--full", "--strict")
}

// storm has many writers change a repository at once, each its own file and one that all share.
func storm(t testing.TB, url string, writers int) {
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			_, err := open(t, options(url)).Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
				return gitrepo.Change{Message: fmt.Sprintf("Writer %d\n", i), Files: map[string][]byte{
					"state/counter":                         []byte(strconv.Itoa(count(t, tree) + 1)),
					fmt.Sprintf("state/images/w%d.yaml", i): []byte(strconv.Itoa(i)),
				}}, nil
			})
			assert.NoError(t, err)
		})
	}
	group.Wait()
}

// writeForEver counts in a repository, and says each number that is there.
func writeForEver(url string) {
	for {
		repo, err := gitrepo.Open(context.Background(), options(url))
		if err != nil {
			panic(err)
		}
		_, err = repo.Update(context.Background(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
			data, err := fs.ReadFile(tree.FS, "state/counter")
			if err != nil {
				return gitrepo.Change{}, err
			}
			n, err := strconv.Atoi(string(data))
			if err != nil {
				return gitrepo.Change{}, err
			}
			fmt.Println(n)
			next := strconv.Itoa(n + 1)
			return gitrepo.Change{Message: "Count to " + next + "\n", Files: map[string][]byte{
				"state/counter": []byte(next), "state/images/n" + next + ".yaml": []byte(strings.Repeat(next+"\n", 10000)),
			}}, nil
		})
		if err != nil {
			panic(err)
		}
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/counter": "0"})
	exe, err := os.Executable()
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	for range long.Iterations(4, 12) {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), writerVariable+"="+url)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan(), "it has begun")
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		git.Wait()
		git.Git("fleet", "fsck", "--full", "--strict")
	}
	before := -1
	_, err = open(t, options(url)).Update(t.Context(), func(_ context.Context, tree gitrepo.Tree) (gitrepo.Change, error) {
		before = count(t, tree)
		return gitrepo.Change{Message: "Last\n", Files: map[string][]byte{"state/counter": []byte(strconv.Itoa(before + 1))}}, nil
	})
	require.NoError(t, err)
	assert.Positive(t, before)
	log := git.Log("fleet")
	assert.Len(t, log, before+2, "each number once")
	for i := range before {
		assert.Equal(t, fmt.Sprintf("Count to %d", before-i), log[i+1])
	}
}

func TestCanceledRunKeepsResults(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"state/a": "0"})
	ctx, cancel := context.WithCancel(t.Context())
	got, err := open(t, options(url)).Update(ctx, func(context.Context, gitrepo.Tree) (gitrepo.Change, error) {
		cancel()
		return gitrepo.Change{Files: map[string][]byte{"state/a": []byte("1")}, Message: "Half\n"}, nil
	})
	require.NoError(t, err)
	assert.True(t, got.Pushed)
	_, err = open(t, options(url)).Update(ctx, write("state/a", "2"))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "1", git.Files("fleet")["state/a"])
}

func BenchmarkWriters(b *testing.B) {
	for _, writers := range []int{1, 10, 50} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			requests := 0
			for range b.N {
				b.StopTimer()
				git := gittest.NewServer(b, gittest.Options{})
				url := git.Init("fleet", map[string]string{"state/counter": "0"})
				b.StartTimer()
				storm(b, url, writers)
				b.StopTimer()
				requests += len(git.Requests())
			}
			b.ReportMetric(float64(requests)/float64(b.N*writers), "requests/write")
			b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N*writers), "ms/write")
		})
	}
}

func transport(base http.RoundTripper) *httpx.Transport {
	return gitrepo.NewTransport(httpx.Options{Base: base, MaxFailures: -1})
}
