package migrate_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/migrate"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// checkPlan checks what must hold of every migration: what is written is valid, every entry is enrolled or reported, and
// what is to be deleted by hand can be given to a shell.
func checkPlan(t require.TestingT, p *migrate.Plan, dir string) {
	cfg, err := config.Load(strings.NewReader(string(p.Files["images.yaml"])), "images.yaml")
	require.NoError(t, err)
	require.Len(t, cfg.Images, p.Enrolled)
	missing := 0
	for _, f := range p.Findings {
		require.NotEmpty(t, f.File)
		require.NotEmpty(t, f.Message)
		if f.Severity == finding.Error || strings.Contains(f.Message, "the entries are merged") {
			missing++
		}
	}
	require.Equal(t, p.Images, p.Enrolled+missing, "an entry is lost:\n%s", p.Findings)
	for _, o := range append(p.Old, p.Kept...) {
		require.Regexp(t, `^[a-z0-9][-a-z0-9.]*$`, o.Name)
	}
	written, err := p.Write(dir, false)
	require.NoError(t, err)
	require.Len(t, written, len(p.Files))
	again, err := p.Write(dir, false)
	require.NoError(t, err)
	require.Empty(t, again)
	st, err := state.Load(os.DirFS(filepath.Join(dir, "state")), "state")
	require.NoError(t, err)
	g := graph.Build(cfg, st)
	require.Empty(t, g.Cycles())
	for name, b := range st.Bases {
		ref, err := state.ParseRef(b.Ref())
		require.NoError(t, err)
		require.Equal(t, b.Ref(), ref.String())
		require.Equal(t, name, g.BaseName(ref))
		require.Equal(t, name, graph.Build(cfg, &state.State{Images: st.Images}).BaseName(ref), "as analyze would name it")
		require.NotEmpty(t, g.Dependents(name), "nothing uses %s", name)
		require.True(t, b.Baseline == nil || isDigest(b.Baseline.Digest) && !b.Baseline.FirstSeen.After(now))
		for _, c := range b.Candidates {
			require.True(t, isDigest(c.Digest) && !c.FirstSeen.IsZero() && !c.FirstSeen.After(now))
			require.False(t, c.FirstSeen.Before(b.Baseline.FirstSeen.Time))
		}
	}
	for name, img := range st.Images {
		require.NotNil(t, cfg.Find(name))
		require.Equal(t, cfg.Find(name).Ref(), img.Repository)
		require.True(t, img.CurrentDigest == "" || isDigest(img.CurrentDigest))
		for _, use := range img.BaseImages {
			ref, err := state.ParseRef(use.Ref)
			require.NoError(t, err)
			require.Equal(t, use.Ref, ref.String())
		}
	}
}

func isDigest(s string) bool { return len(s) == len(digestA) && strings.HasPrefix(s, "sha256:") }

const digestA, digestB = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// values are what people and the old tool write, and what they should not.
var values = map[string][]string{
	"name": {"web", "api", "Web", "my.app", "\"; rm -rf /\"", "../../etc", "2048", "on", "a-name-that-is-much-longer-than-the-forty-nine-characters-that-fit", "\"\\e[31m\"",
		"null", "{a: b}", "web # the shop", "é"},
	"registry":               {"ghcr.io", "docker.io", "registry.example.com:5000", "https://x", "null", "1"},
	"repository":             {"acme/web", "acme/api", "redis", "UPPER/x", "null", "[a]", "acme/web:1", "&a acme/x", "library/postgres"},
	"repoURL":                {"ghcr.io/acme/other", "x", "null"},
	"rebuildDelay":           {"7d", "0", "14d", "2 weeks", "P7D", "null", "1.5", "{}", "-1d"},
	"autoRebuild":            {"true", "false", "yes", "off", "maybe", "null"},
	"allowTags":              {"^16-alpine$", "^.*$", "'^v\\d+$'", "'(?!x)'", "[a, b]", "null", "'*'"},
	"imageSelectionStrategy": {"Lexical", "SemVer", "NewestBuild", "Digest", "newest", "null"},
	"semverConstraint":       {"^1.2", "'>=0.1.0'", "garbage in", "null", "'16'"},
	"updates":                {"null", "{semverConstraint: ^1}", "{enabled: true}", "[1]", "weekly"},
	"local":                  {"null", "{dir: local/x, patchFiles: [a.patch]}", "{dockerfile: Dockerfile, dir: d}", "yes", "[]"},
	"tags":                   {"'1'", "{strategy: SemVer}", "{strategy: x}"},
	"owner":                  {"team", "null", "{a: [1, {b: c}]}", "|\n        # text\n        more"},
	"provider":               {"github", "gitlab", "git", "GitHub", "bitbucket", "null"},
	"repo":                   {"acme/web", "acme/api", "https://github.com/acme/web", "null", "a/b/c", "../x"},
	"branch":                 {"main", "release/1.x", "'..'", "null"},
	"dockerfile":             {"Dockerfile", "./apps/web/Dockerfile", "/Dockerfile", "../Dockerfile", "null"},
	"workflow":               {"build.yml", ".github/workflows/build.yml", "null", "'a b'"},
	"inputs":                 {"{a: '{{image}}'}", "{version_bump: major}", "[x]", "null"},
	"target":                 {"prod", "null"},
}

var (
	sourceKeys = []string{"provider", "repo", "branch", "dockerfile", "workflow", "inputs", "target", "owner"}
	entryKeys  = []string{"registry", "repository", "repoURL", "rebuildDelay", "autoRebuild", "allowTags", "imageSelectionStrategy", "semverConstraint", "updates", "local", "tags", "owner"}
)

func pick(t *rapid.T, key string) string { return rapid.SampledFrom(values[key]).Draw(t, key) }

func drawEntry(t *rapid.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- name: %s\n", pick(t, "name"))
	indent := "  "
	if rapid.IntRange(0, 3).Draw(t, "nested") == 0 {
		b.WriteString("  enrollment:\n")
		indent = "    "
	}
	b.WriteString(indent + "# above\n")
	fmt.Fprintf(&b, "%srepository: %s\n", indent, pick(t, "repository"))
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(entryKeys[2:]), 0, 5, rapid.ID).Draw(t, "keys") {
		fmt.Fprintf(&b, "%s%s: %s\n", indent, key, pick(t, key))
	}
	if rapid.Bool().Draw(t, "managed") {
		b.WriteString(indent + "source: # where\n")
		fmt.Fprintf(&b, "%s  repo: %s\n", indent, pick(t, "repo"))
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(sourceKeys), 0, 5, rapid.ID).Draw(t, "source") {
			if key != "repo" {
				fmt.Fprintf(&b, "%s  %s: %s # %s\n", indent, key, strings.ReplaceAll(pick(t, key), "|\n        # text\n        more", "x"), key)
			}
		}
	}
	return b.String()
}

var (
	anyDigest = rapid.SampledFrom([]string{"null", digestA, digestB, "sha256:abc123", "[]"})
	anyTime   = rapid.SampledFrom([]string{"null", "'2025-01-02T03:04:05.678+00:00'", "2025-02-03 04:05:06", "'2031-01-01T00:00:00Z'", "yesterday", "2025-02-01"})
	anyRef    = rapid.SampledFrom([]string{"node:22", "docker.io/library/node:22", "ghcr.io/acme/web:1", "quay.io/acme/web:1", "ghcr.io/acme/api", "--platform=$X", "UP:1", "null",
		"alpine@" + digestA, "alpine:3.22@" + digestA, "localhost:5000/x:1.10"})
	baseNames = []string{"node-22", "library-node-22", "acme-web-1", "ghcr.io-acme-api", "Odd_Name"}
)

func drawBase(t *rapid.T, name string) string {
	return fmt.Sprintf("name: %s\nfullImage: %s\ntag: 1.10\ncurrentDigest: %s\npreviousDigest: %s\nlastUpdated: %s\nfirstDiscovered: %s\nlastChecked: %s\nupdateHistory: [{to: %s, at: %s}]\nmetadata: {a: 1}\n",
		name, anyRef.Draw(t, "ref"), anyDigest.Draw(t, "current"), anyDigest.Draw(t, "previous"), anyTime.Draw(t, "updated"), anyTime.Draw(t, "first"), anyTime.Draw(t, "checked"),
		anyDigest.Draw(t, "to"), anyTime.Draw(t, "at"))
}

func drawImage(t *rapid.T) string {
	return fmt.Sprintf("name: %s\nenrolledAt: x\nenrollment: {repository: %s}\nbaseImages: [%s]\ncurrentVersion: %s\ncurrentDigest: %s\nlastBuilt: %s\n", pick(t, "name"), pick(t, "repository"),
		strings.Join(rapid.SliceOfDistinct(rapid.SampledFrom(append([]string{"nowhere", "null"}, baseNames...)), rapid.ID).Draw(t, "uses"), ", "),
		rapid.SampledFrom([]string{"null", "1.10", "a b"}).Draw(t, "version"), anyDigest.Draw(t, "digest"), anyTime.Draw(t, "built"))
}

// TestNothingIsLost: whatever stands in the old files, what is written is valid and no entry and no comment is lost.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var text strings.Builder
		text.WriteString("# our fleet\n\n")
		entries := rapid.IntRange(0, 6).Draw(r, "entries")
		for i := range entries {
			fmt.Fprintf(&text, "# entry %d\n%s\n", i, drawEntry(r))
		}
		if entries == 0 {
			text.WriteString("[]\n")
		}
		text.WriteString("# the end\n")
		fsys := fstest.MapFS{"images.yaml": {Data: []byte(text.String())}, "base-images/x.example.yaml": {Data: []byte("name: [")}}
		for i := range rapid.IntRange(0, 4).Draw(r, "images") {
			fsys[fmt.Sprintf("images/i%d.yaml", i)] = &fstest.MapFile{Data: []byte(drawImage(r))}
		}
		for i, name := range rapid.SliceOfN(rapid.SampledFrom(baseNames), 0, 5).Draw(r, "bases") {
			fsys[fmt.Sprintf("base-images/b%d.yaml", i)] = &fstest.MapFile{Data: []byte(drawBase(r, name))}
		}
		p, err := migrate.Read(fsys, "old", now)
		require.NoError(r, err, text.String())
		require.Equal(r, entries, p.Images)
		checkPlan(r, p, t.TempDir())
		out := string(p.Files["images.yaml"])
		comments := []string{"# our fleet", "# the end"}
		for i := range entries {
			comments = append(comments, fmt.Sprintf("# entry %d", i))
		}
		for line := range strings.Lines(text.String()) {
			if _, c, found := strings.Cut(line, " # "); found && !strings.Contains(line, "# text") {
				comments = append(comments, strings.TrimSpace(c))
			}
		}
		for _, c := range comments {
			assert.Contains(r, out, c, text.String())
		}
		twice, err := migrate.Read(fsys, "old", now)
		require.NoError(r, err)
		require.Equal(r, p, twice, "the same input, the same plan")
	})
}

// FuzzRead: no bytes make it panic, or write what is not valid.
func FuzzRead(f *testing.F) {
	f.Add("- name: web\n  repository: acme/web\n  source: {repo: a/b, workflow: b.yml} # x\n", "name: web\nbaseImages: [node-22]\n", "name: node-22\nfullImage: node:22\n")
	f.Add("# a\n- &a {name: a, repository: b}\n- <<: *a\n  name: c\n", "name: a\ncurrentDigest: "+digestA+"\n", "name: x\nfullImage: ghcr.io/b:1\nupdateHistory: [&y [*y]]\n")
	f.Add("[{name: x, repository: y, 'a\u0085b': 1}]", "- 1", "")
	f.Add("- name: !!binary aGk=\n  repository: ? x\n- - a\n-\n", "a: &a\n  <<: *a\n", "\xff")
	f.Fuzz(func(t *testing.T, images, image, base string) {
		fsys := fstest.MapFS{
			"image-factory/images.yaml":                   {Data: []byte(images)},
			"image-factory/state/images/a.yaml":           {Data: []byte(image)},
			"image-factory/state/base-images/b.yaml":      {Data: []byte(base)},
			"image-factory/dist/image-factory.k8s.yaml":   {Data: []byte(base)},
			"image-factory/state/images/link.yaml":        {Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")},
			"image-factory/state/base-images/d.yaml/keep": {},
		}
		p, err := migrate.Read(fsys, "", now)
		if err != nil {
			var list finding.List
			require.ErrorAs(t, err, &list, "only what is no list of images is refused")
			return
		}
		checkPlan(t, p, t.TempDir())
	})
}
