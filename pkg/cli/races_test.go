package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
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

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// atOnce runs a command several times at the same time.
func (s *site) atOnce(n int, args ...string) []result {
	out := make([]result, n)
	var group sync.WaitGroup
	for i := range out {
		group.Go(func() {
			var stdout, stderr bytes.Buffer
			code := cli.Main(s.t.Context(), args, &cli.Env{
				In: strings.NewReader(""), Out: &stdout, Err: &stderr,
				Now: func() time.Time { return s.now }, Getenv: func(name string) string { return s.env[name] },
			})
			out[i] = result{code, stdout.String(), stderr.String()}
		})
	}
	group.Wait()
	return out
}

// local writes images.yaml into a folder and returns its path.
func (s *site) local() string {
	dir := s.t.TempDir()
	writeFiles(s.t, dir, map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web")})
	return filepath.Join(dir, "images.yaml")
}

func TestPromotersInTheSameSecond(t *testing.T) {
	for _, where := range []string{"repository", "folder"} {
		t.Run(where, func(t *testing.T) {
			s := newSite(t)
			runs := s.forge.Workflows("acme/web")
			runs.Now = func() time.Time { return s.now }
			s.registry.Base("library/node:22", "1")
			at := []string{"--config", s.local()}
			if where == "repository" {
				at = []string{"--state-repo", s.git.URL("fleet"), "--push", "--config", "images.yaml"}
			}
			got := s.run(append([]string{"analyze"}, at...)...)
			require.Zero(t, got.code, got.err)
			s.now = s.now.Add(time.Hour)
			started := 0
			for _, got := range s.atOnce(4, append([]string{"promote", "--direct"}, at...)...) {
				assert.Zero(t, got.code, got.err)
				started += strings.Count(got.err, "1 rebuild started")
			}
			assert.Equal(t, 1, started, "one of them starts it")
			assert.Len(t, runs.Runs(), 1)
		})
	}
}

func TestAnalysisOfAFolderKeepsChangesOfPromote(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.registry.Base("library/node:22", "1")
	config := s.local()
	got := s.run("analyze", "--config", config)
	require.Zero(t, got.code, got.err)
	s.registry.Base("library/node:22", "2")
	asked, promoted := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.registry.Break(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() {
			close(asked)
			<-promoted
		})
		return false
	})
	var group sync.WaitGroup
	group.Go(func() {
		for _, got := range s.atOnce(1, "analyze", "--config", config) {
			assert.Zero(t, got.code, got.err)
		}
	})
	<-asked
	for _, got := range s.atOnce(1, "promote", "--direct", "--offline", "--config", config) {
		assert.Zero(t, got.code, got.err)
	}
	close(promoted)
	group.Wait()
	require.Len(t, runs.Runs(), 1)
	var web state.Image
	data, err := os.ReadFile(filepath.Join(filepath.Dir(config), "state/images/web.yaml"))
	require.NoError(t, err)
	require.NoError(t, decodeState(string(data), &web))
	require.NotNil(t, web.Rebuild, "what was started is not forgotten")
	assert.Equal(t, state.Running, web.Rebuild.Status)
}

func TestSymlinkedStateFolderIsNotFollowed(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	config, elsewhere := s.local(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(config), "state"), 0o755))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(filepath.Dir(config), "state", "images")))
	got := s.run("analyze", "--config", config)
	assert.Equal(t, 2, got.code, got.err)
	assert.Contains(t, got.err, "links are not followed")
	entries, err := os.ReadDir(elsewhere)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestSymlinkedArchiveIsNotFollowed(t *testing.T) {
	for _, link := range []string{"archive", "archive/images"} {
		t.Run(link, func(t *testing.T) {
			s := newSite(t)
			s.registry.Base("library/node:22", "1")
			config, elsewhere := s.local(), t.TempDir()
			got := s.run("analyze", "--config", config)
			require.Zero(t, got.code, got.err)
			archive := filepath.Join(filepath.Dir(config), "state", link)
			require.NoError(t, os.MkdirAll(filepath.Dir(archive), 0o755))
			require.NoError(t, os.Symlink(elsewhere, archive))

			require.NoError(t, os.WriteFile(config, []byte("[]\n"), 0o600))
			got = s.run("prune", "--config", config)
			assert.Equal(t, 1, got.code, got.err)
			assert.Contains(t, got.err, "links are not followed")
			entries, err := os.ReadDir(elsewhere)
			require.NoError(t, err)
			assert.Empty(t, entries)
			assert.FileExists(t, filepath.Join(filepath.Dir(config), "state/images/web.yaml"), "nothing is lost")

			state := filepath.Join(filepath.Dir(config), "state/images/web.yaml")
			writeFiles(t, elsewhere, map[string]string{"web.yaml": "name: web\nextra: 1\n", "images/web.yaml": "name: web\nextra: 1\n"})
			require.NoError(t, os.Remove(state))
			writeFiles(t, filepath.Dir(config), map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web")})
			got = s.run("analyze", "--config", config)
			require.Zero(t, got.code, got.err)
			data, err := os.ReadFile(state)
			require.NoError(t, err)
			assert.NotContains(t, string(data), "extra")
		})
	}
}

func TestRecordedButUnstartedRebuildIsDecidedAgain(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	node1 := s.registry.Base("library/node:22", "1")
	s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node1, Provenance: true})
	s.ok("analyze")
	s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(week + time.Minute)
	for range 3 {
		s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/web/actions", Status: 403, Body: `{"message":"Resource not accessible"}`})
	}
	got := s.do("promote", "--direct")
	assert.Equal(t, 1, got.code)
	assert.Equal(t, state.Requested, s.image("web").Rebuild.Status)
	assert.Contains(t, s.image("web").Rebuild.Message, "the token needs")
	assert.Contains(t, s.git.Log("fleet")[0], "was not started: "+s.forge.Host+" answered 403")
	got = s.run("status", "--config", s.checkout()+"/images.yaml")
	assert.Contains(t, got.out, "answered 403 Forbidden: Resource not accessible (the token needs")
	s.forge.Unfail()
	s.ok("hold", s.baseName(), "--reason", "malicious")
	s.now = s.now.Add(time.Hour)
	got = s.ok("promote", "--direct")
	assert.Contains(t, got.out, "dropped")
	assert.Contains(t, got.out, "is held")
	assert.Empty(t, runs.Runs(), "what is held is not built")
	assert.Nil(t, s.image("web").Rebuild)
	s.ok("release", s.baseName(), "--reason", "a false alarm")
	s.ok("promote", "--direct")
	assert.Len(t, runs.Runs(), 1)
}

func TestUnreadableImageIsNotRebuilt(t *testing.T) {
	for _, repository := range []string{"acme/web", "library/node"} {
		t.Run(repository, func(t *testing.T) {
			s, _ := published(t)
			s.due()
			s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
				broken := strings.Contains(r.URL.Path, repository)
				if broken {
					w.WriteHeader(http.StatusForbidden)
				}
				return broken
			})
			got := s.do("promote")
			assert.Equal(t, 1, got.code, got.err)
			assert.Empty(t, s.kube.List("promotions"))
			assert.Nil(t, s.image("web").Rebuild)
			s.registry.Break(nil)
			s.ok("promote")
			assert.Len(t, s.kube.List("promotions"), 1)
		})
	}
}

func TestRunOfAnotherImageDoesNotMatch(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/mono")
	runs.Now = func() time.Time { return s.now }
	s.registry.Base("library/node:22", "1")
	s.forge.GitHub("acme/mono").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("api", "acme/api", "acme/mono") + s.entry("web", "acme/web", "acme/mono")}, "Enroll")
	s.ok("analyze")
	refuseAPI := func() { // it comes first
		s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/mono/actions", Status: 403, Body: `{"message":"Resource not accessible"}`})
		got := s.do("promote", "--direct")
		assert.Equal(t, 1, got.code, got.err)
	}
	refuseAPI()
	first := s.image("web").Rebuild
	require.NotEmpty(t, first.Run)
	runs.Finish(runs.Runs()[0].ID, "failure")
	s.now = s.now.Add(20 * time.Minute)
	refuseAPI()
	s.now = s.now.Add(90 * time.Minute)
	refuseAPI()
	require.Equal(t, first.Run, s.image("web").RebuildHistory[0].Run)
	require.NotEqual(t, first.Run, s.image("web").Rebuild.Run)
	require.Equal(t, state.Requested, s.image("api").Rebuild.Status)

	s.now = s.now.Add(20 * time.Minute)
	s.ok("promote", "--direct")
	require.Len(t, runs.Runs(), 3)
	assert.Equal(t, strconv.FormatInt(runs.Runs()[2].ID, 10), s.image("api").Rebuild.Run)
	assert.Contains(t, s.git.Log("fleet")[1], "api: rebuild "+s.image("api").Rebuild.ID+" is started by a later pass")
}

func TestPossiblyRunningRebuildIsNotStartedAgain(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.due()
	s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/web/actions", Status: 403, Body: `{"message":"Resource not accessible"}`})
	got := s.do("promote", "--direct")
	require.Equal(t, 1, got.code)
	var others []int64
	for range 2 { // whether one of them is ours is unknown
		others = append(others, runs.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: "build", Status: "queued"}))
	}
	for range 2 {
		s.now = s.now.Add(time.Hour)
		got = s.do("promote", "--direct")
		assert.Equal(t, 1, got.code, got.err)
		assert.Contains(t, got.err, "another run could be its own")
		assert.Len(t, runs.Runs(), 2)
		assert.Equal(t, state.Requested, s.image("web").Rebuild.Status, "it is not said to run either")
		_, d := s.status("web")
		assert.Equal(t, "blocked", d.Status)
	}
	runs.Finish(others[0], "failure")
	got = s.do("promote", "--direct")
	assert.Equal(t, 1, got.code, got.err)
	assert.Len(t, runs.Runs(), 2)

	runs.Finish(others[1], "success")
	s.now = s.now.Add(time.Hour)
	s.ok("promote", "--direct")
	assert.Len(t, runs.Runs(), 3, "both are over, and the image was not seen")
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
	assert.NotEmpty(t, s.image("web").Rebuild.Run)
}

// TestRebuildsOfOneWorkflowWhoseStartsWereLost: a promoter is killed after it started one of three builds of the same workflow,
// before it recorded that. No rebuild counts as running that is not, and none is started twice.
func TestRebuildsOfOneWorkflowWhoseStartsWereLost(t *testing.T) {
	for _, titled := range []bool{false, true} {
		t.Run("titled "+strconv.FormatBool(titled), func(t *testing.T) {
			s := newSite(t)
			runs := s.forge.Workflows("acme/mono")
			runs.Now = func() time.Time { return s.now }
			runs.Inputs, runs.Title = []string{"id"}, func(in map[string]string) string { return "build " + in["id"] }
			node := s.registry.Base("library/node:22", "1")
			s.forge.GitHub("acme/mono").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
			names := []string{"api", "db", "web"}
			var entries strings.Builder
			for _, name := range names {
				entry := s.entry(name, "acme/"+name, "acme/mono")
				entries.WriteString(strings.Replace(entry, "workflow: build.yml", `workflow: build.yml, inputs: {id: "{{promotion}}"}`, 1))
			}
			s.git.Commit("fleet", map[string]string{"images.yaml": entries.String()}, "Enroll")
			s.ok("analyze")
			for range names {
				s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/mono/actions", Status: 403, Body: `{"message":"Resource not accessible"}`})
			}
			got := s.do("promote", "--direct") // recorded; the 403 stands for the kill
			require.Equal(t, 1, got.code, got.err)
			s.forge.Unfail()
			title := "build"
			if titled {
				title = "build " + s.image("db").Rebuild.ID
			}
			lost := runs.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: title, Status: "queued"})

			s.now = s.now.Add(time.Hour)
			got = s.do("promote", "--direct")
			if titled {
				assert.Zero(t, got.code, got.err)
				assert.Len(t, runs.Runs(), 3, "the two others are started")
			} else {
				assert.Equal(t, 1, got.code, got.err)
				assert.Len(t, runs.Runs(), 1)
				for _, name := range names {
					assert.Equal(t, state.Requested, s.image(name).Rebuild.Status, name)
				}
			}
			runs.Finish(lost, "success")
			s.registry.Publish("acme/db:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
			s.now = s.now.Add(time.Hour)
			s.ok("promote", "--direct")
			assert.Len(t, runs.Runs(), 3)
			assert.Equal(t, state.Succeeded, s.image("db").Rebuild.Status)
			for _, name := range []string{"api", "web"} {
				assert.Equal(t, state.Running, s.image(name).Rebuild.Status, name)
				assert.NotEmpty(t, s.image(name).Rebuild.Run, name)
			}
		})
	}
}

func TestUnstartedRebuildWithAVisibleRunEnds(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	node := s.due()
	s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/web/actions", Status: 403, Body: `{"message":"Resource not accessible"}`})
	got := s.do("promote", "--direct")
	require.Equal(t, 1, got.code)
	requested := s.image("web").Rebuild
	s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &node, Provenance: true}) // by a push
	s.now = s.now.Add(time.Hour)
	s.ok("promote", "--direct")
	assert.Equal(t, requested.ID, s.image("web").Rebuild.ID)
	assert.Equal(t, state.Succeeded, s.image("web").Rebuild.Status)
	assert.Empty(t, runs.Runs())
}

func TestInterruptedPromoterClaimsNothing(t *testing.T) {
	s, _ := published(t)
	s.due()
	ctx, cancel := context.WithCancel(t.Context())
	s.registry.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	got := s.runUntil(ctx, "promote", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml", "--push")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "stopped: 0 rebuilds started")
	assert.Nil(t, s.image("web").Rebuild, "else it would wait for whoever recorded it")
	s.registry.Break(nil)
	s.ok("promote")
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
}

func TestNextPassRetriesSkippedHosts(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.due()
	s.ok("promote", "--direct")
	runs.Finish(runs.Runs()[0].ID, "failure")

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	s.env["IMAGEFACTORY_CREDENTIALS"] = t.TempDir()
	writeFiles(t, s.env["IMAGEFACTORY_CREDENTIALS"], map[string]string{
		"git/" + s.git.Host + "/token":    "bot:" + gitPassword,
		"api/" + s.forge.Host + "/app-id": "7", "api/" + s.forge.Host + "/installation-id": "42",
		"api/" + s.forge.Host + "/private-key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	const ask = "POST /api/v3/app/installations/42/access_tokens"
	for range 5 {
		s.forge.Fail(forgetest.Fault{Match: ask, Status: http.StatusBadGateway})
	}
	s.forge.Fail(forgetest.Fault{Match: ask, Status: http.StatusCreated, Body: `{"token": "` + forgeToken + `", "expires_at": "2100-01-01T00:00:00Z"}`})
	s.ok("promote", "--direct", "--offline", "--wait", "1m", "--poll", "10ms")
	assert.Equal(t, state.Failed, s.image("web").Rebuild.Status)
}
