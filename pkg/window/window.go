// Package window computes when recurring time windows are open. It does no I/O and knows no images; package config reads
// windows, and package policy asks for them.
package window

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Window is a recurring time in which something is allowed or denied.
type Window struct {
	Deny bool
	// Urgent lets urgent rebuilds pass: the window keeps only the others from starting.
	Urgent   bool
	Schedule *cron.SpecSchedule // of the starts, in wall-clock time of Zone
	Duration time.Duration      // from each start, as time that passes
	Zone     *time.Location
}

// Limits of the search for the next opening.
const (
	horizon  = 366 * 24 * time.Hour
	maxSteps = 10_000
	// maxShift is more than clocks are ever set back or forward.
	maxShift = 3 * time.Hour
)

// Parse returns the schedule of a cron expression with five fields. An expression that never matches is an error.
func Parse(schedule string) (*cron.SpecSchedule, error) {
	if strings.Contains(schedule, "TZ=") {
		return nil, errors.New("set the time zone with timeZone")
	}
	parsed, err := cron.ParseStandard(schedule)
	if err != nil {
		return nil, err
	}
	s, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("want times of day, not an interval")
	}
	s.Location = time.UTC // Next is given wall-clock times as if they were UTC
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("no such date exists")
	}
	return s, nil
}

// LoadZone returns the time zone of an IANA name, UTC for "".
func LoadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New("want an IANA name such as Europe/Berlin, not the zone of the machine")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q (want an IANA name such as Europe/Berlin)", name)
	}
	return zone, nil
}

// startAfter returns the first start after a time; the zero time if there is none. Schedules are wall-clock times: a start that
// the clock skips when it is set forward takes place as much later, and one that occurs twice when it is set back takes place
// the first time.
func (w *Window) startAfter(t time.Time) time.Time {
	wall := t.Add(time.Duration(offset(t, w.Zone)) * time.Second).UTC()
	if offset(t.Add(-maxShift), w.Zone) != offset(t, w.Zone) { // the wall clock was set meanwhile
		wall = wall.Add(-maxShift)
	}
	for {
		if wall = w.Schedule.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if start := onWall(wall, w.Zone); start.After(t) {
			return start
		}
	}
}

// onWall returns the time in a zone at which clocks show the given wall-clock time, written as UTC. While clocks are changed,
// the offset before the change decides.
func onWall(wall time.Time, zone *time.Location) time.Time {
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	shows := func(t time.Time) bool {
		return t.Add(time.Duration(offset(t, zone)) * time.Second).Equal(wall)
	}
	before := wall.Add(-time.Duration(offset(at.Add(-maxShift), zone)) * time.Second)
	if !shows(before) && shows(at) {
		return at
	}
	return before
}

// offset returns the seconds by which the clocks of a zone are ahead of UTC.
func offset(t time.Time, zone *time.Location) int {
	_, seconds := t.In(zone).Zone()
	return seconds
}

// end returns when the window that is active at a time ends; ok is false if it is not active. A window that starts again before
// it ends may go on after that.
func (w *Window) end(t time.Time) (end time.Time, ok bool) {
	start := w.startAfter(t.Add(-w.Duration))
	if start.IsZero() || start.After(t) {
		return time.Time{}, false
	}
	return start.Add(w.Duration), true
}

// Opening is when a set of windows is open.
type Opening struct {
	At time.Time // the time that was asked for, if the windows are open then; zero if they do not open within a year
	// Zone is the time zone of the window that opens or closes.
	Zone *time.Location
}

// Set is windows that apply together: it is open while no Deny window is active and, if it has any Allow window, at least one of
// those is.
type Set []Window

// NextOpen returns the first time from t on at which the set is open. Urgent rebuilds may also pass as soon as the windows
// without Window.Urgent are open.
func (s Set) NextOpen(t time.Time, urgent bool) Opening {
	next := s.next(t)
	if !urgent || next.At.Equal(t) {
		return next
	}
	var strict Set
	for i := range s {
		if !s[i].Urgent {
			strict = append(strict, s[i])
		}
	}
	if early := strict.next(t); !early.At.IsZero() && (next.At.IsZero() || early.At.Before(next.At)) {
		return early
	}
	return next
}

func (s Set) next(t time.Time) Opening {
	at := Opening{t, time.UTC}
	for range maxSteps {
		moved, open := s.step(at)
		if open {
			return at
		}
		if at = moved; at.At.IsZero() || at.At.Sub(t) > horizon {
			break
		}
	}
	return Opening{Zone: at.Zone}
}

// step reports whether the set is open at a time, and returns the next time at which it may be.
func (s Set) step(at Opening) (next Opening, open bool) {
	allows := false
	var first Opening
	for i := range s {
		w := &s[i]
		end, active := w.end(at.At)
		switch {
		case w.Deny && active:
			return Opening{end, w.Zone}, false
		case w.Deny:
		case active:
			allows, first = true, at
		default:
			start := w.startAfter(at.At)
			if allows = true; !start.IsZero() && (first.At.IsZero() || start.Before(first.At)) {
				first = Opening{start, w.Zone}
			}
		}
	}
	if !allows || first.At.Equal(at.At) {
		return at, true
	}
	return first, false
}
