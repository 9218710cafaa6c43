package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// vulnerabilities prints what scans found in a published image, and what candidates would add.
func (d *description) vulnerabilities(v *describe.Vulnerabilities) {
	if v == nil {
		return
	}
	t := textTable{header: []string{"ID", "SEVERITY", "PACKAGE", "FIXED IN", "FROM", "REMEDY"}}
	for i := range v.Findings {
		if !d.wide && i == most {
			t.rows = append(t.rows, []string{fmt.Sprintf("and %d more", len(v.Findings)-most), "", "", "", "", "-o wide lists all"})
			break
		}
		f := &v.Findings[i]
		t.rows = append(t.rows, append(d.finding(&f.FindingJSON), OriginText(f), RemedyText(f, d.digest(f.Digest), d.now)))
	}
	for i := range v.Added {
		if !d.wide && i == most {
			t.rows = append(t.rows, []string{fmt.Sprintf("and %d more", len(v.Added)-most), "", "", "", "", "candidates would add them"})
			break
		}
		a := &v.Added[i]
		t.rows = append(t.rows, append(d.finding(&a.FindingJSON), describe.Short(a.Base), d.digest(a.Digest)+" would add it"))
	}
	d.counted(t, RestText(&v.Exposure), v.Place)
}

// counted prints a table of vulnerabilities with their numbers and the state file.
func (d *description) counted(t textTable, rest string, place describe.Place) {
	if len(t.rows) == 0 {
		t.header = []string{""}
	}
	columns := len(t.header)
	last := make([]string, columns)
	last[columns-1] = sanitize.Words(strings.TrimPrefix(rest+"; "+place.String(), "; "))
	t.rows = append(t.rows, last)
	d.section("Vulnerabilities", t)
}

// finding returns the first cells of a row.
func (d *description) finding(f *state.FindingJSON) []string {
	pkg := f.Package
	if f.Installed != "" {
		pkg += " " + f.Installed
	}
	return []string{sanitize.Words(f.ID), string(f.Severity), sanitize.Words(pkg), sanitize.Words(f.Fixed)}
}

// OriginText returns where a finding comes from.
func OriginText(f *exposure.Vulnerability) string {
	switch {
	case f.Where == state.InOwn:
		return "own layers"
	case f.Base != "":
		return describe.Short(f.Base)
	}
	return "not known"
}

// RemedyText returns what removes a finding. digest is the text for the candidate that fixes it.
func RemedyText(f *exposure.Vulnerability, digest string, now time.Time) string {
	switch f.Remedy {
	case exposure.ByCandidate:
		text := "digest " + digest
		switch {
		case f.Ready.IsZero():
			return text
		case f.Ready.After(now):
			return text + ", due " + ExactTime(f.Ready, now)
		}
		return text + ", due since " + ExactTime(f.Ready, now)
	case exposure.ByTag:
		if f.Tag != "" {
			return "only a newer tag, such as " + describe.Short(f.Tag)
		}
		return "only a newer tag"
	case exposure.ByParent:
		return "rebuild of the parent"
	case exposure.ByImage:
		return "change of the image"
	case exposure.NoFix:
		return "no fix yet"
	case exposure.Unknown:
	}
	return "not known: scan the base"
}

// RestText returns the numbers of the findings that are not listed.
func RestText(v *exposure.Exposure) string {
	var parts []string
	if text := SeverityText(v.Others); text != "" {
		parts = append(parts, text+" not listed")
	}
	if v.Ignored > 0 {
		parts = append(parts, fmt.Sprintf("%d ignored", v.Ignored))
	}
	if len(parts) == 0 && len(v.Findings) == 0 {
		return "none found"
	}
	return strings.Join(parts, ", ")
}

// SeverityText returns numbers by severity, the worst first: "1 critical, 3 low".
func SeverityText(counts map[scan.Severity]int) string {
	var parts []string
	for _, s := range scan.Severities() {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// baseVulnerabilities prints what scans found in the digests of a base image.
func (d *description) baseVulnerabilities(v *describe.BaseVulnerabilities) {
	if v == nil {
		return
	}
	t := textTable{header: []string{"DIGEST", "FOUND", "FIXES", "ADDS", "STATE"}}
	for i := range v.Digests {
		g := &v.Digests[i]
		found := SeverityText(g.Counts)
		if found == "" {
			found = "none"
		}
		place := ""
		if i == 0 {
			place = v.Place.String()
		}
		t.rows = append(t.rows, []string{d.digest(g.Digest), found, FindingsText(g.Fixes, d.few()), FindingsText(g.Adds, d.few()), place})
	}
	d.section("Vulnerabilities", t)
}

// few returns how many findings of a digest are named.
func (d *description) few() int {
	if d.wide {
		return math.MaxInt
	}
	return 3
}

// FindingsText returns the IDs of findings with their packages, of a number of them at most.
func FindingsText(list []state.FindingJSON, most int) string {
	var parts []string
	for i := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", list[i].ID, list[i].Package))
	}
	return sanitize.Words(strings.Join(parts, ", "))
}
