package trust_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/trust"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

// tufBench is a bench whose Sigstore instance publishes its trusted root in a TUF repository.
type tufBench struct {
	*bench
	repo *sigstoretest.TUF
}

func newTUFBench(t *testing.T) *tufBench {
	b := newBench(t)
	repo := sigstoretest.NewTUF(t, b.TrustedRoot())
	b.files["tuf-root.json"] = &fstest.MapFile{Data: repo.Root()}
	b.attach(b.Bundle(b.image.Digest, sigstoretest.Provenance, robot), sigstoretest.Provenance)
	return &tufBench{b, repo}
}

func (b *tufBench) verify() trust.Result {
	return b.check("keyless: {issuer: \"https://accounts.example.com\", identity: robot@example.com}\n    tuf: {mirror: \"" + b.repo.URL + "/\", root: tuf-root.json}")
}

func TestTUF(t *testing.T) {
	b := newTUFBench(t)
	assert.Equal(t, trust.Result{}, b.verify())

	// The instance gets another authority: what the old one signed is invalid from then on.
	next := sigstoretest.New(t)
	b.repo.Publish(next.TrustedRoot(), sigstoretest.Release{Version: 2})
	got := b.verify()
	assert.False(t, got.Unknown)
	assert.Contains(t, got.Untrusted, "invalid signature or provenance")
	b.attach(next.Bundle(b.image.Digest, sigstoretest.Provenance, robot), sigstoretest.Provenance)
	assert.Equal(t, trust.Result{}, b.verify())
}

// TestTUFRefuses: without a current and genuine trusted root nothing is verified, and nothing counts as unsigned either.
func TestTUFRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		given func(*tufBench)
		want  string
	}{
		"expired": {func(b *tufBench) {
			b.repo.Publish(b.TrustedRoot(), sigstoretest.Release{Version: 2, Expires: time.Now().Add(-time.Hour).UTC()})
		}, "the metadata has expired: "},
		"rolled back": {func(b *tufBench) {
			_, old := b.repo.File("1.snapshot.json")
			b.repo.Publish(b.TrustedRoot(), sigstoretest.Release{Version: 2})
			b.repo.Put("2.snapshot.json", old)
		}, "the metadata was rolled back: "},
		"another key": {func(b *tufBench) {
			b.repo.Publish(sigstoretest.New(b.t).TrustedRoot(), sigstoretest.Release{Version: 2, Signer: sigstoretest.NewTUF(b.t, nil)})
		}, "the metadata is not signed by the keys of the root: "},
		"another root": {func(b *tufBench) {
			b.files["tuf-root.json"] = &fstest.MapFile{Data: sigstoretest.NewTUF(b.t, nil).Root()}
		}, "the metadata is not signed by the keys of the root: "},
		"changed target": {func(b *tufBench) {
			name, data := b.repo.File(".trusted_root.json")
			b.repo.Put(name, bytes.Replace(data, []byte("fulcio"), []byte("folcio"), 1))
		}, "a file is not the one that the metadata names: "},
		"endless target": {func(b *tufBench) {
			name, data := b.repo.File(".trusted_root.json")
			b.repo.Put(name, append(data, make([]byte, 8<<20)...))
		}, "larger than"},
		"no repository": {func(b *tufBench) {
			b.repo.URL += "/elsewhere"
		}, "/elsewhere/timestamp.json answered 404 Not Found"},
		"page of a proxy": {func(b *tufBench) {
			b.repo.Put("timestamp.json", []byte("<html>"))
		}, "the response is not TUF metadata"},
		"server error": {func(b *tufBench) {
			b.repo.URL = serve(b.t, http.StatusServiceUnavailable)
		}, "answered 503 Service Unavailable"},
		"unreachable": {func(b *tufBench) {
			gone := httptest.NewServer(http.NotFoundHandler())
			b.repo.URL = gone.URL
			gone.Close()
		}, "connection refused"},
		"no root.json": {func(b *tufBench) {
			b.files["tuf-root.json"] = &fstest.MapFile{Data: []byte("{}")}
		}, ": invalid metadata: metadata 'signed' field is missing"},
		"missing root.json": {func(b *tufBench) {
			delete(b.files, "tuf-root.json")
		}, `reading "tuf-root.json" beside images.yaml: file does not exist`},
		"a target that is no root": {func(b *tufBench) {
			b.repo.Publish([]byte("{}"), sigstoretest.Release{Version: 2})
		}, "media type"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTUFBench(t)
			require.Equal(t, trust.Result{}, b.verify())
			tt.given(b)
			got := b.verify()
			assert.True(t, got.Unknown)
			assert.Contains(t, got.Untrusted, tt.want)
		})
	}
}

func serve(t testing.TB, status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	return server.URL
}
