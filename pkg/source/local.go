package source

import (
	"context"
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

// Dockerfile implements Source. Links are followed only inside the checkout.
func (l *Local) Dockerfile(_ context.Context, img *config.Image, _ Known) (*File, error) {
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
		return nil, fmt.Errorf("reading %q: %w of %q, or --source-dir", shown, problem("no such file: check source.dockerfile"), img.Name)
	case err != nil:
		return nil, fmt.Errorf("reading %q: %w", shown, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("reading %q: %w", shown, problem("not a regular file"))
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
		return nil, fmt.Errorf("reading %q: %w", shown, problem(fmt.Sprintf("larger than %d KiB, which is no Dockerfile", MaxFileBytes>>10)))
	}
	if isLargeFile(content) {
		return nil, fmt.Errorf("reading %q: %w", shown, errLargeFile)
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
