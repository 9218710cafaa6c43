package registry_test

import (
	"net/http"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func TestSnapshot(t *testing.T) {
	s := serve(t)
	amd, arm, armv7, other := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day, nil), newImage(t, "linux/arm/v7", day, nil), newImage(t, "linux/amd64", day, nil)
	index := newIndex(
		entry{platform: "linux/amd64", what: amd}, entry{platform: "linux/arm64/v8", what: arm}, entry{platform: "linux/arm/v7", what: armv7},
		entry{platform: "linux/amd64", what: other}, entry{what: newImage(t, "linux/s390x", day, nil)},
		entry{platform: "unknown/unknown", what: newImage(t, "linux/ppc64le", day, nil)},
		provenance(t, amd, "v1"),
		entry{platform: "linux/mips64le", what: newImage(t, "linux/mips64le", day, nil), annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
	)
	nested := newIndex(entry{platform: "linux/riscv64", what: amd}, entry{what: newIndex(entry{platform: "linux/arm64", what: arm})})
	deep := newIndex(entry{what: newIndex(entry{what: newIndex(entry{what: newIndex(entry{platform: "linux/arm64", what: arm})})})})
	bare := newImage(t, "", day, nil)
	chart := raw{[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"` + fakeDigest("c") + `"},"layers":[]}`), types.OCIManifestSchema1}
	for tag, what := range map[string]interface {
		Digest() (v1.Hash, error)
		RawManifest() ([]byte, error)
	}{"index": index, "nested": nested, "deep": deep, "single": arm, "bare": bare, "chart": chart} {
		s.push("base:"+tag, what)
	}
	for tag, want := range map[string]state.Snapshot{
		"index":  {Digest: digestOf(t, index), Platforms: state.Platforms{"linux/amd64": digestOf(t, amd), "linux/arm64": digestOf(t, arm), "linux/arm/v7": digestOf(t, armv7)}},
		"nested": {Digest: digestOf(t, nested), Platforms: state.Platforms{"linux/riscv64": digestOf(t, amd), "linux/arm64": digestOf(t, arm)}},
		"single": {Digest: digestOf(t, arm), Platforms: state.Platforms{"linux/arm64": digestOf(t, arm)}},
		"bare":   {Digest: digestOf(t, bare)},
	} {
		t.Run(tag, func(t *testing.T) {
			got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:"+tag), nil)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			got, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base@"+want.Digest), nil)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:chart"), nil)
	require.ErrorIs(t, err, registry.ErrNoImage)
	_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base:deep"), nil)
	require.ErrorContains(t, err, "too many nested indexes")
	_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base:none"), nil)
	require.ErrorContains(t, err, "not found (404)")
	for _, ref := range []state.Ref{{Registry: s.host, Repository: "../x", Tag: "1"}, {Registry: "intranet", Repository: "x", Tag: "1"}, {}} {
		_, err = client(registry.Options{}).Snapshot(t.Context(), ref, nil)
		require.ErrorContains(t, err, "not normalised")
	}
}

func TestSnapshotCostsFewRequests(t *testing.T) {
	s := serve(t)
	index := newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, nil)}, entry{platform: "linux/arm64", what: newImage(t, "linux/arm64", day, nil)})
	s.push("base:1", index)
	c := client(registry.Options{})

	first, err := c.Snapshot(t.Context(), s.ref("base:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"HEAD base/manifests/1", "GET base/manifests/" + first.Digest}, s.asked())

	next := client(registry.Options{}) // another run, which remembers nothing
	again, err := next.Snapshot(t.Context(), s.ref("base:1"), &first)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Equal(t, []string{"HEAD base/manifests/1"}, s.asked(), "an unchanged tag costs one HEAD")

	_, err = next.Snapshot(t.Context(), s.ref("base:1@"+first.Digest), &first)
	require.NoError(t, err)
	assert.Empty(t, s.asked(), "a digest that is known costs nothing")

	_, err = c.Built(t.Context(), s.ref("base@"+first.Digest), "linux/arm64")
	require.NoError(t, err)
	assert.Len(t, s.asked(), 2, "the index is remembered: one manifest, one config")

	pushed := newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, nil)})
	s.push("base:1", pushed)
	moved, err := c.Snapshot(t.Context(), s.ref("base:1"), &first)
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, pushed), moved.Digest)

	u := c.Requests()[s.host]
	assert.Equal(t, 3, u.Pulls)
	assert.Equal(t, -1, u.Remaining)
}

func TestSnapshotWithoutHead(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	s.push("base:1", img)
	want := state.Snapshot{Digest: digestOf(t, img), Platforms: state.Platforms{"linux/amd64": digestOf(t, img)}}
	for name, head := range map[string]func(w http.ResponseWriter){
		"not allowed":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"without digest": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"no digest":      func(w http.ResponseWriter) { w.Header().Set("Docker-Content-Digest", "latest") },
	} {
		t.Run(name, func(t *testing.T) {
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					head(w)
				}
				return r.Method == http.MethodHead
			})
			got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// TestBuildTimes: an annotation counts before everything else, and a label if it is later than the creation date.
func TestBuildTimes(t *testing.T) {
	const key, older = "org.opencontainers.image.created", "org.label-schema.build-date"
	early, late := day.Add(-time.Hour), day.Add(time.Hour)
	for name, c := range map[string]struct {
		created            time.Time
		annotations, label map[string]string
		want               time.Time
	}{
		"annotation before":          {day, map[string]string{key: early.Format(time.RFC3339)}, map[string]string{key: late.Format(time.RFC3339)}, early},
		"annotation of the old key":  {day, map[string]string{older: late.Format(time.RFC3339)}, nil, late},
		"annotation that is no time": {day, map[string]string{key: "yesterday"}, nil, day},
		"reproducible build":         {time.Unix(0, 0), map[string]string{key: late.Format(time.RFC3339)}, nil, late},
		"later label":                {day, nil, map[string]string{key: late.Format(time.RFC3339)}, late},
		"label of the base image":    {day, nil, map[string]string{key: early.Format(time.RFC3339)}, day},
		"label of 1970":              {time.Unix(0, 0), nil, map[string]string{key: "1970-01-01T00:00:00Z"}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			img, err := mutate.Config(newImage(t, "linux/amd64", c.created, nil), v1.Config{Labels: c.label})
			require.NoError(t, err)
			if c.annotations != nil {
				img = mutate.Annotations(mutate.MediaType(img, types.OCIManifestSchema1), c.annotations).(v1.Image)
			}
			s.push("app:1", img)
			got, err := client(registry.Options{}).Built(t.Context(), s.ref("app:1"), "")
			require.NoError(t, err)
			assert.True(t, c.want.Equal(got), "%s", got)
		})
	}
}

func TestBuilt(t *testing.T) {
	s := serve(t)
	s.push("app:1", newIndex(
		entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, nil)},
		entry{platform: "linux/arm64", what: newImage(t, "linux/arm64", day.Add(time.Hour), nil)},
	))
	s.push("app:epoch", newImage(t, "linux/amd64", time.Unix(0, 0), nil))
	s.push("app:buildpack", newImage(t, "linux/amd64", time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC), nil))
	s.push("app:zero", newImage(t, "linux/amd64", time.Time{}, nil))
	for _, c := range []struct {
		tag, platform string
		want          time.Time
	}{
		{"1", "linux/amd64", day},
		{"1", "linux/arm64", day.Add(time.Hour)},
		{"1", "", day},
		{"1", "linux/s390x", time.Time{}},
		{"epoch", "", time.Time{}},
		{"buildpack", "", time.Time{}},
		{"zero", "", time.Time{}},
		{"absent", "", time.Time{}},
	} {
		got, err := client(registry.Options{}).Built(t.Context(), s.ref("app:"+c.tag), c.platform)
		require.NoError(t, err)
		assert.True(t, c.want.Equal(got), "%s %s: %s", c.tag, c.platform, got)
	}
}
