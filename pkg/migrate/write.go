package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// ConflictError lists the files that keep a migration from being written.
type ConflictError struct {
	different []string // files with other content: Write overwrites them if forced
	foreign   []string // other files in the state folders, and non-regular files: never overwritten
}

func (e *ConflictError) Error() string {
	if len(e.foreign) > 0 {
		return fmt.Sprintf("nothing was written: unexpected files %s (move them away, or choose another folder with --to)", strings.Join(e.foreign, ", "))
	}
	return fmt.Sprintf("nothing was written: existing files differ: %s (overwrite them with --force, or choose another folder with --to)", strings.Join(e.different, ", "))
}

// Check compares dir with the planned files. It returns those that are missing or differ, and a ConflictError if other files
// are in their place.
func (p *Plan) Check(dir string) (missing map[string][]byte, conflict *ConflictError, err error) {
	missing, c := map[string][]byte{}, &ConflictError{}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		target := filepath.Join(dir, filepath.FromSlash(name))
		info, err := os.Lstat(target)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing[name] = p.Files[name]
			continue
		case err != nil:
			return nil, nil, fmt.Errorf("reading %q: %w", target, err)
		case !info.Mode().IsRegular():
			c.foreign = append(c.foreign, target)
			continue
		}
		have, err := os.ReadFile(target)
		if err != nil {
			return nil, nil, fmt.Errorf("reading %q: %w", target, err)
		}
		if !bytes.Equal(have, p.Files[name]) && !p.sameButLater(have, p.Files[name]) {
			missing[name] = p.Files[name]
			c.different = append(c.different, target)
		}
	}
	if err := p.foreign(dir, c); err != nil {
		return nil, nil, err
	}
	if len(c.different)+len(c.foreign) == 0 {
		c = nil
	}
	return missing, c, nil
}

// sameButLater reports whether the files differ only in the time of the migration. The earlier time is kept.
func (p *Plan) sameButLater(have, want []byte) bool {
	const anyTime = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	parts := strings.Split(regexp.QuoteMeta(string(want)), regexp.QuoteMeta(p.made))
	if len(parts) == 1 {
		return false
	}
	m := regexp.MustCompile("^" + strings.Join(parts, "("+anyTime+")") + "$").FindStringSubmatch(string(have))
	return m != nil && m[1] <= p.made && len(slices.Compact(m[1:])) == 1
}

// foreign adds existing state files that the migration does not write: they would become part of the new state.
func (p *Plan) foreign(dir string, c *ConflictError) error {
	at := config.DefaultStateFolder
	for _, folder := range []string{at, path.Join(at, state.ImagesFolder), path.Join(at, state.BasesFolder)} {
		target := filepath.Join(dir, filepath.FromSlash(folder))
		if info, err := os.Lstat(target); err == nil && !info.IsDir() {
			c.foreign = append(c.foreign, target)
			return nil
		}
		entries, err := os.ReadDir(target)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading %q: %w", target, err)
		}
		for _, e := range entries {
			name := path.Join(folder, e.Name())
			if _, ours := p.Files[name]; !ours && folder != at && strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".example.yaml") {
				c.foreign = append(c.foreign, filepath.Join(target, e.Name()))
			}
		}
	}
	return nil
}

// Write writes the missing files to dir, each of them atomically, and returns their names. With force it overwrites files with
// other content. It never removes files.
func (p *Plan) Write(dir string, force bool) ([]string, error) {
	missing, conflict, err := p.Check(dir)
	if err != nil {
		return nil, err
	}
	if conflict != nil && (!force || len(conflict.foreign) > 0) {
		return nil, conflict
	}
	if err := state.WriteFiles(dir, missing); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(missing)), nil
}
