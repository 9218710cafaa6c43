package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Draw returns the drawing of a whole fleet: its images, parents first, then the base images and unresolved references that they use.
func Draw(cfg *config.Config, st *state.State, g *graph.Graph, decisions []policy.Decision) draw.Model {
	d := drawing{st: st, g: g, seen: map[string]bool{}}
	statuses := make(map[string]policy.Status, len(decisions))
	for i := range decisions {
		statuses[decisions[i].Image] = decisions[i].Status
	}
	for _, name := range g.Order() {
		d.addImage(cfg.Find(name), st.Images[name], statuses[name])
	}
	slices.SortFunc(d.others, func(a, b draw.Node) int { return strings.Compare(a.ID, b.ID) })
	return draw.New(append(d.nodes, d.others...), d.edges)
}

type drawing struct {
	st     *state.State
	g      *graph.Graph
	nodes  []draw.Node // of the images
	others []draw.Node
	edges  []draw.Edge
	seen   map[string]bool // IDs of others
}

func (d *drawing) addImage(img *config.Image, facts *state.Image, status policy.Status) {
	n := draw.Node{ID: "image/" + img.Name, Kind: draw.External, Label: img.Name, Status: string(status), Owner: img.Owner}
	if img.Managed() {
		n.Kind = draw.Managed
		n.Repository = strings.TrimSuffix(strings.TrimPrefix(img.Source.GitURL(), "https://"), ".git")
	}
	if facts != nil {
		n.Version, n.Digest = facts.CurrentVersion, facts.CurrentDigest
		d.addUnresolved(n.ID, img.Name, facts.Unresolved)
	}
	d.nodes = append(d.nodes, n)
	for i := range d.g.Deps(img.Name) {
		d.addDep(n.ID, &d.g.Deps(img.Name)[i])
	}
}

func (d *drawing) addDep(image string, dep *graph.Dep) {
	e := draw.Edge{From: "image/" + dep.Parent, To: image, Ref: dep.Ref.String(), Pinned: dep.Ref.Pinned(), Final: dep.Final}
	for _, u := range dep.Uses {
		if !slices.Contains(e.Kinds, u.Kind) {
			e.Kinds = append(e.Kinds, u.Kind)
		}
	}
	if dep.Parent == "" {
		id := dep.Base
		if id == "" { // a reference that has only a digest
			id = e.Ref
		}
		e.From = "base/" + id
		base := draw.Node{ID: e.From, Kind: draw.Base, Label: state.Familiar(dep.Ref.String())}
		if dep.Base != "" {
			base.Label = state.Short(d.g.BaseRef(dep.Base).String())
		}
		if facts := d.st.Bases[dep.Base]; facts != nil {
			base.Digest = facts.CurrentDigest
		}
		d.addOther(base)
	}
	d.edges = append(d.edges, e)
}

func (d *drawing) addUnresolved(id, image string, missing []state.Missing) {
	for _, m := range missing {
		n := draw.Node{ID: fmt.Sprintf("unresolved/%s/%d/%s", image, m.Line, m.Text), Kind: draw.Unresolved, Label: m.Text}
		d.addOther(n)
		d.edges = append(d.edges, draw.Edge{From: n.ID, To: id, Ref: m.Text})
	}
}

func (d *drawing) addOther(n draw.Node) {
	if !d.seen[n.ID] {
		d.seen[n.ID] = true
		d.others = append(d.others, n)
	}
}
