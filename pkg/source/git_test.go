package source_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/test/gittest"
)

// gitImage is an image of a repository that is known by its URL alone.
func gitImage(url, dockerfile string) *config.Image {
	return &config.Image{Name: "web", Source: &config.Source{Provider: config.Git, Repo: url, Branch: "main", Dockerfile: dockerfile}}
}

func gitRun(cacheDir string) *source.Forges {
	return source.NewForges(source.Options{
		CacheDir: cacheDir, HTTP: httpx.Options{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
		Credentials: credentials.New(credentials.Options{Getenv: func(string) string { return canary }}),
	})
}

func TestUnchangedBranchIsNotFetchedAgain(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	url := git.Init("web", map[string]string{"a/Dockerfile": "FROM node:22\n", "b/Dockerfile": "FROM redis:8\n"})
	dir := t.TempDir()
	read := func(known source.Known, want, commit string, requests int) {
		t.Helper()
		git.Requests()
		r := gitRun(dir)
		f, err := r.Dockerfile(t.Context(), gitImage(url, "a/Dockerfile"), known)
		require.NoError(t, err)
		assert.Equal(t, want, string(f.Content))
		assert.Equal(t, commit, f.Commit)
		f, err = r.Dockerfile(t.Context(), gitImage(url, "b/Dockerfile"), source.Known{})
		require.NoError(t, err)
		assert.Equal(t, "FROM redis:8\n", string(f.Content))
		assert.Len(t, git.Requests(), requests)
	}
	first := git.Commit("web", map[string]string{"README": "hello"}, "Second")
	read(source.Known{}, "FROM node:22\n", first, 2)
	known := source.Known{Commit: first, Digest: digest("FROM node:22\n")}
	read(known, "FROM node:22\n", first, 1)

	git.Commit("web", map[string]string{"README": "hello again"}, "Third")
	read(known, "FROM node:22\n", first, 3)
	changed := git.Commit("web", map[string]string{"a/Dockerfile": "FROM node:24\n"}, "Fourth")
	read(known, "FROM node:24\n", changed, 3)

	git.Fail(gittest.Fault{Match: "info/refs", Status: http.StatusBadGateway})
	read(source.Known{}, "FROM node:24\n", changed, 3)

	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.WriteFile(path, []byte("FROM evil\n"), 0o600)
	}))
	read(source.Known{}, "FROM node:24\n", changed, 2)
}

func TestNonRegularFilesInABranch(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	url := git.Init("web", map[string]string{"Dockerfile": "FROM node:22\n"})
	work := t.TempDir()
	git.Git("web", "clone", "-q", git.Dir("web"), work)
	require.NoError(t, os.Symlink("Dockerfile", filepath.Join(work, "link")))
	git.CommitFolder(work, "Link")
	tip := git.Git("web", "rev-parse", "main")[:40]
	require.NoError(t, os.Mkdir(filepath.Join(work, "module"), 0o755)) // git takes the entry back without it
	git.Git("web", "-C", work, "update-index", "--add", "--cacheinfo", "160000,"+tip+",module")
	git.CommitFolder(work, "Module")
	for path, want := range map[string]string{"link": "a symbolic link", "module": "a submodule"} {
		_, err := gitRun("").Dockerfile(t.Context(), gitImage(url, path), source.Known{})
		require.ErrorContains(t, err, want)
	}
}

func TestGitCredentialsDoNotFollowARedirect(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		assert.Empty(t, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(elsewhere.Close)
	var signedIn atomic.Bool
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		signedIn.Store(password == canary)
		http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	t.Cleanup(moved.Close)
	_, err := gitRun("").Dockerfile(t.Context(), gitImage(moved.URL+"/web.git", "Dockerfile"), source.Known{})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), canary)
	assert.True(t, signedIn.Load(), "the host itself is given its credential")
	assert.Positive(t, asked.Load())
}

func TestFewRepositoriesAreFetchedAtOnce(t *testing.T) {
	const most = 2
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	var now, peak atomic.Int32
	run := source.NewForges(source.Options{
		Concurrency: most, HTTP: httpx.Options{Base: counting{&now, &peak}},
		Credentials: credentials.New(credentials.Options{Getenv: func(string) string { return canary }}),
	})
	var urls []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		urls = append(urls, git.Init(name, map[string]string{"Dockerfile": "FROM node:22\n"}))
	}
	var group sync.WaitGroup
	for _, url := range urls {
		group.Go(func() {
			_, err := run.Dockerfile(t.Context(), gitImage(url, "Dockerfile"), source.Known{})
			assert.NoError(t, err)
		})
	}
	group.Wait()
	assert.LessOrEqual(t, peak.Load(), int32(most))
}

// counting notes how many requests are under way at most.
type counting struct{ now, peak *atomic.Int32 }

// RoundTrip implements http.RoundTripper.
func (c counting) RoundTrip(q *http.Request) (*http.Response, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for old := c.peak.Load(); n > old && !c.peak.CompareAndSwap(old, n); old = c.peak.Load() {
	}
	return http.DefaultTransport.RoundTrip(q)
}

// mute is a server that takes connections and never answers.
type mute struct{ asked atomic.Int32 }

func (m *mute) RoundTrip(*http.Request) (*http.Response, error) {
	m.asked.Add(1)
	return nil, context.DeadlineExceeded
}

func TestUnresponsiveGitServerIsSkipped(t *testing.T) {
	server := &mute{}
	r := source.NewForges(source.Options{Concurrency: 1, HTTP: httpx.Options{Base: server, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}})
	for _, repo := range []string{"a", "b", "c", "d", "e"} {
		_, err := r.Dockerfile(t.Context(), gitImage("https://git.example.com/acme/"+repo+".git", "Dockerfile"), source.Known{})
		require.ErrorContains(t, err, "git.example.com/acme/"+repo)
		require.ErrorContains(t, err, "no response within 1m0s (3 times in a row); skipping this host for the rest of the run")
	}
	assert.Equal(t, int32(3), server.asked.Load())
}

func TestBrokenRepositoryDoesNotAffectItsHost(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	url := git.Init("web", map[string]string{"Dockerfile": "FROM node:22\n"})
	base := transport(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/broken/") {
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	r := source.NewForges(source.Options{
		Credentials: credentials.New(credentials.Options{Getenv: func(string) string { return canary }}),
		HTTP:        httpx.Options{Base: base, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
	})
	_, err := r.Dockerfile(t.Context(), gitImage("http://"+git.Host+"/broken/web.git", "Dockerfile"), source.Known{})
	require.ErrorContains(t, err, "status 503")
	file, err := r.Dockerfile(t.Context(), gitImage(url, "Dockerfile"), source.Known{})
	require.NoError(t, err)
	assert.Equal(t, "FROM node:22\n", string(file.Content))
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
