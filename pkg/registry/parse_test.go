package registry

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/state"
)

var hexA = strings.Repeat("a", 64)

func TestParsePURL(t *testing.T) {
	for in, want := range map[string]struct{ ref, platform, digest string }{
		"pkg:docker/node@22-slim?platform=linux%2Famd64":                              {"docker.io/library/node:22-slim", "linux/amd64", ""},
		"pkg:docker/node@22-slim?digest=sha256:" + hexA + "&platform=linux%2Farm64":   {"docker.io/library/node:22-slim", "linux/arm64", "sha256:" + hexA},
		"pkg:docker/node@22?digest=sha256%3A" + hexA + "&platform=linux%2Farm64%2Fv8": {"docker.io/library/node:22", "linux/arm64", "sha256:" + hexA},
		"pkg:docker/node?digest=sha256:" + hexA:                                       {"docker.io/library/node", "", "sha256:" + hexA},
		"pkg:docker/node@sha256:" + hexA:                                              {"docker.io/library/node", "", "sha256:" + hexA},
		"pkg:docker/node@sha256%3A" + hexA + "?platform=linux/arm":                    {"docker.io/library/node", "linux/arm/v7", "sha256:" + hexA},
		"pkg:docker/node":                                  {"docker.io/library/node:latest", "", ""},
		"pkg:docker/ghcr.io/owner/base@1":                  {"ghcr.io/owner/base:1", "", ""},
		"pkg:docker/localhost%3A5000/a/b@1.0%2B1":          {},
		"pkg:docker/localhost:5000/a/b@1#sub":              {"localhost:5000/a/b:1", "", ""},
		"PKG:Docker/node@1":                                {"docker.io/library/node:1", "", ""},
		"pkg:docker/node@1?platform=unknown%2Funknown":     {"docker.io/library/node:1", "", ""},
		"pkg:docker/node@1?ref_type=blob":                  {},
		"pkg:docker/node@1?digest=sha256:12":               {},
		"pkg:docker/node@1?digest=%zz":                     {},
		"pkg:docker/node@%zz":                              {},
		"pkg:docker/%zz@1":                                 {},
		"pkg:docker/UPPER@1":                               {},
		"pkg:docker/":                                      {},
		"pkg:oci/node@1":                                   {},
		"pkg:npm/%40docker/node@1":                         {},
		"https://github.com/a/b.git":                       {},
		"":                                                 {},
		"pkg:docker/" + strings.Repeat("a/", 2000) + "b@1": {},
		"pkg:docker/node@sha256:" + hexA + "?digest=sha256:" + strings.Repeat("b", 64): {},
	} {
		m, ok := parsePURL(in)
		if want.ref == "" {
			assert.False(t, ok, "%s: %v", in, m)
			continue
		}
		require.True(t, ok, in)
		assert.Equal(t, want.ref, m.ref.String(), in)
		assert.Equal(t, want.platform, m.platform, in)
		assert.Equal(t, want.digest, m.digest, in)
	}
}

func FuzzParsePURL(f *testing.F) {
	f.Add("pkg:docker/node@22-slim?digest=sha256:" + hexA + "&platform=linux%2Farm64%2Fv8")
	f.Add("pkg:docker/localhost%3A5000/a/b@1#x")
	f.Add("pkg:docker/@?&=&digest=#")
	f.Fuzz(func(t *testing.T, s string) {
		m, ok := parsePURL(s)
		if !ok {
			return
		}
		again, err := state.ParseRef(m.ref.String())
		require.NoError(t, err)
		if m.ref.Tag != "" {
			require.Equal(t, m.ref, again)
		}
		if m.digest != "" {
			_, err := state.ParseRef("a@" + m.digest)
			require.NoError(t, err)
		}
		if m.platform != "" {
			require.Regexp(t, platformForm(), m.platform)
		}
	})
}

func FuzzParseProvenance(f *testing.F) {
	subject := "sha256:" + hexA
	material := `[{"uri":"pkg:docker/node@22?platform=linux%2Famd64","digest":{"sha256":"` + hexA + `"}}]`
	f.Add([]byte(`{"predicateType":"https://slsa.dev/provenance/v0.2","predicate":{"materials":` + material + `}}`))
	f.Add([]byte(`{"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":"` + hexA + `"}}],"predicate":{"buildDefinition":{"resolvedDependencies":` + material + `}}}`))
	f.Add([]byte(`{"predicateType":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseProvenance(data, subject)
		if err != nil {
			require.Empty(t, list)
		}
		for _, m := range list {
			require.NotEmpty(t, m.digest)
			require.NotEmpty(t, m.ref.Repository)
			require.Empty(t, m.ref.Digest)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add("application/vnd.oci.image.index.v1+json", []byte(`{"manifests":[{"mediaType":"m","size":1,"digest":"sha256:`+hexA+`","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8", []byte(`{"config":{"digest":"sha256:`+hexA+`"},"layers":[]}`))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		m, err := parseManifest("host", contentType, body)
		if err != nil {
			return
		}
		require.Equal(t, m.index, m.Config == nil)
		for i := range m.Manifests {
			if p := descriptorPlatform(&m.Manifests[i]); p != "" {
				require.Regexp(t, platformForm(), p)
			}
		}
	})
}

func TestPlatformName(t *testing.T) {
	for in, want := range map[[3]string]string{
		{"linux", "amd64", ""}:         "linux/amd64",
		{"linux", "x86_64", ""}:        "linux/amd64",
		{"linux", "arm64", "v8"}:       "linux/arm64",
		{"linux", "aarch64", ""}:       "linux/arm64",
		{"linux", "arm", "7"}:          "linux/arm/v7",
		{"linux", "arm", "v6"}:         "linux/arm/v6",
		{"windows", "amd64", ""}:       "windows/amd64",
		{"unknown", "unknown", ""}:     "",
		{"", "amd64", ""}:              "",
		{"linux", "", ""}:              "",
		{"linux", "amd64\n- a: b", ""}: "",
	} {
		assert.Equal(t, want, platformName(ocispecs.Platform{OS: in[0], Architecture: in[1], Variant: in[2]}), "%v", in)
	}
}

func TestHostName(t *testing.T) {
	c := New(Options{Mirrors: map[string][]string{"docker.io": {"mirror.example.com/hub"}}})
	ref, err := state.ParseRef("node:22")
	require.NoError(t, err)
	src, err := c.source(ref)
	require.NoError(t, err)
	require.Len(t, src.places, 2)
	assert.Equal(t, "mirror.example.com/hub/library/node", src.places[0].repo.Name())
	assert.Equal(t, "index.docker.io/library/node", src.places[1].repo.Name())
	assert.Equal(t, "docker.io", src.host())
}

// TestCompareNatural: it is an order, in which a number that is larger comes later.
func TestCompareNatural(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab0-9.-]{0,6}`)
		a, b, c := text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c")
		sign := func(n int) int { return min(max(n, -1), 1) }
		assert.Equal(t, -sign(compareNatural(a, b)), sign(compareNatural(b, a)))
		if compareNatural(a, b) <= 0 && compareNatural(b, c) <= 0 {
			assert.LessOrEqual(t, compareNatural(a, c), 0)
		}
	})
	list := []string{"build-100", "build-9", "build-10", "build-1-b", "build-1"}
	slices.SortFunc(list, compareNatural)
	assert.Equal(t, []string{"build-1", "build-1-b", "build-9", "build-10", "build-100"}, list)
}

func TestProbes(t *testing.T) {
	var known []state.Snapshot
	for i := range 20 {
		known = append(known, state.Snapshot{Digest: strconv.Itoa(i)})
	}
	assert.Equal(t, known[:8], probes(known[:8]))
	assert.Equal(t, append(slices.Clone(known[:1]), known[13:]...), probes(known))
}

func FuzzPlatformName(f *testing.F) {
	f.Add("windows", "10.0.20348.3000", "win32k", "amd64", "")
	f.Add("linux", "", "", "arm", "7")
	f.Add("freebsd", "14.1 (x)", "", "aarch64", "v8")
	f.Add("linux", "", "", "arm", ".")
	f.Fuzz(func(t *testing.T, os, version, feature, arch, variant string) {
		p := ocispecs.Platform{OS: os, OSVersion: version, Architecture: arch, Variant: variant}
		if feature != "" {
			p.OSFeatures = []string{feature}
		}
		key := platformName(p)
		if key == "" {
			return
		}
		assert.Equal(t, key, parsePlatform(key), "a key is read as what it is")
		assert.True(t, state.SamePlatform(key, key))
		assert.NotContains(t, state.Snapshot{Digest: "whole", Platforms: state.Platforms{key: "this"}}.Effective(key), "whole")
	})
}
