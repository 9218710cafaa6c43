// Package graph computes the dependencies of a fleet from images.yaml and state: which managed images are built on which
// others (edges), and which base images they use. It does no I/O.
package graph

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/tagrule"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Dep is one reference that an image's build uses.
type Dep struct {
	Ref    state.Ref
	Parent string      // name of the managed image that publishes it; empty for an upstream reference
	Base   string      // name of the base image; empty for a parent and for a reference without a tag
	Uses   []state.Use // without those of the kind syntax
	Final  bool        // the final stage is built on it
	// Updated is set for a pinned reference that pull requests move.
	Updated bool
}

// Moves reports whether new digests of the reference's tag lead to rebuilds: a rebuild picks them up, or a pull request moves the
// pin first.
func (d *Dep) Moves() bool { return !d.Ref.Pinned() || d.Updated }

// Graph is the dependency graph of a fleet.
type Graph struct {
	order      []string // parents first; images in a cycle last
	cycles     [][]string
	deps       map[string][]Dep
	parents    map[string][]string
	children   map[string][]string
	dependents map[string][]string // base image name to image names
	refs       map[string]state.Ref
	names      map[state.Ref]string // of base images
}

// Build computes the graph of the enrolled images.
func Build(cfg *config.Config, st *state.State) *Graph {
	g := &Graph{
		deps: make(map[string][]Dep, len(cfg.Images)), parents: map[string][]string{}, children: map[string][]string{},
		dependents: map[string][]string{}, refs: map[string]state.Ref{},
	}
	b := builder{Graph: g, publishers: publishersOf(cfg, st), parsed: map[string]parsed{}}
	var used []*config.Image
	for i := range cfg.Images {
		if img := &cfg.Images[i]; img.Managed() && st.Images[img.Name] != nil {
			used = append(used, img)
		}
	}
	b.nameBases(st, used)
	for _, img := range used {
		b.addDeps(img, st.Images[img.Name])
	}
	for _, m := range []map[string][]string{g.children, g.dependents} {
		for k := range m {
			slices.Sort(m[k])
		}
	}
	g.sort(cfg.Names())
	return g
}

// builder holds the data that is needed only while a Graph is built.
type builder struct {
	*Graph
	publishers map[string][]publisher
	parsed     map[string]parsed // many images use the same few references
}

type parsed struct {
	ref    state.Ref
	parent string
	ok     bool
}

// nameBases sets the names of all base images at once, because they depend on each other: see [state.State.BaseNames].
func (g *builder) nameBases(st *state.State, used []*config.Image) {
	upstream := map[state.Ref]bool{}
	for _, img := range used {
		for i := range st.Images[img.Name].BaseImages {
			p := g.parse(st.Images[img.Name].BaseImages[i].Ref)
			if tag, ok := p.ref.WithoutDigest(); p.ok && ok && p.parentFor(img) == "" {
				upstream[tag] = true
			}
		}
	}
	g.names = st.BaseNames(slices.Collect(maps.Keys(upstream)))
}

func (g *builder) parse(text string) parsed {
	p, known := g.parsed[text]
	if known {
		return p
	}
	ref, err := state.ParseRef(text)
	p = parsed{ref: ref, ok: err == nil}
	if p.ok && ref.Tag != "" {
		p.parent = publisherOf(g.publishers, ref)
	}
	g.parsed[text] = p
	return p
}

// parentFor returns the managed image that publishes the reference, or "". One that is pinned is a parent only where pull requests
// move the pin.
func (p *parsed) parentFor(img *config.Image) string {
	if p.ref.Pinned() && !img.Source.MovesPins() {
		return ""
	}
	return p.parent
}

func (g *builder) addDeps(img *config.Image, facts *state.Image) {
	name := img.Name
	deps := make([]Dep, 0, len(facts.BaseImages))
	for i := range facts.BaseImages {
		use := &facts.BaseImages[i]
		p := g.parse(use.Ref)
		if !p.ok {
			continue // validation reports an invalid reference
		}
		base, parent := "", p.parentFor(img)
		if parent == "" {
			base = g.BaseName(p.ref)
		}
		d := Dep{Ref: p.ref, Parent: parent, Base: base, Uses: withoutSyntax(use.Uses), Final: use.Final, Updated: p.ref.Pinned() && img.Source.MovesPins()}
		if len(d.Uses) == 0 {
			continue
		}
		if d.Parent != "" && !slices.Contains(g.parents[name], d.Parent) {
			g.parents[name] = append(g.parents[name], d.Parent)
			g.children[d.Parent] = append(g.children[d.Parent], name)
		}
		if users := g.dependents[d.Base]; d.Base != "" && (len(users) == 0 || users[len(users)-1] != name) {
			g.refs[d.Base], _ = d.Ref.WithoutDigest()
			g.dependents[d.Base] = append(users, name)
		}
		deps = append(deps, d)
	}
	slices.Sort(g.parents[name])
	g.deps[name] = deps
}

func withoutSyntax(uses []state.Use) []state.Use {
	if !slices.ContainsFunc(uses, func(u state.Use) bool { return u.Kind == state.KindSyntax }) {
		return uses
	}
	return slices.DeleteFunc(slices.Clone(uses), func(u state.Use) bool { return u.Kind == state.KindSyntax })
}

// publisher is a managed image that publishes tags of a repository.
type publisher struct {
	name      string
	publishes func(tag string) bool
}

func publishersOf(cfg *config.Config, st *state.State) map[string][]publisher {
	m := make(map[string][]publisher, len(cfg.Images))
	for i := range cfg.Images {
		if img := &cfg.Images[i]; img.Managed() {
			m[img.Ref()] = append(m[img.Ref()], publisher{img.Name, func(tag string) bool { return Publishes(img, st.Images[img.Name], tag) }})
		}
	}
	return m
}

func publisherOf(publishers map[string][]publisher, ref state.Ref) string {
	for _, p := range publishers[ref.Registry+"/"+ref.Repository] {
		if p.publishes(ref.Tag) {
			return p.name
		}
	}
	return ""
}

// TagsOf returns the rule for the published tags of an image: the one in images.yaml, or else the one that analyze chose.
// known is false if there is neither; the rule is then semantic versions, the first that analyze would try.
func TagsOf(img *config.Image, facts *state.Image) (tags config.Tags, known bool) {
	switch {
	case img.Tags != nil:
		return *img.Tags, true
	case facts != nil && facts.Tags != nil:
		return config.Tags{Strategy: config.TagStrategy(facts.Tags.Strategy), Constraint: facts.Tags.Constraint}, true
	default:
		return config.Tags{Strategy: config.SemVer}, false
	}
}

// Publishes reports whether a managed image publishes a tag. While its rule for tags is not known, it publishes every tag.
func Publishes(img *config.Image, facts *state.Image, tag string) bool {
	if facts != nil && facts.PublishedTag(tag) != nil {
		return true
	}
	tags, known := TagsOf(img, facts)
	if !known {
		return true
	}
	rule, err := tagrule.New(tags)
	return err == nil && rule.Publishes(tag)
}

// Deps returns the references that an image's build uses, in the order of its state file.
func (g *Graph) Deps(name string) []Dep { return g.deps[name] }

// Parents returns the managed images that an image is built on, sorted.
func (g *Graph) Parents(name string) []string { return g.parents[name] }

// Children returns the managed images that are built on an image, sorted.
func (g *Graph) Children(name string) []string { return g.children[name] }

// Dependents returns the images that use a base image, sorted.
func (g *Graph) Dependents(base string) []string { return g.dependents[base] }

// Bases returns the names of all base images in use, sorted.
func (g *Graph) Bases() []string { return slices.Sorted(maps.Keys(g.dependents)) }

// BaseName returns the name of a base image in use, or "". It ignores a digest in the reference.
func (g *Graph) BaseName(r state.Ref) string {
	r.Digest = ""
	return g.names[r]
}

// BaseRef returns the reference of a base image in use.
func (g *Graph) BaseRef(base string) state.Ref { return g.refs[base] }

// Watched reports whether the base image needs a Warehouse: at least one image uses it without pinning it, or moves its pin.
func (g *Graph) Watched(base string) bool {
	for _, name := range g.dependents[base] {
		if slices.ContainsFunc(g.deps[name], func(d Dep) bool { return d.Base == base && d.Moves() }) {
			return true
		}
	}
	return false
}

// Order returns the names of all enrolled images in topological order: parents before children, otherwise by name.
func (g *Graph) Order() []string { return g.order }

// Cycles returns the dependency cycles, each starting with the name that sorts first.
func (g *Graph) Cycles() [][]string { return g.cycles }

// Ancestors returns every managed image that an image is built on, directly or not, sorted.
func (g *Graph) Ancestors(name string) []string { return g.reach(name, g.parents) }

// Descendants returns every managed image that is built on an image, directly or not, sorted.
func (g *Graph) Descendants(name string) []string { return g.reach(name, g.children) }

func (g *Graph) reach(name string, next map[string][]string) []string {
	seen := map[string]bool{name: true}
	var out []string
	for queue := next[name]; len(queue) > 0; queue = queue[1:] {
		if n := queue[0]; !seen[n] {
			seen[n] = true
			out = append(out, n)
			queue = append(slices.Clip(queue), next[n]...)
		}
	}
	slices.Sort(out)
	return out
}

// sort sets the order with Kahn's algorithm and a sorted frontier. Images that remain are in a cycle or depend on one.
func (g *Graph) sort(names []string) {
	waiting := make(map[string]int, len(names))
	var ready []string
	for _, n := range names {
		waiting[n] = len(g.parents[n])
		if waiting[n] == 0 {
			ready = append(ready, n)
		}
	}
	g.order = make([]string, 0, len(names))
	for len(ready) > 0 {
		var next []string
		for _, n := range ready {
			g.order = append(g.order, n)
			for _, c := range g.children[n] {
				if waiting[c]--; waiting[c] == 0 {
					next = append(next, c)
				}
			}
		}
		slices.Sort(next)
		ready = next
	}
	if len(g.order) == len(names) {
		return
	}
	done := make(map[string]bool, len(names))
	for _, n := range g.order {
		done[n] = true
	}
	for _, n := range names {
		if done[n] {
			continue
		}
		g.order = append(g.order, n)
		if cycle := g.shortestCycle(n); cycle != nil && slices.Min(cycle) == n {
			g.cycles = append(g.cycles, cycle)
		}
	}
}

// shortestCycle returns the shortest path from an image through its parents back to itself, or nil.
func (g *Graph) shortestCycle(name string) []string {
	from := map[string]string{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		for _, p := range g.parents[queue[0]] {
			if p == name {
				var cycle []string
				for n := queue[0]; n != name; n = from[n] {
					cycle = append(cycle, n)
				}
				cycle = append(cycle, name)
				slices.Reverse(cycle)
				return cycle
			}
			if _, seen := from[p]; !seen {
				from[p] = queue[0]
				queue = append(queue, p)
			}
		}
	}
	return nil
}

// ReducedParents returns the parents of an image that are not also ancestors of another parent: the edges of the transitive
// reduction.
func (g *Graph) ReducedParents(name string) []string {
	parents := g.parents[name]
	if len(parents) < 2 {
		return parents
	}
	implied := map[string]bool{}
	for _, p := range parents {
		for _, a := range g.Ancestors(p) {
			implied[a] = true
		}
	}
	var out []string
	for _, p := range parents {
		if !implied[p] {
			out = append(out, p)
		}
	}
	return out
}

// PathString returns a cycle as text: a → b → a.
func PathString(cycle []string) string {
	return strings.Join(append(slices.Clone(cycle), cycle[0]), " → ")
}
