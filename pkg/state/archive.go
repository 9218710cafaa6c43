package state

import (
	"io/fs"
	"path"
	"strings"
)

// ArchiveFolder is the folder, below the state folder, for the state of images that are no longer enrolled or used. It has
// the same subfolders.
const ArchiveFolder = "archive"

// LoadArchivedImage returns the archived state of an image, or nil if there is none that can be read.
func LoadArchivedImage(fsys fs.FS, name string) *Image {
	folder := path.Join(ArchiveFolder, ImagesFolder)
	if unlinked(fsys, folder) != nil {
		return nil
	}
	img, _ := loadFile(fsys, "", folder, name+".yaml", kindOfImage)
	return img
}

// ArchivedBase returns the archived state of the base image with a reference (without digest), or nil if there is none that
// can be read.
func (s *State) ArchivedBase(r Ref) *Base { return baseOf(s.archivedBases, r) }

// ArchiveName returns the name of a base image in the archive: the one that its reference has there already, or else its
// current name, with a hash of the reference if another file has that name.
func (s *State) ArchiveName(b *Base) string {
	r := b.tag()
	if old := s.ArchivedBase(r); old != nil {
		return old.Name
	}
	if _, taken := s.archivedBases[b.Name]; taken {
		return hashedName(r)
	}
	return b.Name
}

// loadArchivedBases returns the base images in the archive by name, with nil for a file that cannot be read.
func loadArchivedBases(fsys fs.FS) map[string]*Base {
	folder := path.Join(ArchiveFolder, BasesFolder)
	if unlinked(fsys, folder) != nil {
		return nil
	}
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return nil
	}
	bases := make(map[string]*Base, len(entries))
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			bases[name], _ = loadFile(fsys, "", folder, e.Name(), kindOfBase)
		}
	}
	return bases
}
