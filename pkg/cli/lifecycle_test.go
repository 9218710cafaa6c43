package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/kubetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// published returns a site whose image is published on the first version of its base, and recorded as such.
func published(t *testing.T) (*site, registrytest.Content) {
	s := newSite(t)
	node := s.registry.Base("library/node:22", "1")
	s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
	s.ok("analyze")
	require.Equal(t, state.Provenance, s.image("web").BuiltOn[0].Evidence)
	return s, node
}

// due moves the base and advances the clock by a week.
func (s *site) due() registrytest.Content {
	s.t.Helper()
	node := s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(week + time.Minute)
	s.kube.AddStage("web")
	s.kube.AddFreight("base-"+s.baseName(), node.Digest)
	return node
}

func TestByHandWithPush(t *testing.T) {
	s, _ := published(t)
	node := s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	got := s.do("hold", s.baseName())
	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.err, "--reason is required")

	s.ok("hold", s.baseName(), "--reason", "breaks TLS")
	assert.Equal(t, "breaks TLS", s.base().Candidates[0].Reason)
	assert.Contains(t, s.git.Log("fleet")[0], "held "+state.ShortDigest(node.Digest)+": breaks TLS")
	s.now = s.now.Add(2 * week)
	got = s.ok("promote", "--dry-run")
	assert.Contains(t, got.err, "0 rebuilds would be started")

	s.ok("release", s.baseName()+"@"+node.Digest, "--reason", "fixes CVE-2026-1234")
	assert.Contains(t, s.git.Log("fleet")[0], "released "+state.ShortDigest(node.Digest)+": fixes CVE-2026-1234")
	got = s.ok("promote", "--dry-run")
	assert.Contains(t, got.err, "1 rebuild would be started")
	before := s.commits()
	got = s.run("release", s.baseName(), "--reason", "x", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml")
	assert.Zero(t, got.code, got.err)
	assert.Contains(t, got.out, "+", "without --push it shows what would change")
	assert.Equal(t, before, s.commits())

	got = s.do("reset", "web", "--reason", "x")
	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.err, "nothing to reset")

	// A build reads the lock without a checkout.
	pin := []string{"pin", "web", "-o", "source-policy", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml"}
	got = s.run(pin...)
	assert.Zero(t, got.code, got.err)
	assert.Contains(t, got.out, "/library/node:22@"+node.Digest)
	assert.Equal(t, before, s.commits())
	got = s.run(append(pin, "--branch", "other")...)
	assert.Equal(t, 1, got.code)
	assert.Empty(t, got.out)
	s.assertNoSecrets()
}

func TestFailuresStopAndResetStartsAgain(t *testing.T) {
	s, _ := published(t)
	s.due()
	for try := 1; try <= 3; try++ {
		for len(s.kube.List("promotions")) < try {
			s.now = s.now.Add(6 * time.Hour)
			s.ok("promote")
		}
		s.kube.Finish(s.promotion(), "Failed", "4711", "https://forge.example.com/runs/4711")
		got := s.ok("promote")
		assert.Contains(t, got.out, "failed")
		assert.Equal(t, try, s.image("web").Rebuild.Failures)
	}
	assert.Equal(t, "https://forge.example.com/runs/4711", s.image("web").Rebuild.RunURL)
	s.now = s.now.Add(30 * 24 * time.Hour)
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 3, "no more by itself")
	s.ok("reset", "web", "--reason", "the workflow is fixed")
	assert.Contains(t, s.git.Log("fleet")[0], "the workflow is fixed")
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 4)
}

// promotion returns the name of the newest Promotion.
func (s *site) promotion() string {
	all := s.kube.List("promotions")
	return all[len(all)-1]["metadata"].(map[string]any)["name"].(string)
}

func TestOutcomesByEvidence(t *testing.T) {
	for want, build := range map[state.RebuildStatus]func(old, wanted *registrytest.Content) registrytest.Built{
		state.Succeeded: func(_, wanted *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: wanted, Provenance: true}
		},
		state.WrongBase: func(old, _ *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: old, Provenance: true}
		},
		state.Unproven: func(_, _ *registrytest.Content) registrytest.Built { return registrytest.Built{Version: "2"} },
	} {
		t.Run(string(want), func(t *testing.T) {
			s, old := published(t)
			wanted := s.due()
			s.ok("promote")
			s.kube.Finish(s.promotion(), "Succeeded", "4711", "")
			s.now = s.now.Add(time.Hour)
			s.ok("promote")
			require.Equal(t, state.Built, s.image("web").Rebuild.Status)
			web := s.registry.Publish("acme/web:1.0.1", build(&old, &wanted))
			s.ok("analyze", "--image", "web", "--tag", "1.0.1", "--digest", web.Digest)
			assert.Equal(t, want, s.image("web").Rebuild.Status, s.image("web").Rebuild.Message)
		})
	}
}

func TestErrorsWhilePromoting(t *testing.T) {
	for name, c := range map[string]struct {
		fail    func(s *site)
		problem string // of the pass in which it happens; empty if there is none
	}{
		"API server fails on create":      {func(s *site) { s.kube.Fail(kubetest.Fault{Match: "POST promotions", Status: 500}) }, ""},
		"API server loses the answer":     {func(s *site) { s.kube.Fail(kubetest.Fault{Match: "POST promotions", Break: true, After: true}) }, ""},
		"API server is gone half-way":     {func(s *site) { s.kube.Fail(repeat(4, kubetest.Fault{Match: "POST promotions", Status: 503})...) }, "starting rebuild"},
		"state cannot be pushed at first": {func(s *site) { s.git.Fail(gittest.Fault{Match: ".git/git-receive-pack", Status: 502}) }, ""},
		"answer of the push is lost":      {func(s *site) { s.git.Fail(gittest.Fault{Match: ".git/git-receive-pack", Break: true, After: true}) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := published(t)
			s.due()
			c.fail(s)
			got := s.do("promote")
			if c.problem == "" {
				assert.Zero(t, got.code, got.err)
			} else {
				assert.Equal(t, 1, got.code)
				assert.Contains(t, got.err, c.problem)
				assert.Equal(t, state.Requested, s.image("web").Rebuild.Status)
			}
			s.now = s.now.Add(time.Hour)
			s.ok("promote")
			assert.Len(t, s.kube.List("promotions"), 1, "neither lost nor doubled")
			assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
			s.assertNoSecrets()
		})
	}
}

func repeat[T any](n int, v T) (out []T) {
	for range n {
		out = append(out, v)
	}
	return out
}

func TestForgeErrors(t *testing.T) {
	const dispatch = "POST /api/v3/repos/acme/web/actions/"
	json := http.Header{"Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		fault   forgetest.Fault
		problem string
		status  state.RebuildStatus // after the first pass
		runs    int                 // after the second
	}{
		"accepted, answer lost": {forgetest.Fault{Status: 502, After: true}, "", state.Running, 1},
		"refused": {
			forgetest.Fault{Status: 422, Body: `{"message":"Workflow does not have 'workflow_dispatch' trigger"}`, Header: json},
			"add workflow_dispatch to `on:`", state.Failed, 0,
		},
		"rate limit for an hour": {
			forgetest.Fault{Status: 403, Body: `{"message":"API rate limit exceeded"}`, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"3600"}}},
			"rate limit", state.Requested, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := published(t)
			runs := s.forge.Workflows("acme/web")
			runs.Now = func() time.Time { return s.now }
			s.due()
			c.fault.Match = dispatch
			s.forge.Fail(c.fault)
			got := s.do("promote", "--direct")
			assert.Equal(t, c.problem != "", got.code == 1, got.err)
			assert.Contains(t, got.err, c.problem)
			assert.Equal(t, c.status, s.image("web").Rebuild.Status)
			s.now = s.now.Add(20 * time.Minute)
			s.ok("promote", "--direct")
			assert.Len(t, runs.Runs(), c.runs)
			s.assertNoSecrets()
		})
	}
}

func TestEndlessRun(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.due()
	s.ok("promote", "--direct")
	s.now = s.now.Add(25 * time.Hour)
	got := s.ok("promote", "--direct")
	assert.Contains(t, got.out, "the run did not end within 1d")
	assert.Equal(t, state.Failed, s.image("web").Rebuild.Status)
	assert.Len(t, runs.Runs(), 1)
}

func TestManualPromotionIsAdopted(t *testing.T) {
	s, _ := published(t)
	s.due()
	freight := s.kube.List("freights")[0]["metadata"].(map[string]any)["name"].(string)
	hand := s.kube.AddPromotion("web", freight, "jane@example.com")
	s.kube.Finish(hand, "Running", "", "")
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 1, "none beside hers")
	r := s.image("web").Rebuild
	assert.Equal(t, hand, r.ID)
	assert.Equal(t, "promoted by hand in Kargo by jane@example.com", r.Reason)
	s.kube.Finish(hand, "Succeeded", "4711", "https://forge.example.com/runs/4711")
	s.ok("promote")
	assert.Equal(t, "4711", s.image("web").Rebuild.Run)
}

func TestManualPromotionBetweenPasses(t *testing.T) {
	s, _ := published(t)
	node := s.due()
	freight := s.kube.List("freights")[0]["metadata"].(map[string]any)["name"].(string)
	hand := s.kube.AddPromotion("web", freight, "jane@example.com")
	s.kube.Finish(hand, "Succeeded", "4711", "https://forge.example.com/runs/4711")
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 1, "none beside hers")
	r := s.image("web").Rebuild
	assert.Equal(t, hand, r.ID)
	assert.Equal(t, state.Built, r.Status)
	assert.Equal(t, node.Digest, r.Bases[0].Digest)
	s.now = s.now.Add(time.Hour)
	s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2"}) // without evidence of its base
	s.ok("analyze")
	assert.Equal(t, state.Unproven, s.image("web").Rebuild.Status)
	before := s.commits()
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 1, "and none after it")
	assert.Equal(t, before, s.commits())
}

// TestManualPromotionIsAdoptedAfterItsImage: an analysis may see the new image before a pass of promote sees the Promotion. The
// outcome is the same.
func TestManualPromotionIsAdoptedAfterItsImage(t *testing.T) {
	for name, c := range map[string]struct {
		phase string
		build func(old, wanted *registrytest.Content) registrytest.Built
		want  state.RebuildStatus
	}{
		"while it runs": {"Running", func(_, wanted *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: wanted, Provenance: true}
		}, state.Succeeded},
		"when it is over": {"Succeeded", func(_, wanted *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: wanted, Provenance: true}
		}, state.Succeeded},
		"without evidence": {"Running", func(_, _ *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2"}
		}, state.Unproven},
		"on the old base, while it runs": {"Running", func(old, _ *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: old, Provenance: true}
		}, state.Running},
		"on the old base, when it is over": {"Succeeded", func(old, _ *registrytest.Content) registrytest.Built {
			return registrytest.Built{Version: "2", From: old, Provenance: true}
		}, state.WrongBase},
	} {
		t.Run(name, func(t *testing.T) {
			s, old := published(t)
			node := s.due()
			freight := s.kube.List("freights")[0]["metadata"].(map[string]any)["name"].(string)
			hand := s.kube.AddPromotion("web", freight, "jane@example.com")
			s.kube.Finish(hand, c.phase, "4711", "https://forge.example.com/runs/4711")
			s.now = s.now.Add(time.Minute)
			s.registry.Publish("acme/web:1.0.1", c.build(&old, &node))
			s.ok("analyze")
			s.ok("promote")
			s.now = s.now.Add(10 * time.Minute)
			s.ok("promote")
			r := s.image("web").Rebuild
			assert.Equal(t, hand, r.ID)
			assert.Equal(t, c.want, r.Status, r.Message)
			assert.Equal(t, "https://forge.example.com/runs/4711", r.RunURL)
			assert.Len(t, s.kube.List("promotions"), 1, "none beside hers")
			before := s.commits()
			s.ok("promote")
			assert.Equal(t, before, s.commits())
		})
	}
}

// TestUnreadableStateFile: analyses and promoters do the rest of their work, conclude nothing from what is missing, and keep the file.
func TestUnreadableStateFile(t *testing.T) {
	const broken = "name: [\n"
	api := func(t *testing.T) *site {
		s, _ := published(t)
		s.forge.GitHub("acme/api").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
		s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web") + s.entry("api", "acme/api", "acme/api")}, "enroll api")
		s.due()
		s.kube.AddStage("api")
		return s
	}
	read := func(s *site, file string) string { return s.git.Git("fleet", "cat-file", "blob", "main:state/"+file) }
	t.Run("of an image that was never published", func(t *testing.T) {
		s := api(t)
		s.git.Commit("fleet", map[string]string{"state/images/api.yaml": broken}, "break")
		got := s.do("promote")
		assert.Equal(t, 1, got.code)
		assert.Contains(t, got.err, "state/images/api.yaml:1:")
		require.Len(t, s.kube.List("promotions"), 1)
		assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
		s.registry.Base("library/node:22", "3")
		got = s.do("analyze")
		assert.Equal(t, 1, got.code)
		assert.Contains(t, got.err, "error: api: state/images/api.yaml:1:")
		assert.Len(t, s.base().Candidates, 2)
		assert.Equal(t, broken, read(s, "images/api.yaml"))
	})
	t.Run("of a base image", func(t *testing.T) {
		s := api(t)
		file := "base-images/" + s.baseName() + ".yaml"
		s.git.Commit("fleet", map[string]string{"state/" + file: broken}, "break")
		for _, command := range []string{"analyze", "promote", "analyze"} {
			got := s.do(command)
			assert.Equal(t, 1, got.code, command)
			assert.Contains(t, got.err, "state/"+file)
		}
		assert.Empty(t, s.kube.List("promotions"))
		assert.Equal(t, broken, read(s, file))
	})
}

// TestRunThatPublishedOnTheWrongBase: its image is seen before its end is, as is usual with Kargo.
func TestRunThatPublishedOnTheWrongBase(t *testing.T) {
	s, old := published(t)
	s.due()
	s.ok("promote")
	s.now = s.now.Add(time.Minute)
	s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &old, Provenance: true})
	s.ok("analyze")
	s.ok("promote")
	require.Equal(t, state.Running, s.image("web").Rebuild.Status, "it may be from another build")
	s.kube.Finish(s.promotion(), "Succeeded", "4711", "")
	s.ok("promote")
	require.Equal(t, state.Built, s.image("web").Rebuild.Status, "a mirror may be late")
	s.now = s.now.Add(10 * time.Minute)
	got := s.ok("promote")
	assert.Equal(t, state.WrongBase, s.image("web").Rebuild.Status)
	assert.Equal(t, 1, s.image("web").Rebuild.Failures)
	assert.Contains(t, got.out, "built on "+old.Digest)
}

func TestManualPromotionIsNotAdopted(t *testing.T) {
	by := func(s *site) string {
		freight := s.kube.List("freights")[0]["metadata"].(map[string]any)["name"].(string)
		return s.kube.AddPromotion("web", freight, "jane@example.com")
	}
	t.Run("beside one of ours", func(t *testing.T) {
		s, _ := published(t)
		s.due()
		s.ok("promote")
		ours := s.image("web").Rebuild
		by(s)
		s.ok("promote")
		assert.Equal(t, ours.ID, s.image("web").Rebuild.ID)
		assert.Empty(t, s.image("web").RebuildHistory)
	})
	t.Run("whose image was seen", func(t *testing.T) {
		s, _ := published(t)
		node := s.due()
		hand := by(s)
		s.ok("promote")
		assert.Equal(t, node.Digest, s.image("web").Rebuild.Bases[0].Digest, "known before it runs")
		s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &node, Provenance: true})
		s.ok("analyze")
		before := s.image("web")
		require.Equal(t, hand, before.Rebuild.ID)
		require.Equal(t, state.Succeeded, before.Rebuild.Status)
		s.ok("promote") // while Kargo still follows the run
		assert.Equal(t, before, s.image("web"))
	})
	t.Run("that is over, and failed", func(t *testing.T) {
		s, _ := published(t)
		s.due()
		s.kube.Finish(by(s), "Failed", "4711", "https://forge.example.com/runs/4711")
		s.ok("promote")
		assert.Regexp(t, "^r-", s.image("web").Rebuild.ID)
	})
	t.Run("that waits since yesterday", func(t *testing.T) {
		s, _ := published(t)
		s.due()
		by(s)
		s.now = s.now.Add(25 * time.Hour)
		s.ok("promote")
		assert.Regexp(t, "^r-", s.image("web").Rebuild.ID)
	})
}

// TestBuildIsStartedWithLock: a workflow that may not read state gets the lock as an input.
func TestBuildIsStartedWithLock(t *testing.T) {
	s, node := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Inputs = []string{"lock"}
	runs.Now = func() time.Time { return s.now }
	s.git.Commit("fleet", map[string]string{"images.yaml": strings.Replace(s.entry("web", "acme/web", "acme/web"), "workflow: build.yml", `workflow: build.yml, inputs: {lock: "{{lock}}"}`, 1)}, "Enroll")
	s.due()
	s.ok("promote", "--direct")
	require.Len(t, runs.Runs(), 1)
	lock := runs.Runs()[0].Values["lock"]
	assert.NotContains(t, lock, node.Digest)
	var compact bytes.Buffer
	pinned := s.run("pin", "web", "-o", "source-policy", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml")
	require.NoError(t, json.Compact(&compact, []byte(pinned.out)))
	assert.Equal(t, compact.String(), lock)
	assert.Contains(t, lock, "/library/node:22@sha256:")
}

// TestForgedCreationTimeDecidesNothing: only our own clock says when a digest was first seen.
func TestForgedCreationTimeDecidesNothing(t *testing.T) {
	for name, created := range map[string]time.Time{
		"long ago":   time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC),
		"the future": time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := published(t)
			s.registry.Dated("library/node:22", created)
			s.ok("analyze")
			assert.Equal(t, s.now.UTC().Truncate(time.Second), s.base().Candidates[0].FirstSeen.UTC())
			s.now = s.now.Add(week - time.Minute)
			assert.Contains(t, s.ok("promote", "--dry-run").err, "0 rebuilds would be started")
			s.now = s.now.Add(2 * time.Minute)
			assert.Contains(t, s.ok("promote", "--dry-run").err, "1 rebuild would be started")
		})
	}
}

func TestLifecycle(t *testing.T) {
	enroll := func(s *site, text string) { s.git.Commit("fleet", map[string]string{"images.yaml": text}, "Enroll") }
	t.Run("external to managed and back", func(t *testing.T) {
		s, _ := published(t)
		external := "- {name: web, registry: \"" + s.registry.Host + "\", repository: acme/web}\n"
		first := s.image("web")
		enroll(s, external)
		s.ok("analyze")
		now := s.image("web")
		assert.Equal(t, first.CurrentDigest, now.CurrentDigest)
		enroll(s, s.entry("web", "acme/web", "acme/web"))
		s.ok("analyze")
		assert.Equal(t, first.LastBuilt, s.image("web").LastBuilt)
		assert.Equal(t, first.BuiltOn, s.image("web").BuiltOn)
	})
	t.Run("external, then managed", func(t *testing.T) {
		s := newSite(t)
		node := s.registry.Base("library/node:22", "1")
		s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
		node2 := s.registry.Base("library/node:22", "2")
		external := "- {name: web, registry: \"" + s.registry.Host + "\", repository: acme/web}\n"
		enroll(s, external)
		s.ok("analyze")
		enroll(s, s.entry("web", "acme/web", "acme/web"))
		s.ok("analyze")
		require.Len(t, s.image("web").BuiltOn, 1)
		assert.Equal(t, state.Provenance, s.image("web").BuiltOn[0].Evidence, "its attestation was asked")
		assert.Equal(t, node.Digest, s.image("web").BuiltOn[0].Digest)
		before := s.commits()
		s.ok("analyze")
		assert.Equal(t, before, s.commits())

		enroll(s, external)
		s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &node2, Provenance: true})
		s.ok("analyze")
		enroll(s, s.entry("web", "acme/web", "acme/web"))
		s.ok("analyze")
		require.Len(t, s.image("web").BuiltOn, 1)
		assert.Equal(t, state.Provenance, s.image("web").BuiltOn[0].Evidence)
		assert.Equal(t, node2.Digest, s.image("web").BuiltOn[0].Digest)
	})
	t.Run("another repository while it is rebuilt", func(t *testing.T) {
		s, node := published(t)
		s.due()
		s.ok("promote")
		running := s.image("web").Rebuild
		s.registry.Publish("acme/moved:1.0.0", registrytest.Built{Version: "1"})
		enroll(s, s.entry("web", "acme/moved", "acme/web"))
		s.ok("analyze")
		web := s.image("web")
		assert.Equal(t, state.Failed, web.Rebuild.Status, "what is there is not its outcome")
		assert.Equal(t, state.Assumed, web.BuiltOn[0].Evidence)
		assert.Equal(t, node.Digest, web.BuiltOn[0].Digest)
		s.ok("promote")
		assert.NotEqual(t, running.ID, s.image("web").Rebuild.ID)
		assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
	})
	t.Run("renamed", func(t *testing.T) {
		s, _ := published(t)
		first := s.image("web")
		enroll(s, s.entry("website", "acme/web", "acme/web"))
		s.ok("analyze")
		renamed := s.image("website")
		first.Name = "website"
		assert.Equal(t, first, renamed, "history kept")
		got := s.ok("prune", "--dry-run")
		assert.Contains(t, got.out, "state/archive/images/web.yaml")
		got = s.ok("prune", "--reason", "renamed to website")
		assert.Contains(t, got.err, "archived web. Pushed to")
		assert.Equal(t, "archive web: renamed to website", s.git.Log("fleet")[0])
		files := s.git.Files("fleet")
		assert.NotContains(t, files, "state/images/web.yaml")
		assert.Contains(t, files["state/archive/images/web.yaml"], "archived: renamed to website")
	})
	t.Run("not renamed", func(t *testing.T) {
		s, _ := published(t)
		s.due()
		s.ok("promote")
		require.NotNil(t, s.image("web").Rebuild)
		enroll(s, s.entry("other", "acme/other", "acme/web"))
		s.ok("analyze")
		assert.Nil(t, s.image("other").Rebuild, "it is another image")

		web := s.git.Files("fleet")["state/images/web.yaml"]
		s.git.Commit("fleet", map[string]string{
			"images.yaml":           s.entry("website", "acme/web", "acme/web"),
			"state/images/old.yaml": strings.Replace(web, "name: web\n", "name: old\n", 1),
		}, "Enroll")
		s.ok("analyze")
		assert.Nil(t, s.image("website").Rebuild, "of two, nobody can say which it was")
	})
	t.Run("an archive that somebody has forged", func(t *testing.T) {
		s := newSite(t)
		s.registry.Base("library/node:22", "1")
		s.git.Commit("fleet", map[string]string{
			"state/archive/images/web.yaml": "name: web\nrepository: " + s.registry.Host + "/acme/web\ncurrentDigest: $(id)\n",
		}, "Forge")
		s.ok("analyze")
		assert.Empty(t, s.image("web").CurrentDigest)
	})
	t.Run("gone and back", func(t *testing.T) {
		s, _ := published(t)
		first := s.image("web")
		enroll(s, "[]\n")
		s.ok("prune")
		assert.NotContains(t, s.git.Files("fleet"), "state/images/web.yaml")
		enroll(s, s.entry("web", "acme/web", "acme/web"))
		s.now = s.now.Add(week)
		s.ok("analyze")
		assert.Equal(t, first, s.image("web"), "it goes on where it stopped")
		assert.Equal(t, "2026-03-01T12:00:00Z", s.base().Baseline.FirstSeen.UTC().Format(time.RFC3339))
	})
	t.Run("base image becomes managed, and one again", func(t *testing.T) {
		s, node := published(t)
		first := s.base().Baseline
		s.forge.GitHub("acme/node").Commit("Dockerfile", "FROM scratch\n")
		enroll(s, s.entry("web", "acme/web", "acme/web")+s.entry("node", "library/node", "acme/node"))
		s.ok("analyze")
		web := s.image("web")
		assert.Equal(t, node.Digest, web.BuiltOn[0].Digest, "what it was built on stays known")
		got := s.run("graph", "node", "--down", "-o", "json", "--config", s.checkout()+"/images.yaml")
		assert.Zero(t, got.code, got.err)
		assert.Contains(t, got.out, "image/web")
		got = s.ok("promote", "--dry-run")
		assert.Contains(t, got.err, "0 rebuilds would be started")

		got = s.ok("prune", "--reason", "managed now")
		assert.Contains(t, got.err, "archived node-22.")
		s.now = s.now.Add(week)
		node2 := s.registry.Base("library/node:22", "2")
		s.ok("analyze")
		got = s.ok("promote", "--dry-run")
		assert.Contains(t, got.out, "parent node was published", "without a delay")
		enroll(s, s.entry("web", "acme/web", "acme/web"))
		s.ok("analyze")
		assert.Equal(t, first, s.base().Baseline, "its history goes on")
		assert.Equal(t, node2.Digest, s.base().Candidates[0].Digest)
		got = s.ok("promote", "--dry-run")
		assert.Contains(t, got.err, "0 rebuilds would be started", "now it has to wait")
	})
}

// checkout clones the state repository.
func (s *site) checkout() string {
	dir := s.t.TempDir()
	writeFiles(s.t, dir, s.git.Files("fleet"))
	return dir
}

func TestCtrlCKeepsResults(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.registry.Base("library/slow:1", "1")
	s.forge.GitHub("acme/slow").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/slow:1\n")
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web") + s.entry("slow", "acme/slow", "acme/slow")}, "Enroll")
	ctx, cancel := context.WithCancel(t.Context())
	s.registry.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "library/slow") {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	})
	got := s.runUntil(ctx, "analyze", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml", "--push")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "interrupted: 2 images and 2 base images: 0 analyzed, 4 not reached", "their Dockerfiles were")
	assert.Contains(t, got.err, "pushed to")
	assert.NotNil(t, s.image("web").Dockerfile)
	assert.NotNil(t, s.image("slow").Dockerfile)
	for name, text := range s.git.Files("fleet") {
		if strings.Contains(name, "slow-1") {
			assert.NotContains(t, text, "baseline", "what was not looked at is not known")
		}
	}
	s.registry.Break(nil)
	got = s.ok("analyze")
	assert.Contains(t, got.err, "pushed to")
	got = s.ok("analyze")
	assert.Contains(t, got.err, "nothing new")
}

func TestCtrlCBeforeAnythingWasAnalyzed(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := s.commits()
	got := s.runUntil(ctx, "analyze", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml", "--push")
	assert.Equal(t, 1, got.code)
	assert.Equal(t, "interrupted before anything was analyzed; nothing saved\n", got.err)
	assert.Equal(t, before, s.commits())
}

func TestSpellingsOfTheStatePath(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.ok("analyze")
	got := s.ok("analyze", "--path", "./state/")
	assert.Contains(t, got.err, "nothing new")
	got = s.do("analyze", "--path", "state/../..")
	assert.Contains(t, got.err, "invalid path")
}

func TestFreightThatCannotBeListedIsAProblem(t *testing.T) {
	s, _ := published(t)
	s.due()
	s.kube.Fail(repeat(4, kubetest.Fault{Match: "GET freights", Status: 503})...)
	got := s.do("promote")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "error: checking which builds can be started: listing freights")
	assert.Nil(t, s.image("web").Rebuild)
	s.ok("promote")
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
}

func TestNothingIsRecordedBeforeThereIsFreight(t *testing.T) {
	s := newSite(t)
	node := s.registry.Base("library/node:22", "1")
	s.ok("analyze")
	s.kube.AddStage("web")
	got := s.ok("promote")
	assert.Contains(t, got.err, "web is due and was not started: no Freight of Warehouse base-"+s.baseName())
	assert.Nil(t, s.image("web").Rebuild, "else it would wait for whoever recorded it")
	s.kube.AddFreight("base-"+s.baseName(), node.Digest)
	s.ok("promote")
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
}

func TestImageWithPinnedBasesHasNoStage(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/web")
	s.source.Commit("Dockerfile", "FROM scratch\nCOPY web /\n")
	s.ok("analyze")
	got := s.ok("promote")
	assert.Contains(t, got.err, "web is due and was not started: all its bases are pinned")
	s.ok("promote", "--direct")
	assert.Len(t, runs.Runs(), 1)
}

// TestBaseThatKargoCannotWatch: such a base has no Warehouse and no Freight. A Promotion for it carries the Freight of another base;
// without another base the image is reported and not started, while others are.
func TestBaseThatKargoCannotWatch(t *testing.T) {
	for name, second := range map[string]string{"beside another": "library/node:22", "alone": "odd/c--d:1"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			other := s.registry.Base(second, "1")
			odd := s.registry.Base("odd/a--b:1", "1")
			s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/odd/a--b:1\nCOPY --from="+s.registry.Host+"/"+second+" /a /a\n")
			s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &odd})
			s.ok("analyze")
			s.kube.AddFreight("base-node-22", other.Digest)

			s.registry.Base("odd/a--b:1", "2")
			s.ok("analyze")
			s.now = s.now.Add(week + time.Minute)
			if name == "alone" {
				got := s.ok("promote")
				assert.Contains(t, got.err, "web is due and was not started: Kargo can watch none of its bases")
				assert.Empty(t, s.kube.List("promotions"))
				return
			}
			s.kube.AddStage("web")
			s.ok("promote")
			require.Len(t, s.kube.List("promotions"), 1)
			assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
			assert.Equal(t, s.registry.Host+"/odd/a--b:1", s.image("web").Rebuild.Bases[0].Ref)
		})
	}
}

func TestNewestPromotionOfARebuildCounts(t *testing.T) {
	s, _ := published(t)
	s.due()
	s.ok("promote")
	first := s.kube.List("promotions")[0]
	s.kube.Finish(s.promotion(), "Failed", "4711", "")
	s.kube.Add("promotions", map[string]any{ // a person copied it for a retry
		"metadata": map[string]any{"name": "copy", "labels": first["metadata"].(map[string]any)["labels"]},
		"spec":     first["spec"],
	})
	s.kube.Finish("copy", "Succeeded", "4712", "")
	s.ok("promote")
	assert.Equal(t, state.Built, s.image("web").Rebuild.Status)
	assert.Equal(t, "4712", s.image("web").Rebuild.Run)
}
