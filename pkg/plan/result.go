package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// plan returns what was played.
func (f *future) plan() *Plan {
	p := &Plan{
		Now: f.Now, Until: f.until, Schedule: f.Config.Factory.Schedule, Change: f.Change,
		Items: []Entry{}, Dispatches: []Dispatch{}, Skipped: []Skip{}, // never null in JSON
	}
	rebuilt := map[string]bool{}
	for i := range f.entries {
		if e := &f.entries[i]; f.Change == nil || e.affected && !rebuilt[e.Image] {
			p.Items = append(p.Items, e.Entry)
			rebuilt[e.Image] = true
		}
	}
	p.Dispatches = append(p.Dispatches, dispatches(p.Items)...)
	for _, name := range f.Graph.Order() {
		skips := f.skips(f.Config.Find(name), rebuilt)
		p.Skipped = append(p.Skipped, skips...)
		if len(skips) == 0 && !rebuilt[name] {
			p.Others++
		}
	}
	return p
}

// Only returns the part of a plan that is about the given images.
func (p *Plan) Only(images map[string]bool) *Plan {
	out, shown := *p, map[string]bool{}
	out.Items = slices.DeleteFunc(slices.Clone(p.Items), func(e Entry) bool { return !images[e.Image] })
	out.Skipped = slices.DeleteFunc(slices.Clone(p.Skipped), func(s Skip) bool { return !images[s.Image] })
	out.Dispatches = append([]Dispatch{}, dispatches(out.Items)...)
	for i := range out.Items {
		shown[out.Items[i].Image] = true
	}
	for i := range out.Skipped {
		shown[out.Skipped[i].Image] = true
	}
	out.Others = len(images) - len(shown)
	return &out
}

// dispatches counts the builds that start by hour and forge.
func dispatches(items []Entry) []Dispatch {
	type key struct {
		hour  int64
		forge string
	}
	builds := map[key]int{}
	for i := range items {
		if e := &items[i]; e.Status != Running {
			builds[key{e.At.Truncate(time.Hour).Unix(), e.Forge}]++
		}
	}
	var out []Dispatch
	for k, n := range builds {
		out = append(out, Dispatch{time.Unix(k.hour, 0).UTC(), k.forge, n})
	}
	slices.SortFunc(out, func(a, b Dispatch) int { return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.Forge, b.Forge)) })
	return out
}

// skips returns why an image is not rebuilt, or not for one of its references.
func (f *future) skips(img *config.Image, rebuilt map[string]bool) []Skip {
	at, known := f.index[img.Name]
	switch {
	case !img.Managed():
		return nil
	case !known:
		if f.Change != nil {
			return nil // nothing says that it uses what changes
		}
		return []Skip{{Image: img.Name, Cause: SkipUnknown, Why: "never analyzed"}}
	}
	if f.Change != nil {
		return f.unaffected(&f.images[at], rebuilt)
	}
	out := f.pins(&f.images[at])
	if cause := f.cause(&f.images[at], rebuilt[img.Name]); cause != "" {
		out = append(out, f.skip(&f.images[at], cause))
	}
	return out
}

// skip returns why an image is not rebuilt, in the words of the first decision about it that says so.
func (f *future) skip(img *image, cause Cause) Skip {
	s := Skip{Image: img.Name, Cause: cause, Why: img.first.Reason}
	switch {
	case cause == SkipFailed && !gaveUp(&img.first):
		s.Why = img.last.Reason
	case cause == SkipPaused && img.last.Status == policy.Paused:
		s.Why, s.Until = img.last.Reason, img.last.Until
	case cause == SkipManual:
		s.Why += "; start the build by hand: source.provider is " + string(img.Source.Provider)
	case cause == SkipLater && img.last.Until.After(f.until):
		s.Until = img.last.Until
	case cause == SkipLater && img.last.Status == policy.Due:
		s.Why += "; no slot of its forge is free by then"
	}
	return s
}

// pins returns the references of an image that name a digest which the tag no longer holds.
func (f *future) pins(img *image) []Skip {
	var out []Skip
	for i := range img.first.Bases {
		b := &img.first.Bases[i]
		if b.Origin == policy.FromPin && b.Current != "" && b.Current != b.Lock.Digest {
			skip := pinned(img, b.Ref)
			if p := b.Pin; p != nil {
				skip.Why = "pinned, and to be moved by a pull request to " + state.Short(p.To)
			}
			out = append(out, skip)
		}
	}
	return out
}

func pinned(img *image, ref string) Skip {
	why := "pinned to a digest in the Dockerfile: a rebuild cannot move it"
	if img.Source.MovesPins() {
		why = "pinned to a digest in the Dockerfile, until a pull request that moves it is merged"
	}
	return Skip{Image: img.Name, Ref: ref, Cause: SkipPinned, Why: why}
}

// cause returns why an image is not rebuilt although something newer is there, or "".
func (f *future) cause(img *image, rebuilt bool) Cause {
	d := &img.first
	switch {
	case d.Status == policy.OptedOut && slices.ContainsFunc(d.Bases, func(b policy.BaseDecision) bool {
		return b.Due || b.Held || len(b.Missing) > 0 || b.Untrusted != "" || !b.Until.IsZero()
	}):
		return SkipOptedOut
	case rebuilt:
		return ""
	case d.Status == policy.Paused, img.last.Status == policy.Paused:
		return SkipPaused
	case d.Status == policy.Held:
		return SkipHeld
	case d.Status == policy.Incomplete:
		return SkipIncomplete
	case d.Status == policy.Untrusted:
		return SkipUntrusted
	case gaveUp(d), gaveUp(&img.last):
		return SkipFailed
	case d.Status == policy.Unknown:
		return SkipUnknown
	case (d.Status == policy.Due || img.last.Status == policy.Due) && !img.Source.Triggerable():
		return SkipManual
	case d.Status == policy.Due, d.Status == policy.Waiting, d.Status == policy.Blocked, d.Status == policy.Failed:
		return SkipLater
	}
	return ""
}

// gaveUp reports whether an image is due and not rebuilt again, because too many rebuilds of it failed.
func gaveUp(d *policy.Decision) bool { return d.Status == policy.Failed && d.Until.IsZero() }

// unaffected returns why an image that is built on what changes, directly or not, does not pick up the Change.
func (f *future) unaffected(img *image, rebuilt map[string]bool) []Skip {
	var out []Skip
	reached := false
	for _, dep := range f.Graph.Deps(img.Name) {
		switch {
		case !f.changes(&dep, rebuilt):
		case dep.Ref.Pinned():
			out = append(out, pinned(img, dep.Ref.String()))
		default:
			reached = true
		}
	}
	if !reached || rebuilt[img.Name] {
		return out
	}
	cause := f.cause(img, false)
	switch {
	case cause != "":
		return append(out, f.skip(img, cause))
	case !img.Rebuilds():
		return append(out, Skip{Image: img.Name, Cause: SkipOptedOut, Why: "autoRebuild is false"})
	}
	return append(out, Skip{Image: img.Name, Cause: SkipCurrent, Why: "it uses a tag that does not move with it"})
}

// changes reports whether a reference of an image changes by the Change.
func (f *future) changes(dep *graph.Dep, rebuilt map[string]bool) bool {
	c := f.Change
	switch {
	case dep.Parent != "":
		return dep.Parent == c.Image || rebuilt[dep.Parent]
	case c.Image != "": // a pinned reference to its repository
		ref, err := state.ParseRef(c.Ref)
		return err == nil && dep.Ref.Registry == ref.Registry && dep.Ref.Repository == ref.Repository
	default:
		return dep.Base != "" && dep.Base == c.Base
	}
}
