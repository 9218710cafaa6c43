package report

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// rulesPage documents every rule; findings link to it.
const rulesPage = "https://github.com/imagefactory/imagefactory/blob/main/docs/rules.md"

// RuleURL returns the URL of the documentation of a rule.
func RuleURL(id string) string { return rulesPage + "#" + strings.ToLower(id) }

// Findings prints one finding per line, as compilers do.
func Findings(w io.Writer, l finding.List) error {
	for _, f := range l {
		if _, err := fmt.Fprintln(w, sanitize.Terminal(f.String())); err != nil {
			return err
		}
	}
	return nil
}

// GitHubAnnotations prints workflow commands that GitHub Actions turns into annotations of the changed lines
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
func GitHubAnnotations(w io.Writer, l finding.List) error {
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, f := range l {
		message := f.Message
		if f.Fix != "" {
			message += " (" + f.Fix + ")"
		}
		place := "file=" + sanitize.Terminal(property.Replace(f.File))
		if f.Line > 0 {
			place += fmt.Sprintf(",line=%d,col=%d", f.Line, max(f.Column, 1))
		}
		if _, err := fmt.Fprintf(w, "::%s %s,title=%s::%s\n", f.Severity, place, property.Replace(f.Rule), sanitize.Terminal(data.Replace(message))); err != nil {
			return err
		}
	}
	return nil
}

// The parts of SARIF 2.1.0 that code hosts read (https://docs.oasis-open.org/sarif/sarif/v2.1.0/).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string      `json:"id"`
		ShortDescription sarifText   `json:"shortDescription"`
		HelpURI          string      `json:"helpUri"`
		Default          sarifConfig `json:"defaultConfiguration"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// SARIF prints the list as a SARIF 2.1.0 log, for code scanning.
func SARIF(w io.Writer, l finding.List, version string) error {
	driver := sarifDriver{Name: "imagefactory", Version: version, InformationURI: "https://github.com/imagefactory/imagefactory"}
	index := map[string]int{}
	for i, r := range finding.Rules() {
		index[r.ID] = i
		driver.Rules = append(driver.Rules, sarifRule{
			ID: r.ID, ShortDescription: sarifText{r.Text}, HelpURI: RuleURL(r.ID), Default: sarifConfig{string(r.Severity)},
		})
	}
	results := make([]sarifResult, len(l))
	for i, f := range l {
		text := f.Message
		if f.Fix != "" {
			text += " (" + f.Fix + ")"
		}
		place := sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: f.File}).String()}}
		if f.Line > 0 {
			place.Region = &sarifRegion{f.Line, f.Column}
		}
		results[i] = sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: string(f.Severity), Message: sarifText{text}, Locations: []sarifLocation{{place}},
		}
	}
	return JSON(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{driver}, Results: results}},
	})
}
