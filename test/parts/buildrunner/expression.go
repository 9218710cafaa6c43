package buildrunner

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// values are what expressions of a workflow can name, such as inputs.image.
type values map[string]string

// get returns a value. A secret that is not set is empty; any other name must be known.
func (v values) get(name string) (string, error) {
	value, known := v[name]
	if !known && !strings.HasPrefix(name, "secrets.") {
		return "", fmt.Errorf("unknown name %q", name)
	}
	return value, nil
}

var embedded = regexp.MustCompile(`\$\{\{(?:[^'}]|'[^']*')*\}\}`)

// expand replaces the expressions in a text.
func (v values) expand(text string) (string, error) {
	var failed error
	out := embedded.ReplaceAllStringFunc(text, func(e string) string {
		value, err := v.evaluate(e[len("${{") : len(e)-len("}}")])
		if err != nil && failed == nil {
			failed = err
		}
		return fmt.Sprint(value)
	})
	if failed == nil && strings.Contains(embedded.ReplaceAllString(text, ""), "${{") {
		failed = fmt.Errorf("invalid expression in %q", text)
	}
	return out, failed
}

// expandAll replaces the expressions in the values of a map.
func (v values) expandAll(texts map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for name, text := range texts {
		value, err := v.expand(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}

// holds evaluates a condition: an expression, in ${{ }} or not. An empty one holds.
func (v values) holds(condition string) (bool, error) {
	if condition == "" {
		return true, nil
	}
	if e := embedded.FindString(condition); e != "" && e == strings.TrimSpace(condition) {
		condition = e[len("${{") : len(e)-len("}}")]
	}
	value, err := v.evaluate(condition)
	return truthy(value), err
}

func truthy(value any) bool { return value != "" && value != false }

var token = regexp.MustCompile(`^\s*('[^']*'|\|\||==|!|[A-Za-z_][\w.-]*)`)

// evaluate evaluates an expression of names, texts, ||, == and !. The result is a string or a bool.
func (v values) evaluate(expression string) (any, error) {
	p := &parser{rest: expression, values: v}
	value, err := p.or()
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return "", fmt.Errorf("evaluating %q: %w", strings.TrimSpace(expression), err)
	}
	return value, nil
}

type parser struct {
	rest   string
	values values
}

// next returns the next token, and takes it if it is one of those that are wanted, or if none are.
func (p *parser) next(wanted ...string) (string, bool) {
	m := token.FindStringSubmatch(p.rest)
	if m == nil || len(wanted) > 0 && !slices.Contains(wanted, m[1]) {
		return "", false
	}
	p.rest = p.rest[len(m[0]):]
	return m[1], true
}

func (p *parser) or() (any, error) {
	left, err := p.equal()
	for err == nil {
		if _, found := p.next("||"); !found {
			return left, nil
		}
		var right any
		if right, err = p.equal(); !truthy(left) {
			left = right
		}
	}
	return "", err
}

func (p *parser) equal() (any, error) {
	left, err := p.unary()
	if _, found := p.next("=="); err != nil || !found {
		return left, err
	}
	right, err := p.unary()
	return left == right, err
}

func (p *parser) unary() (any, error) {
	if _, found := p.next("!"); found {
		value, err := p.unary()
		return !truthy(value), err
	}
	word, found := p.next()
	switch {
	case !found || word == "||" || word == "==":
		return "", fmt.Errorf("want a name or a text at %q", p.rest)
	case word[0] == '\'':
		return word[1 : len(word)-1], nil
	}
	return p.values.get(word)
}
