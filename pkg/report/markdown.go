package report

import (
	"io"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// mdCode returns untrusted text as a code span, which holds no markup, link, mention or reference on any code host, and fits
// into a cell of a table.
func mdCode(text string) string {
	text = sanitize.Words(sanitize.Terminal(text))
	if text == "" {
		return ""
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, `\|`, `\ |`), "|", `\|`)
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") {
		text = " " + text + " "
	}
	return fence + text + fence
}

// mdTable writes a table. Its cells are Markdown.
func mdTable(b *strings.Builder, header []string, rows [][]string) {
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(header)
	line(slices.Repeat([]string{"---"}, len(header)))
	for _, row := range rows {
		line(row)
	}
	b.WriteString("\n")
}

// PlanMarkdown prints a plan as Markdown, for a comment or a summary of a job. Large plans are summarised.
func PlanMarkdown(w io.Writer, p *plan.Plan) error {
	var b strings.Builder
	b.WriteString("### Rebuild plan\n\n")
	if p.Change != nil {
		b.WriteString("If " + mdCode(state.Short(p.Change.Ref)) + " moves now:\n\n")
	}
	tables := []textTable{rebuilds(p, false), dispatches(p), skips(p, false)}
	if len(p.Items) > maxPlanned {
		tables[0], tables[1] = summary(p), textTable{}
	}
	if len(p.Skipped) > maxPlanned {
		tables[2] = causes(p)
	}
	for _, t := range tables {
		t.markdown(&b)
	}
	b.WriteString(planTotals(p) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown writes a table that is not empty. Columns with text from outside become code.
func (t textTable) markdown(b *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	t = t.withoutEmpty()
	rows := make([][]string, len(t.rows))
	for i, row := range t.rows {
		rows[i] = slices.Clone(row)
		for j, column := range t.header {
			switch column {
			case "IMAGE", "IMAGES", "WHY", "FORGES", "BUILDS", "SKIPPED", "BASES", "PARENTS", "SETTINGS", "RESOURCE", "NAMES", "SECRET", "KEY", "HOST", "SETTING", "BEFORE", "AFTER":
				rows[i][j] = mdCode(row[j])
			}
		}
	}
	header := make([]string, len(t.header))
	for i, column := range t.header {
		header[i] = strings.Replace(column[:1]+strings.ToLower(column[1:]), "(utc)", "(UTC)", 1)
	}
	mdTable(b, header, rows)
}
