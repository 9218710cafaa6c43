package state

import (
	"io/fs"
	"path"
	"strings"
)

// ArchiveFolder keeps the state of what is no longer enrolled, in the same folders as below the state folder.
const ArchiveFolder = "archive"

// LoadArchivedImage returns the archived state of an image, or nil when there is none that can be read.
func LoadArchivedImage(fsys fs.FS, name string) *Image {
	folder := path.Join(ArchiveFolder, ImagesFolder)
	if unlinked(fsys, folder) != nil {
		return nil
	}
	img, _ := loadFile(fsys, "", folder, name+".yaml", kindOfImage)
	return img
}

// ArchivedBase returns the archived state of a base image, given by its reference without digest, or nil when there is none
// that can be read.
func (s *State) ArchivedBase(r Ref) *Base { return baseOf(s.archivedBases, r) }

// ArchiveName returns the name under which the archive stores a base image. It is the name that the archive has already for
// its reference, else its present one; with a hash of the reference where another file has that name.
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
