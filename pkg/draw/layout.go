package draw

import (
	"cmp"
	"math"
	"slices"
)

// Point is a place in a drawing, in pixels from its upper left corner.
type Point struct{ X, Y float64 }

// Box is a rectangle in a drawing.
type Box struct{ X, Y, W, H float64 }

// Path is a link between two nodes: a chain of cubic Bézier curves, so that three points follow the first one for each curve.
type Path struct {
	From, To int   // nodes of the model
	Edges    []int // of the model that are drawn as this one
	Points   []Point
}

// Frame is the frame around the nodes of one cluster.
type Frame struct {
	Label string
	Box
}

// Layout is where everything is drawn: bases at the left, the images built on them to their right.
type Layout struct {
	Width, Height float64
	Nodes         []Box // of the model's nodes, in their order
	Paths         []Path
	Frames        []Frame
	Compact       bool // nodes have one line of text only
	Labels        bool // links that are no plain FROM have a label
}

// Cluster selects which images are drawn in a common frame.
type Cluster string

// Clusters.
const (
	ByOwner      Cluster = "owner"
	ByRepository Cluster = "repository"
	Unclustered  Cluster = "none"
)

// Clusters lists the values of [Cluster].
func Clusters() []Cluster { return []Cluster{ByOwner, ByRepository, Unclustered} }

const (
	margin        = 16.0
	rowGap        = 8.0
	dummyGap      = 7.0  // between the curves that pass between nodes
	denseGap      = 2.0  // the same in a compact drawing
	subGap        = 14.0 // between the columns that one layer is broken into
	frameGap      = 14.0
	frameLabel    = 20.0
	maxFrameLabel = 60     // characters
	tallLayer     = 1400.0 // a layer higher than this may be broken into several columns
	aspect        = 1.5    // width to height that is aimed at
	// With labels the links into a node are further apart, and have a straight end for the label.
	labelledLinks = 120
	portGap       = 7.0
	labelGap      = 12.0
	maxLabelled   = 12.0 // links into a node for which it grows
	arrowLength   = 8.0
)

// Layout places the nodes in layers and routes the links between them. It follows the method of Sugiyama: layers by the longest
// path, an order within them with few crossings (barycentres), and coordinates that keep links straight (isotonic regression).
func (m *Model) Layout(by Cluster) Layout {
	out := Layout{Nodes: make([]Box, len(m.Nodes)), Compact: len(m.Nodes) >= compactFrom}
	for i := range m.Nodes {
		b := &out.Nodes[i]
		b.W, b.H = m.Nodes[i].size(out.Compact)
	}
	links := m.links(false)
	out.Labels = !out.Compact && len(links) <= labelledLinks
	if out.Labels {
		m.makeRoom(&out, links)
	}
	levels := ranks(len(m.Nodes), links)
	lanes, names := m.lanes(by, links, levels)
	var parts [][]int
	if len(names) > 0 {
		parts = [][]int{all(len(m.Nodes))}
	} else {
		parts = m.components(links)
	}
	byPart := make([][]int, len(parts)) // links
	partOf := make([]int, len(m.Nodes))
	for p, part := range parts {
		for _, n := range part {
			partOf[n] = p
		}
	}
	for i := range links {
		p := partOf[links[i].from]
		byPart[p] = append(byPart[p], i)
	}
	blocks := make([]block, 0, len(parts))
	var alone []int
	for p, part := range parts {
		if len(part) == 1 {
			alone = append(alone, part[0])
			continue
		}
		l := newLayers(part, links, byPart[p], levels, lanes, len(names), &out)
		blocks = append(blocks, l.place(names))
	}
	if len(alone) > 0 {
		blocks = append(blocks, grid(alone, &out))
	}
	out.pack(blocks)
	return out
}

// makeRoom makes nodes as high as the labels of the links into them.
func (m *Model) makeRoom(out *Layout, links []link) {
	n := make([]float64, len(m.Nodes))
	for i := range links {
		n[links[i].to]++
	}
	for i := range out.Nodes {
		out.Nodes[i].H = max(out.Nodes[i].H, min(n[i], maxLabelled)*labelGap+4)
	}
	for i := range links {
		links[i].label = m.linkLabel(links[i].edges)
	}
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// imagesOf counts the images that nodes stand for.
func (m *Model) imagesOf(nodes []int) int {
	n := 0
	for _, i := range nodes {
		n += m.Nodes[i].images()
	}
	return n
}

// components returns the connected parts of the graph, the largest first.
func (m *Model) components(links []link) [][]int {
	n := len(m.Nodes)
	root := all(n)
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for i := range links {
		a, b := find(links[i].from), find(links[i].to)
		root[max(a, b)] = min(a, b)
	}
	at := map[int]int{}
	var out [][]int
	for i := range n {
		r := find(i)
		k, known := at[r]
		if !known {
			k = len(out)
			at[r] = k
			out = append(out, nil)
		}
		out[k] = append(out[k], i)
	}
	slices.SortStableFunc(out, func(a, b []int) int { return m.imagesOf(b) - m.imagesOf(a) })
	return out
}

// lanes returns the cluster of each node (-1: of none) and the names of the clusters. What only one cluster uses is in it.
func (m *Model) lanes(by Cluster, links []link, levels []int) (lanes []int, names []string) {
	lanes = make([]int, len(m.Nodes))
	for i := range m.Nodes {
		lanes[i] = -1
		if name := m.Nodes[i].cluster(by); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return lanes, nil
	}
	ofSome := func(i int) bool { return m.Nodes[i].Kind == Managed || m.Nodes[i].Kind == External || levels[i] > 0 }
	rest := false
	for i := range m.Nodes {
		if name := m.Nodes[i].cluster(by); name != "" {
			lanes[i], _ = slices.BinarySearch(names, name)
		} else if ofSome(i) {
			lanes[i], rest = len(names), true
		}
	}
	const shared = -2
	only := make([]int, len(m.Nodes))
	for i := range only {
		only[i] = -1
	}
	for i := range links {
		from, to := links[i].from, lanes[links[i].to]
		switch {
		case only[from] == -1:
			only[from] = to
		case only[from] != to:
			only[from] = shared
		}
	}
	for i := range m.Nodes {
		if lanes[i] == -1 && only[i] >= 0 {
			lanes[i] = only[i]
		}
	}
	if rest {
		names = append(names, "no "+string(by))
	}
	return lanes, names
}

func (n *Node) cluster(by Cluster) string {
	switch by {
	case ByOwner:
		return n.Owner
	case ByRepository:
		return n.Repository
	default:
		return ""
	}
}

// block is a part of the drawing that was laid out on its own, at the origin.
type block struct {
	nodes  []int
	paths  []Path
	frames []Frame
	w, h   float64
}

// vertex is a node, or a place where a link passes a layer.
type vertex struct {
	node    int // -1: a link passes
	lane    int // -1: of none
	rank    int
	x, y    float64
	h       float64 // height with the gap to the next one
	in, out []int
}

func (v *vertex) passes() bool { return v.node < 0 }

// layers is a connected part of a graph while it is laid out.
type layers struct {
	out    *Layout
	links  []link
	mine   []int   // of links
	chains [][]int // by mine: vertices from first to second end
	vs     []vertex
	order  [][]int // vertices of each layer
	keys   []float64
	lanes  int // 0: none
	x, w   []float64
	lead   []float64 // before each layer, for the labels of the links into it
	column []float64 // width of the columns of each layer
	subs   []int     // columns of each layer
	row    []float64 // height of the highest node of each layer
	bounds []Box     // of the lanes
}

func newLayers(part []int, links []link, mine, levels, lanes []int, laneCount int, out *Layout) *layers {
	l := &layers{out: out, links: links, mine: mine, lanes: laneCount}
	at := make(map[int]int, len(part))
	for _, n := range part {
		at[n] = len(l.vs)
		rank := levels[n]
		if laneCount > 0 && lanes[n] >= 0 {
			rank++ // the first layer is for what all clusters share
		}
		l.vs = append(l.vs, vertex{node: n, lane: lanes[n], rank: rank, h: out.Nodes[n].H + rowGap})
	}
	l.rightAlign(at)
	for _, i := range mine {
		l.chains = append(l.chains, l.chain(at, &links[i]))
	}
	last := 0
	for i := range l.vs {
		last = max(last, l.vs[i].rank)
	}
	l.order, l.keys = make([][]int, last+1), make([]float64, len(l.vs))
	return l
}

// rightAlign moves what is built on nothing to the layer before its first user.
func (l *layers) rightAlign(at map[int]int) {
	first := map[int]int{}
	hasInput := map[int]bool{}
	for _, i := range l.mine {
		from, to := l.links[i].ends()
		a, b := at[from], at[to]
		hasInput[b] = true
		if f, known := first[a]; !known || l.vs[b].rank < f {
			first[a] = l.vs[b].rank
		}
	}
	for i := range l.vs {
		v := &l.vs[i]
		if f, used := first[i]; used && !hasInput[i] && (l.lanes == 0 || v.lane >= 0) {
			v.rank = max(v.rank, f-1)
		}
	}
}

// chain adds the vertices that a link passes between its ends.
func (l *layers) chain(at map[int]int, k *link) []int {
	from, to := k.ends()
	a, b := at[from], at[to]
	chain := []int{a}
	gap := dummyGap
	if l.out.Compact {
		gap = denseGap
	}
	for r := l.vs[a].rank + 1; r < l.vs[b].rank; r++ {
		chain = append(chain, len(l.vs))
		l.vs = append(l.vs, vertex{node: -1, lane: l.vs[b].lane, rank: r, h: gap})
	}
	chain = append(chain, b)
	for i := range len(chain) - 1 {
		l.vs[chain[i]].out = append(l.vs[chain[i]].out, chain[i+1])
		l.vs[chain[i+1]].in = append(l.vs[chain[i+1]].in, chain[i])
	}
	return chain
}

// place lays the part out.
func (l *layers) place(names []string) block {
	l.sortLayers()
	l.breakLayers()
	l.setX()
	if l.lanes == 0 {
		l.setY(0, func(*vertex) bool { return true })
	} else {
		l.placeLanes(names)
	}
	return l.block(names)
}

// sortLayers orders the vertices of each layer so that few links cross.
func (l *layers) sortLayers() {
	l.firstOrder()
	pos := make([]float64, len(l.vs))
	number := func(layer []int) {
		for i, v := range layer {
			pos[v] = float64(i)
		}
	}
	best, fewest := l.cloneOrder(), math.MaxInt
	sweeps := 24
	if len(l.vs) > 3000 {
		sweeps = 10
	}
	for sweep := range sweeps {
		for _, layer := range l.order {
			number(layer)
		}
		down := sweep%2 == 0
		for i := range l.order {
			layer := l.order[i]
			if !down {
				layer = l.order[len(l.order)-1-i]
			}
			l.sortLayer(layer, pos, down)
			number(layer)
		}
		if n := l.crossings(pos); n < fewest {
			best, fewest = l.cloneOrder(), n
		}
	}
	l.order = best
}

func (l *layers) cloneOrder() [][]int {
	out := make([][]int, len(l.order))
	for i := range l.order {
		out[i] = slices.Clone(l.order[i])
	}
	return out
}

// firstOrder puts what is linked together, by a walk from what is used most.
func (l *layers) firstOrder() {
	starts := all(len(l.vs))
	slices.SortStableFunc(starts, func(a, b int) int {
		return cmp.Or(cmp.Compare(l.vs[a].lane, l.vs[b].lane), cmp.Compare(len(l.vs[b].out), len(l.vs[a].out)))
	})
	seen := make([]bool, len(l.vs))
	var visit func(int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		l.order[l.vs[i].rank] = append(l.order[l.vs[i].rank], i)
		for _, k := range l.vs[i].out {
			visit(k)
		}
	}
	for _, i := range starts {
		if len(l.vs[i].in) == 0 {
			visit(i)
		}
	}
	for _, layer := range l.order {
		slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(l.vs[a].lane, l.vs[b].lane) })
	}
}

// sortLayer sorts a layer by the mean position of its neighbours in the layer before, or after.
func (l *layers) sortLayer(layer []int, pos []float64, down bool) {
	key := l.keys
	for _, i := range layer {
		near := l.vs[i].in
		if !down {
			near = l.vs[i].out
		}
		if len(near) == 0 {
			key[i] = pos[i]
			continue
		}
		sum := 0.0
		for _, k := range near {
			sum += pos[k]
		}
		key[i] = sum / float64(len(near))
	}
	slices.SortStableFunc(layer, func(a, b int) int {
		return cmp.Or(cmp.Compare(l.vs[a].lane, l.vs[b].lane), cmp.Compare(key[a], key[b]))
	})
}

// crossings counts how many links cross between neighbouring layers.
func (l *layers) crossings(pos []float64) int {
	total := 0
	for r, layer := range l.order[:len(l.order)-1] {
		tree := make([]int, len(l.order[r+1])+1) // how many links seen so far end at or above a position
		seen := 0
		for _, i := range layer {
			for _, k := range l.vs[i].out {
				at := int(pos[k])
				below := seen
				for t := at + 1; t > 0; t -= t & -t {
					below -= tree[t]
				}
				total += below
			}
			for _, k := range l.vs[i].out {
				seen++
				for t := int(pos[k]) + 1; t < len(tree); t += t & -t {
					tree[t]++
				}
			}
		}
	}
	return total
}

// breakLayers breaks layers that are much higher than the drawing is wide into several columns, whose rows are offset.
func (l *layers) breakLayers() {
	l.subs = make([]int, len(l.order))
	l.row = make([]float64, len(l.order))
	heights, widths := make([]float64, len(l.order)), make([]float64, len(l.order))
	highest := 0.0
	for r, layer := range l.order {
		l.subs[r] = 1
		for _, i := range layer {
			v := &l.vs[i]
			if !v.passes() {
				heights[r] += v.h
				l.row[r] = max(l.row[r], v.h)
				widths[r] = max(widths[r], l.out.Nodes[v.node].W)
			}
		}
		highest = max(highest, heights[r])
	}
	columns := func(r int, limit float64) float64 { return max(math.Ceil(heights[r]/limit), 1) }
	limit := tallLayer
	for ; limit < highest; limit *= 1.1 {
		total := 0.0
		for r := range l.order {
			total += columns(r, limit)*(widths[r]+subGap) + 100
		}
		if total < aspect*limit {
			break
		}
	}
	for r := range l.order {
		l.subs[r] = int(columns(r, limit))
	}
}

// setX sets the columns, and makes all images of a layer equally wide, and all of its bases.
func (l *layers) setX() {
	l.x, l.w, l.lead = make([]float64, len(l.order)), make([]float64, len(l.order)), make([]float64, len(l.order)+1)
	l.column = make([]float64, len(l.order))
	for k, i := range l.mine {
		if label := l.links[i].label; label != "" {
			r := l.vs[l.chains[k][len(l.chains[k])-1]].rank
			l.lead[r] = max(l.lead[r], textWidth(label, tinySize)+arrowLength+6)
		}
	}
	x := 0.0
	for r, layer := range l.order {
		var widths [2]float64 // of bases, of what is built on others
		links := 0
		for _, i := range layer {
			v := &l.vs[i]
			links += len(v.out)
			if !v.passes() {
				w := &widths[min(len(v.in), 1)]
				*w = max(*w, l.out.Nodes[v.node].W)
			}
		}
		column := max(widths[0], widths[1])
		for _, i := range layer {
			if v := &l.vs[i]; !v.passes() {
				l.out.Nodes[v.node].W = widths[min(len(v.in), 1)]
			}
		}
		l.x[r], l.column[r] = x, column
		l.spread(r)
		l.w[r] = float64(l.subs[r])*(column+subGap) - subGap
		x += l.w[r] + 60 + min(130, 2*float64(links)) + l.lead[r+1]
	}
}

// spread puts the nodes of a layer into its columns by turns, so that two of the same column are a row apart.
func (l *layers) spread(r int) {
	n := 0
	for _, i := range l.order[r] {
		v := &l.vs[i]
		v.x = l.x[r]
		if !v.passes() {
			v.x += float64(n%l.subs[r]) * (l.column[r] + subGap)
			n++
		}
	}
}

// setY sets the heights of the vertices that are selected, so that links are as straight as their order allows.
func (l *layers) setY(top float64, selected func(*vertex) bool) {
	layers := make([][]int, len(l.order))
	for r, layer := range l.order {
		y := 0.0
		for _, i := range layer {
			if v := &l.vs[i]; selected(v) {
				layers[r] = append(layers[r], i)
				v.y = y
				y += l.step(v)
			}
		}
		for _, i := range layers[r] {
			l.vs[i].y -= y / 2
		}
	}
	const rounds = 12
	for round := range rounds {
		for k := range layers {
			r := k
			if round%2 == 1 {
				r = len(layers) - 1 - k
			}
			l.align(layers[r], selected, round%2 == 0 || round >= rounds-4, round%2 == 1 || round >= rounds-4)
		}
	}
	lowest := math.Inf(1)
	for _, layer := range layers {
		for _, i := range layer {
			lowest = min(lowest, l.vs[i].y-l.vs[i].h/2)
		}
	}
	for _, layer := range layers {
		for _, i := range layer {
			l.vs[i].y += top - lowest
		}
	}
}

// step is the distance from a vertex to the next one of its layer. Where a layer is broken into columns it is a part of a row.
func (l *layers) step(v *vertex) float64 {
	if v.passes() || l.subs[v.rank] == 1 {
		return v.h
	}
	return l.row[v.rank] / float64(l.subs[v.rank])
}

// align moves the vertices of one layer as near as possible to the mean height of their neighbours, in their order and without
// overlaps: isotonic regression, by pooling what would overlap.
func (l *layers) align(layer []int, selected func(*vertex) bool, in, out bool) {
	type pool struct{ sum, weight, n float64 }
	pools := make([]pool, 0, len(layer))
	offset := make([]float64, len(layer))
	at := 0.0
	for k, i := range layer {
		v := &l.vs[i]
		if k > 0 {
			at += (l.step(&l.vs[layer[k-1]]) + l.step(v)) / 2
		}
		offset[k] = at
		want, weight := l.wanted(v, selected, in, out)
		pools = append(pools, pool{(want - at) * weight, weight, 1})
		for n := len(pools); n > 1 && pools[n-2].sum*pools[n-1].weight >= pools[n-1].sum*pools[n-2].weight; n = len(pools) {
			a, b := pools[n-2], pools[n-1]
			pools = append(pools[:n-2], pool{a.sum + b.sum, a.weight + b.weight, a.n + b.n})
		}
	}
	k := 0
	for _, p := range pools {
		for range int(p.n) {
			l.vs[layer[k]].y = p.sum/p.weight + offset[k]
			k++
		}
	}
}

// wanted returns the height at which the links of a vertex would be straightest, and how much that counts.
func (l *layers) wanted(v *vertex, selected func(*vertex) bool, in, out bool) (y, weight float64) {
	add := func(near []int) {
		for _, k := range near {
			o := &l.vs[k]
			if !selected(o) {
				continue
			}
			w := 1.0
			if v.passes() && o.passes() {
				w = 8
			} else if v.passes() || o.passes() {
				w = 2
			}
			y += w * o.y
			weight += w
		}
	}
	if in {
		add(v.in)
	}
	if out {
		add(v.out)
	}
	if weight == 0 {
		return v.y, 0.01
	}
	return y / weight, weight
}

// placeLanes lays out each cluster on its own, one below the other, and then what they share.
func (l *layers) placeLanes(names []string) {
	top := 0.0
	frame := Box{X: math.Inf(1)}
	right := 0.0
	for _, name := range names {
		frame.W = max(frame.W, textWidth(shorten(name, maxFrameLabel), smallSize)+2*padding)
	}
	for lane := range l.lanes {
		l.setY(top+frameLabel+frameGap/2, func(v *vertex) bool { return v.lane == lane })
		bottom := top + frameLabel
		for i := range l.vs {
			if v := &l.vs[i]; v.lane == lane {
				bottom = max(bottom, v.y+v.h/2)
				if !v.passes() {
					frame.X = min(frame.X, v.x-frameGap)
					right = max(right, v.x+l.out.Nodes[v.node].W+frameGap)
				}
			}
		}
		l.bounds = append(l.bounds, Box{Y: top, H: bottom + frameGap/2 - top})
		top = bottom + frameGap/2 + frameGap
	}
	for i := range l.bounds {
		l.bounds[i].X, l.bounds[i].W = frame.X, max(frame.W, right-frame.X)
	}
	shared := l.order[0]
	y := 0.0
	for _, i := range shared {
		l.vs[i].y = y
		y += l.step(&l.vs[i])
	}
	everything := func(*vertex) bool { return true }
	for _, i := range shared {
		l.vs[i].y, _ = l.wanted(&l.vs[i], everything, false, true)
	}
	slices.SortStableFunc(shared, func(a, b int) int { return cmp.Compare(l.vs[a].y, l.vs[b].y) })
	l.align(shared, everything, false, true)
	l.spread(0)
}

// block moves the part to the origin and routes its links.
func (l *layers) block(names []string) block {
	var b block
	top := math.Inf(1)
	for i := range l.vs {
		top = min(top, l.vs[i].y-l.vs[i].h/2)
	}
	for i := range l.bounds {
		top = min(top, l.bounds[i].Y)
	}
	left := 0.0
	for i := range l.bounds {
		left = min(left, l.bounds[i].X)
	}
	for i := range l.vs {
		v := &l.vs[i]
		v.y, v.x = v.y-top, v.x-left
		b.h = max(b.h, v.y+v.h/2)
		if !v.passes() {
			box := &l.out.Nodes[v.node]
			box.X, box.Y = v.x, v.y-box.H/2
			b.nodes = append(b.nodes, v.node)
			b.w = max(b.w, box.X+box.W)
		}
	}
	for i, bounds := range l.bounds {
		bounds.X, bounds.Y = bounds.X-left, bounds.Y-top
		b.w, b.h = max(b.w, bounds.X+bounds.W), max(b.h, bounds.Y+bounds.H)
		b.frames = append(b.frames, Frame{names[i], bounds})
	}
	for r := range l.x {
		l.x[r] -= left
	}
	b.paths = l.route()
	return b
}

// route returns the curves of the links.
func (l *layers) route() []Path {
	starts, ends := l.ports(true), l.ports(false)
	out := make([]Path, 0, len(l.mine))
	for k, i := range l.mine {
		chain := l.chains[k]
		first, last := &l.vs[chain[0]], &l.vs[chain[len(chain)-1]]
		box := l.out.Nodes[first.node]
		c := curve{Point{box.X + box.W, starts[k]}}
		c.line(Point{l.x[first.rank] + l.w[first.rank], starts[k]})
		for _, j := range chain[1 : len(chain)-1] {
			v := &l.vs[j]
			c.bend(Point{l.x[v.rank], v.y})
			c.line(Point{l.x[v.rank] + l.w[v.rank], v.y})
		}
		c.bend(Point{l.x[last.rank] - l.lead[last.rank], ends[k]})
		c.line(Point{last.x, ends[k]})
		if l.links[i].reversed {
			slices.Reverse(c)
		}
		out = append(out, Path{From: l.links[i].from, To: l.links[i].to, Edges: l.links[i].edges, Points: c})
	}
	return out
}

// ports returns the height at which each link leaves its first node, or reaches its second one.
func (l *layers) ports(first bool) []float64 {
	byNode := map[int][]int{}
	for k, chain := range l.chains {
		v := chain[len(chain)-1]
		if first {
			v = chain[0]
		}
		byNode[v] = append(byNode[v], k)
	}
	other := func(k int) float64 {
		chain := l.chains[k]
		if first {
			return l.vs[chain[1]].y
		}
		return l.vs[chain[len(chain)-2]].y
	}
	out := make([]float64, len(l.chains))
	for v, ks := range byNode {
		slices.SortStableFunc(ks, func(a, b int) int { return cmp.Compare(other(a), other(b)) })
		gap := 0.0
		if len(ks) > 1 {
			gap = portGap
			if !first && l.out.Labels {
				gap = labelGap
			}
			gap = min(gap, (l.vs[v].h-rowGap-10)/float64(len(ks)-1))
		}
		for n, k := range ks {
			out[k] = l.vs[v].y + gap*(float64(n)-float64(len(ks)-1)/2)
		}
	}
	return out
}

// curve is a chain of cubic Bézier curves.
type curve []Point

func (c *curve) line(to Point) {
	from := (*c)[len(*c)-1]
	if from == to {
		return
	}
	dx, dy := (to.X-from.X)/3, (to.Y-from.Y)/3
	*c = append(*c, Point{from.X + dx, from.Y + dy}, Point{to.X - dx, to.Y - dy}, to)
}

// bend leaves and arrives horizontally.
func (c *curve) bend(to Point) {
	from := (*c)[len(*c)-1]
	half := (to.X - from.X) / 2
	*c = append(*c, Point{from.X + half, from.Y}, Point{to.X - half, to.Y}, to)
}

// grid places nodes without links in rows.
func grid(nodes []int, out *Layout) block {
	b := block{nodes: nodes}
	w, h := 0.0, 0.0
	for _, n := range nodes {
		w, h = max(w, out.Nodes[n].W), max(h, out.Nodes[n].H)
	}
	columns := max(1, int(math.Sqrt(float64(len(nodes))*aspect*(h+rowGap)/(w+subGap))))
	for i, n := range nodes {
		box := &out.Nodes[n]
		box.X, box.Y, box.W = float64(i%columns)*(w+subGap), float64(i/columns)*(h+rowGap), w
		b.w, b.h = max(b.w, box.X+box.W), max(b.h, box.Y+box.H)
	}
	return b
}

// pack places the blocks in rows, so that the drawing has about the aimed proportions.
func (out *Layout) pack(blocks []block) {
	const gap = 28.0
	area, widest := 0.0, 0.0
	for _, b := range blocks {
		area += (b.w + gap) * (b.h + gap)
		widest = max(widest, b.w)
	}
	limit := max(widest, math.Sqrt(area*aspect))
	slices.SortStableFunc(blocks, func(a, b block) int { return cmp.Compare(b.h, a.h) })
	x, y, row := 0.0, 0.0, 0.0
	for _, b := range blocks {
		if x > 0 && x+b.w > limit {
			x, y, row = 0, y+row+gap, 0
		}
		out.move(b, x+margin, y+margin)
		x += b.w + gap
		row = max(row, b.h)
		out.Width = max(out.Width, x-gap)
	}
	out.Width += 2 * margin
	out.Height = y + row + 2*margin
	slices.SortFunc(out.Paths, func(a, b Path) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
}

// move adds a block to the drawing.
func (out *Layout) move(b block, dx, dy float64) {
	for _, n := range b.nodes {
		out.Nodes[n].X += dx
		out.Nodes[n].Y += dy
	}
	for _, p := range b.paths {
		for i := range p.Points {
			p.Points[i].X += dx
			p.Points[i].Y += dy
		}
		out.Paths = append(out.Paths, p)
	}
	for _, f := range b.frames {
		f.X += dx
		f.Y += dy
		out.Frames = append(out.Frames, f)
	}
}
