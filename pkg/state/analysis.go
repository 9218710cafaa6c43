package state

import (
	"cmp"
	"slices"
)

// SetRepository records the repository that an image is enrolled with. If it changes, the facts about the published image
// are dropped, because they describe the old repository, and an active rebuild fails, because its image would not appear in
// the new one. The history of rebuilds stays.
func (i *Image) SetRepository(repository string) {
	if i.Repository == repository {
		return
	}
	if i.Repository != "" {
		i.BuiltOn, i.Tags, i.Published, i.Uncounted = nil, nil, nil, nil
		i.CurrentVersion, i.CurrentDigest, i.LastBuilt, i.Unpublished = "", "", Time{}, Time{}
		if r := i.Rebuild; r != nil && r.Status.Active() {
			r.Status, r.Message = Failed, "given up: the image is enrolled with another repository now"
		}
	}
	i.Repository = repository
}

// DecideTags records the rule that chooses the published tag, and the tag that speaks against it.
func (i *Image) DecideTags(strategy, constraint, passedOver string) {
	if i.Tags == nil {
		i.Tags = &Tags{}
	}
	i.Tags.Strategy, i.Tags.Constraint, i.Tags.PassedOver = strategy, constraint, passedOver
}

// SetDockerfile records the result of the analysis of a Dockerfile. The commit stays the one at which the content was first
// seen, so that other commits do not change the state.
func (i *Image) SetDockerfile(d Dockerfile, uses []BaseUse, unresolved []Missing) {
	if old := i.Dockerfile; old != nil {
		d.Extra, d.Analysis = old.Extra, old.Analysis
		if old.Repo == d.Repo && old.Path == d.Path && old.Digest == d.Digest && old.Commit != "" {
			d.Commit = old.Commit
		}
	}
	i.Dockerfile = &d
	for n := range uses {
		uses[n].keep(i.BaseImages)
	}
	for n := range unresolved {
		if old := slices.IndexFunc(i.Unresolved, unresolved[n].same); old >= 0 {
			unresolved[n] = i.Unresolved[old]
		}
	}
	i.BaseImages, i.Unresolved = uses, unresolved
}

// SetBuild records how the bake or Compose file says that the image is built; nil if there is none. The commit stays the one at which
// this was first seen.
func (i *Image) SetBuild(b *Build) {
	if old := i.Build; b != nil && old != nil {
		b.Extra = old.Extra
		if old.File == b.File && old.Digest == b.Digest && old.Commit != "" {
			b.Commit = old.Commit
		}
	}
	i.Build = b
}

// Use returns how the Dockerfile uses a reference, or nil.
func (i *Image) Use(ref string) *BaseUse {
	for n := range i.BaseImages {
		if i.BaseImages[n].Ref == ref {
			return &i.BaseImages[n]
		}
	}
	return nil
}

// SetPullRequest records the open pull request that moves pins; nil for none. It reports whether anything changed.
func (i *Image) SetPullRequest(r *PullRequest) bool {
	before := i.PullRequest
	switch {
	case r == nil:
		i.PullRequest = nil
		return before != nil
	case before == nil:
	case r.URL == before.URL && r.Message == before.Message && r.Since.Equal(before.Since.Time) && slices.Equal(r.Pins, before.Pins):
		return false
	default:
		r.Extra = before.Extra
	}
	i.PullRequest = r
	return true
}

// keep copies what is known of the pin, and the keys that a newer version may have added to the known uses.
func (b *BaseUse) keep(known []BaseUse) {
	for _, old := range known {
		if old.Ref != b.Ref {
			continue
		}
		b.Extra, b.Pin = old.Extra, old.Pin
		for n := range b.Uses {
			if o := slices.IndexFunc(old.Uses, func(u Use) bool { return u.Compare(b.Uses[n]) == 0 }); o >= 0 {
				b.Uses[n].Extra = old.Uses[o].Extra
			}
		}
	}
}

func (m Missing) same(o Missing) bool {
	return m.Text == o.Text && m.Line == o.Line && slices.Equal(m.Variables, o.Variables)
}

// UseKey is a Use without its platform; unlike a Use it can be compared.
type UseKey struct {
	kind, file, stage string
	line              int
}

// Key returns the use without its platform.
func (u Use) Key() UseKey { return UseKey{u.Kind, u.File, u.Stage, u.Line} }

// Use returns the use for a platform; "" means all platforms of the image.
func (k UseKey) Use(platform string) Use {
	return Use{Kind: k.kind, File: k.file, Stage: k.stage, Line: k.line, Platform: platform}
}

// Compare orders uses by file, line, then kind, stage and platform.
func (u Use) Compare(o Use) int {
	return cmp.Or(cmp.Compare(u.File, o.File), cmp.Compare(u.Line, o.Line), cmp.Compare(u.Kind, o.Kind), cmp.Compare(u.Stage, o.Stage), cmp.Compare(u.Platform, o.Platform))
}
