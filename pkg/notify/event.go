// Package notify tells people what a pass recorded: it finds the events in a change of the state, and sends messages about them
// to Slack, Microsoft Teams, Matrix, by mail, and as CloudEvents to webhooks.
package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Event is something that a change of the state recorded. Its texts hold one line each, without control characters.
type Event struct {
	Kind   config.Event `json:"event"`
	Image  string       `json:"image,omitempty"`
	Base   string       `json:"baseImage,omitempty"` // reference
	Digest string       `json:"digest,omitempty"`    // of the base image
	Images []string     `json:"images,omitempty"`    // that use the base image
	Owners []string     `json:"owners,omitempty"`    // of the images
	Text   string       `json:"text"`
	Fix    string       `json:"fix,omitempty"` // command for a person
	URL    string       `json:"url,omitempty"` // of the run
	Time   time.Time    `json:"time"`
	// ID is the same whoever finds the event.
	ID string `json:"id"`

	images []*config.Image // whose channels receive it; none for the whole fleet
}

// Change is a saved change of the state.
type Change struct {
	Config        *config.Config
	Graph         *graph.Graph
	Changed       []string          // state files, below the state folder
	Before, After map[string][]byte // content by file
	Source        string            // URL of the state repository
	Time          time.Time
}

const (
	maxListed = 20 // images and owners in an event, and events in a message
	minute    = "2006-01-02 15:04 MST"
)

// Events returns the events of a change, in the order of its files.
func (c *Change) Events() []Event {
	var out []Event
	for _, file := range c.Changed {
		before, after := c.Before[file], c.After[file]
		switch path.Dir(file) {
		case state.ImagesFolder:
			out = append(out, c.imageEvents(state.Versions[state.Image](before, after))...)
		case state.BasesFolder:
			out = append(out, c.baseEvents(state.Versions[state.Base](before, after))...)
		case path.Dir(state.PauseFile):
			out = append(out, c.pauseEvents(state.Versions[state.Pauses](before, after))...)
		}
	}
	return out
}

// event completes an event that is about images; fact distinguishes it from others of its kind.
func (c *Change) event(e Event, fact string, images ...*config.Image) Event {
	e.images, e.Time = images, c.Time.UTC().Truncate(time.Second)
	e.Text, e.URL = state.Text(e.Text), sanitize.URL(e.URL)
	for _, img := range images {
		if img.Owner != "" && !slices.Contains(e.Owners, img.Owner) && len(e.Owners) < maxListed {
			e.Owners = append(e.Owners, img.Owner)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{c.Source, string(e.Kind), e.Image, e.Base, e.Digest, fact}, "\n")))
	e.ID = hex.EncodeToString(sum[:16])
	return e
}

// ForImage returns an event that is about an image.
func ForImage(e Event, img *config.Image) Event {
	e.Image, e.images = img.Name, []*config.Image{img}
	return e
}

func (c *Change) imageEvents(old, now *state.Image) (out []Event) {
	if now == nil || old == nil { // removed, or new: what comes back from the archive is no news
		return nil
	}
	img := c.Config.Find(now.Name)
	if img == nil {
		return nil
	}
	for _, r := range ended(old, now) {
		was := old.Rebuild
		if was == nil || was.ID != r.ID {
			was = &state.Rebuild{}
		}
		if e, is := rebuildEvent(img.Name, was, r, now); is {
			e.Image = img.Name
			out = append(out, c.event(e, r.ID, img))
		}
	}
	if !now.Stuck.IsZero() && old.Stuck.IsZero() {
		text := fmt.Sprintf("%s has been due since %s, and could not be started", img.Name, now.Stuck.UTC().Format(minute))
		if r := now.Rebuild; r != nil && r.Status == state.Requested && r.Message != "" {
			text += ": " + r.Message
		}
		out = append(out, c.event(Event{Kind: config.EventStuck, Image: img.Name, Text: text, Fix: "imagefactory describe " + img.Name}, now.Stuck.String(), img))
	}
	return out
}

// ended returns the rebuilds that may have changed: the last one, and the one before it if it was the last.
func ended(old, now *state.Image) (out []*state.Rebuild) {
	if old.Rebuild != nil && now.Rebuild != nil && now.Rebuild.ID != old.Rebuild.ID {
		for i := range now.RebuildHistory {
			if r := &now.RebuildHistory[i]; r.ID == old.Rebuild.ID {
				out = append(out, r)
			}
		}
	}
	if now.Rebuild != nil {
		out = append(out, now.Rebuild)
	}
	return out
}

func rebuildEvent(name string, was, r *state.Rebuild, now *state.Image) (e Event, is bool) {
	if was.Status == r.Status {
		return e, false
	}
	e.URL = r.RunURL
	switch r.Status {
	case state.Running:
		e.Kind, e.Text = config.EventStarted, fmt.Sprintf("rebuild of %s started: %s", name, r.Reason)
	case state.Succeeded, state.Unproven:
		e.Kind, e.Text = config.EventSucceeded, fmt.Sprintf("%s was rebuilt", name)
		if now.CurrentVersion != "" {
			e.Text += " and published as " + now.CurrentVersion
		}
		e.Text += ": " + r.Reason
	case state.Failed, state.WrongBase:
		e.Kind, e.Text = config.EventFailed, fmt.Sprintf("rebuild of %s failed (%d of %d)", name, r.Failures, policy.MaxFailures)
		if r.Failures >= policy.MaxFailures {
			e.Kind, e.Text = config.EventFailedForGood, fmt.Sprintf("%d rebuilds of %s failed in a row, and no other will be started", r.Failures, name)
			e.Fix = "imagefactory reset " + name + " --push --reason TEXT"
		}
		if r.Message != "" {
			e.Text += ": " + r.Message
		}
	default:
		return e, false
	}
	return e, true
}

func (c *Change) baseEvents(old, now *state.Base) (out []Event) {
	if now == nil || old == nil { // as for images
		return nil
	}
	users := c.Graph.Dependents(now.Name)
	if len(users) == 0 {
		return nil
	}
	images := make([]*config.Image, 0, len(users))
	for _, name := range users {
		images = append(images, c.Config.Find(name))
	}
	ref := state.Familiar(now.Ref())
	by := " (used by " + plural.Listed(users, 5) + ")"
	for i := range now.Candidates {
		candidate := &now.Candidates[i]
		was := old.Find(candidate.Digest)
		if was == nil {
			was = &state.Candidate{}
		}
		of := ref + "@" + state.ShortDigest(candidate.Digest)
		e, fact := Event{}, candidate.FirstSeen
		switch {
		case !candidate.Released.Equal(was.Released.Time) && !candidate.Released.IsZero() && len(candidate.Urgent) > 0:
			e, fact = Event{Kind: config.EventUrgent, Text: of + by + " was released before it had ripened: " + candidate.Reason}, candidate.Released
		case !candidate.Held.Equal(was.Held.Time) && !candidate.Held.IsZero():
			e, fact = Event{Kind: config.EventHeld, Text: of + by + " is held: " + candidate.Reason}, candidate.Held
			e.Fix = "imagefactory release " + of + " --push --reason TEXT"
		case candidate.Untrusted != was.Untrusted && candidate.Untrusted != "" && was.Untrusted == "":
			e = Event{Kind: config.EventUntrusted, Text: of + by + " could not be verified: " + candidate.Untrusted, Fix: "imagefactory describe " + ref}
		case !candidate.Withdrawn.IsZero() && was.Withdrawn.IsZero():
			e, fact = Event{Kind: config.EventWithdrawn, Text: of + by + " was withdrawn: the tag went back to " + state.ShortDigest(now.CurrentDigest)}, candidate.Withdrawn
		default:
			continue
		}
		e.Base, e.Digest, e.Images = ref, candidate.Digest, users[:min(len(users), maxListed)]
		out = append(out, c.event(e, fact.String(), images...))
	}
	return out
}

func (c *Change) pauseEvents(old, now *state.Pauses) (out []Event) {
	if old == nil {
		old = &state.Pauses{}
	}
	if now == nil {
		now = &state.Pauses{}
	}
	add := func(name string, was, is *state.Pause) {
		what, e, images := "rebuilds of all images", Event{Image: name}, []*config.Image(nil)
		if name != "" {
			what, images = "rebuilds of "+name, []*config.Image{c.Config.Find(name)}
			if images[0] == nil {
				return
			}
		}
		fact := ""
		switch {
		case is != nil && (was == nil || !was.At.Equal(is.At.Time)):
			e.Kind, e.Text, fact = config.EventPaused, what+" are "+is.String(), is.At.String()
		case is == nil && was != nil && !was.Over(c.Time):
			e.Kind, e.Text, fact = config.EventResumed, what+" are no longer paused", was.At.String()
		default:
			return
		}
		out = append(out, c.event(e, fact, images...))
	}
	add("", old.All, now.All)
	for i := range c.Config.Images {
		name := c.Config.Images[i].Name
		was, had := old.Images[name]
		is, has := now.Images[name]
		if had || has {
			add(name, pointer(was, had), pointer(is, has))
		}
	}
	return out
}

func pointer(p state.Pause, given bool) *state.Pause {
	if !given {
		return nil
	}
	return &p
}
