package cli_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

var robot = sigstoretest.Signer{Identity: "robot@example.com", Issuer: "https://accounts.example.com"}

// trusting returns a site whose images.yaml demands signatures of the robot, with the trusted root in the repository, and its published image.
func trusting(t *testing.T) (*site, *sigstoretest.Sigstore, registrytest.Content) {
	s, sigstore := newSite(t), sigstoretest.New(t)
	node := s.registry.Base("library/node:22", "1")
	s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
	s.git.Commit("fleet", map[string]string{
		"trust/root.json": string(sigstore.TrustedRoot()),
		"images.yaml": `factory:
  state: {url: https://git.example/fleet.git}
  trust:
  - match: "` + s.registry.Host + `/library/*"
    keyless: {issuer: "https://accounts.example.com", identity: robot@example.com}
    trustRoot: trust/root.json
images:
` + s.entry("web", "acme/web", "acme/web"),
	}, "trust")
	return s, sigstore, node
}

// sign attaches a signature to an image of the registry.
func (s *site) sign(with *sigstoretest.Sigstore, image registrytest.Content, by sigstoretest.Signer) {
	s.registry.Attach("library/node", image.Digest, sigstoretest.BundleType, with.Bundle(image.Digest, sigstoretest.Signature, by),
		map[string]string{"dev.sigstore.bundle.predicateType": sigstoretest.Signature})
}

// show runs a command on a copy of the state repository.
func (s *site) show(args ...string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	writeFiles(s.t, dir, s.git.Files("fleet"))
	got := s.run(append(args, "--config", dir+"/images.yaml")...)
	require.Zero(s.t, got.code, got.err)
	return got.out
}

const unsigned = "it has no signature and no provenance"

func TestUntrustedNeverRipens(t *testing.T) {
	s, sigstore, node := trusting(t)
	s.ok("analyze")
	assert.Equal(t, unsigned, s.base().Baseline.Untrusted)
	assert.Contains(t, s.show("validate"), "baseline of "+s.registry.Host+"/library/node:22 is untrusted: "+unsigned)

	// The baseline is in the lock all the same, and a signature that comes later is found.
	s.sign(sigstore, node, robot)
	s.ok("analyze")
	assert.Empty(t, s.base().Baseline.Untrusted)
	assert.Regexp(t, `^signature or provenance by robot@example\.com \(https://accounts\.example\.com\), trust root trust/root\.json with hash [0-9a-f]{12}$`, s.base().Baseline.Verified)

	second := s.due()
	assert.Equal(t, unsigned, s.base().Candidates[0].Untrusted)
	assert.Contains(t, strings.Join(s.git.Log("fleet"), "\n"), state.ShortDigest(second.Digest)+" is untrusted: "+unsigned)
	before := s.commits()
	got := s.ok("promote", "--dry-run")
	assert.Contains(t, got.err, "0 rebuilds would be started")
	got = s.ok("analyze")
	assert.Contains(t, got.err, "nothing new")
	assert.Equal(t, before, s.commits(), "an analysis that learns nothing makes no commit")
	for _, command := range []string{"status", "status -o json", "describe web", "describe " + s.baseName(), "plan", "plan -o json"} {
		assert.Contains(t, s.show(strings.Fields(command)...), unsigned, command)
	}

	assert.Contains(t, s.show("status", "--bases"), "1 untrusted")
	assert.Contains(t, s.show("report", "-o", "-"), unsigned)

	// A person needs a word of their own to release it.
	got = s.do("release", s.baseName(), "--reason", "hurry")
	assert.Equal(t, 2, got.code)
	assert.Contains(t, got.err, "is untrusted: "+unsigned+" (release it all the same with --untrusted)")
	assert.Equal(t, before, s.commits())

	// Once it is signed, it waits for the whole delay again.
	s.sign(sigstore, second, robot)
	s.ok("analyze")
	c := s.base().Candidates[0]
	assert.Empty(t, c.Untrusted)
	assert.Equal(t, s.now, c.Trusted.Time)
	got = s.ok("promote", "--dry-run")
	assert.Contains(t, got.err, "0 rebuilds would be started")
	s.now = s.now.Add(week + time.Minute)
	got = s.ok("promote", "--dry-run")
	assert.Contains(t, got.err, "1 rebuild would be started")
}

func TestReleaseOfUntrusted(t *testing.T) {
	s, _, _ := trusting(t)
	s.ok("analyze")
	s.due()
	got := s.ok("release", s.baseName(), "--reason", "hurry", "--untrusted")
	assert.Contains(t, got.out+got.err, `("hurry"), untrusted: `+unsigned)
	assert.Equal(t, s.now, s.base().Candidates[0].TrustWaived.Time)
	assert.Contains(t, s.ok("promote", "--dry-run").err, "1 rebuild would be started")
	s.ok("hold", s.baseName(), "--reason", "no")
	assert.True(t, s.base().Candidates[0].TrustWaived.IsZero())
	got = s.do("release", s.baseName(), "--reason", "hurry")
	assert.Equal(t, 2, got.code)
}

// TestTrustIsAskedAgain: an outage is no answer. promote, which resolves waiting tags, asks again.
func TestTrustIsAskedAgain(t *testing.T) {
	s, sigstore, node := trusting(t)
	s.sign(sigstore, node, robot)
	s.ok("analyze")
	second := s.registry.Base("library/node:22", "2")
	s.sign(sigstore, second, robot)
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.Error(w, "{}", http.StatusServiceUnavailable)
		}
		return strings.Contains(r.URL.Path, "/referrers/")
	})
	s.ok("analyze")
	assert.Contains(t, s.base().Candidates[0].Untrusted, "signatures could not be read: "+s.registry.Host+": registry unavailable (503 Service Unavailable)")
	s.registry.Break(nil)
	s.ok("promote")
	assert.Empty(t, s.base().Candidates[0].Untrusted)
	assert.NotEmpty(t, s.base().Candidates[0].Verified)

	// A rule that changes is a new question; until it is answered, nothing ripens.
	s.now = s.now.Add(week + time.Minute)
	assert.Contains(t, s.ok("promote", "--dry-run").err, "1 rebuild would be started")
	text := s.git.Git("fleet", "show", "main:images.yaml")
	s.git.Commit("fleet", map[string]string{"images.yaml": strings.Replace(text, "robot@example.com", "other@example.com", 1)}, "another identity")
	require.Contains(t, s.show("status"), "not verified yet")
	s.ok("promote")
	assert.Contains(t, s.base().Candidates[0].Untrusted, `expected SAN value "other@example.com", got "robot@example.com"`)
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web")}, "no rule")
	s.ok("analyze")
	assert.Empty(t, s.base().Candidates[0].Untrusted+s.base().Candidates[0].Verified)
}

func TestDoctorOfTrust(t *testing.T) {
	s, sigstore := newSite(t), sigstoretest.New(t)
	s.git.Commit("fleet", map[string]string{
		"trust/root.json": string(sigstore.TrustedRoot()), "broken.json": "{}",
		"images.yaml": `factory:
  trust:
  - {match: docker.io, github: acme/images, trustRoot: trust/root.json}
  - {match: ghcr.io, github: acme/images, trustRoot: broken.json}
  - {match: quay.io, key: missing.pub}
  - {match: quay.io/acme/*, require: none}
images: []
`,
	}, "trust")
	got := s.run("doctor", "--direct", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml")
	assert.Equal(t, 1, got.code)
	for _, want := range []string{
		`trust of docker.io +ok +requires a provenance by a workflow of github.com/acme/images, trust root trust/root.json`,
		`trust of ghcr.io +error +no candidate can be verified: trust root "broken.json": invalid trusted root`,
		`trust of quay.io +error +no candidate can be verified: reading "missing.pub" beside images.yaml: `,
	} {
		assert.Regexp(t, want, got.out)
	}
	assert.NotContains(t, got.out, "quay.io/acme")
}
