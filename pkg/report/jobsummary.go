package report

import (
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// maxSummaryRows bounds the tables of a job summary.
const maxSummaryRows = 200

// JobSummary is the summary of a command for the page of a CI job.
type JobSummary struct {
	Title  string
	Text   string // one sentence
	Header []string
	Rows   [][]string // texts from outside
}

// Markdown returns the summary as Markdown. Cells become code spans, which hold no markup.
func (s *JobSummary) Markdown() string {
	var b strings.Builder
	b.WriteString("### " + s.Title + "\n\n" + mdCode(s.Text) + "\n\n")
	rows := s.Rows[:min(len(s.Rows), maxSummaryRows)]
	if len(rows) > 0 {
		cells := make([][]string, len(rows))
		for i, row := range rows {
			for _, text := range row {
				cells[i] = append(cells[i], mdCode(text))
			}
		}
		mdTable(&b, s.Header, cells)
	}
	if more := len(s.Rows) - len(rows); more > 0 {
		fmt.Fprintf(&b, "and %d more\n\n", more)
	}
	return b.String()
}

// FindingRows returns the rows of a summary of findings, and their header.
func FindingRows(l finding.List) (header []string, rows [][]string) {
	for _, f := range l {
		place := f.File
		if f.Line > 0 {
			place += fmt.Sprintf(":%d", f.Line)
		}
		text := f.Message
		if f.Fix != "" {
			text += " (" + f.Fix + ")"
		}
		rows = append(rows, []string{string(f.Severity), f.Rule, place, text})
	}
	return []string{"Severity", "Rule", "Place", "Message"}, rows
}
