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

// Local reads Dockerfiles from local checkouts.
type Local struct {
	dir string
}

// NewLocal returns a [Source] for checkouts in a folder. Images of the repository owner/name are read from dir/owner/name or
// dir/name, or, if neither exists, from dir itself.
func NewLocal(dir string) (*Local, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("opening source folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening source folder: not a folder: %q", dir)
	}
	return &Local{dir: dir}, nil
}

// Dockerfile implements [Source]. It follows links only inside the checkout.
func (l *Local) Dockerfile(_ context.Context, img *config.Image, _ Known) (*File, error) {
	checkout := l.checkout(img.Source)
	shown := filepath.Join(checkout, filepath.FromSlash(img.Source.Dockerfile))
	root, err := os.OpenRoot(checkout)
	if err != nil {
		return nil, fmt.Errorf("opening checkout: %w", err)
	}
	defer root.Close()
	name := filepath.FromSlash(path.Clean(img.Source.Dockerfile))
	info, err := root.Stat(name) // before opening it: opening a pipe blocks
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading %q: %w of %q, or --source-dir", shown, errNotInCheckout, img.Name)
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
		return nil, fmt.Errorf("reading %q: %w", shown, errTooLarge)
	}
	if isLargeFile(content) {
		return nil, fmt.Errorf("reading %q: %w", shown, errLargeFile)
	}
	return &File{Path: shown, Content: content}, nil
}

func (l *Local) checkout(s *config.Source) string {
	candidates := []string{s.RepoName()}
	if s.HasAPI() {
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
