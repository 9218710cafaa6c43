package discover

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
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
		env := s.dotEnv(path.Dir(file), run.env)
		for _, service := range buildfile.Compose(root, s.marks.options(env)) {
			if len(run.services) == 0 || slices.Contains(run.services, service.Name) {
				out = append(out, s.service(run, file, service))
			}
		}
	}
	return out
}

// service returns the build of a service.
func (s *scanner) service(run composeRun, file string, of buildfile.Service) *build {
	b := &build{
		by: run.by + ", service " + of.Name, place: run.place, pushes: run.push, target: of.Target, platforms: of.Platforms, tags: of.Tags,
		args: of.Args, contexts: of.Contexts,
	}
	if b.place.File == "" {
		b.place = Place{file, of.Line}
	} else {
		b.notes = []string{"described at " + Place{file, of.Line}.String()}
	}
	b.locate(path.Dir(file), orDot(of.Context), "")
	if of.Dockerfile != "" {
		b.dockerfile = inside(b.context, of.Dockerfile)
	}
	return b
}

// dotEnv adds the variables of the file .env beside a compose file.
func (s *scanner) dotEnv(dir string, env func(string) (string, bool)) func(string) (string, bool) {
	vars := map[string]string{}
	if file := path.Join(dir, ".env"); s.has(file) {
		vars = buildfile.DotEnv(string(s.read(file, maxFileBytes)), s.marks.add)
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
