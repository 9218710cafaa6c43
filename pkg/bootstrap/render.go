package bootstrap

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template/parse"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/plan"
)

//go:embed templates
var templates embed.FS

// function is a function that the templates call. It panics if a template passes arguments of another type.
type function func(args ...any) (any, error)

// renderer executes the part of Go's template language that the templates need. A program that calls text/template keeps every
// exported method of every type, because templates may call any of them: the binary would be half as large again.
type renderer struct {
	trees map[string]*parse.Tree
	funcs map[string]function
	vars  map[string]reflect.Value // by name, with the dollar sign
	out   bytes.Buffer
}

// render executes the template name. Its delimiters are not those of GitHub's expressions.
func render(name string, v *view) ([]byte, error) {
	r := &renderer{trees: map[string]*parse.Tree{}, funcs: functions(v), vars: map[string]reflect.Value{"$": reflect.ValueOf(v)}}
	names := map[string]any{}
	for f, call := range r.funcs {
		names[f] = call
	}
	for _, file := range []string{name, "github-parts.yml", "gitlab-parts.yml"} { // shared parts
		text, err := templates.ReadFile("templates/" + file)
		if err != nil {
			return nil, err
		}
		trees, err := parse.Parse(file, string(text), "<<", ">>", names)
		if err != nil {
			return nil, err
		}
		maps.Copy(r.trees, trees)
	}
	if err := r.walk(r.trees[name].Root, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	return r.out.Bytes(), nil
}

// functions returns the functions that the templates can call.
func functions(v *view) map[string]function {
	return map[string]function{
		"eq":    func(args ...any) (any, error) { return args[0] == args[1], nil },
		"not":   func(args ...any) (any, error) { return !truth(reflect.ValueOf(args[0])), nil },
		"print": func(args ...any) (any, error) { return fmt.Sprint(args...), nil },
		"or": func(args ...any) (any, error) {
			for _, arg := range args[:len(args)-1] {
				if truth(reflect.ValueOf(arg)) {
					return arg, nil
				}
			}
			return args[len(args)-1], nil
		},
		"q":        func(args ...any) (any, error) { return quoted(args[0].(string)) },
		"literal":  func(args ...any) (any, error) { return literal(args[0].(string)), nil },
		"pattern":  func(args ...any) (any, error) { return pattern(args[0].(string)), nil },
		"keys":     func(args ...any) (any, error) { return keys(args[0].(kargo.Secret)), nil },
		"type":     func(args ...any) (any, error) { return secretType(args[0].(kargo.Secret)), nil },
		"contents": func(args ...any) (any, error) { return v.contents(args[0].(kargo.SecretUse)), nil },
		"readers":  func(args ...any) (any, error) { return readers(args[0].(kargo.SecretUse)), nil },
		"value":    func(args ...any) (any, error) { return exampleValue(args[0].(kargo.SecretUse)), nil },

		"placeholder": func(...any) (any, error) { return Placeholder, nil },
		"marker":      func(...any) (any, error) { return plan.Marker, nil },
		"gitlabPath":  func(...any) (any, error) { return "/" + GitLabFile, nil }, // as an include names it
	}
}

// quoted returns s as a YAML scalar in double quotes.
func quoted(s string) (string, error) {
	data, err := yamlenc.Marshal(yamlenc.Quoted(s))
	return strings.TrimSuffix(string(data), "\n"), err
}

// walk writes the output of a node.
func (r *renderer) walk(node parse.Node, dot reflect.Value) error {
	switch n := node.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			if err := r.walk(child, dot); err != nil {
				return err
			}
		}
	case *parse.TextNode:
		r.out.Write(n.Text)
	case *parse.ActionNode:
		value, err := r.pipe(n.Pipe, dot)
		if err == nil && len(n.Pipe.Decl) == 0 {
			_, err = fmt.Fprint(&r.out, value.Interface())
		}
		return err
	case *parse.IfNode:
		value, err := r.pipe(n.Pipe, dot)
		if err != nil {
			return err
		}
		return r.branch(truth(value), dot, &n.BranchNode)
	case *parse.RangeNode:
		return r.loop(n, dot)
	case *parse.TemplateNode:
		value, err := r.pipe(n.Pipe, dot)
		if err != nil {
			return err
		}
		return r.walk(r.trees[n.Name].Root, value)
	default:
		return fmt.Errorf("unsupported in a template: %s", node)
	}
	return nil
}

func (r *renderer) branch(condition bool, dot reflect.Value, n *parse.BranchNode) error {
	switch {
	case condition:
		return r.walk(n.List, dot)
	case n.ElseList != nil:
		return r.walk(n.ElseList, dot)
	}
	return nil
}

func (r *renderer) loop(n *parse.RangeNode, dot reflect.Value) error {
	list, err := r.pipe(n.Pipe, dot)
	if err != nil {
		return err
	}
	if list.Len() == 0 {
		return r.branch(false, dot, &n.BranchNode)
	}
	for i := range list.Len() {
		if err := r.walk(n.List, list.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// pipe evaluates a pipeline of one command, and sets the variable that it declares, if any.
func (r *renderer) pipe(n *parse.PipeNode, dot reflect.Value) (reflect.Value, error) {
	if len(n.Cmds) != 1 {
		return reflect.Value{}, fmt.Errorf("unsupported in a template: %s", n)
	}
	value, err := r.command(n.Cmds[0].Args, dot)
	for _, variable := range n.Decl {
		r.vars[variable.Ident[0]] = value
	}
	return value, err
}

func (r *renderer) command(nodes []parse.Node, dot reflect.Value) (reflect.Value, error) {
	name, ok := nodes[0].(*parse.IdentifierNode)
	if !ok {
		return r.operand(nodes[0], dot)
	}
	args := make([]any, 0, len(nodes)-1)
	for _, node := range nodes[1:] {
		arg, err := r.operand(node, dot)
		if err != nil {
			return arg, err
		}
		args = append(args, arg.Interface())
	}
	value, err := r.funcs[name.Ident](args...)
	return reflect.ValueOf(value), err
}

func (r *renderer) operand(node parse.Node, dot reflect.Value) (reflect.Value, error) {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.FieldNode:
		return field(dot, n.Ident)
	case *parse.VariableNode:
		return field(r.vars[n.Ident[0]], n.Ident[1:])
	case *parse.PipeNode:
		return r.pipe(n, dot)
	}
	return reflect.Value{}, fmt.Errorf("unsupported in a template: %s", node)
}

// field returns the field of a struct that a path of names leads to.
func field(at reflect.Value, path []string) (reflect.Value, error) {
	for _, name := range path {
		next := reflect.Indirect(at).FieldByName(name)
		if !next.IsValid() {
			return next, fmt.Errorf("%s has no field %q", at.Type(), name)
		}
		at = next
	}
	return at, nil
}

// truth reports whether a condition holds: a value that is neither zero nor an empty list.
func truth(v reflect.Value) bool {
	if v.Kind() == reflect.Slice {
		return v.Len() > 0
	}
	return !v.IsZero()
}
