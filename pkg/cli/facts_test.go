package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// wouldStart asserts how many rebuilds a pass would start now.
func (s *site) wouldStart(n int, why string) {
	s.t.Helper()
	got := s.ok("promote", "--dry-run", "--direct")
	assert.Contains(s.t, got.err, fmt.Sprintf("%d rebuild", n), why)
}

func TestClockThatWasAheadDelaysNothing(t *testing.T) {
	s, _ := published(t)
	s.registry.Base("library/node:22", "2")
	right := s.now
	s.now = right.Add(365 * 24 * time.Hour)
	s.ok("analyze")
	s.now = right.Add(time.Hour)
	s.registry.Base("library/node:22", "3")
	s.ok("analyze")
	for _, c := range s.base().Candidates {
		assert.Equal(t, state.At(s.now), c.FirstSeen, "by the clock of whoever saw the next one")
	}
	before := s.commits()
	s.ok("analyze")
	assert.Equal(t, before, s.commits(), "they are corrected once")
	s.wouldStart(0, "nothing is ripe at once")
	s.now = s.now.Add(week)
	s.wouldStart(1, "nor in a year")
}

func TestReturningDigestRipensAgain(t *testing.T) {
	s, node := published(t)
	bad := s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(5 * 24 * time.Hour)
	require.Equal(t, node.Digest, s.registry.Base("library/node:22", "1").Digest)
	s.ok("analyze")
	s.now = s.now.Add(5 * 24 * time.Hour)
	require.Equal(t, bad.Digest, s.registry.Base("library/node:22", "2").Digest)
	s.ok("analyze")
	assert.Contains(t, s.git.Log("fleet")[0], "returned, and ripens again")
	require.Len(t, s.base().Candidates, 1)
	assert.Equal(t, state.At(s.now), s.base().Candidates[0].Returned)
	s.wouldStart(0, "it was taken back for days")
	s.now = s.now.Add(week - time.Hour)
	s.ok("analyze")
	s.wouldStart(0, "a week has not gone by since it is back")
	s.now = s.now.Add(time.Hour)
	s.wouldStart(1, "it has")
}

// index responds with an index of n platforms.
func index(w http.ResponseWriter, platforms int) {
	type descriptor struct {
		MediaType string            `json:"mediaType"`
		Digest    string            `json:"digest"`
		Size      int               `json:"size"`
		Platform  map[string]string `json:"platform"`
	}
	var list []descriptor
	for i := range platforms {
		list = append(list, descriptor{
			"application/vnd.oci.image.manifest.v1+json", fmt.Sprintf("sha256:%064x", i), 1,
			map[string]string{"os": "linux", "architecture": fmt.Sprintf("arch%d", i)},
		})
	}
	body, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list})
	sum := sha256.Sum256(body)
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	w.Header().Set("Docker-Content-Digest", "sha256:"+hex.EncodeToString(sum[:]))
	_, _ = w.Write(body)
}

// If a fact does not fit into a state file, that is an error of one image, and every command works for the others.
func TestOversizedImageDoesNotStopOthers(t *testing.T) {
	for _, test := range []struct {
		name       string
		dockerfile func(host string) string
		want       string
	}{
		{"many references", func(string) string {
			var b strings.Builder
			b.WriteString("FROM scratch\n")
			for i := range 600 {
				fmt.Fprintf(&b, "COPY --from=quay.io/n%d/%s:1 /a /b\n", i, strings.Repeat("x", 100))
			}
			return b.String()
		}, "Dockerfile: too many references: the Dockerfile uses 600 images (limit 500)"},
		{"an unknown digest algorithm", func(host string) string {
			return "FROM " + host + "/library/node:22@sha512:" + strings.Repeat("a", 128) + "\n"
		}, "only sha256 is supported"},
		{"no text", func(string) string { return "ARG V\nFROM ${V}\xff\n" }, "evil"},
		{"many platforms", func(host string) string { return "FROM " + host + "/library/many:1\n" }, "too many platforms: sha256:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, node := published(t)
			s.registry.Publish("acme/evil:1.0.0", registrytest.Built{Version: "1", From: &node})
			s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
				many := strings.HasPrefix(r.URL.Path, "/v2/library/many/manifests/")
				if many {
					index(w, state.MaxPlatforms+1)
				}
				return many
			})
			s.forge.GitHub("acme/evil").Commit("Dockerfile", test.dockerfile(s.registry.Host))
			s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("evil", "acme/evil", "acme/evil") + s.entry("web", "acme/web", "acme/web")}, "Enroll another image")
			s.registry.Base("library/node:22", "2")
			got := s.do("analyze")
			assert.Equal(t, 1, got.code)
			assert.Contains(t, got.err, test.want)
			assert.Contains(t, got.err, "1 failed")
			assert.Contains(t, s.git.Log("fleet")[0], "node:22", "the others go on")
			s.now = s.now.Add(week + time.Minute)
			got = s.do("promote", "--direct", "--dry-run")
			assert.Contains(t, got.err, "1 rebuild would be started", "every command reads what was written")
		})
	}
}

func TestReasonsAreBounded(t *testing.T) {
	s, _ := published(t)
	s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.ok("hold", s.baseName(), "--reason", strings.Repeat("because ", 10_000))
	assert.Len(t, s.base().Candidates[0].Reason, state.MaxText+len("..."))
	assert.Less(t, len(s.git.Log("fleet")[0]), 2*state.MaxText)
	s.ok("release", s.baseName(), "--reason", "in \xff another encoding")
	assert.Equal(t, "in \ufffd another encoding", s.base().Candidates[0].Reason)
}
