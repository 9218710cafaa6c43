// Package draw draws dependency graphs: it lays out a [Model] and renders it as SVG, PNG, DOT or Mermaid. It is pure: the
// same model gives the same bytes, and every text in it may come from outside.
package draw

import (
	"slices"
	"strings"
)

// Kind is the kind of a node.
type Kind string

// Kinds of nodes.
const (
	Managed    Kind = "managed"    // an image that is rebuilt
	External   Kind = "external"   // an image that is only watched
	Base       Kind = "base"       // an upstream base image
	Unresolved Kind = "unresolved" // a reference in a Dockerfile that could not be resolved
	Collapsed  Kind = "collapsed"  // several nodes drawn as one
)

// Node is an image, a base image, an unresolved reference, or several of them.
type Node struct {
	ID         string `json:"id"` // image/NAME, base/NAME or unresolved/IMAGE/LINE/TEXT
	Kind       Kind   `json:"kind"`
	Label      string `json:"label"`
	Status     string `json:"status,omitempty"`     // of an image, as `status` shows it
	Version    string `json:"version,omitempty"`    // published version of an image
	Digest     string `json:"digest,omitempty"`     // that the tag holds, or that was published last
	Owner      string `json:"owner,omitempty"`      // of the entry in images.yaml
	Repository string `json:"repository,omitempty"` // that an image is built from: host/owner/repo
	// Level is the length of the longest chain of images below it: 0 for a base image, 1 for an image built on base images only.
	Level int `json:"level"`
	// Members are the IDs of the nodes that a collapsed node stands for, and Statuses counts the images among them.
	Members  []string      `json:"-"`
	Statuses []StatusCount `json:"-"`
}

// StatusCount is the number of images with a status.
type StatusCount struct {
	Status string
	Images int
}

// Edge leads from an image to one whose build uses it.
type Edge struct {
	From   string   `json:"from"`
	To     string   `json:"to"`
	Ref    string   `json:"ref"`
	Kinds  []string `json:"kinds"` // from, copy, mount, onbuild; none for an unresolved reference
	Pinned bool     `json:"pinned,omitempty"`
	Final  bool     `json:"final,omitempty"` // the layers of To begin with those of From
	// Implied says that To also reaches From through another parent, so that a drawing can leave the edge out.
	Implied bool `json:"implied,omitempty"`
	Images  int  `json:"-"` // dependencies that the edge of a collapsed node stands for
}

// Model is a graph, or a part of one.
type Model struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// New returns a model with the levels of its nodes and its implied edges found out. Edges between unknown nodes are left out.
func New(nodes []Node, edges []Edge) Model {
	m := Model{Nodes: nodes, Edges: make([]Edge, 0, len(edges))}
	if nodes == nil {
		m.Nodes = []Node{}
	}
	index := m.index()
	for _, e := range edges {
		_, from := index[e.From]
		_, to := index[e.To]
		if e.Kinds == nil {
			e.Kinds = []string{}
		}
		if from && to {
			m.Edges = append(m.Edges, e)
		}
	}
	m.setLevels()
	m.setImplied()
	return m
}

func (m *Model) index() map[string]int {
	index := make(map[string]int, len(m.Nodes))
	for i := range m.Nodes {
		index[m.Nodes[i].ID] = i
	}
	return index
}

// setLevels sets the level of each node. Edges that close a cycle do not count.
func (m *Model) setLevels() {
	levels := ranks(len(m.Nodes), m.links(true))
	for i := range m.Nodes {
		n := &m.Nodes[i]
		n.Level = levels[i]
		if n.Kind == Managed {
			n.Level = max(n.Level, 1)
		}
	}
}

// setImplied marks the edges between images that follow from others.
func (m *Model) setImplied() {
	isImage := func(i int) bool { return m.Nodes[i].Kind == Managed || m.Nodes[i].Kind == Collapsed }
	parents := make([][]int, len(m.Nodes))
	for _, l := range m.links(true) {
		if isImage(l.from) {
			parents[l.to] = append(parents[l.to], l.from)
		}
	}
	above := ancestors(parents)
	index := m.index()
	for i := range m.Edges {
		e := &m.Edges[i]
		from, to := index[e.From], index[e.To]
		if m.Nodes[from].Kind == Collapsed || m.Nodes[to].Kind == Collapsed {
			continue // it stays as the edges are that it stands for
		}
		e.Implied = isImage(from) && len(parents[to]) > 1 && slices.ContainsFunc(parents[to], func(p int) bool {
			return p != from && above[p].has(from) && !above[p].has(to)
		})
	}
}

// link is all edges from one node to another one.
type link struct {
	from, to int
	edges    []int // of the model
	reversed bool  // it closes a cycle, so it is laid out the other way round
	label    string
}

// links returns the links of the model, one for each pair of nodes, in the order of the edges. Without implied it leaves out
// those whose edges are all implied.
func (m *Model) links(implied bool) []link {
	index := m.index()
	at := map[[2]int]int{}
	var out []link
	for i := range m.Edges {
		e := &m.Edges[i]
		pair := [2]int{index[e.From], index[e.To]}
		if pair[0] == pair[1] || e.Implied && !implied {
			continue
		}
		k, known := at[pair]
		if !known {
			k = len(out)
			at[pair] = k
			out = append(out, link{from: pair[0], to: pair[1]})
		}
		out[k].edges = append(out[k].edges, i)
	}
	return out
}

// Around returns the part of a model around some nodes: with up what they are built on, with down what is built on them, each
// up to a number of steps away (0: all). Unknown IDs are ignored.
func (m *Model) Around(ids []string, up, down bool, depth int) Model {
	index := m.index()
	var start []int
	keep := map[int]bool{}
	for _, id := range ids {
		if i, known := index[id]; known {
			start, keep[i] = append(start, i), true
		}
	}
	parents, children := make([][]int, len(m.Nodes)), make([][]int, len(m.Nodes))
	for _, l := range m.links(true) {
		parents[l.to] = append(parents[l.to], l.from)
		children[l.from] = append(children[l.from], l.to)
	}
	if up {
		reach(start, parents, depth, keep)
	}
	if down {
		reach(start, children, depth, keep)
	}
	var nodes []Node
	for i := range m.Nodes {
		if keep[i] {
			nodes = append(nodes, m.Nodes[i])
		}
	}
	part := New(nodes, m.Edges)
	for i := range part.Nodes {
		part.Nodes[i].Level = m.Nodes[index[part.Nodes[i].ID]].Level
	}
	return part
}

// Count returns the number of images and of base images in a model that is not collapsed.
func (m *Model) Count() (images, bases int) {
	for i := range m.Nodes {
		switch m.Nodes[i].Kind {
		case Managed, External:
			images++
		case Base:
			bases++
		}
	}
	return images, bases
}

// reach adds every node that is at most depth steps away to found.
func reach(start []int, next [][]int, depth int, found map[int]bool) {
	seen := make(map[int]bool, len(start))
	for _, n := range start {
		seen[n] = true
	}
	for front, step := start, 0; len(front) > 0 && (depth == 0 || step < depth); step++ {
		var further []int
		for _, n := range front {
			for _, k := range next[n] {
				if !seen[k] {
					seen[k], found[k] = true, true
					further = append(further, k)
				}
			}
		}
		front = further
	}
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) add(i int)      { b[i/64] |= 1 << (i % 64) }

// ancestors returns the set of all nodes above each node that is one of several parents.
func ancestors(parents [][]int) []bitset {
	sets := make([]bitset, len(parents))
	words := (len(parents) + 63) / 64
	var visit func(int) bitset
	visit = func(n int) bitset {
		if sets[n] != nil {
			return sets[n]
		}
		sets[n] = make(bitset, words)
		for _, p := range parents[n] {
			for i, word := range visit(p) {
				sets[n][i] |= word
			}
			sets[n].add(p)
		}
		return sets[n]
	}
	for _, above := range parents {
		if len(above) < 2 {
			continue // nothing that it is built on follows from another one
		}
		for _, p := range above {
			visit(p)
		}
	}
	return sets
}

// ranks returns the length of the longest path to each node, and marks the links that close a cycle as reversed.
func ranks(n int, links []link) []int {
	breakCycles(n, links)
	next := make([][]int, n)
	waiting := make([]int, n)
	for i := range links {
		from, to := links[i].ends()
		next[from] = append(next[from], to)
		waiting[to]++
	}
	out := make([]int, n)
	var ready []int
	for i := range n {
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[0]
		ready = ready[1:]
		for _, k := range next[i] {
			out[k] = max(out[k], out[i]+1)
			if waiting[k]--; waiting[k] == 0 {
				ready = append(ready, k)
			}
		}
	}
	return out
}

// ends returns the nodes of a link, the one that is laid out first before the other.
func (l *link) ends() (first, second int) {
	if l.reversed {
		return l.to, l.from
	}
	return l.from, l.to
}

// breakCycles marks the links that lead back to a node on the way to them.
func breakCycles(n int, links []link) {
	out := make([][]int, n)
	for i := range links {
		out[links[i].from] = append(out[links[i].from], i)
	}
	const (
		open = 1
		done = 2
	)
	state := make([]byte, n)
	var visit func(int)
	visit = func(i int) {
		state[i] = open
		for _, k := range out[i] {
			switch to := links[k].to; state[to] {
			case open:
				links[k].reversed = true
			case 0:
				visit(to)
			}
		}
		state[i] = done
	}
	for i := range n {
		if state[i] == 0 {
			visit(i)
		}
	}
}

// ShortLabel returns the label of a node without the digest of its reference.
func (n *Node) ShortLabel() string {
	label, _, _ := strings.Cut(n.Label, "@")
	return label
}

// ShortDigest returns the first digits of a digest, without its algorithm.
func ShortDigest(digest string) string {
	const digits = 12
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(len(hex), digits)]
}
