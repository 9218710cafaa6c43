package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

func loadJobs(jobs string) (*config.Config, error) {
	return config.Load(strings.NewReader("images: []\nfactory:\n  jobs:\n    "+jobs+"\n"), "images.yaml")
}

// nodesWith is an affinity with one requirement of nodes.
func nodesWith(requirement string) string {
	return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [" + requirement + "]}]}}}"
}

// TestJobsAreChecked has one mistake at a time, and its place.
func TestJobsAreChecked(t *testing.T) {
	for jobs, want := range map[string]string{
		"prxy: {}":                                    `images.yaml:4:5: unknown key "prxy" in factory.jobs (did you mean "proxy"?)`,
		"env: {2x: a}":                                `4:11: factory.jobs.env: invalid variable name "2x"`,
		"env: {HOME: /root}":                          "4:11: factory.jobs.env.HOME: reserved: the Jobs set it",
		"env: {IMAGEFACTORY_CREDENTIALS: /tmp}":       "4:11: factory.jobs.env.IMAGEFACTORY_CREDENTIALS: reserved",
		"env: {GODEBUG: 'netdns=go,http2debug=2'}":    "4:11: factory.jobs.env.GODEBUG: http2debug would write every token",
		"env: {A: }":                                  "4:11: factory.jobs.env.A: no value",
		"env: {A: [x]}":                               "4:14: factory.jobs.env.A: want a plain value, not a list",
		"env: {A: {secret: s}}":                       "4:14: factory.jobs.env.A: key is missing",
		"env: {A: {key: s}}":                          "4:14: factory.jobs.env.A: neither secret nor configMap is set",
		"env: {A: {secret: s, configMap: c, key: k}}": "4:14: factory.jobs.env.A: both secret and configMap are set",
		"env: {A: {secret: S, key: k}}":               `4:14: factory.jobs.env.A: "S"`,
		"env: {A: {secret: s, key: a/b}}":             `4:31: factory.jobs.env.A.key: "a/b"`,
		"env: {A: \"a\\0\"}":                          "4:14: factory.jobs.env.A: contains control characters",
		"env: {HTTPS_PROXY: 'http://p:1'}\n    proxy: {http: 'http://p:1'}": "4:11: factory.jobs.env.HTTPS_PROXY: already set by factory.jobs.proxy",
		"env: {no_proxy: a}\n    proxy: {noProxy: [b]}":                     "4:11: factory.jobs.env.no_proxy: already set by factory.jobs.proxy",
		"env: {SSL_CERT_FILE: /x}\n    caBundle: {configMap: ca}":           "4:11: factory.jobs.env.SSL_CERT_FILE: already set by factory.jobs.caBundle",
		"envFrom: [{}]": "4:15: factory.jobs.envFrom[0]: neither secret nor configMap is set",
		"envFrom: [{secret: a}, {secret: b, configMap: c}]": "4:28: factory.jobs.envFrom[1]: both secret and configMap are set",
		"proxy: {https: 'proxy.example.com:3128'}":          `4:20: factory.jobs.proxy.https: invalid proxy "proxy.example.com:3128"`,
		"proxy: {https: 'ftp://proxy.example.com'}":         "4:20: factory.jobs.proxy.https: invalid proxy",
		"proxy: {https: 'http://proxy.example.com/a'}":      "4:20: factory.jobs.proxy.https: invalid proxy",
		"proxy: {https: 'http://p.example/{{args.tag}}'}":   "4:20: factory.jobs.proxy.https: invalid proxy",
		"proxy: {http: {secret: s}}":                        "4:19: factory.jobs.proxy.http: key is missing",
		"proxy: {noProxy: 'a,b'}":                           "4:22: factory.jobs.proxy.noProxy: want a list",
		"proxy: {noProxy: [a, 'b,c']}":                      `4:26: factory.jobs.proxy.noProxy[1]: invalid host "b,c"`,
		"proxy: {noProxy: ['$(X)']}":                        "4:23: factory.jobs.proxy.noProxy[0]: invalid host",
		"caBundle: {key: ca.crt}":                           "4:15: factory.jobs.caBundle: neither secret nor configMap is set",
		"caBundle: {configMap: ca, key: ../x}":              `4:36: factory.jobs.caBundle.key: "../x"`,
		"imagePullSecrets: [a, A]":                          `4:27: factory.jobs.imagePullSecrets[1]: "A"`,
		"imagePullSecrets: [a, a]":                          `4:27: factory.jobs.imagePullSecrets[1]: duplicate "a"`,
		"nodeSelector: {a b: c}":                            `4:20: factory.jobs.nodeSelector: "a b"`,
		"nodeSelector: {a: '{{b}}'}":                        `4:23: factory.jobs.nodeSelector.a: "{{b}}"`,
		"podLabels: {imagefactory/image: x}":                `4:17: factory.jobs.podLabels: "imagefactory/image" is reserved`,
		"podLabels: {app.kubernetes.io/managed-by: x}":      "is reserved",
		"podLabels: {a: " + strings.Repeat("b", 64) + "}":   "4:20: factory.jobs.podLabels.a: ",
		"podAnnotations: {container.apparmor.security.beta.kubernetes.io/imagefactory: unconfined}": "would weaken the pod security",
		"serviceAccountAnnotations: {argocd.argoproj.io/sync-wave: '5'}":                            "is reserved",
		"tolerations: [{value: x}]":                                         "4:19: factory.jobs.tolerations[0].key: missing (only the operator Exists allows that)",
		"tolerations: [{key: a, operator: Exist}]":                          `4:38: factory.jobs.tolerations[0].operator: unknown operator "Exist": did you mean "Exists"?`,
		"tolerations: [{key: a, operator: Exists, value: b}]":               "4:53: factory.jobs.tolerations[0].value: not allowed with the operator Exists",
		"tolerations: [{key: a, effect: noschedule}]":                       `did you mean "NoSchedule"?`,
		"tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 5}]": "only for the effect NoExecute",
		"resources: {limits: {memory: lots}}":                               `4:34: factory.jobs.resources.limits.memory: invalid amount "lots"`,
		"resources: {limits: {memory: -1Gi}}":                               "invalid amount",
		"resources: {limits: {storage: 1Gi}}":                               `unknown key "storage"`,
		"resources: {limits: {memory: 64Mi}}":                               "4:34: factory.jobs.resources: requests.memory 128Mi (the default) is more than limits.memory 64Mi",
		"resources: {requests: {memory: 1Gi}}":                              "4:36: factory.jobs.resources: requests.memory 1Gi is more than limits.memory 512Mi (the default)",
		"resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}":             "requests.cpu 2 is more than limits.cpu 1500m",
		"priorityClassName: A_b":                                            `4:24: factory.jobs.priorityClassName: "A_b"`,
		"serviceAccountLabels: {argocd.argoproj.io/instance: x}":            `4:28: factory.jobs.serviceAccountLabels: "argocd.argoproj.io/instance" is reserved`,
		"affinity: {hostAffinity: {}}":                                      `4:16: unknown key "hostAffinity" in factory.jobs.affinity`,
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}":                                             "no nodeSelectorTerms, so no node matches",
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}":                                           "nodeSelectorTerms[0]: no matchExpressions, so no node matches",
		"affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: in}]}]}}}": `4:139: factory.jobs.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: unknown operator "in" (did you mean "In"?)`,
		nodesWith("{key: a, operator: In}"):                           "4:120: factory.jobs.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: for 'in', 'notin' operators",
		nodesWith("{key: a, operator: Exists, values: [b]}"):          "4:155: ",
		nodesWith("{key: a, operator: Gt, values: [many]}"):           "values: for 'Gt', 'Lt' operators, the value must be an integer",
		nodesWith("{key: a, operator: In, values: ['{{args.tag}}']}"): "values: a valid label must be",
		nodesWith("{key: 'a b', operator: Exists}"):                   "matchExpressions[0].key: ",
		"affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}":                                                 "4:90: factory.jobs.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: 0: want a number from 1 to 100",
		"affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {a: b}}}]}}":                                                                                      "topologyKey is missing",
		"affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}}":                                                                                                        "labelSelector is missing, so no pod matches",
		"affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 7, podAffinityTerm: {topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}}]}}": `unknown operator "Gt"`,
		"affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, namespaces: [A], labelSelector: {}}]}}":                                                                        `namespaces[0]: "A"`,
		"env: {A: '" + strings.Repeat("a", 65<<10) + "'}": "bytes of text; the Jobs can hold at most 65536",
	} {
		_, err := loadJobs(jobs)
		var list finding.List
		require.ErrorAs(t, err, &list, jobs)
		assert.Len(t, list, 1, jobs)
		assert.Contains(t, list[0].String(), want, jobs)
	}
}

// TestJobsHoldNoSecret: what looks like one is refused, and not shown.
func TestJobsHoldNoSecret(t *testing.T) {
	const canary = "canary0123456789canary"
	for _, jobs := range []string{
		"env: {GITHUB_TOKEN: " + canary + "}", "env: {password: " + canary + "}", "env: {IMAGEFACTORY_API_TOKEN_GITHUB_COM: " + canary + "}",
		"env: {AWS_SECRET_ACCESS_KEY: " + canary + "}", "env: {X: ghp_" + canary + "}", "env: {X: github_pat_" + canary + "}", "env: {X: glpat-" + canary + "}",
		"env: {X: 'http://user:" + canary + "@proxy.example.com'}", "env: {X: 'https://e.example/?token=" + canary + "'}",
		"env: {X: \"-----BEGIN RSA PRIVATE KEY-----\\n" + canary + "\"}", "env: {DOCKER_AUTH_CONFIG: '" + canary + "'}", `env: {X: '{"auths": {"a": {"auth": "` + canary + `"}}}'}`,
		"proxy: {https: 'http://user:" + canary + "@proxy.example.com:3128'}", "proxy: {http: 'http://" + canary + "@proxy.example.com'}", "proxy: {http: ':" + canary + "@x'}",
		"proxy: {noProxy: ['u:" + canary + "@x']}", "podAnnotations: {a: ghp_" + canary + "}", "resources: {limits: {cpu: 'a:" + canary + "@x'}}",
	} {
		_, err := loadJobs(jobs)
		require.Error(t, err, jobs)
		assert.NotContains(t, err.Error(), canary)
	}
	for _, jobs := range []string{
		"env: {AWS_WEB_IDENTITY_TOKEN_FILE: /var/run/x/token}", "env: {AWS_ACCESS_KEY_ID: x}", "env: {KEYCLOAK: x}", "env: {TOKENIZER: x}", "env: {GITHUB_TOKEN: ''}",
		"env: {GITHUB_TOKEN: {secret: a, key: b}}", "env: {X: 'git@host:path'}", "env: {X: 'https://host.example/a'}", "podAnnotations: {token: x}",
	} {
		_, err := loadJobs(jobs)
		assert.NoError(t, err, jobs)
	}
}

// TestJobsAsWritten reads every key, also behind aliases, and writes amounts as an API server does.
func TestJobsAsWritten(t *testing.T) {
	cfg, err := loadJobs(`
      env: {PLAIN: 1.10, EMPTY: '', FLAG: true, S: {secret: s, key: k}, C: &c {configMap: c, key: k}, D: *c}
      envFrom: [{secret: s}, {configMap: c}]
      proxy: {http: 'http://p.example:3128/', https: {secret: proxy, key: url}, noProxy: [.corp.example, 10.0.0.0/8, '[::1]']}
      caBundle: {configMap: ca}
      resources: {requests: {cpu: 1000m, memory: 0.5Gi}, limits: {memory: 1024Mi, ephemeral-storage: 4096Mi}}
      tolerations: [{operator: Exists, effect: NoExecute, tolerationSeconds: 30}]`)
	require.NoError(t, err)
	j := cfg.Factory.Jobs
	object := func(secret, configMap string) *config.EnvValue {
		return &config.EnvValue{Object: &config.ObjectKey{Secret: secret, ConfigMap: configMap, Key: "k"}}
	}
	assert.Equal(t, map[string]*config.EnvValue{
		"PLAIN": {Value: "1.10"}, "EMPTY": {}, "FLAG": {Value: "true"}, "S": object("s", ""), "C": object("", "c"), "D": object("", "c"),
	}, j.Env)
	assert.Equal(t, &config.ObjectKey{ConfigMap: "ca", Key: "ca.crt"}, j.CABundle)
	assert.Equal(t, config.Resources{
		Requests: config.Quantities{CPU: "1", Memory: "512Mi"}, Limits: config.Quantities{Memory: "1Gi", Storage: "4Gi"},
	}, j.Resources)

	cfg, err = config.Load(strings.NewReader("[]"), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, config.Resources{Requests: config.Quantities{CPU: "50m", Memory: "128Mi"}, Limits: config.Quantities{Memory: "512Mi"}}, cfg.Factory.Jobs.Resources)

	_, err = config.Load(strings.NewReader("factory:\n  jobs:\n    env: &e {A: {secret: S, key: k}}\n    podLabels: {}\n  credentials: {}\nimages: []\n"), "images.yaml")
	require.ErrorContains(t, err, `factory.jobs.env.A: "S"`)
}
