package sigstoretest

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/stretchr/testify/require"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// TUF is a TUF repository that publishes the trusted root of a Sigstore instance.
type TUF struct {
	URL string

	t      testing.TB
	signer signature.Signer // of all roles
	root   []byte

	mu    sync.Mutex
	files map[string][]byte // by path
}

// Release describes the metadata that a [TUF] publishes.
type Release struct {
	Version int64     // of all roles but the root; default 1
	Expires time.Time // default in a day
	Signer  *TUF      // whose key signs; default the repository's own
}

// NewTUF starts a TUF repository, which publishes a trusted root.
func NewTUF(t testing.TB, trustedRoot []byte) *TUF {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	require.NoError(t, err)
	key, err := metadata.KeyFromPublicKey(public)
	require.NoError(t, err)
	r := &TUF{t: t, signer: signer, files: map[string][]byte{}}
	root := metadata.Root(time.Now().AddDate(1, 0, 0).UTC())
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		require.NoError(t, root.Signed.AddKey(key, role))
	}
	r.root = signed(r, r, root)
	r.Publish(trustedRoot, Release{})
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Root returns the root.json from which trust in the repository starts.
func (r *TUF) Root() []byte { return r.root }

// Publish publishes a trusted root.
func (r *TUF) Publish(trustedRoot []byte, o Release) {
	o.Version = max(o.Version, 1)
	if o.Expires.IsZero() {
		o.Expires = time.Now().AddDate(0, 0, 1).UTC()
	}
	by := r
	if o.Signer != nil {
		by = o.Signer
	}
	targets := metadata.Targets(o.Expires)
	file, err := metadata.TargetFile().FromBytes("trusted_root.json", trustedRoot, "sha256")
	require.NoError(r.t, err)
	targets.Signed.Version, targets.Signed.Targets["trusted_root.json"] = o.Version, file
	snapshot := metadata.Snapshot(o.Expires)
	snapshot.Signed.Version, snapshot.Signed.Meta["targets.json"] = o.Version, metadata.MetaFile(o.Version)
	timestamp := metadata.Timestamp(o.Expires)
	timestamp.Signed.Version, timestamp.Signed.Meta["snapshot.json"] = o.Version, metadata.MetaFile(o.Version)
	for name, data := range map[string][]byte{
		"timestamp.json": signed(r, by, timestamp),
		fmt.Sprintf("%d.snapshot.json", o.Version):                         signed(r, by, snapshot),
		fmt.Sprintf("%d.targets.json", o.Version):                          signed(r, by, targets),
		"targets/" + file.Hashes["sha256"].String() + ".trusted_root.json": trustedRoot,
	} {
		r.Put(name, data)
	}
}

// Put replaces a file of the repository.
func (r *TUF) Put(name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = data
}

// File returns a file of the repository whose name ends with a text.
func (r *TUF) File(suffix string) (name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, data := range r.files {
		if strings.HasSuffix(name, suffix) {
			return name, data
		}
	}
	r.t.Fatalf("no file %s", suffix)
	return "", nil
}

// ServeHTTP implements [http.Handler].
func (r *TUF) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.files[strings.TrimPrefix(q.URL.Path, "/")]
	if !ok {
		http.NotFound(w, q)
		return
	}
	_, _ = w.Write(data)
}

func signed[T metadata.Roles](r, by *TUF, m *metadata.Metadata[T]) []byte {
	_, err := m.Sign(by.signer)
	require.NoError(r.t, err)
	data, err := m.ToBytes(false)
	require.NoError(r.t, err)
	return data
}
