package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// scannedSite is a site with a scanner that finds the vulnerabilities in files named after digests.
type scannedSite struct {
	*site
	dir       string // of the scanner and these files
	node, web registrytest.Content
}

const (
	fakeTrivy = `#!/bin/sh
here=$(dirname "$0")
case "$*" in
*--download-db-only*) exit 0 ;;
version*) echo '{"Version": "1", "VulnerabilityDB": {}}'; exit 0 ;;
esac
for last; do :; done
echo "$last" >> "$here/asked"
if [ -e "$here/fails" ]; then echo "FATAL out of disk" >&2; exit 1; fi
digest=${last##*@}
echo '{"SchemaVersion": 2, "ArtifactName": "'$last'", "Metadata": {"OS": {"Family": "debian", "Name": "12.5"}, "RepoDigests": ["'$last'"], "ImageConfig": {"os": "linux", "architecture": "amd64"}},'
echo '"Results": [{"Class": "os-pkgs", "Vulnerabilities": ['$(cat "$here/$digest" 2> /dev/null)']}]}'
`
	hole1 = `{"VulnerabilityID": "CVE-2026-0001", "PkgName": "openssl", "InstalledVersion": "1.0", "FixedVersion": "1.1", "Severity": "CRITICAL"}`
	hole2 = `{"VulnerabilityID": "CVE-2026-0002", "PkgName": "curl", "InstalledVersion": "1.0", "FixedVersion": "1.1", "Severity": "CRITICAL"}`
)

// newScannedSite returns a site whose image and base image have a vulnerability, analyzed and scanned.
func newScannedSite(t *testing.T) *scannedSite {
	s := &scannedSite{site: newSite(t), dir: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "trivy"), []byte(fakeTrivy), 0o700))
	s.node = s.registry.Base("library/node:22", "1")
	s.web = s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &s.node, Provenance: true})
	s.has(s.node, hole1)
	s.has(s.web, hole1)
	s.git.Commit("fleet", map[string]string{
		"images.yaml": "defaults: {urgent: {minAge: 0, hold: true}}\nimages:\n" + s.entry("web", "acme/web", "acme/web"),
	}, "urgent")
	s.ok("analyze")
	s.ok("scan", "--with", "trivy", "--program", filepath.Join(s.dir, "trivy"))
	s.asked()
	return s
}

// has says which vulnerability an image has, by its digest and those of its platforms.
func (s *scannedSite) has(image registrytest.Content, hole string) {
	s.t.Helper()
	files := map[string]string{image.Digest: hole}
	for _, digest := range image.Platforms {
		files[digest] = hole
	}
	writeFiles(s.t, s.dir, files)
}

// asked returns the references that were scanned since the last call.
func (s *scannedSite) asked() []string {
	path := filepath.Join(s.dir, "asked")
	data, _ := os.ReadFile(path) // missing if nothing was scanned
	_ = os.Remove(path)
	return strings.Fields(string(data))
}

// scanAhead runs the init container of a Job, which never fails.
func (s *scannedSite) scanAhead(dir string, event []string, args ...string) result {
	s.t.Helper()
	got := s.run(append(append([]string{
		"scan", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml", "--with", "trivy", "--program", filepath.Join(s.dir, "trivy"), "--write", dir, "--parallel", "1",
	}, event...), args...)...)
	require.Zero(s.t, got.code, got.err)
	return got
}

func (s *scannedSite) eventOf(digest string) []string {
	return []string{"--base-image", s.baseName(), "--tag", "22", "--digest", digest}
}

// job runs both containers of a Job.
func (s *scannedSite) job(event []string) (scan, analysis result) {
	dir := s.t.TempDir()
	scan = s.scanAhead(dir, event)
	return scan, s.ok("analyze", append(event, "--report", dir)...)
}

func TestAnalysisReleases(t *testing.T) {
	s := newScannedSite(t)
	before := s.commits()
	two := s.registry.Base("library/node:22", "2")
	scan, analysis := s.job(s.eventOf(two.Digest))
	assert.Contains(t, scan.err, "2 reports written")
	repository := s.registry.Host + "/library/node@"
	assert.Equal(t, []string{repository + two.Digest, repository + s.node.Platforms["linux/amd64"]}, s.asked(), "the new digest first")
	assert.Contains(t, analysis.err, "released "+two.Digest[:19]+": fixes CVE-2026-0001 (critical, openssl)")
	assert.Equal(t, before+1, s.commits(), "digest and findings are one commit")
	c := s.base().Candidates[0]
	assert.Equal(t, two.Digest, c.Digest)
	assert.Equal(t, []string{"CVE-2026-0001"}, c.Urgent)
	assert.Contains(t, s.show("status"), "fixes CVE-2026-0001")

	scan, analysis = s.job(s.eventOf(two.Digest))
	assert.Contains(t, scan.err, "0 reports written")
	assert.Empty(t, s.asked(), "it is recorded and scanned")
	assert.Contains(t, analysis.err, "already recorded")
	assert.Equal(t, before+1, s.commits())
	s.assertNoSecrets()
}

func TestAnalysisHolds(t *testing.T) {
	s := newScannedSite(t)
	two := s.registry.Base("library/node:22", "2")
	s.has(two, hole1+","+hole2)
	_, analysis := s.job(s.eventOf(two.Digest))
	assert.Contains(t, analysis.err, "held "+two.Digest[:19]+": adds CVE-2026-0002 (critical, curl)")
	assert.False(t, s.base().Candidates[0].Held.IsZero())
}

// TestAnalysisWithoutReport: whatever happens to the scanner, the digest is recorded, and the daily scan finds the rest.
func TestAnalysisWithoutReport(t *testing.T) {
	for name, test := range map[string]struct {
		before func(s *scannedSite, dir string) // the scan
		args   []string                         // of the scan
		after  func(s *scannedSite, dir string) // the scan
		scan   string
		says   string
	}{
		"fails": {
			before: func(s *scannedSite, _ string) { writeFiles(s.t, s.dir, map[string]string{"fails": ""}) },
			scan:   "warning: scanning", says: "has no *.json file (did the scanner fail?)",
		},
		"no program":          {args: []string{"--program", "/none"}, scan: `warning: no program "/none"`, says: "has no *.json file"},
		"no state repository": {args: []string{"--state-repo", "http://127.0.0.1:1/fleet.git"}, scan: "warning: ", says: "has no *.json file"},
		"killed": {
			before: func(s *scannedSite, dir string) { writeFiles(s.t, dir, map[string]string{"started": ""}) },
			scan:   "warning: an earlier attempt was killed", says: "has no *.json file",
		},
		"truncated": {
			after: func(s *scannedSite, dir string) {
				require.NoError(s.t, os.Truncate(filepath.Join(dir, "000.json"), 100))
			},
			scan: "2 reports written", says: "the report is truncated",
		},
		"of another digest": {
			after: func(s *scannedSite, dir string) { require.NoError(s.t, os.Remove(filepath.Join(dir, "000.json"))) },
			scan:  "2 reports written", says: "warning: no report is about sha256:",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScannedSite(t)
			s.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
			two := s.registry.Base("library/node:22", "2")
			dir := t.TempDir()
			if test.before != nil {
				test.before(s, dir)
			}
			assert.Contains(t, s.scanAhead(dir, s.eventOf(two.Digest), test.args...).err, test.scan)
			if test.after != nil {
				test.after(s, dir)
			}
			assert.Contains(t, s.ok("analyze", append(s.eventOf(two.Digest), "--report", dir)...).err, test.says)
			require.Len(t, s.base().Candidates, 1)
			assert.Equal(t, two.Digest, s.base().Candidates[0].Digest)
			assert.True(t, s.base().Candidates[0].Released.IsZero())

			require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "fails")))
			s.ok("scan", "--with", "trivy", "--program", filepath.Join(s.dir, "trivy"))
			assert.False(t, s.base().Candidates[0].Released.IsZero())
		})
	}
}

// TestAnalysisOfRecordedDigest: another pass may record a digest while it is scanned. What the scan of a base image found counts all
// the same. Enrolled images are often published together, and one analysis records all: they are left to the daily scan.
func TestAnalysisOfRecordedDigest(t *testing.T) {
	s := newScannedSite(t)
	two := s.registry.Base("library/node:22", "2")
	dir := t.TempDir()
	s.scanAhead(dir, s.eventOf(two.Digest))
	s.ok("analyze")
	assert.True(t, s.base().Candidates[0].Released.IsZero())
	got := s.ok("analyze", append(s.eventOf(two.Digest), "--report", dir)...)
	assert.Contains(t, got.err, "already recorded")
	assert.Contains(t, got.err, "fixes CVE-2026-0001")
	assert.False(t, s.base().Candidates[0].Released.IsZero())

	s.now = s.now.Add(time.Hour)
	web := s.registry.Publish("acme/web:1.0.1", registrytest.Built{Version: "2", From: &two, Provenance: true})
	event := []string{"--image", "web", "--tag", "1.0.1", "--digest", web.Digest}
	dir = t.TempDir()
	s.asked()
	assert.Contains(t, s.scanAhead(dir, event).err, "1 report written")
	assert.Equal(t, []string{s.registry.Host + "/acme/web@" + web.Digest}, s.asked())
	s.ok("analyze")
	before := s.commits()
	s.ok("analyze", append(event, "--report", dir)...)
	assert.Equal(t, before, s.commits())
	assert.Contains(t, s.scanAhead(t.TempDir(), event).err, "0 reports written")
}

// TestAnalyzeByHandWithReport: without an event, a report that cannot be used sets the exit code.
func TestAnalyzeByHandWithReport(t *testing.T) {
	s := newScannedSite(t)
	two := s.registry.Base("library/node:22", "2")
	dir := t.TempDir()
	s.scanAhead(dir, s.eventOf(two.Digest))
	s.ok("analyze", "--report", dir)
	assert.False(t, s.base().Candidates[0].Released.IsZero())
	got := s.do("analyze", "--report", filepath.Join(dir, "none.json"))
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "warning: reading report")
}

func TestScanAheadWithoutFolder(t *testing.T) {
	s := newScannedSite(t)
	got := s.scanAhead(filepath.Join(t.TempDir(), "none"), s.eventOf(s.node.Digest))
	assert.Contains(t, got.err, "warning: writing to the folder of the reports: ")
	assert.Contains(t, got.err, "0 reports written; the rest is left to the next scan")
}

func TestScanAheadUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--report", "x.json", "--write", "."}, {"--with", "trivy", "--write", "."}, {"--with", "trivy", "--digest", "sha256:1"},
		{"--with", "trivy", "--write", ".", "--digest", "sha256:1", "--image", "a", "--base-image", "b"},
	} {
		assert.Equal(t, 2, run(t, t.TempDir(), append([]string{"scan"}, args...)...).code, args)
	}
}
