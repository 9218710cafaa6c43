// Package polite is what clients of other people's servers share.
package polite

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Slots bound how many requests are under way to one host.
type Slots struct {
	Limit int

	mu    sync.Mutex
	slots map[string]chan struct{}
}

// NewSlots makes Slots of a limit for each host.
func NewSlots(limit int) *Slots { return &Slots{Limit: limit, slots: map[string]chan struct{}{}} }

// Acquire waits until there may be one more request to the host. The error is that of ctx.
func (s *Slots) Acquire(ctx context.Context, host string) (release func(), err error) {
	s.mu.Lock()
	slot := s.slots[host]
	if slot == nil {
		slot = make(chan struct{}, s.Limit)
		s.slots[host] = slot
	}
	s.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// RetryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a date, never less than zero. It says whether
// there is anything to be read.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
