package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

// write returns the pages that a run writes, by file name.
func write(t *testing.T, args ...string) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "man")
	require.NoError(t, run(append(args, "-out", dir)))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	pages := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		pages[f.Name()] = string(text)
	}
	return pages
}

func names(cmd *cobra.Command) []string {
	out := []string{strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"}
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			out = append(out, names(c)...)
		}
	}
	return out
}

// TestPages checks that every command that people use has a page with the text of its help, and that releases carry them.
func TestPages(t *testing.T) {
	pages := write(t, "-date", "1772366400", "-version", "v1.2.3")
	var want []string
	for _, name := range names(cli.Command()) {
		if name != "imagefactory-help.1" { // its page would say what `man` does
			want = append(want, name)
		}
	}
	var have []string
	for name := range pages {
		have = append(have, name)
	}
	assert.ElementsMatch(t, want, have)
	for name, page := range pages {
		assert.Contains(t, page, `"Mar 2026" "imagefactory v1.2.3" "imagefactory manual"`, name)
		assert.Contains(t, page, "--config", name)
	}
	assert.Contains(t, pages["imagefactory-analyze.1"], "DIR/<owner>/<repo>")

	config, err := os.ReadFile("../../.goreleaser.yaml")
	require.NoError(t, err)
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^      - man/(\S+)$`).FindAllStringSubmatch(string(config), -1) {
		listed = append(listed, m[1])
	}
	assert.ElementsMatch(t, have, listed, "manpages of the Homebrew cask in .goreleaser.yaml")
}

// TestReproducible checks that nothing but the flags decides the pages.
func TestReproducible(t *testing.T) {
	first := write(t, "-date", "1")
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "1772366400")
	t.Setenv("IMAGEFACTORY_CONFIG", "elsewhere.yaml")
	assert.Equal(t, first, write(t, "-date", "1"))
	assert.Contains(t, first["imagefactory.1"], "Jan 1970")
	for name, page := range first {
		assert.NotRegexp(t, `(?m)^\.TH .*20[2-9]\d`, page, name)
	}
}

func TestUsage(t *testing.T) {
	require.ErrorContains(t, run(nil), "-date is required")
	require.ErrorContains(t, run([]string{"now"}), `unexpected argument "now"`)
}
