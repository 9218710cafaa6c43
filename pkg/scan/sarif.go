package scan

import (
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// sarifRule has the fields of a rule that are wanted. Scanners make a rule for each vulnerability, or for each vulnerability of
// a package.
type sarifRule struct {
	ID   string `json:"id"`
	Help struct {
		Text string `json:"text"`
	} `json:"help"`
	Properties struct {
		Score any      `json:"security-severity"` // a number, usually as text
		PURLs []string `json:"purls"`
		Fixed string   `json:"fixed_version"`
	} `json:"properties"`
}

type sarifResult struct {
	RuleID string `json:"ruleId"`
	Rule   struct {
		ID string `json:"id"`
	} `json:"rule"`
	Message struct {
		Text string `json:"text"`
	} `json:"message"`
}

func (p *parser) sarifRuns() error {
	return p.array(func() error {
		rules, results := map[string]*sarifRule{}, []sarifResult{}
		err := p.object(func(key string) error {
			switch key {
			case "tool":
				return p.sarifTool(rules)
			case "results":
				return each(p.stream, func(r *sarifResult) error {
					if len(results) >= maxFindings {
						return errTooMany
					}
					if r.RuleID == "" {
						r.RuleID = r.Rule.ID
					}
					results = append(results, *r)
					p.sarifImage(r)
					return nil
				})
			case "properties":
				return p.sarifProperties()
			}
			return p.skip()
		})
		for i := range results {
			if err == nil {
				err = p.found.add(sarifFinding(&results[i], rules[results[i].RuleID]))
			}
		}
		return err
	})
}

func (p *parser) sarifTool(rules map[string]*sarifRule) error {
	return p.object(func(key string) error {
		if key != "driver" {
			return p.skip()
		}
		return p.object(func(key string) error {
			switch key {
			case "name":
				return p.decode(&p.report.Scanner)
			case "rules":
				return each(p.stream, func(r *sarifRule) error {
					if len(rules) >= maxFindings {
						return errTooMany
					}
					rules[r.ID] = r
					return nil
				})
			}
			return p.skip()
		})
	})
}

// sarifImage takes the image from the text of a result, as Grype writes it.
func (p *parser) sarifImage(r *sarifResult) {
	if image := imageForm().FindStringSubmatch(r.Message.Text); image != nil && p.report.Subject.Name == "" {
		p.report.Subject.Name = image[1]
	}
}

func (p *parser) sarifProperties() error {
	var v struct {
		Name        string   `json:"imageName"`
		RepoDigests []string `json:"repoDigests"`
		RepoTags    []string `json:"repoTags"`
	}
	if err := p.decode(&v); err != nil {
		return err
	}
	p.report.Subject.Name = v.Name
	for _, ref := range append(v.RepoDigests, v.RepoTags...) {
		p.report.Subject.addRef(ref)
	}
	return nil
}

var (
	vulnerabilityForm = lazy.Regexp(`(?i)\b(CVE-\d{4}-\d{4,19}|GHSA(-[0-9a-z]{4}){3})\b`)
	imageForm         = lazy.Regexp(`\bin image (\S+) at: `)
)

// vulnerabilityID returns the first ID of a vulnerability in a text, as its database spells it: URLs may have it in lower case.
func vulnerabilityID(text string) string {
	id := vulnerabilityForm().FindString(text)
	if prefix, rest, _ := strings.Cut(id, "-"); id != "" {
		return strings.ToUpper(prefix) + "-" + strings.ToLower(rest)
	}
	return ""
}

// sarifFinding returns the finding of a result, without an ID if it is not a vulnerability of a package. SARIF has no fields
// for packages: scanners write lines such as "Package: openssl" into the message of the result or the help of the rule.
func sarifFinding(r *sarifResult, rule *sarifRule) Finding {
	if rule == nil {
		rule = &sarifRule{}
	}
	lines := linesOf(rule.Help.Text)
	for key, value := range linesOf(r.Message.Text) {
		lines[key] = value
	}
	pkg := parsePURL(lines["package"])
	if pkg.Package == "" {
		pkg.Package = lines["package"]
	}
	for _, purl := range rule.Properties.PURLs {
		if pkg.Package == "" || pkg.Version == "" {
			pkg = parsePURL(purl)
		}
	}
	if pkg.Package == "" {
		return Finding{}
	}
	f := Finding{ID: vulnerabilityID(r.RuleID), Package: pkg.Package, Severity: severityOf(lines["severity"])}
	if f.ID == "" {
		f.ID = r.RuleID
	}
	f.Installed = firstOf(lines["installed version"], lines["version"], pkg.Version)
	f.Fixed = firstOf(lines["fixed version"], lines["fix version"], rule.Properties.Fixed)
	if f.Severity == Unknown {
		f.Severity = severityOfScore(number(rule.Properties.Score))
	}
	return f
}

// linesOf returns the values of lines such as "Key: value", by key in lower case.
func linesOf(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			key = strings.ToLower(strings.TrimSpace(key))
			if _, seen := out[key]; !seen {
				out[key] = strings.TrimSpace(value)
			}
		}
	}
	return out
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" && s != "not fixed" {
			return s
		}
	}
	return ""
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case string:
		f, _ := strconv.ParseFloat(v, 64) // 0, for an unknown severity
		return f
	}
	return 0
}
