package config_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

const trustRules = `
factory:
  registries: {allow: [ghcr.io/acme, registry-1.docker.io/*]}
  trust:
    - {match: "**", keyless: {issuerRegexp: "https://.*", identity: anyone}}
    - {match: docker.io/library/*, key: keys/hub.pub}
    - {match: docker.io/node, github: acme/node}
    - {match: "docker.io/node:22*", github: acme/node, require: signature}
    - {match: ghcr.io/acme, require: none}
    - {match: "*.example.com/a/*", keyless: {issuer: "https://i.example", identityRegexp: "a  b"}, trustRoot: root.json}
    - {match: b.example, github: acme/node, tuf: {mirror: "https://tuf.example.com/x", root: root.json}}
    - {match: c.example, github: acme/node, tuf: {mirror: "http://127.0.0.1:8080"}}
images: []
`

func TestTrustFor(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(trustRules), "images.yaml")
	require.NoError(t, err)
	for ref, want := range map[string]string{
		"docker.io library/debian 12":        "signature or provenance by key keys/hub.pub",
		"docker.io library/node 20":          "provenance by a workflow of github.com/acme/node",
		"docker.io library/node 22-slim":     "signature by a workflow of github.com/acme/node",
		"docker.io library/nodes 22":         "signature or provenance by key keys/hub.pub",
		"docker.io acme/node 22":             "signature or provenance by anyone (/https://.*/)",
		"ghcr.io acme/web 1":                 "signature or provenance by anyone (/https://.*/)",
		"quay.io acme/web 1":                 "signature or provenance by anyone (/https://.*/)",
		"a.example.com a/b/c 1":              "signature or provenance by anyone (/https://.*/)",
		"a.example.com a/b 1":                "signature or provenance by /a b/ (https://i.example), trust root root.json dc16fa3148e7",
		"b.example a 1":                      "provenance by a workflow of github.com/acme/node, TUF https://tuf.example.com/x from root.json",
		"c.example a 1":                      "provenance by a workflow of github.com/acme/node, TUF http://127.0.0.1:8080",
		"evil.example/a.example.com a/b 1":   "signature or provenance by anyone (/https://.*/)",
		"ghcr.io acme 1":                     "",
		"docker.io.evil.example library/a 1": "signature or provenance by anyone (/https://.*/)",
	} {
		part := strings.Fields(ref)
		got := ""
		if rule := cfg.TrustFor(part[0], part[1], part[2]); rule != nil {
			got = rule.Demand()
		}
		assert.Equal(t, want, got, ref)
	}
	allow := cfg.Factory.Registries
	assert.True(t, allow.Allows("docker.io", "library/node", "22"))
	assert.True(t, allow.Allows("ghcr.io", "acme", "22"))
	assert.False(t, allow.Allows("ghcr.io", "acme2", "22"))
	assert.False(t, allow.Allows("docker.io", "acme/node", "22"))
}

func TestAllowedTag(t *testing.T) {
	allow := config.Registries{Allow: []config.Pattern{"docker.io/library/node:22*"}}
	assert.True(t, allow.Allows("docker.io", "library/node", "22-bookworm"))
	assert.False(t, allow.Allows("docker.io", "library/node", "21"))
	assert.False(t, allow.Allows("docker.io", "library/node", ""), "a digest alone")
}

// TestDemandNamesContent: a file with another key is another rule, and its line ends do not matter.
func TestDemandNamesContent(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory:
  trust:
  - {match: docker.io, key: keys/hub.pub}
  - {match: ghcr.io, github: acme/web, trustRoot: root.json}
  - {match: quay.io, github: acme/web, tuf: {mirror: "https://tuf.example", root: tuf.json}}
images: []
`), "images.yaml")
	require.NoError(t, err)
	demands := func(content string) (out []string) {
		file := &fstest.MapFile{Data: []byte(content)}
		cfg.SetFolder(fstest.MapFS{"keys/hub.pub": file, "root.json": file, "tuf.json": file})
		for i := range cfg.Factory.Trust {
			out = append(out, cfg.Factory.Trust[i].Demand())
		}
		return out
	}
	before, other := demands("a\nb\n"), demands("stolen")
	assert.Equal(t, before, demands("a\r\nb\r\n"))
	for i := range before {
		assert.NotEqual(t, before[i], other[i])
	}
	assert.Equal(t, "signature or provenance by key keys/hub.pub with hash 7e18f737311b", before[0])
}

// TestDemandIsBounded: two rules with long identities differ in their demand.
func TestDemandIsBounded(t *testing.T) {
	long := strings.Repeat("a", 400)
	a := config.Trust{Keyless: &config.Keyless{Issuer: "https://i", Identity: long + "a"}}
	b := config.Trust{Keyless: &config.Keyless{Issuer: "https://i", Identity: long + "b"}}
	assert.NotEqual(t, a.Demand(), b.Demand())
	assert.Less(t, len(a.Demand()), 500)
}

func TestReadBeside(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(trustRules), "images.yaml")
	require.NoError(t, err)
	_, err = cfg.ReadBeside("keys/hub.pub")
	require.ErrorContains(t, err, "not known")
	cfg.SetFolder(fstest.MapFS{"keys/hub.pub": {Data: []byte("PEM")}, "large": {Data: make([]byte, 2<<20)}})
	data, err := cfg.ReadBeside("./keys/hub.pub")
	require.NoError(t, err)
	assert.Equal(t, "PEM", string(data))
	_, err = cfg.ReadBeside("large")
	require.ErrorContains(t, err, "larger than")
	_, err = cfg.ReadBeside("missing")
	require.EqualError(t, err, `reading "missing" beside images.yaml: file does not exist`)
	_, err = cfg.ReadBeside("../missing")
	require.Error(t, err)
}
