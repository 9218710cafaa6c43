package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"
)

// maxFile bounds the size of a file.
const maxFile = 64 << 20

// editor creates the objects of a changed tree.
type editor struct {
	objects *memory.Storage
	fresh   []plumbing.Hash // new objects, which the server lacks
}

type encodable interface {
	Encode(plumbing.EncodedObject) error
}

func (e *editor) store(what encodable) (plumbing.Hash, error) {
	o := e.objects.NewEncodedObject()
	if err := what.Encode(o); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("encoding git object: %w", err)
	}
	return e.add(o)
}

func (e *editor) add(o plumbing.EncodedObject) (plumbing.Hash, error) {
	if !slices.Contains(e.fresh, o.Hash()) {
		e.fresh = append(e.fresh, o.Hash())
	}
	return e.objects.SetEncodedObject(o)
}

func (e *editor) blob(data []byte) (plumbing.Hash, error) {
	o := e.objects.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := w.Write(data); err != nil {
		return plumbing.ZeroHash, err
	}
	return e.add(o)
}

// edit returns the tree with the files changed; zero if it becomes empty. dir is its path, for messages.
func (e *editor) edit(tree plumbing.Hash, dir string, files map[string][]byte) (plumbing.Hash, error) {
	entries := map[string]object.TreeEntry{}
	if !tree.IsZero() {
		t, err := object.GetTree(e.objects, tree)
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("reading folder %q: %w", dir, err)
		}
		for _, entry := range t.Entries {
			entries[entry.Name] = entry
		}
	}
	here, below := folders(files)
	for _, name := range here {
		if err := e.file(entries, dir, name, files[name]); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		if err := e.folder(entries, dir, name, below[name]); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if len(entries) == 0 && dir != "" {
		return plumbing.ZeroHash, nil // git keeps no empty folders
	}
	t := &object.Tree{}
	for _, entry := range entries {
		t.Entries = append(t.Entries, entry)
	}
	sort.Sort(object.TreeEntrySorter(t.Entries))
	o := e.objects.NewEncodedObject()
	if err := t.Encode(o); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("encoding folder %q: %w", dir, err)
	}
	if o.Hash() == tree {
		return tree, nil
	}
	return e.add(o)
}

func (e *editor) file(entries map[string]object.TreeEntry, dir, name string, data []byte) error {
	old, exists := entries[name]
	if exists && old.Mode != filemode.Regular && old.Mode != filemode.Executable && old.Mode != filemode.Deprecated {
		return fmt.Errorf("writing %q: not a regular file in the repository (symlink or directory); remove it", path.Join(dir, name))
	}
	if data == nil {
		delete(entries, name)
		return nil
	}
	hash := plumbing.ComputeHash(plumbing.BlobObject, data)
	if exists && hash == old.Hash {
		return nil
	}
	if _, err := e.blob(data); err != nil {
		return fmt.Errorf("writing %q: %w", path.Join(dir, name), err)
	}
	entries[name] = object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: hash}
	return nil
}

func (e *editor) folder(entries map[string]object.TreeEntry, dir, name string, inside map[string][]byte) error {
	old, exists := entries[name]
	if exists && old.Mode != filemode.Dir {
		return fmt.Errorf("writing below %q: not a folder in the repository (symlink or file); remove it", path.Join(dir, name))
	}
	hash, err := e.edit(old.Hash, path.Join(dir, name), inside)
	if err != nil {
		return err
	}
	if hash.IsZero() {
		delete(entries, name)
		return nil
	}
	entries[name] = object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: hash}
	return nil
}

// treeFS is a git tree as a file system. It does not follow symlinks.
type treeFS struct {
	objects storer.EncodedObjectStorer
	root    *node
}

// node is an entry of a tree.
type node struct {
	name string
	mode filemode.FileMode
	hash plumbing.Hash

	once     sync.Once
	children []*node // sorted by name
	err      error
}

func newFS(objects storer.EncodedObjectStorer, tree plumbing.Hash) fs.FS {
	return &treeFS{objects, &node{name: ".", mode: filemode.Dir, hash: tree}}
}

func (t *treeFS) list(n *node) ([]*node, error) {
	n.once.Do(func() {
		if n.hash.IsZero() {
			return
		}
		tree, err := object.GetTree(t.objects, n.hash)
		if err != nil {
			n.err = err
			return
		}
		for _, e := range tree.Entries {
			n.children = append(n.children, &node{name: e.Name, mode: e.Mode, hash: e.Hash})
		}
		slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	})
	return n.children, n.err
}

func (t *treeFS) find(op, name string) (*node, error) {
	fail := func(err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return nil, fail(fs.ErrInvalid)
	}
	at := t.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.mode == filemode.Symlink {
			return nil, fail(errors.New("is behind a symlink, which is not followed"))
		}
		if at.mode != filemode.Dir {
			return nil, fail(fs.ErrNotExist)
		}
		children, err := t.list(at)
		if err != nil {
			return nil, fail(err)
		}
		i, ok := slices.BinarySearchFunc(children, part, func(n *node, name string) int { return strings.Compare(n.name, name) })
		if !ok {
			return nil, fail(fs.ErrNotExist)
		}
		at = children[i]
	}
	return at, nil
}

// Open implements fs.FS.
func (t *treeFS) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	f := &file{t: t, n: n}
	switch n.mode {
	case filemode.Dir:
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
		data, err := t.read(n)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		f.reader = bytes.NewReader(data)
	default:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a symlink or a submodule, which is not followed")}
	}
	return f, nil
}

func (t *treeFS) read(n *node) ([]byte, error) {
	blob, err := object.GetBlob(t.objects, n.hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, errors.New("is too large to be fetched")
	}
	if err != nil {
		return nil, err
	}
	if blob.Size > maxFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ReadDir implements fs.ReadDirFS.
func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if n.mode != filemode.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a folder")}
	}
	children, err := t.list(n)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(children))
	for i, c := range children {
		out[i] = fs.FileInfoToDirEntry(info{t, c})
	}
	return out, nil
}

// Stat implements fs.StatFS. As links are not followed, it is the same as Lstat.
func (t *treeFS) Stat(name string) (fs.FileInfo, error) { return t.Lstat(name) }

// Lstat implements fs.ReadLinkFS.
func (t *treeFS) Lstat(name string) (fs.FileInfo, error) {
	n, err := t.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return info{t, n}, nil
}

// ReadLink implements fs.ReadLinkFS: links are not even read.
func (t *treeFS) ReadLink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

// info implements fs.FileInfo.
type info struct {
	t *treeFS
	n *node
}

func (i info) Name() string { return path.Base(i.n.name) }

func (i info) Size() int64 {
	size, err := i.t.objects.EncodedObjectSize(i.n.hash)
	if err != nil {
		return 0
	}
	return size
}

func (i info) Mode() fs.FileMode {
	switch i.n.mode {
	case filemode.Dir:
		return fs.ModeDir | 0o755
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
		return 0o644
	case filemode.Symlink:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.n.mode == filemode.Dir }
func (i info) Sys() any           { return nil }

// file implements fs.File.
type file struct {
	t      *treeFS
	n      *node
	reader *bytes.Reader // nil for a folder
}

func (f *file) Stat() (fs.FileInfo, error) { return info{f.t, f.n}, nil }

func (f *file) Read(p []byte) (int, error) {
	if f.reader == nil {
		return 0, &fs.PathError{Op: "read", Path: f.n.name, Err: errors.New("is a folder")}
	}
	return f.reader.Read(p)
}

func (f *file) Close() error { return nil }
