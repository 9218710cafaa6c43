package buildfile_test

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/platforms"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
)

// printed is what `buildx bake --print` says about a target. test/loop compares the recorded files with a real buildx.
type printed struct {
	Context    string            `json:"context"`
	Dockerfile string            `json:"dockerfile"`
	Target     string            `json:"target"`
	Args       map[string]string `json:"args"`
	Contexts   map[string]string `json:"contexts"`
	Platforms  []string          `json:"platforms"`
}

// refused are the targets that buildx evaluates with the environment, the clock or the machine where it runs, with our error. For
// a variable without a value, and for its functions that depend on something else, buildx puts in what it has.
var refused = map[string]string{}

func TestAsBuildx(t *testing.T) {
	files, err := filepath.Glob("testdata/buildx/*")
	require.NoError(t, err)
	unseen := maps.Clone(refused)
	for _, file := range files {
		if path.Ext(file) == ".print" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			recorded, err := os.ReadFile(file + ".print")
			require.NoError(t, err)
			var answer struct {
				Target map[string]printed `json:"target"`
			}
			require.NoError(t, json.Unmarshal(recorded, &answer))
			require.NotEmpty(t, answer.Target)
			for _, name := range slices.Sorted(maps.Keys(answer.Target)) {
				key := filepath.Base(file) + " " + name
				b, err := read(filepath.Base(file), text, name)
				if want, ok := refused[key]; ok {
					delete(unseen, key)
					require.EqualError(t, err, want)
					continue
				}
				if assert.NoError(t, err, name) {
					same(t, name, answer.Target[name], b)
				}
			}
		})
	}
	assert.Empty(t, unseen)
}

func read(file string, text []byte, name string) (*buildfile.Build, error) {
	if slices.Contains([]string{".yaml", ".yml"}, path.Ext(file)) {
		b, _, err := buildfile.ComposeService(file, text, name, nil)
		return b, err
	}
	return buildfile.BakeTarget(file, text, ".", name)
}

func same(t *testing.T, name string, want printed, got *buildfile.Build) {
	t.Helper()
	assert.Equal(t, path.Join(want.Context, want.Dockerfile), got.Dockerfile, name)
	assert.Equal(t, path.Clean(want.Context), got.Context, name)
	assert.Equal(t, want.Target, got.Target, name)
	for arg, x := range got.Missing {
		_, ok := want.Args[arg]
		assert.True(t, ok, "%s: %s: %s", name, arg, x)
		delete(want.Args, arg)
	}
	for arg, v := range want.Args { // printed as a bake file has to hold them
		want.Args[arg] = strings.NewReplacer("$${", "${", "%%{", "%{").Replace(v)
	}
	if len(want.Args)+len(got.Args) > 0 {
		assert.Equal(t, want.Args, got.Args, name)
	}
	for context, v := range got.Contexts {
		if !strings.Contains(v, ":") {
			got.Contexts[context] = path.Clean(v)
		}
	}
	if len(want.Contexts)+len(got.Contexts) > 0 {
		assert.Equal(t, want.Contexts, got.Contexts, name)
	}
	if got.Platform == nil {
		var platforms []string
		for _, p := range want.Platforms {
			platforms = append(platforms, containerd.FormatAll(containerd.Normalize(containerd.MustParse(p))))
		}
		assert.Equal(t, platforms, got.Platforms, name)
	} else {
		var refused *buildfile.Error
		require.ErrorAs(t, got.Platform, &refused)
		assert.Contains(t, want.Platforms, "local", "%s: %s", name, got.Platform)
	}
}
