package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/scan"
)

func TestUrgent(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
defaults:
  urgent: {severity: high, ignore: [{id: CVE-2026-1, until: 2026-03-31, reason: not reachable}]}
images:
  - {name: postgres, repository: library/postgres}
  - name: redis
    repository: library/redis
    urgent: {minAge: 2h, hold: true, ignore: [{id: CVE-2026-2, package: openssl, until: 2026-03-31, reason: patched}]}
`), "images.yaml")
	require.NoError(t, err)
	inherited, own := cfg.Find("postgres").Urgent, cfg.Find("redis").Urgent
	assert.Equal(t, scan.High, inherited.Severity)
	assert.Equal(t, 24*time.Hour, inherited.Age())
	assert.False(t, inherited.Holds())
	assert.Equal(t, scan.High, own.Severity)
	assert.Equal(t, 2*time.Hour, own.Age())
	assert.True(t, own.Holds())

	lastDay, dayAfter := time.Date(2026, 3, 31, 23, 59, 0, 0, time.UTC), time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	one, two := &scan.Finding{ID: "GHSA-1", Aliases: []string{"CVE-2026-1"}}, &scan.Finding{ID: "CVE-2026-2", Package: "openssl"}
	assert.True(t, own.Ignores(one, lastDay), "the list of defaults counts too, and aliases are the same vulnerability")
	assert.False(t, own.Ignores(one, dayAfter))
	assert.True(t, own.Ignores(two, lastDay))
	assert.False(t, inherited.Ignores(two, lastDay))
	assert.False(t, own.Ignores(&scan.Finding{ID: "CVE-2026-2", Package: "curl"}, lastDay))
}

func TestNoUrgent(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`[{name: postgres, repository: library/postgres}]`), "images.yaml")
	require.NoError(t, err)
	assert.Nil(t, cfg.Find("postgres").Urgent)
	assert.Equal(t, scan.Critical, cfg.Find("postgres").ScanSeverity())
	assert.Empty(t, cfg.Factory.Scan)
}

func TestUrgentRefused(t *testing.T) {
	_, err := config.Load(strings.NewReader(`
factory:
  scan: {with: trivi, schedule: sometimes, program: trivy}
defaults:
  urgent: {severity: hihg}
images:
  - name: web
    repository: acme/web
    urgent: {severity: negligible, ignore: [{id: CVE-2026-1, until: next week}, {until: 2026-02-30}]}
`), "images.yaml")
	require.Error(t, err)
	for _, want := range []string{
		`factory.scan.with: unknown scanner "trivi"`, "factory.scan.schedule", "factory.scan.program",
		`defaults.urgent.severity: unknown severity "hihg"`, `web: urgent.severity: unknown severity "negligible"`,
		`web: urgent.ignore[0]: reason is missing`, `web: urgent.ignore[0].until: invalid date "next week"`,
		`web: urgent.ignore[1]: id is missing`, `web: urgent.ignore[1].until: invalid date "2026-02-30"`,
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestScanDefaults(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory: {scan: {with: grype, resources: {requests: {memory: 1Gi}}}}
images: []
`), "images.yaml")
	require.NoError(t, err)
	s := cfg.Factory.Scan
	assert.Equal(t, "docker.io/anchore/grype:latest", s.Image)
	assert.Equal(t, "/grype", s.Program)
	assert.Equal(t, "43 3 * * *", s.Schedule)
	assert.Equal(t, "1Gi", s.Resources.Requests.Memory)
	assert.Equal(t, "2Gi", s.Resources.Limits.Memory)
}
