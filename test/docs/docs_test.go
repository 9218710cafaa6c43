// Package docs_test holds the documentation to what there is: links, commands, packages, files.
package docs_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

const root = "../.."

// pages returns the text of every page, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(root + "/*.md")
	require.NoError(t, err)
	more, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	out := map[string]string{}
	for _, file := range append(files, more...) {
		out[strings.TrimPrefix(filepath.ToSlash(file), root+"/")] = read(t, file)
	}
	require.NotEmpty(t, out)
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	special = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a page, as GitHub makes them of its headings.
func anchors(page string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		out = append(out, strings.ReplaceAll(special.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

func TestLinks(t *testing.T) {
	all := pages(t)
	for name, page := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(name), file))
			}
			_, err := os.Stat(filepath.Join(root, target))
			require.NoError(t, err, "%s links to %s", name, m[1])
			if anchor != "" {
				assert.Contains(t, anchors(all[target]), anchor, "%s links to %s", name, m[1])
			}
		}
	}
}

var (
	quoted = regexp.MustCompile("(?m)`imagefactory ([^`]+)`|^ {4,}(?:\\$ )?imagefactory ([^#|>&\n]+)")
	flag   = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*)`)
)

// TestCommands: every command that a page quotes exists, with its flags.
func TestCommands(t *testing.T) {
	help := map[string]string{}
	for name, page := range pages(t) {
		for _, m := range quoted.FindAllStringSubmatch(page, -1) {
			line := m[1] + m[2]
			command := regexp.MustCompile(`^[a-z]+`).FindString(line)
			if command == "" || strings.HasPrefix(line, "COMMAND") {
				continue
			}
			if _, ok := help[command]; !ok {
				var out bytes.Buffer
				code := cli.Main(t.Context(), []string{command, "--help"}, &cli.Env{
					In: strings.NewReader(""), Out: &out, Err: &out, Now: time.Now, Getenv: func(string) string { return "" },
				})
				require.Zero(t, code, "%s: imagefactory %s: there is no such command", name, line)
				help[command] = out.String()
			}
			for _, f := range flag.FindAllStringSubmatch(line, -1) {
				assert.Regexp(t, f[1]+`\b`, help[command], "%s: imagefactory %s", name, line)
			}
		}
	}
	assert.Greater(t, len(help), 10)
}

// sources returns the folders with Go code below the root, sorted.
func sources(t *testing.T) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go"):
			out = append(out, filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, root+"/"))))
		}
		return nil
	}))
	slices.Sort(out)
	return slices.Compact(out)
}

var row = regexp.MustCompile("(?m)^\\| `((?:cmd|pkg|test)/[^`]*)` \\| (.*) \\|$")

// TestPackages: CONTRIBUTING has a row for each package, and for no other. `test/…` stands for everything below test.
func TestPackages(t *testing.T) {
	var listed []string
	for _, m := range row.FindAllStringSubmatch(read(t, root+"/CONTRIBUTING.md"), -1) {
		listed = append(listed, m[1])
	}
	var want []string
	for _, folder := range sources(t) {
		for _, group := range []string{"test/", "pkg/internal/"} {
			if strings.HasPrefix(folder, group) {
				folder = group + "…"
			}
		}
		want = append(want, folder)
	}
	slices.Sort(listed)
	assert.Equal(t, slices.Compact(want), listed)
}

var (
	layers   = regexp.MustCompile(`(?s)<!-- layers -->\n(.*?)<!-- /layers -->`)
	imported = regexp.MustCompile(`(?m)^\s*(?:\w+ )?"github.com/imagefactory/imagefactory/([^"]+)"$`)
)

// TestLayers: a package imports only packages of the layers below it.
func TestLayers(t *testing.T) {
	m := layers.FindStringSubmatch(read(t, root+"/CONTRIBUTING.md"))
	require.NotNil(t, m, "CONTRIBUTING has no list of layers")
	level := map[string]int{}
	for i, line := range strings.Split(strings.TrimSpace(m[1]), "\n") {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			level[name[1]] = i
		}
	}
	for _, folder := range sources(t) {
		if !strings.HasPrefix(folder, "pkg/") || strings.HasPrefix(folder, "pkg/internal/") {
			continue
		}
		from, ok := level[strings.TrimPrefix(folder, "pkg/")]
		if !assert.True(t, ok, "%s is in no layer", folder) {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range imported.FindAllStringSubmatch(read(t, file), -1) {
				to := strings.TrimPrefix(m[1], "pkg/")
				if strings.HasPrefix(to, "internal/") {
					continue
				}
				assert.Greater(t, level[to], from, "%s imports %s, which is not below it", file, m[1])
			}
		}
	}
}

// TestWalks: the files of the reader's walks exist.
func TestWalks(t *testing.T) {
	_, walks, found := strings.Cut(read(t, root+"/CONTRIBUTING.md"), "## A reader's walk")
	require.True(t, found)
	files := regexp.MustCompile("(?m)^\\d+\\. `([^`]+)`").FindAllStringSubmatch(walks, -1)
	assert.Greater(t, len(files), 15)
	for _, m := range files {
		_, err := os.Stat(filepath.Join(root, m[1]))
		assert.NoError(t, err)
	}
}

// TestJSONKeys: docs/json.md mentions every key of every kind.
func TestJSONKeys(t *testing.T) {
	page := read(t, root+"/docs/json.md")
	files, err := filepath.Glob(root + "/docs/schemas/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		var schema any
		require.NoError(t, json.Unmarshal([]byte(read(t, file)), &schema))
		for _, key := range properties(schema) {
			if !strings.Contains(page, "`"+key+"`") { // the message of assert.Contains would hold the page
				t.Errorf("docs/json.md lacks the key %s of %s", key, file)
			}
		}
	}
}

// properties returns the names of all properties in a JSON schema.
func properties(schema any) []string {
	var names []string
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			names = append(names, properties(v)...)
		}
	case map[string]any:
		for key, v := range s {
			if p, ok := v.(map[string]any); ok && key == "properties" {
				names = slices.AppendSeq(names, maps.Keys(p))
			}
			names = append(names, properties(v)...)
		}
	}
	return names
}

// TestOfflineCommands runs the README's commands of level 1 as a newcomer would, beside a checkout of acme/web.
func TestOfflineCommands(t *testing.T) {
	_, rest, found := strings.Cut(read(t, root+"/README.md"), "With your own Dockerfiles, without any network:\n")
	require.True(t, found)
	block, _, found := strings.Cut(rest, "An entry of")
	require.True(t, found)

	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/web", 0o750))
	require.NoError(t, os.WriteFile(dir+"/web/Dockerfile", []byte("FROM node:22\n"), 0o600))
	require.NoError(t, os.Mkdir(dir+"/fleet", 0o750))
	t.Chdir(dir + "/fleet")
	var out bytes.Buffer
	n := 0
	for _, m := range quoted.FindAllStringSubmatch(block, -1) {
		n++
		code := cli.Main(t.Context(), strings.Fields(m[2]), &cli.Env{
			In: strings.NewReader(""), Out: &out, Err: &out, Now: time.Now, Getenv: func(string) string { return "" },
		})
		require.Zero(t, code, "imagefactory %s\n%s", m[2], &out)
	}
	assert.Equal(t, 5, n)
	assert.Contains(t, out.String(), "node:22\n└─ web", "the graph shows the base image")
}

var (
	threatRow = regexp.MustCompile(`(?m)^\| (\*\*.*) \|$`)
	testName  = regexp.MustCompile("`((?:pkg|test)/[a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)(?:/([a-z_]+))?`")
)

// TestThreats: each threat of the threat model names tests, and all of them exist.
func TestThreats(t *testing.T) {
	rows := threatRow.FindAllStringSubmatch(read(t, root+"/docs/threat-model.md"), -1)
	require.Greater(t, len(rows), 10)
	for _, row := range rows {
		cells := strings.Split(row[1], " | ")
		require.Len(t, cells, 3, row[1])
		named := testName.FindAllStringSubmatch(cells[2], -1)
		assert.NotEmpty(t, named, cells[0])
		assert.Empty(t, strings.TrimSpace(testName.ReplaceAllString(cells[2], "")), cells[0])
		for _, test := range named {
			assert.True(t, hasTest(t, test[1], test[2]), "%s: no test %s in %s", cells[0], test[2], test[1])
			if test[3] != "" {
				assert.FileExists(t, filepath.Join(root, test[1], "testdata/script", test[3]+".txtar"))
			}
		}
	}
}

// hasTest reports whether a package has a test function.
func hasTest(t *testing.T, pkg, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	require.NoError(t, err)
	return slices.ContainsFunc(files, func(file string) bool { return strings.Contains(read(t, file), "\nfunc "+name+"(") })
}

// TestEveryModuleIsUpdated compares the Go modules with those that Dependabot updates.
func TestEveryModuleIsUpdated(t *testing.T) {
	var modules []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if d.Name() == "go.mod" {
			modules = append(modules, "/"+strings.Trim(strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), root), "/"))
		}
		return err
	}))
	var config struct {
		Updates []struct {
			Ecosystem   string   `json:"package-ecosystem"`
			Directories []string `json:"directories"`
		} `json:"updates"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, root+"/.github/dependabot.yml")), &config))
	for _, u := range config.Updates {
		if u.Ecosystem == "gomod" {
			assert.ElementsMatch(t, modules, u.Directories)
			return
		}
	}
	require.Fail(t, "no Go modules in dependabot.yml")
}
