package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// listed is how many images a list of the overview names.
const listed = 6

func (p *page) overview() part {
	if len(p.Decisions) == 0 {
		return el("p", class("empty"), text(p.noImage()))
	}
	counts := map[string]int{}
	for i := range p.Decisions {
		counts[string(p.Decisions[i].Status)]++
	}
	return group(
		bar(counts, len(p.Decisions)),
		statusList(counts),
		el("div", class("cards"), p.oldest(), p.next(), p.vulnerabilityCard(), p.health()),
	)
}

// noImage returns why the page shows no image.
func (p *page) noImage() string {
	if p.Images != nil {
		return "No image is selected."
	}
	return "No image is enrolled yet. `imagefactory enroll` adds the first."
}

// bar returns a bar that shows which share of the images has which status.
func bar(counts map[string]int, total int) part {
	const width = 1000
	var rects []part
	x, n := 0, 0
	for _, s := range policy.Statuses() {
		if counts[string(s)] == 0 {
			continue
		}
		n += counts[string(s)]
		end := n * width / total
		rects = append(rects, el("rect", num("x", x), num("width", max(end-x-2, 2)), num("height", 10), class("s-"+string(s))))
		x = end
	}
	return el("svg", append([]part{class("bar"), attr("viewBox", "0 0 1000 10"), attr("preserveAspectRatio", "none"), attr("aria-hidden", "true")}, rects...)...)
}

func statusList(counts map[string]int) part {
	var items []part
	for _, s := range policy.Statuses() {
		if n := counts[string(s)]; n > 0 {
			items = append(items, el("li", el("a", attr("href", "#images"), attr("data-show", string(s)),
				el("b", text(strconv.Itoa(n))), text(" "), status(s))))
		}
	}
	return el("ul", append([]part{class("counts"), attr("aria-label", "Images by status")}, items...)...)
}

// status returns the word for a status beside its colour.
func status(s policy.Status) part {
	return el("span", class("st s-"+string(s)), text(report.StatusWord(s)))
}

// oldest returns the images whose bases have held something newer for the longest time.
func (p *page) oldest() part {
	var late []*policy.Decision
	for i := range p.Decisions {
		if d := &p.Decisions[i]; !d.Outdated().IsZero() {
			late = append(late, d)
		}
	}
	slices.SortStableFunc(late, func(a, b *policy.Decision) int { return a.Outdated().Compare(b.Outdated()) })
	var items []part
	for _, d := range late[:min(len(late), listed)] {
		items = append(items, el("li", el("span", class("what"), to("image", d.Image, text(d.Image)), status(d.Status)), el("span", class("when"), text(age(p.Now.Sub(d.Outdated()))))))
	}
	return card("Waiting longest", "Every image is built on the newest digests of its bases.", items, more(len(late), "#images"))
}

// next returns the rebuilds that start next.
func (p *page) next() part {
	var items []part
	n := 0
	for i := range p.Plan.Items {
		e := &p.Plan.Items[i]
		if e.Status != plan.Now && e.Status != plan.Planned {
			continue // has its place among the statuses
		}
		if n++; n <= listed {
			items = append(items, el("li", el("span", class("what"), to("image", e.Image, text(e.Image))), el("span", class("when"), starts(e))))
		}
	}
	return card("Next rebuilds", "No rebuild until "+p.Plan.Until.UTC().Format("2006-01-02")+".", items, more(n, "#upcoming"))
}

// starts returns when a planned rebuild starts.
func starts(e *plan.Entry) part {
	switch {
	case e.Status == plan.Running, e.Status == plan.Blocked, e.Status == plan.Now:
		return text(string(e.Status))
	case e.After != "":
		return group(text("after "), to("image", e.After, text(e.After)))
	}
	return at(e.At)
}

// health returns how many findings there are, and which images failed.
func (p *page) health() part {
	errs := len(p.Findings) - len(p.Findings.Warnings())
	rules := map[string]int{}
	for i := range p.Findings {
		rules[p.Findings[i].Rule]++
	}
	var items []part
	for _, r := range finding.Rules() {
		if n := rules[r.ID]; n > 0 {
			items = append(items, el("li", el("span", class("what"), text(r.Text)), el("span", class("when"), text(strconv.Itoa(n)))))
		}
	}
	slices.Reverse(items)
	title := "Findings"
	if len(p.Findings) > 0 {
		title += ": " + plural.Count(errs, "error") + ", " + plural.Count(len(p.Findings)-errs, "warning")
	}
	return card(title, "images.yaml and state have no problem.", items[:min(len(items), listed)], more(len(items), "#findings"))
}

func card(title, empty string, items []part, after part) part {
	content := el("ul", items...)
	if len(items) == 0 {
		content = el("p", class("empty"), text(empty))
	}
	return el("div", class("card"), el("h3", text(title)), content, after)
}

// more returns a link to a list of all, if there are more than the overview names.
func more(all int, target string) part {
	if all <= listed {
		return nil
	}
	return el("p", class("more"), el("a", attr("href", target), text(fmt.Sprintf("all %d", all))))
}

// owners returns the owners of the images, each with the number of its images.
func (p *page) owners() []option {
	counts := map[string]int{}
	for i := range p.Decisions {
		if owner := p.Config.Find(p.Decisions[i].Image).Owner; owner != "" {
			counts[owner]++
		}
	}
	var out []option
	for owner, n := range counts {
		out = append(out, option{owner, owner, n})
	}
	slices.SortFunc(out, func(a, b option) int { return cmp.Compare(a.value, b.value) })
	return out
}
