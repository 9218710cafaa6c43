package page

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// data is what the script shows: details of images and base images, and the graph. Whatever occurs many times is a number in it,
// its place in a list: strings, steps and clocks.
type data struct {
	Strings []string    `json:"strings"`
	Steps   [][]int     `json:"steps"`  // of the chains of reasons: kind, reference, text, place, digest
	Clocks  [][]int     `json:"clocks"` // of candidates: digest, seen, ripe, status, reason
	Found   [][]int     `json:"found"`  // by scans: ID, severity, package with its versions, where from, remedy
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
	SourceURL  int           `json:"u,omitempty"`
	Facts      [][2]int      `json:"f,omitempty"` // further facts: name and value
	Reasons    []int         `json:"e,omitempty"` // steps
	Bases      []useData     `json:"b,omitempty"`
	History    []rebuildData `json:"h,omitempty"`
	Users      []int         `json:"c,omitempty"` // names
	Plan       [][3]int      `json:"p,omitempty"` // rebuilds: image, when and why
	Findings   [][2]int      `json:"x,omitempty"` // rule and message
	Objects    []int         `json:"o,omitempty"` // of Kargo
	Exposure   int           `json:"y,omitempty"` // numbers of vulnerabilities
	Found      []int         `json:"z,omitempty"`
}

// useData is a reference that an image uses, and the digests that its tag held, the newest first.
type useData struct {
	Ref        int   `json:"r"`
	Kind       int   `json:"k,omitempty"` // image or base
	Name       int   `json:"n,omitempty"` // of the image or base image
	Uses       int   `json:"u,omitempty"`
	Digest     int   `json:"d,omitempty"` // that the published image was built on
	Evidence   int   `json:"e,omitempty"`
	Candidates []int `json:"c,omitempty"` // clocks
}

type rebuildData struct {
	Requested int `json:"t"`
	Status    int `json:"s"`
	Finished  int `json:"e,omitempty"`
	Why       int `json:"w,omitempty"`
	Message   int `json:"m,omitempty"`
	URL       int `json:"u,omitempty"`
}

type baseData struct {
	Name       int      `json:"n"`
	Ref        int      `json:"r"`
	Digest     int      `json:"d,omitempty"`
	Moved      int      `json:"t,omitempty"`
	Candidates [][4]int `json:"c,omitempty"` // digest, seen, how it stands, reason
	History    [][3]int `json:"h,omitempty"` // when, from, to
	Users      []int    `json:"i,omitempty"` // names
	Plan       [][3]int `json:"p,omitempty"` // rebuilds that it causes: image, when and why
	Findings   [][2]int `json:"x,omitempty"`
	Objects    []int    `json:"o,omitempty"`
	Found      [][4]int `json:"z,omitempty"` // by scans: digest, numbers, what it fixes and adds
}

// graphData is a graph that is laid out, in whole pixels.
type graphData struct {
	Width  int     `json:"w"`
	Height int     `json:"h"`
	Nodes  [][]int `json:"n"` // kind, name, label, status, x, y, width, height
	Paths  [][]int `json:"p"` // from, to, pinned, then the points
}

// dictionary collects what occurs many times.
type dictionary struct {
	strings              list[string]
	steps, clocks, found list[[5]int]
}

// list is a list of different values.
type list[T comparable] struct {
	values []T
	index  map[T]int
}

// id returns the place of a value in the list.
func (l *list[T]) id(v T) int {
	n, known := l.index[v]
	if !known {
		if l.index == nil {
			l.index = map[T]int{}
		}
		n = len(l.values)
		l.index[v] = n
		l.values = append(l.values, v)
	}
	return n
}

func newDictionary() *dictionary {
	d := &dictionary{}
	d.id("") // is 0, so that JSON omits it
	return d
}

// id returns the number of a string from outside.
func (d *dictionary) id(s string) int { return d.strings.id(sanitize.Terminal(s)) }

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
	return d.id(t.UTC().Format(minute))
}

// maxHistory is how many rebuilds all images have together, so that the page of a large fleet stays small. Each image shows its
// last three at least; git has the others.
const maxHistory = 5000

func (p *page) data() ([]byte, error) {
	d := newDictionary()
	out := data{Images: []imageData{}, Bases: []baseData{}}
	history := min(max(maxHistory/max(len(p.described), 1), 3), 20)
	for _, name := range p.Graph.Order() {
		if p.described[name] {
			img := d.image(p.describer.Image(name), history)
			p.found(d, &img, name)
			out.Images = append(out.Images, img)
		}
	}
	for _, b := range p.bases {
		base := d.base(b)
		base.Found = d.scanned(p.describer.ScannedDigests(b.Name))
		out.Bases = append(out.Bases, base)
	}
	out.Graph = p.graphData(d)
	out.Strings, out.Steps, out.Clocks = d.strings.values, withoutZeros(d.steps.values), withoutZeros(d.clocks.values)
	out.Found = withoutZeros(d.found.values)
	return jsonOf(out)
}

// withoutZeros returns rows without the empty strings at their end.
func withoutZeros(rows [][5]int) [][]int {
	out := make([][]int, len(rows))
	for i := range rows {
		n := len(rows[i])
		for n > 0 && rows[i][n-1] == 0 {
			n--
		}
		out[i] = rows[i][:n]
	}
	return out
}

func (d *dictionary) image(img *describe.Image, history int) imageData {
	out := imageData{
		Name: d.id(img.Name), Status: d.id(string(img.Decision.Status)), Why: d.id(report.Reason(&img.Decision)), Repository: d.id(img.Repository),
		Version: d.id(img.Version), Digest: d.id(img.Digest), Built: d.time(img.Built),
		Users: d.ids(img.Users), Plan: d.plan(img.Plan), Findings: d.findings(img.Findings), Objects: d.objects(img.Objects),
	}
	add := func(name, value string) {
		if value != "" {
			out.Facts = append(out.Facts, [2]int{d.id(name), d.id(value)})
		}
	}
	add("Owner", img.Owner)
	for _, key := range slices.Sorted(maps.Keys(img.Labels)) {
		add("Label "+key, img.Labels[key])
	}
	if s := img.Source; s != nil {
		out.SourceURL = d.id(webURL("https://" + s.Host + "/" + s.Repo))
		add("Dockerfile", s.Dockerfile)
		add("Branch", s.Branch)
		add("Workflow", s.Workflow)
		add("Workflow repository", s.WorkflowRepo)
		add("Workflow branch", s.WorkflowBranch)
		add("Delay", delayOf(s))
	}
	for i := range img.Reasons {
		s := &img.Reasons[i]
		place := ""
		if s.Place != nil {
			place = s.Place.String()
		}
		out.Reasons = append(out.Reasons, d.steps.id([5]int{d.id(string(s.Kind)), d.id(state.Short(s.Ref)), d.id(s.Text), d.id(place), d.id(s.Digest)}))
	}
	for i := range img.Bases {
		out.Bases = append(out.Bases, d.use(&img.Bases[i]))
	}
	for i := range img.History[:min(len(img.History), history)] {
		out.History = append(out.History, d.rebuild(&img.History[i]))
	}
	return out
}

// delayOf returns the rules for when an image is rebuilt.
func delayOf(s *describe.Source) string {
	out := s.RebuildDelay.String() + ", " + string(s.RebuildPolicy)
	if s.RebuildPolicy != config.Mature {
		out += ", at most " + s.MaxRebuildDelay.String()
	}
	if !s.AutoRebuild {
		out += "; no automatic rebuilds"
	}
	return out
}

func (d *dictionary) use(b *describe.ImageBase) useData {
	out := useData{Ref: d.id(state.Short(b.Ref)), Uses: d.id(usesOf(b.Uses))}
	switch {
	case b.Parent != "":
		out.Kind, out.Name = d.id("image"), d.id(b.Parent)
	case b.Base != "":
		out.Kind, out.Name = d.id("base"), d.id(b.Base)
	}
	if b.BuiltOn != nil {
		out.Digest, out.Evidence = d.id(b.BuiltOn.Digest), d.id(b.BuiltOn.How)
	}
	for i := range slices.Backward(b.Candidates) {
		c := &b.Candidates[i]
		out.Candidates = append(out.Candidates, d.clocks.id([5]int{d.id(c.Digest), d.time(c.Seen), d.time(c.Ripe), d.id(string(c.Status)), d.id(c.Reason)}))
	}
	return out
}

// usesOf returns the instructions that use a reference: FROM, COPY.
func usesOf(uses []describe.Use) string {
	var out []string
	for _, u := range uses {
		if word := strings.ToUpper(u.Kind); !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, ", ")
}

func (d *dictionary) rebuild(r *state.Rebuild) rebuildData {
	return rebuildData{
		Requested: d.time(r.RequestedAt.Time), Status: d.id(string(r.Status)), Finished: d.time(r.FinishedAt.Time),
		Why: d.id(r.Reason), Message: d.id(r.Message), URL: d.id(webURL(r.RunURL)),
	}
}

func (d *dictionary) base(b *describe.Base) baseData {
	out := baseData{
		Name: d.id(b.Name), Ref: d.id(state.Short(b.Ref)), Digest: d.id(b.Digest), Moved: d.time(b.Updated),
		Plan: d.plan(b.Plan), Findings: d.findings(b.Findings), Objects: d.objects(b.Objects),
	}
	for i := range b.Users {
		out.Users = append(out.Users, d.id(b.Users[i].Image))
	}
	for i := range slices.Backward(b.Candidates) {
		c := &b.Candidates[i]
		out.Candidates = append(out.Candidates, [4]int{d.id(c.Digest), d.time(c.Seen), d.id(stands(c)), d.id(c.Reason)})
	}
	for i := range b.History {
		u := &b.History[i]
		out.History = append(out.History, [3]int{d.time(u.At.Time), d.id(u.From), d.id(u.To)})
	}
	return out
}

// stands returns how a digest stands for the images that use its tag.
func stands(c *describe.BaseCandidate) string {
	if c.Baseline {
		return "baseline"
	}
	var parts []string
	for i := range c.Ripens {
		r := &c.Ripens[i]
		part := string(r.Status)
		if r.Status == policy.IsRipening {
			part = "ripe " + r.At.UTC().Format(minute)
		}
		parts = append(parts, part+" for "+plural.Listed(r.Images, 3))
	}
	return strings.Join(parts, "; ")
}

func (d *dictionary) plan(entries []plan.Entry) [][3]int {
	var out [][3]int
	for i := range entries {
		e := &entries[i]
		when := e.At.UTC().Format(minute)
		if e.After != "" {
			when = "after " + e.After
		}
		out = append(out, [3]int{d.id(e.Image), d.id(when), d.id(report.PlanWhy(e))})
	}
	return out
}

func (d *dictionary) findings(list finding.List) [][2]int {
	var out [][2]int
	for i := range list {
		out = append(out, [2]int{d.id(list[i].Rule), d.id(list[i].Message)})
	}
	return out
}

func (d *dictionary) objects(list []describe.Object) []int {
	var out []int
	for _, o := range list {
		out = append(out, d.id(o.String()))
	}
	return out
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
	m := report.Draw(p.Config, p.State, p.Graph, p.describer.Input().Decisions)
	if p.Images != nil {
		m = p.part(m)
	}
	for i := range m.Nodes {
		m.Nodes[i].Version, m.Nodes[i].Digest = "", ""
	}
	return m
}

// part returns the part of a graph that the page is about.
func (p *page) part(m draw.Model) draw.Model {
	used := map[string]bool{}
	for i := range m.Edges {
		if e := &m.Edges[i]; p.described[strings.TrimPrefix(e.To, "image/")] {
			used[e.From] = true
		}
	}
	return draw.New(slices.DeleteFunc(m.Nodes, func(n draw.Node) bool {
		name, image := strings.CutPrefix(n.ID, "image/")
		return image && !p.described[name] || !image && !used[n.ID]
	}), m.Edges)
}

// graphSection returns the place of the graph, which the script draws.
func graphSection() part {
	return group(
		el("noscript", el("p", class("empty"), text("The graph needs JavaScript. The tables below name the bases of each image as well."))),
		el("div", class("graph"), attr("hidden", ""), attr("id", "graph-box"),
			el("div", class("tools"),
				el("label", el("span", class("sr"), text("Find an image in the graph")), el("input", attr("type", "search"), attr("id", "graph-search"), attr("placeholder", "Find image"), attr("autocomplete", "off"), attr("list", "graph-names"))),
				el("datalist", attr("id", "graph-names")),
				button("graph-in", "+", "Zoom in"), button("graph-out", "−", "Zoom out"), button("graph-fit", "Show all", ""), button("graph-clear", "Clear", ""),
				el("output", class("shown"), attr("id", "graph-said"), attr("aria-live", "polite")),
			),
			el("canvas", attr("id", "graph-canvas"), attr("tabindex", "0"), attr("role", "img"), attr("aria-describedby", "graph-help"),
				attr("aria-label", "Dependency graph: base images at the left, the images built on them to their right")),
			el("p", class("hint"), attr("id", "graph-help"), text("Drag to move, scroll to zoom, click an image for its chain. With the keyboard: arrows go from image to image, + and − zoom, Enter opens the details. The column Built on of the table Images has the same in words.")),
			legend(),
		),
	)
}

// button returns a button; a title names it where its label is only a sign.
func button(id, label, title string) part {
	named := part(nil)
	if title != "" {
		named = group(attr("title", title), attr("aria-label", title))
	}
	return el("button", attr("type", "button"), attr("id", id), named, text(label))
}

// legend returns the colours of the statuses.
func legend() part {
	var items []part
	for _, s := range policy.Statuses() {
		items = append(items, el("li", status(s)))
	}
	return el("ul", append([]part{class("legend"), attr("aria-label", "Colours")}, items...)...)
}
