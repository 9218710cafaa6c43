package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
)

// Folders of the state files below the state folder.
const (
	ImagesFolder = "images"
	BasesFolder  = "base-images"
)

// maxFileBytes limits the size of a state file, which is usually a few KiB: anybody who can push to the state repository can
// write anything into it.
const maxFileBytes = 1 << 20

var fileName = lazy.Regexp(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?\.yaml$`)

const header = "# Written by imagefactory. Facts only; do not edit.\n"

// Load reads the state folder fsys. A folder that does not exist is an empty state. If files are invalid, Load returns the
// State of the others and a [finding.List] with every problem, whose paths begin with display.
func Load(fsys fs.FS, display string) (*State, error) { return load(fsys, display, (*State).loadScans) }

// LoadWithoutScans is like [Load], but leaves out the findings of scans, which may be most of the state.
func LoadWithoutScans(fsys fs.FS, display string) (*State, error) {
	return load(fsys, display, func(*State, fs.FS, string, *finding.List) error { return nil })
}

func load(fsys fs.FS, display string, loadScans func(st *State, fsys fs.FS, display string, problems *finding.List) error) (*State, error) {
	st := New()
	st.archivedBases = loadArchivedBases(fsys)
	var problems finding.List
	images, err := loadFolder(fsys, display, ImagesFolder, &problems, kindOfImage)
	if err != nil {
		return nil, err
	}
	bases, err := loadFolder(fsys, display, BasesFolder, &problems, kindOfBase)
	if err != nil {
		return nil, err
	}
	if err := loadScans(st, fsys, display, &problems); err != nil {
		return nil, err
	}
	if _, err := fs.Lstat(fsys, PauseFile); err == nil {
		var found finding.List
		st.Pauses, found = loadFile(fsys, display, ".", PauseFile, kindOfPauses)
		problems = append(problems, found...)
	}
	for _, i := range images {
		if i != nil {
			i.normalise()
			st.Images[i.Name] = i
		}
	}
	for _, b := range bases {
		if b != nil {
			st.Bases[b.Name] = b
			st.addAliased(b)
		}
	}
	for r, old := range st.aliased {
		if b := st.Recorded(r); b != nil {
			b.mergeVerdicts(old)
		}
	}
	return st, problems.Err()
}

func (s *State) loadScans(fsys fs.FS, display string, problems *finding.List) error {
	for folder, scans := range map[string]map[string]*Scans{ImageScansFolder: s.ImageScans, BaseScansFolder: s.BaseScans} {
		list, err := loadFolder(fsys, display, folder, problems, kindOfScans)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s != nil {
				scans[s.Name] = s
			}
		}
	}
	return nil
}

func loadFolder[T any](fsys fs.FS, display, folder string, problems *finding.List, k kind[T]) ([]*T, error) {
	if info, err := fs.Lstat(fsys, folder); err == nil && !info.IsDir() {
		*problems = append(*problems, finding.BadState.At(path.Join(display, folder), 0, 0, "not a folder", "symlinks are not followed; replace it with the folder itself"))
		return nil, nil
	}
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") && !strings.HasSuffix(e.Name(), ".example.yaml") {
			names = append(names, e.Name())
		}
	}
	out := make([]*T, len(names))
	found := make([]finding.List, len(names))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	const batch = 64 // few enough goroutines that starting them costs nothing
	for start := 0; start < len(names); start += batch {
		group.Go(func() error {
			for i := start; i < min(start+batch, len(names)); i++ {
				out[i], found[i] = loadFile(fsys, display, folder, names[i], k)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
	for _, f := range found {
		*problems = append(*problems, f...)
	}
	return out, nil
}

func loadFile[T any](fsys fs.FS, display, folder, name string, k kind[T]) (*T, finding.List) {
	at := path.Join(folder, name)
	shown := path.Join(display, at)
	bad := func(message, fix string) (*T, finding.List) {
		return nil, finding.List{finding.BadState.At(shown, 0, 0, message, fix)}
	}
	if !fileName().MatchString(name) {
		return bad(fmt.Sprintf("invalid state file name %q", name), "use the name of an image: lower case letters, digits and dashes")
	}
	info, err := fs.Lstat(fsys, at)
	if err != nil {
		return bad(err.Error(), "")
	}
	if !info.Mode().IsRegular() {
		return bad("not a regular file", "symlinks are not followed; replace it with the file itself")
	}
	if info.Size() > maxFileBytes {
		return bad(fmt.Sprintf("larger than %d KiB", maxFileBytes>>10), "restore the file from git")
	}
	data, err := fs.ReadFile(fsys, at)
	if err != nil {
		return bad(err.Error(), "")
	}
	v, wrong := k.read(data, strings.TrimSuffix(name, ".yaml"))
	if wrong != nil {
		if wrong.conflict {
			wrong.fix = fmt.Sprintf("keep one side with `git checkout --ours %s` or `--theirs`, preferably that of the branch that imagefactory pushes to; then run `imagefactory analyze`", shown)
		}
		return nil, finding.List{finding.BadState.At(shown, wrong.line, wrong.column, wrong.message, wrong.fix)}
	}
	return v, nil
}

// kind holds the functions that differ between the files of images and of base images.
type kind[T any] struct {
	name   func(*T) string
	faults func(*T) []Fault
	encode func(*T) ([]byte, error)
}

var (
	kindOfImage = kind[Image]{func(i *Image) string { return i.Name }, (*Image).Faults, (*Image).encode}
	kindOfBase  = kind[Base]{func(b *Base) string { return b.Name }, (*Base).Faults, (*Base).encode}
	kindOfScans = kind[Scans]{func(s *Scans) string { return s.Name }, (*Scans).Faults, (*Scans).encode}

	kindOfPauses = kind[Pauses]{func(*Pauses) string { return strings.TrimSuffix(PauseFile, ".yaml") }, (*Pauses).faults, (*Pauses).encode}
)

// unreadable is the reason why a state file cannot be read.
type unreadable struct {
	line, column int
	message, fix string
	conflict     bool // the file contains merge conflict markers
}

// read decodes the state file of the image that is named want.
func (k kind[T]) read(data []byte, want string) (*T, *unreadable) {
	v := new(T)
	if err := decode(data, v); err != nil {
		p := yamlerr.Explain(data, err)
		return nil, &unreadable{line: p.Line, column: p.Column, message: p.Message, fix: "restore the file from git", conflict: p.Conflict}
	}
	if name := k.name(v); name != want {
		return nil, &unreadable{line: 1, column: 1, message: fmt.Sprintf("name %q does not match the file name %q", name, want+".yaml"), fix: "rename the file"}
	}
	again, err := k.encode(v)
	if err == nil {
		err = sized(again)
	}
	if err != nil { // an unknown key has a value that cannot be written back
		return nil, &unreadable{line: 1, column: 1, message: err.Error(), fix: "restore the file from git, or remove the keys that imagefactory did not write"}
	}
	return v, nil
}

// Parse reads one state file, given by its path below the state folder. It returns the image or the base image; neither for a file
// that is no state file.
func Parse(file string, data []byte) (*Image, *Base, error) {
	name, folder := strings.TrimSuffix(path.Base(file), ".yaml"), path.Dir(file)
	if !fileName().MatchString(path.Base(file)) || strings.HasSuffix(name, ".example") || len(data) > maxFileBytes {
		return nil, nil, nil
	}
	var img Image
	var base Base
	switch folder {
	case ImagesFolder:
		if err := decode(data, &img); err != nil || img.Name != name {
			return nil, nil, err
		}
		img.normalise()
		return &img, nil, nil
	case BasesFolder:
		if err := decode(data, &base); err != nil || base.Name != name {
			return nil, nil, err
		}
		return nil, &base, nil
	}
	return nil, nil, nil
}

// decode reads one document. yaml.v3 itself limits the expansion of aliases.
func decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("the file is empty")
	}
	return yaml.Unmarshal(data, v)
}

// Encode returns the state files: content by path below the state folder. The same facts always give the same bytes.
func (s *State) Encode() (map[string][]byte, error) {
	files := make(map[string][]byte, len(s.Images)+len(s.Bases))
	for file, encode := range s.files() {
		data, err := encode()
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", file, err)
		}
		files[file] = data
	}
	return files, nil
}

// files yields the path of each state file below the state folder, and what encodes it.
func (s *State) files() iter.Seq2[string, func() ([]byte, error)] {
	return func(yield func(string, func() ([]byte, error)) bool) {
		for name, i := range s.Images {
			if !yield(imageFile(name), i.encode) {
				return
			}
		}
		for name, b := range s.Bases {
			if !yield(baseFile(name), b.encode) {
				return
			}
		}
		for name, scans := range s.ImageScans {
			if !yield(path.Join(ImageScansFolder, name+".yaml"), scans.encode) {
				return
			}
		}
		for name, scans := range s.BaseScans {
			if !yield(path.Join(BaseScansFolder, name+".yaml"), scans.encode) {
				return
			}
		}
		if s.Pauses != nil {
			yield(PauseFile, s.Pauses.encode)
		}
	}
}

func encode(v any) ([]byte, error) { return yamlenc.Append([]byte(header), v) }

func (b *Base) encode() ([]byte, error) { return encode(b) }

// encode omits the oldest rebuilds from the history if the file would be too large with them.
func (i *Image) encode() ([]byte, error) {
	data, err := encode(i)
	if len(data) <= maxFileBytes || len(i.RebuildHistory) == 0 {
		return data, err
	}
	less := *i
	less.RebuildHistory = i.RebuildHistory[1:]
	return less.encode()
}

// ChangedSince returns the files that differ from before, with nil for a removed one. Files that must not be written are in
// refused instead, with the reason.
func (s *State) ChangedSince(before map[string][]byte) (after map[string][]byte, refused map[string]error) {
	after, refused = map[string][]byte{}, map[string]error{}
	keep := func(p string, data []byte, err error) {
		old, known := before[p]
		if err == nil && known && bytes.Equal(old, data) {
			return
		}
		if err == nil {
			err = Check(p, data)
		}
		if err != nil {
			refused[p] = err
			return
		}
		after[p] = data
	}
	has := make(map[string]bool, len(before))
	for file, encode := range s.files() {
		has[file] = true
		data, err := encode()
		keep(file, data, err)
	}
	for file := range before {
		if !has[file] {
			after[file] = nil
		}
	}
	return after, refused
}

func imageFile(name string) string { return path.Join(ImagesFolder, name+".yaml") }

func baseFile(name string) string { return path.Join(BasesFolder, name+".yaml") }

// Changed returns the files that differ between two encoded states, with nil for one that only before has. The layout of
// files on disk makes no difference.
func Changed(before, after map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for p, data := range after {
		if old, ok := before[p]; !ok || !bytes.Equal(old, data) {
			out[p] = data
		}
	}
	for p := range before {
		if _, ok := after[p]; !ok {
			out[p] = nil
		}
	}
	return out
}

// leftover matches the temporary file of a process that was killed while it wrote.
var leftover = lazy.Regexp(`^\.[-a-z0-9]+\.yaml[0-9]+$`)

// RemoveLeftovers removes the temporary files of processes that were killed while they wrote. No process may be writing.
func RemoveLeftovers(dir string) error {
	for _, folder := range []string{ImagesFolder, BasesFolder, ImageScansFolder, BaseScansFolder} {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading state folder: %w", err)
		}
		for _, e := range entries {
			if !leftover().MatchString(e.Name()) {
				continue
			}
			if err := os.Remove(filepath.Join(dir, folder, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing temporary file: %w", err)
			}
		}
	}
	return nil
}

// writers is the number of files that are written concurrently. A disk syncs several files in about the time of one.
const writers = 32

// WriteFiles writes files below dir, each atomically, then removes those with nil content. It returns the first error in the
// order of paths; other files may or may not have been written by then.
func WriteFiles(dir string, files map[string][]byte) error {
	var write, remove []string
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if files[p] == nil {
			remove = append(remove, p)
		} else {
			write = append(write, p)
		}
	}
	if err := makeFolders(dir, write); err != nil {
		return err
	}
	if err := writeAll(dir, write, files); err != nil {
		return err
	}
	for _, p := range remove {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(p))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing state file: %w", err)
		}
	}
	return nil
}

// makeFolders creates the folders of files below dir.
func makeFolders(dir string, files []string) error {
	made := ""
	for _, p := range files {
		if path.Dir(p) == made {
			continue
		}
		made = path.Dir(p)
		target := filepath.Join(dir, filepath.FromSlash(p))
		if err := unlinked(os.DirFS(dir), made); err != nil {
			return fmt.Errorf("writing state file %s: %w", target, err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("creating state folder: %w", err)
		}
	}
	return nil
}

// writeAll writes files concurrently until one cannot be written.
func writeAll(dir string, names []string, files map[string][]byte) error {
	errs := make([]error, len(names))
	group, failed := errgroup.WithContext(context.Background())
	group.SetLimit(writers)
	for i, p := range names {
		if failed.Err() != nil {
			break
		}
		group.Go(func() error {
			target := filepath.Join(dir, filepath.FromSlash(p))
			errs[i] = renameio.WriteFile(target, files[p], 0o644, renameio.WithTempDir(filepath.Dir(target)))
			return errs[i]
		})
	}
	_ = group.Wait() // the error is one of errs
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("writing state file: %w", err)
		}
	}
	return nil
}

// unlinked returns an error if folder, or a folder above it, is a symlink, which would lead out of the state folder, or a file.
func unlinked(fsys fs.FS, folder string) error {
	for at := folder; at != "."; at = path.Dir(at) {
		if info, err := fs.Lstat(fsys, at); err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a folder (symlinks are not followed; replace it with the folder itself)", at)
		}
	}
	return nil
}
