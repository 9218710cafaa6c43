package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// world is a registry with a base of two platforms that was pushed three times, and a builder.
type world struct {
	*server
	bases   [3]v1.ImageIndex
	amd     [3]v1.Image
	arm     [3]v1.Image
	known   []state.Snapshot
	builder v1.ImageIndex
}

func newWorld(t *testing.T) *world {
	w := &world{server: serve(t)}
	for i := range w.bases {
		w.amd[i], w.arm[i] = newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day, nil)
		w.bases[i] = newIndex(entry{platform: "linux/amd64", what: w.amd[i]}, entry{platform: "linux/arm64/v8", what: w.arm[i]})
		w.push("base:1", w.bases[i])
		w.known = append(w.known, state.Snapshot{Digest: digestOf(t, w.bases[i]), Platforms: state.Platforms{
			"linux/amd64": digestOf(t, w.amd[i]), "linux/arm64": digestOf(t, w.arm[i]),
		}})
	}
	w.builder = newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, nil)})
	w.push("tools/builder:2", w.builder)
	return w
}

// purl is what BuildKit writes for a reference of the world.
func (w *world) purl(name, version, platform string) string {
	p := "pkg:docker/" + strings.ReplaceAll(w.host, ":", "%3A") + "/" + name
	if version != "" {
		p += "@" + version
	}
	if platform != "" {
		p += "?platform=" + strings.ReplaceAll(platform, "/", "%2F")
	}
	return p
}

func (w *world) base(known ...int) registry.Base {
	b := registry.Base{Ref: w.ref("base:1"), Final: true}
	for _, i := range known {
		b.Known = append(b.Known, w.known[i])
	}
	return b
}

func (w *world) builtOn(published string, bases ...registry.Base) ([]state.BuiltOn, error) {
	w.t.Helper()
	w.asked()
	return client(registry.Options{}).BuiltOn(w.t.Context(), w.ref("app@"+published), bases)
}

func (w *world) publish(what v1.ImageIndex) string {
	w.push("app:1", what)
	return digestOf(w.t, what)
}

func TestProvenance(t *testing.T) {
	for _, version := range []string{"v0.2", "v1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			amd, arm := newImage(t, "linux/amd64", day, w.amd[1]), newImage(t, "linux/arm64", day, w.arm[1])
			app := func(amdDeps, armDeps []dep) string {
				return w.publish(newIndex(
					entry{platform: "linux/amd64", what: amd}, entry{platform: "linux/arm64", what: arm},
					provenance(t, amd, version, amdDeps...), provenance(t, arm, version, armDeps...),
				))
			}
			on := func(platform, digest string) dep { return dep{w.purl("base", "1", platform), digest} }
			builder := registry.Base{Ref: w.ref("tools/builder:2"), Platforms: []string{"linux/amd64"}}
			unknownBuilder := state.Snapshot{Digest: digestOf(t, w.builder)}
			resolved, err := client(registry.Options{}).Snapshot(t.Context(), builder.Ref, nil)
			require.NoError(t, err)
			mixed := state.Snapshot{Digest: w.known[1].Digest, Platforms: state.Platforms{
				"linux/amd64": w.known[1].Platforms["linux/amd64"], "linux/arm64": w.known[1].Platforms["linux/arm64"],
			}}
			amdOnly := w.base(0, 1, 2)
			amdOnly.Platforms = []string{"linux/amd64"}
			gone := fakeDigest("gone")
			both := w.base(0, 1, 2)
			both.Known = append(both.Known, state.Snapshot{Digest: fakeDigest("both"), Platforms: state.Platforms{"linux/amd64": digestOf(t, w.amd[2]), "linux/arm64": digestOf(t, w.arm[1])}})

			for name, c := range map[string]struct {
				amd, arm []dep
				base     registry.Base
				want     *state.Snapshot
			}{
				"index digest":            {[]dep{on("linux/amd64", w.known[1].Digest)}, []dep{on("linux/arm64", w.known[1].Digest)}, w.base(0, 1, 2), &w.known[1]},
				"platform digests":        {[]dep{on("linux/amd64", digestOf(t, w.amd[1]))}, []dep{on("linux/arm64", digestOf(t, w.arm[1]))}, w.base(0, 1, 2), &w.known[1]},
				"index and platform":      {[]dep{on("linux/amd64", w.known[1].Digest)}, []dep{on("linux/arm64", digestOf(t, w.arm[1]))}, w.base(0, 1, 2), &w.known[1]},
				"no platform":             {[]dep{on("", w.known[1].Digest)}, nil, w.base(0, 1, 2), &w.known[1]},
				"an older one has a part": {[]dep{on("linux/amd64", digestOf(t, w.amd[2]))}, []dep{on("linux/arm64", digestOf(t, w.arm[1]))}, both, &both.Known[3]},
				"platforms differ":        {[]dep{on("linux/amd64", w.known[2].Digest)}, []dep{on("linux/arm64", w.known[1].Digest)}, w.base(0, 1, 2), &w.known[1]},
				"one platform counts":     {[]dep{on("linux/amd64", w.known[2].Digest)}, []dep{on("linux/arm64", w.known[1].Digest)}, amdOnly, &w.known[2]},
				"one of two is known":     {[]dep{on("linux/amd64", w.known[2].Digest)}, []dep{on("linux/arm64", w.known[1].Digest)}, w.base(0, 2), &state.Snapshot{Digest: w.known[1].Digest, Platforms: state.Platforms{"linux/amd64": digestOf(t, w.amd[2]), "linux/arm64": digestOf(t, w.arm[1])}}},
				"unknown index":           {[]dep{on("linux/amd64", w.known[1].Digest)}, nil, w.base(0), &w.known[1]},
				"unknown platforms":       {[]dep{on("linux/amd64", digestOf(t, w.amd[1]))}, nil, w.base(0), &state.Snapshot{Digest: digestOf(t, w.amd[1]), Platforms: state.Platforms{"linux/amd64": digestOf(t, w.amd[1])}}},
				"unknown, two indexes":    {[]dep{on("linux/amd64", w.known[1].Digest)}, []dep{on("linux/arm64", w.known[2].Digest)}, w.base(0), &state.Snapshot{Digest: w.known[1].Digest, Platforms: state.Platforms{"linux/amd64": digestOf(t, w.amd[1]), "linux/arm64": digestOf(t, w.arm[2])}}},
				"unknown, twice":          {[]dep{on("linux/amd64", w.known[1].Digest), on("linux/amd64", w.known[2].Digest)}, nil, w.base(0), nil},
				"known, twice":            {[]dep{on("linux/amd64", w.known[2].Digest), on("linux/amd64", w.known[1].Digest)}, nil, w.base(0, 1, 2), &w.known[1]},
				"unknown and gone":        {[]dep{on("linux/amd64", gone)}, nil, w.base(0), &state.Snapshot{Digest: gone}},
				"digest in the purl":      {[]dep{{w.purl("base", "1", "linux/amd64") + "&digest=" + w.known[1].Digest, w.known[1].Digest}}, nil, w.base(0, 1, 2), &mixed},
				"contradiction":           {[]dep{{w.purl("base", "1", "linux/amd64") + "&digest=" + w.known[0].Digest, w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"without tag, known":      {[]dep{{w.purl("base", "", "") + "?digest=" + w.known[1].Digest, w.known[1].Digest}}, nil, w.base(0, 1, 2), &w.known[1]},
				"without tag, unknown":    {[]dep{{w.purl("base", "", "") + "?digest=" + gone, gone}}, nil, w.base(0, 1, 2), nil},
				"another tag":             {[]dep{{w.purl("base", "2", ""), w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"another repository":      {[]dep{{w.purl("other/base", "1", ""), w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"another registry":        {[]dep{{"pkg:docker/other.example.com/base@1", w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"a blob":                  {[]dep{{w.purl("base", "1", "") + "?ref_type=blob", w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"a local layout":          {[]dep{{strings.Replace(w.purl("base", "1", ""), "docker", "oci", 1), w.known[1].Digest}}, nil, w.base(0, 1, 2), nil},
				"no digest":               {[]dep{{w.purl("base", "1", ""), ""}}, nil, w.base(0, 1, 2), nil},
			} {
				t.Run(name, func(t *testing.T) {
					b := dep{w.purl("tools/builder", "2", "linux/amd64"), unknownBuilder.Digest}
					got, err := w.builtOn(app(append(c.amd, b), append(c.arm, b)), c.base, builder)
					require.NoError(t, err)
					want := []state.BuiltOn{{Ref: builder.Ref.String(), Snapshot: resolved, Evidence: state.Provenance}}
					if c.want != nil {
						want = append([]state.BuiltOn{{Ref: c.base.Ref.String(), Snapshot: *c.want, Evidence: state.Provenance}}, want...)
					}
					assert.Equal(t, want, got)
				})
			}
			pinned := registry.Base{Ref: w.ref("base:1@" + w.known[0].Digest)}
			got, err := w.builtOn(app([]dep{{w.purl("base", "", "") + "?digest=" + w.known[0].Digest, w.known[0].Digest}}, nil), pinned)
			require.NoError(t, err)
			assert.Equal(t, []state.BuiltOn{{Ref: pinned.Ref.String(), Snapshot: w.known[0], Evidence: state.Provenance}}, got)
		})
	}
}

func TestProvenanceOfSomePlatforms(t *testing.T) {
	w := newWorld(t)
	amd, arm := newImage(t, "linux/amd64", day, w.amd[2]), newImage(t, "linux/arm64", day, w.arm[1])
	on := dep{w.purl("base", "1", "linux/amd64"), w.known[2].Digest}
	got, err := w.builtOn(w.publish(newIndex(
		entry{platform: "linux/amd64", what: amd}, entry{platform: "linux/arm64", what: arm}, provenance(t, amd, "v1", on),
	)), w.base(0, 1, 2))
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, w.known[1], got[0].Snapshot, "the platform that nothing attests is on an older one")
	assert.Equal(t, state.Layers, got[0].Evidence)
}

func TestBaseBecomesPrivate(t *testing.T) {
	w := newWorld(t)
	app := w.publish(newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, w.amd[1])}))
	w.breaks(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v2/base/") {
			return false
		}
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	got, err := w.builtOn(app, w.base(0, 1))
	require.NoError(t, err, "nothing is known of its layers any more, and that stays so")
	assert.Empty(t, got)
}

func TestProvenanceCostsFewRequests(t *testing.T) {
	w := newWorld(t)
	amd := newImage(t, "linux/amd64", day, w.amd[1])
	att := provenance(t, amd, "v1", dep{w.purl("base", "1", "linux/amd64"), w.known[1].Digest})
	app := w.publish(newIndex(entry{platform: "linux/amd64", what: amd}, att))
	_, err := w.builtOn(app, w.base(0, 1))
	require.NoError(t, err)
	asked := w.asked()
	require.Len(t, asked, 3, "the index, the attestation, the statement: %v", asked)

	att = provenance(t, amd, "v1", dep{w.purl("base", "1", "linux/amd64"), digestOf(t, w.amd[1])})
	app = w.publish(newIndex(entry{platform: "linux/amd64", what: amd}, att))
	_, err = w.builtOn(app, w.base(0))
	require.NoError(t, err)
	asked = w.asked()
	require.Len(t, asked, 4, "and one for a digest that is not known: %v", asked)
}

func TestProvenanceThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	amd, other := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/amd64", day, nil)
	good := dep{w.purl("base", "1", "linux/amd64"), w.known[1].Digest}
	about := func(e entry, digest string) entry {
		e.annotations["vnd.docker.reference.digest"] = digest
		return e
	}
	for name, c := range map[string]struct {
		att entry
	}{
		"about another subject":        {about(provenance(t, other, "v1", good), digestOf(t, amd))},
		"attached to what is not here": {provenance(t, other, "v1", good)},
		"another predicate":            {attestation(t, amd, "v1", []byte(`{"predicateType":"https://spdx.dev/Document","predicate":{"materials":[{"uri":"`+good.uri+`","digest":{"sha256":"`+good.digest[7:]+`"}}]}}`))},
		"empty":                        {attestation(t, amd, "v1", []byte(`{}`))},
		"another digest algorithm":     {attestation(t, amd, "v1", []byte(`{"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"resolvedDependencies":[{"uri":"`+good.uri+`","digest":{"sha512":"`+strings.Repeat("a", 128)+`"}}]}}}`))},
		"truncated":                    {attestation(t, amd, "v1", []byte(`{"predicateType":"https://slsa.dev/provenance/v1",`))},
		"other values":                 {attestation(t, amd, "v1", []byte(`{"predicate":{"materials":7}}`))},
		"17 MB":                        {attestation(t, amd, "v1", []byte(strings.Repeat(" ", 17<<20)))},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.builtOn(w.publish(newIndex(entry{platform: "linux/amd64", what: amd}, c.att)), w.base(0, 1))
			require.NoError(t, err)
			assert.Empty(t, got)
		})
	}
	app := w.publish(newIndex(entry{platform: "linux/amd64", what: amd}, provenance(t, amd, "v1", good)))
	for name, c := range map[string]struct {
		path, want string
		answer     http.HandlerFunc
	}{
		"statement is gone":        {"/v2/app/blobs/", "", saysUnknown("BLOB_UNKNOWN")},
		"statement is not found":   {"/v2/app/blobs/", "not found", answer(404, "<html>")},
		"statement is another":     {"/v2/app/blobs/", "", body("application/octet-stream", "{}")},
		"attestation is another":   {"/v2/app/manifests/" + digestOf(t, provenance(t, amd, "v1", good).what), "", body("application/vnd.oci.image.manifest.v1+json", `{"config":{},"layers":[]}`)},
		"attestation is a page":    {"/v2/app/manifests/" + digestOf(t, provenance(t, amd, "v1", good).what), "", body("text/html", "<html>")},
		"statement breaks off":     {"/v2/app/blobs/", "connection failed", cut},
		"attestation is gone":      {"/v2/app/manifests/" + digestOf(t, provenance(t, amd, "v1", good).what), "", saysUnknown("MANIFEST_UNKNOWN")},
		"attestation is not found": {"/v2/app/manifests/" + digestOf(t, provenance(t, amd, "v1", good).what), "not found", answer(404, "default backend")},
		"attestation in trouble":   {"/v2/app/manifests/" + digestOf(t, provenance(t, amd, "v1", good).what), "registry unavailable (503 Service Unavailable)", status(503)},
		"the image itself is gone": {"/v2/app/manifests/" + app, "not found", status(404)},
	} {
		t.Run(name, func(t *testing.T) {
			w.breaks(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, c.path) {
					return false
				}
				c.answer(rw, r)
				return true
			})
			defer w.breaks(nil)
			got, err := w.builtOn(app, registry.Base{Ref: w.ref("base:1"), Known: w.known[:2]})
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Empty(t, got)
		})
	}
	_, err := client(registry.Options{}).BuiltOn(t.Context(), w.ref("app:1"), nil)
	require.ErrorContains(t, err, "want a reference with a digest")
	many := []entry{{platform: "linux/amd64", what: amd}}
	for i := range 33 {
		many = append(many, attestation(t, amd, "v1", fmt.Appendf(nil, `{"n":%d}`, i)))
	}
	w.asked()
	_, err = w.builtOn(w.publish(newIndex(many...)), w.base(0))
	require.NoError(t, err)
	assert.Less(t, len(w.asked()), 80, "no end of attestations is read")
}

func TestAnnotations(t *testing.T) {
	w := newWorld(t)
	annotate := func(img v1.Image, name, digest string) v1.Image {
		return mutate.Annotations(img, map[string]string{"org.opencontainers.image.base.name": name, "org.opencontainers.image.base.digest": digest}).(v1.Image)
	}
	name := w.host + "/base:1"
	amd, arm := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day, nil)
	onAmd, onArm := annotate(amd, name, digestOf(t, w.amd[1])), annotate(arm, name, digestOf(t, w.arm[1]))
	for label, c := range map[string]struct {
		app  v1.ImageIndex
		want *state.Snapshot
	}{
		"on manifests": {newIndex(entry{platform: "linux/amd64", what: onAmd}, entry{platform: "linux/arm64", what: onArm}), &w.known[1]},
		"on the index": {mutate.Annotations(newIndex(entry{platform: "linux/amd64", what: amd}), map[string]string{
			"org.opencontainers.image.base.name": name, "org.opencontainers.image.base.digest": w.known[1].Digest}).(v1.ImageIndex), &w.known[1]},
		"without name":      {newIndex(entry{platform: "linux/amd64", what: annotate(amd, "", w.known[1].Digest)}), &w.known[1]},
		"an unknown digest": {newIndex(entry{platform: "linux/amd64", what: annotate(amd, "", fakeDigest("other"))}), nil},
		"without digest":    {newIndex(entry{platform: "linux/amd64", what: annotate(amd, name, "")}), nil},
		"another name":      {newIndex(entry{platform: "linux/amd64", what: annotate(amd, "base:1", w.known[1].Digest)}), nil},
		"nonsense":          {newIndex(entry{platform: "linux/amd64", what: annotate(amd, "::", w.known[1].Digest)}), nil},
		"digest nonsense":   {newIndex(entry{platform: "linux/amd64", what: annotate(amd, name, "sha256:12")}), nil},
	} {
		t.Run(label, func(t *testing.T) {
			got, err := w.builtOn(w.publish(c.app), w.base(0, 1, 2))
			require.NoError(t, err)
			if c.want == nil {
				assert.Empty(t, got)
				return
			}
			assert.Equal(t, []state.BuiltOn{{Ref: name, Snapshot: *c.want, Evidence: state.Annotation}}, got)
		})
	}
	t.Run("without name, of a builder", func(t *testing.T) {
		builder := w.base(0, 1, 2)
		builder.Final = false
		got, err := w.builtOn(w.publish(newIndex(entry{platform: "linux/amd64", what: annotate(amd, "", w.known[1].Digest)})), builder)
		require.NoError(t, err)
		assert.Empty(t, got, "they are about the last stage")
	})
	t.Run("single manifest", func(t *testing.T) {
		w.push("app:1", onAmd)
		got, err := w.builtOn(digestOf(t, onAmd), w.base(0, 1, 2))
		require.NoError(t, err)
		assert.Equal(t, []state.BuiltOn{{Ref: name, Snapshot: w.known[1], Evidence: state.Annotation}}, got)
	})
	t.Run("weaker than provenance", func(t *testing.T) {
		att := provenance(t, onAmd, "v1", dep{w.purl("base", "1", "linux/amd64"), w.known[2].Digest})
		got, err := w.builtOn(w.publish(newIndex(entry{platform: "linux/amd64", what: onAmd}, att)), w.base(0, 1, 2))
		require.NoError(t, err)
		assert.Equal(t, []state.BuiltOn{{Ref: name, Snapshot: w.known[2], Evidence: state.Provenance}}, got)
	})
}

func TestLayers(t *testing.T) {
	w := newWorld(t)
	name := w.host + "/base:1"
	app := func(amd, arm v1.Image) string {
		return w.publish(newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day, amd)}, entry{platform: "linux/arm64", what: newImage(t, "linux/arm64", day, arm)}))
	}
	amdOnly, builder, partly := w.base(0, 1, 2), w.base(0, 1, 2), w.base(0, 1, 2)
	amdOnly.Platforms = []string{"linux/amd64"}
	builder.Final = false
	partly.Known = append(partly.Known, state.Snapshot{Digest: fakeDigest("gone")})
	// the same layers with another config: nobody can say which of the two it was
	twin := mutate.IndexMediaType(newIndex(entry{platform: "linux/amd64", what: relabel(t, w.amd[1])}, entry{platform: "linux/arm64", what: relabel(t, w.arm[1])}), "application/vnd.oci.image.index.v1+json")
	w.push("base:1", twin)
	twins, err := client(registry.Options{}).Snapshot(t.Context(), w.ref("base:1"), nil)
	require.NoError(t, err)
	ambiguous := w.base(0, 1, 2)
	ambiguous.Known = append(ambiguous.Known, twins)
	// another digest with the same content for the platforms that count
	again := w.base(0, 1, 2)
	again.Known = append(again.Known, state.Snapshot{Digest: fakeDigest("again"), Platforms: w.known[1].Platforms})

	for label, c := range map[string]struct {
		app  string
		base registry.Base
		want *state.Snapshot
	}{
		"known":              {app(w.amd[1], w.arm[1]), w.base(0, 1, 2), &w.known[1]},
		"one is gone":        {app(w.amd[1], w.arm[1]), partly, &w.known[1]},
		"unknown":            {app(w.amd[1], w.arm[1]), w.base(0, 2), nil},
		"platforms differ":   {app(w.amd[1], w.arm[2]), w.base(0, 1, 2), nil},
		"one counts":         {app(w.amd[1], w.arm[2]), amdOnly, &w.known[1]},
		"only for the final": {app(w.amd[1], w.arm[1]), builder, nil},
		"ambiguous":          {app(w.amd[1], w.arm[1]), ambiguous, nil},
		"the same again":     {app(w.amd[1], w.arm[1]), again, &w.known[1]},
		"from scratch":       {app(nil, nil), w.base(0, 1, 2), nil},
	} {
		t.Run(label, func(t *testing.T) {
			got, err := w.builtOn(c.app, c.base)
			require.NoError(t, err)
			if c.want == nil {
				assert.Empty(t, got)
				return
			}
			assert.Equal(t, []state.BuiltOn{{Ref: name, Snapshot: *c.want, Evidence: state.Layers}}, got)
		})
	}
	t.Run("in trouble", func(t *testing.T) {
		digest := app(w.amd[1], w.arm[1])
		w.breaks(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/v2/base/manifests/") {
				rw.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		})
		_, err := w.builtOn(digest, w.base(0, 1, 2))
		require.ErrorContains(t, err, "registry unavailable (503 Service Unavailable)")
	})
}

func relabel(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.Config.Env = append(cfg.Config.Env, "A=b")
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(t, err)
	return img
}
