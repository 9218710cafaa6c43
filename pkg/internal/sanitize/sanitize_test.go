package sanitize_test

import (
	"encoding/base64"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

func TestText(t *testing.T) {
	const text = "a  b\r\n\x1b[31mé\u202e\u00a0c"
	assert.Equal(t, "a  b   [31mé  c", sanitize.Line(text))
	assert.Equal(t, "a b [31mé c", sanitize.Words(text))
	assert.Equal(t, "a  b\ufffd\ufffd\ufffd[31mé\ufffd\u00a0c", sanitize.Terminal(text))
	assert.Equal(t, "éé...", sanitize.Cut("ééé", 2))
	assert.Equal(t, "ééé", sanitize.Cut("ééé", 3))
}

func TestOutsideTextHoldsNoSecret(t *testing.T) {
	const secret = "s3cr/t+#1"
	for text, want := range map[string]string{
		"see https://bot:" + secret + "@example.com/a/b?token=x#y, please": "see https://example.com/a/b please",
		"ssh://git@example.com/a":                                    "ssh://example.com/a",
		"go to /login?ticket=abc\nnow":                               "go to /login now",
		`Get "https://example.com/x?sig=abc": EOF`:                   `Get "https://example.com/x": EOF`,
		"HTTPS://u:p@example.com?x=1":                                "HTTPS://example.com",
		"Basic " + base64.StdEncoding.EncodeToString([]byte(secret)): "Basic [token]",
		"q " + url.QueryEscape(secret):                               "q [token]",
		"was it moved? Or deleted #1":                                "was it moved? Or deleted #1",
		"mail bot@example.com":                                       "mail bot@example.com",
	} {
		got := sanitize.Foreign(text, secret, "")
		assert.Equal(t, want, got)
		assert.Equal(t, got, sanitize.Foreign(got, secret), "what is clean stays as it is")
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@example.com:8/a%20b/c?d=e#f": "https://example.com:8/a%20b/c", "https://example.com": "https://example.com",
		"/login?ticket=1": "", "://": "", "https://example.com/\x7f": "",
	} {
		assert.Equal(t, want, sanitize.URL(in), in)
	}
}
