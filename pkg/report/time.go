package report

import (
	"fmt"
	"time"

	"github.com/imagefactory/imagefactory/pkg/policy"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// farAway is the distance from which a date says more than a number of days.
	farAway = 4 * week
)

// Time returns a time as people say it: "in 3h", "Fri 12:00" within a week, "in 12d", and "2027-03-10" when it is far away.
// Times in the past are "3h ago", "12d ago" or a date. Clock times and dates are UTC.
func Time(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d <= 0 && d > -time.Minute:
		return "now"
	case d.Abs() >= farAway:
		return t.UTC().Format(time.DateOnly)
	case d < 0:
		return span(-d) + " ago"
	case d >= day && d < week:
		return t.UTC().Format("Mon 15:04")
	default:
		return "in " + span(d)
	}
}

// ExactTime returns a time to the minute in UTC, followed by its distance from now: "2026-03-06 12:00 (in 5d)".
func ExactTime(t, now time.Time) string {
	exact := t.UTC().Format("2006-01-02 15:04")
	switch d := t.Sub(now); {
	case d <= 0 && d > -time.Minute:
		return exact + " (now)"
	case d < 0:
		return exact + " (" + span(-d) + " ago)"
	default:
		return exact + " (in " + span(d) + ")"
	}
}

// span returns a duration in its largest unit: "<1m", "59m", "3h", "12d". Hours go up to two days.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "<1m"
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// When returns the time that a decision is about: until when the image waits, or since when it has its status. Exact times
// are those of [ExactTime], others those of [Time].
func When(d *policy.Decision, now time.Time, exact bool) string {
	format := Time
	if exact {
		format = ExactTime
	}
	switch {
	case d.After != "":
		return "after " + d.After
	case d.Until.After(now):
		return format(d.Until, now)
	case !d.Until.IsZero():
		return format(now, now)
	case !d.Since.IsZero():
		return format(d.Since, now)
	}
	return ""
}
