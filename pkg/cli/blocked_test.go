package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/kubetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// decision is an item of `status -o json`.
type decision struct{ Status, Reason, Failure, RunURL string }

// status returns the output of status for an image, as a table and as JSON.
func (s *site) status(name string) (table string, d decision) {
	s.t.Helper()
	at := []string{"status", name, "--config", s.checkout() + "/images.yaml"}
	table = s.run(at...).out
	var list struct{ Items []decision }
	require.NoError(s.t, json.Unmarshal([]byte(s.run(append(at, "-o", "json")...).out), &list))
	require.Len(s.t, list.Items, 1)
	return table, list.Items[0]
}

func TestRebuildWithoutTokenStaysBlocked(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.due()
	token := filepath.Join(s.env["IMAGEFACTORY_CREDENTIALS"], "api", s.forge.Host, "token")
	require.NoError(t, os.Remove(token))
	for range 3 {
		got := s.do("promote", "--direct")
		assert.Equal(t, 1, got.code, got.err)
		assert.Contains(t, got.err, "no token for "+s.forge.Host)
		assert.Contains(t, got.err, "0 rebuilds started, 0 rebuilds active, 1 blocked")
		table, d := s.status("web")
		assert.Regexp(t, `^web +blocked +(now|\d+m ago) +no token for`, strings.Split(table, "\n")[1])
		assert.Equal(t, "blocked", d.Status)
		assert.Contains(t, d.Reason, "no token for")
		s.now = s.now.Add(4 * time.Minute) // the third pass comes after the claim has expired
	}
	got := s.do("promote", "--direct", "--wait", "20ms", "--poll", "1ms")
	assert.Equal(t, 1, got.code, got.err)
	assert.Contains(t, got.err, "error: stopped waiting after 20ms; not finished: web")

	require.NoError(t, os.WriteFile(token, []byte(forgeToken), 0o600))
	s.now = s.now.Add(time.Hour)
	s.ok("promote", "--direct")
	assert.Len(t, runs.Runs(), 1)
	_, d := s.status("web")
	assert.Equal(t, "running", d.Status)
	assert.Equal(t, runs.URL(runs.Runs()[0].ID), d.RunURL)
}

func TestUnstartedRebuildIsNotShownAsRunning(t *testing.T) {
	s, _ := published(t)
	s.due()
	dir := s.checkout()
	web := s.image("web")
	web.Request(state.Rebuild{ID: "r-0123456789abcdef", Reason: "test", RequestedAt: state.At(s.now)})
	st := state.New()
	st.Images["web"] = web
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(filepath.Join(dir, "state"), files))
	at := []string{"status", "web", "--config", dir + "/images.yaml"}
	assert.Regexp(t, `(?m)^web +starting `, s.run(at...).out)
	s.now = s.now.Add(time.Hour)
	assert.Regexp(t, `(?m)^web +blocked .* the last pass was interrupted before it started the rebuild`, s.run(at...).out)
}

func TestStatusShowsWhyTheForgeRefused(t *testing.T) {
	s, _ := published(t)
	s.forge.Workflows("acme/web")
	s.due()
	s.forge.Fail(forgetest.Fault{
		Match: "POST /api/v3/repos/acme/web/actions", Status: http.StatusUnprocessableEntity,
		Body: `{"message":"Unexpected inputs provided: [\"base\"]\n\u001b[31m"}`,
	})
	got := s.do("promote", "--direct")
	assert.Equal(t, 1, got.code, got.err)
	table, d := s.status("web")
	assert.Contains(t, table, `rebuild failed (1 of 3): `+s.forge.Host+` answered 422 Unprocessable Entity: Unexpected inputs provided: ["base"]`)
	assert.Equal(t, "failed", d.Status)
	assert.Contains(t, d.Failure, "Unexpected inputs provided")
	assert.Contains(t, d.Reason, d.Failure)

	s.now = s.now.Add(2 * time.Hour) // due for the next try
	table, d = s.status("web")
	assert.Equal(t, "due", d.Status)
	assert.Contains(t, table, "last rebuild: "+s.forge.Host+" answered 422")

	web := s.image("web")
	web.Rebuild.Failures, web.Rebuild.Message = 3, strings.Repeat("a long story\n", 500)
	dir := s.checkout()
	st := state.New()
	st.Images["web"] = web
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(filepath.Join(dir, "state"), files))
	shown := strings.Split(s.run("status", "--config", dir+"/images.yaml").out, "\n")
	assert.Contains(t, shown[1], "the last one: a long story a long")
	assert.Less(t, len(shown[1]), 300, "one bounded line")
	assert.Regexp(t, `^$`, shown[2])
}

func TestWaitingThatEndsTooEarlyIsAFailure(t *testing.T) {
	s, _ := published(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.due()
	got := s.do("promote", "--direct", "--wait", "20ms", "--poll", "1ms")
	assert.Equal(t, 1, got.code, got.err)
	assert.Contains(t, got.err, "error: stopped waiting after 20ms; not finished: web (run `imagefactory promote` again to follow them)")
	s.ok("promote", "--direct") // without --wait, a running rebuild is not a failure
	assert.Len(t, runs.Runs(), 1)
}

func TestRefusedPromotionIsBlocked(t *testing.T) {
	s, _ := published(t)
	s.due()
	refusal := kubetest.Fault{Match: "POST promotions", Status: 403, Reason: "Forbidden", Message: `admission webhook "policy.example.com" denied the request: no builds on Fridays`}
	s.kube.Fail(refusal)
	for range 2 { // the second pass is too early for a retry
		got := s.do("promote")
		assert.Equal(t, 1, got.code, got.err)
		assert.Contains(t, got.err, "no builds on Fridays")
		assert.NotContains(t, got.err, "apply the Role")
		_, d := s.status("web")
		assert.Equal(t, "blocked", d.Status)
		assert.Contains(t, d.Reason, "no builds on Fridays")
		s.now = s.now.Add(time.Minute)
	}
	s.now = s.now.Add(time.Hour)
	s.ok("promote")
	assert.Len(t, s.kube.List("promotions"), 1)
}

// TestEmptyClusterDropsAndStartsNothing: a project without Stages, such as a wrong one, is no evidence that a rebuild did not start.
func TestEmptyClusterDropsAndStartsNothing(t *testing.T) {
	s, _ := published(t)
	s.due()
	s.kube.Fail(kubetest.Fault{Match: "POST promotions", Status: 403, Reason: "Forbidden", Message: "not now"})
	got := s.do("promote")
	require.Equal(t, 1, got.code, got.err)
	id := s.image("web").Rebuild.ID
	s.ok("hold", s.baseName(), "--reason", "not wanted any longer") // else it would only be started
	s.now = s.now.Add(time.Hour)
	for range 2 {
		s.kube.Fail(kubetest.Fault{Match: "GET stages", Status: 200, Body: `{"kind":"StageList","apiVersion":"kargo.akuity.io/v1alpha1","metadata":{},"items":[]}`})
		got = s.do("promote")
		assert.Equal(t, 1, got.code, got.err)
		assert.Contains(t, got.err, `no Stage "rebuild-web" in Kargo project`)
		require.NotNil(t, s.image("web").Rebuild)
		assert.Equal(t, id, s.image("web").Rebuild.ID)
		assert.Empty(t, s.kube.List("promotions"))
	}
	got = s.ok("promote")
	assert.Contains(t, got.out, "dropped")
}

func TestHeldAutoPromotionIsReported(t *testing.T) {
	s, _ := published(t)
	s.kube.Hold("observe-node", "base-node", "alice")
	got := s.ok("promote")
	assert.Contains(t, got.err, "warning: auto-promotion of Stage observe-node is held by alice: new Freight of Warehouse base-node starts no analysis")
	got = s.ok("promote", "-o", "json")
	assert.Contains(t, got.out, `"auto-promotion of Stage observe-node is held`)
}

// TestBlockedRebuildTakesNoSlot: one repository refuses the token, and only one rebuild may run at once.
func TestBlockedRebuildTakesNoSlot(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	var names []string
	var entries strings.Builder
	entries.WriteString("factory: {maxConcurrentRebuilds: 1}\nimages:\n")
	for _, name := range []string{"api", "db", "web"} {
		runs := s.forge.Workflows("acme/" + name)
		runs.Now = func() time.Time { return s.now }
		if name != "web" { // which has a Dockerfile already
			s.forge.GitHub("acme/"+name).Commit("Dockerfile", "FROM scratch\n")
		}
		entries.WriteString(s.entry(name, "acme/"+name, "acme/"+name))
		names = append(names, name)
	}
	s.git.Commit("fleet", map[string]string{"images.yaml": entries.String()}, "Enroll")
	s.ok("analyze")
	for range 6 { // every second pass retries it first
		s.forge.Fail(forgetest.Fault{Match: "POST /api/v3/repos/acme/api/actions", Status: http.StatusForbidden, Body: `{"message":"Resource not accessible"}`})
		got := s.do("promote", "--direct")
		assert.Equal(t, 1, got.code, got.err)
		assert.Contains(t, got.err, "Resource not accessible", "each time")
		for _, name := range names {
			if r := s.image(name).Rebuild; r != nil && r.Status == state.Running {
				s.registry.Publish("acme/"+name+":1.0.0", registrytest.Built{Version: "1"})
			}
		}
		s.now = s.now.Add(time.Hour)
	}
	for _, name := range names[1:] {
		require.NotNil(t, s.image(name).Rebuild, name)
		assert.NotEqual(t, state.Requested, s.image(name).Rebuild.Status, name)
	}
	assert.Equal(t, state.Requested, s.image("api").Rebuild.Status)
}
