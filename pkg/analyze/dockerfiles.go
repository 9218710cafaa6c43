package analyze

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// dockerfileResult is the result of analyzing the Dockerfile of one image.
type dockerfileResult struct {
	file       *source.File
	before     []state.BaseUse // uses recorded by an earlier analysis
	wants      []configKey     // configs of the images that it builds on
	unknown    []configKey     // those of wants that are not known
	uses       []state.BaseUse
	unresolved []state.Missing
	warnings   []string
	err        error
	answer     string // text of err, if it is permanent until the Dockerfile or images.yaml changes
	revert     func() // reverts what was recorded from it

	answers map[configKey]baseAnswer // answers to the lookups in wants
	whole   bool                     // a lookup needed more than triggers
	kept    bool                     // uses includes some of an earlier analysis
	foreign bool                     // the file is written for another frontend

	img          *config.Image // with what its bake or Compose file says
	build        *state.Build  // what the bake or Compose file says; nil without one
	parts        []*part       // the Dockerfile of the image, then those of other targets that are contexts
	linkWarnings []string
}

// dockerfiles reads and resolves the Dockerfiles of the named images and records the result.
func (a *analysis) dockerfiles(ctx context.Context, names []string) {
	a.files = forEach(ctx, a, a.tasks(ctx, names, a.sourceOf), func(ctx context.Context, name string) *dockerfileResult {
		return a.readDockerfile(ctx, a.Config.Find(name))
	})
	if a.Registry != nil {
		a.readConfigs(ctx)
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		switch d, img := a.files[name], a.Config.Find(name); {
		case d.err == nil:
			a.recordDockerfile(img, d)
		case d.answer != "":
			a.ImageState(img).AnalysisError = state.Text(d.answer)
		}
	}
}

func (a *analysis) readDockerfile(ctx context.Context, img *config.Image) *dockerfileResult {
	d := &dockerfileResult{revert: func() {}}
	if !img.Managed() {
		return d
	}
	d.img = img
	if file, _ := img.Source.BuildFile(); file != "" {
		if d.err = a.readBuild(ctx, d, img); d.err != nil {
			return d
		}
		img = d.img
	} else {
		d.parts = []*part{{path: img.Source.Dockerfile, target: img.Source.Target, args: img.Source.BuildArgs, contexts: img.Source.BuildContexts}}
	}
	known := source.Known{}
	if facts := a.State.Images[img.Name]; facts != nil && facts.Dockerfile != nil &&
		facts.Dockerfile.Repo == img.Source.Repo && facts.Dockerfile.Path == img.Source.Dockerfile {
		known = source.Known{Commit: facts.Dockerfile.Commit, Digest: facts.Dockerfile.Digest}
		d.before = facts.BaseImages
	}
	if d.file, d.err = a.readFile(ctx, img, known); d.err == nil {
		d.parts[0].file = d.file
		if !a.reuseAnalysis(d, img) {
			d.resolve(ctx, a.baseConfig(d))
		}
	} else {
		d.unread(img.Source.Dockerfile, d.err)
	}
	return d
}

// unread keeps what an error says about a file of the repository, if it says anything about it.
func (d *dockerfileResult) unread(path string, err error) {
	if text, ok := source.Problem(err); ok {
		d.answer = path + ": " + text
	}
}

// readFile reads the Dockerfile of an image.
func (a *analysis) readFile(ctx context.Context, img *config.Image, known source.Known) (*source.File, error) {
	if file, _ := img.Source.BuildFile(); file != "" {
		return source.Other(ctx, a.Source, img, img.Source.Dockerfile, img.Source.BuildKey(), known)
	}
	return a.Source.Dockerfile(ctx, img, known)
}

// resolveTimeout bounds the work for one Dockerfile. The limits of pkg/dockerfile allow a few seconds per platform.
const resolveTimeout = 30 * time.Second

// resolve determines the images that a build uses, for each platform.
func (d *dockerfileResult) resolve(ctx context.Context, base dockerfile.BaseFunc) {
	within, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	d.resolvePlatforms(within, base)
	if ctx.Err() == nil && errors.Is(d.err, context.DeadlineExceeded) {
		d.err = fmt.Errorf("%s: resolving took longer than %s (split it, or build fewer platforms)", d.file.Path, resolveTimeout)
	}
}

func (d *dockerfileResult) resolvePlatforms(ctx context.Context, base dockerfile.BaseFunc) {
	platforms := d.img.Source.Platforms
	c := &collected{byUse: map[useKey][]string{}, final: map[string]bool{}, missing: map[string]state.Missing{}}
	d.warnings = slices.Clone(d.linkWarnings)
	for _, platform := range platforms {
		final := map[string]bool{} // the targets that the image is built on, as contexts
		for _, p := range d.parts {
			res, err := p.resolve(ctx, platform, base)
			if err == nil {
				err = normalize(res)
			}
			if err != nil {
				if d.err = positioned(p.file.Path, err); ctx.Err() == nil {
					d.answer = positioned(p.path, err).Error()
				}
				return
			}
			inFinal := p.name == "" || final[linkedRef(p.name)]
			for ref, isFinal := range takeLinks(res) {
				final[ref] = final[ref] || isFinal && inFinal
			}
			if d.err = d.collect(c, p, res, platform, inFinal); d.err != nil {
				return
			}
		}
	}
	d.kept = len(c.kept) > 0
	d.uses = withKept(baseUses(c.byUse, c.final, platforms), c.kept)
	d.unresolved = slices.SortedFunc(maps.Values(c.missing), func(x, y state.Missing) int {
		if x.Line != y.Line {
			return x.Line - y.Line
		}
		return strings.Compare(x.Text, y.Text)
	})
}

// collected is what the Dockerfiles of a build use, on all platforms.
type collected struct {
	kept    []state.BaseUse
	byUse   map[useKey][]string // platforms, by use
	final   map[string]bool     // by reference: whether the final stage is built on it
	missing map[string]state.Missing
}

// collect adds what a Dockerfile uses on a platform. inFinal is set if the image is built on the result of this Dockerfile.
func (d *dockerfileResult) collect(c *collected, p *part, res *dockerfile.Resolution, platform string, inFinal bool) error {
	file := ""
	if p.name != "" && p.path != d.parts[0].path {
		file = p.path
	}
	if file == "" {
		c.kept = append(c.kept, d.keeps(res)...)
	}
	d.foreign = d.foreign || res.Foreign
	for _, b := range res.Unknown {
		d.unknown = append(d.unknown, configKey{b.Ref, b.Platform})
	}
	for _, i := range res.Images {
		ref, err := state.ParseRef(i.Ref)
		if err != nil {
			return positioned(p.file.Path, &dockerfile.Error{Line: i.Line, Msg: err.Error()})
		}
		k := useKey{ref: ref.String(), use: state.Use{Kind: string(i.Kind), File: file, Stage: i.Stage, Line: i.Line}.Key()}
		on := platform
		if i.Platform != "" {
			on = i.Platform
		}
		if !slices.Contains(c.byUse[k], on) {
			c.byUse[k] = append(c.byUse[k], on)
		}
		c.final[k.ref] = c.final[k.ref] || i.Final && inFinal
	}
	for _, u := range res.Unresolved {
		if file != "" {
			return positioned(p.file.Path, &dockerfile.Error{Line: u.Line, Msg: fmt.Sprintf("%s cannot be resolved: no value for %s", u.Text, strings.Join(u.Missing, ", "))})
		}
		c.missing[fmt.Sprintf("%d %s", u.Line, u.Text)] = state.Missing{Text: u.Text, Line: u.Line, Variables: u.Missing}
	}
	for _, w := range res.Warnings {
		if text := placeOf(p.file.Path, w.Line) + ": " + w.Message; !slices.Contains(d.warnings, text) {
			d.warnings = append(d.warnings, text)
		}
	}
	return nil
}

// normalize writes references in the canonical form of state. It returns an error for a reference that state cannot hold.
func normalize(res *dockerfile.Resolution) error {
	for n := range res.Images {
		i := &res.Images[n]
		ref, err := state.ParseRef(i.Ref)
		if err != nil {
			return &dockerfile.Error{Line: i.Line, Msg: err.Error()}
		}
		i.Ref = ref.String()
	}
	for n := range res.Unknown {
		b := &res.Unknown[n]
		ref, err := state.ParseRef(b.Ref)
		if err != nil {
			return &dockerfile.Error{Line: b.Line, Msg: err.Error()}
		}
		b.Ref = ref.String()
	}
	return nil
}

func positioned(path string, err error) error {
	if described := (*buildfile.Error)(nil); errors.As(err, &described) {
		return err
	}
	var refused *dockerfile.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("%s: %s", placeOf(path, refused.Line), refused.Msg)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// placeOf returns "path:line", or the path for line 0.
func placeOf(path string, line int) string {
	if line == 0 {
		return path
	}
	return fmt.Sprintf("%s:%d", path, line)
}

// keeps returns the uses of the earlier analysis that this one could not determine: those of a file for another frontend, and
// those of ONBUILD triggers of a base image whose config could not be read.
func (d *dockerfileResult) keeps(res *dockerfile.Resolution) []state.BaseUse {
	var kept []state.BaseUse
	for _, old := range d.before {
		use := state.BaseUse{Ref: old.Ref, Final: old.Final}
		for _, u := range old.Uses {
			if res.Foreign && u.Kind != state.KindSyntax {
				use.Uses = append(use.Uses, u)
			}
			for _, b := range res.Unknown {
				if u.Kind == string(dockerfile.KindOnbuild) && u.Stage == b.Stage && d.wasBuiltOn(b) {
					u.Line = b.Line
					use.Uses = append(use.Uses, u)
				}
			}
		}
		if len(use.Uses) > 0 {
			kept = append(kept, use)
		}
	}
	return kept
}

// wasBuiltOn reports whether the stage was built on the image according to the earlier analysis.
func (d *dockerfileResult) wasBuiltOn(b dockerfile.UnknownBase) bool {
	return slices.ContainsFunc(d.before, func(old state.BaseUse) bool {
		return old.Ref == b.Ref && slices.ContainsFunc(old.Uses, func(u state.Use) bool {
			return u.Kind == string(dockerfile.KindFrom) && u.Stage == b.Stage
		})
	})
}

// withKept returns uses merged with kept ones.
func withKept(uses, kept []state.BaseUse) []state.BaseUse {
	for _, k := range kept {
		i, found := slices.BinarySearchFunc(uses, k.Ref, func(u state.BaseUse, ref string) int { return strings.Compare(u.Ref, ref) })
		if !found {
			uses = slices.Insert(uses, i, state.BaseUse{Ref: k.Ref, Final: k.Final})
		}
		for _, u := range k.Uses {
			if !slices.ContainsFunc(uses[i].Uses, func(o state.Use) bool { return o.Compare(u) == 0 }) {
				uses[i].Uses = append(uses[i].Uses, u)
			}
		}
		slices.SortFunc(uses[i].Uses, state.Use.Compare)
	}
	return uses
}

type useKey struct {
	ref string
	use state.UseKey
}

// baseUses groups uses by reference. A use on all platforms of the image names no platform.
func baseUses(byUse map[useKey][]string, final map[string]bool, platforms []string) []state.BaseUse {
	byRef := map[string][]state.Use{}
	for k, on := range byUse {
		slices.Sort(on)
		if slices.Equal(on, slices.Sorted(slices.Values(platforms))) {
			byRef[k.ref] = append(byRef[k.ref], k.use.Use(""))
			continue
		}
		for _, p := range on {
			byRef[k.ref] = append(byRef[k.ref], k.use.Use(p))
		}
	}
	out := make([]state.BaseUse, 0, len(byRef))
	for _, ref := range slices.Sorted(maps.Keys(byRef)) {
		uses := byRef[ref]
		slices.SortFunc(uses, state.Use.Compare)
		out = append(out, state.BaseUse{Ref: ref, Final: final[ref], Uses: uses})
	}
	return out
}

// recordDockerfile records the result for the Dockerfile of an image.
func (a *analysis) recordDockerfile(img *config.Image, d *dockerfileResult) {
	facts := a.ImageState(img)
	facts.AnalysisError = ""
	if !img.Managed() {
		facts.Dockerfile, facts.Build = nil, nil // left from when it was managed
		return
	}
	old := *facts
	if facts.Dockerfile == nil && facts.CurrentDigest != "" { // external until now: its base images were never determined
		facts.Published = nil
	}
	d.revert = func() {
		facts.Dockerfile, facts.BaseImages, facts.Unresolved, facts.Published = old.Dockerfile, old.BaseImages, old.Unresolved, old.Published
		facts.Build = old.Build
		fleet.SetBuild(img, facts)
	}
	facts.SetBuild(d.build)
	facts.SetDockerfile(state.Dockerfile{
		Repo: img.Source.Repo, Path: d.img.Source.Dockerfile, Commit: d.file.Commit, Digest: contentDigest(d.file.Content),
	}, d.uses, d.unresolved)
	fleet.SetBuild(img, facts)
	if err := facts.Writable(); err != nil {
		d.revert()
		d.err = positioned(d.file.Path, err)
		facts.AnalysisError = state.Text(positioned(d.img.Source.Dockerfile, err).Error())
	}
}

// errorOf returns the first finding about an image as an error, or else the first finding.
func errorOf(found finding.List, img *config.Image) error {
	for _, f := range found {
		if f.Line == img.Line {
			return errors.New(f.Message)
		}
	}
	return errors.New(found[0].Message)
}
