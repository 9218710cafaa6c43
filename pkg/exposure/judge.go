package exposure

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// maxNamed is the number of findings that a reason names.
const maxNamed = 3

// Judge releases the candidates that fix an inherited finding and are old enough, and holds those that add one, as `urgent` in
// images.yaml says. It takes back its own decisions when the findings no longer count, and never changes those of a person.
//
// It decides from state and the time alone, so that whoever runs it gets to the same result: a scan, and each pass of promote,
// which releases a candidate that was too young at the time of the scan.
func (f *Fleet) Judge() {
	judged := map[*state.Candidate]*judgement{}
	for _, name := range f.Graph.Order() {
		img := f.Config.Find(name)
		if img == nil || !img.Rebuilds() || img.Urgent == nil {
			continue
		}
		v := f.view(img)
		for _, b := range v.bases {
			if b.name != "" && !b.pinned {
				v.judge(b, judged)
			}
		}
	}
	for _, name := range f.Graph.Bases() {
		base := f.State.Bases[name]
		if base == nil {
			continue
		}
		for i := range base.Candidates {
			c := &base.Candidates[i]
			if j := judged[c]; j != nil {
				j.apply(c, f.Now)
			}
		}
	}
}

// Times returns the times after Now at which [Fleet.Judge] may decide otherwise though no fact changes, sorted: a candidate gets old
// enough for an image, or an ignored finding counts again.
func (f *Fleet) Times() []time.Time {
	var out []time.Time
	add := func(t time.Time) {
		if t.After(f.Now) {
			out = append(out, t)
		}
	}
	for _, name := range f.Graph.Order() {
		img := f.Config.Find(name)
		if img == nil || !img.Rebuilds() || img.Urgent == nil {
			continue
		}
		for i := range img.Urgent.Ignore {
			add(img.Urgent.Ignore[i].Expiry())
		}
		deps := f.Graph.Deps(name)
		for i := range deps {
			if base := f.State.Bases[deps[i].Base]; base != nil && f.State.BaseScans[deps[i].Base] != nil {
				for i := range base.Candidates {
					add(since(&base.Candidates[i]).Add(min(img.Urgent.Age(), img.Delay().Std())))
				}
			}
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.CompactFunc(out, time.Time.Equal)
}

// judgement is what the images that use a base want for one of its candidates.
type judgement struct {
	fixes      []*state.Finding // inherited by an image for which the candidate is old enough
	adds       []*state.Finding // for an image that wants to have it held
	counted    []string         // IDs of findings that the candidate fixes, at any age
	takenAway  []string         // IDs of those that no longer count for an image
	unknown    bool             // for an image that wants holds, it is not known what the candidate adds
	anyHolding bool
}

func (v *view) judge(b *baseView, judged map[*state.Candidate]*judgement) {
	matches := v.of(b)
	var covered []*state.Finding // by a candidate that was released before
	for i, c := range b.candidates {
		j := judged[c]
		if j == nil {
			j = &judgement{}
			judged[c] = j
		}
		for k, f := range v.findings {
			switch fixed := matches[k] != nil && matches[k].fixedBy[i]; {
			case fixed && v.takenAway(f):
				j.takenAway = append(j.takenAway, f.ID)
			case fixed:
				j.counted = append(j.counted, f.ID)
				if c.Released.IsZero() && slices.ContainsFunc(covered, f.Same) {
					continue
				}
				if v.Now.Sub(since(c)) >= min(v.img.Urgent.Age(), v.img.Delay().Std()) {
					j.fixes = append(j.fixes, f)
				}
				if !c.Released.IsZero() && c.Held.IsZero() {
					covered = append(covered, f)
				}
			}
		}
		if v.img.Urgent.Holds() {
			j.anyHolding = true
			j.adds = append(j.adds, v.added(b, i)...)
			j.unknown = j.unknown || !b.judgeable(i)
		}
	}
}

// since returns when the delay of a candidate began.
func since(c *state.Candidate) time.Time {
	if c.Returned.After(c.FirstSeen.Time) {
		return c.Returned.Time
	}
	return c.FirstSeen.Time
}

// apply changes a candidate. A person's decision stays: a release or hold without IDs of findings.
func (j *judgement) apply(c *state.Candidate, now time.Time) {
	byHand := !c.Released.IsZero() && len(c.Urgent) == 0 || !c.Held.IsZero() && len(c.Adds) == 0
	if byHand {
		return
	}
	adds, fixes := ids(j.adds), ids(j.fixes)
	switch {
	case len(adds) > 0:
		if !slices.Equal(c.Adds, adds) || c.Held.IsZero() {
			c.Hold("adds "+named(j.adds), now)
			c.Adds = adds
		}
		return
	case !c.Held.IsZero() && j.anyHolding && j.unknown:
		return
	case !c.Held.IsZero():
		c.Held, c.Adds, c.Reason = state.Time{}, nil, ""
	}
	switch {
	case c.Released.IsZero() && len(fixes) > 0:
		c.Release("fixes "+named(j.fixes), now)
		c.Urgent = fixes
	case !c.Released.IsZero() && j.retracted(c):
		c.Released, c.Urgent, c.Reason = state.Time{}, nil, ""
	}
}

// retracted reports whether none of the findings for which a candidate was released counts any more: each was ignored, or taken
// away by a VEX statement. A finding that is gone because images were rebuilt does not take the release back.
func (j *judgement) retracted(c *state.Candidate) bool {
	return len(c.Urgent) > 0 && !slices.ContainsFunc(c.Urgent, func(id string) bool {
		return slices.Contains(j.counted, id) || !slices.Contains(j.takenAway, id)
	})
}

// ids returns the IDs of findings, sorted, each once.
func ids(list []*state.Finding) []string {
	out := make([]string, 0, len(list))
	for _, f := range list {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// named returns a text such as "CVE-2026-1234 (critical, openssl) and 2 more".
func named(list []*state.Finding) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *state.Finding) int {
		if c := a.Severity.Compare(b.Severity); c != 0 {
			return c
		}
		return strings.Compare(a.ID+" "+a.Package, b.ID+" "+b.Package)
	})
	list = slices.CompactFunc(list, func(a, b *state.Finding) bool { return a.ID == b.ID })
	texts := make([]string, 0, maxNamed)
	for _, f := range list[:min(len(list), maxNamed)] {
		texts = append(texts, f.String())
	}
	text := strings.Join(texts, ", ")
	if more := len(list) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Locate records where the findings of all published images come from, for the state files.
func (f *Fleet) Locate() {
	for _, name := range f.Graph.Order() {
		img, scans := f.Config.Find(name), f.State.ImageScans[name]
		if img == nil || scans == nil {
			continue
		}
		v := f.view(img)
		for _, s := range v.scans {
			for i := range s.Findings {
				if where := whereOf(v.source(&s.Findings[i])); where != "" { // else what is recorded stays
					s.Findings[i].Where = where
				}
			}
		}
	}
}
