package dockerfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// scratch is the empty base, in this spelling only.
	scratch = "scratch"
	// placeholder replaces a base that cannot be resolved.
	placeholder = "unresolved.invalid/image:0"
)

// plan is the graph of stages and sources of a Dockerfile. It follows
// BuildKit's dispatch states (dockerfile2llb.toDispatchState) step by step,
// because their order and their names are what instructions refer to.
type plan struct {
	in         *input
	file       *parsed
	bases      *bases
	globals    *globals
	states     []*state          // stages in order, then the images used as sources
	byName     map[string]*state // stages, by name in lower case; the last one wins
	triggers   int
	shared     int // line of the first COPY --from=INDEX of a source
	used       map[*state]bool
	final      *state // where the parents of the target end
	unresolved []Unresolved
	unknown    []UnknownBase
}

// state is a stage, or an image that an instruction uses as a source.
type state struct {
	stage    instructions.Stage
	label    string // for people: name as written or index
	kind     Kind
	line     int
	platform *ocispecs.Platform // of FROM --platform
	base     *state             // local parent
	source   bool               // no stage of its own
	context  *namedContext      // replaces the stage
	commands []command          // with those of ONBUILD triggers in front
	deps     []*state
	own      int  // number of deps that come from its own commands
	inherits bool // ONBUILD triggers of the parent are in commands
	missing  []string
	blank    bool   // the base cannot be resolved
	rewrite  bool   // the base or the platform cannot be resolved
	written  string // the reference in the file, with its tag
	ref      string // of the image, empty if it is none
	settled  bool   // ref is final
	late     bool   // a source that was visited before it was known to be needed
}

type command struct {
	instructions.Command
	trigger bool
}

// newPlan builds the plan. For an invalid file it returns the partial plan with
// the error, and no plan if the file exceeds a limit.
func newPlan(in *input, file *parsed, known *bases) (*plan, error) {
	budget := newBudget()
	if err := budget.globals(in, file); err != nil {
		return nil, err
	}
	p := &plan{in: in, file: file, bases: known, byName: map[string]*state{}}
	if err := p.build(); err != nil {
		if isLimit(err) {
			return nil, err
		}
		return p, err
	}
	if err := budget.stages(p); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *plan) build() error {
	var err error
	if p.globals, err = newGlobals(p.in, p.file); err != nil {
		return err
	}
	for i, st := range p.file.stages {
		if err := p.addStage(i, st); err != nil {
			return err
		}
	}
	target, err := p.target()
	if err != nil {
		return err
	}
	for p.final = target; p.final.base != nil; {
		p.final = p.final.base
	}
	for _, s := range slices.Clone(p.states) {
		for _, cmd := range s.stage.Commands {
			if err := p.addCommand(s, command{Command: cmd}, line(cmd.Location())); err != nil {
				return err
			}
		}
	}
	if err := p.checkCycles(); err != nil {
		return err
	}
	return p.resolve(target)
}

// addStage expands the FROM of a stage and registers it.
func (p *plan) addStage(index int, st instructions.Stage) error {
	s := &state{stage: st, label: strconv.Itoa(index), kind: KindFrom, line: line(st.Location)}
	if st.Name != "" {
		s.label = writtenName(st)
	}
	if err := p.expandBase(s); err != nil {
		return err
	}
	if err := p.expandPlatform(s); err != nil {
		return err
	}
	if st.Name != "" {
		nc, err := p.in.context(st.Name, s.platform)
		if err != nil {
			return refuse(s.line, "%v", err)
		}
		s.context = nc
	}
	p.register(s)
	if s.context != nil {
		s.base = nil
	}
	return nil
}

// writtenName returns the name of a stage in the case of the file.
func writtenName(st instructions.Stage) string {
	words := strings.Fields(st.SourceCode)
	if last := words[len(words)-1]; strings.EqualFold(last, st.Name) {
		return last
	}
	return st.Name
}

// register adds a state and finds its parent among the stages before it. The
// name of a parent must be written in lower case.
func (p *plan) register(s *state) {
	p.states = append(p.states, s)
	s.base = p.byName[s.stage.BaseName]
	if s.stage.Name != "" {
		p.byName[strings.ToLower(s.stage.Name)] = s
	}
}

func (p *plan) expandBase(s *state) error {
	word := s.stage.BaseName
	e := p.globals.expand(word)
	err := e.err
	if err == nil && e.text == "" {
		err = fmt.Errorf("base name (%s) should not be blank", word)
	}
	if err == nil {
		err = p.checkBase(e.text)
	}
	if err != nil {
		if p.lacksValue(word, e) {
			p.addUnresolved(s, word, e)
			s.blank, s.stage.BaseName = true, placeholder
			return nil
		}
		if e.err == nil && e.text != "" {
			err = nil // BuildKit rejects it once all stages are known
		}
	}
	if err != nil {
		return located(err, s.line)
	}
	s.stage.BaseName = e.text
	s.missing = e.missing
	return nil
}

// checkBase returns an error if an expanded base is neither a stage nor an image.
func (p *plan) checkBase(text string) error {
	if text == scratch || p.byName[text] != nil {
		return nil
	}
	_, err := reference.ParseNormalizedNamed(text)
	return err
}

// expandPlatform finds the platform of a FROM. The image counts even if its
// platform cannot be resolved.
func (p *plan) expandPlatform(s *state) error {
	word := s.stage.Platform
	if word == "" {
		return nil
	}
	e := p.globals.expand(word)
	platform, err := parseStagePlatform(word, e)
	if err != nil {
		if len(e.missing)+len(e.unset) > 0 {
			p.addUnresolved(s, word, e)
			return nil
		}
		return located(err, s.line)
	}
	s.platform = &platform
	s.missing = append(s.missing, e.missing...)
	return nil
}

func parseStagePlatform(word string, e expansion) (ocispecs.Platform, error) {
	if e.err != nil {
		return ocispecs.Platform{}, fmt.Errorf("failed to process arguments for platform %s: %w", e.text, e.err)
	}
	if e.text == "" {
		return ocispecs.Platform{}, fmt.Errorf("empty platform value from expression %s", word)
	}
	platform, err := platforms.Parse(e.text)
	if err != nil {
		return platform, fmt.Errorf("failed to parse platform %s: %w", word, err)
	}
	return platform, nil
}

// lacksValue reports whether an invalid base could be valid if its unset
// variables had values.
func (p *plan) lacksValue(word string, e expansion) bool {
	if len(e.missing)+len(e.unset) == 0 {
		return false
	}
	text, err := p.globals.assume(word)
	return err == nil && text != "" && p.checkBase(text) == nil
}

func (p *plan) addUnresolved(s *state, word string, e expansion) {
	s.rewrite = true
	missing := e.missing
	if len(missing) == 0 {
		missing = e.unset
	}
	p.unresolved = append(p.unresolved, Unresolved{Text: word, Line: s.line, Missing: missing})
}

func (p *plan) target() (*state, error) {
	if p.in.opts.Target == "" {
		return p.states[len(p.states)-1], nil
	}
	if s := p.byName[strings.ToLower(p.in.opts.Target)]; s != nil {
		return s, nil
	}
	return nil, refuse(0, "target stage %q could not be found", p.in.opts.Target)
}

// addCommand appends a command and its sources to a stage.
func (p *plan) addCommand(s *state, cmd command, at int) error {
	s.commands = append(s.commands, cmd)
	sources, err := p.sources(s, cmd, at)
	if err != nil {
		return err
	}
	for _, src := range sources {
		s.deps = append(s.deps, src)
		if src.source {
			if src.line > 0 { // found by its index
				p.shared = cmp.Or(p.shared, at)
			}
			src.line = cmp.Or(src.line, at)
			p.register(src) // once more if it was, as in BuildKit
		}
	}
	if len(p.states) > maxSources {
		return limitError(at, "uses more than %d stages and sources", maxSources)
	}
	return nil
}

// sources finds the stages and images that a command takes files from. A
// mount without from counts as one from scratch: it takes a place among the
// states, which COPY --from=INDEX can see, and a stage of that name is used.
func (p *plan) sources(s *state, cmd command, at int) ([]*state, error) {
	switch c := cmd.Command.(type) {
	case *instructions.CopyCommand:
		if c.From == "" {
			return nil, nil
		}
		src, err := p.copySource(s, cmd, c.From)
		if err != nil {
			return nil, located(err, at)
		}
		return []*state{src}, nil
	case *instructions.RunCommand:
		mounts := instructions.GetMounts(c)
		sources := make([]*state, len(mounts))
		for i, m := range mounts {
			from := m.From
			if from == "" {
				from = scratch
			}
			if sources[i] = p.byName[strings.ToLower(from)]; sources[i] == nil {
				sources[i] = newSource(s, cmd, KindMount, from)
			}
		}
		return sources, nil
	}
	return nil, nil
}

// copySource finds the source of a COPY --from: by index among the states, by
// stage name, else an image.
func (p *plan) copySource(s *state, cmd command, from string) (*state, error) {
	word, _, err := p.globals.lex.ProcessWord(from, shell.EnvsFromSlice(nil))
	if err != nil {
		return nil, err
	}
	if word != from {
		return nil, fmt.Errorf("variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround")
	}
	if index, err := strconv.Atoi(from); err == nil {
		if index < 0 || index >= len(p.states) {
			return nil, fmt.Errorf("invalid stage index %d", index)
		}
		return p.states[index], nil
	}
	if src := p.byName[strings.ToLower(from)]; src != nil {
		return src, nil
	}
	return newSource(s, cmd, KindCopy, from), nil
}

func newSource(s *state, cmd command, kind Kind, from string) *state {
	if cmd.trigger {
		kind = KindOnbuild
	}
	return &state{stage: instructions.Stage{BaseName: from}, source: true, kind: kind, label: s.label}
}

// checkCycles returns an error if stages take files from each other.
func (p *plan) checkCycles() error {
	const (
		open = iota + 1
		done
	)
	mark := make(map[*state]int, len(p.states))
	var visit func(*state) bool
	visit = func(s *state) bool {
		mark[s] = open
		for _, dep := range s.deps {
			if mark[dep] == open || mark[dep] == 0 && visit(dep) {
				return true
			}
		}
		mark[s] = done
		return false
	}
	for _, s := range p.states {
		if mark[s] == 0 && visit(s) {
			return refuse(p.cycleLine(s), "circular dependency detected on stage: %s", s.buildkitName(p))
		}
	}
	return nil
}

// cycleLine returns the line of the first command of a stage that takes files
// from another.
func (p *plan) cycleLine(s *state) int {
	for _, cmd := range s.commands {
		switch c := cmd.Command.(type) {
		case *instructions.CopyCommand:
			if c.From != "" {
				return line(c.Location())
			}
		case *instructions.RunCommand:
			if len(instructions.GetMounts(c)) > 0 {
				return line(c.Location())
			}
		}
	}
	return s.line
}

// buildkitName returns the name of a stage in BuildKit's messages.
func (s *state) buildkitName(p *plan) string {
	if s.stage.Name != "" {
		return s.stage.Name
	}
	return fmt.Sprintf("stage-%d", slices.Index(p.states, s))
}

// resolve finds the stages and sources that the target needs, with those of
// the ONBUILD triggers that stages inherit, and parses every reference:
// BuildKit rejects an invalid one even if it is not needed.
func (p *plan) resolve(target *state) error {
	for {
		p.used = needed(target)
		triggering := p.used
		if p.in.opts.AllStages {
			p.used = needed(p.states...)
			triggering = needed(p.targets()...)
		}
		if err := p.resolveRefs(); err != nil {
			return err
		}
		more := false
		for _, s := range slices.Clone(p.states) {
			if !triggering[s] || s.inherits {
				continue
			}
			s.inherits = true
			added, err := p.addTriggers(s, p.triggersOf(s))
			if err != nil {
				return err
			}
			more = more || added
		}
		if !more {
			return nil
		}
	}
}

// targets returns the stages that can be built: those that no later one of
// the same name hides.
func (p *plan) targets() []*state {
	var targets []*state
	for _, s := range p.states {
		if !s.source && (s.stage.Name == "" || p.byName[s.stage.Name] == s) {
			targets = append(targets, s)
		}
	}
	return targets
}

// needed returns the given stages and all stages that they depend on.
func needed(stages ...*state) map[*state]bool {
	return reached(stages, func(s *state) []*state { return s.deps })
}

func reached(stages []*state, deps func(*state) []*state) map[*state]bool {
	used := make(map[*state]bool)
	queue := slices.Clone(stages)
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if used[s] {
			continue
		}
		used[s] = true
		if s.base != nil {
			queue = append(queue, s.base)
		}
		queue = append(queue, deps(s)...)
	}
	return used
}

// trigger is an ONBUILD trigger that runs in a stage.
type trigger struct {
	expression string
	line       int    // of the ONBUILD instruction; of FROM for one of an image
	image      string // that has it, empty for a stage
}

// refuse returns err at the line of the trigger.
func (t trigger) refuse(err error) *Error {
	e := atLine(err, t.line)
	if t.image != "" {
		e.Msg = "ONBUILD trigger of " + t.image + ": " + e.Msg
	}
	return e
}

// triggersOf returns the ONBUILD triggers of a stage's parent or base image.
// Those of a grandparent are not inherited.
func (p *plan) triggersOf(s *state) []trigger {
	if s.base == nil {
		return p.imageTriggers(s)
	}
	var triggers []trigger
	for _, cmd := range s.base.commands {
		if onbuild, ok := cmd.Command.(*instructions.OnbuildCommand); ok {
			at := line(onbuild.Location())
			if cmd.trigger {
				at = s.line
			}
			triggers = append(triggers, trigger{expression: onbuild.Expression, line: at})
		}
	}
	return triggers
}

// imageTriggers returns the ONBUILD triggers of the base image of a stage.
func (p *plan) imageTriggers(s *state) []trigger {
	if !s.pulls() {
		return nil
	}
	key := s.baseKey(p.in)
	c := p.bases.of(key)
	if c == nil {
		p.unknown = append(p.unknown, UnknownBase{Ref: s.ref, Platform: key.platform, Stage: s.label, Line: s.line})
		return nil
	}
	triggers := make([]trigger, len(c.OnBuild))
	for i, expression := range c.OnBuild {
		triggers[i] = trigger{expression, s.line, s.ref}
	}
	return triggers
}

// pulls reports whether a stage runs its commands on an image of a registry.
func (s *state) pulls() bool {
	return s.base == nil && !s.source && s.context == nil && !s.blank && s.ref != ""
}

// uncertain reports whether a needed stage has a base image with an unknown
// config.
func (p *plan) uncertain() bool {
	for s := range p.used {
		if s.base != nil || s.source || s.context != nil {
			continue
		}
		c := p.bases.known[s.baseKey(p.in)]
		if s.blank || s.pulls() && (c == nil || c.Partial) {
			return true
		}
	}
	return false
}

// baseKey identifies the config of the image of a stage.
func (s *state) baseKey(in *input) baseKey {
	if s.platform != nil {
		return keyOf(s.ref, *s.platform)
	}
	return keyOf(s.ref, in.platform)
}

// addTriggers inserts ONBUILD triggers before the commands of a stage. It
// reports whether they have sources.
func (p *plan) addTriggers(s *state, triggers []trigger) (bool, error) {
	own := s.commands
	s.commands, s.own = nil, len(s.deps)
	for _, t := range triggers {
		if p.triggers++; p.triggers > maxInstructions {
			return false, limitError(t.line, "runs more than %d ONBUILD triggers", maxInstructions)
		}
		cmd, err := parseTrigger(t.expression, t.line)
		if err == nil {
			err = p.addCommand(s, command{Command: cmd, trigger: true}, t.line)
		}
		if isLimit(err) {
			return false, err
		}
		if err != nil {
			return false, t.refuse(err)
		}
	}
	s.commands = append(s.commands, own...)
	return len(s.deps) > s.own, nil
}

// parseTrigger parses a trigger on its own: with the default escape
// character, whatever the file says. The command gets the given line.
func parseTrigger(expression string, at int) (instructions.Command, error) {
	tree, err := parser.Parse(strings.NewReader(expression))
	if err != nil {
		return nil, err
	}
	if len(tree.AST.Children) != 1 {
		return nil, fmt.Errorf("onbuild trigger should be a single expression")
	}
	node := tree.AST.Children[0]
	node.StartLine, node.EndLine = at, at
	return instructions.ParseCommand(node)
}

// resolveRefs finds the references of all states without a local parent.
// BuildKit visits each source once. A source that only becomes needed through a
// trigger was visited before, so no named context replaces it.
func (p *plan) resolveRefs() error {
	for _, s := range p.states {
		if s.base != nil || s.settled || s.stage.BaseName == scratch && s.context == nil {
			continue
		}
		named, err := reference.ParseNormalizedNamed(s.stage.BaseName)
		if err != nil {
			return refuse(s.line, "failed to parse stage name %q: %v", s.stage.BaseName, err)
		}
		s.written = reference.TagNameOnly(named).String()
		s.ref = s.written
		s.settled = s.source || p.used[s]
		s.late = s.source && !p.used[s]
		if !p.used[s] {
			continue
		}
		nc := s.context
		if nc == nil {
			if nc, err = p.in.context(s.ref, s.platform); err != nil {
				return refuse(s.line, "%v", err)
			}
		}
		if nc != nil {
			s.ref = nc.ref
		}
	}
	return nil
}

// images returns the uses of images that the build needs.
func (p *plan) images() []Image {
	var images []Image
	run := p.run()
	seen := make(map[*state]bool, len(p.states))
	for _, s := range p.states {
		if seen[s] || !p.used[s] || s.late && !run[s] || s.ref == "" || s.blank && s.context == nil {
			continue
		}
		seen[s] = true
		img := Image{Ref: s.ref, Kind: s.kind, Stage: s.label, Line: s.line, Final: s == p.final}
		if s.platform != nil {
			if v := platforms.FormatAll(*s.platform); v != platforms.FormatAll(p.in.platform) {
				img.Platform = v
			}
		}
		images = append(images, img)
	}
	return append(images, p.lateImages()...)
}

// lateImages returns, for AllStages, the sources that a named context replaces in the build of one target but not in that of
// another, which needs them through a trigger only.
func (p *plan) lateImages() []Image {
	if !p.in.opts.AllStages || p.triggers == 0 {
		return nil
	}
	var images []Image
	seen := map[*state]bool{}
	targets := p.targets()
	for _, target := range targets[:min(len(targets), maxTargets)] {
		early := reached([]*state{target}, func(s *state) []*state {
			if s.inherits {
				return s.deps[:s.own]
			}
			return s.deps
		})
		all := needed(target)
		for _, s := range p.states {
			if !all[s] {
				continue
			}
			for _, dep := range s.deps {
				if s.context != nil || !dep.source || dep.kind == KindOnbuild || early[dep] || seen[dep] {
					continue
				}
				seen[dep] = true
				if ref := dep.written; ref != "" && ref != dep.ref {
					images = append(images, Image{Ref: ref, Kind: dep.kind, Stage: dep.label, Line: dep.line})
				}
			}
		}
	}
	return images
}

// run returns the sources of the commands that BuildKit runs. A stage
// that a named context replaces runs none; the sources of its commands are
// looked up all the same, but not those that come late.
func (p *plan) run() map[*state]bool {
	run := make(map[*state]bool)
	for s := range p.used {
		if s.context != nil {
			continue
		}
		for _, dep := range s.deps {
			run[dep] = true
		}
	}
	return run
}

// warnings returns a warning for each unset variable that BuildKit expands to "".
func (p *plan) warnings() []Warning {
	var warnings []Warning
	for _, s := range p.states {
		if !p.used[s] {
			continue
		}
		slices.Sort(s.missing)
		for _, name := range slices.Compact(s.missing) {
			warnings = append(warnings, Warning{
				Line:    s.line,
				Message: fmt.Sprintf("%s has no value: BuildKit takes it as empty", name),
			})
		}
	}
	return warnings
}
