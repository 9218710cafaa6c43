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

// UnknownConfig is an image that Dockerfiles build on whose config is not known: neither its ONBUILD triggers nor its
// environment.
type UnknownConfig struct {
	Ref   string `json:"ref"`
	Error string `json:"error,omitempty"` // empty if no registry was asked
}

// configKey identifies the config of an image that Dockerfiles build on.
type configKey struct{ ref, platform string }

// configResult is the result of reading a config. Its field partial is nil if the ONBUILD triggers are not known.
type configResult struct {
	digest         string // that the reference resolves to
	partial, whole *dockerfile.BaseConfig
	err            error
}

// configs holds the configs that an analysis wants and has read.
type configs struct {
	mu     sync.Mutex
	wanted map[configKey]bool // true if more than the triggers is wanted
	read   map[configKey]*configResult
}

// baseConfig returns a lookup of the known configs of images that a Dockerfile builds on. It records which ones are wanted.
func (a *analysis) baseConfig(d *dockerfileResult) dockerfile.BaseFunc {
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

// readConfigs reads the wanted configs from registries and resolves the affected Dockerfiles again. ONBUILD triggers can add
// further images to a build, so it repeats until no config is missing.
func (a *analysis) readConfigs(ctx context.Context) {
	const rounds = 10 // more than any ordinary build needs
	for range rounds {
		keys := a.configs.missing()
		if len(keys) == 0 || ctx.Err() != nil {
			return
		}
		a.Progress.Add(len(keys))
		read := forEach(ctx, a, a.tasks(ctx, slices.Sorted(maps.Keys(keys)), a.configsOf(keys)), func(ctx context.Context, text string) *configResult {
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
		maps.Copy(a.files, forEach(ctx, a, a.tasks(ctx, again, a.sourceOf), func(ctx context.Context, name string) *dockerfileResult {
			return a.resolveAgain(ctx, name)
		}))
	}
}

// configsOf returns a function that makes the task of reading a config. Its owner is the image that wants the fewest configs,
// so that an image that wants many does not delay the others.
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

// configDigest returns the digest by which the config for a platform is read: that of its manifest, or that of the index if
// several manifests match (versions of an operating system).
func configDigest(s state.Snapshot, platform string) string {
	if len(s.Manifests(platform)) > 1 {
		return s.Digest
	}
	return s.Effective(platform)
}

// resolveAgain resolves a Dockerfile that was read before with the configs known by now.
func (a *analysis) resolveAgain(ctx context.Context, name string) *dockerfileResult {
	old := a.files[name]
	d := &dockerfileResult{
		file: old.file, before: old.before, revert: old.revert, img: old.img, build: old.build, parts: old.parts, linkWarnings: old.linkWarnings,
	}
	d.resolve(ctx, a.baseConfig(d))
	return d
}

// missing returns the configs to read, by task name.
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

// readConfig resolves the reference and reads its config, unless state has the triggers of that digest and they suffice.
func (a *analysis) readConfig(ctx context.Context, k configKey, whole bool) *configResult {
	r := &configResult{}
	ref, err := state.ParseRef(k.ref)
	if err != nil {
		return &configResult{err: err}
	}
	if r.digest = ref.Digest; r.digest == "" {
		s, err := a.snapshot(ctx, ref, a.knownSnapshot(ref))
		if err != nil {
			return &configResult{err: err}
		}
		r.digest = configDigest(s, k.platform)
		if !registry.Holds(s, k.platform) { // an index is pushed one platform at a time: it need not be read again until it changes
			r.err = fmt.Errorf("reading the config of %q: no image for %s", ref, k.platform)
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
	// If the triggers suffice, only they are recorded and used, so that the next analysis has the same result.
	r.partial = r.whole
	if sources, ok := r.whole.Sources(ctx); ok {
		r.partial = &dockerfile.BaseConfig{OnBuild: sources, Partial: true}
	}
	return r
}

// knownSnapshot returns the snapshot of a tag in state, or nil.
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

// recordedTriggers returns the triggers in state of the current digest of a tag, or nil.
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

// triggersOf returns the triggers of a digest in state, or nil.
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

// manifestOf returns the digest by which the config is read, for a digest that the tag of a base image has or had. A pinned
// reference may name an index.
func manifestOf(base *state.Base, digest, platform string) string {
	if s := base.Seen(digest); s != nil && len(s.Platforms) > 0 {
		return configDigest(*s, platform)
	}
	return digest
}

// snapshot resolves a tag, once per analysis.
func (a *analysis) snapshot(ctx context.Context, ref state.Ref, known *state.Snapshot) (state.Snapshot, error) {
	return a.snapshots.get(ctx, ref.String(), func() (state.Snapshot, error) { return a.Registry.Snapshot(ctx, ref, known) })
}

// unknownConfigs returns the images whose config is not known. It omits those that are reported elsewhere: tags that could
// not be resolved, and enrolled images that were never published.
func (a *analysis) unknownConfigs() []UnknownConfig {
	unknown := map[string]error{}
	for _, d := range a.files {
		for _, k := range d.unknown {
			switch r := a.configs.read[k]; {
			case r != nil:
				unknown[k.ref] = r.err
			case a.Registry != nil: // no time was left
				unknown[k.ref] = fmt.Errorf("reading the config of %q: not read in this run", k.ref)
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

// recordTriggers records the ONBUILD triggers of the current digests of base images.
func (a *analysis) recordTriggers() {
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

// once calls a function once per key and shares its result among callers. The zero value is ready to use.
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

// get returns the result of do for the key. A call that was interrupted by the end of ctx is repeated by the next caller.
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
