package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var rules = map[string]config.Tags{
	"versions": {Strategy: config.SemVer}, "one tag": {Strategy: config.Digest, Constraint: "latest"},
	"newest": {Strategy: config.NewestBuild}, "alphabet": {Strategy: config.Lexical}, "undecided": {},
}

// TestOnlyTheRegistryReportsNeverPublished: every other absence is no answer.
func TestOnlyTheRegistryReportsNeverPublished(t *testing.T) {
	list := func(text string) http.HandlerFunc { return body("application/json", text) }
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   bool
		list   bool // it is about the list only
	}{
		"unknown name":                       {saysUnknown("NAME_UNKNOWN"), true, false},
		"unknown manifest":                   {saysUnknown("MANIFEST_UNKNOWN"), true, false},
		"no tags":                            {list(`{"name":"team/app","tags":[]}`), true, true},
		"null":                               {list(`{"name":"team/app","tags":null}`), true, true},
		"no tags, below a path":              {list(`{"name":"app","tags":[]}`), true, true},
		"bare":                               {status(404), false, false},
		"text":                               {answer(404, "default backend - 404"), false, false},
		"web page":                           {answer(404, "<html>not found</html>"), false, false},
		"JSON of something else":             {answer(404, `{"code":"NAME_UNKNOWN"}`), false, false},
		"JSON of another kind":               {answer(404, `["NAME_UNKNOWN"]`), false, false},
		"no errors":                          {answer(404, `{"errors":[]}`), false, false},
		"errors of another kind":             {answer(404, `{"errors":["NAME_UNKNOWN"]}`), false, false},
		"another code":                       {saysUnknown("NOT_FOUND"), false, false},
		"unknown blob":                       {saysUnknown("BLOB_UNKNOWN"), false, false},
		"denied as well":                     {answer(404, `{"errors":[{"code":"NAME_UNKNOWN"},{"code":"DENIED"}]}`), false, false},
		"denied":                             {answer(403, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false, false},
		"gone":                               {answer(410, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false, false},
		"a gateway":                          {answer(502, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false, false},
		"a web page, and no error":           {body("text/html", "<html>"), false, false},
		"an empty object":                    {list(`{}`), false, true},
		"a name only":                        {list(`{"name":"team/app"}`), false, true},
		"of another repository":              {list(`{"name":"team/other","tags":[]}`), false, true},
		"of another one, whose name ends so": {list(`{"name":"m/app","tags":[]}`), false, true},
		"of a longer name":                   {list(`{"name":"docker-local/team/app","tags":[]}`), false, true},
		"of nobody":                          {list(`{"tags":[]}`), false, true},
		"null of nobody":                     {list(`{"tags":null}`), false, true},
		"null alone":                         {list(`null`), false, true},
		"tags of another kind":               {list(`{"name":"team/app","tags":{}}`), false, true},
		"no valid tag":                       {list(`{"name":"team/app","tags":["../x"]}`), false, true},
		"an empty answer":                    {list(``), false, true},
	} {
		for by, tags := range rules {
			t.Run(name+"/"+by, func(t *testing.T) {
				s := serve(t)
				s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
					switch {
					case r.URL.Path == "/v2/":
						return false
					case c.list && strings.Contains(r.URL.Path, "/manifests/"):
						saysUnknown("MANIFEST_UNKNOWN")(w, r)
					default:
						c.answer(w, r)
					}
					return true
				})
				_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/team/app", tags, tags.Strategy != "", unknown)
				require.Error(t, err)
				assert.Equal(t, c.want, errors.Is(err, registry.ErrUnpublished), "%s", err)
				assert.Equal(t, c.want, registry.Missing(err), "%s", err)
			})
		}
	}
}

// TestHeadIsConfirmed: its answer has no body.
func TestHeadIsConfirmed(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	s.push("app:1", img)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusNotFound)
		}
		return r.Method == http.MethodHead
	})
	got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, img), got.Digest, "a GET finds it")
	_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("app:2"), nil)
	assert.True(t, registry.IsNotFound(err))
}

// TestMirrorIsNotAuthoritative: the registry is asked itself, and nothing is known when it does not answer.
func TestMirrorIsNotAuthoritative(t *testing.T) {
	for name, says := range map[string]http.HandlerFunc{
		"unknown": saysUnknown("NAME_UNKNOWN"), "no tags": body("application/json", `{"name":"team/app","tags":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			origin, mirror := serve(t), serve(t)
			mirror.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/" {
					says(w, r)
				}
				return r.URL.Path != "/v2/"
			})
			o := registry.Options{Mirrors: map[string][]string{origin.host: {mirror.host}}}
			newest := func() (registry.Choice, error) {
				return client(o).Newest(t.Context(), origin.host+"/team/app", config.Tags{}, false, unknown)
			}
			_, err := newest()
			require.ErrorIs(t, err, registry.ErrUnpublished, "the registry says so too")
			origin.push("team/app:1.0.0", newImage(t, "linux/amd64", day, nil))
			got, err := newest()
			require.NoError(t, err)
			assert.Equal(t, "1.0.0", got.Tag)
			origin.breaks(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
			_, err = newest()
			require.Error(t, err)
			assert.False(t, registry.Missing(err), "%s", err)
		})
	}
}

// TestNoMatchingTags: they are no absence.
func TestNoMatchingTags(t *testing.T) {
	for name, c := range map[string]struct {
		have []string
		tags config.Tags
		want string
	}{
		"constraint":     {[]string{"1.2.3-alpine", "1.3.0-alpine"}, config.Tags{Strategy: config.SemVer, Constraint: "^1"}, "published: 1.3.0-alpine, 1.2.3-alpine"},
		"no version":     {[]string{"main", "latest"}, config.Tags{Strategy: config.SemVer}, "no tag is a semantic version; published: main, latest"},
		"allow":          {[]string{"1.0.0"}, config.Tags{Strategy: config.SemVer, Allow: []string{"^v"}}, "no tag passes allow and ignore"},
		"ignore":         {[]string{"a", "b", "c", "d", "e"}, config.Tags{Strategy: config.Lexical, Ignore: []string{"."}}, "published: e, d, c and 2 more"},
		"newest, ignore": {[]string{"a"}, config.Tags{Strategy: config.NewestBuild, Ignore: []string{"a"}}, "no tag passes"},
		"another tag":    {[]string{"1.0.0"}, config.Tags{Strategy: config.Digest, Constraint: "latest"}, `no tag "latest"; published: 1.0.0`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			for _, tag := range c.have {
				s.push("app:"+tag, newImage(t, "linux/amd64", day, nil))
			}
			_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", c.tags, true, unknown)
			var none *registry.NoneCountsError
			require.ErrorAs(t, err, &none)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, len(c.have), none.Total)
			assert.False(t, registry.Missing(err))
		})
	}
}

// artifact is a manifest that is no image.
func artifact(config, kind, layer string) raw {
	if kind != "" {
		kind = `"artifactType":"` + kind + `",`
	}
	layers := ""
	if layer != "" {
		layers = `{"mediaType":"` + layer + `","size":2,"digest":"` + fakeDigest("{}") + `"}`
	}
	return raw{[]byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,%s"config":{"mediaType":%q,"size":2,"digest":%q},"layers":[%s]}`,
		types.OCIManifestSchema1, kind, config, fakeDigest("{}"), layers)), types.OCIManifestSchema1}
}

const imageConfig = "application/vnd.oci.image.config.v1+json"

var sbom = artifact("application/vnd.oci.empty.v1+json", "application/vnd.example.sbom", "application/spdx+json")

// notImages are what people keep beside their images.
var notImages = map[string]raw{
	"chart":       artifact("application/vnd.cncf.helm.config.v1+json", "", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
	"artifact":    sbom,
	"nothing":     artifact("application/vnd.oci.empty.v1+json", "", ""),
	"plugin":      artifact("application/vnd.docker.plugin.v1+json", "", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
	"wasm":        artifact("application/vnd.wasm.config.v0+json", "", "application/wasm"),
	"signature":   artifact(imageConfig, "", "application/vnd.dev.cosign.simplesigning.v1+json"),
	"attestation": artifact(imageConfig, "", "application/vnd.in-toto+json"),
	"typed":       artifact(imageConfig, "application/vnd.example.thing", "application/vnd.oci.image.layer.v1.tar+gzip"),
	"oras":        artifact("application/vnd.unknown.config.v1+json", "", "application/vnd.oci.image.layer.v1.tar"),
	"build cache": {[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":2,"digest":"` + fakeDigest("l") + `"},` +
		`{"mediaType":"application/vnd.buildkit.cacheconfig.v0","size":2,"digest":"` + fakeDigest("c") + `"}]}`), types.OCIImageIndex},
	"index of artifacts": {[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.example.sbom","size":2,"digest":"` + fakeDigest(string(sbom.body)) + `","platform":{"os":"linux","architecture":"amd64"}}]}`), types.OCIImageIndex},
	"empty index": {[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), types.OCIImageIndex},
	"old schema":  {[]byte(`{"schemaVersion":1}`), "application/vnd.docker.distribution.manifest.v1+prettyjws"},
}

// TestOnlyAnImageIsAnImage: whatever else has a higher tag does not count, by any rule.
func TestOnlyAnImageIsAnImage(t *testing.T) {
	for name, what := range notImages {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.push("app:1.0.0", newImage(t, "linux/amd64", day, nil))
			s.push("app@"+digestOf(t, sbom), sbom) // the registry wants what an index lists
			s.push("app:1.1.0", what)
			_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1.1.0"), nil)
			require.ErrorIs(t, err, registry.ErrNoImage)
			for by, tags := range rules {
				if tags.Strategy == config.Digest {
					tags.Constraint = "1.1.0"
				}
				got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", tags, tags.Strategy != "", unknown)
				if tags.Strategy == config.Digest {
					var none *registry.NoneCountsError
					require.ErrorAs(t, err, &none, by)
					require.ErrorContains(t, err, `tag "1.1.0" holds no image`)
					continue
				}
				require.NoError(t, err, by)
				assert.Equal(t, "1.0.0", got.Tag, by)
			}
			alone := serve(t)
			alone.push("app@"+digestOf(t, sbom), sbom)
			alone.push("app:1.1.0", what)
			_, err = client(registry.Options{}).Newest(t.Context(), alone.host+"/app", config.Tags{}, false, unknown)
			var none *registry.NoneCountsError
			require.ErrorAs(t, err, &none, "it was not never published")
		})
	}
}

// TestIndexOfArtifactsWithPlatforms: only its manifests show what they are.
func TestIndexOfArtifactsWithPlatforms(t *testing.T) {
	s := serve(t)
	s.push("app:1.0.0", newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, nil)}))
	chart := notImages["chart"]
	s.push("app:chart", chart)
	s.push("app:2.0.0", raw{[]byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":%d,"digest":%q,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		types.OCIImageIndex, types.OCIManifestSchema1, len(chart.body), digestOf(t, chart))), types.OCIImageIndex})
	got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{Strategy: config.SemVer}, true, unknown)
	require.NoError(t, err)
	assert.Equal(t, "1.0.0", got.Tag)
	require.Len(t, got.NotImages, 1)
	assert.Contains(t, got.NotImages[0], `/app:2.0.0": `+s.host+`: its config is "application/vnd.cncf.helm.config.v1+json": not an image`)
	s.asked()
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{Strategy: config.SemVer, Constraint: "<2"}, true, func(string) *state.Snapshot { return &got.Snapshot })
	require.NoError(t, err)
	assert.Equal(t, []string{"GET app/tags/list", "HEAD app/manifests/1.0.0"}, s.asked(), "what is known costs no more than before")
}

// TestManyArtifacts: the search ends.
func TestManyArtifacts(t *testing.T) {
	s := serve(t)
	s.push("app:1.0.0", newImage(t, "linux/amd64", day, nil))
	for i := range 40 {
		s.push(fmt.Sprintf("app:2.%d.0", i), notImages["chart"])
	}
	_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{Strategy: config.SemVer}, true, unknown)
	var none *registry.NoneCountsError
	require.ErrorAs(t, err, &none)
	assert.LessOrEqual(t, len(s.asked()), 1+2*20)
}

// TestOldImages: their configs have no type, as some registries gave them.
func TestOldImages(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	s.push("app:1", img)
	text, err := img.RawManifest()
	require.NoError(t, err)
	old := raw{[]byte(strings.Replace(string(text), imageConfig, "application/octet-stream", 1)), types.OCIManifestSchema1}
	s.push("app:old", old)
	got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:old"), nil)
	require.NoError(t, err)
	assert.Equal(t, state.Platforms{"linux/amd64": digestOf(t, old)}, got.Platforms)
}

// TestOtherDigestAlgorithms: state files hold none but sha256.
func TestOtherDigestAlgorithms(t *testing.T) {
	long := "sha512:" + strings.Repeat("b", 128)
	descriptor := func(platform string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"` + long + `"` + platform + `}]}`
	}
	s := serve(t)
	s.push("base:1", newImage(t, "linux/amd64", day, nil))
	for name, platform := range map[string]string{"a platform": `,"platform":{"os":"linux","architecture":"amd64"}`, "none": ""} {
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			manifest := strings.HasPrefix(r.URL.Path, "/v2/base/manifests/")
			if manifest {
				body(string(types.OCIImageIndex), descriptor(platform))(w, r)
			}
			return manifest
		})
		_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "(want sha256)", name)
	}
	for name, header := range map[string]string{"sha512": long, "another": "blake3:" + strings.Repeat("c", 64)} {
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/v2/base/manifests/") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", header)
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = w.Write([]byte("{}"))
			return true
		})
		_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "(want sha256)", name)
	}
}

// TestWebPageIsNotAnArtifact: it says nothing of what a tag holds, so no other tag is chosen instead.
func TestWebPageIsNotAnArtifact(t *testing.T) {
	s := serve(t)
	for _, tag := range []string{"1.0.0", "2.0.0", "latest"} {
		s.push("app:"+tag, newImage(t, "linux/amd64", day, nil))
	}
	for _, kind := range []string{"text/html; charset=utf-8", "text/plain", "application/json", ""} {
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			page := strings.HasSuffix(r.URL.Path, "/2.0.0") || strings.HasSuffix(r.URL.Path, "/latest")
			if page {
				w.Header()["Content-Type"] = []string{kind}
				_, _ = w.Write([]byte("<html>"))
			}
			return page
		})
		for by, tags := range rules {
			_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", tags, tags.Strategy != "", unknown)
			require.Error(t, err, "%s %q", by, kind)
			require.NotErrorIs(t, err, registry.ErrNoImage)
			var none *registry.NoneCountsError
			assert.NotErrorAs(t, err, &none, "%s %q", by, kind)
		}
	}
}

// TestListedTagWithoutManifest is no reason to decide on another one.
func TestListedTagWithoutManifest(t *testing.T) {
	s := serve(t)
	s.push("app:main", newImage(t, "linux/amd64", day, nil))
	s.push("app:latest", newImage(t, "linux/amd64", day, nil))
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		gone := strings.HasSuffix(r.URL.Path, "/manifests/latest")
		if gone {
			saysUnknown("MANIFEST_UNKNOWN")(w, r)
		}
		return gone
	})
	for _, by := range []string{"one tag", "undecided"} {
		_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", rules[by], rules[by].Strategy != "", unknown)
		require.ErrorContains(t, err, `tag "latest" is listed, but not found`)
		var none *registry.NoneCountsError
		assert.NotErrorAs(t, err, &none)
	}
}

// TestStaleHead names a digest that is gone: the tag is asked for.
func TestStaleHead(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	s.push("app:1", img)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		}
		return r.Method == http.MethodHead
	})
	got, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, img), got.Digest)
}

// TestHarborErrorCode: Harbor says NOT_FOUND. Evidence that is gone keeps nothing from being known.
func TestHarborErrorCode(t *testing.T) {
	s := serve(t)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			saysUnknown("NOT_FOUND")(w, r)
		}
		return strings.Contains(r.URL.Path, "/manifests/")
	})
	_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1"), nil)
	assert.True(t, registry.IsAbsent(err))
	assert.False(t, registry.IsNotFound(err), "nothing is built for it")
	built, err := client(registry.Options{}).Built(t.Context(), s.ref("app:1"), "")
	require.NoError(t, err)
	assert.True(t, built.IsZero())
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			saysUnknown("DENIED")(w, r)
		}
		return strings.Contains(r.URL.Path, "/manifests/")
	})
	_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1"), nil)
	assert.False(t, registry.IsAbsent(err))
}

// TestPartlyCopiedIndex has an image all the same.
func TestPartlyCopiedIndex(t *testing.T) {
	s := serve(t)
	gone, kept := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day, nil)
	idx := newIndex(entry{platform: "linux/amd64", what: gone}, entry{platform: "linux/arm64", what: kept})
	s.push("app:1.0.0", idx)
	s.push("app:latest", idx)
	missing := []string{digestOf(t, gone)}
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		for _, digest := range missing {
			if strings.HasSuffix(r.URL.Path, "/manifests/"+digest) {
				saysUnknown("MANIFEST_UNKNOWN")(w, r)
				return true
			}
		}
		return false
	})
	for _, by := range []string{"versions", "one tag", "undecided"} {
		got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", rules[by], rules[by].Strategy != "", unknown)
		require.NoError(t, err, by)
		assert.Equal(t, digestOf(t, idx), got.Snapshot.Digest)
		assert.Len(t, got.Snapshot.Platforms, 2)
	}
	ref := s.ref("app:1.0.0")
	ref.Digest = digestOf(t, idx)
	_, err := client(registry.Options{}).BuiltOn(t.Context(), ref, []registry.Base{{Ref: s.ref("base:1"), Final: true}})
	require.NoError(t, err)
	missing = append(missing, digestOf(t, kept))
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	require.ErrorContains(t, err, "a manifest of its index is missing")
}

// TestArtifactWithImageMediaType has a config that is none.
func TestArtifactWithImageMediaType(t *testing.T) {
	s := serve(t)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet {
			body("application/octet-stream", "{}")(w, r)
			return true
		}
		return false
	})
	s.push("app:1", raw{[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"` + imageConfig + `","size":2,"digest":"` + fakeDigest("{}") + `"},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2,"digest":"` + fakeDigest("l") + `"}]}`), types.OCIManifestSchema1})
	_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("app:1"), nil)
	assert.ErrorIs(t, err, registry.ErrNoImage)
}

// TestTagsUnderALongerName are those of a registry behind a proxy that leaves out the first part of its names.
func TestTagsUnderALongerName(t *testing.T) {
	s := serve(t)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		list := strings.HasSuffix(r.URL.Path, "/tags/list")
		if list {
			body("application/json", `{"name":"docker-local/team/app","tags":["1.0.0"]}`)(w, r)
		}
		return list
	})
	tags, err := client(registry.Options{}).Tags(t.Context(), s.host+"/team/app")
	require.NoError(t, err)
	assert.Equal(t, []string{"1.0.0"}, tags)
	_, err = client(registry.Options{}).Tags(t.Context(), s.host+"/team/other")
	assert.ErrorContains(t, err, "the tag list is of another repository")
}
