package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Node is an image or base image of a drawn graph.
type Node struct {
	ID    string `json:"id"`   // image/NAME or base/NAME
	Kind  string `json:"kind"` // managed, external, base
	Label string `json:"label"`
	key   string // short name for drawings, where an ID must be a plain word
}

// Edge leads from an image to one that is built on it.
type Edge struct {
	From   string   `json:"from"`
	To     string   `json:"to"`
	Ref    string   `json:"ref"`
	Kinds  []string `json:"kinds"` // from, copy, mount, onbuild
	Pinned bool     `json:"pinned,omitempty"`
	// Implied says that To also reaches From through another parent, so that a drawing can leave the edge out.
	Implied bool `json:"implied,omitempty"`
}

// Drawing is a graph, or a part of one, in the order of its nodes.
type Drawing struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Draw collects the images of a list, what they are built on among themselves, and the base images for which shown is
// true of the image that uses them and of their name.
func Draw(cfg *config.Config, g *graph.Graph, names []string, shown func(image, base string) bool) Drawing {
	d := Drawing{Nodes: []Node{}, Edges: []Edge{}}
	bases := map[string]Node{}
	for i, name := range names {
		kind := "managed"
		if !cfg.Find(name).Managed() {
			kind = "external"
		}
		d.Nodes = append(d.Nodes, Node{ID: "image/" + name, Kind: kind, Label: name, key: "i" + strconv.Itoa(i)})
		drawn := g.ReducedParents(name)
		for _, dep := range g.Deps(name) {
			e := Edge{To: "image/" + name, Ref: dep.Ref.String(), Pinned: dep.Ref.Pinned()}
			for _, u := range dep.Uses {
				if !slices.Contains(e.Kinds, u.Kind) {
					e.Kinds = append(e.Kinds, u.Kind)
				}
			}
			switch {
			case dep.Parent != "" && !slices.Contains(names, dep.Parent):
				continue
			case dep.Parent != "":
				e.From, e.Implied = "image/"+dep.Parent, !slices.Contains(drawn, dep.Parent)
			default:
				id := dep.Base
				if id == "" { // a reference that has only a digest
					id = e.Ref
				}
				if !shown(name, id) {
					continue
				}
				e.From = "base/" + id
				bases[e.From] = Node{ID: e.From, Kind: "base", Label: state.Short(dep.Ref.String())}
			}
			d.Edges = append(d.Edges, e)
		}
	}
	var ids []string
	for id := range bases {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i, id := range ids {
		n := bases[id]
		n.key = "b" + strconv.Itoa(i)
		d.Nodes = append(d.Nodes, n)
	}
	return d
}

// Mermaid prints the drawing as a Mermaid flowchart.
func (d Drawing) Mermaid(w io.Writer) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	keys := map[string]string{}
	for _, n := range d.Nodes {
		keys[n.ID] = n.key
		open, end := "[", "]"
		switch n.Kind {
		case "base":
			open, end = "([", "])"
		case "external":
			open, end = "[[", "]]"
		}
		fmt.Fprintf(&b, "  %s%s\"%s\"%s\n", n.key, open, mermaidText(n.Label), end)
	}
	seen := map[string]bool{}
	for _, e := range d.Edges {
		arrow := "-->"
		if e.Pinned || !slices.Contains(e.Kinds, "from") {
			arrow = "-.->"
		}
		line := fmt.Sprintf("  %s %s %s\n", keys[e.From], arrow, keys[e.To])
		if !e.Implied && !seen[line] {
			b.WriteString(line)
		}
		seen[line] = true
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText writes what could end a label, or be taken for markup, as Mermaid's entity codes.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\"#<>;&`\\{}[]()|", r) || r < 0x20 || r == 0x7f {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// DOT prints the drawing for Graphviz.
func (d Drawing) DOT(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph imagefactory {\n  rankdir=LR;\n  node [shape=box];\n")
	keys := map[string]string{}
	for _, n := range d.Nodes {
		keys[n.ID] = n.key
		shape := ""
		switch n.Kind {
		case "base":
			shape = ", shape=ellipse"
		case "external":
			shape = ", peripheries=2"
		}
		fmt.Fprintf(&b, "  %s [label=%s%s];\n", n.key, dotString(n.Label), shape)
	}
	seen := map[string]bool{}
	for _, e := range d.Edges {
		style := ""
		if e.Pinned || !slices.Contains(e.Kinds, "from") {
			style = " [style=dashed]"
		}
		line := fmt.Sprintf("  %s -> %s%s;\n", keys[e.From], keys[e.To], style)
		if !e.Implied && !seen[line] {
			b.WriteString(line)
		}
		seen[line] = true
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// dotString quotes a label as the DOT language does: only quotes and backslashes are special.
func dotString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(sanitize.Terminal(s)) + `"`
}
