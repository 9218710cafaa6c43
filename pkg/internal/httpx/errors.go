package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// Reason is why a request has no usable response.
type Reason int

// Reasons.
const (
	Connection   Reason = iota // it failed, or broke off
	TooLarge                   // the body is larger than the limit
	Refused                    // it was not sent: plain HTTP, or a redirect that must not be followed
	Unresponsive               // the host did not respond in time several times in a row, and is skipped
	Failing                    // several requests to the host failed in a row, and it is skipped
	RateLimited                // the host asked to wait for longer than [MaxWait], and is skipped until then
	Denied                     // the host refused this credential several times, so it is not sent again
)

// Error is a request without a usable response. Its text holds no secret.
type Error struct {
	Host    string // normalised
	Reason  Reason
	Status  int       // of the response because of which the host is skipped
	Problem string    // the text of the error
	Skip    string    // how long the host is skipped; the end of Problem
	Until   time.Time // when the host may be asked again; zero if that is not known
	// MaybeDone reports that the server may have processed the request.
	MaybeDone bool

	temporary bool // a retry of what only reads can help; a refused connection or an unknown host rarely recovers that soon
	cause     error
}

func (e *Error) Error() string { return e.Problem }

// Unwrap returns the error of the connection, if there was one. Its text may hold secrets.
func (e *Error) Unwrap() error { return e.cause }

// Skipped reports whether the request was not sent because of the outcome of earlier ones.
func (e *Error) Skipped() bool { return e.Reason >= Unresponsive }

// wrap returns an error whose text every library may quote: see package neterr.
func wrap(e *Error) error {
	if e == nil {
		return nil
	}
	return neterr.As(e.Problem, e)
}

var errTimeout = context.DeadlineExceeded

func tooLarge(host string, limit int64) *Error {
	return &Error{Host: host, Reason: TooLarge, Problem: "the response is larger than " + size(limit)}
}

func size(bytes int64) string {
	if bytes >= 10<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// connectionError explains an error of the transport or of reading a body.
func (h *host) connectionError(ctx context.Context, err error, maybeDone bool) *Error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errTimeout) {
		err = errTimeout
	}
	e := &Error{Host: h.name, MaybeDone: maybeDone, Problem: "connection failed: " + neterr.Inner(err), cause: err}
	var lookup *net.DNSError
	var network *net.OpError
	if errors.As(err, &lookup) || errors.As(err, &network) && network.Op == "dial" {
		e.MaybeDone = false
	}
	if timedOut(err) {
		e.Problem = fmt.Sprintf("no response within %s", h.o.Timeout)
	}
	e.temporary = e.MaybeDone || timedOut(err) || dropped(err)
	return e
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// dropped reports whether a connection ended early.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// temporary reports whether a retry of a request with that response can help.
func temporary(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= http.StatusInternalServerError
}
