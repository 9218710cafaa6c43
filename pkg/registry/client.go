package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	attempts      = 5
	maxOtherBytes = 1 << 20 // of responses without a bound of their own: pings, tokens
)

// Options configure a Client. The zero value is usable.
type Options struct {
	// Keychain has the credentials. Default authn.DefaultKeychain: what docker and podman login wrote.
	Keychain authn.Keychain
	// Mirrors are asked before a registry, in order: host, or host/prefix, by the host of the registry. One that fails or does
	// not have an image is passed over, without a retry.
	Mirrors map[string][]string
	// HTTP configures the requests. Attempts, MaxBody, PasswordsOnly and Observe are the Client's own.
	HTTP httpx.Options
	// CacheDir is a folder in which image configs are kept; empty for none.
	CacheDir string
}

// Client reads from registries. It may be used by many goroutines; it signs in once for each repository and remembers small
// manifests by digest, so one Client should serve a whole run.
type Client struct {
	keychain authn.Keychain
	mirrors  map[string][]string
	insecure func(host string) bool
	configs  configCache
	usage    usage
	http     *httpx.Transport
	retrying http.RoundTripper
	oneShot  http.RoundTripper // for mirrors: the registry itself is the fallback

	mu        sync.Mutex
	sessions  map[place]*session
	manifests map[string]*manifest
}

// New returns a Client.
func New(o Options) *Client {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	c := &Client{
		keychain: o.Keychain, mirrors: o.Mirrors, configs: configCache{o.CacheDir}, usage: usage{hosts: map[string]Usage{}},
		sessions: map[place]*session{}, manifests: map[string]*manifest{},
	}
	o.HTTP.Attempts, o.HTTP.MaxBody, o.HTTP.PasswordsOnly, o.HTTP.Observe = attempts, maxOtherBytes, true, c.usage.count
	c.http = httpx.New(o.HTTP)
	c.insecure = c.http.Insecure
	c.retrying = &pings{RoundTripper: c.http, hosts: map[string]*ping{}}
	c.oneShot = &pings{RoundTripper: c.http.OneShot(), hosts: map[string]*ping{}}
	return c
}

// Requests returns the numbers of requests so far, by host.
func (c *Client) Requests() map[string]Usage { return c.usage.all() }

// ResetBreakers closes the circuit breakers of all hosts. Long-running callers (promote --wait) call it between passes.
func (c *Client) ResetBreakers() { c.http.Reset() }

// place is a registry or mirror that serves a repository.
type place struct {
	repo   name.Repository
	mirror bool
}

func (p place) host() string { return hostname.Normalize(p.repo.RegistryStr()) }

// source is a repository with its places: mirrors, then the registry itself.
type source struct {
	repository string
	places     []place
}

// host returns the host of the registry itself.
func (s source) host() string { return s.places[len(s.places)-1].host() }

// source returns the places of a reference's repository. It checks the reference again, which may come from a file.
func (c *Client) source(ref state.Ref) (source, error) {
	repository := ref.Registry + "/" + ref.Repository
	if parsed, err := state.ParseRef(ref.String()); err != nil || parsed.Registry != ref.Registry || parsed.Repository != ref.Repository {
		return source{}, fmt.Errorf("invalid reference %q: not normalised", ref)
	}
	s := source{repository: repository}
	for _, m := range c.mirrors[ref.Registry] {
		p, err := c.place(m + "/" + ref.Repository)
		if err != nil {
			return source{}, fmt.Errorf("invalid mirror %q of %s: %w", m, ref.Registry, err)
		}
		p.mirror = true
		s.places = append(s.places, p)
	}
	p, err := c.place(repository)
	if err != nil {
		return source{}, err
	}
	s.places = append(s.places, p)
	return s, nil
}

func (c *Client) place(repository string) (place, error) {
	host, path, _ := strings.Cut(repository, "/")
	var opts []name.Option
	if c.insecure(host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return place{}, err
	}
	return place{repo: reg.Repo(path)}, nil
}

// firstOf calls read for one place after the other until one succeeds. Otherwise the error is that of the registry itself,
// which is the last one, followed by those of the mirrors.
func firstOf[T any](ctx context.Context, places []place, read func(place) (T, error)) (T, error) {
	var before []string
	for _, at := range places[:len(places)-1] {
		out, err := read(at)
		if err == nil || ctx.Err() != nil {
			return out, err
		}
		before = append(before, err.Error())
	}
	out, err := read(places[len(places)-1])
	if err != nil && ctx.Err() == nil && len(before) > 0 {
		err = fmt.Errorf("%w (mirrors: %s)", err, strings.Join(before, "; "))
	}
	return out, err
}

// session is a client that is signed in for one repository.
type session struct {
	busy   chan struct{}
	client *http.Client
}

// session returns the session of a place, and signs in first if there is none.
func (c *Client) session(ctx context.Context, at place) (*http.Client, error) {
	c.mu.Lock()
	s := c.sessions[at]
	if s == nil {
		s = &session{busy: make(chan struct{}, 1)}
		c.sessions[at] = s
	}
	c.mu.Unlock()
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return nil, problemOf(ctx, at.host(), ctx.Err())
	}
	if s.client != nil {
		return s.client, nil
	}
	auth, err := authn.Resolve(ctx, c.keychain, at.repo)
	if err != nil {
		return nil, &Error{Host: at.host(), problem: "reading the credentials", cause: err}
	}
	base := c.retrying
	if at.mirror {
		base = c.oneShot
	}
	t, err := transport.NewWithContext(ctx, at.repo.Registry, auth, base, []string{at.repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, problemOf(ctx, at.host(), err)
	}
	s.client = &http.Client{Transport: t}
	return s.client, nil
}

// response is a complete response with status 200.
type response struct {
	header http.Header
	body   []byte
	url    string // after redirects
}

// send requests a path below the repository, or an absolute URL.
func (c *Client) send(ctx context.Context, at place, method, path, accept string, limit int64) (*response, error) {
	client, err := c.session(ctx, at)
	if err != nil {
		return nil, err
	}
	target := path
	if !strings.Contains(path, "://") {
		target = at.repo.Scheme() + "://" + at.repo.RegistryStr() + "/v2/" + at.repo.RepositoryStr() + "/" + path
	}
	req, err := http.NewRequestWithContext(httpx.WithMaxBody(ctx, limit), method, target, http.NoBody)
	if err != nil {
		return nil, bad(at.host(), "making the request failed")
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, problemOf(ctx, at.host(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, problemOf(ctx, at.host(), err)
	}
	if resp.StatusCode != http.StatusOK {
		after, _ := httpx.RetryAfter(resp.Header, time.Now())
		codes := codesOf(body)
		e := statusError(at.host(), resp.StatusCode, cmp.Or(append(codes, "")...), after)
		known := unknownManifest
		if strings.HasPrefix(path, "blobs/") {
			known = unknownBlob
		}
		e.unknown = saysUnknown(resp.StatusCode, codes, known)
		e.absent = saysUnknown(resp.StatusCode, codes, append([]string{"NOT_FOUND"}, known...))
		if resp.StatusCode == http.StatusNotFound && !e.unknown {
			e.problem += noErrorCode
		}
		return nil, e
	}
	return &response{header: resp.Header, body: body, url: resp.Request.URL.String()}, nil
}

// codesOf returns the error codes of the OCI distribution specification in a response.
func codesOf(body []byte) []string {
	var e struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil {
		return nil
	}
	codes := make([]string, len(e.Errors))
	for i := range e.Errors {
		codes[i] = e.Errors[i].Code
	}
	return codes
}
