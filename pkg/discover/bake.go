package discover

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
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
	all := &buildfile.Bake{Targets: map[string]*buildfile.Target{}, Groups: map[string][]string{}}
	where := map[string]string{}
	for _, name := range files {
		file := inside(run.dir, name)
		if !s.has(file) {
			continue
		}
		if ext := path.Ext(file); ext == ".yml" || ext == ".yaml" {
			return s.composeBuilds(composeRun{by: run.by, dir: run.dir, files: files, services: run.wanted, push: run.push, env: run.env})
		}
		text := s.read(file, buildfile.MaxBake)
		if text == nil {
			continue
		}
		f, err := buildfile.ParseBake(file, text, s.marks.options(run.env))
		if err != nil {
			s.problem(bakeProblem(file, err))
			continue
		}
		for name := range f.Targets {
			if all.Targets[name] == nil {
				where[name] = file
			}
		}
		all.Add(f)
	}
	var out []*build
	for _, name := range all.Names(run.wanted) {
		t := all.Resolve(name)
		push := run.push
		push = set(t, name, run.overrides) || push
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
		out = append(out, b)
	}
	return out
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
func set(t *buildfile.Target, name string, overrides []string) (pushes bool) {
	fresh := map[string]bool{}
	for _, o := range overrides {
		key, v, _ := strings.Cut(o, "=")
		pattern, key, ok := strings.Cut(key, ".")
		if match, err := path.Match(pattern, name); !ok || err != nil || !match {
			continue
		}
		key, appends := strings.CutSuffix(key, "+")
		lists := map[string]*[]string{"tags": &t.Tags, "platform": &t.Platforms, "platforms": &t.Platforms, "output": &t.Output}
		switch arg, isArg := strings.CutPrefix(key, "args."); {
		case isArg:
			t.Args[arg] = v
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
