package dockerfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

var update = flag.Bool("update", false, "write the want.json files")

// fixture is a folder with a Dockerfile, and where it has any, options.json and
// configs.json: those of base images.
type fixture struct {
	dir     string
	src     []byte
	opts    dockerfile.Options
	configs map[string]string
}

func fixtures(t testing.TB, kind string) []fixture {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", kind, "*", "Dockerfile"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	var all []fixture
	for _, path := range paths {
		f := fixture{dir: filepath.Dir(path)}
		f.src, err = os.ReadFile(path)
		require.NoError(t, err)
		opts, err := os.ReadFile(filepath.Join(f.dir, "options.json"))
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
			dec := json.NewDecoder(bytes.NewReader(opts))
			dec.DisallowUnknownFields()
			require.NoError(t, dec.Decode(&f.opts), f.dir)
		}
		configs, err := os.ReadFile(filepath.Join(f.dir, "configs.json"))
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
			var raw map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(configs, &raw), f.dir)
			f.configs = map[string]string{}
			for ref, config := range raw {
				f.configs[ref] = string(config)
			}
			f.opts.Base = baseFunc(f.configs, false)
		}
		all = append(all, f)
	}
	return all
}

// baseFunc knows some configs. If partial, it gives the sources of triggers as
// long as nobody needs more.
func baseFunc(configs map[string]string, partial bool) dockerfile.BaseFunc {
	return func(ctx context.Context, ref, _ string, whole bool) *dockerfile.BaseConfig {
		raw, ok := configs[ref]
		if !ok {
			return nil
		}
		c, err := dockerfile.ParseBaseConfig([]byte(raw))
		if err != nil {
			return nil
		}
		if sources, ok := c.Sources(ctx); ok && partial && !whole {
			return &dockerfile.BaseConfig{OnBuild: sources, Partial: true}
		}
		return c
	}
}

// golden compares a value with want.json.
func (f fixture) golden(t *testing.T, got any) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(got))
	path := filepath.Join(f.dir, "want.json")
	if *update {
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String())
}

func TestResolve(t *testing.T) {
	for _, f := range fixtures(t, "resolved") {
		t.Run(filepath.Base(f.dir), func(t *testing.T) {
			res, err := dockerfile.Resolve(t.Context(), f.src, f.opts)
			require.NoError(t, err)
			f.golden(t, res)
			assert.Empty(t, differs(f.src, f.opts, f.configs, res, err))
			if f.configs != nil { // what is remembered of a config is enough
				f.opts.Base = baseFunc(f.configs, true)
				again, err := dockerfile.Resolve(t.Context(), f.src, f.opts)
				require.NoError(t, err)
				assert.Equal(t, res, again)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	for _, f := range fixtures(t, "refused") {
		t.Run(filepath.Base(f.dir), func(t *testing.T) {
			res, err := dockerfile.Resolve(t.Context(), f.src, f.opts)
			require.Nil(t, res)
			var refused *dockerfile.Error
			require.ErrorAs(t, err, &refused)
			f.golden(t, refused)
			assert.Empty(t, differs(f.src, f.opts, f.configs, res, err))
		})
	}
}

// Every line that a result names must hold the instruction it is about.
func TestLines(t *testing.T) {
	words := map[dockerfile.Kind]string{
		dockerfile.KindFrom: "from", dockerfile.KindCopy: "copy", dockerfile.KindMount: "run",
		dockerfile.KindOnbuild: "onbuild", dockerfile.KindSyntax: "syntax",
	}
	for _, f := range fixtures(t, "resolved") {
		res, err := dockerfile.Resolve(t.Context(), f.src, f.opts)
		require.NoError(t, err)
		lines := strings.Split(strings.ToLower(string(f.src)), "\n")
		for _, img := range res.Images {
			word := words[img.Kind]
			if img.Kind == dockerfile.KindOnbuild && f.configs != nil {
				word = "from" // the trigger is the base image's
			}
			if img.Line > 0 {
				assert.Contains(t, lines[img.Line-1], word, "%s: %+v", f.dir, img)
			}
		}
		for _, u := range res.Unresolved {
			assert.Contains(t, lines[u.Line-1], strings.ToLower(u.Text), f.dir)
		}
	}
}

func TestSize(t *testing.T) {
	src := bytes.Repeat([]byte("#\n"), dockerfile.MaxSize/2)
	copy(src[len(src)-7:], "\nFROM a")
	_, err := dockerfile.Resolve(t.Context(), src, dockerfile.Options{})
	require.NoError(t, err)
	_, err = dockerfile.Resolve(t.Context(), append(src, '\n'), dockerfile.Options{})
	assert.EqualError(t, err, "the Dockerfile is larger than 1048576 bytes")
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := dockerfile.Resolve(ctx, []byte("FROM alpine"), dockerfile.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestErrorString(t *testing.T) {
	_, err := dockerfile.Resolve(t.Context(), []byte("FROM a\n\nNONSENSE"), dockerfile.Options{})
	require.EqualError(t, err, "line 3: unknown instruction: NONSENSE")
	_, err = dockerfile.Resolve(t.Context(), nil, dockerfile.Options{})
	require.EqualError(t, err, "the Dockerfile cannot be empty")
}

// The options of a caller must stay as they are: BuildKit writes to its own.
func TestOptionsUnchanged(t *testing.T) {
	opts := dockerfile.Options{BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": "context", "A": "1"}}
	_, err := dockerfile.Resolve(t.Context(), []byte("FROM alpine"), opts)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"SOURCE_DATE_EPOCH": "context", "A": "1"}, opts.BuildArgs)
}
