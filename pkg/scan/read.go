package scan

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Read reads a report or VEX document in any of the formats, of at most limit bytes. The error names the place in it.
func Read(r io.Reader, limit int64) (*Report, error) {
	p := &parser{stream: newStream(r, limit)}
	err := p.document()
	if err == nil {
		err = p.end()
	}
	if err == nil {
		err = p.finish()
	} else {
		err = p.explain(err)
	}
	if err != nil {
		return nil, err
	}
	p.report.Findings = p.found.sorted()
	return &p.report, nil
}

var errUnknownFormat = errors.New("unknown format (want JSON of Trivy, Grype, SARIF, CycloneDX, SPDX or OpenVEX)")

// parser reads one document. The keys at its top tell the formats apart, so that a stream is read once.
type parser struct {
	*stream
	report Report
	found  collector
	bom    bom      // of CycloneDX
	spdx   spdxFile // of SPDX
}

// is sets the format, which must not change within a document.
func (p *parser) is(f Format) error {
	if p.report.Format != "" && p.report.Format != f {
		return fmt.Errorf("it has keys of %s and of %s", p.report.Format, f)
	}
	p.report.Format = f
	return nil
}

func (p *parser) document() error {
	return p.object(func(key string) error {
		format, read := p.reader(key)
		if read == nil {
			return p.skip()
		}
		if err := p.is(format); err != nil {
			return err
		}
		return read()
	})
}

// reader returns the format that has a key at its top, and the function that reads its value.
func (p *parser) reader(key string) (Format, func() error) {
	switch key {
	case "SchemaVersion":
		return Trivy, p.skip
	case "ArtifactName":
		return Trivy, func() error { return p.decode(&p.report.Subject.Name) }
	case "Metadata":
		return Trivy, p.trivyMetadata
	case "Results":
		return Trivy, p.trivyResults
	case "matches":
		return Grype, p.grypeMatches
	case "source":
		return Grype, p.grypeSource
	case "distro":
		return Grype, p.grypeDistro
	case "descriptor":
		return Grype, p.skip
	case "runs":
		return SARIF, p.sarifRuns
	case "bomFormat":
		return CycloneDX, func() error { return p.decode(&p.bom.format) }
	case "metadata":
		return CycloneDX, p.cycloneMetadata
	case "components":
		return CycloneDX, p.cycloneComponents
	case "vulnerabilities":
		return CycloneDX, p.cycloneVulnerabilities
	case "spdxVersion", "SPDXID":
		return SPDX, p.skip
	case "packages":
		return SPDX, p.spdxPackages
	case "@graph":
		return SPDX, p.spdxGraph
	case "statements":
		return OpenVEX, p.vexStatements
	}
	return "", nil
}

// finish resolves what refers to other parts of the document.
func (p *parser) finish() error {
	r := &p.report
	switch r.Format {
	case "":
		return errUnknownFormat
	case Trivy, Grype:
		r.Scanner = string(r.Format)
	case CycloneDX:
		if p.bom.format != "CycloneDX" { // CSAF has vulnerabilities too
			return errUnknownFormat
		}
		if err := p.cycloneFinish(); err != nil {
			return err
		}
	case SPDX:
		if err := p.spdxFinish(); err != nil {
			return err
		}
	}
	r.Scanner = strings.ToLower(text(r.Scanner, maxName))
	r.Subject.Name, r.OS, r.Subject.Platform = text(r.Subject.Name, maxName), text(r.OS, maxName), text(r.Subject.Platform, maxName)
	r.Looked = r.Looked || len(p.found.findings) > 0
	return nil
}

// platform returns os/architecture[/variant].
func platform(os, architecture, variant string) string {
	if os == "" || architecture == "" {
		return ""
	}
	return strings.TrimSuffix(os+"/"+architecture+"/"+variant, "/")
}
