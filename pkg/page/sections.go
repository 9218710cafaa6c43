package page

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const day = 24 * time.Hour

// age returns a duration in its largest unit: 59m, 3h, 12d.
func age(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm", max(d, 0)/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// timeCell returns a cell with a time. Its text sorts by time.
func timeCell(t time.Time) cell { return cell{content: at(t)} }

// images returns a table with a row for each image.
func (p *page) images() part {
	owners := p.owners()
	t := table{id: "t-images", caption: "images", empty: p.noImage(), columns: []column{
		{"Image", "w4"}, {"Status", "w2"}, {"When", "w3"}, {"Why", "w6"}, {"Version", "w2"}, {"Built", "w3"}, {"Built on", "w5"},
	}}
	if len(owners) > 0 {
		t.columns = append(t.columns, column{"Owner", "w3"})
		t.filters = append(t.filters, choice("owner", "Owner", owners))
	}
	t.filters = append([]part{choice("status", "Status", p.statuses())}, t.filters...)
	if p.exposures != nil {
		t.columns = append(t.columns, column{"Vulnerabilities", "w3"})
	}
	for i := range p.Decisions {
		r := p.image(&p.Decisions[i])
		if len(owners) > 0 {
			r.owner = p.Config.Find(p.Decisions[i].Image).Owner
			r.cells = append(r.cells, plain(r.owner))
		}
		if p.exposures != nil {
			r.cells = append(r.cells, p.vulnerable(p.Decisions[i].Image))
		}
		t.rows = append(t.rows, r)
	}
	return t.part()
}

func (p *page) statuses() []option {
	var out []option
	for _, s := range policy.Statuses() {
		n := 0
		for i := range p.Decisions {
			if p.Decisions[i].Status == s {
				n++
			}
		}
		if n > 0 {
			out = append(out, option{string(s), report.StatusWord(s), n})
		}
	}
	return out
}

func (p *page) image(d *policy.Decision) row {
	facts := p.State.Images[d.Image]
	if facts == nil {
		facts = &state.Image{}
	}
	return row{status: string(d.Status), cells: []cell{
		{content: to("image", d.Image, text(d.Image))},
		{status(d.Status), strconv.Itoa(slices.Index(policy.Statuses(), d.Status))},
		p.when(d),
		plain(report.Reason(d)),
		plain(facts.CurrentVersion),
		timeCell(facts.LastBuilt.Time),
		{content: p.builtOn(d.Image)},
	}}
}

// when returns the time that a decision is about: until when the image waits, or since when it has its status.
func (p *page) when(d *policy.Decision) cell {
	switch {
	case d.After != "":
		return cell{group(text("after "), to("image", d.After, text(d.After))), d.Until.UTC().Format(minute)}
	case !d.Until.IsZero():
		return timeCell(d.Until)
	}
	return timeCell(d.Since)
}

// builtOn returns the images and base images that an image is built on, as links.
func (p *page) builtOn(name string) part {
	var parts []part
	for i := range p.Graph.Deps(name) {
		dep := &p.Graph.Deps(name)[i]
		if i > 0 {
			parts = append(parts, text(", "))
		}
		short, digest, pinned := strings.Cut(state.Short(dep.Ref.String()), "@")
		switch {
		case dep.Parent != "":
			parts = append(parts, to("image", dep.Parent, text(dep.Parent)))
		case dep.Base != "":
			parts = append(parts, to("base", dep.Base, text(short)))
		default:
			parts = append(parts, text(short))
		}
		if pinned {
			parts = append(parts, text(" (pinned to "+state.ShortDigest(digest)+")"))
		}
	}
	if facts := p.State.Images[name]; facts != nil {
		for _, m := range facts.Unresolved {
			if len(parts) > 0 {
				parts = append(parts, text(", "))
			}
			parts = append(parts, text(m.Text+" (unresolved)"))
		}
	}
	return group(parts...)
}

// baseImages returns a table with a row for each base image.
func (p *page) baseImages() part {
	t := table{id: "t-bases", caption: "base images", empty: "No base image is known yet. `imagefactory analyze` reads the Dockerfiles.", columns: []column{
		{"Base image", "w5"}, {"Digest", "w3"}, {"Moved", "w3"}, {"Age", "n"}, {"Images", "n"}, {"Due", "n"}, {"Ripening", "n"}, {"Next due", "w3"}, {"Note", "w4"},
	}}
	for _, b := range p.bases {
		s, old := b.Summary(), cell{}
		if !s.Updated.IsZero() {
			old = cell{text(age(p.Now.Sub(s.Updated))), strconv.FormatInt(int64(p.Now.Sub(s.Updated)/time.Minute), 10)}
		}
		t.rows = append(t.rows, row{cells: []cell{
			{content: to("base", s.Name, text(state.Short(s.Ref)))},
			{content: digestPart(s.Digest)},
			timeCell(s.Updated), old,
			number(s.Users), number(s.Due), number(s.Ripening), timeCell(s.Next),
			plain(note(&s, p.released(s.Name))),
		}})
	}
	return t.part()
}

// note returns what is unusual about a base image.
func note(s *describe.BaseSummary, released []string) string {
	var notes []string
	if s.Digest == "" {
		notes = append(notes, "not resolved yet")
	}
	if s.Pinned > 0 && s.Pinned == s.Users {
		notes = append(notes, "pinned everywhere")
	}
	notes = append(notes, report.SetAside(s)...)
	notes = append(notes, released...)
	if text := report.NewerText(s.Newer); text != "" {
		notes = append(notes, "newer: "+text)
	}
	return strings.Join(notes, ", ")
}

func digestPart(digest string) part {
	if digest == "" {
		return nil
	}
	return el("code", attr("title", digest), text(strings.TrimPrefix(state.ShortDigest(digest), "sha256:")))
}

// upcoming returns when which image is going to be rebuilt.
func (p *page) upcoming() part {
	t := table{id: "t-upcoming", caption: "upcoming rebuilds", empty: "No rebuild until " + p.Plan.Until.UTC().Format(time.DateOnly) + ".", columns: []column{
		{"Image", "w4"}, {"Starts", "w3"}, {"Wave", "n"}, {"Why", "w6"}, {"At the latest", "w3"}, {"Takes", "n"}, {"Forge", "w3"},
	}}
	for i := range p.Plan.Items {
		e := &p.Plan.Items[i]
		t.rows = append(t.rows, row{cells: []cell{
			{content: to("image", e.Image, text(e.Image))},
			{starts(e), e.At.UTC().Format(minute)},
			number(e.Wave),
			plain(report.PlanWhy(e)),
			timeCell(e.Latest),
			{text(e.Expected.String()), strconv.FormatInt(int64(e.Expected.Std()/time.Second), 10)},
			plain(e.Forge),
		}})
	}
	return group(p.chart(), t.part(), p.skipped())
}

// skipped returns the images with a newer base that no rebuild picks up.
func (p *page) skipped() part {
	if len(p.Plan.Skipped) == 0 {
		return nil
	}
	t := table{id: "t-skipped", caption: "images that are not rebuilt although a base is newer", columns: []column{{"Image", "w4"}, {"Cause", "w2"}, {"Why", "w6"}, {"Due", "w3"}}}
	for i := range p.Plan.Skipped {
		s := p.Plan.Skipped[i]
		until := s.Until
		s.Until = time.Time{}
		t.rows = append(t.rows, row{cells: []cell{
			{content: to("image", s.Image, text(s.Image))}, plain(report.CauseWord(s.Cause)), plain(report.SkipWhy(&s, p.Now)), timeCell(until),
		}})
	}
	return group(el("h3", text("Skipped "), el("span", class("count"), text(strconv.Itoa(len(t.rows))))), t.part())
}

// chart returns a bar for each day of the plan: how many rebuilds start.
func (p *page) chart() part {
	if len(p.Plan.Items) == 0 {
		return nil
	}
	const (
		width  = 24 // of a day
		height = 80
	)
	first := p.Now.UTC().Truncate(day)
	counts := make([]int, int(p.Plan.Until.UTC().Sub(first)/day)+1)
	most := 0
	for i := range p.Plan.Items {
		if e := &p.Plan.Items[i]; e.Status != plan.Running {
			d := min(max(int(e.At.UTC().Sub(first)/day), 0), len(counts)-1)
			counts[d]++
			most = max(most, counts[d])
		}
	}
	if most == 0 {
		return nil
	}
	var parts []part
	for i, n := range counts {
		date := first.Add(time.Duration(i) * day)
		x := i * width
		h := n * height / most
		if n > 0 {
			parts = append(parts,
				el("rect", num("x", x+2), num("y", 16+height-max(h, 2)), num("width", width-4), num("height", max(h, 2)), attr("rx", "2"),
					el("title", text(fmt.Sprintf("%s: %d", date.Format("Mon 2006-01-02"), n)))),
				el("text", num("x", x+width/2), num("y", 12+height-h), text(strconv.Itoa(n))))
		}
		if i == 0 || date.Weekday() == time.Monday {
			parts = append(parts, el("text", class("axis"), num("x", x+width/2), num("y", height+32), text(date.Format("2 Jan"))))
		}
	}
	w := strconv.Itoa(len(counts) * width)
	parts = append(parts, el("path", class("axis"), attr("d", fmt.Sprintf("M0 %d.5H%s", height+16, w))))
	return el("figure", class("chart"),
		el("svg", append([]part{attr("viewBox", fmt.Sprintf("-12 0 %d %d", len(counts)*width+24, height+38)), attr("role", "img"), attr("aria-label", "Rebuilds that start on each day; the table lists them")}, parts...)...))
}

// findings returns the problems of images.yaml and state.
func (p *page) findings() part {
	t := table{id: "t-findings", caption: "findings", empty: "images.yaml and state have no problem.", columns: []column{
		{"Rule", "w1"}, {"Severity", "w2"}, {"Message", "w6"}, {"Fix", "w6"}, {"Place", "w4"}, {"Image", "w3"},
	}}
	counts := map[finding.Severity]int{}
	for i := range p.Findings {
		f := &p.Findings[i]
		counts[f.Severity]++
		image := cell{}
		if f.Image != "" {
			image.content = to("image", f.Image, text(f.Image))
		}
		t.rows = append(t.rows, row{status: string(f.Severity), cells: []cell{
			{content: link(report.RuleURL(f.Rule), text(f.Rule))}, {el("span", class("st s-"+string(f.Severity)), text(string(f.Severity))), ""},
			plain(f.Message), plain(f.Fix), plain(describe.Place{File: f.File, Line: f.Line}.String()), image,
		}})
	}
	var options []option
	for _, s := range []finding.Severity{finding.Error, finding.Warning} {
		if counts[s] > 0 {
			options = append(options, option{string(s), string(s), counts[s]})
		}
	}
	t.filters = []part{choice("status", "Severity", options)}
	return t.part()
}
