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
