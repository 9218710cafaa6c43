package triage

import (
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// statements records the VEX statements that are about findings of the fleet.
func (r *run) statements() {
	for i := range r.Files {
		file := &r.Files[i]
		for j := range file.Report.Statements {
			s := &file.Report.Statements[j]
			for _, p := range s.Products {
				r.state(file, s, p)
			}
		}
	}
}

// state records a statement about a product for each image and base image that has the finding.
func (r *run) state(file *File, s *scan.Statement, p scan.Product) {
	seen := map[*state.Scans]bool{}
	for i := range r.targets {
		t := &r.targets[i]
		if t.last(r.State) == nil {
			continue
		}
		scans := t.scans(r.State)
		if seen[scans] || !r.isAbout(t, p, file) {
			continue
		}
		for _, id := range s.IDs {
			if found := scans.FindByID(id, p.Package, p.Version); found != nil {
				seen[scans] = true
				v := state.VEXStatement{ID: found.ID, Status: s.Status, Justification: s.Justification, Package: p.Package, Version: p.Version, Digest: r.within(t, p, file)}
				if scans.Full(v) {
					r.report.Problems = append(r.report.Problems, fmt.Sprintf("%s: %s of %s is not recorded: it has %d statements already", file.Path, id, t.name(), len(scans.VEX)))
				} else {
					scans.State(v)
				}
				break
			}
		}
	}
}

// within returns the digest to which a statement about a target is limited; "" if it is about all digests.
func (r *run) within(t *target, p scan.Product, file *File) string {
	digest := p.Digest
	if subject := file.Report.Subject.Digests(); digest == "" && p.Repository == "" && file.Name == "" && len(subject) > 0 {
		if digest = t.digest; slices.Contains(subject, t.index) {
			digest = t.index
		}
	}
	others := slices.ContainsFunc(r.targets, func(o target) bool { return o.index == t.index && o.digest != t.digest })
	if digest == t.digest && !others { // the only platform that is used
		return t.index
	}
	return digest
}

// isAbout reports whether a product is the image of a target, or a package in it or in any image.
func (r *run) isAbout(t *target, p scan.Product, file *File) bool {
	if p.Digest != "" && p.Digest != t.digest && p.Digest != t.index {
		return false
	}
	if p.Repository != "" {
		return isRepository(t, p.Repository)
	}
	return p.Digest != "" || r.isSubject(t, file, p.Subject)
}

// isSubject reports whether a target is the image that the whole document is about. A document that is about none is about all
// images, unless it has to be about one.
func (r *run) isSubject(t *target, file *File, hasTo bool) bool {
	subject := &file.Report.Subject
	digests := subject.Digests()
	switch {
	case file.Name != "":
		return t.image != "" && t.image == file.Name || t.base != "" && t.base == r.Base(file.Name)
	case len(digests) > 0:
		return slices.Contains(digests, t.digest) || slices.Contains(digests, t.index)
	case subject.Name != "":
		return isRepository(t, subject.Name)
	}
	return !hasTo
}

func isRepository(t *target, name string) bool {
	ref, err := state.ParseRef(name)
	return err == nil && ref.Registry+"/"+ref.Repository == t.repository
}
