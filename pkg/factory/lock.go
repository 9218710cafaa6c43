package factory

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock waits until no other process holds the folder. The lock ends with the process, if not before.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking state folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK) { // some network file systems lock nothing
		_ = f.Close()
		return nil, fmt.Errorf("locking state folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}
