package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// The parts of a Code Climate report that GitLab reads (https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format).
type (
	qualityIssue struct {
		Description string          `json:"description"`
		CheckName   string          `json:"check_name"`
		Fingerprint string          `json:"fingerprint"`
		Severity    string          `json:"severity"`
		Location    qualityLocation `json:"location"`
	}
	qualityLocation struct {
		Path  string       `json:"path"`
		Lines qualityLines `json:"lines"`
	}
	qualityLines struct {
		Begin int `json:"begin"`
	}
)

// CodeQuality prints the list as a code quality report of GitLab. The fingerprint of a finding does not change when lines above it
// come or go.
func CodeQuality(w io.Writer, l finding.List) error {
	issues := make([]qualityIssue, len(l))
	seen := map[string]int{}
	for i, f := range l {
		text := f.Message
		if f.Fix != "" {
			text += " (" + f.Fix + ")"
		}
		severity := "minor"
		if f.Severity == finding.Error {
			severity = "critical"
		}
		file := path.Clean(f.File)
		key := fmt.Sprintf("%q %q %q", f.Rule, file, f.Message)
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", key, seen[key]))
		seen[key]++
		issues[i] = qualityIssue{text, f.Rule, hex.EncodeToString(sum[:]), severity, qualityLocation{file, qualityLines{max(f.Line, 1)}}}
	}
	return JSON(w, issues)
}
