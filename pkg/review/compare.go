package review

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// images compares the enrolled images.
func (c *comparison) images() {
	names := slices.Concat(c.before.Config.Names(), c.after.Config.Names())
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		img := plan.ImageDiff{Name: name, Change: plan.Changed}
		old, now := c.before.Config.Find(name), c.after.Config.Find(name)
		switch {
		case old == nil:
			img.Change = plan.Added
		case now == nil:
			img.Change = plan.Removed
		default:
			img.Settings = settings(old, now)
		}
		if c.before.unread[name] || c.after.unread[name] {
			c.diff.Unread = append(c.diff.Unread, name)
		}
		c.uses(&img)
		if img.Change != plan.Changed || len(img.Bases)+len(img.Parents)+len(img.Settings) > 0 {
			c.diff.Images = append(c.diff.Images, img)
		}
	}
}

// uses compares the bases and parents of an image, unless one side is not known.
func (c *comparison) uses(img *plan.ImageDiff) {
	if c.before.failed[img.Name] || c.after.failed[img.Name] {
		return
	}
	oldBases, oldParents := c.before.uses(img.Name)
	newBases, newParents := c.after.uses(img.Name)
	for _, p := range difference(newParents, oldParents) {
		img.Parents = append(img.Parents, plan.ParentDiff{Change: plan.Added, Name: p})
	}
	for _, p := range difference(oldParents, newParents) {
		img.Parents = append(img.Parents, plan.ParentDiff{Change: plan.Removed, Name: p})
	}
	gone := difference(oldBases, newBases)
	for _, ref := range difference(newBases, oldBases) {
		at := slices.IndexFunc(gone, func(old string) bool { return repository(old) == repository(ref) })
		if at < 0 {
			img.Bases = append(img.Bases, plan.BaseDiff{Change: plan.Added, Ref: ref})
			continue
		}
		img.Bases = append(img.Bases, plan.BaseDiff{Change: plan.Changed, Ref: ref, From: gone[at]})
		gone = slices.Delete(gone, at, at+1)
	}
	for _, ref := range gone {
		img.Bases = append(img.Bases, plan.BaseDiff{Change: plan.Removed, Ref: ref})
	}
}

// uses returns the base images and the parents of an image, sorted.
func (s *side) uses(name string) (bases, parents []string) {
	for _, dep := range s.Graph.Deps(name) {
		if dep.Parent == "" {
			bases = append(bases, dep.Ref.String())
		}
	}
	slices.Sort(bases)
	return slices.Compact(bases), s.Graph.Parents(name)
}

// repository returns a reference without tag and digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref = ref[:colon]
	}
	return ref
}

// difference returns what is in a and not in b.
func difference(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// due finds the images that are due after the change and were not before.
func (c *comparison) due() {
	was := map[string]bool{}
	for _, d := range policy.Decide(c.before.Config, c.before.State, c.before.Graph, c.Now) {
		was[d.Image] = d.Status == policy.Due
	}
	for _, d := range policy.Decide(c.after.Config, c.after.State, c.after.Graph, c.Now) {
		switch {
		case d.Status == policy.Due && !was[d.Image]:
			c.diff.Due = append(c.diff.Due, plan.NewlyDue{Image: d.Image, Reason: d.Reason})
		case d.Status == policy.Unknown && c.before.Config.Find(d.Image) == nil && c.after.Config.Find(d.Image).Rebuilds():
			c.diff.Due = append(c.diff.Due, plan.NewlyDue{Image: d.Image, Reason: "newly enrolled; due at once if its registry holds no image yet"})
		}
	}
}

// findings compares what lint finds. Lines do not count, because they move.
func (c *comparison) findings() {
	old, now := c.before.Lint(c.Now), c.after.Lint(c.Now)
	c.diff.New = append(c.diff.New, findingsIn(now, old)...)
	for _, f := range findingsIn(old, now) {
		// A finding about several images that now names others is new, and not fixed.
		if f.Image != "" || !slices.ContainsFunc(c.diff.New, func(n finding.Finding) bool { return n.Rule == f.Rule && n.Image == "" }) {
			c.diff.Fixed = append(c.diff.Fixed, f)
		}
	}
}

// findingsIn returns the findings in a that are not in b.
func findingsIn(a, b finding.List) finding.List {
	return slices.DeleteFunc(slices.Clone(a), func(f finding.Finding) bool {
		return slices.ContainsFunc(b, func(o finding.Finding) bool { return o.Rule == f.Rule && o.Message == f.Message })
	})
}

// resources compares the Kargo resources.
func (c *comparison) resources() {
	old, err := c.before.Resources()
	if err != nil {
		c.note("Kargo resources could not be compared: %s", err)
		return
	}
	now, err := c.after.Resources()
	if err != nil {
		c.note("Kargo resources could not be compared: %s", err)
		return
	}
	all := maps.Clone(old)
	maps.Copy(all, now)
	keys := slices.SortedFunc(maps.Keys(all), func(a, b fleet.Resource) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	for _, k := range keys {
		change := plan.Changed
		switch {
		case old[k] == nil:
			change = plan.Added
		case now[k] == nil:
			change = plan.Removed
		case bytes.Equal(old[k], now[k]):
			continue
		}
		c.diff.Resources = append(c.diff.Resources, plan.ResourceDiff{Change: change, Kind: k.Kind, Name: k.Name})
	}
}
