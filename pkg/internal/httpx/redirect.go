package httpx

import (
	"net/http"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// credentialHeaders are deleted from a request that a redirect leads to another host.
var credentialHeaders = []string{"Authorization", "Private-Token", "Job-Token", "Cookie"}

// checked returns the request that may be sent, or why none may: only loopback hosts are reached over plain HTTP, no
// redirect leads from a public host to a private address, and none carries a credential to another host.
func (t *Transport) checked(req *http.Request, host string) (*http.Request, error) {
	if req.URL.Scheme != "https" && !t.Insecure(req.URL.Host) {
		return nil, refused(host, "refusing to connect without TLS")
	}
	origin, redirects := req, 0
	for origin.Response != nil && origin.Response.Request != nil {
		origin = origin.Response.Request
		redirects++
	}
	from := hostname.Normalize(origin.URL.Host)
	switch {
	case redirects == 0:
		return req, nil
	case redirects > maxRedirects:
		return nil, refused(from, "more than 5 redirects")
	case hostname.IsPrivate(req.URL.Host) && !hostname.IsPrivate(origin.URL.Host):
		return nil, refused(from, "refusing a redirect to the private address "+req.URL.Hostname())
	case sameOrigin(req, origin):
		return req, nil
	}
	req = req.Clone(req.Context())
	for _, name := range credentialHeaders {
		req.Header.Del(name)
	}
	return req, nil
}

func refused(host, problem string) error {
	return wrap(&Error{Host: host, Reason: Refused, Problem: problem})
}

func sameOrigin(a, b *http.Request) bool {
	return a.URL.Scheme == b.URL.Scheme && hostname.Normalize(a.URL.Host) == hostname.Normalize(b.URL.Host)
}
