package httpx

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a date, never less than zero. It reports whether
// there is one.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// RateLimit reports whether a response is a rate limit, or asks to retry later, and after what time: zero if unknown, else at
// least a second. GitHub answers 403 or 429, with Retry-After, the time of the reset, or a message only:
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api. GitLab answers 429 with Retry-After and
// RateLimit-Reset.
func RateLimit(resp *http.Response, now time.Time) (time.Duration, bool) {
	after, asked := RetryAfter(resp.Header, now)
	spent := cmp.Or(resp.Header.Get("X-RateLimit-Remaining"), resp.Header.Get("RateLimit-Remaining")) == "0"
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
	case resp.StatusCode == http.StatusForbidden && (asked || spent || strings.Contains(strings.ToLower(string(peek(resp))), "rate limit")):
	case resp.StatusCode >= http.StatusInternalServerError && after > 0:
		return after, false
	default:
		return 0, false
	}
	if reset, err := strconv.ParseInt(cmp.Or(resp.Header.Get("X-RateLimit-Reset"), resp.Header.Get("RateLimit-Reset")), 10, 64); err == nil && spent && !asked {
		return max(time.Unix(reset, 0).Sub(now), time.Second), true
	}
	if asked {
		after = max(after, time.Second)
	}
	return after, true
}

// peek returns the body of an error response, which is in memory, and leaves it to be read again.
func peek(resp *http.Response) []byte {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	if err != nil {
		return nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return body
}
