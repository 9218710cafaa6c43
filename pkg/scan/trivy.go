package scan

import "strings"

// trivyVulnerability has the fields of a vulnerability in Trivy's JSON that are wanted.
type trivyVulnerability struct {
	VulnerabilityID  string
	PkgName          string
	InstalledVersion string
	FixedVersion     string
	Severity         string
}

func (p *parser) trivyMetadata() error {
	var m struct {
		OS *struct{ Family, Name string }

		RepoTags    []string
		RepoDigests []string
		ImageConfig struct {
			OS           string `json:"os"`
			Architecture string `json:"architecture"`
			Variant      string `json:"variant"`
		}
	}
	if err := p.decode(&m); err != nil {
		return err
	}
	if m.OS != nil {
		p.report.OS = strings.TrimSpace(m.OS.Family + " " + m.OS.Name)
	}
	for _, ref := range append(m.RepoDigests, m.RepoTags...) {
		p.report.Subject.addRef(ref)
	}
	c := m.ImageConfig
	p.report.Subject.Platform = platform(c.OS, c.Architecture, c.Variant)
	return nil
}

func (p *parser) trivyResults() error {
	return p.array(func() error {
		return p.object(func(key string) error {
			switch key {
			case "Class":
				var class string
				err := p.decode(&class)
				p.report.Looked = p.report.Looked || class == "os-pkgs" || class == "lang-pkgs"
				return err
			case "Vulnerabilities":
				return each(p.stream, func(v *trivyVulnerability) error {
					return p.found.add(Finding{ID: v.VulnerabilityID, Severity: severityOf(v.Severity),
						Package: v.PkgName, Installed: v.InstalledVersion, Fixed: v.FixedVersion})
				})
			}
			return p.skip()
		})
	})
}
