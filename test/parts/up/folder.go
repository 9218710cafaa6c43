package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/imagefactory/imagefactory/test/parts"
)

// marker is a file by which this program knows its folders. It is locked as long as servers run there.
const marker = ".imagefactory-up"

// occupy creates a folder, or empties one that this program has created, for servers that must not find the data of earlier ones.
// Nobody else gets it before release.
func occupy(dir string) (release func(), err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	lock := filepath.Join(dir, marker)
	if _, err := os.Stat(lock); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("using the folder %s: it has files of somebody else (name an empty folder, or remove it)", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(lock, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("using the folder %s: servers run there: %w", dir, err), file.Close())
	}
	errs := []error{parts.Release(dir)}
	for _, entry := range entries {
		if entry.Name() != marker && errs[0] == nil {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(fmt.Errorf("emptying the folder %s: %w", dir, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
