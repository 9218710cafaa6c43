package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// RefusedError is the final no of a forge: the same request would be refused again.
type RefusedError struct{ Err error }

func (r *RefusedError) Error() string { return r.Err.Error() }

// Unwrap returns what the forge said.
func (r *RefusedError) Unwrap() error { return r.Err }

// StartError says which build could not be started, and why.
type StartError struct {
	Build string
	Err   error
}

func (e *StartError) Error() string { return "starting " + e.Build + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *StartError) Unwrap() error { return e.Err }

// failure is a request that got no usable answer.
type failure struct {
	host    string
	status  int    // of the answer; 0 when there was none that could be read
	message string // of the forge, or what went wrong
	hint    string // what to do about it
	unsent  bool   // it did not reach the forge
	limited bool   // there were too many requests, and this one was not accepted
	until   time.Time
	cause   error
}

func (f *failure) Error() string {
	var text string
	switch {
	case f.limited:
		text = fmt.Sprintf("%s takes no more requests (%d) until %s", f.host, f.status, f.until.UTC().Format(time.RFC3339))
	case f.status == 0:
		text = "no usable answer from " + f.host
	default:
		text = fmt.Sprintf("%s answered %d %s", f.host, f.status, http.StatusText(f.status))
	}
	parts := slices.DeleteFunc([]string{text, f.message, f.hint}, func(s string) bool { return s == "" })
	return strings.Join(parts, ": ")
}

func (f *failure) Unwrap() error { return f.cause }

// uncertain says whether a request may have been accepted although it got no good answer.
func uncertain(err error) bool {
	var f *failure
	return errors.As(err, &f) && !f.unsent && !f.limited && f.temporary()
}

// temporary says whether the same request can have another answer in a moment.
func (f *failure) temporary() bool {
	return f.status == 0 || f.status == http.StatusRequestTimeout || f.status >= http.StatusInternalServerError
}

// refused says whether that is the final word: a status 4xx, but for a token that is being replaced or given more rights,
// and a repository that moved. Package kargo has the same rule. Only the forge's own word is one: not a bare status or a
// page, which a gateway gives too.
func (f *failure) refused() bool {
	if !f.spoken() {
		return false
	}
	switch f.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return false
	}
	return f.status >= http.StatusMultipleChoices && !f.limited && !f.temporary()
}

// spoken reports whether the answer is the forge's own: its API says why it refuses something, in JSON. Of a 404 it always
// says that something is not found; gateways that have no route answer in JSON too, in other words.
func (f *failure) spoken() bool {
	if f.status == http.StatusNotFound && !strings.Contains(strings.ToLower(f.message), "not found") {
		return false
	}
	return f.message != "" && f.status != 0
}

// advised adds what to do about a final no.
func advised(err error, advice func(*failure) string) error {
	var f *failure
	if !errors.As(err, &f) || f.hint != "" {
		return err
	}
	switch {
	case f.refused():
		f.hint = advice(f)
	case f.status >= http.StatusMultipleChoices && !f.spoken() && !f.limited && !f.temporary():
		f.hint = notItsAPI
	}
	return err
}

// notItsAPI is the hint for an answer that anything on the way can have given.
const notItsAPI = "that is not how its API answers; check source.host, and any proxy or gateway on the way to it"

// isNotFound reports whether the forge itself says that something is not there.
func isNotFound(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.status == http.StatusNotFound && f.spoken()
}

// refusal makes a final no a *RefusedError, with what to do about it. Only the answer to what starts a build can be one.
func refusal(err error, advice func(*failure) string) error {
	var f *failure
	if err = advised(err, advice); errors.As(err, &f) && f.refused() {
		return &RefusedError{f}
	}
	return err
}

func hasStatus(err error, statuses ...int) bool {
	var f *failure
	return errors.As(err, &f) && slices.Contains(statuses, f.status)
}

// says whether the message of an error answer contains a text.
func says(err error, text string) bool {
	var f *failure
	return errors.As(err, &f) && strings.Contains(f.message, text)
}

// problem is what a library's error comes from, without what the library adds: that quotes answers and URLs.
func (w *wire) problem(err error) error {
	var f *failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return w.odd()
}

// odd is an answer that is none of the API.
func (w *wire) odd() *failure {
	return &failure{host: w.host, message: "it is not what its API answers"}
}

const maxMessage = 400 // characters of a forge's message

// words are the messages of an error answer: GitHub has message and errors, GitLab message (a text, or lists of them by
// field), error and error_description.
func (w *wire) words(body []byte) string {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	var list []string
	for _, key := range []string{"message", "error", "error_description", "errors"} {
		list = appendTexts(list, answer[key])
	}
	return w.clean(strings.Join(list, "; "))
}

// clean makes what a forge wrote fit to be shown.
func (w *wire) clean(text string) string {
	return sanitize.Cut(sanitize.Foreign(text, w.token), maxMessage)
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

// parseID reads the id of a run. It can come from a file.
func parseID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("invalid run ID %q", id)
	}
	return n, nil
}
