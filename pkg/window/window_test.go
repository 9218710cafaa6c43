package window_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/window"
)

func parse(t require.TestingT, kind, schedule, duration, zone string) window.Window {
	s, err := window.Parse(schedule)
	require.NoError(t, err)
	z, err := window.LoadZone(zone)
	require.NoError(t, err)
	d, err := time.ParseDuration(duration)
	require.NoError(t, err)
	return window.Window{Deny: kind == "Deny", Schedule: s, Duration: d, Zone: z}
}

func urgent(w window.Window) window.Window {
	w.Urgent = true
	return w
}

func TestNextOpen(t *testing.T) {
	const berlin = "Europe/Berlin"
	weekdays := parse(t, "Allow", "0 8 * * 1-5", "10h", berlin)
	freeze := parse(t, "Deny", "0 0 20 12 *", "336h", berlin) // two weeks
	never := parse(t, "Deny", "* * * * *", "1m", "")
	for _, test := range []struct {
		name     string
		set      window.Set
		at, want string // RFC 3339; "" for never
		urgent   bool
	}{
		{"no windows", nil, "2026-06-06T12:00:00Z", "2026-06-06T12:00:00Z", false},
		{"allowed", window.Set{weekdays}, "2026-06-05T06:00:00Z", "2026-06-05T06:00:00Z", false},
		{"to the second before it ends", window.Set{weekdays}, "2026-06-05T15:59:59Z", "2026-06-05T15:59:59Z", false},
		{"it ends: closed for the weekend", window.Set{weekdays}, "2026-06-05T16:00:00Z", "2026-06-08T06:00:00Z", false},
		{"a second before it starts", window.Set{weekdays}, "2026-06-05T05:59:59Z", "2026-06-05T06:00:00Z", false},
		{"over the change to summer time", window.Set{weekdays}, "2026-03-27T20:00:00Z", "2026-03-30T06:00:00Z", false},
		{"over the change to winter time", window.Set{weekdays}, "2026-10-23T20:00:00Z", "2026-10-26T07:00:00Z", false},
		{"two Allow windows: either", window.Set{weekdays, parse(t, "Allow", "0 10 * * 6", "1h", "UTC")}, "2026-06-05T16:00:00Z", "2026-06-06T10:00:00Z", false},
		{"denied", window.Set{freeze}, "2026-12-24T12:00:00Z", "2027-01-02T23:00:00Z", false},
		{"Deny wins over Allow", window.Set{weekdays, freeze}, "2026-12-21T09:00:00Z", "2027-01-04T07:00:00Z", false},
		{"a Deny window that is not active opens nothing", window.Set{weekdays, freeze}, "2026-06-06T09:00:00Z", "2026-06-08T06:00:00Z", false},
		{"two Deny windows, one after the other", window.Set{freeze, parse(t, "Deny", "0 0 3 1 *", "24h", berlin)}, "2026-12-24T12:00:00Z", "2027-01-03T23:00:00Z", false},
		{"never", window.Set{never}, "2026-06-06T12:00:00Z", "", false},
		{"never, but for urgent ones", window.Set{urgent(never)}, "2026-06-06T12:00:00Z", "2026-06-06T12:00:00Z", true},
		{"nor for others", window.Set{urgent(never)}, "2026-06-06T12:00:00Z", "", false},
		{"urgent, and the window says nothing of it", window.Set{freeze}, "2026-12-24T12:00:00Z", "2027-01-02T23:00:00Z", true},
		{"urgent, past one Deny window and not the other", window.Set{urgent(freeze), parse(t, "Deny", "0 0 24 12 *", "48h", "UTC")}, "2026-12-24T12:00:00Z", "2026-12-26T00:00:00Z", true},
		{"urgent, without an Allow window", window.Set{urgent(weekdays)}, "2026-06-06T12:00:00Z", "2026-06-06T12:00:00Z", true},
		{"urgent, in the Allow window that has urgent, and not in the other", window.Set{urgent(weekdays), parse(t, "Allow", "0 0 1 1 *", "1h", "")}, "2026-06-05T06:00:00Z", "2026-06-05T06:00:00Z", true},
		{"a start that the clock skips is an hour later", window.Set{parse(t, "Deny", "30 2 * * *", "4h", berlin)}, "2026-03-29T01:30:00Z", "2026-03-29T05:30:00Z", false},
		{"and not before", window.Set{parse(t, "Deny", "30 2 * * *", "4h", berlin)}, "2026-03-29T01:29:00Z", "2026-03-29T01:29:00Z", false},
		{"a start that occurs twice is the first", window.Set{parse(t, "Allow", "30 2 * * *", "30m", berlin)}, "2026-10-24T20:00:00Z", "2026-10-25T00:30:00Z", false},
		{"and only that", window.Set{parse(t, "Allow", "30 2 * * *", "30m", berlin)}, "2026-10-25T01:00:00Z", "2026-10-26T01:30:00Z", false},
		{"midnight that the clock skips", window.Set{parse(t, "Allow", "0 0 * * *", "1h", "America/Asuncion")}, "2023-10-01T03:30:00Z", "2023-10-01T04:00:00Z", false},
		{"a zone of half an hour", window.Set{parse(t, "Allow", "0 9 * * *", "1h", "Asia/Kolkata")}, "2026-06-05T06:00:00Z", "2026-06-06T03:30:00Z", false},
		{"longer than its period", window.Set{parse(t, "Deny", "0 0 * * *", "25h", "")}, "2026-06-05T06:00:00Z", "", false},
		{"leap days", window.Set{parse(t, "Deny", "0 0 29 2 *", "24h", "")}, "2028-02-29T06:00:00Z", "2028-03-01T00:00:00Z", false},
		{"opens later than in a year", window.Set{parse(t, "Allow", "0 0 29 2 *", "24h", "")}, "2025-06-05T06:00:00Z", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.at)
			require.NoError(t, err)
			got := test.set.NextOpen(at, test.urgent)
			want := ""
			if !got.At.IsZero() {
				want = got.At.UTC().Format(time.RFC3339)
			}
			assert.Equal(t, test.want, want)
			assert.NotNil(t, got.Zone)
		})
	}
}

func TestParseRejects(t *testing.T) {
	for schedule, want := range map[string]string{
		"": "empty spec", "0 8 * *": "expected exactly 5 fields", "0 25 * * *": "above maximum", "@every 5m": "not an interval",
		"CRON_TZ=UTC 0 8 * * *": "timeZone", "TZ=UTC": "timeZone", "0 0 30 2 *": "no such date",
	} {
		_, err := window.Parse(schedule)
		require.ErrorContains(t, err, want, schedule)
	}
	for _, zone := range []string{"Local", "Europe/Nowhere", "../etc/passwd", "CET+1"} {
		_, err := window.LoadZone(zone)
		require.Error(t, err, zone)
	}
}

// open reports whether a set is open, hour by hour from its definition.
func open(s window.Set, at time.Time, start func(w *window.Window, t time.Time) bool) bool {
	any, active := false, false
	for i := range s {
		w := &s[i]
		is := false
		for t := at; at.Sub(t) < w.Duration; t = t.Add(-time.Hour) {
			is = is || start(w, t)
		}
		if w.Deny && is {
			return false
		}
		any, active = any || !w.Deny, active || !w.Deny && is
	}
	return !any || active
}

// NextOpen is the first hour that is open by the definition, where the clocks are not changed.
func TestNextOpenIsTheFirst(t *testing.T) {
	starts := func(w *window.Window, at time.Time) bool {
		return w.Schedule.Next(at.Add(-time.Second)).Equal(at)
	}
	rapid.Check(t, func(t *rapid.T) {
		var set window.Set
		for range rapid.IntRange(0, 4).Draw(t, "windows") {
			days := rapid.SampledFrom([]string{"*", "1-5", "6", "0,3"}).Draw(t, "days")
			set = append(set, parse(t, rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "kind"),
				fmt.Sprintf("0 %d * * %s", rapid.IntRange(0, 23).Draw(t, "hour"), days), fmt.Sprintf("%dh", rapid.IntRange(1, 60).Draw(t, "hours")), ""))
		}
		at := time.Date(2026, 6, 1, rapid.IntRange(0, 300).Draw(t, "at"), 0, 0, 0, time.UTC)
		got := set.NextOpen(at, false)
		for hour := at; hour.Before(at.Add(24 * 24 * time.Hour)); hour = hour.Add(time.Hour) {
			if open(set, hour, starts) {
				if !got.At.Equal(hour) {
					t.Fatalf("open at %s, and the next opening is %s", hour, got.At)
				}
				return
			}
			if got.At.Equal(hour) {
				t.Fatalf("not open at %s", hour)
			}
		}
		if !got.At.IsZero() {
			t.Fatalf("never open, and the next opening is %s", got.At)
		}
	})
}

func BenchmarkNextOpen(b *testing.B) {
	set := window.Set{parse(b, "Allow", "0 8 * * 1-5", "10h", "Europe/Berlin"), parse(b, "Deny", "0 0 20 12 *", "336h", "Europe/Berlin")}
	at := time.Date(2026, 12, 20, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		set.NextOpen(at, false)
	}
}
