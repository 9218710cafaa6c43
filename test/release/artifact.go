package main

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// artifact is one file that refers to an image. go-containerregistry makes images only, and sets no artifactType.
type artifact struct {
	manifest []byte
	layer    v1.Layer
}

func newArtifact(s sbomFile, subject v1.Descriptor, created time.Time) (v1.Image, error) {
	layer := static.NewLayer(s.data, sbomType)
	blob, err := partial.Descriptor(layer)
	if err != nil {
		return nil, err
	}
	blob.Annotations = map[string]string{specs.AnnotationTitle: s.name}
	config := static.NewLayer(specs.DescriptorEmptyJSON.Data, specs.MediaTypeEmptyJSON)
	none, err := partial.Descriptor(config)
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: sbomType,
		Config: *none, Layers: []v1.Descriptor{*blob},
		Subject:     &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{specs.AnnotationTitle: s.name, specs.AnnotationCreated: created.Format(time.RFC3339)},
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&artifact{manifest, layer})
}

// RawManifest implements partial.CompressedImageCore, as do the others.
func (a *artifact) RawManifest() ([]byte, error) { return a.manifest, nil }

// RawConfigFile is the empty object.
func (a *artifact) RawConfigFile() ([]byte, error) { return specs.DescriptorEmptyJSON.Data, nil }

// MediaType is that of an image's manifest.
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// LayerByDigest returns the file.
func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if digest, err := a.layer.Digest(); err != nil || digest != h {
		return nil, fmt.Errorf("no blob %s", h)
	}
	return a.layer, nil
}
