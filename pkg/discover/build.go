package discover

import (
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// build is a build that a file describes. Its texts may hold marks.
type build struct {
	by         string // what describes it: an action or a command
	place      Place
	context    string // folder in the repository
	dockerfile string // path in the repository; "" for a build without one
	target     string
	args       map[string]string
	contexts   map[string]string
	platforms  []string
	tags       []string // references that it is pushed as, or its local names
	pushes     bool
	notes      []string // what a person should know
	guesses    []string // what was assumed
	workflow   string   // file in .github/workflows
	job        string   // of GitLab

	described *described // the target or service that it is made from; nil if there is none
}

// locate sets context and Dockerfile from the texts of a build: paths are seen from dir, and a Dockerfile that is not named is in the
// context.
func (b *build) locate(dir, context, file string) {
	switch {
	case strings.Contains(context, "://") || strings.HasPrefix(context, "git@"):
		b.context = context
		b.guesses = append(b.guesses, "the context is a URL")
		b.dockerfile = context
		return
	case context == "-":
		b.context = dir
	default:
		b.context = inside(dir, context)
	}
	if file == "" || file == "-" {
		b.dockerfile = path.Join(b.context, "Dockerfile")
		return
	}
	b.dockerfile = inside(dir, file)
}

// flags are the flags and operands of a command.
type flags struct {
	values   map[string][]string // without the dashes
	operands []string
}

// parseFlags splits arguments. Flags in switches take no value.
func parseFlags(args []string, switches ...string) flags {
	f := flags{values: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "-" || !strings.HasPrefix(a, "-") {
			f.operands = append(f.operands, a)
			continue
		}
		name := strings.TrimLeft(a, "-")
		if name, v, ok := strings.Cut(name, "="); ok {
			f.values[name] = append(f.values[name], v)
			continue
		}
		if slices.Contains(switches, name) || i+1 == len(args) {
			f.values[name] = append(f.values[name], "true")
			continue
		}
		i++
		f.values[name] = append(f.values[name], args[i])
	}
	return f
}

// all returns the values of a flag under any of its names.
func (f flags) all(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, f.values[n]...)
	}
	return out
}

// last returns the value of a flag that counts.
func (f flags) last(names ...string) string {
	if all := f.all(names...); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

func (f flags) on(names ...string) bool {
	v := f.last(names...)
	return v != "" && v != "false"
}

// assignments returns NAME=VALUE pairs; values comes from the environment where a pair has none.
func assignments(list []string, env func(name string) (string, bool)) map[string]string {
	out := map[string]string{}
	for _, item := range list {
		name, v, ok := strings.Cut(item, "=")
		if !ok {
			if v, ok = env(name); !ok {
				continue
			}
		}
		out[name] = v
	}
	return out
}

// platformList splits the values of --platform.
func platformList(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, list(v)...)
	}
	return out
}

// exporter reads the values of --output: whether it pushes, and the names in it.
func exporter(outputs []string) (pushes bool, names []string) {
	for _, o := range outputs {
		kind, push := "", ""
		for _, field := range csvFields(o) {
			key, v, _ := strings.Cut(field, "=")
			switch key {
			case "type":
				kind = v
			case "push", "push-by-digest":
				push += v
			case "name":
				names = append(names, strings.Split(v, ",")...)
			}
		}
		if kind == "registry" || kind == "image" && strings.Contains(push, "true") {
			pushes = true
		}
	}
	return pushes, names
}

// csvFields splits a line as encoding/csv does: a field in quotes may hold commas.
func csvFields(line string) []string {
	return splitCSV(strings.TrimSpace(line))
}

// image splits a reference into registry, repository and tag. ok is false if registry or repository are not known or not valid.
func image(ref string) (registry, repository, tag string, ok bool) {
	ref = strings.TrimPrefix(strings.TrimSpace(ref), "docker://")
	name, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	if !known(name) || name == "" {
		return "", "", tag, false
	}
	named, err := reference.ParseNormalizedNamed(strings.ToLower(name))
	if err != nil {
		return "", "", tag, false
	}
	registry, repository = hostname.Repository(reference.Domain(named), reference.Path(named))
	return registry, repository, tag, true
}

// nameOf returns the name of a reference without its tag, as it is written.
func nameOf(ref string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(ref), "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}
