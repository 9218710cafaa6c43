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
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// publicationFound is what the registry holds of one enrolled image.
type publicationFound struct {
	tag         string // the newest that counts
	snapshot    state.Snapshot
	decided     *registry.Choice          // with the rule that was decided now
	again       bool                      // because of a rebuild that was not seen
	unpublished bool                      // by the registry's own word
	uncounted   []string                  // tags that exist, while none counts
	others      map[string]state.Snapshot // what the tags hold that other images are built on
	created     time.Time
	builtOn     []state.BuiltOn
	warnings    []string
	notSeen     bool // ctx ended before it was known what it was built on
	unlooked    bool // state has it from elsewhere, and nobody looked at what it was built on
	err         error
}

// baseFound is what the tag of one base image holds.
type baseFound struct {
	snapshot state.Snapshot
	err      error
}

// published looks at what registries hold of enrolled images and records what their tags hold.
func (a *analysis) published(ctx context.Context, names []string) {
	tags := a.tagsInUse()
	a.images = each(ctx, a, a.tasks(ctx, names, a.registryOf), func(ctx context.Context, name string) *publicationFound {
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

// tagsInUse are the tags of repositories that Dockerfiles build on, sorted.
func (a *analysis) tagsInUse() map[string][]string {
	out := map[string][]string{}
	for _, facts := range a.State.Images {
		for _, use := range facts.BaseImages {
			ref, err := state.ParseRef(use.Ref)
			if repository := ref.Registry + "/" + ref.Repository; err == nil && !ref.Pinned() && !slices.Contains(out[repository], ref.Tag) {
				out[repository] = append(out[repository], ref.Tag)
			}
		}
	}
	for _, tags := range out {
		slices.Sort(tags)
	}
	return out
}

func (a *analysis) observe(ctx context.Context, img *config.Image, tags []string) *publicationFound {
	p := &publicationFound{others: map[string]state.Snapshot{}}
	facts := a.State.Images[img.Name]
	if facts != nil && facts.Repository != img.Ref() {
		facts = nil // what is known is about another repository
	}
	a.choose(ctx, img, facts, p)
	var none *registry.NoneCountsError
	switch {
	case errors.Is(p.err, registry.ErrUnpublished):
		p.unpublished, p.err = true, nil
		if facts != nil && facts.CurrentDigest != "" {
			p.warnings = append(p.warnings, "nothing is published any longer at "+img.Ref()+": what is known of it stays")
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
			continue // by the registry's word not one of its tags: it stays a base image
		}
		if p.err = err; err != nil {
			return p
		}
		p.others[tag] = s
	}
	return p
}

// choose finds the published tag that counts. The rule for that is decided where images.yaml does not say it and nothing was
// decided before, or where that holds no longer.
func (a *analysis) choose(ctx context.Context, img *config.Image, facts *state.Image, p *publicationFound) {
	wanted, decided := graph.TagsOf(img, facts)
	p.again = decided && img.Tags == nil && policy.Unseen(facts.Rebuild) && facts.Rebuild.FinishedAt.After(facts.Tags.DecidedAgain.Time)
	if p.again || !decided {
		wanted, decided = config.Tags{}, false
	}
	choice, err := a.Registry.Newest(ctx, img.Ref(), wanted, decided, known(facts))
	if decided && img.Tags == nil && holdsNoLonger(&choice, err) {
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

// holdsNoLonger reports whether a rule that was decided earlier finds nothing, by the alphabet something else than a date, or
// what is not the last of its series.
func holdsNoLonger(c *registry.Choice, err error) bool {
	var none *registry.NoneCountsError
	if err != nil {
		return errors.As(err, &none)
	}
	return c.Outgrown != "" || c.Used.Strategy == config.Lexical && !registry.IsDate(c.Tag)
}

// known returns what the tags of an image were last seen to hold.
func known(facts *state.Image) registry.Known {
	return func(tag string) *state.Snapshot {
		if facts != nil {
			if before := facts.PublishedTag(tag); before != nil && len(before.Platforms) > 0 { // earlier versions took a chart for an image without platforms
				return &before.Snapshot
			}
		}
		return nil
	}
}

// tagOf is what a tag of an enrolled image holds.
func (a *analysis) tagOf(ctx context.Context, img *config.Image, facts *state.Image, tag string) (state.Snapshot, error) {
	ref, err := state.ParseRef(img.Ref() + ":" + tag)
	if err != nil {
		return state.Snapshot{}, err
	}
	return a.snapshot(ctx, ref, known(facts)(tag))
}

// tags looks at what tags of base images hold, and at all that were never looked at, and records it.
func (a *analysis) tags(ctx context.Context, scope Scope) {
	var names []string
	wanted := setOf(scope.Bases)
	for _, name := range a.Graph.Bases() {
		if base := a.State.Bases[name]; base != nil && (scope.AllBases || base.Baseline == nil || wanted[name]) {
			names = append(names, name)
		}
	}
	a.Progress.Add(len(names))
	a.asked = setOf(names)
	a.bases = each(ctx, a, a.tasks(ctx, names, a.tagsOf(names)), func(ctx context.Context, name string) *baseFound {
		base := a.State.Bases[name]
		found := &baseFound{}
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

// tagsOf returns how to make the task of each base image. It is for the image that uses the fewest of them, among those that
// use it: so an image that uses a hundred delays only itself.
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

// evidence finds what new images were built on, and records the images with it: half of it would be the wrong outcome of a
// rebuild.
func (a *analysis) evidence(ctx context.Context, names []string) {
	var fresh []string
	for _, name := range names {
		if p := a.images[name]; p != nil && p.err == nil && !p.unpublished && a.Config.Find(name).Managed() &&
			(p.unlooked || a.State.Images[name].CurrentDigest != p.snapshot.Digest) {
			fresh = append(fresh, name)
		}
	}
	a.Progress.Add(len(fresh))
	done := each(ctx, a, a.tasks(ctx, fresh, a.registryOf), func(ctx context.Context, name string) bool {
		a.images[name].err = a.examine(ctx, a.Config.Find(name))
		return true
	})
	looked := setOf(fresh)
	for _, name := range a.Graph.Order() {
		p := a.images[name]
		if p != nil && looked[name] && !done[name] {
			p.notSeen, p.err = true, nil // its error says nothing
		}
		if p != nil && p.unlooked && (p.err != nil || p.notSeen) {
			a.State.Images[name].Published = nil // the next analysis looks again
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

// examine finds out about a new image of ours.
func (a *analysis) examine(ctx context.Context, img *config.Image) error {
	p := a.images[img.Name]
	ref, err := state.ParseRef(img.Ref() + ":" + p.tag)
	if err != nil {
		return err
	}
	ref.Digest = p.snapshot.Digest
	if a.State.Images[img.Name].CurrentDigest == "" { // it is believed of the first one only
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

// basesOf lists what an image's build uses, with what is known of each.
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
