package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/scan"
)

// Urgent is when a candidate that fixes vulnerabilities is released before it has ripened.
type Urgent struct {
	Severity scan.Severity    `yaml:"severity" jsonschema:"enum=critical,enum=high,enum=medium,enum=low" jsonschema_description:"Lowest severity that is urgent. Default critical."`
	Ignore   []IgnoredFinding `yaml:"ignore" jsonschema_description:"Vulnerabilities that do not count, until a date."`
	MinAge   *Duration        `yaml:"minAge" jsonschema_description:"How old a candidate must be before a scan releases it. Default 1d."`
	Hold     *bool            `yaml:"hold" jsonschema_description:"true: a scan holds a candidate that adds such a vulnerability. Default false: it is only shown."`
}

// IgnoredFinding is a vulnerability that does not count.
type IgnoredFinding struct {
	ID      string `yaml:"id" jsonschema:"required" jsonschema_description:"ID of the vulnerability, such as CVE-2026-1234."`
	Package string `yaml:"package" jsonschema_description:"Only in this package. Default: all."`
	Until   string `yaml:"until" jsonschema:"required,pattern=^[0-9]{4}-[0-9]{2}-[0-9]{2}$" jsonschema_description:"Last day on which it is ignored, such as 2026-12-31."`
	Reason  string `yaml:"reason" jsonschema:"required" jsonschema_description:"Why it does not count."`

	// Line and Column are the position of the entry in images.yaml.
	Line, Column int `yaml:"-"`
}

// Expired reports whether the entry no longer counts: its last day is over, in UTC.
func (i *IgnoredFinding) Expired(now time.Time) bool { return !now.Before(i.Expiry()) }

// Expiry returns when the entry no longer counts; the zero time if its date is invalid.
func (i *IgnoredFinding) Expiry() time.Time {
	last, err := time.Parse(time.DateOnly, i.Until)
	if err != nil {
		return time.Time{}
	}
	return last.AddDate(0, 0, 1)
}

// Ignores reports whether an entry of the list names the finding and has not expired.
func (u *Urgent) Ignores(f *scan.Finding, now time.Time) bool {
	return slices.ContainsFunc(u.Ignore, func(i IgnoredFinding) bool {
		return f.Is(i.ID) && (i.Package == "" || i.Package == f.Package) && !i.Expired(now)
	})
}

// Age returns how old a candidate must be before a scan releases it.
func (u *Urgent) Age() time.Duration { return u.MinAge.Std() }

// Holds reports whether a scan holds candidates that add vulnerabilities.
func (u *Urgent) Holds() bool { return u.Hold != nil && *u.Hold }

// withDefaults returns the keys of an entry, completed by those of defaults; nil if both are.
func (u *Urgent) withDefaults(d *Urgent) *Urgent {
	if u == nil && d == nil {
		return nil
	}
	out := Urgent{}
	if u != nil {
		out = *u
	}
	if d != nil {
		setDefault(&out.Severity, d.Severity)
		if out.MinAge == nil {
			out.MinAge = d.MinAge
		}
		if out.Hold == nil {
			out.Hold = d.Hold
		}
		out.Ignore = slices.Concat(out.Ignore, d.Ignore)
	}
	setDefault(&out.Severity, scan.Critical)
	out.MinAge = orDefault(out.MinAge, defaultMinAge)
	return &out
}

// ScanSeverity returns the lowest severity whose findings are recorded for the image.
func (i *Image) ScanSeverity() scan.Severity {
	if i.Urgent == nil {
		return scan.Critical
	}
	return i.Urgent.Severity
}

func (v *validator) urgent(n *yaml.Node, at string, u *Urgent) {
	if u == nil || n == nil {
		return
	}
	if s := u.Severity; s != "" && (!s.Known() || !s.AtLeast(scan.Low)) {
		names := []string{string(scan.Critical), string(scan.High), string(scan.Medium), string(scan.Low)}
		v.add(finding.BadValue, child(n, "severity"), fmt.Sprintf("%s.severity: unknown severity %q", at, s), suggest(string(s), names))
	}
	list := child(n, "ignore")
	for i := range u.Ignore {
		entry, where := &u.Ignore[i], fmt.Sprintf("%s.ignore[%d]", at, i)
		node := orNode(item(list, i), n)
		entry.Line, entry.Column = node.Line, node.Column
		for key, value := range map[string]string{"id": entry.ID, "until": entry.Until, "reason": entry.Reason} {
			if strings.TrimSpace(value) == "" {
				v.add(finding.Missing, node, where+": "+key+" is missing", fmt.Sprintf("add %q: an ignored vulnerability needs its id, the last day (until) and a reason", key))
			}
		}
		if _, err := time.Parse(time.DateOnly, entry.Until); err != nil && entry.Until != "" {
			v.add(finding.BadValue, orNode(child(node, "until"), node), fmt.Sprintf("%s.until: invalid date %q", where, entry.Until), "want the last day on which it is ignored, such as 2026-12-31")
		}
	}
}

// Scan is how the cluster scans images for vulnerabilities.
type Scan struct {
	With      Scanner   `yaml:"with" jsonschema:"enum=trivy,enum=grype" jsonschema_description:"Scanner that the CronJob scan runs. Without it there is no CronJob."`
	Image     string    `yaml:"image" jsonschema_description:"Image that holds the scanner's program. Default: the scanner's own image."`
	Program   string    `yaml:"program" jsonschema_description:"Path of the program in that image. Default: where the scanner's own image has it."`
	Schedule  string    `yaml:"schedule" jsonschema_description:"Schedule of the CronJob, in cron syntax. Default: daily."`
	Resources Resources `yaml:"resources" jsonschema_description:"CPU, memory and disk of a scan. Default limits: 2Gi memory, 10Gi disk."`
	Analysis  bool      `yaml:"analysis" jsonschema_description:"Whether the Job that records a new digest scans it first, in an init container. Default: false."`
}

// Scanner is a vulnerability scanner.
type Scanner string

// Scanners.
const (
	WithTrivy Scanner = "trivy"
	WithGrype Scanner = "grype"
)

// Scanners lists the scanners.
func Scanners() []string { return []string{string(WithTrivy), string(WithGrype)} }

// Known reports whether s is one of [Scanners].
func (s Scanner) Known() bool { return slices.Contains(Scanners(), string(s)) }

// scannerImages holds the images of the scanners' publishers, and where the program is in them.
var scannerImages = map[Scanner][2]string{
	WithTrivy: {"docker.io/aquasec/trivy:latest", "/usr/local/bin/trivy"},
	WithGrype: {"docker.io/anchore/grype:latest", "/grype"},
}

func (s *Scan) applyDefaults() {
	if s.With == "" {
		return
	}
	def := scannerImages[s.With]
	setDefault(&s.Image, def[0])
	setDefault(&s.Program, def[1])
	setDefault(&s.Schedule, defaultScanSchedule)
	s.Resources = scanResources(s.Resources)
	s.Resources.applyDefaults()
}

// scanResources completes the resources of a scan: scanners unpack layers and load a database.
func scanResources(r Resources) Resources {
	setDefault(&r.Requests.CPU, "250m")
	setDefault(&r.Requests.Memory, "512Mi")
	setDefault(&r.Limits.Memory, "2Gi")
	setDefault(&r.Limits.Storage, "10Gi")
	return r
}

func (v *validator) scan(n *yaml.Node) {
	s, at := &v.cfg.Factory.Scan, "factory.scan"
	if n == nil {
		return
	}
	switch {
	case s.With == "":
		v.missing(n, "with", at+": with is missing, so nothing is scanned")
		return
	case !s.With.Known():
		v.add(finding.BadValue, child(n, "with"), fmt.Sprintf("%s.with: unknown scanner %q", at, s.With), suggest(string(s.With), Scanners()))
	}
	if s.Image != "" {
		_, err := reference.ParseNormalizedNamed(s.Image)
		v.check(child(n, "image"), at+".image", err)
	}
	if s.Program != "" && (!strings.HasPrefix(s.Program, "/") || strings.ContainsFunc(s.Program, func(r rune) bool { return r <= ' ' || r > '~' })) {
		v.check(child(n, "program"), at+".program", errors.New("want an absolute path, such as /usr/local/bin/trivy"))
	}
	if s.Schedule != "" {
		v.check(child(n, "schedule"), at+".schedule", checkSchedule(s.Schedule))
	}
	v.resources(child(n, "resources"), at+".resources", scanResources(s.Resources))
}
