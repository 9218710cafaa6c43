package cli_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/forgetest"
)

// TestFailedAnalysisIsReported: an error in a Dockerfile is recorded as a fact; an unreachable forge is not.
func TestFailedAnalysisIsReported(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	shows := func(want string) {
		t.Helper()
		at := []string{"--config", s.checkout() + "/images.yaml"}
		assert.Contains(t, s.run(append([]string{"status"}, at...)...).out, want)
		assert.Contains(t, s.run(append([]string{"status", "-o", "json"}, at...)...).out, strings.TrimPrefix(want, "last analysis failed: "))
		assert.Contains(t, s.run(append([]string{"validate"}, at...)...).out, want)
	}
	fails := func() {
		t.Helper()
		got := s.do("analyze")
		assert.Equal(t, 1, got.code, got.err)
	}
	s.forge.Fail(forgetest.Fault{Match: "GET ", Status: http.StatusForbidden}) // the forge fails
	fails()
	assert.Empty(t, s.image("web").AnalysisError)
	got := s.run("validate", "--config", s.checkout()+"/images.yaml")
	assert.Contains(t, got.out, "web: its Dockerfile was never analyzed, so its base images are not watched")

	s.source.Commit("Dockerfile", "FROM scratch\nARG X=a\nCOPY --from=${X} / /\n")
	fails()
	shows("last analysis failed: Dockerfile:3: ")
	assert.Contains(t, s.git.Log("fleet")[0], "web: analysis failed: Dockerfile:3: ")
	before := s.commits()
	fails()
	assert.Equal(t, before, s.commits(), "the same failure is no news")
	for range 5 {
		s.forge.Fail(forgetest.Fault{Match: "GET ", Status: http.StatusForbidden})
	}
	fails()
	assert.Equal(t, before, s.commits(), "nor is an outage")
	s.forge.Unfail()
	got = s.run("pin", "web", "--config", s.checkout()+"/images.yaml")
	assert.Equal(t, 1, got.code, "an empty lock would let the build float")
	assert.Contains(t, got.err, "its last analysis failed: Dockerfile:3")

	s.source.Delete("Dockerfile")
	fails()
	shows("last analysis failed: Dockerfile: no such file in the branch")

	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
	s.ok("analyze")
	assert.Empty(t, s.image("web").AnalysisError)
	s.source.Commit("Dockerfile", "FROM\n")
	fails()
	shows("last analysis failed: Dockerfile:1: ")
	assert.NotNil(t, s.image("web").Dockerfile, "what was known stays")
}

func TestCheckoutAnalysisRecordsNoLocalPath(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"images.yaml": "- {name: web, registry: r.example.com, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n" +
			"- {name: api, registry: r.example.com, repository: acme/api, source: {provider: github, repo: acme/api, dockerfile: gone/Dockerfile, workflow: b.yml}}\n",
		"src/web/Dockerfile": "FROM\n", "src/api/README": "x",
	})
	config := filepath.Join(dir, "images.yaml")
	got := quietRun(t, "analyze", "--source-dir", filepath.Join(dir, "src"), "--offline", "--config", config)
	require.Equal(t, 1, got.code, got.err)
	got = quietRun(t, "status", "--config", config)
	assert.Regexp(t, `(?m)^web +unknown +last analysis failed: Dockerfile:1: `, got.out)
	assert.Regexp(t, `(?m)^api +unknown +last analysis failed: gone/Dockerfile: no such file: check source.dockerfile$`, got.out)
	assert.NotContains(t, got.out, dir)
}
