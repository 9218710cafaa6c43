package source_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/source"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func image(repo, dockerfile string) *config.Image {
	return &config.Image{Name: "web", Source: &config.Source{Provider: config.GitHub, Repo: repo, Dockerfile: dockerfile}}
}

func TestDockerfileIsFoundInTheCheckoutOfItsRepository(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), "FROM here")
	write(t, filepath.Join(dir, "web", "Dockerfile"), "FROM web")
	write(t, filepath.Join(dir, "acme", "api", "build", "Dockerfile"), "FROM api")
	write(t, filepath.Join(dir, "api", "build", "Dockerfile"), "FROM other")
	src, err := source.NewLocal(dir)
	require.NoError(t, err)
	for want, img := range map[string]*config.Image{
		"FROM web":  image("acme/web", "Dockerfile"),
		"FROM api":  image("acme/api", "build/Dockerfile"),
		"FROM here": image("acme/none", "Dockerfile"),
	} {
		f, err := src.Dockerfile(t.Context(), img, source.Known{})
		require.NoError(t, err)
		assert.Equal(t, want, string(f.Content))
		assert.Empty(t, f.Commit)
	}
}

func TestDockerfileErrors(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "x")
	write(t, filepath.Join(dir, "big"), string(make([]byte, source.MaxFileBytes+1)))
	write(t, filepath.Join(dir, "lfs"), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	src, err := source.NewLocal(dir)
	require.NoError(t, err)
	for name, want := range map[string]string{
		"none": "no such file: check source.dockerfile", "big": "too large for a Dockerfile (at most 1024 KiB)", "link": "escapes", "lfs": "stored in Git LFS",
		"folder": "not a regular file", "pipe": "not a regular file",
	} {
		_, err := src.Dockerfile(t.Context(), image("acme/web", name), source.Known{})
		require.ErrorContains(t, err, want, name)
		assert.Contains(t, err.Error(), filepath.Join(dir, name))
	}
	_, err = source.NewLocal(filepath.Join(dir, "big"))
	require.ErrorContains(t, err, "not a folder")
	_, err = source.NewLocal(filepath.Join(dir, "nowhere"))
	require.Error(t, err)
}
