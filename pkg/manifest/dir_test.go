package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ours(s string) []byte { return []byte(header + "\n" + s) }

func write(t *testing.T, dir, name string, data []byte) {
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
}

// put is Write without its report.
func put(dir string, want map[string][]byte) error {
	_, err := Write(dir, want)
	return err
}

func names(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "same.yaml", ours("a: 1\n"))
	write(t, dir, "changed.yaml", ours("a: 1\nb: 2\n"))
	write(t, dir, "stale.yaml", ours("a: 1\n"))
	write(t, dir, "written-by-hand.yaml", []byte("a: 1\n"))
	write(t, dir, "empty.yaml", nil)
	write(t, dir, "README.md", ours("# generated, but no manifest\n"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700))
	require.NoError(t, os.Symlink("stale.yaml", filepath.Join(dir, "link.yaml")))
	want := map[string][]byte{"same.yaml": ours("a: 1\n"), "changed.yaml": ours("a: 1\nb: 3\n"), "added.yaml": ours("c: 1\n")}

	changes, err := Compare(dir, want)
	require.NoError(t, err)
	require.Len(t, changes, 3)
	assertChange(t, "added.yaml", Added, "--- /dev/null\n+++ added.yaml\n@@ -0,0 +1,2 @@\n+"+header+"\n+c: 1\n", &changes[0])
	assertChange(t, "changed.yaml", Changed, "--- changed.yaml\n+++ changed.yaml\n@@ -1,3 +1,3 @@\n "+header+"\n a: 1\n-b: 2\n+b: 3\n", &changes[1])
	assertChange(t, "stale.yaml", Removed, "--- stale.yaml\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-"+header+"\n-a: 1\n", &changes[2])

	before := names(t, dir)
	require.NoError(t, put(dir, want))
	assert.ElementsMatch(t, append(without(before, "stale.yaml"), "added.yaml"), names(t, dir))
	changes, err = Compare(dir, want)
	require.NoError(t, err)
	assert.Empty(t, changes)
}

func assertChange(t *testing.T, file string, action Action, diff string, got *Change) {
	t.Helper()
	assert.Equal(t, file, got.File)
	assert.Equal(t, action, got.Action)
	assert.Equal(t, diff, got.Diff())
}

func without(list []string, name string) []string {
	var out []string
	for _, s := range list {
		if s != name {
			out = append(out, s)
		}
	}
	return out
}

func TestWriteLeavesUnchangedFilesAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dist")
	want := map[string][]byte{"a.yaml": ours("a: 1\n"), "b.yaml": ours("b: 1\n")}
	require.NoError(t, put(dir, want))
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name := range want {
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), past, past))
	}
	want["b.yaml"] = ours("b: 2\n")
	require.NoError(t, put(dir, want))
	for name, same := range map[string]bool{"a.yaml": true, "b.yaml": false} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, same, info.ModTime().Equal(past), name)
	}
	assert.Equal(t, []string{"a.yaml", "b.yaml"}, names(t, dir), "no temporary files stay")
}

func TestWriteSwitchesBetweenLayouts(t *testing.T) {
	dir := t.TempDir()
	objs := objects(t, 2)
	split, err := RenderSplit(slices.Values(objs))
	require.NoError(t, err)
	single, err := render(objs)
	require.NoError(t, err)
	require.NoError(t, put(dir, split))
	assert.Len(t, names(t, dir), len(split))
	require.NoError(t, put(dir, map[string][]byte{DefaultFile: single}))
	assert.Equal(t, []string{DefaultFile}, names(t, dir))
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "stale.yaml", ours("a: 1\n"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a.yaml"), 0o700))
	require.ErrorContains(t, put(dir, map[string][]byte{"a.yaml": ours("")}), "reading generated file")
	assert.Contains(t, names(t, dir), "stale.yaml", "nothing is removed when not all is written")
	_, err := Compare(dir, map[string][]byte{"a.yaml": ours("")})
	require.ErrorContains(t, err, "reading generated file")

	write(t, dir, "file", nil)
	require.ErrorContains(t, put(filepath.Join(dir, "file"), nil), "not a directory")
	_, err = Compare(filepath.Join(dir, "file"), nil)
	require.ErrorContains(t, err, "reading folder")
}

func TestNamesStayInTheFolder(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../a.yaml", "a/b.yaml", `a\b.yaml`, "/a.yaml"} {
		dir := t.TempDir()
		require.ErrorContains(t, put(dir, map[string][]byte{name: ours("")}), "invalid name", name)
		_, err := Compare(dir, map[string][]byte{name: ours("")})
		require.ErrorContains(t, err, "invalid name", name)
		assert.Empty(t, names(t, dir))
	}
}

func TestCompareNoFolder(t *testing.T) {
	changes, err := Compare(filepath.Join(t.TempDir(), "none"), map[string][]byte{"a.yaml": ours("")})
	require.NoError(t, err)
	require.Len(t, changes, 1)
	assert.Equal(t, Added, changes[0].Action)
}

// TestOnlyTheLayoutDiffers: git on Windows checks files out with CRLF, and editors add byte order marks. A diff of lines that
// look alike says nothing.
func TestOnlyTheLayoutDiffers(t *testing.T) {
	const text = header + "\na: 1\nb: 2\n"
	for have, odd := range map[string]string{
		strings.ReplaceAll(text, "\n", "\r\n"): "CRLF line endings",
		"\xef\xbb\xbf" + text:                  "a byte order mark",
		strings.TrimSuffix(text, "\n"):         "no line ending at its end",
		"\xef\xbb\xbf" + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n"): "CRLF line endings and a byte order mark and no line ending at its end",
	} {
		dir := t.TempDir()
		want := map[string][]byte{"a.yaml": []byte(text)}
		write(t, dir, "a.yaml", []byte(have))
		changes, err := Compare(dir, want)
		require.NoError(t, err)
		require.Len(t, changes, 1)
		assert.Equal(t, odd, OnlyLayout(changes))
		assert.Equal(t, "--- a.yaml\n+++ a.yaml\n(the file has "+odd+")\n", changes[0].Diff())

		changes, err = Compare(dir, map[string][]byte{"a.yaml": []byte(strings.Replace(text, "b: 2", "b: 3", 1))})
		require.NoError(t, err)
		assert.Empty(t, OnlyLayout(changes), "a line differs too")
		assert.Equal(t, "--- a.yaml\n+++ a.yaml\n(the file has "+odd+")\n@@ -1,3 +1,3 @@\n "+header+"\n a: 1\n-b: 2\n+b: 3\n", changes[0].Diff())

		require.NoError(t, put(dir, want))
		data, err := os.ReadFile(filepath.Join(dir, "a.yaml"))
		require.NoError(t, err)
		assert.Equal(t, text, string(data))

		write(t, dir, "a.yaml", []byte(have))
		require.NoError(t, put(dir, map[string][]byte{"other.yaml": []byte(text)}))
		assert.Equal(t, []string{"other.yaml"}, names(t, dir), "it is known as generated: %q", have)
	}
}

func TestDiffIsBounded(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 99) + "\n"
	write(t, dir, "a.yaml", []byte(strings.Repeat(line, 5000)))
	changes, err := Compare(dir, map[string][]byte{"a.yaml": ours(""), "b.yaml": ours(strings.Repeat(line, 350_000))})
	require.NoError(t, err)
	require.Len(t, changes, 2)
	assert.Less(t, len(changes[0].Diff()), maxDiff+100)
	assert.Regexp(t, `\n\(\d+ more lines\)\n$`, changes[0].Diff())
	assert.Equal(t, "--- /dev/null\n+++ b.yaml\n(too large to show: 0 bytes before, 35000075 after)\n", changes[1].Diff())
}

func TestCompareReadsLargeFilesToTheirEnd(t *testing.T) {
	dir := t.TempDir()
	text := ours(strings.Repeat("a: 1\n", 60000))
	write(t, dir, "a.yaml", text)
	for name, want := range map[string][]byte{
		"same":    text,
		"shorter": text[:len(text)-1],
		"longer":  append(bytes.Clone(text), 'x'),
		"differs": append(bytes.Clone(text[:len(text)-1]), 'x'),
	} {
		changes, err := Compare(dir, map[string][]byte{"a.yaml": want})
		require.NoError(t, err)
		assert.Equal(t, name == "same", len(changes) == 0, name)
	}
}
