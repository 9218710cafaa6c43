package pins

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// File moves the pins of a file that is no Dockerfile. In Docker Bake files (HCL and JSON) and in YAML, such as Compose files, these
// are the strings that consist of a reference, with NAME= or docker-image:// in front or not; in any file, the digests on marked lines.
func File(name string, src []byte, lock Lock) (*Edit, error) {
	e := newEditor(src, lock)
	switch strings.ToLower(path.Ext(name)) {
	case ".hcl", ".json":
		for _, s := range quoted(src) {
			e.value(s)
		}
	case ".yaml", ".yml":
		if err := e.yaml(); err != nil {
			return nil, fmt.Errorf("parsing %s: %w", path.Base(name), err)
		}
	}
	e.markers()
	return e.finish(), nil
}

// reference matches a value that is a pinned reference, or NAME= and one.
var reference = lazy.Regexp(`^(?:[-A-Za-z0-9_.]+=)?(?:docker-image://)?[A-Za-z0-9][-A-Za-z0-9._:/\[\]]*@sha256:[0-9a-f]{64}$`)

// value moves the pin that a string consists of.
func (e *editor) value(s span) {
	if reference().Match(e.src[s.from:s.to]) {
		e.word(s, nil)
	}
}

// quoted returns the quoted strings of a file in HCL or JSON, without the quotes. It skips comments and heredocs.
func quoted(src []byte) []span {
	var out []span
	for at := 0; at < len(src); {
		rest := src[at:]
		switch {
		case rest[0] == '#', bytes.HasPrefix(rest, []byte("//")):
			at += until(rest, "\n")
		case bytes.HasPrefix(rest, []byte("/*")):
			at += 2 + until(rest[2:], "*/")
		case bytes.HasPrefix(rest, []byte("<<")):
			at += heredoc(rest)
		case rest[0] == '"':
			n := closing(rest)
			out = append(out, span{at + 1, at + n})
			at += n + 1
		default:
			at++
		}
	}
	return out
}

// until returns the length up to the end of a text, or of everything.
func until(src []byte, text string) int {
	if n := bytes.Index(src, []byte(text)); n >= 0 {
		return n + len(text)
	}
	return len(src)
}

// closing returns where the quote that ends a string is, or the end of the line.
func closing(src []byte) int {
	for i := 1; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case '"', '\n':
			return i
		}
	}
	return len(src)
}

// heredoc returns the length of a heredoc of HCL, or of its first characters if there is none.
func heredoc(src []byte) int {
	line := src[:until(src, "\n")]
	name := bytes.TrimSpace(bytes.TrimPrefix(line[2:], []byte("-")))
	if len(name) == 0 {
		return 2
	}
	for at := len(line); at < len(src); {
		n := until(src[at:], "\n")
		if bytes.Equal(bytes.TrimSpace(src[at:at+n]), name) {
			return at + n
		}
		at += n
	}
	return len(src)
}

// yaml moves the pins among the values of a YAML file.
func (e *editor) yaml() error {
	lines := newLines(e.src)
	decoder := yaml.NewDecoder(bytes.NewReader(e.src))
	for {
		var doc yaml.Node
		switch err := decoder.Decode(&doc); {
		case err == io.EOF: //nolint:errorlint // as the decoder returns it
			return nil
		case err != nil:
			return err
		}
		e.nodes(&doc, lines)
	}
}

func (e *editor) nodes(n *yaml.Node, lines *lines) {
	for _, child := range n.Content {
		e.nodes(child, lines)
	}
	if n.Kind != yaml.ScalarNode || n.Line < 1 || !reference().MatchString(n.Value) {
		return
	}
	line := lines.span(n.Line, n.Line)
	from := line.from
	for range n.Column - 1 { // which counts characters
		_, size := utf8.DecodeRune(e.src[from:line.to])
		from += size
	}
	if at := bytes.Index(e.src[from:line.to], []byte(n.Value)); at >= 0 {
		e.value(span{from + at, from + at + len(n.Value)})
	}
}
