// Package forgeapi builds the clients for the APIs of GitHub, GitLab and Gitea. It knows where the API of a host is, which token to
// send, and how to read a response; its callers decide what to request.
//
// The clients are those of google/go-github and gitlab-org/api/client-go. In a stripped binary they take 0.7 MB and 2.4 MB,
// and 0.06 ms and 0.5 ms when the program starts. That is little beside the budget for both (50 MB, 30 ms), and buys tested
// encodings of paths and queries, paging and types. Their own retries and rate limiters are switched off: [httpx] has them.
package forgeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-github/v88/github"
	gitlab "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

const (
	attempts   = 3
	firstWait  = time.Second
	limitWait  = time.Minute // GitHub's documentation asks for it where a rate limit has no end
	cooldown   = time.Minute // of a host that fails
	maxBytes   = 4 << 20     // of a response: a file of 1 MiB in base64, and the JSON around it
	maxMessage = 400         // characters of a forge's message
)

// Options configure [Clients]. Every field may be left out.
type Options struct {
	// Token returns the token for the API of a host, as images.yaml names it; "" for none.
	Token func(ctx context.Context, host string) (string, error)
	// Hint returns how to set a token for a host.
	Hint func(host string) string
	// HTTP configures the transport: its base, clock and log, and the number of requests in flight to one host. How often
	// and when to retry is decided here.
	HTTP httpx.Options
}

// WithStore returns the options with the tokens of a store.
func (o Options) WithStore(store *credentials.Store) Options {
	o.Token = func(ctx context.Context, host string) (string, error) {
		t, err := store.Token(ctx, credentials.API, host)
		return t.Value, err
	}
	o.Hint = func(host string) string { return store.Hint(credentials.API, host) }
	return o
}

// Clients builds API clients. They share one transport, so that a host that fails, or refuses a token, is known to all of
// them. It may be used by many goroutines.
type Clients struct {
	o         Options
	transport *httpx.Transport
}

// New returns Clients.
func New(o Options) *Clients {
	if o.Token == nil {
		o.Token = func(context.Context, string) (string, error) { return "", nil }
	}
	if o.Hint == nil {
		o.Hint = func(host string) string { return "give a token for " + host }
	}
	h := o.HTTP
	h.Attempts, h.LimitWait, h.RetryUnreachable, h.MaxBody, h.Cooldown = attempts, limitWait, true, maxBytes, cooldown
	h.Backoff = func() backoff.BackOff {
		return &backoff.ExponentialBackOff{InitialInterval: firstWait, Multiplier: 2, MaxInterval: httpx.MaxWait}
	}
	return &Clients{o: o, transport: httpx.New(h)}
}

// ResetBreakers closes the circuit breakers of all hosts, as [httpx.Transport.Reset] does.
func (c *Clients) ResetBreakers() { c.transport.Reset() }

// WithToken returns Clients that share the transport and send another token.
func (c *Clients) WithToken(token string) *Clients {
	other := *c
	other.o.Token = func(context.Context, string) (string, error) { return token, nil }
	return &other
}

// GitHub is a client of the API of one GitHub host.
type GitHub struct {
	*github.Client
	*Endpoint
}

// GitHub returns the client for the host of a source. needs describes the permissions that the token must have, for messages.
func (c *Clients) GitHub(ctx context.Context, s *config.Source, needs string) (*GitHub, error) {
	e, err := c.Endpoint(ctx, s, needs)
	if err != nil {
		return nil, err
	}
	base := e.api.String() + "/"
	client, err := github.NewClient(github.WithHTTPClient(&http.Client{Transport: e}), github.WithURLs(&base, nil), github.WithDisableRateLimitCheck())
	if err != nil {
		return nil, fmt.Errorf("invalid source.host %q: %w", s.Host, err)
	}
	return &GitHub{client, e}, nil
}

// Get reads a path of the API into a value, with additional headers. It is for requests that need headers which the methods
// of the library do not send.
func (g *GitHub) Get(ctx context.Context, path string, header http.Header, into any) (*github.Response, error) {
	req, err := g.NewRequest(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, fmt.Errorf("building a request to %s: %w", g.Host, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := g.Do(req, into)
	if resp != nil && resp.StatusCode == http.StatusNotModified && header.Get("If-None-Match") != "" {
		return resp, nil
	}
	return resp, g.Error(err)
}

// GitLab is a client of the API of one GitLab host.
type GitLab struct {
	*gitlab.Client
	*Endpoint
}

// GitLab returns the client for the host of a source. needs describes the permissions that the token must have, for messages.
func (c *Clients) GitLab(ctx context.Context, s *config.Source, needs string) (*GitLab, error) {
	e, err := c.Endpoint(ctx, s, needs)
	if err != nil {
		return nil, err
	}
	client, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, gitlab.WithHTTPClient(&http.Client{Transport: e}),
		gitlab.WithBaseURL(e.api.String()), gitlab.WithoutRetries(), gitlab.WithCustomLimiter(unlimited{}))
	if err != nil {
		return nil, fmt.Errorf("invalid source.host %q: %w", s.Host, err)
	}
	return &GitLab{client, e}, nil
}

// unlimited replaces the rate limiter of the library, which waits as long as a header of the server says.
type unlimited struct{}

// Wait implements [gitlab.RateLimiter].
func (unlimited) Wait(ctx context.Context) error { return ctx.Err() }

// Endpoint is the API of one host, with the token for it. It is the transport of the API libraries: every error that it
// returns is an [*Error], unless the context ended.
type Endpoint struct {
	Host  string // as images.yaml names it
	Token string // "" for none

	api     *url.URL
	needs   string
	clients *Clients
}

// Endpoint returns the API of the host of a source, for requests that are the same at every forge. needs describes the permissions
// that the token must have, for messages.
func (c *Clients) Endpoint(ctx context.Context, s *config.Source, needs string) (*Endpoint, error) {
	token, err := c.o.Token(ctx, s.Host)
	if err != nil {
		return nil, fmt.Errorf("finding the token for %s: %w", s.Host, err)
	}
	api, err := url.Parse(s.APIURL())
	if err != nil {
		return nil, fmt.Errorf("invalid source.host %q", s.Host)
	}
	return &Endpoint{Host: s.Host, Token: token, api: api, needs: needs, clients: c}, nil
}

// Hint returns how to set a token for the host.
func (e *Endpoint) Hint() string { return e.clients.o.Hint(e.Host) }

// RoundTrip implements [http.RoundTripper].
func (e *Endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != e.api.Scheme || req.URL.Host != e.api.Host { // a redirect
		return nil, e.moved(req.Response, nil)
	}
	out := req.Clone(req.Context())
	if e.Token != "" { // accepted by all; GitLab accepts OAuth tokens in this header only, and access tokens in this header too
		out.Header.Set("Authorization", "Bearer "+e.Token)
	}
	resp, err := e.clients.transport.RoundTrip(out)
	var failed *httpx.Error
	switch {
	case errors.As(err, &failed):
		return nil, e.noResponse(failed)
	case err != nil:
		return nil, err
	}
	resp.Request = req // without the token
	return e.checked(resp)
}
