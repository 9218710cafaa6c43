package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// ErrUnpublished reports that, according to the registry itself, a repository does not exist or has no tag.
var ErrUnpublished = errors.New("nothing is published")

// ErrNoImage reports a chart, a signature, an attestation or another artifact instead of an image.
var ErrNoImage = errors.New("not an image")

// NoneCountsError reports that a repository has tags, but none that counts.
type NoneCountsError struct {
	Tags  []string // the highest ones
	Total int
	Why   string // why they do not count
}

func (e *NoneCountsError) Error() string {
	shown := strings.Join(e.Tags, ", ")
	if more := e.Total - len(e.Tags); more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%s; published: %s (set `tags` of the image to say which tags count)", e.Why, shown)
}

const maxShownTags = 3

// noneCounts returns a NoneCountsError for the tags of a repository, at least one.
func noneCounts(tags []string, format string, args ...any) error {
	highest := slices.SortedFunc(slices.Values(tags), func(a, b string) int { return compareNatural(b, a) })
	return &NoneCountsError{Tags: slices.Compact(highest[:min(maxShownTags, len(highest))]), Total: len(tags), Why: fmt.Sprintf(format, args...)}
}

// Error is a request to a registry without a usable response. Its text never contains text of the registry or a URL: both can
// hold credentials.
type Error struct {
	Host    string // as in references: docker.io
	Status  int    // of the response; 0 if there was none, or if its content is the problem
	problem string
	cause   error
	content bool // the content is invalid: a retry does not help
	unknown bool // not found, by an error code of the specification
	absent  bool // not found, by such a code or one of its own, such as Harbor's NOT_FOUND
}

func (e *Error) Error() string {
	text := e.Host + ": " + e.problem
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.cause }

// Error codes of the OCI distribution specification for something that does not exist.
var (
	unknownManifest = []string{"NAME_UNKNOWN", "MANIFEST_UNKNOWN"} // also of a list of tags
	unknownBlob     = []string{"NAME_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"}
)

// saysUnknown reports whether the registry itself answered that something does not exist. The status alone is not enough:
// proxies, login pages and wrong addresses return 404 too.
func saysUnknown(status int, codes []string, known []string) bool {
	if status != http.StatusNotFound || len(codes) == 0 {
		return false
	}
	return !slices.ContainsFunc(codes, func(code string) bool { return !slices.Contains(known, code) })
}

// errorCode matches error codes of the OCI distribution specification.
var errorCode = lazy.Regexp(`^[A-Z][A-Z0-9_]{0,39}$`)

// SignIn is the advice in errors about missing or wrong credentials.
const SignIn = "sign in with docker login, or set DOCKER_AUTH_CONFIG or factory.credentials"

// statusError returns the error for a status, with what to do.
func statusError(host string, status int, code string, retryAfter time.Duration) *Error {
	problem := fmt.Sprintf("unexpected status %d", status)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		problem = fmt.Sprintf("access denied (%d): the repository does not exist or %s needs credentials; %s", status, host, SignIn)
	case status == http.StatusNotFound:
		problem = "not found (404)"
	case status == http.StatusTooManyRequests:
		problem = "too many requests (429)"
		if retryAfter > 0 {
			problem += ", retry in " + retryAfter.Round(time.Second).String()
		}
		problem += ": sign in for a higher limit, or set factory.mirrors"
	case status >= http.StatusInternalServerError:
		problem = fmt.Sprintf("registry unavailable (%d %s)", status, http.StatusText(status))
	}
	if errorCode().MatchString(code) {
		problem += " [" + code + "]"
	}
	return &Error{Host: host, Status: status, problem: problem}
}

// noErrorCode is added to a 404 that may come from a proxy.
const noErrorCode = " without an error code of a registry (check the address, proxies and credentials)"

// bad returns an Error.
func bad(host, format string, args ...any) *Error {
	return &Error{Host: host, problem: fmt.Sprintf(format, args...)}
}

// problemOf returns the error of a request without secrets: errors of the sign-in quote responses and URLs.
func problemOf(ctx context.Context, host string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return &Error{Host: host, problem: "stopped waiting", cause: cause}
	}
	var status *transport.Error
	if errors.As(err, &status) {
		code := ""
		if len(status.Errors) > 0 {
			code = string(status.Errors[0].Code)
		}
		return statusError(host, status.StatusCode, code, 0)
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var failed *httpx.Error
	if errors.As(err, &failed) {
		return failedRequest(failed)
	}
	if strings.Contains(err.Error(), "invalid realm in www-authenticate") { // no request was sent to it
		return bad(host, "signing in failed: refusing its token server (at another private address, or without TLS)")
	}
	return bad(host, "signing in failed: no usable response from its token server")
}

// failedRequest returns the Error for an error of the transport. After a redirect, its host is not that of the registry.
func failedRequest(e *httpx.Error) *Error {
	switch {
	case e.Reason == httpx.TooLarge:
		return invalid(e.Host, "%s", e.Problem)
	case e.Reason == httpx.Denied:
		return &Error{Host: e.Host, Status: e.Status, problem: "invalid user name or password (401); " + SignIn +
			"; not sending it again in this run"}
	case e.Status != 0:
		out := statusError(e.Host, e.Status, "", 0)
		out.problem += "; " + e.Skip
		return out
	}
	return bad(e.Host, "%s", e.Problem)
}

// invalid returns an Error about the content of a response: a retry does not help.
func invalid(host, format string, args ...any) *Error {
	e := bad(host, format, args...)
	e.content = true
	return e
}

// isInvalid reports whether content is damaged, too large, or of the wrong kind.
func isInvalid(err error) bool {
	var e *Error
	return errors.Is(err, ErrNoImage) || errors.As(err, &e) && e.content
}

func isStatus(err error, statuses ...int) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(statuses, e.Status)
}

// IsNotFound reports whether the registry itself answered that something does not exist. A bare 404 is not enough: a proxy may
// have sent it.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unknown
}

// IsAbsent reports whether a registry returned any error code for something that does not exist. That is enough to do
// without it, but not to start a build: see [IsNotFound].
func IsAbsent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.absent
}

// jsonProblem returns an error of encoding/json without the text that it quotes.
func jsonProblem(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		return err
	}
	return errors.New("invalid value")
}

// Missing reports whether the registry itself answered that something does not exist or is not published.
func Missing(err error) bool { return errors.Is(err, ErrUnpublished) || IsNotFound(err) }

// Denied reports whether credentials are missing or refused, or a rate limit was exceeded.
func Denied(err error) bool {
	return isStatus(err, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
}

// errorOf returns the [Error] in an error, or nil.
func errorOf(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}
