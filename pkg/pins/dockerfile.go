package pins

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Dockerfile moves the pins of a Dockerfile: in FROM, COPY --from, RUN --mount=from, the values of ARG, # syntax=, and marked lines.
// builds are the options with which it is built, at least one. The result is resolved again: every pin has moved, or it is among the
// problems.
func Dockerfile(ctx context.Context, src []byte, builds []dockerfile.Options, lock Lock) (*Edit, error) {
	before, err := pinned(ctx, src, builds)
	if err != nil {
		return nil, err
	}
	tree, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("parsing the Dockerfile: %w", err)
	}
	e := newEditor(src, lock)
	e.known = before
	e.markers()
	lines := newLines(src)
	if _, _, loc, ok := parser.DetectSyntax(src); ok && len(loc) > 0 && loc[0].Start.Line > 0 {
		e.word(lines.span(loc[0].Start.Line, loc[0].Start.Line), nil)
	}
	for _, node := range tree.AST.Children {
		e.instruction(node, lines, byte(tree.EscapeToken))
	}
	out := e.finish()
	return out, out.check(ctx, before, builds, lock)
}

// pinned returns the pinned references with tags that a Dockerfile resolves to, sorted.
func pinned(ctx context.Context, src []byte, builds []dockerfile.Options) ([]state.Ref, error) {
	var out []state.Ref
	for _, o := range builds {
		res, err := dockerfile.Resolve(ctx, src, o)
		if err != nil {
			return nil, fmt.Errorf("reading the Dockerfile: %w", err)
		}
		for _, img := range res.Images {
			if ref, err := state.ParseRef(img.Ref); err == nil && ref.Pinned() && ref.Tag != "" && !isContext(ref, o.Contexts) {
				out = append(out, ref)
			}
		}
	}
	slices.SortFunc(out, func(a, b state.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out), nil
}

// isContext reports whether a reference is the value of a named context: then it is written elsewhere.
func isContext(ref state.Ref, contexts map[string]string) bool {
	for _, value := range contexts {
		text, isImage := strings.CutPrefix(value, "docker-image://")
		if context, err := state.ParseRef(text); isImage && err == nil && context == ref {
			return true
		}
	}
	return false
}

// check adds a problem for each pin that should have moved and has not, unless there are problems already, which may be the reason.
func (e *Edit) check(ctx context.Context, before []state.Ref, builds []dockerfile.Options, lock Lock) error {
	after, err := pinned(ctx, e.Content, builds)
	if err != nil {
		return fmt.Errorf("with moved pins: %w", err)
	}
	if len(e.Problems) > 0 {
		return nil
	}
	for _, ref := range before {
		to := lock(ref)
		if to == ref || !slices.Contains(after, ref) && slices.Contains(after, to) {
			continue
		}
		e.Problems = append(e.Problems, Problem{
			Text: fmt.Sprintf("%s is not written in the Dockerfile in one piece (it may come from a build argument or a base image)", short(ref)), Ref: ref,
		})
	}
	return nil
}

// lines are the starts of the lines of a file.
type lines struct {
	starts []int
	size   int
}

func newLines(src []byte) *lines {
	l := &lines{starts: []int{0}, size: len(src)}
	for i, c := range src {
		if c == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

// span returns the lines from one to another, both 1-based and included.
func (l *lines) span(first, last int) span {
	s := span{l.size, l.size}
	if first >= 1 && first <= len(l.starts) {
		s.from = l.starts[first-1]
	}
	if last < len(l.starts) {
		s.to = l.starts[last]
	}
	return s
}

// instruction moves the pins of one instruction.
func (e *editor) instruction(node *parser.Node, lines *lines, escape byte) {
	last := node.EndLine
	for _, h := range node.Heredocs {
		last -= strings.Count(h.Content, "\n") + 1
	}
	words := e.words(lines.span(node.StartLine, last), escape)
	if len(words) > 0 && strings.EqualFold(e.text(words[0]), "onbuild") {
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	switch strings.ToLower(e.text(words[0])) {
	case "from", "arg":
		for _, w := range words[1:] {
			e.word(w, nil)
		}
	case "copy", "add", "run":
		for _, w := range words[1:] {
			if !bytes.HasPrefix(e.src[w.from:w.to], []byte("--")) {
				break
			}
			if text := e.text(w); strings.HasPrefix(text, "--from=") || strings.HasPrefix(text, "--mount=") {
				e.word(w, nil)
			}
		}
	}
}

func (e *editor) text(s span) string { return string(e.src[s.from:s.to]) }

// words splits an instruction at white space. It skips comments and the characters that continue a line; a word that goes on in the
// next line becomes two.
func (e *editor) words(s span, escape byte) []span {
	var out []span
	for from := s.from; from < s.to; {
		to := s.to
		if n := bytes.IndexByte(e.src[from:s.to], '\n'); n >= 0 {
			to = from + n
		}
		line := span{from, to}
		from = to + 1
		if bytes.HasPrefix(e.src[line.from:line.to], []byte("\xef\xbb\xbf")) {
			line.from += len("\xef\xbb\xbf")
		}
		trimmed := bytes.TrimRight(e.src[line.from:line.to], " \t\r")
		if bytes.HasPrefix(bytes.TrimLeft(trimmed, " \t"), []byte("#")) {
			continue
		}
		if len(trimmed) > 0 && trimmed[len(trimmed)-1] == escape {
			trimmed = trimmed[:len(trimmed)-1]
		}
		at := line.from
		for _, field := range bytes.FieldsFunc(trimmed, isSpace) {
			at += bytes.Index(e.src[at:line.to], field)
			out = append(out, span{at, at + len(field)})
			at += len(field)
		}
	}
	return out
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\v' || r == '\f' }
