package cli_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/kubetest"
)

// TestDoctorJob runs doctor with the arguments of its Job: images.yaml and state are in the repository, and the account may
// not read Secrets.
func TestDoctorJob(t *testing.T) {
	const images = "factory: {credentials: {example.com: {git: {secret: s, key: k}}}}\nimages: []\n"
	git := gittest.NewServer(t, gittest.Options{})
	url := git.Init("fleet", map[string]string{"ops/images.yaml": images})
	kube := kubetest.New(t)
	t.Setenv("KUBECONFIG", kube.Kubeconfig())
	for _, path := range []string{"/apis/kargo.akuity.io/v1alpha1", "/apis/argoproj.io/v1alpha1"} {
		kube.Answer(path, map[string]any{})
	}
	for _, path := range []string{"/apis/apps/v1/deployments", "/apis/argoproj.io/v1alpha1/applications", "/api/v1/namespaces/image-factory-kargo", "/api/v1/namespaces/image-factory-kargo/secrets/s", "/apis/batch/v1/namespaces/image-factory-kargo/cronjobs/promote"} {
		kube.Answer(path, nil)
	}
	cfg, err := config.Load(strings.NewReader(images), "images.yaml")
	require.NoError(t, err)
	job := kargo.DoctorJob(cfg, kargo.Options{StateURL: url, StatePath: "ops/state", ConfigPath: "ops/images.yaml"}).(*kargo.Job)

	got := run(t, t.TempDir(), job.Spec.Template.Spec.Containers[0].Args...)
	assert.Equal(t, 1, got.code)
	assert.Regexp(t, `(?m)^images.yaml and state +ok +`, got.out)
	assert.Regexp(t, `(?m)^state repository +ok +branch main of `, got.out)
	assert.Regexp(t, `(?m)^Kargo +error +CRDs missing: freights`, got.out)
	assert.Regexp(t, `(?m)^Secrets +not checked +no permission to read Secrets$`, got.out)
	assert.Regexp(t, `(?m)^permissions +ok `, got.out)
	assert.NotContains(t, got.out+got.err, kubetest.Token)

	git.Commit("fleet", map[string]string{"ops/images.yaml": "images: 5\n"}, "Break it")
	got = run(t, t.TempDir(), job.Spec.Template.Spec.Containers[0].Args...)
	assert.Equal(t, 1, got.code)
	assert.Regexp(t, `(?m)^images.yaml and state +error +`, got.out)
}
