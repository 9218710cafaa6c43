package scan

import (
	"encoding/json"
	"strings"
)

// grypeMatch has the fields of a match in Grype's JSON that are wanted.
type grypeMatch struct {
	Vulnerability struct {
		ID       string `json:"id"`
		Severity string `json:"severity"`
		Fix      struct {
			Versions []string `json:"versions"`
		} `json:"fix"`
	} `json:"vulnerability"`
	Related []struct {
		ID string `json:"id"`
	} `json:"relatedVulnerabilities"`
	Artifact struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"artifact"`
}

func (p *parser) grypeMatches() error {
	return each(p.stream, func(m *grypeMatch) error {
		f := Finding{ID: m.Vulnerability.ID, Severity: severityOf(m.Vulnerability.Severity), Package: m.Artifact.Name,
			Installed: m.Artifact.Version, Fixed: strings.Join(m.Vulnerability.Fix.Versions, ", ")}
		for _, related := range m.Related {
			f.Aliases = append(f.Aliases, related.ID)
		}
		return p.found.add(f)
	})
}

func (p *parser) grypeSource() error {
	var source struct {
		Target json.RawMessage `json:"target"` // a text for what is no image
	}
	if err := p.decode(&source); err != nil {
		return err
	}
	var target struct {
		UserInput      string   `json:"userInput"`
		ManifestDigest string   `json:"manifestDigest"`
		Tags           []string `json:"tags"`
		RepoDigests    []string `json:"repoDigests"`
		Architecture   string   `json:"architecture"`
		OS             string   `json:"os"`
		Variant        string   `json:"variant"`
	}
	if len(source.Target) == 0 || source.Target[0] != '{' {
		return nil
	}
	if err := json.Unmarshal(source.Target, &target); err != nil {
		return err
	}
	s := &p.report.Subject
	s.Name, s.Platform = target.UserInput, platform(target.OS, target.Architecture, target.Variant)
	for _, ref := range append(append(target.RepoDigests, target.ManifestDigest), target.Tags...) {
		s.addRef(ref)
	}
	return nil
}

func (p *parser) grypeDistro() error {
	var d struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := p.decode(&d); err != nil {
		return err
	}
	p.report.OS = strings.TrimSpace(d.Name + " " + d.Version)
	p.report.Looked = p.report.Looked || d.Name != ""
	return nil
}
