package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// TestReceiversAreChecked has one mistake at a time, and its place.
func TestReceiversAreChecked(t *testing.T) {
	for receivers, want := range map[string]string{
		"[{kind: github, secret: s}]":                                          "images.yaml:3:22: factory.webhookReceivers[0] has no name",
		"[{name: a, secret: s}]":                                               "3:22: factory.webhookReceivers[0] has no kind",
		"[{name: a, kind: quay}]":                                              "3:22: factory.webhookReceivers[0] has no secret",
		"[{name: a, kind: quay, secret: s, key: k}]":                           `3:55: unknown key "key" in factory.webhookReceivers[0]`,
		"[{name: A, kind: quay, secret: s}]":                                   `3:29: factory.webhookReceivers[0].name: "A"`,
		"[{name: a, kind: quay, secret: S}]":                                   `3:52: factory.webhookReceivers[0].secret: "S"`,
		"[{name: a, kind: quay, secret: s}, {name: a, kind: quay, secret: t}]": `3:63: factory.webhookReceivers[1].name: duplicate "a"`,
		"[{name: a, kind: gihub, secret: s}]":                                  `3:38: factory.webhookReceivers[0].kind: unknown kind "gihub" (did you mean "github"?)`,
		"[{name: a, kind: gitlab, secret: s}]":                                 "3:38: factory.webhookReceivers[0].kind: in Kargo, gitlab reacts to pushes to git only, not to pushed images (use generic",
		"[{name: a, kind: quay, secret: s, virtualRepoName: v}]":               "3:55: factory.webhookReceivers[0].virtualRepoName: only for the kind artifactory",
		"[text]": "3:22: factory.webhookReceivers[0]: want a mapping",
	} {
		_, err := config.Load(strings.NewReader("images: []\nfactory:\n  webhookReceivers: "+receivers+"\n"), "images.yaml")
		var list finding.List
		require.ErrorAs(t, err, &list, receivers)
		assert.Len(t, list, 1, receivers)
		assert.Contains(t, list[0].String(), want, receivers)
	}
}
