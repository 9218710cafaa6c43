package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// TestPromoteWithWorkflowInAnotherRepository: the Dockerfile is read from one repository, and the build runs in another.
func TestPromoteWithWorkflowInAnotherRepository(t *testing.T) {
	s := newSiteWithoutCluster(t)
	s.registry.Base("library/node:22", "1")
	s.forge.GitHub("acme/code").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
	ci := s.forge.Workflows("acme/ci")
	ci.Now, ci.Inputs = func() time.Time { return s.now }, []string{"repo", "ref"}
	entry := strings.Replace(s.entry("api", "acme/api", "acme/code"), "workflow:", `inputs: {repo: "{{repo}}", ref: "{{branch}}"}, workflowRepo: acme/ci, workflow:`, 1)
	s.git.Commit("fleet", map[string]string{"images.yaml": entry}, "Enroll")
	s.ok("analyze")
	got := s.ok("promote", "--direct")
	assert.Contains(t, got.err, "1 rebuild started")
	require.Len(t, ci.Runs(), 1)
	assert.Equal(t, map[string]string{"repo": "acme/code", "ref": "main"}, ci.Runs()[0].Values)
	assert.Equal(t, ci.URL(ci.Runs()[0].ID), s.image("api").Rebuild.RunURL)
	for _, r := range s.forge.Requests("") {
		assert.Equal(t, strings.Contains(r.Path, "/actions/"), strings.Contains(r.Path, "acme/ci"), r.Path)
	}

	ci.Finish(ci.Runs()[0].ID, "failure")
	s.now = s.now.Add(time.Minute)
	s.ok("promote", "--direct")
	assert.Equal(t, state.Failed, s.image("api").Rebuild.Status)
}
