package fleet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Pause keeps the rebuilds of the named images from being started, or all if no name is given. The state changes only in
// memory; package store saves it.
func (f *Fleet) Pause(names []string, p state.Pause) (*Change, error) {
	if err := f.managed(names); err != nil {
		return nil, err
	}
	if p.Over(p.At.Time) {
		return nil, Usagef("--until %s is in the past", p.Until.Format("2006-01-02 15:04 MST"))
	}
	c, err := f.changeAll(func() { f.State.Pause(p, names...) })
	if err != nil {
		return nil, err
	}
	until := "until `imagefactory resume`"
	if !p.Until.IsZero() {
		until = "until " + p.Until.Format("2006-01-02 15:04 MST")
	}
	what := fmt.Sprintf("%s (%q)", pausedImages(names), p.Reason)
	c.Done, c.Plan = fmt.Sprintf("paused %s: no rebuild starts %s", what, until), "pause "+what
	return c, nil
}

// Resume ends the pause of the named images, or that of all if no name is given.
func (f *Fleet) Resume(names []string) (*Change, error) {
	pauses := f.State.Pauses
	for _, name := range names {
		if pauses == nil || pauses.Images[name].At.IsZero() {
			if err := f.managed([]string{name}); err != nil {
				return nil, err
			}
			if pauses != nil && pauses.All != nil {
				return nil, Usagef("%s is not paused by itself: all images are (run `imagefactory resume` without a name)", name)
			}
			return nil, Usagef("%s is not paused", name)
		}
	}
	if len(names) == 0 && (pauses == nil || pauses.All == nil) {
		if pauses == nil {
			return nil, Usagef("nothing is paused")
		}
		return nil, Usagef("not all images are paused, but %s; name what to resume", plural.Listed(f.paused(), 3))
	}
	c, err := f.changeAll(func() { f.State.Resume(names...) })
	if err != nil {
		return nil, err
	}
	what := pausedImages(names)
	c.Done, c.Plan = "resumed "+what+": rebuilds that are due start again", "resume "+what
	if still := f.paused(); len(names) == 0 && len(still) > 0 {
		c.Done += "; still paused: " + plural.Listed(still, 3)
	} else if f.State.Pauses != nil && f.State.Pauses.All != nil {
		c.Done = "resumed " + what + "; all images are still paused"
	}
	return c, nil
}

// paused returns the images that are paused by themselves, sorted.
func (f *Fleet) paused() []string {
	if f.State.Pauses == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(f.State.Pauses.Images))
}

// managed returns an error if one of the names is not that of an image which is rebuilt.
func (f *Fleet) managed(names []string) error {
	for _, name := range names {
		img, err := f.Image(name)
		if err != nil {
			return err
		}
		if !img.Managed() {
			return Usagef("%s is an external image: it is never rebuilt", name)
		}
	}
	return nil
}

func pausedImages(names []string) string {
	if len(names) == 0 {
		return "all images"
	}
	return plural.Listed(names, 3)
}
