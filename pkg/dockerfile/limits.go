package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Limits for untrusted input. A file that exceeds one is rejected with an
// [Error] that names the limit.
const (
	// MaxSize is the largest Dockerfile, in bytes.
	MaxSize = 1 << 20
	// maxStages is the highest number of stages.
	maxStages = 500

	maxInstructions = 5000    // instructions of a file, triggers included
	maxSources      = 5000    // stages and sources of COPY --from and RUN --mount
	maxImageBytes   = 1 << 18 // size of the found references, plus imageBytes for each
	imageBytes      = 64      // overhead of a reference
	maxNesting      = 50      // variables in the modifiers of variables
	maxTargets      = 32      // runs of the converter for AllStages
	maxWork         = 1 << 28 // units of work, see budget
	commandWork     = 1 << 10 // units for any instruction
	wordWork        = 1 << 13 // units for a source of COPY, or a label
	variableWork    = 16      // units for reading a variable in scope
	depthWork       = 1 << 5  // units for reading an ENV, or repeating it in a derived stage
	globalWork      = 1 << 8  // units for reading a global ARG
	patternWork     = 1 << 10 // units for a byte of a pattern
	portsWork       = 1 << 22 // units for a range of many ports
)

func limitError(line int, format string, args ...any) *Error {
	e := refuse(line, "the Dockerfile "+format, args...)
	e.limit = true
	return e
}

// checkImages bounds the size of the result, because callers store it.
func checkImages(images []Image) error {
	n := 0
	for _, i := range images {
		if n += len(i.Ref) + len(i.Stage) + len(i.Platform) + imageBytes; n > maxImageBytes {
			return limitError(i.Line, "uses more images than fit in %d KiB", maxImageBytes>>10)
		}
	}
	return nil
}

// isLimit reports whether err is a limit of this package, not an error of BuildKit.
func isLimit(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.limit
}

// budget bounds the work and the memory that a file costs before BuildKit
// expands it: variables that double in each line, or thousands of them looked
// at by thousands of instructions, would exhaust both. It adds up an upper
// bound of the bytes of every expanded word, and the variables in scope for
// each instruction.
type budget struct {
	work int
	root *scope
}

func newBudget() *budget { return &budget{root: newScope()} }

// scope holds the sizes of the variables at an instruction.
type scope struct {
	size     map[string]int // upper bounds of the values
	floor    int            // a bound for all, once a name was itself a variable
	keys     int            // bytes of all names
	args     int            // bytes of all ARGs, which BuildKit repeats for each RUN
	commands int            // of this stage and its parents
	// env holds the variables that images pass on. BuildKit sets all of them
	// again in each stage, and goes through all that was ever set, of which
	// there are depth, for each command.
	env   map[string]struct{}
	depth int
}

func newScope() *scope { return &scope{size: map[string]int{}, env: map[string]struct{}{}} }

func (s *scope) clone() *scope {
	c := *s
	c.size, c.env = maps.Clone(s.size), maps.Clone(s.env)
	return &c
}

func (s *scope) setEnv(name string, size int) {
	s.set(name, size)
	s.env[name] = struct{}{}
	s.depth++
}

func (s *scope) set(name string, size int) {
	if strings.Contains(name, "$") {
		s.floor = max(s.floor, size)
	}
	if _, ok := s.size[name]; !ok {
		s.keys += len(name)
	}
	s.size[name] = size
}

func (b *budget) spend(line int, units int) error {
	const most = 1 << 40 // keeps sums from overflowing
	b.work += min(units, most)
	if b.work > maxWork {
		return limitError(line, "is too large once its variables are expanded")
	}
	return nil
}

// text returns an upper bound for the size of an expanded text. It charges for
// the patterns in it and for the search for similar names of unknown variables.
func (b *budget) text(text string, s *scope, line int) (int, error) {
	const most = 1 << 40
	total := len(text)
	matches := variable().FindAllStringSubmatchIndex(text, -1)
	sizes := make([]int, len(matches))
	for i := len(matches) - 1; i >= 0; i-- {
		m := matches[i]
		name := text[m[4]:m[5]]
		size, known := s.size[name]
		size = max(size, s.floor, 1)
		if !known {
			if err := b.spend(line, len(name)*s.keys/4); err != nil {
				return 0, err
			}
		}
		if modifier := text[m[6]:m[7]]; m[2] != m[3] && modifier != "" && strings.ContainsAny(modifier, "#%/") {
			end := m[7] + operand(text[m[7]:])
			word := end - m[7]
			for j := i + 1; j < len(matches) && matches[j][0] < end; j++ {
				word = min(word+sizes[j], most)
			}
			if err := b.spend(line, min((patternWork+8*size)*word, most)); err != nil {
				return 0, err
			}
			if modifier == "/" {
				size = min(size+(size+1)*word, most)
			}
		}
		sizes[i] = size
		total = min(total+size, most)
	}
	return total, b.spend(line, total)
}

// operand returns the length of the text between a modifier and its closing
// brace. If a quote or an escape may hide the brace, it returns the full length.
func operand(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '\'', '"', '\\', '`':
			return len(text)
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return len(text)
}

// globals charges for the ARGs before the first FROM and for the FROMs.
func (b *budget) globals(in *input, file *parsed) error {
	s := b.root
	for name, value := range in.opts.BuildArgs {
		s.set(name, len(value))
	}
	for _, cmd := range file.args {
		at := line(cmd.Location())
		for _, arg := range cmd.Args {
			if err := b.spend(at, commandWork+globalWork*len(s.size)); err != nil {
				return err
			}
			if err := b.arg(in, arg, s, at); err != nil {
				return err
			}
		}
	}
	for _, st := range file.stages {
		at := line(st.Location)
		if err := b.spend(at, commandWork+variableWork*len(s.size)); err != nil {
			return err
		}
		if _, err := b.text(st.BaseName+" "+st.Platform, s, at); err != nil {
			return err
		}
	}
	return nil
}

func (b *budget) arg(in *input, arg instructions.KeyValuePairOptional, s *scope, at int) error {
	size := max(s.size[arg.Key], s.floor)
	if given, ok := in.opts.BuildArgs[arg.Key]; ok {
		size = len(given)
	} else if arg.Value != nil {
		var err error
		if size, err = b.text(*arg.Value, s, at); err != nil {
			return err
		}
	}
	s.set(arg.Key, size)
	s.args += len(arg.Key) + size
	return nil
}

// stages charges for the instructions of all stages, triggers included.
func (b *budget) stages(p *plan) error {
	scopes := make(map[*state]*scope, len(p.states))
	for _, st := range p.states {
		if st.source {
			continue
		}
		s := b.root.clone()
		s.args = 0
		if st.base != nil {
			s = scopes[st.base].clone()
		} else if known := p.bases.known[st.baseKey(p.in)]; known != nil {
			for _, env := range known.config.Env {
				name, value, _ := strings.Cut(env, "=")
				s.setEnv(name, len(value))
			}
		}
		s.depth += len(s.env)
		scopes[st] = s
		if err := b.spend(st.line, variableWork*(len(s.size)+8*s.commands)); err != nil {
			return err
		}
		for _, cmd := range st.commands {
			if err := b.command(p.in, cmd.Command, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *budget) command(in *input, cmd instructions.Command, s *scope) error {
	at := line(cmd.Location())
	s.commands++
	variables := 1
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		variables = len(c.Env)
		for _, pair := range c.Env {
			size, err := b.text(pair.Key+pair.Value, s, at)
			if err != nil {
				return err
			}
			s.setEnv(pair.Key, size)
		}
	case *instructions.ArgCommand:
		variables = len(c.Args)
		for _, arg := range c.Args {
			if err := b.arg(in, arg, s, at); err != nil {
				return err
			}
		}
	case *instructions.RunCommand:
		if err := b.spend(at, s.args); err != nil {
			return err
		}
	case *instructions.ExposeCommand:
		if err := b.ports(c.Ports, s, at); err != nil {
			return err
		}
	case *instructions.LabelCommand:
		if err := b.spend(at, wordWork*len(c.Labels)); err != nil {
			return err
		}
	case *instructions.CopyCommand:
		if err := b.files(c.SourcesAndDest, s, at); err != nil {
			return err
		}
	case *instructions.AddCommand:
		if err := b.files(c.SourcesAndDest, s, at); err != nil {
			return err
		}
	}
	if c, ok := cmd.(fmt.Stringer); ok {
		if _, err := b.text(c.String(), s, at); err != nil {
			return err
		}
	}
	return b.spend(at, commandWork+variableWork*len(s.size)*variables+depthWork*s.depth)
}

func (b *budget) files(files instructions.SourcesAndDest, s *scope, at int) error {
	for _, content := range files.SourceContents {
		if !content.Expand {
			continue
		}
		if _, err := b.text(content.Data, s, at); err != nil {
			return err
		}
	}
	return b.spend(at, wordWork*len(files.SourcePaths))
}

// ports charges for port ranges, which BuildKit expands. A range of up to five
// characters is cheap.
func (b *budget) ports(ports []string, s *scope, at int) error {
	for _, port := range ports {
		if !strings.ContainsAny(port, "-$") {
			continue
		}
		size, err := b.text(port, s, at)
		if err != nil {
			return err
		}
		literal := strings.Trim(variable().ReplaceAllString(port, ""), "}")
		if size-len(port)+len(literal) <= len("1-999") {
			continue
		}
		if err := b.spend(at, portsWork); err != nil {
			return err
		}
	}
	return nil
}
