package factory

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/imagefactory/imagefactory/pkg/state"
)

//go:embed init_images.yaml
var firstImages []byte

//go:embed init_gitignore
var gitignoreHints []byte

// Init writes a first images.yaml with comments, the folders of state and dist, and hints into .gitignore. It
// overwrites nothing and returns what it wrote.
func Init(p Paths) ([]string, error) {
	if _, err := os.Lstat(p.Config); err == nil {
		return nil, fmt.Errorf("writing %q: it is there already, and nothing was changed", p.Config)
	}
	root := filepath.Dir(p.Config)
	var written []string
	files := map[string][]byte{p.Config: firstImages}
	for _, dir := range []string{filepath.Join(p.StateDir, state.ImagesFolder), filepath.Join(p.StateDir, state.BasesFolder), p.OutDir} {
		files[filepath.Join(dir, ".gitkeep")] = nil
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return written, fmt.Errorf("making folder: %w", err)
		}
		if _, err := os.Lstat(file); err == nil {
			continue
		}
		if err := renameio.WriteFile(file, files[file], 0o644); err != nil {
			return written, fmt.Errorf("writing %q: %w", file, err)
		}
		written = append(written, file)
	}
	ignore := filepath.Join(root, ".gitignore")
	old, err := os.ReadFile(ignore)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return written, fmt.Errorf("reading %q: %w", ignore, err)
	}
	if !bytes.Contains(old, gitignoreHints) {
		if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
			old = append(old, '\n')
		}
		if err := renameio.WriteFile(ignore, append(old, gitignoreHints...), 0o644); err != nil {
			return written, fmt.Errorf("writing %q: %w", ignore, err)
		}
		written = append(written, ignore)
	}
	return written, nil
}
