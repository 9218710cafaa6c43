package discover

import (
	"path"
	"strings"
)

// makefile is the part of a makefile that matters: variables and rules.
type makefile struct {
	vars  map[string]string
	rules map[string]*rule
	order []string

	expansions int // so far
}

const maxExpansions = 50_000 // of variables in one makefile

type rule struct {
	needs  []string
	recipe []recipeLine
}

type recipeLine struct {
	text string
	line int
}

const maxRules = 2000

// parseMakefile reads a makefile. Conditions and functions of make are not evaluated.
func parseMakefile(text string) *makefile {
	m := &makefile{vars: map[string]string{}, rules: map[string]*rule{}}
	var current []*rule
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		number, line := i+1, strings.TrimSuffix(lines[i], "\r")
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			next := strings.TrimSuffix(lines[i], "\r")
			line += "\n" + next
		}
		if strings.HasPrefix(line, "\t") {
			for _, r := range current {
				r.recipe = append(r.recipe, recipeLine{strings.TrimLeft(line, "\t@-+ "), number})
			}
			continue
		}
		line = strings.ReplaceAll(line, "\\\n", " ")
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))
		if name, op, v, ok := makeAssignment(line); ok {
			if _, set := m.vars[name]; op == "+" {
				m.vars[name] = strings.TrimSpace(m.vars[name] + " " + v)
			} else if op != "?" || !set {
				m.vars[name] = v
			}
			continue
		}
		if targets, needs, ok := strings.Cut(line, ":"); ok && targets != "" && len(m.rules) < maxRules {
			current = nil
			for _, t := range strings.Fields(targets) {
				if m.rules[t] == nil {
					m.rules[t], m.order = &rule{}, append(m.order, t)
				}
				r := m.rules[t]
				r.needs = append(r.needs, strings.Fields(strings.ReplaceAll(needs, "|", " "))...)
				current = append(current, r)
			}
		}
	}
	return m
}

func makeAssignment(line string) (name, op, value string, ok bool) {
	i := strings.IndexByte(line, '=')
	if i <= 0 {
		return "", "", "", false
	}
	left := line[:i]
	for _, suffix := range []string{":::", "::", ":", "?", "+", "!"} {
		if trimmed, found := strings.CutSuffix(left, suffix); found {
			left, op = trimmed, suffix[:1]
			break
		}
	}
	name = strings.TrimSpace(left)
	if name == "" || strings.ContainsAny(name, " \t:") {
		return "", "", "", false
	}
	return name, op, strings.TrimSpace(line[i+1:]), true
}

// expand replaces the variables in a text of a makefile.
func (m *makefile) expand(marks *marks, env func(string) (string, bool), auto map[string]string, text string, depth int) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if m.expansions++; !found || b.Len() > maxWord || m.expansions > maxExpansions {
			return limit(b.String())
		}
		if rest == "" {
			return b.String() + "$"
		}
		var name string
		switch rest[0] {
		case '$':
			b.WriteByte('$')
			text = rest[1:]
			continue
		case '(', '{':
			name, text = cutReference(rest)
		default:
			name, text = rest[:1], rest[1:]
		}
		v, ok := auto[name]
		if !ok {
			v, ok = env(name)
		}
		if !ok {
			if v, ok = m.vars[name]; ok && depth < 10 {
				v = m.expand(marks, env, auto, v, depth+1)
			} else {
				ok = false
			}
		}
		if !ok {
			v = marks.add("$(" + name + ")")
		}
		b.WriteString(v)
	}
}

// cutReference splits $(NAME) or ${NAME}, given from its bracket, at the end.
func cutReference(s string) (name, rest string) {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(', '{':
			depth++
		case ')', '}':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return s[1:], ""
}

// make reads the rules that a call of make runs.
func (m *images) make(c command, args []string) {
	if m.sh == nil || m.sh.calls >= maxScripts {
		return
	}
	dir, file := c.dir, ""
	given := map[string]string{}
	var targets []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case (a == "-C" || a == "--directory" || a == "-f" || a == "--file") && i+1 < len(args):
			i++
			if a == "-C" || a == "--directory" {
				dir = inside(dir, args[i])
			} else {
				file = args[i]
			}
		case strings.HasPrefix(a, "-"):
		case strings.Contains(a, "="):
			name, v, _ := strings.Cut(a, "=")
			given[name] = v
		default:
			targets = append(targets, a)
		}
	}
	if file = m.makefileIn(dir, file); file == "" {
		return
	}
	text := m.scan.read(file, maxFileBytes)
	if text == nil {
		return
	}
	c.dir = dir
	mk := parseMakefile(string(text))
	if len(targets) == 0 && len(mk.order) > 0 {
		for _, t := range mk.order {
			if !strings.HasPrefix(t, ".") {
				targets = []string{t}
				break
			}
		}
	}
	env := func(name string) (string, bool) {
		if v, ok := given[name]; ok {
			return v, true
		}
		if _, set := mk.vars[name]; set { // of the makefile, unless ?= left it to the environment
			return "", false
		}
		v, ok := m.sh.vars[name]
		return v, ok
	}
	m.nested(c, file, func(sh *shell) {
		done := map[string]bool{}
		for _, t := range targets {
			m.rule(sh, mk, env, t, done)
		}
	})
}

func (m *images) makefileIn(dir, file string) string {
	names := []string{"GNUmakefile", "makefile", "Makefile"}
	if file != "" {
		names = []string{file}
	}
	for _, n := range names {
		if p := path.Join(dir, n); m.scan.has(p) {
			return p
		}
	}
	return ""
}

func (m *images) rule(sh *shell, mk *makefile, env func(string) (string, bool), target string, done map[string]bool) {
	r, stem := mk.rules[target], ""
	if r == nil {
		for _, name := range mk.order {
			prefix, suffix, pattern := strings.Cut(name, "%")
			if pattern && len(target) > len(prefix)+len(suffix) && strings.HasPrefix(target, prefix) && strings.HasSuffix(target, suffix) {
				r, stem = mk.rules[name], target[len(prefix):len(target)-len(suffix)]
				break
			}
		}
	}
	if r == nil || done[target] || len(done) > maxLoop || mk.expansions > maxExpansions {
		return
	}
	done[target] = true
	auto := map[string]string{"@": target, "*": stem, "MAKE": "make"}
	for _, need := range r.needs {
		need = strings.Replace(need, "%", stem, 1) // as make does
		for _, n := range strings.Fields(mk.expand(m.scan.marks, env, auto, need, 0)) {
			m.rule(sh, mk, env, n, done)
		}
	}
	for _, l := range r.recipe {
		text := mk.expand(m.scan.marks, env, auto, l.text, 0)
		dir := sh.dir
		sh.line = l.line - 1
		m.scan.script(sh, m.file, text)
		sh.dir = dir // each line has a shell of its own
	}
}
