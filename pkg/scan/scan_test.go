package scan_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/test/long"
)

const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func read(t *testing.T, name string) *scan.Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer f.Close()
	r, err := scan.Read(f, scan.MaxBytes)
	require.NoError(t, err, name)
	return r
}

// TestFormats reads the same two vulnerabilities of the same image from each format.
func TestFormats(t *testing.T) {
	openssl := scan.Finding{ID: "CVE-2026-1234", Aliases: []string{}, Severity: scan.Critical, Package: "openssl", Installed: "3.0.11-1", Fixed: "3.0.13-1"}
	zlib := scan.Finding{ID: "CVE-2026-0009", Aliases: []string{"GHSA-aaaa-bbbb-cccc"}, Severity: scan.Low, Package: "zlib1g", Installed: "1.2.13"}
	without := func(f scan.Finding, change func(*scan.Finding)) scan.Finding {
		f.Aliases = []string{}
		change(&f)
		return f
	}
	same := func(*scan.Finding) {}
	noFix := func(f *scan.Finding) { f.Fixed = "" }
	unrated := func(f *scan.Finding) { f.Fixed, f.Severity = "", scan.Unknown }
	for name, want := range map[string]scan.Report{
		"trivy.json":     {Format: scan.Trivy, Scanner: "trivy", OS: "debian 12.5", Findings: []scan.Finding{openssl, without(zlib, same)}},
		"grype.json":     {Format: scan.Grype, Scanner: "grype", OS: "debian 12", Findings: []scan.Finding{openssl, zlib}},
		"trivy.sarif":    {Format: scan.SARIF, Scanner: "trivy", Findings: []scan.Finding{openssl, without(zlib, same)}},
		"grype.sarif":    {Format: scan.SARIF, Scanner: "grype", Findings: []scan.Finding{openssl, without(zlib, same)}},
		"cyclonedx.json": {Format: scan.CycloneDX, Scanner: "trivy", OS: "debian 12.5", Findings: []scan.Finding{openssl, zlib}},
		"spdx2.json":     {Format: scan.SPDX, Findings: []scan.Finding{without(zlib, unrated), without(openssl, unrated)}},
		"spdx3.json":     {Format: scan.SPDX, Findings: []scan.Finding{without(openssl, noFix), zlib}},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, name)
			assert.Equal(t, want.Format, got.Format)
			assert.Equal(t, want.Scanner, got.Scanner)
			assert.Equal(t, want.OS, got.OS)
			assert.Equal(t, want.Findings, got.Findings)
			assert.True(t, got.Looked)
			if name != "grype.sarif" { // which does not name it
				assert.Equal(t, []string{digest}, got.Subject.Digests())
			}
		})
	}
	assert.Equal(t, "linux/arm64/v8", read(t, "trivy.json").Subject.Platform)
	assert.Equal(t, "linux/amd64", read(t, "grype.json").Subject.Platform)
}

func TestStatements(t *testing.T) {
	openssl := scan.Product{Repository: "ghcr.io/acme/web", Digest: digest, Package: "openssl", Version: "3.0.11-1"}
	assert.Equal(t, []scan.Statement{
		{IDs: []string{"CVE-2026-1234"}, Status: scan.NotAffected, Justification: "vulnerable_code_not_in_execute_path", Products: []scan.Product{openssl}},
		{IDs: []string{"CVE-2026-0009", "GHSA-aaaa-bbbb-cccc"}, Status: scan.FixedIn, Products: []scan.Product{{Repository: "acme/web"}}},
		{IDs: []string{"CVE-2026-7"}, Status: scan.Affected, Products: []scan.Product{{Package: "golang.org/x/net", Version: "v0.1.0"}}},
	}, read(t, "openvex.json").Statements)
	assert.Equal(t, []scan.Statement{
		{IDs: []string{"CVE-2026-1234"}, Status: scan.NotAffected, Justification: "code_not_reachable", Products: []scan.Product{{Package: "openssl", Version: "3.0.11-1"}}},
		{IDs: []string{"CVE-2026-0009"}, Status: scan.UnderInvestigation, Products: []scan.Product{{Package: "zlib1g", Version: "1.2.13"}}},
	}, read(t, "cyclonedx-vex.json").Statements)
	assert.Equal(t, []scan.Statement{
		{IDs: []string{"CVE-2026-1234"}, Status: scan.Affected, Products: []scan.Product{{Package: "openssl", Version: "3.0.11-1"}}},
		{IDs: []string{"CVE-2026-0009", "GHSA-aaaa-bbbb-cccc"}, Status: scan.NotAffected, Justification: "componentNotPresent", Products: []scan.Product{{Package: "zlib1g", Version: "1.2.13"}}},
	}, read(t, "spdx3.json").Statements)
}

func TestNothingLooked(t *testing.T) {
	for name, report := range map[string]string{
		"trivy without results":  `{"SchemaVersion": 2, "Metadata": {"OS": {"Family": "none"}}}`,
		"grype without distro":   `{"matches": [], "source": {"type": "image", "target": {}}, "distro": {"name": ""}}`,
		"sarif without results":  `{"runs": [{"tool": {"driver": {"name": "x"}}, "results": []}]}`,
		"cyclonedx, not scanned": `{"bomFormat": "CycloneDX", "components": [{"type": "library", "bom-ref": "a", "name": "openssl"}], "vulnerabilities": []}`,
		"spdx 2, not scanned":    `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "openssl", "versionInfo": "1.0"}]}`,
		"spdx 3, not scanned":    `{"@graph": [{"type": "software_Package", "spdxId": "p", "name": "openssl"}]}`,
		"sarif of a linter":      `{"runs": [{"results": [{"ruleId": "js/xss", "message": {"text": "Severity: high"}}]}]}`,
	} {
		r, err := scan.Read(strings.NewReader(report), scan.MaxBytes)
		require.NoError(t, err, name)
		assert.False(t, r.Looked, name)
		assert.Empty(t, r.Findings, name)
	}
	r, err := scan.Read(strings.NewReader(`{"SchemaVersion": 2, "Results": [{"Target": "web (debian 12.5)", "Class": "os-pkgs"}]}`), scan.MaxBytes)
	require.NoError(t, err)
	assert.True(t, r.Looked, "no vulnerability in a distribution that the scanner knows")
}

func TestRefused(t *testing.T) {
	for report, want := range map[string]string{
		"":   "the report is empty (did the scanner fail?)",
		"{}": "unknown format (want JSON of Trivy, Grype, SARIF, CycloneDX, SPDX or OpenVEX)",
		`{"document": {}, "vulnerabilities": []}`: "unknown format (want JSON of Trivy, Grype, SARIF, CycloneDX, SPDX or OpenVEX)",
		"[]":     "unexpected array near byte 1, where the format has object (is it the report of a newer scanner?)",
		"<html>": "invalid JSON near byte 1: invalid character '<' looking for beginning of value (write the report again, as JSON)",
		`{"matches": [{"vulnerability": {"id": "CVE-`:          "the report is truncated: it ends at byte 43 (write it again)",
		`{"Results": [{"Vulnerabilities": [{"PkgName": 7}]}]}`: `unexpected number near byte 48, where the format has string in "PkgName" (is it the report of a newer scanner?)`,
		`{"matches": [], "Results": []}`:                       "at byte 25: it has keys of grype and of trivy",
		`{"matches": []} {"matches": []}`:                      "at byte 17: there is more than one document",
	} {
		_, err := scan.Read(strings.NewReader(report), scan.MaxBytes)
		require.EqualError(t, err, want, report)
	}
	deep := `{"matches": ` + strings.Repeat("[", 100_000)
	_, err := scan.Read(strings.NewReader(deep), scan.MaxBytes)
	require.Error(t, err)
	failing := io.MultiReader(strings.NewReader(`{"matches": [`), brokenReader{})
	_, err = scan.Read(failing, scan.MaxBytes)
	require.EqualError(t, err, "at byte 13: connection lost")
}

// TestLargeValues: a report is not held in memory, so a single value must not be large; skipped lists may be.
func TestLargeValues(t *testing.T) {
	const size = 17 << 20
	_, err := scan.Read(strings.NewReader(`{"Results": [{"Vulnerabilities": [{"PkgName": "`+strings.Repeat("a", size)+`"}]}]}`), scan.MaxBytes)
	require.EqualError(t, err, "at byte 34: a value is larger than 16 MiB")
	_, err = scan.Read(strings.NewReader(`{"`+strings.Repeat("a", size)+`": 1}`), scan.MaxBytes)
	require.EqualError(t, err, "at byte 1: a value is larger than 16 MiB")
	r, err := scan.Read(strings.NewReader(`{"files": [`+strings.Repeat(`{"name": "a"}, `, size/15)+`{}], "matches": []}`), scan.MaxBytes)
	require.NoError(t, err)
	assert.Equal(t, scan.Grype, r.Format)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fmt.Errorf("connection lost") }

// TestTruncated cuts each report at every byte: it is never read as a shorter one.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"trivy.json", "grype.json", "trivy.sarif", "cyclonedx.json", "spdx2.json", "spdx3.json", "openvex.json"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		whole = bytes.TrimSpace(whole)
		for n := range whole {
			_, err := scan.Read(bytes.NewReader(whole[:n]), scan.MaxBytes)
			require.Error(t, err, "%s cut after %d bytes", name, n)
		}
	}
}

func TestSeverity(t *testing.T) {
	assert.True(t, scan.Critical.AtLeast(scan.High))
	assert.True(t, scan.High.AtLeast(scan.High))
	assert.False(t, scan.Unknown.AtLeast(scan.Low))
	assert.False(t, scan.Severity("bad").Known())
}

// large returns a report of at least size bytes in Trivy's format.
func large(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"SchemaVersion": 2, "ArtifactName": "web", "Results": [{"Class": "os-pkgs", "Vulnerabilities": [`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"VulnerabilityID": "CVE-2026-%d", "PkgName": "package-%d", "InstalledVersion": "1.0", "FixedVersion": "1.1", "Severity": "LOW", "Description": %q, "References": ["https://example.com/%d"]}`,
			i, i%500, strings.Repeat("Something is wrong. ", 60), i)
	}
	b.WriteString(`]}]}`)
	return b.Bytes()
}

func TestLarge(t *testing.T) {
	size := long.Iterations(2, 50) << 20
	r, err := scan.Read(bytes.NewReader(large(size)), scan.MaxBytes)
	require.NoError(t, err)
	assert.Greater(t, len(r.Findings), size/2000)
	endless := io.MultiReader(strings.NewReader(`{"matches": [`), repeated(`{"vulnerability": {"id": "CVE-1"}, "artifact": {"name": "x"}},`))
	_, err = scan.Read(endless, 1<<20)
	require.ErrorContains(t, err, "larger than 1 MiB")
}

// repeated is a text without end.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(r) {
		n += copy(p[n:], r)
	}
	if n == 0 {
		return copy(p, " "), nil
	}
	return n, nil
}

func BenchmarkRead(b *testing.B) {
	report := large(50 << 20)
	b.SetBytes(int64(len(report)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scan.Read(bytes.NewReader(report), scan.MaxBytes); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	require.NoError(f, err)
	written, err := filepath.Glob("testdata/real/*")
	require.NoError(f, err)
	for _, name := range append(files, written...) {
		if data, err := os.ReadFile(name); err == nil && len(data) < 64<<10 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := scan.Read(bytes.NewReader(data), scan.MaxBytes)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		seen := map[string]bool{}
		for _, found := range r.Findings {
			require.True(t, found.Severity.Known())
			require.NotEmpty(t, found.ID)
			for _, text := range append([]string{found.ID, found.Package, found.Installed, found.Fixed}, found.Aliases...) {
				require.True(t, utf8.ValidString(text))
				require.NotContains(t, text, "\n")
				require.LessOrEqual(t, utf8.RuneCountInString(text), 200)
			}
			key := found.ID + "\n" + found.Package + "\n" + found.Installed
			require.False(t, seen[key], "found twice")
			seen[key] = true
		}
		again, err := scan.Read(bytes.NewReader(data), scan.MaxBytes)
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
