package discover

import (
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// images collects the builds of a job, and connects builds with the pushes behind them.
type images struct {
	scan    *scanner
	file    string // that the commands are in
	builds  []*build
	aliases map[string]string // a local name, and the one that it was tagged from
	pushed  map[string]bool   // local names; false if only under a condition
	env     func(name string) (string, bool)
	sh      *shell // for scripts and makefiles that the commands run
}

// switches are the flags of docker build, podman build and buildah build without a value.
var switches = []string{
	"push", "load", "no-cache", "pull", "quiet", "q", "rm", "force-rm", "squash", "compress", "check", "debug", "D", "layers", "all-tags", "a",
	"tls-verify", "squash-all", "disable-compression", "print", "with-dependencies", "no-deps", "parallel", "include-deps", "ignore-push-failures",
	"remove-signatures", "all", "disable-content-trust",
}

// command takes a command of a script.
func (m *images) command(c command) {
	name := path.Base(c.args[0])
	args := c.args[1:]
	switch name {
	case "docker", "podman", "nerdctl":
		m.docker(c, name, dropGlobal(args))
	case "docker-compose", "podman-compose":
		m.compose(c, args)
	case "docker-buildx", "buildx":
		m.docker(c, "docker", append([]string{"buildx"}, args...))
	case "buildah":
		m.docker(c, name, dropGlobal(args))
	case "executor", "kaniko":
		m.kaniko(c, args)
	case "ko":
		m.ko(c, args)
	case "make", "gmake":
		m.make(c, args)
	case "bash", "sh", "source", ".":
		m.subscript(c, args)
	default:
		if strings.HasSuffix(name, ".sh") || strings.HasPrefix(c.args[0], "./") {
			m.subscript(c, c.args)
		}
	}
}

// dropGlobal removes flags before the first operand, such as --context NAME.
func dropGlobal(args []string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if skip := !strings.Contains(args[0], "=") && slices.Contains([]string{"--context", "-c", "-H", "--host", "--log-level", "-l", "--config", "--storage-driver", "--root"}, args[0]); skip && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	return args
}

func (m *images) docker(c command, tool string, args []string) {
	if len(args) == 0 {
		return
	}
	if args[0] == "image" || args[0] == "builder" || args[0] == "buildx" || args[0] == "manifest" {
		group := args[0]
		args = args[1:]
		if len(args) == 0 {
			return
		}
		if group == "buildx" {
			tool = "docker buildx"
			args = dropGlobal(args)
		}
		if group == "manifest" && args[0] != "push" || len(args) == 0 {
			return
		}
	}
	switch args[0] {
	case "build", "bud", "b":
		m.build(c, tool+" "+args[0], args[1:])
	case "bake":
		m.bakeCommand(c, args[1:])
	case "compose":
		m.compose(c, args[1:])
	case "tag":
		if f := parseFlags(args[1:], switches...); len(f.operands) == 2 {
			m.aliases[f.operands[1]] = f.operands[0]
		}
	case "push":
		f := parseFlags(args[1:], switches...)
		switch {
		case len(f.operands) == 0:
		case len(f.operands) > 1: // podman push IMAGE DESTINATION
			to := strings.TrimPrefix(f.operands[1], "docker://")
			m.aliases[to] = f.operands[0]
			m.push(c, to)
		default:
			m.push(c, f.operands[0])
		}
	case "imagetools":
		if f := parseFlags(args[1:], switches...); len(f.operands) > 1 && f.operands[0] == "create" {
			for _, to := range f.all("t", "tag") {
				m.aliases[to] = f.operands[1]
				m.push(c, to)
			}
		}
	}
}

func (m *images) at(c command) Place { return Place{m.file, c.line} }

func (m *images) push(c command, ref string) { m.pushed[ref] = m.pushed[ref] || !c.conditional }

// lookup finds a variable in the environment of a command.
func (m *images) lookup(c command) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, vars := range []map[string]string{c.env, c.vars} {
			if v, ok := vars[name]; ok {
				return v, true
			}
		}
		return m.env(name)
	}
}

func (m *images) build(c command, by string, args []string) {
	f := parseFlags(args, switches...)
	b := &build{by: by, place: m.at(c), target: f.last("target"), platforms: platformList(f.all("platform"))}
	context := "."
	if len(f.operands) > 0 {
		context = f.operands[len(f.operands)-1]
	}
	b.locate(c.dir, context, f.last("f", "file"))
	b.args = assignments(f.all("build-arg"), m.lookup(c))
	b.contexts = assignments(f.all("build-context"), m.lookup(c))
	b.tags = f.all("t", "tag")
	pushes, names := exporter(f.all("o", "output"))
	b.pushes, b.tags = pushes || f.on("push"), append(b.tags, names...)
	m.add(c, b)
}

func (m *images) add(c command, b *build) {
	if c.conditional {
		b.guesses = append(b.guesses, "the command runs under a condition")
	}
	m.builds = append(m.builds, b)
}

// kanikoSwitches are the flags of Kaniko's executor without a value.
var kanikoSwitches = []string{
	"cache", "no-push", "no-push-cache", "cleanup", "force", "reproducible", "single-snapshot", "skip-tls-verify", "skip-tls-verify-pull", "insecure",
	"insecure-pull", "skip-unused-stages", "use-new-run", "ignore-var-run", "log-timestamp", "cache-copy-layers", "cache-run-layers", "compressed-caching",
	"skip-push-permission-check", "git-recurse-submodules", "preserve-context",
}

func (m *images) kaniko(c command, args []string) {
	f := parseFlags(args, kanikoSwitches...)
	if len(f.all("destination", "d", "context", "c", "dockerfile", "f")) == 0 {
		return
	}
	b := &build{by: "Kaniko", place: m.at(c), target: f.last("target"), platforms: platformList(f.all("custom-platform", "customPlatform"))}
	context := strings.TrimPrefix(f.last("context", "c"), "dir://")
	if context == "" {
		context = "."
	}
	b.locate(c.dir, context, "")
	if sub := f.last("context-sub-path"); sub != "" {
		b.locate(b.context, sub, "")
	}
	if file := f.last("dockerfile", "f"); file != "" {
		if b.dockerfile = inside(c.dir, file); !m.scan.has(b.dockerfile) && m.scan.has(inside(b.context, file)) {
			b.dockerfile = inside(b.context, file) // Kaniko looks in both
		}
	}
	b.args = assignments(f.all("build-arg"), m.lookup(c))
	b.tags = f.all("destination", "d")
	b.pushes = len(b.tags) > 0 && !f.on("no-push")
	m.add(c, b)
}

func (m *images) ko(c command, args []string) {
	if len(args) == 0 || args[0] != "build" && args[0] != "publish" {
		return
	}
	b := &build{by: "ko", place: m.at(c), pushes: true}
	if repo, ok := m.lookup(c)("KO_DOCKER_REPO"); ok {
		b.tags = []string{repo}
	}
	m.add(c, b)
}

// maxScripts is how many scripts and makefiles are read inside each other.
const maxScripts = 3

// subscript reads a script of the repository that a command runs.
func (m *images) subscript(c command, args []string) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if args[0] == "-c" {
			return
		}
		args = args[1:]
	}
	if len(args) == 0 || m.sh == nil || m.sh.calls >= maxScripts {
		return
	}
	file := inside(c.dir, args[0])
	if !m.scan.has(file) {
		return
	}
	text := m.scan.read(file, maxScript)
	if text == nil || isBinary(text) || !isShell(file, text) {
		return
	}
	m.nested(c, file, func(sh *shell) {
		sh.params, sh.line = args[1:], 0
		m.scan.script(sh, file, string(text))
	})
}

// nested reads commands of another file with the variables of the command that runs it.
func (m *images) nested(c command, file string, read func(sh *shell)) {
	inner := *m.sh
	inner.vars = map[string]string{}
	maps.Copy(inner.vars, m.sh.vars)
	maps.Copy(inner.vars, c.env)
	inner.dir, inner.calls, inner.funcs = c.dir, m.sh.calls+1, map[string]*syntax.Stmt{}
	if c.conditional {
		inner.branches++
	}
	outer, outerFile := m.sh, m.file
	m.sh, m.file = &inner, file
	read(&inner)
	m.sh, m.file = outer, outerFile
}

func isBinary(text []byte) bool { return slices.Contains(text, 0) }

func isShell(file string, text []byte) bool {
	first, _, _ := strings.Cut(string(text), "\n")
	if strings.HasPrefix(first, "#!") {
		return strings.Contains(first, "sh")
	}
	return strings.HasSuffix(file, ".sh") || strings.HasSuffix(file, ".bash")
}

// finish returns the builds of a job. A build that something pushes later is pushed as that.
func (m *images) finish() []*build {
	for _, ref := range slices.Sorted(maps.Keys(m.pushed)) {
		for _, b := range m.builds {
			if m.isFrom(ref, b) {
				b.pushes = true
				if !m.pushed[ref] {
					b.guesses = appendNew(b.guesses, "the push runs under a condition")
				}
				if !slices.Contains(b.tags, ref) {
					b.tags = append(b.tags, ref)
				}
			}
		}
	}
	for _, b := range m.builds {
		if b.pushes && len(b.tags) > 1 { // the local name is not pushed
			if _, direct := m.pushed[b.tags[0]]; !direct && m.renamed(b) {
				b.tags = slices.DeleteFunc(b.tags, func(t string) bool { _, ok := m.pushed[t]; return !ok })
			}
		}
		b.tags = unique(b.tags)
	}
	return m.builds
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		out = appendNew(out, s)
	}
	return out
}

// renamed reports whether a build is pushed by push commands alone.
func (m *images) renamed(b *build) bool {
	return slices.ContainsFunc(b.tags, func(t string) bool { _, ok := m.pushed[t]; return ok })
}

// isFrom reports whether a pushed name is one of a build, directly or through docker tag.
func (m *images) isFrom(ref string, b *build) bool {
	for range 5 {
		for _, t := range b.tags {
			if t == ref || nameOf(t) == nameOf(ref) && nameOf(ref) != "" {
				return true
			}
		}
		next, ok := m.aliases[ref]
		if !ok {
			return false
		}
		ref = next
	}
	return false
}
