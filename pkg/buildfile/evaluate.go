package buildfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

const (
	maxArguments = 1 << 10 // bytes of the arguments of a function: what it returns cannot grow without end
	maxValue     = 4 << 10 // bytes of the value of a variable
	maxSource    = 8 << 10 // bytes of an expression
	maxExponent  = 1 << 10 // of a number, in bits
	maxCalls     = 5_000   // of the functions that a file defines
	maxDepth     = 20      // of such calls, and of variables that refer to each other
)

// evaluator evaluates the expressions of a bake file.
type evaluator struct {
	Options
	text       []byte
	variables  map[string]*hcl.Block
	attributes hcl.Attributes
	results    map[string]hcl.Expression // of the functions of the file
	context    *hcl.EvalContext
	root       *hcl.EvalContext
	resolving  map[string]bool
	prepared   map[string]bool // functions of the file
	calls      int
	depth      int
}

func newEvaluator(text []byte, o Options) *evaluator {
	root := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: maps.Clone(standardFunctions())}
	return &evaluator{
		Options: o, text: text, root: root, context: root, variables: map[string]*hcl.Block{},
		results: map[string]hcl.Expression{}, resolving: map[string]bool{}, prepared: map[string]bool{},
	}
}

// function defines the function of a block.
func (e *evaluator) function(b *hcl.Block) {
	attributes, _ := b.Body.JustAttributes()
	params, result := attributes["params"], attributes["result"]
	if params == nil || result == nil || isLarge(result.Expr, e.text) {
		return
	}
	list, diags := hcl.ExprList(params.Expr)
	if diags.HasErrors() {
		return
	}
	var names []string
	for _, param := range list {
		names = append(names, hcl.ExprAsKeyword(param))
	}
	variadic := ""
	if a := attributes["variadic_params"]; a != nil {
		variadic = hcl.ExprAsKeyword(a.Expr)
	}
	e.results[b.Labels[0]] = result.Expr
	e.root.Functions[b.Labels[0]] = bounded(e.defined(names, variadic, result.Expr))
}

// defined returns the function with a result. It is called a limited number of times, at a limited depth, and its value is limited.
func (e *evaluator) defined(names []string, variadic string, result hcl.Expression) function.Function {
	spec := &function.Spec{}
	for _, name := range names {
		spec.Params = append(spec.Params, function.Parameter{Name: name, Type: cty.DynamicPseudoType, AllowNull: true})
	}
	if variadic != "" {
		spec.VarParam = &function.Parameter{Name: variadic, Type: cty.DynamicPseudoType, AllowNull: true}
	}
	call := func(args []cty.Value) (cty.Value, error) {
		if e.calls++; e.calls > maxCalls || e.depth >= maxDepth {
			return cty.NilVal, errTooLarge
		}
		e.depth++
		defer func() { e.depth-- }()
		ctx := e.root.NewChild()
		ctx.Variables = map[string]cty.Value{}
		for i, name := range names {
			ctx.Variables[name] = args[i]
		}
		if variadic != "" {
			ctx.Variables[variadic] = cty.TupleVal(args[len(names):])
		}
		v, diags := result.Value(ctx)
		switch {
		case diags.HasErrors():
			return cty.NilVal, errors.New(cmp.Or(diags[0].Detail, diags[0].Summary))
		case sizeOf(v) > maxValue:
			return cty.NilVal, errTooLarge
		}
		return v, nil
	}
	spec.Type = func(args []cty.Value) (cty.Type, error) {
		v, err := call(args)
		if err != nil {
			return cty.NilType, err
		}
		return v.Type(), nil
	}
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) { return call(args) }
	return function.New(spec)
}

var errTooLarge = errors.New("too large to be evaluated")

// resolveAll evaluates all variables, each after those that it refers to.
func (e *evaluator) resolveAll() {
	for _, name := range slices.Sorted(maps.Keys(e.variables)) {
		e.resolve(name)
	}
	for _, name := range slices.Sorted(maps.Keys(e.attributes)) {
		e.resolve(name)
	}
}

func (e *evaluator) resolve(name string) {
	if _, done := e.root.Variables[name]; done || e.resolving[name] || len(e.resolving) > maxDepth {
		return
	}
	e.resolving[name] = true
	defer delete(e.resolving, name)
	if a := e.attributes[name]; a != nil {
		e.root.Variables[name] = e.value(a.Expr)
		return
	}
	if b := e.variables[name]; b != nil {
		e.root.Variables[name] = e.variable(name, b)
	}
}

// variable returns the value of a variable: that of the environment, else the default. A variable without both is unknown.
func (e *evaluator) variable(name string, b *hcl.Block) cty.Value {
	attributes, _ := b.Body.JustAttributes()
	if v, ok := e.env(name); ok {
		return cty.StringVal(v)
	}
	a := attributes["default"]
	if a == nil {
		return e.unknown(Expression{
			Text: "${" + name + "}", Line: b.DefRange.Start.Line, Column: b.DefRange.Start.Column, Why: "variable " + name + " has no default",
		})
	}
	v := e.value(a.Expr)
	if v.IsNull() && !e.Strict {
		return e.unknown(Expression{Text: "${" + name + "}", Line: a.Range.Start.Line, Column: a.Range.Start.Column})
	}
	return v
}

// unknown returns the value that stands for an expression. It is marked with it, so that what depends on it is known.
func (e *evaluator) unknown(x Expression) cty.Value { return cty.StringVal(e.Unknown(x)).Mark(&x) }

// value evaluates an expression; what cannot be evaluated is unknown.
func (e *evaluator) value(x hcl.Expression) cty.Value {
	e.prepare(x)
	v, diags, why := cty.DynamicVal, hcl.Diagnostics(nil), ""
	if isLarge(x, e.text) {
		why = errTooLarge.Error()
	} else {
		v, diags = x.Value(e.context)
	}
	switch {
	case diags.HasErrors():
		why = strings.TrimSuffix(cmp.Or(diags[0].Detail, diags[0].Summary), ".")
	case why == "" && sizeOf(v) > maxValue:
		why = errTooLarge.Error()
	case why == "" && v.IsWhollyKnown():
		return v
	}
	return e.unknown(e.expression(x, why))
}

func (e *evaluator) expression(x hcl.Expression, why string) Expression {
	r := x.Range()
	text := string(e.text[min(r.Start.Byte, len(e.text)):min(r.End.Byte, r.Start.Byte+200, len(e.text))])
	return Expression{Text: strings.Join(strings.Fields(text), " "), Line: r.Start.Line, Column: r.Start.Column, Why: why}
}

// prepare resolves the variables that an expression refers to, itself and in the functions that it calls.
func (e *evaluator) prepare(x hcl.Expression) {
	for _, v := range x.Variables() {
		e.resolve(v.RootName())
	}
	node, ok := x.(hclsyntax.Expression)
	if !ok { // JSON
		for name := range e.results {
			e.prepareFunction(name)
		}
		return
	}
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			e.prepareFunction(call.Name)
		}
		return nil
	})
}

func (e *evaluator) prepareFunction(name string) {
	result := e.results[name]
	if result == nil || e.prepared[name] {
		return
	}
	e.prepared[name] = true
	e.prepare(result)
}

var (
	// loopsInText matches the beginnings of loops in the expressions of a JSON file.
	loopsInText = lazy.Regexp(`[\[{]\s*for\s|\[\*\]|\.\*`)
	// hugeInText matches numbers with an exponent of four digits or more in the expressions of a JSON file.
	hugeInText = lazy.Regexp(`[$%]\{[^}]*?\b[\d.]+[eE][+-]?0*[1-9]\d{3,}`)
)

// isLarge reports whether the evaluation of an expression could take long.
func isLarge(x hcl.Expression, text []byte) bool {
	r, loops, huge := x.Range(), 0, false
	if node, ok := x.(hclsyntax.Expression); ok {
		_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			switch n := n.(type) {
			case *hclsyntax.ForExpr, *hclsyntax.SplatExpr:
				loops++
			case *hclsyntax.LiteralValueExpr:
				huge = huge || sizeOf(n.Val) > maxValue
			}
			return nil
		})
	} else {
		source := text[min(r.Start.Byte, len(text)):min(r.End.Byte, len(text))]
		loops = len(loopsInText().FindAllIndex(source, -1))
		huge = hasHugeNumber(source)
	}
	return r.End.Byte-r.Start.Byte > maxSource || loops > 1 || huge
}

// hasHugeNumber reports whether a JSON value has a number, or an expression with one, whose text could be of any length.
func hasHugeNumber(source []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(source))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		switch t := token.(type) {
		case string:
			if hugeInText().MatchString(t) {
				return true
			}
		case json.Number:
			if _, err := t.Float64(); err != nil {
				return true
			}
			if _, exponent, ok := strings.Cut(strings.ToLower(t.String()), "e-"); ok && len(strings.TrimLeft(exponent, "0")) > 3 {
				return true
			}
		}
	}
}

// sizeOf returns the size of a value in about bytes.
func sizeOf(v cty.Value) int {
	v, _ = v.UnmarkDeep()
	switch {
	case v.IsNull() || !v.IsKnown():
		return 1
	case v.Type() == cty.String:
		return 1 + len(v.AsString())
	case v.Type() == cty.Number:
		if exponent := v.AsBigFloat().MantExp(nil); max(exponent, -exponent) > maxExponent {
			return maxValue + 1 // its text could be of any length
		}
		return 8
	case !v.CanIterateElements():
		return 8
	}
	size := 1
	for it := v.ElementIterator(); it.Next() && size <= maxValue; {
		k, item := it.Element()
		size += sizeOf(k) + sizeOf(item)
	}
	return size
}

// leaf returns the text of a single value. ok is false for null, and for a value that is no text, number or bool.
func (e *evaluator) leaf(v cty.Value) (text string, ok bool) {
	v, marks := v.UnmarkDeep()
	if e.Strict && len(marks) > 0 {
		return e.Unknown(first(marks)), true
	}
	switch {
	case v.IsNull() || !v.IsKnown():
		return "", false
	case v.Type() == cty.String:
		return v.AsString(), true
	case v.Type() == cty.Bool:
		return strconv.FormatBool(v.True()), true
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('f', -1), true
	}
	return "", false
}

// first returns the first of the expressions that a value depends on.
func first(marks cty.ValueMarks) Expression {
	var out *Expression
	for m := range marks {
		if x, ok := m.(*Expression); ok && (out == nil || cmp.Or(cmp.Compare(x.Line, out.Line), cmp.Compare(x.Column, out.Column)) < 0) {
			out = x
		}
	}
	if out == nil {
		return Expression{}
	}
	return *out
}

func (e *evaluator) string(x hcl.Expression) string {
	text, _ := e.leaf(e.value(x))
	return text
}

// list evaluates a list item by item, so that one item that is not known leaves the others.
func (e *evaluator) list(x hcl.Expression) []string {
	items := []cty.Value{}
	if exprs, diags := hcl.ExprList(x); !diags.HasErrors() {
		for _, item := range exprs {
			items = append(items, e.value(item))
		}
	} else if v := e.value(x); !v.IsNull() {
		plain, marks := v.Unmark()
		items = append(items, v)
		if plain.IsKnown() && plain.CanIterateElements() {
			items = items[:0]
			for _, item := range plain.AsValueSlice() {
				items = append(items, item.WithMarks(marks))
			}
		}
	}
	out := []string{}
	for _, item := range items {
		if text, ok := e.leaf(item); ok && text != "" {
			out = append(out, text)
		}
	}
	return out
}

// mapping evaluates a map key by key. Keys with the value null are left out, as if they were not there.
func (e *evaluator) mapping(x hcl.Expression) map[string]string {
	out := map[string]string{}
	add := func(k, v cty.Value) {
		if key, ok := e.leaf(k); ok {
			if text, ok := e.leaf(v); ok {
				out[key] = text
			}
		}
	}
	if pairs, diags := hcl.ExprMap(x); !diags.HasErrors() {
		for _, p := range pairs {
			key, _ := p.Key.Value(e.context)
			add(key, e.value(p.Value))
		}
		return out
	}
	v, marks := e.value(x).Unmark()
	if !v.IsNull() && (v.Type().IsObjectType() || v.Type().IsMapType()) {
		for key, item := range v.AsValueMap() {
			add(cty.StringVal(key), item.WithMarks(marks))
		}
	}
	return out
}
