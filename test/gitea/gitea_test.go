// Package gitea_test runs imagefactory against a real Gitea: its repositories, its Actions, and git over HTTP.
package gitea_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
)

// programs is the folder in which `make gitea` builds Gitea, and imagefactory with a clock that IMAGEFACTORY_TEST_NOW sets.
var (
	programs = os.Getenv("PROGRAMS")
	binary   = filepath.Join(programs, "loop", "imagefactory")
)

var server *parts.Gitea

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if programs == "" {
		fmt.Fprintln(os.Stderr, "run `make gitea`: it builds Gitea and imagefactory, and names their folder in PROGRAMS")
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "imagefactory-gitea-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		server, err = parts.StartGitea(ctx, parts.Options{Programs: programs, Dir: dir})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop()
	return m.Run()
}

// repository is a repository of acme.
type repository struct {
	t *testing.T
	*parts.Repository
}

// newRepository makes a repository with files on the branch main.
func newRepository(t *testing.T, name string, files map[string]string) *repository {
	t.Helper()
	r, err := server.NewRepository(t.Context(), "acme", name, false)
	require.NoError(t, err)
	require.NoError(t, r.Commit(t.Context(), "main", "Add files", files))
	return &repository{t, r}
}

// read returns a file of the branch main.
func (r *repository) read(path string) string { return r.at("main", path) }

func (r *repository) runs() []parts.WorkflowRun {
	r.t.Helper()
	runs, err := r.Runs(r.t.Context())
	require.NoError(r.t, err)
	return runs
}

// newToken returns a token of acme with some scopes.
func newToken(t *testing.T, scopes string) string {
	t.Helper()
	out, err := server.Run(t.Context(), "admin", "user", "generate-access-token", "--username", "acme", "--token-name", scopes, "--scopes", scopes, "--raw")
	require.NoError(t, err)
	lines := strings.Fields(out)
	return lines[len(lines)-1]
}

// factory is where imagefactory runs: nothing is kept there, all state is in the repository factory of acme.
type factory struct {
	t     *testing.T
	dir   string
	token string
	now   time.Time
	repo  *repository
}

func newFactory(t *testing.T, images string) *factory {
	t.Helper()
	f := &factory{t: t, dir: t.TempDir(), token: server.Token, now: time.Now().UTC().Truncate(time.Second)}
	f.repo = newRepository(t, "factory-"+strings.ToLower(t.Name()), map[string]string{"images.yaml": images})
	return f
}

// try runs a command and returns its standard output.
func (f *factory) try(args ...string) (string, error) {
	cmd := exec.CommandContext(f.t.Context(), binary, args...)
	cmd.Dir = f.dir
	variable := strings.NewReplacer(".", "_", ":", "_").Replace(server.Host)
	cmd.Env = append(os.Environ(), "IMAGEFACTORY_TOKEN_"+variable+"="+f.token, "IMAGEFACTORY_TEST_NOW="+f.now.Format(time.RFC3339),
		"IMAGEFACTORY_CACHE_DIR="+filepath.Join(f.dir, "cache"), "NO_COLOR=1")
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	assert.NotContains(f.t, out.String()+errOut.String(), f.token)
	if err != nil {
		return out.String(), fmt.Errorf("imagefactory %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), nil
}

// run runs a command that must succeed on the state in the repository.
func (f *factory) run(args ...string) string {
	f.t.Helper()
	out, err := f.try(append(args, "--state-repo", f.repo.URL())...)
	require.NoError(f.t, err)
	return out
}

// pass records what is new, and starts what is due.
func (f *factory) pass() {
	f.t.Helper()
	f.run("analyze", "--all", "--push")
	f.run("promote", "--push", "--direct")
}

// clone returns a checkout of the repository.
func (f *factory) clone() string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "checkout")
	out, err := exec.CommandContext(f.t.Context(), "git", "clone", "--quiet", f.repo.URL(), dir).CombinedOutput()
	require.NoError(f.t, err, "%s", out)
	return dir
}

// write writes a file into the folder in which imagefactory runs.
func (f *factory) write(path, text string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, path), []byte(text), 0o600))
}

// history returns the rebuilds of an image, newest first: status and message.
func (f *factory) history(image string) [][2]string {
	f.t.Helper()
	f.dir = f.clone()
	out, err := f.try("describe", image, "-o", "json")
	require.NoError(f.t, err)
	var d struct {
		History []struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"history"`
	}
	require.NoError(f.t, json.Unmarshal([]byte(out), &d))
	var list [][2]string
	for _, h := range d.History {
		list = append(list, [2]string{h.Status, h.Message})
	}
	return list
}

const workflow = `name: build
run-name: Build ${{ inputs.rebuild }}
on:
  workflow_dispatch:
    inputs:
      rebuild: {type: string}
      base: {type: string}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
    - run: "true"
`

func TestRebuild(t *testing.T) {
	registry := newRegistry(t)
	registry.push("base:1", "first")
	app := newRepository(t, "app", map[string]string{
		"images/app/Dockerfile": "FROM " + registry.host + "/base:1\n", ".gitea/workflows/build.yml": workflow,
	})
	f := newFactory(t, fmt.Sprintf(`
defaults: {registry: %[1]s, rebuildDelay: 0s, rebuildInterval: 0s}
images:
- name: app
  repository: app
  source:
    provider: gitea
    host: %[2]s
    repo: acme/app
    dockerfile: images/app/Dockerfile
    workflow: build.yml
    inputs: {rebuild: "{{promotion}}", base: "{{base}}@{{digest}}"}
`, registry.host, server.Host))
	runner := newRunner(t)

	f.pass() // the image was never published
	runs := app.runs()
	require.Len(t, runs, 1)
	assert.Regexp(t, `^Build r-[0-9a-f]{16}$`, runs[0].Title)
	assert.Contains(t, f.repo.read("state/images/app.yaml"), runs[0].URL)
	f.pass()
	require.Len(t, app.runs(), 1, "it runs already")

	first := runner.next(t)
	assert.Equal(t, strings.TrimPrefix(runs[0].Title, "Build "), first.Context.Event.Inputs["rebuild"])
	registry.build("app:latest", "base:1")
	runner.end(t, first, parts.Success)
	f.pass()
	history := f.history("app")
	require.Len(t, history, 1)
	assert.Equal(t, "succeeded", history[0][0])

	digest := registry.push("base:1", "second")
	f.now = f.now.Add(time.Hour)
	f.pass()
	require.Len(t, app.runs(), 2)
	second := runner.next(t)
	assert.Equal(t, registry.host+"/base:1@"+digest, second.Context.Event.Inputs["base"])
	runner.end(t, second, parts.Failure)
	f.pass()
	history = f.history("app")
	require.Len(t, history, 2)
	assert.Equal(t, [2]string{"failed", app.runs()[0].URL + " ended as failure"}, history[0])

	require.NoError(t, app.Call(t.Context(), http.MethodPut, "/actions/workflows/build.yml/disable", nil, nil))
	f.now = f.now.Add(24 * time.Hour)
	_, err := f.try("promote", "--push", "--direct", "--state-repo", f.repo.URL())
	require.ErrorContains(t, err, "workflow is disabled (enable the workflow in the Actions of acme/app)")
	require.Len(t, app.runs(), 2)
	history = f.history("app")
	require.Len(t, history, 3)
	assert.Equal(t, "failed", history[0][0], "nobody waits for a workflow that a person has disabled")
	assert.Contains(t, history[0][1], "workflow is disabled")
}

func TestDoctor(t *testing.T) {
	newRepository(t, "checked", map[string]string{"Dockerfile": "FROM scratch\n", ".gitea/workflows/build.yml": workflow})
	f := newFactory(t, fmt.Sprintf(`
factory: {state: {url: "http://%[1]s/acme/factory-testdoctor.git"}}
images:
- {name: good, repository: acme/good, source: {provider: gitea, host: "%[1]s", repo: acme/checked, workflow: build.yml, inputs: {rebuild: "{{promotion}}"}}}
- {name: other, repository: acme/other, source: {provider: gitea, host: "%[1]s", repo: acme/checked, workflow: none.yml}}
- {name: inputs, repository: acme/inputs, source: {provider: gitea, host: "%[1]s", repo: acme/checked, branch: main, workflow: build.yml, inputs: {x: "1"}}}
- {name: missing, repository: acme/missing, source: {provider: gitea, host: "%[1]s", repo: acme/none, workflow: build.yml}}
`, server.Host))
	f.dir = f.clone()
	checks := func() map[string][]string {
		out, err := f.try("doctor", "-o", "json")
		require.Error(t, err, "there is no cluster, and not all is well")
		var report struct {
			Items []struct{ Check, Result, Message string } `json:"items"`
		}
		require.NoError(t, json.Unmarshal([]byte(out), &report))
		found := map[string][]string{}
		for _, c := range report.Items {
			found[c.Check] = append(found[c.Check], c.Result+": "+c.Message)
		}
		return found
	}
	found := checks()
	require.Len(t, found["token "+server.Host], 1)
	assert.Regexp(t, "^ok: .* is valid; the workflow checks below show its permissions$", found["token "+server.Host][0])
	assert.Equal(t, []string{`error: inputs sends the undeclared input "x"`}, found["workflow acme/checked build.yml"])
	assert.Equal(t, []string{"error: no workflow none.yml on the branch main"}, found["workflow acme/checked none.yml"])
	assert.Equal(t, []string{"error: no repository acme/none, or the token has no access to it"}, found["workflow acme/none build.yml"])

	f.write("images.yaml", fmt.Sprintf(`
factory: {state: {url: "http://%[1]s/acme/factory-testdoctor.git"}}
images:
- {name: good, repository: acme/good, source: {provider: gitea, host: "%[1]s", repo: acme/checked, workflow: build.yml, inputs: {rebuild: "{{promotion}}"}}}
`, server.Host))
	assert.Equal(t, []string{"ok: enabled, and accepts the inputs that are sent, and the token can start it"}, checks()["workflow acme/checked build.yml"])

	for scopes, want := range map[string]string{
		"read:repository,read:user": "warning: the token cannot start it (403: token does not have at least one of required scope(s), " +
			"required=[write:repository], token scope=read:repository,read:user); Kargo uses its own token, but promote --direct cannot start builds",
		"read:repository": "warning: the token cannot start it (403: token does not have at least one of required scope(s), " +
			"required=[write:repository], token scope=read:repository); Kargo uses its own token, but promote --direct cannot start builds",
	} {
		f.token = newToken(t, scopes)
		assert.Equal(t, []string{want}, checks()["workflow acme/checked build.yml"])
	}
	f.token = strings.Repeat("0", 40)
	assert.Regexp(t, `^error: .* is invalid, revoked or expired \(401\)$`, checks()["token "+server.Host][0])
}

func TestUnreadableDockerfiles(t *testing.T) {
	source := newRepository(t, "unreadable", map[string]string{"folder/Dockerfile": "FROM scratch\n", "big": strings.Repeat("#\n", 2<<20), "small-enough": strings.Repeat("#\n", 1<<18) + "FROM scratch\n"})
	f := newFactory(t, "images: []\n")
	f.dir = f.clone()
	registry := newRegistry(t)
	for path, want := range map[string]string{
		"folder": "a folder, not a file", "none": "no such file in the branch", "big": "too large for a Dockerfile", "small-enough": "",
	} {
		f.write("images.yaml", fmt.Sprintf(`- {name: a, registry: "%s", repository: acme/a, source: {provider: gitea, host: "%s", repo: %s, dockerfile: %s, workflow: w.yml}}`, registry.host, server.Host, source.Name, path))
		_, err := f.try("analyze")
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
	f.write("images.yaml", fmt.Sprintf(`- {name: a, registry: "%s", repository: acme/a, source: {provider: gitea, host: "%s", repo: %s, branch: devel/1, workflow: w.yml}}`, registry.host, server.Host, source.Name))
	_, err := f.try("analyze")
	require.ErrorContains(t, err, `no branch "devel/1" in the repository`)
}
