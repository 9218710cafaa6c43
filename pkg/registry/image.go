package registry

import (
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// isImageConfig reports whether a config of this type belongs to an image. The types other than OCI's and Docker's come from
// old registries; BuildKit and Docker accept them too.
func isImageConfig(t types.MediaType) bool {
	switch t {
	case types.OCIConfigJSON, types.DockerConfigJSON, "application/octet-stream", "":
		return true
	}
	return false
}

// isFileSystem reports whether a layer of this type holds files. Signatures and attestations have the config of an image
// and layers of other types.
func isFileSystem(t types.MediaType) bool {
	for _, part := range []string{".layer", ".rootfs.", ".tar", "octet-stream"} {
		if strings.Contains(string(t), part) {
			return true
		}
	}
	return false
}

// notImage returns [ErrNoImage] if a manifest is not an image.
func (m *manifest) notImage(host string) error {
	problem := ""
	switch {
	case m.index:
		problem = "an index is where a manifest should be"
	case !isImageConfig(m.Config.MediaType):
		problem = "its config is " + sanitize.MediaType(string(m.Config.MediaType))
	case m.ArtifactType != "" && !isImageConfig(types.MediaType(m.ArtifactType)):
		problem = "its artifact type is " + sanitize.MediaType(m.ArtifactType)
	case len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return isFileSystem(d.MediaType) }):
		problem = "its layers are " + sanitize.MediaType(string(m.Layers[0].MediaType))
	default:
		return nil
	}
	return &Error{Host: host, problem: problem, cause: ErrNoImage}
}

// kind is the kind of a descriptor in an index.
type kind int

const (
	notAnImage kind = iota
	anImage         // according to the descriptor
	anIndex
)

func kindOf(d *v1.Descriptor) kind {
	switch {
	case d.Annotations[attestationType] != "", d.ArtifactType != "" && !isImageConfig(types.MediaType(d.ArtifactType)):
		return notAnImage
	case d.MediaType == types.OCIImageIndex, d.MediaType == types.DockerManifestList:
		return anIndex
	case d.MediaType == types.OCIManifestSchema1, d.MediaType == types.DockerManifestSchema2, d.MediaType == "":
		return anImage
	}
	return notAnImage
}
