package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// built is an image of all platforms with its bills of materials.
type built struct {
	source *source
	index  v1.ImageIndex
	digest v1.Hash
	sboms  []sbomFile
}

// sbomFile is the bill of materials of one platform, and the artifact that attaches it to the image.
type sbomFile struct {
	name     string
	data     []byte
	artifact v1.Image
}

// makeImage builds the image, on top of a base image if there is one.
func makeImage(ctx context.Context, src *source, platforms []string, base *name.Digest) (*built, error) {
	dir, err := os.MkdirTemp("", "imagefactory-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &built{source: src, index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex)}
	files, err := newLayer(system())
	if err != nil {
		return nil, err
	}
	for _, text := range platforms {
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", text, err)
		}
		file, err := src.build(ctx, dir, platform.OS, platform.Architecture)
		if err != nil {
			return nil, err
		}
		binary, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var img v1.Image
		if base != nil {
			img, err = src.onBase(ctx, *base, platform, binary)
		} else {
			img, err = src.image(platform, files, binary)
		}
		if err != nil {
			return nil, err
		}
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
		bom, err := imageSBOM(binary, src)
		if err != nil {
			return nil, err
		}
		b.sboms = append(b.sboms, sbomFile{name: filepath.Base(file) + ".cdx.json", data: bom})
	}
	b.index = mutate.Annotations(b.index, src.annotations()).(v1.ImageIndex)
	if b.digest, err = b.index.Digest(); err != nil {
		return nil, err
	}
	subject, err := partial.Descriptor(b.index)
	if err != nil {
		return nil, err
	}
	for i, s := range b.sboms {
		if b.sboms[i].artifact, err = newArtifact(s, *subject, src.committed); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// image is the image of one platform.
func (s *source) image(platform *v1.Platform, files v1.Layer, binary []byte) (v1.Image, error) {
	layer, err := newLayer(program(binary))
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: s.committed}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base,
		mutate.Addendum{Layer: files, History: v1.History{Created: created, CreatedBy: "certificates, user and folders"}},
		mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "imagefactory"}},
	)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant, cfg.Created = platform.OS, platform.Architecture, platform.Variant, created
	id := strconv.Itoa(user)
	cfg.Config = v1.Config{
		User: id + ":" + id, WorkingDir: "/" + workPath, Entrypoint: []string{"/" + binaryPath},
		Env: []string{"PATH=/" + path.Dir(binaryPath), "HOME=/tmp"}, Labels: s.annotations(),
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, err
	}
	return mutate.Annotations(img, s.annotations()).(v1.Image), nil
}

// annotations returns the annotations of an image, which are also its labels.
func (s *source) annotations() map[string]string {
	return map[string]string{
		specs.AnnotationTitle:       "imagefactory",
		specs.AnnotationDescription: "Rebuilds container images when their base images change",
		specs.AnnotationLicenses:    "Apache-2.0",
		specs.AnnotationSource:      sourceURL,
		specs.AnnotationRevision:    s.commit,
		specs.AnnotationVersion:     s.version,
		specs.AnnotationCreated:     s.committed.Format(time.RFC3339),
	}
}

// write makes a folder with the OCI layout in oci, the bills of materials, and the image's digest.
func (b *built) write(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "oci")); err != nil {
		return err
	}
	l, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendIndex(b.index, layout.WithAnnotations(map[string]string{specs.AnnotationRefName: b.source.version})); err != nil {
		return err
	}
	for _, s := range b.sboms {
		if err := l.AppendImage(s.artifact); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, s.name), s.data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "digest"), []byte(b.digest.String()+"\n"), 0o644)
}

// parseTag parses the reference to push to.
func parseTag(to string) (name.Reference, error) {
	if strings.Contains(to, "@") {
		return nil, errors.New("want a tag, not a digest")
	}
	return name.ParseReference(to)
}

// push sends the image, then the bills of materials that refer to it.
func (b *built) push(ctx context.Context, ref name.Reference) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if err := remote.WriteIndex(ref, b.index, options...); err != nil {
		return err
	}
	for _, s := range b.sboms {
		digest, err := s.artifact.Digest()
		if err != nil {
			return err
		}
		if err := remote.Write(ref.Context().Digest(digest.String()), s.artifact, options...); err != nil {
			return fmt.Errorf("attaching %s: %w", s.name, err)
		}
	}
	return nil
}
