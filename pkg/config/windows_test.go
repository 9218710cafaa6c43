package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

func TestRebuildInterval(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
defaults: {rebuildInterval: 12h}
images:
  - {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}
  - {name: api, repository: acme/api, rebuildInterval: 0, source: {provider: github, repo: acme/api, workflow: b.yml}}
`), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, 12*time.Hour, cfg.Find("web").Interval().Std())
	assert.Zero(t, cfg.Find("api").Interval())
	cfg, err = config.Load(strings.NewReader("- {name: redis, repository: library/redis}\n"), "images.yaml")
	require.NoError(t, err)
	assert.Equal(t, 24*time.Hour, cfg.Find("redis").Interval().Std())
}

func TestWindows(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory:
  windows:
  - {kind: Allow, schedule: "0 8 * * 1-5", duration: 10h, timeZone: Europe/Berlin}
images:
  - {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}
  - name: api
    repository: acme/api
    windows: [{kind: Deny, schedule: "0 0 * * 1", duration: 1d, timeZone: Europe/Berlin, urgent: true}]
    source: {provider: github, repo: acme/api, workflow: b.yml}
`), "images.yaml")
	require.NoError(t, err)
	saturday := time.Date(2026, 6, 6, 12, 0, 0, 0, time.UTC)
	monday := time.Date(2026, 6, 8, 6, 0, 0, 0, time.UTC)
	assert.Equal(t, monday, cfg.Find("web").OpenWindows().NextOpen(saturday, false).At)
	assert.Equal(t, monday.AddDate(0, 0, 1), cfg.Find("api").OpenWindows().NextOpen(saturday, false).At, "Deny wins")
	assert.Equal(t, monday, cfg.Find("api").OpenWindows().NextOpen(saturday, true).At, "it lets urgent ones pass")
}

func TestInvalidWindows(t *testing.T) {
	for entry, want := range map[string]string{
		"windows: {}":   "images[0].windows: want a list, not a mapping",
		"windows: [{}]": `redis: windows[0] has no kind`,
		"windows: [{kind: allow, schedule: 0 8 * * *, duration: 1h}]":                   `1:61: redis: windows[0].kind: invalid kind "allow" (use Allow or Deny)`,
		"windows: [{kind: Allow, duration: 1h}]":                                        "redis: windows[0] has no schedule",
		"windows: [{kind: Allow, schedule: 0 8 * * *}]":                                 "redis: windows[0] has no duration",
		"windows: [{kind: Allow, schedule: 0 8 * * *, duration: 0}]":                    "redis: windows[0].duration: want more than 0",
		"windows: [{kind: Allow, schedule: 0 8 * * *, duration: soon}]":                 `duration "soon"`,
		"windows: [{kind: Allow, schedule: 0 8 30 2 *, duration: 1h}]":                  "redis: windows[0].schedule: no such date exists",
		"windows: [{kind: Allow, schedule: TZ=UTC, duration: 1h}]":                      "redis: windows[0].schedule: set the time zone with timeZone",
		"windows: [{kind: Allow, schedule: 0 8 * * *, duration: 1h, timeZone: Berlin}]": `redis: windows[0].timeZone: unknown time zone "Berlin"`,
		"windows: [{kind: Allow, schedule: 0 8 * * *, duration: 1h, timezone: UTC}]":    `did you mean "timeZone"?`,
		"rebuildInterval: often":                                                        `duration "often"`,
	} {
		_, err := config.Load(strings.NewReader("- {name: redis, repository: library/redis, "+entry+"}\n"), "images.yaml")
		var list finding.List
		require.ErrorAs(t, err, &list, entry)
		assert.Contains(t, err.Error(), want, entry)
	}
	_, err := config.Load(strings.NewReader("factory: {schedule: CRON_TZ=UTC}\nimages: []\n"), "images.yaml")
	require.ErrorContains(t, err, "factory.schedule: want five fields after the time zone")
}
