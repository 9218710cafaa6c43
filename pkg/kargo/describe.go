package kargo

import (
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// maxShown bounds a reference in a description.
const maxShown = 200

// shown returns a reference as people write it, in one printable line.
func shown(ref string) string { return sanitize.Cut(sanitize.Words(state.Short(ref)), maxShown) }

// describeImage returns the comment of an enrolled image: its reference and its base images.
func (b *builder) describeImage(img *config.Image) string {
	about := img.Name + ": " + shown(img.Ref())
	if !img.Managed() {
		return about + " (external image)"
	}
	var on []string
	for _, d := range b.g.Deps(img.Name) {
		name := d.Parent
		if name == "" {
			name = shown(d.Ref.String())
		}
		if !slices.Contains(on, name) {
			on = append(on, name)
		}
	}
	if len(on) == 0 {
		return about
	}
	return about + ", built on " + list(on)
}

// describeBase returns the comment of a base image: its reference and the images that use it.
func (b *builder) describeBase(name string) string {
	return name + ": " + shown(b.g.BaseRef(name).String()) + ", used by " + list(b.g.Dependents(name))
}

// list joins the first few names and counts the rest.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return plural.Listed(names, most)
	}
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
