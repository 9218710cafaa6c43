package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// PauseFile is the state file of the pauses, below the state folder.
const PauseFile = "pause.yaml"

// Pauses keep rebuilds from being started: those of all images, or of single ones.
type Pauses struct {
	All    *Pause           `yaml:"all,omitempty"`
	Images map[string]Pause `yaml:"images,omitempty"` // by name
	Extra  Extra            `yaml:",inline"`
}

// Pause is why and how long no rebuild is started.
type Pause struct {
	Reason string `yaml:"reason" json:"reason"`
	By     string `yaml:"by,omitempty" json:"by,omitempty"` // who paused
	At     Time   `yaml:"at" json:"at"`
	Until  Time   `yaml:"until,omitempty" json:"until,omitzero"` // zero until `imagefactory resume`
	Extra  Extra  `yaml:",inline" json:"-"`
}

// Over reports whether the pause has ended by itself.
func (p *Pause) Over(now time.Time) bool { return !p.Until.IsZero() && !p.Until.After(now) }

// PauseOf returns the pause of an image, its own or that of all images, or nil. If both last, it is the one that ends later.
func (s *State) PauseOf(image string, now time.Time) *Pause {
	if s.Pauses == nil {
		return nil
	}
	all := s.Pauses.All
	if all != nil && all.Over(now) {
		all = nil
	}
	own, ok := s.Pauses.Images[image]
	switch {
	case !ok || own.Over(now):
		return all
	case all == nil || !all.Until.IsZero() && (own.Until.IsZero() || own.Until.After(all.Until.Time)):
		return &own
	}
	return all
}

// Pause records a pause of the named images, or of all if no name is given.
func (s *State) Pause(p Pause, names ...string) {
	pauses := s.pauses()
	if len(names) == 0 {
		pauses.All = &p
	}
	for _, name := range names {
		if pauses.Images == nil {
			pauses.Images = map[string]Pause{}
		}
		pauses.Images[name] = p
	}
	s.Pauses = pauses
}

// Resume ends the pause of the named images, or that of all if no name is given.
func (s *State) Resume(names ...string) {
	pauses := s.pauses()
	if len(names) == 0 {
		pauses.All = nil
	}
	for _, name := range names {
		delete(pauses.Images, name)
	}
	if s.Pauses = pauses; pauses.All == nil && len(pauses.Images) == 0 && len(pauses.Extra) == 0 {
		s.Pauses = nil
	}
}

func (p *Pauses) encode() ([]byte, error) { return encode(p) }

// faults returns the pauses that cannot have been written by this program.
func (p *Pauses) faults() []Fault {
	var f faults
	for name := range p.Images {
		if !fileName().MatchString(name + ".yaml") {
			f.add(name, "invalid image name %q", name)
		}
	}
	return f.list
}

// changes describes how the pauses differ from old, one line per change.
func (p *Pauses) changes(old *Pauses) (out []string) {
	add := func(name string, was, is *Pause) {
		switch {
		case is == nil && was != nil:
			out = append(out, name+": resumed")
		case is != nil && (was == nil || !is.Equal(was)):
			out = append(out, name+": "+is.String())
		}
	}
	add("all images", old.All, p.All)
	names := slices.Concat(slices.Collect(maps.Keys(old.Images)), slices.Collect(maps.Keys(p.Images)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		add(name, pauseIn(old.Images, name), pauseIn(p.Images, name))
	}
	return out
}

func pauseIn(images map[string]Pause, name string) *Pause {
	if p, ok := images[name]; ok {
		return &p
	}
	return nil
}

// Equal reports whether two pauses are the same.
func (p *Pause) Equal(q *Pause) bool {
	return p.Reason == q.Reason && p.By == q.By && p.At.Equal(q.At.Time) && p.Until.Equal(q.Until.Time)
}

// String returns a text such as "paused by alice until 2026-06-08 08:00 UTC: release week".
func (p *Pause) String() string {
	var b strings.Builder
	b.WriteString("paused")
	if p.By != "" {
		b.WriteString(" by " + Text(p.By))
	}
	if !p.Until.IsZero() {
		fmt.Fprintf(&b, " until %s", p.Until.UTC().Format("2006-01-02 15:04 MST"))
	}
	return b.String() + ": " + Text(p.Reason)
}

// pauses returns a copy of the pauses, for a change.
func (s *State) pauses() *Pauses {
	if s.Pauses == nil {
		return &Pauses{}
	}
	out := *s.Pauses
	out.Images = maps.Clone(out.Images)
	return &out
}
