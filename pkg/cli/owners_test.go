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

// TestPromoteSelectedImages: a pass starts the rebuilds of the selected images only, and records the results of all.
func TestPromoteSelectedImages(t *testing.T) {
	s := newSiteWithoutCluster(t)
	s.registry.Base("library/node:22", "1")
	runs := map[string]*forgetest.Workflows{}
	var entries strings.Builder
	for _, image := range [][2]string{{"api", "owner: '@acme/data'"}, {"db", "labels: {team: data}"}, {"web", "labels: {team: shop}"}} {
		name, labels := image[0], image[1]
		runs[name] = s.forge.Workflows("acme/" + name)
		runs[name].Now = func() time.Time { return s.now }
		s.forge.GitHub("acme/"+name).Commit("Dockerfile", "FROM scratch\n")
		entries.WriteString(strings.Replace(s.entry(name, "acme/"+name, "acme/"+name), "{", "{"+labels+", ", 1))
	}
	s.git.Commit("fleet", map[string]string{"images.yaml": entries.String()}, "Enroll")
	s.ok("analyze")
	started := func() map[string]int {
		out := map[string]int{}
		for name := range runs {
			out[name] = len(runs[name].Runs())
		}
		return out
	}

	got := s.ok("promote", "--dry-run", "-l", "team=shop")
	assert.Contains(t, got.out, "web")
	assert.Contains(t, got.err, "1 rebuild would be started")
	got = s.ok("promote", "--direct", "-l", "team=shop")
	assert.Contains(t, got.err, "1 rebuild started, 1 rebuild active")
	assert.Equal(t, map[string]int{"api": 0, "db": 0, "web": 1}, started())
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
	require.Nil(t, s.image("api").Rebuild, "nothing is recorded of an image that is not selected")

	runs["web"].Finish(runs["web"].Runs()[0].ID, "failure")
	s.now = s.now.Add(time.Minute)
	got = s.ok("promote", "--direct", "--owner", "@acme/data", "-l", "team!=shop")
	assert.Contains(t, got.err, "1 rebuild started, 1 rebuild active")
	assert.Equal(t, map[string]int{"api": 1, "db": 0, "web": 1}, started())
	assert.Equal(t, state.Failed, s.image("web").Rebuild.Status, "the result of an image that is not selected is recorded")

	s.registry.Publish("acme/api:1.0.0", registrytest.Built{Version: "1"})
	runs["api"].Finish(runs["api"].Runs()[0].ID, "success")
	s.now = s.now.Add(time.Minute)
	s.ok("promote", "--direct")
	assert.Equal(t, map[string]int{"api": 1, "db": 1, "web": 1}, started(), "a pass for all starts the rest")
}
