package scan

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Limits of what a report may hold.
const (
	MaxBytes    = 256 << 20 // of a report; 50 MB are common for large images
	maxFindings = 200_000
	maxRefs     = 50  // names and digests of the scanned image
	maxAliases  = 5   // of a vulnerability
	maxID       = 100 // characters
	maxName     = 200
	maxVersion  = 100
)

// Report is the content of one report or VEX document.
type Report struct {
	Format   Format
	Scanner  string  // the tool that wrote it, in lower case; empty if the report does not say
	Subject  Subject // the scanned image
	OS       string  // its distribution, such as "debian 12.5"
	Findings []Finding
	// Statements are the VEX statements, in the order of the document.
	Statements []Statement
	// Looked reports whether the scanner found packages and looked them up. Else no finding does not mean no vulnerability. An SBOM
	// does not say it unless it has a finding.
	Looked bool

	vex bool // there are VEX statements
}

// IsVEX reports whether the document has no results of a scanner. Its statements may all be about products that are not known.
func (r *Report) IsVEX() bool { return len(r.Findings) == 0 && r.vex }

// IsSBOM reports whether the format is one of SBOMs, which scanners also write without looking for vulnerabilities.
func (r *Report) IsSBOM() bool { return r.Format == CycloneDX || r.Format == SPDX }

// Format is the format of a report.
type Format string

// Formats.
const (
	Trivy     Format = "trivy"
	Grype     Format = "grype"
	SARIF     Format = "sarif"
	CycloneDX Format = "cyclonedx"
	SPDX      Format = "spdx"
	OpenVEX   Format = "openvex"
)

// Subject names the scanned image.
type Subject struct {
	Name     string   // as the scanner was asked
	Refs     []string // references, with tag or digest
	Platform string   // os/architecture[/variant]; empty if the report does not say
}

// Digests returns the digests by which the report names the image.
func (s *Subject) Digests() []string { return s.digests(false) }

// Pulled returns those of them that are part of a reference. A local image has others, which no registry knows.
func (s *Subject) Pulled() []string { return s.digests(true) }

func (s *Subject) digests(ofReferences bool) []string {
	var out []string
	for _, ref := range append([]string{s.Name}, s.Refs...) {
		_, digest, ok := strings.Cut(ref, "@")
		switch {
		case ok:
			ref = digest
		case ofReferences:
			continue
		}
		if digestForm().MatchString(ref) && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

func (s *Subject) addRef(ref string) {
	if ref = text(ref, maxName); ref != "" && len(s.Refs) < maxRefs && !slices.Contains(s.Refs, ref) {
		s.Refs = append(s.Refs, ref)
	}
}

// addPURL adds the image that a package URL names by its digest.
func (s *Subject) addPURL(purl string) {
	image := parsePURL(purl)
	if image.Digest == "" {
		return
	}
	s.addRef(strings.TrimPrefix(image.Repository+"@"+image.Digest, "@"))
	_, query, _ := strings.Cut(purl, "?")
	values, _ := url.ParseQuery(query)                                 // what it can parse
	if arch := values.Get("arch"); s.Platform == "" && arch != "arm" { // of which there are several variants
		s.Platform = platform("linux", arch, "") // scanners know no packages of other systems
	}
}

var digestForm = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)

// Finding is a vulnerability of a package in the image.
type Finding struct {
	ID        string   // the CVE, if the scanner knows one
	Aliases   []string // other IDs of the same vulnerability, sorted
	Severity  Severity
	Package   string
	Installed string
	Fixed     string // the version that fixes it; empty if there is none
}

// Is reports whether id names the vulnerability.
func (f *Finding) Is(id string) bool {
	return strings.EqualFold(f.ID, id) || slices.ContainsFunc(f.Aliases, func(a string) bool { return strings.EqualFold(a, id) })
}

// compare orders findings: the worst first, then by ID and package.
func (f *Finding) compare(g *Finding) int {
	return cmp.Or(f.Severity.Compare(g.Severity), strings.Compare(f.ID, g.ID), strings.Compare(f.Package, g.Package), strings.Compare(f.Installed, g.Installed))
}

// Status is the status of a vulnerability in a product, in the words of OpenVEX.
type Status string

// Statuses.
const (
	NotAffected        Status = "not_affected"
	Affected           Status = "affected"
	FixedIn            Status = "fixed"
	UnderInvestigation Status = "under_investigation"
)

// TakesAway reports whether a finding with this status does not count.
func (s Status) TakesAway() bool { return s == NotAffected || s == FixedIn }

func (s Status) known() bool {
	return s.TakesAway() || s == Affected || s == UnderInvestigation
}

// Statement is a VEX statement: the status of one vulnerability in some products.
type Statement struct {
	IDs           []string // of the vulnerability and its aliases
	Status        Status
	Justification string
	Products      []Product
}

// Product is what a [Statement] is about: an image, a package, or a package in an image. Empty fields match anything, but not all
// of them are empty.
type Product struct {
	Subject    bool   // the image that the document is about
	Repository string // with registry where the document has it
	Digest     string
	Package    string
	Version    string
}

// state adds a statement, without the products that are not known: they must not become any product.
func (r *Report) state(s Statement) {
	r.vex = r.vex || s.Status != ""
	s.Products = slices.DeleteFunc(s.Products, func(p Product) bool { return p == Product{} })
	if s.Status.known() && len(s.IDs) > 0 && len(s.Products) > 0 {
		r.Statements = append(r.Statements, s)
	}
}

// text returns s as one line of at most limit characters.
func text(s string, limit int) string {
	s = sanitize.Words(s)
	if len(s) > limit {
		if runes := []rune(s); len(runes) > limit {
			s = string(runes[:limit])
		}
	}
	return s
}

// collector collects the findings of a report.
type collector struct {
	findings map[findingKey]*Finding
}

type findingKey struct{ id, pkg, installed string }

// add adds a finding. An ID that is not a CVE is replaced by the CVE among its aliases if there is exactly one, so that the
// reports of different scanners agree.
func (c *collector) add(f Finding) error {
	ids := []string{text(f.ID, maxID)}
	for _, a := range f.Aliases {
		if a = text(a, maxID); a != "" && !slices.Contains(ids, a) && len(ids) <= maxAliases {
			ids = append(ids, a)
		}
	}
	if f.ID = ids[0]; f.ID == "" {
		return nil
	}
	if cves := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isCVE(id) }); !isCVE(f.ID) && len(cves) == 1 {
		f.ID = cves[0]
	}
	f.Aliases = slices.DeleteFunc(ids, func(id string) bool { return id == f.ID })
	slices.Sort(f.Aliases)
	f.Package, f.Installed, f.Fixed = text(f.Package, maxName), text(f.Installed, maxVersion), text(f.Fixed, maxVersion)
	if f.Severity == "" {
		f.Severity = Unknown
	}
	key := findingKey{f.ID, f.Package, f.Installed}
	old := c.findings[key]
	switch {
	case old == nil && len(c.findings) >= maxFindings:
		return errTooMany
	case old == nil:
		if c.findings == nil {
			c.findings = map[findingKey]*Finding{}
		}
		c.findings[key] = &f
	default: // the same package in several places
		if f.Severity.Compare(old.Severity) < 0 {
			old.Severity = f.Severity
		}
		if old.Fixed == "" {
			old.Fixed = f.Fixed
		}
	}
	return nil
}

func isCVE(id string) bool { return strings.HasPrefix(id, "CVE-") }

// sorted returns the findings in their order.
func (c *collector) sorted() []Finding {
	out := make([]Finding, 0, len(c.findings))
	for _, f := range c.findings {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Finding) int { return a.compare(&b) })
	return out
}
