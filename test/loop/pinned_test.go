package loop_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
)

const (
	pinnedImages = `
defaults: {registry: REGISTRY, source: {provider: gitea, host: "GITEA", workflow: build.yml, updatePins: pullRequest}}
images:
- {name: web, repository: ORG/web, tags: latest, source: {repo: ORG/web, inputs: {rebuild: "{{promotion}}"}}}
`
	pinnedChild = `- {name: api, repository: ORG/api, tags: latest, source: {repo: ORG/api, inputs: {rebuild: "{{promotion}}"}}}
`
)

// TestPinnedCascade lets a base move twice. Pull requests at Gitea move the pins of a parent and then of its child, and each merge
// starts the build.
func TestPinnedCascade(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pinned", pinnedImages)
	s.useMember([]string{"repo.code", "repo.pulls"}, []string{"write:repository", "write:issue"})
	pinned := func(tag, digest string) string { return "FROM " + s.ref(tag) + "@" + digest + "\nCOPY Dockerfile /\n" }
	first := s.push("os:13", "1")
	s.commit("web", map[string]string{"Dockerfile": pinned("os:13", first)})
	s.observe()
	s.workflow("web", "web")
	s.commit("api", map[string]string{"Dockerfile": pinned("web:latest", s.digest("web:latest"))})
	s.enroll(pinnedImages + pinnedChild)
	s.observe()
	s.workflow("api", "api")
	s.pass()
	s.wantCommits(4, "web enrolled, published; api enrolled, published")
	assert.Equal(t, map[string]string{"web": "current", "api": "current"}, s.statuses())
	start := s.now

	s.now = start.Add(day)
	second := s.push("os:13", "2")
	s.pass()
	s.now = start.Add(4 * day)
	s.push("os:13", "3")
	s.pass()
	s.pass()
	assert.Empty(t, s.pulls("web"), "no digest has ripened")
	s.wantCommits(2, "two digests of the base")

	s.now = start.Add(8 * day)
	s.pass()
	s.pass()
	s.merge("web", pinned("os:13", second))
	assert.Equal(t, map[string]string{"os:13": second}, s.built("web:latest"))
	assert.Empty(t, s.pulls("api"), "its parent was not published")
	s.pass()
	s.pass()
	s.merge("api", pinned("web:latest", s.digest("web:latest")))
	assert.Equal(t, map[string]string{"web:latest": s.digest("web:latest")}, s.built("api:latest"))
	s.pass()
	s.now = s.now.Add(2 * time.Hour)
	s.pass()
	s.wantRuns(map[string]int{"web": 2, "api": 2})
	s.wantCommits(5, "the request for web; web published; the request for api; api published; no request")
	assert.Equal(t, map[string]string{"web": "waiting", "api": "current"}, s.statuses(), "a newer digest waits")
	assert.Empty(t, append(s.history("web"), s.history("api")...), "imagefactory started no build")
	assert.Empty(t, s.unripe())
}

// pulls returns the pull requests of a repository, oldest first.
func (s *site) pulls(repo string) []parts.Pull {
	s.t.Helper()
	list, err := s.code[repo].Pulls(s.t.Context())
	require.NoError(s.t, err)
	return list
}

// merge merges the only pull request of a repository, which makes a Dockerfile of the text, and runs the build that the merge starts.
func (s *site) merge(repo, dockerfile string) {
	s.t.Helper()
	pulls := s.pulls(repo)
	require.Len(s.t, pulls, 1)
	require.Equal(s.t, "open", pulls[0].State)
	require.NoError(s.t, s.code[repo].Merge(s.t.Context(), pulls[0].Number))
	text, err := s.code[repo].Read(s.t.Context(), "main", "Dockerfile")
	require.NoError(s.t, err)
	require.Equal(s.t, dockerfile, text)
	s.started(repo, 2)
	s.build()
}
