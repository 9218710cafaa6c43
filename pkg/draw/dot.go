package draw

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// keys returns a plain word for each node: i0, i1 for images and b0, b1 for the others.
func (m *Model) keys() []string {
	out := make([]string, len(m.Nodes))
	images, others := 0, 0
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.images() > 0 {
			out[i] = "i" + strconv.Itoa(images)
			images++
		} else {
			out[i] = "b" + strconv.Itoa(others)
			others++
		}
	}
	return out
}

// grouped calls open and end around the nodes of each cluster, and node for each node.
func (m *Model) grouped(by Cluster, open func(i int, label string), node func(n int), end func()) {
	lanes, names := m.lanes(by, m.links(false), ranks(len(m.Nodes), m.links(false)))
	for i, name := range names {
		open(i, name)
		for n := range m.Nodes {
			if lanes[n] == i {
				node(n)
			}
		}
		end()
	}
	for n := range m.Nodes {
		if lanes[n] == -1 {
			node(n)
		}
	}
}

// DOT prints the model for Graphviz.
func (m *Model) DOT(w io.Writer, o Options) error {
	keys := m.keys()
	var b strings.Builder
	b.WriteString("digraph imagefactory {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n  edge [fontname=\"monospace\", fontsize=9];\n")
	indent := "  "
	m.grouped(o.Cluster, func(i int, label string) {
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, dotString(label))
		indent = "    "
	}, func(n int) {
		fmt.Fprintf(&b, "%s%s [%s];\n", indent, keys[n], m.Nodes[n].dot(o.Theme))
	}, func() {
		b.WriteString("  }\n")
		indent = "  "
	})
	for _, l := range m.links(false) {
		fmt.Fprintf(&b, "  %s -> %s%s;\n", keys[l.from], keys[l.to], m.dotLink(l.edges))
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (n *Node) dot(t Theme) string {
	name, detail := n.lines(false)
	if detail != "" {
		name += "\n" + detail
	}
	attributes := "label=" + dotString(name)
	switch n.Kind {
	case Base:
		attributes += ", shape=ellipse"
	case External:
		attributes += ", peripheries=2"
	case Unresolved:
		attributes += ", style=dashed"
	case Collapsed:
		attributes += ", shape=box3d"
	}
	if n.Status != "" {
		c := t.colorOf(statusRole(n.Status))
		attributes += fmt.Sprintf(", color=\"#%02x%02x%02x\"", c.R, c.G, c.B)
	}
	return attributes
}

func (m *Model) dotLink(edges []int) string {
	var attributes []string
	if m.isDashed(edges) {
		attributes = append(attributes, "style=dashed")
	}
	if label := m.linkLabel(edges); label != "" {
		attributes = append(attributes, "label="+dotString(label))
	}
	if len(attributes) == 0 {
		return ""
	}
	return " [" + strings.Join(attributes, ", ") + "]"
}

// isDashed reports whether a link is drawn as a dashed line: one that is no FROM, or that a rebuild cannot move.
func (m *Model) isDashed(edges []int) bool {
	return m.pinned(edges) || !slices.ContainsFunc(edges, func(e int) bool { return slices.Contains(m.Edges[e].Kinds, "from") })
}

// dotString quotes a label as the DOT language does: only quotes and backslashes are special. Some parsers refuse U+FFFD.
func dotString(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = sanitize.Terminal(lines[i])
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\ufffd", "?").Replace(strings.Join(lines, "\n")) + `"`
}
