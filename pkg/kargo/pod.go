package kargo

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// This file applies factory.jobs to the pods. Every object that it references is optional: the pod starts without a missing
// one, and the command reports what it could not do.

// caPath is the folder in the pods that holds the certificates of private CAs.
const caPath = "/var/run/imagefactory/ca"

// certDirs is the value of SSL_CERT_DIR. Go still reads the system's bundle, so the image's own certificates stay trusted.
const certDirs = "/etc/ssl/certs:" + caPath

// directHosts are the hosts that are always reached without the proxy: the pod itself and the cluster. Kubernetes expands the
// address of the API server.
const directHosts = "localhost,127.0.0.1,$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local"

// environment returns the environment variables of a pod.
func environment(f *config.Factory, escape func(string) string) []EnvVar {
	jobs, variables := &f.Jobs, f.JobEnv()
	out := []EnvVar{{Name: "HOME", Value: "/tmp"}}
	if jobs.CABundle != nil {
		out = append(out, EnvVar{Name: "SSL_CERT_DIR", Value: certDirs})
	}
	add := func(name string, v *config.EnvValue) {
		if v.Object != nil {
			out = append(out, EnvVar{Name: name, ValueFrom: valueFrom(v.Object)})
			return
		}
		out = append(out, EnvVar{Name: name, Value: escape(argument(v.Value))})
	}
	both := func(name string, v *config.EnvValue) { // programs differ in which spelling they read
		if v != nil {
			add(name, v)
			add(strings.ToLower(name), v)
		}
	}
	proxy := &jobs.Proxy
	both("HTTP_PROXY", proxy.HTTP)
	both("HTTPS_PROXY", proxy.HTTPS)
	if proxy.HTTP != nil || proxy.HTTPS != nil || len(proxy.NoProxy) > 0 {
		direct := strings.Join(append([]string{directHosts}, proxy.NoProxy...), ",")
		out = append(out, EnvVar{Name: "NO_PROXY", Value: direct}, EnvVar{Name: "no_proxy", Value: direct})
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		add(name, variables[name])
	}
	return out
}

func valueFrom(o *config.ObjectKey) *ValueFrom {
	if o.Secret != "" {
		return &ValueFrom{Secret: &KeyRef{Key: o.Key, Name: o.Secret, Optional: true}}
	}
	return &ValueFrom{ConfigMap: &KeyRef{Key: o.Key, Name: o.ConfigMap, Optional: true}}
}

func envFrom(jobs *config.Jobs) []EnvFrom {
	var out []EnvFrom
	for _, s := range jobs.EnvFrom {
		if s.Secret != "" {
			out = append(out, EnvFrom{Secret: &ObjectRef{s.Secret, true}})
		} else {
			out = append(out, EnvFrom{ConfigMap: &ObjectRef{s.ConfigMap, true}})
		}
	}
	return out
}

// authorities returns the source of the volume with the certificates of private CAs.
func authorities(jobs *config.Jobs) []Projection {
	ca := jobs.CABundle
	if ca == nil {
		return nil
	}
	p := &KeyProjection{Name: ca.Secret + ca.ConfigMap, Items: []KeyToPath{{ca.Key, config.DefaultCAKey}}, Optional: true}
	if ca.Secret != "" {
		return []Projection{{Secret: p}}
	}
	return []Projection{{ConfigMap: p}}
}

// placed sets a pod's pull secrets, node selector, affinity, priority class and tolerations.
func placed(jobs *config.Jobs, pod *PodSpec) {
	for _, name := range jobs.ImagePullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, ObjectName{name})
	}
	pod.NodeSelector, pod.Affinity, pod.PriorityClassName = jobs.NodeSelector, jobs.Affinity, jobs.PriorityClassName
	for i := range jobs.Tolerations {
		t := &jobs.Tolerations[i]
		pod.Tolerations = append(pod.Tolerations, Toleration{Effect: t.Effect, Key: t.Key, Operator: t.Operator, TolerationSeconds: t.Seconds, Value: t.Value})
	}
}

// escaped returns a copy of texts with every value escaped.
func escaped(texts map[string]string, escape func(string) string) map[string]string {
	out := make(map[string]string, len(texts))
	for k, v := range texts {
		out[k] = escape(v)
	}
	return out
}
