package fleet

import (
	"fmt"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// lintUrgent reports the entries of urgent.ignore that have expired, and those whose vulnerability is in no scan of an image that they
// are for, nor of its bases. Entries of images that were not scanned may be needed later.
func (f *Fleet) lintUrgent(now time.Time) finding.List {
	var l finding.List
	for _, u := range f.ignoredFindings() {
		where := "urgent.ignore: " + u.entry.ID
		if u.entry.Package != "" {
			where += " in " + u.entry.Package
		}
		message := where + ": no scan finds it any more"
		switch expired := !u.entry.Expiry().IsZero() && u.entry.Expired(now); {
		case expired:
			message = fmt.Sprintf("%s: expired, its last day was %s", where, u.entry.Until)
		case u.found || !u.scanned:
			continue
		}
		found := finding.StaleIgnore.At(f.Config.File(), u.entry.Line, u.entry.Column, message, "remove the entry, or renew it if the vulnerability still does not count")
		if !u.shared {
			found = found.Of(u.image)
		}
		l = append(l, found)
	}
	return l
}

// ignoredFinding is an entry of urgent.ignore, with what is known of the images that it is for.
type ignoredFinding struct {
	entry   *config.IgnoredFinding
	image   string // the first one
	shared  bool   // there are others: the entry is a default
	scanned bool
	found   bool
}

// ignoredFindings returns each entry once, in the order of images.yaml.
func (f *Fleet) ignoredFindings() []*ignoredFinding {
	var out []*ignoredFinding
	at := map[[2]int]*ignoredFinding{}
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		if img.Urgent == nil {
			continue
		}
		for j := range img.Urgent.Ignore {
			entry := &img.Urgent.Ignore[j]
			u := at[[2]int{entry.Line, entry.Column}]
			if u == nil {
				u = &ignoredFinding{entry: entry, image: img.Name}
				at[[2]int{entry.Line, entry.Column}] = u
				out = append(out, u)
			}
			u.shared = u.shared || u.image != img.Name
			if scans := f.State.ImageScans[img.Name]; scans != nil {
				u.scanned = true
				u.found = u.found || scans.FindByID(entry.ID, entry.Package, "") != nil || f.basesHave(img.Name, entry)
			}
		}
	}
	return out
}

// basesHave reports whether a scan of a base image that an image is built on, or of one of its candidates, has the vulnerability.
func (f *Fleet) basesHave(image string, entry *config.IgnoredFinding) bool {
	for _, dep := range f.Graph.Deps(image) {
		for _, scans := range []*state.Scans{f.State.BaseScans[dep.Base], f.State.ImageScans[dep.Parent]} {
			if scans != nil && scans.FindByID(entry.ID, entry.Package, "") != nil {
				return true
			}
		}
	}
	return false
}
