package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// FuzzPlanMarkdown: whatever a reason says, it stays inside the code span of its cell.
func FuzzPlanMarkdown(f *testing.F) {
	for _, text := range []string{
		"a", "a | b", `a \| b`, `\|`, "`", "a `b` c", "``", "` |", "|`", "@acme/team", "<img src=x>", "#1 !2 ~bug", "a\n\n# b", "a\r| b |", "\u202e", "[x](https://example.com)", "\\", "a\\",
	} {
		f.Add(text)
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		p := &plan.Plan{
			Now: now, Until: now.Add(time.Hour),
			Items:   []plan.Entry{{Image: "web", Status: plan.Running, Wave: 1, At: now, Reason: text}},
			Skipped: []plan.Skip{{Image: "api", Cause: plan.SkipHeld, Why: text}},
		}
		var b strings.Builder
		require.NoError(t, report.PlanMarkdown(&b, p))
		rows, columns := 0, 0
		for line := range strings.Lines(b.String()) {
			if !strings.HasPrefix(line, "| ") {
				require.NotRegexp(t, "^[>*+-]", line)
				columns = 0
				continue
			}
			rows++
			outside := outsideOfCode(t, strings.TrimSuffix(line, "\n"))
			require.Regexp(t, `^\|[-A-Za-z0-9 ():|]*\|$`, outside, "%q", text)
			pipes := strings.Count(outside, "|")
			if columns == 0 { // of the header
				columns = pipes
			}
			require.Equal(t, columns, pipes, "%q", text)
		}
		require.Equal(t, 6, rows, "%q", b.String())
	})
}

// outsideOfCode returns a row of a table without its code spans, as CommonMark finds them once the cells are split at pipes that
// no backslash escapes.
func outsideOfCode(t *testing.T, row string) string {
	var out strings.Builder
	row = strings.ReplaceAll(row, `\|`, "\x00")
	for i, cell := range strings.Split(row, "|") {
		if i > 0 {
			out.WriteByte('|')
		}
		for cell != "" {
			start := strings.IndexByte(cell, '`')
			if start < 0 {
				out.WriteString(cell)
				break
			}
			out.WriteString(cell[:start])
			cell = cell[start:]
			fence := cell[:len(cell)-len(strings.TrimLeft(cell, "`"))]
			cell = cell[len(fence):]
			end := endOf(cell, fence)
			require.GreaterOrEqual(t, end, 0, "a code span does not end: %q", row)
			cell = cell[end+len(fence):]
		}
	}
	return out.String()
}

// endOf returns where a run of exactly as many backticks begins, or -1.
func endOf(text, fence string) int {
	for i := 0; i < len(text); {
		if text[i] != '`' {
			i++
			continue
		}
		run := len(text[i:]) - len(strings.TrimLeft(text[i:], "`"))
		if run == len(fence) {
			return i
		}
		i += run
	}
	return -1
}

// TestPlanDiffMarkdownSize: a comment with the largest diff is one that GitHub takes.
func TestPlanDiffMarkdownSize(t *testing.T) {
	d := &plan.Diff{Revision: "main", Commit: strings.Repeat("a", 40)}
	long := strings.Repeat("é", 1000)
	for i := range 500 {
		name := fmt.Sprintf("%d-%s", i, long[:120])
		img := plan.ImageDiff{Name: name, Change: plan.Changed}
		img.Bases = []plan.BaseDiff{{Change: plan.Added, Ref: name + long}}
		img.Settings = []plan.SettingDiff{{Key: "buildArgs", From: name + long, To: long}}
		img.Parents = []plan.ParentDiff{{Change: plan.Removed, Name: name + long}}
		d.Images = append(d.Images, img)
		d.Due = append(d.Due, plan.NewlyDue{Image: name, Reason: long})
		d.New = append(d.New, finding.Finding{Rule: "IF001", Message: name + long})
		d.Fixed = append(d.Fixed, finding.Finding{Rule: "IF001", Message: name + long})
		d.Notes = append(d.Notes, name+long)
		d.Factory = append(d.Factory, plan.SettingDiff{Key: name, From: long, To: name + "|@everyone"})
		d.Secrets = append(d.Secrets, plan.SecretDiff{Secret: name, Key: name, Host: name, Use: "api"})
	}
	var b strings.Builder
	require.NoError(t, report.PlanDiffMarkdown(&b, d))
	assert.Less(t, len(b.String()), 65_536)
	assert.True(t, strings.HasPrefix(b.String(), plan.Marker+"\n"))
	assert.Contains(t, b.String(), "**Images (the first 7; 493 more)**")
	assert.NotRegexp(t, "(?m)^[^`\n]*@everyone", b.String(), "text of a change is code")
	assert.Contains(t, b.String(), "images: 0 added, 0 removed, 500 changed")
}
