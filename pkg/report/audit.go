package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// section is a table of an audit.
type section struct {
	title  string
	header []string
	rows   [][]string
	byTime bool // the oldest row is the first
}

// maxMarkdownRows is how many rows each table of an audit has at most as Markdown: forges cut or refuse long texts.
const maxMarkdownRows = 400

// bounded returns the rows of a section as Markdown: the latest, or else the first.
func (s *section) bounded() [][]string {
	switch {
	case len(s.rows) <= maxMarkdownRows:
		return s.rows
	case s.byTime:
		return s.rows[len(s.rows)-maxMarkdownRows:]
	}
	return s.rows[:maxMarkdownRows]
}

// Audit prints an audit as tables.
func (s Style) Audit(w io.Writer, r *audit.Report) error {
	if _, err := fmt.Fprintln(w, sanitize.Terminal(AuditPeriod(r))); err != nil {
		return fmt.Errorf("printing audit: %w", err)
	}
	for _, sec := range auditSections(r) {
		if _, err := fmt.Fprintf(w, "\n%s\n", sec.title); err != nil {
			return fmt.Errorf("printing audit: %w", err)
		}
		if err := s.Table(w, sec.header, sec.rows); err != nil {
			return err
		}
	}
	return nil
}

// AuditMarkdown prints an audit as Markdown. Untrusted text stays text.
func AuditMarkdown(w io.Writer, r *audit.Report) error {
	var b strings.Builder
	b.WriteString("# Audit of image rebuilds\n\n" + markdownText(AuditPeriod(r)) + "\n")
	for _, sec := range auditSections(r) {
		fmt.Fprintf(&b, "\n## %s\n\n", sec.title)
		writeMarkdownRow(&b, sec.header)
		b.WriteString("|" + strings.Repeat("---|", len(sec.header)) + "\n")
		rows := sec.bounded()
		for _, row := range rows {
			writeMarkdownRow(&b, row)
		}
		if left := len(sec.rows) - len(rows); left > 0 {
			fmt.Fprintf(&b, "\n%s left out; `-o csv` prints all.\n", plural.Count(left, "row"))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing audit: %w", err)
	}
	return nil
}

func writeMarkdownRow(b *strings.Builder, cells []string) {
	for _, cell := range cells {
		b.WriteString("| " + markdownText(cell) + " ")
	}
	b.WriteString("|\n")
}

// markdownText escapes what Markdown, or HTML in it, would take for more than text.
func markdownText(s string) string {
	var b strings.Builder
	s = sanitize.Line(s)
	for i, r := range s {
		if strings.ContainsRune("\\`*_[]<>#|&~@", r) || r == ':' && strings.HasPrefix(s[i:], "://") {
			fmt.Fprintf(&b, "&#%d;", r)
			continue
		}
		b.WriteRune(r)
	}
	return strings.ReplaceAll(b.String(), "www.", "www&#46;")
}

// AuditCSV prints an audit as CSV: a row for each change that a rebuild was for, for each stale image and for each unripe build.
// Spreadsheets take no cell for a formula.
func AuditCSV(w io.Writer, r *audit.Report) error {
	out := csv.NewWriter(w)
	write := func(cells ...string) {
		for i := range cells {
			cells[i] = csvText(cells[i])
		}
		_ = out.Write(cells) // kept for Error
	}
	write("record", "image", "labels", "rebuild", "status", "at", "finishedAt", "ref", "digest", "firstSeen", "waitedSeconds", "evidence", "why", "runURL", "urgent")
	for i := range r.Rebuilds {
		b := &r.Rebuilds[i]
		for _, c := range b.Rows() {
			waited := ""
			if c.Waited != nil {
				waited = strconv.FormatInt(int64(*c.Waited), 10)
			}
			write("rebuild", b.Image, labelsText(b.Labels), b.ID, string(b.Status), timestamp(b.RequestedAt), timestamp(b.FinishedAt),
				c.Ref, c.Digest, timestamp(c.Seen), waited, string(c.Evidence), RebuildReason(b), b.RunURL, strings.Join(b.Urgent, " "))
		}
	}
	for _, s := range r.Stale {
		write("stale", s.Image, labelsText(s.Labels), "", string(s.Status), timestamp(s.Since), "", "", "", "", "", "", s.Reason, "", "")
	}
	for _, u := range r.Unripe {
		write("unripe", u.Image, labelsText(u.Labels), "", "", timestamp(u.At), "", u.Ref, u.Base, "", "", string(u.Evidence), u.Why, "", "")
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("printing CSV: %w", err)
	}
	return nil
}

// csvText returns a cell that a spreadsheet shows as it is: a quote precedes what it would compute.
func csvText(s string) string {
	s = sanitize.Line(s)
	if strings.ContainsAny(s[:min(1, len(s))], "=+-@\t\r") {
		return "'" + s
	}
	return s
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func labelsText(labels []string) string { return strings.Join(labels, " ") }

// AuditPeriod returns the period of an audit, and what its facts cover.
func AuditPeriod(r *audit.Report) string {
	text := fmt.Sprintf("%s to %s, from ", minute(r.Period.From), minute(r.Period.To))
	if r.Coverage.Source == "git" {
		text += "state and " + plural.Count(r.Coverage.Commits, "commit") + " of its git history"
	} else {
		text += "state alone"
	}
	if !r.Coverage.Complete {
		text += ", which covers only the time from " + minute(r.Coverage.From)
	}
	if r.Coverage.Skipped > 0 {
		text += "; " + plural.Count(r.Coverage.Skipped, "version") + " could not be read"
	}
	return text
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func auditSections(r *audit.Report) []section {
	summary := section{title: "Summary", header: []string{"GROUP", "IMAGES", "REBUILDS", "FAILED", "CHANGES", "MEDIAN WAIT", "P95", "WORST", "STALE", "UNRIPE"}}
	for _, g := range append([]audit.Group{r.Total}, r.Groups...) {
		summary.rows = append(summary.rows, []string{
			g.Name, strconv.Itoa(g.Images), strconv.Itoa(g.Rebuilds), strconv.Itoa(g.Failed), strconv.Itoa(g.Waits.Changes),
			wait(g.Waits, g.Waits.Median), wait(g.Waits, g.Waits.P95), wait(g.Waits, g.Waits.Worst), strconv.Itoa(g.Stale), strconv.Itoa(g.Unripe),
		})
	}
	out := []section{summary}
	rebuilds := section{title: "Rebuilds", byTime: true, header: []string{"IMAGE", "REQUESTED", "STATUS", "CHANGE", "WAITED", "EVIDENCE", "WHY"}}
	for i := range r.Rebuilds {
		b := &r.Rebuilds[i]
		for _, c := range b.Rows() {
			waited, change := "", ""
			if c.Waited != nil {
				waited = span(c.Waited.Duration())
			}
			if c.Digest != "" {
				change = state.Short(c.Ref) + "@" + state.ShortDigest(c.Digest)
			}
			rebuilds.rows = append(rebuilds.rows, []string{b.Image, minute(b.RequestedAt), b.Status.Words(), change, waited, string(c.Evidence), RebuildReason(b)})
		}
	}
	stale := section{title: "Stale images", header: []string{"IMAGE", "SINCE", "STATUS", "WHY"}}
	for _, s := range r.Stale {
		stale.rows = append(stale.rows, []string{s.Image, minute(s.Since) + " (" + span(r.Period.To.Sub(s.Since)) + ")", StatusWord(s.Status), s.Reason})
	}
	unripe := section{title: "Builds on an unripe digest", byTime: true, header: []string{"IMAGE", "VERSION", "PUBLISHED", "BASE", "EVIDENCE", "WHY"}}
	for _, u := range r.Unripe {
		unripe.rows = append(unripe.rows, []string{u.Image, u.Version, minute(u.At), state.Short(u.Ref) + "@" + state.ShortDigest(u.Base), string(u.Evidence), u.Why})
	}
	for _, s := range []section{rebuilds, stale, unripe} {
		if len(s.rows) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func wait(w audit.Waits, s audit.Seconds) string {
	if w.Changes == 0 {
		return ""
	}
	return span(s.Duration())
}

// RebuildReason returns why an image was rebuilt, for which vulnerabilities, and how that failed.
func RebuildReason(b *audit.Rebuild) string {
	text := b.Reason
	if b.Message != "" {
		text = strings.TrimPrefix(text+"; "+b.Status.Words()+": "+b.Message, "; ")
	}
	if i := slices.IndexFunc(b.Changes, func(c audit.Change) bool { return c.Released != "" }); i >= 0 {
		text += " (released: " + b.Changes[i].Released + ")"
	}
	unnamed := slices.DeleteFunc(slices.Clone(b.Urgent), func(id string) bool { return strings.Contains(text, id) })
	if len(unnamed) > 0 {
		text += " (urgent for " + strings.Join(unnamed, ", ") + ")"
	}
	return text
}
