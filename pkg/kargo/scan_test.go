package kargo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScanJob(t *testing.T) {
	none := fleet{Images: "[]"}.objects(t)
	for _, o := range none {
		assert.NotEqual(t, "scan", o.Name(), "only if factory.scan names a scanner")
	}
	o := fleet{Images: `
factory:
  scan: {with: grype, image: registry.example.com/tools/grype:1, schedule: "CRON_TZ=Europe/Zurich 0 4 * * *"}
  jobs: {imagePullSecrets: [pull], proxy: {https: "http://proxy.example.com:3128"}}
images: []
`}.objects(t)
	job := find[*CronJob](t, o, scanJobName)
	assert.Equal(t, "0 4 * * *", job.Spec.Schedule)
	assert.Equal(t, "Europe/Zurich", job.Spec.TimeZone)
	assert.Equal(t, "Forbid", job.Spec.ConcurrencyPolicy)
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	assert.False(t, pod.AutomountToken, "it does not talk to the cluster")
	assert.Equal(t, []ObjectName{{"pull"}}, pod.ImagePullSecrets)
	require.Len(t, pod.InitContainers, 1)
	require.Len(t, pod.Containers, 1)
	install, main := pod.InitContainers[0], pod.Containers[0]
	assert.Equal(t, []string{"version", "--install=/imagefactory"}, install.Args)
	assert.Equal(t, "registry.example.com/tools/grype:1", main.Image)
	assert.Equal(t, []string{"/imagefactory/imagefactory"}, main.Command)
	assert.Equal(t, []string{"scan", "--with=grype", "--program=/grype"}, main.Args[:3])
	assert.Equal(t, "--push", main.Args[len(main.Args)-1])
	assert.Contains(t, main.Env, EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"})
	assert.Equal(t, "2Gi", main.Resources.Limits.Memory)
	for _, c := range []Container{install, main} { // as the restricted pod security standard wants
		assert.False(t, c.SecurityContext.AllowPrivilegeEscalation)
		assert.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop)
		assert.True(t, c.SecurityContext.ReadOnlyRootFilesystem)
	}
	assert.True(t, pod.SecurityContext.RunAsNonRoot)
	volumes := map[string]*EmptyDir{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v.EmptyDir
	}
	assert.Equal(t, "10Gi", volumes["tmp"].SizeLimit)
	assert.NotNil(t, volumes["program"])
}
