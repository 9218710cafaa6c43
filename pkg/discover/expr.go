package discover

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

const maxExpression = 4 << 10 // bytes

// unknown is the value of an expression that cannot be resolved.
type unknown struct{}

// contexts are the values that the expressions of a GitHub workflow can use, by lower-case name.
type contexts map[string]any

// with returns a copy with one more context.
func (c contexts) with(name string, v any) contexts {
	out := contexts{name: v}
	for k, old := range c {
		if k != name {
			out[k] = old
		}
	}
	return out
}

// text replaces the expressions in a text by their values, and by marks where these are not known.
func (c contexts) text(m *marks, s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		expression, after, closed := cutExpression(rest)
		if !closed {
			b.WriteString("${{" + rest)
			return b.String()
		}
		if v := c.eval(expression); isUnknown(v) {
			b.WriteString(m.add("${{ " + strings.TrimSpace(expression) + " }}"))
		} else {
			b.WriteString(asText(v))
		}
		s = after
	}
}

// cutExpression splits the text behind an opening ${{ at its end, which may not be inside of quotes.
func cutExpression(s string) (expression, after string, found bool) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(s[i:], "}}"):
			return s[:i], s[i+2:], true
		}
	}
	return "", "", false
}

// whole returns the value of a text that is one expression. Any other text is its own value.
func (c contexts) whole(m *marks, s string) any {
	trimmed := strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(trimmed, "${{"); ok {
		if expression, after, closed := cutExpression(rest); closed && after == "" {
			return c.eval(expression)
		}
	}
	return c.text(m, s)
}

// eval returns the value of an expression: https://docs.github.com/actions/reference/evaluate-expressions-in-workflows-and-actions.
// The library that parses these (rhysd/actionlint) needs another version of yaml/v4.
func (c contexts) eval(expression string) any {
	tokens, ok := tokenize(expression)
	if !ok || len(expression) > maxExpression {
		return unknown{}
	}
	p := &expressionParser{contexts: c, tokens: tokens}
	v := p.or(0)
	if p.failed || p.next() != "" {
		return unknown{}
	}
	return v
}

const maxNesting = 50 // of an expression

var tokenForm = lazy.Regexp(`^\s*('(?:[^']|'')*'|[A-Za-z_][-A-Za-z0-9_]*|-?[0-9][0-9a-fA-FxoX.]*(?:[eE][-+]?[0-9]+)?|\|\||&&|[!=<>]=|[!<>()\[\].,*])`)

func tokenize(s string) (tokens []string, ok bool) {
	for strings.TrimSpace(s) != "" {
		m := tokenForm().FindStringSubmatch(s)
		if m == nil {
			return nil, false
		}
		tokens, s = append(tokens, m[1]), s[len(m[0]):]
	}
	return tokens, true
}

// expressionParser evaluates an expression while it parses it. Each method takes one level of precedence.
type expressionParser struct {
	contexts
	tokens []string
	failed bool
}

// next returns the next token; "" at the end.
func (p *expressionParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// accept takes the next token if it is the given one.
func (p *expressionParser) accept(token string) bool {
	if len(p.tokens) == 0 || p.tokens[0] != token {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *expressionParser) expect(token string) {
	if !p.accept(token) {
		p.failed, p.tokens = true, nil
	}
}

func (p *expressionParser) or(depth int) any {
	left := p.and(depth)
	for p.accept("||") {
		right := p.and(depth)
		if isUnknown(left) {
			continue
		}
		if !truthy(left) {
			left = right
		}
	}
	return left
}

func (p *expressionParser) and(depth int) any {
	left := p.comparison(depth)
	for p.accept("&&") {
		right := p.comparison(depth)
		switch {
		case isUnknown(left) && !isUnknown(right) && !truthy(right):
			left = false // whatever the left side is
		case isUnknown(left):
		case truthy(left):
			left = right
		}
	}
	return left
}

func (p *expressionParser) comparison(depth int) any {
	left := p.unary(depth)
	for {
		op := p.next()
		switch op {
		case "==", "!=", "<", ">", "<=", ">=":
		default:
			return left
		}
		p.accept(op)
		right := p.unary(depth)
		equal := strings.EqualFold(asText(left), asText(right))
		switch {
		case isUnknown(left) || isUnknown(right) || strings.ContainsAny(op, "<>"):
			left = unknown{}
		default:
			left = equal == (op == "==")
		}
	}
}

func (p *expressionParser) unary(depth int) any {
	negate, not := false, false
	for p.accept("!") {
		negate, not = !negate, true
	}
	v := p.postfix(depth)
	if !not || isUnknown(v) {
		return v
	}
	return truthy(v) != negate
}

func (p *expressionParser) postfix(depth int) any {
	v := p.primary(depth)
	for {
		switch {
		case p.accept("."):
			key := p.next()
			p.expect(key)
			v = member(v, key)
		case p.accept("["):
			key := p.or(depth + 1)
			p.expect("]")
			if isUnknown(key) {
				v = unknown{}
			} else {
				v = member(v, asText(key))
			}
		default:
			return v
		}
	}
}

func (p *expressionParser) primary(depth int) any {
	token := p.next()
	if token == "" || depth > maxNesting {
		p.failed, p.tokens = true, nil
		return unknown{}
	}
	p.accept(token)
	switch first := token[0]; {
	case token == "(":
		v := p.or(depth + 1)
		p.expect(")")
		return v
	case first == '\'':
		return strings.ReplaceAll(token[1:len(token)-1], "''", "'")
	case first >= '0' && first <= '9', first == '-':
		return number(token)
	case token == "true", token == "false":
		return token == "true"
	case token == "null":
		return nil
	case p.accept("("):
		return p.call(token, depth)
	}
	if v, ok := p.contexts[strings.ToLower(token)]; ok {
		return v
	}
	return unknown{}
}

// call evaluates a function. Its name and parenthesis are taken.
func (p *expressionParser) call(name string, depth int) any {
	var args []any
	for !p.accept(")") {
		if len(args) > 0 {
			p.expect(",")
		}
		args = append(args, p.or(depth+1))
		if p.failed {
			return unknown{}
		}
	}
	if slices.ContainsFunc(args, isUnknown) {
		return unknown{}
	}
	return callFunction(strings.ToLower(name), args)
}

// open is a mapping of which some keys are known only: the others are unknown, not empty.
type open map[string]any

func member(v any, key string) any {
	find := func(m map[string]any) (any, bool) {
		for k, v := range m {
			if strings.EqualFold(k, key) {
				return v, true
			}
		}
		return nil, false
	}
	switch v := v.(type) {
	case open:
		if found, ok := find(v); ok {
			return found
		}
	case map[string]any:
		found, _ := find(v)
		return found
	case []any:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(v) {
			return v[i]
		}
	}
	return unknown{}
}

func callFunction(name string, args []any) any {
	text := func(i int) string { return strings.ToLower(asText(args[i])) }
	switch {
	case name == "success" || name == "always":
		return true
	case name == "failure" || name == "cancelled":
		return false
	case name == "format" && len(args) > 0:
		out := asText(args[0])
		for i, a := range args[1:] {
			out = strings.ReplaceAll(out, "{"+strconv.Itoa(i)+"}", asText(a))
		}
		return out
	case name == "startswith" && len(args) == 2:
		return strings.HasPrefix(text(0), text(1))
	case name == "endswith" && len(args) == 2:
		return strings.HasSuffix(text(0), text(1))
	case name == "contains" && len(args) == 2:
		if list, ok := args[0].([]any); ok {
			for _, item := range list {
				if strings.EqualFold(asText(item), asText(args[1])) {
					return true
				}
			}
			return false
		}
		return strings.Contains(text(0), text(1))
	case name == "fromjson" && len(args) == 1:
		var v any
		if json.Unmarshal([]byte(asText(args[0])), &v) == nil {
			return v
		}
	}
	return unknown{}
}

func isUnknown(v any) bool {
	if s, ok := v.(string); ok {
		return !known(s)
	}
	_, is := v.(unknown)
	return is
}

func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case number:
		return v != "0"
	}
	return true
}
