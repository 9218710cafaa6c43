package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

const discoverToken = "forge-token-0123456789"

// discoverIn runs discover in a folder, with a token for a test forge.
func discoverIn(t *testing.T, dir string, args ...string) result {
	t.Helper()
	now, err := time.Parse(time.RFC3339, scriptNow)
	require.NoError(t, err)
	env := map[string]string{"IMAGEFACTORY_CONFIG": filepath.Join(dir, "images.yaml"), "IMAGEFACTORY_CACHE_DIR": filepath.Join(dir, "cache")}
	var out, errOut bytes.Buffer
	code := cli.Main(t.Context(), append([]string{"discover"}, args...), &cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errOut, Now: func() time.Time { return now },
		Sleep: func(context.Context, time.Duration) error { now = now.Add(time.Hour); return nil },
		Getenv: func(name string) string {
			if strings.HasPrefix(name, "IMAGEFACTORY_TOKEN_127_0_0_1_") {
				return discoverToken
			}
			return env[name]
		},
	})
	assert.NotContains(t, out.String()+errOut.String(), discoverToken)
	return result{code, out.String(), errOut.String()}
}

func TestDiscoverOrganisation(t *testing.T) {
	forge := forgetest.New(t)
	forge.Token = discoverToken
	org := forge.GitHubOrg("acme")
	workflow := "on: workflow_dispatch\njobs: {b: {steps: [{uses: docker/build-push-action@v6, with: {push: true, tags: 'ghcr.io/acme/NAME:1'}}]}}\n"
	for _, name := range []string{"base", "web"} {
		org.Set(forgetest.Listed{Name: "acme/" + name, Files: map[string]string{"Dockerfile": "FROM ghcr.io/acme/base:1\n", ".github/workflows/b.yml": strings.ReplaceAll(workflow, "NAME", name)}})
	}
	org.Set(forgetest.Listed{Name: "acme/zoo", Files: map[string]string{"Dockerfile": "FROM a"}, Broken: true})
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"images.yaml": "# Ours.\n[]\n"})

	got := discoverIn(t, dir, "--org", "acme", "--host", forge.Host, "--write")
	assert.Equal(t, 1, got.code, "a repository was not read")
	assert.Contains(t, got.err, "enrolled 2 images in ")
	assert.Contains(t, got.err, "acme/zoo: "+forge.Host+" answered 500")
	assert.Contains(t, got.err, "1 repository was not read")
	text, err := os.ReadFile(filepath.Join(dir, "images.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "# Ours.\n")
	assert.Contains(t, string(text), "    host: "+forge.Host+"\n    repo: acme/web\n    workflow: b.yml\n")
}

func TestDiscoverWaits(t *testing.T) {
	forge := forgetest.New(t)
	org := forge.GitLabGroup("acme")
	org.Set(forgetest.Listed{Name: "acme/web", Files: map[string]string{"Dockerfile": "FROM a\n", ".gitlab-ci.yml": "b: {script: [docker build -t r.example.com/web ., docker push r.example.com/web]}\n"}})
	limit := forgetest.Fault{Match: "GET /api/v4/projects/", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1200"}}, Body: `{"message":"Too Many Requests"}`}
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"images.yaml": "[]\n"})

	forge.Fail(limit)
	got := discoverIn(t, dir, "--group", "acme", "--host", forge.Host, "-o", "json")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.out, `"later": "2026-03-01T12:20:00Z"`)
	assert.Contains(t, got.err, "rate limit reached: 1 repository was not read; run the same command again after 2026-03-01T12:20:00Z")

	forge.Fail(limit)
	got = discoverIn(t, dir, "--group", "acme", "--host", forge.Host, "--wait", "-o", "name")
	assert.Zero(t, got.code, got.err)
	assert.Equal(t, "web\n", got.out)
	assert.Contains(t, got.err, "reached; waiting until 2026-03-01T12:20:00Z")
}

func TestDiscoverPullRequest(t *testing.T) {
	for _, provider := range []string{"github", "gitlab"} {
		t.Run(provider, func(t *testing.T) {
			forge := forgetest.New(t)
			forge.Token = discoverToken
			repo, workflow := forge.GitHub("acme/images"), ", workflow: b.yml"
			if provider == "gitlab" {
				repo, workflow = forge.GitLab("acme/images"), ""
			}
			images := "# Ours.\nfactory: {state: {url: 'http://" + forge.Host + "/acme/images.git'}}\nimages:\n" +
				"- {name: old, repository: acme/old, source: {provider: " + provider + ", host: '" + forge.Host + "', repo: acme/old" + workflow + "}}\n"
			repo.Commit("images.yaml", images)
			dir := t.TempDir()
			checkout := func(name string) {
				writeFiles(t, dir, map[string]string{
					"src/" + name + "/.git/config": "[remote \"origin\"]\n\turl = https://github.com/acme/" + name + "\n", "src/" + name + "/Dockerfile": "FROM a\n",
					"src/" + name + "/.github/workflows/b.yml": "on: workflow_dispatch\njobs: {b: {steps: [{run: docker build --push -t ghcr.io/acme/" + name + " .}]}}\n",
				})
			}
			writeFiles(t, dir, map[string]string{"images.yaml": images})
			checkout("web")
			discover := func(text string) {
				t.Helper()
				got := discoverIn(t, dir, "--dir", filepath.Join(dir, "src"), "--pull-request")
				assert.Zero(t, got.code, got.err)
				assert.Contains(t, got.err, text)
			}
			discover("opened: 1 entry http")
			pulls := repo.Pulls()
			require.Len(t, pulls, 1)
			assert.Equal(t, "imagefactory/discover", pulls[0].From)
			assert.Contains(t, pulls[0].Body, "| web | `ghcr.io/acme/web` | high | `acme/web` `.github/workflows/b.yml:2` |")
			text := repo.File("imagefactory/discover", "images.yaml")
			assert.True(t, strings.HasPrefix(text, images), text)
			assert.Contains(t, text, "- name: web\n")
			discover("kept: 1 entry http")
			assert.Len(t, repo.Pulls(), 1)

			checkout("api")
			discover("updated: 2 entries http")
			assert.Contains(t, repo.File("imagefactory/discover", "images.yaml"), "- name: api\n")
			assert.Contains(t, repo.Pulls()[0].Body, "| api |")

			repo.ClosePull(1)
			discover("rejected: the request for these entries was closed by somebody")
			checkout("more")
			discover("opened: 3 entries http")
			repo.MergePull(2)
			discover("nothing to propose: all entries are there")
			assert.Len(t, repo.Pulls(), 2)

			checkout("jobs")
			discover("opened: 1 entry http")
			repo.Push("imagefactory/discover", "by hand", "images.yaml", images+"# mine\n")
			discover("left: branch imagefactory/discover has commits of somebody else")
			repo.ClosePull(3)
			checkout("last")
			discover("left: branch imagefactory/discover has commits of somebody else")
			assert.Contains(t, repo.File("imagefactory/discover", "images.yaml"), "# mine")
			have, err := os.ReadFile(filepath.Join(dir, "images.yaml"))
			require.NoError(t, err)
			assert.Equal(t, images, string(have), "the file here is left to git")
		})
	}
}

// TestDiscoverSample: the sample fleet has Dockerfiles alone, all of them enrolled.
func TestDiscoverSample(t *testing.T) {
	got := quietRun(t, "discover", "--config", filepath.Join(repositoryRoot, "images.yaml"), "--dir", filepath.Join(repositoryRoot, "testdata", "fleet"))
	require.Zero(t, got.code, got.err)
	assert.NotContains(t, got.out, "Dockerfiles whose image nothing pushes")
	assert.Contains(t, got.out, "18 repositories: no image that something builds and pushes\n")
}
