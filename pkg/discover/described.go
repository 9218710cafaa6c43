package discover

import (
	"fmt"
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
)

// described is the target of a bake file, or the service of a Compose file, that a build is made from.
type described struct {
	file, name string
	bake       *config.BakeTarget
	compose    *config.ComposeService
	platforms  []string
	why        string // why an entry cannot name it: what is built differs from what analyze would read; "" if it does not
}

// compare sets the platforms that the file says, and why an entry cannot name the target or service of a build. read returns how analyze
// reads one from the file, and resolve how it is built.
func (s *scanner) compare(b *build, read func(name string) (*buildfile.Build, error), resolve func(name string) *build) {
	d := b.described
	if d.name == "" || !known(d.name) {
		d.why = "its name is not known"
		return
	}
	says, err := read(d.name)
	if err == nil && says.Platform != nil {
		err = says.Platform
	}
	if err != nil {
		if d.why = err.Error(); config.HoldsSecret(d.why) {
			d.why = heldSecret
		}
		return
	}
	d.platforms = says.Platforms
	d.why = s.differs(b, d.name, says, resolve)
}

const heldSecret = "a value has the form of a token"

// differs returns what of a build is not as its file says; "" if nothing that decides which images it uses is.
func (s *scanner) differs(b *build, name string, says *buildfile.Build, resolve func(string) *build) string {
	contexts := maps.Clone(b.contexts)
	maps.DeleteFunc(contexts, func(_, v string) bool { return v == "" })
	what := ""
	switch {
	case b.context != says.Context:
		what = "another context"
	case b.dockerfile != says.Dockerfile:
		what = "another Dockerfile"
	case b.target != says.Target:
		what = "another target"
	case !maps.Equal(contexts, says.Contexts):
		what = "other contexts"
	case !s.has(b.dockerfile):
		return fmt.Sprintf("%s is not in the repository", b.dockerfile)
	default:
		what = s.differingArg(b, says)
	}
	if what != "" {
		return fmt.Sprintf("%s is built with %s than the file says", name, what)
	}
	if holdsSecret(says) {
		return heldSecret
	}
	for _, to := range slices.Sorted(maps.Keys(says.Links)) {
		link := says.Links[to]
		if why := s.differs(resolve(link.Name), link.Name, link, resolve); why != "" {
			return why
		}
	}
	return ""
}

// differingArg returns the first build argument that decides which images are used, and whose value is not as the file says.
func (s *scanner) differingArg(b *build, says *buildfile.Build) string {
	for _, name := range slices.Sorted(maps.Keys(fromArgs(s.read(b.dockerfile, maxFileBytes)))) {
		v, set := b.args[name]
		want, known := says.Args[name]
		if _, missing := says.Missing[name]; missing || set != known || v != want {
			return "another value of " + name
		}
	}
	return ""
}

func holdsSecret(b *buildfile.Build) bool {
	for _, values := range []map[string]string{b.Args, b.Contexts} {
		for _, v := range values {
			if config.HoldsSecret(v) {
				return true
			}
		}
	}
	return false
}

// described returns the target or service that the builds of a group are made from, nil if there is none, and why an entry cannot name
// it.
func (g *group) described() (d *described, why string) {
	b := g.builds[0]
	if d = b.described; d == nil {
		return nil, ""
	}
	var platforms []string
	for _, other := range g.builds {
		if other.workflow != b.workflow || other.job != b.job {
			continue
		}
		switch o := other.described; {
		case o == nil || o.file != d.file || o.name != d.name:
			return d, "it is also built at " + other.place.String()
		case o.why != "":
			return d, o.why
		}
		for _, p := range other.platforms {
			normal, _ := buildfile.Platform(p)
			platforms = appendNew(platforms, normal)
		}
	}
	if !slices.Equal(slices.Sorted(slices.Values(platforms)), slices.Sorted(slices.Values(d.platforms))) {
		return d, d.name + " is built for other platforms than the file says"
	}
	return d, ""
}

// replace replaces what the file says about a build by the name of the target or service.
func (d *described) replace(s *config.Source) {
	s.Dockerfile, s.Target, s.BuildArgs, s.BuildContexts, s.Platforms = "", "", nil, nil, nil
	if d.compose != nil {
		c := *d.compose
		if c.File == config.DefaultComposeFile {
			c.File = ""
		}
		s.Compose = &c
		return
	}
	b := *d.bake
	if b.File == config.DefaultBakeFile {
		b.File = ""
	}
	s.Bake = &b
}
