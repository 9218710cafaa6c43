package source_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/gittest"
)

const canary = "ghp-canary-0123456789"

// world is a forge, and what asks it.
type world struct {
	*forgetest.Server
	t        *testing.T
	provider config.Provider
	repo     *forgetest.Repo
	cacheDir string
	waits    []time.Duration

	transport http.RoundTripper
}

func newWorld(t *testing.T, p config.Provider) *world {
	w := &world{Server: forgetest.New(t), t: t, provider: p, cacheDir: t.TempDir()}
	w.Token = canary
	w.repo = map[config.Provider]func(string) *forgetest.Repo{
		config.GitHub: w.GitHub, config.GitLab: w.GitLab, config.Gitea: w.GiteaRepo,
	}[p]("acme/web")
	return w
}

// run is what one run of imagefactory asks with.
func (w *world) run() *source.Forges { return w.runWith(canary) }

func (w *world) runWith(token string) *source.Forges {
	var mu sync.Mutex
	return source.NewForges(source.Options{
		CacheDir: w.cacheDir,
		Credentials: credentials.New(credentials.Options{Getenv: func(name string) string {
			if strings.HasPrefix(name, "IMAGEFACTORY_TOKEN_127_0_0_1_") {
				return token
			}
			return ""
		}}),
		HTTP: httpx.Options{Base: w.transport, Sleep: func(ctx context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			w.waits = append(w.waits, d)
			return ctx.Err()
		}},
	})
}

func (w *world) image(dockerfile string) *config.Image {
	return &config.Image{Name: "web", Source: &config.Source{
		Provider: w.provider, Host: w.Host, Repo: "acme/web", Branch: "main", Dockerfile: dockerfile,
	}}
}

// asked counts the requests since the last call, and returns those.
func (w *world) asked(before *int) []string {
	var out []string
	all := w.Requests("")
	for _, r := range all[*before:] {
		out = append(out, fmt.Sprintf("%s %d", r.Method, r.Status))
	}
	*before = len(all)
	return out
}

func eachForge(t *testing.T, test func(t *testing.T, w *world)) {
	for _, p := range []config.Provider{config.GitHub, config.GitLab, config.Gitea} {
		t.Run(string(p), func(t *testing.T) { test(t, newWorld(t, p)) })
	}
}

func TestUnchangedFileCostsOneRequest(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		seen := 0
		const path = "apps/my app/Dockerfile#1?"
		commit := w.repo.Commit(path, "FROM node:22\n")
		first, err := w.run().Dockerfile(t.Context(), w.image(path), source.Known{})
		require.NoError(t, err)
		assert.Equal(t, "FROM node:22\n", string(first.Content))
		assert.Equal(t, commit, first.Commit)
		assert.Equal(t, "web/"+path, first.Path)
		w.asked(&seen)

		known := source.Known{Commit: commit, Digest: digest("FROM node:22\n")}
		again, err := w.run().Dockerfile(t.Context(), w.image(path), known)
		require.NoError(t, err)
		assert.Equal(t, first, again)
		want := map[config.Provider]string{config.GitHub: "GET 304", config.GitLab: "HEAD 200", config.Gitea: "GET 200"}[w.provider]
		assert.Equal(t, []string{want}, w.asked(&seen))

		w.cacheDir = "" // a Job in the cluster begins without
		again, err = w.run().Dockerfile(t.Context(), w.image(path), known)
		require.NoError(t, err)
		assert.Equal(t, first, again)
		assert.Equal(t, []string{"GET 200"}, w.asked(&seen))

		later := w.repo.Commit(path, "FROM node:24\n")
		changed, err := w.run().Dockerfile(t.Context(), w.image(path), known)
		require.NoError(t, err)
		assert.Equal(t, "FROM node:24\n", string(changed.Content))
		assert.Equal(t, later, changed.Commit)
	})
}

func digest(text string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
}

func TestOneRunAsksOnceForAFile(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		seen := 0
		w.repo.Commit("Dockerfile", "FROM node:22\n")
		run := w.run()
		_, err := run.Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
		require.NoError(t, err)
		w.asked(&seen)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				_, err := run.Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.Empty(t, w.asked(&seen))
	})
}

func TestUnreadableFiles(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		w.repo.Commit("big", "#"+strings.Repeat("x", 10<<20))
		w.repo.Link("link", "../other/Dockerfile")
		w.repo.Folder("folder")
		w.repo.Commit("lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
		w.repo.Commit("Dockerfile", "FROM node:22\n")
		read := func(img *config.Image) error {
			_, err := w.run().Dockerfile(t.Context(), img, source.Known{})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), canary)
			return err
		}
		folder := "a folder, not a file"
		if w.provider == config.GitLab { // whose API knows files only
			folder = "no such file"
		}
		for path, want := range map[string]string{
			"big": "too large for a Dockerfile", "link": "symbolic link to \"../other/Dockerfile\"", "folder": folder, "lfs": "stored in Git LFS", "none": "was it moved or deleted?",
		} {
			err := read(w.image(path))
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "reading \""+path+"\" of "+w.Host+"/acme/web (branch main)")
		}
		img := w.image("Dockerfile")
		img.Source.Branch = "devel/1"
		require.ErrorContains(t, read(img), `no branch "devel/1" in the repository: check source.branch`)

		for token, want := range map[string]string{"": "a token is required", "another": "the token is invalid or has expired"} {
			_, err := w.runWith(token).Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "set IMAGEFACTORY_API_TOKEN_127_0_0_1_")
		}
	})
}

func TestTokenWithoutAccess(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		body := `{"message":"Not Found"}`
		for range 2 {
			w.Fail(forgetest.Fault{Match: "GET /api/", Status: 404, Body: body, Header: http.Header{"Content-Type": {"application/json"}}})
		}
		_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
		require.ErrorContains(t, err, "no repository acme/web at "+w.Host+", or the token has no access to it")
	})
}

func TestTransientErrors(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		w.repo.Commit("Dockerfile", "FROM node:22\n")
		reset := strconv.FormatInt(time.Now().Add(20*time.Second).Unix(), 10)
		for name, faults := range map[string][]forgetest.Fault{
			"bad gateway":          {{Match: "GET", Status: 502}, {Match: "GET", Status: 503}},
			"cut connection":       {{Match: "GET", Break: true}},
			"storm of 429":         {{Match: "GET", Status: 429, Header: http.Header{"Retry-After": {"7"}}}, {Match: "GET", Status: 429}},
			"primary rate limit":   {{Match: "GET", Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {reset}}}},
			"secondary rate limit": {{Match: "GET", Status: 403, Header: http.Header{"Retry-After": {"7"}}}},
		} {
			w.Fail(faults...)
			w.waits = nil
			_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
			require.NoError(t, err, name)
			if name != "cut connection" { // net/http has its own way with a connection that was idle
				require.Len(t, w.waits, len(faults), name)
			}
			if strings.Contains(name, "42") || strings.HasPrefix(name, "secondary") {
				assert.GreaterOrEqual(t, w.waits[0], 7*time.Second, name)
			}
		}
	})
}

func TestPersistentErrors(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		w.repo.Commit("Dockerfile", "FROM node:22\n")
		later := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
		for want, fault := range map[string]forgetest.Fault{
			"answered 502 Bad Gateway":              {Status: 502},
			"connection failed":                     {Break: true},
			"rate limit reached (403), retry after": {Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {later}}},
			"answered 403 Forbidden: no scope (the token needs read access to the contents of the repository; set ": {Status: 403, Body: `{"message":"no scope"}`},
			`unexpected content: invalid JSON, content type "text/html" (not an API response`:                       {Status: 200, Body: "<html>sign in</html>", Header: http.Header{"Content-Type": {"text/html"}}},
			`unexpected content: invalid JSON, content type "application/json"`:                                     {Status: 200, Body: `{"type":"file","con`, Header: http.Header{"Content-Type": {"application/json"}}},
			"403 Forbidden: seen [token] [31m (":                                                                    {Status: 403, Body: `{"message":"seen ` + canary + `\u001b[31m"}`},
			"answered 302 Found (the repository has moved":                                                          {Status: 302, Header: http.Header{"Location": {"http://127.0.0.2:9/elsewhere"}}},
			"unexpected content: damaged file":                                                                      {Status: 200, Body: `{"type":"file","encoding":"base64","size":3,"content":"QQ==","last_commit_sha":"` + strings.Repeat("a", 40) + `"}`, Header: http.Header{"Content-Type": {"application/json"}}},
		} {
			fault.Match = "GET"
			for range 8 {
				w.Fail(fault)
			}
			run := w.run()
			_, err := run.Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
			require.ErrorContains(t, err, want)
			assert.NotContains(t, err.Error(), canary)
			_, again := run.Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
			require.Equal(t, err, again, "what failed is not asked again in the same run")
			w.Unfail()
		}
	})
}

func TestRefusingForgeIsSkipped(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		later := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
		for name, c := range map[string]struct {
			fault forgetest.Fault
			want  string
			asked int // of ten files
		}{
			"limit":   {forgetest.Fault{Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {later}}}, "skipping this host until", 1},
			"trouble": {forgetest.Fault{Status: 502}, "502 Bad Gateway; skipping this host until", 3 * 3},
			"denial":  {forgetest.Fault{Status: 401}, "the credential was refused 3 times (401); not sending it again in this run (the token is invalid or has expired; set ", 3},
		} {
			c.fault.Match = "GET"
			for range 50 {
				w.Fail(c.fault)
			}
			seen, run := 0, w.run()
			w.asked(&seen)
			var err error
			for i := range 10 {
				_, err = run.Dockerfile(t.Context(), w.image(fmt.Sprintf("Dockerfile%d", i)), source.Known{})
				require.Error(t, err)
			}
			require.ErrorContains(t, err, c.want, name)
			assert.Len(t, w.asked(&seen), c.asked, name)
			w.Unfail()
		}
	})
}

// The library for GitLab would wait as long as the header says, which is a minute and a half here.
func TestServerLimitHeaderDelaysNoRequest(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		w.repo.Commit("Dockerfile", "FROM node:22") // in one line, so that it costs a second request
		w.transport = transport(func(r *http.Request) (*http.Response, error) {
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err == nil {
				resp.Header.Set("RateLimit-Limit", "1")
			}
			return resp, err
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.run().Dockerfile(ctx, w.image("Dockerfile"), source.Known{})
		require.NoError(t, err)
	})
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	defer elsewhere.Close()
	eachForge(t, func(t *testing.T, w *world) {
		w.Fail(forgetest.Fault{Match: "GET", Status: 307, Header: http.Header{"Location": {elsewhere.URL}}})
		_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
		require.ErrorContains(t, err, "the repository has moved")
	})
}

func TestRenamedRepositoryIsFollowed(t *testing.T) {
	w := newWorld(t, config.GitHub)
	w.repo.Commit("Dockerfile", "FROM node:22\n")
	w.Fail(forgetest.Fault{Match: "GET", Status: 301, Header: http.Header{"Location": {"/api/v3/repos/acme/web/contents/Dockerfile?ref=main"}}})
	_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
	require.NoError(t, err)
}

func TestDamagedCacheIsIgnored(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		commit := w.repo.Commit("Dockerfile", "FROM node:22\n")
		read := func() {
			f, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{Commit: commit, Digest: digest("FROM node:22\n")})
			require.NoError(t, err)
			assert.Equal(t, "FROM node:22\n", string(f.Content))
		}
		read()
		require.NoError(t, filepath.WalkDir(w.cacheDir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.WriteFile(path, []byte("FROM evil\n"), 0o600)
		}))
		read()
	})
}

func TestGitServer(t *testing.T) {
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	url := git.Init("web", map[string]string{"apps/web/Dockerfile": "FROM node:22\n", "big": strings.Repeat("x", source.MaxFileBytes+2), "README": "hello"})
	commit := strings.TrimSpace(git.Git("web", "rev-parse", "main"))
	image := func(repo, path string) *config.Image {
		return &config.Image{Name: "web", Source: &config.Source{Provider: config.Git, Host: git.Host, Repo: repo, Branch: "main", Dockerfile: path}}
	}
	run := func() *source.Forges {
		return source.NewForges(source.Options{Credentials: credentials.New(credentials.Options{Getenv: func(string) string { return canary }})})
	}
	linked := filepath.Join(t.TempDir(), "linked")
	git.Git("web", "worktree", "add", "-q", "--detach", linked)
	for name, repo := range map[string]string{"server": url, "path": git.Dir("web"), "file URL": "file://" + git.Dir("web"), "linked checkout": linked} {
		git.Requests()
		r := run()
		for range 3 {
			f, err := r.Dockerfile(t.Context(), image(repo, "apps/web/Dockerfile"), source.Known{})
			require.NoError(t, err, name)
			assert.Equal(t, "FROM node:22\n", string(f.Content))
			assert.Equal(t, commit, f.Commit)
		}
		if name == "server" {
			assert.Len(t, git.Requests(), 2, "one fetch for the whole run")
		}
		for path, want := range map[string]string{"none": "was it moved or deleted?", "apps": "a folder, not a file", "big": "too large for a Dockerfile"} {
			_, err := r.Dockerfile(t.Context(), image(repo, path), source.Known{})
			require.ErrorContains(t, err, want, name)
		}
		img := image(repo, "README")
		img.Source.Branch = "none"
		_, err := r.Dockerfile(t.Context(), img, source.Known{})
		require.ErrorContains(t, err, `no branch "none" in the repository: check source.branch`, name)
	}
	git.Git("web", "config", "uploadpack.allowFilter", "true")
	_, err := run().Dockerfile(t.Context(), image(url, "big"), source.Known{})
	require.ErrorContains(t, err, "too large to be fetched")
	_, err = run().Dockerfile(t.Context(), image("ssh://git@github.com/acme/web.git", "Dockerfile"), source.Known{})
	require.ErrorContains(t, err, "want its https URL")
	_, err = source.NewForges(source.Options{}).Dockerfile(t.Context(), image(url, "README"), source.Known{})
	require.ErrorContains(t, err, "set a credential")
}
