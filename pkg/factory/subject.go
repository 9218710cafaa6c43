package factory

import (
	"context"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// Subject is what an event told of: a digest that was seen under a tag of an enrolled image or of a base image.
type Subject struct {
	Image  string // name of the enrolled image; else
	Base   string // name of the base image
	Tag    string
	Digest string
}

// Name says what the subject is.
func (s Subject) Name() string {
	if s.Image != "" {
		return s.Image
	}
	return s.Base
}

// Used says whether the fleet has any use for the subject. It may have been enrolled no longer when the event came.
func (f *Fleet) Used(s Subject) bool {
	if s.Image != "" {
		return f.Config.Find(s.Image) != nil
	}
	return len(f.Graph.Dependents(s.Base)) > 0
}

// Recorded says whether state knows already what the event told of, because another analysis was faster.
func (f *Fleet) Recorded(s Subject) bool {
	if s.Image != "" {
		facts := f.State.Images[s.Image]
		return facts != nil && s.Digest != "" && facts.CurrentDigest == s.Digest &&
			(facts.Dockerfile != nil || !f.Config.Find(s.Image).Managed())
	}
	base := f.State.Bases[s.Base]
	if base == nil {
		return false
	}
	seen := base.Seen(s.Digest)
	return seen != nil && len(seen.Platforms) > 0
}

// ScopeOfSubject is the subject, and beside it everything of which news can be expected: one analysis records what it can
// see, so that many events at once cost few commits.
func (f *Fleet) ScopeOfSubject(s Subject) Scope {
	scope := Scope{AllBases: true, turn: rotation{first: map[string]bool{s.Name(): true}}}
	if s.Image != "" {
		scope.Dockerfiles, scope.Published = []string{s.Image}, []string{s.Image}
	}
	for _, name := range f.Graph.Order() {
		facts := f.State.Images[name]
		isNew := facts == nil || facts.Dockerfile == nil && f.Config.Find(name).Managed()
		if isNew && !slices.Contains(scope.Dockerfiles, name) {
			scope.Dockerfiles = append(scope.Dockerfiles, name)
		}
		if expected(facts) && !slices.Contains(scope.Published, name) {
			scope.Published = append(scope.Published, name)
		}
	}
	return scope
}

// expected says whether news of the published image can be expected: it was never looked at, or is being rebuilt.
func expected(facts *state.Image) bool {
	return facts == nil || facts.CurrentDigest == "" && facts.Unpublished.IsZero() ||
		facts.Rebuild != nil && facts.Rebuild.Status.Active()
}

// AnalyzeIn analyzes in a Store: scope says what, for the fleet as it is then; a nil scope ends it without a change. The
// report is that of the last try. A try that takes longer than the timeout, if there is one, records what it has found by
// then.
func AnalyzeIn(ctx context.Context, store Store, sight SightOf, timeout time.Duration, scope func(*Fleet) (*Scope, error)) (*AnalyzeReport, Saved, error) {
	var report *AnalyzeReport
	saved, err := store.Update(ctx, func(ctx context.Context, f *Fleet) (*StateChange, error) {
		report = nil
		what, err := scope(f)
		if err != nil || what == nil {
			return nil, err
		}
		with, err := sight(f)
		if err != nil {
			return nil, err
		}
		within := ctx
		if timeout > 0 {
			var cancel context.CancelFunc
			within, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		if report, err = f.Analyze(within, *what, with); err != nil {
			return nil, err
		}
		report.Interrupted = ctx.Err() != nil
		return &report.StateChange, nil
	})
	return report, saved, err
}

// Late returns how many images and base images were not looked at.
func (r *AnalyzeReport) Late() (images, bases int) {
	for i := range r.Images {
		if r.Images[i].NotSeen {
			images++
		}
	}
	for i := range r.Bases {
		if r.Bases[i].NotSeen {
			bases++
		}
	}
	return images, bases
}

// Done reports whether the subject itself was looked at without an error.
func (r *AnalyzeReport) Done(s Subject) bool {
	for _, img := range r.Images {
		if img.Image == s.Image && s.Image != "" {
			return img.Error == "" && !img.NotSeen
		}
	}
	for _, b := range r.Bases {
		if b.Base == s.Base && s.Base != "" {
			return b.Error == "" && !b.NotSeen
		}
	}
	return true
}
