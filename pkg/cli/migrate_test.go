package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// migrated returns a site whose state comes from the older tool. That tool saw the image published, then the base move from node1
// to node2. Since then the base has moved to node3.
type migrated struct {
	*site
	dir                 string
	node1, node2, node3 registrytest.Content
}

func newMigrated(t *testing.T, provenance bool) *migrated {
	s := &migrated{site: newSite(t), dir: t.TempDir()}
	s.node1 = s.registry.Base("library/node:22", "1")
	web := s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &s.node1, Provenance: provenance})
	s.node2 = s.registry.Base("library/node:22", "2")
	s.node3 = s.registry.Base("library/node:22", "3")
	built, moved := s.now.Add(-3*week), s.now.Add(-2*week)
	writeFiles(t, s.dir, map[string]string{
		".git/config":               "[remote \"origin\"]\n\turl = https://git.example.com/acme/fleet.git\n",
		"image-factory/images.yaml": fmt.Sprintf("- name: web # the shop\n  registry: %q\n  repository: acme/web\n  source: {host: %q, repo: acme/web, workflow: build.yml}\n", s.registry.Host, s.forge.Host),
		"image-factory/state/images/web.yaml": fmt.Sprintf("name: web\nenrollment: null\nbaseImages: [library-node-22]\ncurrentVersion: 1.0.0\ncurrentDigest: %s\nlastBuilt: %s\n",
			web.Digest, built.Format(time.RFC3339)),
		"image-factory/state/base-images/library-node-22.yaml": fmt.Sprintf("name: library-node-22\nfullImage: %s/library/node:22\ncurrentDigest: %s\npreviousDigest: %s\nlastUpdated: '%s'\n",
			s.registry.Host, s.node2.Digest, s.node1.Digest, moved.Format("2006-01-02T15:04:05.000000+00:00")),
	})
	got := s.run("migrate", s.dir)
	require.Zero(t, got.code, got.err)
	return s
}

func (m *migrated) fleet(command string, args ...string) result {
	m.t.Helper()
	got := m.run(append([]string{command, "--config", filepath.Join(m.dir, "imagefactory", "images.yaml")}, args...)...)
	require.Zero(m.t, got.code, "%s %v: %s", command, args, got.err)
	return got
}

func (m *migrated) load() (*state.Image, *state.Base) {
	m.t.Helper()
	st, err := state.Load(os.DirFS(filepath.Join(m.dir, "imagefactory", "state")), "state")
	require.NoError(m.t, err)
	require.Len(m.t, st.Bases, 1)
	return st.Images["web"], st.Base(m.registry.Host + "/library/node:22")
}

// TestAnalyzeAfterMigration: facts of the older tool stay, and evidence from the registry replaces assumptions.
func TestAnalyzeAfterMigration(t *testing.T) {
	for _, provenance := range []bool{true, false} {
		t.Run(fmt.Sprintf("provenance %t", provenance), func(t *testing.T) {
			s := newMigrated(t, provenance)
			web, base := s.load()
			assert.Equal(t, state.Assumed, web.BuiltOn[0].Evidence)
			assert.Equal(t, s.node1.Digest, web.BuiltOn[0].Digest, "it was built before the base moved")
			assert.Equal(t, s.node1.Digest, base.Baseline.Digest)

			s.fleet("analyze")
			web, base = s.load()
			require.Len(t, base.Candidates, 2)
			assert.Equal(t, s.node2.Digest, base.Candidates[0].Digest)
			assert.Equal(t, s.now.Add(-2*week), base.Candidates[0].FirstSeen.Time)
			assert.Equal(t, s.node3.Digest, base.CurrentDigest)
			require.Len(t, web.BuiltOn, 1)
			want := state.Layers // the images in the registry have the layers of their base
			if provenance {
				want = state.Provenance
			}
			assert.Equal(t, want, web.BuiltOn[0].Evidence)
			assert.Equal(t, s.node1.Digest, web.BuiltOn[0].Digest)
			assert.Equal(t, s.now.Add(-3*week), web.LastBuilt.Time)
			require.Len(t, web.BaseImages, 1)
			assert.Equal(t, 1, web.BaseImages[0].Uses[0].Line)

			s.registry.Requests()
			got := s.fleet("analyze")
			assert.Contains(t, got.err, "nothing new")
			assert.NotContains(t, fmt.Sprint(s.registry.Requests()), "blobs", "it is looked at once")
			assert.Regexp(t, "web +waiting", s.fleet("status").out)
			s.fleet("synth", "--dry-run")
		})
	}
}

// TestMigratedImageIsAnalyzedUntilItSucceeds: a registry that fails halfway does not make an assumption permanent.
func TestMigratedImageIsAnalyzedUntilItSucceeds(t *testing.T) {
	s := newMigrated(t, true)
	s.registry.Break(brokenBlobs)
	got := s.run("analyze", "--config", filepath.Join(s.dir, "imagefactory", "images.yaml"))
	require.Equal(t, 1, got.code, got.err)
	web, _ := s.load()
	assert.Equal(t, state.Assumed, web.BuiltOn[0].Evidence)
	s.registry.Break(nil)
	s.fleet("analyze")
	web, _ = s.load()
	assert.Equal(t, state.Provenance, web.BuiltOn[0].Evidence)
}

// brokenBlobs refuses the blobs of an image.
func brokenBlobs(w http.ResponseWriter, r *http.Request) bool {
	if strings.Contains(r.URL.Path, "/acme/web/blobs/") {
		http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
		return true
	}
	return false
}
