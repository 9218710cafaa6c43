package draw

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a drawing that is readable.
const (
	roomy = 60  // up to so many nodes nothing is collapsed
	full  = 140 // nodes that a collapsed drawing has at most, unless it has more clusters
)

// Collapse returns the model with nodes that say the same drawn as one, when it has too many to be read: first images with the same
// bases and the same users; then all images that nothing is built on, by the image that they are built on; then all but the
// nodes that most images are built on.
func (m *Model) Collapse(by Cluster) Model {
	if len(m.Nodes) <= roomy {
		return *m
	}
	out := m.merge(m.twins(by), nil)
	if len(out.Nodes) > full {
		main := m.mainParents()
		out = m.merge(m.leaves(by, main), main)
	}
	if len(out.Nodes) > full {
		main := m.mainParents()
		out = m.merge(m.around(by, main), main)
	}
	return out
}

// twins returns the group of each node: images with the same bases, users and cluster.
func (m *Model) twins(by Cluster) []string {
	groups := make([]string, len(m.Nodes))
	links := make([][]string, len(m.Nodes))
	index := m.index()
	for i := range m.Edges {
		e := &m.Edges[i]
		how := " " + strings.Join(e.Kinds, ",")
		if e.Pinned {
			how += " pinned"
		}
		if e.Final {
			how += " final"
		}
		from, to := index[e.From], index[e.To]
		links[to] = append(links[to], "<"+e.From+how)
		links[from] = append(links[from], ">"+e.To+how)
	}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Kind == Managed && len(links[i]) > 0 {
			slices.Sort(links[i])
			groups[i] = n.cluster(by) + "\n" + strings.Join(links[i], "\n")
		}
	}
	return groups
}

// mainParents returns the node that the layers of each image begin with, or else the first one that it uses; -1 for none.
func (m *Model) mainParents() []int {
	main := make([]int, len(m.Nodes))
	isFinal := make([]bool, len(m.Nodes))
	for i := range main {
		main[i] = -1
	}
	index := m.index()
	for i := range m.Edges {
		from, to := index[m.Edges[i].From], index[m.Edges[i].To]
		if from != to && (main[to] < 0 || m.Edges[i].Final && !isFinal[to]) {
			main[to], isFinal[to] = from, m.Edges[i].Final
		}
	}
	return main
}

// leaves returns the group of each node: the images that nothing is built on, by main parent.
func (m *Model) leaves(by Cluster, main []int) []string {
	groups := make([]string, len(m.Nodes))
	used := make([]bool, len(m.Nodes))
	for _, l := range m.links(true) {
		used[l.from] = true
	}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Kind == Managed && !used[i] {
			parent := ""
			if main[i] >= 0 {
				parent = m.Nodes[main[i]].ID
			}
			groups[i] = n.cluster(by) + "\n" + parent
		}
	}
	return groups
}

// around returns the group of each node when only the nodes that most images are built on stay: other images go with the nearest
// of those below them, and what is left with the rest of its kind.
func (m *Model) around(by Cluster, main []int) []string {
	users := m.usersBelow()
	ranked := all(len(m.Nodes))
	slices.SortStableFunc(ranked, func(a, b int) int { return cmp.Compare(users[b], users[a]) })
	clusters := map[string]bool{}
	for i := range m.Nodes {
		clusters[m.Nodes[i].cluster(by)] = true
	}
	most := max(full/2/len(clusters), 8) // each may have users in every cluster
	stays := make([]bool, len(m.Nodes))
	for _, i := range ranked[:min(most, len(ranked))] {
		stays[i] = users[i] > 1
	}
	groups := make([]string, len(m.Nodes))
	for i := range m.Nodes {
		n := &m.Nodes[i]
		switch {
		case stays[i]:
		case n.Kind == Managed:
			groups[i] = n.cluster(by) + "\n" + m.nearest(i, main, stays)
		default:
			groups[i] = string(n.Kind) + "\n\n"
		}
	}
	return groups
}

// nearest returns the ID of the first node below an image, by main parents, that stays; "" for none.
func (m *Model) nearest(i int, main []int, stays []bool) string {
	for range main { // not for ever, when there is a cycle
		if i = main[i]; i < 0 {
			return ""
		}
		if stays[i] {
			return m.Nodes[i].ID
		}
	}
	return ""
}

// usersBelow returns how many images each node stands for and has below it through main parents.
func (m *Model) usersBelow() []int {
	main := m.mainParents()
	users := make([]int, len(m.Nodes))
	for i := range m.Nodes {
		n := m.Nodes[i].images()
		seen := map[int]bool{}
		for at := i; at >= 0 && !seen[at]; at = main[at] {
			seen[at] = true
			users[at] += n
		}
	}
	return users
}

// images returns how many images a node stands for.
func (n *Node) images() int {
	switch n.Kind {
	case Managed, External:
		return 1
	}
	total := 0
	for _, c := range n.Statuses {
		total += c.Images
	}
	return total
}

// merge returns the model with one node for each group of two or more. Given main parents, an edge of a group stays only if it leads
// from the main parent of one of its images.
func (m *Model) merge(groups []string, main []int) Model {
	members := map[string][]int{}
	for i, g := range groups {
		if g != "" {
			members[g] = append(members[g], i)
		}
	}
	parents := m.mainParents()
	become := make([]int, len(m.Nodes)) // new index
	var nodes []Node
	made := map[string]int{}
	for i := range m.Nodes {
		g := groups[i]
		if len(members[g]) < 2 {
			become[i] = len(nodes)
			nodes = append(nodes, m.Nodes[i])
			continue
		}
		k, known := made[g]
		if !known {
			k = len(nodes)
			made[g] = k
			nodes = append(nodes, m.collapsed(members[g], parents))
		}
		become[i] = k
	}
	index := m.index()
	type key struct{ from, to int }
	at := map[key]int{}
	var edges []Edge
	for i := range m.Edges {
		e := m.Edges[i]
		from, to := index[e.From], index[e.To]
		k := key{become[from], become[to]}
		isGroup := nodes[k.from].Kind == Collapsed || nodes[k.to].Kind == Collapsed
		if k.from == k.to || isGroup && main != nil && main[to] != from {
			continue
		}
		e.From, e.To = nodes[k.from].ID, nodes[k.to].ID
		if !isGroup {
			edges = append(edges, e)
			continue
		}
		n := max(e.Images, 1)
		if old, known := at[k]; known {
			have := &edges[old]
			have.Images += n
			have.Final, have.Pinned, have.Implied = have.Final || e.Final, have.Pinned && e.Pinned, have.Implied && e.Implied
			for _, kind := range e.Kinds {
				if !slices.Contains(have.Kinds, kind) {
					have.Kinds = append(slices.Clip(have.Kinds), kind)
				}
			}
			if have.Ref != e.Ref {
				have.Ref = ""
			}
			continue
		}
		e.Images = n
		at[k] = len(edges)
		edges = append(edges, e)
	}
	return New(nodes, edges)
}

// outside returns the first main parent below a node of a group that is not in the group; -1 for none.
func outside(i int, group, parents []int) int {
	for range group { // not for ever, when there is a cycle
		if i = parents[i]; i < 0 {
			return -1
		}
		if _, member := slices.BinarySearch(group, i); !member {
			return i
		}
	}
	return -1
}

// collapsed returns the node that stands for others.
func (m *Model) collapsed(group, parents []int) Node {
	first := &m.Nodes[group[0]]
	out := Node{ID: "group/" + first.ID, Kind: Collapsed, Owner: first.Owner, Repository: first.Repository}
	counts := map[string]int{}
	images, parent := 0, outside(group[0], group, parents)
	for _, i := range group {
		n := &m.Nodes[i]
		images += n.images()
		if n.Kind == Collapsed {
			out.Members = append(out.Members, n.Members...)
		} else {
			out.Members = append(out.Members, n.ID)
		}
		if n.Status != "" {
			counts[n.Status]++
		}
		for _, c := range n.Statuses {
			counts[c.Status] += c.Images
		}
		if n.Owner != out.Owner {
			out.Owner = ""
		}
		if n.Repository != out.Repository {
			out.Repository = ""
		}
		if outside(i, group, parents) != parent {
			parent = -1
		}
	}
	for status, n := range counts {
		out.Statuses = append(out.Statuses, StatusCount{status, n})
	}
	slices.SortFunc(out.Statuses, func(a, b StatusCount) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.Status, b.Status))
	})
	switch {
	case images > 0 && parent >= 0:
		out.Label = fmt.Sprintf("%d images on %s", images, m.Nodes[parent].ShortLabel())
	case images > 0:
		out.Label = fmt.Sprintf("%d images", images)
	case first.Kind == Unresolved:
		out.Label = fmt.Sprintf("%d unresolved references", len(out.Members))
	default:
		out.Label = fmt.Sprintf("%d base images", len(out.Members))
	}
	return out
}
