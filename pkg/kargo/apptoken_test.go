package kargo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

const withApps = `
factory:
  credentials:
    github.com: {app: {secret: app}, git: {secret: push, key: p}}
    "ghe.example.com:8443": {app: {secret: other-app}}
    unused.example.com: {app: {secret: unused}}
  scan: {with: trivy}
images:
- {name: a, repository: x/a, source: {provider: github, repo: x/a, workflow: w.yml}}
- {name: b, repository: x/b, source: {provider: github, host: "ghe.example.com:8443", repo: x/b, workflow: w.yml}}
- {name: c, repository: x/c, source: {provider: gitlab, repo: x/c}}
`

// TestAppTokens: one account may change the Secrets with the tokens of Apps, and its pod has the Apps only.
func TestAppTokens(t *testing.T) {
	objects := fleet{Images: withApps}.objects(t)
	var kept []string
	for _, o := range objects {
		if s, ok := o.(*SecretObject); ok {
			kept = append(kept, s.Name())
			assert.Equal(t, Labels{managedByLabel: managedBy, CredTypeLabel: "generic"}, s.Metadata.Labels)
		}
	}
	assert.Equal(t, []string{"ghe.example.com-8443-app-token", "github.com-app-token"}, kept)
	assert.Equal(t, []PolicyRule{{APIGroups: []string{""}, ResourceNames: kept, Resources: []string{"secrets"}, Verbs: []string{"patch"}}},
		find[*AccessRole](t, objects, AppTokenName).Rules)
	assert.Equal(t, []Subject{{Kind: "ServiceAccount", Name: AppTokenName, Namespace: "image-factory-kargo"}}, find[*RoleBinding](t, objects, AppTokenName).Subjects)
	for _, rule := range find[*AccessRole](t, objects, ServiceAccountName).Rules {
		assert.NotContains(t, rule.Resources, "secrets")
	}

	app := func(secret, host string) Projection {
		return Projection{Secret: &KeyProjection{Name: secret, Optional: true, Items: []KeyToPath{
			{"app-id", "api/" + host + "/app-id"}, {"installation-id", "api/" + host + "/installation-id"}, {"private-key", "api/" + host + "/private-key"},
		}}}
	}
	files := func(pod PodSpec) []Projection {
		for _, v := range pod.Volumes {
			if v.Name == "credentials" {
				return v.Projected.Sources
			}
		}
		return nil
	}
	refresh := find[*CronJob](t, objects, AppTokenName).Spec.JobTemplate.Spec.Template.Spec
	assert.Equal(t, AppTokenName, refresh.ServiceAccountName)
	assert.Equal(t, []string{
		"app-token", "--project=image-factory-kargo", "ghe.example.com:8443=ghe.example.com-8443-app-token", "github.com=github.com-app-token",
	}, refresh.Containers[0].Args)
	apps := []Projection{app("other-app", "ghe.example.com:8443"), app("app", "github.com")}
	assert.Equal(t, apps, files(refresh))
	promote := find[*CronJob](t, objects, PromoteName).Spec.JobTemplate.Spec.Template.Spec
	push := Projection{Secret: &KeyProjection{Name: "push", Optional: true, Items: []KeyToPath{{"p", "git/github.com/token"}}}}
	assert.Equal(t, []Projection{apps[0], push, apps[1], app("unused", "unused.example.com")}, files(promote), "the Jobs make their own tokens")

	assert.Equal(t, config.SecretKey{Secret: "github.com-app-token", Key: TokenKey}, apiSecret(load(t, withApps), "github.com"), "Kargo reads it")

	byName := map[string]Secret{}
	for _, s := range Secrets(load(t, withApps)) {
		byName[s.Name] = s
	}
	assert.Equal(t, Secret{Name: "app", Keys: []SecretUse{
		{Key: "app-id", Use: "app", Host: "github.com", Jobs: true}, {Key: "installation-id", Use: "app", Host: "github.com", Jobs: true}, {Key: "private-key", Use: "app", Host: "github.com", Jobs: true},
	}}, byName["app"])
	assert.True(t, byName["github.com-app-token"].Kept)
	assert.False(t, byName["gitlab.com-api-token"].Kept)
	require.Contains(t, byName, "unused")
	assert.NotContains(t, byName, "unused.example.com-app-token")
}

// TestNoApp: without an App there is no Secret in dist, and nobody may change one.
func TestNoApp(t *testing.T) {
	for _, o := range (fleet{Images: "factory: {credentials: {github.com: {api: {secret: s, key: k}}}}\nimages: [{name: a, repository: x/a, source: {provider: github, repo: x/a, workflow: w.yml}}]"}).objects(t) {
		assert.NotEqual(t, "Secret", o.Kind())
		assert.NotEqual(t, AppTokenName, o.Name())
	}
}
