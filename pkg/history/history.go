// Package history reads the earlier versions of state files from the git checkout that they are in.
package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/imagefactory/imagefactory/pkg/checkout"
)

// Version is the content of a file as a commit left it.
type Version struct {
	File string // path below the folder
	At   time.Time
	Data []byte
}

// Range is the part of the history that was read.
type Range struct {
	Commits  int       // that were read; 0 if the folder is in no checkout
	From     time.Time // of the oldest of them
	Complete bool      // every commit of the period was read; a shallow or partial clone lacks some
	Began    time.Time // when the folders appeared, if that is in the period
	Unread   int       // versions of files that are damaged, missing or too large
}

// Bounds of one reading.
const (
	maxCommits = 200_000
	maxBlob    = 1 << 20 // larger files are no state files
)

// Read calls fn with each version of the files in the folders below dir that a commit since then made, newest first, and then
// with what these files were before. It follows one line of commits, the first parents or, where a merge took the files from
// another parent, that one: it sees what the branch held, one state after the other. It ends where commits are missing or
// damaged. It does not read the files in dir themselves.
func Read(ctx context.Context, dir string, folders []string, since time.Time, fn func(Version) error) (Range, error) {
	if real, err := filepath.EvalSymlinks(dir); err == nil { // git has the link under its name, and the files under theirs
		dir = real
	}
	at, found, err := checkout.Find(dir)
	if err != nil || !found {
		return Range{}, err
	}
	below, err := pathBelow(at.Root, dir)
	if err != nil {
		return Range{}, err
	}
	repo, err := git.PlainOpenWithOptions(at.Root, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return Range{}, fmt.Errorf("opening git repository %q: %w", at.Root, err)
	}
	head, err := repo.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) { // no commit yet
		return Range{}, nil
	}
	if err != nil {
		return Range{}, fmt.Errorf("reading history of %q: %w", at.Root, err)
	}
	all, closeAll := objects(repo)
	defer closeAll()
	r := &reader{objects: all, below: below, folders: folders, fn: fn, changed: map[string]bool{}}
	err = r.walk(ctx, head.Hash(), since)
	if err != nil {
		err = fmt.Errorf("reading history of %q: %w", dir, err)
	}
	if !r.found { // nothing is known of a folder that git does not have
		return Range{}, err
	}
	return r.read, err
}

// objects returns the objects of a repository, from packs that stay open: go-git opens them for each object otherwise.
func objects(repo *git.Repository) (all storer.EncodedObjectStorer, closeAll func()) {
	s, ok := repo.Storer.(*filesystem.Storage)
	if !ok {
		return repo.Storer, func() {}
	}
	open := filesystem.NewStorageWithOptions(s.Filesystem(), cache.NewObjectLRUDefault(), filesystem.Options{KeepDescriptors: true})
	return open, func() { _ = open.Close() } // only read
}

// pathBelow returns the path of a folder below the root of its checkout, with slashes; "." for the root.
func pathBelow(root, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding %q: %w", dir, err)
	}
	below, err := filepath.Rel(root, abs)
	if err != nil || strings.HasPrefix(below, "..") {
		return "", fmt.Errorf("%q is not below %q", dir, root)
	}
	return filepath.ToSlash(below), nil
}

type reader struct {
	objects storer.EncodedObjectStorer
	below   string
	folders []string
	fn      func(Version) error
	read    Range
	changed map[string]bool // files that were reported
	found   bool            // a commit has one of the folders
}

// snapshot is the content of the folders at a commit.
type snapshot struct {
	folders []plumbing.Hash // zero for a folder that does not exist
	trees   []tree
}

func (s *snapshot) exists() bool {
	return slices.ContainsFunc(s.folders, func(h plumbing.Hash) bool { return !h.IsZero() })
}

func (r *reader) walk(ctx context.Context, from plumbing.Hash, since time.Time) error {
	var newer *snapshot
	var newerAt time.Time
	for hash := from; r.read.Commits < maxCommits; {
		if err := ctx.Err(); err != nil {
			return err
		}
		commit, now, err := r.commit(hash, newer)
		if err != nil { // a shallow or partial clone ends here, and so does a damaged one
			break
		}
		at := commit.Committer.When.UTC()
		if !newerAt.IsZero() && at.After(newerAt) { // a clock that was wrong
			at = newerAt
		}
		if newer != nil {
			if newer.exists() && !now.exists() {
				r.read.Began = newerAt
			}
			if err := r.report(newer, now, newerAt); err != nil {
				return err
			}
		}
		newer, newerAt = now, at
		r.found = r.found || now.exists()
		if at.Before(since) {
			if r.read.Complete = true; now.exists() {
				r.read.Began = time.Time{}
			}
			return r.reportChanged(now, at)
		}
		r.read.Commits, r.read.From = r.read.Commits+1, at
		if len(commit.ParentHashes) == 0 {
			if r.read.Complete = true; now.exists() {
				r.read.Began = at
			}
			break
		}
		hash = r.parent(commit, now)
	}
	if newer == nil {
		return nil
	}
	return r.report(newer, r.newSnapshot(), newerAt)
}

// commit returns a commit and its files; see snapshot.
func (r *reader) commit(hash plumbing.Hash, newer *snapshot) (*object.Commit, *snapshot, error) {
	commit, err := object.GetCommit(r.objects, hash)
	if err != nil {
		return nil, nil, fmt.Errorf("commit %s: %w", hash, err)
	}
	now, err := r.snapshot(commit.TreeHash, newer)
	return commit, now, err
}

// parent returns the parent of a commit that has the same files, so that a merge is followed to where they come from; the first
// one if none has.
func (r *reader) parent(commit *object.Commit, now *snapshot) plumbing.Hash {
	if len(commit.ParentHashes) > 1 {
		for _, hash := range commit.ParentHashes {
			if _, before, err := r.commit(hash, now); err == nil && slices.Equal(before.folders, now.folders) {
				return hash
			}
		}
	}
	return commit.ParentHashes[0]
}

func (r *reader) newSnapshot() *snapshot {
	return &snapshot{folders: make([]plumbing.Hash, len(r.folders)), trees: make([]tree, len(r.folders))}
}

// snapshot returns the files of a tree; folders that are the same as in other are not read again.
func (r *reader) snapshot(root plumbing.Hash, other *snapshot) (*snapshot, error) {
	out := r.newSnapshot()
	for i, folder := range r.folders {
		hash, err := r.find(root, path.Join(r.below, folder))
		if err != nil {
			return nil, err
		}
		out.folders[i] = hash
		switch {
		case hash.IsZero():
		case other != nil && other.folders[i] == hash:
			out.trees[i] = other.trees[i]
		default:
			if out.trees[i], err = r.tree(hash); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// find returns the hash of the folder at a path below a tree; the zero hash if there is none.
func (r *reader) find(root plumbing.Hash, at string) (plumbing.Hash, error) {
	hash := root
	for part := range strings.SplitSeq(at, "/") {
		if part == "." {
			continue
		}
		t, err := r.tree(hash)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if hash = t.folder(part); hash.IsZero() {
			break
		}
	}
	return hash, nil
}

// tree returns the tree with a hash, or an error if it is damaged.
func (r *reader) tree(hash plumbing.Hash) (tree, error) {
	data, err := r.content(plumbing.TreeObject, hash, -1)
	if err != nil {
		return nil, err
	}
	if !tree(data).valid() {
		return nil, fmt.Errorf("tree %s is damaged", hash)
	}
	return data, nil
}

// content returns the content of an object, and nil if it is larger than a positive limit.
func (r *reader) content(kind plumbing.ObjectType, hash plumbing.Hash, limit int64) ([]byte, error) {
	o, err := r.objects.EncodedObject(kind, hash)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", hash, err)
	}
	if limit > 0 && o.Size() > limit {
		return nil, nil
	}
	in, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", hash, err)
	}
	defer in.Close()
	var data bytes.Buffer
	data.Grow(int(min(o.Size(), maxBlob)) + bytes.MinRead)
	if _, err := data.ReadFrom(in); err != nil {
		return nil, fmt.Errorf("object %s: %w", hash, err)
	}
	return data.Bytes(), nil
}

// report reports the files of a commit that differ from those of the one before it.
func (r *reader) report(now, before *snapshot, at time.Time) error {
	for i, folder := range r.folders {
		if now.folders[i] == before.folders[i] {
			continue
		}
		for name, hash := range now.trees[i].changed(before.trees[i]) {
			if err := r.call(path.Join(folder, name), hash, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportChanged reports the files that later commits changed, as they were.
func (r *reader) reportChanged(was *snapshot, at time.Time) error {
	for i, folder := range r.folders {
		for name, hash := range was.trees[i].changed(nil) {
			if file := path.Join(folder, name); r.changed[file] {
				if err := r.call(file, hash, at); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *reader) call(file string, hash plumbing.Hash, at time.Time) error {
	r.changed[file] = true
	data, err := r.content(plumbing.BlobObject, hash, maxBlob)
	if err != nil || data == nil { // damaged, not in a partial clone, or no state file
		r.read.Unread++
		return nil //nolint:nilerr // counted instead
	}
	return r.fn(Version{File: file, At: at, Data: data})
}
