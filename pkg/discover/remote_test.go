package discover

import (
	"context"
	"fmt"
	"net/http"
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
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/long"
)

var remoteNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// site is an organisation at a forge, and what reads it.
type site struct {
	*forgetest.Server
	*forgetest.Org
	t        *testing.T
	provider config.Provider
	cacheDir string
	seen     int

	mu     sync.Mutex
	now    time.Time
	waited []time.Time
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func newSite(t *testing.T, p config.Provider) *site {
	s := &site{Server: forgetest.New(t), t: t, provider: p, cacheDir: t.TempDir(), now: remoteNow}
	if s.Org = nil; p == config.GitHub {
		s.Org = s.GitHubOrg("acme")
	} else {
		s.Org = s.GitLabGroup("acme")
	}
	return s
}

// image adds a repository that builds an image.
func (s *site) image(name string) {
	files := map[string]string{"Dockerfile": "FROM node:22\n# " + name + "\n", "README.md": "x"}
	if s.provider == config.GitHub {
		files[".github/workflows/b.yml"] = "on: workflow_dispatch\njobs: {b: {steps: [{uses: docker/build-push-action@v6, with: {push: true, tags: 'ghcr.io/acme/" + name + ":1'}}]}}\n"
	} else {
		files[".gitlab-ci.yml"] = "b: {script: [docker build -t registry.example/acme/" + name + " ., docker push registry.example/acme/" + name + "]}\n"
	}
	s.Set(forgetest.Listed{Name: "acme/" + name, Files: files})
}

func (s *site) run(wait bool) *Report {
	s.t.Helper()
	cfg, err := config.Load(strings.NewReader(""), "images.yaml")
	require.NoError(s.t, err)
	o := Options{CacheDir: s.cacheDir, API: forgeapi.New(forgeapi.Options{HTTP: httpx.Options{
		Now: s.clock, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}})}
	if wait {
		o.Wait = func(_ context.Context, _ string, until time.Time) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.waited, s.now = append(s.waited, until), until.Add(time.Second)
			return nil
		}
	}
	r, err := Organisations(s.t.Context(), []Organisation{{Provider: s.provider, Host: s.Host, Name: "acme"}}, cfg, o)
	require.NoError(s.t, err)
	return r
}

// asked counts the requests since the last call, by status.
func (s *site) asked() map[int]int {
	out := map[int]int{}
	all := s.Requests("")
	for _, r := range all[s.seen:] {
		out[r.Status]++
	}
	s.seen = len(all)
	return out
}

func bothForges(t *testing.T, test func(t *testing.T, s *site)) {
	for _, p := range []config.Provider{config.GitHub, config.GitLab} {
		t.Run(string(p), func(t *testing.T) { test(t, newSite(t, p)) })
	}
}

func TestSecondRunCostsConditionalRequestsOnly(t *testing.T) {
	bothForges(t, func(t *testing.T, s *site) {
		n := long.Iterations(200, 2000)
		for i := range n {
			if i%10 == 0 {
				s.image(fmt.Sprintf("web-%04d", i))
			} else {
				s.Set(forgetest.Listed{Name: fmt.Sprintf("acme/lib-%04d", i), Files: map[string]string{"main.go": "package main"}})
			}
		}
		r := s.run(false)
		assert.Equal(t, n, r.Repositories)
		assert.Equal(t, map[Status]int{New: n / 10}, r.Counts())
		pages, files := n/100+1, 2*n/10
		want := pages + n + files
		if s.provider == config.GitLab { // a branch and one page of files
			want += n
		}
		assert.Equal(t, map[int]int{http.StatusOK: want}, s.asked())

		again := s.run(false)
		assert.Equal(t, r, again)
		assert.Equal(t, map[int]int{http.StatusNotModified: pages + n}, s.asked())

		s.image("web-0001") // one repository has changed: its tree and one file, since the other has the same content
		s.run(false)
		asked := s.asked()
		assert.Less(t, asked[http.StatusOK], 10)
	})
}

func TestRateLimit(t *testing.T) {
	bothForges(t, func(t *testing.T, s *site) {
		for i := range 20 {
			s.image(fmt.Sprintf("web-%02d", i))
		}
		until := remoteNow.Add(40 * time.Minute)
		limit := func(after int) {
			match, n := "GET /api/v3/repos/", 0
			var mu sync.Mutex
			if s.provider == config.GitLab {
				match = "GET /api/v4/projects/"
			}
			s.Break(func(w http.ResponseWriter, q *http.Request) bool {
				if !strings.HasPrefix(q.Method+" "+q.URL.Path, match) {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				if n++; n <= after || s.clock().After(until) {
					return false
				}
				h := w.Header()
				h.Set("X-Ratelimit-Remaining", "0")
				h.Set("X-Ratelimit-Reset", strconv.FormatInt(until.Unix(), 10))
				h.Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = w.Write([]byte(`{"message":"API rate limit exceeded"}`))
				return true
			})
		}
		limit(30)
		first := s.run(false)
		require.NotNil(t, first.Later)
		assert.Equal(t, until, first.Later.UTC())
		assert.NotEmpty(t, first.Unread)
		assert.NotEmpty(t, first.Items)
		assert.Equal(t, 20, len(first.Items)+len(first.Unread))

		s.Break(nil) // the limit is over
		s.asked()
		second := s.run(false)
		assert.Nil(t, second.Later)
		assert.Len(t, second.Items, 20)
		assert.Positive(t, s.asked()[http.StatusNotModified], "it goes on from there")

		s.cacheDir = t.TempDir()
		limit(30)
		waited := s.run(true)
		assert.Len(t, waited.Items, 20)
		assert.Empty(t, waited.Unread)
		assert.Equal(t, until, s.waited[0].UTC())
	})
}

func TestOneBadRepository(t *testing.T) {
	bothForges(t, func(t *testing.T, s *site) {
		s.image("good")
		s.image("old")
		for i := range 10 {
			s.Set(forgetest.Listed{Name: fmt.Sprintf("acme/bad-%d", i), Files: map[string]string{"Dockerfile": "FROM a"}, Broken: true})
		}
		s.image("late")
		s.Set(forgetest.Listed{Name: "acme/archived", Files: map[string]string{"Dockerfile": "FROM a"}, Archived: true})
		s.Set(forgetest.Listed{Name: "acme/fork", Files: map[string]string{"Dockerfile": "FROM a"}, Fork: true})
		s.Set(forgetest.Listed{Name: "acme/empty"})
		s.Set(forgetest.Listed{Name: "acme/link", Files: map[string]string{"Dockerfile": "-> /etc/passwd", "vendor/x/Dockerfile": "FROM a"}})
		s.Set(forgetest.Listed{Name: "acme/huge", Files: map[string]string{"Dockerfile": "FROM a", ".github/workflows/x.yml": strings.Repeat("#", maxFileBytes+1), ".gitlab-ci.yml": strings.Repeat("#", maxFileBytes+1)}})
		r := s.run(false)
		assert.Len(t, r.Items, 3, "however many others fail")
		require.Len(t, r.Unread, 10)
		assert.Equal(t, "acme/bad-0", r.Unread[0].Repository)
		assert.Contains(t, r.Unread[0].Error, "answered 500")
		require.Len(t, r.Problems, 1)
		assert.Equal(t, "larger than 256 KiB", r.Problems[0].Message)
		assert.Equal(t, []Unbuilt{{"acme/huge", "Dockerfile", "nothing builds it"}}, r.Unbuilt)
	})
}

// TestDamagedCache: the cache only saves requests.
func TestDamagedCache(t *testing.T) {
	bothForges(t, func(t *testing.T, s *site) {
		s.image("web")
		first := s.run(false)
		require.NoError(t, filepath.WalkDir(s.cacheDir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.WriteFile(path, []byte("W/\"x\"\n{"), 0o600)
		}))
		assert.Equal(t, first, s.run(false))
	})
}
