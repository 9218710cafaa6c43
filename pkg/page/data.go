package page

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// data is what the script shows: details of images and base images, and the graph. Every string is a number in it, the place of
// the string in Strings: digests, times and names occur many times.
type data struct {
	Strings []string    `json:"strings"`
	Images  []imageData `json:"images"`
	Bases   []baseData  `json:"bases"`
	Graph   graphData   `json:"graph"`
}

type imageData struct {
	Name       int           `json:"n"`
	Status     int           `json:"s"`
	Why        int           `json:"w"`
	Repository int           `json:"r"`
	Version    int           `json:"v,omitempty"`
	Digest     int           `json:"d,omitempty"`
	Built      int           `json:"t,omitempty"`
	Facts      [][2]int      `json:"f,omitempty"` // further facts: name and value
	SourceURL  int           `json:"u,omitempty"`
	Bases      []useData     `json:"b,omitempty"`
	History    []rebuildData `json:"h,omitempty"`
	Users      []int         `json:"c,omitempty"` // names
	Next       [][2]int      `json:"p,omitempty"` // planned rebuilds: when and why
}

// useData is a reference that an image uses, and the digests that its tag held.
type useData struct {
	Ref      int      `json:"r"`
	Kind     int      `json:"k,omitempty"` // image or base
	Name     int      `json:"n,omitempty"` // of the image or base image
	Uses     int      `json:"u,omitempty"`
	Digest   int      `json:"d,omitempty"` // that the published image was built on
	Evidence int      `json:"e,omitempty"`
	Clocks   [][4]int `json:"c,omitempty"` // digest, seen, ripe, status
}

type rebuildData struct {
	Requested int `json:"t"`
	Status    int `json:"s"`
	Finished  int `json:"e,omitempty"`
	Why       int `json:"w,omitempty"`
	Message   int `json:"m,omitempty"`
	URL       int `json:"u,omitempty"`
	ID        int `json:"i,omitempty"`
}

type baseData struct {
	Name       int      `json:"n"`
	Ref        int      `json:"r"`
	Digest     int      `json:"d,omitempty"`
	Moved      int      `json:"t,omitempty"`
	Candidates [][4]int `json:"c,omitempty"` // digest, seen, status, reason
	History    [][3]int `json:"h,omitempty"` // when, from, to
	Users      []int    `json:"i,omitempty"` // names
}

// graphData is a graph that is laid out, in whole pixels.
type graphData struct {
	Width  int     `json:"w"`
	Height int     `json:"h"`
	Nodes  [][]int `json:"n"` // kind, name, label, status, x, y, width, height
	Paths  [][]int `json:"p"` // from, to, pinned, then the points
}

// dictionary collects the strings of the data.
type dictionary struct {
	list  []string
	index map[string]int
}

// id returns the number of a string from outside.
func (d *dictionary) id(s string) int {
	n, known := d.index[s]
	if !known {
		n = len(d.list)
		d.index[s] = n
		d.list = append(d.list, sanitize.Terminal(s))
	}
	return n
}

func (d *dictionary) ids(list []string) []int {
	out := make([]int, len(list))
	for i, s := range list {
		out[i] = d.id(s)
	}
	return out
}

// time returns the number of a time to the minute, in UTC.
func (d *dictionary) time(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return d.id(t.UTC().Format("2006-01-02 15:04"))
}

func (p *page) data() ([]byte, error) {
	d := &dictionary{list: []string{""}, index: map[string]int{"": 0}}
	planned := map[string][]*plan.Entry{}
	for i := range p.Plan.Items {
		e := &p.Plan.Items[i]
		planned[e.Image] = append(planned[e.Image], e)
	}
	out := data{Images: []imageData{}, Bases: []baseData{}}
	for i := range p.Decisions {
		out.Images = append(out.Images, p.imageData(d, &p.Decisions[i], planned[p.Decisions[i].Image]))
	}
	for _, name := range p.Graph.Bases() {
		out.Bases = append(out.Bases, p.baseData(d, name))
	}
	out.Graph = p.graphData(d)
	out.Strings = d.list
	return jsonOf(out)
}

func (p *page) imageData(d *dictionary, dec *policy.Decision, planned []*plan.Entry) imageData {
	img := p.Config.Find(dec.Image)
	out := imageData{
		Name: d.id(img.Name), Status: d.id(string(dec.Status)), Why: d.id(report.Reason(dec)), Repository: d.id(img.Ref()),
		Users: d.ids(p.Graph.Children(img.Name)),
	}
	if img.Managed() {
		p.sourceData(d, img, &out)
	}
	for _, e := range planned {
		when := e.At.UTC().Format("2006-01-02 15:04")
		if e.After != "" {
			when = "after " + e.After
		}
		out.Next = append(out.Next, [2]int{d.id(when), d.id(report.PlanWhy(e))})
	}
	facts := p.State.Images[img.Name]
	if facts == nil {
		return out
	}
	out.Version, out.Digest, out.Built = d.id(facts.CurrentVersion), d.id(facts.CurrentDigest), d.time(facts.LastBuilt.Time)
	for i := range p.Graph.Deps(img.Name) {
		out.Bases = append(out.Bases, p.useData(d, img, facts, &p.Graph.Deps(img.Name)[i]))
	}
	if facts.Rebuild != nil {
		out.History = append(out.History, rebuildOf(d, facts.Rebuild))
	}
	for i := len(facts.RebuildHistory) - 1; i >= 0; i-- {
		out.History = append(out.History, rebuildOf(d, &facts.RebuildHistory[i]))
	}
	return out
}

// sourceData adds where an image is built from, and the rules for its rebuilds.
func (p *page) sourceData(d *dictionary, img *config.Image, out *imageData) {
	s := img.Source
	out.SourceURL = d.id(webURL(strings.TrimSuffix(s.GitURL(), ".git")))
	add := func(name, value string) {
		if value != "" {
			out.Facts = append(out.Facts, [2]int{d.id(name), d.id(value)})
		}
	}
	add("Owner", img.Owner)
	add("Dockerfile", s.Dockerfile)
	add("Branch", s.Branch)
	add("Workflow", s.Workflow)
	rule := string(img.RebuildPolicy) + ", " + img.Delay().String()
	if img.RebuildPolicy != config.Mature {
		rule += ", at most " + img.MaxDelay().String()
	}
	add("Delay", rule)
}

func (p *page) useData(d *dictionary, img *config.Image, facts *state.Image, dep *graph.Dep) useData {
	out := useData{Ref: d.id(state.Short(dep.Ref.String())), Uses: d.id(usesOf(dep))}
	switch {
	case dep.Parent != "":
		out.Kind, out.Name = d.id("image"), d.id(dep.Parent)
	case dep.Base != "":
		out.Kind, out.Name = d.id("base"), d.id(dep.Base)
	}
	if on := facts.On(dep.Ref.String()); on != nil {
		out.Digest, out.Evidence = d.id(on.Digest), d.id(string(on.Evidence))
	}
	clocks := policy.Clocks(img, p.State, dep, p.Now)
	for i := range clocks {
		c := &clocks[i]
		out.Clocks = append(out.Clocks, [4]int{d.id(c.Digest), d.time(c.Seen), d.time(c.Ripe), d.id(p.clockStatus(c, i == 0))})
	}
	slices.Reverse(out.Clocks)
	return out
}

func (p *page) clockStatus(c *policy.Clock, first bool) string {
	switch {
	case c.Held.After(c.Released):
		return "held"
	case !c.Released.IsZero():
		return "released"
	case first:
		return "baseline"
	case !c.Withdrawn.IsZero():
		return "withdrawn"
	case c.Ripe.After(p.Now):
		return "ripening"
	}
	return "ripe"
}

// usesOf returns the instructions that use a reference: FROM, COPY in line 3.
func usesOf(dep *graph.Dep) string {
	var out []string
	for _, u := range dep.Uses {
		if word := strings.ToUpper(u.Kind); !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, ", ")
}

func rebuildOf(d *dictionary, r *state.Rebuild) rebuildData {
	return rebuildData{
		ID: d.id(r.ID), Requested: d.time(r.RequestedAt.Time), Status: d.id(string(r.Status)), Finished: d.time(r.FinishedAt.Time),
		Why: d.id(r.Reason), Message: d.id(r.Message), URL: d.id(webURL(r.RunURL)),
	}
}

func (p *page) baseData(d *dictionary, name string) baseData {
	out := baseData{Name: d.id(name), Ref: d.id(state.Short(p.Graph.BaseRef(name).String())), Users: d.ids(p.Graph.Dependents(name))}
	facts := p.State.Bases[name]
	if facts == nil {
		return out
	}
	out.Digest, out.Moved = d.id(facts.CurrentDigest), d.time(facts.LastUpdated.Time)
	for i := len(facts.Candidates) - 1; i >= 0; i-- {
		c := &facts.Candidates[i]
		out.Candidates = append(out.Candidates, [4]int{d.id(c.Digest), d.time(c.FirstSeen.Time), d.id(candidateStatus(c)), d.id(c.Reason)})
	}
	if facts.Baseline != nil {
		out.Candidates = append(out.Candidates, [4]int{d.id(facts.Baseline.Digest), d.time(facts.Baseline.FirstSeen.Time), d.id("baseline"), d.id(facts.Baseline.Reason)})
	}
	for i := len(facts.UpdateHistory) - 1; i >= 0; i-- {
		u := &facts.UpdateHistory[i]
		out.History = append(out.History, [3]int{d.time(u.At.Time), d.id(u.From), d.id(u.To)})
	}
	return out
}

func candidateStatus(c *state.Candidate) string {
	switch {
	case c.Held.After(c.Released.Time):
		return "held"
	case !c.Released.IsZero():
		return "released"
	case !c.Withdrawn.IsZero():
		return "withdrawn"
	}
	return "seen"
}

func (p *page) graphData(d *dictionary) graphData {
	m := p.model()
	l := m.Layout(draw.Unclustered)
	out := graphData{Width: whole(l.Width), Height: whole(l.Height), Nodes: [][]int{}, Paths: [][]int{}}
	for i := range m.Nodes {
		n, b := &m.Nodes[i], l.Nodes[i]
		_, name, _ := strings.Cut(n.ID, "/")
		out.Nodes = append(out.Nodes, []int{d.id(string(n.Kind)), d.id(name), d.id(n.ShortLabel()), d.id(n.Status), whole(b.X), whole(b.Y), whole(b.W), whole(b.H)})
	}
	for i := range l.Paths {
		path := &l.Paths[i]
		points := []int{path.From, path.To, 0}
		if !slices.ContainsFunc(path.Edges, func(e int) bool { return !m.Edges[e].Pinned }) {
			points[2] = 1
		}
		for _, pt := range path.Points {
			points = append(points, whole(pt.X), whole(pt.Y))
		}
		out.Paths = append(out.Paths, points)
	}
	return out
}

func whole(f float64) int { return int(math.Round(f)) }

// model returns the graph to draw. Versions and digests are shown beside it.
func (p *page) model() draw.Model {
	m := report.Draw(p.Config, p.State, p.Graph, p.Decisions)
	for i := range m.Nodes {
		m.Nodes[i].Version, m.Nodes[i].Digest = "", ""
	}
	return m
}

// graphSection returns the place of the graph, which the script draws.
func graphSection() part {
	return group(
		el("noscript", el("p", class("empty"), text("The graph needs JavaScript. The tables below name the bases of each image as well."))),
		el("div", class("graph"), attr("hidden", ""), attr("id", "graph-box"),
			el("div", class("tools"),
				el("label", el("span", class("sr"), text("Find an image in the graph")), el("input", attr("type", "search"), attr("id", "graph-search"), attr("placeholder", "Find image"), attr("autocomplete", "off"), attr("list", "graph-names"))),
				el("datalist", attr("id", "graph-names")),
				button("graph-in", "+", "Zoom in"), button("graph-out", "−", "Zoom out"), button("graph-fit", "Fit", "Show the whole graph"), button("graph-clear", "Clear", "Clear the selection"),
				el("output", class("shown"), attr("id", "graph-said"), attr("aria-live", "polite")),
			),
			el("canvas", attr("id", "graph-canvas"), attr("tabindex", "0"), attr("role", "img"), attr("aria-describedby", "graph-help"),
				attr("aria-label", "Dependency graph: base images at the left, the images built on them to their right")),
			el("p", class("hint"), attr("id", "graph-help"), text("Drag to move, scroll to zoom, click an image for its chain. With the keyboard: arrows go from image to image, + and − zoom, Enter opens the details. The column Built on of the table Images has the same in words.")),
			legend(),
		),
	)
}

func button(id, label, title string) part {
	return el("button", attr("type", "button"), attr("id", id), attr("title", title), attr("aria-label", title), text(label))
}

// legend returns the colours of the statuses.
func legend() part {
	var items []part
	for _, s := range policy.Statuses() {
		items = append(items, el("li", status(s)))
	}
	return el("ul", append([]part{class("legend"), attr("aria-label", "Colours")}, items...)...)
}
