package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestPinsByPullRequest follows an image that pins its base, and one that pins the first: the base moves and ripens, a request is opened
// and merged, the image is rebuilt, and the request of its child is opened.
func TestPinsByPullRequest(t *testing.T) {
	for _, direct := range []bool{false, true} {
		name, how := "through Kargo", []string(nil)
		if direct {
			name, how = "at the forge", []string{"--direct"}
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			runs := s.forge.Workflows("acme/web")
			runs.Now = func() time.Time { return s.now }
			child := s.forge.GitHub("acme/api")
			pinned := func(entry string) string {
				return strings.Replace(entry, "workflow:", "updatePins: pullRequest, workflow:", 1)
			}
			s.git.Commit("fleet", map[string]string{"images.yaml": pinned(s.entry("web", "acme/web", "acme/web")) + pinned(s.entry("api", "acme/api", "acme/api"))}, "pins")
			node1 := s.registry.Base("library/node:22", "1")
			at := s.registry.Host + "/library/node:22@"
			s.source.Commit("Dockerfile", "FROM "+at+node1.Digest+"\nRUN npm ci\n")
			web1 := s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node1, Provenance: true})
			child.Commit("Dockerfile", "FROM "+s.registry.Host+"/acme/web:1.0.0@"+web1.Digest+"\n")
			s.registry.Publish("acme/api:1.0.0", registrytest.Built{Version: "1", From: &web1, Provenance: true})
			s.ok("analyze")
			assert.Equal(t, node1.Digest, s.image("web").BaseImages[0].Pin.TagHeld)
			assert.Equal(t, web1.Digest, s.image("api").BaseImages[0].Pin.TagHeld)
			s.kube.AddStage("web")
			s.kube.AddFreight("base-"+s.baseName(), node1.Digest)

			node2 := s.registry.Base("library/node:22", "2")
			s.kube.AddFreight("base-"+s.baseName(), node2.Digest)
			s.ok("analyze")
			s.now = s.now.Add(week - time.Minute)
			s.ok("promote", how...)
			assert.Empty(t, s.source.Pulls(), "it has to wait")
			s.now = s.now.Add(2 * time.Minute)
			before := s.commits()
			got := s.ok("promote", append([]string{"--dry-run"}, how...)...)
			assert.Contains(t, got.out, "-FROM "+at+node1.Digest+"\n+FROM "+at+node2.Digest+"\n")
			assert.Contains(t, got.err, "1 pull request would be changed")
			assert.Empty(t, s.source.Pulls())
			got = s.ok("promote", how...)
			assert.Contains(t, got.out, "opened")
			assert.Contains(t, got.err, "1 pull request changed")
			require.Len(t, s.source.Pulls(), 1)
			assert.Contains(t, s.source.Pulls()[0].Body, "Built on it, and next: api.")
			assert.Equal(t, before+1, s.commits())
			assert.Contains(t, s.git.Log("fleet")[0], "web: pull request")
			s.ok("promote", how...)
			assert.Equal(t, before+1, s.commits(), "nothing new")
			table, _ := s.status("web")
			assert.Contains(t, table, "waits to be merged")
			s.startedOnce(runs, direct, 0)

			s.source.MergePull(1)
			s.ok("analyze")
			s.ok("promote", how...)
			assert.Nil(t, s.image("web").PullRequest)
			assert.Equal(t, at+node2.Digest, s.image("web").BaseImages[0].Ref)
			s.startedOnce(runs, direct, 0) // the merge may have started a build
			s.now = s.now.Add(61 * time.Minute)
			s.ok("promote", how...)
			s.startedOnce(runs, direct, 1)
			s.finish(runs, direct)
			s.now = s.now.Add(time.Hour)
			web2 := s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &node2, Provenance: true})
			s.ok("promote", how...)
			assert.Equal(t, state.Succeeded, s.image("web").Rebuild.Status)
			s.startedOnce(runs, direct, 1)
			s.ok("analyze")

			s.ok("promote", how...)
			require.Len(t, child.Pulls(), 1, "at once: the delay applies to public images only")
			assert.Equal(t, "FROM "+s.registry.Host+"/acme/web:1.0.1@"+web2.Digest+"\n", child.File("imagefactory/pins/main", "Dockerfile"))
			assert.Len(t, s.source.Pulls(), 1)
			s.assertNoSecrets()
		})
	}
}
