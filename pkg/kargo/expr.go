package kargo

import (
	"fmt"
	"strings"
	"unicode"
)

// literal returns s as a string literal of expr-lang. Braces are escaped because Kargo ends an expression at the first }}, even
// within a string. Characters that the lexer would change (\r\n becomes \n) or that are not printable are escaped as well.
func literal(s string) string {
	if !strings.ContainsFunc(s, special) {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '{' || r == '}':
			fmt.Fprintf(&b, `\u%04x`, r)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

func special(r rune) bool {
	return r < ' ' || r > '~' || r == '\'' || r == '\\' || r == '{' || r == '}'
}

// exactly returns a template whose result stays a string. Kargo converts the result of a template to a number, a boolean or an
// object if possible, except for text in double quotes, which it strips. Kargo's function quote does the same for a value and
// also escapes quotes, backslashes and line ends.
func exactly(expression string) string { return `"${{ ` + expression + ` }}"` }

// text returns a template that evaluates to s. Kargo keeps a template without an expression as it is, but treats an empty one
// as a missing value.
func text(s string) string {
	if s == "" || strings.Contains(s, "${{") || strings.Contains(s, "${%") {
		return exactly(literal(s))
	}
	return s
}

// value returns a template whose result may be converted, for expressions that evaluate to a list or a map.
func value(expression string) string { return "${{ " + expression + " }}" }

// origin is the expression for the name of the Warehouse of a Promotion's Freight.
const origin = "ctx.targetFreight.origin.name"

// imageOf returns the expression for the image in the Freight of a Warehouse.
func imageOf(repoURL, warehouse string) string {
	return "imageFrom(" + literal(repoURL) + ", warehouse(" + literal(warehouse) + "))"
}
