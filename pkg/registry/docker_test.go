package registry_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// docker starts CNCF Distribution's registry with one user, and returns its host. DOCKER_REGISTRY names the program.
func docker(t *testing.T) string {
	t.Helper()
	program := os.Getenv("DOCKER_REGISTRY")
	if program == "" {
		t.Skip("DOCKER_REGISTRY names no registry program: skipped (Debian has it as docker-registry)")
	}
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	users, settings := filepath.Join(dir, "users"), filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(users, append([]byte("user:"), hash...), 0o600))
	require.NoError(t, os.WriteFile(settings, []byte(`version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: `+filepath.Join(dir, "data")+`}}
http: {addr: "127.0.0.1:0"}
auth: {htpasswd: {realm: registry, path: `+users+`}}
`), 0o600))
	cmd := exec.CommandContext(t.Context(), program, "serve", settings)
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			go func() {
				for lines.Scan() { // its log must not fill the pipe
				}
			}()
			return found[1]
		}
	}
	require.FailNow(t, "the registry ended before it listened", "%v", lines.Err())
	return ""
}

func TestDockerRegistry(t *testing.T) {
	host := docker(t)
	user := remote.WithAuth(&authn.Basic{Username: "user", Password: password})
	push := func(to string, idx v1.ImageIndex) {
		t.Helper()
		ref, err := name.ParseReference(host + "/" + to)
		require.NoError(t, err)
		require.NoError(t, remote.WriteIndex(ref, idx, user))
	}
	ref := func(name string) state.Ref {
		ref, err := state.ParseRef(host + "/" + name)
		require.NoError(t, err)
		return ref
	}
	amd, arm := newImage(t, "linux/amd64", day, nil), newImage(t, "linux/arm64", day, nil)
	base := newIndex(entry{platform: "linux/amd64", what: amd}, entry{platform: "linux/arm64/v8", what: arm})
	push("library/base:1", base)
	w := world{server: &server{t: t, host: host}}
	built := newImage(t, "linux/amd64", day, amd)
	attested := newIndex(entry{platform: "linux/amd64", what: built},
		provenance(t, built, "v1", dep{w.purl("library/base", "1", "linux/amd64"), digestOf(t, base)}))
	plain := newIndex(entry{platform: "linux/amd64", what: built})
	push("team/app:1.2.0", attested)
	push("team/app:1.10.0", plain)

	c := client(registry.Options{Keychain: login{}})
	want := state.Snapshot{Digest: digestOf(t, base), Platforms: state.Platforms{"linux/amd64": digestOf(t, amd), "linux/arm64": digestOf(t, arm)}}
	got, err := c.Snapshot(t.Context(), ref("library/base:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	before := c.Requests()[host].Pulls
	got, err = c.Snapshot(t.Context(), ref("library/base:1"), &want)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, before, c.Requests()[host].Pulls, "HEAD is enough for what is known")

	choice, err := c.Newest(t.Context(), host+"/team/app", config.Tags{}, false, unknown)
	require.NoError(t, err)
	assert.Equal(t, "1.10.0", choice.Tag)
	_, err = c.Newest(t.Context(), host+"/team/none", config.Tags{}, false, unknown)
	require.ErrorIs(t, err, registry.ErrUnpublished)

	uses := registry.Base{Ref: ref("library/base:1"), Known: []state.Snapshot{want}, Final: true}
	for published, by := range map[string]state.Evidence{digestOf(t, attested): state.Provenance, digestOf(t, plain): state.Layers} {
		on, err := c.BuiltOn(t.Context(), ref("team/app@"+published), []registry.Base{uses})
		require.NoError(t, err)
		require.Len(t, on, 1)
		assert.Equal(t, want.Digest, on[0].Digest)
		assert.Equal(t, by, on[0].Evidence)
	}

	_, err = client(registry.Options{}).Snapshot(t.Context(), ref("library/base:1"), nil)
	require.ErrorContains(t, err, host+" needs credentials")
	_, err = client(registry.Options{Keychain: wrongLogin{}}).Snapshot(t.Context(), ref("library/base:1"), nil)
	require.ErrorContains(t, err, "access denied (401)")
}

type wrongLogin struct{}

func (wrongLogin) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "user", Password: "another"}), nil
}
