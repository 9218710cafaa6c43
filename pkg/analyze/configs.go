package analyze

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// UnknownConfig is an image that Dockerfiles build on and of which the config is not known: neither its ONBUILD triggers
// nor its environment.
type UnknownConfig struct {
	Ref   string `json:"ref"`
	Error string `json:"error,omitempty"` // empty when no registry was asked
}

// configKey identifies the config of an image that Dockerfiles build on.
type configKey struct{ ref, platform string }

// configRead is what was learnt of a config. Partial is nil when its triggers are not known.
type configRead struct {
	digest         string // of what the reference holds now
	partial, whole *dockerfile.BaseConfig
	err            error
}

// configs are those that an analysis has read so far.
type configs struct {
	mu     sync.Mutex
	wanted map[configKey]bool // true where more is wanted than the triggers
	read   map[configKey]*configRead
}

// baseConfig returns what is known of an image that a Dockerfile builds on, and notes that it is wanted.
func (a *analysis) baseConfig(d *dockerfileFound) dockerfile.BaseFunc {
	return func(_ context.Context, text, platform string, whole bool) (found *dockerfile.BaseConfig) {
		ref, err := state.ParseRef(text)
		if err != nil {
			return nil
		}
		k := configKey{ref.String(), platform}
		defer func() { d.asked(k, found, whole) }()
		d.wants = append(d.wants, k)
		a.configs.mu.Lock()
		a.configs.wanted[k] = a.configs.wanted[k] || whole
		r := a.configs.read[k]
		a.configs.mu.Unlock()
		switch {
		case r == nil:
			return a.recordedTriggers(ref, platform)
		case whole && r.whole != nil:
			return r.whole
		}
		return r.partial
	}
}

// readConfigs asks registries for the configs that Dockerfiles want, and resolves the Dockerfiles again for which that is
// news. Triggers can make other images part of a build, so it goes on until nothing more is wanted.
func (a *analysis) readConfigs(ctx context.Context) {
	const rounds = 10 // more than any build needs that was not made to need them
	for range rounds {
		keys := a.configs.missing()
		if len(keys) == 0 || ctx.Err() != nil {
			return
		}
		a.Progress.Add(len(keys))
		read := each(ctx, a, a.tasks(ctx, slices.Sorted(maps.Keys(keys)), a.configsOf(keys)), func(ctx context.Context, text string) *configRead {
			return a.readConfig(ctx, keys[text], a.configs.wanted[keys[text]])
		})
		news := map[configKey]bool{}
		for text, r := range read {
			k := keys[text]
			a.configs.read[k] = r
			ref, _ := state.ParseRef(k.ref)
			news[k] = r.whole != nil || !sameTriggers(r.partial, a.recordedTriggers(ref, k.platform))
		}
		var again []string
		for name, d := range a.files {
			if d.file != nil && slices.ContainsFunc(d.wants, func(k configKey) bool { return news[k] }) {
				again = append(again, name)
			}
		}
		a.Progress.Add(len(again))
		slices.Sort(again)
		maps.Copy(a.files, each(ctx, a, a.tasks(ctx, again, a.sourceOf), func(ctx context.Context, name string) *dockerfileFound {
			return a.resolveAgain(ctx, name)
		}))
	}
}

// configsOf returns the task of reading a config: for the image that wants the fewest, so that one that wants many does not
// keep the others waiting.
func (a *analysis) configsOf(keys map[string]configKey) func(text string) fair.Task {
	owners := map[configKey]string{}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		for _, k := range a.files[name].wants {
			if owner, known := owners[k]; !known || len(a.files[name].wants) < len(a.files[owner].wants) {
				owners[k] = name
			}
		}
	}
	return func(text string) fair.Task {
		k := keys[text]
		ref, _ := state.ParseRef(k.ref) // it was parsed when it was found
		return fair.Task{Host: ref.Registry, Owner: owners[k]}
	}
}

// configDigest returns the digest that the config for a platform is read by: that of its manifest, or of the index when the
// manifests of several versions of an operating system are for it.
func configDigest(s state.Snapshot, platform string) string {
	if len(s.Manifests(platform)) > 1 {
		return s.Digest
	}
	return s.Effective(platform)
}

// resolveAgain resolves a Dockerfile that was read.
func (a *analysis) resolveAgain(ctx context.Context, name string) *dockerfileFound {
	old := a.files[name]
	d := &dockerfileFound{file: old.file, before: old.before, revert: old.revert}
	d.resolve(ctx, a.Config.Find(name), a.baseConfig(d))
	return d
}

// missing returns the configs to read, by a name for each.
func (c *configs) missing() map[string]configKey {
	out := map[string]configKey{}
	for k, whole := range c.wanted {
		if r := c.read[k]; r == nil || whole && r.whole == nil && r.err == nil {
			out[k.ref+" "+k.platform] = k
		}
	}
	return out
}

func sameTriggers(x, y *dockerfile.BaseConfig) bool {
	return x == nil && y == nil || x != nil && y != nil && slices.Equal(x.OnBuild, y.OnBuild)
}

// readConfig finds out what the reference holds now, and reads its config unless state has the triggers of that.
func (a *analysis) readConfig(ctx context.Context, k configKey, whole bool) *configRead {
	r := &configRead{}
	ref, err := state.ParseRef(k.ref)
	if err != nil {
		return &configRead{err: err}
	}
	if r.digest = ref.Digest; r.digest == "" {
		s, err := a.snapshot(ctx, ref, a.knownSnapshot(ref))
		if err != nil {
			return &configRead{err: err}
		}
		r.digest = configDigest(s, k.platform)
		if !registry.Holds(s, k.platform) { // an index is pushed one platform at a time: it need not be read again until it changes
			r.err = fmt.Errorf("reading the config of %q: there is no image for %s", ref, k.platform)
			return r
		}
	}
	if r.partial = a.triggersOf(ref, k.platform, r.digest); r.partial != nil && !whole {
		return r
	}
	ref.Digest = r.digest
	data, err := a.Registry.Config(ctx, ref, k.platform)
	if err == nil {
		if r.whole, err = dockerfile.ParseBaseConfig(data); err != nil {
			err = fmt.Errorf("reading the config of %q: %w", ref, err)
		}
	}
	if r.err = err; err != nil {
		r.whole = nil
		return r
	}
	// Where the triggers are enough, they are what state will have: the next analysis comes to the same end.
	r.partial = r.whole
	if sources, ok := r.whole.Sources(ctx); ok {
		r.partial = &dockerfile.BaseConfig{OnBuild: sources, Partial: true}
	}
	return r
}

// knownSnapshot returns what state knows a tag to hold, nil when it knows nothing.
func (a *analysis) knownSnapshot(ref state.Ref) *state.Snapshot {
	if base := a.State.Base(ref.String()); base != nil {
		return base.Current()
	}
	for i := range a.Config.Images {
		img := &a.Config.Images[i]
		if facts := a.State.Images[img.Name]; facts != nil && img.Ref() == ref.Registry+"/"+ref.Repository {
			if p := facts.PublishedTag(ref.Tag); p != nil {
				return &p.Snapshot
			}
		}
	}
	return nil
}

// recordedTriggers returns the triggers that state has of what a tag held last, nil when it has none.
func (a *analysis) recordedTriggers(ref state.Ref, platform string) *dockerfile.BaseConfig {
	base := a.State.Base(ref.String())
	switch {
	case base == nil || base.Current() == nil:
		return nil
	case ref.Pinned():
		return a.triggersOf(ref, platform, ref.Digest)
	}
	return a.triggersOf(ref, platform, configDigest(*base.Current(), platform))
}

// triggersOf returns the triggers that state has of a digest, nil when it has none.
func (a *analysis) triggersOf(ref state.Ref, platform, digest string) *dockerfile.BaseConfig {
	base := a.State.Base(ref.String())
	if base == nil {
		return nil
	}
	t := base.TriggersOf(platform, manifestOf(base, digest, platform))
	if t == nil {
		return nil
	}
	c, err := dockerfile.KnownTriggers(t.OnBuild)
	if err != nil { // not written by us
		return nil
	}
	return c
}

// manifestOf returns the digest that the config is read by of a digest that the tag of a base image has held. A reference
// that is pinned gives that of an index.
func manifestOf(base *state.Base, digest, platform string) string {
	if s := base.Seen(digest); s != nil && len(s.Platforms) > 0 {
		return configDigest(*s, platform)
	}
	return digest
}

// snapshot resolves a tag, once in an analysis.
func (a *analysis) snapshot(ctx context.Context, ref state.Ref, known *state.Snapshot) (state.Snapshot, error) {
	return a.snapshots.get(ctx, ref.String(), func() (state.Snapshot, error) { return a.Registry.Snapshot(ctx, ref, known) })
}

// unknownConfigs lists the images of which the config is not known. It leaves out what is reported anyway: a tag that
// could not be resolved, and an enrolled image that was never published.
func (a *analysis) unknownConfigs() []UnknownConfig {
	unknown := map[string]error{}
	for _, d := range a.files {
		for _, k := range d.unknown {
			switch r := a.configs.read[k]; {
			case r != nil:
				unknown[k.ref] = r.err
			case a.Registry != nil: // the time ran out
				unknown[k.ref] = fmt.Errorf("reading the config of %q: not looked at in this run", k.ref)
			default:
				unknown[k.ref] = nil
			}
		}
	}
	var out []UnknownConfig
	for _, text := range slices.Sorted(maps.Keys(unknown)) {
		u, err := UnknownConfig{Ref: text}, unknown[text]
		if err != nil {
			u.Error = err.Error()
		}
		ref, _ := state.ParseRef(text)
		base := a.bases[a.Graph.BaseName(ref)]
		if base != nil && base.err != nil && !ref.Pinned() || registry.IsNotFound(err) && a.enrolled(ref) {
			continue
		}
		out = append(out, u)
	}
	return out
}

func (a *analysis) enrolled(ref state.Ref) bool {
	return slices.ContainsFunc(a.Config.Images, func(img config.Image) bool { return img.Ref() == ref.Registry+"/"+ref.Repository })
}

// rememberTriggers records the triggers of what the tags of base images hold.
func (a *analysis) rememberTriggers() {
	for k, r := range a.configs.read {
		base := a.State.Base(k.ref)
		if base == nil || r.whole == nil || r.partial == r.whole {
			continue
		}
		digest := manifestOf(base, r.digest, k.platform)
		if now := base.Seen(base.CurrentDigest); now != nil && configDigest(*now, k.platform) == digest {
			base.SetTriggers(state.Triggers{Platform: k.platform, Digest: digest, OnBuild: r.partial.OnBuild})
		}
	}
}

// once does things once by key, for many callers. The zero value is ready.
type once[T any] struct {
	mu   sync.Mutex
	jobs map[string]*job[T]
}

type job[T any] struct {
	busy  chan struct{}
	done  bool
	value T
	err   error
}

// get returns what do returns. What was stopped because ctx ended is done again.
func (o *once[T]) get(ctx context.Context, key string, do func() (T, error)) (T, error) {
	o.mu.Lock()
	if o.jobs == nil {
		o.jobs = map[string]*job[T]{}
	}
	j := o.jobs[key]
	if j == nil {
		j = &job[T]{busy: make(chan struct{}, 1)}
		o.jobs[key] = j
	}
	o.mu.Unlock()
	select {
	case j.busy <- struct{}{}:
		defer func() { <-j.busy }()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	if j.done {
		return j.value, j.err
	}
	value, err := do()
	if err == nil || ctx.Err() == nil {
		j.done, j.value, j.err = true, value, err
	}
	return value, err
}
