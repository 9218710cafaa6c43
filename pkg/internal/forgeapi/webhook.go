package forgeapi

import (
	"errors"
	"io"
	"net/http"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Response is the response of a server that is no forge.
type Response struct {
	Status int
	Body   []byte

	response *http.Response // closed
}

// Send sends a request to a server that is no forge and returns the response. It follows no redirect, and sends again only
// what a rate limit refused. An error is an [*Error], unless the context ended.
func (c *Clients) Send(req *http.Request) (*Response, error) {
	e := &Endpoint{Host: req.URL.Host, clients: c}
	resp, err := c.transport.RoundTrip(req)
	var failed *httpx.Error
	switch {
	case errors.As(err, &failed):
		return nil, e.noResponse(failed)
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body) // which httpx has bounded
	if err != nil {
		return nil, &Error{Host: e.Host, Message: "the response broke off"}
	}
	return &Response{resp.StatusCode, body, resp}, nil
}

// Refused returns the error for a response that does not say that a build was accepted. hidden are the secrets of the request.
func (c *Clients) Refused(r *Response, hidden ...string) *Error {
	e := &Endpoint{Host: r.response.Request.URL.Host, clients: c}
	out := &Error{Host: e.Host, Status: r.Status, Header: r.response.Header, Message: sanitize.Foreign(e.message(r.Body), hidden...)}
	now := c.transport.Now()
	if after, limited := httpx.RateLimit(r.response, now); limited {
		out.Limited, out.Until = true, now.Add(max(after, limitWait))
	}
	return out
}
