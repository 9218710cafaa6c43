package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// ErrUnpublished is the registry's own word that a repository does not exist or has no tag.
var ErrUnpublished = errors.New("nothing is published")

// ErrNoImage is something else than an image: a chart, a signature, an attestation or another artifact.
var ErrNoImage = errors.New("not an image")

// NoneCountsError reports that a repository has tags and that none of them counts.
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

// noneCounts makes a NoneCountsError of the tags that a repository has, at least one.
func noneCounts(tags []string, format string, args ...any) error {
	highest := slices.SortedFunc(slices.Values(tags), func(a, b string) int { return compareNatural(b, a) })
	return &NoneCountsError{Tags: slices.Compact(highest[:min(maxShownTags, len(highest))]), Total: len(tags), Why: fmt.Sprintf(format, args...)}
}

// Error is a registry that gave no usable answer. Its text never holds what the registry wrote, nor a URL: both can
// contain credentials.
type Error struct {
	Host    string // as in references: docker.io
	Status  int    // HTTP status of the answer; 0 when there was none or its content is the problem
	problem string
	cause   error
	content bool // the content is the problem: asking again does not help
	unknown bool // the registry itself says that it does not have it
	absent  bool // so it does, or by a code of its own: Harbor says NOT_FOUND
}

func (e *Error) Error() string {
	text := "asking " + e.Host + ": " + e.problem
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.cause }

// Error codes of the OCI distribution specification by which a registry says that it does not have something.
var (
	unknownManifest = []string{"NAME_UNKNOWN", "MANIFEST_UNKNOWN"} // also of a list of tags
	unknownBlob     = []string{"NAME_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"}
)

// saysUnknown reports whether the answer to a GET is the registry's own word that it does not have something. A status
// alone is not: proxies, login pages and wrong addresses answer 404 too.
func saysUnknown(status int, codes []string, known []string) bool {
	if status != http.StatusNotFound || len(codes) == 0 {
		return false
	}
	return !slices.ContainsFunc(codes, func(code string) bool { return !slices.Contains(known, code) })
}

// errorCode is the form of the error codes of the OCI distribution specification.
var errorCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,39}$`)

// statusError explains a status: what it means and what to do.
func statusError(host string, status int, code string, retryAfter time.Duration) *Error {
	problem := fmt.Sprintf("unexpected status %d", status)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		problem = fmt.Sprintf("access denied (%d): the repository does not exist or %s needs credentials; "+
			"sign in with docker login, or set DOCKER_AUTH_CONFIG or factory.credentials", status, host)
	case status == http.StatusNotFound:
		problem = "not found (404)"
	case status == http.StatusTooManyRequests:
		problem = "too many requests (429)"
		if retryAfter > 0 {
			problem += ", to be asked again in " + retryAfter.Round(time.Second).String()
		}
		problem += ": sign in for a higher limit, set factory.mirrors, or ask less often"
	case status >= http.StatusInternalServerError:
		problem = fmt.Sprintf("the registry is in trouble (%d %s), try again later", status, http.StatusText(status))
	}
	if errorCode.MatchString(code) {
		problem += " [" + code + "]"
	}
	return &Error{Host: host, Status: status, problem: problem}
}

// notItsWord follows a 404 that may come from anybody on the way.
const notItsWord = ", without the code by which a registry says that it does not exist; check the address, proxies and credentials"

// bad says that there is no usable answer.
func bad(host, format string, args ...any) *Error {
	return &Error{Host: host, problem: fmt.Sprintf(format, args...)}
}

// problemOf turns what came out of a request into an error that is safe to show. Only errors made here are: those of the
// sign-in quote answers and URLs.
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
	if strings.Contains(err.Error(), "invalid realm in www-authenticate") { // it was not asked
		return bad(host, "signing in failed: it names a token server that is not asked (another private address, or one without TLS)")
	}
	return bad(host, "signing in failed: its token server gave no usable answer")
}

// failedRequest explains a request without a usable response. Its host can be another one than the registry, after a redirect.
func failedRequest(e *httpx.Error) *Error {
	switch {
	case e.Reason == httpx.TooLarge:
		return wrong(e.Host, "%s", e.Problem)
	case e.Reason == httpx.Denied:
		return &Error{Host: e.Host, Status: e.Status, problem: "invalid user name or password (401): sign in with docker login, or change " +
			"DOCKER_AUTH_CONFIG or factory.credentials; not sending it again in this run"}
	case e.Status != 0:
		out := statusError(e.Host, e.Status, "", 0)
		out.problem += "; " + e.Skip
		return out
	}
	return bad(e.Host, "%s", e.Problem)
}

// wrong says that the content of an answer is not usable, and will not be the next time.
func wrong(host, format string, args ...any) *Error {
	e := bad(host, format, args...)
	e.content = true
	return e
}

// isWrong says whether content is damaged, too large, or of another kind than it should be.
func isWrong(err error) bool {
	var e *Error
	return errors.Is(err, ErrNoImage) || errors.As(err, &e) && e.content
}

func isStatus(err error, statuses ...int) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(statuses, e.Status)
}

// IsNotFound reports whether the registry itself says that it does not have what was asked for. A bare 404 does not: it
// may come from anybody on the way.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unknown
}

// IsAbsent reports whether a registry answered that it does not have what was asked for, be it by a code of its own as Harbor's
// NOT_FOUND. That is enough to do without it, but not to build anything: see [IsNotFound].
func IsAbsent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.absent
}

// jsonProblem says what is wrong with JSON without repeating it.
func jsonProblem(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		return err
	}
	return errors.New("a value has the wrong form")
}

// Missing reports whether the registry answered and has no such thing.
func Missing(err error) bool { return errors.Is(err, ErrUnpublished) || IsNotFound(err) }

// Denied says whether an error means that credentials are missing or wrong, or that too much was asked without them.
func Denied(err error) bool {
	return isStatus(err, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
}

// errorOf returns the Error in an error, or nil.
func errorOf(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}
