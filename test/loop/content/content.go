// Package content makes the images that the builds of the tests start from: stand-ins for public base images, in which a build
// can run commands.
package content

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is a file of an image.
type File struct {
	Data []byte
	Mode int64
}

// Text returns a file that everybody can read.
func Text(s string) File { return File{[]byte(s), 0o644} }

// Program reads a program from this machine.
func Program(path string) (File, error) {
	data, err := os.ReadFile(path)
	return File{data, 0o755}, err
}

// Shell returns the files of a base image with /bin/busybox, a static program. With it, RUN works. If inert is set, every command
// of a shell does nothing and succeeds, so that the RUN instructions of any Dockerfile can be built without what they need.
func Shell(busybox File, inert bool) map[string]File {
	files := map[string]File{"bin/busybox": busybox, "bin/sh": busybox}
	if inert {
		files["bin/sh"] = File{[]byte("#!/bin/busybox true\n"), 0o755}
	}
	return files
}

// Image is an image for some platforms.
type Image struct {
	Files      map[string]File // by path without the leading slash
	Entrypoint []string
	Platforms  []string // linux/amd64 by default
	Single     bool     // a manifest instead of an index
}

// Push pushes the image to a registry on loopback and returns its digest. Platforms have the same files: no emulator is needed.
func Push(ref string, img Image, options ...remote.Option) (string, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	if len(img.Platforms) == 0 {
		img.Platforms = []string{"linux/amd64"}
	}
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range img.Platforms {
		one, p, err := img.build(platform)
		if err != nil {
			return "", err
		}
		if img.Single {
			digest, err := one.Digest()
			if err != nil {
				return "", err
			}
			return digest.String(), remote.Write(r, one, options...)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: p}})
	}
	digest, err := idx.Digest()
	if err != nil {
		return "", err
	}
	return digest.String(), remote.WriteIndex(r, idx, options...)
}

// Digest returns the digest that a tag holds.
func Digest(ref string, options ...remote.Option) (string, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	head, err := remote.Head(r, options...)
	if err != nil {
		return "", err
	}
	return head.Digest.String(), nil
}

func (img *Image) build(platform string) (v1.Image, *v1.Platform, error) {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, nil, err
	}
	layer, err := archive(img.Files)
	if err != nil {
		return nil, nil, err
	}
	one := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if one, err = mutate.AppendLayers(one, static.NewLayer(layer, types.OCIUncompressedLayer)); err != nil {
		return nil, nil, err
	}
	cfg, err := one.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = p.OS, p.Architecture, p.Variant
	cfg.Created = v1.Time{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg.Config = v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Entrypoint: img.Entrypoint}
	one, err = mutate.ConfigFile(one, cfg)
	return one, p, err
}

// archive returns a tar archive with the files and their folders.
func archive(files map[string]File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	folders := map[string]bool{".": true}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := addFolders(w, folders, path.Dir(file)); err != nil {
			return nil, err
		}
		f := files[file]
		if err := w.WriteHeader(&tar.Header{Name: file, Mode: f.Mode, Size: int64(len(f.Data)), Typeflag: tar.TypeReg}); err != nil {
			return nil, fmt.Errorf("archiving %q: %w", file, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("archiving %q: %w", file, err)
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func addFolders(w *tar.Writer, done map[string]bool, folder string) error {
	if done[folder] {
		return nil
	}
	if err := addFolders(w, done, path.Dir(folder)); err != nil {
		return err
	}
	done[folder] = true
	mode := int64(0o755)
	if strings.HasPrefix(folder, "tmp") {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Name: folder + "/", Mode: mode, Typeflag: tar.TypeDir})
}
