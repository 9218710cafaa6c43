package discover

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
)

// Texts may hold marks: each stands for an expression whose value is not known. A mark is \x01, a number, \x02; YAML allows
// neither character, and other files that contain one are not read.
const (
	markStart = "\x01"
	markEnd   = "\x02"
	maxMarks  = 5000 // in one repository
)

// marks are the expressions of a repository that could not be resolved.
type marks struct {
	expressions []string
	index       map[string]int
}

// add returns the mark for an expression; the same one for the same text.
func (m *marks) add(expression string) string {
	expression = limit(m.show(expression)) // each may hold others twice
	i, found := m.index[expression]
	if !found {
		if len(m.expressions) >= maxMarks {
			return markStart + markEnd
		}
		if m.index == nil {
			m.index = map[string]int{}
		}
		i = len(m.expressions)
		m.expressions = append(m.expressions, expression)
		m.index[expression] = i
	}
	return markStart + strconv.Itoa(i) + markEnd
}

// options returns how a bake or Compose file is read with marks.
func (m *marks) options(env func(string) (string, bool)) buildfile.Options {
	return buildfile.Options{Env: env, Unknown: func(x buildfile.Expression) string { return m.add(x.Text) }}
}

// known reports whether a text holds no mark.
func known(text string) bool { return !strings.Contains(text, markStart) }

// show returns a text with its expressions as they are written, and ends it where they exceed maxWord.
func (m *marks) show(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, markStart)
		b.WriteString(before)
		if !found || b.Len() > maxWord {
			return b.String()
		}
		number, after, _ := strings.Cut(rest, markEnd)
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(m.expressions) {
			b.WriteString(m.expressions[i])
		} else {
			b.WriteString("(not known)")
		}
		text = after
	}
}

// unresolved returns the expressions in a text.
func (m *marks) unresolved(text string) []string {
	var out []string
	for _, part := range strings.Split(text, markStart)[1:] {
		number, _, _ := strings.Cut(part, markEnd)
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(m.expressions) {
			out = append(out, m.expressions[i])
		}
	}
	return out
}

// Place is a line of a file in a repository.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// lines splits a list as actions take it: one item a line, or between commas. Quotes around an item are removed.
func list(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		for _, item := range splitCSV(line) {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, item)
			}
		}
	}
	return out
}

// splitCSV splits a line at the commas outside of quotes, and removes the quotes.
func splitCSV(line string) []string {
	var out []string
	var b strings.Builder
	quoted := false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	return append(out, b.String())
}
