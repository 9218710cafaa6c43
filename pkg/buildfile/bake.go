package buildfile

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// Limits of what a file holds.
const (
	MaxBake         = 128 << 10 // bytes of a bake file
	maxTargets      = 500
	maxNesting      = 100 // of expressions and blocks
	maxPrefixes     = 50  // operators such as !, one after the other
	maxCombinations = 256 // of a matrix
)

// Target is a target of a bake file.
type Target struct {
	Line, Column int
	Inherits     []string

	Context, Dockerfile, Target string
	Inline                      bool // the Dockerfile is in the bake file itself
	Args, Contexts              map[string]string
	Platforms, Tags, Output     []string

	places map[string]hcl.Range // of the attributes that are set
}

// Bake is a bake file: its targets and groups, with its variables replaced.
type Bake struct {
	Targets map[string]*Target
	Groups  map[string][]string
}

// ParseBake reads a bake file, which is in JSON if its name ends in .json. The error is an [*Error].
func ParseBake(name string, text []byte, o Options) (*Bake, error) {
	body, err := parseBody(name, text)
	if err != nil {
		return nil, err
	}
	content, rest, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "variable", LabelNames: []string{"name"}}, {Type: "function", LabelNames: []string{"name"}},
		{Type: "group", LabelNames: []string{"name"}}, {Type: "target", LabelNames: []string{"name"}},
	}})
	e := newEvaluator(text, o)
	e.attributes, _ = rest.JustAttributes()
	for _, b := range content.Blocks {
		switch b.Type {
		case "variable":
			e.variables[b.Labels[0]] = b
		case "function":
			e.function(b)
		}
	}
	e.resolveAll()
	out := &Bake{Targets: map[string]*Target{}, Groups: map[string][]string{}}
	for _, b := range content.Blocks {
		attributes, _ := b.Body.JustAttributes()
		switch b.Type {
		case "group":
			if a := attributes["targets"]; a != nil {
				out.Groups[b.Labels[0]] = append(out.Groups[b.Labels[0]], e.list(a.Expr)...)
			}
		case "target":
			e.targets(b, attributes, out)
		}
	}
	return out, nil
}

func parseBody(name string, text []byte) (hcl.Body, error) {
	refuse := func(r *hcl.Range, format string, args ...any) error {
		err := &Error{File: name, Message: fmt.Sprintf(format, args...)}
		if r != nil {
			err.Line, err.Column = r.Start.Line, r.Start.Column
		}
		return err
	}
	isJSON := path.Ext(name) == ".json"
	switch {
	case len(text) > MaxBake:
		return nil, refuse(nil, "bake file larger than %d KiB", MaxBake>>10)
	case isJSON && tooDeepJSON(text), !isJSON && tooDeep(text, name):
		return nil, refuse(nil, "nested more than %d levels deep", maxNesting)
	}
	var f *hcl.File
	var diags hcl.Diagnostics
	if isJSON {
		f, diags = hcljson.Parse(text, name)
	} else {
		f, diags = hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	}
	switch {
	case diags.HasErrors() && isJSON:
		return nil, refuse(diags[0].Subject, "invalid JSON, or not a bake file")
	case diags.HasErrors():
		return nil, refuse(diags[0].Subject, "invalid HCL: %s", diags[0].Summary)
	}
	return f.Body, nil
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
		if depth > maxNesting || prefixes > maxPrefixes {
			return true
		}
	}
	return false
}

// tooDeepJSON is tooDeep for JSON, whose strings hold expressions. It counts brackets inside and outside of strings alike.
func tooDeepJSON(text []byte) bool {
	depth, prefixes := 0, 0
	for _, c := range text {
		switch c {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
		}
		if prefixes++; c != '!' && c != '-' {
			prefixes = 0
		}
		if depth > maxNesting || prefixes > maxPrefixes {
			return true
		}
	}
	return false
}

// targets adds the target of a block: one for each combination of its matrix.
func (e *evaluator) targets(b *hcl.Block, attributes hcl.Attributes, into *Bake) {
	label := b.Labels[0]
	combinations := []map[string]cty.Value{{}}
	if a := attributes["matrix"]; a != nil {
		combinations = e.matrix(a.Expr)
	}
	outer := e.context
	defer func() { e.context = outer }()
	var names []string
	for _, c := range combinations {
		if len(into.Targets) >= maxTargets {
			return
		}
		e.context = outer.NewChild()
		e.context.Variables = c
		name := label
		if a := attributes["name"]; a != nil {
			name = e.string(a.Expr)
		}
		names = append(names, name)
		t := e.target(b, attributes)
		if first := into.Targets[name]; first != nil {
			t = first.Merged(t)
		}
		into.Targets[name] = t
	}
	if attributes["matrix"] != nil {
		into.Groups[label] = names
	}
}

func (e *evaluator) matrix(x hcl.Expression) []map[string]cty.Value {
	out := []map[string]cty.Value{{}}
	v, _ := e.value(x).Unmark()
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return out
	}
	axes := v.AsValueMap()
	for _, key := range slices.Sorted(maps.Keys(axes)) {
		axis, marks := axes[key].Unmark()
		if axis.IsNull() || !axis.CanIterateElements() {
			continue
		}
		var next []map[string]cty.Value
		for _, item := range axis.AsValueSlice() {
			for _, c := range out {
				if len(next) >= maxCombinations {
					break
				}
				combination := maps.Clone(c)
				combination[key] = item.WithMarks(marks)
				next = append(next, combination)
			}
		}
		out = next
	}
	return out
}

func (e *evaluator) target(b *hcl.Block, attributes hcl.Attributes) *Target {
	t := &Target{Line: b.DefRange.Start.Line, Column: b.DefRange.Start.Column, places: map[string]hcl.Range{}}
	texts := map[string]*string{"context": &t.Context, "dockerfile": &t.Dockerfile, "target": &t.Target}
	lists := map[string]*[]string{"inherits": &t.Inherits, "platforms": &t.Platforms, "tags": &t.Tags, "output": &t.Output}
	for name, a := range attributes {
		if into := texts[name]; into != nil {
			text, set := e.leaf(e.value(a.Expr))
			if !set { // null is as good as no attribute
				continue
			}
			*into = text
		}
		t.places[name] = a.Expr.Range()
		if into := lists[name]; into != nil {
			*into = e.list(a.Expr)
		}
		switch name {
		case "args":
			t.Args = e.mapping(a.Expr)
		case "contexts":
			t.Contexts = e.mapping(a.Expr)
		case "dockerfile-inline":
			t.Inline = true
		}
	}
	return t
}

// Resolve returns a target with what it inherits, or nil if there is no such target. As for buildx, a target inherits from each
// other only once, and one that inherits from itself is no error.
func (f *Bake) Resolve(name string) *Target { return f.resolve(name, map[string]*Target{}) }

func (f *Bake) resolve(name string, seen map[string]*Target) *Target {
	if t, ok := seen[name]; ok {
		return t
	}
	seen[name] = nil
	t := f.Targets[name]
	if t == nil {
		return nil
	}
	out := &Target{}
	for _, from := range t.Inherits {
		if base := f.resolve(from, seen); base != nil {
			out = out.Merged(base)
		}
	}
	out = out.Merged(t)
	out.Line, out.Column, out.Inherits = t.Line, t.Column, nil
	seen[name] = out
	return out
}

// Merged returns the target with the attributes that by sets. Arguments and contexts are merged by name.
func (t *Target) Merged(by *Target) *Target {
	out := *t
	for name, p := range map[string][2]*string{
		"context": {&out.Context, &by.Context}, "dockerfile": {&out.Dockerfile, &by.Dockerfile}, "target": {&out.Target, &by.Target},
	} {
		if _, set := by.places[name]; set {
			*p[0] = *p[1]
		}
	}
	for _, p := range [][2]*[]string{{&out.Platforms, &by.Platforms}, {&out.Tags, &by.Tags}, {&out.Output, &by.Output}} {
		if *p[1] != nil {
			*p[0] = slices.Clone(*p[1])
		}
	}
	out.Inline = t.Inline || by.Inline
	out.Inherits = slices.Concat(t.Inherits, by.Inherits)
	out.Args, out.Contexts, out.places = merged(t.Args, by.Args), merged(t.Contexts, by.Contexts), merged(t.places, by.places)
	return &out
}

func merged[V any](a, b map[string]V) map[string]V {
	out := make(map[string]V, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// Add merges the targets and groups of another file into f. Those of the other file take precedence.
func (f *Bake) Add(other *Bake) {
	for name, t := range other.Targets {
		if first := f.Targets[name]; first != nil {
			line, column := first.Line, first.Column
			t = first.Merged(t)
			t.Line, t.Column = line, column
		}
		f.Targets[name] = t
	}
	maps.Copy(f.Groups, other.Groups)
}

// Names returns the targets that are built for names of targets and groups; without names, those of the group or target default.
func (f *Bake) Names(wanted []string) []string {
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
		members, isGroup := f.Groups[name]
		if f.Targets[name] != nil && (!isGroup || slices.Contains(members, name)) { // a member with the name of the group is the target
			out = append(out, name)
		}
		for _, member := range members {
			visit(member)
		}
	}
	for _, name := range wanted {
		visit(name)
	}
	return out
}
