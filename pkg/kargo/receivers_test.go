package kargo

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/crd"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

const everyReceiver = `
factory:
  webhookReceivers:
  - {name: ghcr, kind: github, secret: webhook}
  - {name: hub, kind: dockerhub, secret: webhook}
  - {name: quay, kind: quay, secret: webhook}
  - {name: acr, kind: azure, secret: webhook}
  - {name: harbor, kind: harbor, secret: webhook}
  - {name: jfrog, kind: artifactory, secret: jfrog, virtualRepoName: docker-virtual}
  - {name: ci, kind: generic, secret: ci-webhook}
images: []
`

const wantReceivers = `
- {name: ghcr, github: {secretRef: {name: webhook}}}
- {name: hub, dockerhub: {secretRef: {name: webhook}}}
- {name: quay, quay: {secretRef: {name: webhook}}}
- {name: acr, azure: {secretRef: {name: webhook}}}
- {name: harbor, harbor: {secretRef: {name: webhook}}}
- {name: jfrog, artifactory: {secretRef: {name: jfrog}, virtualRepoName: docker-virtual}}
- name: ci
  generic:
    secretRef: {name: ci-webhook}
    actions:
    - action: Refresh
      targetSelectionCriteria:
      - kind: Warehouse
        indexSelector: {matchIndices: [{key: subscribedURLs, operator: Equal, value: "${{ normalizeImage(request.body.repository) }}"}]}
`

// TestReceivers holds what factory.webhookReceivers adds to the ProjectConfig, which Secrets it needs, and that Kargo's CRD accepts it.
func TestReceivers(t *testing.T) {
	objects := fleet{Images: everyReceiver}.objects(t)
	config := find[*ProjectConfig](t, objects, "image-factory-kargo")
	data, err := json.Marshal(config.Spec.WebhookReceivers)
	require.NoError(t, err)
	want, err := yaml.YAMLToJSON([]byte(wantReceivers))
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(data))

	use := func(key, name string) SecretUse { return SecretUse{Key: key, Use: WebhookUse, Host: name, Kargo: true} }
	assert.Equal(t, []Secret{
		{Name: "ci-webhook", CredType: "generic", Keys: []SecretUse{use("secret", "ci")}},
		{Name: "jfrog", CredType: "generic", Keys: []SecretUse{use("secret-token", "jfrog")}},
		{Name: "webhook", CredType: "generic", Keys: []SecretUse{
			use("secret", "ghcr"), use("secret", "hub"), use("secret", "quay"), use("secret", "acr"), use("auth-header", "harbor"),
		}},
	}, Secrets(load(t, everyReceiver)))

	dir := os.Getenv("KARGO_SCHEMAS")
	if dir == "" {
		t.Skip("KARGO_SCHEMAS is not set: it names a folder with Kargo's crds, rollouts-crds and step-schemas")
	}
	set, err := crd.Load(dir + "/crds")
	require.NoError(t, err)
	written, err := yamlenc.Marshal(config)
	require.NoError(t, err)
	var obj map[string]any
	require.NoError(t, yaml.UnmarshalStrict(written, &obj))
	problems, known := set.Validate(obj)
	assert.True(t, known)
	assert.Empty(t, problems)
}

// TestGenericReceiver evaluates the expression as Kargo does, on the body that the pages show.
func TestGenericReceiver(t *testing.T) {
	list := find[*ProjectConfig](t, fleet{Images: everyReceiver}.objects(t), "image-factory-kargo").Spec.WebhookReceivers
	index := list[len(list)-1].Generic.Actions[0].Targets[0].IndexSelector.MatchIndices[0]
	got, err := evaluate(index.Value, map[string]any{"request": map[string]any{"body": map[string]any{"repository": "ghcr.io/acme/app"}}},
		expr.Function("normalizeImage", func(args ...any) (any, error) { return args[0], nil }))
	require.NoError(t, err)
	assert.Equal(t, "ghcr.io/acme/app", got)
}
