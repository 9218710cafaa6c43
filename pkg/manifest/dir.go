package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"
)

// Action is what Write would do with a file.
type Action string

// Actions.
const (
	Added   Action = "added"
	Changed Action = "changed"
	Removed Action = "removed" // generated earlier, no longer wanted
)

// Change is one difference between a folder and what is wanted in it.
type Change struct {
	File   string // name in the folder
	Action Action

	have, want []byte
}

// Bounds of a diff. Comparing takes time that grows with the size and with the number of differences.
const (
	maxCompared = 32 << 20
	maxDiff     = 256 << 10
)

// Compare says what Write would change in dir, by file name. A folder that does not exist is empty.
func Compare(dir string, want map[string][]byte) ([]Change, error) {
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(want)) {
		have, err := read(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changes = append(changes, Change{name, Added, nil, want[name]})
		case err != nil:
			return nil, err
		case !bytes.Equal(have, want[name]):
			changes = append(changes, Change{name, Changed, have, want[name]})
		}
	}
	stale, err := staleFiles(dir, want)
	if err != nil {
		return nil, err
	}
	for _, name := range stale {
		have, err := read(dir, name)
		if err != nil {
			return nil, err
		}
		changes = append(changes, Change{name, Removed, have, nil})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.File, b.File) })
	return changes, nil
}

func read(dir, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("reading generated file: %w", err)
	}
	return data, nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("generating %q: no name of a file", name)
	}
	return nil
}

// Diff is the change as a unified diff of bounded size.
func (c *Change) Diff() string {
	from, to := c.File, c.File
	switch c.Action {
	case Added:
		from = "/dev/null"
	case Removed:
		to = "/dev/null"
	}
	if len(c.have)+len(c.want) > maxCompared {
		return fmt.Sprintf("--- %s\n+++ %s\n(too large to show: %d bytes before, %d after)\n", from, to, len(c.have), len(c.want))
	}
	text := udiff.Unified(from, to, string(c.have), string(c.want))
	if len(text) <= maxDiff {
		return text
	}
	shown := text[:strings.LastIndexByte(text[:maxDiff], '\n')+1]
	return shown + fmt.Sprintf("(%d more lines)\n", strings.Count(text[len(shown):], "\n"))
}

// staleFiles returns the generated files of dir that are not wanted. Folders and links are left alone.
func staleFiles(dir string, want map[string][]byte) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading folder of generated files: %w", err)
	}
	var stale []string
	for _, e := range entries {
		if _, wanted := want[e.Name()]; wanted || !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		ours, err := generated(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if ours {
			stale = append(stale, e.Name())
		}
	}
	return stale, nil
}

// generated says whether a file starts with the header.
func generated(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("reading generated file: %w", err)
	}
	defer f.Close()
	start := make([]byte, len(Header)+1)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("reading generated file: %w", err)
	}
	return string(start[:n]) == Header+"\n", nil
}

// Write makes dir hold what is wanted and returns what it changed: each file is replaced at once or not at all, one that
// is right already is not touched, and generated files that are no longer wanted are removed after all others are
// written. When it fails in between, a second call finishes.
func Write(dir string, want map[string][]byte) ([]Change, error) {
	changes, err := Compare(dir, want)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making folder for generated files: %w", err)
	}
	for i := range changes {
		c := &changes[i]
		if c.Action == Removed {
			continue
		}
		if err := renameio.WriteFile(filepath.Join(dir, c.File), c.want, 0o644, renameio.WithTempDir(dir)); err != nil {
			return nil, fmt.Errorf("writing generated file: %w", err)
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.Action != Removed {
			continue
		}
		if err := os.Remove(filepath.Join(dir, c.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("removing stale generated file: %w", err)
		}
	}
	return changes, nil
}
