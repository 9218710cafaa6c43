// Package sanitize makes untrusted text safe to print: control characters removed, one line, bounded length, no secrets.
package sanitize

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Line replaces each unprintable rune, line breaks included, with a space.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Words joins the words of s with single spaces: white space and unprintable runes separate words. Invalid UTF-8 becomes U+FFFD.
func Words(s string) string {
	s = strings.ToValidUTF8(s, string(unicode.ReplacementChar))
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// Terminal replaces each rune that [IsUnsafe] reports, so that text from outside cannot control a terminal.
func Terminal(s string) string {
	return strings.Map(func(r rune) rune {
		if IsUnsafe(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// IsUnsafe reports whether a terminal obeys r instead of showing it: control characters, and those that change the
// direction of the text around them.
func IsUnsafe(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// Cut returns the first most runes of s, followed by three dots if there are more.
func Cut(s string, most int) string {
	count := 0
	for at := range s {
		if count == most {
			return s[:at] + "..."
		}
		count++
	}
	return s
}

// Foreign returns text of a server or program as one line without the given secrets, in any of their encodings. URLs are
// reduced to scheme, host and path, because signed URLs and login pages carry secrets elsewhere.
func Foreign(s string, secrets ...string) string {
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			s = strings.ReplaceAll(s, form, "[token]")
		}
	}
	s = userinfo().ReplaceAllString(Words(s), "$1")
	return afterPath().ReplaceAllString(s, "$1")
}

var (
	userinfo  = lazy.Regexp(`([A-Za-z][A-Za-z0-9+.-]*:/{1,2})[^\s/?#"'<>]*@`)
	afterPath = lazy.Regexp(`(/[^\s?#"'<>]*)[?#][^\s"'<>]*`)
)

// formsOf returns a secret and its encodings in URLs and headers, the longest first.
func formsOf(secret string) []string {
	if secret == "" {
		return nil
	}
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		forms = append(forms, e.EncodeToString([]byte(secret)))
	}
	slices.SortStableFunc(forms, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(forms)
}

// MediaType returns a well-known media type in quotes, and a placeholder for any other: a server could write anything there.
func MediaType(s string) string {
	switch s {
	case "text/html", "text/plain", "text/xml", "application/json", "application/xml", "application/octet-stream",
		"application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json", "application/vnd.oci.artifact.manifest.v1+json",
		"application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
		"application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json",
		"application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.docker.plugin.v1+json",
		"application/vnd.buildkit.cacheconfig.v0", "application/vnd.wasm.config.v0+json":
		return strconv.Quote(s)
	case "":
		return "none"
	}
	return "an unusual one"
}

// URL returns scheme, host and path of a URL, or "" if s is not an absolute URL.
func URL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	return Words((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
}
