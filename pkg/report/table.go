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
	Width int  // of the terminal in columns; 0: cells are not shortened
	Wrap  bool // wrap the last column between words instead of shortening cells
}

const (
	gap     = 2  // spaces between two columns
	minCell = 8  // characters that a shortened column keeps
	minWrap = 20 // characters of a wrapped column
)

// Table prints rows below a header, aligned. Cells are shortened until the table fits the width, the widest column first.
// A terminal that is too narrow gets no columns without content. Control characters of untrusted text are replaced.
func (s Style) Table(w io.Writer, header []string, rows [][]string) error {
	lines := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		line := make([]string, len(header))
		for i := range min(len(row), len(line)) {
			line[i] = sanitize.Terminal(row[i])
		}
		lines = append(lines, line)
	}
	if s.Width > 0 && total(naturalWidths(lines)) > s.Width {
		lines = withoutEmptyColumns(lines)
		if s.Wrap {
			lines = s.wrapLast(lines)
		}
	}
	widths := s.widths(lines)
	var b strings.Builder
	for n, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			cell = shorten(cell, widths[i])
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap)
			text.WriteString(s.paint(cell, n == 0, lines[0][i]) + padding)
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing table: %w", err)
	}
	return nil
}

// naturalWidths returns the width of each column with all cells in full.
func naturalWidths(lines [][]string) []int {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// total returns the width of a table.
func total(widths []int) int {
	sum := gap * (len(widths) - 1)
	for _, width := range widths {
		sum += width
	}
	return sum
}

// widths returns the width of each column, shortened where the table does not fit.
func (s Style) widths(lines [][]string) []int {
	widths := naturalWidths(lines)
	if s.Width == 0 || s.Wrap {
		return widths
	}
	for excess := total(widths) - s.Width; excess > 0; excess-- {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= minCell {
			break
		}
		widths[widest]--
	}
	return widths
}

// withoutEmptyColumns returns a table without the columns that have nothing below their header.
func withoutEmptyColumns(lines [][]string) [][]string {
	out := make([][]string, len(lines))
	for i := range lines[0] {
		if len(lines) > 1 && !slices.ContainsFunc(lines[1:], func(line []string) bool { return line[i] != "" }) {
			continue
		}
		for n, line := range lines {
			out[n] = append(out[n], line[i])
		}
	}
	return out
}

// wrapLast returns a table whose last column is wrapped to fit the width: further lines have no other cells.
func (s Style) wrapLast(lines [][]string) [][]string {
	last := len(lines[0]) - 1
	widths := naturalWidths(lines)
	room := max(minWrap, s.Width-total(widths)+widths[last])
	var out [][]string
	for _, line := range lines {
		for i, part := range wrap(line[last], room) {
			row := make([]string, len(line))
			if i == 0 {
				copy(row, line)
			}
			row[last] = part
			out = append(out, row)
		}
	}
	return out
}

// wrap breaks a text between words. A word that is longer than the width has a line of its own.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		line := &lines[len(lines)-1]
		switch {
		case *line == "":
			*line = word
		case utf8.RuneCountInString(*line)+1+utf8.RuneCountInString(word) <= width:
			*line += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
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
	case "waiting", "paused", "held", "incomplete", "untrusted", "warning", "dropped":
		return yellow
	case "blocked", "failed", "error":
		return red
	case "unknown", "opted out", "not checked":
		return dim
	}
	return ""
}
