package kargo

import (
	"fmt"
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

// TestAnalysisScans checks the init container of the analysis.
func TestAnalysisScans(t *testing.T) {
	const scans = `
factory:
  scan: {with: trivy, image: registry.example.com/trivy:1, program: "/a{{b}}$(c)", analysis: %v, resources: {limits: {ephemeral-storage: 4Gi}}}
  jobs: {imagePullSecrets: [pull], env: {TRIVY_DB_REPOSITORY: registry.example.com/db}}
  credentials: {registry.example.com: {registry: {secret: registry, key: config.json}}}
images: []
`
	template := func(on bool) *AnalysisTemplate {
		return find[*AnalysisTemplate](t, fleet{Images: fmt.Sprintf(scans, on)}.objects(t), AnalysisTemplateName)
	}
	off := template(false).Spec.Metrics[0].Provider.Job.Spec
	assert.Empty(t, off.Template.Spec.InitContainers)
	assert.Equal(t, "Never", off.Template.Spec.RestartPolicy)
	assert.NotContains(t, off.Template.Spec.Containers[0].Args, "--report=/reports")

	job := template(true).Spec.Metrics[0].Provider.Job
	assert.Greater(t, job.Spec.ActiveDeadlineSeconds, off.ActiveDeadlineSeconds)
	pod := job.Spec.Template.Spec
	assert.Equal(t, "OnFailure", pod.RestartPolicy, "a scanner that is killed does not end the pod")
	require.Len(t, pod.InitContainers, 2)
	require.Len(t, pod.Containers, 1)
	install, scan, main := pod.InitContainers[0], pod.InitContainers[1], pod.Containers[0]
	assert.Equal(t, main.Image, install.Image)
	assert.Equal(t, "registry.example.com/trivy:1", scan.Image)
	assert.Equal(t, []string{"/imagefactory/imagefactory"}, scan.Command)
	assert.Equal(t, []string{"scan", "--with=trivy", "--program=/a{{args.braces}}b}}$$(c)"}, scan.Args[:3])
	assert.Equal(t, []string{"{{args.subject}}", "--tag={{args.tag}}", "--digest={{args.digest}}", "--write=/reports"}, scan.Args[len(scan.Args)-4:])
	for _, never := range []string{"--push", "--project=image-factory-kargo"} {
		assert.NotContains(t, scan.Args, never)
	}
	assert.Contains(t, scan.Env, EnvVar{Name: "TRIVY_DB_REPOSITORY", Value: "registry.example.com/db"})
	assert.Equal(t, "4Gi", scan.Resources.Limits.Storage)
	assert.Equal(t, "--report=/reports", main.Args[len(main.Args)-1])
	for _, c := range []Container{install, scan, main} { // as the restricted pod security standard wants
		assert.False(t, c.SecurityContext.AllowPrivilegeEscalation)
		assert.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop)
		assert.True(t, c.SecurityContext.ReadOnlyRootFilesystem)
	}
	mounts := func(c Container) map[string]string {
		out := map[string]string{}
		for _, m := range c.VolumeMounts {
			out[m.MountPath] = m.Name
			if m.ReadOnly {
				out[m.MountPath] += ":ro"
			}
		}
		return out
	}
	assert.Equal(t, map[string]string{
		"/tmp": "scanner", "/reports": "reports", CredentialsPath: "credentials:ro", "/imagefactory": "program:ro",
		"/var/run/secrets/kubernetes.io/serviceaccount": "no-token:ro",
	}, mounts(scan), "it shares only the reports with the analysis, and has no token")
	assert.Equal(t, map[string]string{"/tmp": "tmp", "/reports": "reports:ro", CredentialsPath: "credentials:ro"}, mounts(main))
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		assert.False(t, volumes[v.Name], v.Name)
		volumes[v.Name] = true
	}
	for _, c := range []Container{install, scan, main} {
		for _, m := range c.VolumeMounts {
			assert.True(t, volumes[m.Name], m.Name)
		}
	}
}
