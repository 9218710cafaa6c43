package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

const readmeEntry = `- name: myapp
  registry: ghcr.io
  repository: owner/myapp
  source:
    provider: github            # github | gitlab | git
    repo: owner/repo
    branch: main
    dockerfile: apps/myapp/Dockerfile
    workflow: build.yml
  rebuildDelay: 7d
  autoRebuild: true
`

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Load(strings.NewReader(text), "images.yaml")
	require.NoError(t, err)
	return cfg
}

func TestPasswordsAreNotRepeated(t *testing.T) {
	for _, source := range []string{
		`provider: github, repo: "https://user:canary@github.com/o/r"`, `provider: github, repo: "user:canary@o/../r"`,
		`provider: gitlab, repo: "https://user:canary@gitlab.com/g/p?x"`, `provider: github, repo: o/r, host: "user:canary@ghe.example.com"`,
		`provider: git, repo: "https://user:canary@git.example.com/r.git"`, `provider: git, repo: "https://git.example.com/r.git?token=canary"`,
		`provider: git, repo: "https://user:canary%zz@git.example.com/r.git"`, `provider: git, repo: "https://git.example.com/r.git#canary"`,
	} {
		_, err := config.Load(strings.NewReader("- name: a\n  repository: o/a\n  source: {"+source+"}\n"), "images.yaml")
		require.Error(t, err, source)
		assert.NotContains(t, err.Error(), "canary", source)
	}
}

func TestPlainListAndMappingAreTheSame(t *testing.T) {
	list := load(t, readmeEntry)
	mapping := load(t, "images:\n"+readmeEntry)
	require.Len(t, list.Images, 1)
	a, b := list.Images[0], mapping.Images[0]
	a.Line, b.Line = 0, 0
	assert.Equal(t, a, b)
	assert.Equal(t, "ghcr.io/owner/myapp", a.Ref())
	assert.Equal(t, 7*24*time.Hour, a.Delay().Std())
	assert.Equal(t, 28*24*time.Hour, a.MaxDelay().Std())
	assert.Equal(t, config.Settle, a.RebuildPolicy)
	assert.Equal(t, []string{"linux/amd64"}, a.Source.Platforms)
	assert.Equal(t, "https://github.com/owner/repo.git", a.Source.GitURL())
	assert.True(t, a.Rebuilds())
	assert.Equal(t, "image-factory-kargo", list.Factory.Project)
}

func TestDefaults(t *testing.T) {
	cfg := load(t, `
defaults:
  registry: registry.example.com:5000
  rebuildDelay: 3d
  source: {provider: gitlab, host: git.example.com, branch: trunk, pinBases: true, platforms: [linux/amd64, linux/arm64]}
images:
- name: a
  repository: x/a
  source: {repo: group/sub/a}
- name: b
  repository: x/b
  source: {provider: github, repo: o/b, workflow: w.yml, pinBases: false}
  rebuildDelay: 0
- name: pg
  repository: postgres
  tags: "16"
`)
	a, b, pg := cfg.Find("a"), cfg.Find("b"), cfg.Find("pg")
	assert.Equal(t, "registry.example.com:5000/x/a", a.Ref())
	assert.Equal(t, config.Mature, a.RebuildPolicy)
	assert.Equal(t, "https://git.example.com/group/sub/a.git", a.Source.GitURL())
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, a.Source.Platforms)
	assert.Equal(t, "trunk", a.Source.Branch)
	assert.Equal(t, "github.com", b.Source.Host, "the default host is of the default provider")
	assert.Equal(t, config.Settle, b.RebuildPolicy)
	assert.Zero(t, b.Delay())
	assert.Equal(t, "docker.io/library/postgres", pg.Ref())
	assert.Equal(t, &config.Tags{Strategy: config.Digest, Constraint: "16"}, pg.Tags)
	assert.False(t, pg.Rebuilds())
	assert.Equal(t, []string{"a", "b", "pg"}, cfg.Names())
}

func TestEmptyFilesEnrollNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "[]\n", "images: []\n", "images:\n", "---\n"} {
		assert.Empty(t, load(t, text).Images, text)
	}
}

// invalid are documents, and what is wrong with each.
var invalid = map[string]struct {
	text string
	want []string
}{
	"syntax": {"- name: a\n  repository: [\n", []string{"images.yaml:2:15: invalid YAML: did not find expected node content (close the bracket that opens here)"}},
	"unknown keys": {`- name: a
  repositry: o/a
  sorce: {}
`, []string{
		`images.yaml:1:3: image "a" has no repository`,
		`images.yaml:2:3: unknown key "repositry" in images[0] (did you mean "repository"?) [IF002]`,
		`images.yaml:3:3: unknown key "sorce" in images[0] (did you mean "source"?)`,
	}},
	"keys of another level": {`factory: {schedule: 1 * * * *, baseImages: 1h}
registries: {}
images:
- {name: a, repository: o/a, inputs: {x: y}, repo: o/a, target: t, severity: high}
- {name: b, repository: o/b, source: {provider: github, repo: o/b, workflow: b.yml, constraint: latest}}
`, []string{
		`images.yaml:1:32: unknown key "baseImages" in factory (did you mean "poll.baseImages"?)`,
		`images.yaml:2:1: unknown key "registries" in the file (did you mean "factory.registries"?)`,
		`images.yaml:4:30: unknown key "inputs" in images[0] (did you mean "source.inputs"?)`,
		`images.yaml:4:46: unknown key "repo" in images[0] (did you mean "source.repo"?)`,
		`images.yaml:4:57: unknown key "target" in images[0] (did you mean "source.target"?)`,
		`images.yaml:4:68: unknown key "severity" in images[0] (did you mean "urgent.severity"?)`,
		`images.yaml:5:85: unknown key "constraint" in images[1].source (valid: `,
	}},
	"wrong types": {`- name: [a]
  repository: {a: b}
  autoRebuild: perhaps
  source: yes please
- just text
`, []string{
		"images.yaml:1:9: images[0].name: want a string, not a list",
		"images.yaml:2:15: images[0].repository: want a string, not a mapping",
		`images.yaml:3:16: images[0].autoRebuild: want true or false, not "perhaps"`,
		`images.yaml:4:11: images[0].source: want a mapping, not "yes please"`,
		`images.yaml:5:3: images[1]: want a mapping, not "just text"`,
	}},
	"duplicates": {`- {name: a, repository: o/a}
- name: a
  repository: o/b
  name: b
`, []string{
		`images.yaml:2:9: name "a" is taken by the entry on line 1`,
		`images.yaml:4:3: duplicate key "name" in images[1] (first on line 2)`,
	}},
	"durations": {`- {name: a, repository: o/a, rebuildDelay: 7days}
- {name: b, repository: o/b, rebuildDelay: -1d}
- {name: c, repository: o/c, rebuildDelay: 9999999d}
- {name: d, repository: o/d, rebuildDelay: 2w, maxRebuildDelay: 1w}
`, []string{
		`images.yaml:1:44: images[0].rebuildDelay: duration "7days"`,
		`images.yaml:2:44: images[1].rebuildDelay: duration "-1d"`,
		"images.yaml:3:44: images[2].rebuildDelay: duration \"9999999d\" is longer than ten years",
		"images.yaml:4:65: d: maxRebuildDelay 7d is shorter than rebuildDelay 14d",
	}},
	"references": {`- {name: a, repository: "O/A"}
- {name: b, repository: "o/b:tag"}
- {name: c, repository: "o/c", registry: "https://ghcr.io"}
- {name: Not_A_Label, repository: "o/d"}
`, []string{
		`images.yaml:1:25: a: invalid repository "O/A": upper case letters`,
		`images.yaml:2:25: b: repository "o/b:tag" contains a tag (set repository: o/b and tags: "tag")`,
		`images.yaml:3:42: c: registry: want a host without scheme`,
		`images.yaml:4:10: invalid name "Not_A_Label" (use lower case letters, digits and dashes: did you mean "not-a-label"?)`,
	}},
	"sources": {`- name: a
  repository: o/a
  source: {provider: githup, repo: o/a}
- name: b
  repository: o/b
  source: {provider: github, repo: just-one, workflow: ../x, dockerfile: ../../etc/passwd, branch: "a b"}
- name: c
  repository: o/c
  source: {provider: gitlab, repo: g/p, workflow: build.yml, platforms: [amd64], variables: {"a-b": x, OK: "{{bas}}"}}
- name: d
  repository: o/d
  source: {provider: git, repo: "https://user:secret@git.example.com/d.git"}
- name: e
  repository: o/e
  source: {}
- name: f
  repository: o/f
  source: {provider: github, repo: o/f}
`, []string{
		`images.yaml:3:22: a: source.provider: unknown provider "githup" (did you mean "github"?)`,
		`images.yaml:6:36: b: source.repo: invalid GitHub repository "just-one"`,
		`images.yaml:6:56: b: source.workflow: invalid workflow file name "../x"`,
		`images.yaml:6:74: b: source.dockerfile: "../../etc/passwd" is not a path inside the repository`,
		`images.yaml:6:100: b: source.branch: invalid branch name "a b"`,
		`images.yaml:9:41: c: source.workflow: only for provider github or gitea, but the provider is gitlab`,
		`images.yaml:9:74: c: source.platforms[0]: invalid platform "amd64"`,
		`images.yaml:9:94: c: source.variables: invalid variable name "a-b"`,
		`images.yaml:9:108: c: source.variables.OK: unknown placeholder "{{bas}}" (did you mean "base"?)`,
		`images.yaml:12:33: d: source.repo: the URL of host "git.example.com" contains credentials`,
		`images.yaml:15:11: e: source: provider is missing`,
		`images.yaml:18:11: f: source: workflow is missing`,
	}},
	"factory": {`factory:
  project: Not Valid
  schedule: sometimes
  poll: {baseImages: 1s}
  maxConcurrentRebuilds: 0
  state: {url: "git@github.com:o/r.git", path: ../x}
  credentials: {github.com: {git: {secret: a}}, "bad host": {api: {secret: A_B, key: "a b"}}}
  mirrors: {docker.io: ["http://mirror"]}
defaults: {rebuildPolicy: settel}
images: []
`, []string{
		`images.yaml:2:12: invalid factory.project "Not Valid"`,
		"images.yaml:3:13: factory.schedule:",
		"images.yaml:4:22: factory.poll.baseImages: 1s is too short",
		"images.yaml:5:26: factory.maxConcurrentRebuilds: want at least 1",
		`images.yaml:6:16: factory.state.url: invalid URL "git@github.com:o/r.git"`,
		`images.yaml:6:48: factory.state.path: "../x" is not a path inside`,
		"images.yaml:7:35: factory.credentials.github.com.git: want both secret and key",
		`images.yaml:7:49: factory.credentials: invalid host "bad host"`,
		`images.yaml:7:76: factory.credentials.bad host.api.secret: invalid name of a Secret "A_B"`,
		`images.yaml:7:86: factory.credentials.bad host.api.key: invalid key of a Secret "a b"`,
		`images.yaml:8:25: factory.mirrors.docker.io[0]: want a host without scheme`,
		`images.yaml:9:27: defaults.rebuildPolicy: unknown policy "settel" (did you mean "settle"?)`,
	}},
	"state in a folder": {`factory: {state: {url: "file:///srv/images.git"}}
images: []
`, []string{`images.yaml:1:24: factory.state.url: "file:///srv/images.git": want an https URL`}},
	"state by ssh with a password": {`factory: {state: {url: "bot:s3cret@github.com/o/r"}}
images: []
`, []string{`images.yaml:1:24: factory.state.url: (not shown: it may contain a password): want an https URL`}},
	"tags": {`- {name: a, repository: o/a, tags: {strategy: Semver}}
- {name: b, repository: o/b, tags: {strategy: SemVer, constraint: ">>1"}}
- {name: c, repository: o/c, tags: {strategy: Digest}}
- {name: d, repository: o/d, tags: {strategy: Lexical, allow: ["("]}}
`, []string{
		`images.yaml:1:47: a: tags: unknown strategy "Semver" (did you mean "SemVer"?)`,
		"images.yaml:2:67: b: tags.constraint:",
		`images.yaml:3:36: c: tags: strategy Digest follows one tag`,
		"images.yaml:4:64: d: tags.allow[0]: error parsing regexp",
	}},
	"two publishers": {`- {name: a, repository: o/a, source: {provider: git, repo: "https://g.example.com/a"}}
- {name: b, repository: o/a, source: {provider: git, repo: "https://g.example.com/b"}}
`, []string{`images.yaml:2:10: images "a" and "b" both publish to ghcr.io/o/a`}},
	"aliases without bound": {`- &a {name: x, repository: [*b]}
`, []string{"invalid YAML"}},
	"an empty entry":    {"- {name: a, repository: o/a}\n-\n- ~\n", []string{"images.yaml:2:2: images[1] is empty (remove the dash) [IF004]", "images.yaml:3:3: images[2] is empty"}},
	"several documents": {"[]\n---\n[]\n", []string{"images.yaml:2:1: more than one YAML document"}},
	"a broken second":   {"---\n- {name: a, repository: o/a}\n---\n: ]\n", []string{"images.yaml:3:1: more than one YAML document"}},
	"a conflict": {"- name: a\n<<<<<<< HEAD\n  repository: o/a\n=======\n  repository: o/b\n>>>>>>> theirs\n", []string{
		"images.yaml:2:1: unresolved merge conflict (keep the entries of both sides, and remove the lines with <<<<<<<, ======= and >>>>>>>) [IF001]",
	}},
	"an indentation":             {"- name: a\n  repository: o/a\n source: {}\n", []string{"images.yaml:3:2: invalid YAML: did not find expected '-' indicator (check the indentation)"}},
	"a value in a line too deep": {"- name: a\n  repository: o/a\n   tags: x\n", []string{"images.yaml:3:8: invalid YAML: mapping values are not allowed in this context (check the indentation"}},
	"an open quote":              {"- name: a\n  repository: \"o/a\n- name: b\n", []string{"images.yaml:2:15: invalid YAML: found unexpected end of stream (close the quote that opens here) [IF001]"}},
	"a tab":                      {"- name: a\n\trepository: o/a\n", []string{"images.yaml:2:1: invalid YAML: found a tab character that violates indentation (indent with spaces) [IF001]"}},
	"an alias of nothing":        {"- {name: a, repository: *b}\n", []string{"images.yaml:1:25: invalid YAML: unknown anchor 'b' referenced [IF001]"}},
	"an alias of itself":         {"- &x {name: a, repository: *x}\n", []string{"images.yaml:1:28: aliases expand too far or contain themselves"}},
	"what an alias stands for": {"- {name: a, repository: o/a, source: &s {provider: githup, repo: o/a, workflow: b.yml}}\n- {name: b, repository: o/b, source: *s}\n", []string{
		`images.yaml:1:52: a: source.provider: unknown provider "githup" (did you mean "github"?) [IF003]`,
		`images.yaml:1:52: b: source.provider: unknown provider "githup" (did you mean "github"?) [IF003]`,
	}},
	"an underscore in a name": {"- {name: ml_worker, repository: o/a}\n", []string{
		`images.yaml:1:10: invalid name "ml_worker" (use lower case letters, digits and dashes: did you mean "ml-worker"?) [IF003]`,
	}},
	"not a list":        {"just text\n", []string{"images.yaml:1:1: want a list of images, or a mapping"}},
	"no images":         {"factory: {}\n", []string{`images.yaml:1:1: key "images" is missing`}},
	"external rebuilds": {"- {name: a, repository: o/a, autoRebuild: true}\n", []string{"an external image is never rebuilt"}},
}

func TestEveryProblemIsReportedWithItsPlace(t *testing.T) {
	for name, tt := range invalid {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Load(strings.NewReader(tt.text), "images.yaml")
			assert.Nil(t, cfg)
			var list finding.List
			require.ErrorAs(t, err, &list)
			require.Len(t, list, len(tt.want), "%v", err)
			for i, want := range tt.want {
				assert.Contains(t, list[i].String(), want)
			}
		})
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := config.Duration(time.Duration(rapid.Int64Range(0, 10*365*24*3600).Draw(t, "seconds")) * time.Second)
		back, err := config.ParseDuration(d.String())
		require.NoError(t, err)
		require.Equal(t, d, back)
	})
}

// note is a list whose last entry ends in the inputs of its source.
const note = "- name: a\n  repository: o/a\n  source:\n    provider: github\n    repo: o/a\n    workflow: b.yml\n    inputs:\n"

// rest is what follows the name of the added entry.
func rest(indent int) string {
	var b strings.Builder
	for _, line := range []string{"repository: o/new", "source:", "  provider: github", "  repo: o/new", "  workflow: b.yml"} {
		b.WriteString(strings.Repeat(" ", indent) + line + "\n")
	}
	return b.String()
}

func TestAppendKeepsTheFile(t *testing.T) {
	img := &config.Image{Name: "new", Repository: "o/new", Source: &config.Source{Provider: config.GitHub, Repo: "o/new", Workflow: "b.yml"}}
	tests := map[string]struct{ before, after string }{
		"empty file":    {"", "- name: new\n  repository: o/new\n  source:\n    provider: github\n    repo: o/new\n    workflow: b.yml\n"},
		"empty list":    {"# c\n[]\n", "# c\n\n- name: new\n  repository: o/new\n  source:\n    provider: github\n    repo: o/new\n    workflow: b.yml\n"},
		"empty mapping": {"images: [] # none\nfactory: {} # f\n", "images: # none\n  - name: new\n    repository: o/new\n    source:\n      provider: github\n      repo: o/new\n      workflow: b.yml\nfactory: {} # f\n"},
		"list with comments": {
			"# head\n- name: a # the first\n  repository: o/a\n\n# tail\n",
			"# head\n- name: a # the first\n  repository: o/a\n- name: new\n  repository: o/new\n  source:\n    provider: github\n    repo: o/new\n    workflow: b.yml\n\n# tail\n",
		},
		"indented, in the middle, no newline at the end": {
			"images:\n    -   name: a\n        repository: o/a\nfactory:\n  project: x",
			"images:\n    -   name: a\n        repository: o/a\n    - name: new\n      repository: o/new\n      source:\n        provider: github\n        repo: o/new\n        workflow: b.yml\nfactory:\n  project: x",
		},
		"tilde":               {"images: ~\nfactory: {}\n", "images:\n  - name: new\n" + rest(4) + "factory: {}\n"},
		"spaced brackets":     {"images: [ ] # x [] y\n", "images: # x [] y\n  - name: new\n" + rest(4)},
		"brackets below":      {"images:\n  [\n  ]\n", "images:\n  - name: new\n" + rest(4) + "\n"},
		"comment with []":     {"images: # list: of [] images\n", "images: # list: of [] images\n  - name: new\n" + rest(4)},
		"whole file brackets": {"[\n]\n", "\n- name: new\n" + rest(2)},
		"dash alone":          {"images:\n  -\n    name: a\n    repository: o/a\n", "images:\n  -\n    name: a\n    repository: o/a\n  - name: new\n" + rest(4)},
		"block text with a blank line": {
			note + "      a: |\n        x\n\n        y\n\n# tail\n",
			note + "      a: |\n        x\n\n        y\n- name: new\n" + rest(2) + "\n# tail\n",
		},
		"block text that keeps blank lines": {
			note + "      a: |+\n        x\n\n\n# tail\n",
			note + "      a: |+\n        x\n\n\n- name: new\n" + rest(2) + "# tail\n",
		},
		"quoted text at the margin": {
			note + "      a: \"x\n\ny\"\n",
			note + "      a: \"x\n\ny\"\n- name: new\n" + rest(2),
		},
		"entries set apart": {
			"- name: a\n  repository: o/a\n\n- name: b\n  repository: o/b\n",
			"- name: a\n  repository: o/a\n\n- name: b\n  repository: o/b\n\n- name: new\n" + rest(2),
		},
		"flow entry over lines": {
			"- {name: a, registry: docker.io,\n   repository: o/a\n  }\n",
			"- {name: a, registry: docker.io,\n   repository: o/a\n  }\n- name: new\n" + rest(2),
		},
		"crlf": {
			"- name: a\r\n  repository: o/a\r\n",
			"- name: a\r\n  repository: o/a\r\n- name: new\r\n  repository: o/new\r\n  source:\r\n    provider: github\r\n    repo: o/new\r\n    workflow: b.yml\r\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := config.Append([]byte(tt.before), "images.yaml", img)
			require.NoError(t, err)
			assert.Equal(t, tt.after, string(out))
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	_, err := config.Append([]byte("- {name: new, repository: o/x}\n"), "images.yaml", &config.Image{Name: "new", Repository: "o/new"})
	require.ErrorContains(t, err, `images.yaml: name "new" is taken by the entry on line 1`)
	_, err = config.Append([]byte("[{name: a, repository: o/x}]\n"), "images.yaml", &config.Image{Name: "new", Repository: "o/new"})
	require.ErrorContains(t, err, "flow style")
	_, err = config.Append([]byte("- name: a\r  repository: o/a\r"), "images.yaml", &config.Image{Name: "new", Repository: "o/new"})
	require.ErrorContains(t, err, "by hand")
	_, err = config.Append(nil, "images.yaml", &config.Image{Name: "new"})
	require.ErrorContains(t, err, "has no repository")
}

func FuzzLoad(f *testing.F) {
	f.Add(readmeEntry)
	f.Add("images: &a [*a]\n")
	f.Add("defaults: {source: {provider: git}}\nimages:\n- {name: a, repository: b/c, source: {repo: x}, tags: v1}\n")
	f.Add("factory: {credentials: {github.com: {api: {secret: s, key: k}}}, mirrors: {docker.io: [m.example.com]}}\nimages: []\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := config.Load(strings.NewReader(text), "f")
		var list finding.List
		switch {
		case err == nil:
			for i := range cfg.Images {
				require.NotNil(t, cfg.Find(cfg.Images[i].Name))
				require.NotNil(t, cfg.Images[i].RebuildDelay)
			}
		case errors.As(err, &list):
			for _, p := range list {
				require.Positive(t, p.Line)
			}
		default:
			t.Fatalf("not a list of findings: %v", err)
		}
	})
}

func TestServerHosts(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory:
  state: {url: "https://git.example.com:8443/acme/state.git"}
  mirrors: {quay.io: [mirror.example/quay]}
images:
- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: build.yml}}
- {name: lib, registry: localhost:5000, repository: acme/lib, source: {provider: gitlab, host: gitlab.example, repo: acme/lib}}
- {name: db, repository: library/postgres}
`), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"api.github.com", "ghcr.io", "git.example.com:8443", "github.com", "gitlab.example", "index.docker.io", "localhost:5000", "mirror.example",
	}, cfg.ServerHosts())
}
