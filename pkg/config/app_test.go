package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// TestAppsAreChecked has one mistake at a time, and its place.
func TestAppsAreChecked(t *testing.T) {
	const image = "images: [{name: a, repository: x/a, source: {provider: gitlab, host: git.example.com, repo: x/a}}]\n"
	for credentials, want := range map[string]string{
		"{github.com: {app: {secret: A}}}":                           `images.yaml:2:52: factory.credentials.github.com.app.secret: "A"`,
		"{github.com: {app: {}}}":                                    "2:43: factory.credentials.github.com.app: secret is missing",
		"{github.com: {app: {secret: a, key: b}}}":                   `2:55: unknown key "key" in factory.credentials.github.com.app`,
		"{github.com: {api: {secret: a, key: b}, app: {secret: a}}}": "2:69: factory.credentials.github.com.app: api is set too (remove api: the token of the App is used instead)",
		"{git.example.com: {app: {secret: a}}}":                      `2:48: factory.credentials.git.example.com.app: only GitHub has Apps, but "a" is built at git.example.com with the provider gitlab`,
	} {
		_, err := config.Load(strings.NewReader(image+"factory: {credentials: "+credentials+"}\n"), "images.yaml")
		var list finding.List
		require.ErrorAs(t, err, &list, credentials)
		assert.Len(t, list, 1, credentials)
		assert.Contains(t, list[0].String(), want, credentials)
	}
	cfg, err := config.Load(strings.NewReader(image+"factory: {credentials: {GitHub.com: {app: {secret: a}, git: {secret: b, key: c}}}}\n"), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, &config.App{Secret: "a"}, cfg.Factory.Credentials["github.com"].App)
}
