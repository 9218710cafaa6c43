package trust_test

import (
	"context"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/trust"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

const (
	acmeRule     = "github: acme/images\n    trustRoot: root.json"
	workflowRule = "keyless: {issuer: \"https://token.actions.githubusercontent.com\", identity: \"https://github.com/acme/images/.github/workflows/release.yml@refs/heads/main\"}\n    trustRoot: root.json"
	unsigned     = "it has no signature and no provenance"
)

// toGitHub sends requests to api.github.com to a server on this machine.
type toGitHub struct{ host string }

func (g toGitHub) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.URL.Path = "http", g.host, "/api/v3"+r.URL.Path
	return http.DefaultTransport.RoundTrip(out)
}

// gitHubBench is a bench with a GitHub that holds attestations.
type gitHubBench struct {
	*bench
	*forgetest.Attestations
	forge, storage *forgetest.Server
}

func newGitHubBench(t *testing.T) *gitHubBench {
	b := &gitHubBench{bench: newBench(t), forge: forgetest.New(t), storage: forgetest.New(t)}
	b.Attestations = b.forge.Attestations(b.storage)
	b.forge.GitHub("acme/images")
	b.forge.Token = "t0ken"
	b.useToken("t0ken")
	return b
}

func (b *gitHubBench) useToken(token string) {
	o := forgeapi.Options{HTTP: b.http, Token: func(context.Context, string) (string, error) { return token, nil }}
	o.HTTP.Base = toGitHub{b.forge.Host}
	o.HTTP.Sleep = func(context.Context, time.Duration) error { return nil }
	b.api = forgeapi.New(o)
}

func TestGitHubAttestations(t *testing.T) {
	for name, inline := range map[string]bool{"bundles in the list": true, "bundles at URLs": false} {
		t.Run(name, func(t *testing.T) {
			b := newGitHubBench(t)
			b.Inline = inline
			require.Equal(t, trust.Result{Untrusted: unsigned}, b.check(acmeRule))
			b.Add("repos/acme/images", b.image.Digest, b.Bundle(b.image.Digest, sigstoretest.SBOM, acme))
			assert.Contains(t, b.check(acmeRule).Untrusted, "neither signature nor provenance")
			b.Add("repos/acme/images", b.image.Digest, b.Bundle(b.image.Digest, sigstoretest.Provenance, robot))
			b.Add("repos/acme/images", b.image.Digest, b.Bundle(another, sigstoretest.Provenance, acme))
			got := b.check(acmeRule)
			assert.False(t, got.Unknown)
			assert.Contains(t, got.Untrusted, "none of 3 signatures and attestations is valid")
			b.Add("repos/acme/images", b.image.Digest, b.Bundle(b.image.Digest, sigstoretest.Provenance, acme))
			assert.Equal(t, trust.Result{}, b.check(acmeRule))
		})
	}
}

// TestGitHubOwners: the identity of a reusable workflow does not name the repository that holds the attestations, so its owner is asked,
// who is an organisation or a user.
func TestGitHubOwners(t *testing.T) {
	for _, owner := range []string{"orgs/acme", "users/acme"} {
		b := newGitHubBench(t)
		require.Equal(t, trust.Result{Untrusted: unsigned}, b.check(workflowRule))
		b.Add(owner, b.image.Digest, b.Bundle(b.image.Digest, sigstoretest.Provenance, acme))
		assert.Equal(t, trust.Result{}, b.check(workflowRule), owner)
		assert.Contains(t, b.check(strings.Replace(workflowRule, "release.yml", "other.yml", 1)).Untrusted, "SAN")
	}
}

// TestGitHubIsNotAsked: what the registry holds is enough, and identities elsewhere say nothing about GitHub.
func TestGitHubIsNotAsked(t *testing.T) {
	b := newGitHubBench(t)
	b.files["cosign.pub"] = &fstest.MapFile{Data: sigstoretest.NewKey(t).PEM()}
	for _, rule := range []string{robotRule, "key: cosign.pub", acmeRule + "\n    require: signature", strings.Replace(workflowRule, "https://github.com/", "https://git.example/", 1)} {
		assert.Equal(t, trust.Result{Untrusted: unsigned}, b.check(rule))
	}
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Provenance, acme), sigstoretest.Provenance)
	assert.Equal(t, trust.Result{}, b.check(acmeRule))
	assert.Empty(t, b.forge.Requests(""))
}

// TestGitHubOutage: what GitHub did not answer is unknown, and verified by nothing.
func TestGitHubOutage(t *testing.T) {
	const list = "GET /api/v3/repos/acme/images/attestations/"
	faults := func(f forgetest.Fault) func(*gitHubBench) {
		return func(b *gitHubBench) { b.forge.Fail(f, f, f) }
	}
	for name, tt := range map[string]struct {
		given func(*gitHubBench)
		want  string
	}{
		"server error":      {faults(forgetest.Fault{Match: list, Status: 502, Body: "<html>"}), "github.com answered 502 Bad Gateway"},
		"rate limit":        {faults(forgetest.Fault{Match: list, Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"99999999999"}}, Body: `{"message":"API rate limit exceeded"}`}), "rate limit"},
		"page of a proxy":   {faults(forgetest.Fault{Match: list, Status: 200, Body: "<html>"}), "unexpected content"},
		"404 of a gateway":  {faults(forgetest.Fault{Match: list, Status: 404, Body: `{"message":"no route"}`}), "github.com answered 404 Not Found: no route"},
		"no list":           {faults(forgetest.Fault{Match: list, Status: 200, Body: `{}`}), "no list of attestations"},
		"lost connection":   {faults(forgetest.Fault{Match: list, Break: true}), "no usable response from github.com"},
		"invalid token":     {func(b *gitHubBench) { b.useToken("expired") }, "Bad credentials (the token is invalid or has expired"},
		"hidden repository": {faults(forgetest.Fault{Match: "GET /api/v3/repos/acme/images", Status: 404, Body: `{"message":"Not Found"}`}), "acme/images does not exist, or the token may not read it"},
		"storage is down": {func(b *gitHubBench) {
			b.add()
			f := forgetest.Fault{Match: "GET /bundles", Status: 503}
			b.storage.Fail(f, f, f, f)
		}, "503"},
		"expired URL":    {func(b *gitHubBench) { b.add(); b.storage.Fail(forgetest.Fault{Match: "GET /bundles", Status: 403}) }, "answered 403 Forbidden"},
		"not compressed": {func(b *gitHubBench) { b.AddBlob("repos/acme/images", b.image.Digest, nil, []byte("<html>")) }, "not compressed by snappy"},
		"announces 4 GiB": {func(b *gitHubBench) {
			b.AddBlob("repos/acme/images", b.image.Digest, nil, binary.AppendUvarint(nil, 1<<32-1))
		}, "reading a bundle: larger than 4096 KiB"},
		"no URL":        {faults(forgetest.Fault{Match: list, Status: 200, Body: `{"attestations":[{"bundle":null,"bundle_url":""}]}`}), "neither a bundle nor a valid URL"},
		"URL of a file": {faults(forgetest.Fault{Match: list, Status: 200, Body: `{"attestations":[{"bundle_url":"file:///etc/passwd"}]}`}), "neither a bundle nor a valid URL"},
		"plain HTTP":    {faults(forgetest.Fault{Match: list, Status: 200, Body: `{"attestations":[{"bundle_url":"http://storage.example/x"}]}`}), "reading a bundle from storage.example"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newGitHubBench(t)
			tt.given(b)
			got := b.check(acmeRule)
			assert.True(t, got.Unknown)
			assert.Contains(t, got.Untrusted, "attestations could not be read from GitHub: ")
			assert.Contains(t, got.Untrusted, tt.want)
			assert.NotContains(t, got.Untrusted, "SECRET")
			assert.NotContains(t, got.Untrusted, "t0ken")
		})
	}
}

func (b *gitHubBench) add() {
	b.Add("repos/acme/images", b.image.Digest, b.Bundle(b.image.Digest, sigstoretest.Provenance, acme))
}

// TestGitHubAfterRegistryOutage: a valid attestation at GitHub is enough while the registry cannot be asked.
func TestGitHubAfterRegistryOutage(t *testing.T) {
	b := newGitHubBench(t)
	b.fails("/referrers", http.StatusServiceUnavailable, "no")
	assert.Contains(t, b.check(acmeRule).Untrusted, "signatures could not be read: 127.0.0.1")
	b.add()
	assert.Equal(t, trust.Result{}, b.check(acmeRule))
}

// TestGitHubIsBounded: of a long list, the first bundles are read, and the reason says that there are more.
func TestGitHubIsBounded(t *testing.T) {
	b := newGitHubBench(t)
	b.Inline = true
	wrong := b.Bundle(b.image.Digest, sigstoretest.SBOM, acme)
	for range 40 {
		b.Add("repos/acme/images", b.image.Digest, wrong)
	}
	b.add()
	assert.Contains(t, b.check(acmeRule).Untrusted, "none of the first 32 signatures and attestations is valid, and more are not read")
}

// FuzzUnpack: whatever the storage sends is decompressed within the limit, or refused.
func FuzzUnpack(f *testing.F) {
	f.Add(snappy.Encode(nil, []byte(`{"mediaType":"x"}`)))
	f.Add(binary.AppendUvarint(nil, 1<<32-1))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := trust.Unpack(data)
		require.True(t, err != nil || len(out) <= 4<<20)
	})
}
