package cluster_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/test/kubetest"
)

func noWait() backoff.BackOff { return &backoff.ZeroBackOff{} }

func client(t *testing.T, s *kubetest.Server) *cluster.Client {
	t.Helper()
	c, err := cluster.New(cluster.Options{Namespace: s.Namespace, Config: s.Config(), Backoff: noWait})
	require.NoError(t, err)
	return c
}

func order(wanted ...cluster.Freight) cluster.PromotionSpec {
	return cluster.PromotionSpec{Rebuild: "web-0123456789", Image: "web", Wanted: wanted}
}

func TestPromotionSpec(t *testing.T) {
	for name, c := range map[string]struct {
		wanted []cluster.Freight
		want   int // index of the Freight
	}{
		"the digest":                             {[]cluster.Freight{{Warehouse: "base-node", Digest: "sha256:b"}}, 1},
		"else the newest of that base":           {[]cluster.Freight{{Warehouse: "base-node", Digest: "sha256:gone"}}, 2},
		"the second base when the first is gone": {[]cluster.Freight{{Warehouse: "base-node", Digest: "sha256:gone"}, {Warehouse: "base-go", Digest: "sha256:x"}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubetest.New(t)
			s.AddStage("web")
			freight := []string{
				s.AddFreight("base-node", "sha256:a"), s.AddFreight("base-node", "sha256:b"), s.AddFreight("base-node", "sha256:c"),
				s.AddFreight("base-go", "sha256:x"), s.AddFreight("base-other", "sha256:gone"),
			}
			p, err := client(t, s).Create(t.Context(), order(c.wanted...))
			require.NoError(t, err)
			assert.Equal(t, "web-0123456789", p.Rebuild)
			assert.Equal(t, "rebuild-web", p.Stage)
			made := s.List("promotions")
			require.Len(t, made, 1)
			assert.Equal(t, map[string]any{"stage": "rebuild-web", "freight": freight[c.want]}, made[0]["spec"])
			assert.Equal(t, map[string]any{
				"imagefactory/rebuild": "web-0123456789", "imagefactory/image": "web", "app.kubernetes.io/managed-by": "imagefactory",
			}, made[0]["metadata"].(map[string]any)["labels"])
		})
	}
}

func TestOnePromotionPerRebuild(t *testing.T) {
	wanted := cluster.Freight{Warehouse: "base-node", Digest: "sha256:a"}
	for name, faults := range map[string][]kubetest.Fault{
		"asked for twice":   nil,
		"answer lost":       {{Match: "POST promotions", Break: true, After: true}},
		"failed after all":  {{Match: "POST promotions", Status: 500, After: true}},
		"failed before":     {{Match: "POST promotions", Status: 503}},
		"list fails":        {{Match: "GET promotions", Status: 500}, {Match: "GET freights", Break: true}},
		"too many requests": {{Match: "POST promotions", Status: 429}},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubetest.New(t)
			s.AddStage("web")
			s.AddFreight("base-node", "sha256:a")
			s.Fail(faults...)
			first, err := client(t, s).Create(t.Context(), order(wanted))
			require.NoError(t, err)
			second, err := client(t, s).Create(t.Context(), order(wanted))
			require.NoError(t, err)
			assert.Equal(t, first.Name, second.Name)
			assert.Len(t, s.List("promotions"), 1)
		})
	}
}

func TestUnstartableRebuilds(t *testing.T) {
	s := kubetest.New(t)
	wanted := cluster.Freight{Warehouse: "base-node", Digest: "sha256:a"}
	_, err := client(t, s).Create(t.Context(), order(wanted))
	require.ErrorIs(t, err, cluster.ErrNoFreight)
	require.ErrorContains(t, err, "of Warehouse base-node: nothing discovered yet")
	s.AddFreight("base-node", "sha256:a")
	_, err = client(t, s).Create(t.Context(), order(wanted))
	require.ErrorContains(t, err, `creating a Promotion to Stage rebuild-web in project image-factory-kargo: admission webhook`)

	for range 4 {
		s.Fail(kubetest.Fault{Match: "GET promotions", Status: 500})
	}
	_, err = client(t, s).Promotions(t.Context())
	require.ErrorContains(t, err, "listing promotions in project image-factory-kargo: injected fault")

	other, err := cluster.New(cluster.Options{Namespace: "elsewhere", Config: s.Config()})
	require.NoError(t, err)
	_, err = other.Stages(t.Context())
	require.ErrorContains(t, err, "apply the Role and RoleBinding of dist")
	const canary = "sa-token-canary-wrong"
	config := s.Config()
	config.BearerToken = canary
	stranger, err := cluster.New(cluster.Options{Namespace: s.Namespace, Config: config})
	require.NoError(t, err)
	_, err = stranger.Stages(t.Context())
	require.ErrorContains(t, err, "invalid token")
	assert.NotContains(t, err.Error(), canary)

	_, err = cluster.New(cluster.Options{Config: s.Config()})
	require.ErrorContains(t, err, "pass --project")
}

func TestWithoutACluster(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	t.Setenv("HOME", t.TempDir())
	_, err := cluster.New(cluster.Options{Namespace: "x"})
	require.ErrorContains(t, err, "set KUBECONFIG, or pass --direct")
}

func TestPromotionOutcomes(t *testing.T) {
	s := kubetest.New(t)
	s.PageSize = 2
	s.AddStage("web")
	s.AddStage("api")
	f := s.AddFreight("base-node", "sha256:a")
	_, err := client(t, s).Create(t.Context(), order(cluster.Freight{Warehouse: "base-node", Digest: "sha256:a"}))
	require.NoError(t, err)
	hand := s.AddPromotion("api", f, "jane@example.com\x1b[31m")
	s.AddPromotion("web", f, "x")
	s.AddPromotion("web", f, "y")
	list, err := client(t, s).Promotions(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 4)
	assert.False(t, list[0].Done())
	assert.Equal(t, "web-0123456789", list[0].Rebuild)
	assert.Equal(t, "jane@example.com [31m", list[1].Actor)
	assert.Empty(t, list[1].Rebuild)
	assert.True(t, list[0].Created.Before(list[1].Created))

	s.Finish(list[0].Name, "Succeeded", "4711", "https://github.com/acme/web/actions/runs/4711")
	s.Finish(hand, "Errored", "unknown", "javascript:alert(1)")
	list, err = client(t, s).Promotions(t.Context())
	require.NoError(t, err)
	assert.True(t, list[0].Done())
	assert.True(t, list[0].Succeeded())
	assert.Equal(t, "4711", list[0].RunID)
	assert.Equal(t, "https://github.com/acme/web/actions/runs/4711", list[0].RunURL)
	assert.Equal(t, "sha256:a", list[0].Digest)
	assert.True(t, list[1].Done())
	assert.False(t, list[1].Succeeded())
	assert.Empty(t, list[1].RunURL)

	stages, err := client(t, s).Stages(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]bool{"rebuild-web": true, "rebuild-api": true}, stages.Rebuild)
	assert.Empty(t, stages.Holds)
}

func TestHoldsOfObserveStagesAreRead(t *testing.T) {
	s := kubetest.New(t)
	s.AddStage("web")
	s.Hold("observe-node", "base-node", "alice\x1b[31m")
	s.Hold("observe-go", "base-go", "")
	stages, err := client(t, s).Stages(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []cluster.Hold{{"observe-go", "base-go", ""}, {"observe-node", "base-node", "alice [31m"}}, stages.Holds)
	assert.Len(t, stages.Rebuild, 1)
}

func TestClosedPromotionWindowsAreRead(t *testing.T) {
	s := kubetest.New(t)
	s.AddStage("web")
	s.Close("api", "2026-06-08T08:00:00Z", "frozen by release\x1b[31m")
	s.Close("job", "", "")
	s.Close("db", "soon", "x")
	stages, err := client(t, s).Stages(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"rebuild-api": "Kargo's promotion window is closed until 2026-06-08 08:00 UTC: frozen by release [31m",
		"rebuild-job": "Kargo's promotion window is closed",
		"rebuild-db":  "Kargo's promotion window is closed: x",
	}, stages.Closed)
	assert.Len(t, stages.Rebuild, 4)
}

// TestAdmissionErrorIsNotAPermissionProblem: the words of whoever refused a Promotion are shown, with the fitting advice.
func TestAdmissionErrorIsNotAPermissionProblem(t *testing.T) {
	const role, admission = "apply the Role and RoleBinding of dist", "an admission check of the cluster refused it; the Role is not the cause"
	for message, c := range map[string]struct {
		status         int
		reason, advice string
	}{
		`promotions.kargo.akuity.io is forbidden: User "system:serviceaccount:x:y" cannot create resource "promotions" in API group "kargo.akuity.io" in the namespace "x"`:                        {403, "Forbidden", role},
		`admission webhook "promotion.kargo.akuity.io" denied the request: promotions.kargo.akuity.io "r" is forbidden: subject "y" is not permitted to create Promotions for Stage "rebuild-web"`: {403, "Forbidden", role},
		`admission webhook "policy.example.com" denied the request: no builds on Fridays`:                                                                                                          {403, "Forbidden", admission},
		`admission webhook "policy.example.com" denied the request: no builds at all`:                                                                                                              {400, "BadRequest", admission},
		`admission webhook "policy.example.com" denied the request: user "y" is not permitted to build on Fridays`:                                                                                 {403, "Forbidden", admission},
		`admission webhook "policy.example.com" denied the request: a team cannot create resource promotions`:                                                                                      {403, "Forbidden", admission},
		`promotions.kargo.akuity.io "r" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: y is not permitted to do that`:                                                {422, "Invalid", admission},
		`promotions.kargo.akuity.io "r" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not now`:                                                                      {422, "Invalid", admission},
		`promotions.kargo.akuity.io "r" is forbidden: exceeded quota: q, requested: count/promotions=1`:                                                                                            {403, "Forbidden", admission},
		`Promotion.kargo.akuity.io "r" is invalid: spec.steps: Required value`:                                                                                                                     {422, "Invalid", "is Kargo's webhook running?"},
		`Promotion.kargo.akuity.io "r" is invalid: spec.freight: Required value`:                                                                                                                   {422, "Invalid", "is dist applied as `imagefactory synth` writes it now?"},
		`promotions.kargo.akuity.io "r" is forbidden: because of something else`:                                                                                                                   {403, "Forbidden", "the Role is hardly the cause"},
		`the server could not find the requested resource`:                                                                                                                                         {404, "NotFound", "is Kargo installed"},
	} {
		t.Run(message, func(t *testing.T) {
			s := kubetest.New(t)
			s.AddStage("web")
			s.AddFreight("base-node", "sha256:a")
			s.Fail(kubetest.Fault{Match: "POST promotions", Status: c.status, Reason: c.reason, Message: message + "\n\x1b[31m" + strings.Repeat("!", 9999)})
			_, err := client(t, s).Create(t.Context(), order(cluster.Freight{Warehouse: "base-node", Digest: "sha256:a"}))
			require.ErrorContains(t, err, message)
			require.ErrorContains(t, err, c.advice)
			assert.NotContains(t, err.Error(), "\x1b")
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}

// TestInvalidListIsNotAnEmptyList: else it would say that nothing was started.
func TestInvalidListIsNotAnEmptyList(t *testing.T) {
	for _, body := range []string{
		`<html>`, `{}`, `null`, `[]`, `{"kind":"Pod","apiVersion":"v1"}`, `{"message":"no route"}`,
		`{"kind":"PromotionList","apiVersion":"kargo.akuity.io/v1alpha1","metadata":{"remainingItemCount":7},"items":[]}`,
	} {
		s := kubetest.New(t)
		for range 4 {
			s.Fail(kubetest.Fault{Match: "GET promotions", Status: 200, Body: body})
		}
		_, err := client(t, s).Promotions(t.Context())
		require.ErrorContains(t, err, "listing promotions in project image-factory-kargo", body)
	}
	s := kubetest.New(t)
	s.Fail(kubetest.Fault{Match: "GET promotions", Status: 404, Reason: "NotFound", Message: "the server could not find the requested resource"})
	_, err := client(t, s).Promotions(t.Context())
	require.ErrorContains(t, err, "is Kargo installed")
}

func TestUnreachableServerIsNamedWithoutTheQuery(t *testing.T) {
	c, err := cluster.New(cluster.Options{
		Namespace: "n", Config: &rest.Config{Host: "https://127.0.0.1:1"},
		Backoff: noWait,
	})
	require.NoError(t, err)
	_, err = c.Promotions(t.Context())
	require.ErrorContains(t, err, "reaching the API server: connection failed: dial tcp 127.0.0.1:1")
	assert.NotContains(t, err.Error(), "limit=")
}

// TestListIsStreamed lists what Kargo keeps of a large fleet. The Jobs have a memory limit.
func TestListIsStreamed(t *testing.T) {
	const pages, each, size = 10, 50, 20_000
	var before, most uint64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		page, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		if page == 0 {
			before = now.HeapAlloc
		}
		most = max(most, now.HeapAlloc)
		items := make([]any, each)
		for i := range items {
			items[i] = map[string]any{
				"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Promotion",
				"metadata": map[string]any{"name": fmt.Sprintf("p-%d-%d", page, i), "annotations": map[string]any{"long": strings.Repeat("x", size)}},
				"spec":     map[string]any{"stage": "rebuild-web"},
			}
		}
		list := map[string]any{"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "PromotionList", "items": items}
		if page+1 < pages {
			list["metadata"] = map[string]any{"continue": strconv.Itoa(page + 1)}
		}
		w.Header().Set("Content-Type", "application/json")
		assert.NoError(t, json.NewEncoder(w).Encode(list))
	}))
	t.Cleanup(s.Close)
	c, err := cluster.New(cluster.Options{Namespace: "n", Config: &rest.Config{Host: s.URL}})
	require.NoError(t, err)
	list, err := c.Promotions(t.Context())
	s.Close() // what its goroutines have measured can be read after that
	require.NoError(t, err)
	assert.Len(t, list, pages*each)
	assert.Less(t, most-before, uint64(pages*each*size/2))
}
