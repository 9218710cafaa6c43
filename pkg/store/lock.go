package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock locks the folder against other processes. It waits until ctx is done. The lock ends with the process at the latest.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking state folder: %w", err)
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		var waited error
		done := make(chan struct{})
		go func() {
			waited = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			close(done)
		}()
		select {
		case <-done:
			err = waited
		case <-ctx.Done():
			go func() { // flock cannot be interrupted
				<-done
				_ = f.Close()
			}()
			return nil, fmt.Errorf("waiting for another process that writes %s: %w", dir, context.Cause(ctx))
		}
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK) { // some network file systems have no locks
		_ = f.Close()
		return nil, fmt.Errorf("locking state folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}
