package report_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// noon is a Sunday.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTime(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[time.Duration]struct{ short, exact string }{
		0:                    {"now", "2026-03-01 12:00 (now)"},
		time.Second:          {"in <1m", "2026-03-01 12:00 (in <1m)"},
		59 * time.Second:     {"in <1m", "2026-03-01 12:00 (in <1m)"},
		-59 * time.Second:    {"now", "2026-03-01 11:59 (now)"},
		time.Minute:          {"in 1m", "2026-03-01 12:01 (in 1m)"},
		time.Hour:            {"in 1h", "2026-03-01 13:00 (in 1h)"},
		day - time.Second:    {"in 23h", "2026-03-02 11:59 (in 23h)"},
		day:                  {"Mon 12:00", "2026-03-02 12:00 (in 24h)"},
		5*day + time.Hour:    {"Fri 13:00", "2026-03-06 13:00 (in 5d)"},
		7*day - time.Second:  {"Sun 11:59", "2026-03-08 11:59 (in 6d)"},
		7 * day:              {"in 7d", "2026-03-08 12:00 (in 7d)"},
		28*day - time.Second: {"in 27d", "2026-03-29 11:59 (in 27d)"},
		28 * day:             {"2026-03-29", "2026-03-29 12:00 (in 28d)"},
		374 * day:            {"2027-03-10", "2027-03-10 12:00 (in 374d)"},
		-time.Minute:         {"1m ago", "2026-03-01 11:59 (1m ago)"},
		-59 * time.Minute:    {"59m ago", "2026-03-01 11:01 (59m ago)"},
		-47 * time.Hour:      {"47h ago", "2026-02-27 13:00 (47h ago)"},
		-2 * day:             {"2d ago", "2026-02-27 12:00 (2d ago)"},
		-28 * day:            {"2026-02-01", "2026-02-01 12:00 (28d ago)"},
	}
	for distance, tt := range tests {
		t.Run(distance.String(), func(t *testing.T) {
			at := noon.Add(distance).In(time.FixedZone("elsewhere", -5*3600))
			assert.Equal(t, tt.short, report.Time(at, noon))
			assert.Equal(t, tt.exact, report.ExactTime(at, noon))
		})
	}
}

func TestWhen(t *testing.T) {
	tests := map[string]struct {
		in          policy.Decision
		want, exact string
	}{
		"nothing": {policy.Decision{}, "", ""},
		"since":   {policy.Decision{Since: noon.Add(-time.Hour)}, "1h ago", "2026-03-01 11:00 (1h ago)"},
		"until":   {policy.Decision{Since: noon, Until: noon.Add(time.Hour)}, "in 1h", "2026-03-01 13:00 (in 1h)"},
		"past":    {policy.Decision{Until: noon.Add(-time.Hour)}, "now", "2026-03-01 12:00 (now)"},
		"after":   {policy.Decision{Until: noon.Add(time.Hour), After: "base-os"}, "after base-os", "after base-os"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, report.When(&tt.in, noon, false))
			assert.Equal(t, tt.exact, report.When(&tt.in, noon, true))
		})
	}
}
