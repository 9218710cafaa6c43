package review

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/source"
)

// sources reads Dockerfiles from a file system that holds the checkout: that of the work tree, or of a revision.
type sources struct {
	co    checkout.Checkout
	files fs.FS
	dir   string // --source-dir; "" if it is not given
}

// path returns the path of the Dockerfile of an image in the file system; ok is false if it is in another repository.
func (s *sources) path(img *config.Image) (name string, ok bool) {
	if !img.Managed() {
		return "", false
	}
	root, ok := s.root(img.Source)
	name = path.Join(root, img.Source.Dockerfile)
	return name, ok && fs.ValidPath(name)
}

// root returns the folder of the checkout of a source, as source.Local does for a source folder.
func (s *sources) root(src *config.Source) (dir string, ok bool) {
	if s.dir == "" {
		return ".", hostname.SameRepository(src.GitURL(), s.co.Origin)
	}
	if dir = fleet.OrPath("", s.co.Root, s.dir); dir == "" {
		return "", false // outside of the checkout
	}
	candidates := []string{src.RepoName()}
	if src.HasAPI() {
		candidates = []string{src.Repo, src.RepoName()}
	}
	for _, c := range candidates {
		if c == "" || c == "." || strings.Contains(c, "..") {
			continue
		}
		p := path.Join(dir, c)
		if info, err := fs.Stat(s.files, p); err == nil && info.IsDir() {
			return p, true
		}
	}
	return dir, true
}

// Dockerfile implements [source.Source].
func (s *sources) Dockerfile(_ context.Context, img *config.Image, _ source.Known) (*source.File, error) {
	name, _ := s.path(img)
	info, err := fs.Stat(s.files, name) // before opening it: opening a pipe blocks
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			err = at.Err // without the system call and the path once more
		}
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	f, err := s.files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, source.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if len(content) > source.MaxFileBytes {
		return nil, fmt.Errorf("reading %q: too large for a Dockerfile", name)
	}
	return &source.File{Path: path.Clean(name), Content: content}, nil
}
