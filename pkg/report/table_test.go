package report_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/report"
)

var (
	tableHeader = []string{"IMAGE", "STATUS", "WHY"}
	tableRows   = [][]string{
		{"a-rather-long-name-of-an-image", "waiting", "debian:12-slim moved 2d ago; 7d delay, and more words than fit"},
		{"b", "current", "ü\x1b[31m"},
	}
)

func table(t *testing.T, s report.Style) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, s.Table(&b, tableHeader, tableRows))
	return b.String()
}

// TestTableFits: cells are shortened until every line fits the terminal, and none without one.
func TestTableFits(t *testing.T) {
	for _, width := range []int{40, 60, 80} {
		out := table(t, report.Style{Width: width})
		for line := range strings.Lines(out) {
			assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), width)
		}
		assert.Contains(t, out, "…")
		assert.Contains(t, out, "waiting  ", "a narrow column stays")
	}
	assert.NotContains(t, table(t, report.Style{Width: 200}), "…")
	assert.Contains(t, table(t, report.Style{}), "more words than fit\n")
	assert.NotEmpty(t, table(t, report.Style{Width: 1}))
}

// TestTableColor: colour is put around words of a status, and changes nothing else.
func TestTableColor(t *testing.T) {
	plain, colored := table(t, report.Style{}), table(t, report.Style{Color: true})
	assert.NotContains(t, plain, "\x1b")
	assert.Contains(t, colored, "\x1b[33mwaiting\x1b[0m  debian")
	assert.Contains(t, colored, "\x1b[32mcurrent\x1b[0m")
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m"} {
		colored = strings.ReplaceAll(colored, code, "")
	}
	assert.Equal(t, plain, colored)
}

// TestTableWraps checks that wrapping loses no word, and only a word that is too long makes a line too wide.
func TestTableWraps(t *testing.T) {
	rows := [][]string{{"dist", "error", "dist is out of date: three resources to add"}, {"", "", "fix: https://example.com/a-long-address-of-a-page"}}
	var b strings.Builder
	require.NoError(t, report.Style{Width: 35, Wrap: true}.Table(&b, []string{"CHECK", "RESULT", "MESSAGE"}, rows))
	assert.Equal(t, `CHECK  RESULT  MESSAGE
dist   error   dist is out of date:
               three resources to
               add
               fix:
               https://example.com/a-long-address-of-a-page
`, b.String())
}

// TestTableWithoutEmptyColumns checks that an empty column is left out only where the table does not fit.
func TestTableWithoutEmptyColumns(t *testing.T) {
	rows := [][]string{{"web", "", "registry not asked yet"}}
	for width, kept := range map[int]bool{0: true, 41: true, 40: false, 10: false} {
		var b strings.Builder
		require.NoError(t, report.Style{Width: width}.Table(&b, []string{"IMAGE", "WHEN (UTC)", "WHY"}, rows))
		assert.Equal(t, kept, strings.Contains(b.String(), "WHEN"), width)
	}
	var b strings.Builder
	require.NoError(t, report.Style{Width: 5}.Table(&b, []string{"IMAGE", "WHEN"}, nil))
	assert.Equal(t, "IMAGE  WHEN\n", b.String(), "headings alone stay")
}
