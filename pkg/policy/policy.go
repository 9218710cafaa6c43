// Package policy decides which rebuilds are due, and why. It is pure: it takes images.yaml, state and the time, and returns
// decisions. All commands (promote, status, pin) use it, so they agree.
package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Limits of rebuilds.
const (
	MaxFailures = 3              // failed rebuilds in a row after which only a reset starts another
	RunTimeout  = 24 * time.Hour // a rebuild that is not over by then has failed
	parentWait  = 24 * time.Hour // how long an ancestor whose rebuild runs or failed keeps its descendants waiting
	repeatAfter = 24 * time.Hour // a rebuild that counts as built is not repeated for the same digests any sooner

	// StartGrace is how long only the pass that recorded a rebuild may start it. After that, the pass must have ended
	// without doing so, and another one may.
	StartGrace = 10 * time.Minute
)

// Status is the status of an image.
type Status string

// Statuses of an image.
const (
	Current  Status = "current"
	Waiting  Status = "waiting" // until a candidate has ripened, a parent is published, a window opens, or a pull request is merged; see Decision.Until
	Due      Status = "due"
	Starting Status = "starting" // recorded; a pass is about to start it
	Running  Status = "running"  // the forge or Kargo has it
	Blocked  Status = "blocked"  // recorded, but could not be started; later passes try again
	Failed   Status = "failed"   // tried again at Decision.Until, or only after a reset
	Paused   Status = "paused"   // due, and stopped by `imagefactory pause`
	Held     Status = "held"
	// Incomplete means that the newest digest of a base lacks a platform that the image builds.
	Incomplete Status = "incomplete"
	// Untrusted means that the newest digest of a base could not be verified.
	Untrusted Status = "untrusted"
	OptedOut  Status = "optedOut"
	Unknown   Status = "unknown"
)

// Statuses lists every status in the order in which they are shown.
func Statuses() []Status {
	return []Status{Due, Starting, Running, Blocked, Waiting, Paused, Failed, Held, Incomplete, Untrusted, OptedOut, Unknown, Current}
}

// Busy reports whether the image takes one of the concurrent rebuilds of its forge.
func (s Status) Busy() bool { return s == Starting || s == Running }

// Decision is the status of an image and the reasons for it.
type Decision struct {
	Image  string            `json:"image"`
	Owner  string            `json:"owner,omitempty"` // of images.yaml, as are Labels
	Labels map[string]string `json:"labels,omitempty"`
	Status Status            `json:"status"`
	Reason string            `json:"reason"`
	Since  time.Time         `json:"since,omitzero"`  // when it became due, or the rebuild was requested
	Until  time.Time         `json:"until,omitzero"`  // end of the wait
	After  string            `json:"after,omitempty"` // ancestor that it waits for
	// Stop is what keeps an image that is due from being rebuilt now; "" if nothing does.
	Stop Stop `json:"stop,omitempty"`
	// StopAhead is what keeps an image from being rebuilt before Until, although its digest ripens sooner.
	StopAhead Stop `json:"stopAhead,omitempty"`
	// Urgent are the findings that make the rebuild urgent.
	Urgent  []string       `json:"urgent,omitempty"`
	Rebuild string         `json:"rebuild,omitempty"` // ID of the rebuild that is running or would be started
	Bases   []BaseDecision `json:"bases,omitempty"`
	Targets []state.Target `json:"targets,omitempty"` // bases that make it due
	// Queued is the reason why an image that is due is not started now.
	Queued string `json:"queued,omitempty"`
	// Failure is the message of the last rebuild if it failed or is unproven.
	Failure string `json:"failure,omitempty"`
	// RunURL is the URL of the last rebuild's run if the rebuild is active, failed or unproven.
	RunURL string `json:"runURL,omitempty"`
	// AnalysisError is the error of the last analysis of the Dockerfile, if it failed.
	AnalysisError string `json:"analysisError,omitempty"`
	// Pins are the pinned references that a pull request is to move, and PullRequest is the one that is open.
	Pins        []PinUpdate        `json:"pins,omitempty"`
	PullRequest *state.PullRequest `json:"pullRequest,omitempty"`
	// PinsStop is what keeps the pull request from being opened or brought up to date now: a pause, or the windows.
	PinsStop string `json:"pinsStop,omitempty"`

	pinsUrgent bool
	released   bool // it brings a digest that a person has released since the last automatic rebuild
}

// Origin is the source of a digest in the lock.
type Origin string

// Origins of a digest in the lock.
const (
	FromRipe      Origin = "ripe"      // the newest candidate that has ripened or was released
	FromOlder     Origin = "older"     // the newest ripe digest before the withdrawn or held one that the image is built on
	FromBuilt     Origin = "built"     // the digest that the published image was built on
	FromBaseline  Origin = "baseline"  // the digest of the tag when the base image was first recorded
	FromPublished Origin = "published" // the digest that the parent published last
	FromPin       Origin = "pinned"    // the digest in the Dockerfile
	FromNowhere   Origin = "unknown"   // no digest is known yet
)

// BaseDecision is the decision on one reference: the digest that a build should use, and the newer one that waits.
type BaseDecision struct {
	Ref      string         `json:"ref"`
	Parent   string         `json:"parent,omitempty"` // managed image that publishes it
	Base     string         `json:"base,omitempty"`   // name of the base image
	Lock     state.Snapshot `json:"lock,omitzero"`
	Origin   Origin         `json:"origin"`
	Due      bool           `json:"due,omitempty"`      // the image is to be rebuilt, because it was not built on Lock
	Since    time.Time      `json:"since,omitzero"`     // when it became due
	Waiting  string         `json:"waiting,omitempty"`  // newest digest that is not due yet
	Moved    time.Time      `json:"moved,omitzero"`     // when the tag moved to Waiting
	Until    time.Time      `json:"until,omitzero"`     // when it becomes due if the tag does not move again
	Outdated time.Time      `json:"outdated,omitzero"`  // since when the tag has held a newer digest than the image was built on
	Released bool           `json:"released,omitempty"` // Lock was released before it had ripened
	Urgent   []string       `json:"urgent,omitempty"`   // findings that the rebuild for it fixes, and that make it urgent
	Held     bool           `json:"held,omitempty"`     // a newer digest is held
	OnHeld   bool           `json:"onHeld,omitempty"`   // the image is built on a held digest
	// Withdrawn reports whether the tag went back from a newer digest. It may return to it without new Freight.
	Withdrawn bool `json:"withdrawn,omitempty"`
	// Missing are the platforms of the image that the newest digest lacks, although an earlier one had them.
	Missing   []string `json:"missing,omitempty"`
	Untrusted string   `json:"untrusted,omitempty"` // why the newest digest could not be verified
	Unripe    string   `json:"unripe,omitempty"`    // why the published image should not have been built on its digest, as [Past.Unripe]
	Current   string   `json:"current,omitempty"`   // digest of the tag now
	// Pin is where a pull request is to move the pin; nil if it stays.
	Pin *PinUpdate `json:"pin,omitempty"`
	// Merged is until when an image whose pin has moved is left to the build that the merge started.
	Merged time.Time `json:"merged,omitzero"`

	released time.Time // when a person released a digest that makes it due, or a parent published one
	left     time.Time // when the digest that the image is built on was held, if that makes it due
	fixes    string    // reason of a release by a scan
}

// tag returns the reference as people write it, without a digest.
func (b *BaseDecision) tag() string {
	tag, _, _ := strings.Cut(state.Short(b.Ref), "@")
	return tag
}

// Outdated returns since when a base image has held something newer than what the image was built on, whether or not it is due;
// the zero time if none has. A candidate that is held or was withdrawn does not count.
func (dec *Decision) Outdated() time.Time {
	var first time.Time
	for i := range dec.Bases {
		if t := dec.Bases[i].Outdated; !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Stuck reports whether the image has been due for longer than limit, and nothing that a person has set keeps it from being
// started. An image that fails or runs is not stuck.
func (dec *Decision) Stuck(now time.Time, limit time.Duration) bool {
	return !dec.Since.IsZero() && now.Sub(dec.Since) > limit && dec.Unstarted() && dec.Status != Starting && dec.Status != Failed
}

// Unstarted reports whether the image is due and waits to be started, or for another attempt.
func (dec *Decision) Unstarted() bool {
	switch dec.Status {
	case Due, Blocked, Starting, Failed:
		return true
	case Waiting:
		return dec.After != ""
	}
	return false
}

// Decide returns the decisions on all enrolled images, parents first.
func Decide(cfg *config.Config, st *state.State, g *graph.Graph, now time.Time) []Decision {
	d := NewDecider(cfg, st, g, now)
	out := make([]Decision, 0, len(cfg.Images))
	for _, name := range g.Order() {
		out = append(out, d.Decide(name))
	}
	setQueued(cfg, out)
	return out
}

// Lock returns the digest that a build of the image should use for each reference, from state alone.
func Lock(img *config.Image, st *state.State, g *graph.Graph, now time.Time) []BaseDecision {
	return lockAt(img, st, g, now, now)
}

// lockAt returns the lock as it was at a time, from the facts that are known at clock.
func lockAt(img *config.Image, st *state.State, g *graph.Graph, at, clock time.Time) []BaseDecision {
	d := decider{st: st, g: g, now: at, clock: clock, tags: map[tagKey][]candidate{}}
	return d.bases(img, st.Images[img.Name])
}

// Recheck returns the names of the base images whose tags must be resolved again before a rebuild starts: those that are
// due or waiting for any image, and those whose tag may return to a withdrawn digest or is being completed.
func Recheck(decisions []Decision) []string {
	var out []string
	for _, dec := range decisions {
		for _, b := range dec.Bases {
			if b.Base != "" && (b.Due || b.Pin != nil || !b.Until.IsZero() || b.Withdrawn || len(b.Missing) > 0) {
				out = append(out, b.Base)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// RetryAfter returns the backoff after a number of failures in a row: an hour after the first, four times as long after
// each further one.
func RetryAfter(failures int) time.Duration {
	d := time.Hour
	for range min(failures, MaxFailures) - 1 {
		d *= 4
	}
	return d
}

type decider struct {
	cfg      *config.Config
	st       *state.State
	g        *graph.Graph
	now      time.Time          // time of the decision
	clock    time.Time          // time now, which no fact can be after; later than now for a decision in the past
	blockers map[string]blocker // by image: what its descendants wait for
	tags     map[tagKey][]candidate
}

// blocker is an image that is due or running, at or above another one. Its descendants wait until parentWait after since.
type blocker struct {
	image string
	since time.Time
	idle  bool // it is due, and stopped: urgent descendants do not wait for it
}

func (b blocker) blocks(now time.Time) bool { return b.image != "" && within(b.since, now, parentWait) }

// within reports whether less than wait has passed since t. A time in the future counts as long past, so that nothing
// waits for it.
func within(t, now time.Time, wait time.Duration) bool {
	return now.Sub(t) < wait && !state.At(t).Ahead(now)
}

func (d *decider) image(img *config.Image) Decision {
	facts := d.st.Images[img.Name]
	dec := Decision{Image: img.Name, Owner: img.Owner, Labels: img.Labels}
	switch {
	case d.st.Unreadable(state.ImagesFolder, img.Name):
		dec.Status, dec.Reason = Unknown, "its state file cannot be read"
		return dec
	case facts == nil:
		dec.Status, dec.Reason = Unknown, "never analyzed"
		return dec
	case !img.Managed():
		d.external(&dec, facts)
		return dec
	}
	dec.Failure, dec.AnalysisError = failureOf(facts.Rebuild), state.Text(facts.AnalysisError)
	dec.Bases = d.bases(img, facts)
	if r := facts.Rebuild; r != nil && (r.Status.Active() || dec.Failure != "") {
		dec.RunURL = state.Text(r.RunURL)
	}
	d.desired(&dec, img, facts)
	d.proposed(&dec, img, facts)
	ancestor := d.blockingAncestor(&dec)
	own := d.applyHolds(&dec, img, facts, ancestor)
	if own.blocks(d.now) && (!own.since.Before(ancestor.since) || ancestor.idle && !own.idle) {
		ancestor = own
	}
	if ancestor.blocks(d.now) {
		d.blockers[img.Name] = ancestor
	}
	return dec
}

func (d *decider) external(dec *Decision, facts *state.Image) {
	if facts.CurrentDigest == "" {
		dec.Status, dec.Reason = Unknown, "external image, registry not asked yet"
		return
	}
	dec.Status, dec.Reason = Current, "external image, watched"
	if facts.CurrentVersion != "" {
		dec.Reason += " at " + facts.CurrentVersion
	}
}

// desired sets the status that follows from state alone: due, waiting, held, unknown or current.
func (d *decider) desired(dec *Decision, img *config.Image, facts *state.Image) {
	broken := facts.Dockerfile == nil && facts.AnalysisError != "" // its build can only fail
	if !facts.Unpublished.IsZero() && facts.CurrentDigest == "" && !broken {
		dec.Status, dec.Reason, dec.Since = Due, "never published", pastOnly(facts.Unpublished, d.clock)
	}
	var waiting, leaving, held, onHeld, untrusted, unknown, lost []string
	for _, b := range dec.Bases {
		switch {
		case d.st.Unreadable(state.BasesFolder, b.Base), d.st.Unreadable(state.ImagesFolder, b.Parent):
			lost = append(lost, b.tag())
		case b.Due:
			dec.Targets = append(dec.Targets, state.Target{Ref: b.Ref, Snapshot: b.Lock})
			dec.Urgent = append(dec.Urgent, b.Urgent...)
			if dec.Status != Due || b.Since.Before(dec.Since) {
				dec.Since = b.Since
			}
			dec.Status, dec.Until = Due, time.Time{}
		case !b.Until.IsZero():
			if b.Waiting == b.Lock.Digest {
				leaving = append(leaving, b.tag())
			} else {
				waiting = append(waiting, b.tag()+" moved "+ago(d.now.Sub(b.Moved)))
			}
			if dec.Status != Due && (dec.Until.IsZero() || b.Until.Before(dec.Until)) {
				dec.Until = b.Until
			}
		case b.Held && b.OnHeld:
			onHeld = append(onHeld, b.tag())
		case b.Held:
			held = append(held, b.tag())
		case b.Untrusted != "":
			untrusted = append(untrusted, b.tag()+": "+state.Text(b.Untrusted))
		case b.Origin == FromNowhere:
			unknown = append(unknown, b.tag())
		}
	}
	slices.Sort(dec.Urgent)
	dec.Urgent = slices.Compact(dec.Urgent)
	incomplete := lacking(dec.Bases)
	switch {
	case len(lost) > 0:
		dec.unsure("the state file of " + strings.Join(lost, ", ") + " cannot be read")
	case facts.CurrentDigest == "" && len(facts.Uncounted) > 0:
		dec.unsure("no published tag counts (" + strings.Join(facts.Uncounted, ", ") + "): set `tags`")
	case len(dec.Targets) > 0:
		dec.Reason = dueReason(dec.Bases)
	case dec.Status == Due: // never published
	case len(waiting)+len(leaving) > 0:
		dec.Status, dec.Reason = Waiting, waitingReason(waiting, leaving, img)
		if incomplete != "" {
			dec.Reason += "; " + incomplete
		}
		d.stopAhead(dec, img, facts)
	case len(onHeld) > 0:
		dec.Status, dec.Reason = Held, fmt.Sprintf(builtOnHeld, strings.Join(onHeld, ", "))+"; waits for another digest that it can use"
	case len(held) > 0:
		dec.Status, dec.Reason = Held, "newer digest of "+strings.Join(held, ", ")+" is held"
	case incomplete != "":
		dec.Status, dec.Reason = Incomplete, incomplete
	case len(untrusted) > 0:
		dec.Status, dec.Reason = Untrusted, "newest digest is not trusted: "+strings.Join(untrusted, ", ")
	case len(facts.Unresolved) > 0:
		u := facts.Unresolved[0]
		dec.Status, dec.Reason = Unknown, fmt.Sprintf("cannot resolve %s on line %d of the Dockerfile: no value for %s", u.Text, u.Line, strings.Join(u.Variables, ", "))
	case facts.Dockerfile == nil && dec.AnalysisError != "":
		dec.Status, dec.Reason = Unknown, "last analysis failed: "+dec.AnalysisError
	case facts.Dockerfile == nil:
		dec.Status, dec.Reason = Unknown, "Dockerfile not analyzed yet"
	case len(unknown) > 0:
		dec.Status, dec.Reason = Unknown, "registry not asked yet for "+strings.Join(unknown, ", ")
	case facts.CurrentDigest == "":
		dec.unsure("its published tags are not known yet")
	default:
		dec.Status, dec.Reason = Current, "up to date"
	}
	if unripe := builtOnUnripe(dec.Bases); unripe != "" && (dec.Status == Current || dec.Status == Waiting) {
		dec.Reason += "; " + unripe
	}
}

// lacking returns which platforms the newest digests of bases lack, or "".
func lacking(bases []BaseDecision) string {
	var out []string
	for i := range bases {
		if b := &bases[i]; len(b.Missing) > 0 {
			out = append(out, b.tag()+" lacks "+strings.Join(b.Missing, ", "))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "newest digest of " + strings.Join(out, "; ")
}

// unsure resets the decision to Unknown, because it was made without knowing the published image.
func (dec *Decision) unsure(reason string) {
	dec.Status, dec.Reason, dec.Targets, dec.Urgent, dec.Since, dec.Until = Unknown, reason, nil, nil, time.Time{}, time.Time{}
}

// applyHolds downgrades a due decision that must not start yet: rebuild in flight, retry backoff, opted out, waiting for a
// parent. It returns the image itself as a blocker if its descendants have to wait for it.
func (d *decider) applyHolds(dec *Decision, img *config.Image, facts *state.Image, ancestor blocker) blocker {
	r := facts.Rebuild
	if r == nil {
		r = &state.Rebuild{}
	}
	failures, requested, ended := r.Failures, r.RequestedAt.Time, r.FinishedAt.Time
	if message, overdue := Overdue(r, d.now); overdue {
		failures, ended, dec.Failure = failures+1, d.now, state.Text(message)
	} else if r.Status.Active() {
		if requested.After(d.now) {
			requested = d.now
		}
		dec.Since, dec.Until, dec.StopAhead, dec.Rebuild = requested, time.Time{}, "", r.ID
		dec.Status, dec.Reason = activeStatus(r, d.now)
		return blocker{image: img.Name, since: requested}
	}
	if !img.Rebuilds() {
		d.optOut(dec)
		return blocker{}
	}
	if dec.Status != Due {
		return blocker{}
	}
	dec.Rebuild = rebuildID(img.Name, dec.Targets, facts.Rebuild)
	own := blocker{image: img.Name, since: d.now}
	if lacks := lacking(slices.DeleteFunc(slices.Clone(dec.Bases), func(b BaseDecision) bool { return b.Origin == FromPin })); lacks != "" && !img.Source.PinsBases() {
		dec.Status, dec.Reason = Incomplete, lacks+", so a build would fail; "+dec.Reason
		return blocker{}
	}
	switch retry := RetryAfter(failures); {
	case failures >= MaxFailures:
		dec.Status = Failed
		dec.Reason = fmt.Sprintf("%d rebuilds failed in a row; no more until `imagefactory reset %s`", failures, img.Name)
		if dec.Failure != "" {
			dec.Reason += "; the last one: " + dec.Failure
		}
		return blocker{}
	case failures > 0 && within(ended, d.now, retry):
		dec.Status, dec.Until = Failed, ended.Add(retry)
		failed := fmt.Sprintf("rebuild failed (%d of %d)", failures, MaxFailures)
		if dec.Failure != "" {
			failed += ": " + dec.Failure
		}
		dec.Reason = failed + "; " + dec.Reason
		return blocker{image: img.Name, since: requested}
	case alreadyBuilt(r, dec.Targets) && within(ended, d.now, repeatAfter):
		dec.Status, dec.Until = Waiting, ended.Add(repeatAfter)
		dec.Reason += "; already rebuilt for it, next attempt after " + config.Duration(repeatAfter).String()
		return blocker{}
	case failures > 0:
		own.since = requested
	case !img.Source.Triggerable():
		own.since = dec.Since
	}
	if d.stop(dec, img, facts) {
		return blocker{image: img.Name, since: dec.Since, idle: true}
	}
	if ancestor.blocks(d.now) {
		dec.Status, dec.After, dec.Until = Waiting, ancestor.image, ancestor.since.Add(parentWait)
		dec.Reason = fmt.Sprintf("waits for %s (at most %s more)", dec.After, inHours(dec.Until.Sub(d.now)))
	}
	return own
}

// optOut sets the status of an image that is not rebuilt automatically. Its reason keeps what would make it due.
func (d *decider) optOut(dec *Decision) {
	switch dec.Status {
	case Due, Waiting, Held, Incomplete, Untrusted:
		dec.Reason = "autoRebuild is false; " + dec.Reason
	default:
		dec.Reason = "autoRebuild is false"
	}
	dec.Status, dec.Since, dec.Until = OptedOut, time.Time{}, time.Time{}
}

// alreadyBuilt reports whether a rebuild that counts as built was for exactly these targets. Another one would hardly change
// what is published.
func alreadyBuilt(r *state.Rebuild, targets []state.Target) bool {
	return len(targets) > 0 && r.Status.CountsAsBuilt() && slices.EqualFunc(r.Bases, targets, func(a, b state.Target) bool {
		return a.Ref == b.Ref && a.Digest == b.Digest
	})
}

// blockingAncestor returns the ancestor that an image has to wait for the longest. Decisions on ancestors come first. An urgent
// rebuild does not wait for an ancestor that is stopped.
func (d *decider) blockingAncestor(dec *Decision) blocker {
	var longest blocker
	for _, p := range d.g.Parents(dec.Image) {
		if d.pinnedOnly(dec, p) {
			continue // what it publishes reaches the image by a pull request
		}
		if b := d.blockers[p]; b.blocks(d.now) && (!b.idle || len(dec.Urgent) == 0) && (longest.image == "" || b.since.After(longest.since)) {
			longest = b
		}
	}
	return longest
}

// pinnedOnly reports whether an image uses a parent by pinned references alone.
func (d *decider) pinnedOnly(dec *Decision, parent string) bool {
	return !slices.ContainsFunc(dec.Bases, func(b BaseDecision) bool { return b.Parent == parent && b.Origin != FromPin })
}

// activeStatus returns the status of an active rebuild and its reason.
func activeStatus(r *state.Rebuild, now time.Time) (Status, string) {
	switch {
	case r.Status == state.Requested && r.Message != "":
		return Blocked, state.Text(r.Message)
	case r.Status == state.Requested && now.Sub(r.Claimed().Time) < StartGrace:
		return Starting, "being started: " + state.Text(r.Reason)
	case r.Status == state.Requested:
		return Blocked, "the last pass was interrupted before it started the rebuild; the next pass starts it"
	case r.Status == state.Built:
		return Running, "build succeeded; the new image was not seen yet"
	default:
		return Running, "rebuild running: " + state.Text(r.Reason)
	}
}

// failureOf returns the message of a rebuild that failed or is unproven, or "".
func failureOf(r *state.Rebuild) string {
	if r == nil || r.Status != state.Unproven && (r.Failures == 0 || r.Status != state.Failed && r.Status != state.WrongBase) {
		return ""
	}
	return state.Text(r.Message)
}

// Startable returns the decisions whose rebuilds may start now, in order, within the free slots of their forges.
func Startable(cfg *config.Config, decisions []Decision) []Decision {
	slots := NewSlots(cfg, decisions)
	var out []Decision
	for _, dec := range decisions {
		if dec.Status == Due && slots.Take(cfg.Find(dec.Image)) {
			out = append(out, dec)
		}
	}
	return out
}

// setQueued sets Queued on the due decisions that cannot start now.
func setQueued(cfg *config.Config, decisions []Decision) {
	slots := NewSlots(cfg, decisions)
	for i := range decisions {
		dec := &decisions[i]
		if dec.Status != Due {
			continue
		}
		switch img := cfg.Find(dec.Image); {
		case !img.Source.Triggerable():
			dec.Queued = "start the build by hand: source.provider is " + string(img.Source.Provider)
		case !slots.Take(img):
			dec.Queued = fmt.Sprintf("waits for a free slot: at most %d at once on %s (factory.maxConcurrentRebuilds)", *cfg.Factory.MaxConcurrent, img.Source.BuildHost())
		}
	}
}

// Slots counts the free slots of each forge: how many more rebuilds it may run at once.
type Slots struct {
	busy  map[string]int // by host
	limit int
}

// NewSlots returns the slots that are left beside the rebuilds that are running or starting.
func NewSlots(cfg *config.Config, decisions []Decision) *Slots {
	s := &Slots{busy: map[string]int{}, limit: *cfg.Factory.MaxConcurrent}
	for i := range decisions {
		if img := cfg.Find(decisions[i].Image); decisions[i].Status.Busy() && img.Managed() {
			s.busy[img.Source.BuildHost()]++
		}
	}
	return s
}

// Free returns how many slots the forge of an image has left.
func (s *Slots) Free(img *config.Image) int { return max(s.limit-s.busy[img.Source.BuildHost()], 0) }

// Take takes a slot for an image and reports whether one was free.
func (s *Slots) Take(img *config.Image) bool {
	if !img.Source.Triggerable() || s.Free(img) == 0 {
		return false
	}
	s.busy[img.Source.BuildHost()]++
	return true
}

// waitingReason returns why an image waits: a tag moved, or the image is built on a withdrawn digest.
func waitingReason(moved, withdrawn []string, img *config.Image) string {
	var parts []string
	if len(moved) > 0 {
		parts = append(parts, strings.Join(moved, ", ")+"; "+img.Delay().String()+" delay")
	}
	if len(withdrawn) > 0 {
		parts = append(parts, fmt.Sprintf(builtOnWithdrawn, strings.Join(withdrawn, ", ")))
	}
	return strings.Join(parts, "; ")
}

// ago returns a text such as "2d ago", in the largest unit.
func ago(d time.Duration) string {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := d / unit.d; n > 0 {
			return fmt.Sprintf("%d%s ago", n, unit.name)
		}
	}
	return "just now"
}

// inHours returns a text such as "1d4h", rounded up to hours.
func inHours(d time.Duration) string {
	return config.Duration((d + time.Hour - 1).Truncate(time.Hour)).String()
}

const (
	builtOnWithdrawn = "built on a withdrawn digest of %s"
	builtOnHeld      = "built on a held digest of %s"
)

// dueReason returns why an image with these bases is due.
func dueReason(bases []BaseDecision) string {
	var urgent, newer, released, withdrawn, held, parents, pins []string
	for i := range bases {
		switch b := &bases[i]; {
		case !b.Due:
		case b.Origin == FromPin:
			pins = append(pins, state.Short(b.Ref))
		case b.Parent != "":
			parents = append(parents, b.Parent)
		case b.Origin == FromOlder && b.OnHeld:
			held = append(held, b.tag())
		case b.Origin == FromOlder:
			withdrawn = append(withdrawn, b.tag())
		case len(b.Urgent) > 0:
			urgent = append(urgent, fmt.Sprintf("newer digest of %s %s", b.tag(), state.Text(b.fixes)))
		case b.Released:
			released = append(released, b.tag())
		default:
			newer = append(newer, b.tag())
		}
	}
	parts := urgent
	add := func(refs []string, format string) {
		if len(refs) > 0 {
			parts = append(parts, fmt.Sprintf(format, strings.Join(refs, ", ")))
		}
	}
	add(newer, "newer digest of %s is due")
	add(released, "newer digest of %s was released")
	add(withdrawn, builtOnWithdrawn)
	add(held, builtOnHeld)
	add(pins, "not built on %s, which the Dockerfile pins")
	if parents = slices.Compact(slices.Sorted(slices.Values(parents))); len(parents) > 1 {
		add(parents, "parents %s were published")
	} else {
		add(parents, "parent %s was published")
	}
	return strings.Join(parts, "; ")
}

// PlatformsOf returns the platforms that a reference is used for, sorted.
func PlatformsOf(img *config.Image, uses []state.Use) []string {
	if !slices.ContainsFunc(uses, func(u state.Use) bool { return u.Platform != "" }) && len(img.Source.Platforms) == 1 {
		return img.Source.Platforms
	}
	var out []string
	for _, u := range uses {
		if u.Platform != "" {
			out = append(out, u.Platform)
		} else {
			out = append(out, img.Source.Platforms...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
