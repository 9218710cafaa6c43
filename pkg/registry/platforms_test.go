package registry_test

import (
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// windows makes an image of a Windows version, on a base when there is one.
func windows(t *testing.T, version string, features []string, base v1.Image) v1.Image {
	t.Helper()
	img := newImage(t, "windows/amd64", day, base)
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.OSVersion, cfg.OSFeatures = version, features
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(t, err)
	return img
}

// versioned is an index of images that have their platform from their config.
func versioned(t *testing.T, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	idx := newIndex()
	for _, img := range images {
		cfg, err := img.ConfigFile()
		require.NoError(t, err)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: cfg.Platform()}})
	}
	return idx
}

// TestOneOSVersionDoesNotShadowAnother: the manifests of an index may differ in nothing else.
func TestOneOSVersionDoesNotShadowAnother(t *testing.T) {
	s := serve(t)
	w2019, w2022, nano, plain := windows(t, "10.0.17763.7000", nil, nil), windows(t, "10.0.20348.3000", nil, nil), windows(t, "10.0.20348.3000", []string{"win32k"}, nil), windows(t, "", nil, nil)
	odd, twice := windows(t, "10 (beta)/x", nil, nil), windows(t, "10.0.17763.7000", nil, nil)
	s.push("base:1", versioned(t, w2019, w2022, nano, plain, odd, twice, newImage(t, "linux/amd64", day, nil)))
	got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.NoError(t, err)
	delete(got.Platforms, "linux/amd64")
	assert.Equal(t, state.Platforms{
		"windows(10.0.17763.7000)/amd64": digestOf(t, w2019), "windows(10.0.20348.3000)/amd64": digestOf(t, w2022), "windows(10.0.20348.3000+win32k)/amd64": digestOf(t, nano),
		"windows/amd64": digestOf(t, plain), "windows(10_beta_x)/amd64": digestOf(t, odd),
	}, got.Platforms, "of two that are the same to the last detail the first counts")

	s.push("base:single", w2022)
	got, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base:single"), nil)
	require.NoError(t, err)
	assert.Equal(t, state.Platforms{"windows(10.0.20348.3000)/amd64": digestOf(t, w2022)}, got.Platforms)
	at, err := client(registry.Options{}).Built(t.Context(), s.ref("base:1"), "windows(10.0.20348)/amd64")
	require.NoError(t, err)
	assert.True(t, day.Equal(at))
}

// TestEvidenceOfAnOSVersion: the second manifest of a platform proves as much as the first.
func TestEvidenceOfAnOSVersion(t *testing.T) {
	s := serve(t)
	w2019, w2022, newer := windows(t, "10.0.17763.7000", nil, nil), windows(t, "10.0.20348.3000", nil, nil), windows(t, "10.0.20348.3100", nil, nil)
	one, two := versioned(t, w2019, w2022), versioned(t, w2019, newer)
	s.push("base:1", one)
	s.push("base:new", two)
	known := []state.Snapshot{
		{Digest: digestOf(t, one), Platforms: state.Platforms{"windows(10.0.17763.7000)/amd64": digestOf(t, w2019), "windows(10.0.20348.3000)/amd64": digestOf(t, w2022)}},
		{Digest: digestOf(t, two), Platforms: state.Platforms{"windows(10.0.17763.7000)/amd64": digestOf(t, w2019), "windows(10.0.20348.3100)/amd64": digestOf(t, newer)}},
	}
	for name, on := range map[string]v1.Image{"layers of the second": w2022, "layers of the newer one": newer} {
		app := windows(t, "10.0.20348.3000", nil, on)
		s.push("app:1", app)
		for _, platforms := range [][]string{nil, {"windows/amd64"}, {"windows(10.0.20348)/amd64"}} {
			base := registry.Base{Ref: s.ref("base:1"), Known: known, Final: true, Platforms: platforms}
			got, err := client(registry.Options{}).BuiltOn(t.Context(), s.ref("app@"+digestOf(t, app)), []registry.Base{base})
			require.NoError(t, err)
			require.Len(t, got, 1, name)
			want := known[0].Digest
			if on == newer {
				want = known[1].Digest
			}
			assert.Equal(t, want, got[0].Digest, name)
			assert.Equal(t, state.Layers, got[0].Evidence)
		}
	}
}

// TestPlatformsThatOnlyConfigsHave: an index may leave them out.
func TestPlatformsThatOnlyConfigsHave(t *testing.T) {
	s := serve(t)
	amd, arm := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day.Add(time.Hour), nil)
	s.push("base:1", newIndex(entry{what: amd}, entry{platform: "unknown/unknown", what: arm}))
	got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, state.Platforms{"linux/amd64": digestOf(t, amd), "linux/arm64": digestOf(t, arm)}, got.Platforms)
}
