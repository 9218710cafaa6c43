package cli_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/kubetest"
)

const warehousesPath = "/apis/kargo.akuity.io/v1alpha1/namespaces/image-factory-kargo/warehouses"

// liveFleet writes a fleet of one image and returns its folder, and a cluster that KUBECONFIG names.
func liveFleet(t *testing.T) (string, *kubetest.Server) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"images.yaml": "- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n"})
	kube := kubetest.New(t)
	kube.Answer(warehousesPath, map[string]any{"kind": "WarehouseList", "items": []any{}})
	t.Setenv("KUBECONFIG", kube.Kubeconfig())
	return dir, kube
}

func TestStatusLive(t *testing.T) {
	dir, kube := liveFleet(t)
	got := run(t, dir, "status", "--live")
	assert.Zero(t, got.code, got.err)
	assert.Contains(t, got.out, "project image-factory-kargo: nothing needs attention in the cluster")

	type object = map[string]any
	kube.Answer(warehousesPath, object{"kind": "WarehouseList", "items": []any{
		object{
			"metadata": object{"name": "image-web", "labels": object{"app.kubernetes.io/managed-by": "imagefactory"}},
			"status":   object{"conditions": []any{object{"type": "Healthy", "status": "False", "message": "401 \x1b[31mUnauthorized"}}},
		},
		object{"metadata": object{"name": "base-node-22", "labels": object{"app.kubernetes.io/managed-by": "imagefactory"}}, "status": object{"lastFreightID": "f1"}},
		object{"metadata": object{"name": "another"}},
	}})
	kube.Add("stages", object{
		"metadata": object{"name": "observe-base-node-22", "labels": object{"imagefactory/role": "observe"}},
		"status": object{"freightHistory": []any{object{"verificationHistory": []any{
			object{"id": "v-2", "phase": "Failed", "message": "job failed", "finishTime": "2026-02-28T12:00:00Z"}, object{"id": "v-1", "phase": "Successful"},
		}}}},
	})
	kube.Hold("observe-image-web", "image-web", "email:jo@example.com")
	kube.AddStage("web")
	freight := kube.AddFreight("image-web", "sha256:1")
	kube.Finish(kube.AddPromotion("web", freight, "jo"), "Failed", "7", "")
	kube.Finish(kube.AddPromotion("web", freight, "jo"), "Errored", "8", "")
	kube.AddPromotion("other", freight, "jo") // not started
	got = run(t, dir, "status", "--live")
	assert.Zero(t, got.code, got.err)
	assert.Empty(t, got.err)
	for _, want := range []string{
		"Warehouse/image-web", "no Freight: 401", "doctor",
		"Stage/observe-base-node-22", "24h ago", "verification failed: job failed (kubectl annotate stage observe-base-node-22 -n image-factory-kargo kargo.akuity.io/reverify=v-2 --overwrite)",
		"Stage/observe-image-web", "auto-promotion is on hold: email:jo@example.com promoted other Freight by hand (kargo promote --project image-factory-kargo --stage observe-image-web --warehouse image-web",
		"errored (`imagefactory describe web`", "waits behind another Promotion of Stage rebuild-other",
	} {
		assert.Contains(t, got.out, want)
	}
	assert.NotContains(t, got.out, "\x1b")
	assert.NotContains(t, got.out, " failed (`imagefactory", "only the last Promotion of a Stage counts")
	assert.NotContains(t, got.out, "Warehouse/base-node-22")
	assert.NotContains(t, got.out, "Warehouse/another")

	web := run(t, dir, "status", "web", "--live", "-o", "json")
	found, err := checkObjects(web.out)
	require.NoError(t, err)
	assert.Equal(t, []string{"StatusList"}, found)
	assert.Contains(t, web.out, `"object": "Warehouse/image-web"`)
	assert.NotContains(t, web.out, "observe-base-node-22", "the image does not use it")
}

// What cannot be read is a warning, the rest is shown, and the exit code is 1.
func TestStatusLiveUnread(t *testing.T) {
	dir, kube := liveFleet(t)
	kube.Answer(warehousesPath, nil)
	kube.Hold("observe-image-web", "image-web", "jo")
	got := run(t, dir, "status", "--live")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "warning: warehouses: no permission to list warehouses in namespace image-factory-kargo (run this with an account that has it)")
	assert.Contains(t, got.out, "auto-promotion is on hold")
	assert.Contains(t, got.out, "never analyzed")

	kube.Answer(warehousesPath, map[string]any{"kind": "Gateway"})
	got = run(t, dir, "status", "--live")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, `the API server answered with "Gateway" instead of a list`)

	kube.Break(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	got = run(t, dir, "status", "--live")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "warning: cluster: reaching the API server")
	assert.NotContains(t, got.err, kubetest.Token)
	assert.Contains(t, got.out, "never analyzed")
	assert.NotContains(t, got.out, "nothing needs attention")

	t.Setenv("KUBECONFIG", dir+"/none")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("HOME", dir)
	got = run(t, dir, "status", "--live")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "warning: cluster: no cluster configured (set KUBECONFIG, or run this in the cluster)")
	assert.Equal(t, 2, run(t, dir, "status", "--live", "--bases").code)
}
