package discover

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

const (
	maxBake        = 128 << 10 // bytes of a file
	maxTargets     = 500
	maxBakeNesting = 100 // of expressions
)

// bakeTarget is a target of a bake file. Its texts may hold marks.
type bakeTarget struct {
	line                        int
	inherits                    []string
	context, dockerfile, target string
	args, contexts              map[string]string
	platforms, tags, output     []string
}

// bakeFile is the targets and groups of a bake file, with its variables replaced.
type bakeFile struct {
	targets map[string]*bakeTarget
	groups  map[string][]string
}

// parseBake reads a bake file in HCL or JSON. Variables have the values of env, else their defaults, else a mark.
func parseBake(name string, text []byte, env func(string) (string, bool), m *marks) (*bakeFile, error) {
	if len(text) > maxBake {
		return nil, errors.New("bake file larger than 128 KiB")
	}
	if path.Ext(name) == ".json" {
		return parseBakeJSON(text, env, m)
	}
	if tooDeep(text, name) {
		return nil, fmt.Errorf("nested more than %d levels deep", maxBakeNesting)
	}
	f, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, fmt.Errorf("invalid HCL: %s", diags[0].Summary)
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil, errors.New("invalid HCL")
	}
	ev := &bakeEval{marks: m, text: text, context: &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: bakeFunctions()}}
	for _, b := range body.Blocks {
		if b.Type == "variable" && len(b.Labels) == 1 {
			ev.variable(b, env)
		}
	}
	for _, a := range body.Attributes {
		ev.context.Variables[a.Name] = ev.value(a.Expr)
	}
	out := &bakeFile{targets: map[string]*bakeTarget{}, groups: map[string][]string{}}
	for _, b := range body.Blocks {
		switch {
		case len(b.Labels) != 1:
		case b.Type == "group":
			if a := b.Body.Attributes["targets"]; a != nil {
				out.groups[b.Labels[0]] = ev.list(a.Expr)
			}
		case b.Type == "target":
			ev.targets(b, out)
		}
	}
	return out, nil
}

// tooDeep reports whether the expressions or blocks of a file are inside each other so deep that its parser, which is recursive, could
// exhaust the stack.
func tooDeep(text []byte, name string) bool {
	tokens, _ := hclsyntax.LexConfig(text, name, hcl.InitialPos)
	depth, prefixes := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc,
			hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc,
			hclsyntax.TokenTemplateSeqEnd:
			depth--
		}
		if prefixes++; t.Type != hclsyntax.TokenBang && t.Type != hclsyntax.TokenMinus {
			prefixes = 0
		}
		if depth > maxBakeNesting || prefixes > maxNesting {
			return true
		}
	}
	return false
}

// bakeFunctions are the functions that names of images are made with. A call of any other makes a mark.
func bakeFunctions() map[string]function.Function {
	all := map[string]function.Function{
		"lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "replace": stdlib.ReplaceFunc, "format": stdlib.FormatFunc, "join": stdlib.JoinFunc,
		"concat": stdlib.ConcatFunc, "split": stdlib.SplitFunc, "trimspace": stdlib.TrimSpaceFunc, "trimprefix": stdlib.TrimPrefixFunc,
		"trimsuffix": stdlib.TrimSuffixFunc, "substr": stdlib.SubstrFunc, "equal": stdlib.EqualFunc, "notequal": stdlib.NotEqualFunc,
		"coalesce": stdlib.CoalesceFunc, "element": stdlib.ElementFunc, "length": stdlib.LengthFunc, "flatten": stdlib.FlattenFunc, "and": stdlib.AndFunc, "or": stdlib.OrFunc, "not": stdlib.NotFunc,
	}
	for name, f := range all {
		all[name] = bounded(f)
	}
	return all
}

const (
	maxArguments = 1 << 10 // bytes of the arguments of a function: what it returns cannot grow without end
	maxValue     = 4 << 10 // bytes of the value of a variable
	maxSource    = 8 << 10 // bytes of an expression
)

var errTooLarge = errors.New("too large")

// bounded returns a function that refuses large arguments.
func bounded(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if sizeOf(cty.TupleVal(args)) > maxArguments {
				return cty.NilType, errTooLarge
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// sizeOf returns the size of a value in about bytes.
func sizeOf(v cty.Value) int {
	v, _ = v.UnmarkDeep()
	switch {
	case v.IsNull() || !v.IsKnown():
		return 1
	case v.Type() == cty.String:
		return 1 + len(v.AsString())
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

// isLarge reports whether the evaluation of an expression could take long.
func isLarge(x hclsyntax.Expression) bool {
	r, loops := x.Range(), 0
	_ = hclsyntax.VisitAll(x, func(n hclsyntax.Node) hcl.Diagnostics {
		switch n.(type) {
		case *hclsyntax.ForExpr, *hclsyntax.SplatExpr:
			loops++
		}
		return nil
	})
	return r.End.Byte-r.Start.Byte > maxSource || loops > 1
}

// bakeEval evaluates the expressions of a bake file.
type bakeEval struct {
	marks   *marks
	text    []byte
	context *hcl.EvalContext
}

func (e *bakeEval) variable(b *hclsyntax.Block, env func(string) (string, bool)) {
	name := b.Labels[0]
	if v, ok := env(name); ok {
		e.context.Variables[name] = cty.StringVal(v)
		return
	}
	a := b.Body.Attributes["default"]
	if a == nil {
		e.context.Variables[name] = cty.StringVal(e.marks.add("${" + name + "}"))
		return
	}
	v := e.value(a.Expr)
	if v.IsNull() {
		v = cty.StringVal(e.marks.add("${" + name + "}"))
	}
	e.context.Variables[name] = v
}

// value evaluates an expression; what cannot be evaluated is a mark.
func (e *bakeEval) value(x hclsyntax.Expression) cty.Value {
	v, diags := cty.DynamicVal, hcl.Diagnostics(nil)
	if !isLarge(x) {
		v, diags = x.Value(e.context)
	}
	if diags.HasErrors() || !v.IsWhollyKnown() || sizeOf(v) > maxValue {
		r := x.Range()
		return cty.StringVal(e.marks.add(strings.Join(strings.Fields(string(e.text[r.Start.Byte:min(r.End.Byte, r.Start.Byte+200)])), " ")))
	}
	return v
}

func ctyText(v cty.Value) (string, bool) {
	switch {
	case v.IsNull() || !v.IsKnown():
		return "", false
	case v.Type() == cty.String:
		return v.AsString(), true
	case v.Type() == cty.Bool:
		return strconv.FormatBool(v.True()), true
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('g', -1), true
	}
	return "", false
}

func (e *bakeEval) string(x hclsyntax.Expression) string {
	text, _ := ctyText(e.value(x))
	return text
}

// list evaluates a list item by item, so that one item that is not known leaves the others.
func (e *bakeEval) list(x hclsyntax.Expression) []string {
	if tuple, ok := x.(*hclsyntax.TupleConsExpr); ok {
		var out []string
		for _, item := range tuple.Exprs {
			if text := e.string(item); text != "" {
				out = append(out, text)
			}
		}
		return out
	}
	return ctyList(e.value(x))
}

func ctyList(v cty.Value) []string {
	if text, ok := ctyText(v); ok {
		return []string{text}
	}
	if v.IsNull() || !v.CanIterateElements() {
		return nil
	}
	var out []string
	for _, item := range v.AsValueSlice() {
		if text, ok := ctyText(item); ok && text != "" {
			out = append(out, text)
		}
	}
	return out
}

func (e *bakeEval) mapping(x hclsyntax.Expression) map[string]string {
	out := map[string]string{}
	object, ok := x.(*hclsyntax.ObjectConsExpr)
	if !ok {
		v := e.value(x)
		if !v.IsNull() && (v.Type().IsObjectType() || v.Type().IsMapType()) {
			for k, item := range v.AsValueMap() {
				if text, ok := ctyText(item); ok {
					out[k] = text
				}
			}
		}
		return out
	}
	for _, item := range object.Items {
		key, _ := item.KeyExpr.Value(e.context)
		if k, ok := ctyText(key); ok {
			if v := e.value(item.ValueExpr); !v.IsNull() {
				out[k], _ = ctyText(v)
			}
		}
	}
	return out
}

// targets adds the target of a block: one for each combination of its matrix.
func (e *bakeEval) targets(b *hclsyntax.Block, into *bakeFile) {
	label := b.Labels[0]
	combinations := []map[string]cty.Value{{}}
	if a := b.Body.Attributes["matrix"]; a != nil {
		combinations = e.matrix(a.Expr)
	}
	outer := e.context
	defer func() { e.context = outer }()
	var names []string
	for _, c := range combinations {
		if len(into.targets) >= maxTargets {
			return
		}
		e.context = outer.NewChild()
		e.context.Variables = c
		name := label
		if a := b.Body.Attributes["name"]; a != nil {
			name = e.string(a.Expr)
		}
		names = append(names, name)
		into.targets[name] = e.target(b)
	}
	if b.Body.Attributes["matrix"] != nil {
		into.groups[label] = names
	}
}

func (e *bakeEval) matrix(x hclsyntax.Expression) []map[string]cty.Value {
	out := []map[string]cty.Value{{}}
	v := e.value(x)
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return out
	}
	axes := v.AsValueMap()
	for _, key := range slices.Sorted(maps.Keys(axes)) {
		if axes[key].IsNull() || !axes[key].CanIterateElements() {
			continue
		}
		out = multiplied(out, key, axes[key].AsValueSlice())
	}
	return out
}

func (e *bakeEval) target(b *hclsyntax.Block) *bakeTarget {
	t := &bakeTarget{line: b.TypeRange.Start.Line}
	texts := map[string]*string{"context": &t.context, "dockerfile": &t.dockerfile, "target": &t.target}
	lists := map[string]*[]string{"inherits": &t.inherits, "platforms": &t.platforms, "tags": &t.tags, "output": &t.output}
	for name, a := range b.Body.Attributes {
		if into := texts[name]; into != nil {
			*into = e.string(a.Expr)
		}
		if into := lists[name]; into != nil {
			*into = e.list(a.Expr)
		}
		switch name {
		case "args":
			t.args = e.mapping(a.Expr)
		case "contexts":
			t.contexts = e.mapping(a.Expr)
		case "dockerfile-inline":
			t.dockerfile = e.marks.add("dockerfile-inline")
		}
	}
	return t
}

// parseBakeJSON reads a bake file in JSON, in which a value is text with ${NAME} in it.
func parseBakeJSON(text []byte, env func(string) (string, bool), m *marks) (*bakeFile, error) {
	var file struct {
		Variable map[string]struct {
			Default any `json:"default"`
		} `json:"variable"`
		Group map[string]struct {
			Targets []string `json:"targets"`
		} `json:"group"`
		Target map[string]struct {
			Inherits   []string          `json:"inherits"`
			Context    string            `json:"context"`
			Dockerfile string            `json:"dockerfile"`
			Inline     string            `json:"dockerfile-inline"`
			Target     string            `json:"target"`
			Args       map[string]any    `json:"args"`
			Contexts   map[string]string `json:"contexts"`
			Platforms  []string          `json:"platforms"`
			Tags       []string          `json:"tags"`
			Output     any               `json:"output"`
		} `json:"target"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, errors.New("invalid JSON, or not a bake file")
	}
	lookup := func(name string) (string, bool) {
		if v, ok := env(name); ok {
			return v, true
		}
		if v, ok := file.Variable[name]; ok && v.Default != nil {
			return asText(v.Default), true
		}
		return "", false
	}
	fill := func(s string) string { return substitute(s, lookup, m) }
	fillAll := func(list []string) []string {
		var out []string
		for _, s := range list {
			out = append(out, fill(s))
		}
		return out
	}
	out := &bakeFile{targets: map[string]*bakeTarget{}, groups: map[string][]string{}}
	for name, g := range file.Group {
		out.groups[name] = g.Targets
	}
	for _, name := range slices.Sorted(maps.Keys(file.Target)) {
		if len(out.targets) >= maxTargets {
			break
		}
		j := file.Target[name]
		t := &bakeTarget{
			inherits: j.Inherits, context: fill(j.Context), dockerfile: fill(j.Dockerfile), target: fill(j.Target), platforms: fillAll(j.Platforms), tags: fillAll(j.Tags),
			args: map[string]string{}, contexts: map[string]string{}, line: 1 + strings.Count(before(string(text), `"`+name+`"`), "\n"),
		}
		if j.Inline != "" {
			t.dockerfile = m.add("dockerfile-inline")
		}
		for k, v := range j.Args {
			if v != nil {
				t.args[k] = fill(asText(v))
			}
		}
		for k, v := range j.Contexts {
			t.contexts[k] = fill(v)
		}
		if list, ok := j.Output.([]any); ok {
			for _, o := range list {
				t.output = append(t.output, fill(asText(o)))
			}
		}
		out.targets[name] = t
	}
	return out, nil
}

func before(text, sep string) string {
	head, _, found := strings.Cut(text, sep)
	if !found {
		return ""
	}
	return head
}

// merged returns a target with what it inherits.
func (f *bakeFile) merged(name string, depth int) *bakeTarget {
	t := f.targets[name]
	if t == nil || depth > 10 {
		return nil
	}
	out := &bakeTarget{args: map[string]string{}, contexts: map[string]string{}}
	for _, from := range t.inherits[:min(len(t.inherits), 10)] {
		if base := f.merged(from, depth+1); base != nil {
			out.override(base)
		}
	}
	out.override(t)
	out.line = t.line
	return out
}

func (t *bakeTarget) override(by *bakeTarget) {
	for _, p := range [][2]*string{{&t.context, &by.context}, {&t.dockerfile, &by.dockerfile}, {&t.target, &by.target}} {
		if *p[1] != "" {
			*p[0] = *p[1]
		}
	}
	for _, p := range [][2]*[]string{{&t.platforms, &by.platforms}, {&t.tags, &by.tags}, {&t.output, &by.output}} {
		if len(*p[1]) > 0 {
			*p[0] = slices.Clone(*p[1])
		}
	}
	maps.Copy(t.args, by.args)
	maps.Copy(t.contexts, by.contexts)
}

// names returns the targets that are built for names of targets and groups.
func (f *bakeFile) names(wanted []string) []string {
	if len(wanted) == 0 {
		wanted = []string{"default"}
	}
	var out []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if f.targets[name] != nil && f.groups[name] == nil {
			out = append(out, name)
		}
		for _, member := range f.groups[name] {
			visit(member)
		}
	}
	for _, name := range wanted {
		visit(name)
	}
	return out
}

// bakeRun is how a bake file is used.
type bakeRun struct {
	by        string
	place     Place
	dir       string
	files     []string
	wanted    []string // targets and groups
	overrides []string // TARGET.KEY=VALUE
	push      bool
	env       func(string) (string, bool)
}

// bakeDefaults are the files that are read when none is given, the first that exist of each kind, in the order of buildx.
var bakeDefaults = []string{"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"}

// bake returns the builds of a bake file.
func (s *scanner) bake(run bakeRun) []*build {
	files := run.files
	if len(files) == 0 {
		for _, f := range bakeDefaults {
			if s.has(inside(run.dir, f)) {
				files = append(files, f)
			}
		}
		if len(files) == 0 {
			return s.composeBuilds(composeRun{by: run.by, dir: run.dir, services: run.wanted, push: run.push, env: run.env})
		}
	}
	all := &bakeFile{targets: map[string]*bakeTarget{}, groups: map[string][]string{}}
	where := map[string]string{}
	for _, name := range files {
		file := inside(run.dir, name)
		if !s.has(file) {
			continue
		}
		if ext := path.Ext(file); ext == ".yml" || ext == ".yaml" {
			return s.composeBuilds(composeRun{by: run.by, dir: run.dir, files: files, services: run.wanted, push: run.push, env: run.env})
		}
		text := s.read(file, maxBake)
		if text == nil {
			continue
		}
		f, err := parseBake(file, text, run.env, s.marks)
		if err != nil {
			s.problem(Place{File: file}, err.Error())
			continue
		}
		for name, t := range f.targets {
			if old := all.targets[name]; old != nil {
				t.inherits = append(old.inherits, t.inherits...)
				merged := &bakeTarget{args: map[string]string{}, contexts: map[string]string{}}
				merged.override(old)
				merged.override(t)
				merged.inherits, merged.line, t = t.inherits, old.line, merged
			} else {
				where[name] = file
			}
			all.targets[name] = t
		}
		maps.Copy(all.groups, f.groups)
	}
	var out []*build
	for _, name := range all.names(run.wanted) {
		t := all.merged(name, 0)
		push := run.push
		push = t.set(name, run.overrides) || push
		pushes, names := exporter(t.output)
		b := &build{
			by: run.by + ", target " + s.marks.show(name), place: run.place, target: t.target, args: t.args, contexts: t.contexts,
			platforms: t.platforms, tags: append(slices.Clone(t.tags), names...), pushes: push || pushes,
		}
		b.notes = []string{"described at " + Place{where[name], t.line}.String()}
		b.locate(run.dir, orDot(t.context), "")
		if t.dockerfile != "" { // seen from the context
			b.dockerfile = inside(b.context, t.dockerfile)
		}
		out = append(out, b)
	}
	return out
}

// set applies overrides such as *.platform=linux/arm64, and reports whether one of them pushes.
func (t *bakeTarget) set(name string, overrides []string) (pushes bool) {
	fresh := map[string]bool{}
	for _, o := range overrides {
		key, v, _ := strings.Cut(o, "=")
		pattern, key, ok := strings.Cut(key, ".")
		if match, err := path.Match(pattern, name); !ok || err != nil || !match {
			continue
		}
		key, appends := strings.CutSuffix(key, "+")
		lists := map[string]*[]string{"tags": &t.tags, "platform": &t.platforms, "platforms": &t.platforms, "output": &t.output}
		switch arg, isArg := strings.CutPrefix(key, "args."); {
		case isArg:
			t.args[arg] = v
		case key == "context":
			t.context = v
		case key == "dockerfile":
			t.dockerfile = v
		case key == "target":
			t.target = v
		case key == "push":
			pushes = pushes || v == "true"
		case lists[key] != nil:
			if !fresh[key] && !appends {
				*lists[key] = nil
			}
			fresh[key] = true
			if key == "output" {
				*lists[key] = append(*lists[key], v)
			} else {
				*lists[key] = append(*lists[key], splitCSV(v)...)
			}
		}
	}
	return pushes
}

// bakeCommand reads docker buildx bake.
func (m *images) bakeCommand(c command, args []string) {
	f := parseFlags(args, switches...)
	run := bakeRun{
		by: "docker buildx bake", place: m.at(c), dir: c.dir, files: f.all("f", "file"), wanted: f.operands, overrides: f.all("set"),
		push: f.on("push"), env: m.lookup(c),
	}
	for _, b := range m.scan.bake(run) {
		m.add(c, b)
	}
}

// bakeAction reads docker/bake-action.
func (r *steps) bakeAction(place Place, name string, in func(...string) string) {
	run := bakeRun{
		by: name, place: place, dir: inside(".", orDot(in("workdir"))), files: list(in("files")), wanted: list(in("targets")), overrides: lines(in("set")),
		push: strings.EqualFold(in("push"), "true"), env: r.images.env,
	}
	guess := ""
	if push := in("push"); !known(push) {
		run.push, guess = true, "it pushes if "+r.workflowRun.scan.marks.show(push)
	}
	run.files = slices.DeleteFunc(run.files, func(f string) bool { // the output of docker/metadata-action is a bake file outside of the repository
		return strings.HasPrefix(f, "cwd://") || !known(f)
	})
	for _, b := range r.workflowRun.scan.bake(run) {
		if guess != "" {
			b.guesses = append(b.guesses, guess)
		}
		r.builds = append(r.builds, b)
	}
}
