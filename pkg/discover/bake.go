package discover

import (
	"cmp"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
)

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
	why       string // why an entry cannot name a target; "" if nothing is known that forbids it
}

// composeRun returns how compose files are used that are given instead of bake files.
func (r *bakeRun) composeRun() composeRun {
	return composeRun{
		by: r.by, place: r.place, dir: r.dir, base: r.dir, files: r.files, services: r.wanted, overrides: r.overrides, push: r.push, env: r.env, why: r.why,
	}
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
			return s.composeBuilds(run.composeRun())
		}
	}
	used := map[string][]byte{}
	all := &buildfile.Bake{Targets: map[string]*buildfile.Target{}, Groups: map[string][]string{}}
	where := map[string]string{}
	for _, name := range files {
		file := inside(run.dir, name)
		if !s.has(file) {
			run.why = cmp.Or(run.why, notThere(s.marks.show(name)))
			continue
		}
		ext := path.Ext(file)
		if ext == ".yml" || ext == ".yaml" {
			return s.composeBuilds(run.composeRun())
		}
		text := s.read(file, buildfile.MaxBake)
		if text == nil {
			run.why = cmp.Or(run.why, file+" is not read")
			continue
		}
		if ext != ".hcl" && ext != ".json" {
			run.why = cmp.Or(run.why, "the name of the file ends in neither .hcl nor .json")
		}
		used[file] = text
		f, err := buildfile.ParseBake(file, text, s.marks.options(run.env))
		if err != nil {
			s.problem(bakeProblem(file, err))
			run.why = cmp.Or(run.why, file+" is not read")
			continue
		}
		for name := range f.Targets {
			if all.Targets[name] == nil {
				where[name] = file
			}
		}
		all.Add(f)
	}
	if len(used) > 1 {
		run.why = cmp.Or(run.why, "several files are used: "+strings.Join(slices.Sorted(maps.Keys(used)), ", "))
	}
	resolve := func(name string) *build { return s.bakeBuild(&run, all, where, name) }
	var read func(name string) (*buildfile.Build, error)
	if run.why == "" {
		read = readBake(run.dir, used)
	}
	var out []*build
	for _, name := range all.Names(run.wanted) {
		b := resolve(name)
		b.described = &described{file: where[name], name: name, bake: &config.BakeTarget{File: where[name], Target: name}, why: run.why}
		if run.dir != "." {
			b.described.bake.Workdir = run.dir
		}
		if run.why == "" {
			s.compare(b, read, resolve)
		}
		out = append(out, b)
	}
	return out
}

func notThere(name string) string { return name + " is used too, and is not in the repository" }

// readBake returns how analyze reads the targets of a bake file.
func readBake(dir string, used map[string][]byte) func(name string) (*buildfile.Build, error) {
	var f *buildfile.BakeFile
	var err error
	for file, text := range used {
		f, err = buildfile.ReadBake(file, text)
	}
	return func(name string) (*buildfile.Build, error) {
		if err != nil {
			return nil, err
		}
		return f.Build(dir, name)
	}
}

// bakeBuild returns the build of a target.
func (s *scanner) bakeBuild(run *bakeRun, all *buildfile.Bake, where map[string]string, name string) *build {
	t := all.Resolve(name)
	if t == nil { // its name depends on the environment
		return &build{}
	}
	push := set(t, name, run.overrides, run.env) || run.push
	pushes, names := exporter(t.Output)
	b := &build{
		by: run.by + ", target " + s.marks.show(name), place: run.place, target: t.Target, args: t.Args, contexts: t.Contexts,
		platforms: t.Platforms, tags: append(slices.Clone(t.Tags), names...), pushes: push || pushes,
	}
	b.notes = []string{"described at " + Place{where[name], t.Line}.String()}
	b.locate(run.dir, orDot(t.Context), "")
	if t.Inline {
		t.Dockerfile = s.marks.add("dockerfile-inline")
	}
	if t.Dockerfile != "" { // seen from the context
		b.dockerfile = inside(b.context, t.Dockerfile)
	}
	return b
}

// bakeProblem returns the place and the text of an error of a bake file.
func bakeProblem(file string, err error) (Place, string) {
	var refused *buildfile.Error
	if errors.As(err, &refused) {
		return Place{file, refused.Line}, refused.Message
	}
	return Place{File: file}, err.Error()
}

// set applies overrides such as *.platform=linux/arm64, and reports whether one of them pushes.
func set(t *buildfile.Target, name string, overrides []string, env func(string) (string, bool)) (pushes bool) {
	fresh := map[string]bool{}
	for _, o := range overrides {
		key, v, hasValue := strings.Cut(o, "=")
		pattern, key, ok := strings.Cut(key, ".")
		if match, err := path.Match(pattern, name); !ok || err != nil || !match {
			continue
		}
		key, appends := strings.CutSuffix(key, "+")
		lists := map[string]*[]string{"tags": &t.Tags, "platform": &t.Platforms, "platforms": &t.Platforms, "output": &t.Output}
		switch arg, isArg := strings.CutPrefix(key, "args."); {
		case isArg && !hasValue:
			if v, ok := env(arg); ok {
				t.Args[arg] = v
			}
		case isArg:
			t.Args[arg] = v
		case strings.HasPrefix(key, "contexts."):
			t.Contexts[strings.TrimPrefix(key, "contexts.")] = v
		case key == "context":
			t.Context = v
		case key == "dockerfile":
			t.Dockerfile = v
		case key == "target":
			t.Target = v
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
		push: f.on("push"), env: withVars(m.scan.ofRunner(m.lookup(c)), f.all("var")),
	}
	if len(f.operands) > 0 && isRemote(f.operands[0]) {
		run.why = "the file is read from " + m.scan.marks.show(f.operands[0])
	}
	for _, b := range m.scan.bake(run) {
		m.add(c, b)
	}
}

// withVars returns an environment with variables that are given as NAME=VALUE.
func withVars(env func(string) (string, bool), list []string) func(string) (string, bool) {
	vars := assignments(list, env)
	return func(name string) (string, bool) {
		if v, ok := vars[name]; ok {
			return v, true
		}
		return env(name)
	}
}

// ofRunner returns an environment with the variables that the CI system sets, whose values are not known unless env has them.
func (s *scanner) ofRunner(env func(string) (string, bool)) func(string) (string, bool) {
	prefixes := []string{"GITHUB_", "RUNNER_"}
	if s.repo.Provider == config.GitLab {
		prefixes = []string{"CI_", "GITLAB_"}
	}
	return func(name string) (string, bool) {
		if v, ok := env(name); ok {
			return v, true
		}
		switch {
		case name == "CI":
			return "true", true
		case slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }):
			return s.marks.add("$" + name), true
		}
		return "", false
	}
}

// isRemote reports whether a place is an address of a repository.
func isRemote(place string) bool {
	return strings.Contains(place, "://") || strings.HasPrefix(place, "git@") || strings.HasPrefix(place, "github.com/")
}

// defaultContext is how inputs of Docker's actions name the repository of the workflow.
const defaultContext = "{{defaultContext}}"

// bakeAction reads docker/bake-action.
func (r *steps) bakeAction(place Place, name string, in func(...string) string) {
	run := bakeRun{
		by: name, place: place, dir: inside(".", orDot(in("workdir"))), files: list(in("files")), wanted: list(in("targets")), overrides: lines(in("set")),
		push: strings.EqualFold(in("push"), "true"), env: withVars(r.workflowRun.scan.ofRunner(r.images.env), lines(in("vars"))),
	}
	marks := r.workflowRun.scan.marks
	guess := ""
	if push := in("push"); !known(push) {
		run.push, guess = true, "it pushes if "+marks.show(push)
	}
	switch source := in("source"); {
	case strings.HasPrefix(source, defaultContext):
		run.dir = inside(".", orDot(strings.TrimPrefix(strings.TrimPrefix(source, defaultContext), ":")))
	case !known(source) || isRemote(source):
		run.why = "the file is read from " + marks.show(source)
	case source != "":
		run.dir = inside(".", source)
	}
	run.files = slices.DeleteFunc(run.files, func(f string) bool {
		if !strings.HasPrefix(f, "cwd://") && known(f) {
			return false
		}
		if text := marks.show(f); !strings.Contains(text, ".outputs.bake-file") { // of docker/metadata-action: tags and labels only
			run.why = cmp.Or(run.why, notThere(text))
		}
		return true
	})
	for _, b := range r.workflowRun.scan.bake(run) {
		if guess != "" {
			b.guesses = append(b.guesses, guess)
		}
		r.builds = append(r.builds, b)
	}
}
