package loop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	baseDebian = "base/debian:12"

	fromDebian = "FROM REGISTRY/base/debian:12\nCOPY own /\n"
	debianFile = `FROM REGISTRY/base/os:13
COPY <<EOF /etc/os-release
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
EOF
COPY <<EOF /etc/debian_version
12.5
EOF
COPY status /var/lib/dpkg/
`
)

// The packages of the base image: with a hole in openssl, twice without it, and with one in curl. The holes are in the databases that
// Trivy gets.
var (
	vulnerable = map[string]string{"openssl": "3.0.11-1~deb12u2"}
	fixed      = map[string]string{"openssl": "3.0.13-1~deb12u1"}
	better     = map[string]string{"openssl": "3.0.14-1~deb12u1"}
	worse      = map[string]string{"openssl": "3.0.13-1~deb12u1", "curl": "7.88.1-10+deb12u5"}
)

// trivy makes a database for Trivy, and returns the environment in which imagefactory runs it.
func trivy(t *testing.T) []string {
	t.Helper()
	folder := filepath.Join(programs, "scanners")
	out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "databases"), t.TempDir()).Output()
	require.NoError(t, err)
	return append(strings.Fields(string(out)), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// debian lets BuildKit build the base image, and moves its tag. It returns the digest. Each platform of a build with the same
// packages has the same digest as before.
func (l *fleet) debian(packages map[string]string, platforms ...string) string {
	l.t.Helper()
	var status strings.Builder
	for _, p := range sorted(packages) {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nMaintainer: A <a@example.com>\nArchitecture: all\nVersion: %s\nDescription: test\n\n", p, packages[p])
	}
	dir := l.t.TempDir()
	require.NoError(l.t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(l.expand(debianFile)), 0o644))
	require.NoError(l.t, os.WriteFile(filepath.Join(dir, "status"), []byte(status.String()), 0o644))
	_, err := servers.BuildKit.Ctl(l.t.Context(), nil, "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir,
		"--opt", "platform="+strings.Join(platforms, ","), "--opt", "build-arg:SOURCE_DATE_EPOCH=0", "--opt", "attest:provenance=mode=max",
		"--output", "type=image,push=true,rewrite-timestamp=true,name="+l.host+"/"+baseDebian)
	require.NoError(l.t, err)
	ref, err := name.ParseReference(l.host + "/" + baseDebian)
	require.NoError(l.t, err)
	head, err := remote.Head(ref)
	require.NoError(l.t, err)
	l.held[baseDebian] = head.Digest.String()
	return l.held[baseDebian]
}

// on checks the digest of the base that each subject was built on, in its attestation and in what imagefactory says.
func (l *fleet) on(want map[string]string) {
	l.t.Helper()
	for _, s := range l.subjects {
		assert.Equal(l.t, want[s.name], materials(l.t, l.host+"/"+s.published())[l.host+"/"+baseDebian], s.name)
		on := l.describe(s.name).base(l.host + "/" + baseDebian).BuiltOn
		assert.Equal(l.t, want[s.name], on.Digest, s.name)
		assert.Equal(l.t, "provenance", on.Evidence, s.name)
	}
}

// TestScan lets Trivy find holes in images that BuildKit built. A digest that fixes one passes the wait, for the images that
// say so and have all of their platforms in it. A digest that adds one is held, and so is one that a person holds: images leave
// it, and none is built on it.
func TestScan(t *testing.T) {
	t.Parallel()
	const urgent = "{severity: high, minAge: 0, hold: true}"
	subjects := []*subject{
		{name: "web", platforms: both[:1], urgent: urgent},
		{name: "everywhere", platforms: both, urgent: urgent},
		{name: "calm", platforms: both[:1]},
	}
	for _, s := range subjects {
		s.dockerfile, s.publish, s.bases = fromDebian, pushed("mode=max", ""), []string{baseDebian}
	}
	l := newFleet(t, servers.Docker.Host, subjects)
	l.env = trivy(t)
	pass := func() [][]string {
		l.analyze()
		l.run("scan", "--with", "trivy")
		return l.promote()
	}

	l.push("1")
	first := l.debian(vulnerable, both...)
	l.enroll()
	l.buildAll(false)
	l.run("scan", "--with", "trivy")
	assert.Empty(t, l.promote())
	for name, status := range l.statuses() {
		assert.Equal(t, "current", status, name)
	}

	l.later(time.Hour)
	half := l.debian(fixed, both[0])
	assert.Equal(t, [][]string{{"web"}}, pass(), "the fix for one platform")
	l.on(map[string]string{"web": half, "everywhere": first, "calm": first})
	assert.Equal(t, map[string]string{"web": "current", "everywhere": "incomplete", "calm": "waiting"}, l.statuses())
	assert.Contains(t, l.describe("everywhere").Decision.Reason, "linux/arm64")
	const fixes = "fixes CVE-2099-1001 (critical, openssl)"
	require.Len(t, l.describe("web").History, 1)
	assert.Contains(t, l.describe("web").History[0].Reason, fixes)

	l.later(time.Hour)
	whole := l.debian(fixed, both...)
	assert.Equal(t, [][]string{{"everywhere"}}, pass(), "the fix for all platforms")
	l.on(map[string]string{"web": half, "everywhere": whole, "calm": first})
	require.Len(t, l.describe("everywhere").History, 1)
	assert.Contains(t, l.describe("everywhere").History[0].Reason, fixes)

	l.later(time.Hour)
	l.run("hold", l.host+"/"+baseDebian+"@"+whole, "--reason", "breaks TLS")
	assert.Equal(t, [][]string{{"everywhere", "web"}}, pass(), "they leave the digest that a person holds, and what is the same for their platforms")
	l.on(map[string]string{"web": first, "everywhere": first, "calm": first})

	l.later(2 * day)
	bad := l.debian(worse, both...)
	l.analyze()
	l.build(subjects[0], false) // somebody pushed: this build has no lock
	assert.Equal(t, [][]string{{"web"}}, pass(), "it leaves the digest that adds a hole")
	l.on(map[string]string{"web": first, "everywhere": first, "calm": first})
	assert.Equal(t, map[string]string{"web": "held", "everywhere": "held", "calm": "waiting"}, l.statuses())

	l.later(8 * day)
	assert.Equal(t, [][]string{{"calm"}}, pass(), "it has ripened for the image that does not ask for such holds")
	l.on(map[string]string{"web": first, "everywhere": first, "calm": bad})

	l.later(time.Hour)
	good := l.debian(better, both...)
	assert.Equal(t, [][]string{{"everywhere", "web"}}, pass(), "a fix that adds nothing")
	l.on(map[string]string{"web": good, "everywhere": good, "calm": bad})
	assert.Empty(t, pass())

	assert.Len(t, l.forge.runs, 8, "one run for each rebuild")
	var history []string
	for _, s := range subjects {
		for _, h := range l.describe(s.name).History {
			history = append(history, h.Status)
		}
	}
	assert.Equal(t, slices.Repeat([]string{"succeeded"}, 8), history)
}
