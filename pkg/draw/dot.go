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

// notation is how a format that is text writes a graph, a line for each part.
type notation struct {
	open func(i int, label string) string // begins a cluster
	end  string                           // ends it
	node func(n int) string
	link func(l *link) string
}

// write writes the nodes of each cluster, the other nodes, and the links.
func (m *Model) write(b *strings.Builder, by Cluster, form notation) {
	links := m.links(false)
	lanes, names := m.lanes(by, links, ranks(len(m.Nodes), links))
	nodes := func(lane int, indent string) {
		for n := range m.Nodes {
			if lanes[n] == lane {
				b.WriteString(indent + form.node(n) + "\n")
			}
		}
	}
	for i, name := range names {
		b.WriteString("  " + form.open(i, name) + "\n")
		nodes(i, "    ")
		b.WriteString("  " + form.end + "\n")
	}
	nodes(-1, "  ")
	for i := range links {
		b.WriteString("  " + form.link(&links[i]) + "\n")
	}
}

// DOT prints the model for Graphviz.
func (m *Model) DOT(w io.Writer, o Options) error {
	keys := m.keys()
	var b strings.Builder
	b.WriteString("digraph imagefactory {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n  edge [fontname=\"monospace\", fontsize=9];\n")
	m.write(&b, o.Cluster, notation{
		open: func(i int, label string) string {
			return fmt.Sprintf("subgraph cluster_%d {\n    label=%s;", i, dotString(label))
		},
		end:  "}",
		node: func(n int) string { return keys[n] + " [" + m.Nodes[n].dot(o.Theme) + "];" },
		link: func(l *link) string { return keys[l.from] + " -> " + keys[l.to] + m.dotLink(l.edges) + ";" },
	})
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
		attributes += `, color="` + t.hex(statusRole(n.Status)) + `"`
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
