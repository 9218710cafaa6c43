package kargo

import (
	"fmt"
	"strings"
	"unicode"
)

// literal writes s as a string literal of expr-lang. Kargo ends an expression at the first }} wherever it stands, so
// braces are escaped, and so is all that the lexer would change (it turns \r\n into \n) or that is hard to see.
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

// exactly makes a template of an expression that evaluates to a string, whatever that string looks like: Kargo turns
// the result of a template into a number, a boolean or an object where it can, but not what stands in double quotes,
// which it then strips. Its function quote does the same for a value, and also escapes quotes, backslashes and line
// ends in it.
func exactly(expression string) string { return `"${{ ` + expression + ` }}"` }

// text makes a template that evaluates to s. Kargo leaves a template without an expression as it is; an empty one it
// takes for a missing value.
func text(s string) string {
	if s == "" || strings.Contains(s, "${{") || strings.Contains(s, "${%") {
		return exactly(literal(s))
	}
	return s
}

// value makes a template of an expression that evaluates to a list or a map.
func value(expression string) string { return "${{ " + expression + " }}" }

// origin is the name of the Warehouse that a Promotion's Freight is from.
const origin = "ctx.targetFreight.origin.name"

// imageOf is the expression for the image in Freight of a known Warehouse.
func imageOf(repoURL, warehouse string) string {
	return "imageFrom(" + literal(repoURL) + ", warehouse(" + literal(warehouse) + "))"
}
