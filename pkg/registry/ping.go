package registry

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// pings remembers how a host wants to be signed in to. go-containerregistry asks that anew for each repository, but it is
// the host that decides.
type pings struct {
	http.RoundTripper

	mu    sync.Mutex
	hosts map[string]*ping
}

type ping struct {
	busy   chan struct{}
	answer *http.Response // without a body; nil while it is not known
	body   []byte
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
	if known.answer == nil {
		answer, err := p.RoundTripper.RoundTrip(req)
		if err != nil || answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusUnauthorized {
			return answer, err
		}
		defer answer.Body.Close()
		if known.body, err = io.ReadAll(answer.Body); err != nil { // it is bounded already
			return nil, err
		}
		known.answer = answer
	}
	copied := *known.answer
	copied.Header, copied.Body, copied.Request = known.answer.Header.Clone(), io.NopCloser(bytes.NewReader(known.body)), req
	return &copied, nil
}
