// Package rest asks the REST APIs of forges: a few requests at once to each host, within bounds, and again where that is
// safe.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/imagefactory/imagefactory/pkg/internal/clock"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/polite"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

const (
	tries          = 4
	maxWait        = time.Minute // a forge that asks for more is left alone
	attemptTimeout = time.Minute
	maxBody        = 4 << 20 // a file of 1 MiB in base64, and what is around it
	maxRedirects   = 5
	maxTroubles    = 3           // requests in a row that a forge in trouble did not answer to the last try
	recess         = time.Minute // in which such a forge is left alone
	maxDenials     = 3           // of a token, in a row
)

// Options say how forges are asked.
type Options struct {
	// Token gives the token for a host, as it stands in images.yaml; empty for none.
	Token func(ctx context.Context, host string) (string, error)
	// Transport sends requests. Default http.DefaultTransport.
	Transport http.RoundTripper
	// Concurrency is how many requests may be under way to one host. Default 4.
	Concurrency int
	// Sleep waits before asking again. For tests.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock that rate limits are told by. Default time.Now.
	Now func() time.Time
}

// Client asks forges. It may be used by many goroutines.
type Client struct {
	Options
	client *http.Client
	slots  *polite.Slots

	mu       sync.Mutex
	requests map[string]int
	troubles map[string]int // in a row, by host
	good     map[string]int // answers, by host
	denials  map[string]denial
	closed   map[string]closed
}

// closed is a host that is left alone for a while, since what waits for it would keep everything else waiting too.
type closed struct {
	until time.Time
	why   *Error
}

// New makes a Client.
func New(o Options) *Client {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.Sleep == nil {
		o.Sleep = clock.Sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{
		Options: o, client: &http.Client{Transport: o.Transport, CheckRedirect: checkRedirect},
		slots: polite.NewSlots(o.Concurrency), requests: map[string]int{},
		troubles: map[string]int{}, good: map[string]int{}, denials: map[string]denial{}, closed: map[string]closed{},
	}
}

// checkRedirect follows a repository that was renamed, and nothing that leads to another host or that would make another
// request of a POST.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > maxRedirects || req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// Request is what is asked.
type Request struct {
	Method string // GET, HEAD or POST
	Host   string // whose token is sent
	URL    string
	Header http.Header
	Body   any // sent as JSON, unless nil
}

// Answer is a whole answer, of any status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Error is a request without an answer that says anything. Its text holds no secret.
type Error struct {
	Host    string
	Problem string
	// Unsure says that the forge may have done what was asked all the same.
	Unsure bool
	cause  error
}

func (e *Error) Error() string { return "asking " + e.Host + ": " + e.Problem }

// Unwrap returns what went wrong, if anything beside the answer did.
func (e *Error) Unwrap() error { return e.cause }

// Requests reports how often each host was asked.
func (c *Client) Requests() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.requests)
}

// Do sends the request. GET and HEAD are retried on 5xx and lost connections, any method after a short rate limit. A POST
// whose response was lost is not retried: Unsure is set in the Error, and the caller must check. Any status below 500 is
// returned as an Answer, except a rate limit.
func (c *Client) Do(ctx context.Context, q Request) (*Answer, error) {
	token := ""
	if c.Token != nil {
		var err error
		if token, err = c.Token(ctx, q.Host); err != nil {
			return nil, err
		}
	}
	release, err := c.slots.Acquire(ctx, q.Host)
	if err != nil {
		return nil, err
	}
	defer release()
	pause, good := backoff.NewExponentialBackOff(), c.answers(q.Host)
	for try := 1; ; try++ {
		if why := c.leftAlone(q.Host); why != nil {
			return nil, why
		}
		if no := c.denies(q.Host, token); no != nil {
			return no, nil
		}
		answer, err := c.once(ctx, q, token)
		wait, limited := c.limit(answer)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case limited:
			if try >= tries || wait > maxWait {
				why := &Error{Host: q.Host, Problem: "the rate limit is used up" + until(c.Now(), wait) + ": use a token, or one with a higher limit"}
				c.leaveAlone(max(wait, recess), why)
				return nil, why
			}
		case err == nil && answer.Status < http.StatusInternalServerError:
			c.answered(q.Host, token, answer)
			return answer, nil
		default:
			if err == nil {
				err = &Error{Host: q.Host, Problem: fmt.Sprintf("the server is in trouble: %d %s", answer.Status, http.StatusText(answer.Status)), Unsure: true}
			}
			var failed *Error
			if unsure := errors.As(err, &failed) && failed.Unsure; try >= tries || q.Method == http.MethodPost || !unsure {
				c.failed(failed, good)
				return nil, err
			}
		}
		if err := c.Sleep(ctx, max(wait, pause.NextBackOff())); err != nil {
			return nil, err
		}
	}
}

// leftAlone says why a host is not asked now; nil when it is.
func (c *Client) leftAlone(host string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.closed[host]; ok && c.Now().Before(at.until) {
		return at.why
	}
	return nil
}

func (c *Client) leaveAlone(wait time.Duration, why *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed[why.Host] = closed{c.Now().Add(wait), why}
}

func (c *Client) answered(host, token string, a *Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.troubles, host)
	c.good[host]++
	d := c.denials[host]
	switch {
	case a.Status != http.StatusUnauthorized || token == "":
		delete(c.denials, host)
		return
	case d.token != token:
		d.inRow = 0
	}
	c.denials[host] = denial{token, d.inRow + 1, a}
}

// denial is what a host answers to a token that it refuses.
type denial struct {
	token  string
	inRow  int
	answer *Answer
}

// denies returns the answer to a token that was refused again and again. It is not sent for each image of a fleet: forges
// ban who does that.
func (c *Client) denies(host, token string) *Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.denials[host]; token != "" && d.token == token && d.inRow >= maxDenials {
		return d.answer
	}
	return nil
}

// answers counts the answers of a host.
func (c *Client) answers(host string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good[host]
}

// failed notes that a request was given up whose host is in trouble. It says nothing of the host when others were answered
// meanwhile: good is how many there were when it began.
func (c *Client) failed(why *Error, good int) {
	if why == nil || !why.Unsure || c.answers(why.Host) > good {
		return
	}
	c.mu.Lock()
	c.troubles[why.Host]++
	worn := c.troubles[why.Host] >= maxTroubles
	c.mu.Unlock()
	if worn {
		c.leaveAlone(recess, &Error{Host: why.Host, Problem: why.Problem + "; it is left alone for a while", cause: why.cause})
	}
}

func (c *Client) once(ctx context.Context, q Request, token string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	fail := func(problem string, unsure bool, cause error) (*Answer, error) {
		return nil, &Error{Host: q.Host, Problem: problem, Unsure: unsure, cause: cause}
	}
	var body io.Reader = http.NoBody
	if q.Body != nil {
		data, err := json.Marshal(q.Body)
		if err != nil {
			return fail("making the request failed", false, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return fail("the URL is not valid", false, nil)
	}
	for k, v := range q.Header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "imagefactory")
	if q.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return fail("the connection failed: "+neterr.Inner(err), !unsent(err), err)
	}
	defer resp.Body.Close()
	c.mu.Lock()
	c.requests[q.Host]++
	c.mu.Unlock()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return fail("the answer broke off", true, err)
	case len(data) > maxBody:
		return fail(fmt.Sprintf("the answer is larger than %d MiB", maxBody>>20), false, nil)
	}
	return &Answer{resp.StatusCode, resp.Header, data}, nil
}

// unsent says whether an error shows that the forge has not seen the request.
func unsent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// limit says whether an answer is a rate limit, and how long it lasts. GitHub answers 403 or 429, with Retry-After or the
// time of the reset: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api. GitLab answers 429 with
// Retry-After and RateLimit-Reset.
func (c *Client) limit(a *Answer) (time.Duration, bool) {
	if a == nil || a.Status != http.StatusTooManyRequests && a.Status != http.StatusForbidden {
		return 0, false
	}
	after, asked := polite.RetryAfter(a.Header, c.Now())
	spent := a.Header.Get("X-RateLimit-Remaining") == "0"
	if a.Status == http.StatusForbidden && a.Header.Get("Retry-After") == "" && !spent {
		return 0, false
	}
	if asked {
		return after, true
	}
	for _, name := range []string{"X-RateLimit-Reset", "RateLimit-Reset"} {
		if n, err := strconv.ParseInt(a.Header.Get(name), 10, 64); err == nil && (spent || name == "RateLimit-Reset") {
			return max(time.Unix(n, 0).Sub(c.Now()), 0), true
		}
	}
	return 0, true
}

func until(now time.Time, wait time.Duration) string {
	if wait == 0 {
		return ""
	}
	return " until " + now.Add(wait).UTC().Format("15:04 UTC")
}

// JSON reads the body of an answer. What is no JSON, such as the page of a proxy, is an error.
func (a *Answer) JSON(host string, into any) error {
	if kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return &Error{Host: host, Problem: fmt.Sprintf("the answer is no JSON (content type: %s): is this the forge, or a sign-in page in front of it?", sanitize.MediaType(kind)), Unsure: true}
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return &Error{Host: host, Problem: "the answer is no valid JSON", Unsure: true}
	}
	return nil
}

// Message is what the forge says of an error: the message of GitHub, or that or the error of GitLab, whatever its type.
func (a *Answer) Message() string {
	var body struct {
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return ""
	}
	for _, v := range []any{body.Message, body.Error} {
		switch v := v.(type) {
		case nil:
		case string:
			return short(v)
		default:
			data, err := json.Marshal(v)
			if err == nil {
				return short(string(data))
			}
		}
	}
	return ""
}

// short makes one bounded line of what a forge wrote. That it repeats no token is left to the caller.
func short(s string) string {
	const most = 300
	return sanitize.Cut(sanitize.Foreign(s), most)
}
