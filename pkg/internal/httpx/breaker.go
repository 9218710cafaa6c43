package httpx

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxAuthFailures is how often a refused credential is sent: after more, forges ban the client and registries lock the account.
const maxAuthFailures = 3

// hosts is the state of all hosts.
type hosts struct {
	o   *Options
	mu  sync.Mutex
	all map[string]*host
}

func (hs *hosts) get(name string) *host {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.all[name]
	if h == nil {
		h = &host{o: hs.o, name: name, authFailures: map[string]int{}}
		if hs.o.Concurrency > 0 {
			h.slots = make(chan struct{}, hs.o.Concurrency)
		}
		hs.all[name] = h
	}
	return h
}

func (hs *hosts) snapshot() map[string]*host {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return maps.Clone(hs.all)
}

func (hs *hosts) requests() map[string]int {
	out := map[string]int{}
	for name, h := range hs.snapshot() {
		h.mu.Lock()
		if h.responses > 0 {
			out[name] = h.responses
		}
		h.mu.Unlock()
	}
	return out
}

func (hs *hosts) reset() {
	for _, h := range hs.snapshot() {
		h.mu.Lock()
		h.timeouts, h.failures = 0, 0
		if h.open != nil && h.open.Reason != RateLimited {
			h.open = nil
		}
		h.mu.Unlock()
	}
}

// host is the state of one host: its slots, its breaker and its credentials.
type host struct {
	o     *Options
	name  string
	slots chan struct{} // nil for no limit

	mu           sync.Mutex
	responses    int
	successes    int            // requests that did not fail
	failures     int            // requests in a row that failed after all attempts
	timeouts     int            // attempts in a row without a response in time
	open         *Error         // why the host is skipped; nil when it is not
	until        time.Time      // end of that; zero for none
	authFailures map[string]int // times in a row that a credential was refused; accepted if it never counts
}

// accepted marks a credential that is not counted any more.
const accepted = -1

// acquire waits for a slot.
func (h *host) acquire(ctx context.Context) (release func(), err error) {
	if h.slots == nil {
		return func() {}, ctx.Err()
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *host) successCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.successes
}

func (h *host) countResponse() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responses++
}

// allow returns why a request is not sent; nil when it is.
func (h *host) allow(req *http.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != nil && !h.until.IsZero() && !h.o.Now().Before(h.until) {
		h.open = nil
	}
	if h.open != nil {
		return wrap(h.open)
	}
	if c := h.credential(req); c != "" && h.authFailures[c] >= maxAuthFailures {
		return wrap(&Error{
			Host: h.name, Reason: Denied, Status: http.StatusUnauthorized,
			Problem: fmt.Sprintf("the credential was refused %d times (401); not sending it again in this run", maxAuthFailures),
		})
	}
	return nil
}

// credential returns the credential of a request; "" if it has none, or one that is not limited.
func (h *host) credential(req *http.Request) string {
	auth := req.Header.Get("Authorization")
	if h.o.PasswordsOnly && !strings.HasPrefix(auth, "Basic ") {
		return ""
	}
	return auth + req.Header.Get("Private-Token")
}

// recordAttempt counts a missing response, and a refused credential.
func (h *host) recordAttempt(req *http.Request, resp *http.Response, err *Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if !timedOut(err.cause) {
			return
		}
		if h.timeouts++; h.o.MaxFailures > 0 && h.timeouts >= h.o.MaxFailures {
			h.trip(&Error{Host: h.name, Reason: Unresponsive, Problem: fmt.Sprintf("%s (%d times in a row)", err.Problem, h.timeouts), cause: err.cause}, h.o.Cooldown)
		}
		return
	}
	h.timeouts = 0
	c := h.credential(req)
	switch {
	case c == "" || h.authFailures[c] == accepted || temporary(resp.StatusCode):
	case resp.StatusCode == http.StatusUnauthorized:
		h.authFailures[c]++
	case h.o.PasswordsOnly:
		h.authFailures[c] = accepted
	default:
		delete(h.authFailures, c)
	}
}

// recordRequest updates the breaker after the last attempt of a request. A failure is ignored if other requests to the host
// succeeded in the meantime (before is the success count when the request started), unless the host asked to wait for longer
// than [MaxWait].
func (h *host) recordRequest(resp *http.Response, err *Error, before int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	skipped := &Error{Host: h.name, Reason: Failing}
	if err != nil {
		switch {
		case timedOut(err.cause): // counted by attempt
			return
		case !err.MaybeDone && (err.Reason != Connection || !h.o.RetryUnreachable): // such a request ends soon
			return
		}
		skipped.Problem, skipped.cause = err.Problem, err.cause
	} else {
		after, limited := RateLimit(resp, h.o.Now())
		skipped.Status, skipped.Problem = resp.StatusCode, fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		switch {
		case after > MaxWait:
			skipped.Reason = RateLimited
			h.trip(skipped, after)
			return
		case !limited && !h.o.Failed(resp.StatusCode):
			h.successes++
			h.failures = 0
			return
		}
	}
	if h.successes > before {
		return
	}
	if h.failures++; h.o.MaxFailures > 0 && h.failures >= h.o.MaxFailures {
		h.trip(skipped, h.o.Cooldown)
	}
}

// trip opens the breaker for a time; zero until the next reset.
func (h *host) trip(why *Error, cooldown time.Duration) {
	if h.open != nil && h.open.Reason == RateLimited {
		return
	}
	h.open, h.until, why.Skip = why, time.Time{}, "skipping this host for the rest of the run"
	if cooldown > 0 {
		h.until = h.o.Now().Add(cooldown)
		why.Until = h.until
		why.Skip = "skipping this host until " + h.until.UTC().Format("15:04 UTC")
	}
	why.Problem += "; " + why.Skip
}
