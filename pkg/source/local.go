// Package source fetches the Dockerfiles of managed images from where they live.
package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// MaxFileBytes bounds a Dockerfile. The largest in public use have some ten KiB.
const MaxFileBytes = 1 << 20

// File is a Dockerfile as it was found.
type File struct {
	Path    string // for messages: where it was read
	Content []byte
	Commit  string // empty when no commit vouches for the content
}

// Local reads Dockerfiles from checkouts on this machine.
type Local struct {
	dir string
}

// NewLocal reads from the folder dir: for an image of the repository owner/name from dir/owner/name or dir/name if one of
// them exists, else from dir itself.
func NewLocal(dir string) (*Local, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("opening source folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening source folder: %q is not a folder", dir)
	}
	return &Local{dir: dir}, nil
}

// Dockerfile reads the Dockerfile of a managed image. Links are followed only inside the checkout.
func (l *Local) Dockerfile(img *config.Image) (*File, error) {
	checkout := l.checkout(img.Source)
	shown := filepath.Join(checkout, filepath.FromSlash(img.Source.Dockerfile))
	root, err := os.OpenRoot(checkout)
	if err != nil {
		return nil, fmt.Errorf("opening checkout: %w", err)
	}
	defer root.Close()
	name := filepath.FromSlash(path.Clean(img.Source.Dockerfile))
	info, err := root.Stat(name) // before it is opened: opening a pipe waits for ever
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading %q: no such file: check source.dockerfile of %q, or --source-dir", shown, img.Name)
	case err != nil:
		return nil, fmt.Errorf("reading %q: %w", shown, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("reading %q: not a regular file", shown)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", shown, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", shown, err)
	}
	if len(content) > MaxFileBytes {
		return nil, fmt.Errorf("reading %q: larger than %d KiB, which is no Dockerfile", shown, MaxFileBytes>>10)
	}
	return &File{Path: shown, Content: content}, nil
}

func (l *Local) checkout(s *config.Source) string {
	candidates := []string{s.RepoName()}
	if s.Provider != config.Git {
		candidates = []string{filepath.FromSlash(s.Repo), s.RepoName()}
	}
	for _, c := range candidates {
		if c == "" || c == "." || strings.Contains(c, "..") {
			continue
		}
		dir := filepath.Join(l.dir, c)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return l.dir
}
