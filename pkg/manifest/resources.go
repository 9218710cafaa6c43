package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
)

// Resource identifies a resource in a generated file.
type Resource struct {
	Kind  string
	Name  string
	Owner string // the image that its labels name; empty for a resource that exists once
}

// Resources is the difference between two sets of resources, each list sorted.
type Resources struct {
	Total                   int // how many are wanted
	Added, Changed, Removed []Resource
}

// Same reports whether both sets hold the same resources.
func (r *Resources) Same() bool { return len(r.Added)+len(r.Changed)+len(r.Removed) == 0 }

// CompareResources returns how the resources of want differ from those that the changed files had before. Comments, the
// order of resources and the files that hold them make no difference.
func CompareResources(changes []Change, want map[string][]byte) Resources {
	out := Resources{}
	for name, data := range want {
		if isResources(name) {
			out.Total += bytes.Count(data, []byte("\nkind: "))
		}
	}
	before := map[resourceKey]resourceSum{}
	eachChanged := func(text func(*Change) []byte, do func(resourceSum)) {
		for i := range changes {
			if c := &changes[i]; isResources(c.File) {
				eachResource(text(c), do)
			}
		}
	}
	eachChanged(func(c *Change) []byte { have, _ := plainText(c.have); return have }, func(d resourceSum) { before[d.key()] = d })
	eachChanged(func(c *Change) []byte { return c.want }, func(d resourceSum) {
		old, known := before[d.key()]
		switch {
		case !known:
			out.Added = append(out.Added, d.Resource)
		case old.sum != d.sum:
			out.Changed = append(out.Changed, d.Resource)
		}
		delete(before, d.key())
	})
	for _, d := range before {
		out.Removed = append(out.Removed, d.Resource)
	}
	for _, list := range [][]Resource{out.Added, out.Changed, out.Removed} {
		slices.SortFunc(list, func(a, b Resource) int {
			return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
		})
	}
	return out
}

// isResources reports whether a generated file holds resources, as all do but the kustomization.
func isResources(file string) bool { return file != KustomizationFile }

type resourceKey struct{ kind, name string }

// resourceSum is a resource in a file. Of its text only a hash is kept: a large dist holds many.
type resourceSum struct {
	Resource
	sum uint64 // of the lines without comments
}

func (d *resourceSum) key() resourceKey { return resourceKey{d.Kind, d.Name} }

var hashSeed = maphash.MakeSeed()

// eachResource calls do with each resource of a file as [Render] writes it.
func eachResource(data []byte, do func(resourceSum)) {
	var d resourceSum
	var hash maphash.Hash
	hash.SetSeed(hashSeed)
	finish := func() {
		if d.sum = hash.Sum64(); d.Kind != "" {
			do(d)
		}
		d = resourceSum{}
		hash.Reset()
	}
	for line := range bytes.Lines(data) {
		switch {
		case bytes.Equal(line, []byte("---\n")):
			finish()
		case line[0] != '\n' && line[0] != '#':
			_, _ = hash.Write(line) // never fails
			d.read(line)
		}
	}
	finish()
}

// read sets the fields of the resource that a line contains.
func (d *resourceSum) read(line []byte) {
	take := func(to *string, prefix string) {
		if rest, ok := bytes.CutPrefix(line, []byte(prefix)); ok && *to == "" {
			*to = string(bytes.Trim(rest, "\"'\n"))
		}
	}
	take(&d.Kind, "kind: ")
	take(&d.Name, "  name: ")
	take(&d.Owner, "    imagefactory/image: ")
	take(&d.Owner, "    imagefactory/base: ")
}

// String returns a line such as "59 resources (+3 newsvc, ~1 Role)".
func (r *Resources) String() string {
	total := plural.Count(r.Total, "resource")
	switch {
	case r.Same():
		return total
	case len(r.Added) == r.Total && len(r.Removed) == 0:
		return total + " (all new)"
	}
	var parts []string
	for _, part := range []struct {
		sign string
		list []Resource
	}{{"+", r.Added}, {"~", r.Changed}, {"-", r.Removed}} {
		parts = append(parts, groups(part.sign, part.list)...)
	}
	return total + " (" + strings.Join(parts, ", ") + ")"
}

// groups returns the number of resources by image, or by kind for those without an image. It names the first few groups.
func groups(sign string, list []Resource) []string {
	const most = 5
	var names []string
	count := map[string]int{}
	for _, r := range list {
		name := cmp.Or(r.Owner, r.Kind)
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	var out []string
	rest := 0
	for i, name := range names {
		if i < most {
			out = append(out, fmt.Sprintf("%s%d %s", sign, count[name], name))
		} else {
			rest += count[name]
		}
	}
	if rest > 0 {
		out = append(out, fmt.Sprintf("%s%d more", sign, rest))
	}
	return out
}

// Pending returns a text such as "3 resources to add, 1 to change".
func (r *Resources) Pending() string {
	var parts []string
	add := func(list []Resource, verb string) {
		if n := len(list); n > 0 && len(parts) == 0 {
			parts = append(parts, plural.Count(n, "resource")+" to "+verb)
		} else if n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, verb))
		}
	}
	add(r.Added, "add")
	add(r.Changed, "change")
	add(r.Removed, "remove")
	if len(parts) == 0 {
		return "the same resources, with other comments or in other files"
	}
	return strings.Join(parts, ", ")
}
