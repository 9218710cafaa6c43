package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// Tree prints a drawing as trees: below each image those that are built on it. What an image that appears again leads to is shown
// only once. The node with the ID focus is emphasized.
func (s Style) Tree(w io.Writer, m *draw.Model, focus string) error {
	t := tree{style: s, focus: focus, nodes: map[string]*draw.Node{}, below: map[string][]branch{}, shown: map[string]bool{}}
	isChild := map[string]bool{}
	for i := range m.Nodes {
		t.nodes[m.Nodes[i].ID] = &m.Nodes[i]
	}
	for i := range m.Edges {
		if e := &m.Edges[i]; !e.Implied {
			t.add(e)
			isChild[e.To] = true
		}
	}
	for id := range t.below {
		slices.SortFunc(t.below[id], func(a, b branch) int { return strings.Compare(t.nodes[a.to].Label, t.nodes[b.to].Label) })
	}
	var roots []string
	for i := range m.Nodes {
		if id := m.Nodes[i].ID; !isChild[id] {
			roots = append(roots, id)
		}
	}
	slices.SortStableFunc(roots, func(a, b string) int { return strings.Compare(t.nodes[a].Label, t.nodes[b].Label) })
	for _, id := range roots {
		t.print(branch{to: id}, "", "")
	}
	for i := range m.Nodes { // images in a cycle hang below no root
		if id := m.Nodes[i].ID; !t.seen(id) {
			t.print(branch{to: id}, "", "")
		}
	}
	_, err := io.WriteString(w, t.out.String())
	return err
}

type tree struct {
	style Style
	focus string
	nodes map[string]*draw.Node
	below map[string][]branch
	shown map[string]bool
	out   strings.Builder
}

// branch is all edges from one node to another one.
type branch struct {
	to     string
	kinds  []string
	pinned bool
}

func (t *tree) add(e *draw.Edge) {
	for i := range t.below[e.From] {
		if b := &t.below[e.From][i]; b.to == e.To {
			b.kinds, b.pinned = append(slices.Clip(b.kinds), e.Kinds...), b.pinned && e.Pinned
			return
		}
	}
	t.below[e.From] = append(t.below[e.From], branch{e.To, e.Kinds, e.Pinned})
}

func (t *tree) seen(id string) bool { return t.shown[id] }

// print prints a node and what is below it. The prefixes are of its own line and of those below.
func (t *tree) print(b branch, prefix, below string) {
	n := t.nodes[b.to]
	again := t.shown[b.to]
	t.shown[b.to] = true
	t.line(n, b, prefix, again && len(t.below[b.to]) > 0)
	if again {
		return
	}
	for i, child := range t.below[b.to] {
		if i == len(t.below[b.to])-1 {
			t.print(child, below+"└─ ", below+"   ")
		} else {
			t.print(child, below+"├─ ", below+"│  ")
		}
	}
}

// line prints one line, shortened to the width of the terminal.
func (t *tree) line(n *draw.Node, b branch, prefix string, again bool) {
	name, status := sanitize.Terminal(n.ShortLabel()), StatusWord(policy.Status(n.Status))
	var rest []string
	if kinds := draw.Instructions(b.kinds); len(kinds) > 0 && (len(kinds) > 1 || kinds[0] != "FROM") {
		rest = append(rest, strings.Join(kinds, ", "))
	}
	if b.pinned {
		rest = append(rest, "pinned")
	}
	switch n.Kind {
	case draw.Unresolved:
		rest = append(rest, "unresolved")
	case draw.External:
		rest = append(rest, "external")
	case draw.Collapsed:
		for _, c := range n.Statuses {
			rest = append(rest, fmt.Sprintf("%d %s", c.Images, StatusWord(policy.Status(c.Status))))
		}
	}
	if n.Version != "" {
		rest = append(rest, sanitize.Terminal(n.Version))
	}
	if n.Digest != "" {
		rest = append(rest, sanitize.Terminal(draw.ShortDigest(n.Digest)))
	}
	if again {
		rest = append(rest, "(see above)")
	}
	t.write(prefix, name, status, strings.Join(rest, "  "), n.ID == t.focus)
}

func (t *tree) write(prefix, name, status, rest string, focus bool) {
	cut := func(s string) string {
		if t.style.Width == 0 {
			return s
		}
		used := utf8.RuneCountInString(prefix)
		return shorten(s, max(t.style.Width-used, minCell))
	}
	line := strings.Join(slices.DeleteFunc([]string{name, status, rest}, func(s string) bool { return s == "" }), "  ")
	line = cut(line)
	if t.style.Color {
		if tail, ok := strings.CutPrefix(line, name); ok && status != "" && strings.HasPrefix(tail, "  "+status) {
			tail = "  " + colorOf(status) + status + plain + strings.TrimPrefix(tail, "  "+status)
			line = name + tail
		}
		if tail, ok := strings.CutPrefix(line, name); ok && focus {
			line = bold + name + plain + tail
		}
	}
	t.out.WriteString(prefix + line + "\n")
}
