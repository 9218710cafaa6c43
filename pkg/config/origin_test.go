package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
)

func TestOriginURL(t *testing.T) {
	const web = "https://git.example.com:8443/acme/web.git"
	const enrolled = `images: [{name: web, repository: acme/web, source: {provider: gitea, host: "git.example.com:8443", repo: acme/web, workflow: b.yml}}]`
	stateAt := func(url string) string { return "factory: {state: {url: \"" + url + "\"}}\nimages: []" }
	for name, test := range map[string]struct {
		images, remote, want string
		guessed              bool
	}{
		"port of a source":                  {enrolled, "ssh://git@git.example.com:2222/acme/web.git", web, false},
		"port of a source, scp form":        {enrolled, "git@Git.Example.com:acme/web.git", web, false},
		"port of state":                     {stateAt("http://git.example.com:3000/acme/state.git"), "git@git.example.com:acme/web.git", "http://git.example.com:3000/acme/web.git", false},
		"state of the same repository":      {stateAt(web), "ssh://git@git.example.com:2222/acme/web", web, false},
		"state of it under another name":    {stateAt("http://gitea.example/acme/web.git"), "git@git.example.com:acme/web.git", "http://gitea.example/acme/web.git", false},
		"state of it, https":                {stateAt(web), "https://git.example.com/acme/web", web, false},
		"another host, https":               {stateAt("https://mirror.example/acme/web.git"), "https://git.example.com/acme/web", "https://git.example.com/acme/web", false},
		"https keeps its port":              {enrolled, "https://git.example.com/acme/fleet.git", "https://git.example.com/acme/fleet.git", false},
		"nothing known":                     {"images: []", "ssh://git@git.example.com:2222/acme/web.git", "https://git.example.com/acme/web.git", true},
		"nothing known about this host":     {enrolled, "git@other.example:acme/web.git", "https://other.example/acme/web.git", true},
		"a public forge":                    {"images: []", "git@github.com:acme/web.git", "https://github.com/acme/web.git", false},
		"no remote":                         {enrolled, "", "", false},
		"no remote, though state has a URL": {stateAt(web), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, test.images)
			got, guessed := cfg.OriginURL(checkout.HTTPSURL(test.remote), test.remote != "" && test.remote[:4] != "http")
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.guessed, guessed)
		})
	}
}

func TestForgeAt(t *testing.T) {
	cfg := load(t, `images:
- {name: a, repository: acme/a, source: {provider: gitea, host: "git.example.com:8443", repo: acme/a, workflow: b.yml}}
- {name: b, repository: acme/b, source: {provider: gitlab, host: "git.example.com:9443", repo: acme/b}}
- {name: c, repository: acme/c, source: {provider: git, repo: "https://plain.example/acme/c.git"}}
- {name: d, repository: acme/d}
`)
	for host, want := range map[string]config.Provider{
		"git.example.com:8443": config.Gitea, "git.example.com:9443": config.GitLab, "git.example.com": config.Gitea, "plain.example": "", "": "",
	} {
		var got config.Provider
		if s := cfg.ForgeAt(host); s != nil {
			got = s.Provider
		}
		assert.Equal(t, want, got, host)
	}
}
