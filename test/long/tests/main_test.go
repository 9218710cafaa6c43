package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindTests(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/a_test.go": `package a
func TestDirect(t *testing.T) { for range long.Iterations(1, 2) {} }
func TestThroughHelpers(t *testing.T) { run(t) }
func TestProperty(t *testing.T) { rapid.Check(t, nil) }
func TestOther(t *testing.T) { rapid.Bool() }
func FuzzOther(f *testing.F) { rapid.Check(t, nil) }
func run(t *testing.T) { inner(t) }`,
		"a/b_test.go":          "package a\nfunc inner(t *testing.T) { long.Only(t, \"\") }",
		"b/other_test.go":      "package b\nfunc TestRun(t *testing.T) { run(t) }",
		"c/go.mod":             "module c",
		"c/c_test.go":          "package c\nfunc TestOfAnotherModule(t *testing.T) { rapid.Check(t, nil) }",
		"a/testdata/d_test.go": "no Go",
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	t.Chdir(root)
	found, err := findTests(".")
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"a": {"TestDirect", "TestProperty", "TestThroughHelpers"}}, found)
}
