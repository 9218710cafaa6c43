package exposure

import (
	"strings"

	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// baseKey identifies a digest of a base that images are built on, as images of some platforms see it.
type baseKey struct {
	ref, digest string
	known       int // number of the digest's platforms that are known
	platforms   string
	moves       bool
}

// baseView is one reference that images are built on, at one digest.
type baseView struct {
	ref        string
	name       string // of the base image; empty for a parent
	parent     string
	pinned     bool
	platforms  []string
	scans      *state.Scans
	on         []*state.Scan      // of the digest that the images are built on, by platform; nil if it was not scanned
	digest     string             // that digest
	candidates []*state.Candidate // newer ones that were not withdrawn, oldest first
	now        [][]*state.Scan    // of the candidates, by platform

	matches map[findingKey]*match
	adds    [][]*state.Finding // by candidate, of every severity; nil until they are asked for
}

// match is how a finding of a published image relates to a base that has it too.
type match struct {
	finding *state.Finding
	fixedBy []bool // by candidate: it is known not to have the finding
	remains bool   // the newest digest of the tag is known to have it

	searched bool // tag is known
	tag      string
}

// findingKey identifies findings that are compared alike.
type findingKey struct {
	id, pkg, aliases string
	severity         scan.Severity
}

func (f *Fleet) compareWith(dep *graph.Dep, seen state.Snapshot, platforms []string) *baseView {
	b := &baseView{
		ref: dep.Ref.String(), name: dep.Base, parent: dep.Parent, pinned: !dep.Moves(), platforms: platforms, digest: seen.Digest,
		matches: map[findingKey]*match{},
	}
	if dep.Parent != "" {
		b.scans = f.State.ImageScans[dep.Parent]
	} else {
		b.scans = f.State.BaseScans[dep.Base]
		b.candidates = newer(f.State.Bases[dep.Base], seen)
	}
	b.on = b.scansOf(seen)
	for _, c := range b.candidates {
		b.now = append(b.now, b.scansOf(c.Snapshot))
	}
	return b
}

// newer returns the candidates after the digest that an image is built on. If it is not among them, all of them are newer.
func newer(base *state.Base, on state.Snapshot) []*state.Candidate {
	var out []*state.Candidate
	for i := range base.Candidates {
		c := &base.Candidates[i]
		if c.Digest == on.Digest {
			out = nil
		} else if c.Withdrawn.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

func (b *baseView) scansOf(seen state.Snapshot) []*state.Scan {
	out := make([]*state.Scan, len(b.platforms))
	for i, p := range b.platforms {
		out[i] = b.scans.Of(seen, p)
	}
	return out
}

// scanned reports whether the digest that the images are built on was scanned.
func (b *baseView) scanned() bool {
	for _, s := range b.on {
		if s != nil {
			return true
		}
	}
	return false
}

// match returns how a finding of a published image relates to the base, or nil if the digest that the image is built on does not
// have it.
func (b *baseView) match(f *state.Finding) *match {
	key := findingKey{f.ID, f.Package, strings.Join(f.Aliases, " "), f.Severity}
	m, known := b.matches[key]
	if !known {
		if b.has(f) {
			m = &match{finding: f, fixedBy: make([]bool, len(b.candidates)), remains: b.remains(f)}
			for i := range b.candidates {
				m.fixedBy[i] = b.fixes(i, f)
			}
		}
		b.matches[key] = m
	}
	return m
}

// has reports whether the digest that the images are built on has a finding.
func (b *baseView) has(f *state.Finding) bool {
	for _, s := range b.on {
		if s != nil && s.Find(f) != nil {
			return true
		}
	}
	return false
}

// fixes reports whether a candidate is known not to have a finding on any platform on which the base has it.
func (b *baseView) fixes(candidate int, f *state.Finding) bool {
	had := false
	for i, on := range b.on {
		if on == nil || on.Find(f) == nil {
			continue
		}
		had = true
		now := b.now[candidate][i]
		if now == nil || !comparable(on, now) || !now.Complete(f.Severity) || now.Find(f) != nil {
			return false
		}
	}
	return had
}

// comparable reports whether the absence of a finding in a scan means that it is gone: the same scanner made both, neither knows
// less than the other, and it knows the distribution.
func comparable(before, after *state.Scan) bool {
	return !before.Behind && !after.Behind && before.Scanner == after.Scanner && (release(before.OS) == release(after.OS) || len(after.Findings)+len(after.Others) > 0)
}

// release returns a distribution with its major version: "debian 12" of "debian 12.5".
func release(os string) string {
	major, _, _ := strings.Cut(os, ".")
	return major
}

// remains reports whether the newest digest of the tag is known to have a finding.
func (b *baseView) remains(f *state.Finding) bool {
	if len(b.candidates) == 0 {
		return true
	}
	for _, s := range b.now[len(b.candidates)-1] {
		if s != nil && s.Find(f) != nil {
			return true
		}
	}
	return false
}

// added returns the findings, of every severity, that a candidate is known to have and the digest that the images are built on is
// known not to have. Platforms may have the same one.
func (b *baseView) added(candidate int) []*state.Finding {
	if b.adds == nil {
		b.adds = make([][]*state.Finding, len(b.candidates))
		for i := range b.candidates {
			for p, on := range b.on {
				b.adds[i] = append(b.adds[i], addedBy(on, b.now[i][p])...)
			}
		}
	}
	return b.adds[candidate]
}

func addedBy(on, now *state.Scan) []*state.Finding {
	if on == nil || now == nil || on.Behind || on.Scanner != now.Scanner {
		return nil
	}
	var out []*state.Finding
	for i := range now.Findings {
		if f := &now.Findings[i]; on.Find(f) == nil && on.Complete(f.Severity) {
			out = append(out, f)
		}
	}
	return out
}

// judgeable reports whether it is known what a candidate adds.
func (b *baseView) judgeable(candidate int) bool {
	for p, on := range b.on {
		now := b.now[candidate][p]
		if on == nil || now == nil || on.Behind || now.Behind || on.Scanner != now.Scanner {
			return false
		}
	}
	return true
}
