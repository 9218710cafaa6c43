package state_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func digestOf(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func openssl() scan.Finding {
	return scan.Finding{ID: "CVE-2026-1234", Severity: scan.Critical, Package: "openssl", Installed: "3.0.11-1", Fixed: "3.0.13-1, 3.1"}
}

func reportOf(findings ...scan.Finding) *scan.Report {
	return &scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12.5", Looked: true, Findings: findings}
}

func TestScansAreReadBack(t *testing.T) {
	low := scan.Finding{ID: "CVE-2026-5", Severity: scan.Low, Package: "bash"}
	ghsa := scan.Finding{ID: "CVE-2026-7", Aliases: []string{"GHSA-aaaa-bbbb-cccc"}, Severity: scan.Critical, Package: "a b"}
	s := &state.Scans{Name: "web"}
	require.True(t, s.Set(state.NewScan(digestOf(1), "linux/amd64", reportOf(openssl(), ghsa, low), scan.High)))
	require.False(t, s.Set(state.NewScan(digestOf(1), "linux/amd64", reportOf(openssl(), ghsa, low), scan.High)), "nothing learnt")
	require.True(t, s.State(state.VEXStatement{ID: "CVE-2026-7", Status: scan.NotAffected, Justification: "component_not_present"}))
	require.False(t, s.State(state.VEXStatement{ID: "CVE-2026-7", Status: scan.NotAffected, Justification: "component_not_present"}))
	require.NoError(t, s.Writable())
	st := state.New()
	st.ImageScans["web"] = s
	files, err := st.Encode()
	require.NoError(t, err)
	text := string(files["image-scans/web.yaml"])
	assert.Equal(t, `# Written by imagefactory. Facts only; do not edit.
name: web
digests:
- digest: sha256:0000000000000000000000000000000000000000000000000000000000000001
  platform: linux/amd64
  scanner: trivy
  os: debian 12.5
  severity: high
  findings:
  - CVE-2026-1234 critical openssl 3.0.11-1 3.0.13-1,3.1 - -
  - CVE-2026-7 critical a_b - - - GHSA-aaaa-bbbb-cccc
  others:
    low: 1
vex:
- id: CVE-2026-7
  status: not_affected
  justification: component_not_present
`, text)
	newer := strings.NewReplacer("GHSA-aaaa-bbbb-cccc", "GHSA-aaaa-bbbb-cccc more of it", "    low: 1", "    low: 1\n  later: key").Replace(text)
	again, err := state.Load(fstest.MapFS{"image-scans/web.yaml": {Data: []byte(newer)}}, "state")
	require.NoError(t, err)
	require.False(t, again.ImageScans["web"].Set(state.NewScan(digestOf(1), "linux/amd64", reportOf(openssl(), ghsa, low), scan.High)))
	files, err = again.Encode()
	require.NoError(t, err)
	assert.Equal(t, newer, string(files["image-scans/web.yaml"]), "keys and fields of a later version survive")
}

func TestScansRefused(t *testing.T) {
	for text, want := range map[string]string{
		"name: web\ndigests:\n- digest: sha256:12\n  severity: high\n":                                    "invalid digest",
		"name: web\ndigests:\n- digest: " + digestOf(1) + "\n  severity: bad\n":                           `unknown severity "bad"`,
		"name: web\ndigests:\n- digest: " + digestOf(1) + "\n  severity: high\n  findings: [\"CVE-1\"]\n": `invalid finding "CVE-1"`,
		"name: web\nvex:\n- id: CVE-1\n  status: affected\n":                                              `unknown VEX status "affected"`,
		"name: web\ndigests:\n" + strings.Repeat("- digest: "+digestOf(1)+"\n  severity: high\n", 2):      "is listed twice",
	} {
		require.ErrorContains(t, state.Check("image-scans/web.yaml", []byte(text)), want)
	}
	_, err := state.Load(fstest.MapFS{"base-image-scans/other.yaml": {Data: []byte("name: web\n")}}, "state")
	require.ErrorContains(t, err, "does not match the file name")
}

func TestScanOf(t *testing.T) {
	index := state.Snapshot{Digest: digestOf(1), Platforms: state.Platforms{"linux/amd64": digestOf(2), "linux/arm64": digestOf(3)}}
	s := &state.Scans{Name: "node-22"}
	assert.Nil(t, s.Of(index, "linux/amd64"))
	s.Set(state.NewScan(digestOf(1), "", reportOf(), scan.High))
	assert.Equal(t, digestOf(1), s.Of(index, "linux/amd64").Digest)
	s.Set(state.NewScan(digestOf(2), "", reportOf(openssl()), scan.High))
	assert.Equal(t, digestOf(2), s.Of(index, "linux/amd64").Digest, "its own manifest says more than the index")
	assert.Equal(t, digestOf(1), s.Of(index, "linux/arm64").Digest)
	assert.Nil(t, (*state.Scans)(nil).Of(index, "linux/arm64"))
}

// TestScansAreBounded: nothing that does not fit counts as absent.
func TestScansAreBounded(t *testing.T) {
	var many []scan.Finding
	for i := range 1000 {
		many = append(many, scan.Finding{ID: fmt.Sprintf("CVE-2026-%04d", i), Severity: scan.Critical, Package: strings.Repeat("p", 200), Installed: strings.Repeat("1", 100), Fixed: strings.Repeat("2", 100)})
	}
	s := &state.Scans{Name: "web"}
	for i := range 30 {
		s.Set(state.NewScan(digestOf(i), "", reportOf(many...), scan.High))
	}
	require.Len(t, s.Digests[0].Findings, state.MaxFindings)
	assert.False(t, s.Digests[0].Complete(scan.Critical))
	require.ErrorContains(t, s.Writable(), "state file too large")
	s.Shrink()
	require.NoError(t, s.Writable())
	listed := len(s.Digests[0].Findings)
	assert.Less(t, listed, state.MaxFindings)
	assert.Equal(t, 1000, listed+s.Digests[0].Others[scan.Critical], "nothing is lost from the numbers")

	few := state.NewScan(digestOf(1), "", reportOf(openssl()), scan.High)
	assert.True(t, few.Complete(scan.Critical))
	assert.True(t, few.Complete(scan.High))
	assert.False(t, few.Complete(scan.Medium), "less severe ones were not recorded")
}

func TestVEX(t *testing.T) {
	f := &state.Finding{Finding: openssl()}
	s := &state.Scans{Name: "web"}
	s.State(state.VEXStatement{ID: "cve-2026-1234", Status: scan.NotAffected, Package: "openssl", Digest: digestOf(1)})
	assert.True(t, s.TakesAway(f, digestOf(1)))
	assert.False(t, s.TakesAway(f, digestOf(2)))
	assert.True(t, s.State(state.VEXStatement{ID: "cve-2026-1234", Status: scan.Affected, Package: "openssl", Digest: digestOf(1)}), "the later statement counts")
	assert.False(t, s.TakesAway(f, digestOf(1)))
	s.State(state.VEXStatement{ID: "CVE-2026-1234", Status: scan.FixedIn, Version: "1"})
	assert.False(t, s.TakesAway(f, digestOf(1)), "of another version")
}

func TestScanSummary(t *testing.T) {
	before, after := &state.Scans{Name: "web"}, &state.Scans{Name: "web"}
	gone := scan.Finding{ID: "CVE-2026-9999", Severity: scan.High, Package: "curl"}
	before.Set(state.NewScan(digestOf(1), "", reportOf(gone), scan.High))
	after.Set(state.NewScan(digestOf(2), "", reportOf(openssl()), scan.High))
	after.State(state.VEXStatement{ID: "CVE-2026-1", Status: scan.NotAffected, Justification: "not reachable"})
	encode := func(s *state.Scans) []byte {
		st := state.New()
		st.ImageScans["web"] = s
		files, err := st.Encode()
		require.NoError(t, err)
		return files["image-scans/web.yaml"]
	}
	assert.Equal(t, []string{
		"web: found CVE-2026-1234 (critical, openssl), fixed in 3.0.13-1,3.1",
		"web: CVE-2026-9999 (high, curl) is gone",
		"web: VEX: CVE-2026-1 is not_affected: not reachable",
	}, state.Summary("image-scans/web.yaml", encode(before), encode(after)))
}

// fleetOfScans returns the state of images with 50 findings each.
func fleetOfScans(images int) *state.State {
	st := state.New()
	for i := range images {
		var findings []scan.Finding
		for j := range 50 {
			findings = append(findings, scan.Finding{ID: fmt.Sprintf("CVE-2026-%05d", i+j), Severity: scan.High, Package: fmt.Sprintf("libpackage%d", j), Installed: "3.0.11-1~deb12u2", Fixed: "3.0.13-1~deb12u1"})
		}
		name := fmt.Sprintf("image-%04d", i)
		s := &state.Scans{Name: name}
		s.Set(state.NewScan(digestOf(i), "linux/amd64", reportOf(findings...), scan.High))
		st.ImageScans[name] = s
	}
	return st
}

func BenchmarkLoadScans(b *testing.B) {
	files, err := fleetOfScans(1000).Encode()
	require.NoError(b, err)
	dir, size := b.TempDir(), 0
	require.NoError(b, state.WriteFiles(dir, files))
	for _, data := range files {
		size += len(data)
	}
	for b.Loop() {
		if _, err := state.Load(os.DirFS(dir), "state"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
}

func FuzzFinding(f *testing.F) {
	f.Add("CVE-2026-1234 critical openssl 3.0.11-1 3.0.13-1 base GHSA-aaaa-bbbb-cccc,X more of it")
	f.Add("a b c d e f -")
	f.Fuzz(func(t *testing.T, line string) {
		var first, second state.Finding
		if first.UnmarshalText([]byte(line)) != nil {
			return
		}
		text, err := first.MarshalText()
		require.NoError(t, err)
		require.NoError(t, second.UnmarshalText(text))
		again, err := second.MarshalText()
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	})
}
