package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Style is the look of tables. The zero Style is for files and pipes: no colour, and cells in full.
type Style struct {
	Color bool
	Width int // of the terminal in columns; 0: cells are not shortened
}

const (
	gap     = 2 // spaces between two columns
	minCell = 8 // characters that a shortened column keeps
)

// Table prints rows below a header, aligned. Cells are shortened until the table fits the width, the widest column first.
// Control characters of untrusted text are replaced.
func (s Style) Table(w io.Writer, header []string, rows [][]string) error {
	lines := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		line := make([]string, len(header))
		for i := range min(len(row), len(line)) {
			line[i] = sanitize.Terminal(row[i])
		}
		lines = append(lines, line)
	}
	widths := s.widths(lines)
	var b strings.Builder
	for n, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			cell = shorten(cell, widths[i])
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap)
			text.WriteString(s.paint(cell, n == 0, header[i]) + padding)
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing table: %w", err)
	}
	return nil
}

// widths returns the width of each column.
func (s Style) widths(lines [][]string) []int {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if s.Width == 0 {
		return widths
	}
	excess := gap*(len(widths)-1) - s.Width
	for _, width := range widths {
		excess += width
	}
	for ; excess > 0; excess-- {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= minCell {
			break
		}
		widths[widest]--
	}
	return widths
}

// shorten cuts a cell to a width, with an ellipsis at the end.
func shorten(cell string, width int) string {
	if utf8.RuneCountInString(cell) <= width {
		return cell
	}
	return strings.TrimRight(string([]rune(cell)[:width-1]), " ") + "…"
}

// ANSI sequences.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	plain  = "\x1b[0m"
)

// paint colours the header and the words of a status.
func (s Style) paint(cell string, isHeader bool, column string) string {
	color := ""
	switch {
	case isHeader:
		color = bold
	case column == "STATUS" || column == "RESULT":
		color = colorOf(cell)
	}
	if !s.Color || color == "" || cell == "" {
		return cell
	}
	return color + cell + plain
}

func colorOf(status string) string {
	switch status {
	case "current", "ok", "built", "succeeded":
		return green
	case "due", "starting", "started", "running":
		return blue
	case "waiting", "held", "warning", "dropped":
		return yellow
	case "blocked", "failed", "error":
		return red
	case "unknown", "opted out", "not checked":
		return dim
	}
	return ""
}
