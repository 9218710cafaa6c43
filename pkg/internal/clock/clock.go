// Package clock waits.
package clock

import (
	"context"
	"time"
)

// Sleep waits for a time, or until ctx is over: then it returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
