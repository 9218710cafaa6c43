// Package yamlerr returns the position, the cause and the fix of invalid YAML. yaml.v3, which reads every file, reports the
// line before a mistake, the line where a block begins, or none; yaml/v4 keeps the position of a mistake, and parses a text
// again that yaml.v3 has rejected.
package yamlerr

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	yaml4 "go.yaml.in/yaml/v4"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Problem is the cause and position of a YAML error.
type Problem struct {
	Line, Column int // 1-based; 1 and 1 if the position is unknown
	Message      string
	Fix          string // empty when the message is enough
	Conflict     bool   // the text contains git's conflict markers
}

// Explain returns the position and the cause of err, which yaml.v3 returned for text.
func Explain(text []byte, err error) Problem {
	if line := conflict(text); line > 0 {
		return Problem{Line: line, Column: 1, Message: "unresolved merge conflict", Conflict: true}
	}
	p := parse(err.Error())
	if line, column := unreadable(text); line > 0 {
		p.Line, p.Column = line, column
		return p
	}
	var doc yaml4.Node
	var exact *yaml4.LoadError
	if errors.As(yaml4.Unmarshal(text, &doc), &exact) && exact.Mark.Line > 0 && strings.Contains(exact.Message, p.Message) {
		at := exact.Mark
		if opened(text, exact) {
			at = exact.ContextMark
		}
		p.Line, p.Column = at.Line, max(at.Column, 1)
	}
	p.Fix = fixes[p.Message]
	if p.Message == noToken && indentedByTab(text, p.Line) {
		p.Fix = withSpaces
	}
	if p.Message == "did not find expected node content" {
		if line, column := lastOpen(text); line > 0 {
			p.Line, p.Column, p.Fix = line, column, "close the bracket that opens here"
		}
	}
	return p
}

// lastOpen returns the position of the innermost bracket that is still open at the end, or 0.
func lastOpen(text []byte) (line, column int) {
	depth := 0
	for at, c := range slices.Backward(text) {
		switch c {
		case ']', '}':
			depth++
		case '[', '{':
			if depth--; depth < 0 {
				before := lines(text[:at])
				return len(before), 1 + utf8.RuneCountInString(before[len(before)-1])
			}
		}
	}
	return 0, 0
}

const (
	noToken    = "found character that cannot start any token"
	withSpaces = "indent with spaces"
)

// indentedByTab reports whether there is a tab before the text of a line, or behind its dashes.
func indentedByTab(text []byte, line int) bool {
	all := lines(text)
	if line > len(all) {
		return false
	}
	l := all[line-1]
	return strings.Contains(l[:len(l)-len(strings.TrimLeft(l, " \t-"))], "\t")
}

// fixes are the usual fixes by parser message.
var fixes = map[string]string{
	"found unexpected end of stream":                 "close the quote that opens here",
	"did not find expected ',' or ']'":               "close the bracket, or add the comma",
	"did not find expected ',' or '}'":               "close the brace, or add the comma",
	"could not find expected ':'":                    "write a key as `key: value`",
	"mapping values are not allowed in this context": "check the indentation, and quote a value that contains a colon",
	noToken: "quote the value",
	"found a tab character that violates indentation":              withSpaces,
	"found a tab character where an indentation space is expected": withSpaces,
	"did not find expected key":                                    "check the indentation",
	"did not find expected '-' indicator":                          "check the indentation",
}

var lineOf = lazy.Regexp(`^(?:yaml: )?(?:unmarshal errors: )?(?:line (\d+): )?`)

// parse splits the text of a yaml.v3 error into line and message.
func parse(text string) Problem {
	text = strings.Join(strings.Fields(text), " ")
	m := lineOf().FindStringSubmatch(text)
	p := Problem{Line: 1, Column: 1, Message: text[len(m[0]):]}
	if line, err := strconv.Atoi(m[1]); err == nil {
		p.Line = line
	}
	return p
}

var (
	marker    = lazy.Regexp(`^(<{7}|>{7}|\|{7})( |$)`)
	separator = lazy.Regexp(`^={7}$`)
)

// conflict returns the line of git's first conflict marker, or 0.
func conflict(text []byte) int {
	for i, line := range lines(text) {
		if marker().MatchString(line) || separator().MatchString(line) {
			return i + 1
		}
	}
	return 0
}

// unreadable returns the position of the first character that YAML never allows, or 0.
func unreadable(text []byte) (line, column int) {
	if !utf8.Valid(text) || slices.ContainsFunc([]rune(string(text)), forbidden) {
		for i, l := range lines(text) {
			column := 1
			for rest := l; rest != ""; column++ {
				r, size := utf8.DecodeRuneInString(rest)
				if r == utf8.RuneError && size == 1 || forbidden(r) {
					return i + 1, column
				}
				rest = rest[size:]
			}
		}
	}
	return 0, 0
}

func forbidden(r rune) bool {
	return unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' && r != '\u0085'
}

var lineBreak = lazy.Regexp("\r\n|[\n\r\u0085\u2028\u2029]")

// lines splits a text where the parser counts a line.
func lines(text []byte) []string {
	return lineBreak().Split(string(text), -1)
}

// opened reports whether the mistake is where a construct begins: a key without a colon, or an unclosed quote or bracket.
func opened(text []byte, e *yaml4.LoadError) bool {
	if e.ContextMark.Line == 0 {
		return false
	}
	switch e.Message {
	case "could not find expected ':'", "found unexpected end of stream":
		return true
	case "did not find expected ',' or ']'":
		return unclosed(text, e.ContextMark.Line, "[", "]")
	case "did not find expected ',' or '}'":
		return unclosed(text, e.ContextMark.Line, "{", "}")
	}
	return false
}

// unclosed reports whether fewer brackets are closed than opened, from a line on.
func unclosed(text []byte, from int, open, closing string) bool {
	rest := strings.Join(lines(text)[from-1:], "\n")
	return strings.Count(rest, open) > strings.Count(rest, closing)
}
