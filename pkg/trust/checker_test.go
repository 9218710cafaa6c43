package trust_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/trust"
	"github.com/imagefactory/imagefactory/test/registrytest"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

// bench is a registry, a Sigstore instance and an image without a signature.
type bench struct {
	*registrytest.Registry
	*sigstoretest.Sigstore
	t     *testing.T
	image registrytest.Content
	files fstest.MapFS
	http  httpx.Options
	api   *forgeapi.Clients
}

func newBench(t *testing.T) *bench {
	r, s := registrytest.New(t), sigstoretest.New(t)
	return &bench{
		Registry: r, Sigstore: s, t: t, image: r.Base("library/node:22", "1"), files: fstest.MapFS{"root.json": {Data: s.TrustedRoot()}},
		http: httpx.Options{Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }},
	}
}

// check verifies the image by a rule for all images.
func (b *bench) check(rule string) trust.Result {
	b.t.Helper()
	return b.checkWith(rule, nil)
}

func (b *bench) checkWith(rule string, mirrors map[string][]string) trust.Result {
	b.t.Helper()
	cfg, err := config.Load(strings.NewReader("factory:\n  trust:\n  - match: \"**\"\n    "+rule+"\nimages: []\n"), "images.yaml")
	require.NoError(b.t, err)
	cfg.SetFolder(b.files)
	ref, err := state.ParseRef(b.image.Ref + "@" + b.image.Digest)
	require.NoError(b.t, err)
	client := registry.New(registry.Options{HTTP: b.http, Mirrors: mirrors})
	return trust.NewChecker(cfg, trust.Clients{Registry: client, API: b.api, HTTP: httpx.New(b.http)}).Check(b.t.Context(), &cfg.Factory.Trust[0], ref)
}

// fails makes requests whose path contains a text fail.
func (b *bench) fails(part string, status int, body string) {
	b.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		http.Error(w, body, status)
		return true
	})
}

func (b *bench) tag(suffix string) string {
	return "library/node:" + strings.Replace(b.image.Digest, ":", "-", 1) + suffix
}

func (b *bench) attach(data []byte, predicateType string) {
	b.Attach("library/node", b.image.Digest, sigstoretest.BundleType, data, map[string]string{"dev.sigstore.bundle.predicateType": predicateType})
}

const robotRule = "keyless: {issuer: \"https://accounts.example.com\", identity: robot@example.com}\n    trustRoot: root.json"

func TestCheckReferrers(t *testing.T) {
	b := newBench(t)
	assert.Equal(t, trust.Result{Untrusted: "it has no signature and no provenance"}, b.check(robotRule))
	b.attach(b.Bundle(b.image.Digest, sigstoretest.SBOM, robot), sigstoretest.SBOM)
	assert.Equal(t, trust.Result{Untrusted: `invalid signature or provenance: an attestation of type "https://spdx.dev/Document/v2.3" is neither signature nor provenance`}, b.check(robotRule))
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Provenance, acme), sigstoretest.Provenance)
	assert.Contains(t, b.check(robotRule).Untrusted, "none of 2 signatures and attestations is valid: an attestation of type")
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Provenance, robot), sigstoretest.Provenance)
	assert.Equal(t, trust.Result{}, b.check(robotRule))
	assert.Equal(t, trust.Result{}, b.check("github: acme/images\n    trustRoot: root.json"))
	assert.Contains(t, b.check("github: acme/other\n    trustRoot: root.json").Untrusted, "none of 3")
}

// TestCheckTagSchema: without the referrers API, the index under the image's own tag lists the bundles.
func TestCheckTagSchema(t *testing.T) {
	b := newBench(t)
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Signature, robot), sigstoretest.Signature)
	resp, err := http.Get("http://" + b.Host + "/v2/library/node/referrers/" + b.image.Digest)
	require.NoError(t, err)
	defer resp.Body.Close()
	index, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusOK} {
		b.fails("/referrers/", status, "<html>")
		assert.Equal(t, trust.Result{Untrusted: "it has no signature and no provenance"}, b.check(robotRule), status)
	}
	tag := strings.TrimPrefix(b.tag(""), "library/node:")
	b.Break(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/manifests/"+tag):
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = w.Write(index)
		case strings.Contains(r.URL.Path, "/referrers/"):
			http.NotFound(w, r)
		default:
			return false
		}
		return true
	})
	assert.Equal(t, trust.Result{}, b.check(robotRule))
}

func TestCheckCosignTags(t *testing.T) {
	b := newBench(t)
	key, other := sigstoretest.NewKey(t), sigstoretest.NewKey(t)
	b.files["cosign.pub"] = &fstest.MapFile{Data: key.PEM()}
	layer := func(data []byte, annotations map[string]string) registrytest.Layer {
		return registrytest.Layer{Data: data, Annotations: annotations}
	}
	const simple, envelope = "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json"
	b.Layers(b.tag(".sig"), simple, layer(other.CosignSignature(b.image.Digest)))
	assert.Contains(t, b.check("key: cosign.pub").Untrusted, "invalid signature or provenance: failed to verify signature")
	b.Layers(b.tag(".sig"), simple, layer(other.CosignSignature(b.image.Digest)), layer(key.CosignSignature(b.image.Digest)))
	assert.Equal(t, trust.Result{}, b.check("key: cosign.pub"))
	inline := "key: |\n      " + strings.ReplaceAll(strings.TrimSpace(string(key.PEM())), "\n", "\n      ")
	assert.Equal(t, trust.Result{}, b.check(inline))
	b.Layers(b.tag(".att"), envelope, layer(b.CosignAttestation(b.image.Digest, sigstoretest.Provenance, robot)))
	assert.Equal(t, trust.Result{}, b.check(robotRule))
	b.files["root.json"] = &fstest.MapFile{Data: b.CosignRoot()}
	assert.Contains(t, b.check(robotRule).Untrusted, "none of 3")
	b.Layers(b.tag(".sig"), simple, layer(b.CosignSignature(b.image.Digest, robot)))
	assert.Equal(t, trust.Result{}, b.check(robotRule))
}

// TestCheckOutage: what could not be asked is no answer, and says so. A valid signature elsewhere is enough.
func TestCheckOutage(t *testing.T) {
	b := newBench(t)
	for part, status := range map[string]int{"/referrers/": 503, ".sig": 500, ".att": 404, "/referrers": 403} {
		b.fails(part, status, "no")
		got := b.check(robotRule)
		assert.True(t, got.Unknown, part)
		assert.Contains(t, got.Untrusted, "signatures could not be read: 127.0.0.1", part)
	}
	b.Break(nil)
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Signature, robot), sigstoretest.Signature)
	b.fails("/blobs/", 503, "no")
	assert.True(t, b.check(robotRule).Unknown)
	b.fails(".sig", 503, "no")
	assert.Equal(t, trust.Result{}, b.check(robotRule))
	b.Break(func(w http.ResponseWriter, r *http.Request) bool { // content that is not what the digest names
		if strings.Contains(r.URL.Path, "/blobs/") {
			_, _ = w.Write([]byte("{}"))
		}
		return strings.Contains(r.URL.Path, "/blobs/")
	})
	got := b.check(robotRule)
	assert.True(t, got.Unknown)
	assert.Contains(t, got.Untrusted, "the content has digest")
}

// TestCheckRuleFiles: a rule whose files cannot be read verifies nothing.
func TestCheckRuleFiles(t *testing.T) {
	b := newBench(t)
	b.files["bad.json"], b.files["bad.pub"] = &fstest.MapFile{Data: []byte("{}")}, &fstest.MapFile{Data: []byte("x")}
	for text, want := range map[string]string{
		"key: missing.pub": `reading "missing.pub" beside images.yaml: file does not exist`,
		"key: bad.pub":     `key "bad.pub": not a public key in PEM (it begins with -----BEGIN PUBLIC KEY-----)`,
		"github: a/b\n    trustRoot: missing.json": `reading "missing.json" beside images.yaml: file does not exist`,
		"github: a/b\n    trustRoot: bad.json":     `trust root "bad.json": invalid trusted root: unsupported TrustedRoot media type: `,
	} {
		assert.Equal(t, trust.Result{Untrusted: strings.TrimSpace(want), Unknown: true}, b.check(text))
	}
}

// TestCheckMirror: a mirror that lacks signatures proves nothing; one that has them is enough.
func TestCheckMirror(t *testing.T) {
	b := newBench(t)
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Signature, robot), sigstoretest.Signature)
	empty := registrytest.New(t)
	empty.Base("library/node:22", "1")
	assert.Equal(t, trust.Result{}, b.checkWith(robotRule, map[string][]string{b.Host: {empty.Host}}))
	full := b.Host
	b.image.Ref = strings.Replace(b.image.Ref, b.Host, empty.Host, 1)
	empty.Break(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return true
	})
	assert.Equal(t, trust.Result{}, b.checkWith(robotRule, map[string][]string{empty.Host: {full}}))
}

// TestCheckIsBounded: a registry that lists thousands of referrers, in endless pages and of any size, costs a bounded number of requests,
// and does not hide a signature behind other attestations.
func TestCheckIsBounded(t *testing.T) {
	b := newBench(t)
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Signature, robot), sigstoretest.Signature)
	resp, err := http.Get("http://" + b.Host + "/v2/library/node/referrers/" + b.image.Digest)
	require.NoError(t, err)
	defer resp.Body.Close()
	var list struct {
		MediaType     string           `json:"mediaType"`
		SchemaVersion int              `json:"schemaVersion"`
		Manifests     []map[string]any `json:"manifests"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	signed := list.Manifests[0]
	list.Manifests = nil
	for i := range 3000 {
		list.Manifests = append(list.Manifests, map[string]any{
			"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": fmt.Sprintf("sha256:%064x", i), "size": 1 << 40,
			"artifactType": sigstoretest.BundleType, "annotations": map[string]string{"dev.sigstore.bundle.predicateType": sigstoretest.SBOM},
		})
	}
	pages, requests := 0, 0
	serve := func() {
		pages, requests = 0, 0
		b.Break(func(w http.ResponseWriter, r *http.Request) bool {
			requests++
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			pages++
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, pages))
			_ = json.NewEncoder(w).Encode(list)
			return true
		})
	}
	serve()
	got := b.check(robotRule)
	assert.NotEmpty(t, got.Untrusted)
	assert.LessOrEqual(t, requests, 60)
	list.Manifests = append(list.Manifests, signed)
	serve()
	assert.Equal(t, trust.Result{}, b.check(robotRule))
	assert.LessOrEqual(t, requests, 10)

	// A slow registry does not hold the analysis: the time is bounded by the context.
	b.http.Timeout = 50 * time.Millisecond
	b.Break(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	assert.True(t, b.check(robotRule).Unknown)
}

// TestCheckLargeBundle: a bundle larger than the limit is not read.
func TestCheckLargeBundle(t *testing.T) {
	b := newBench(t)
	b.attach(append(b.Bundle(b.image.Digest, sigstoretest.Signature, robot), make([]byte, 5<<20)...), sigstoretest.Signature)
	got := b.check(robotRule)
	assert.Contains(t, got.Untrusted, "larger than 4096 KiB")
}
