package httpx

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// log writes one line for an attempt.
func (t *Transport) log(req *http.Request, attempt int, took time.Duration, resp *http.Response, err error) {
	if !t.Logger.Enabled(req.Context(), slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", req.Method), slog.String("url", redactURL(req.URL)),
		slog.Duration("duration", took), slog.Int("attempt", attempt),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", neterr.Inner(err)))
	} else {
		attrs = append(attrs, slog.Int("status", resp.StatusCode))
	}
	t.Logger.LogAttrs(req.Context(), slog.LevelDebug, "http request", attrs...)
}

// redactURL returns a URL as text, without user info, fragment and the values of its query: signed URLs and tokens are there.
func redactURL(u *url.URL) string {
	out := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		query = url.Values{"...": nil}
	}
	for key := range query {
		query[key] = []string{"..."}
	}
	out.RawQuery = query.Encode()
	return out.String()
}
