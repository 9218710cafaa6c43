package scan

import (
	"cmp"
	"encoding/json"
)

// vexStatement is a statement of OpenVEX. Before version 0.2 vulnerabilities and products were plain texts.
type vexStatement struct {
	Vulnerability vexVulnerability `json:"vulnerability"`
	Products      []vexProduct     `json:"products"`
	Status        Status           `json:"status"`
	Justification string           `json:"justification"`
	Impact        string           `json:"impact_statement"`
}

type vexVulnerability struct {
	ID      string   `json:"@id"`
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
}

func (v *vexVulnerability) UnmarshalJSON(data []byte) error {
	type plain vexVulnerability
	return textOr(data, &v.Name, (*plain)(v))
}

type vexProduct struct {
	ID            string                `json:"@id"`
	Identifiers   struct{ PURL string } `json:"identifiers"`
	Subcomponents []vexProduct          `json:"subcomponents"`
}

func (v *vexProduct) UnmarshalJSON(data []byte) error {
	type plain vexProduct
	return textOr(data, &v.ID, (*plain)(v))
}

// textOr decodes a JSON text into s, and anything else into v.
func textOr(data []byte, s *string, v any) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, s)
	}
	return json.Unmarshal(data, v)
}

// product returns the zero Product if only other identifiers than a package URL name it.
func (v *vexProduct) product() Product { return productOf(cmp.Or(v.Identifiers.PURL, v.ID)) }

func (p *parser) vexStatements() error {
	return each(p.stream, func(v *vexStatement) error {
		if len(p.report.Statements) >= maxFindings {
			return errTooMany
		}
		s := Statement{Status: v.Status, Justification: text(cmp.Or(v.Justification, v.Impact), maxName)}
		for _, id := range append([]string{v.Vulnerability.Name, v.Vulnerability.ID}, v.Vulnerability.Aliases...) {
			if known := vulnerabilityID(id); known != "" {
				id = known // of a URL such as https://nvd.nist.gov/vuln/detail/CVE-2026-1234
			}
			if id = text(id, maxID); id != "" {
				s.IDs = append(s.IDs, id)
			}
		}
		for i := range v.Products {
			s.Products = append(s.Products, v.Products[i].products()...)
		}
		p.report.state(s)
		return nil
	})
}

// products returns a product for each subcomponent, or the product itself if it has none.
func (v *vexProduct) products() []Product {
	whole := v.product()
	if len(v.Subcomponents) == 0 || whole == (Product{}) {
		return []Product{whole}
	}
	out := make([]Product, 0, len(v.Subcomponents))
	for i := range v.Subcomponents {
		part := v.Subcomponents[i].product()
		if part.Package == "" { // a plain name
			part.Package, part.Repository = part.Repository, ""
		}
		if part.Package == "" {
			continue
		}
		part.Repository, part.Digest = whole.Repository, whole.Digest
		out = append(out, part)
	}
	return out
}
