package docs_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRenovate tries the expressions of the configuration that install.md shows. Renovate uses RE2, as Go does.
func TestRenovate(t *testing.T) {
	page := read(t, root+"/docs/install.md")
	_, rest, found := strings.Cut(page, "```json\n")
	require.True(t, found)
	text, _, _ := strings.Cut(rest, "```")
	var config struct {
		CustomManagers []struct {
			CustomType          string
			ManagerFilePatterns []string
			MatchStrings        []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &config))
	require.Len(t, config.CustomManagers, 1)
	manager := config.CustomManagers[0]
	files := regexp.MustCompile(strings.Trim(manager.ManagerFilePatterns[0], "/"))
	for file, want := range map[string]bool{"images.yaml": true, "fleet/images.yaml": true, "other-images.yaml": false, "images.yaml.bak": false} {
		assert.Equal(t, want, files.MatchString(file), file)
	}

	match := regexp.MustCompile(manager.MatchStrings[0])
	groups := func(text string) map[string]string {
		m := match.FindStringSubmatch(text)
		if m == nil {
			return nil
		}
		out := map[string]string{}
		for i, name := range match.SubexpNames() {
			if name != "" {
				out[name] = m[i]
			}
		}
		return out
	}
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	want := func(name string) map[string]string {
		return map[string]string{"datasource": "docker", "depName": name, "currentValue": "1.0.0", "currentDigest": digest}
	}
	_, example, _ := strings.Cut(page, "  # renovate: datasource=docker\n")
	example, _, _ = strings.Cut(example, "\n")
	assert.Equal(t, "ghcr.io/acme/imagefactory", groups("# renovate: datasource=docker\n" + example)["depName"])
	assert.Equal(t, want("registry.example.com:5000/a/b"), groups("factory:\n  # renovate: datasource=docker\r\n  analysisImage: 'registry.example.com:5000/a/b:1.0.0@"+digest+"'\n"))
	assert.Equal(t, want("docker.io/aquasec/trivy"), groups("  # renovate: datasource=docker\n    image: docker.io/aquasec/trivy:1.0.0@"+digest+" # a comment\n"))
	first := read(t, root+"/pkg/bootstrap/init_images.yaml")
	require.Contains(t, first, "# renovate: datasource=docker")
	assert.Nil(t, groups(strings.ReplaceAll(first, "sha256:...", digest)), "as a comment it is not updated")
	enabled := strings.ReplaceAll(first, "\n#  ", "\n  ")
	assert.Equal(t, want("ghcr.io/acme/imagefactory"), groups(strings.ReplaceAll(enabled, "sha256:...", digest)))
}
