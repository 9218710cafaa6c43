package main

import (
	"context"
	"fmt"
	"maps"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// onBase is the image of one platform with a base image below the binary, for CI systems that run a shell in an image. It keeps the
// user and the environment of the base image.
func (s *source) onBase(ctx context.Context, ref name.Digest, platform *v1.Platform, binary []byte) (v1.Image, error) {
	base, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(*platform))
	if err != nil {
		return nil, fmt.Errorf("reading the base image: %w", err)
	}
	kind, err := base.MediaType()
	if err != nil {
		return nil, err
	}
	if kind != types.OCIManifestSchema1 {
		return nil, fmt.Errorf("base image %s is of type %s, want %s", ref, kind, types.OCIManifestSchema1)
	}
	layer, err := newLayer(program(binary)[2:]) // the base image has the folders
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: s.committed}
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "imagefactory"}})
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.Created, cfg.Config.Entrypoint = created, nil
	if cfg.Config.Labels == nil {
		cfg.Config.Labels = map[string]string{}
	}
	maps.Copy(cfg.Config.Labels, s.annotations())
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, err
	}
	annotations := s.annotations()
	annotations[specs.AnnotationBaseImageName], annotations[specs.AnnotationBaseImageDigest] = ref.Context().Name(), ref.DigestStr()
	return mutate.Annotations(img, annotations).(v1.Image), nil
}
