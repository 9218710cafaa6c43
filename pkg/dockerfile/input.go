package dockerfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const defaultPlatform = "linux/amd64"

// input is a checked Dockerfile with checked options.
type input struct {
	src           []byte
	opts          Options
	platform      ocispecs.Platform
	buildPlatform ocispecs.Platform
	contexts      map[string]namedContext
}

// namedContext is what a --build-context gives: an image, or, with an empty
// ref, something that is no registry image.
type namedContext struct {
	ref   string
	url   string // read by BuildKit itself
	doubt string // why it may not be what its author means
}

func newInput(src []byte, opts Options) (*input, error) {
	if len(src) > MaxSize {
		return nil, limitError(0, "is larger than %d bytes", MaxSize)
	}
	if at := tooDeep(src); at > 0 {
		return nil, limitError(at, "nests variables deeper than %d", maxNesting)
	}
	in := &input{src: src, opts: opts}
	var err error
	if in.platform, err = parsePlatform("platform", opts.Platform); err != nil {
		return nil, err
	}
	if in.buildPlatform, err = parsePlatform("build platform", opts.BuildPlatform); err != nil {
		return nil, err
	}
	if in.contexts, err = parseContexts(opts.Contexts); err != nil {
		return nil, err
	}
	return in, nil
}

func parsePlatform(what, v string) (ocispecs.Platform, error) {
	p, err := platforms.Parse(cmp.Or(v, defaultPlatform))
	if err != nil {
		return p, &Error{Msg: fmt.Sprintf("parsing %s %q: %v", what, v, err)}
	}
	return platforms.Normalize(p), nil
}

// parseContexts brings the names of contexts into the form in which BuildKit
// looks them up, as buildx does before it sends them.
func parseContexts(contexts map[string]string) (map[string]namedContext, error) {
	parsed := make(map[string]namedContext, len(contexts))
	for _, key := range slices.Sorted(maps.Keys(contexts)) {
		name, platform, hasPlatform := strings.Cut(key, "::")
		name, err := contextName(name)
		if err != nil {
			return nil, &Error{Msg: fmt.Sprintf("parsing context name %q: %v", key, err)}
		}
		if hasPlatform {
			p, err := platforms.Parse(platform)
			if err != nil {
				return nil, &Error{Msg: fmt.Sprintf("parsing context name %q: %v", key, err)}
			}
			name = platformContext(name, p)
		}
		if _, ok := parsed[name]; ok {
			return nil, &Error{Msg: fmt.Sprintf("parsing context name %q: %q is given twice", key, name)}
		}
		ref, err := contextImage(contexts[key])
		if err != nil {
			return nil, &Error{Msg: fmt.Sprintf("parsing context %q: %v", key, err)}
		}
		parsed[name] = namedContext{ref: ref, url: contextURL(contexts[key]), doubt: contextDoubt(key, contexts[key])}
	}
	return parsed, nil
}

// contextName returns the name under which BuildKit looks up a context for
// the name of a stage or an image (dockerui.Client.NamedContext).
func contextName(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest"), nil
}

func platformContext(name string, p ocispecs.Platform) string {
	return name + "::" + platforms.FormatAll(platforms.Normalize(p))
}

const imageScheme = "docker-image://"

// contextImage returns the normalised reference of a context's value, or "" if
// it is not an image. For buildx only the scheme makes it an image
// (build.loadInputs): a value without one is a folder, or a git address.
func contextImage(value string) (string, error) {
	if value == "" {
		return "", errors.New("no value")
	}
	ref, image := strings.CutPrefix(value, imageScheme)
	if !image || ref == scratch {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return reference.TagNameOnly(named).String(), nil
}

// contextURL returns a value that BuildKit reads itself: a git address or the
// URL of a file. It is empty for other values.
func contextURL(value string) string {
	for _, prefix := range []string{"https://", "http://", "git://", "git@"} {
		if strings.HasPrefix(value, prefix) {
			return value
		}
	}
	return ""
}

// contextDoubt returns a warning for a misleading value: an image name without
// the scheme, or a git address that buildx accepts and BuildKit rejects.
func contextDoubt(name, value string) string {
	_, git, _ := dfgitutil.ParseGitRef(value)
	switch {
	case contextURL(value) != "" || strings.HasPrefix(value, "target:"):
		return ""
	case looksLikeImage(value) && !strings.HasPrefix(value, "github.com/"):
		return fmt.Sprintf("build context %q: %s is not an image to buildx (for the image, write %s%s)",
			name, value, imageScheme, strings.TrimPrefix(value, "docker-image:"))
	case git:
		return fmt.Sprintf("build context %q: BuildKit refuses a git address of this form (write it with https://, or as git@HOST:PATH)", name)
	}
	return ""
}

// looksLikeImage reports whether a value without a scheme is written like a
// reference: with a tag, a digest or a registry host.
func looksLikeImage(value string) bool {
	named, err := reference.ParseNormalizedNamed(value)
	if err != nil {
		return false
	}
	host, _, slash := strings.Cut(value, "/")
	return !reference.IsNameOnly(named) || slash && host == reference.Domain(named)
}

// context finds the named context for a stage or an image as BuildKit does:
// by name and platform first, then by name.
func (in *input) context(name string, p *ocispecs.Platform) (*namedContext, error) {
	if strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return nil, nil
	}
	key, err := contextName(name)
	if err != nil {
		return nil, fmt.Errorf("invalid context name %s: %w", name, err)
	}
	if p == nil {
		p = &in.platform
	}
	if nc, ok := in.contexts[platformContext(key, *p)]; ok {
		return &nc, nil
	}
	if nc, ok := in.contexts[key]; ok {
		return &nc, nil
	}
	return nil, nil
}

// tooDeep returns the line at which more than maxNesting "${" are open, 0
// when there is none.
func tooDeep(src []byte) int {
	depth := 0
	for i, c := range src {
		switch {
		case c == '{' && i > 0 && src[i-1] == '$':
			depth++
		case c == '}' && depth > 0:
			depth--
		}
		if depth > maxNesting {
			return 1 + bytes.Count(src[:i], []byte{'\n'})
		}
	}
	return 0
}
