package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/window"
)

// Window is a recurring time in which rebuilds may start (Allow), or may not (Deny).
type Window struct {
	Kind     WindowKind `yaml:"kind" jsonschema:"required,enum=Allow,enum=Deny" jsonschema_description:"Allow: rebuilds start only in an Allow window. Deny: no rebuild starts in it, whatever the Allow windows are."`
	Schedule string     `yaml:"schedule" jsonschema:"required" jsonschema_description:"When the window begins, in cron syntax with five fields."`
	Duration Duration   `yaml:"duration" jsonschema:"required" jsonschema_description:"How long it lasts from each beginning, such as 8h or 2d."`
	TimeZone string     `yaml:"timeZone" jsonschema_description:"IANA time zone of the schedule, such as Europe/Berlin. Default UTC."`
	Urgent   bool       `yaml:"urgent" jsonschema_description:"true: urgent rebuilds may start whether or not the window lets others."`
}

// WindowKind is what a window does.
type WindowKind string

// Kinds of windows, as in Kargo.
const (
	Allow WindowKind = "Allow"
	Deny  WindowKind = "Deny"
)

// Interval returns the least time between two automatic rebuilds; 0 for none.
func (i *Image) Interval() Duration { return *i.RebuildInterval }

// OpenWindows returns the windows of the image and those of all images.
func (i *Image) OpenWindows() window.Set { return i.windows }

// setWindows compiles the windows of the factory and of the images. Validation has accepted them.
func (c *Config) setWindows() {
	all := compile(nil, c.Factory.Windows)
	for i := range c.Images {
		if img := &c.Images[i]; img.Managed() {
			img.windows = compile(all, img.Windows)
		}
	}
}

// compile returns the set with more windows.
func compile(set window.Set, more []Window) window.Set {
	set = slices.Clip(set)
	for i := range more {
		w := &more[i]
		schedule, err := window.Parse(w.Schedule)
		zone, badZone := window.LoadZone(w.TimeZone)
		if err == nil && badZone == nil {
			set = append(set, window.Window{Deny: w.Kind == Deny, Urgent: w.Urgent, Schedule: schedule, Duration: w.Duration.Std(), Zone: zone})
		}
	}
	return set
}

// checkSchedule returns what is wrong with the schedule of a CronJob. The library panics on a time zone without fields.
func checkSchedule(text string) error {
	if strings.Contains(text, "TZ=") && !strings.Contains(text, " ") {
		return errors.New("want five fields after the time zone")
	}
	_, err := cron.ParseStandard(text)
	return err
}

func (v *validator) windows(n *yaml.Node, at string, list []Window) {
	if n == nil || n.Kind != yaml.SequenceNode {
		return
	}
	for i := range list {
		w, entry, at := &list[i], n.Content[i], fmt.Sprintf("%s[%d]", at, i)
		if entry.Kind != yaml.MappingNode {
			continue // reported by the decoder
		}
		for _, key := range []string{"kind", "schedule", "duration"} {
			if child(entry, key) == nil {
				v.missing(entry, key, at+" has no "+key)
			}
		}
		if kind := child(entry, "kind"); kind != nil && w.Kind != Allow && w.Kind != Deny {
			v.add(finding.BadValue, kind, fmt.Sprintf("%s.kind: invalid kind %q", at, w.Kind), "use Allow or Deny")
		}
		if schedule := child(entry, "schedule"); schedule != nil {
			_, err := window.Parse(w.Schedule)
			v.check(schedule, at+".schedule", err)
		}
		if duration := child(entry, "duration"); duration != nil && duration.Value == "0" {
			v.add(finding.BadValue, duration, at+".duration: want more than 0", "")
		}
		_, err := window.LoadZone(w.TimeZone)
		v.check(child(entry, "timeZone"), at+".timeZone", err)
	}
}
