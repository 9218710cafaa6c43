// Package pins moves the digests of pinned references in files: Dockerfiles, Docker Bake and Compose files, and any other file
// with marker comments. It changes the bytes of digests and nothing else, and of tags where the tag of a reference moves. Which
// digest replaces which is left to its callers.
package pins

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Lock returns the reference that replaces a pinned one, which is normalised and has a tag. It returns the same reference to leave
// it as it is. Only the tag and the digest may differ.
type Lock func(state.Ref) state.Ref

// Edit is a file with moved pins.
type Edit struct {
	Content []byte
	Changes []Change // in the order of the file
	// Problems are the pins that should move and cannot be changed.
	Problems []Problem
}

// Change is one pin that moved.
type Change struct {
	Line     int // 1-based
	From, To state.Ref
}

// Problem is a pin that should move and cannot be changed.
type Problem struct {
	Line int // 0 if it is not known
	Text string
	Ref  state.Ref // pin that the file uses and that is not written in it; else empty
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.Text
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Text)
}

// span is a part of a file, from a byte up to another one.
type span struct{ from, to int }

// editor replaces spans of a file.
type editor struct {
	src   []byte
	lock  Lock
	known []state.Ref // pinned references that the file resolves to, for those that are not written in one piece
	out   Edit
	done  map[int]bool // starts of digests that were decided on
	swaps []swap
}

type swap struct {
	span
	text string
}

const hexLength = 64

// digestRun matches what may be the hexadecimal part of a digest.
var digestRun = lazy.Regexp(`[0-9a-f]{64,}`)

func newEditor(src []byte, lock Lock) *editor {
	return &editor{src: src, lock: lock, done: map[int]bool{}}
}

// finish returns the result.
func (e *editor) finish() *Edit {
	slices.SortFunc(e.swaps, func(a, b swap) int { return a.from - b.from })
	var b bytes.Buffer
	at := 0
	for _, s := range e.swaps {
		b.Write(e.src[at:s.from])
		b.WriteString(s.text)
		at = s.to
	}
	b.Write(e.src[at:])
	e.out.Content = b.Bytes()
	slices.SortStableFunc(e.out.Changes, func(a, b Change) int { return a.Line - b.Line })
	return &e.out
}

func (e *editor) line(at int) int { return 1 + bytes.Count(e.src[:at], []byte("\n")) }

func (e *editor) problem(at int, format string, args ...any) {
	e.out.Problems = append(e.out.Problems, Problem{Line: e.line(at), Text: fmt.Sprintf(format, args...)})
}

// word moves the pins in a part of the file that is an instruction's word, a string or a marked line.
func (e *editor) word(s span, marker *state.Ref) {
	for _, m := range digestRun().FindAllIndex(e.src[s.from:s.to], -1) {
		from := s.from + m[0]
		if m[1]-m[0] != hexLength || e.done[from] {
			continue
		}
		e.done[from] = true
		e.digest(s, from, marker)
	}
}

// digest moves the pin whose digest begins at a byte.
func (e *editor) digest(s span, from int, marker *state.Ref) {
	digest := "sha256:" + string(e.src[from:from+hexLength])
	before := string(e.src[s.from:from])
	algorithm := strings.HasSuffix(before, "sha256:")
	tagEnd := -1
	before = strings.TrimSuffix(before, "sha256:")
	if beside, ok := strings.CutSuffix(before, "@"); ok && algorithm {
		tagEnd = from - len("@sha256:")
		at := 1 + strings.LastIndexAny(beside, " \t\r\n\"'`=,<>()[]{}|;")
		name := beside[at:]
		if strings.HasSuffix(beside[:at], "}") { // a variable is in front, so this is only the end of the name
			name = ""
		}
		if at = strings.LastIndex(name, "://"); at >= 0 {
			name = name[at+len("://"):]
		}
		ref, err := state.ParseRef(name + "@" + digest)
		switch {
		case err != nil: // it holds variables
		case ref.Tag != "":
			e.move(from, ref, e.lock(ref), tagEnd)
			return
		case marker == nil || marker.Registry != ref.Registry || marker.Repository != ref.Repository:
			return
		}
	}
	if marker == nil {
		e.byDigest(from, digest, tagEnd)
		return
	}
	ref := *marker
	ref.Digest = digest
	e.move(from, ref, e.lock(ref), tagEnd)
}

// byDigest moves a digest that no whole reference stands beside, such as the default of an ARG.
func (e *editor) byDigest(from int, digest string, tagEnd int) {
	var found []Change
	for _, ref := range e.known {
		if to := e.lock(ref); ref.Digest == digest {
			found = append(found, Change{From: ref, To: to})
		}
	}
	if len(found) == 0 {
		return
	}
	if slices.ContainsFunc(found, func(c Change) bool { return c.To.Digest != found[0].To.Digest }) {
		e.problem(from, "%s belongs to %s and to %s, whose digests differ by now (write each reference in one piece)", state.ShortDigest(digest), short(found[0].From), short(found[1].From))
		return
	}
	e.move(from, found[0].From, found[0].To, tagEnd)
}

// move replaces a digest, and the tag that ends at a byte; -1 if no tag is written beside the digest.
func (e *editor) move(from int, ref, to state.Ref, tagEnd int) {
	if to == ref {
		return
	}
	hex, ok := strings.CutPrefix(to.Digest, "sha256:")
	if !ok || len(hex) != hexLength || to.Registry != ref.Registry || to.Repository != ref.Repository {
		e.problem(from, "%s cannot be moved to %s", short(ref), to)
		return
	}
	if to.Tag != ref.Tag {
		if tagEnd < 0 || !bytes.HasSuffix(e.src[:tagEnd], []byte(":"+ref.Tag)) {
			e.problem(from, "the tag of %s moves to %s, and is not written beside the digest", short(ref), to.Tag)
			return
		}
		e.swaps = append(e.swaps, swap{span{tagEnd - len(ref.Tag), tagEnd}, to.Tag})
	}
	e.swaps = append(e.swaps, swap{span{from, from + hexLength}, hex})
	e.out.Changes = append(e.out.Changes, Change{e.line(from), ref, to})
}

func short(r state.Ref) string { return state.Short(r.String()) }

// marker matches the comment that names the reference of the digest on the same line, or on the next one if it stands alone.
var marker = lazy.Regexp(`(?:#|//|;|--|/\*|<!--)[ \t]*imagefactory:[ \t]*(\S+)`)

// markers moves the digests on marked lines.
func (e *editor) markers() {
	var above *state.Ref
	for from := 0; from < len(e.src); {
		to := len(e.src)
		if n := bytes.IndexByte(e.src[from:], '\n'); n >= 0 {
			to = from + n + 1
		}
		line := span{from, to}
		from = to
		mark := above
		above = nil
		if m := marker().FindSubmatchIndex(e.src[line.from:line.to]); m != nil {
			ref, err := state.ParseRef(string(e.src[line.from+m[2] : line.from+m[3]]))
			if err != nil || ref.Tag == "" || ref.Pinned() {
				e.problem(line.from, "invalid marker %q (name a reference with a tag and without a digest)", e.src[line.from+m[2]:line.from+m[3]])
				continue
			}
			if len(bytes.Trim(e.src[line.from:line.from+m[0]], " \t\xef\xbb\xbf")) == 0 {
				above = &ref
				continue
			}
			mark, line.to = &ref, line.from+m[0]
		}
		if mark != nil {
			e.word(line, mark)
		}
	}
}
