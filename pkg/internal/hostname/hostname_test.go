package hostname_test

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

func TestNormalize(t *testing.T) {
	for host, want := range map[string]string{
		"":                           "",
		"docker.io":                  "docker.io",
		"index.docker.io":            "docker.io",
		"registry-1.docker.io":       "docker.io",
		"registry.hub.docker.com":    "docker.io",
		"Index.Docker.IO:443":        "docker.io",
		"docker.io:443":              "docker.io",
		"docker.io:5000":             "docker.io:5000",
		"index.docker.io:5000":       "index.docker.io:5000",
		"notindex.docker.io":         "notindex.docker.io",
		"GHCR.io":                    "ghcr.io",
		"ghcr.io:443":                "ghcr.io",
		"ghcr.io:0443":               "ghcr.io",
		"ghcr.io:80":                 "ghcr.io:80",
		"ghcr.io:":                   "ghcr.io:",
		"registry.example:8443":      "registry.example:8443",
		"localhost":                  "localhost",
		"LOCALHOST:5000":             "localhost:5000",
		"localhost:443":              "localhost:443", // http is spoken there
		"localhost:80":               "localhost",
		"127.0.0.1:80":               "127.0.0.1",
		"127.0.0.1:5000":             "127.0.0.1:5000",
		"[2001:DB8::1]:443":          "[2001:db8::1]",
		"[::1]:443":                  "[::1]:443",
		"registry:443":               "registry:443", // registry alone would be a namespace of Docker Hub
		"REGISTRY:443":               "registry:443",
		"REGISTRY":                   "REGISTRY",
		"registry":                   "registry",
		"registry.example.com:99999": "registry.example.com:99999",
	} {
		assert.Equal(t, want, hostname.Normalize(host), host)
		assert.Equal(t, want, hostname.Normalize(want), "a second time: %s", host)
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://GitHub.com:443/Acme/State.git": "https://github.com/Acme/State.git",
		"https://git.example.com:8443/a.git":    "https://git.example.com:8443/a.git",
		"http://127.0.0.1:80/a.git":             "http://127.0.0.1/a.git",
		"http://git.example.com:443/a.git":      "http://git.example.com:443/a.git",
		"https://git/a%2Fb.git":                 "https://git/a%2Fb.git",
		"file:///srv/A.git":                     "file:///srv/A.git",
		"git@GitHub.com:a/b.git":                "git@GitHub.com:a/b.git",
		"owner/Repo":                            "owner/Repo",
		"https://%zz":                           "https://%zz",
		"":                                      "",
	} {
		assert.Equal(t, want, hostname.URL(text), text)
	}
}

// FuzzNormalize: a reference that Docker accepts keeps its meaning. What was a host stays one, and normalising is done in
// one step.
func FuzzNormalize(f *testing.F) {
	for _, ref := range []string{"node", "GHCR.IO/acme/x:1", "REGISTRY/x", "registry:443/x", "[::1]:5000/x", "index.docker.io/node:22", "localhost:80/x"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, text string) {
		named, err := reference.ParseNormalizedNamed(text)
		if err != nil || reference.Domain(named) == "" { // no host that a registry can have
			return
		}
		registry, repository := hostname.Repository(reference.Domain(named), reference.Path(named))
		again, err := reference.ParseNormalizedNamed(registry + "/" + repository)
		require.NoError(t, err, "%s became %s/%s", text, registry, repository)
		assert.Equal(t, registry, reference.Domain(again), text)
		assert.Equal(t, repository, reference.Path(again), text)
		twice, _ := hostname.Repository(registry, repository)
		assert.Equal(t, registry, twice, text)
		assert.True(t, registry == hostname.DockerHub || strings.EqualFold(registry, reference.Domain(named)) ||
			strings.HasPrefix(strings.ToLower(reference.Domain(named)), registry+":") || strings.Contains(reference.Domain(named), ":0"), text)
	})
}

func TestIsPrivate(t *testing.T) {
	for host, want := range map[string]bool{
		"ghcr.io": false, "8.8.8.8": false, "8.8.8.8:443": false, "127.0.0.1:5000": true, "localhost:1": true, "localhost": true, "[::1]:5000": true,
		"169.254.169.254": true, "10.1.2.3:80": true, "192.168.0.1": true, "[fe80::1]": true, "0.0.0.0": true, "::1": true, "fd00::1": true,
	} {
		assert.Equal(t, want, hostname.IsPrivate(host), host)
	}
}

func TestSame(t *testing.T) {
	const repo = "https://git.example.com:8443/acme/web.git"
	for other, want := range map[string]bool{
		"https://git.example.com/acme/web": true, "http://Git.Example.com:3000/Acme/web.git/": true, "ssh://git@git.example.com:2222/acme/web.git": true,
		"https://git.example.com/acme/web2": false, "https://example.com/acme/web.git": false, "/acme/web.git": false, "": false,
	} {
		assert.Equal(t, want, hostname.SameRepository(repo, other), other)
		assert.Equal(t, want, hostname.SameRepository(other, repo), other)
	}
	assert.False(t, hostname.SameRepository("/srv/a.git", "/srv/a.git"), "no server")
	assert.True(t, hostname.SameServer("git.example.com:8443", "Git.example.com"))
	assert.True(t, hostname.SameServer("[::1]:8443", "[::1]"))
	assert.False(t, hostname.SameServer("git.example.com", "example.com"))
	assert.False(t, hostname.SameServer("", ""))
}
