package scanners

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the reports that pkg/scan is tested with")

// The folder of the reports that pkg/scan is tested with.
const reports = "../../pkg/scan/testdata/real"

// The images in the reports, and the digests that stand for them there.
const (
	publishedDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	baseDigest      = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	candidateDigest = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
)

// vex says that the hole in zlib does not affect anybody.
const vex = `{
  "@context": "https://openvex.dev/ns/v0.2.0",
  "@id": "https://vex.example.com/1",
  "author": "test",
  "timestamp": "2026-01-01T00:00:00Z",
  "version": 1,
  "statements": [{
    "vulnerability": {"name": "CVE-2099-1002"},
    "products": [{"@id": "pkg:deb/debian/zlib1g"}],
    "status": "not_affected",
    "justification": "vulnerable_code_not_in_execute_path"
  }]
}
`

// TestReports checks that the scanners still write the reports that pkg/scan is tested with.
func TestReports(t *testing.T) {
	r := newRegistry(t)
	old := base(t, oldBase)
	s := sanitizer{}
	images := map[string]string{
		"base":      s.publish(t, r, "library/debian:12", baseDigest, func() string { return r.push(t, "library/debian:12", old) }),
		"candidate": s.publish(t, r, "library/debian:12", candidateDigest, func() string { return r.push(t, "library/debian:12", base(t, fixedBase)) }),
		"published": s.publish(t, r, "acme/web:1", publishedDigest, func() string { return r.push(t, "acme/web:1", on(t, old, r.host+"/library/debian:12")) }),
	}
	s.replace(r.host, "127.0.0.1:5000")
	s.replace(url.QueryEscape(r.host), "127.0.0.1%3A5000")
	s.replace(appVersions(t)...)
	statements := filepath.Join(t.TempDir(), "vex.json")
	require.NoError(t, os.WriteFile(statements, []byte(vex), 0o644))
	s.replace(statements, "vex.json")

	trivy := func(image string, args ...string) []byte {
		return scan(t, "trivy", append(append([]string{"image", "--quiet", "--image-src", "remote", "--scanners", "vuln"}, args...), images[image])...)
	}
	grype := func(image string, args ...string) []byte {
		return scan(t, "grype", append(append([]string{"--quiet"}, args...), "registry:"+images[image])...)
	}
	for name, report := range map[string]func() []byte{
		"trivy-published.json":     func() []byte { return trivy("published", "--format", "json") },
		"trivy-base.json":          func() []byte { return trivy("base", "--format", "json") },
		"trivy-candidate.json":     func() []byte { return trivy("candidate", "--format", "json") },
		"trivy-vex.json":           func() []byte { return trivy("published", "--format", "json", "--vex", statements, "--show-suppressed") },
		"trivy-published.sarif":    func() []byte { return trivy("published", "--format", "sarif") },
		"trivy-published.cdx.json": func() []byte { return trivy("published", "--format", "cyclonedx") },
		"trivy-published.spdx.json": func() []byte {
			return trivy("published", "--format", "spdx-json")
		},
		"grype-published.json":     func() []byte { return grype("published", "-o", "json") },
		"grype-base.json":          func() []byte { return grype("base", "-o", "json") },
		"grype-candidate.json":     func() []byte { return grype("candidate", "-o", "json") },
		"grype-vex.json":           func() []byte { return grype("published", "-o", "json", "--vex", statements) },
		"grype-published.sarif":    func() []byte { return grype("published", "-o", "sarif") },
		"grype-published.cdx.json": func() []byte { return grype("published", "-o", "cyclonedx-json") },
	} {
		t.Run(name, func(t *testing.T) {
			got := s.sanitize(t, report())
			path := filepath.Join(reports, name)
			if *update {
				require.NoError(t, os.MkdirAll(reports, 0o755))
				require.NoError(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, normalized(t, want), normalized(t, got), "run `make scanners UPDATE=-update`")
		})
	}
}

// scan runs a scanner and returns its report.
func scan(t *testing.T, scanner string, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(scanner, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), stderr.String())
	return stdout.Bytes()
}

// appVersions returns the versions in the app's binary that change with updates, each followed by what stands for it.
func appVersions(t *testing.T) []string {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(app(t)))
	require.NoError(t, err)
	i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "golang.org/x/text" })
	require.GreaterOrEqual(t, i, 0)
	return []string{strings.TrimPrefix(info.GoVersion, "go"), "1.26.0", info.Deps[i].Version, "v0.30.0", info.Deps[i].Sum, "h1:"}
}

// sanitizer makes reports the same on every machine and at every time.
type sanitizer struct{ pairs []string }

func (s *sanitizer) replace(pairs ...string) { s.pairs = append(s.pairs, pairs...) }

// publish pushes an image and returns its reference by digest.
func (s *sanitizer) publish(t *testing.T, r fakeRegistry, reference, fake string, push func() string) string {
	t.Helper()
	digest := push()
	s.replace(digest, fake, url.QueryEscape(digest), url.QueryEscape(fake))
	repository, _, _ := strings.Cut(reference, ":")
	return r.host + "/" + repository + "@" + digest
}

var (
	digit = regexp.MustCompile(`[0-9a-f]`)
	uuid  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	hash  = regexp.MustCompile(`\b(\d\.)?[0-9a-f]{12,64}\b`)
	date  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)
)

// volatile are keys that hold settings, paths, sizes and encoded documents.
var volatile = []string{"configuration", "db", "imageSize", "size", "Size", "config", "manifest"}

func (s *sanitizer) sanitize(t *testing.T, report []byte) []byte {
	t.Helper()
	report = []byte(strings.NewReplacer(s.pairs...).Replace(string(report)))
	var value any
	require.NoError(t, json.Unmarshal(report, &value))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(without(value, volatile)))
	report = date.ReplaceAll(b.Bytes(), []byte("2026-01-01T00:00:00Z"))
	return numbered(numbered(report, uuid), hash)
}

// numbered replaces the digits of each distinct match by its number.
func numbered(report []byte, match *regexp.Regexp) []byte {
	seen := map[string]string{}
	return match.ReplaceAllFunc(report, func(found []byte) []byte {
		text := string(found)
		if stays(text) {
			return found
		}
		if seen[text] == "" {
			number := fmt.Sprintf("%012d", len(seen)+1)
			zeros := digit.ReplaceAllString(text, "0")
			seen[text] = zeros[:len(zeros)-len(number)] + number
		}
		return []byte(seen[text])
	})
}

// normalized returns a report without hashes and with sorted lists: scanners order by random IDs.
func normalized(t *testing.T, report []byte) string {
	t.Helper()
	report = hash.ReplaceAllFunc(uuid.ReplaceAll(report, []byte("000000000000")), func(found []byte) []byte {
		if stays(string(found)) {
			return found
		}
		return []byte("hash")
	})
	var value any
	require.NoError(t, json.Unmarshal(report, &value))
	text, err := json.MarshalIndent(inOrder(value), "", " ")
	require.NoError(t, err)
	return string(text)
}

// inOrder returns the value with all lists sorted.
func inOrder(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k := range v {
			v[k] = inOrder(v[k])
		}
	case []any:
		for i := range v {
			v[i] = inOrder(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return value
}

// stays reports whether a match of hash stands for an image, with the same digit everywhere, or is a number.
func stays(match string) bool {
	return len(match) == 64 && strings.Trim(match, match[:1]) == "" || strings.Contains(match, ".")
}

// without returns the value without the keys, at any depth.
func without(value any, keys []string) any {
	switch v := value.(type) {
	case map[string]any:
		for k, child := range v {
			if slices.Contains(keys, k) {
				delete(v, k)
			} else {
				v[k] = without(child, keys)
			}
		}
	case []any:
		for i := range v {
			v[i] = without(v[i], keys)
		}
	}
	return value
}
