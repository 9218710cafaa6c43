package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxDiffRows  = 60     // of each table of a diff
	maxDiffBytes = 60_000 // of a diff in Markdown: GitHub takes comments of up to 65,536 characters
)

// diffSection is a part of a diff with a title.
type diffSection struct {
	title string
	textTable
}

// PlanDiff prints what a change does as tables.
func (s Style) PlanDiff(w io.Writer, d *plan.Diff, wide bool) error {
	rows := maxDiffRows
	if wide {
		rows = math.MaxInt
	}
	for _, part := range diffSections(d, rows) {
		if _, err := fmt.Fprintf(w, "%s\n", part.title); err != nil {
			return err
		}
		if err := s.Table(w, part.header, part.rows); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, sanitize.Terminal(diffTotals(d)))
	return err
}

// PlanDiffMarkdown prints what a change does as Markdown for a pull request.
func PlanDiffMarkdown(w io.Writer, d *plan.Diff) error {
	rows := maxDiffRows
	text := diffMarkdown(d, rows)
	for ; len(text) > maxDiffBytes && rows > 1; text = diffMarkdown(d, rows) {
		rows /= 2
	}
	_, err := io.WriteString(w, text)
	return err
}

// diffMarkdown returns a diff in Markdown, with up to a number of rows in each table.
func diffMarkdown(d *plan.Diff, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### What this change does to the images\n\n", plan.Marker)
	for _, part := range diffSections(d, rows) {
		b.WriteString("**" + part.title + "**\n\n")
		part.markdown(&b)
	}
	fmt.Fprintf(&b, "%s (compared with %s, commit %s)\n", diffTotals(d), mdCode(d.Revision), mdCode(d.Commit[:min(len(d.Commit), 12)]))
	return b.String()
}

// diffSections returns the parts of a diff that are not empty, with up to a number of rows in each.
func diffSections(d *plan.Diff, rows int) []diffSection {
	all := []diffSection{
		{"Secrets that go to other hosts: check who runs them", diffSecrets(d.Secrets)}, {"Settings for all images", diffFactory(d.Factory)},
		{"Images", diffImages(d.Images)}, {"Due at once", diffDue(d.Due)}, {"Kargo resources", diffResources(d.Resources)},
		{"New findings", diffFindings(d.New)}, {"Fixed findings", diffFindings(d.Fixed)}, {"Not compared", diffNotes(d)},
	}
	all = slices.DeleteFunc(all, func(s diffSection) bool { return len(s.rows) == 0 })
	for i := range all {
		all[i].textTable = all[i].withoutEmpty()
		if more := len(all[i].rows) - rows; more > 0 {
			all[i].title += fmt.Sprintf(" (the first %d; %d more)", rows, more)
			all[i].rows = all[i].rows[:rows]
		}
	}
	return all
}

func diffSecrets(secrets []plan.SecretDiff) textTable {
	t := textTable{header: []string{"SECRET", "KEY", "HOST", "USE"}}
	for _, s := range secrets {
		t.rows = append(t.rows, []string{s.Secret, s.Key, s.Host, s.Use})
	}
	return t
}

func diffFactory(settings []plan.SettingDiff) textTable {
	t := textTable{header: []string{"SETTING", "BEFORE", "AFTER"}}
	for _, s := range settings {
		t.rows = append(t.rows, []string{shorter([]string{s.Key}), shorter([]string{cmp.Or(s.From, "none")}), shorter([]string{cmp.Or(s.To, "none")})})
	}
	return t
}

// diffImages returns a row for all images that change in the same way.
func diffImages(images []plan.ImageDiff) textTable {
	t := textTable{header: []string{"CHANGE", "IMAGES", "BASES", "PARENTS", "SETTINGS"}}
	var names [][]string
	for i := range images {
		img := &images[i]
		var bases, parents, settings []string
		for _, b := range img.Bases {
			text := sign(b.Change) + state.Short(b.Ref)
			if b.From != "" {
				text = state.Short(b.From) + " → " + state.Short(b.Ref)
			}
			bases = append(bases, text)
		}
		for _, p := range img.Parents {
			parents = append(parents, sign(p.Change)+p.Name)
		}
		for _, s := range img.Settings {
			settings = append(settings, s.Key+": "+cmp.Or(s.From, "none")+" → "+cmp.Or(s.To, "none"))
		}
		row := []string{string(img.Change), "", shorter(bases), shorter(parents), shorter(settings)}
		at := slices.IndexFunc(t.rows, func(other []string) bool { return slices.Equal(row, other) })
		if at < 0 {
			at, t.rows, names = len(t.rows), append(t.rows, row), append(names, nil)
		}
		names[at] = append(names[at], img.Name)
	}
	for i := range t.rows {
		t.rows[i][1] = plural.Listed(names[i], 5)
	}
	return t
}

// shorter joins texts into one cell of bounded length.
func shorter(texts []string) string {
	return sanitize.Cut(sanitize.Words(strings.Join(texts, ", ")), 2*maxWhy)
}

// sign returns the sign that a diff puts in front of something.
func sign(c plan.DiffKind) string {
	switch c {
	case plan.Added:
		return "+"
	case plan.Removed:
		return "-"
	}
	return ""
}

func diffDue(due []plan.NewlyDue) textTable {
	t := textTable{header: []string{"IMAGE", "WHY"}}
	for _, d := range due {
		t.rows = append(t.rows, []string{d.Image, sanitize.Cut(sanitize.Words(d.Reason), maxWhy)})
	}
	return t
}

// diffResources returns a row for each kind of resource and change.
func diffResources(resources []plan.ResourceDiff) textTable {
	type key struct {
		change plan.DiffKind
		kind   string
	}
	var order []key
	names := map[key][]string{}
	for _, r := range resources {
		k := key{r.Change, r.Kind}
		if names[k] == nil {
			order = append(order, k)
		}
		names[k] = append(names[k], r.Name)
	}
	slices.SortStableFunc(order, func(a, b key) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.change, b.change)) })
	t := textTable{header: []string{"RESOURCE", "CHANGE", "NAMES"}}
	for _, k := range order {
		t.rows = append(t.rows, []string{k.kind, string(k.change), plural.Listed(names[k], 10)})
	}
	return t
}

func diffFindings(list []finding.Finding) textTable {
	t := textTable{header: []string{"RULE", "SEVERITY", "WHY"}}
	for i := range list {
		f := &list[i]
		why := f.Message
		if f.Fix != "" {
			why += " (" + f.Fix + ")"
		}
		t.rows = append(t.rows, []string{f.Rule, string(f.Severity), sanitize.Cut(sanitize.Words(why), 2*maxWhy)})
	}
	return t
}

func diffNotes(d *plan.Diff) textTable {
	t := textTable{header: []string{"WHY"}}
	if len(d.Unread) > 0 {
		t.rows = append(t.rows, []string{"built from other repositories, so their bases are those in state: " + plural.Listed(d.Unread, 10)})
	}
	for _, note := range d.Notes {
		t.rows = append(t.rows, []string{sanitize.Cut(sanitize.Words(note), 2*maxWhy)})
	}
	return t
}

// diffTotals sums a diff up in one line.
func diffTotals(d *plan.Diff) string {
	if len(d.Secrets)+len(d.Factory)+len(d.Images)+len(d.Due)+len(d.Resources)+len(d.New)+len(d.Fixed) == 0 {
		return "no image, base, resource or finding changes"
	}
	counts := map[plan.DiffKind]int{}
	for i := range d.Images {
		counts[d.Images[i].Change]++
	}
	return fmt.Sprintf("images: %d added, %d removed, %d changed, %d due at once; %s; findings: %d new, %d fixed",
		counts[plan.Added], counts[plan.Removed], counts[plan.Changed], len(d.Due), plural.Count(len(d.Resources), "Kargo resource"), len(d.New), len(d.Fixed))
}
