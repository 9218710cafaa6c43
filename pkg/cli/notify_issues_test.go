package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// openIssues sets factory.notify.issues.
func (s *site) openIssues() {
	s.git.Commit("fleet", map[string]string{"images.yaml": "factory: {notify: {issues: {}}}\nimages:\n" + s.entry("web", "acme/web", "acme/web")}, "issues")
}

// TestIssueOfAnImage: the pass that records the last failure opens the issue, and the one that records a success closes it.
func TestIssueOfAnImage(t *testing.T) {
	s, _ := published(t)
	runs, list := s.forge.Workflows("acme/web"), s.forge.GitHubIssues("acme/web")
	runs.Now = func() time.Time { return s.now }
	list.Now = runs.Now
	s.openIssues()
	s.due()
	s.ok("promote", "--direct")
	for i := range 3 {
		assert.Empty(t, list.All())
		runs.Finish(runs.Runs()[i].ID, "failure")
		s.now = s.now.Add(time.Hour)
		s.do("promote", "--direct")
		if i < 2 {
			s.now = s.now.Add(24 * time.Hour)
			s.do("promote", "--direct")
		}
	}
	require.Len(t, list.All(), 1, s.said.String())
	assert.Equal(t, "web: 3 rebuilds failed in a row", list.All()[0].Title)
	list.Set(1, func(i *forgetest.Issue) { i.Body = strings.ReplaceAll(i.Body, "\n", "\r\n") })
	s.ok("promote", "--direct")
	assert.Len(t, list.All(), 1)

	s.ok("reset", "web", "--reason", "fixed")
	s.now = s.now.Add(time.Hour)
	node := s.registry.Base("library/node:22", "2")
	s.ok("promote", "--direct")
	require.Len(t, runs.Runs(), 4)
	runs.Finish(runs.Runs()[3].ID, "success")
	s.registry.Publish("acme/web:9.0.0", registrytest.Built{Version: "9", From: &node, Provenance: true})
	for range 7 { // at most as long as a sweep takes to come to every image
		s.now = s.now.Add(time.Hour)
		s.ok("promote", "--direct")
	}
	require.Equal(t, state.Succeeded, s.image("web").Rebuild.Status)
	assert.Equal(t, "closed", list.All()[0].State)
	assert.Len(t, list.All(), 1)
	assert.Contains(t, s.said.String(), "1 issue changed")
	s.assertNoSecrets()
}

// TestDryRunPrintsIssues: --dry-run reads the issues and changes nothing.
func TestDryRunPrintsIssues(t *testing.T) {
	s, _ := published(t)
	list := s.forge.GitHubIssues("acme/web")
	s.openIssues()
	web := s.image("web")
	web.Stuck = state.At(s.now.Add(-24 * time.Hour))
	st := state.New()
	st.Images["web"] = web
	files, err := st.Encode()
	require.NoError(t, err)
	s.git.Commit("fleet", map[string]string{"state/images/web.yaml": string(files["images/web.yaml"])}, "stuck")
	assert.Contains(t, s.ok("promote", "--direct", "--dry-run").err, "acme/web: would open an issue: web: the rebuild does not start\n")
	assert.NotContains(t, s.ok("promote", "--direct", "--dry-run", "--offline").err, "issue")
	assert.Empty(t, list.All())
}
