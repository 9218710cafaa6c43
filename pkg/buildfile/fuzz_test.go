package buildfile_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
)

// sound holds what every result must hold: no placeholder is left, and every path is inside of the repository.
func sound(t *testing.T, b *buildfile.Build, err error) {
	t.Helper()
	if err != nil {
		require.Nil(t, b)
		require.NotContains(t, err.Error(), "\x01")
		return
	}
	texts := []string{b.Context, b.Dockerfile, b.Target}
	for name, v := range b.Args {
		texts = append(texts, v)
		require.NotContains(t, b.Missing, name)
	}
	for _, v := range b.Contexts {
		texts = append(texts, v)
	}
	for _, text := range append(texts, b.Platforms...) {
		require.NotContains(t, text, "\x01")
	}
	require.True(t, filepath.IsLocal(b.Dockerfile), b.Dockerfile)
	require.Equal(t, path.Clean(b.Dockerfile), b.Dockerfile)
	for _, link := range b.Links {
		sound(t, link, nil)
	}
}

func seeds(f *testing.F, ext ...string) {
	f.Helper()
	files, err := filepath.Glob("testdata/buildx/*")
	require.NoError(f, err)
	for _, file := range files {
		for _, e := range ext {
			if path.Ext(file) == e {
				text, err := os.ReadFile(file)
				require.NoError(f, err)
				f.Add(string(text))
			}
		}
	}
}

func FuzzBake(f *testing.F) {
	seeds(f, ".hcl", ".json")
	f.Add(`target "default" { contexts = { a = "target:default" } }`)
	f.Add("target \"a\" {}\ntarget \"b\" {\n matrix = { i = [1, 2] }\n name = \"b-${item.n}\"\n}\ngroup \"default\" { targets = [\"a\", \"b\"] }\n")
	f.Fuzz(func(t *testing.T, text string) {
		name := "docker-bake.hcl"
		if strings.HasPrefix(text, "{") {
			name = "docker-bake.json"
		}
		for _, target := range []string{"default", "app"} {
			b, err := buildfile.BakeTarget(name, []byte(text), ".", target)
			sound(t, b, err)
		}
		bake, err := buildfile.ParseBake(name, []byte(text), buildfile.Options{Unknown: func(x buildfile.Expression) string { return "<" + x.Text + ">" }})
		if err == nil {
			for _, name := range bake.Names(nil) {
				assert.NotNil(t, bake.Resolve(name))
			}
		}
	})
}

func FuzzCompose(f *testing.F) {
	seeds(f, ".yaml")
	f.Add("services: {web: {build: {context: '${A:-${B}}', args: [X, Y=$Z], additional_contexts: {a: 'service:web'}}}}")
	f.Fuzz(func(t *testing.T, text string) {
		b, _, err := buildfile.ComposeService("compose.yaml", []byte(text), "web", []byte(text))
		sound(t, b, err)
	})
}
