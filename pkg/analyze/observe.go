package analyze

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/tagline"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// publicationResult is the result of observing the published tags of one enrolled image.
type publicationResult struct {
	tag         string // the newest tag that matches the rule
	snapshot    state.Snapshot
	decided     *registry.Choice          // set if the tag rule was chosen by this analysis
	again       bool                      // the rule was chosen again because the image of a rebuild was not found
	unpublished bool                      // the registry reports that nothing is published
	uncounted   []string                  // existing tags, if none matches the rule
	others      map[string]state.Snapshot // snapshots of further tags that other images are built on, by tag
	created     time.Time
	builtOn     []state.BuiltOn
	warnings    []string
	notSeen     bool // ctx ended before its base digests were determined
	unlooked    bool // recorded before, but its base digests were never determined
	err         error
}

// baseResult is the result of resolving the tag of one base image.
type baseResult struct {
	snapshot state.Snapshot
	err      error
}

// published observes the tags of the named images and records their digests.
func (a *analysis) published(ctx context.Context, names []string) {
	tags := a.tagsInUse()
	a.images = forEach(ctx, a, a.tasks(ctx, names, a.registryOf), func(ctx context.Context, name string) *publicationResult {
		img := a.Config.Find(name)
		return a.observe(ctx, img, tags[img.Ref()])
	})
	for _, name := range a.Config.Names() {
		p := a.images[name]
		if p != nil && len(p.uncounted) > 0 {
			facts := a.ImageState(a.Config.Find(name))
			facts.Uncounted, facts.Unpublished = p.uncounted, state.Time{}
		}
		if p == nil || p.err != nil {
			continue
		}
		facts := a.ImageState(a.Config.Find(name))
		before := facts.Clone()
		facts.Uncounted = nil
		p.unlooked = facts.CurrentDigest != "" && len(facts.Published) == 0
		if d := p.decided; d != nil {
			facts.DecideTags(string(d.Used.Strategy), d.Used.Constraint, d.PassedOver)
			if p.again {
				facts.Tags.DecidedAgain = state.At(a.now)
			}
		}
		if text := fleet.PassedOver(a.Config.Find(name), facts, p.tag); text != "" {
			p.warnings = append(p.warnings, text+": "+fleet.SetTags)
		}
		if p.unpublished && facts.CurrentDigest == "" && len(facts.Published) == 0 && facts.Unpublished.IsZero() {
			facts.Unpublished = state.At(a.now)
		}
		for tag, s := range p.others {
			facts.ObservePublished(tag, s, a.now)
		}
		if !p.unpublished {
			facts.ObservePublished(p.tag, p.snapshot, a.now)
		}
		if p.err = facts.Writable(); p.err != nil {
			*facts = *before
		}
	}
}

// tagsInUse returns the tags that Dockerfiles build on, sorted, by repository.
func (a *analysis) tagsInUse() map[string][]string {
	out := map[string][]string{}
	for name, facts := range a.State.Images {
		moves := a.Config.Find(name) != nil && a.Config.Find(name).Source.MovesPins()
		for _, use := range facts.BaseImages {
			ref, err := state.ParseRef(use.Ref)
			if repository := ref.Registry + "/" + ref.Repository; err == nil && (!ref.Pinned() || moves) && ref.Tag != "" && !slices.Contains(out[repository], ref.Tag) {
				out[repository] = append(out[repository], ref.Tag)
			}
		}
	}
	for _, tags := range out {
		slices.Sort(tags)
	}
	return out
}

// observe reads the tags of an image from its registry: the newest one, and tags, which other images are built on.
func (a *analysis) observe(ctx context.Context, img *config.Image, tags []string) *publicationResult {
	p, facts := a.chosen[img.Name], a.recordedFor(img)
	if p == nil {
		p = a.newest(ctx, img.Name)
	}
	var none *registry.NoneCountsError
	switch {
	case errors.Is(p.err, registry.ErrUnpublished):
		p.unpublished, p.err = true, nil
		if facts != nil && facts.CurrentDigest != "" {
			p.warnings = append(p.warnings, "nothing is published any longer at "+img.Ref()+"; its state is unchanged")
		}
		return p
	case errors.As(p.err, &none):
		p.uncounted = none.Tags
		return p
	case p.err != nil:
		return p
	}
	if !img.Managed() {
		return p
	}
	for _, tag := range tags {
		if tag == p.tag {
			continue
		}
		s, err := a.tagOf(ctx, img, facts, tag)
		if registry.IsAbsent(err) || errors.Is(err, registry.ErrNoImage) {
			continue // not a tag of this image: it stays a base image
		}
		if p.err = err; err != nil {
			return p
		}
		p.others[tag] = s
	}
	return p
}

// recordedFor returns the facts of an image, or nil if they were recorded for another repository.
func (a *analysis) recordedFor(img *config.Image) *state.Image {
	facts := a.State.Images[img.Name]
	if facts != nil && facts.Repository != img.Ref() {
		return nil
	}
	return facts
}

// newest reads the newest published tag of an image.
func (a *analysis) newest(ctx context.Context, name string) *publicationResult {
	p, img := &publicationResult{others: map[string]state.Snapshot{}}, a.Config.Find(name)
	a.choose(ctx, img, a.recordedFor(img), p)
	return p
}

// choose determines the newest published tag. The tag rule comes from images.yaml, or else from state; without either, or if
// the rule in state no longer fits, choose selects one.
func (a *analysis) choose(ctx context.Context, img *config.Image, facts *state.Image, p *publicationResult) {
	wanted, decided := graph.TagsOf(img, facts)
	p.again = decided && img.Tags == nil && policy.Unseen(facts.Rebuild) && facts.Rebuild.FinishedAt.After(facts.Tags.DecidedAgain.Time)
	if p.again || !decided {
		wanted, decided = config.Tags{}, false
	}
	choice, err := a.Registry.Newest(ctx, img.Ref(), wanted, decided, known(facts))
	if decided && img.Tags == nil && outdated(&choice, err) {
		decided = false
		choice, err = a.Registry.Newest(ctx, img.Ref(), config.Tags{}, false, known(facts))
	}
	p.tag, p.snapshot, p.err = choice.Tag, choice.Snapshot, err
	for _, why := range choice.NotImages {
		p.warnings = append(p.warnings, why+"; the tag does not count (leave it out with `tags`: Kargo takes it for an image)")
	}
	if err == nil && !decided {
		p.decided = &choice
	}
}

// outdated reports whether a recorded tag rule no longer fits: it matches nothing, it selects a non-date tag lexically, or a
// tag that is not the last of its series.
func outdated(c *registry.Choice, err error) bool {
	var none *registry.NoneCountsError
	if err != nil {
		return errors.As(err, &none)
	}
	return c.Outgrown != "" || c.Used.Strategy == config.Lexical && !registry.IsDate(c.Tag)
}

// known returns a lookup of the recorded snapshots of an image's tags.
func known(facts *state.Image) registry.Known {
	return func(tag string) *state.Snapshot {
		if facts != nil {
			if before := facts.PublishedTag(tag); before != nil && len(before.Platforms) > 0 { // earlier versions recorded charts as images without platforms
				return &before.Snapshot
			}
		}
		return nil
	}
}

// tagOf returns the snapshot of a tag of an enrolled image.
func (a *analysis) tagOf(ctx context.Context, img *config.Image, facts *state.Image, tag string) (state.Snapshot, error) {
	ref, err := state.ParseRef(img.Ref() + ":" + tag)
	if err != nil {
		return state.Snapshot{}, err
	}
	return a.snapshot(ctx, ref, known(facts)(tag))
}

// resolveBases resolves the tags of the base images in scope and of those never resolved, and records their digests.
func (a *analysis) resolveBases(ctx context.Context, scope Scope) {
	var names []string
	wanted := setOf(scope.Bases)
	for _, name := range a.Graph.Bases() {
		if base := a.State.Bases[name]; base != nil && (scope.AllBases || base.Baseline == nil || wanted[name]) {
			names = append(names, name)
		}
	}
	a.Progress.Add(len(names))
	a.asked = setOf(names)
	a.bases = forEach(ctx, a, a.tasks(ctx, names, a.tagsOf(names)), func(ctx context.Context, name string) *baseResult {
		base := a.State.Bases[name]
		found := &baseResult{}
		found.snapshot, found.err = a.snapshot(ctx, a.Graph.BaseRef(name), base.Current())
		return found
	})
	for _, name := range names {
		if found := a.bases[name]; found != nil && found.err == nil {
			base := a.State.Bases[name]
			before := base.Clone()
			if base.Observe(found.snapshot, a.now) {
				found.err = base.Writable()
			}
			if found.err != nil {
				*base = *before
			}
		}
	}
}

// recordNewer lists the tags of the repositories of base images, once for each repository, and records which are newer releases.
// What cannot be listed keeps its state.
func (a *analysis) recordNewer(ctx context.Context) {
	repositories := map[string][]string{} // names of base images
	var first []string                    // base image of each repository
	for _, name := range a.Graph.Bases() {
		if a.State.Bases[name] == nil {
			continue
		}
		ref := a.Graph.BaseRef(name)
		at := ref.Registry + "/" + ref.Repository
		if repositories[at] == nil {
			first = append(first, name)
		}
		repositories[at] = append(repositories[at], name)
	}
	a.Progress.Add(len(first))
	lists := forEach(ctx, a, a.tasks(ctx, first, a.tagsOf(first)), func(ctx context.Context, name string) []string {
		ref := a.Graph.BaseRef(name)
		tags, err := a.Registry.Tags(ctx, ref.Registry+"/"+ref.Repository)
		if err != nil {
			return nil // no answer is no finding
		}
		return tags
	})
	for _, name := range first {
		if len(lists[name]) == 0 {
			continue
		}
		ref := a.Graph.BaseRef(name)
		for _, base := range repositories[ref.Registry+"/"+ref.Repository] {
			newer := tagline.NewerThan(a.Graph.BaseRef(base).Tag, lists[name])
			a.State.Bases[base].SetNewer(newer.Release, newer.Line)
		}
	}
}

// tagsOf returns a function that makes the task of each base image. Its owner is, among the images that use it, the one that
// uses the fewest: so an image that uses a hundred delays only itself.
func (a *analysis) tagsOf(bases []string) func(base string) fair.Task {
	uses := map[string]int{}
	for _, base := range bases {
		for _, image := range a.Graph.Dependents(base) {
			uses[image]++
		}
	}
	return func(base string) fair.Task {
		t := fair.Task{Host: a.Graph.BaseRef(base).Registry}
		for _, image := range a.Graph.Dependents(base) {
			if t.Owner == "" || uses[image] < uses[t.Owner] {
				t.Owner = image
			}
		}
		return t
	}
}

// recordBuiltOn determines the base digests of new images and records both together: one without the other would give a
// rebuild the wrong outcome.
func (a *analysis) recordBuiltOn(ctx context.Context, names []string) {
	var fresh []string
	for _, name := range names {
		if p := a.images[name]; p != nil && p.err == nil && !p.unpublished && a.Config.Find(name).Managed() &&
			(p.unlooked || a.State.Images[name].CurrentDigest != p.snapshot.Digest) {
			fresh = append(fresh, name)
		}
	}
	a.Progress.Add(len(fresh))
	done := forEach(ctx, a, a.tasks(ctx, fresh, a.registryOf), func(ctx context.Context, name string) bool {
		a.images[name].err = a.readBuiltOn(ctx, a.Config.Find(name))
		return true
	})
	started := setOf(fresh)
	for _, name := range a.Graph.Order() {
		p := a.images[name]
		if p != nil && started[name] && !done[name] {
			p.notSeen, p.err = true, nil // its error comes from the end of ctx
		}
		if p != nil && p.unlooked && (p.err != nil || p.notSeen) {
			a.State.Images[name].Published = nil // the next analysis tries again
		}
		if p == nil || p.err != nil || p.unpublished || p.notSeen {
			continue
		}
		seen := policy.Publication{Version: p.tag, Digest: p.snapshot.Digest, Created: p.created, BuiltOn: p.builtOn}
		facts := a.State.Images[name]
		before := facts.Clone()
		if policy.RecordPublication(a.Config.Find(name), a.State, a.Graph, seen, a.now) {
			p.err = facts.Writable()
		}
		if p.err != nil {
			*facts = *before
		}
	}
	a.assume()
}

// readBuiltOn reads the base digests of a new image, and the build time of the first one.
func (a *analysis) readBuiltOn(ctx context.Context, img *config.Image) error {
	p := a.images[img.Name]
	ref, err := state.ParseRef(img.Ref() + ":" + p.tag)
	if err != nil {
		return err
	}
	ref.Digest = p.snapshot.Digest
	if a.State.Images[img.Name].CurrentDigest == "" { // later images take the time of their observation
		if p.created, err = a.Registry.Built(ctx, ref, img.Source.Platforms[0]); err != nil {
			return err
		}
	}
	found, err := a.Registry.BuiltOn(ctx, ref, a.basesOf(img))
	if err != nil {
		return err
	}
	p.builtOn = found
	return nil
}

// basesOf returns the base images of an image with their known snapshots.
func (a *analysis) basesOf(img *config.Image) []registry.Base {
	var out []registry.Base
	for _, dep := range a.Graph.Deps(img.Name) {
		b := registry.Base{Ref: dep.Ref, Platforms: policy.PlatformsOf(img, dep.Uses), Final: dep.Final}
		if base := a.State.Bases[dep.Base]; base != nil && base.Baseline != nil {
			b.Known = append(b.Known, base.Baseline.Snapshot)
			for _, c := range base.Candidates {
				b.Known = append(b.Known, c.Snapshot)
			}
		} else if parent := a.State.Images[dep.Parent]; parent != nil {
			if s := parent.PublishedTag(dep.Ref.Tag); s != nil {
				b.Known = append(b.Known, s.Snapshot)
			}
		}
		out = append(out, b)
	}
	return out
}
