// Package finding defines findings: problems in a user's input, each with a rule, a position, a message and a fix. Packages
// config, state, fleet and crd make them, and package report prints them.
package finding

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is the severity of a finding.
type Severity string

// Severities. An Error makes the input invalid and nothing is written; a Warning is a lint.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is a problem at a position in a file.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`   // 1-based; 0 for the whole file
	Column   int      `json:"column,omitempty"` // 1-based; 0 when unknown
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"`
	Image    string   `json:"image,omitempty"` // name of the image that the finding is about; empty for several or none
}

// String returns the finding in the form of a compiler message, file:line:column: message, which editors understand.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, ":%d", f.Column)
		}
	}
	if f.File != "" {
		b.WriteString(": ")
	}
	if f.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Message)
	if f.Fix != "" {
		b.WriteString(" (" + f.Fix + ")")
	}
	if f.Rule != "" {
		b.WriteString(" [" + f.Rule + "]")
	}
	return b.String()
}

// List is a set of findings. A List with at least one Error is an error; see Err.
type List []Finding //nolint:errname // it is a list first: most are only printed

// Error returns one finding per line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the errors of the list (without its warnings) as an error, or nil if there are none.
func (l List) Err() error {
	errs := l.bySeverity(Error)
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// Warnings returns the warnings of the list.
func (l List) Warnings() List { return l.bySeverity(Warning) }

func (l List) bySeverity(s Severity) List {
	var out List
	for _, f := range l {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Sort sorts the list by file, position, rule and message.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		if c := strings.Compare(a.Rule, b.Rule); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
}
