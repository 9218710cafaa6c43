// Package neterr describes in safe words why a request failed. The errors of libraries quote URLs, addresses of proxies and
// bytes of answers, and with them the secrets of those who sent them.
package neterr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Clean returns an error with the text of [Text] that unwraps to err.
func Clean(err error) error {
	if err == nil {
		return nil
	}
	return &cleaned{Text(err), err}
}

type cleaned struct {
	text string
	err  error
}

func (c *cleaned) Error() string { return c.text }

func (c *cleaned) Unwrap() error { return c.err }

// As returns an error with a text that is safe, which unwraps to err.
func As(text string, err error) error { return &cleaned{text, err} }

// Errorf returns an error whose text is safe: [Text] keeps it, whatever library it passes through.
func Errorf(format string, args ...any) error { return &cleaned{text: fmt.Sprintf(format, args...)} }

// Text returns why a request failed. It keeps scheme, host and path of a URL, and drops every text that it does not know.
func Text(err error) string {
	if text, ok := Known(err); ok {
		return text
	}
	return "no usable HTTP response"
}

// Known returns the text of [Text], and reports whether the error is one whose text may be shown.
func Known(err error) (string, bool) {
	text := typed(err)
	if text == "" && err != nil {
		text = ofText(err)
	}
	return text, text != "" || err == nil
}

// typed explains an error by its type.
func typed(err error) string {
	var (
		ours   *cleaned
		broken *url.Error
		lookup *net.DNSError
		op     *net.OpError
		call   *os.SyscallError
		number syscall.Errno
		record tls.RecordHeaderError
		alert  tls.AlertError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &ours):
		return ours.text
	case errors.As(err, &broken):
		return ofURL(broken)
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded.Error()
	case errors.As(err, &lookup):
		return "lookup " + sanitize.Words(lookup.Name) + ": " + sanitize.Words(lookup.Err)
	case isCertificate(err):
		return sanitize.Cut(sanitize.Foreign(certificate(err).Error()), maxText)
	case errors.As(err, &op):
		return ofOp(op)
	case errors.As(err, &call):
		return call.Syscall + ": " + Text(call.Err)
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &record):
		return "tls: " + record.Msg
	case errors.As(err, &alert):
		return alert.Error()
	}
	return ""
}

const maxText = 300

// Inner is [Text] without the URL in front of it.
func Inner(err error) string {
	var broken *url.Error
	if errors.As(err, &broken) && broken.Op != "parse" {
		err = broken.Err
	}
	return Text(err)
}

func ofURL(e *url.Error) string {
	if e.Op == "parse" {
		return "invalid URL"
	}
	if where := sanitize.URL(e.URL); where != "" {
		return fmt.Sprintf("%s %q: %s", e.Op, where, Text(e.Err))
	}
	return Text(e.Err)
}

func ofOp(e *net.OpError) string {
	text := e.Op
	if e.Net != "" {
		text += " " + e.Net
	}
	if e.Addr != nil {
		text += " " + e.Addr.String()
	}
	return text + ": " + Text(e.Err)
}

func isCertificate(err error) bool { return certificate(err) != nil }

// certificate returns the error of package x509 in an error.
func certificate(err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		roots    x509.SystemRootsError
	)
	switch {
	case errors.As(err, &unknown):
		return unknown
	case errors.As(err, &hostname):
		return hostname
	case errors.As(err, &invalid):
		return invalid
	case errors.As(err, &roots):
		return roots
	}
	return nil
}

// known are errors without data, by the beginning of their texts.
var known = []struct{ begin, text string }{
	{"http: server gave HTTP response to HTTPS client", "server gave HTTP response to HTTPS client"},
	{"stopped after 10 redirects", "stopped after 10 redirects"},
	{"http redirect: too many redirects", "too many redirects"},
	{"http redirect: redirects disabled", "redirects are not followed"},
	{"http redirect: ", "a redirect to something else than a git repository (is it a login page?)"},
	{"failed to parse Location header", "invalid Location header in a redirect"},
	{"unsupported protocol scheme", "unsupported protocol scheme"},
	{"invalid proxy address", "invalid proxy address (see HTTPS_PROXY and HTTP_PROXY)"},
	{"net/http: invalid header field", "invalid header (is there a line break in the credential?)"},
	{"net/http: server response headers exceeded", "the headers of the response are too large"},
	{"malformed HTTP ", "malformed HTTP response"},
	{"malformed MIME ", "malformed HTTP response"},
	{"malformed chunked ", "malformed HTTP response"},
	{"malformed response from server", "malformed HTTP response"},
	{"net/http: HTTP/1.x transport connection broken", "malformed HTTP response"},
	{"getting credentials: ", "the credential plugin of the kubeconfig failed"},
	{"http2: ", "the HTTP/2 connection broke"},
	{"stream error: ", "the HTTP/2 connection broke"},
	{"http: server closed", "server closed the connection"},
	{"socks connect ", "the SOCKS proxy cannot connect"},
}

// ofText explains an error without a type by its text.
func ofText(err error) string {
	for _, plain := range []error{io.ErrUnexpectedEOF, io.EOF, net.ErrClosed} {
		if errors.Is(err, plain) {
			return plain.Error()
		}
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return "timed out"
	}
	text := err.Error()
	for _, k := range known {
		if strings.HasPrefix(text, k.begin) {
			return k.text
		}
	}
	for status := http.StatusBadRequest; status < 600; status++ { // the text is all that is left of a proxy's answer
		if text != "" && text == http.StatusText(status) {
			return "the proxy answered " + text
		}
	}
	return ""
}
