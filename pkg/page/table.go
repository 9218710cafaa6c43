package page

import (
	"fmt"
	"strconv"
)

// column is a column of a table.
type column struct {
	title string
	class string // width and alignment; see page.css
}

// cell is a cell of a table, with what it is sorted by, unless that is its text.
type cell struct {
	content part
	sort    string
}

func plain(s string) cell { return cell{content: text(s)} }

func number(n int) cell { return cell{content: text(strconv.Itoa(n))} }

// row is a row of a table: its first cell names what it is about.
type row struct {
	cells  []cell
	status string // that the table can be filtered by
	owner  string
}

// table is a table that the script lets people sort and filter.
type table struct {
	id      string
	caption string // for screen readers
	columns []column
	rows    []row
	empty   string // shown instead of a table without rows
	filters []part // further controls
}

func (t *table) part() part {
	if len(t.rows) == 0 {
		return el("p", class("empty"), text(t.empty))
	}
	heads := make([]part, len(t.columns))
	for i, c := range t.columns {
		heads[i] = el("th", attr("scope", "col"), class(c.class), text(c.title))
	}
	rows := make([]part, len(t.rows))
	for i := range t.rows {
		rows[i] = t.row(&t.rows[i])
	}
	return group(
		t.tools(),
		el("div", class("scroll"), attr("role", "region"), attr("tabindex", "0"), attr("aria-labelledby", t.id+"-caption"),
			el("table", attr("id", t.id),
				el("caption", attr("id", t.id+"-caption"), text(t.caption)),
				el("thead", el("tr", heads...)),
				el("tbody", rows...))),
	)
}

func (t *table) row(r *row) part {
	parts := make([]part, 0, len(r.cells)+2)
	if r.status != "" {
		parts = append(parts, attr("data-status", r.status))
	}
	if r.owner != "" {
		parts = append(parts, attr("data-owner", r.owner))
	}
	for i := range r.cells {
		c := &r.cells[i]
		name := "td"
		var attrs []part
		if i == 0 {
			name, attrs = "th", []part{attr("scope", "row")}
		}
		if class := t.columns[i].class; class == "n" {
			attrs = append(attrs, attr("class", class))
		}
		if c.sort != "" {
			attrs = append(attrs, attr("data-sort", c.sort))
		}
		parts = append(parts, el(name, append(attrs, c.content)...))
	}
	return el("tr", parts...)
}

// tools returns the controls of a table, which only the script shows.
func (t *table) tools() part {
	return el("div", class("tools"), attr("hidden", ""), attr("data-for", t.id),
		el("label", el("span", class("sr"), text("Filter "+t.caption)), el("input", attr("type", "search"), attr("placeholder", "Filter"), attr("autocomplete", "off"))),
		group(t.filters...),
		el("output", class("shown"), attr("aria-live", "polite")),
	)
}

// choice returns a control that shows only the rows with one value of an attribute.
func choice(attribute, label string, values []option) part {
	options := []part{el("option", attr("value", ""), text(label+": all"))}
	for _, v := range values {
		options = append(options, el("option", attr("value", v.value), text(fmt.Sprintf("%s (%d)", v.text, v.count))))
	}
	return el("label", el("span", class("sr"), text(label)), el("select", append([]part{attr("data-attribute", attribute)}, options...)...))
}

// option is a value of a choice, and the number of rows that have it.
type option struct {
	value, text string
	count       int
}
