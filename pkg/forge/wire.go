package forge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/polite"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

const (
	tries          = 3
	firstWait      = time.Second
	limitWait      = time.Minute // where a forge does not say how long: what GitHub's documentation asks for
	maxWait        = time.Minute // a forge that asks for more is left alone
	attemptTimeout = 30 * time.Second
	maxBody        = 1 << 20
	userAgent      = "imagefactory"
)

// wire sends requests to one forge for the API libraries: with the token, within bounds, and again only when that cannot do
// harm. Every error but that of the context is a *failure.
type wire struct {
	host  string // as images.yaml has it
	api   *url.URL
	token string
	auth  func(h http.Header, token string)
	grant string // what a token needs to be allowed to
	o     *Options
}

// client is for the API libraries. They must send nothing again themselves.
func (w *wire) client() *http.Client { return &http.Client{Transport: w} }

// RoundTrip implements http.RoundTripper. A request that was surely not accepted is sent again, whatever its method; one
// that may have been is only when it changes nothing.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != w.api.Scheme || req.URL.Host != w.api.Host { // a redirect
		return nil, w.moved(req.Response, nil)
	}
	var body []byte
	if req.Body != nil {
		defer req.Body.Close()
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		resp, err := w.once(req, body)
		wait, again := w.again(req.Method, err, try)
		if !again {
			return resp, err
		}
		if err := w.o.Sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// again says whether to send a request once more, and when.
func (w *wire) again(method string, err error, try int) (time.Duration, bool) {
	var f *failure
	if try >= tries || !errors.As(err, &f) {
		return 0, false
	}
	wait := firstWait << (try - 1)
	if f.limited {
		wait = f.until.Sub(w.o.Now())
		return wait, wait <= maxWait
	}
	return wait, f.temporary() && (f.unsent || method == http.MethodGet)
}

// once sends a request and reads the whole answer.
func (w *wire) once(req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), attemptTimeout)
	defer cancel()
	var connecting, connected bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { connecting = true },
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	})
	out := req.Clone(ctx)
	if body != nil { // net/http itself sends one again of which nothing was written or taken
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	out.Header.Set("User-Agent", userAgent)
	w.auth(out.Header, w.token)
	resp, err := w.o.Transport.RoundTrip(out)
	if err != nil {
		return nil, w.broken(req.Context(), ctx, err, connecting && !connected)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		return nil, w.failed(resp, answer)
	case resp.StatusCode >= http.StatusMultipleChoices && req.Method != http.MethodGet:
		return nil, w.moved(resp, answer)
	case err != nil:
		return nil, w.broken(req.Context(), ctx, err, false)
	case len(answer) > maxBody:
		return nil, &failure{host: w.host, message: fmt.Sprintf("it is larger than the %d KiB that are read", maxBody>>10)}
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(answer)), req
	return resp, nil
}

// broken is a connection that failed.
func (w *wire) broken(outer, inner context.Context, err error, unsent bool) error {
	if outer.Err() != nil {
		return outer.Err()
	}
	f := &failure{host: w.host, message: "the connection failed", unsent: unsent}
	var network *net.OpError
	var lookup *net.DNSError
	switch {
	case inner.Err() != nil:
		f.message = "none came within " + attemptTimeout.String()
	case errors.As(err, &lookup):
		f.message = "its name cannot be resolved; check source.host and the network"
	case errors.As(err, &network) && network.Op == "dial":
		f.message = "there is no connection to it: " + neterr.Text(network.Err)
	case unsent:
		f.message = "no connection could be made to it: " + neterr.Text(err)
	}
	return f
}

// moved is a redirect that must not be followed: with the token to another host, or as a GET in place of a POST.
func (w *wire) moved(resp *http.Response, body []byte) error {
	f := &failure{host: w.host, message: w.words(body), hint: "the repository has moved: correct source.repo and source.host"}
	if resp != nil {
		f.status = resp.StatusCode
	}
	if body != nil && !f.spoken() {
		f.hint = notItsAPI
	}
	return f
}

// failed is an answer with an error status.
func (w *wire) failed(resp *http.Response, body []byte) error {
	f := &failure{host: w.host, status: resp.StatusCode, message: w.words(body)}
	switch {
	case f.status == http.StatusUnauthorized:
		f.hint = "the token is not valid; " + w.o.Hint(w.host)
	case w.limit(f, resp.Header):
	case f.status == http.StatusForbidden:
		f.hint = "the token needs " + w.grant + "; " + w.o.Hint(w.host)
	}
	return f
}

// limit reads when a forge takes requests again: after Retry-After, else at the reset of its counter. GitHub's two rate
// limits say 403 as well, and one that says nothing more is known by its message.
func (w *wire) limit(f *failure, h http.Header) bool {
	now := w.o.Now()
	spent := cmp.Or(h.Get("X-RateLimit-Remaining"), h.Get("RateLimit-Remaining")) == "0"
	after, asked := polite.RetryAfter(h, now)
	f.limited = f.status == http.StatusTooManyRequests ||
		f.status == http.StatusForbidden && (asked || spent || strings.Contains(strings.ToLower(f.message), "rate limit"))
	if !f.limited {
		return false
	}
	reset, err := strconv.ParseInt(cmp.Or(h.Get("X-RateLimit-Reset"), h.Get("RateLimit-Reset")), 10, 64)
	switch {
	case asked:
		f.until = now.Add(after)
	case spent && err == nil:
		f.until = time.Unix(reset, 0)
	default:
		f.until = now.Add(limitWait)
	}
	if soon := now.Add(firstWait); f.until.Before(soon) {
		f.until = soon
	}
	return true
}

// webURL is the URL of a run, when it can be shown: a forge could write anything.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > 500 || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.String() != s {
		return ""
	}
	return sanitize.URL(s)
}

// fill gives templates of an image's entry their values.
func fill(templates map[string]string, o Order) map[string]string {
	out := make(map[string]string, len(templates))
	values := map[string]string{"image": o.Image.Name, "base": o.Base, "digest": o.Digest, "promotion": o.Rebuild}
	for key, template := range templates {
		out[key] = config.Fill(template, values)
	}
	return out
}
