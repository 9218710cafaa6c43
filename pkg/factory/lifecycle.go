package factory

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// inherit returns the first state of an image that has none: what the archive kept of it, or what is known under a name
// that is no longer enrolled of the same repository, because the entry was renamed. The old file stays, for Prune.
func (f *Fleet) inherit(img *config.Image) *state.Image {
	if old := state.LoadArchivedImage(f.files, img.Name); old != nil && len(f.check(state.ImagesFolder, img.Name).image(old)) == 0 {
		old.Archived = ""
		return old
	}
	var heir *state.Image
	for name, old := range f.State.Images {
		if old.Repository != img.Ref() || f.Config.Find(name) != nil {
			continue
		}
		if heir != nil { // of two, nobody can say which
			return &state.Image{Name: img.Name}
		}
		heir = old
	}
	if heir == nil {
		return &state.Image{Name: img.Name}
	}
	renamed := *heir
	renamed.Name = img.Name
	return &renamed
}

// restore returns the first state of a base image that has none: what the archive kept of it, if anything.
func (f *Fleet) restore(name string, ref state.Ref) *state.Base {
	if old := state.LoadArchivedBase(f.files, name); old != nil && len(f.check(state.BasesFolder, name).base(old)) == 0 {
		old.Archived = ""
		return old
	}
	return &state.Base{Name: name, Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag}
}

// check checks an archived file.
func (f *Fleet) check(folder, name string) *facts {
	return factsOf(f.files, f.Paths.StateDir, path.Join(state.ArchiveFolder, folder), name)
}

// Prune moves the state of what is no longer enrolled or used into the archive, from which it comes back when it is
// enrolled or used again. Nothing is written: see Store.
func (f *Fleet) Prune(reason string) (*StateChange, error) {
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	gone, names := state.New(), []string{}
	for name, img := range f.State.Images {
		if f.Config.Find(name) == nil {
			delete(f.State.Images, name)
			img.Archived = reason
			gone.Images[name], names = img, append(names, name)
		}
	}
	for name, base := range f.State.Bases {
		if len(f.Graph.Dependents(name)) == 0 {
			delete(f.State.Bases, name)
			base.Archived = reason
			gone.Bases[name], names = base, append(names, name)
		}
	}
	c, err := f.changeSince(before)
	if err != nil {
		return nil, err
	}
	archived, err := gone.Encode()
	if err != nil {
		return nil, err
	}
	for p, data := range archived {
		c.after[path.Join(state.ArchiveFolder, p)] = data
	}
	if slices.Sort(names); len(names) > 0 {
		c.news = []string{fmt.Sprintf("archive %s: %s", strings.Join(names, ", "), reason)}
	}
	return &c, nil
}
