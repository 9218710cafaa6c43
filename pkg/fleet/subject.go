package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Subject is an enrolled image or a base image, and a digest of it if one was given.
type Subject struct {
	Image  string // or
	Base   string
	Digest string
}

// digestPrefix matches a digest, or enough of its first digits to be no name.
var digestPrefix = lazy.Regexp(`^(sha256:[0-9a-f]{4,64}|[0-9a-f]{12,64})$`)

// Subject returns what a name, a reference, or a digest means. A digest may be short, and may follow a base image:
// node:22@sha256:0123abcd.
func (f *Fleet) Subject(spec string) (Subject, error) {
	name, digest, given := strings.Cut(spec, "@")
	base := f.anyBase(name)
	switch {
	case !given && f.Config.Find(spec) != nil:
		return Subject{Image: spec}, nil
	case base != "" && !given:
		return Subject{Base: base}, nil
	case base != "" && f.State.Bases[base] == nil:
		return Subject{}, Usagef("no digest of %s is known yet", name)
	case base != "":
		full, err := knownDigest(f.State.Bases[base], digest)
		return Subject{Base: base, Digest: full}, err
	case digestPrefix().MatchString(spec):
		return f.byDigest(spec)
	}
	if image, err := f.publisher(name); err == nil {
		return Subject{Image: image}, nil
	}
	return Subject{}, f.Unknown(spec)
}

// Unknown returns the error for a name or reference that is neither an image nor a base image; it names one that is similar.
func (f *Fleet) Unknown(spec string) error {
	hint := "see `imagefactory status` and `imagefactory status --bases`"
	var bases []string
	for _, name := range f.Graph.Bases() {
		bases = append(bases, state.Short(f.Graph.BaseRef(name).String()))
	}
	if len(f.Config.Images) > 0 {
		if near := f.Config.Suggest(spec, bases...); near != "" {
			hint = near
		}
	}
	return Usagef("no image or base image %q (%s)", spec, hint)
}

// anyBase returns the name of the base image that a name or reference means, whether or not an image uses it; or "".
func (f *Fleet) anyBase(nameOrRef string) string {
	if base := f.Base(nameOrRef); base != "" || f.Config.Find(nameOrRef) != nil {
		return base
	}
	if base := f.State.Bases[nameOrRef]; base != nil {
		return base.Name
	}
	if base := f.State.Base(nameOrRef); base != nil {
		return base.Name
	}
	return ""
}

// digests returns the digests that a tag held.
func digests(base *state.Base) []string {
	var out []string
	if base.Baseline != nil {
		out = append(out, base.Baseline.Digest)
	}
	for i := range base.Candidates {
		out = append(out, base.Candidates[i].Digest)
	}
	return out
}

// knownDigest returns the digest of a base image that begins with the given digits.
func knownDigest(base *state.Base, short string) (string, error) {
	var found []string
	if digits := strings.TrimPrefix(short, "sha256:"); len(digits) >= minDigits {
		for _, d := range digests(base) {
			if strings.HasPrefix(d, "sha256:"+digits) {
				found = append(found, d)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", Usagef("no digest %s of %s is known", short, base.Ref())
	}
	return "", Usagef("ambiguous digest %s: %d digests of %s begin with it", short, len(found), base.Ref())
}

// byDigest returns the one image or base image that has a digest with this beginning.
func (f *Fleet) byDigest(short string) (Subject, error) {
	prefix := "sha256:" + strings.TrimPrefix(short, "sha256:")
	var found []Subject
	var names []string
	for name, img := range f.State.Images {
		if strings.HasPrefix(img.CurrentDigest, prefix) && f.Config.Find(name) != nil {
			found, names = append(found, Subject{Image: name, Digest: img.CurrentDigest}), append(names, name)
		}
	}
	for name, base := range f.State.Bases {
		for _, d := range digests(base) {
			if strings.HasPrefix(d, prefix) {
				found, names = append(found, Subject{Base: name, Digest: d}), append(names, fmt.Sprintf("%s@%s", state.Short(base.Ref()), state.ShortDigest(d)))
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Subject{}, Usagef("no image or base image has a digest that begins with %s", short)
	}
	slices.Sort(names)
	return Subject{}, Usagef("ambiguous digest %s: %s have one that begins with it", short, plural.Listed(names, maxNamed))
}
