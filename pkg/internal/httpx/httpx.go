// Package httpx is the one way to talk to a server: an [http.RoundTripper] with bounded bodies, retries that honour
// Retry-After, a concurrency limit and a circuit breaker per host, redirects that carry no credential to another host and do
// not lead into the private network, and a log of requests. API libraries of registries, forges, git and Kubernetes take it
// as their transport; they must not retry themselves.
//
// The breaker is our own: sony/gobreaker has one fixed cooldown where ours follows Retry-After, reads the wall clock, cannot
// be reset between passes, and knows nothing of refused credentials.
package httpx

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
)

const (
	// MaxWait is the longest Retry-After that is honoured by waiting. A host with a longer one is skipped until then.
	MaxWait = time.Minute

	userAgent     = "imagefactory"
	maxErrorBytes = 64 << 10 // of responses with an error status
	maxRedirects  = 5
)

// Options configure a Transport. The zero value is usable.
type Options struct {
	// Base sends requests. Default a clone of [http.DefaultTransport].
	Base http.RoundTripper
	// Attempts is how often a request is sent at most. Default 4.
	Attempts int
	// Backoff makes the waits between the attempts of one request. Default: exponential from 500 ms, doubling, with jitter.
	Backoff func() backoff.BackOff
	// LimitWait is the wait after a rate limit without an end. Default: that of Backoff.
	LimitWait time.Duration
	// RetryUnreachable also retries when no connection can be made: refused, or an unknown host. As that takes time, such
	// requests count as failures of the host.
	RetryUnreachable bool
	// Timeout bounds one attempt, including its body; with Stream, until its header. Default 30 seconds.
	Timeout time.Duration
	// MaxBody bounds the body of a response in bytes; see also [WithMaxBody]. Default 4 MiB.
	MaxBody int64
	// Stream hands the body to the caller while it arrives. Otherwise it is read first, so that a response that breaks off
	// is retried.
	Stream bool
	// Concurrency is the number of requests in flight to one host. Default 4; negative for no limit.
	Concurrency int
	// MaxFailures is the number of failed requests, or of attempts without a response in time, in a row, after which a host
	// is skipped. Default 3; negative for no limit.
	MaxFailures int
	// Cooldown is how long such a host is skipped. Default: until [Transport.Reset].
	Cooldown time.Duration
	// Failed reports whether a status counts as a failure of the host. Default: 408, 429 and 5xx but 501 and 505.
	Failed func(status int) bool
	// PasswordsOnly applies the limit on refused credentials to passwords alone, and to none that the host has accepted
	// before: registries issue tokens themselves, and answer 401 for single repositories.
	PasswordsOnly bool
	// Insecure reports whether a host may be reached over plain HTTP. Default: loopback only.
	Insecure func(host string) bool
	// Observe is called with every response, before its body is read.
	Observe func(*http.Request, *http.Response)
	// Clock receives the time that servers report; may be nil.
	Clock *servertime.Clock
	// Logger receives every attempt at debug level: method, URL without secrets, status, duration, attempt. Default: none.
	Logger *slog.Logger
	// Sleep waits between attempts. For tests.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock of rate limits and cooldowns. Default [time.Now].
	Now func() time.Time
}

// Transport is an [http.RoundTripper]. It may be used by many goroutines; one Transport should serve a whole run, since it
// remembers which hosts fail.
//
// A request is retried if the server surely did not accept it (no connection, if Options say so; a rate limit that ends
// within [MaxWait]), or if it is a GET or HEAD and the failure is temporary. After the last attempt, the response is
// returned as it is. Every error is an [*Error], unless the context ended.
type Transport struct {
	Options
	hosts   *hosts
	oneShot bool
}

// New returns a Transport.
func New(o Options) *Transport {
	if o.Base == nil {
		base := http.DefaultTransport.(*http.Transport).Clone()
		base.MaxIdleConnsPerHost = 16
		o.Base = base
	}
	o.Attempts = cmp.Or(o.Attempts, 4)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.MaxBody = cmp.Or(o.MaxBody, 4<<20)
	o.Concurrency = cmp.Or(o.Concurrency, 4)
	o.MaxFailures = cmp.Or(o.MaxFailures, 3)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Backoff == nil {
		o.Backoff = func() backoff.BackOff {
			return &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: MaxWait}
		}
	}
	if o.Failed == nil {
		o.Failed = temporary
	}
	if o.Insecure == nil {
		o.Insecure = hostname.IsLoopback
	}
	if o.Observe == nil {
		o.Observe = func(*http.Request, *http.Response) {}
	}
	if o.Sleep == nil {
		o.Sleep = Sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Transport{Options: o}
	t.hosts = &hosts{o: &t.Options, all: map[string]*host{}}
	return t
}

// OneShot returns a Transport that shares limits, breakers and counts with t, but sends each request once, and counts only
// missing responses against the host. It is for optional servers, such as mirrors, and for callers that retry a whole exchange.
func (t *Transport) OneShot() *Transport {
	once := *t
	once.Attempts, once.oneShot = 1, true
	return &once
}

// Requests returns the number of responses by host.
func (t *Transport) Requests() map[string]int { return t.hosts.requests() }

// Reset closes the breakers of all hosts but those that sent a Retry-After that has not passed. Long-running commands call it
// between passes. A credential that was refused stays refused.
func (t *Transport) Reset() { t.hosts.reset() }

type maxBodyKey struct{}

// WithMaxBody bounds the bodies of the responses to requests with the returned context.
func WithMaxBody(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, maxBodyKey{}, bytes)
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	h := t.hosts.get(hostname.Normalize(req.URL.Host))
	req, err := t.checked(req, h.name)
	if err == nil {
		req, err = replayable(req)
	}
	if err != nil {
		return nil, err
	}
	release, err := h.acquire(req.Context())
	if err != nil {
		return nil, err
	}
	resp, err := t.retry(req, h)
	if err != nil || !t.Stream {
		release()
		return resp, err
	}
	resp.Body = &closer{resp.Body, sync.OnceFunc(release)}
	return resp, nil
}

// retry sends a request until it gets a response that is worth returning. It keeps its slot while it waits, so that a host
// in trouble does not get more requests meanwhile.
func (t *Transport) retry(req *http.Request, h *host) (*http.Response, error) {
	waits, before := t.Backoff(), h.successCount()
	for n := 1; ; n++ {
		if err := h.allow(req); err != nil {
			return nil, err
		}
		resp, err := t.attempt(req, h, n)
		if ctxErr := req.Context().Err(); ctxErr != nil && err != nil {
			return nil, ctxErr
		}
		h.recordAttempt(req, resp, err)
		wait, again := t.again(req, resp, err, n, waits.NextBackOff())
		if !again {
			if !t.oneShot {
				h.recordRequest(resp, err, before)
			}
			return resp, wrap(err)
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		if err := t.Sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// again reports whether to send a request once more, and after what wait.
func (t *Transport) again(req *http.Request, resp *http.Response, err *Error, attempt int, wait time.Duration) (time.Duration, bool) {
	if attempt >= t.Attempts || req.Context().Err() != nil {
		return 0, false
	}
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	if err != nil {
		return wait, reads && err.temporary || t.RetryUnreachable && err.Reason == Connection && !err.MaybeDone
	}
	after, limited := RateLimit(resp, t.Now())
	switch {
	case limited && after == 0 && t.LimitWait > 0:
		wait = t.LimitWait
	case !limited && (!reads || !temporary(resp.StatusCode)):
		return 0, false
	}
	if after > 0 {
		wait = max(after, time.Second)
	}
	return wait, wait <= MaxWait
}

// attempt sends a request once. Without Stream it reads the whole response.
func (t *Transport) attempt(req *http.Request, h *host, n int) (*http.Response, *Error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(t.Timeout, func() { cancel(errTimeout) })
	var dialing, connected bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { dialing = true },
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	})
	out := req.Clone(traced)
	if !strings.HasPrefix(out.Header.Get("User-Agent"), "git/") { // some git servers require it
		out.Header.Set("User-Agent", userAgent)
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			cancel(nil)
			return nil, h.connectionError(ctx, err, false)
		}
		out.Body = body
	}
	begin := time.Now()
	resp, err := t.Base.RoundTrip(out)
	took := time.Since(begin)
	t.log(req, n, took, resp, err)
	if err != nil {
		timer.Stop()
		cancel(nil)
		return nil, h.connectionError(ctx, err, !dialing || connected)
	}
	h.countResponse()
	t.Clock.Observe(req.URL.Host, took, resp.Header)
	t.Observe(req, resp)
	resp.Request = req
	limit, ok := req.Context().Value(maxBodyKey{}).(int64)
	if !ok {
		limit = t.MaxBody
	}
	done := func() { timer.Stop(); cancel(nil) }
	if t.Stream && resp.StatusCode < http.StatusBadRequest {
		timer.Stop()
		resp.Body = &closer{&boundedBody{resp.Body, h.name, limit, limit}, done}
		return resp, nil
	}
	defer done()
	return h.buffer(ctx, resp, limit)
}

// closer calls more when a body is closed.
type closer struct {
	io.ReadCloser
	more func()
}

func (c *closer) Close() error {
	defer c.more()
	return c.ReadCloser.Close()
}
