package registry_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// withTrigger returns an image with an ONBUILD trigger.
func withTrigger(t *testing.T, platform, trigger string) v1.Image {
	t.Helper()
	image := newImage(t, platform, day, nil)
	cfg, err := image.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.Config.OnBuild = []string{trigger}
	image, err = mutate.ConfigFile(image, cfg)
	require.NoError(t, err)
	return image
}

// triggersOf reads the ONBUILD triggers of a config.
func triggersOf(t *testing.T, body []byte) []string {
	t.Helper()
	var cfg v1.ConfigFile
	require.NoError(t, json.Unmarshal(body, &cfg))
	return cfg.Config.OnBuild
}

func TestConfig(t *testing.T) {
	s := serve(t)
	single := withTrigger(t, "linux/amd64", "RUN single")
	index := newIndex(
		entry{platform: "linux/amd64", what: withTrigger(t, "linux/amd64", "RUN amd64")},
		entry{platform: "linux/arm/v6", what: withTrigger(t, "linux/arm/v6", "RUN v6")},
		entry{platform: "linux/arm/v5", what: withTrigger(t, "linux/arm/v5", "RUN v5")},
	)
	s.push("base:single", single)
	s.push("base:index", index)
	for _, tt := range []struct{ digest, platform, want string }{
		{digestOf(t, single), "linux/amd64", "RUN single"},
		{digestOf(t, single), "linux/s390x", "RUN single"}, // the only one there is
		{digestOf(t, index), "linux/amd64", "RUN amd64"},
		{digestOf(t, index), "linux/arm/v7", "RUN v6"},
	} {
		body, err := client(registry.Options{}).Config(t.Context(), s.ref("base@"+tt.digest), tt.platform)
		require.NoError(t, err, tt)
		assert.Equal(t, []string{tt.want}, triggersOf(t, body), tt)
	}
	_, err := client(registry.Options{}).Config(t.Context(), s.ref("base@"+digestOf(t, index)), "linux/s390x")
	require.ErrorContains(t, err, "no image for linux/s390x")
	_, err = client(registry.Options{}).Config(t.Context(), s.ref("base@"+fakeDigest("none")), "linux/amd64")
	require.ErrorContains(t, err, "not found (404)")

	chart := raw{[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"` + fakeDigest("c") + `"},"layers":[]}`), types.OCIManifestSchema1}
	s.push("base:chart", chart)
	_, err = client(registry.Options{}).Config(t.Context(), s.ref("base@"+digestOf(t, chart)), "linux/amd64")
	require.ErrorContains(t, err, "is not an image")
}

func TestConfigIsReadOncePerDigest(t *testing.T) {
	s := serve(t)
	index := newIndex(entry{platform: "linux/amd64", what: withTrigger(t, "linux/amd64", "RUN a")}, entry{platform: "linux/arm64", what: withTrigger(t, "linux/arm64", "RUN b")})
	s.push("base:1", index)
	ref, dir := s.ref("base@"+digestOf(t, index)), t.TempDir()
	first, err := client(registry.Options{CacheDir: dir}).Config(t.Context(), ref, "linux/amd64")
	require.NoError(t, err)
	assert.Len(t, s.asked(), 3, "the index, the manifest and the config")

	again, err := client(registry.Options{CacheDir: dir}).Config(t.Context(), ref, "linux/amd64")
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Empty(t, s.asked(), "another run")
	other, err := client(registry.Options{CacheDir: dir}).Config(t.Context(), ref, "linux/arm64")
	require.NoError(t, err)
	assert.Equal(t, []string{"RUN b"}, triggersOf(t, other))
	s.asked()

	files, err := filepath.Glob(filepath.Join(dir, "configs", "*"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, f := range files {
		require.NoError(t, os.WriteFile(f, []byte("damaged"), 0o600))
	}
	again, err = client(registry.Options{CacheDir: dir}).Config(t.Context(), ref, "linux/amd64")
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Len(t, s.asked(), 3, "a damaged file is not believed")
}

func TestConfigIsChecked(t *testing.T) {
	s := serve(t)
	image := withTrigger(t, "linux/amd64", "RUN a")
	s.push("base:1", image)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			_, _ = w.Write([]byte(`{"config":{"OnBuild":["RUN evil"]}}`))
			return true
		}
		return false
	})
	dir := t.TempDir()
	_, err := client(registry.Options{CacheDir: dir}).Config(t.Context(), s.ref("base@"+digestOf(t, image)), "linux/amd64")
	require.ErrorContains(t, err, "the content has digest")
	s.breaks(nil)
	body, err := client(registry.Options{CacheDir: dir}).Config(t.Context(), s.ref("base@"+digestOf(t, image)), "linux/amd64")
	require.NoError(t, err)
	assert.Equal(t, []string{"RUN a"}, triggersOf(t, body))
}

func TestHolds(t *testing.T) {
	index := state.Snapshot{Digest: fakeDigest("i"), Platforms: state.Platforms{
		"linux/amd64": fakeDigest("a"), "linux/arm/v6": fakeDigest("v6"), "windows(10.0.20348.1)/amd64": fakeDigest("w"),
	}}
	for platform, want := range map[string]bool{
		"linux/amd64": true, "linux/arm/v7": true, "windows/amd64": true, "linux/s390x": false, "freebsd/amd64": false,
	} {
		assert.Equal(t, want, registry.Holds(index, platform), platform)
	}
	single := state.Snapshot{Digest: fakeDigest("s"), Platforms: state.Platforms{"linux/amd64": fakeDigest("s")}}
	assert.True(t, registry.Holds(single, "linux/arm64"), "the only one there is")
	assert.True(t, registry.Holds(state.Snapshot{Digest: fakeDigest("u")}, "linux/arm64"), "not known")
}
