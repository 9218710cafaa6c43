// Package plain makes what others wrote fit to be shown in one line: forges, clusters and people write what they like.
package plain

import (
	"strings"
	"unicode"
)

// Line puts a space in place of each rune that cannot be printed, line breaks among them.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Words puts one space in place of all between words that is white space or cannot be printed.
func Words(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// Cut leaves the first runes of a text, at most so many, and says so by three dots after them.
func Cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}
