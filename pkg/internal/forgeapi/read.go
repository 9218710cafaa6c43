package forgeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Read reads a path of the API, with its query. With the ETag of an earlier response, the forge may answer that nothing has
// changed: then unchanged is true.
func (e *Endpoint) Read(ctx context.Context, path, etag string) (body []byte, newETag string, unchanged bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.api.String()+"/"+path, http.NoBody)
	if err != nil {
		return nil, "", false, fmt.Errorf("building a request to %s: %w", e.Host, err)
	}
	req.Header.Set("Accept", "application/json")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := e.RoundTrip(req)
	if err != nil {
		return nil, "", false, e.Error(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && etag != "":
		return nil, etag, true, nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", false, e.moved(resp, nil)
	}
	if body, err = io.ReadAll(resp.Body); err != nil { // which is in memory
		return nil, "", false, e.Unexpected("")
	}
	return body, resp.Header.Get("ETag"), false, nil
}
