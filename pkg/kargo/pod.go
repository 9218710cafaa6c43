package kargo

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// What factory.jobs adds to the pods. Objects that it names may be missing: a pod then starts without them, and what needs
// them is reported.

// caPath is the folder in the pods that holds the certificates of private authorities.
const caPath = "/var/run/imagefactory/ca"

// certDirs are the folders that certificates are read from. Go reads the system's bundle all the same, so what the image
// trusts stays trusted.
const certDirs = "/etc/ssl/certs:" + caPath

// directHosts are never asked through a proxy: the pod itself, and what is in the cluster. Kubernetes fills in the address
// of the API server.
const directHosts = "localhost,127.0.0.1,$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local"

// environment returns the environment variables of a pod.
func environment(jobs *config.Jobs, escape func(string) string) []EnvVar {
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
	both := func(name string, v *config.EnvValue) { // programs differ in which they read
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
	for _, name := range slices.Sorted(maps.Keys(jobs.Env)) {
		add(name, jobs.Env[name])
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

// authorities places the certificates of private authorities.
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

// placed sets where a pod runs, and its pull secrets.
func placed(jobs *config.Jobs, pod *PodSpec) {
	for _, name := range jobs.ImagePullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, ObjectName{name})
	}
	pod.NodeSelector, pod.PriorityClassName = jobs.NodeSelector, jobs.PriorityClassName
	for i := range jobs.Tolerations {
		t := &jobs.Tolerations[i]
		pod.Tolerations = append(pod.Tolerations, Toleration{Effect: t.Effect, Key: t.Key, Operator: t.Operator, TolerationSeconds: t.Seconds, Value: t.Value})
	}
}

// escaped returns texts that nothing takes for a template.
func escaped(texts map[string]string, escape func(string) string) map[string]string {
	out := make(map[string]string, len(texts))
	for k, v := range texts {
		out[k] = escape(v)
	}
	return out
}
