package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// TestHostsHaveOneSpelling: every place of images.yaml where a host can stand.
func TestHostsHaveOneSpelling(t *testing.T) {
	cfg := load(t, `
factory:
  state: {url: "https://GIT.Example.com:443/Acme/State.git"}
  mirrors:
    index.docker.io: ["Mirror.Example.com:443/hub/", registry.hub.docker.com]
    GHCR.io: [mirror.example.com:8443]
  credentials:
    registry-1.docker.io: {registry: {secret: hub, key: config.json}}
    GitHub.com:443: {api: {secret: gh, key: token}}
defaults:
  registry: Registry.Example.com:443
  source: {provider: gitlab, host: GitLab.Example.com:443, platforms: [Linux/AArch64, linux/arm64/v8]}
images:
- {name: a, repository: acme/a, source: {repo: g/a}}
- {name: b, registry: "registry-1.docker.io:443", repository: b, source: {provider: github, host: GitHub.com, repo: o/b, workflow: w.yml, platforms: [linux/x86_64, linux/arm, windows/amd64]}}
- {name: c, registry: "GHCR.IO", repository: acme/c, source: {provider: git, repo: "https://Git.Example.com:443/C.git", dockerfile: ./apps//c/Dockerfile}}
- {name: pg, registry: index.docker.io, repository: postgres}
`)
	f := cfg.Factory
	assert.Equal(t, "https://git.example.com/Acme/State.git", f.State.URL)
	assert.Equal(t, map[string][]string{
		"docker.io": {"mirror.example.com/hub", "docker.io"}, "ghcr.io": {"mirror.example.com:8443"},
	}, f.Mirrors)
	require.Len(t, f.Credentials, 2)
	assert.Equal(t, "hub", f.Credentials["docker.io"].Registry.Secret)
	assert.Equal(t, "gh", f.Credentials["github.com"].API.Secret)
	for name, want := range map[string]string{
		"a": "registry.example.com/acme/a", "b": "docker.io/library/b", "c": "ghcr.io/acme/c", "pg": "docker.io/library/postgres",
	} {
		assert.Equal(t, want, cfg.Find(name).Ref())
	}
	a, b, c := cfg.Find("a").Source, cfg.Find("b").Source, cfg.Find("c").Source
	assert.Equal(t, "https://gitlab.example.com/api/v4", a.APIURL())
	assert.Equal(t, []string{"linux/arm64"}, a.Platforms)
	assert.Equal(t, "https://api.github.com", b.APIURL())
	assert.Equal(t, []string{"linux/amd64", "linux/arm/v7", "windows/amd64"}, b.Platforms, "as registries list them")
	assert.Equal(t, "https://git.example.com/C.git", c.GitURL())
	assert.Equal(t, "apps/c/Dockerfile", c.Dockerfile)
}

// problems returns what is wrong with a text, without its places.
func problems(t *testing.T, text string) []string {
	t.Helper()
	_, err := config.Load(strings.NewReader(text), "images.yaml")
	var list finding.List
	if err != nil {
		require.ErrorAs(t, err, &list, text)
	}
	out := make([]string, len(list))
	for i, f := range list {
		f.File = ""
		out[i] = f.String()
	}
	return out
}

func TestSpellingsOfOneHostAreDuplicates(t *testing.T) {
	for text, want := range map[string]string{
		`{factory: {mirrors: {docker.io: [a.example], index.docker.io: [b.example]}}, images: []}`: `factory.mirrors: "index.docker.io" is the same host as "docker.io" on line 1`,
		`{factory: {credentials: {"ghcr.io:443": {}, GHCR.io: {}}}, images: []}`:                   `factory.credentials: "GHCR.io" is the same host as "ghcr.io:443" on line 1`,
		`[{name: a, registry: "GHCR.io:443", repository: o/a, source: {provider: git, repo: "https://g.example/a"}},
		  {name: b, repository: o/a, source: {provider: git, repo: "https://g.example/b"}}]`: `images "a" and "b" both publish to ghcr.io/o/a`,
		`[{name: a, registry: index.docker.io, repository: a, source: {provider: git, repo: "https://g.example/a"}},
		  {name: b, registry: docker.io, repository: library/a, source: {provider: git, repo: "https://g.example/b"}}]`: `images "a" and "b" both publish to docker.io/library/a`,
	} {
		got := problems(t, text)
		require.Len(t, got, 1, text)
		assert.Contains(t, got[0], want)
		assert.Contains(t, got[0], "[IF005]")
	}
}

func TestRepositoryIsAPath(t *testing.T) {
	const managed = `, source: {provider: git, repo: "https://g.example/a"}`
	for entry, want := range map[string]string{
		`repository: ghcr.io/acme/app` + managed:                                      `repository "ghcr.io/acme/app" begins with the registry "ghcr.io" (set registry: ghcr.io and repository: acme/app)`,
		`repository: docker.io/library/postgres`:                                      `(set registry: docker.io and repository: library/postgres)`,
		`repository: docker.io/postgres`:                                              `(set registry: docker.io and repository: library/postgres)`,
		`repository: "localhost:5000/x"`:                                              `(set registry: localhost:5000 and repository: x)`,
		`repository: localhost/x`:                                                     `begins with the registry "localhost"`,
		`repository: "127.0.0.1:5000/acme/app:1.2"`:                                   `(set registry: 127.0.0.1:5000 and repository: acme/app and tags: "1.2")`,
		`repository: harbor.example/acme/app` + managed:                               `(set registry: harbor.example and repository: acme/app)`,
		`registry: ghcr.io, repository: GHCR.io/acme/app` + managed:                   `(set registry: ghcr.io and repository: acme/app)`,
		`registry: index.docker.io, repository: registry-1.docker.io/acme/app`:        `(set registry: docker.io and repository: acme/app)`,
		`registry: harbor.example, repository: harbor.example:443/acme/app` + managed: `(set registry: harbor.example and repository: acme/app)`,
		`registry: harbor.example, repository: quay.io/acme/app` + managed:            `(set registry: quay.io and repository: acme/app)`,
		`repository: "https://ghcr.io/acme/app"`:                                      `contains a scheme (set registry: ghcr.io and repository: acme/app)`,
		`repository: "acme/app:1.2"`:                                                  `repository "acme/app:1.2" contains a tag (set repository: acme/app and tags: "1.2")`,
		`repository: "postgres@sha256:` + strings.Repeat("a", 64) + `"`:               `contains a digest (set repository: postgres;`,
		`repository: /acme/app`:                                                       `invalid repository "/acme/app"`,
		`repository: acme/app/`:                                                       `invalid repository "acme/app/"`,
		`repository: acme/../app`:                                                     `invalid repository "acme/../app"`,
		`repository: Acme/App`:                                                        `invalid repository "Acme/App": upper case letters`,
		`registry: ghcr.io/acme, repository: app`:                                     `"ghcr.io/acme" is a path: want the host "ghcr.io" alone`,
		`registry: registry, repository: app`:                                         `invalid registry "registry": without a dot or a port`,
		`registry: ghcr.io., repository: app`:                                         `invalid host "ghcr.io."`,
		`registry: "ghcr.io:99999", repository: app`:                                  `invalid port in host "ghcr.io:99999"`,
	} {
		got := problems(t, "- {name: a, "+entry+"}\n")
		require.Len(t, got, 1, entry)
		assert.Contains(t, got[0], want)
	}
	for _, entry := range []string{
		`registry: harbor.example, repository: docker.io/library/postgres`,            // a cache of Docker Hub
		`registry: registry.gitlab.com, repository: my.group/app` + managed,           // a folder with a dot
		`registry: "registry:5000", repository: acme/app` + managed,                   // a host by its port
		`registry: "127.0.0.1:5000", repository: acme/sub.project/app_x--y` + managed, // odd, and right
	} {
		assert.Empty(t, problems(t, "- {name: a, "+entry+"}\n"), entry)
	}
}

// TestNoOtherPath: what becomes part of the path of a request cannot lead to another one.
func TestNoOtherPath(t *testing.T) {
	for _, source := range []string{
		`provider: github, workflow: w.yml, repo: acme/.`, `provider: github, workflow: w.yml, repo: acme/..`, `provider: github, workflow: w.yml, repo: ../x`,
		`provider: github, workflow: w.yml, repo: ./x`, `provider: github, workflow: w.yml, repo: a/b/c`, `provider: github, workflow: w.yml, repo: "a/b?c"`,
		`provider: github, workflow: w.yml, repo: a/%2e%2e`, `provider: github, workflow: w.yml, repo: "a/b#c"`,
		`provider: github, repo: a/b, workflow: ".."`, `provider: github, repo: a/b, workflow: "."`, `provider: github, repo: a/b, workflow: ". ."`,
		`provider: github, repo: a/b, workflow: a/b.yml`, `provider: github, repo: a/b, workflow: "w.yml?x"`, `provider: github, repo: a/b, workflow: "%2e%2e"`,
		`provider: github, workflow: w.yml, repo: a/b, host: a/b`, `provider: github, workflow: w.yml, repo: a/b, host: "user@ghe.example"`,
		`provider: github, workflow: w.yml, repo: a/b, host: "ghe example"`, `provider: github, workflow: w.yml, repo: a/b, host: ".."`,
		`provider: gitlab, repo: group/..`, `provider: gitlab, repo: group/../x`, `provider: gitlab, repo: group`, `provider: gitlab, repo: /group/x`,
		`provider: gitlab, repo: group/./x`, `provider: gitlab, repo: "group/x?y"`, `provider: gitlab, repo: g/p, job: "a\nb"`,
		`provider: git, host: git.example, repo: a/../b`, `provider: git, host: git.example, repo: "a?b"`, `provider: git, host: git.example, repo: a/%2e%2e/b`,
		`provider: git, host: git.example, repo: "a b"`, `provider: git, host: git.example, repo: "git@other.example:a/b"`,
		`provider: git, repo: "https://git.example/a/../b"`, `provider: git, repo: "https://git.example/a/%2e%2e/b"`,
		`provider: git, repo: "https://git.example/a", dockerfile: a/../../b`, `provider: git, repo: "https://git.example/a", dockerfile: .`,
		`provider: git, repo: "https://git.example/a", dockerfile: a/`, `provider: git, repo: "https://git.example/a", dockerfile: "a\nb"`,
		`provider: git, repo: "https://git.example/a", branch: ".."`, `provider: git, repo: "https://git.example/a", branch: a/.b`,
		`provider: git, repo: "https://git.example/a", branch: "a?b"`, `provider: git, repo: "https://git.example/a", branch: HEAD`,
		`provider: git, repo: "https://git.example/a", branch: a.lock/b`, `provider: git, repo: "https://git.example/a", branch: "a\nb"`,
	} {
		got := problems(t, "- {name: a, repository: o/a, source: {"+source+"}}\n")
		require.Len(t, got, 1, source)
		assert.Contains(t, got[0], "[IF003]", source)
	}
	for _, defaults := range []string{`repo: acme/..`, `repo: a/b, workflow: ".."`, `repo: a/b, branch: ".."`, `repo: a/b, host: a/b`} {
		got := problems(t, "defaults: {source: {provider: github, "+defaults+"}}\nimages: [{name: a, repository: o/a, autoRebuild: false, source: {}}]\n")
		require.Len(t, got, 1, defaults)
		assert.Contains(t, got[0], "[IF003]", defaults)
	}
	for _, mirror := range []string{"m.example/Hub", "m.example/../x", "m.example/a?b", "mirror", "m.example/a:1"} {
		got := problems(t, "factory: {mirrors: {docker.io: ['"+mirror+"']}}\nimages: []\n")
		require.Len(t, got, 1, mirror)
		assert.Contains(t, got[0], "factory.mirrors.docker.io[0]", mirror)
	}
}
