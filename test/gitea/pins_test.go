package gitea_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
)

// pulls returns the pull requests, oldest first.
func (r *repository) pulls() []parts.Pull {
	r.t.Helper()
	list, err := r.Pulls(r.t.Context())
	require.NoError(r.t, err)
	return list
}

// at returns a file at a branch or commit.
func (r *repository) at(ref, path string) string {
	r.t.Helper()
	text, err := r.Read(r.t.Context(), ref, path)
	require.NoError(r.t, err)
	return text
}

// change commits a new content of a file.
func (r *repository) change(branch, path, text string) {
	r.t.Helper()
	require.NoError(r.t, r.Commit(r.t.Context(), branch, "Change "+path, map[string]string{path: text}))
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
	assert.Equal(t, []parts.Pull{request}, web.pulls(), "nothing has changed")

	web.change("main", "Dockerfile", from("base:1", first)+"LABEL a=b\r\n")
	f.pass()
	require.Len(t, web.pulls(), 1)
	assert.Equal(t, "open", web.pulls()[0].State)
	assert.NotEqual(t, request.Head.SHA, web.pulls()[0].Head.SHA)
	assert.Equal(t, from("base:1", second)+"LABEL a=b\r\n", web.at(branch, "Dockerfile"))

	require.NoError(t, web.Merge(t.Context(), 1))
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
	runner.end(t, build, parts.Success)
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
