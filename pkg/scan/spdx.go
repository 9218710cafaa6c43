package scan

import (
	"cmp"
	"encoding/json"
	"strings"
)

// spdxFile is what the relationships of an SPDX 3 document refer to.
type spdxFile struct {
	packages   map[string]Product
	ids        map[string][]string // of vulnerabilities
	severities map[string]Severity
	affected   []spdxElement // relationships between vulnerabilities and packages
}

type spdxPackage struct {
	Name    string `json:"name"`
	Version string `json:"versionInfo"`
	Purpose string `json:"primaryPackagePurpose"`
	Refs    []struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	} `json:"externalRefs"`
}

// spdxPackages reads the packages of SPDX 2: a reference of category SECURITY and type advisory is a known vulnerability.
func (p *parser) spdxPackages() error {
	return each(p.stream, func(pkg *spdxPackage) error {
		if strings.EqualFold(pkg.Purpose, "CONTAINER") {
			p.spdxImage(pkg)
			return nil
		}
		for _, ref := range pkg.Refs {
			if !strings.EqualFold(ref.Category, "SECURITY") || ref.Type != "advisory" {
				continue
			}
			id := vulnerabilityID(ref.Locator)
			if id == "" {
				id = ref.Locator[strings.LastIndexByte(ref.Locator, '/')+1:]
			}
			if err := p.found.add(Finding{ID: id, Package: pkg.Name, Installed: pkg.Version}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *parser) spdxImage(pkg *spdxPackage) {
	p.report.Subject.Name = pkg.Name
	p.report.Subject.addRef(pkg.Version)
	for _, ref := range pkg.Refs {
		p.report.Subject.addPURL(ref.Locator)
	}
}

// spdxElement has the fields of the elements of SPDX 3 that are wanted.
type spdxElement struct {
	Type          string          `json:"type"`
	ID            string          `json:"spdxId"`
	Name          string          `json:"name"`
	Version       string          `json:"software_packageVersion"`
	URL           string          `json:"software_packageUrl"`
	Purpose       string          `json:"software_primaryPurpose"`
	Relation      string          `json:"relationshipType"`
	From          string          `json:"from"`
	To            spdxTexts       `json:"to"`
	Severity      string          `json:"security_severity"`
	Justification string          `json:"security_justificationType"`
	External      []spdxReference `json:"externalIdentifier"`
}

type spdxReference struct {
	Kind string `json:"externalIdentifierType"`
	ID   string `json:"identifier"`
}

// spdxTexts is a list that may be written as a single text.
type spdxTexts []string

func (t *spdxTexts) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*t = spdxTexts{""}
		return json.Unmarshal(data, &(*t)[0])
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func (p *parser) spdxGraph() error {
	f := &p.spdx
	f.packages, f.ids, f.severities = map[string]Product{}, map[string][]string{}, map[string]Severity{}
	return each(p.stream, func(e *spdxElement) error {
		kind := strings.TrimPrefix(e.Type, "security_")
		switch {
		case e.Type == "software_Package" && e.Purpose == "container":
			p.report.Subject.Name = e.Name
			p.report.Subject.addRef(e.Version)
			p.report.Subject.addPURL(e.URL)
			f.packages[e.ID] = Product{Subject: true}
		case e.Type == "software_Package":
			f.packages[e.ID] = Product{Package: e.Name, Version: e.Version}
		case kind == "Vulnerability":
			for _, ref := range e.External {
				f.ids[e.ID] = append(f.ids[e.ID], ref.ID)
			}
			f.ids[e.ID] = append(f.ids[e.ID], e.Name)
		case strings.HasPrefix(kind, "Cvss"):
			if s := severityOf(e.Severity); s != Unknown {
				f.severities[e.From] = s
			}
		case strings.HasPrefix(kind, "Vex"), e.Relation == "hasAssociatedVulnerability":
			if len(f.affected) >= maxFindings {
				return errTooMany
			}
			e.Type = kind
			f.affected = append(f.affected, *e)
		}
		return nil
	})
}

// spdxFinish adds the findings and VEX statements of SPDX 3, once all elements are known.
func (p *parser) spdxFinish() error {
	for i := range p.spdx.affected {
		e := &p.spdx.affected[i]
		if e.Relation == "hasAssociatedVulnerability" {
			for _, vulnerability := range e.To {
				if err := p.spdxFinding(vulnerability, e.From); err != nil {
					return err
				}
			}
			continue
		}
		s := Statement{Justification: text(e.Justification, maxName)}
		switch {
		case strings.HasPrefix(e.Type, "VexNotAffected"):
			s.Status = NotAffected
		case strings.HasPrefix(e.Type, "VexFixed"):
			s.Status = FixedIn
		case strings.HasPrefix(e.Type, "VexAffected"):
			s.Status = Affected
		case strings.HasPrefix(e.Type, "VexUnderInvestigation"):
			s.Status = UnderInvestigation
		}
		s.IDs = p.spdxIDs(e.From)
		for _, pkg := range e.To {
			s.Products = append(s.Products, p.spdx.packages[pkg])
			if err := p.spdxFinding(e.From, pkg); err != nil {
				return err
			}
		}
		p.report.state(s)
	}
	return nil
}

func (p *parser) spdxIDs(vulnerability string) []string {
	var ids []string
	for _, id := range p.spdx.ids[vulnerability] {
		if id = text(cmp.Or(vulnerabilityID(id), id), maxID); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// spdxFinding adds a finding, unless one of its elements is unknown.
func (p *parser) spdxFinding(vulnerability, pkg string) error {
	ids, product := p.spdxIDs(vulnerability), p.spdx.packages[pkg]
	if len(ids) == 0 || product.Package == "" {
		return nil
	}
	return p.found.add(Finding{ID: ids[0], Aliases: ids[1:], Severity: p.spdx.severities[vulnerability], Package: product.Package, Installed: product.Version})
}
