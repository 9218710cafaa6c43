package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestNewerTags: an analysis of everything lists the tags of base images once for each repository, where that is asked for; a
// registry that does not answer changes nothing.
func TestNewerTags(t *testing.T) {
	bases := registrytest.New(t)
	for _, tag := range []string{"22-slim", "22-alpine", "24-slim", "24-alpine", "26-rc-slim", "3.1.0", "3.1.1"} {
		bases.Base("os/node:"+tag, tag)
	}
	dir := t.TempDir()
	enroll := func(lint string) {
		var text strings.Builder
		text.WriteString("factory: {state: {url: https://git.example.com/acme/state.git}" + lint + "}\nimages:\n")
		for name, tag := range map[string]string{"app": "22-slim", "web": "22-alpine", "lib": "3.1.0"} {
			fmt.Fprintf(&text, "- {name: %s, registry: quay.example, repository: team/%[1]s, source: {provider: github, repo: acme/%[1]s, workflow: b.yml}}\n", name)
			writeFiles(t, dir, map[string]string{"src/" + name + "/Dockerfile": "FROM " + bases.Host + "/os/node:" + tag + "\nRUN x\n"})
		}
		writeFiles(t, dir, map[string]string{"images.yaml": text.String()})
	}
	analyze := func(args ...string) (lists int) {
		before := len(bases.Requests())
		run(t, dir, append([]string{"analyze", "--source-dir", filepath.Join(dir, "src")}, args...)...) // the registry of the images does not exist
		for _, r := range bases.Requests()[before:] {
			if strings.Contains(r, "/tags/list") {
				lists++
			}
		}
		return lists
	}
	files := func() map[string]string {
		out := map[string]string{}
		for _, file := range []string{"22-slim", "22-alpine", "3-1-0"} {
			found, err := filepath.Glob(filepath.Join(dir, "state/base-images/*"+file+"*"))
			require.NoError(t, err)
			require.Len(t, found, 1, file)
			data, err := os.ReadFile(found[0])
			require.NoError(t, err)
			out[file] = string(data)
		}
		return out
	}

	enroll("")
	assert.Zero(t, analyze(), "not asked for")
	assert.NotContains(t, files()["22-slim"], "newer")

	enroll(", lint: {newerTags: true}")
	assert.Zero(t, analyze("app"), "of one image only")
	assert.Equal(t, 1, analyze())
	known := files()
	assert.Contains(t, known["22-slim"], "newer:\n  line: 24-slim\n")
	assert.Contains(t, known["22-alpine"], "newer:\n  line: 24-alpine\n")
	assert.Contains(t, known["3-1-0"], "newer:\n  release: 3.1.1\n")
	assert.Equal(t, 1, analyze())
	assert.Equal(t, known, files(), "nothing is new")

	bases.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/tags/list") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	analyze()
	assert.Equal(t, known, files(), "no answer is no news")
}
