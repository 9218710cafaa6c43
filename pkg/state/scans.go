package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/scan"
)

// Folders of the files with findings, below the state folder. They are apart from the other files because they are larger and
// change for other reasons.
const (
	ImageScansFolder = "image-scans"
	BaseScansFolder  = "base-image-scans"
)

// Limits of what scans record. A scan that is cut says so, so that a finding that is not listed never counts as fixed.
const (
	MaxFindings   = 200 // of a digest
	maxScans      = 64  // digests of an image, for each platform
	maxStatements = 200 // of an image
)

// Scans are the findings of an enrolled image or a base image.
type Scans struct {
	Name     string         `yaml:"name" json:"name"`
	Digests  []Scan         `yaml:"digests,omitempty" json:"digests,omitempty"` // sorted by digest and platform
	VEX      []VEXStatement `yaml:"vex,omitempty" json:"vex,omitempty"`         // sorted
	Archived string         `yaml:"archived,omitempty" json:"archived,omitempty"`
	Extra    Extra          `yaml:",inline" json:"-"`
}

// Scan is the result of the last scan of a digest. It has no date: a scan that learns nothing changes nothing.
type Scan struct {
	Digest   string                `yaml:"digest" json:"digest"`
	Platform string                `yaml:"platform,omitempty" json:"platform,omitempty"` // if the digest is that of an index
	Scanner  string                `yaml:"scanner" json:"scanner"`
	OS       string                `yaml:"os,omitempty" json:"os,omitempty"`
	Severity scan.Severity         `yaml:"severity" json:"severity"` // the lowest one that is listed
	Findings []Finding             `yaml:"findings,omitempty" json:"findings,omitempty"`
	Others   map[scan.Severity]int `yaml:"others,omitempty" json:"others,omitempty"` // numbers of findings that are not listed
	// Behind reports that a later scan of another digest learnt something, while this digest could not be scanned.
	Behind bool  `yaml:"behind,omitempty" json:"behind,omitempty"`
	Extra  Extra `yaml:",inline" json:"-"`
}

// VEXStatement is a statement that takes findings of the image away.
type VEXStatement struct {
	ID            string      `yaml:"id" json:"id"`
	Status        scan.Status `yaml:"status" json:"status"`
	Justification string      `yaml:"justification,omitempty" json:"justification,omitempty"`
	Package       string      `yaml:"package,omitempty" json:"package,omitempty"` // all packages if empty, and so on
	Version       string      `yaml:"version,omitempty" json:"version,omitempty"`
	Digest        string      `yaml:"digest,omitempty" json:"digest,omitempty"`
	Extra         Extra       `yaml:",inline" json:"-"`
}

// Where a vulnerable package comes from.
const (
	InBase = "base" // the base image that the image is built on has the same finding
	InOwn  = "own"  // the base image does not have it
)

// Finding is a finding in a state file: one line, so that a diff reads well and a fleet with many loads fast.
type Finding struct {
	scan.Finding
	Where string // InBase, InOwn, or empty if the base image was not scanned
	rest  string // fields that a later version wrote
}

// MarshalText returns the fields, separated by spaces: id, severity, package, installed and fixed version, where, aliases.
func (f Finding) MarshalText() ([]byte, error) {
	line := strings.Join([]string{field(f.ID), string(f.Severity), field(f.Package), field(f.Installed), field(f.Fixed), field(f.Where), field(strings.Join(f.Aliases, ","))}, " ")
	if f.rest != "" {
		line += " " + f.rest
	}
	return []byte(line), nil
}

// field returns a field of a line. No ID, name or version has spaces.
func field(s string) string {
	if s = strings.ReplaceAll(strings.ReplaceAll(s, ", ", ","), " ", "_"); s == "" {
		return "-"
	}
	return s
}

// UnmarshalText is the inverse of [Finding.MarshalText].
func (f *Finding) UnmarshalText(line []byte) error {
	const fields = 7
	parts := strings.SplitN(string(line), " ", fields+1)
	if len(parts) < fields {
		return fmt.Errorf("invalid finding %q: want id, severity, package, installed, fixed, where and aliases", sanitize.Cut(string(line), MaxText))
	}
	for i := range parts[:fields] {
		if parts[i] == "-" {
			parts[i] = ""
		}
	}
	*f = Finding{Finding: scan.Finding{ID: parts[0], Severity: scan.Severity(parts[1]), Package: parts[2], Installed: parts[3], Fixed: parts[4]}, Where: parts[5]}
	if parts[6] != "" {
		f.Aliases = strings.Split(parts[6], ",")
	}
	if len(parts) > fields {
		f.rest = parts[fields]
	}
	return nil
}

// UnmarshalYAML is like [Finding.UnmarshalText]; its errors name the line.
func (f *Finding) UnmarshalYAML(n *yaml.Node) error {
	if err := f.UnmarshalText([]byte(n.Value)); err != nil {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %v", n.Line, err)}}
	}
	return nil
}

// FindingJSON is a finding as JSON has it.
type FindingJSON struct {
	ID        string        `json:"id"`
	Aliases   []string      `json:"aliases,omitempty"`
	Severity  scan.Severity `json:"severity"`
	Package   string        `json:"package"`
	Installed string        `json:"installed,omitempty"`
	Fixed     string        `json:"fixed,omitempty"` // version that fixes it
	Where     string        `json:"where,omitempty"` // base or own
}

// JSON returns the finding as JSON has it.
func (f *Finding) JSON() FindingJSON {
	return FindingJSON{f.ID, f.Aliases, f.Severity, f.Package, f.Installed, f.Fixed, f.Where}
}

// String returns a text such as "CVE-2026-1234 (critical, openssl)".
func (f *Finding) String() string { return fmt.Sprintf("%s (%s, %s)", f.ID, f.Severity, f.Package) }

// Same reports whether two findings are the same vulnerability of the same package, whatever its version.
func (f *Finding) Same(g *Finding) bool {
	return f.Package == g.Package && (f.ID == g.ID || slices.Contains(f.Aliases, g.ID) || slices.Contains(g.Aliases, f.ID))
}

// normal returns the finding as it is read back.
func (f Finding) normal() Finding {
	line, _ := f.MarshalText() // never fails
	_ = f.UnmarshalText(line)
	return f
}

// NewScan returns the scan of a digest with the findings of a report: those of at least a severity, and the numbers of the
// others.
func NewScan(digest, platform string, r *scan.Report, least scan.Severity) Scan {
	s := Scan{Digest: digest, Platform: platform, Scanner: cmp.Or(field(r.Scanner), string(r.Format)), OS: Text(r.OS), Severity: least}
	if r.Scanner == "" {
		s.Scanner = string(r.Format)
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity.AtLeast(least) && len(s.Findings) < MaxFindings {
			s.Findings = append(s.Findings, Finding{Finding: *f}.normal())
			continue
		} else if s.Others == nil {
			s.Others = map[scan.Severity]int{}
		}
		s.Others[r.Findings[i].Severity]++
	}
	return s
}

// Complete reports whether every finding of at least a severity is listed.
func (s *Scan) Complete(least scan.Severity) bool {
	if !least.AtLeast(s.Severity) {
		return false
	}
	for severity := range s.Others {
		if severity.AtLeast(least) {
			return false
		}
	}
	return true
}

// Find returns the same finding in the scan, or nil.
func (s *Scan) Find(f *Finding) *Finding {
	for i := range s.Findings {
		if s.Findings[i].Same(f) {
			return &s.Findings[i]
		}
	}
	return nil
}

// Of returns the scan of a digest for a platform, or nil: that of the platform's own manifest, or of the index.
func (s *Scans) Of(seen Snapshot, platform string) *Scan {
	if s == nil {
		return nil
	}
	effective := seen.Effective(platform)
	var whole *Scan
	for i := range s.Digests {
		switch d := &s.Digests[i]; {
		case d.Digest == effective && effective != seen.Digest, d.Digest == seen.Digest && d.Platform == platform:
			return d
		case d.Digest == seen.Digest && d.Platform == "":
			whole = d
		}
	}
	return whole
}

// Set records a scan and reports whether it found something else than the last one. Unknown keys of the last one are kept.
func (s *Scans) Set(new Scan) bool {
	at, found := slices.BinarySearchFunc(s.Digests, new, func(a, b Scan) int {
		return cmp.Or(strings.Compare(a.Digest, b.Digest), strings.Compare(a.Platform, b.Platform))
	})
	if !found {
		s.Digests = slices.Insert(s.Digests, at, new)
		return true
	}
	old := &s.Digests[at]
	for i := range new.Findings {
		if was := old.Find(&new.Findings[i]); was != nil {
			new.Findings[i].Where, new.Findings[i].rest = was.Where, was.rest
		}
	}
	new.Extra = old.Extra
	same := old.equal(&new)
	*old = new
	return !same
}

func (s *Scan) equal(t *Scan) bool {
	return s.Scanner == t.Scanner && s.OS == t.OS && s.Severity == t.Severity &&
		slices.EqualFunc(s.Findings, t.Findings, func(a, b Finding) bool {
			one, _ := a.MarshalText() // never fails
			other, _ := b.MarshalText()
			return string(one) == string(other)
		}) && fmt.Sprint(s.Others) == fmt.Sprint(t.Others) // which prints maps in order
}

// Takes reports whether the statement is about a finding in an image with a digest.
func (v *VEXStatement) Takes(f *Finding, digests ...string) bool {
	return v.Status.TakesAway() && f.Is(v.ID) && (v.Package == "" || v.Package == f.Package) && (v.Version == "" || v.Version == f.Installed) &&
		(v.Digest == "" || slices.Contains(digests, v.Digest))
}

// TakesAway reports whether a VEX statement takes a finding of a digest away.
func (s *Scans) TakesAway(f *Finding, digests ...string) bool {
	return s != nil && slices.ContainsFunc(s.VEX, func(v VEXStatement) bool { return v.Takes(f, digests...) })
}

// State records a VEX statement and reports whether that changed anything. A status that takes nothing away removes an earlier
// statement about the same.
func (s *Scans) State(v VEXStatement) bool {
	v.ID, v.Package, v.Version, v.Justification = Text(v.ID), Text(v.Package), Text(v.Version), Text(v.Justification)
	at, found := slices.BinarySearchFunc(s.VEX, v, compareVEX)
	switch {
	case found && !v.Status.TakesAway():
		s.VEX = slices.Delete(s.VEX, at, at+1)
		return true
	case !v.Status.TakesAway():
		return false
	case !found:
		s.VEX = slices.Insert(s.VEX, at, v)
		return true
	}
	old := &s.VEX[at]
	changed := old.Status != v.Status || old.Justification != v.Justification
	old.Status, old.Justification = v.Status, v.Justification
	return changed
}

// Full reports whether there are too many statements to record another one.
func (s *Scans) Full(v VEXStatement) bool {
	return v.Status.TakesAway() && len(s.VEX) >= maxStatements && !slices.ContainsFunc(s.VEX, func(o VEXStatement) bool { return compareVEX(o, v) == 0 })
}

// compareVEX orders statements by what they are about.
func compareVEX(a, b VEXStatement) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Package, b.Package), strings.Compare(a.Version, b.Version), strings.Compare(a.Digest, b.Digest))
}

// Clone returns a copy that shares no data with the original that a method changes in place.
func (s *Scans) Clone() *Scans {
	out := *s
	out.Digests, out.VEX = slices.Clone(s.Digests), slices.Clone(s.VEX)
	for i := range out.Digests {
		out.Digests[i].Findings = slices.Clone(s.Digests[i].Findings)
	}
	return &out
}

// Faults returns the impossible values in the findings; see [Image.Faults].
func (s *Scans) Faults() []Fault {
	var f faults
	seen := map[string]bool{}
	for i := range s.Digests {
		d := &s.Digests[i]
		f.digest(d.Digest)
		f.once(seen, strings.TrimSpace(d.Digest+" "+d.Platform), "scan of")
		if !d.Severity.Known() {
			f.add(string(d.Severity), "unknown severity %q", sanitize.Cut(string(d.Severity), MaxText))
		}
		for j := range d.Findings {
			if severity := d.Findings[j].Severity; !severity.Known() {
				f.add(string(severity), "unknown severity %q", sanitize.Cut(string(severity), MaxText))
			}
		}
	}
	for i := range s.VEX {
		f.digest(s.VEX[i].Digest)
		if !s.VEX[i].Status.TakesAway() {
			f.add(string(s.VEX[i].Status), "unknown VEX status %q", sanitize.Cut(string(s.VEX[i].Status), MaxText))
		}
	}
	return f.list
}

// Writable returns an error if the findings must not be written; see [Image.Writable].
func (s *Scans) Writable() error {
	if n := len(s.Digests); n > maxScans {
		return fmt.Errorf("too many scanned digests of %s: %d (limit %d)", s.Name, n, maxScans)
	}
	if n := len(s.VEX); n > maxStatements {
		return fmt.Errorf("too many VEX statements about %s: %d (limit %d)", s.Name, n, maxStatements)
	}
	return writable(s.Name, s.Faults(), nil, s.encode)
}

func (s *Scans) encode() ([]byte, error) { return encode(s) }

// FindByID returns the finding with an ID or alias in a package; an empty package or version stands for any.
func (s *Scans) FindByID(id, pkg, version string) *Finding {
	for i := range s.Digests {
		for j := range s.Digests[i].Findings {
			f := &s.Digests[i].Findings[j]
			if f.Is(id) && (pkg == "" || pkg == f.Package) && (version == "" || version == f.Installed) {
				return f
			}
		}
	}
	return nil
}

// Shrink lists fewer findings of each digest until the file is small enough to be written. It keeps the worst.
func (s *Scans) Shrink() {
	for most := MaxFindings; most > 0; most /= 2 {
		if data, err := s.encode(); err != nil || len(data) <= maxFileBytes {
			return
		}
		for i := range s.Digests {
			d := &s.Digests[i]
			if len(d.Findings) <= most/2 {
				continue
			}
			others := map[scan.Severity]int{}
			for severity, n := range d.Others {
				others[severity] = n
			}
			for _, f := range d.Findings[most/2:] {
				others[f.Severity]++
			}
			d.Findings, d.Others = slices.Clone(d.Findings[:most/2]), others
		}
	}
}

// changes describes how the findings differ from old, one line per finding.
func (s *Scans) changes(old *Scans) (out []string) {
	add := func(format string, args ...any) { out = append(out, s.Name+": "+fmt.Sprintf(format, args...)) }
	before, now := old.all(), s.all()
	for _, f := range now {
		if !slices.ContainsFunc(before, f.Same) {
			text := f.String()
			if f.Fixed != "" {
				text += ", fixed in " + f.Fixed
			}
			add("found %s", text)
		}
	}
	for _, f := range before {
		if !slices.ContainsFunc(now, f.Same) {
			add("%s is gone", f)
		}
	}
	for i := range s.VEX {
		if v := &s.VEX[i]; !slices.ContainsFunc(old.VEX, func(o VEXStatement) bool { return o.ID == v.ID && o.Status == v.Status }) {
			add("VEX: %s is %s%s", v.ID, v.Status, because(v.Justification))
		}
	}
	return out
}

// all returns the findings of all digests, each once.
func (s *Scans) all() []*Finding {
	var out []*Finding
	for i := range s.Digests {
		for j := range s.Digests[i].Findings {
			if f := &s.Digests[i].Findings[j]; !slices.ContainsFunc(out, f.Same) {
				out = append(out, f)
			}
		}
	}
	return out
}
