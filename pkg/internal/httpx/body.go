package httpx

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// replayable returns a request whose body can be sent more than once.
func replayable(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil {
		return req, nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return out, nil
}

// buffer reads the body of a response. An error response may be cut off: only its beginning is of interest.
func (h *host) buffer(ctx context.Context, resp *http.Response, limit int64) (*http.Response, *Error) {
	defer resp.Body.Close()
	failed := resp.StatusCode >= http.StatusBadRequest
	if failed {
		limit = maxErrorBytes
	} else if resp.ContentLength > limit && resp.Request.Method != http.MethodHead {
		return nil, tooLarge(h.name, limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case failed:
		body = body[:min(int64(len(body)), limit)]
	case err != nil:
		return nil, h.connectionError(ctx, err, true)
	case int64(len(body)) > limit:
		return nil, tooLarge(h.name, limit)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// boundedBody fails when more is read than the limit.
type boundedBody struct {
	io.ReadCloser
	host        string
	limit, left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, wrap(tooLarge(b.host, b.limit))
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
