package kargo

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/crd"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

const everyJobKey = `
factory:
  scan: {with: trivy}
  metrics: {pushgateway: {secret: push, key: url}, otlp: {endpoint: "http://collector.example.com:4318"}}
  jobs:
    env: {PLAIN: 1.10, DOLLAR: $(HOME), TOKEN: {secret: s, key: k}, NOTE: {configMap: c, key: k}}
    envFrom: [{secret: more}, {configMap: even-more}]
    proxy: {http: {secret: proxy, key: url}, https: http://proxy.example.com:3128, noProxy: [.corp.example, 10.0.0.0/8]}
    caBundle: {configMap: corp-ca, key: bundle.pem}
    imagePullSecrets: [registry-ghcr]
    nodeSelector: {kubernetes.io/arch: amd64}
    tolerations: [{key: dedicated, value: ci, effect: NoSchedule}, {operator: Exists, effect: NoExecute, tolerationSeconds: 30}]
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}]}]}
        preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, preference: {matchExpressions: [{key: spot, operator: Exists}, {key: cores, operator: Gt, values: ["3"]}]}}]
      podAffinity:
        preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {app: mirror}}, namespaces: [mirrors]}}]
      podAntiAffinity:
        requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, namespaceSelector: {}, labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a]}]}}]
    resources: {requests: {cpu: 1000m}, limits: {memory: 1024Mi, ephemeral-storage: 4Gi}}
    serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/x"}
    serviceAccountLabels: {azure.workload.identity/use: "true"}
    podLabels: {azure.workload.identity/use: "true"}
    podAnnotations: {note: "{{x}} ${{ y }} $(Z)"}
    priorityClassName: low
images: []
`

const wantPod = `
metadata:
  annotations: {note: "{{x}} ${{ y }} $(Z)"}
  labels: {app.kubernetes.io/managed-by: imagefactory, azure.workload.identity/use: "true"}
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}]}]}
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, preference: {matchExpressions: [{key: spot, operator: Exists}, {key: cores, operator: Gt, values: ["3"]}]}}]
    podAffinity:
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {app: mirror}}, namespaces: [mirrors]}}]
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, namespaceSelector: {}, labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a]}]}}]
  automountServiceAccountToken: true
  imagePullSecrets: [{name: registry-ghcr}]
  nodeSelector: {kubernetes.io/arch: amd64}
  priorityClassName: low
  restartPolicy: Never
  serviceAccountName: image-factory
  tolerations:
  - {key: dedicated, value: ci, effect: NoSchedule}
  - {operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  securityContext: {fsGroup: 65532, runAsGroup: 65532, runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  volumes:
  - {name: tmp, emptyDir: {sizeLimit: 2Gi}}
  - {name: ca, projected: {defaultMode: 292, sources: [{configMap: {name: corp-ca, items: [{key: bundle.pem, path: ca.crt}], optional: true}}]}}
  containers:
  - name: imagefactory
    image: ghcr.io/imagefactory/imagefactory:latest
    env:
    - {name: HOME, value: /tmp}
    - {name: SSL_CERT_DIR, value: "/etc/ssl/certs:/var/run/imagefactory/ca"}
    - {name: HTTP_PROXY, valueFrom: {secretKeyRef: {name: proxy, key: url, optional: true}}}
    - {name: http_proxy, valueFrom: {secretKeyRef: {name: proxy, key: url, optional: true}}}
    - {name: HTTPS_PROXY, value: "http://proxy.example.com:3128"}
    - {name: https_proxy, value: "http://proxy.example.com:3128"}
    - {name: NO_PROXY, value: "localhost,127.0.0.1,$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,.corp.example,10.0.0.0/8"}
    - {name: no_proxy, value: "localhost,127.0.0.1,$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,.corp.example,10.0.0.0/8"}
    - {name: DOLLAR, value: "$$(HOME)"}
    - {name: IMAGEFACTORY_METRICS_PUSH, valueFrom: {secretKeyRef: {name: push, key: url, optional: true}}}
    - {name: NOTE, valueFrom: {configMapKeyRef: {name: c, key: k, optional: true}}}
    - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://collector.example.com:4318"}
    - {name: PLAIN, value: "1.10"}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
    envFrom:
    - {secretRef: {name: more, optional: true}}
    - {configMapRef: {name: even-more, optional: true}}
    resources:
      limits: {ephemeral-storage: 4Gi, memory: 1Gi}
      requests: {cpu: "1", memory: 128Mi}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
    volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: ca, mountPath: /var/run/imagefactory/ca, readOnly: true}
`

// TestJobsKeys holds what factory.jobs adds to the pods of both Jobs, and to that of doctor.
func TestJobsKeys(t *testing.T) {
	objects := fleet{Images: everyJobKey}.objects(t)
	analysis := find[*AnalysisTemplate](t, objects, AnalysisTemplateName)
	doctor, ok := DoctorJob(load(t, everyJobKey), testOptions()).(*Job)
	require.True(t, ok)
	want, err := yaml.YAMLToJSON([]byte(wantPod))
	require.NoError(t, err)
	for name, pod := range map[string]PodTemplate{
		"analyze": analysis.Spec.Metrics[0].Provider.Job.Spec.Template,
		"promote": find[*CronJob](t, objects, PromoteName).Spec.JobTemplate.Spec.Template,
		"doctor":  doctor.Spec.Template,
	} {
		pod.Spec.Containers[0].Args = nil
		data, err := json.Marshal(pod)
		require.NoError(t, err)
		text := strings.Replace(string(data), `"args":null,`, "", 1)
		if name == "analyze" { // Argo Rollouts fills arguments in
			text = strings.ReplaceAll(text, bracesRef, "{{")
		}
		assert.JSONEq(t, string(want), text, name)
	}
	promote, scan := find[*CronJob](t, objects, PromoteName).Spec.JobTemplate.Spec.Template, find[*CronJob](t, objects, scanJobName).Spec.JobTemplate.Spec.Template
	assert.Equal(t, promote.Metadata, scan.Metadata)
	for _, pod := range []*PodSpec{&promote.Spec, &scan.Spec} { // of these, a scan has its own
		pod.Containers[0].Args, pod.Containers[0].Command, pod.Containers[0].Image, pod.Containers[0].Resources = nil, nil, "", Resources{}
		pod.Containers[0].VolumeMounts, pod.Volumes, pod.InitContainers, pod.AutomountToken = nil, nil, nil, false
	}
	assert.Equal(t, promote.Spec, scan.Spec)
	assert.Contains(t, analysis.Spec.Args, Arg{Name: bracesArg, Value: "{{"})
	account := find[*ServiceAccount](t, objects, ServiceAccountName).Metadata
	assert.Equal(t, Labels{managedByLabel: managedBy, "azure.workload.identity/use": "true"}, account.Labels)
	assert.Equal(t, Annotations{syncWave: waveShared, "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}, account.Annotations)
}

// TestJobsKeysFitTheAPI validates them as an API server and Argo Rollouts do.
func TestJobsKeysFitTheAPI(t *testing.T) {
	dir := os.Getenv("KARGO_SCHEMAS")
	if dir == "" {
		t.Skip("KARGO_SCHEMAS is not set: it names a folder with Kargo's crds, rollouts-crds and step-schemas")
	}
	set, err := crd.Load(dir + "/rollouts-crds")
	require.NoError(t, err)
	checked := 0
	for _, o := range append(fleet{Images: everyJobKey}.objects(t), DoctorJob(load(t, everyJobKey), testOptions())) {
		written, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		var obj map[string]any
		require.NoError(t, yaml.UnmarshalStrict(written, &obj))
		problems, known := set.Validate(obj)
		assert.Empty(t, problems, "%s/%s", o.Kind(), o.Name())
		if known {
			checked++
		}
	}
	assert.Equal(t, 7, checked, "ServiceAccount, Role, RoleBinding, AnalysisTemplate, two CronJobs, Job")
}

// TestHostileEnvironment: nothing takes a value for a template, and no container sees anything but the value.
func TestHostileEnvironment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := load(t, "[]")
		values := rapid.MapOf(rapid.StringMatching(`[A-Z]{1,3}`), hostile()).Draw(t, "env")
		note := hostile().Draw(t, "annotation")
		cfg.Factory.Jobs.Env, cfg.Factory.Jobs.PodAnnotations = map[string]*config.EnvValue{}, map[string]string{"note": note}
		for k, v := range values {
			cfg.Factory.Jobs.Env[k] = &config.EnvValue{Value: v}
		}
		st := fleet{}.state()
		objects, _, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
		require.NoError(t, err)
		requireYAML(t, objects)

		template := find[*AnalysisTemplate](t, objects, AnalysisTemplateName)
		args := map[string]string{subjectArg: "--image=a", tagArg: "1.2.3", digestArg: "sha256:1"}
		for _, a := range template.Spec.Args {
			if a.Value != "" {
				args[a.Name] = a.Value
			}
		}
		data, err := json.Marshal(template.Spec.Metrics[0])
		require.NoError(t, err)
		var metric Metric
		require.NoError(t, json.Unmarshal(substitute(t, data, args), &metric))
		for _, job := range []JobTemplate{metric.Provider.Job, find[*CronJob](t, objects, PromoteName).Spec.JobTemplate} {
			pod := job.Spec.Template
			require.Equal(t, note, pod.Metadata.Annotations["note"])
			seen := map[string]string{}
			for _, e := range pod.Spec.Containers[0].Env[1:] {
				seen[e.Name] = expand(e.Value)
			}
			require.Equal(t, values, seen)
		}
	})
}
