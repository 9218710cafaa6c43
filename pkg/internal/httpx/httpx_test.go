package httpx_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
)

const canary = "canary-0123456789"

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// server answers by a script: the last step again and again. Its clock moves only when a request waits.
type server struct {
	mu    sync.Mutex
	steps []step
	sent  []*http.Request
	waits []time.Duration
	now   time.Time
}

type step struct {
	status int
	header http.Header
	body   string
	err    error
}

func script(steps ...step) *server {
	return &server{steps: steps, now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, r)
	at := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	if at.err != nil {
		return nil, at.err
	}
	if at.header == nil {
		at.header = http.Header{}
	}
	return &http.Response{StatusCode: at.status, Header: at.header, ContentLength: -1, Body: io.NopCloser(strings.NewReader(at.body)), Request: r}, nil
}

func (s *server) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *server) client(o httpx.Options) *http.Client { return &http.Client{Transport: s.transport(o)} }

func (s *server) transport(o httpx.Options) *httpx.Transport {
	o.Base, o.Now = s, s.clock
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waits = append(s.waits, d)
		s.now = s.now.Add(d)
		return ctx.Err()
	}
	return httpx.New(o)
}

func do(t *testing.T, c *http.Client, method, target string, header ...string) (int, string, error) {
	t.Helper()
	var body io.Reader = http.NoBody
	if method == http.MethodPost {
		body = strings.NewReader("what is sent")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		assert.NotContains(t, neterr.Text(errors.Unwrap(err)), canary)
		var e *httpx.Error
		if errors.As(err, &e) {
			assert.Equal(t, e.Problem, neterr.Text(errors.Unwrap(err)), "the text goes through libraries")
		}
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

func problem(t *testing.T, err error, reason httpx.Reason) *httpx.Error {
	t.Helper()
	var e *httpx.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, reason, e.Reason, e.Problem)
	return e
}

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

var (
	errUnknownHost = &net.DNSError{Err: "no such host", Name: "h.example"}
	errNoRoute     = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
)

func TestRetries(t *testing.T) {
	inTenSeconds := strconv.FormatInt(script().now.Add(10*time.Second).Unix(), 10)
	for name, c := range map[string]struct {
		first step
		o     httpx.Options
		get   int           // attempts of a GET
		post  int           // attempts of a POST
		wait  time.Duration // before the second, when it does not depend on chance
	}{
		"good":                  {first: step{status: 200}, get: 1, post: 1},
		"not found":             {first: step{status: 404}, get: 1, post: 1},
		"in trouble":            {first: step{status: 503}, get: 2, post: 1},
		"in trouble, asks":      {first: step{status: 503, header: header("Retry-After", "9")}, get: 2, post: 1, wait: 9 * time.Second},
		"not implemented":       {first: step{status: 501}, get: 1, post: 1},
		"dropped":               {first: step{err: io.ErrUnexpectedEOF}, get: 2, post: 1},
		"timed out":             {first: step{err: context.DeadlineExceeded}, get: 2, post: 1},
		"unknown host":          {first: step{err: errUnknownHost}, get: 1, post: 1},
		"unreachable":           {first: step{err: errNoRoute}, get: 1, post: 1},
		"unreachable, patient":  {first: step{err: errNoRoute}, o: httpx.Options{RetryUnreachable: true}, get: 2, post: 2},
		"limit":                 {first: step{status: 429, header: header("Retry-After", "7")}, get: 2, post: 2, wait: 7 * time.Second},
		"limit by date":         {first: step{status: 429, header: header("Retry-After", "Sun, 01 Mar 2026 10:00:08 GMT")}, get: 2, post: 2, wait: 8 * time.Second},
		"limit without a time":  {first: step{status: 429}, o: httpx.Options{LimitWait: time.Minute}, get: 2, post: 2, wait: time.Minute},
		"limit, no number":      {first: step{status: 429, header: header("Retry-After", "soon")}, get: 2, post: 2},
		"limit with a reset":    {first: step{status: 403, header: header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", inTenSeconds)}, get: 2, post: 2, wait: 10 * time.Second},
		"GitLab's limit":        {first: step{status: 429, header: header("RateLimit-Remaining", "0", "RateLimit-Reset", inTenSeconds)}, get: 2, post: 2, wait: 10 * time.Second},
		"limit by its message":  {first: step{status: 403, body: `{"message":"You have exceeded a secondary rate limit."}`}, get: 2, post: 2},
		"limit for too long":    {first: step{status: 429, header: header("Retry-After", "61")}, get: 1, post: 1},
		"forbidden":             {first: step{status: 403, header: header("X-RateLimit-Remaining", "17")}, get: 1, post: 1},
		"one attempt":           {first: step{status: 503}, o: httpx.Options{Attempts: 1}, get: 1, post: 1},
		"a body that is cut":    {first: step{status: 200, body: "cut"}, get: 2, post: 1},
		"a body that is larger": {first: step{status: 200, body: strings.Repeat("x", 101)}, o: httpx.Options{MaxBody: 100}, get: 1, post: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for method, attempts := range map[string]int{http.MethodGet: c.get, http.MethodPost: c.post} {
				s := script(c.first, step{status: 200, body: "fine"})
				o := c.o
				client := s.client(o)
				if c.first.body == "cut" {
					client.Transport.(*httpx.Transport).Base = cutting{s}
				}
				_, body, err := do(t, client, method, "https://h.example/path?token="+canary)
				require.Len(t, s.sent, attempts, method)
				if attempts > 1 {
					require.NoError(t, err)
					assert.Equal(t, "fine", body)
					require.Len(t, s.waits, 1)
					if c.wait > 0 {
						assert.Equal(t, c.wait, s.waits[0])
					} else {
						assert.InDelta(t, 500*time.Millisecond, s.waits[0], float64(250*time.Millisecond))
					}
				}
				if method == http.MethodPost {
					for _, r := range s.sent {
						sent, err := io.ReadAll(r.Body)
						require.NoError(t, err)
						assert.Equal(t, "what is sent", string(sent))
					}
				}
			}
		})
	}
}

// cutting breaks off bodies with the text "cut".
type cutting struct{ *server }

func (c cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.server.RoundTrip(r)
	if err == nil {
		data, _ := io.ReadAll(resp.Body)
		end := io.EOF
		if string(data) == "cut" {
			end = io.ErrUnexpectedEOF
		}
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), failing{end}))
	}
	return resp, err
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-3": 0, "1.5": 0, "soon": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Thu, 01 Jan 2026 03:05:05 GMT": 0,
	} {
		got, _ := httpx.RetryAfter(header("Retry-After", in), now)
		assert.Equal(t, want, got, in)
	}
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		step      step
		reason    httpx.Reason
		maybeDone bool
		text      string
	}{
		"unreachable": {step{err: errNoRoute}, httpx.Connection, false, "connection failed: dial tcp: "},
		"dropped":     {step{err: io.EOF}, httpx.Connection, true, "connection failed: EOF"},
		"timed out":   {step{err: context.DeadlineExceeded}, httpx.Connection, true, "no response within 30s"},
		"secret":      {step{err: errors.New("sent " + canary)}, httpx.Connection, true, "connection failed: no usable HTTP response"},
		"too large":   {step{status: 200, body: strings.Repeat("x", 2<<20)}, httpx.TooLarge, false, "the response is larger than 1024 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(c.step)
			_, _, err := do(t, s.client(httpx.Options{MaxBody: 1 << 20}), http.MethodPost, "https://H.example:443/?token="+canary)
			e := problem(t, err, c.reason)
			assert.Equal(t, "h.example", e.Host)
			assert.Equal(t, c.maybeDone, e.MaybeDone)
			assert.False(t, e.Skipped())
			assert.Contains(t, e.Problem, c.text)
		})
	}
}

func TestFailingHostIsSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		step   step
		o      httpx.Options
		reason httpx.Reason
		sent   int // for ten requests
		later  int // for one more after a Reset
		text   string
	}{
		"in trouble":           {step{status: 503}, httpx.Options{Attempts: 2}, httpx.Failing, 6, 2, "503 Service Unavailable; skipping this host for the rest of the run"},
		"limit":                {step{status: 429}, httpx.Options{Attempts: 2}, httpx.Failing, 6, 2, "429 Too Many Requests; skipping"},
		"asks for an hour":     {step{status: 429, header: header("Retry-After", "3600")}, httpx.Options{}, httpx.RateLimited, 1, 0, "429 Too Many Requests; skipping this host until 11:00 UTC"},
		"silent":               {step{err: context.DeadlineExceeded}, httpx.Options{}, httpx.Unresponsive, 3, 3, "no response within 30s (3 times in a row); skipping"},
		"silent, one attempt":  {step{err: context.DeadlineExceeded}, httpx.Options{Attempts: 1}, httpx.Unresponsive, 3, 1, "no response within 30s (3 times in a row); skipping"},
		"unreachable, patient": {step{err: errNoRoute}, httpx.Options{Attempts: 2, RetryUnreachable: true}, httpx.Failing, 6, 2, "connection failed: dial tcp: no usable HTTP response; skipping this host for the rest of the run"},
		"dropped":              {step{err: io.EOF}, httpx.Options{Attempts: 2}, httpx.Failing, 6, 2, "connection failed: EOF; skipping"},
		"with a cooldown":      {step{status: 503}, httpx.Options{Attempts: 1, Cooldown: time.Minute}, httpx.Failing, 3, 1, "skipping this host until 10:01 UTC"},
		"of its own":           {step{status: 404}, httpx.Options{Failed: func(status int) bool { return status == 404 }}, httpx.Failing, 3, 1, "404 Not Found; skipping"},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(c.step)
			client := s.client(c.o)
			transport := client.Transport.(*httpx.Transport)
			var err error
			for range 10 {
				_, _, err = do(t, client, http.MethodGet, "https://h.example/")
			}
			e := problem(t, err, c.reason)
			assert.True(t, e.Skipped())
			assert.Contains(t, e.Problem, c.text)
			assert.Len(t, s.sent, c.sent)
			transport.Reset()
			_, _, _ = do(t, client, http.MethodGet, "https://h.example/")
			assert.Len(t, s.sent, c.sent+c.later)
		})
	}
	t.Run("not for good", func(t *testing.T) {
		for wait, h := range map[time.Duration]step{time.Minute: {status: 503}, time.Hour: {status: 503, header: header("Retry-After", "3600")}} {
			s := script(h, h, h, step{status: 200})
			client := s.client(httpx.Options{Attempts: 1, Cooldown: time.Minute})
			for range 10 {
				_, _, _ = do(t, client, http.MethodGet, "https://h.example/")
			}
			s.now = s.now.Add(wait)
			s.steps = s.steps[len(s.steps)-1:]
			status, _, err := do(t, client, http.MethodGet, "https://h.example/")
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		}
	})
	for name, c := range map[string]struct {
		steps []step
		o     httpx.Options
	}{
		"not in a row":     {[]step{{status: 503}, {status: 503}, {status: 200}, {status: 503}, {status: 503}, {status: 404}}, httpx.Options{Attempts: 1}},
		"no limit":         {[]step{{status: 503}}, httpx.Options{Attempts: 1, MaxFailures: -1}},
		"silent, no limit": {[]step{{err: context.DeadlineExceeded}}, httpx.Options{MaxFailures: -1}},
		"unreachable":      {[]step{{err: errNoRoute}}, httpx.Options{}},
		"too large":        {[]step{{status: 200, body: "xx"}}, httpx.Options{MaxBody: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(c.steps...)
			client := s.client(c.o)
			for range 6 {
				_, _, err := do(t, client, http.MethodGet, "https://h.example/")
				if e := (*httpx.Error)(nil); errors.As(err, &e) {
					assert.False(t, e.Skipped())
				}
			}
		})
	}
	t.Run("one of several repositories", func(t *testing.T) {
		var client *http.Client
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			status := 200
			if r.URL.Path == "/broken" {
				status = 503
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		client = &http.Client{Transport: httpx.New(httpx.Options{Base: base, Sleep: func(ctx context.Context, _ time.Duration) error {
			_, _, err := do(t, client, http.MethodGet, "https://h.example/good")
			return errors.Join(err, ctx.Err())
		}})}
		for range 5 {
			status, _, err := do(t, client, http.MethodGet, "https://h.example/broken")
			require.NoError(t, err, "others succeed meanwhile")
			assert.Equal(t, 503, status)
		}
	})
	t.Run("other hosts", func(t *testing.T) {
		s := script(step{status: 503})
		client := s.client(httpx.Options{Attempts: 1})
		for range 5 {
			_, _, _ = do(t, client, http.MethodGet, "https://h.example/")
		}
		status, _, err := do(t, client, http.MethodGet, "https://other.example/")
		require.NoError(t, err)
		assert.Equal(t, 503, status)
	})
	t.Run("one shot", func(t *testing.T) {
		s := script(step{status: 503})
		transport := s.transport(httpx.Options{})
		client := &http.Client{Transport: transport.OneShot()}
		for range 5 {
			status, _, err := do(t, client, http.MethodGet, "https://h.example/")
			require.NoError(t, err)
			assert.Equal(t, 503, status)
		}
		assert.Len(t, s.sent, 5)
		assert.Equal(t, map[string]int{"h.example": 5}, transport.Requests())
	})
}

func TestRefusedCredentialIsNotSentAgain(t *testing.T) {
	for _, name := range []string{"Authorization", "Private-Token"} {
		s := script(step{status: 401})
		client := s.client(httpx.Options{})
		var err error
		for range 10 {
			_, _, err = do(t, client, http.MethodGet, "https://h.example/", name, canary)
		}
		e := problem(t, err, httpx.Denied)
		assert.Equal(t, "the credential was refused 3 times (401); not sending it again in this run", e.Problem)
		assert.Equal(t, 401, e.Status)
		assert.Len(t, s.sent, 3)
		client.Transport.(*httpx.Transport).Reset()
		_, _, err = do(t, client, http.MethodPost, "https://h.example/", name, canary)
		_ = problem(t, err, httpx.Denied)
		for i, other := range [][]string{{name, "another"}, nil} {
			_, _, err = do(t, client, http.MethodGet, "https://h.example/", other...)
			require.NoError(t, err)
			assert.Len(t, s.sent, 4+i)
		}
		_, _, err = do(t, client, http.MethodGet, "https://other.example/", name, canary)
		require.NoError(t, err)
	}
	t.Run("accepted in between", func(t *testing.T) {
		s := script(step{status: 401}, step{status: 401}, step{status: 404}, step{status: 401}, step{status: 401}, step{status: 401}, step{status: 401})
		client := s.client(httpx.Options{})
		for range 10 {
			_, _, _ = do(t, client, http.MethodGet, "https://h.example/", "Authorization", canary)
		}
		assert.Len(t, s.sent, 6)
	})
	t.Run("passwords only", func(t *testing.T) {
		for auth, sent := range map[string]int{"Basic " + canary: 3, "Bearer " + canary: 10} {
			s := script(step{status: 401})
			client := s.client(httpx.Options{PasswordsOnly: true})
			for range 10 {
				_, _, _ = do(t, client, http.MethodGet, "https://h.example/", "Authorization", auth)
			}
			assert.Len(t, s.sent, sent)
		}
		s := script(step{status: 200}, step{status: 401})
		client := s.client(httpx.Options{PasswordsOnly: true})
		for range 10 {
			_, _, _ = do(t, client, http.MethodGet, "https://h.example/", "Authorization", "Basic "+canary)
		}
		assert.Len(t, s.sent, 10, "it was accepted once")
	})
}

func TestRedirects(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		followed bool
		keeps    bool // the credential
		text     string
	}{
		"same host":      {"https://h.example/a", "https://h.example/b", true, true, ""},
		"subdomain":      {"https://h.example/a", "https://sub.h.example/b", true, false, ""},
		"another host":   {"https://h.example/a", "https://other.example/b", true, false, ""},
		"another port":   {"https://h.example/a", "https://h.example:8443/b", true, false, ""},
		"without TLS":    {"https://h.example/a", "http://h.example/b", false, false, "refusing to connect without TLS"},
		"private":        {"https://h.example/a", "https://10.1.2.3/b", false, false, "refusing a redirect to the private address"},
		"loopback":       {"https://h.example/a", "http://127.0.0.1/b", false, false, "refusing a redirect to the private address"},
		"among private":  {"https://10.1.2.3/a", "https://10.1.2.4/b", true, false, ""},
		"in a circle":    {"https://h.example/a", "https://h.example/a", false, true, "more than 5 redirects"},
		"metadata":       {"https://h.example/a", "https://169.254.169.254/b", false, false, "refusing a redirect to the private address"},
		"private, by v6": {"https://h.example/a", "https://[fd00::1]/b", false, false, "refusing a redirect to the private address"},
	} {
		t.Run(name, func(t *testing.T) {
			moved := step{status: 302, header: header("Location", c.to)}
			steps := []step{moved, {status: 200}}
			if name == "in a circle" {
				steps = steps[:1]
			}
			s := script(steps...)
			_, _, err := do(t, s.client(httpx.Options{}), http.MethodGet, c.from, "Authorization", canary, "Private-Token", canary, "Cookie", canary)
			if !c.followed {
				e := problem(t, err, httpx.Refused)
				assert.Contains(t, e.Problem, c.text)
				return
			}
			require.NoError(t, err)
			require.Len(t, s.sent, 2)
			for _, key := range []string{"Authorization", "Private-Token", "Cookie"} {
				assert.Equal(t, c.keeps, s.sent[1].Header.Get(key) == canary, key)
			}
		})
	}
	t.Run("added by a library", func(t *testing.T) {
		s := script(step{status: 302, header: header("Location", "https://other.example/")}, step{status: 200})
		transport := s.transport(httpx.Options{})
		client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", canary)
			return transport.RoundTrip(r)
		})}
		_, _, err := do(t, client, http.MethodGet, "https://h.example/")
		require.NoError(t, err)
		assert.Equal(t, canary, s.sent[0].Header.Get("Authorization"))
		assert.Empty(t, s.sent[1].Header.Get("Authorization"))
	})
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	s := script(step{status: 200})
	_, _, err := do(t, s.client(httpx.Options{}), http.MethodGet, "http://h.example/", "Authorization", canary)
	_ = problem(t, err, httpx.Refused)
	assert.Empty(t, s.sent)
	for _, host := range []string{"127.0.0.1:8080", "localhost", "[::1]"} {
		_, _, err = do(t, s.client(httpx.Options{}), http.MethodGet, "http://"+host+"/")
		require.NoError(t, err)
	}
	_, _, err = do(t, s.client(httpx.Options{Insecure: func(string) bool { return true }}), http.MethodGet, "http://h.example/")
	require.NoError(t, err)
}

func TestConcurrencyIsLimitedPerHost(t *testing.T) {
	for _, stream := range []bool{false, true} {
		var inFlight, most atomic.Int32
		full := make(chan struct{}, 100)
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n := inFlight.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			full <- struct{}{}
			if n < 2 { // the first waits for a second, so that the limit is reached
				<-full
				<-full
			}
			_, _ = w.Write([]byte("x"))
			inFlight.Add(-1)
		}))
		t.Cleanup(slow.Close)
		client := &http.Client{Transport: httpx.New(httpx.Options{Concurrency: 2, Stream: stream})}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				_, _, err := do(t, client, http.MethodGet, slow.URL)
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.LessOrEqual(t, most.Load(), int32(2))
	}
	t.Run("a slot is waited for no longer than the context", func(t *testing.T) {
		block := make(chan struct{})
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-block
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		transport := httpx.New(httpx.Options{Base: base, Concurrency: 1})
		started := make(chan struct{})
		go func() {
			close(started)
			req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://h.example/", http.NoBody)
			if resp, err := transport.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://h.example/", http.NoBody)
		require.NoError(t, err)
		_, err = transport.RoundTrip(req) //nolint:bodyclose // there is none
		close(block)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestTimeout(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	for _, path := range []string{"/", "/body"} {
		client := &http.Client{Transport: httpx.New(httpx.Options{Attempts: 1, Timeout: 20 * time.Millisecond})}
		_, _, err := do(t, client, http.MethodGet, s.URL+path)
		e := problem(t, err, httpx.Connection)
		assert.Equal(t, "no response within 20ms", e.Problem)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	ctx, cancel := context.WithCancel(t.Context())
	client := &http.Client{Transport: httpx.New(httpx.Options{Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		cancel()
		return nil, r.Context().Err()
	})})}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
	require.NoError(t, err)
	_, err = client.Do(req) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorAs(t, err, new(*httpx.Error))
}

func TestBodies(t *testing.T) {
	s := script(step{status: 200, body: strings.Repeat("x", 200)})
	for _, stream := range []bool{false, true} {
		client := s.client(httpx.Options{MaxBody: 100, Stream: stream})
		_, _, err := do(t, client, http.MethodGet, "https://h.example/")
		_ = problem(t, err, httpx.TooLarge)
		req, err := http.NewRequestWithContext(httpx.WithMaxBody(t.Context(), 300), http.MethodGet, "https://h.example/", http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Len(t, data, 200)
	}
	errors := script(step{status: 404, body: strings.Repeat("x", 1<<20)})
	for _, stream := range []bool{false, true} {
		_, body, err := do(t, errors.client(httpx.Options{Stream: stream}), http.MethodGet, "https://h.example/")
		require.NoError(t, err)
		assert.Len(t, body, 64<<10, "the beginning of an error")
	}
}

func TestLogHoldsNoSecret(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := script(step{status: 503, body: canary}, step{err: errors.New(canary)}, step{status: 200, header: header("X-Token", canary), body: canary})
	_, _, err := do(t, s.client(httpx.Options{Logger: log}), http.MethodGet,
		"https://user:"+canary+"@h.example/v2/a%2Fb?sig="+canary+"&n=1#"+canary, "Authorization", canary)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	for i, want := range []string{"attempt=1 status=503", "attempt=2 error=", "attempt=3 status=200"} {
		assert.Contains(t, lines[i], want)
		assert.Contains(t, lines[i], `method=GET url="https://h.example/v2/a%2Fb?n=...&sig=..." duration=`)
	}
	assert.NotContains(t, out.String(), canary)
	out.Reset()
	log = slog.New(slog.NewTextHandler(&out, nil))
	_, _, err = do(t, s.client(httpx.Options{Logger: log}), http.MethodGet, "https://h.example/")
	require.NoError(t, err)
	assert.Empty(t, out.String())
}

func FuzzRedactURL(f *testing.F) {
	f.Add("h.example", "/path", "a=b&c="+canary, canary)
	f.Add("h.example", "/path", "%zz;"+canary, canary)
	f.Fuzz(func(t *testing.T, host, path, query, fragment string) {
		u := &url.URL{Scheme: "https", User: url.UserPassword("u", canary), Host: host, Path: path, RawQuery: query, Fragment: fragment}
		out := httpx.RedactURL(u)
		_, tail, _ := strings.Cut(out, "?")
		for _, pair := range strings.Split(tail, "&") {
			if _, value, ok := strings.Cut(pair, "="); ok {
				assert.Equal(t, "...", value)
			}
		}
		if !strings.Contains(host+path+query, canary) {
			assert.NotContains(t, out, canary)
		}
	})
}

func TestObservers(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := servertime.New(func() time.Time { return noon })
	s := script(step{status: 503, header: header("Date", noon.Add(-time.Hour).Format(http.TimeFormat))}, step{status: 200})
	var seen []int
	client := s.client(httpx.Options{Clock: clock, Observe: func(_ *http.Request, resp *http.Response) { seen = append(seen, resp.StatusCode) }})
	_, _, err := do(t, client, http.MethodGet, "https://h.example/")
	require.NoError(t, err)
	assert.Equal(t, []int{503, 200}, seen)
	assert.Contains(t, clock.Doubt(), "ahead of h.example")
	assert.Equal(t, "imagefactory", s.sent[0].Header.Get("User-Agent"))
	_, _, err = do(t, client, http.MethodGet, "https://h.example/", "User-Agent", "git/1.0")
	require.NoError(t, err)
	assert.Equal(t, "git/1.0", s.sent[2].Header.Get("User-Agent"))
}
