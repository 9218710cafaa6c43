package draw

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// scene is a drawing as shapes, in the order in which they are painted.
type scene struct {
	w, h        float64
	title, desc string
	groups      []group
}

// group is shapes that belong together, with a text that is shown when a reader points at them.
type group struct {
	title  string
	shapes []shape
}

// shape is a rectangle, a path or a text.
type shape struct {
	box          Box     // of a rectangle
	radius       float64 // of its corners
	path         []Point // of a path: see [Path.Points]
	closed       bool
	text         string // at the left end of its base line
	at           Point
	size         float64 // of the text
	bold         bool
	fill, stroke role
	width        float64 // of the stroke
	dash         []float64
}

// scene makes the shapes of a model that is laid out.
func (m *Model) scene(l *Layout, title string) scene {
	s := scene{w: max(l.Width, 360), title: title, desc: m.describe()}
	const head = 34.0
	s.text(Point{margin, 24}, title, 14, ink, true)
	s.text(Point{margin + textWidth(title, 14) + 14, 24}, s.desc, smallSize, faint, false)
	s.w = max(s.w, 2*margin+textWidth(title, 14)+14+textWidth(s.desc, smallSize))
	for i := range l.Frames {
		f := &l.Frames[i]
		label := shorten(f.Label, maxFrameLabel)
		b := Box{f.X, f.Y + head, f.W, f.H}
		s.groups = append(s.groups, group{title: f.Label, shapes: []shape{
			{box: b, radius: 8, fill: frameFill, stroke: nodeLine, width: 1},
			{text: label, at: Point{b.X + 10, b.Y + 14}, size: smallSize, fill: faint, bold: true},
		}})
	}
	for i := range l.Paths {
		s.groups = append(s.groups, m.pathGroup(l, &l.Paths[i], head))
	}
	for i := range m.Nodes {
		s.groups = append(s.groups, m.Nodes[i].group(l, &l.Nodes[i], head))
	}
	s.h = m.legend(&s, l.Height+head)
	return s
}

func (s *scene) text(at Point, text string, size float64, fill role, bold bool) {
	s.groups = append(s.groups, group{shapes: []shape{{text: text, at: at, size: size, fill: fill, bold: bold}}})
}

// describe counts what is drawn: "15 images, 9 base images".
func (m *Model) describe() string {
	images, bases, unresolved := 0, 0, 0
	for i := range m.Nodes {
		n := &m.Nodes[i]
		switch {
		case n.Kind == Base:
			bases++
		case n.Kind == Unresolved:
			unresolved++
		case n.images() > 0:
			images += n.images()
		default:
			if strings.HasPrefix(n.Members[0], "base/") {
				bases += len(n.Members)
			} else {
				unresolved += len(n.Members)
			}
		}
	}
	parts := []string{count(images, "image"), count(bases, "base image")}
	if unresolved > 0 {
		parts = append(parts, count(unresolved, "unresolved reference"))
	}
	return strings.Join(parts, ", ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (n *Node) group(l *Layout, box *Box, dy float64) group {
	b := Box{box.X, box.Y + dy, box.W, box.H}
	name, detail := n.lines(l.Compact)
	main := shape{box: b, radius: 4, fill: nodeFill, stroke: nodeLine, width: 1}
	switch n.Kind {
	case Base:
		main.fill, main.radius = baseFill, min(b.H/2, 16)
	case External:
		main.dash = []float64{3, 2}
	case Unresolved:
		main.stroke, main.dash = badLine, []float64{4, 3}
	case Collapsed:
		main.width, main.stroke = 1.6, faint
	}
	g := group{title: n.tooltip(), shapes: []shape{main}}
	if n.Status != "" {
		g.shapes = append(g.shapes, shape{box: Box{b.X, b.Y, statusWidth, b.H}, radius: 3, fill: statusRole(n.Status)})
	}
	x := b.X + statusWidth + padding/2
	if n.Status == "" && n.Kind != Collapsed {
		x = b.X + padding + 2
	}
	top := b.Y + (b.H-n.textHeight(detail, l.Compact))/2
	g.shapes = append(g.shapes, shape{text: name, at: Point{x, top + 11}, size: fontSize, fill: ink, bold: n.Kind == Managed})
	if detail == "" {
		return g
	}
	if l.Compact && n.Kind != Collapsed {
		g.shapes = append(g.shapes, shape{text: detail, at: Point{b.X + b.W - padding/2 - textWidth(detail, smallSize), top + 10.5}, size: smallSize, fill: faint})
		return g
	}
	g.shapes = append(g.shapes, shape{text: detail, at: Point{x, top + 24}, size: smallSize, fill: faint})
	if n.Kind == Collapsed {
		g.shapes = append(g.shapes, n.bar(Box{b.X + 6, b.Y + b.H - 8, b.W - 12, 4})...)
	}
	return g
}

// textHeight is the height of the text of a node.
func (n *Node) textHeight(detail string, compact bool) float64 {
	if detail == "" || compact && n.Kind != Collapsed {
		return 14
	}
	if n.Kind == Collapsed {
		return 34
	}
	return 28
}

// bar shows how many images of a collapsed node have which status.
func (n *Node) bar(b Box) []shape {
	total := 0
	for _, c := range n.Statuses {
		total += c.Images
	}
	var out []shape
	x := b.X
	for _, c := range n.Statuses {
		w := b.W * float64(c.Images) / float64(total)
		out = append(out, shape{box: Box{x, b.Y, w, b.H}, fill: statusRole(c.Status)})
		x += w
	}
	return out
}

// tooltip describes a node in full.
func (n *Node) tooltip() string {
	parts := []string{n.Label}
	for _, s := range []string{statusWord(n.Status), n.Version, n.Digest, n.Owner, n.Repository} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	const most = 20
	for i, id := range n.Members {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(n.Members)-most))
			break
		}
		_, name, _ := strings.Cut(id, "/")
		parts = append(parts, name)
	}
	return strings.Join(parts, "\n")
}

// instructions are the kinds of use as a Dockerfile has them, the most important first.
var instructions = []struct {
	kind, name string
	dash       []float64
}{
	{"from", "FROM", nil},
	{"onbuild", "ONBUILD", []float64{9, 3, 2, 3}},
	{"copy", "COPY --from", []float64{6, 3}},
	{"mount", "RUN --mount", []float64{2, 3}},
}

// linkKinds returns the names of the instructions of a link, and the line style of the first.
func (m *Model) linkKinds(edges []int) (names []string, dash []float64) {
	for _, in := range instructions {
		for _, e := range edges {
			if slices.Contains(m.Edges[e].Kinds, in.kind) {
				if len(names) == 0 {
					dash = in.dash
				}
				names = append(names, in.name)
				break
			}
		}
	}
	return names, dash
}

// linkLabel returns the label of a link: nothing for a plain FROM.
func (m *Model) linkLabel(edges []int) string {
	names, _ := m.linkKinds(edges)
	if len(names) == 1 && names[0] == "FROM" {
		names = nil
	}
	if m.pinned(edges) {
		pin := "pinned"
		if e := &m.Edges[edges[0]]; len(edges) == 1 && !strings.Contains(e.From, "@") {
			_, digest, _ := strings.Cut(e.Ref, "@")
			pin = strings.TrimSpace(pin + " " + sanitize.Terminal(ShortDigest(digest)))
		}
		names = append(names, pin)
	}
	return strings.Join(names, ", ")
}

// pinned reports whether every edge is pinned.
func (m *Model) pinned(edges []int) bool {
	return !slices.ContainsFunc(edges, func(e int) bool { return !m.Edges[e].Pinned })
}

// lineOf returns how a link is drawn.
func (m *Model) lineOf(edges []int) shape {
	names, dash := m.linkKinds(edges)
	s := shape{stroke: edgeLine, width: 1, dash: dash}
	images := 0
	for _, e := range edges {
		if m.Edges[e].Final {
			s.width = 1.6
		}
		images += m.Edges[e].Images
	}
	switch {
	case len(names) == 0:
		s.stroke, s.dash = badLine, []float64{2, 3}
	case m.pinned(edges):
		s.stroke = pinLine
	}
	if images > 1 {
		s.width = min(5, 1.6+float64(images)/12)
	}
	return s
}

func (m *Model) pathGroup(l *Layout, p *Path, dy float64) group {
	line := m.lineOf(p.Edges)
	if !l.Labels && line.stroke == edgeLine && line.width <= 1 {
		line.stroke = thinLine
	}
	line.path = make([]Point, len(p.Points))
	for i, q := range p.Points {
		line.path[i] = Point{q.X, q.Y + dy}
	}
	end := &line.path[len(line.path)-1]
	tip, before := *end, line.path[len(line.path)-2]
	dir := 1.0
	if before.X > tip.X {
		dir = -1
	}
	half := 3 + line.width/2
	end.X -= dir * (arrowLength - 2) // so that the line does not blunt the arrow
	base := tip.X - dir*arrowLength
	arrow := shape{closed: true, fill: line.stroke, path: []Point{{base, tip.Y - half}, tip, {base, tip.Y + half}}}
	g := group{title: m.pathTitle(p), shapes: []shape{line, arrow}}
	if label := m.linkLabel(p.Edges); l.Labels && label != "" && dir > 0 {
		at := Point{tip.X - arrowLength - 2 - textWidth(label, tinySize), tip.Y - 2.5}
		fill := faint
		if line.stroke == pinLine {
			fill = pinLine
		}
		g.shapes = append(g.shapes, shape{text: label, at: at, size: tinySize, fill: fill})
	}
	return g
}

// pathTitle describes a link in full.
func (m *Model) pathTitle(p *Path) string {
	parts := []string{m.Nodes[p.From].Label + " → " + m.Nodes[p.To].Label}
	for _, e := range p.Edges {
		names, _ := m.linkKinds([]int{e})
		line := strings.Join(append(names, m.Edges[e].Ref), " ")
		if m.Edges[e].Pinned {
			line += " (pinned)"
		}
		parts = append(parts, line)
	}
	const most = 10
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "\n")
}

// legend explains the colours, lines and frames that occur, and returns the height of the whole drawing.
func (m *Model) legend(s *scene, top float64) float64 {
	x, y := margin, top+4
	s.groups = append(s.groups, group{shapes: []shape{{path: line(Point{margin, y}, Point{s.w - margin, y}), stroke: nodeLine, width: 1}}})
	y += 20
	add := func(text string, width float64, draw func(x float64) []shape) {
		if need := width + 6 + textWidth(text, smallSize); x > margin && x+need > s.w-margin {
			x, y = margin, y+18
		}
		g := group{shapes: draw(x)}
		x += width + 6
		g.shapes = append(g.shapes, shape{text: text, at: Point{x, y}, size: smallSize, fill: ink})
		s.groups = append(s.groups, g)
		x += textWidth(text, smallSize) + 18
	}
	for _, c := range m.statuses() {
		add(fmt.Sprintf("%s (%d)", statusWord(c.Status), c.Images), 10, func(x float64) []shape {
			return []shape{{box: Box{x, y - 9, 10, 10}, radius: 2, fill: statusRole(c.Status)}}
		})
	}
	m.legendOfNodes(add, &y)
	m.legendOfLinks(add, &y)
	return y + margin
}

// line is a straight path.
func line(a, b Point) []Point {
	c := curve{a}
	c.line(b)
	return c
}

// statuses counts the images by status, in the order of their colours.
func (m *Model) statuses() []StatusCount {
	counts := map[string]int{}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Status != "" {
			counts[n.Status]++
		}
		for _, c := range m.Nodes[i].Statuses {
			counts[c.Status] += c.Images
		}
	}
	var out []StatusCount
	for status, n := range counts {
		out = append(out, StatusCount{status, n})
	}
	place := func(c StatusCount) int {
		for i := range roles {
			if roles[i].role == statusRole(c.Status) {
				return i
			}
		}
		return len(roles)
	}
	slices.SortFunc(out, func(a, b StatusCount) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Status, b.Status)
	})
	return out
}

func (m *Model) legendOfNodes(add func(string, float64, func(float64) []shape), y *float64) {
	sample := func(kind Kind) func(float64) []shape {
		return func(x float64) []shape {
			g := (&Node{Kind: kind}).group(&Layout{Compact: true}, &Box{x, *y - 10, 22, 12}, 0)
			return g.shapes[:1]
		}
	}
	for _, k := range []struct {
		kind Kind
		text string
	}{{Base, "base image"}, {External, "external image"}, {Unresolved, "unresolved"}, {Collapsed, "several images"}} {
		if slices.ContainsFunc(m.Nodes, func(n Node) bool { return n.Kind == k.kind }) {
			add(k.text, 22, sample(k.kind))
		}
	}
}

func (m *Model) legendOfLinks(add func(string, float64, func(float64) []shape), y *float64) {
	links := m.links(false)
	var pinned, final, other bool
	for i := range links {
		pinned = pinned || m.pinned(links[i].edges)
		isFinal := slices.ContainsFunc(links[i].edges, func(e int) bool { return m.Edges[e].Final })
		final, other = final || isFinal, other || !isFinal
	}
	sample := func(s shape) func(float64) []shape {
		return func(x float64) []shape {
			s.path = line(Point{x, *y - 3.5}, Point{x + 26, *y - 3.5})
			return []shape{s}
		}
	}
	for _, in := range instructions {
		found := slices.ContainsFunc(links, func(l link) bool {
			return slices.ContainsFunc(l.edges, func(e int) bool { return slices.Contains(m.Edges[e].Kinds, in.kind) })
		})
		switch {
		case found && in.kind == "from" && final && other:
			add("FROM of the image", 26, sample(shape{stroke: edgeLine, width: 1.8}))
			add("FROM of a build stage", 26, sample(shape{stroke: edgeLine, width: 1}))
		case found:
			add(in.name, 26, sample(shape{stroke: edgeLine, width: 1.2, dash: in.dash}))
		}
	}
	if pinned {
		add("pinned by digest", 26, sample(shape{stroke: pinLine, width: 1.2}))
	}
}

// Instructions returns the Dockerfile instructions of kinds of use, the most important first.
func Instructions(kinds []string) []string {
	var out []string
	for _, in := range instructions {
		if slices.Contains(kinds, in.kind) {
			out = append(out, in.name)
		}
	}
	return out
}
