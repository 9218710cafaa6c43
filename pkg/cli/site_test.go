package cli_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/kubetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// Secrets that must not appear in any output.
const (
	gitPassword      = "canary-git-0123456789"
	forgeToken       = "canary-forge-0123456789"
	registryPassword = "canary-registry-0123456789"
)

// site is a team with its servers. Git and registry are real; forge and Kubernetes have the published API.
type site struct {
	t        *testing.T
	git      *gittest.Server
	registry *registrytest.Registry
	forge    *forgetest.Server
	source   *forgetest.Repo
	kube     *kubetest.Server
	now      time.Time
	clock    func() time.Time                           // that is compared with the time of servers; nil for none
	sleep    func(context.Context, time.Duration) error // before a request is sent again; nil: real time passes
	env      map[string]string
	said     bytes.Buffer // all output of commands
	asked    int          // requests to the forge at the last count
}

// newSite starts the servers and enrolls one image that is built on library/node:22 of the registry.
func newSite(t *testing.T) *site {
	s := newSiteWithoutCluster(t)
	s.kube = kubetest.New(t)
	s.kube.Now = func() time.Time { return s.now }
	t.Setenv("KUBECONFIG", s.kube.Kubeconfig())
	return s
}

func newSiteWithoutCluster(t *testing.T) *site {
	s := &site{
		t: t, git: gittest.NewServer(t, gittest.Options{User: "bot", Password: gitPassword}), registry: registrytest.New(t),
		forge: forgetest.New(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	s.registry.User, s.registry.Password, s.forge.Token = "robot", registryPassword, forgeToken
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"git/" + s.git.Host + "/token": "bot:" + gitPassword, "api/" + s.forge.Host + "/token": forgeToken + "\n",
		"registry/" + s.registry.Host + "/config.json": fmt.Sprintf(`{"auths": {%q: {"username": "robot", "password": %q}}}`, s.registry.Host, registryPassword),
	})
	s.env = map[string]string{"IMAGEFACTORY_CREDENTIALS": dir, "IMAGEFACTORY_CACHE_DIR": t.TempDir(), "HOME": t.TempDir()}
	s.source = s.forge.GitHub("acme/web")
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\nRUN npm ci\n")
	s.git.Init("fleet", map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web")})
	return s
}

// entry returns an entry of images.yaml.
func (s *site) entry(name, repository, repo string) string {
	return fmt.Sprintf("- {name: %s, registry: %q, repository: %s, source: {provider: github, host: %q, repo: %s, workflow: build.yml}}\n",
		name, s.registry.Host, repository, s.forge.Host, repo)
}

// do runs a command on the state repository.
func (s *site) do(command string, args ...string) result {
	s.t.Helper()
	return s.run(append([]string{command, "--state-repo", s.git.URL("fleet"), "--push", "--config", "images.yaml"}, args...)...)
}

func (s *site) run(args ...string) result {
	s.t.Helper()
	return s.runUntil(s.t.Context(), args...)
}

// runUntil runs a command until ctx is done.
func (s *site) runUntil(ctx context.Context, args ...string) result {
	s.t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Main(ctx, args, &cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errOut,
		Now: func() time.Time { return s.now }, Clock: s.clock, Sleep: s.sleep, Getenv: func(name string) string { return s.env[name] },
	})
	s.said.Write(out.Bytes())
	s.said.Write(errOut.Bytes())
	return result{code, out.String(), errOut.String()}
}

// ok runs a command that must succeed.
func (s *site) ok(command string, args ...string) result {
	s.t.Helper()
	got := s.do(command, args...)
	require.Zero(s.t, got.code, "%s %v: %s", command, args, got.err)
	return got
}

// image returns the state of an image in the repository; base that of the only base image.
func (s *site) image(name string) *state.Image {
	s.t.Helper()
	var img state.Image
	require.NoError(s.t, decodeState(s.git.Git("fleet", "cat-file", "blob", "main:state/images/"+name+".yaml"), &img))
	return &img
}

func (s *site) base() *state.Base {
	s.t.Helper()
	var base state.Base
	require.NoError(s.t, decodeState(s.git.Git("fleet", "cat-file", "blob", "main:state/base-images/"+s.baseName()+".yaml"), &base))
	return &base
}

func decodeState(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }

func (s *site) baseName() string {
	s.t.Helper()
	name := strings.TrimSpace(s.git.Git("fleet", "ls-tree", "--name-only", "main:state/base-images"))
	require.NotContains(s.t, name, "\n")
	return strings.TrimSuffix(name, ".yaml")
}

// commits returns the number of commits of state.
func (s *site) commits() int { return len(s.git.Log("fleet")) }

// assertNoSecrets searches all output, commits and caches for secrets.
func (s *site) assertNoSecrets() {
	s.t.Helper()
	promotions, err := json.Marshal(s.kube.List("promotions"))
	require.NoError(s.t, err)
	files := map[string]string{
		"output": s.said.String(), "Promotions": string(promotions),
		"commits, also those that were not taken": s.git.Git("fleet", "cat-file", "--batch-all-objects", "--batch"),
	}
	require.NoError(s.t, filepath.WalkDir(s.env["IMAGEFACTORY_CACHE_DIR"], func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = path + string(data)
		return err
	}))
	basic := base64.StdEncoding.EncodeToString([]byte("bot:" + gitPassword))
	for name, text := range files {
		for _, secret := range []string{gitPassword, forgeToken, registryPassword, kubetest.Token, "canary", basic} {
			assert.NotContains(s.t, text, secret, name)
		}
	}
	for _, r := range append(s.git.Requests(), s.registry.Requests()...) {
		assert.NotContains(s.t, r, "canary")
	}
	for _, r := range s.forge.Requests("") {
		assert.NotContains(s.t, r.Path, "canary")
	}
}

const week = 7 * 24 * time.Hour

// TestWholeLoop follows one image: it is unpublished, rebuilt and observed; its base moves and waits; it is rebuilt again.
func TestWholeLoop(t *testing.T) {
	for _, direct := range []bool{false, true} {
		name, how := "through Kargo", []string(nil)
		if direct {
			name, how = "at the forge", []string{"--direct"}
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			runs := s.forge.Workflows("acme/web")
			runs.Now = func() time.Time { return s.now }
			node1 := s.registry.Base("library/node:22", "1")
			s.ok("analyze")
			assert.Equal(t, node1.Digest, s.base().CurrentDigest)
			assert.Equal(t, node1.Platforms["linux/arm64"], s.base().Baseline.Platforms["linux/arm64"])
			assert.False(t, s.image("web").Unpublished.IsZero())
			before := s.commits()
			got := s.ok("analyze")
			assert.Contains(t, got.err, "nothing new")
			assert.Equal(t, before, s.commits(), "nothing new, no commit")

			s.kube.AddStage("web")
			freight := s.kube.AddFreight("base-"+s.baseName(), node1.Digest)
			got = s.ok("promote", how...)
			assert.Contains(t, got.err, "1 rebuild started, 1 rebuild active")
			assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
			s.startedOnce(runs, direct, 1)
			s.now = s.now.Add(time.Hour)
			s.ok("promote", how...)
			s.startedOnce(runs, direct, 1)

			s.finish(runs, direct)
			web1 := s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node1, Provenance: true})
			got = s.ok("analyze", "--image", "web", "--tag", "1.0.0", "--digest", web1.Digest)
			web := s.image("web")
			assert.Equal(t, state.Succeeded, web.Rebuild.Status, got.err)
			assert.Equal(t, "1.0.0", web.CurrentVersion)
			require.Len(t, web.BuiltOn, 1)
			assert.Equal(t, node1.Digest, web.BuiltOn[0].Digest)
			assert.Equal(t, state.Provenance, web.BuiltOn[0].Evidence)
			assert.Contains(t, s.git.Log("fleet")[0], "web: built on "+state.ShortDigest(node1.Digest))
			before = s.commits()
			got = s.ok("analyze", "--image", "web", "--tag", "1.0.0", "--digest", web1.Digest)
			assert.Contains(t, got.err, "already recorded")
			s.ok("promote", how...)
			if !direct { // the image was seen before a pass asked for the run
				assert.Contains(t, s.git.Log("fleet")[0], "is run 1001")
				before++
			}
			assert.NotEmpty(t, s.image("web").Rebuild.RunURL)
			s.ok("promote", how...)
			assert.Equal(t, before, s.commits())

			node2 := s.registry.Base("library/node:22", "2")
			s.kube.AddFreight("base-"+s.baseName(), node2.Digest)
			s.ok("analyze", append([]string{"--base-image", s.baseName(), "--tag", "22", "--digest", node2.Digest, "--promote"}, how...)...)
			assert.Equal(t, node2.Digest, s.base().CurrentDigest)
			require.Len(t, s.base().Candidates, 1)
			s.startedOnce(runs, direct, 1) // it has to wait
			s.now = s.now.Add(week - time.Minute)
			s.ok("promote", how...)
			s.startedOnce(runs, direct, 1)
			s.now = s.now.Add(2 * time.Minute)
			got = s.ok("promote", how...)
			s.startedOnce(runs, direct, 2)
			assert.Contains(t, got.out, "started")
			if !direct {
				assert.NotEqual(t, freight, s.kube.List("promotions")[1]["spec"].(map[string]any)["freight"])
			}
			assert.Equal(t, node2.Digest, s.image("web").Rebuild.Bases[0].Digest)

			s.finish(runs, direct)
			s.now = s.now.Add(time.Hour)
			s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &node2, Provenance: true})
			got = s.ok("promote", how...) // observes the image of the running rebuild
			web = s.image("web")
			assert.Equal(t, state.Succeeded, web.Rebuild.Status, got.err)
			assert.Equal(t, "1.0.1", web.CurrentVersion)
			assert.NotEmpty(t, web.Rebuild.Run)
			assert.True(t, strings.HasPrefix(web.Rebuild.RunURL, "http"), web.Rebuild.RunURL)
			assert.Len(t, web.RebuildHistory, 1)
			s.git.Git("fleet", "fsck", "--full", "--strict")
			s.assertNoSecrets()
		})
	}
}

// startedOnce asserts how many rebuilds were started in all.
func (s *site) startedOnce(runs *forgetest.Workflows, direct bool, want int) {
	s.t.Helper()
	promotions, dispatched := len(s.kube.List("promotions")), len(runs.Runs())
	if direct {
		assert.Equal(s.t, [2]int{0, want}, [2]int{promotions, dispatched})
	} else {
		assert.Equal(s.t, [2]int{want, 0}, [2]int{promotions, dispatched})
	}
}

// finish ends the newest run with success.
func (s *site) finish(runs *forgetest.Workflows, direct bool) {
	if direct {
		all := runs.Runs()
		runs.Finish(all[len(all)-1].ID, "success")
		return
	}
	all := s.kube.List("promotions")
	s.kube.Finish(all[len(all)-1]["metadata"].(map[string]any)["name"].(string), "Succeeded", strconv.Itoa(1000+len(all)), "https://forge.example.com/runs/1")
}
