package scan

import (
	"cmp"
	"slices"
	"strings"
)

// bom is what the vulnerabilities of a CycloneDX document refer to.
type bom struct {
	format          string
	subject         string             // bom-ref of the image
	components      map[string]Product // by bom-ref
	vulnerabilities []cycloneVulnerability
}

type cycloneComponent struct {
	Ref        string             `json:"bom-ref"`
	Type       string             `json:"type"`
	Group      string             `json:"group"`
	Name       string             `json:"name"`
	Version    string             `json:"version"`
	PURL       string             `json:"purl"`
	Properties []cycloneProperty  `json:"properties"`
	Components []cycloneComponent `json:"components"`
}

type cycloneProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type cycloneVulnerability struct {
	ID         string                                        `json:"id"`
	Source     struct{ Name string }                         `json:"source"`
	References []struct{ ID string }                         `json:"references"`
	Ratings    []cycloneRating                               `json:"ratings"`
	Advice     string                                        `json:"recommendation"`
	Affects    []cycloneAffected                             `json:"affects"`
	Analysis   struct{ State, Justification, Detail string } `json:"analysis"`
}

type cycloneAffected struct {
	Ref      string                           `json:"ref"`
	Versions []struct{ Range, Status string } `json:"versions"`
}

// fixed returns the version at which an unaffected range such as vers:deb/>=3.0.13 begins.
func (a *cycloneAffected) fixed() string {
	for _, v := range a.Versions {
		if _, from, ok := strings.Cut(v.Range, "/>="); ok && v.Status == "unaffected" {
			from, _, _ = strings.Cut(from, "|")
			return unescape(from)
		}
	}
	return ""
}

type cycloneRating struct {
	Source   struct{ Name string } `json:"source"`
	Score    float64               `json:"score"`
	Severity string                `json:"severity"`
	Method   string                `json:"method"`
}

func (p *parser) cycloneMetadata() error {
	var m struct {
		Component cycloneComponent `json:"component"`
		Tools     any              `json:"tools"` // a list, or since version 1.5 an object
	}
	if err := p.decode(&m); err != nil {
		return err
	}
	c, s := &m.Component, &p.report.Subject
	s.Name, p.report.Scanner, p.bom.subject = c.Name, toolOf(m.Tools), c.Ref
	if c.Type == "container" {
		s.addRef(c.Version)
	}
	s.addPURL(c.PURL)
	for _, property := range c.Properties {
		switch property.Name {
		case "aquasecurity:trivy:RepoDigest", "aquasecurity:trivy:RepoTag":
			s.addRef(property.Value)
		}
	}
	p.component(c)
	return nil
}

// toolOf returns the name of the tool that wrote a CycloneDX document.
func toolOf(tools any) string {
	if newer, ok := tools.(map[string]any); ok {
		tools = newer["components"]
	}
	list, _ := tools.([]any)
	for _, tool := range list {
		if m, ok := tool.(map[string]any); ok {
			if name, ok := m["name"].(string); ok {
				return name
			}
		}
	}
	return ""
}

func (p *parser) cycloneComponents() error {
	return each(p.stream, func(c *cycloneComponent) error {
		p.component(c)
		return nil
	})
}

func (p *parser) component(c *cycloneComponent) {
	if c.Type == "operating-system" {
		p.report.OS = strings.TrimSpace(c.Name + " " + c.Version)
	}
	if c.Ref != "" && c.Type != "container" {
		if p.bom.components == nil {
			p.bom.components = map[string]Product{}
		}
		product := Product{Package: c.Name, Version: c.Version}
		if named := parsePURL(c.PURL); named.Package != "" {
			product.Package = named.Package
		}
		p.bom.components[c.Ref] = product
	}
	for i := range c.Components {
		p.component(&c.Components[i])
	}
}

func (p *parser) cycloneVulnerabilities() error {
	return each(p.stream, func(v *cycloneVulnerability) error {
		if len(p.bom.vulnerabilities) >= maxFindings {
			return errTooMany
		}
		p.bom.vulnerabilities = append(p.bom.vulnerabilities, *v)
		return nil
	})
}

// cycloneFinish adds the findings and VEX statements, once all components are known.
func (p *parser) cycloneFinish() error {
	for i := range p.bom.vulnerabilities {
		v := &p.bom.vulnerabilities[i]
		f := Finding{ID: v.ID, Severity: v.severity()}
		for _, r := range v.References {
			f.Aliases = append(f.Aliases, r.ID)
		}
		var products []Product
		for _, affected := range v.Affects {
			product, here := p.bom.product(affected.Ref)
			products = append(products, product)
			if product.Package == "" || !here {
				continue
			}
			f.Package, f.Installed = product.Package, product.Version
			f.Fixed = cmp.Or(affected.fixed(), v.fixed(product.Package))
			if err := p.found.add(f); err != nil {
				return err
			}
		}
		if len(v.Affects) == 0 {
			products = []Product{{Subject: true}}
		}
		s := v.statement()
		s.IDs, s.Products = append([]string{text(v.ID, maxID)}, f.Aliases...), products
		p.report.state(s)
	}
	return nil
}

// product returns the product that a reference names, the zero Product if it is none, and whether it is a component of the
// document.
func (b *bom) product(ref string) (p Product, here bool) {
	if p, here = b.components[ref]; here {
		return p, true
	}
	if ref != "" && ref == b.subject {
		return Product{Subject: true}, false
	}
	_, element, linked := strings.Cut(ref, "#") // a BOM-Link: urn:cdx:serial/version#bom-ref
	if !linked {
		element = ref
	}
	return parsePURL(element), false
}

// fixed returns the version that the recommendation names, where Trivy writes it.
func (v *cycloneVulnerability) fixed(pkg string) string {
	for advice := range strings.SplitSeq(v.Advice, ";") {
		if version, ok := strings.CutPrefix(strings.TrimSpace(advice), "Upgrade "+pkg+" to version "); ok {
			return version
		}
	}
	return ""
}

// severity returns the rating of the source that reported the vulnerability, or else the worst one.
func (v *cycloneVulnerability) severity() Severity {
	worst := Unknown
	for _, r := range v.Ratings {
		s := severityOf(r.Severity)
		if s == Unknown && strings.HasPrefix(r.Method, "CVSSv3") {
			s = severityOfScore(r.Score)
		}
		if s != Unknown && r.Source.Name == v.Source.Name {
			return s
		}
		worst = slices.MinFunc([]Severity{worst, s}, Severity.Compare)
	}
	return worst
}

// statement returns the VEX statement in the analysis of a vulnerability, without a status if there is none.
func (v *cycloneVulnerability) statement() Statement {
	s := Statement{Justification: text(cmp.Or(v.Analysis.Justification, v.Analysis.Detail), maxName)}
	switch v.Analysis.State {
	case "not_affected", "false_positive":
		s.Status = NotAffected
	case "resolved", "resolved_with_pedigree":
		s.Status = FixedIn
	case "exploitable":
		s.Status = Affected
	case "in_triage":
		s.Status = UnderInvestigation
	}
	return s
}
