package discover

import (
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// composeRun is how a compose file is used.
type composeRun struct {
	by       string
	place    Place
	dir      string
	files    []string
	services []string // all if empty
	push     bool
	env      func(string) (string, bool)
}

var composeDefaults = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

// composeBuilds returns the builds of a compose file.
func (s *scanner) composeBuilds(run composeRun) []*build {
	files := run.files
	if len(files) == 0 {
		for _, f := range composeDefaults {
			if s.has(inside(run.dir, f)) {
				files = []string{f}
				break
			}
		}
	}
	var out []*build
	for _, name := range files {
		file := inside(run.dir, name)
		if !s.has(file) {
			continue
		}
		root := s.yaml(file)
		for _, p := range pairs(get(root, "services")) {
			if at(p.value, "build") == nil || len(run.services) > 0 && !slices.Contains(run.services, p.key.Value) {
				continue
			}
			out = append(out, s.service(run, file, p))
		}
	}
	return out
}

// service returns the build of a service.
func (s *scanner) service(run composeRun, file string, p pair) *build {
	env := s.dotEnv(path.Dir(file), run.env)
	text := func(n *yaml.Node) string { return substitute(scalar(n), env, s.marks) }
	texts := func(n *yaml.Node) []string {
		var out []string
		for _, item := range items(n) {
			out = append(out, text(item))
		}
		return out
	}
	spec := get(p.value, "build")
	b := &build{by: run.by + ", service " + p.key.Value, place: run.place, pushes: run.push}
	if b.place.File == "" {
		b.place = Place{file, p.key.Line}
	} else {
		b.notes = []string{"described at " + Place{file, p.key.Line}.String()}
	}
	dir := path.Dir(file)
	if spec.Kind == yaml.ScalarNode {
		b.locate(dir, orDot(text(spec)), "")
	} else {
		b.locate(dir, orDot(text(get(spec, "context"))), "")
		if f := text(get(spec, "dockerfile")); f != "" {
			b.dockerfile = inside(b.context, f)
		}
		b.target = text(get(spec, "target"))
		b.platforms = texts(get(spec, "platforms"))
		b.tags = texts(get(spec, "tags"))
		b.args, b.contexts = s.mapping(get(spec, "args"), env), s.mapping(get(spec, "additional_contexts"), env)
	}
	if img := text(get(p.value, "image")); img != "" {
		b.tags = append(b.tags, img)
	}
	return b
}

// mapping reads a mapping, or a list of NAME=VALUE.
func (s *scanner) mapping(n *yaml.Node, env func(string) (string, bool)) map[string]string {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		var list []string
		for _, item := range n.Content {
			list = append(list, substitute(scalar(item), env, s.marks))
		}
		return assignments(list, env)
	}
	out := map[string]string{}
	for _, p := range pairs(n) {
		if p.value.Tag == "!!null" {
			if v, ok := env(p.key.Value); ok {
				out[p.key.Value] = v
			}
			continue
		}
		out[p.key.Value] = substitute(scalar(p.value), env, s.marks)
	}
	return out
}

// dotEnv adds the variables of the file .env beside a compose file.
func (s *scanner) dotEnv(dir string, env func(string) (string, bool)) func(string) (string, bool) {
	vars := map[string]string{}
	if file := path.Join(dir, ".env"); s.has(file) {
		for _, l := range lines(string(s.read(file, maxFileBytes))) {
			if name, v, ok := strings.Cut(l, "="); ok && !strings.HasPrefix(l, "#") {
				vars[strings.TrimSpace(strings.TrimPrefix(name, "export "))] = strings.Trim(strings.TrimSpace(v), `"'`)
			}
		}
	}
	return func(name string) (string, bool) {
		if env != nil {
			if v, ok := env(name); ok {
				return v, true
			}
		}
		v, ok := vars[name]
		return v, ok
	}
}

// substitute replaces $NAME, ${NAME} and ${NAME:-default} as compose files have them.
func substitute(s string, env func(string) (string, bool), m *marks) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found || b.Len() > maxWord {
			return limit(b.String())
		}
		if after, escaped := strings.CutPrefix(rest, "$"); escaped {
			b.WriteByte('$')
			s = after
			continue
		}
		var name string
		if strings.HasPrefix(rest, "{") {
			name, s = cutReference(rest)
		} else {
			n := strings.IndexFunc(rest, func(r rune) bool {
				return r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
			})
			if n < 0 {
				n = len(rest)
			}
			name, s = rest[:n], rest[n:]
		}
		b.WriteString(referred(name, env, m))
	}
}

// referred returns the value of NAME, NAME:-default or NAME-default.
func referred(name string, env func(string) (string, bool), m *marks) string {
	plain, def, hasDefault := name, "", false
	if i := strings.IndexAny(name, ":-?+"); i > 0 {
		plain = name[:i]
		op := strings.TrimPrefix(name[i:], ":")
		def, hasDefault = strings.CutPrefix(op, "-")
	}
	if v, ok := env(plain); ok && (v != "" || !hasDefault) {
		return v
	}
	if hasDefault && !strings.Contains(def, "$") {
		return def
	}
	return m.add("${" + name + "}")
}

// compose reads docker compose build and push.
func (m *images) compose(c command, args []string) {
	var files []string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		name, v, hasValue := strings.Cut(flag, "=")
		if args = args[1:]; !hasValue && len(args) > 0 && slices.Contains([]string{"-f", "--file", "-p", "--project-name", "--profile", "--env-file", "--project-directory"}, name) {
			v, args = args[0], args[1:]
		}
		if name == "-f" || name == "--file" {
			files = append(files, v)
		}
	}
	if len(args) == 0 || args[0] != "build" && args[0] != "push" {
		return
	}
	f := parseFlags(args[1:], switches...)
	run := composeRun{by: "docker compose", place: m.at(c), dir: c.dir, files: files, services: f.operands, env: m.lookup(c)}
	run.push = args[0] == "push" || f.on("push")
	for _, b := range m.scan.composeBuilds(run) {
		known := slices.IndexFunc(m.builds, func(o *build) bool { return o.by == b.by && o.dockerfile == b.dockerfile && maps.Equal(o.args, b.args) })
		if known >= 0 {
			m.builds[known].pushes = m.builds[known].pushes || b.pushes
			continue
		}
		m.add(c, b)
	}
}
