package forgeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Error is a request without a usable response. Its text holds no secret.
type Error struct {
	Host     string
	Status   int       // of the response; 0 if there is none
	Message  string    // of the forge, or what went wrong
	Hint     string    // what to do about it
	NotSent  bool      // the forge did not receive the request
	TooLarge bool      // the response is larger than the limit
	Limited  bool      // the request was refused by a rate limit
	Until    time.Time // end of the rate limit
	Header   http.Header

	described bool // it links to the description of the API
}

// notAPI is the hint for a response that anything between us and the forge may have given.
const notAPI = "not an API response; check source.host, and any proxy or gateway in front of it"

func (e *Error) Error() string {
	var text string
	switch {
	case e.Limited && !e.Until.IsZero() && e.Status != 0:
		text = fmt.Sprintf("%s: rate limit reached (%d), retry after %s", e.Host, e.Status, e.Until.UTC().Format(time.RFC3339))
	case e.Status == 0:
		text = "no usable response from " + e.Host
	default:
		text = fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status))
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Temporary reports whether a retry can help.
func (e *Error) Temporary() bool {
	return e.Status == 0 || e.Status == http.StatusRequestTimeout || e.Status >= http.StatusInternalServerError
}

// MaybeDone reports whether the forge may have processed the request.
func (e *Error) MaybeDone() bool { return !e.NotSent && !e.Limited && e.Temporary() }

// Permanent reports whether the same request would fail again: a status 4xx of the API itself, except for a token that may be
// replaced or get more permissions. Package kargo has the same rule.
func (e *Error) Permanent() bool {
	switch e.Status {
	case http.StatusUnauthorized:
		return false
	case http.StatusForbidden:
		return e.Disabled()
	}
	return e.FromAPI() && e.Status >= http.StatusMultipleChoices && !e.Limited && !e.Temporary()
}

// Disabled reports whether somebody has switched off what the request is about: Gitea answers 403 for such a workflow.
func (e *Error) Disabled() bool { return e.described && strings.Contains(e.Message, "is disabled") }

// FromAPI reports whether the response came from the API of a forge, which explains a failure in JSON. The message of a 404
// of GitHub or GitLab always contains "not found"; that of Gitea has a link to its description. Gateways without a route also answer
// in JSON, in other words.
func (e *Error) FromAPI() bool {
	if e.Status == http.StatusNotFound && !e.described && !strings.Contains(strings.ToLower(e.Message), "not found") {
		return false
	}
	return e.Message != "" && e.Status != 0
}

// IsNotFound reports whether the forge itself answered that something does not exist.
func IsNotFound(err error) bool { return HasStatus(err, http.StatusNotFound) && As(err).FromAPI() }

// As returns the [*Error] in an error, or nil.
func As(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}

// HasStatus reports whether an error is a response with one of the statuses.
func HasStatus(err error, statuses ...int) bool {
	e := As(err)
	return e != nil && slices.Contains(statuses, e.Status)
}

// Explain adds what to do about a permanent error, and about a response that did not come from the API.
func Explain(err error, advice func(*Error) string) error {
	e := As(err)
	switch {
	case e == nil || e.Hint != "":
	case e.Permanent():
		e.Hint = advice(e)
	case e.Status >= http.StatusMultipleChoices && !e.FromAPI() && !e.Limited && !e.Temporary():
		e.Hint = notAPI
	}
	return err
}

// Error returns the error of an API library without the responses and URLs that the library quotes.
func (e *Endpoint) Error(err error) error {
	switch own := As(err); {
	case err == nil:
		return nil
	case own != nil:
		return own
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return e.Unexpected("")
}

// Unexpected returns an error for a response that the API does not document; what may add details.
func (e *Endpoint) Unexpected(what string) *Error {
	message := "unexpected content"
	if what != "" {
		message += ": " + what
	}
	return &Error{Host: e.Host, Message: message, Hint: notAPI}
}

// Clean makes text of the forge safe to print.
func (e *Endpoint) Clean(text string) string {
	return sanitize.Cut(sanitize.Foreign(text, e.Token), maxMessage)
}

// noResponse explains why there is no response.
func (e *Endpoint) noResponse(err *httpx.Error) *Error {
	out := &Error{Host: e.Host, Message: err.Problem}
	switch err.Reason {
	case httpx.Connection:
		out.NotSent = !err.MaybeDone
	case httpx.TooLarge:
		out.TooLarge = true
	case httpx.RateLimited:
		out.Limited, out.NotSent, out.Until = true, true, err.Until
		out.Hint = e.limitHint()
	case httpx.Denied:
		out.Status, out.NotSent = http.StatusUnauthorized, true
		out.Hint = e.unauthorizedHint()
	default:
		out.NotSent = true
	}
	return out
}

// checked returns an error for a response that the API does not document.
func (e *Endpoint) checked(resp *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(resp.Body) // which httpx has bounded, and holds in memory
	_ = resp.Body.Close()
	if err != nil {
		return nil, &Error{Host: e.Host, Message: "the response broke off"}
	}
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return nil, e.failed(resp, body)
	case resp.StatusCode >= http.StatusMultipleChoices && resp.Request.Method == http.MethodPost:
		return nil, e.moved(resp, body)
	case resp.StatusCode < http.StatusMultipleChoices && len(body) > 0 && !json.Valid(body):
		kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		return nil, e.Unexpected("invalid JSON, content type " + sanitize.MediaType(kind))
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// failed explains a response with an error status.
func (e *Endpoint) failed(resp *http.Response, body []byte) *Error {
	out := &Error{Host: e.Host, Status: resp.StatusCode, Header: resp.Header, Message: e.message(body), described: explainsItself(body)}
	now := e.clients.transport.Now()
	after, limited := httpx.RateLimit(resp, now)
	switch {
	case out.Status == http.StatusUnauthorized:
		out.Hint = e.unauthorizedHint()
	case limited:
		if after == 0 {
			after = limitWait
		}
		out.Limited, out.Until, out.Hint = true, now.Add(after), e.limitHint()
	case out.Status == http.StatusForbidden && !out.Disabled():
		out.Hint = "the token needs " + e.needs + "; " + e.Hint()
	}
	return out
}

func (e *Endpoint) unauthorizedHint() string {
	if e.Token == "" {
		return "a token is required; " + e.Hint()
	}
	return "the token is invalid or has expired; " + e.Hint()
}

func (e *Endpoint) limitHint() string {
	if e.Token == "" {
		return "with a token the limit is higher; " + e.Hint()
	}
	return ""
}

// moved explains a redirect that is not followed: with the token to another host, or as a GET in place of a POST.
func (e *Endpoint) moved(resp *http.Response, body []byte) *Error {
	out := &Error{Host: e.Host, Message: e.message(body), Hint: "the repository has moved: correct source.repo or source.workflowRepo, and source.host"}
	if resp != nil {
		out.Status = resp.StatusCode
	}
	if body != nil && !out.FromAPI() && !within(resp) {
		out.Hint = notAPI
	}
	return out
}

// within reports whether a redirect leads to another path of the same API. Gitea's for a repository with a new name have no body.
func within(resp *http.Response) bool {
	if resp == nil || resp.Request == nil {
		return false
	}
	to, err := resp.Location()
	return err == nil && to.Host == resp.Request.URL.Host && strings.Contains(to.Path, "/api/")
}

// message returns the messages of an error response: GitHub has message and errors, GitLab message (a text, or lists of them
// by field), error and error_description, Gitea message and errors.
func (e *Endpoint) message(body []byte) string {
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil {
		return ""
	}
	var list []string
	for _, key := range []string{"message", "error", "error_description", "errors"} {
		list = appendTexts(list, fields[key])
	}
	return e.Clean(strings.Join(list, "; "))
}

func appendTexts(list []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(list, v)
	case []any:
		for _, item := range v {
			list = appendTexts(list, item)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			list = appendTexts(list, v[key])
		}
	}
	return list
}
