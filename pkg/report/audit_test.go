package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/audit"
)

// TestAuditMarkdownSize: the tables of a large audit are bounded, and say so.
func TestAuditMarkdownSize(t *testing.T) {
	r := &audit.Report{}
	for i := range 1000 {
		at := time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC)
		r.Rebuilds = append(r.Rebuilds, audit.Rebuild{Image: fmt.Sprintf("rebuilt-%d", i), RequestedAt: at})
		r.Stale = append(r.Stale, audit.Stale{Image: fmt.Sprintf("stale-%d", i), Since: at})
	}
	var b strings.Builder
	require.NoError(t, AuditMarkdown(&b, r))
	text := b.String()
	assert.Equal(t, 400, strings.Count(text, "| rebuilt-"))
	assert.NotContains(t, text, "| rebuilt-599 ")
	assert.Contains(t, text, "| rebuilt-999 ", "the latest")
	assert.Equal(t, 400, strings.Count(text, "| stale-"))
	assert.Contains(t, text, "| stale-0 ", "the longest")
	assert.Equal(t, 2, strings.Count(text, "\n600 rows left out; `-o csv` prints all.\n"))
}
