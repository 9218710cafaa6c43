package buildfile

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

const (
	maxLinks     = 50 // targets that are contexts of each other, and levels of them
	maxPlatforms = 64
	maxNames     = 10 // in an error
)

// Build is how a target or a service is built. Its paths are those in the repository.
type Build struct {
	Name                        string // of the target or service
	Line, Column                int
	Context, Dockerfile, Target string
	Args, Contexts              map[string]string
	Platforms                   []string // normalised
	// Missing are the arguments whose values the file does not determine.
	Missing map[string]Expression
	// Platform is the error of a platform that cannot be read; nil if there is none.
	Platform *Error
	// Links are the contexts that are other targets of the same file, by the name of the context.
	Links map[string]*Build
}

// BakeFile is a bake file whose targets are read as [BakeTarget] does.
type BakeFile struct {
	bake    *Bake
	reading reading
}

// ReadBake reads a bake file. The error is an [*Error].
func ReadBake(file string, text []byte) (*BakeFile, error) {
	r := &reading{file: file}
	f, err := ParseBake(file, text, Options{Unknown: r.unknown, Strict: true})
	if err != nil {
		return nil, err
	}
	return &BakeFile{f, *r}, nil
}

// BakeTarget returns how `docker buildx bake`, run in the folder dir of a repository, builds a target of a bake file. A group with one
// target stands for that target. The error is an [*Error].
func BakeTarget(file string, text []byte, dir, target string) (*Build, error) {
	f, err := ReadBake(file, text)
	if err != nil {
		return nil, err
	}
	return f.Build(dir, target)
}

// Build returns how a target is built, as [BakeTarget] does.
func (f *BakeFile) Build(dir, target string) (*Build, error) {
	r := f.reading
	names := f.bake.Names([]string{target})
	switch {
	case len(names) == 0:
		return nil, r.refuse(0, 0, "no target %q (targets: %s)", target, list(maps.Keys(f.bake.Targets)))
	case len(names) > 1:
		return nil, r.refuse(0, 0, "%q is a group of several targets: name one of them (%s)", target, shown(names))
	}
	return r.bake(f.bake, names[0], dir)
}

func list(names func(func(string) bool)) string {
	return shown(slices.Sorted(names))
}

// shown returns the names that are known, a limited number of them.
func shown(names []string) string {
	names = slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, markStart) })
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	return strings.Join(names, ", ")
}

// reading reads a file whose unknown expressions are numbered.
type reading struct {
	file    string
	missing []Expression
	links   int
}

const (
	markStart = "\x01"
	markEnd   = "\x02"
)

func (r *reading) unknown(x Expression) string {
	r.missing = append(r.missing, x)
	return markStart + strconv.Itoa(len(r.missing)-1) + markEnd
}

// in returns the first unknown expression in a text.
func (r *reading) in(text string) (Expression, bool) {
	_, rest, found := strings.Cut(text, markStart)
	number, _, _ := strings.Cut(rest, markEnd)
	if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(r.missing) {
		return r.missing[n], true
	}
	return Expression{Text: "a control character"}, found
}

func (r *reading) refuse(line, column int, format string, args ...any) *Error {
	return &Error{File: r.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
}

// known returns an error if a value cannot be evaluated.
func (r *reading) known(what, text string, fix string) error {
	x, missing := r.in(text)
	if !missing {
		return nil
	}
	return r.refuse(x.Line, x.Column, "%s cannot be evaluated: %s (%s)", what, x, fix)
}

// String returns the expression with the reason why it is unknown.
func (x Expression) String() string {
	if x.Why == "" {
		return x.Text
	}
	return x.Text + ": " + x.Why
}

// described is a target or a service, as it is written.
type described struct {
	kind, name                  string
	line, column                int
	context, dockerfile, target string
	args, contexts              map[string]string
	platforms                   []string
	link                        string // the scheme of a context that is another one
	place                       func(key string) (line, column int)
}

func (r *reading) bake(f *Bake, name, dir string) (*Build, error) {
	t := f.Resolve(name)
	if err := r.inherits(f, name, map[string]bool{}); err != nil {
		return nil, err
	}
	d := described{
		kind: "target", name: name, line: t.Line, column: t.Column, context: t.Context, dockerfile: t.Dockerfile, target: t.Target,
		args: t.Args, contexts: t.Contexts, platforms: t.Platforms, link: "target:",
		place: func(key string) (int, int) {
			if p, ok := t.places[key]; ok {
				return p.Start.Line, p.Start.Column
			}
			return t.Line, t.Column
		},
	}
	if t.Inline {
		line, column := d.place("dockerfile-inline")
		return nil, r.refuse(line, column, "the Dockerfile of target %q is in the bake file itself, which is not read (write it to a file)", name)
	}
	return r.build(d, dir, func(to string) (*Build, error) {
		if f.Targets[to] == nil {
			return nil, r.refuse(d.line, d.column, "context of target %q: no target %q", name, to)
		}
		return r.bake(f, to, dir)
	})
}

// inherits returns an error if a target inherits from one that cannot be found.
func (r *reading) inherits(f *Bake, name string, seen map[string]bool) error {
	if seen[name] {
		return nil
	}
	seen[name] = true
	t := f.Targets[name]
	for _, from := range t.Inherits {
		if err := r.known(fmt.Sprintf("a target that %q inherits from", name), from, "write its name"); err != nil {
			return err
		}
		if f.Targets[from] == nil {
			return r.refuse(t.Line, t.Column, "target %q inherits from %q, which is not a target of the file", name, from)
		}
		if err := r.inherits(f, from, seen); err != nil {
			return err
		}
	}
	return nil
}

// ComposeFile is a Compose file whose services are read as [ComposeService] does.
type ComposeFile struct {
	services *yaml.Node
	env      map[string]string
	reading  reading
}

// ComposeService returns how `docker compose build` builds a service of a Compose file. dotEnv is the text of the file .env beside it;
// usesEnv reports whether the result depends on that. The error is an [*Error].
func ComposeService(file string, text []byte, service string, dotEnv []byte) (b *Build, usesEnv bool, err error) {
	f, err := ReadCompose(file, text, dotEnv)
	if err != nil {
		return nil, false, err
	}
	return f.Build(service)
}

// Build returns how a service is built, as [ComposeService] does.
func (f *ComposeFile) Build(service string) (b *Build, usesEnv bool, err error) {
	env := func(name string) (string, bool) {
		usesEnv = true
		v, ok := f.env[name]
		return v, ok
	}
	r := f.reading
	b, err = r.service(f.services, service, Options{Env: env, Unknown: r.unknown, Strict: true})
	return b, usesEnv, err
}

// ReadCompose reads a Compose file. dotEnv is the text of the file .env beside it. The error is an [*Error].
func ReadCompose(file string, text, dotEnv []byte) (*ComposeFile, error) {
	r := &reading{file: file}
	env := DotEnv(string(dotEnv), func(text string) string {
		return r.unknown(Expression{Text: text, Why: "the variable has no value in the file .env"})
	})
	if len(text) > MaxCompose {
		return nil, r.refuse(0, 0, "Compose file larger than %d KiB", MaxCompose>>10)
	}
	if strings.ContainsAny(string(text), markStart+markEnd) {
		return nil, r.refuse(0, 0, "contains control characters")
	}
	root, line, err := yamlnode.Parse(text)
	if err != nil {
		return nil, r.refuse(line, 0, "%v", err)
	}
	if yamlnode.Documents(text) > 1 {
		return nil, r.refuse(0, 0, "has several documents, which are not merged (write one)")
	}
	return &ComposeFile{yamlnode.Get(root, "services"), env, *r}, nil
}

func (r *reading) service(services *yaml.Node, name string, o Options) (*Build, error) {
	pairs := yamlnode.Pairs(services)
	at := slices.IndexFunc(pairs, func(p yamlnode.Pair) bool { return p.Key.Value == name })
	if at < 0 {
		return nil, r.refuse(0, 0, "no service %q (services: %s)", name, list(func(yield func(string) bool) {
			for _, p := range pairs {
				if !yield(p.Key.Value) {
					return
				}
			}
		}))
	}
	p := pairs[at]
	spec := yamlnode.Get(p.Value, "build")
	if extends := yamlnode.Get(p.Value, "extends"); extends != nil {
		return nil, r.refuse(extends.Line, extends.Column, "service %q extends another one, which is not read (write its build out, or share it with a YAML anchor)", name)
	}
	if spec == nil || spec.Tag == "!!null" {
		return nil, r.refuse(p.Key.Line, p.Key.Column, "service %q is not built: it has no key build", name)
	}
	s := (&composer{o}).service(p, spec)
	d := described{
		kind: "service", name: name, line: s.Line, column: s.Column, context: s.Context, dockerfile: s.Dockerfile, target: s.Target,
		args: s.Args, contexts: s.Contexts, platforms: s.Platforms, link: "service:",
		place: func(key string) (int, int) {
			if n := s.places[key]; n != nil {
				return n.Line, n.Column
			}
			return s.Line, s.Column
		},
	}
	if s.Inline {
		line, column := d.place("dockerfile_inline")
		return nil, r.refuse(line, column, "the Dockerfile of service %q is in the Compose file itself, which is not read (write it to a file)", name)
	}
	return r.build(d, path.Dir(r.file), func(to string) (*Build, error) {
		return r.service(services, to, o)
	})
}

// build checks what is described, and finds its paths, seen from the folder dir. linked returns another target or service.
func (r *reading) build(d described, dir string, linked func(string) (*Build, error)) (*Build, error) {
	b := &Build{
		Name: d.name, Line: d.line, Column: d.column, Target: d.target, Args: map[string]string{}, Contexts: map[string]string{},
		Missing: map[string]Expression{}, Links: map[string]*Build{},
	}
	for _, f := range []struct{ key, text string }{{"context", d.context}, {"dockerfile", d.dockerfile}, {"target", d.target}} {
		if err := r.known(fmt.Sprintf("%s of %s %q", f.key, d.kind, d.name), f.text, "give the variable a default, or write the value"); err != nil {
			return nil, err
		}
	}
	if err := r.locate(b, d, dir); err != nil {
		return nil, err
	}
	for name, v := range d.args {
		if x, missing := r.in(v); missing {
			b.Missing[name] = x
		} else {
			b.Args[name] = v
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.contexts)) {
		v := d.contexts[name]
		what := fmt.Sprintf("context %q of %s %q", name, d.kind, d.name)
		if err := r.known(what, v, "give the variable a default, or write the value"); err != nil {
			return nil, err
		}
		if v == "" {
			continue
		}
		b.Contexts[name] = v
		if to, isLink := strings.CutPrefix(v, d.link); isLink {
			if r.links++; r.links > maxLinks {
				return nil, r.refuse(d.line, d.column, "%s: more than %d targets are contexts of each other, or one is a context of itself", what, maxLinks)
			}
			link, err := linked(to)
			if err != nil {
				return nil, err
			}
			b.Links[name] = link
		}
	}
	r.platforms(b, d)
	return b, nil
}

// locate sets the context and the Dockerfile.
func (r *reading) locate(b *Build, d described, dir string) error {
	context, remote := plainPath(d.context)
	line, column := d.place("context")
	switch {
	case remote:
		return r.refuse(line, column, "context of %s %q is %s, which is not read (enroll the image with the repository that its Dockerfile is in: source.repo and source.dockerfile)", d.kind, d.name, shortened(d.context))
	case context == "-":
		return r.refuse(line, column, "context of %s %q is read from standard input", d.kind, d.name)
	case path.IsAbs(context):
		return r.refuse(line, column, "context of %s %q is an absolute path (write it relative to the repository)", d.kind, d.name)
	}
	b.Context = path.Join(dir, context)
	line, column = d.place("dockerfile")
	file, remote := plainPath(d.dockerfile)
	switch {
	case remote || file == "-" || path.IsAbs(file):
		return r.refuse(line, column, "Dockerfile of %s %q is not in the repository: %s", d.kind, d.name, shortened(d.dockerfile))
	case strings.HasPrefix(d.dockerfile, "cwd://"):
		b.Dockerfile = path.Join(dir, file)
	case file == "":
		b.Dockerfile = path.Join(b.Context, "Dockerfile")
	default:
		b.Dockerfile = path.Join(b.Context, file)
	}
	if b.Dockerfile == ".." || strings.HasPrefix(b.Dockerfile, "../") {
		return r.refuse(line, column, "Dockerfile of %s %q is outside of the repository: %s", d.kind, d.name, shortened(b.Dockerfile))
	}
	return nil
}

// plainPath returns a path without the scheme cwd://, and reports whether it is an address instead.
func plainPath(text string) (string, bool) {
	text = strings.TrimPrefix(text, "cwd://")
	return text, strings.Contains(text, "://") || strings.HasPrefix(text, "git@") || strings.HasPrefix(text, "github.com/")
}

func shortened(text string) string {
	if len(text) > 100 {
		return strconv.Quote(text[:100]) + "…"
	}
	return strconv.Quote(text)
}

func (r *reading) platforms(b *Build, d described) {
	line, column := d.place("platforms")
	if len(d.platforms) > maxPlatforms {
		b.Platform = r.refuse(line, column, "%s %q has more than %d platforms", d.kind, d.name, maxPlatforms)
		return
	}
	for _, text := range d.platforms {
		if x, missing := r.in(text); missing {
			b.Platform = r.refuse(x.Line, x.Column, "platforms of %s %q cannot be evaluated: %s (set source.platforms)", d.kind, d.name, x)
			return
		}
		normal, ok := Platform(text)
		if !ok {
			b.Platform = r.refuse(line, column, "platform %s of %s %q does not say what is built (set source.platforms)", shortened(text), d.kind, d.name)
			return
		}
		if !slices.Contains(b.Platforms, normal) {
			b.Platforms = append(b.Platforms, normal)
		}
	}
}

// Platform returns a platform in its usual spelling. ok is false if the text does not say which platform is built, as local does not.
func Platform(text string) (normal string, ok bool) {
	p, err := platforms.Parse(text)
	if err != nil || text == "local" {
		return text, false
	}
	return platforms.FormatAll(platforms.Normalize(p)), true
}
