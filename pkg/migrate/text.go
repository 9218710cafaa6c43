package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// The Secret with the old tool's git token. Its token for builds (github-workflow-token, key token) needs no entry, because it is
// the default for GitHub.
const factoryBlock = `factory:
  credentials:
    github.com:
      git: {secret: github-credentials, key: password} # as before: reads sources and pushes state

`

// Headings above entries that stay as comments.
const (
	keptHeading    = "# Not carried over by migrate:"
	dropHeading    = "# Not enrolled by migrate; correct it and remove the # in front:"
	mergeHeading   = "# Merged by migrate into the entry of the same name above:"
	commentHeading = "# Comments of the old file that migrate could not place:"
)

// block is the text of one entry of the new images.yaml.
type block struct {
	lead  []string // blank lines and comments before the entry, unchanged
	entry *entry
	lines []string // lines of the entry, without the indentation of the list
	first int      // its first line in the new text
}

// imagesText holds the blocks of the new images.yaml.
type imagesText struct {
	head   []string
	blocks []*block
	tail   []string
	indent string
}

// write returns the text of the new images.yaml. Entries that the strict parser rejects stay as comments. Comments and blank
// lines keep their places if the old file has a common layout; cut returns nil if not.
func (m *migration) write(old string, list *yaml.Node, cut *imagesText) ([]byte, error) {
	if cut != nil {
		for i, b := range cut.blocks {
			b.entry = m.entries[i]
		}
		if text, err := m.settle(cut); err == nil {
			return withComments(text, old, list), nil
		}
	}
	t := &imagesText{}
	for _, e := range m.entries {
		t.blocks = append(t.blocks, &block{entry: e})
	}
	text, err := m.settle(t)
	if err != nil {
		return nil, err
	}
	return withComments(text, old, list), nil
}

// settle renders the text until it is valid: each round comments out the invalid entries.
func (m *migration) settle(t *imagesText) (string, error) {
	refused := map[*entry]finding.List{}
	for range len(m.entries) + 1 {
		if err := t.render(refused); err != nil {
			return "", err
		}
		text := t.String()
		cfg, err := config.Load(strings.NewReader(text), config.DefaultConfigFile)
		var findings finding.List
		switch {
		case err == nil:
			return text, m.accept(cfg, refused)
		case !errors.As(err, &findings):
			return "", err
		}
		progress := false
		for _, f := range findings {
			if e := t.entryAt(f.Line); e != nil && e.new != nil {
				progress = progress || refused[e] == nil
				refused[e] = append(refused[e], f)
			}
		}
		if !progress {
			return "", fmt.Errorf("writing the new images.yaml: %w", findings)
		}
	}
	return "", errors.New("internal error: generated images.yaml is invalid")
}

// accept checks that no entry is missing, and reports those that are not enrolled.
func (m *migration) accept(cfg *config.Config, refused map[*entry]finding.List) error {
	var want []string
	for _, e := range m.entries {
		if e.new != nil && refused[e] == nil {
			want = append(want, e.name)
		}
	}
	var got []string
	for i := range cfg.Images {
		got = append(got, cfg.Images[i].Name)
	}
	if !slices.Equal(want, got) {
		return errors.New("internal error: generated images.yaml lacks an entry")
	}
	for _, e := range m.entries {
		if refused[e] == nil {
			continue
		}
		e.new = nil
		messages := []string{}
		for _, f := range refused[e] {
			if !slices.Contains(messages, f.Message) {
				messages = append(messages, f.Message)
			}
		}
		m.fail(e.at, fmt.Sprintf("%s: not enrolled: %s", e.old, strings.ReplaceAll(strings.Join(messages, "; "), e.name+": ", "")), "it stays as a comment in the new images.yaml; correct it there")
	}
	m.cfg, m.Enrolled = cfg, len(cfg.Images)
	return nil
}

func (t *imagesText) entryAt(line int) *entry {
	var e *entry
	for _, b := range t.blocks {
		if b.first <= line {
			e = b.entry
		}
	}
	return e
}

// render sets the lines of all blocks.
func (t *imagesText) render(refused map[*entry]finding.List) error {
	for _, b := range t.blocks {
		e := b.entry
		if e.new == nil || refused[e] != nil {
			lines, err := commented(&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{clone(e.at)}}, "# ")
			if err != nil {
				return err
			}
			heading := dropHeading
			if e.merged {
				heading = mergeHeading
			}
			b.lines = append([]string{heading}, lines...)
			continue
		}
		text, err := encode(&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{e.new}})
		if err != nil {
			return err
		}
		b.lines = splitLines(text)
		for i, p := range e.kept {
			if i == 0 {
				b.lines = append(b.lines, "  "+keptHeading)
			}
			lines, err := commented(mapping(pair{clone(p.key), clone(p.value)}), "#   ")
			if err != nil {
				return err
			}
			for _, l := range lines {
				b.lines = append(b.lines, "  "+l)
			}
		}
	}
	return nil
}

// String returns the text, and sets the first line of each block.
func (t *imagesText) String() string {
	var out []string
	out = append(out, t.head...)
	out = append(out, splitLines(factoryBlock)...)
	empty := !slices.ContainsFunc(t.blocks, func(b *block) bool { return len(b.lines) > 0 && strings.HasPrefix(b.lines[0], "-") })
	if empty {
		out = append(out, "images: []")
	} else {
		out = append(out, "images:")
	}
	for _, b := range t.blocks {
		out = append(out, b.lead...)
		b.first = len(out) + 1
		for _, l := range b.lines {
			if l != "" {
				l = t.indent + l
			}
			out = append(out, l)
		}
	}
	return strings.TrimRight(strings.Join(append(out, t.tail...), "\n"), "\n") + "\n"
}

// commented returns a tree as comment lines with a prefix.
func commented(n *yaml.Node, prefix string) ([]string, error) {
	text, err := encode(n)
	if err != nil {
		return nil, err
	}
	lines := anyLineEnd().Split(strings.TrimRight(text, "\n"), -1)
	for i := range lines {
		lines[i] = strings.TrimRight(prefix+printable(lines[i]), " ")
	}
	return lines, nil
}

// anyLineEnd matches a line break of YAML.
var anyLineEnd = lazy.Regexp("\r\n|[\n\r\u0085\u2028\u2029]")

// printable replaces characters that YAML does not allow.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, s)
}

func splitLines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// cut splits the old text into its entries and the lines between them, and parses each entry alone, so that comments stay with
// their entry. It returns nil if the layout of the file does not allow that.
func cut(old string, list *yaml.Node) *imagesText {
	text := strings.ReplaceAll(strings.TrimPrefix(old, "\ufeff"), "\r\n", "\n")
	if list.Style&yaml.FlowStyle != 0 || strings.ContainsAny(text, "\r\u0085\u2028\u2029") || len(list.Content) == 0 {
		return nil
	}
	lines := splitLines(text)
	starts := dashes(lines, list)
	if starts == nil {
		return nil
	}
	t := &imagesText{indent: strings.Repeat(" ", list.Column-1)}
	own := make([]*yaml.Node, len(starts))
	from := 0
	for i, start := range starts {
		stop := len(lines)
		if i+1 < len(starts) {
			stop = starts[i+1]
		}
		for stop > start+1 && isComment(lines[stop-1]) {
			stop--
		}
		if own[i] = ownLines(lines[start:stop], start, list.Content[i]); own[i] == nil {
			return nil
		}
		t.blocks = append(t.blocks, &block{lead: lines[from:start]})
		from = stop
	}
	list.Content, t.tail = own, lines[from:]
	lead := t.blocks[0].lead
	at := headOf(lead)
	t.head, t.blocks[0].lead = slices.Clone(lead[:at]), lead[at:]
	if at > 0 && strings.TrimSpace(lead[at-1]) != "" {
		t.head = append(t.head, "")
	}
	return t
}

// headOf returns the number of lines above the first entry that describe the whole file: those up to the first blank line.
func headOf(lead []string) int {
	at, text, done := 0, false, false
	for i, l := range lead {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasPrefix(l, "---") || strings.HasPrefix(l, "%"):
			at, text, done = i+1, false, false
		case l != "":
			text = true
		case text && !done:
			at, done = i+1, true
		}
	}
	if at == 0 {
		return len(lead)
	}
	return at
}

// dashes returns the zero-based line of each entry of the list, or nil.
func dashes(lines []string, list *yaml.Node) []int {
	column, end := list.Column-1, -1
	begins := func(l string) bool {
		return len(l) > column && strings.TrimSpace(l[:column]) == "" && l[column] == '-' && (len(l) == column+1 || l[column+1] == ' ' || l[column+1] == '\t')
	}
	var out []int
	for _, n := range list.Content {
		i := min(n.Line, len(lines)) - 1
		for i > end && !begins(lines[i]) {
			i--
		}
		if i <= end {
			return nil
		}
		out, end = append(out, i), i
	}
	return out
}

// ownLines parses an entry from its own lines and returns nil if the result differs from the entry. An entry with an alias to
// another one cannot be parsed alone; it loses its comments.
func ownLines(lines []string, start int, entry *yaml.Node) *yaml.Node {
	root, _, err := parse([]byte(strings.Join(lines, "\n") + "\n"))
	if err != nil && strings.Contains(err.Error(), "unknown anchor") {
		return bare(entry)
	}
	if err != nil || root == nil || root.Kind != yaml.SequenceNode || len(root.Content) != 1 || !equal(root.Content[0], entry) {
		return nil
	}
	move(root.Content[0], start)
	return root.Content[0]
}

func move(n *yaml.Node, lines int) {
	n.Line += lines
	for _, c := range n.Content {
		move(c, lines)
	}
}

func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// withComments adds the comments of the old file that the new one lacks.
func withComments(text, old string, list *yaml.Node) []byte {
	there := map[string]bool{}
	for line := range strings.Lines(text) {
		for at := strings.IndexByte(line, '#'); at >= 0; at = strings.IndexByte(line, '#') {
			there[strings.TrimSpace(line[at:])] = true
			line = line[at+1:]
		}
	}
	var lost []string
	for _, c := range comments(old, list) {
		if !there[c] && !strings.Contains(text, c) {
			lost = append(lost, c)
		}
		there[c] = true
	}
	var b bytes.Buffer
	b.WriteString(text)
	for i, c := range lost {
		if i == 0 {
			b.WriteString("\n" + commentHeading + "\n")
		}
		b.WriteString(c + "\n")
	}
	return b.Bytes()
}

// comments returns the comments of a file, both whole lines and those after values.
func comments(old string, list *yaml.Node) []string {
	var out []string
	add := func(s string) {
		for _, l := range anyLineEnd().Split(s, -1) {
			if l = strings.TrimSpace(printable(l)); len(l) > 1 && l[0] == '#' {
				out = append(out, l)
			}
		}
	}
	add(old)
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		add(n.HeadComment)
		add(n.LineComment)
		add(n.FootComment)
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(list)
	return out
}
