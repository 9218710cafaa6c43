// Package sanitize makes untrusted text safe to print: control characters removed, one line, bounded length, no secrets.
package sanitize

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Line puts a space in place of each rune that cannot be printed, line breaks among them.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Words puts one space in place of all between words that is white space or cannot be printed.
func Words(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// Cut leaves the first runes of a text, at most so many, and says so by three dots after them.
func Cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

// Foreign makes one line of what a server or a program wrote: no secret of ours that it gives back, and nothing of a URL
// beyond scheme, host and path, since signed URLs and login pages have secrets there.
func Foreign(s string, secrets ...string) string {
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			s = strings.ReplaceAll(s, form, "[token]")
		}
	}
	s = userinfo.ReplaceAllString(Words(s), "$1")
	return afterPath.ReplaceAllString(s, "$1")
}

var (
	userinfo  = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*:/{1,2})[^\s/?#"'<>]*@`)
	afterPath = regexp.MustCompile(`(/[^\s?#"'<>]*)[?#][^\s"'<>]*`)
)

// formsOf returns a secret as it is, and as it can stand in URLs and headers, the longest first.
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

// MediaType quotes a media type that is a usual one. A server could write anything there.
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

// URL returns scheme, host and path of a URL; of what is none, nothing.
func URL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	return Words((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
}
