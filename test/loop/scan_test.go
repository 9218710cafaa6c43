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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	scanImages = `
defaults: {registry: REGISTRY, source: {provider: gitea, host: "GITEA", workflow: build.yml, pinBases: true}}
images:
- name: web
  repository: ORG/web
  tags: latest
  urgent: {severity: high, minAge: 0, hold: true}
  source: {repo: ORG/web, platforms: [linux/amd64], inputs: {rebuild: "{{promotion}}"}}
- name: everywhere
  repository: ORG/everywhere
  tags: latest
  urgent: {severity: high, minAge: 0, hold: true}
  source: {repo: ORG/everywhere, platforms: [linux/amd64, linux/arm64], inputs: {rebuild: "{{promotion}}"}}
- name: calm
  repository: ORG/calm
  tags: latest
  source: {repo: ORG/calm, platforms: [linux/amd64], inputs: {rebuild: "{{promotion}}"}}
`

	baseDebian = "debian:12"
	debianFile = `FROM REGISTRY/ORG/os:13
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
func (s *site) debian(packages map[string]string, platforms ...string) string {
	s.t.Helper()
	var status strings.Builder
	for _, p := range sorted(packages) {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nMaintainer: A <a@example.com>\nArchitecture: all\nVersion: %s\nDescription: test\n\n", p, packages[p])
	}
	dir := s.t.TempDir()
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(s.expand(debianFile)), 0o644))
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "status"), []byte(status.String()), 0o644))
	s.buildFolder(dir, "--opt", "platform="+strings.Join(platforms, ","), "--opt", "build-arg:SOURCE_DATE_EPOCH=0",
		"--output", "type=image,push=true,rewrite-timestamp=true,name="+s.ref(baseDebian))
	return s.digest(baseDebian)
}

// on checks the digest of the base that each image was built on, in its attestation and in what imagefactory says.
func (s *site) on(want map[string]string) {
	s.t.Helper()
	for image, digest := range want {
		assert.Equal(s.t, map[string]string{baseDebian: digest}, s.built(image+":latest"), image)
		on := s.describe(image).base(s.ref(baseDebian)).BuiltOn
		assert.Equal(s.t, digest, on.Digest, image)
		assert.Equal(s.t, "provenance", on.Evidence, image)
	}
}

// TestScan lets Trivy find holes in images that workflows at Gitea built, in a registry with a login. A digest that fixes one passes the
// wait, for the images that say so and have all of their platforms in it. A digest that adds one is held, and so is one that a person
// holds: images leave it, and none is built on it.
func TestScan(t *testing.T) {
	t.Parallel()
	s := newPrivateSite(t, "scan", scanImages)
	s.useMember([]string{"repo.code", "repo.actions"}, []string{"write:repository"})
	s.env = append(s.env, trivy(t)...)
	images := []string{"web", "everywhere", "calm"}
	pass := func() [][]string {
		s.observe()
		s.record("scan", "--with", "trivy")
		return s.settle()
	}

	s.push("os:13", "1")
	first := s.debian(vulnerable, both...)
	for _, image := range images {
		s.commit(image, map[string]string{"Dockerfile": "FROM REGISTRY/ORG/" + baseDebian + "\nCOPY own /\n", "own": image + "\n"})
	}
	s.observe()
	for _, image := range images {
		s.workflow(image, image)
	}
	assert.Empty(t, pass())
	for name, status := range s.statuses() {
		assert.Equal(t, "current", status, name)
	}

	s.later(time.Hour)
	half := s.debian(fixed, both[0])
	assert.Equal(t, [][]string{{"web"}}, pass(), "the fix for one platform")
	s.on(map[string]string{"web": half, "everywhere": first, "calm": first})
	assert.Equal(t, map[string]string{"web": "current", "everywhere": "incomplete", "calm": "waiting"}, s.statuses())
	assert.Contains(t, s.describe("everywhere").Decision.Reason, "linux/arm64")
	const fixes = "fixes CVE-2099-1001 (critical, openssl)"
	require.Len(t, s.describe("web").History, 1)
	assert.Contains(t, s.describe("web").History[0].Reason, fixes)

	s.later(time.Hour)
	whole := s.debian(fixed, both...)
	assert.Equal(t, [][]string{{"everywhere"}}, pass(), "the fix for all platforms")
	s.on(map[string]string{"web": half, "everywhere": whole, "calm": first})
	require.Len(t, s.describe("everywhere").History, 1)
	assert.Contains(t, s.describe("everywhere").History[0].Reason, fixes)

	s.later(time.Hour)
	s.record("hold", s.ref(baseDebian)+"@"+whole, "--reason", "breaks TLS")
	assert.Equal(t, [][]string{{"everywhere", "web"}}, pass(), "they leave the digest that a person holds, and what is the same for their platforms")
	s.on(map[string]string{"web": first, "everywhere": first, "calm": first})

	s.later(2 * day)
	bad := s.debian(worse, both...)
	s.observe()
	s.buildClone("web") // somebody pushed: this build has no lock
	assert.Equal(t, [][]string{{"web"}}, pass(), "it leaves the digest that adds a hole")
	s.on(map[string]string{"web": first, "everywhere": first, "calm": first})
	assert.Equal(t, map[string]string{"web": "held", "everywhere": "held", "calm": "waiting"}, s.statuses())

	s.later(8 * day)
	assert.Equal(t, [][]string{{"calm"}}, pass(), "it has ripened for the image that does not ask for such holds")
	s.on(map[string]string{"web": first, "everywhere": first, "calm": bad})

	s.later(time.Hour)
	good := s.debian(better, both...)
	assert.Equal(t, [][]string{{"everywhere", "web"}}, pass(), "a fix that adds nothing")
	s.on(map[string]string{"web": good, "everywhere": good, "calm": bad})
	assert.Empty(t, pass())

	rebuilds := map[string]int{"web": 4, "everywhere": 3, "calm": 1}
	for image, n := range rebuilds {
		assert.Len(t, s.runs(image), 1+n, "one run for each rebuild of %s, and that of the push", image)
		assert.Equal(t, slices.Repeat([]string{"succeeded"}, n), s.history(image), image)
	}
	s.recordedOnce()
	s.fsck()
}
