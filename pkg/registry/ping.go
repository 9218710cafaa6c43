package registry

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// pings caches the authentication challenge of a host. go-containerregistry pings for each repository, but the challenge is
// the same for all of them.
type pings struct {
	http.RoundTripper

	mu    sync.Mutex
	hosts map[string]*ping
}

type ping struct {
	busy chan struct{}
	resp *http.Response // without a body; nil before the first ping
	body []byte
}

// RoundTrip implements http.RoundTripper.
func (p *pings) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.URL.Path != "/v2/" || req.Header.Get("Authorization") != "" {
		return p.RoundTripper.RoundTrip(req)
	}
	at := req.URL.Scheme + "://" + req.URL.Host
	p.mu.Lock()
	known := p.hosts[at]
	if known == nil {
		known = &ping{busy: make(chan struct{}, 1)}
		p.hosts[at] = known
	}
	p.mu.Unlock()
	select {
	case known.busy <- struct{}{}:
		defer func() { <-known.busy }()
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if known.resp == nil {
		resp, err := p.RoundTripper.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		defer resp.Body.Close()
		if known.body, err = io.ReadAll(resp.Body); err != nil { // it is bounded already
			return nil, err
		}
		known.resp = resp
	}
	copied := *known.resp
	copied.Header, copied.Body, copied.Request = known.resp.Header.Clone(), io.NopCloser(bytes.NewReader(known.body)), req
	return &copied, nil
}
