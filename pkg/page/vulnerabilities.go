package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxRows  = 300   // of the table of vulnerabilities
	maxFound = 10000 // vulnerabilities that all images list together; each image lists its worst 5 at least
	named    = 3     // images or findings that a cell names
)

// compare compares the findings of scans in the images that the page describes, if anything was scanned.
func (p *page) compare() {
	if len(p.State.ImageScans)+len(p.State.BaseScans) == 0 {
		return
	}
	p.exposures = map[string]*exposure.Exposure{}
	for name := range p.described {
		if found := p.describer.Exposure(name); found != nil {
			p.exposures[name] = found
		}
	}
}

// counts returns the numbers of listed findings by severity.
func counts(found *exposure.Exposure) map[scan.Severity]int {
	out := map[scan.Severity]int{}
	for i := range found.Findings {
		out[found.Findings[i].Severity]++
	}
	return out
}

// vulnerable returns a cell with how many vulnerabilities an image has; it is empty if the image was not scanned.
func (p *page) vulnerable(image string) cell {
	found := p.exposures[image]
	if found == nil {
		return cell{}
	}
	n := counts(found)
	weight := 0 // the worst severities decide
	for _, s := range scan.Severities()[:3] {
		weight = weight*1000 + min(n[s], 999)
	}
	return cell{text(cmp.Or(report.SeverityText(n), "none")), strconv.Itoa(weight)}
}

// released returns why scans released digests of a base image before they had ripened.
func (p *page) released(base string) []string {
	var out []string
	b := p.State.Bases[base]
	for i := range b.Candidates {
		if c := &b.Candidates[i]; len(c.Urgent) > 0 && !c.Released.IsZero() && c.Withdrawn.IsZero() {
			out = append(out, "urgent: "+state.Text(c.Reason))
		}
	}
	return out
}

// remedies are the ways in which vulnerabilities go away, as the page counts them.
var remedies = []struct {
	remedy exposure.Remedy
	text   string
}{
	{exposure.ByCandidate, "a waiting candidate fixes"},
	{exposure.ByParent, "a rebuild of the parent fixes"},
	{exposure.ByTag, "only a newer tag fixes"},
	{exposure.ByImage, "in own layers"},
	{exposure.NoFix, "without a fix yet"},
	{exposure.Unknown, "of a base that was not scanned"},
}

// vulnerabilityCard returns the numbers for the fleet.
func (p *page) vulnerabilityCard() part {
	if p.exposures == nil {
		return nil
	}
	total, by := map[scan.Severity]int{}, map[exposure.Remedy]int{}
	added, missing := 0, 0
	for i := range p.Decisions {
		found := p.exposures[p.Decisions[i].Image]
		if found == nil {
			missing++
			continue
		}
		added += len(found.Added)
		for j := range found.Findings {
			total[found.Findings[j].Severity]++
			by[found.Findings[j].Remedy]++
		}
	}
	var items []part
	add := func(what string, n int) {
		if n > 0 {
			items = append(items, el("li", el("span", class("what"), text(what)), el("span", class("when"), text(strconv.Itoa(n)))))
		}
	}
	for _, r := range remedies {
		add(r.text, by[r.remedy])
	}
	add("a waiting candidate would add", added)
	urgent := 0
	for _, b := range p.bases {
		urgent += len(p.released(b.Name))
	}
	add("digests released as urgent", urgent)
	add("images not scanned", missing)
	return card("Vulnerabilities: "+cmp.Or(report.SeverityText(total), "none"), "No scanned image has one of the severity that counts.", items,
		el("p", class("more"), el("a", attr("href", "#vulnerabilities"), text("all"))))
}

// spread is one vulnerability of a package in all images.
type spread struct {
	state.FindingJSON
	images         []string // that have it
	adding         []string // images to which a candidate would add it
	inherited, own int
	by             map[exposure.Remedy]int
}

// spreads returns the vulnerabilities of all images, the worst and most frequent first.
func (p *page) spreads() []*spread {
	all := map[string]*spread{}
	of := func(f *state.FindingJSON) *spread {
		key := f.ID + " " + f.Package
		if all[key] == nil {
			all[key] = &spread{FindingJSON: *f, by: map[exposure.Remedy]int{}}
		}
		return all[key]
	}
	for i := range p.Decisions {
		name := p.Decisions[i].Image
		found := p.exposures[name]
		if found == nil {
			continue
		}
		for j := range found.Findings {
			f := &found.Findings[j]
			s := of(&f.FindingJSON)
			s.images = append(s.images, name)
			s.by[f.Remedy]++
			switch f.Where {
			case state.InBase:
				s.inherited++
			case state.InOwn:
				s.own++
			}
		}
		for j := range found.Added {
			s := of(&found.Added[j].FindingJSON)
			if k := len(s.adding); k == 0 || s.adding[k-1] != name {
				s.adding = append(s.adding, name)
			}
		}
	}
	out := make([]*spread, 0, len(all))
	for _, s := range all {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *spread) int {
		return cmp.Or(a.Severity.Compare(b.Severity), len(b.images)-len(a.images), strings.Compare(a.ID, b.ID), strings.Compare(a.Package, b.Package))
	})
	return out
}

// vulnerabilities returns a row for each vulnerability of the fleet.
func (p *page) vulnerabilities(list []*spread) part {
	t := table{id: "t-vulnerabilities", caption: "vulnerabilities", empty: "No scanned image has a vulnerability of the severity that counts.", columns: []column{
		{"Vulnerability", "w4"}, {"Severity", "w2"}, {"Package", "w3"}, {"Fixed in", "w3"}, {"Images", "n"}, {"Inherited", "n"}, {"Own", "n"}, {"Remedy", "w6"}, {"In", "w5"},
	}}
	by := map[scan.Severity]int{}
	for _, s := range list[:min(len(list), maxRows)] {
		by[s.Severity]++
		t.rows = append(t.rows, row{status: string(s.Severity), cells: []cell{
			plain(s.ID), {severity(s.Severity), strconv.Itoa(slices.Index(scan.Severities(), s.Severity))}, plain(s.Package), plain(s.Fixed),
			number(len(s.images)), number(s.inherited), number(s.own), plain(s.remedy()), {content: someImages(s.where())},
		}})
	}
	var options []option
	for _, s := range scan.Severities() {
		if by[s] > 0 {
			options = append(options, option{string(s), string(s), by[s]})
		}
	}
	t.filters = []part{choice("status", "Severity", options)}
	hint := el("p", class("hint"), text("Those of the published images, of the severity that `urgent` names, without ignored ones."))
	if len(list) > maxRows {
		hint = group(hint, el("p", class("hint"), text(fmt.Sprintf("The worst %d of %d are shown; `imagefactory describe IMAGE` lists all of an image.", maxRows, len(list)))))
	}
	return group(hint, t.part())
}

// where returns the images that have the vulnerability, or else those to which a candidate would add it.
func (s *spread) where() []string {
	if len(s.images) > 0 {
		return s.images
	}
	return s.adding
}

func severity(s scan.Severity) part {
	return el("span", class("st s-"+string(s)), text(string(s)))
}

// remedy returns what removes the vulnerability, with numbers of images where there are several ways.
func (s *spread) remedy() string {
	var parts []string
	for _, r := range remedies {
		if n := s.by[r.remedy]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", r.text, n))
		}
	}
	if n := len(s.adding); n > 0 {
		parts = append(parts, fmt.Sprintf("a waiting candidate would add it (%d)", n))
	}
	return strings.Join(parts, ", ")
}

// someImages returns links to the first of some images.
func someImages(names []string) part {
	var parts []part
	for i, name := range names[:min(len(names), named)] {
		if i > 0 {
			parts = append(parts, text(", "))
		}
		parts = append(parts, to("image", name, text(name)))
	}
	if more := len(names) - named; more > 0 {
		parts = append(parts, text(fmt.Sprintf(" and %d more", more)))
	}
	return group(parts...)
}

// found adds the vulnerabilities of an image to its details: the worst of them, and those that candidates would add.
func (p *page) found(d *dictionary, out *imageData, name string) {
	found := p.exposures[name]
	if found == nil {
		return
	}
	most := max(maxFound/max(len(p.described), 1), 5)
	row := func(f *state.FindingJSON, from, remedy string) int {
		pkg := strings.TrimSpace(f.Package + " " + f.Installed)
		if f.Fixed != "" {
			pkg += " → " + f.Fixed
		}
		return d.found.id([5]int{d.id(f.ID), d.id(string(f.Severity)), d.id(pkg), d.id(from), d.id(remedy)})
	}
	for i := range found.Findings[:min(len(found.Findings), most)] {
		f := &found.Findings[i]
		out.Found = append(out.Found, row(&f.FindingJSON, report.OriginText(f), report.RemedyText(f, state.ShortDigest(f.Digest), p.Now)))
	}
	for i := range found.Added[:min(len(found.Added), most)] {
		a := &found.Added[i]
		out.Found = append(out.Found, row(&a.FindingJSON, describe.Short(a.Base), state.ShortDigest(a.Digest)+" would add it"))
	}
	summary := []string{cmp.Or(report.SeverityText(counts(found)), "none found")}
	if rest := report.RestText(found); rest != "" && rest != summary[0] {
		summary = append(summary, rest)
	}
	if len(found.Findings) > most || len(found.Added) > most {
		summary = append(summary, "`imagefactory describe "+name+" -o wide` lists all")
	}
	out.Exposure = d.id(strings.Join(summary, "; "))
}

// scanned returns what scans found in the digests of a base image, the newest first.
func (d *dictionary) scanned(list []exposure.ScannedDigest) [][4]int {
	var out [][4]int
	for i := range slices.Backward(list) {
		g := &list[i]
		out = append(out, [4]int{
			d.id(g.Digest), d.id(cmp.Or(report.SeverityText(g.Counts), "none")), d.id(report.FindingsText(g.Fixes, named)), d.id(report.FindingsText(g.Adds, named)),
		})
	}
	return out
}
