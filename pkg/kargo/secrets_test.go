package kargo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// TestSecrets: one entry for each Secret, and the label only where Kargo reads it.
func TestSecrets(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory:
  credentials:
    github.com: {api: {secret: forge, key: a}, git: {secret: forge, key: g}}
    git.example.com: {git: {secret: plain, key: p}, api: {secret: unused, key: u}}
    ghcr.io: {registry: {secret: reg, key: r}}
images:
- {name: a, repository: x/a, source: {provider: github, repo: x/a, workflow: w.yml}}
- {name: b, repository: x/b, source: {provider: gitlab, host: "gitlab.example.com:8443", repo: x/b}}
- {name: c, repository: x/c, source: {provider: git, host: git.example.com, repo: x/c}}
- {name: d, repository: x/d, autoRebuild: false, source: {provider: github, host: idle.example.com, repo: x/d}}
`), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, []Secret{
		{Name: "forge", CredType: "generic", Keys: []SecretUse{
			{Key: "a", Use: "api", Host: "github.com", Kargo: true, Jobs: true}, {Key: "g", Use: "git", Host: "github.com", Jobs: true},
		}},
		{Name: "gitlab.example.com-8443-api-token", CredType: "generic", Keys: []SecretUse{{Key: "token", Use: "api", Host: "gitlab.example.com:8443", Kargo: true}}},
		{Name: "kargo-image-ghcr.io", CredType: "image", Registry: "ghcr.io"},
		{Name: "plain", Keys: []SecretUse{{Key: "p", Use: "git", Host: "git.example.com", Jobs: true}}},
		{Name: "reg", Keys: []SecretUse{{Key: "r", Use: "registry", Host: "ghcr.io", Jobs: true}}},
		{Name: "unused", Keys: []SecretUse{{Key: "u", Use: "api", Host: "git.example.com", Jobs: true}}},
	}, Secrets(cfg))
}
