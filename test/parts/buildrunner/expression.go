package buildrunner

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// values are what expressions of a workflow can name, such as inputs.image.
type values map[string]string

// get returns a value. A secret that is not set is empty, and so is an output that a step did not write; any other name must be known.
func (v values) get(name string) (string, error) {
	value, known := v[name]
	step, _, output := strings.Cut(name, ".outputs.")
	if _, ended := v[step+".outcome"]; known || output && ended || strings.HasPrefix(name, "secrets.") {
		return value, nil
	}
	return "", fmt.Errorf("unknown name %q", name)
}

var embedded = regexp.MustCompile(`\$\{\{(?:[^'}]|'[^']*')*\}\}`)

// expand replaces the expressions in a text.
func (v values) expand(text string) (string, error) {
	var failed error
	out := embedded.ReplaceAllStringFunc(text, func(e string) string {
		value, _, err := v.evaluate(e[len("${{") : len(e)-len("}}")])
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

// holds evaluates a condition: an expression, in ${{ }} or not. An empty one holds. After a failure, only a condition that asks for
// the status of the job can hold.
func (v values) holds(condition string, failed bool) (bool, error) {
	if condition == "" {
		return !failed, nil
	}
	if e := embedded.FindString(condition); e != "" && e == strings.TrimSpace(condition) {
		condition = e[len("${{") : len(e)-len("}}")]
	}
	value, status, err := v.evaluate(condition)
	return truthy(value) && (status || !failed), err
}

func truthy(value any) bool { return value != "" && value != false }

func falsy(value any) bool { return !truthy(value) }

// cancelled is the only function that is known. No job is cancelled.
const cancelled = "cancelled()"

var token = regexp.MustCompile(`^\s*('[^']*'|\|\||&&|==|!=|!|cancelled\(\)|[A-Za-z_][\w.-]*)`)

// evaluate evaluates an expression of names, texts, cancelled(), ||, &&, ==, != and !. The result is a string or a bool. status reports
// whether the expression asks for the status of the job.
func (v values) evaluate(expression string) (result any, status bool, err error) {
	p := &parser{rest: expression, values: v}
	value, err := p.or()
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return "", false, fmt.Errorf("evaluating %q: %w", strings.TrimSpace(expression), err)
	}
	return value, p.status, nil
}

type parser struct {
	rest   string
	values values
	status bool // whether cancelled() was called
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

func (p *parser) or() (any, error) { return p.chain("||", p.and, falsy) }

func (p *parser) and() (any, error) { return p.chain("&&", p.equal, truthy) }

// chain evaluates operands between an operator, which goes on to the next one if goOn says so of the last.
func (p *parser) chain(operator string, operand func() (any, error), goOn func(any) bool) (any, error) {
	left, err := operand()
	for err == nil {
		if _, found := p.next(operator); !found {
			return left, nil
		}
		var right any
		if right, err = operand(); goOn(left) {
			left = right
		}
	}
	return "", err
}

func (p *parser) equal() (any, error) {
	left, err := p.unary()
	operator, found := p.next("==", "!=")
	if err != nil || !found {
		return left, err
	}
	right, err := p.unary()
	return (left == right) == (operator == "=="), err
}

func (p *parser) unary() (any, error) {
	if _, found := p.next("!"); found {
		value, err := p.unary()
		return falsy(value), err
	}
	word, found := p.next()
	switch {
	case !found || slices.Contains([]string{"||", "&&", "==", "!="}, word):
		return "", fmt.Errorf("want a name or a text at %q", p.rest)
	case word == cancelled:
		p.status = true
		return false, nil
	case word[0] == '\'':
		return word[1 : len(word)-1], nil
	}
	return p.values.get(word)
}
