package cli_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEndOfLifeAPI: validate asks an API when release lines end. A failure is a warning, and other commands ask nothing.
func TestEndOfLifeAPI(t *testing.T) {
	requests, status := 0, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.WriteHeader(status)
		text := `{"result": {"releases": [{"name": "3.22", "isEol": false, "eolFrom": "2026-04-01"}, {"name": "3", "isEol": true, "eolFrom": "2020-01-01"}]}}`
		if strings.HasSuffix(r.URL.Path, "/purl/") {
			text = `{"result": [{"identifier": "pkg:docker/library/alpine", "product": {"name": "alpine-linux"}}]}`
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"images.yaml":                        strings.Replace(withURL, "factory: {", `factory: {lint: {endOfLife: "`+server.URL+`/api/v1/"}, `, 1) + web,
		"state/images/web.yaml":              using("docker.io/library/alpine:3.22"),
		"state/base-images/alpine-3-22.yaml": alpine,
	})
	got := run(t, dir, "validate")
	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.out, "alpine:3.22: release line 3.22 reaches its end of life on 2026-04-01 (used by web)")
	assert.Equal(t, 2, requests)
	requests = 0
	assert.Equal(t, 0, run(t, dir, "status").code)
	assert.Equal(t, 0, run(t, dir, "synth").code)
	assert.Zero(t, requests)

	status = http.StatusNotFound
	got = run(t, dir, "validate")
	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.out, "images.yaml:1:1: warning: factory.lint.endOfLife: could not be asked: "+server.URL+"/api/v1/identifiers/purl/ answered 404 Not Found (validate again, or name a file beside images.yaml instead) [IF032]")

	writeFiles(t, dir, map[string]string{"images.yaml": strings.Replace(withURL, "factory: {", "factory: {lint: {endOfLife: \"http://eol.example/api\"}, ", 1) + web})
	got = run(t, dir, "validate")
	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.out, "factory.lint.endOfLife: the URL is not https")
}
