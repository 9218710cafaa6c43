package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/long"
)

const testVersion = "v1.2.3"

// sample is an image, and what its layers hold.
type sample struct {
	*built
	img   v1.Image
	files []file
}

type file struct {
	*tar.Header
	content []byte
}

// testImage is the image for Linux on this machine's processor, built once.
var testImage = sync.OnceValues(func() (*sample, error) {
	src, err := readSource(context.Background(), testVersion)
	if err != nil {
		return nil, err
	}
	src.goVersion = runtime.Version() // what tests compare needs no other toolchain
	b, err := makeImage(context.Background(), src, []string{"linux/" + runtime.GOARCH}, nil)
	if err != nil {
		return nil, err
	}
	m, err := b.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	s := &sample{built: b}
	if s.img, err = b.index.Image(m.Manifests[0].Digest); err != nil {
		return nil, err
	}
	layers, err := s.img.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if s.files, err = unpack(s.files, l); err != nil {
			return nil, err
		}
	}
	return s, nil
})

func unpack(files []file, layer v1.Layer) ([]file, error) {
	r, err := layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		files = append(files, file{h, content})
	}
}

func build(t *testing.T) *sample {
	long.Only(t, "it builds the program")
	s, err := testImage()
	require.NoError(t, err)
	return s
}

func TestImage(t *testing.T) {
	b := build(t)
	dir := t.TempDir()
	require.NoError(t, b.write(dir))
	root, err := layout.ImageIndexFromPath(filepath.Join(dir, "oci"))
	require.NoError(t, err)
	index, err := root.ImageIndex(b.digest)
	require.NoError(t, err)
	m, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, m.Manifests, 1)
	img, err := index.Image(m.Manifests[0].Digest)
	require.NoError(t, err)
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "65532:65532", cfg.Config.User, "the user of the Jobs in dist")
	assert.Equal(t, []string{"/usr/bin/imagefactory"}, cfg.Config.Entrypoint)
	assert.Empty(t, cfg.Config.Cmd)
	assert.Equal(t, "/work", cfg.Config.WorkingDir)
	assert.Contains(t, cfg.Config.Env, "HOME=/tmp")
	assert.Equal(t, b.source.committed, cfg.Created.UTC())
	assert.Equal(t, b.source.commit, cfg.Config.Labels["org.opencontainers.image.revision"])
	assert.Equal(t, testVersion, cfg.Config.Labels["org.opencontainers.image.version"])
	assert.Equal(t, cfg.Config.Labels, m.Annotations)

	files := map[string][]byte{}
	for _, f := range b.files {
		assert.Zero(t, f.ModTime.Unix(), f.Name)
		assert.Empty(t, f.Uname+f.Gname, f.Name)
		if f.Typeflag != tar.TypeDir {
			files[f.Name] = f.content
		}
	}
	assert.Equal(t, []string{"etc/group", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/bin/imagefactory"}, slices.Sorted(maps.Keys(files)))

	certificates := 0
	for rest := files["etc/ssl/certs/ca-certificates.crt"]; ; certificates++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		assert.True(t, c.IsCA)
	}
	assert.Greater(t, certificates, 50)
	assert.NotContains(t, string(files["usr/bin/imagefactory"]), b.source.root+"/pkg", "the checkout's path is in the binary")
}

func TestSameBytesAgain(t *testing.T) {
	b := build(t)
	src := *b.source
	clone := filepath.Join(t.TempDir(), "another place")
	require.NoError(t, os.Symlink(src.root, clone))
	src.root = clone
	t.Setenv("GOFLAGS", "-buildvcs=auto")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("TZ", "Asia/Tokyo")
	again, err := makeImage(t.Context(), &src, []string{"linux/" + runtime.GOARCH}, nil)
	require.NoError(t, err)
	assert.Equal(t, b.digest, again.digest)
	assert.Equal(t, string(b.sboms[0].data), string(again.sboms[0].data))
}

func TestSBOM(t *testing.T) {
	b := build(t)
	bom := new(cdx.BOM)
	require.NoError(t, cdx.NewBOMDecoder(bytes.NewReader(b.sboms[0].data), cdx.BOMFileFormatJSON).Decode(bom))
	assert.Equal(t, testVersion, bom.Metadata.Component.Version)
	byName := map[string]cdx.Component{}
	for _, c := range *bom.Components {
		byName[c.Name] = c
	}
	assert.Equal(t, "pkg:golang/stdlib@"+strings.TrimPrefix(runtime.Version(), "go"), byName["stdlib"].PackageURL)
	assert.Contains(t, byName["github.com/spf13/cobra"].PackageURL, "pkg:golang/github.com/spf13/cobra@v1.")
	assert.NotEmpty(t, byName["github.com/spf13/cobra"].Hashes)
	assert.NotContains(t, byName, "github.com/stretchr/testify")

	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "imagefactory")
	for _, f := range b.files {
		if f.Name == binaryPath {
			require.NoError(t, os.WriteFile(file, f.content, 0o755))
		}
	}
	require.NoError(t, run(t.Context(), []string{"sbom", "-version", testVersion, file}, &out))
	assert.Contains(t, out.String(), (*bom.Metadata.Component.Hashes)[0].Value)
	err := run(t.Context(), []string{"sbom", "main.go"}, io.Discard)
	assert.ErrorContains(t, err, "main.go: reading module information")
}

// TestPush finds the bill of materials from the tag, at a registry that knows referrers and at one that does not.
func TestPush(t *testing.T) {
	b := build(t)
	for _, referrers := range []bool{true, false} {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
		t.Cleanup(server.Close)
		ref, err := parseTag(strings.TrimPrefix(server.URL, "http://") + "/acme/imagefactory:" + testVersion)
		require.NoError(t, err)
		require.NoError(t, b.push(t.Context(), ref))
		got, err := remote.Get(ref)
		require.NoError(t, err)
		assert.Equal(t, b.digest, got.Digest)
		found, err := remote.Referrers(ref.Context().Digest(got.Digest.String()))
		require.NoError(t, err)
		list, err := found.IndexManifest()
		require.NoError(t, err)
		require.Len(t, list.Manifests, 1)
		if !referrers { // without referrers, the registry has the type of the config
			assert.Equal(t, sbomType, list.Manifests[0].ArtifactType)
		}
		artifact, err := remote.Image(ref.Context().Digest(list.Manifests[0].Digest.String()))
		require.NoError(t, err)
		m, err := artifact.Manifest()
		require.NoError(t, err)
		assert.Equal(t, sbomType, m.ArtifactType)
		assert.Equal(t, b.digest, m.Subject.Digest)
		layers, err := artifact.Layers()
		require.NoError(t, err)
		blob, err := layers[0].Compressed()
		require.NoError(t, err)
		data, err := io.ReadAll(blob)
		require.NoError(t, err)
		assert.Equal(t, string(b.sboms[0].data), string(data))
	}
}

// TestOnBase: the image with a shell is the base image with the program in one more layer, and runs nothing by itself.
func TestOnBase(t *testing.T) {
	long.Only(t, "it builds the program")
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	below, err := newLayer([]entry{{path: "bin/sh", mode: 0o755, data: []byte("a shell")}})
	require.NoError(t, err)
	push := func(mediaType types.MediaType) name.Digest {
		img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, mediaType), below)
		require.NoError(t, err)
		cfg, err := img.ConfigFile()
		require.NoError(t, err)
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
		cfg.Config = v1.Config{User: "0", Entrypoint: []string{"/bin/sh"}, Env: []string{"PATH=/bin:/usr/bin"}, Labels: map[string]string{"of": "base"}}
		img, err = mutate.ConfigFile(img, cfg)
		require.NoError(t, err)
		index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: cfg.Platform()}})
		repo, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/base")
		require.NoError(t, err)
		require.NoError(t, remote.WriteIndex(repo.Tag("1"), index))
		digest, err := index.Digest()
		require.NoError(t, err)
		return repo.Digest(digest.String())
	}
	src, err := readSource(t.Context(), testVersion)
	require.NoError(t, err)
	src.goVersion = runtime.Version()
	base := push(types.OCIManifestSchema1)
	platforms := []string{"linux/" + runtime.GOARCH}
	b, err := makeImage(t.Context(), src, platforms, &base)
	require.NoError(t, err)
	again, err := makeImage(t.Context(), src, platforms, &base)
	require.NoError(t, err)
	assert.Equal(t, b.digest, again.digest)

	index, err := b.index.IndexManifest()
	require.NoError(t, err)
	img, err := b.index.Image(index.Manifests[0].Digest)
	require.NoError(t, err)
	m, err := img.Manifest()
	require.NoError(t, err)
	assert.Equal(t, base.DigestStr(), m.Annotations["org.opencontainers.image.base.digest"])
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 2)
	added, err := unpack(nil, layers[1])
	require.NoError(t, err)
	require.Len(t, added, 1)
	assert.Equal(t, binaryPath, added[0].Name)
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	assert.Empty(t, cfg.Config.Entrypoint)
	assert.Equal(t, []string{"PATH=/bin:/usr/bin"}, cfg.Config.Env)
	assert.Equal(t, "base", cfg.Config.Labels["of"])
	assert.Equal(t, testVersion, cfg.Config.Labels["org.opencontainers.image.version"])

	docker := push(types.DockerManifestSchema2)
	_, err = makeImage(t.Context(), src, platforms, &docker)
	require.ErrorContains(t, err, "want application/vnd.oci.image.manifest.v1+json")
}

func TestRunRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"sbom: want the path of one binary": {"sbom"},
		`unexpected argument "x"`:           {"x"},
		`base image "a:1"`:                  {"-base", "a:1"},
		"want a tag, not a digest":          {"-push", "registry.example.com/x@sha256:" + strings.Repeat("0", 64)},
		"must not contain a URL scheme":     {"-push", "https://registry.example.com/x"},
		`platform "a/b/c/d/e"`:              {"-platforms", "a/b/c/d/e", "-out", t.TempDir()},
	} {
		require.ErrorContains(t, run(t.Context(), args, io.Discard), want)
	}
	t.Setenv("GOEXPERIMENT", "arenas")
	require.ErrorContains(t, run(t.Context(), []string{"-out", t.TempDir()}, io.Discard), "GOEXPERIMENT is arenas")
	s := source{goVersion: "go1.0"}
	assert.ErrorContains(t, s.checkToolchain(), "use `make image`")
}

// TestSameFlagsAsTheArchives: .goreleaser.yaml builds the binary that is in the image.
func TestSameFlagsAsTheArchives(t *testing.T) {
	var release struct {
		Builds []struct {
			Flags, Ldflags, Env []string
			Goamd64, Goarm64    []string
		}
	}
	data, err := os.ReadFile("../../.goreleaser.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &release))
	require.Len(t, release.Builds, 1)
	got := release.Builds[0]
	src := source{version: "v{{ .Version }}", commit: "{{ .FullCommit }}"}
	assert.Equal(t, append(slices.Clone(got.Flags), "-ldflags="+strings.Join(got.Ldflags, " ")), src.flags())
	env := slices.Concat(got.Env, []string{"GOAMD64=" + strings.Join(got.Goamd64, ","), "GOARM64=" + strings.Join(got.Goarm64, ",")})
	assert.ElementsMatch(t, env, environment())
}
