package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// maxMessage is the length of an error text, in characters: BuildKit repeats
// expanded words in it, of many megabytes.
const maxMessage = 2000

// newError converts an error of BuildKit to an *Error.
func newError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	e := &Error{Msg: err.Error()}
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		e.Line = line(located.Locations[0])
	}
	if strings.HasPrefix(e.Msg, "dockerfile parse error on line ") {
		_, e.Msg, _ = strings.Cut(e.Msg, ": ")
	}
	if countsFromZero(e.Msg) {
		e.Line++
	}
	if rules, ok := strings.CutPrefix(e.Msg, lintPrefix); ok {
		// BuildKit lists them in the order of a map.
		names := strings.Split(rules, ", ")
		slices.Sort(names)
		e.Msg = lintPrefix + strings.Join(names, ", ")
	}
	e.Msg = sanitize.Cut(e.Msg, maxMessage)
	return e
}

const lintPrefix = "lint violation found for rules: "

// countsFromZero reports whether BuildKit's parser reports the line before the
// unreadable one: it counts a line only after reading it.
func countsFromZero(msg string) bool {
	return strings.HasPrefix(msg, "invalid escape token ") ||
		strings.HasPrefix(msg, "only one ") && strings.HasSuffix(msg, " parser directive can be used") ||
		strings.HasPrefix(msg, "dockerfile line greater than max allowed size")
}

// line returns the first line of a location, or 0.
func line(loc []parser.Range) int {
	if len(loc) == 0 {
		return 0
	}
	return loc[0].Start.Line
}

// located returns err as an *Error, at the given line if it has none.
func located(err error, line int) *Error {
	e := newError(err)
	if e.Line == 0 {
		e.Line = line
	}
	return e
}

func refuse(line int, format string, args ...any) *Error {
	return &Error{Line: line, Msg: sanitize.Cut(fmt.Sprintf(format, args...), maxMessage)}
}

// atLine returns err as an *Error at the given line.
func atLine(err error, line int) *Error {
	e := newError(err)
	e.Line = line
	return e
}
