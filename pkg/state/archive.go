package state

import (
	"io/fs"
	"path"
)

// ArchiveFolder keeps the state of what is no longer enrolled, in the same folders as below the state folder.
const ArchiveFolder = "archive"

// LoadArchivedImage returns the archived state of an image, or nil when there is none that can be read.
func LoadArchivedImage(fsys fs.FS, name string) *Image {
	img, _ := loadFile(fsys, "", path.Join(ArchiveFolder, ImagesFolder), name+".yaml", func(i *Image) string { return i.Name })
	return img
}

// LoadArchivedBase returns the archived state of a base image, or nil when there is none that can be read.
func LoadArchivedBase(fsys fs.FS, name string) *Base {
	base, _ := loadFile(fsys, "", path.Join(ArchiveFolder, BasesFolder), name+".yaml", func(b *Base) string { return b.Name })
	return base
}
