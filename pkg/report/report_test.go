package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// obeyed reports whether a terminal would obey a character rather than show it.
func obeyed(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// hostile draws texts full of what terminals, JSON, Mermaid and DOT treat specially.
var hostile = rapid.StringOfN(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("\x00\x1b\r\n\t\u009b\u202e\u2066\x7f\"\\[](){}<>;#%:|`"))), 0, 40, -1)

func TestNoControlCharactersOnTerminals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hostile.Draw(t, "text")
		assert.False(t, strings.ContainsFunc(sanitize.Terminal(text), obeyed))

		var b bytes.Buffer
		require.NoError(t, JSONLine(&b, map[string]string{"a": text}))
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		assert.False(t, strings.ContainsFunc(strings.TrimSuffix(b.String(), "\n"), obeyed))
		var back map[string]string
		require.NoError(t, json.Unmarshal(b.Bytes(), &back))
		assert.Equal(t, strings.ToValidUTF8(text, "\ufffd"), back["a"])

		b.Reset()
		require.NoError(t, Style{}.Table(&b, []string{"A", "B"}, [][]string{{text, "x"}}))
		assert.Equal(t, 2, strings.Count(b.String(), "\n"))
		assert.False(t, strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), obeyed))

		b.Reset()
		list := finding.List{finding.BadValue.At(text, 1, 0, text, text)}
		require.NoError(t, GitHubAnnotations(&b, list))
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		assert.False(t, strings.ContainsFunc(strings.TrimSuffix(b.String(), "\n"), obeyed))
		b.Reset()
		require.NoError(t, Findings(&b, list))
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
	})
}

func TestDiff(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"plain":         {"--- a\n+b\tc\n", "--- a\n+b\tc\n"},
		"windows":       {"-a\r\n+b\r\n", "-a\r\n+b\r\n"},
		"no end":        {"+a", "+a"},
		"escape":        {"+\x1b[2J\n", "+\ufffd[2J\n"},
		"overwritten":   {"+evil\rgood\n", "+evil\ufffdgood\n"},
		"several":       {"+a\r\r\n", "+a\r\r\n"},
		"c1, direction": {"+\u009b\u202e\n", "+\ufffd\ufffd\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, Diff(&b, tt.in))
			assert.Equal(t, tt.want, b.String())
		})
	}
}
