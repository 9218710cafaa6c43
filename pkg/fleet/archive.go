package fleet

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// ImageState returns the state of an enrolled image. If there is none, it creates it from the archive or from the state of an
// earlier name of the image.
func (f *Fleet) ImageState(img *config.Image) *state.Image {
	facts := f.State.Images[img.Name]
	if facts == nil {
		facts = f.inherit(img)
		f.State.Images[img.Name] = facts
	}
	facts.SetRepository(img.Ref())
	return facts
}

// AddBases creates the state of each base image that an image uses and that has none yet. It creates none while the file of any
// base image cannot be read: that file may be its own.
func (f *Fleet) AddBases(name string) {
	if f.State.AnyUnreadable(state.BasesFolder) {
		return
	}
	for _, dep := range f.Graph.Deps(name) {
		if dep.Base == "" || f.State.Bases[dep.Base] != nil {
			continue
		}
		base := f.restore(dep.Base, dep.Ref)
		f.setDemand(base)
		f.State.Bases[dep.Base] = base
	}
}

// inherit returns the initial state of an image: its archived state, or the state of a name that is no longer enrolled but
// has the same repository, because the entry was renamed. The old file stays until [Fleet.Prune].
func (f *Fleet) inherit(img *config.Image) *state.Image {
	if old := state.LoadArchivedImage(f.files, img.Name); old != nil && len(old.Faults()) == 0 {
		old.Archived = ""
		return old
	}
	var heir *state.Image
	for name, old := range f.State.Images {
		if old.Repository != img.Ref() || f.Config.Find(name) != nil {
			continue
		}
		if heir != nil { // ambiguous
			return &state.Image{Name: img.Name}
		}
		heir = old
	}
	if heir == nil {
		return &state.Image{Name: img.Name}
	}
	renamed := heir.Clone()
	renamed.Name = img.Name
	return renamed
}

// restore returns the initial state of a base image: its state under an alias of its host, or its archived state. The old file
// stays until [Fleet.Prune].
func (f *Fleet) restore(name string, ref state.Ref) *state.Base {
	ref, _ = ref.WithoutDigest()
	if old := f.State.AliasedBase(ref); old != nil {
		old.Name = name
		return old
	}
	if old := f.State.ArchivedBase(ref); old != nil && len(old.Faults()) == 0 {
		old = old.Clone()
		old.Archived, old.Name = "", name
		return old
	}
	return &state.Base{Name: name, Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag}
}

// unusedBases returns the base images that no image uses, under their current name or the one that the next analysis gives
// them, sorted. It returns none while the Dockerfile of any enrolled image is unknown, since that image may use them.
func (f *Fleet) unusedBases() []string {
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		facts := f.State.Images[img.Name]
		if img.Managed() && (facts == nil || facts.Dockerfile == nil && len(facts.BaseImages) == 0) {
			return nil
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f.State.Bases)) {
		if len(f.Graph.Dependents(name)) == 0 && !f.inherited(name) {
			out = append(out, name)
		}
	}
	return out
}

// keepVerdicts adds to c the base images that take over holds and releases from an archived one with an alias of the same
// host, if their files lack them.
func (f *Fleet) keepVerdicts(c *Change, archived map[string]*state.Base) {
	heirs := state.New()
	for _, b := range archived {
		if heir := f.State.Base(b.Ref()); heir != nil && b.HasHostAlias() {
			heirs.Bases[heir.Name] = heir
		}
	}
	files, refused := heirs.ChangedSince(nil)
	maps.Copy(c.Refused, refused)
	for p, data := range files {
		if old, err := fs.ReadFile(f.files, p); err != nil || !bytes.Equal(old, data) {
			c.After[p] = data
			c.Changed = append(c.Changed, p)
		}
	}
	slices.Sort(c.Changed)
}

// inherited reports whether the next analysis moves the state of a base image to another name.
func (f *Fleet) inherited(name string) bool {
	ref, err := state.ParseRef(f.State.Bases[name].Ref())
	if err != nil {
		return false
	}
	heir := f.Graph.BaseName(ref)
	return len(f.Graph.Dependents(heir)) > 0 && f.State.Bases[heir] == nil
}

// archiveScans moves the findings of an image to the archive, under the name that it has there.
func archiveScans(from, to map[string]*state.Scans, name, archived, reason string) {
	if s := from[name]; s != nil {
		delete(from, name)
		s.Name, s.Archived = archived, state.Text(reason)
		to[archived] = s
	}
}

// Prune moves the state of images that are no longer enrolled, and of base images that are no longer used, to the archive.
// They are restored when they are enrolled or used again. Base images stay while the Dockerfile of any enrolled image is
// unknown. Prune changes only the state in memory; package store saves it.
func (f *Fleet) Prune(reason string) (*Change, error) {
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	gone, names := state.New(), []string{}
	for name, img := range f.State.Images {
		if f.Config.Find(name) == nil {
			delete(f.State.Images, name)
			img.Archived = state.Text(reason)
			gone.Images[name], names = img, append(names, name)
			archiveScans(f.State.ImageScans, gone.ImageScans, name, name, reason)
		}
	}
	for _, name := range f.unusedBases() {
		base := f.State.Bases[name]
		delete(f.State.Bases, name)
		base.Archived, base.Name = state.Text(reason), f.State.ArchiveName(base)
		gone.Bases[base.Name], names = base, append(names, name)
		archiveScans(f.State.BaseScans, gone.BaseScans, name, base.Name, reason)
	}
	c := f.ChangeSince(before)
	archived, refused := gone.ChangedSince(nil)
	for p, data := range archived {
		file := path.Join(state.ArchiveFolder, p)
		c.After[file], c.Changed = data, append(c.Changed, file)
	}
	slices.Sort(c.Changed)
	maps.Copy(c.Refused, refused)
	f.keepVerdicts(&c, gone.Bases)
	if err := c.refusal(); err != nil {
		return nil, err
	}
	if slices.Sort(names); len(names) > 0 {
		all := strings.Join(names, ", ")
		c.summary = []string{fmt.Sprintf("archive %s: %s", all, reason)}
		c.Done, c.Plan = "archived "+all, "archive "+all
	}
	return &c, nil
}
