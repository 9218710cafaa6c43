package analyze

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// part is one of the Dockerfiles of a build: that of the image, or that of another target of the bake file, or of another service,
// which is a context of it.
type part struct {
	name     string // of the target or service; "" for the image itself
	path     string // of the Dockerfile
	file     *source.File
	target   string
	args     map[string]string
	contexts map[string]string
	missing  map[string]buildfile.Expression // arguments whose values are not known
	from     string                          // bake or Compose file, for messages
}

// linkedRepository holds the references that stand for contexts that are other targets, while Dockerfiles are resolved. No registry
// has such a host.
const linkedRepository = "linked.invalid/context-"

func linkedRef(name string) string {
	return linkedRepository + contentDigest([]byte(name))[7:19] + ":latest"
}

// readBuild reads the bake or Compose file of an image, and the Dockerfiles of the targets that are contexts. It sets the source that
// follows from them.
func (a *analysis) readBuild(ctx context.Context, d *dockerfileResult, img *config.Image) error {
	name, target := img.Source.BuildFile()
	key := img.Source.BuildKey()
	known, before := source.Known{}, (*state.Build)(nil)
	if facts := a.State.Images[img.Name]; facts != nil && facts.Build != nil && facts.Build.File == name {
		before = facts.Build
		known = source.Known{Commit: before.Commit, Digest: before.Digest}
	}
	file, err := source.Other(ctx, a.Source, img, name, key+".file", known)
	if err != nil {
		d.unread(name, err)
		return err
	}
	b, env, err := a.evaluate(ctx, img, file.Content, name, target)
	if err == nil && b.Platform != nil && !img.Source.OwnPlatforms() {
		err = b.Platform
	}
	if err == nil {
		err = noSecrets(name, b)
	}
	err = withoutSecret(err)
	if err != nil {
		if unread := (*unreadError)(nil); !errors.As(err, &unread) {
			d.answer = err.Error()
		}
		return err
	}
	d.build = &state.Build{
		File: name, Target: target, Commit: file.Commit, Digest: contentDigest(file.Content), Env: env, Stage: b.Target, Args: b.Args, Contexts: b.Contexts,
		Platforms: b.Platforms,
	}
	effective, src := *img, *img.Source
	src.SetBuild(&config.Build{Dockerfile: b.Dockerfile, Target: b.Target, BuildArgs: b.Args, BuildContexts: b.Contexts, Platforms: b.Platforms})
	effective.Source = &src
	d.img = &effective
	for arg := range src.BuildArgs {
		delete(b.Missing, arg)
	}
	d.parts = []*part{{
		path: b.Dockerfile, target: src.Target, args: src.BuildArgs, contexts: linkedContexts(b), missing: b.Missing, from: name,
	}}
	return a.readLinks(ctx, d, b, name)
}

// unreadError is an error that says nothing about the files.
type unreadError struct{ error }

func (e *unreadError) Unwrap() error { return e.error }

// evaluate returns how a file says that an image is built, and the digest of the file .env if that depends on it.
func (a *analysis) evaluate(ctx context.Context, img *config.Image, content []byte, name, target string) (b *buildfile.Build, env string, err error) {
	if bake := img.Source.Bake; bake != nil {
		b, err = buildfile.BakeTarget(name, content, path.Clean(bake.Workdir), target)
		return b, "", err
	}
	b, usesEnv, err := buildfile.ComposeService(name, content, target, nil)
	if !usesEnv {
		return b, "", err
	}
	file, readErr := source.Other(ctx, a.Source, img, path.Join(path.Dir(name), ".env"), img.Source.BuildKey()+".file", source.Known{})
	switch {
	case source.NotThere(readErr):
		return b, "", err
	case readErr != nil:
		return nil, "", &unreadError{readErr}
	}
	b, _, err = buildfile.ComposeService(name, content, target, file.Content)
	return b, contentDigest(file.Content), err
}

// noSecrets returns an error for a value that has the form of a token: state would hold it.
func noSecrets(file string, b *buildfile.Build) error {
	for _, values := range []map[string]string{b.Args, b.Contexts} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if config.HoldsSecret(values[name]) {
				return &buildfile.Error{File: file, Line: b.Line, Column: b.Column, Message: fmt.Sprintf("%s of %q has the form of a token (let the build read it from a secret)", name, b.Name)}
			}
		}
	}
	return nil
}

// withoutSecret returns the error of a file without its text if that quotes a value that has the form of a token: state holds it.
func withoutSecret(err error) error {
	if described := (*buildfile.Error)(nil); errors.As(err, &described) && config.HoldsSecret(described.Message) {
		return &buildfile.Error{File: described.File, Line: described.Line, Column: described.Column, Message: "the value is not valid here, and has the form of a token (let the build read it from a secret)"}
	}
	return err
}

// linkedContexts returns the contexts of a build with references for those that are other targets.
func linkedContexts(b *buildfile.Build) map[string]string {
	out := maps.Clone(b.Contexts)
	for name, link := range b.Links {
		out[name] = "docker-image://" + linkedRef(link.Name)
	}
	return out
}

// readLinks reads the Dockerfiles of the targets that are contexts of a build, of each once.
func (a *analysis) readLinks(ctx context.Context, d *dockerfileResult, b *buildfile.Build, from string) error {
	for _, name := range slices.Sorted(maps.Keys(b.Links)) {
		link := b.Links[name]
		if slices.ContainsFunc(d.parts, func(p *part) bool { return p.name == link.Name }) {
			continue
		}
		file, err := source.Other(ctx, a.Source, d.img, link.Dockerfile, d.img.Source.BuildKey(), source.Known{})
		if err != nil {
			d.unread(link.Dockerfile, err)
			return err
		}
		p := &part{
			name: link.Name, path: link.Dockerfile, file: file, target: link.Target, args: link.Args, contexts: linkedContexts(link), missing: link.Missing, from: from,
		}
		d.parts = append(d.parts, p)
		if onbuild().Match(file.Content) {
			d.linkWarnings = append(d.linkWarnings, fmt.Sprintf("%s: its ONBUILD instructions are not followed into the images that are built on target %s", file.Path, link.Name))
		}
		if err := a.readLinks(ctx, d, link, from); err != nil {
			return err
		}
	}
	return nil
}

var onbuild = lazy.Regexp(`(?im)^[ \t]*ONBUILD[ \t]`)

// resolve returns the images of a Dockerfile for a platform.
func (p *part) resolve(ctx context.Context, platform string, base dockerfile.BaseFunc) (*dockerfile.Resolution, error) {
	with := func(value *string) (*dockerfile.Resolution, error) {
		args := p.args
		if value != nil {
			args = maps.Clone(p.args)
			for name := range p.missing {
				args[name] = *value
			}
		}
		return dockerfile.Resolve(ctx, p.file.Content, dockerfile.Options{
			BuildArgs: args, Contexts: p.contexts, Target: p.target, Platform: platform, Base: withoutLinks(base),
		})
	}
	res, err := with(nil)
	if len(p.missing) == 0 {
		return res, err
	}
	// An argument without a known value does not matter if the images are the same whatever it is.
	for _, value := range []string{"", "imagefactory-unknown"} {
		other, otherErr := with(&value)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if (err == nil) != (otherErr == nil) || err == nil && !sameImages(res, other) {
			return nil, p.undecided()
		}
	}
	return res, err
}

// undecided returns the error of arguments whose values decide which images are used.
func (p *part) undecided() error {
	names := slices.Sorted(maps.Keys(p.missing))
	x := p.missing[names[0]]
	return &buildfile.Error{File: p.from, Line: x.Line, Column: x.Column, Message: fmt.Sprintf(
		"images of the build depend on build arguments without a known value: %s: %s (set source.buildArgs, or give the variable a default)", strings.Join(names, ", "), x)}
}

func sameImages(x, y *dockerfile.Resolution) bool {
	return reflect.DeepEqual(x.Images, y.Images) && reflect.DeepEqual(x.Unresolved, y.Unresolved)
}

// withoutLinks answers for the references that stand for other targets: nothing is known that a build on them does by itself.
func withoutLinks(base dockerfile.BaseFunc) dockerfile.BaseFunc {
	if base == nil {
		return nil
	}
	return func(ctx context.Context, ref, platform string, whole bool) *dockerfile.BaseConfig {
		if strings.HasPrefix(ref, linkedRepository) {
			return &dockerfile.BaseConfig{}
		}
		return base(ctx, ref, platform, whole)
	}
}

// takeLinks removes the references that stand for other targets from the images, and returns which of them the final stage is built on.
func takeLinks(res *dockerfile.Resolution) (final map[string]bool) {
	final = map[string]bool{}
	res.Images = slices.DeleteFunc(res.Images, func(i dockerfile.Image) bool {
		isLink := strings.HasPrefix(i.Ref, linkedRepository)
		if isLink {
			final[i.Ref] = final[i.Ref] || i.Final
		}
		return isLink
	})
	return final
}

// linkInputs returns the digests of the Dockerfiles of other targets, and what they are built with; nil if there are none.
func (d *dockerfileResult) linkInputs() []string {
	var out []string
	for _, p := range d.parts {
		if p.name != "" {
			out = append(out, contentDigest(p.file.Content), p.path, p.target, fmt.Sprint(p.args), fmt.Sprint(p.contexts))
		}
	}
	return out
}
