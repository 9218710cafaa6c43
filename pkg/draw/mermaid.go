package draw

import (
	"fmt"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Mermaid prints the model as a Mermaid flowchart.
func (m *Model) Mermaid(w io.Writer, o Options) error {
	keys := m.keys()
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	m.write(&b, o.Cluster, notation{
		open: func(i int, label string) string { return fmt.Sprintf("subgraph c%d[\"%s\"]", i, mermaidText(label)) },
		end:  "end",
		node: func(n int) string { return keys[n] + m.Nodes[n].mermaid() },
		link: func(l *link) string { return keys[l.from] + " " + m.mermaidArrow(l.edges) + " " + keys[l.to] },
	})
	m.mermaidClasses(&b, keys, o.Theme)
	_, err := io.WriteString(w, b.String())
	return err
}

func (m *Model) mermaidArrow(edges []int) string {
	arrow := "-->"
	if m.isDashed(edges) {
		arrow = "-.->"
	}
	if label := m.linkLabel(edges); label != "" {
		arrow += "|\"" + mermaidText(label) + "\"|"
	}
	return arrow
}

func (n *Node) mermaid() string {
	open, end := "[", "]"
	switch n.Kind {
	case Base:
		open, end = "([", "])"
	case External, Collapsed:
		open, end = "[[", "]]"
	case Unresolved:
		open, end = "{{", "}}"
	}
	name, detail := n.lines(false)
	text := mermaidText(name)
	if detail != "" {
		text += "<br>" + mermaidText(detail)
	}
	return open + `"` + text + `"` + end
}

// mermaidClasses gives each status its colour.
func (m *Model) mermaidClasses(b *strings.Builder, keys []string, t Theme) {
	for _, c := range m.statuses() {
		var members []string
		for i := range m.Nodes {
			if m.Nodes[i].Status == c.Status {
				members = append(members, keys[i])
			}
		}
		if len(members) == 0 {
			continue // in collapsed nodes only
		}
		r := statusRole(c.Status)
		fmt.Fprintf(b, "  classDef %s stroke:%s,stroke-width:2px\n  class %s %s\n", r, t.hex(r), strings.Join(members, ","), r)
	}
}

// mermaidText writes what could end a label, or be taken for markup, as Mermaid's entity codes.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case sanitize.IsUnsafe(r), strings.ContainsRune("\"#<>;&`\\{}[]()|", r):
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
