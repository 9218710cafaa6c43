package exposure

import (
	"slices"

	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// ScannedDigest is what scans found in a digest of a base image.
type ScannedDigest struct {
	Digest string                `json:"digest"`
	Counts map[scan.Severity]int `json:"counts,omitempty"` // findings by severity
	Fixes  []state.FindingJSON   `json:"fixes,omitempty"`  // findings that images inherit and the digest does not have
	Adds   []state.FindingJSON   `json:"adds,omitempty"`   // findings that the digests which images are built on do not have
}

// OfBase returns what scans found in the digests of a base image, oldest first, without those that were not scanned. Fixes and
// Adds are those of all images that use the base image.
func (f *Fleet) OfBase(name string) []ScannedDigest {
	base, scans := f.State.Bases[name], f.State.BaseScans[name]
	if base == nil || scans == nil {
		return nil
	}
	var users []*view
	for _, image := range f.Graph.Dependents(name) {
		users = append(users, f.view(f.Config.Find(image)))
	}
	var out []ScannedDigest
	add := func(c *state.Candidate) {
		d := ScannedDigest{Digest: c.Digest}
		scanned := false
		for _, v := range users {
			for i := range v.bases {
				if b := &v.bases[i]; b.name == name {
					scanned = d.count(scans, c.Snapshot, b.platforms) || scanned
					d.compare(v, b, c)
				}
			}
		}
		if scanned {
			out = append(out, d)
		}
	}
	if base.Baseline != nil {
		add(base.Baseline)
	}
	for i := range base.Candidates {
		add(&base.Candidates[i])
	}
	return out
}

// count counts the findings of a digest and reports whether it was scanned. Of several platforms, the larger number counts.
func (d *ScannedDigest) count(scans *state.Scans, seen state.Snapshot, platforms []string) (scanned bool) {
	for _, p := range platforms {
		s := scans.Of(seen, p)
		if s == nil {
			continue
		}
		scanned = true
		counts := map[scan.Severity]int{}
		for severity, n := range s.Others {
			counts[severity] += n
		}
		for i := range s.Findings {
			counts[s.Findings[i].Severity]++
		}
		for severity, n := range counts {
			if d.Counts == nil {
				d.Counts = map[scan.Severity]int{}
			}
			d.Counts[severity] = max(d.Counts[severity], n)
		}
	}
	return scanned
}

// compare adds what a candidate fixes in an image and adds to it.
func (d *ScannedDigest) compare(v *view, b *baseView, c *state.Candidate) {
	if !slices.Contains(b.candidates, c) {
		return
	}
	for _, found := range v.findings() {
		if v.fixes(b, c, found) && !v.takenAway(found) {
			d.Fixes = addOnce(d.Fixes, found)
		}
	}
	for _, found := range v.added(b, c) {
		d.Adds = addOnce(d.Adds, found)
	}
}

// addOnce adds a finding without its place, which differs by image.
func addOnce(list []state.FindingJSON, found *state.Finding) []state.FindingJSON {
	if slices.ContainsFunc(list, func(f state.FindingJSON) bool { return f.ID == found.ID && f.Package == found.Package }) {
		return list
	}
	one := found.JSON()
	one.Where = ""
	return append(list, one)
}
