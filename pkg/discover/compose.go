package discover

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
)

// composeRun is how a compose file is used.
type composeRun struct {
	by       string
	place    Place
	dir      string
	base     string // folder that paths are relative to, and that has the file .env; "" for that of the compose file
	files    []string
	services []string // all if empty
	push     bool
	env      func(string) (string, bool)

	overrides []string // TARGET.KEY=VALUE, of buildx bake
	args      []string // NAME=VALUE, of docker compose
	why       string   // why an entry cannot name a service; "" if nothing is known that forbids it
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
	run.why = cmp.Or(run.why, s.furtherFiles(&run, files))
	var out []*build
	for _, name := range files {
		file := inside(run.dir, name)
		if !s.has(file) {
			continue
		}
		root := s.yaml(file)
		env := s.dotEnv(cmp.Or(run.base, path.Dir(file)), run.env)
		services := map[string]buildfile.Service{}
		all := buildfile.Compose(root, s.marks.options(env))
		for _, service := range all {
			services[service.Name] = service
		}
		resolve := func(name string) *build { return s.service(&run, file, services[name]) }
		var read func(name string) (*buildfile.Build, error)
		if run.why == "" {
			read = s.readCompose(file)
		}
		for _, service := range all {
			if len(run.services) > 0 && !slices.Contains(run.services, service.Name) {
				continue
			}
			b := resolve(service.Name)
			b.described = &described{file: file, name: service.Name, compose: &config.ComposeService{File: file, Service: service.Name}, why: run.why}
			if run.why == "" {
				s.compare(b, read, resolve)
			}
			out = append(out, b)
		}
	}
	return out
}

// composeOverrides are the files that docker compose reads too if none is given.
var composeOverrides = []string{"compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"}

// furtherFiles returns why the files together say something else than one of them alone; "" if there is one.
func (s *scanner) furtherFiles(run *composeRun, files []string) string {
	for _, name := range files {
		if !s.has(inside(run.dir, name)) {
			return notThere(s.marks.show(name))
		}
	}
	if len(run.files) == 0 {
		for _, name := range composeOverrides {
			if s.has(inside(run.dir, name)) {
				files = append(slices.Clone(files), name)
			}
		}
	}
	if len(files) > 1 {
		return "several files are used: " + strings.Join(files, ", ")
	}
	return ""
}

// readCompose returns how analyze reads the services of a compose file.
func (s *scanner) readCompose(file string) func(name string) (*buildfile.Build, error) {
	var dotEnv []byte
	if env := path.Join(path.Dir(file), ".env"); s.has(env) {
		dotEnv = s.read(env, maxFileBytes)
	}
	f, err := buildfile.ReadCompose(file, s.read(file, maxFileBytes), dotEnv)
	return func(name string) (*buildfile.Build, error) {
		if err != nil {
			return nil, err
		}
		b, _, err := f.Build(name)
		return b, err
	}
}

// service returns the build of a service.
func (s *scanner) service(run *composeRun, file string, of buildfile.Service) *build {
	t := &buildfile.Target{
		Context: of.Context, Dockerfile: of.Dockerfile, Target: of.Target, Args: maps.Clone(of.Args), Contexts: maps.Clone(of.Contexts),
		Platforms: of.Platforms, Tags: of.Tags,
	}
	if t.Args == nil {
		t.Args = map[string]string{}
	}
	if t.Contexts == nil {
		t.Contexts = map[string]string{}
	}
	push := set(t, of.Name, run.overrides, run.env) || run.push
	maps.Copy(t.Args, assignments(run.args, run.env))
	b := &build{
		by: run.by + ", service " + of.Name, place: run.place, pushes: push, target: t.Target, platforms: t.Platforms, tags: t.Tags,
		args: t.Args, contexts: t.Contexts,
	}
	if b.place.File == "" {
		b.place = Place{file, of.Line}
	} else {
		b.notes = []string{"described at " + Place{file, of.Line}.String()}
	}
	b.locate(cmp.Or(run.base, path.Dir(file)), orDot(t.Context), "")
	if t.Dockerfile != "" {
		b.dockerfile = inside(b.context, t.Dockerfile)
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
	base, why := "", ""
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		name, v, hasValue := strings.Cut(flag, "=")
		if args = args[1:]; !hasValue && len(args) > 0 && slices.Contains([]string{"-f", "--file", "-p", "--project-name", "--profile", "--env-file", "--project-directory"}, name) {
			v, args = args[0], args[1:]
		}
		switch name {
		case "-f", "--file":
			files = append(files, v)
		case "--project-directory":
			base = inside(c.dir, v)
		case "--env-file":
			why = "variables are read from " + m.scan.marks.show(v)
		}
	}
	if len(args) == 0 || args[0] != "build" && args[0] != "push" {
		return
	}
	f := parseFlags(args[1:], switches...)
	run := composeRun{
		by: "docker compose", place: m.at(c), dir: c.dir, base: base, files: files, services: f.operands, env: m.scan.ofRunner(m.lookup(c)), args: f.all("build-arg"), why: why,
	}
	run.push = args[0] == "push" || f.on("push")
	for _, b := range m.scan.composeBuilds(run) {
		known := slices.IndexFunc(m.builds, func(o *build) bool {
			return o.by == b.by && o.dockerfile == b.dockerfile && (args[0] == "push" || maps.Equal(o.args, b.args))
		})
		if known >= 0 {
			m.builds[known].pushes = m.builds[known].pushes || b.pushes
			continue
		}
		m.add(c, b)
	}
}
