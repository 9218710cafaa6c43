package gitea_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pull is a pull request.
type pull struct {
	Number int    `json:"number"`
	State  string `json:"state"`
	Merged bool   `json:"merged"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Head   struct{ Ref, SHA string }
}

// pulls returns the pull requests, oldest first.
func (r *repository) pulls() []pull {
	r.t.Helper()
	var list []pull
	require.NoError(r.t, server.Call(r.t.Context(), http.MethodGet, r.path("/pulls?state=all&sort=oldest"), nil, &list))
	return list
}

// at returns a file at a branch or commit.
func (r *repository) at(ref, path string) string {
	r.t.Helper()
	var file struct {
		Content []byte `json:"content"`
	}
	require.NoError(r.t, server.Call(r.t.Context(), http.MethodGet, r.path("/contents/"+path+"?ref="+url.QueryEscape(ref)), nil, &file))
	return string(file.Content)
}

// change commits a new content of a file.
func (r *repository) change(branch, path, text string) {
	r.t.Helper()
	var file struct{ SHA string }
	require.NoError(r.t, server.Call(r.t.Context(), http.MethodGet, r.path("/contents/"+path+"?ref="+url.QueryEscape(branch)), nil, &file))
	body := map[string]any{"branch": branch, "message": "Change " + path, "sha": file.SHA, "content": base64.StdEncoding.EncodeToString([]byte(text))}
	require.NoError(r.t, server.Call(r.t.Context(), http.MethodPut, r.path("/contents/"+path), body, nil))
}

// merge merges a pull request, once Gitea has found out that it can be merged.
func (r *repository) merge(number int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return server.Call(r.t.Context(), http.MethodPost, r.path("/pulls/"+strconv.Itoa(number)+"/merge"), map[string]any{"Do": "merge"}, nil) == nil
	}, 30*time.Second, 200*time.Millisecond)
}

func TestPins(t *testing.T) {
	registry := newRegistry(t)
	from := func(tag, digest string) string { return "FROM " + registry.host + "/" + tag + "@" + digest + "\r\n" }
	first := registry.push("base:1", "first")
	web := newRepository(t, "web", map[string]string{"Dockerfile": from("base:1", first), ".gitea/workflows/build.yml": workflow})
	registry.build("web:latest", "base:1")
	published := registry.digest("web:latest")
	api := newRepository(t, "api", map[string]string{"Dockerfile": from("web:latest", published), ".gitea/workflows/build.yml": workflow})
	registry.build("api:latest", "web:latest")
	f := newFactory(t, fmt.Sprintf(`
factory: {pullRequests: {title: "deps: {{bases}}"}}
defaults: {registry: %[1]s, source: {provider: gitea, host: %[2]s, workflow: build.yml, updatePins: pullRequest}}
images:
- {name: web, repository: web, source: {repo: acme/web}}
- {name: api, repository: api, source: {repo: acme/api}}
`, registry.host, server.Host))
	f.pass()
	second := registry.push("base:1", "second")
	f.now = f.now.Add(time.Hour)
	f.pass()
	assert.Empty(t, web.pulls(), "it has to wait")

	f.now = f.now.Add(8 * 24 * time.Hour)
	f.pass()
	require.Len(t, web.pulls(), 1)
	request := web.pulls()[0]
	const branch = "imagefactory/pins/main"
	assert.Equal(t, branch, request.Head.Ref)
	assert.Equal(t, "deps: "+registry.host+"/base:1", request.Title)
	assert.Contains(t, request.Body, "The merge rebuilds web. Built on it, and next: api.")
	assert.Equal(t, from("base:1", second), web.at(branch, "Dockerfile"))
	f.pass()
	assert.Equal(t, []pull{request}, web.pulls(), "nothing has changed")

	web.change("main", "Dockerfile", from("base:1", first)+"LABEL a=b\r\n")
	f.pass()
	require.Len(t, web.pulls(), 1)
	assert.Equal(t, "open", web.pulls()[0].State)
	assert.NotEqual(t, request.Head.SHA, web.pulls()[0].Head.SHA)
	assert.Equal(t, from("base:1", second)+"LABEL a=b\r\n", web.at(branch, "Dockerfile"))

	web.merge(1)
	f.pass()
	assert.Equal(t, from("base:1", second)+"LABEL a=b\r\n", web.read("Dockerfile"))
	assert.NotContains(t, f.repo.read("state/images/web.yaml"), "pullRequest:")
	assert.Empty(t, web.runs(), "the merge may have started a build")
	runner := newRunner(t)
	f.now = f.now.Add(2 * time.Hour)
	f.pass()
	require.Len(t, web.runs(), 1)
	build := runner.next(t)
	registry.build("web:latest", "base:1")
	runner.end(t, build, true)
	f.pass()
	assert.Equal(t, "succeeded", f.history("web")[0][0])

	f.pass()
	require.Len(t, api.pulls(), 1, "the cascade")
	assert.Equal(t, from("web:latest", registry.digest("web:latest")), api.at(branch, "Dockerfile"))
	assert.Len(t, web.pulls(), 1)

	api.change(branch, "Dockerfile", "FROM scratch\n")
	f.pass()
	assert.Equal(t, "FROM scratch\n", api.at(branch, "Dockerfile"), "a commit of somebody else")
	assert.Contains(t, f.repo.read("state/images/api.yaml"), "commits of somebody else")
}
