package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/polite"
)

const (
	tries          = 5
	firstWait      = 500 * time.Millisecond
	maxWait        = time.Minute // a registry that asks for more is left alone
	defaultTimeout = 30 * time.Second
	maxSilences    = 3       // requests in a row to a host that got no answer in time; then it is not asked any more
	maxRefusals    = 3       // questions in a row that a host answered by 429 or 5xx to the last try; then neither
	maxOtherBytes  = 1 << 20 // of answers that nobody gave a bound: pings, tokens
	maxErrorBytes  = 64 << 10
	maxRedirects   = 5
)

// Usage is what was asked of a host.
type Usage struct {
	Requests  int // that were answered
	Pulls     int // of these, manifest GETs: registries count them against a pull limit
	Remaining int // the pulls that the registry said are left, -1 when it did not say
}

// hosts keeps what is shared by all requests to a host.
type hosts struct {
	slots *polite.Slots

	mu      sync.Mutex
	usage   map[string]Usage
	silent  map[string]int     // requests in a row without an answer in time
	refused map[string]refusal // questions in a row that were given up
	good    map[string]int     // answers that were not refusals
	wrong   map[login]int      // times that it was denied, while it was never good
}

// login is a password for a host, as it is sent.
type login struct{ host, authorization string }

func loginOf(host string, req *http.Request) (login, bool) {
	sent := req.Header.Get("Authorization")
	return login{host, sent}, strings.HasPrefix(sent, "Basic ")
}

type refusal struct {
	count  int
	status int       // of the last answer
	until  time.Time // when that asked for more than is waited
}

func newHosts(limit int) *hosts {
	return &hosts{slots: polite.NewSlots(limit), usage: map[string]Usage{}, silent: map[string]int{}, refused: map[string]refusal{}, good: map[string]int{}, wrong: map[login]int{}}
}

// heard notes what became of a request: an answer, or none in time.
func (h *hosts) heard(host string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.silent[host] = 0
	case timedOut(err):
		h.silent[host]++
	}
}

// answered notes how a question ended that had several tries. One that is given up says nothing of the host when others
// had good answers meanwhile: good is how many there were when it began. Who asks to be left alone for long is.
func (h *hosts) answered(host string, resp *http.Response, good int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !mayPass(resp.StatusCode) {
		h.good[host]++
		delete(h.refused, host)
		return
	}
	r := refusal{count: h.refused[host].count + 1, status: resp.StatusCode}
	now := time.Now()
	after, _ := polite.RetryAfter(resp.Header, now)
	switch {
	case after > maxWait:
		r.count, r.until = maxRefusals, now.Add(after)
	case h.good[host] > good:
		return
	}
	h.refused[host] = r
}

// askAgain forgets why hosts are left alone, but not that a password is wrong, nor who asked for more time.
func (h *hosts) askAgain(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.silent)
	maps.DeleteFunc(h.refused, func(_ string, r refusal) bool { return now.After(r.until) })
}

func (h *hosts) goodAnswers(host string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.good[host]
}

// signedIn notes what became of a password, if one was sent. One that is wrong is not sent for each of many repositories:
// some registries lock the account.
func (h *hosts) signedIn(host string, req *http.Request, status int) {
	with, ok := loginOf(host, req)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	const right = -1 // a registry may deny a single repository all the same
	switch {
	case h.wrong[with] == right:
	case status == http.StatusUnauthorized:
		h.wrong[with]++
	case !mayPass(status):
		h.wrong[with] = right
	}
}

// givenUp says why a host is left alone: what waits for it would keep everything else waiting too.
func (h *hosts) givenUp(host string, req *http.Request, timeout time.Duration) error {
	const leftAlone = "it is not asked again in this run"
	h.mu.Lock()
	defer h.mu.Unlock()
	if with, ok := loginOf(host, req); ok && h.wrong[with] >= maxRefusals {
		e := statusError(host, http.StatusUnauthorized, "", 0)
		e.problem = "the user name or password is wrong (401): sign in anew with docker login, or change DOCKER_AUTH_CONFIG or what factory.credentials names; " + leftAlone
		return e
	}
	if h.silent[host] >= maxSilences {
		return bad(host, "it gave no answer within %s, %d times in a row: %s", timeout, maxSilences, leftAlone)
	}
	if r := h.refused[host]; r.count >= maxRefusals {
		e := statusError(host, r.status, "", 0)
		e.problem += "; " + leftAlone
		return e
	}
	return nil
}

func (h *hosts) count(host string, req *http.Request, answer http.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u, known := h.usage[host]
	if !known {
		u.Remaining = -1
	}
	u.Requests++
	if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/manifests/") {
		u.Pulls++
	}
	remaining, _, _ := strings.Cut(answer.Get("RateLimit-Remaining"), ";") // 76;w=21600
	if n, err := strconv.Atoi(strings.TrimSpace(remaining)); err == nil && n >= 0 {
		u.Remaining = n
	}
	h.usage[host] = u
}

func (h *hosts) all() map[string]Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.usage)
}

// requester sends requests: a few at once to each host, within bounds, and again when it makes sense. It reads the whole
// answer, so that one that breaks off in the middle is asked for again too. It keeps its place while it waits: a host
// that is in trouble is not asked more by those who come next.
type requester struct {
	inner    http.RoundTripper
	tries    int
	timeout  time.Duration
	hosts    *hosts
	sleep    func(context.Context, time.Duration) error
	insecure func(host string) bool
}

type bodyLimit struct{}

// withLimit bounds the size of the answer to a request.
func withLimit(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, bodyLimit{}, bytes)
}

// RoundTrip implements http.RoundTripper. Every error but that of the context is an *Error.
func (p *requester) RoundTrip(req *http.Request) (*http.Response, error) {
	host := hostname.Normalize(req.URL.Host)
	if req.Body != nil {
		defer req.Body.Close()
	}
	if req.URL.Scheme != "https" && !p.insecure(req.URL.Host) {
		return nil, bad(host, "refusing to ask without TLS")
	}
	release, err := p.hosts.slots.Acquire(req.Context(), host)
	if err != nil {
		return nil, err
	}
	defer release()
	good := p.hosts.goodAnswers(host)
	for try := 1; ; try++ {
		if err := p.hosts.givenUp(host, req, p.timeout); err != nil {
			return nil, err
		}
		resp, err := p.once(req, host)
		if err == nil {
			p.hosts.signedIn(host, req, resp.StatusCode)
		}
		if req.Context().Err() == nil {
			p.hosts.heard(host, err)
		}
		wait, again := p.again(req.Context(), resp, err, try)
		if !again {
			if err == nil && p.tries > 1 { // a mirror is asked in haste
				p.hosts.answered(host, resp, good)
			}
			return resp, err
		}
		if err := p.sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// again says whether to ask once more, and when.
func (p *requester) again(ctx context.Context, resp *http.Response, err error, try int) (time.Duration, bool) {
	if try >= p.tries || ctx.Err() != nil {
		return 0, false
	}
	wait := firstWait << (try - 1)
	wait += rand.N(wait) - wait/2 //nolint:gosec // jitter keeps no secret
	if err != nil {
		return wait, temporary(err)
	}
	if !mayPass(resp.StatusCode) {
		return 0, false
	}
	if asked, _ := polite.RetryAfter(resp.Header, time.Now()); asked > 0 {
		wait = asked
	}
	return wait, wait <= maxWait
}

// once sends the request and reads the whole answer.
func (p *requester) once(req *http.Request, host string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), p.timeout)
	defer cancel()
	out := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	resp, err := p.inner.RoundTrip(out)
	if err != nil {
		return nil, broken(req.Context(), host, err)
	}
	defer resp.Body.Close()
	p.hosts.count(host, req, resp.Header)
	limit, ok := req.Context().Value(bodyLimit{}).(int64)
	if !ok {
		limit = maxOtherBytes
	}
	failed := resp.StatusCode >= http.StatusBadRequest
	if failed {
		limit = maxErrorBytes
	} else if resp.ContentLength > limit && req.Method != http.MethodHead {
		return nil, tooLarge(host, limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil && !failed {
		return nil, broken(req.Context(), host, err)
	}
	if int64(len(body)) > limit {
		if !failed {
			return nil, tooLarge(host, limit)
		}
		body = body[:limit]
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(body)), req
	return resp, nil
}

func tooLarge(host string, limit int64) *Error {
	return wrong(host, "the answer is larger than the %d KiB that are read", limit>>10)
}

func broken(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{Host: host, problem: "the connection failed", cause: neterr.Clean(err)}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// temporary says whether an error can be another one the next time. A refused connection or an unknown host is not: they
// take longer to get well than it is worth to wait.
func temporary(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || timedOut(err)
}

func mayPass(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= http.StatusInternalServerError
}

// checkRedirect lets redirects go to another host: registries keep blobs elsewhere. Credentials do not follow, since
// they are added for the registry's own host only. A public host must not send us into the private network.
func checkRedirect(req *http.Request, via []*http.Request) error {
	host := hostname.Normalize(via[0].URL.Host)
	if len(via) > maxRedirects {
		return bad(host, "more than %d redirects", maxRedirects)
	}
	if config.IsPrivate(req.URL.Host) && !config.IsPrivate(via[0].URL.Host) {
		return bad(host, "refusing a redirect to a private address")
	}
	return nil
}
