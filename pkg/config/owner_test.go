package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

func TestOwnersAndLabels(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
defaults:
  owner: team-platform
  labels: {tier: "1", acme.example/area: base}
images:
  - {name: web, repository: acme/web, owner: "@acme/shop", labels: {team: shop, tier: 2, critical: }}
  - {name: redis, repository: library/redis}
`), "images.yaml")
	require.NoError(t, err)
	web, redis := cfg.Find("web"), cfg.Find("redis")
	assert.Equal(t, "@acme/shop", web.Owner)
	assert.Equal(t, map[string]string{"tier": "2", "team": "shop", "critical": "", "acme.example/area": "base", "owner": "acme.shop"}, web.SelectorLabels())
	assert.Equal(t, "team-platform", redis.Owner)
	assert.Equal(t, map[string]string{"tier": "1", "acme.example/area": "base"}, redis.Labels, "SelectorLabels and other entries change no labels")
	assert.Equal(t, map[string]string{"tier": "1", "acme.example/area": "base", "owner": "team-platform"}, redis.SelectorLabels())

	cfg, err = config.Load(strings.NewReader("- {name: redis, repository: library/redis, owner: a}\n- {name: web, repository: library/web}\n"), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"owner": "a"}, cfg.Find("redis").SelectorLabels())
	assert.Empty(t, cfg.Find("web").SelectorLabels())
}

func TestInvalidOwnersAndLabels(t *testing.T) {
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("l%d: x", i)
	}
	for entry, want := range map[string]string{
		"owner: team shop":                  `1:43: redis: owner: invalid owner "team shop" (want a name such as team-shop or @acme/shop`,
		"owner: '@'":                        `1:43: redis: owner: invalid owner "@"`,
		`owner: "a\nb"`:                     `invalid owner "a\nb"`,
		"owner: '${{ secrets.x }}'":         "invalid owner",
		"owner: -a":                         "invalid owner",
		"owner: a/":                         "invalid owner",
		"owner: " + strings.Repeat("a", 64): "at most 63",
		"owner: [a]":                        "1:43: images[0].owner: want a string, not a list",
		"labels: [a]":                       "1:44: images[0].labels: want a mapping, not a list",
		"labels: {a b: c}":                  `1:45: redis: labels: "a b": `,
		"labels: {a: b c}":                  `1:48: redis: labels.a: "b c": `,
		"labels: {a: " + strings.Repeat("b", 64) + "}": "1:48: redis: labels.a: ",
		"labels: {imagefactory/image: x}":              `1:45: redis: labels: "imagefactory/image" is reserved`,
		"labels: {kargo.akuity.io/shard: x}":           "is reserved",
		"labels: {app.kubernetes.io/instance: x}":      "is reserved",
		"labels: {owner: x}":                           `"owner" is reserved (set the key owner beside labels)`,
		"labels: {" + strings.Join(many, ", ") + "}":   "1:44: redis: labels: 33 labels; at most 32 are supported",
	} {
		_, err := config.Load(strings.NewReader("- {name: redis, repository: redis, "+entry+"}\n"), "images.yaml")
		var list finding.List
		require.ErrorAs(t, err, &list, entry)
		assert.Len(t, list, 1, entry)
		assert.Contains(t, list[0].String(), want, entry)
	}

	_, err := config.Load(strings.NewReader("defaults:\n  owner: a b\n  labels: {'!': a}\nimages: []\n"), "images.yaml")
	var list finding.List
	require.ErrorAs(t, err, &list)
	require.Len(t, list, 2)
	assert.Contains(t, list[0].String(), `2:10: defaults.owner: invalid owner "a b"`)
	assert.Contains(t, list[1].String(), `3:12: defaults.labels: "!": `)
}

func TestOwnersOfOneLabel(t *testing.T) {
	_, err := config.Load(strings.NewReader("- {name: a, repository: a, owner: acme/shop}\n- {name: b, repository: b, owner: '@acme/shop'}\n"), "images.yaml")
	require.ErrorContains(t, err, `2:35: b: owner: owners "@acme/shop" and "acme/shop" become the same label value "acme.shop" (use one spelling)`)
}

func TestReportURL(t *testing.T) {
	load := func(u string) error {
		_, err := config.Load(strings.NewReader("factory: {reportURL: '"+u+"'}\nimages: []\n"), "images.yaml")
		return err
	}
	require.NoError(t, load("https://acme.example/images/?team=a"))
	for _, u := range []string{"acme.example", "ftp://acme.example", "https://", "https://a.example/{{x}}", "https://a.example/#x", "https://a.example/a b", "javascript:alert(1)"} {
		require.ErrorContains(t, load(u), "1:22: factory.reportURL: invalid URL", u)
	}
	err := load("https://user:secret@a.example/")
	require.ErrorContains(t, err, `the URL of host "a.example" contains credentials`)
	assert.NotContains(t, err.Error(), "secret")
}
