package report

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// maxPlanned is how many rebuilds or skipped images a plan lists before it counts them instead.
const maxPlanned = 40

// Plan prints a plan: rebuilds, the builds that each forge gets, skipped images, and a line of totals. A large plan is
// summarised by time and wave; wide prints every rebuild and every time.
func (s Style) Plan(w io.Writer, p *plan.Plan, wide bool) error {
	if p.Change != nil {
		if _, err := fmt.Fprintf(w, "If %s moves now:\n\n", sanitize.Terminal(state.Short(p.Change.Ref))); err != nil {
			return err
		}
	}
	tables := []textTable{rebuilds(p, wide), dispatches(p), skips(p, wide)}
	if !wide && len(p.Items) > maxPlanned {
		tables[0], tables[1] = summary(p), textTable{}
	}
	if !wide && len(p.Skipped) > maxPlanned {
		tables[2] = causes(p)
	}
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		t = t.withoutEmpty()
		if err := s.Table(w, t.header, t.rows); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, planTotals(p))
	return err
}

// textTable is a table that is not printed yet.
type textTable struct {
	header []string
	rows   [][]string
}

// withoutEmpty returns the table without the columns that have no text.
func (t textTable) withoutEmpty() textTable {
	out := textTable{rows: make([][]string, len(t.rows))}
	for j, column := range t.header {
		if !slices.ContainsFunc(t.rows, func(row []string) bool { return row[j] != "" }) {
			continue
		}
		out.header = append(out.header, column)
		for i, row := range t.rows {
			out.rows[i] = append(out.rows[i], row[j])
		}
	}
	return out
}

// rebuilds returns a row for each rebuild.
func rebuilds(p *plan.Plan, wide bool) textTable {
	t := textTable{header: []string{"WAVE", "WHEN (UTC)", "LATEST", "IMAGE", "WHY"}}
	if wide {
		t.header = []string{"WAVE", "STATUS", "STARTS (UTC)", "AFTER", "AT THE LATEST", "TAKES", "FORGE", "IMAGE", "WHY"}
	}
	for i := range p.Items {
		e := &p.Items[i]
		wave := strconv.Itoa(e.Wave)
		if wide {
			t.rows = append(t.rows, []string{wave, string(e.Status), ExactTime(e.At, p.Now), e.After, unlessZero(ExactTime, e.Latest, p.Now), takes(e), e.Forge, e.Image, PlanWhy(e)})
			continue
		}
		t.rows = append(t.rows, []string{wave, planWhen(e, p.Now), unlessZero(Time, e.Latest, p.Now), e.Image, sanitize.Cut(PlanWhy(e), maxWhy)})
	}
	return t
}

// unlessZero formats a time that may not be set.
func unlessZero(format func(t, now time.Time) string, t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return format(t, now)
}

// takes returns the expected duration of a rebuild, and how it is known unless by the image's own history.
func takes(e *plan.Entry) string {
	text := e.Expected.String()
	if e.ExpectedFrom != plan.FromHistory {
		text += " (" + string(e.ExpectedFrom) + ")"
	}
	return text
}

func planWhen(e *plan.Entry, now time.Time) string {
	switch {
	case e.Status == plan.Running:
		return "since " + strings.TrimSuffix(Time(e.At, now), " ago")
	case e.After != "":
		return "after " + e.After
	}
	return Time(e.At, now)
}

// PlanWhy returns in one line why a rebuild is planned.
func PlanWhy(e *plan.Entry) string {
	if e.Status == plan.Running || e.Status == plan.Blocked || len(e.Bases) == 0 {
		return sanitize.Words(e.Reason + stopText(e.Stop))
	}
	var parts []string
	for i := range e.Bases {
		parts = append(parts, baseWhy(&e.Bases[i])+addsText(e.Bases[i].Adds()))
	}
	text := strings.Join(slices.Compact(parts), ", ")
	if e.Takes != "" {
		text += "; takes the new digest of " + state.Short(e.Takes) + " with it"
	}
	return sanitize.Words(text + stopText(e.Stop))
}

// stopText returns what a rebuild that is due still waits for, as the end of a sentence.
func stopText(s policy.Stop) string {
	switch s {
	case policy.StopInterval:
		return "; once rebuildInterval has passed"
	case policy.StopWindow:
		return "; once its window opens"
	case policy.StopPause:
		return "; once its pause ends"
	}
	return ""
}

func baseWhy(b *plan.Base) string {
	switch {
	case b.Parent != "":
		return "new " + b.Parent
	case b.Leaves && b.OnHeld:
		return "leaves a held digest of " + state.Short(b.Ref)
	case b.Leaves:
		return "leaves a withdrawn digest of " + state.Short(b.Ref)
	case b.Released:
		return "released digest of " + state.Short(b.Ref)
	case b.Number > 1:
		return ordinal(b.Number) + " digest of " + state.Short(b.Ref)
	}
	return "new " + state.Short(b.Ref)
}

// addsText returns the worst vulnerability that a rebuild takes with a new digest, and how many more there are.
func addsText(list []state.FindingJSON) string {
	if len(list) == 0 {
		return ""
	}
	text := fmt.Sprintf(" adds %s (%s, %s)", list[0].ID, list[0].Severity, list[0].Package)
	if more := len(list) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// ordinal returns "second" for 2, and "12th" for numbers that have a long word.
func ordinal(n int) string {
	words := []string{"", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
	if n < len(words) {
		return words[n]
	}
	suffix := "th"
	if tens := n / 10 % 10; tens != 1 {
		suffix = cmp.Or(map[int]string{1: "st", 2: "nd", 3: "rd"}[n%10], suffix)
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// dispatches returns a row for each hour in which builds start.
func dispatches(p *plan.Plan) textTable {
	t := textTable{header: []string{"HOUR (UTC)", "BUILDS"}}
	for hour, builds := range byHour(p.Dispatches) {
		t.rows = append(t.rows, []string{hour.Format("Mon 2006-01-02 15:00"), builds})
	}
	return t
}

// byHour returns how many builds each forge gets in an hour, in order.
func byHour(list []plan.Dispatch) iter.Seq2[time.Time, string] {
	return func(yield func(time.Time, string) bool) {
		for len(list) > 0 {
			hour := list[0].Hour
			n := slices.IndexFunc(list, func(d plan.Dispatch) bool { return !d.Hour.Equal(hour) })
			if n < 0 {
				n = len(list)
			}
			parts := make([]string, n)
			for i, d := range list[:n] {
				parts[i] = fmt.Sprintf("%d on %s", d.Builds, d.Forge)
			}
			if !yield(hour, strings.Join(parts, ", ")) {
				return
			}
			list = list[n:]
		}
	}
}

// skips returns a row for each skipped image.
func skips(p *plan.Plan, wide bool) textTable {
	t := textTable{header: []string{"SKIPPED", "CAUSE", "WHY"}}
	for i := range p.Skipped {
		s := &p.Skipped[i]
		why := SkipWhy(s, p.Now)
		if !wide {
			why = sanitize.Cut(why, maxWhy)
		}
		t.rows = append(t.rows, []string{s.Image, CauseWord(s.Cause), why})
	}
	return t
}

// SkipWhy returns why the plan has no rebuild of an image.
func SkipWhy(s *plan.Skip, now time.Time) string {
	why := s.Why
	if s.Ref != "" {
		name, digest, _ := strings.Cut(s.Ref, "@")
		why = state.Short(name) + "@" + state.ShortDigest(digest) + " is " + why
	}
	if !s.Until.IsZero() {
		why += "; due " + Time(s.Until, now)
	}
	return sanitize.Words(why)
}

// CauseWord returns the words for a cause.
func CauseWord(c plan.Cause) string {
	switch c {
	case plan.SkipOptedOut:
		return "opted out"
	case plan.SkipManual:
		return "by hand"
	case plan.SkipCurrent:
		return "unchanged"
	}
	return string(c)
}

// group is a number of images that a summary takes together.
type group struct {
	at     time.Time
	wave   int
	images []string
	forges map[string]int
}

// summary returns a row for each time and wave. Times are passes, or days if there are many passes.
func summary(p *plan.Plan) textTable {
	groups := groupsOf(p, func(t time.Time) time.Time { return t })
	when, column := func(t time.Time) string { return Time(t, p.Now) }, "WHEN (UTC)"
	if len(groups) > maxPlanned {
		groups = groupsOf(p, func(t time.Time) time.Time { return t.UTC().Truncate(day) })
		when, column = func(t time.Time) string { return t.Format("Mon 2006-01-02") }, "DAY (UTC)"
	}
	forges := map[string]bool{}
	for i := range p.Items {
		forges[p.Items[i].Forge] = true
	}
	t := textTable{header: []string{column, "WAVE", "REBUILDS", "FORGES", "IMAGES"}}
	for _, g := range groups {
		text := "running"
		if !g.at.IsZero() {
			text = when(g.at)
		}
		byForge := ""
		if len(forges) > 1 {
			byForge = g.byForge()
		}
		t.rows = append(t.rows, []string{text, strconv.Itoa(g.wave), strconv.Itoa(len(g.images)), byForge, plural.Listed(g.images, 3)})
	}
	return t
}

// groupsOf groups rebuilds by time and wave. What runs already is the first group, without a time.
func groupsOf(p *plan.Plan, round func(time.Time) time.Time) []*group {
	type key struct {
		at   int64
		wave int
	}
	known := map[key]*group{}
	var out []*group
	for i := range p.Items {
		e := &p.Items[i]
		at := round(e.At)
		if e.Status == plan.Running {
			at = time.Time{}
		}
		k := key{at.Unix(), e.Wave}
		if known[k] == nil {
			known[k] = &group{at: at, wave: e.Wave, forges: map[string]int{}}
			out = append(out, known[k])
		}
		known[k].images = append(known[k].images, e.Image)
		known[k].forges[e.Forge]++
	}
	slices.SortStableFunc(out, func(a, b *group) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.wave, b.wave)) })
	return out
}

// byForge returns how many rebuilds each forge gets.
func (g *group) byForge() string {
	var parts []string
	for _, forge := range slices.Sorted(maps.Keys(g.forges)) {
		parts = append(parts, fmt.Sprintf("%d on %s", g.forges[forge], forge))
	}
	return strings.Join(parts, ", ")
}

// causes returns a row for each cause for which images are skipped.
func causes(p *plan.Plan) textTable {
	images := map[string][]string{}
	for _, s := range p.Skipped {
		images[CauseWord(s.Cause)] = append(images[CauseWord(s.Cause)], s.Image)
	}
	t := textTable{header: []string{"SKIPPED", "CAUSE", "IMAGES"}}
	for _, cause := range slices.Sorted(maps.Keys(images)) {
		t.rows = append(t.rows, []string{strconv.Itoa(len(images[cause])), cause, plural.Listed(images[cause], 3)})
	}
	return t
}

// planTotals sums a plan up in one line.
func planTotals(p *plan.Plan) string {
	waves, counts := map[int]bool{}, map[plan.Status]int{}
	var last time.Time
	adding := 0
	for i := range p.Items {
		e := &p.Items[i]
		waves[e.Wave] = true
		counts[e.Status]++
		if slices.ContainsFunc(e.Bases, func(b plan.Base) bool { return len(b.Adds()) > 0 }) {
			adding++
		}
		if e.Ends.After(last) {
			last = e.Ends
		}
	}
	until := p.Until.UTC().Format(time.DateOnly)
	text := "no rebuild until " + until
	if len(p.Items) > 0 {
		var parts []string
		for _, s := range []plan.Status{plan.Running, plan.Blocked, plan.Now, plan.Planned} {
			if counts[s] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
			}
		}
		text = fmt.Sprintf("%s in %s until %s (%s)", plural.Count(len(p.Items), "rebuild"), plural.Count(len(waves), "wave"), until, strings.Join(parts, ", "))
		if p.Change != nil {
			text += ", done " + Time(last, p.Now)
		}
		if adding > 0 {
			text += "; " + plural.Form(adding, "adds", "add") + " vulnerabilities"
		}
	}
	others := plural.Form(p.Others, "image needs", "images need") + " none"
	if p.Change != nil {
		others = plural.Count(p.Others, "image") + " not affected"
	}
	return fmt.Sprintf("%s; %d skipped, %s", text, len(p.Skipped), others)
}
