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

// Action is how [Write] changes a file.
type Action string

// Actions.
const (
	Added   Action = "added"
	Changed Action = "changed"
	Removed Action = "removed" // generated earlier, no longer wanted
)

// Change is a difference between a folder and its wanted files.
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

// Compare returns the changes that [Write] would make in dir, sorted by file name. A missing folder is empty.
func Compare(dir string, want map[string][]byte) ([]Change, error) {
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(want)) {
		same, err := holds(dir, name, want[name])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changes = append(changes, Change{name, Added, nil, want[name]})
		case err != nil:
			return nil, err
		case !same:
			have, err := read(dir, name)
			if err != nil {
				return nil, err
			}
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

// holds reports whether a file has this content, without having all of it in memory.
func holds(dir, name string, want []byte) (bool, error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return false, fmt.Errorf("reading generated file: %w", err)
	}
	defer f.Close()
	for part := make([]byte, 64<<10); ; {
		n, err := f.Read(part)
		rest, same := bytes.CutPrefix(want, part[:n])
		switch want = rest; {
		case !same:
			return false, nil
		case errors.Is(err, io.EOF):
			return len(want) == 0, nil
		case err != nil:
			return false, fmt.Errorf("reading generated file: %w", err)
		}
	}
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
		return fmt.Errorf("generating file: invalid name %q", name)
	}
	return nil
}

// Diff returns the change as a unified diff of bounded size. It omits lines that differ only in their line endings, and adds
// a note about these.
func (c *Change) Diff() string {
	from, to := c.File, c.File
	switch c.Action {
	case Added:
		from = "/dev/null"
	case Removed:
		to = "/dev/null"
	}
	have, odd := plainText(c.have)
	text := fmt.Sprintf("--- %s\n+++ %s\n", from, to)
	if c.Action == Changed && odd != "" {
		text += "(the file has " + odd + ")\n"
	}
	if len(c.have)+len(c.want) > maxCompared {
		return text + fmt.Sprintf("(too large to show: %d bytes before, %d after)\n", len(c.have), len(c.want))
	}
	hunks := ""
	if unified := strings.SplitN(udiff.Unified(from, to, string(have), string(c.want)), "\n", 3); len(unified) == 3 {
		hunks = unified[2] // behind the names
	}
	if len(hunks) <= maxDiff {
		return text + hunks
	}
	shown := hunks[:strings.LastIndexByte(hunks[:maxDiff], '\n')+1]
	return text + shown + fmt.Sprintf("(%d more lines)\n", strings.Count(hunks[len(shown):], "\n"))
}

// OnlyLayout describes how the files differ, such as "CRLF line endings", if all texts are as wanted. It returns "" if any
// change is of another kind.
func OnlyLayout(changes []Change) string {
	var all []string
	for i := range changes {
		have, odd := plainText(changes[i].have)
		if changes[i].Action != Changed || !bytes.Equal(have, changes[i].want) {
			return ""
		}
		if !slices.Contains(all, odd) {
			all = append(all, odd)
		}
	}
	return strings.Join(all, ", ")
}

// SameText reports whether two files are equal apart from line endings and a byte order mark.
func SameText(a, b []byte) bool {
	x, _ := plainText(a)
	y, _ := plainText(b)
	return bytes.Equal(x, y)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// plainText returns text with LF line endings, also at its end, and without a byte order mark; odd describes what it
// changed. Generated lines contain no CR, because values escape it.
func plainText(data []byte) (text []byte, odd string) {
	var found []string
	if bytes.Contains(data, []byte("\r\n")) {
		found = append(found, "CRLF line endings")
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	}
	if rest, ok := bytes.CutPrefix(data, byteOrderMark); ok {
		found = append(found, "a byte order mark")
		data = rest
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		found = append(found, "no line ending at its end")
		data = append(bytes.Clone(data), '\n')
	}
	return data, strings.Join(found, " and ")
}

// IsSplit reports whether dir holds resources in the form that [RenderSplit] returns: its kustomization is generated.
func IsSplit(dir string) bool {
	ours, err := generated(filepath.Join(dir, KustomizationFile))
	return err == nil && ours
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

// generated reports whether a file starts with the header.
func generated(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("reading generated file: %w", err)
	}
	defer f.Close()
	start := make([]byte, len(byteOrderMark)+len(header)+2)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("reading generated file: %w", err)
	}
	return hasHeader(start[:n]), nil
}

// hasHeader reports whether a text starts with the header, with any line ending.
func hasHeader(data []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimPrefix(data, byteOrderMark), []byte(header))
	return ok && (len(rest) == 0 || bytes.HasPrefix(rest, []byte("\n")) || bytes.HasPrefix(rest, []byte("\r\n")))
}

// Write writes the wanted files to dir and returns its changes. It replaces each file atomically, leaves up-to-date files
// alone, and finally removes generated files that are no longer wanted. It refuses to replace a file without the header. After
// a failure, a second call completes the work.
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
		if c.Action == Changed && len(c.have) > 0 && !hasHeader(c.have) {
			return nil, fmt.Errorf("writing %q: the existing file was not generated by imagefactory (move it away, or choose another folder)", filepath.Join(dir, c.File))
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
