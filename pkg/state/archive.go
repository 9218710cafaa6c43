package state

import (
	"io/fs"
	"path"
)

// ArchiveFolder keeps the state of what is no longer enrolled, in the same folders as below the state folder.
const ArchiveFolder = "archive"

// LoadArchivedImage returns the archived state of an image, or nil when there is none that can be read.
func LoadArchivedImage(fsys fs.FS, name string) *Image {
	return loadArchived(fsys, ImagesFolder, name, kindOfImage)
}

// LoadArchivedBase returns the archived state of a base image, or nil when there is none that can be read.
func LoadArchivedBase(fsys fs.FS, name string) *Base {
	return loadArchived(fsys, BasesFolder, name, kindOfBase)
}

func loadArchived[T any](fsys fs.FS, folder, name string, k kind[T]) *T {
	folder = path.Join(ArchiveFolder, folder)
	if unlinked(fsys, folder) != nil {
		return nil
	}
	v, _ := loadFile(fsys, "", folder, name+".yaml", k)
	return v
}
