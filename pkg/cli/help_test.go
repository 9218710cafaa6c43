package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var commandLine = regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`)

// TestHelp: the help of every command has the same form, an example that begins with its name, and a text for each flag.
func TestHelp(t *testing.T) {
	root := run(t, t.TempDir(), "--help")
	require.Equal(t, 0, root.code)
	_, list, found := strings.Cut(root.out, "\nSet up:\n")
	require.True(t, found)
	list, _, found = strings.Cut(list, "\nFlags:\n")
	require.True(t, found)
	assert.NotContains(t, list, "Additional Commands", "every command has a group")
	commands := commandLine.FindAllStringSubmatch(list, -1)
	require.Len(t, commands, strings.Count("\n"+list, "\n  "))
	for _, c := range commands {
		t.Run(c[1], func(t *testing.T) {
			got := run(t, t.TempDir(), c[1], "--help")
			assert.Equal(t, 0, got.code)
			assert.Empty(t, got.err)
			_, examples, found := strings.Cut(got.out, "Examples:\n")
			require.True(t, found, "no example")
			assert.Contains(t, examples, "imagefactory "+c[1])
			assert.Regexp(t, `^[A-Z]`, got.out)
			_, flags, _ := strings.Cut(got.out, "\nFlags:\n")
			flags, _, _ = strings.Cut(flags, "\n\n")
			for line := range strings.Lines(flags) {
				assert.Regexp(t, `^ +(-\w, |    )--[-a-z]+( [-A-Za-z=/]+)?   +\S`, line)
			}
			for line := range strings.Lines(got.out) {
				assert.LessOrEqual(t, len([]rune(line)), 200, "a line too long for a terminal")
			}
		})
	}
}
