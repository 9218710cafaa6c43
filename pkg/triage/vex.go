package triage

import (
	"slices"

	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// statements records the VEX statements that are about findings of the fleet.
func (r *run) statements() {
	for i := range r.Files {
		report := r.Files[i].Report
		subject := report.Subject.Digests()
		for j := range report.Statements {
			s := &report.Statements[j]
			products := s.Products
			if len(products) == 0 && len(subject) > 0 {
				products = []scan.Product{{}}
			}
			for _, p := range products {
				r.state(s, p, subject)
			}
		}
	}
}

// state records a statement about a product for each image and base image that has the finding. subject has the digests of the
// image that the whole document is about, if it is about one.
func (r *run) state(s *scan.Statement, p scan.Product, subject []string) {
	seen := map[*state.Scans]bool{}
	for i := range r.targets {
		t := &r.targets[i]
		if t.last(r.State) == nil {
			continue
		}
		scans := t.scans(r.State)
		if seen[scans] || !r.isAbout(t, p, subject) {
			continue
		}
		for _, id := range s.IDs {
			if found := scans.FindByID(id, p.Package, p.Version); found != nil {
				seen[scans] = true
				scans.State(state.VEXStatement{ID: found.ID, Status: s.Status, Justification: s.Justification, Package: p.Package, Version: p.Version, Digest: p.Digest})
				break
			}
		}
	}
}

// isAbout reports whether a product is the image of a target, or a package in any image.
func (r *run) isAbout(t *target, p scan.Product, subject []string) bool {
	digests := []string{t.digest, t.index}
	if p.Digest != "" && !slices.Contains(digests, p.Digest) {
		return false
	}
	if p.Repository == "" {
		return p.Digest != "" || len(subject) == 0 || slices.ContainsFunc(subject, func(d string) bool { return slices.Contains(digests, d) })
	}
	ref, err := state.ParseRef(p.Repository)
	return err == nil && ref.Registry+"/"+ref.Repository == t.repository
}
