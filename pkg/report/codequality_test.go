package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// qualitySchema has the fields that GitLab requires of a code quality report
// (https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format). A path must be relative, without "./".
const qualitySchema = `{
  "type": "array",
  "items": {
    "type": "object",
    "required": ["description", "check_name", "fingerprint", "severity", "location"],
    "properties": {
      "description": {"type": "string", "minLength": 1},
      "check_name": {"type": "string", "minLength": 1},
      "fingerprint": {"type": "string", "minLength": 1},
      "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
      "location": {
        "type": "object",
        "required": ["path", "lines"],
        "properties": {
          "path": {"type": "string", "minLength": 1, "not": {"pattern": "^(\\./|/)"}},
          "lines": {"type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}}
        }
      }
    }
  }
}`

// qualityIssues returns the issues that CodeQuality reports of findings, which must fit the schema.
func qualityIssues(t require.TestingT, schema *jsonschema.Schema, l finding.List) []qualityIssue {
	var b bytes.Buffer
	require.NoError(t, CodeQuality(&b, l))
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(value))
	var issues []qualityIssue
	require.NoError(t, json.Unmarshal(b.Bytes(), &issues))
	require.Len(t, issues, len(l))
	return issues
}

// TestCodeQuality: GitLab takes a report of any findings. Fingerprints are unique, and stay when the findings move to other lines.
func TestCodeQuality(t *testing.T) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(qualitySchema)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("quality.json", value))
	schema := compiler.MustCompile("quality.json")
	assert.Empty(t, qualityIssues(t, schema, nil), "an empty list, not null")

	one := rapid.Custom(func(t *rapid.T) finding.Finding {
		return finding.Finding{
			Rule: rapid.SampledFrom([]string{"IF001", "IF009"}).Draw(t, "rule"), Severity: rapid.SampledFrom([]finding.Severity{finding.Error, finding.Warning}).Draw(t, "severity"),
			File: rapid.SampledFrom([]string{"images.yaml", "./images.yaml", "state/images/web.yaml"}).Draw(t, "file"),
			Line: rapid.IntRange(0, 9).Draw(t, "line"), Message: "m" + rapid.StringN(0, 2, -1).Draw(t, "message"), Fix: hostile.Draw(t, "fix"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		findings := rapid.SliceOfN(one, 0, 20).Draw(t, "findings")
		issues := qualityIssues(t, schema, findings)
		moved := slices.Clone(findings)
		for i := range moved {
			moved[i].Line += 10
		}
		seen := map[string]bool{}
		for i, later := range qualityIssues(t, schema, moved) {
			assert.False(t, seen[issues[i].Fingerprint], "unique")
			seen[issues[i].Fingerprint] = true
			assert.Equal(t, issues[i].Fingerprint, later.Fingerprint)
		}
	})
}
