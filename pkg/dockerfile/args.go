package dockerfile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// globals are the variables in scope of FROM instructions: the predefined ones
// and the ARGs before the first FROM.
type globals struct {
	lex     *shell.Lex
	values  map[string]string
	missing map[string][]string // unset variables that a value depends on
	// assumed holds the values as if every unset variable had one. It tells a
	// word that only lacks a value from an invalid one.
	assumed map[string]string
}

// Get implements [shell.EnvGetter].
func (g *globals) Get(name string) (string, bool) {
	v, ok := g.values[name]
	return v, ok
}

// Keys implements [shell.EnvGetter].
func (g *globals) Keys() []string { return slices.Sorted(maps.Keys(g.values)) }

// expansion is an expanded word.
type expansion struct {
	text    string
	missing []string // unset variables that left a gap, directly or through others, sorted
	unset   []string // unset variables in the word itself, sorted
	err     error
}

// newGlobals evaluates the ARGs before the first FROM.
func newGlobals(in *input, file *parsed) (*globals, error) {
	g := &globals{
		lex:     shell.NewLex(file.escape),
		values:  predefined(in, file),
		missing: map[string][]string{},
	}
	g.assumed = maps.Clone(g.values)
	for _, cmd := range file.args {
		for _, arg := range cmd.Args {
			given, ok := in.opts.BuildArgs[arg.Key]
			switch {
			case ok:
				g.set(arg.Key, given, given, nil)
			case arg.Value != nil:
				e := g.expand(*arg.Value)
				if e.err != nil {
					return nil, located(e.err, line(cmd.Location()))
				}
				assumed, err := g.assume(*arg.Value)
				if err != nil {
					assumed = e.text
				}
				missing := e.missing
				if e.text == "" && len(missing) == 0 {
					missing = e.unset
				}
				g.set(arg.Key, e.text, assumed, missing)
			}
		}
	}
	return g, nil
}

func (g *globals) set(name, value, assumed string, missing []string) {
	g.values[name] = value
	g.assumed[name] = assumed
	g.missing[name] = missing
}

// predefined returns the variables that BuildKit sets itself. A build
// argument overrides each of them without a declaration.
func predefined(in *input, file *parsed) map[string]string {
	bp, tp := in.buildPlatform, in.platform
	stage := cmp.Or(in.opts.Target, file.stages[len(file.stages)-1].Name, "default")
	vars := map[string]string{
		"BUILDPLATFORM":   platforms.Format(bp),
		"BUILDOS":         bp.OS,
		"BUILDOSVERSION":  bp.OSVersion,
		"BUILDARCH":       bp.Architecture,
		"BUILDVARIANT":    bp.Variant,
		"TARGETPLATFORM":  platforms.FormatAll(tp),
		"TARGETOS":        tp.OS,
		"TARGETOSVERSION": tp.OSVersion,
		"TARGETARCH":      tp.Architecture,
		"TARGETVARIANT":   tp.Variant,
		"TARGETSTAGE":     stage,
	}
	for name := range vars {
		if v, ok := in.opts.BuildArgs[name]; ok {
			vars[name] = v
		}
	}
	return vars
}

// expand expands a word as BuildKit does. It also returns the unset variables
// that the word depends on, directly or through ARGs.
func (g *globals) expand(word string) expansion {
	res, err := g.lex.ProcessWordWithMatches(word, g)
	e := expansion{text: res.Result, err: err, unset: slices.Sorted(maps.Keys(res.Unmatched))}
	for _, name := range e.unset {
		if leavesHole(word, name) {
			e.missing = append(e.missing, name)
		}
	}
	for name := range res.Matched {
		e.missing = append(e.missing, g.missing[name]...)
	}
	slices.Sort(e.missing)
	e.missing = slices.Compact(e.missing)
	return e
}

// assume expands a word as if every unset variable had a value.
func (g *globals) assume(word string) (string, error) {
	res, err := g.lex.ProcessWordWithMatches(word, assumption{g: g, word: word})
	return res.Result, err
}

// assumption gives an unset variable a value that is valid at its place.
type assumption struct {
	g    *globals
	word string
}

const anyHash = "0000000000000000000000000000000000000000000000000000000000000000"

// Get implements [shell.EnvGetter].
func (a assumption) Get(name string) (string, bool) {
	if v, ok := a.g.assumed[name]; ok {
		return v, true
	}
	follows := func(prefix string) bool {
		return strings.Contains(a.word, prefix+"$"+name) || strings.Contains(a.word, prefix+"${"+name)
	}
	switch {
	case follows("sha256:"):
		return anyHash, true
	case follows("@"):
		return "sha256:" + anyHash, true
	}
	return "1", true
}

// Keys implements [shell.EnvGetter].
func (a assumption) Keys() []string { return a.g.Keys() }

// variable matches the start of a variable and the modifier in braces:
// 1 is the brace, 2 the name, 3 the modifier.
var variable = lazy.Regexp(`\$(\{?)([\pL\pN_]+)(:?[-+]|[#%/]?)`)

// leavesHole reports whether a word uses an unset variable without a modifier
// that handles it: ${A:-x}, ${A-x}, ${A:+x}, ${A+x}.
func leavesHole(word, name string) bool {
	for _, m := range variable().FindAllStringSubmatch(word, -1) {
		handled := m[1] != "" && (strings.HasSuffix(m[3], "-") || strings.HasSuffix(m[3], "+"))
		if m[2] == name && !handled {
			return true
		}
	}
	return false
}
