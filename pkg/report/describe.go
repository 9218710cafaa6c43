package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// description prints sections: a heading and an indented table each.
type description struct {
	Style
	w    io.Writer
	now  time.Time
	wide bool
	err  error // the first one
}

// indent is what stands before the lines of a section.
const indent = "  "

// DescribeImage prints everything about an image. Wide prints digests and lists in full, and exact times.
func (s Style) DescribeImage(w io.Writer, img *describe.Image, now time.Time, wide bool) error {
	d := &description{Style: s, w: w, now: now, wide: wide}
	d.headline(img.Name, StatusWord(img.Decision.Status), whenOf(&img.Decision, now), Reason(&img.Decision))
	d.fields(imageFields(img, d))
	for i := range img.Bases {
		d.base(&img.Bases[i])
	}
	d.section("Why", whyTable(img.Reasons, d.wide))
	d.section("History", d.rebuilds(img.History))
	d.section("Built on it", d.names(img.Users, img.AllUsers))
	d.section("Plan", d.plan(img.Plan, img.Skipped))
	d.vulnerabilities(img.Vulnerabilities)
	d.findings(img.Findings)
	d.section("Kargo objects", objectTable(img.Objects))
	return d.err
}

// DescribeBase prints everything about a base image, or about one digest of it.
func (s Style) DescribeBase(w io.Writer, b *describe.Base, now time.Time, wide bool) error {
	d := &description{Style: s, w: w, now: now, wide: wide}
	d.headline(state.Short(b.Ref), "", "", "base image "+b.Name)
	d.fields(baseFields(b, d))
	d.section("Digests", d.baseCandidates(b))
	d.section("Used by", d.users(b))
	d.section("Moves of the tag", d.moves(b.History))
	d.section("Plan", d.plan(b.Plan, nil))
	d.baseVulnerabilities(b.Vulnerabilities)
	d.findings(b.Findings)
	d.section("Kargo objects", objectTable(b.Objects))
	return d.err
}

// whenOf returns when the image has or leaves its status, as the end of a sentence.
func whenOf(dec *policy.Decision, now time.Time) string {
	switch {
	case dec.After != "":
		return " after " + dec.After
	case !dec.Until.IsZero():
		return " until " + ExactTime(dec.Until, now)
	case !dec.Since.IsZero() && dec.Status != policy.Failed: // that is since when it is due
		return " since " + ExactTime(dec.Since, now)
	}
	return ""
}

func (d *description) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

// headline prints what is described, its status, and the reason below.
func (d *description) headline(name, status, when, reason string) {
	title := sanitize.Terminal(name)
	if d.Color {
		title = bold + title + plain
	}
	if status != "" {
		title += ": " + d.paint(status, false, "STATUS") + sanitize.Terminal(when)
	}
	d.printf("%s\n", title)
	width := len(reason)
	if d.Width > 0 {
		width = d.Width - len(indent)
	}
	for _, line := range wrap(sanitize.Terminal(reason), max(width, minWrap)) {
		d.printf("%s%s\n", indent, line)
	}
}

// fields prints pairs of a name and a value; those without a value are left out.
func (d *description) fields(pairs [][2]string) {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p[0]))
	}
	d.printf("\n")
	for _, p := range pairs {
		if p[1] == "" {
			continue
		}
		room := len(p[1])
		if d.Width > 0 {
			room = max(d.Width-len(indent)-width-gap, minWrap)
		}
		name := p[0]
		for _, line := range wrap(sanitize.Terminal(p[1]), room) {
			d.printf("%s%-*s%s\n", indent, width+gap, name, line)
			name = ""
		}
	}
}

// section prints a table below a heading, unless it is empty. The last column is wrapped on a terminal.
func (d *description) section(title string, t textTable) {
	if len(t.rows) == 0 || d.err != nil {
		return
	}
	title = sanitize.Terminal(title)
	if d.Color {
		title = bold + title + plain
	}
	d.printf("\n%s\n", title)
	hasHeader := slices.ContainsFunc(t.header, func(name string) bool { return name != "" })
	t = t.withoutEmpty()
	style := Style{Color: d.Color, Wrap: true}
	if d.Width > 0 {
		style.Width = d.Width - len(indent)
	}
	var b strings.Builder
	if d.err = style.Table(&b, t.header, t.rows); d.err != nil {
		return
	}
	text := b.String()
	if !hasHeader {
		_, text, _ = strings.Cut(text, "\n")
	}
	for line := range strings.Lines(text) {
		d.printf("%s%s", indent, line)
	}
}

func (d *description) digest(digest string) string {
	if d.wide {
		return digest
	}
	return state.ShortDigest(digest)
}

func (d *description) time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d.wide {
		return ExactTime(t, d.now)
	}
	return Time(t, d.now)
}

func imageFields(img *describe.Image, d *description) [][2]string {
	published := img.Repository
	if img.Version != "" {
		published += ":" + img.Version
	}
	if img.Digest != "" {
		published += "@" + d.digest(img.Digest)
	}
	pairs := [][2]string{{"Image", published}}
	if !img.Built.IsZero() {
		pairs = append(pairs, [2]string{"Built", ExactTime(img.Built, d.now)})
	}
	if s := img.Source; s != nil {
		pairs = append(pairs, [2]string{"Source", sourceText(img, d)}, [2]string{"Rebuilds", policyText(s)})
	} else {
		pairs = append(pairs, [2]string{"Rebuilds", "external image: watched, never rebuilt"})
	}
	return append(pairs, [2]string{"Owner", img.Owner}, [2]string{"Labels", labelText(img.Labels)}, [2]string{"Enrolled", img.Entry.String()}, [2]string{"State", img.StateFile})
}

func labelText(labels map[string]string) string {
	var out []string
	for key, value := range labels {
		out = append(out, key+"="+value)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func sourceText(img *describe.Image, d *description) string {
	s := img.Source
	text := s.Dockerfile + " in " + s.Host + "/" + s.Repo + ", branch " + s.Branch
	if s.DockerfileCommit != "" {
		commit := s.DockerfileCommit
		if !d.wide && len(commit) > shortCommit {
			commit = commit[:shortCommit]
		}
		text += ", content of commit " + commit
	}
	builder := s.Workflow
	if s.WorkflowRepo != "" {
		builder = cmp.Or(builder, "a pipeline") + " of " + s.WorkflowRepo + ", branch " + s.WorkflowBranch + ","
	}
	if builder != "" {
		text += "; " + builder + " builds it"
	}
	return text
}

const shortCommit = 10 // digits

func policyText(s *describe.Source) string {
	if !s.AutoRebuild {
		return "by hand only (autoRebuild is false)"
	}
	text := fmt.Sprintf("%s, %s delay", s.RebuildPolicy, s.RebuildDelay)
	if s.RebuildPolicy != "mature" {
		text += fmt.Sprintf(" (%s at most)", s.MaxRebuildDelay)
	}
	if s.PinBases {
		return text + "; builds use the lock"
	}
	return text + "; builds use what the tags hold"
}

// base prints one reference of an image.
func (d *description) base(b *describe.ImageBase) {
	title := "Base " + describe.Short(b.Ref)
	if b.Parent != "" {
		title = "Parent " + describe.Short(b.Ref)
	}
	rows := [][]string{{"used in", usesText(b.Uses, b.Final)}}
	add := func(name, text string) { rows = append(rows, []string{name, text}) }
	if on := b.BuiltOn; on != nil {
		add("built on", fmt.Sprintf("%s: %s (%s)", d.digest(on.Digest), on.How, on.Place))
	}
	if b.Lock.Digest != "" {
		add("lock", fmt.Sprintf("%s: %s", d.digest(b.Lock.Digest), originText(b.Origin)))
	}
	if b.Current != "" {
		add("tag holds", d.digest(b.Current))
	}
	d.section(title, textTable{[]string{"", ""}, rows})
	rows = nil
	for i := range b.Candidates {
		c := &b.Candidates[i]
		rows = append(rows, []string{d.digest(c.Digest), d.time(c.Seen), d.ripe(c.Status, c.Ripe), string(c.Status), candidateNote(c)})
	}
	if len(rows) > 0 {
		d.section(title+": digests", textTable{[]string{"DIGEST", "SEEN (UTC)", "RIPE (UTC)", "STATUS", "NOTE"}, rows})
	}
}

// ripe returns when a digest is ripe, where that says anything.
func (d *description) ripe(status policy.ClockStatus, at time.Time) string {
	if status == policy.IsRipening || status == policy.IsRipe {
		return d.time(at)
	}
	return ""
}

func candidateNote(c *describe.Candidate) string {
	var parts []string
	if c.Built {
		parts = append(parts, "the image is built on it")
	}
	if c.Current {
		parts = append(parts, "the tag holds it")
	}
	if c.Reason != "" {
		parts = append(parts, c.Reason)
	}
	return sanitize.Words(strings.Join(parts, "; "))
}

func usesText(uses []describe.Use, final bool) string {
	var parts []string
	for i := range uses {
		u := &uses[i]
		text := u.Place.String() + " (" + u.Kind
		if u.Stage != "" {
			text += ", stage " + u.Stage
		}
		if u.Platform != "" {
			text += ", " + u.Platform
		}
		parts = append(parts, text+")")
	}
	text := strings.Join(parts, ", ")
	if final {
		text += "; the final stage is built on it"
	}
	return sanitize.Words(text)
}

// originText explains where the digest of a lock comes from.
func originText(o policy.Origin) string {
	switch o {
	case policy.FromRipe:
		return "the newest that is ripe or released"
	case policy.FromOlder:
		return "the newest ripe one before the withdrawn or held one"
	case policy.FromBuilt:
		return "the published image is built on it"
	case policy.FromBaseline:
		return "the baseline"
	case policy.FromPublished:
		return "what the parent published last"
	case policy.FromPin:
		return "named in the Dockerfile"
	}
	return "not known yet"
}

func whyTable(steps []describe.Step, wide bool) textTable {
	t := textTable{header: []string{"STEP", "WHAT"}}
	for i := range steps {
		s := &steps[i]
		text := s.Text
		if s.Place != nil {
			text += " (" + s.Place.String() + ")"
		}
		if s.Kind == describe.Decision && s.Ref != "" {
			text = describe.Short(s.Ref) + ": " + text
		}
		if wide && s.Digest != "" {
			text = strings.ReplaceAll(text, state.ShortDigest(s.Digest), s.Digest)
		}
		t.rows = append(t.rows, []string{string(s.Kind), sanitize.Words(text)})
	}
	return t
}

func (d *description) rebuilds(list []state.Rebuild) textTable {
	t := textTable{header: []string{"REQUESTED (UTC)", "STATUS", "TOOK", "REBUILD", "WHY"}}
	for i := range list {
		r := &list[i]
		took, _ := r.Duration()
		text := ""
		if took > 0 {
			text = span(took)
		}
		why := []string{state.Text(r.Reason)}
		if r.Message != "" {
			why = append(why, state.Text(r.Message))
		}
		if r.RunURL != "" {
			why = append(why, sanitize.URL(r.RunURL))
		}
		t.rows = append(t.rows, []string{d.time(r.RequestedAt.Time), r.Status.Words(), text, r.ID, strings.Join(why, "; ")})
	}
	return t
}

// most is how many rows a section lists, unless it is wide.
const most = 20

// names lists images, and says how many more are built on them.
func (d *description) names(users []string, all int) textTable {
	if len(users) == 0 {
		return textTable{}
	}
	shown := len(users)
	if !d.wide {
		shown = most
	}
	text := plural.Listed(users, shown)
	if all > len(users) {
		text += fmt.Sprintf("; %s with those built on them", plural.Count(all, "image"))
	}
	return textTable{[]string{""}, [][]string{{text}}}
}

func (d *description) plan(entries []plan.Entry, skipped []plan.Skip) textTable {
	t := textTable{header: []string{"WHEN (UTC)", "LATEST", "IMAGE", "WHY"}}
	for i := range entries {
		if !d.wide && i == most {
			t.rows = append(t.rows, []string{"", "", fmt.Sprintf("and %d more", len(entries)-most), "-o wide lists all"})
			break
		}
		e := &entries[i]
		when := planWhen(e, d.now)
		if d.wide && e.After == "" && e.Status != plan.Running {
			when = ExactTime(e.At, d.now)
		}
		t.rows = append(t.rows, []string{when, d.time(e.Latest), e.Image, PlanWhy(e)})
	}
	for _, s := range skipped {
		t.rows = append(t.rows, []string{"skipped", d.time(s.Until), s.Image, sanitize.Words(s.Why)})
	}
	return t
}

func (d *description) findings(list finding.List) {
	t := textTable{header: []string{"RULE", "WHERE", "WHAT"}}
	for _, f := range list {
		place := describe.Place{File: f.File, Line: f.Line}
		text := f.Message
		if f.Fix != "" {
			text += " (" + f.Fix + ")"
		}
		t.rows = append(t.rows, []string{f.Rule, place.String(), sanitize.Words(text)})
	}
	d.section("Findings", t)
}

func objectTable(list []describe.Object) textTable {
	var rows [][]string
	for _, o := range list {
		rows = append(rows, []string{o.String()})
	}
	return textTable{[]string{""}, rows}
}

func baseFields(b *describe.Base, d *description) [][2]string {
	pairs := [][2]string{{"Reference", b.Ref}}
	if b.Digest != "" {
		text := d.digest(b.Digest)
		if !b.Updated.IsZero() {
			text += ", since " + ExactTime(b.Updated, d.now)
		}
		pairs = append(pairs, [2]string{"Tag holds", text})
	} else {
		pairs = append(pairs, [2]string{"Tag holds", "not known yet: the registry was not asked"})
	}
	if b.Previous != "" {
		pairs = append(pairs, [2]string{"Before", d.digest(b.Previous)})
	}
	if newer := NewerText(b.Newer); newer != "" {
		pairs = append(pairs, [2]string{"Newer", newer})
	}
	if b.External != "" {
		pairs = append(pairs, [2]string{"Enrolled", "as external image " + b.External})
	}
	users := plural.Count(b.AllUsers, "image")
	if n := countImages(b.Users); n < b.AllUsers {
		users = fmt.Sprintf("%d directly, %d with those built on them", n, b.AllUsers)
	}
	watched := "no: every use of it is pinned"
	switch {
	case b.Watched:
		watched = "yes"
	case len(b.Users) == 0:
		watched = "no: nothing uses it"
	}
	return append(pairs, [2]string{"Used by", users}, [2]string{"Watched", watched}, [2]string{"State", b.StateFile})
}

func countImages(users []describe.User) int {
	seen := map[string]bool{}
	for i := range users {
		seen[users[i].Image] = true
	}
	return len(seen)
}

func (d *description) baseCandidates(b *describe.Base) textTable {
	t := textTable{header: []string{"DIGEST", "SEEN (UTC)", "RIPE (UTC)", "STATUS", "NOTE"}}
	for i := range b.Candidates {
		c := &b.Candidates[i]
		note := baseNote(c)
		if len(c.Ripens) == 0 {
			t.rows = append(t.rows, []string{d.digest(c.Digest), d.time(c.Seen), "", verdictOf(c), note})
			continue
		}
		for n, r := range c.Ripens {
			row := []string{"", "", d.ripe(r.Status, r.At), string(r.Status), ""}
			if n == 0 {
				row[0], row[1], row[4] = d.digest(c.Digest), d.time(c.Seen), note
			}
			if len(c.Ripens) > 1 {
				row[4] = strings.TrimPrefix(row[4]+"; for "+plural.Listed(r.Images, 3), "; ")
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// verdictOf returns how a digest stands that no image has a clock for.
func verdictOf(c *describe.BaseCandidate) string {
	switch {
	case c.Baseline:
		return string(policy.IsBaseline)
	case !c.Withdrawn.IsZero():
		return string(policy.IsWithdrawn)
	}
	return ""
}

func baseNote(c *describe.BaseCandidate) string {
	var parts []string
	if c.Current {
		parts = append(parts, "the tag holds it")
	}
	if c.Reason != "" {
		parts = append(parts, c.Reason)
	}
	switch {
	case !c.TrustWaived.IsZero():
		parts = append(parts, "released although it was untrusted")
	case c.Untrusted != "":
		parts = append(parts, "untrusted: "+c.Untrusted)
	case c.Verified != "":
		parts = append(parts, "verified: "+c.Verified)
	}
	return sanitize.Words(strings.Join(append(parts, c.Place.String()), "; "))
}

func (d *description) users(b *describe.Base) textTable {
	t := textTable{header: []string{"IMAGE", "STATUS", "DUE (UTC)", "BUILT ON", "USES"}}
	for i := range b.Users {
		if !d.wide && i == most {
			t.rows = append(t.rows, []string{fmt.Sprintf("and %d more", len(b.Users)-most), "", "", "", "-o wide lists all"})
			break
		}
		u := &b.Users[i]
		due, on := "", ""
		switch {
		case u.Pinned:
			due = "pinned"
		case u.Due:
			due = "now"
		default:
			due = d.time(u.Until)
		}
		if u.BuiltOn != nil {
			on = fmt.Sprintf("%s (%s)", d.digest(u.BuiltOn.Digest), u.BuiltOn.Evidence)
		}
		t.rows = append(t.rows, []string{u.Image, StatusWord(u.Status), due, on, usesText(u.Uses, false)})
	}
	return t
}

func (d *description) moves(list []state.Update) textTable {
	t := textTable{header: []string{"WHEN (UTC)", "FROM", "TO"}}
	for _, u := range list {
		t.rows = append(t.rows, []string{d.time(u.At.Time), d.digest(u.From), d.digest(u.To)})
	}
	return t
}
