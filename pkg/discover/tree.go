package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read from one repository.
const (
	maxFileBytes = 256 << 10 // of a file
	maxFiles     = 200_000   // in a tree
	maxDepth     = 32        // of folders
	maxReads     = 500       // files that are read
)

// Tree is the files of a repository.
type Tree interface {
	// Files returns the paths of the regular files, sorted.
	Files() []string
	// Read returns the content of one of them. It fails if it is larger than the limit.
	Read(ctx context.Context, path string, limit int64) ([]byte, error)
}

// skipped are folders with files that belong to others.
var skipped = []string{".git", "node_modules", "vendor", "third_party", ".terraform", ".venv"}

// folder is a checkout on this machine.
type folder struct {
	root  *os.Root
	files []string
}

// openFolder lists the files of a checkout. It follows no links, and does not enter checkouts below it.
func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening checkout: %w", err)
	}
	f := &folder{root: root}
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && p == ".":
			return err
		case err != nil:
			return nil //nolint:nilerr // not readable for us
		case len(f.files) >= maxFiles:
			return fmt.Errorf("more than %d files", maxFiles)
		case d.IsDir() && p != "." && (slices.Contains(skipped, d.Name()) || strings.Count(p, "/") >= maxDepth || isCheckout(root, p)):
			return fs.SkipDir
		case d.Type().IsRegular():
			f.files = append(f.files, p)
		}
		return nil
	})
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("listing the files of %q: %w", dir, err)
	}
	slices.Sort(f.files)
	return f, nil
}

func isCheckout(root *os.Root, dir string) bool {
	_, err := root.Lstat(path.Join(dir, ".git"))
	return err == nil
}

// Close closes the folder.
func (f *folder) Close() error { return f.root.Close() }

// Files implements [Tree].
func (f *folder) Files() []string { return f.files }

// Read implements [Tree].
func (f *folder) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	info, err := f.root.Lstat(filepath.FromSlash(name)) // before opening it: opening a pipe blocks
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := f.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d KiB", limit>>10) }
