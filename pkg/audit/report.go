package audit

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/stats"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Report is the audit of a period.
type Report struct {
	Period   Period    `json:"period"`
	Coverage Coverage  `json:"coverage"`
	Total    Group     `json:"total"`
	Groups   []Group   `json:"groups"`
	Rebuilds []Rebuild `json:"rebuilds"` // requested in the period, oldest first
	Stale    []Stale   `json:"stale"`    // the longest first
	Unripe   []Unripe  `json:"unripe"`   // oldest first
}

// Period is a span of time.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Coverage is where the facts come from. Complete reports whether they reach back to the beginning of the period.
type Coverage struct {
	Source   string    `json:"source"` // git, or state for the state files alone
	From     time.Time `json:"from,omitzero"`
	Commits  int       `json:"commits,omitempty"`
	Skipped  int       `json:"skipped,omitempty"` // versions of files that could not be read
	Complete bool      `json:"complete"`
}

// Group counts the rebuilds of images: of all, or of those with one label.
type Group struct {
	Name     string `json:"name"` // such as owner=shop
	Images   int    `json:"images"`
	Rebuilds int    `json:"rebuilds"`
	Failed   int    `json:"failed"` // of these
	Stale    int    `json:"stale"`  // images
	Unripe   int    `json:"unripe"` // builds
	Waits    Waits  `json:"waits"`
}

// Waits are how long changes have waited, from the moment a digest was first seen to the published image that has it.
type Waits struct {
	Changes int     `json:"changes"`
	Median  Seconds `json:"medianSeconds"`
	P95     Seconds `json:"p95Seconds"`
	Worst   Seconds `json:"worstSeconds"`
}

// Seconds is a duration in whole seconds.
type Seconds int64

// Duration returns the duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// Rebuild is a rebuild, and what became of it.
type Rebuild struct {
	Image       string              `json:"image"`
	Labels      []string            `json:"labels,omitempty"`
	ID          string              `json:"rebuild"`
	Reason      string              `json:"reason"`
	Urgent      []string            `json:"urgent,omitempty"` // IDs of the vulnerabilities for which a scan released a base
	Status      state.RebuildStatus `json:"status"`
	Message     string              `json:"message,omitempty"`
	RequestedAt time.Time           `json:"requestedAt"`
	FinishedAt  time.Time           `json:"finishedAt,omitzero"`
	RunURL      string              `json:"runURL,omitempty"`
	Version     string              `json:"version,omitempty"` // of the image that it published
	Digest      string              `json:"digest,omitempty"`
	Changes     []Change            `json:"changes"`
}

// Rows returns the changes for a table with a row for each: one empty change if the rebuild was for none.
func (b *Rebuild) Rows() []Change {
	if len(b.Changes) == 0 {
		return []Change{{}}
	}
	return b.Changes
}

// Change is one digest that a rebuild was for.
type Change struct {
	Ref      string         `json:"ref"`
	Digest   string         `json:"digest"`
	Seen     time.Time      `json:"firstSeen,omitzero"`
	Released string         `json:"released,omitempty"` // the reason, if a person or a scan released it
	Evidence state.Evidence `json:"evidence,omitempty"` // of the digest that the published image was built on
	// Waited is from Seen to the published image; missing if either is not known.
	Waited *Seconds `json:"waitedSeconds,omitempty"`
	// Delayed is the part of Waited before the rebuild was requested.
	Delayed *Seconds `json:"delayedSeconds,omitempty"`
}

// Stale is an image for which a base has held a newer digest for longer than the limit.
type Stale struct {
	Image  string        `json:"image"`
	Labels []string      `json:"labels,omitempty"`
	Since  time.Time     `json:"since"`
	Status policy.Status `json:"status"`
	Reason string        `json:"reason"`
}

// Unripe is a build that used a digest which it should not have.
type Unripe struct {
	Image    string         `json:"image"`
	Labels   []string       `json:"labels,omitempty"`
	Digest   string         `json:"digest"`
	Version  string         `json:"version,omitempty"`
	At       time.Time      `json:"at"`
	Ref      string         `json:"ref"`
	Base     string         `json:"baseDigest"`
	Evidence state.Evidence `json:"evidence"`
	Why      string         `json:"why"` // held, withdrawn or younger than the delay
}

// Input is what an audit is made of.
type Input struct {
	Config    *config.Config
	Graph     *graph.Graph
	Facts     *Facts
	Decisions []policy.Decision // about all images, at To
	Images    []string          // the images of the report
	From, To  time.Time
	Stale     time.Duration
	Coverage  Coverage
	Labels    func(*config.Image) []string // groups that an image belongs to

	past *policy.Past
}

// Of returns the audit of a period.
func Of(in *Input) *Report {
	in.past = policy.NewPast()
	in.Facts.sort()
	r := &Report{
		Period: Period{in.From.UTC(), in.To.UTC()}, Coverage: in.Coverage,
		Groups: []Group{}, Rebuilds: []Rebuild{}, Stale: []Stale{}, Unripe: []Unripe{},
	}
	total, groups := &tally{}, map[string]*tally{}
	decisions := map[string]*policy.Decision{}
	for i := range in.Decisions {
		decisions[in.Decisions[i].Image] = &in.Decisions[i]
	}
	for _, name := range in.Images {
		img := in.Config.Find(name)
		if !img.Managed() {
			continue
		}
		labels := in.Labels(img)
		tallies := []*tally{total}
		for _, label := range labels {
			if groups[label] == nil {
				groups[label] = &tally{}
			}
			tallies = append(tallies, groups[label])
		}
		own := in.ofImage(img, decisions[name], labels)
		for _, t := range tallies {
			t.add(own)
		}
		r.Rebuilds = append(r.Rebuilds, own.rebuilds...)
		r.Unripe = append(r.Unripe, own.unripe...)
		if own.stale != nil {
			r.Stale = append(r.Stale, *own.stale)
		}
	}
	r.sort()
	r.Total = total.group("all")
	for _, label := range slices.Sorted(maps.Keys(groups)) {
		r.Groups = append(r.Groups, groups[label].group(label))
	}
	return r
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Rebuilds, func(a, b Rebuild) int {
		return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), cmp.Compare(a.Image, b.Image))
	})
	slices.SortStableFunc(r.Unripe, func(a, b Unripe) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Image, b.Image)) })
	slices.SortStableFunc(r.Stale, func(a, b Stale) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Image, b.Image)) })
}

// part is the audit of one image.
type part struct {
	rebuilds []Rebuild
	unripe   []Unripe
	stale    *Stale
}

func (in *Input) ofImage(img *config.Image, d *policy.Decision, labels []string) part {
	p := part{}
	if d != nil {
		if since := d.Outdated(); !since.IsZero() && in.To.Sub(since) > in.Stale {
			p.stale = &Stale{img.Name, labels, since.UTC(), d.Status, d.Reason}
		}
	}
	facts := in.Facts.images[img.Name]
	if facts == nil {
		return p
	}
	deps := map[string]*graph.Dep{}
	for i := range in.Graph.Deps(img.Name) {
		dep := &in.Graph.Deps(img.Name)[i]
		deps[dep.Ref.String()] = dep
	}
	builds := facts.sortedBuilds()
	for _, r := range facts.sortedRebuilds() {
		if in.within(r.RequestedAt.Time) {
			p.rebuilds = append(p.rebuilds, in.rebuild(img, &r, builds, labels, deps))
		}
	}
	for _, b := range builds {
		if in.within(b.At) {
			p.unripe = append(p.unripe, in.unripe(img, &b, labels, deps)...)
		}
	}
	return p
}

func (in *Input) within(t time.Time) bool { return !t.Before(in.From) && !t.After(in.To) }

func (in *Input) rebuild(img *config.Image, r *state.Rebuild, builds []Build, labels []string, deps map[string]*graph.Dep) Rebuild {
	out := Rebuild{
		Image: img.Name, Labels: labels, ID: r.ID, Reason: state.Text(r.Reason), Status: r.Status, Message: state.Text(r.Message),
		RequestedAt: r.RequestedAt.Time, FinishedAt: r.FinishedAt.Time, RunURL: r.RunURL, Changes: []Change{},
	}
	for _, id := range r.Urgent {
		out.Urgent = append(out.Urgent, state.Text(id))
	}
	var built *Build
	if r.Status.CountsAsBuilt() {
		// What ends a rebuild is the image that it published: both are recorded at the same time.
		if i := slices.IndexFunc(builds, func(b Build) bool { return b.At.Equal(out.FinishedAt) }); i >= 0 {
			built = &builds[i]
			out.Version, out.Digest = built.Version, built.Digest
		}
	}
	for _, t := range r.Bases {
		c := Change{Ref: t.Ref, Digest: t.Digest}
		c.Seen, c.Released = in.seen(t.Ref, t.Digest, deps[t.Ref])
		if built != nil {
			if i := slices.IndexFunc(built.BuiltOn, func(on state.BuiltOn) bool { return on.Ref == t.Ref }); i >= 0 {
				c.Evidence = built.BuiltOn[i].Evidence
			}
		}
		if !c.Seen.IsZero() {
			c.Delayed = seconds(out.RequestedAt.Sub(c.Seen))
			if r.Status.CountsAsBuilt() {
				c.Waited = seconds(out.FinishedAt.Sub(c.Seen))
			}
		}
		out.Changes = append(out.Changes, c)
	}
	return out
}

// seconds returns a duration in seconds; nil for a negative one, which clocks that disagree have made.
func seconds(d time.Duration) *Seconds {
	if d < 0 {
		return nil
	}
	s := Seconds(d / time.Second)
	return &s
}

// seen returns when a digest was first seen under a reference, and why it was released.
func (in *Input) seen(ref, digest string, dep *graph.Dep) (at time.Time, released string) {
	if dep != nil && dep.Parent != "" {
		if parent := in.Facts.images[dep.Parent]; parent != nil {
			return parent.since[digest], ""
		}
		return time.Time{}, ""
	}
	base := in.Facts.byRef[ref]
	if base == nil {
		return time.Time{}, ""
	}
	if c := base.Find(digest); c != nil {
		if !c.Released.IsZero() {
			released = cmp.Or(state.Text(c.Reason), "released")
		}
		return c.FirstSeen.Time, released
	}
	if base.Baseline != nil && base.Baseline.Digest == digest {
		return base.Baseline.FirstSeen.Time, ""
	}
	return time.Time{}, ""
}

// unripe returns the bases of a build that it should not have used.
func (in *Input) unripe(img *config.Image, b *Build, labels []string, deps map[string]*graph.Dep) []Unripe {
	var out []Unripe
	for _, on := range b.BuiltOn {
		var platforms []string
		if dep := deps[on.Ref]; dep != nil {
			platforms = policy.PlatformsOf(img, dep.Uses)
		}
		if why := in.past.Unripe(img, in.Facts.byRef[on.Ref], &on, platforms, b.At); why != "" {
			out = append(out, Unripe{img.Name, labels, b.Digest, b.Version, b.At, on.Ref, on.Digest, on.Evidence, why})
		}
	}
	return out
}

// tally adds up parts.
type tally struct {
	Group
	waits []Seconds
}

func (t *tally) add(p part) {
	t.Images++
	t.Rebuilds += len(p.rebuilds)
	t.Unripe += len(p.unripe)
	if p.stale != nil {
		t.Stale++
	}
	for _, r := range p.rebuilds {
		if r.Status == state.Failed || r.Status == state.WrongBase {
			t.Failed++
		}
		for _, c := range r.Changes {
			if c.Waited != nil {
				t.waits = append(t.waits, *c.Waited)
			}
		}
	}
}

func (t *tally) group(name string) Group {
	slices.Sort(t.waits)
	g := t.Group
	g.Name = name
	g.Waits = Waits{len(t.waits), stats.Quantile(t.waits, 0.5), stats.Quantile(t.waits, 0.95), stats.Quantile(t.waits, 1)}
	return g
}
