package discover

import (
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// Bounds of what is read of scripts.
const (
	maxScript   = 64 << 10 // bytes
	maxCommands = 20_000   // and other statements, in one repository
	maxLoop     = 100      // turns of a loop
	maxCalls    = 4        // scripts and functions inside each other

	maxSubstitutions = 20       // inside each other
	maxWord          = 16 << 10 // bytes, after expansion
)

// command is a command of a script.
type command struct {
	args        []string // may hold marks
	dir         string   // working folder in the repository
	line        int      // in the script, from 1
	conditional bool     // inside of an if, a case, a loop that may not run, or behind && of a test
	env         map[string]string
	vars        map[string]string // of the shell: no difference is made between those that are exported and others
}

// shell reads scripts without running anything: it follows assignments, loops over literal words and functions, and goes both ways
// at a condition. What it does not know becomes a mark.
type shell struct {
	marks    *marks
	vars     map[string]string
	dir      string
	run      func(command)
	budget   *int // commands
	calls    int
	branches int
	funcs    map[string]*syntax.Stmt
	params   []string
	nested   int // substitutions
	line     int // of a script's first line in its file, less one
}

// newShell returns a shell. Its first line has the number line+1 in its file.
func (s *scanner) newShell(vars map[string]string, dir string, line int, run func(command)) *shell {
	return &shell{marks: s.marks, vars: vars, dir: dir, line: line, run: run, budget: &s.budget, funcs: map[string]*syntax.Stmt{}}
}

// script reads a script.
func (s *shell) script(text string) error {
	if len(text) > maxScript {
		return errors.New("script larger than 64 KiB")
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		var e syntax.ParseError
		if errors.As(err, &e) {
			return errors.New("invalid shell script: " + e.Text)
		}
		return errors.New("invalid shell script")
	}
	s.statements(file.Stmts)
	return nil
}

func (s *shell) statements(list []*syntax.Stmt) {
	for _, stmt := range list {
		s.statement(stmt)
	}
}

func (s *shell) statement(stmt *syntax.Stmt) {
	if stmt == nil || *s.budget <= 0 {
		return
	}
	*s.budget--
	switch cmd := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		s.call(cmd, stmt)
	case *syntax.DeclClause:
		for _, a := range cmd.Args {
			if a.Name != nil && (a.Value != nil || !a.Naked) {
				s.assign(a)
			}
		}
	case *syntax.Block:
		s.statements(cmd.Stmts)
	case *syntax.Subshell:
		inner := *s
		inner.vars = maps.Clone(s.vars)
		inner.statements(cmd.Stmts)
	case *syntax.BinaryCmd:
		if s.tee(cmd) {
			return
		}
		s.statement(cmd.X)
		if (cmd.Op == syntax.AndStmt && isTest(cmd.X)) || cmd.Op == syntax.OrStmt {
			s.either(func() { s.statement(cmd.Y) }, func() {})
		} else {
			s.statement(cmd.Y)
		}
	case *syntax.IfClause:
		s.ifClause(cmd)
	case *syntax.CaseClause:
		ways := []func(){func() {}}
		for _, item := range cmd.Items {
			ways = append(ways, func() { s.statements(item.Stmts) })
		}
		s.either(ways...)
	case *syntax.WhileClause:
		s.statements(cmd.Cond)
		s.either(func() { s.statements(cmd.Do) }, func() {})
	case *syntax.ForClause:
		s.forClause(cmd)
	case *syntax.FuncDecl:
		if cmd.Name != nil {
			s.funcs[cmd.Name.Value] = cmd.Body
		}
	case *syntax.TimeClause:
		s.statement(cmd.Stmt)
	}
}

func isTest(stmt *syntax.Stmt) bool {
	switch cmd := stmt.Cmd.(type) {
	case *syntax.TestClause:
		return true
	case *syntax.CallExpr:
		return len(cmd.Args) > 0 && (cmd.Args[0].Lit() == "[" || cmd.Args[0].Lit() == "test")
	case *syntax.BinaryCmd:
		return isTest(cmd.X) && isTest(cmd.Y)
	}
	return false
}

func (s *shell) ifClause(cmd *syntax.IfClause) {
	ways, hasElse := []func(){}, false
	for c := cmd; c != nil; c = c.Else {
		hasElse = len(c.Cond) == 0
		if !hasElse {
			s.statements(c.Cond)
		}
		ways = append(ways, func() { s.statements(c.Then) })
	}
	if !hasElse {
		ways = append(ways, func() {})
	}
	s.either(ways...)
}

// either goes several ways. A variable that has not the same value after each of them is not known any longer.
func (s *shell) either(ways ...func()) {
	before, dir := maps.Clone(s.vars), s.dir
	var after []map[string]string
	s.branches++
	for _, way := range ways {
		s.vars, s.dir = maps.Clone(before), dir
		way()
		after = append(after, s.vars)
	}
	s.branches--
	s.dir = dir
	merged := maps.Clone(before)
	for _, vars := range after {
		for name := range vars {
			merged[name] = ""
		}
	}
	for name := range merged {
		first, set := after[0][name]
		same := set
		for _, vars := range after[1:] {
			if v, ok := vars[name]; !ok || v != first {
				same = false
			}
		}
		if merged[name] = first; !same {
			merged[name] = s.marks.add("$" + name)
		}
	}
	s.vars = merged
}

func (s *shell) forClause(cmd *syntax.ForClause) {
	iter, ok := cmd.Loop.(*syntax.WordIter)
	if !ok || iter.Name == nil {
		s.either(func() { s.statements(cmd.Do) }, func() {})
		return
	}
	var values []string
	for _, w := range iter.Items {
		values = append(values, s.words(w)...)
	}
	for i, v := range values {
		if i >= maxLoop || *s.budget <= 0 {
			return
		}
		s.vars[iter.Name.Value] = v
		s.statements(cmd.Do)
	}
}

func (s *shell) assign(a *syntax.Assign) {
	switch {
	case a.Name == nil:
	case a.Index != nil || a.Append && a.Array != nil:
		s.vars[a.Name.Value] = s.marks.add("$" + a.Name.Value)
	case a.Array != nil:
		var all []string
		for _, e := range a.Array.Elems {
			all = append(all, s.words(e.Value)...)
		}
		s.vars[a.Name.Value] = strings.Join(all, " ")
	case a.Append:
		s.vars[a.Name.Value] = limit(s.vars[a.Name.Value] + s.word(a.Value))
	default:
		s.vars[a.Name.Value] = s.word(a.Value)
	}
}

func limit(text string) string { return text[:min(len(text), maxWord)] }

func (s *shell) call(cmd *syntax.CallExpr, stmt *syntax.Stmt) {
	if len(cmd.Args) == 0 {
		for _, a := range cmd.Assigns {
			s.assign(a)
		}
		return
	}
	var args []string
	for _, w := range cmd.Args {
		args = append(args, s.words(w)...)
	}
	if len(args) == 0 {
		return
	}
	env := map[string]string{}
	for _, a := range cmd.Assigns {
		if a.Name != nil && a.Value != nil {
			env[a.Name.Value] = s.word(a.Value)
		}
	}
	for len(args) > 1 && slices.Contains([]string{"sudo", "exec", "command", "time", "env", "nice", "retry"}, args[0]) {
		args = args[1:]
		for len(args) > 1 && strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "-") {
			name, v, _ := strings.Cut(args[0], "=")
			env[name], args = v, args[1:]
		}
	}
	c := command{args: args, dir: s.dir, line: s.line + int(stmt.Pos().Line()), conditional: s.branches > 0, env: env, vars: s.vars}
	if body := s.funcs[args[0]]; body != nil && s.calls < maxCalls {
		params := s.params
		s.params = args[1:]
		s.calls++
		s.statement(body)
		s.calls--
		s.params = params
		return
	}
	switch args[0] {
	case "cd", "pushd":
		if len(args) == 2 {
			s.dir = inside(s.dir, args[1])
		}
	case "export", "readonly":
		for _, a := range args[1:] {
			if name, v, ok := strings.Cut(a, "="); ok {
				s.vars[name] = v
			}
		}
	case "echo", "printf":
		s.written(args[1:], stmt)
	default:
		s.run(c)
	}
}

// Files of a GitHub runner to which steps write variables and outputs.
const (
	envFile    = "/github/env"
	outputFile = "/github/output"
)

// written takes what echo writes to the files for variables and outputs. These become variables with the name of the file before
// them.
func (s *shell) written(args []string, stmt *syntax.Stmt) {
	for _, r := range stmt.Redirs {
		if (r.Op == syntax.AppOut || r.Op == syntax.RdrOut) && r.Word != nil {
			s.store(s.word(r.Word), args)
		}
	}
}

// tee takes what echo writes to those files through tee.
func (s *shell) tee(cmd *syntax.BinaryCmd) bool {
	from, ok := cmd.X.Cmd.(*syntax.CallExpr)
	to, okTo := cmd.Y.Cmd.(*syntax.CallExpr)
	if !ok || !okTo || cmd.Op != syntax.Pipe || len(from.Args) < 2 || from.Args[0].Lit() != "echo" || len(to.Args) < 2 || to.Args[0].Lit() != "tee" {
		return false
	}
	var args []string
	for _, w := range from.Args[1:] {
		args = append(args, s.words(w)...)
	}
	for _, w := range to.Args[1:] {
		s.store(s.word(w), args)
	}
	return true
}

// store takes lines that are written to a file of the runner.
func (s *shell) store(file string, args []string) {
	if file != envFile && file != outputFile {
		return
	}
	for _, line := range strings.Split(strings.ReplaceAll(strings.Join(args, " "), `\n`, "\n"), "\n") {
		if name, v, ok := strings.Cut(line, "="); ok && known(name) {
			if s.branches > 0 {
				v = s.marks.add("$" + name)
			}
			s.vars[file+" "+name] = v
		}
	}
}

// words expands a word; without quotes around it, its value is split at blanks.
func (s *shell) words(w *syntax.Word) []string {
	text := s.word(w)
	for _, part := range w.Parts {
		if p, ok := part.(*syntax.DblQuoted); ok && len(p.Parts) == 1 && len(w.Parts) == 1 {
			if e, ok := p.Parts[0].(*syntax.ParamExp); ok && e.Index != nil { // "${list[@]}"
				return strings.Fields(text)
			}
		}
		if _, ok := part.(*syntax.ParamExp); ok {
			return strings.Fields(text)
		}
	}
	return []string{text}
}

// word expands a word.
func (s *shell) word(w *syntax.Word) string {
	if w == nil {
		return ""
	}
	optional := map[string]bool{}
	syntax.Walk(w, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Param != nil && p.Exp != nil &&
			(p.Exp.Op == syntax.DefaultUnset || p.Exp.Op == syntax.DefaultUnsetOrNull || p.Exp.Op == syntax.AssignUnset || p.Exp.Op == syntax.AssignUnsetOrNull) {
			optional[p.Param.Value] = true
		}
		return true
	})
	text, err := expand.Literal(&expand.Config{
		Env: environ{s, optional},
		CmdSubst: func(out io.Writer, c *syntax.CmdSubst) error {
			_, err := io.WriteString(out, s.substitution(c))
			return err
		},
		ProcSubst: func(*syntax.ProcSubst) (string, error) { return s.marks.add("<(...)"), nil },
	}, w)
	if err != nil {
		return s.marks.add(source(w))
	}
	return limit(text)
}

// substitution returns the output of a command: of echo and of tr to lower case, otherwise a mark.
func (s *shell) substitution(c *syntax.CmdSubst) string {
	if s.nested >= maxSubstitutions {
		return s.marks.add("$(...)")
	}
	s.nested++
	defer func() { s.nested-- }()
	if len(c.Stmts) == 1 {
		if text, ok := s.output(c.Stmts[0]); ok {
			return text
		}
	}
	return s.marks.add(source(c))
}

func (s *shell) output(stmt *syntax.Stmt) (string, bool) {
	switch cmd := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		if len(cmd.Args) < 2 || cmd.Args[0].Lit() != "echo" || len(stmt.Redirs) > 0 {
			return "", false
		}
		var args []string
		for _, w := range cmd.Args[1:] {
			if text := s.word(w); text != "-n" {
				args = append(args, text)
			}
		}
		return strings.Join(args, " "), true
	case *syntax.BinaryCmd:
		tr, ok := cmd.Y.Cmd.(*syntax.CallExpr)
		if !ok || cmd.Op != syntax.Pipe || len(tr.Args) != 3 || tr.Args[0].Lit() != "tr" {
			return "", false
		}
		from, to := s.word(tr.Args[1]), s.word(tr.Args[2])
		text, ok := s.output(cmd.X)
		if !ok || from+to != "[:upper:][:lower:]" && from+to != "A-Za-z" {
			return "", false
		}
		return strings.ToLower(text), true
	}
	return "", false
}

// source returns a node as it is written.
func source(n syntax.Node) string {
	var b strings.Builder
	if syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, n) != nil {
		return "$(...)"
	}
	return b.String()
}

// environ implements [expand.Environ].
type environ struct {
	*shell
	optional map[string]bool // variables with a default where they are used
}

// Get implements [expand.Environ].
func (e environ) Get(name string) expand.Variable {
	v, ok := e.vars[name]
	if i := strings.IndexByte("123456789", name[0]); !ok && len(name) == 1 && i >= 0 && i < len(e.params) {
		v, ok = e.params[i], true
	}
	switch {
	case !ok && (name == "@" || name == "*") && len(e.params) > 0:
		v = strings.Join(e.params, " ")
	case !ok && e.optional[name]:
		return expand.Variable{}
	case !ok:
		v = e.marks.add("$" + name)
	}
	return expand.Variable{Set: true, Kind: expand.String, Str: v}
}

// Each implements [expand.Environ].
func (environ) Each(func(string, expand.Variable) bool) {}

// inside returns a folder of the repository, given where it is seen from. A path that leaves the repository is "..".
func inside(dir, to string) string {
	if !known(to) {
		return to
	}
	for _, root := range []string{projectDir, "/github/workspace", "/workspace"} {
		if rest, ok := strings.CutPrefix(to, root); ok && (rest == "" || rest[0] == '/') {
			return path.Join(".", rest)
		}
	}
	if path.IsAbs(to) {
		return ".."
	}
	return path.Join(dir, to)
}
