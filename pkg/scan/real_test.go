package scan_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/scan"
)

// The digests of the images in the reports of the real scanners, which test/scanners writes.
var (
	realPublished = "sha256:" + strings.Repeat("a", 64)
	realBase      = "sha256:" + strings.Repeat("b", 64)
	realCandidate = "sha256:" + strings.Repeat("c", 64)
)

// TestRealReports expects the same findings from both scanners and from each of their formats.
func TestRealReports(t *testing.T) {
	openssl := scan.Finding{ID: "CVE-2099-1001", Aliases: []string{}, Severity: scan.Critical, Package: "libssl3", Installed: "3.0.11-1~deb12u2", Fixed: "3.0.13-1~deb12u1"}
	zlib := scan.Finding{ID: "CVE-2099-1002", Aliases: []string{}, Severity: scan.High, Package: "zlib1g", Installed: "1:1.2.13.dfsg-1"}
	text := scan.Finding{ID: "CVE-2099-2001", Aliases: []string{}, Severity: scan.High, Package: "golang.org/x/text", Installed: "v0.30.0", Fixed: "99.0.0"}
	bash := scan.Finding{ID: "CVE-2099-1003", Aliases: []string{}, Severity: scan.Low, Package: "bash", Installed: "5.2.15-2+b2", Fixed: "5.2.15-3"}
	published := []scan.Finding{openssl, zlib, text, bash}
	for name, want := range map[string]struct {
		digest   string
		findings []scan.Finding
	}{
		"published.json":     {realPublished, published},
		"published.sarif":    {realPublished, published},
		"published.cdx.json": {realPublished, published},
		"base.json":          {realBase, []scan.Finding{openssl, zlib, bash}},
		"candidate.json":     {realCandidate, []scan.Finding{zlib, bash}},
		"vex.json":           {realPublished, []scan.Finding{openssl, text, bash}},
	} {
		for _, scanner := range []string{"trivy", "grype"} {
			t.Run(scanner+"-"+name, func(t *testing.T) {
				got := read(t, filepath.Join("real", scanner+"-"+name))
				assert.Equal(t, want.findings, got.Findings)
				assert.Equal(t, scanner, got.Scanner)
				assert.True(t, got.Looked)
				assert.Equal(t, []string{want.digest}, got.Subject.Digests())
			})
		}
	}
	assert.Equal(t, "debian 12.5", read(t, "real/trivy-base.json").OS)
	assert.Equal(t, "linux/amd64", read(t, "real/trivy-base.json").Subject.Platform)
	for i := range published { // SPDX has neither
		published[i].Severity, published[i].Fixed = scan.Unknown, ""
	}
	assert.ElementsMatch(t, published, read(t, "real/trivy-published.spdx.json").Findings)
}
