package buildfile

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

// MaxCompose is the largest size of a Compose file, in bytes.
const MaxCompose = 256 << 10

const (
	maxText       = 16 << 10 // bytes of a value, after substitution
	maxReferences = 20       // to variables, in a default
)

// Service is the build of a service of a Compose file.
type Service struct {
	Name         string
	Line, Column int

	Context, Dockerfile, Target string
	Inline                      bool // the Dockerfile is in the Compose file itself
	Args, Contexts              map[string]string
	Platforms, Tags             []string

	places map[string]*yaml.Node
}

// Compose returns the services of a Compose file that are built, in its order. A variable without a value and without a default is
// unknown.
func Compose(root *yaml.Node, o Options) []Service {
	c := composer{o}
	var out []Service
	for _, p := range yamlnode.Pairs(yamlnode.Get(root, "services")) {
		if spec := yamlnode.Get(p.Value, "build"); spec != nil {
			out = append(out, c.service(p, spec))
		}
	}
	return out
}

type composer struct{ Options }

func (c *composer) service(p yamlnode.Pair, spec *yaml.Node) Service {
	s := Service{Name: p.Key.Value, Line: p.Key.Line, Column: p.Key.Column, places: map[string]*yaml.Node{}}
	if spec.Kind == yaml.ScalarNode {
		s.Context, s.places["context"] = c.text(spec), spec
	} else {
		for _, f := range yamlnode.Pairs(spec) {
			s.places[f.Key.Value] = f.Value
		}
		s.Context, s.Dockerfile, s.Target = c.text(s.places["context"]), c.text(s.places["dockerfile"]), c.text(s.places["target"])
		s.Platforms = c.texts(s.places["platforms"])
		s.Args, s.Contexts = c.mapping(s.places["args"]), c.mapping(s.places["additional_contexts"])
		s.Inline = s.places["dockerfile_inline"] != nil
	}
	if extends := yamlnode.Get(p.Value, "extends"); extends != nil {
		s.places["extends"] = extends
	}
	if on := yamlnode.Get(p.Value, "platform"); on != nil && len(s.Platforms) == 0 {
		s.Platforms, s.places["platforms"] = c.texts(on), on
	}
	if c.Strict { // how it is published does not matter
		return s
	}
	s.Tags = c.texts(s.places["tags"])
	if image := c.text(yamlnode.Get(p.Value, "image")); image != "" {
		s.Tags = append(s.Tags, image)
	}
	return s
}

func (c *composer) text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return Substitute(yamlnode.Scalar(n), c.env, c.at(n))
}

func (c *composer) texts(n *yaml.Node) []string {
	var out []string
	for _, item := range yamlnode.Items(n) {
		out = append(out, c.text(item))
	}
	return out
}

// at returns what stands for the unknown expressions of a value.
func (c *composer) at(n *yaml.Node) func(string) string {
	return func(text string) string {
		return c.Unknown(Expression{Text: text, Line: n.Line, Column: n.Column, Why: "the variable has no value and no default"})
	}
}

// mapping reads a mapping, or a list of NAME=VALUE. A name without a value has that of the environment.
func (c *composer) mapping(n *yaml.Node) map[string]string {
	if n == nil {
		return nil
	}
	out := map[string]string{}
	fromEnv := func(name string, at *yaml.Node) {
		if v, ok := c.env(name); ok {
			out[name] = v
		} else if c.Strict {
			out[name] = c.Unknown(Expression{Text: name, Line: at.Line, Column: at.Column, Why: "its value comes from the environment of the build"})
		}
	}
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			if name, v, ok := strings.Cut(c.text(item), "="); ok {
				out[name] = v
			} else {
				fromEnv(name, item)
			}
		}
		return out
	}
	for _, p := range yamlnode.Pairs(n) {
		if p.Value.Tag == "!!null" {
			fromEnv(p.Key.Value, p.Key)
			continue
		}
		out[p.Key.Value] = c.printed(p.Value)
	}
	return out
}

// printed returns the text of a value of a mapping. Compose prints what YAML reads: 1.20 is 1.2 unless it is quoted.
func (c *composer) printed(n *yaml.Node) string {
	var v any
	if err := n.Decode(&v); n.Kind == yaml.ScalarNode && err == nil {
		if _, isText := v.(string); !isText {
			return fmt.Sprint(v)
		}
	}
	return c.text(n)
}

// Substitute replaces $NAME, ${NAME} and ${NAME:-default} as Compose does; $$ is a dollar sign. unknown returns the text for what has
// no value.
func Substitute(s string, env func(string) (string, bool), unknown func(string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found || b.Len() > maxText {
			text := b.String()
			return text[:min(len(text), maxText)]
		}
		if after, escaped := strings.CutPrefix(rest, "$"); escaped {
			b.WriteByte('$')
			s = after
			continue
		}
		var name string
		if strings.HasPrefix(rest, "{") {
			name, s = cutBraces(rest)
		} else {
			n := strings.IndexFunc(rest, func(r rune) bool {
				return r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
			})
			if n < 0 {
				n = len(rest)
			}
			name, s = rest[:n], rest[n:]
		}
		b.WriteString(referred(name, env, unknown))
	}
}

// cutBraces splits {NAME} and a rest.
func cutBraces(s string) (name, rest string) {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return s[1:], ""
}

// referred returns the value of NAME, NAME:-default, NAME-default, NAME:+other, NAME+other, NAME:?message or NAME?message. A value that
// is empty counts as none where there is a colon.
func referred(reference string, env func(string) (string, bool), unknown func(string) string) string {
	name, op, other := reference, byte(0), ""
	v, ok := "", false
	if i := strings.IndexAny(reference, ":-?+"); i > 0 {
		name = reference[:i]
		rest, colon := strings.CutPrefix(reference[i:], ":")
		v, ok = env(name)
		ok = ok && (v != "" || !colon)
		if rest != "" {
			op, other = rest[0], rest[1:]
		}
	} else {
		v, ok = env(name)
	}
	if (op == '-' && !ok || op == '+' && ok) && strings.Count(other, "$") <= maxReferences {
		return Substitute(other, env, unknown)
	}
	if ok && op != '+' {
		return v
	}
	return unknown("${" + reference + "}")
}

// DotEnv returns the variables of a .env file. unknown returns the text for what has no value in one of them.
func DotEnv(text string, unknown func(string) string) map[string]string {
	vars := map[string]string{}
	env := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for line := range strings.Lines(text) {
		name, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, v = strings.TrimSpace(strings.TrimPrefix(name, "export ")), strings.TrimSpace(v)
		if plain, quoted := strings.CutPrefix(v, "'"); quoted {
			vars[name], _, _ = strings.Cut(plain, "'")
			continue
		}
		if plain, quoted := strings.CutPrefix(v, `"`); quoted {
			v, _, _ = strings.Cut(plain, `"`)
		} else {
			v, _, _ = strings.Cut(v, " #")
		}
		vars[name] = Substitute(strings.TrimSpace(v), env, unknown)
	}
	return vars
}
