package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/window"
)

// Stop is what keeps an image that is due from being rebuilt now.
type Stop string

// Stops of an image that is due.
const (
	StopPause    Stop = "pause"    // `imagefactory pause`
	StopWindow   Stop = "window"   // the windows of images.yaml
	StopInterval Stop = "interval" // rebuildInterval, after the last automatic rebuild
)

// stop keeps an image that is due from being rebuilt during a pause, outside its windows, and too soon after the last rebuild.
// It reports whether it did.
func (d *decider) stop(dec *Decision, img *config.Image, facts *state.Image) bool {
	if p := d.st.PauseOf(img.Name, d.now); p != nil {
		dec.Status, dec.Stop, dec.Until = Paused, StopPause, p.Until.Time
		dec.Reason = p.String() + "; " + dec.Reason
		return true
	}
	last := lastAutomatic(facts, d.clock)
	dec.released = dec.releasedSince(last)
	at, stop, reason := d.startOf(dec, img, last, d.now)
	if stop == "" {
		return false
	}
	dec.Status, dec.Stop, dec.Until = Waiting, stop, at
	dec.Reason = reason + "; " + dec.Reason
	if at.IsZero() {
		dec.Status = Paused
	}
	return true
}

// stopAhead extends the wait of an image whose digest still ripens until rebuildInterval has passed and its windows are open.
func (d *decider) stopAhead(dec *Decision, img *config.Image, facts *state.Image) {
	at, stop, reason := d.startOf(dec, img, lastAutomatic(facts, d.clock), dec.Until)
	if stop == "" || !img.Rebuilds() {
		return
	}
	dec.StopAhead, dec.Reason = stop, reason+"; "+dec.Reason
	if !at.IsZero() {
		dec.Until = at
	}
}

// startOf returns when an image that is due at a time may be rebuilt, and what keeps it from that until then: its windows,
// rebuildInterval after the last automatic rebuild, or "". The time is zero if no window opens within a year.
func (d *decider) startOf(dec *Decision, img *config.Image, last, due time.Time) (at time.Time, stop Stop, reason string) {
	at = due
	if next := afterInterval(dec, img, last); next.After(due) {
		at, stop = next, StopInterval
		reason = fmt.Sprintf("last rebuild %s; rebuildInterval %s", ago(d.now.Sub(last)), img.Interval())
	}
	if opening := img.OpenWindows().NextOpen(at, len(dec.Urgent) > 0); !opening.At.Equal(at) {
		return opening.At, StopWindow, windowReason(opening, d.now, due)
	}
	return at, stop, reason
}

// windowReason returns a text such as "window closed until Mon 08:00 Europe/Berlin", or "next window opens Mon 08:00 Europe/Berlin"
// for an image that is due later.
func windowReason(o window.Opening, now, due time.Time) string {
	if o.At.IsZero() {
		return "window closed; none opens within a year"
	}
	layout := "Mon 15:04"
	if o.At.Sub(now) >= 6*24*time.Hour {
		layout = "2006-01-02 15:04"
	}
	text := "window closed until "
	if due.After(now) {
		text = "next window opens "
	}
	return text + o.At.In(o.Zone).Format(layout) + " " + o.Zone.String()
}

// afterInterval returns when rebuildInterval has passed since the last automatic rebuild of an image; the zero time if it does
// not apply. Only rebuilds that published something count: failed ones are repeated with a backoff of their own. It does not
// apply to urgent rebuilds, and not to those that a person asked for since then, by a release or a hold.
func afterInterval(dec *Decision, img *config.Image, last time.Time) time.Time {
	leaves := func(b BaseDecision) bool { return b.Due && b.left.After(last) }
	if last.IsZero() || len(dec.Urgent) > 0 || dec.released || slices.ContainsFunc(dec.Bases, leaves) {
		return time.Time{}
	}
	return last.Add(img.Interval().Std())
}

// releasedSince reports whether a person released a digest that makes the image due since the last automatic rebuild.
func (dec *Decision) releasedSince(last time.Time) bool {
	return slices.ContainsFunc(dec.Bases, func(b BaseDecision) bool { return b.Due && b.released.After(last) })
}

// idPrefix begins the IDs of automatic rebuilds. A rebuild that a person started has the name of its Promotion as its ID.
const idPrefix = "r-"

// lastAutomatic returns when the last automatic rebuild that published an image was requested; the zero time if there was none.
func lastAutomatic(facts *state.Image, clock time.Time) time.Time {
	var last time.Time
	for _, r := range rebuildsOf(facts) {
		if r.Status.CountsAsBuilt() && strings.HasPrefix(r.ID, idPrefix) {
			last = later(last, pastOnly(r.RequestedAt, clock))
		}
	}
	return last
}

// rebuildsOf returns the recorded rebuilds of an image, oldest first.
func rebuildsOf(facts *state.Image) []*state.Rebuild {
	out := make([]*state.Rebuild, 0, len(facts.RebuildHistory)+1)
	for i := range facts.RebuildHistory {
		out = append(out, &facts.RebuildHistory[i])
	}
	if facts.Rebuild != nil {
		out = append(out, facts.Rebuild)
	}
	return out
}

// builtAt returns when the build of the published image began, at the latest.
func builtAt(facts *state.Image) time.Time {
	if r := facts.Rebuild; r != nil && r.Status.CountsAsBuilt() && !r.FinishedAt.Before(facts.LastBuilt.Time) {
		return r.RequestedAt.Time
	}
	return facts.LastBuilt.Time
}

// passedOn returns what the rebuilds that a parent has published since a time pass on to its children: the findings of urgent
// ones, and when the last one was published that brought a digest which a person had released.
func (d *decider) passedOn(parent string, since time.Time) (urgent []string, released time.Time) {
	for _, r := range rebuildsOf(d.st.Images[parent]) {
		if !r.Status.CountsAsBuilt() || !r.FinishedAt.After(since) {
			continue
		}
		urgent = append(urgent, r.Urgent...)
		if r.Released {
			released = later(released, pastOnly(r.FinishedAt, d.clock))
		}
	}
	slices.Sort(urgent)
	return slices.Compact(urgent), released
}

// verdicts returns the findings for which scans released candidates, with the reason of the last one, and when a person last
// released one.
func (v *view) verdicts(from, to int) (urgent []string, reason string, released time.Time) {
	for i := from; i <= to; i++ {
		c := &v.list[i]
		switch {
		case !v.eligible(c) || !v.releasedNow(c):
		case len(c.urgent) > 0:
			urgent, reason = append(urgent, c.urgent...), c.reason
		default:
			released = later(released, c.released)
		}
	}
	return urgent, reason, released
}
