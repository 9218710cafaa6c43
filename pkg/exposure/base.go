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
		d := scannedDigest{ScannedDigest: ScannedDigest{Digest: c.Digest}, seen: map[string]bool{}}
		scanned := false
		for _, v := range users {
			for _, b := range v.bases {
				if b.name == name {
					scanned = d.count(scans, c.Snapshot, b.platforms) || scanned
					d.compare(v, b, c)
				}
			}
		}
		if scanned {
			out = append(out, d.ScannedDigest)
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

// scannedDigest collects a [ScannedDigest].
type scannedDigest struct {
	ScannedDigest
	seen map[string]bool // findings in Fixes and Adds
}

// count counts the findings of a digest and reports whether it was scanned. Of several platforms, the larger number counts.
func (d *scannedDigest) count(scans *state.Scans, seen state.Snapshot, platforms []string) (scanned bool) {
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
func (d *scannedDigest) compare(v *view, b *baseView, c *state.Candidate) {
	at := slices.Index(b.candidates, c)
	if at < 0 {
		return
	}
	for i, m := range v.of(b) {
		if m != nil && m.fixedBy[at] && !v.takenAway(v.findings[i]) {
			d.Fixes = d.addOnce(d.Fixes, "fixes", v.findings[i])
		}
	}
	for _, found := range v.added(b, at) {
		d.Adds = d.addOnce(d.Adds, "adds", found)
	}
}

// addOnce adds a finding without its place, which differs by image.
func (d *scannedDigest) addOnce(list []state.FindingJSON, to string, found *state.Finding) []state.FindingJSON {
	key := to + " " + found.ID + " " + found.Package
	if d.seen[key] {
		return list
	}
	d.seen[key] = true
	one := found.JSON()
	one.Where = ""
	return append(list, one)
}
