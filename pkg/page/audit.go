package page

import (
	"fmt"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// maxAudit is how many rows each table of the audit has at most, so that the page of a large fleet stays small.
const maxAudit = 400

// audit returns what was rebuilt, why, and how long changes waited.
func (p *page) audit() part {
	r := p.Audit
	return group(
		el("p", class("hint"), text(report.AuditPeriod(r)+".")),
		auditSummary(r), auditRebuilds(r), p.auditStale(r), auditUnripe(r),
	)
}

func auditSummary(r *audit.Report) part {
	t := table{id: "t-audit", caption: "summary of the audit by owner and label", columns: []column{
		{"Group", "w4"}, {"Images", "n"}, {"Rebuilds", "n"}, {"Failed", "n"}, {"Changes", "n"}, {"Median wait", "n"}, {"p95", "n"}, {"Worst", "n"}, {"Stale", "n"}, {"Unripe", "n"},
	}}
	groups := append([]audit.Group{r.Total}, r.Groups...)
	for i := range groups[:min(len(groups), maxAudit)] {
		g := &groups[i]
		wait := func(s audit.Seconds) cell {
			if g.Waits.Changes == 0 {
				return cell{}
			}
			return secondsCell(s)
		}
		t.rows = append(t.rows, row{cells: []cell{
			plain(g.Name), number(g.Images), number(g.Rebuilds), number(g.Failed), number(g.Waits.Changes),
			wait(g.Waits.Median), wait(g.Waits.P95), wait(g.Waits.Worst), number(g.Stale), number(g.Unripe),
		}})
	}
	return group(t.part(), leftOut(len(groups), "groups"))
}

func secondsCell(s audit.Seconds) cell {
	return cell{text(age(s.Duration())), strconv.FormatInt(int64(s), 10)}
}

// auditRebuilds returns a row for each change that a rebuild was for, the latest rebuild first.
func auditRebuilds(r *audit.Report) part {
	t := table{id: "t-rebuilds", caption: "rebuilds of the period", empty: "No rebuild in this period.", columns: []column{
		{"Image", "w4"}, {"Requested", "w3"}, {"Status", "w2"}, {"Change", "w5"}, {"Waited", "n"}, {"Evidence", "w2"}, {"Why", "w6"},
	}}
	changes := 0
	for i := len(r.Rebuilds) - 1; i >= 0; i-- {
		b := &r.Rebuilds[i]
		rows := b.Rows()
		changes += len(rows)
		for k := range rows[:min(len(rows), maxAudit-len(t.rows))] {
			t.rows = append(t.rows, auditRow(b, &rows[k]))
		}
	}
	return group(subheading("Rebuilds", len(r.Rebuilds)), t.part(), leftOut(changes, "changes"))
}

func auditRow(b *audit.Rebuild, c *audit.Change) row {
	waited := cell{}
	if c.Waited != nil {
		waited = secondsCell(*c.Waited)
	}
	return row{cells: []cell{
		{content: to("image", b.Image, text(b.Image))}, {content: link(b.RunURL, at(b.RequestedAt))},
		{content: el("span", class("st s-"+string(b.Status)), text(b.Status.Words()))},
		digestOf(c.Ref, c.Digest), waited, plain(string(c.Evidence)), plain(report.RebuildReason(b)),
	}}
}

// digestOf returns a cell with a digest of a reference.
func digestOf(ref, digest string) cell {
	return cell{content: group(text(state.Short(ref)+" "), digestPart(digest))}
}

func (p *page) auditStale(r *audit.Report) part {
	if len(r.Stale) == 0 {
		return nil
	}
	t := table{id: "t-stale", caption: "stale images", columns: []column{{"Image", "w4"}, {"Since", "w3"}, {"Age", "n"}, {"Status", "w2"}, {"Why", "w6"}}}
	for i := range r.Stale[:min(len(r.Stale), maxAudit)] {
		s := &r.Stale[i]
		t.rows = append(t.rows, row{cells: []cell{
			{content: to("image", s.Image, text(s.Image))}, timeCell(s.Since), secondsCell(audit.Seconds(p.Now.Sub(s.Since).Seconds())), {content: status(s.Status)}, plain(s.Reason),
		}})
	}
	return group(subheading("Stale images", len(r.Stale)), t.part(), leftOut(len(r.Stale), "images"))
}

// auditUnripe returns the builds on an unripe digest, the latest first.
func auditUnripe(r *audit.Report) part {
	if len(r.Unripe) == 0 {
		return nil
	}
	t := table{id: "t-unripe", caption: "builds on an unripe digest", columns: []column{
		{"Image", "w4"}, {"Version", "w2"}, {"Published", "w3"}, {"Base", "w5"}, {"Evidence", "w2"}, {"Why", "w6"},
	}}
	for i := len(r.Unripe) - 1; i >= max(0, len(r.Unripe)-maxAudit); i-- {
		u := &r.Unripe[i]
		t.rows = append(t.rows, row{cells: []cell{
			{content: to("image", u.Image, text(u.Image))}, plain(u.Version), timeCell(u.At),
			digestOf(u.Ref, u.Base), plain(string(u.Evidence)), plain(u.Why),
		}})
	}
	return group(subheading("Builds on an unripe digest", len(r.Unripe)), t.part(), leftOut(len(r.Unripe), "builds"))
}

func subheading(title string, count int) part {
	return el("h3", text(title+" "), el("span", class("count"), text(strconv.Itoa(count))))
}

// leftOut returns how many rows a table of the audit leaves out.
func leftOut(all int, what string) part {
	if all <= maxAudit {
		return nil
	}
	return el("p", class("hint"), text(fmt.Sprintf("%d of %d %s are shown; `imagefactory audit` prints all.", maxAudit, all, what)))
}
