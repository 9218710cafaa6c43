package exposure_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const ref = "docker.io/library/node:22"

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func finding(id, pkg string, severity scan.Severity) scan.Finding {
	return scan.Finding{ID: id, Severity: severity, Package: pkg, Installed: "1", Fixed: "2"}
}

var (
	openssl = finding("CVE-2026-0001", "openssl", scan.Critical)
	curl    = finding("CVE-2026-0002", "curl", scan.Critical)
	own     = finding("CVE-2026-0003", "lodash", scan.Critical)
	minor   = finding("CVE-2026-0004", "bash", scan.Low)
)

// world is a fleet of one image, web, that is published as digest 100 and built on digest 1 of node:22. The tag moved to digest 2 at
// start.
type world struct {
	exposure.Fleet
	base *state.Base
}

func newWorld(t *testing.T, urgent string) *world {
	t.Helper()
	cfg, err := config.Load(strings.NewReader(`
- name: web
  repository: acme/web
  source: {provider: github, repo: acme/web, workflow: build.yml, pinBases: true}
  urgent: `+urgent+"\n"), "images.yaml")
	require.NoError(t, err)
	st := state.New()
	st.Images["web"] = &state.Image{
		Name: "web", Repository: "ghcr.io/acme/web", CurrentDigest: digest(100), CurrentVersion: "1.0.0", LastBuilt: state.At(start.AddDate(0, 0, -30)),
		Dockerfile: &state.Dockerfile{Path: "Dockerfile", Digest: digest(7)},
		BaseImages: []state.BaseUse{{Ref: ref, Final: true, Uses: []state.Use{{Kind: "from", Line: 1}}}},
		BuiltOn:    []state.BuiltOn{{Ref: ref, Snapshot: state.Snapshot{Digest: digest(1)}, Evidence: state.Provenance}},
	}
	r, err := state.ParseRef(ref)
	require.NoError(t, err)
	base := &state.Base{Name: state.BaseName(r), Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
	base.Observe(state.Snapshot{Digest: digest(1)}, start.AddDate(0, 0, -60))
	base.Observe(state.Snapshot{Digest: digest(2)}, start)
	st.Bases[base.Name] = base
	return &world{exposure.Fleet{Config: cfg, State: st, Graph: graph.Build(cfg, st), Now: start.Add(time.Hour)}, base}
}

// fresh returns a Fleet that has compared nothing yet, because tests change scans and candidates.
func (w *world) fresh() *exposure.Fleet {
	return &exposure.Fleet{Config: w.Config, State: w.State, Graph: w.Graph, Now: w.Now}
}

func (w *world) Of(img *config.Image) exposure.Exposure { return w.fresh().Of(img) }

func (w *world) OfBase(name string) []exposure.ScannedDigest { return w.fresh().OfBase(name) }

func (w *world) Judge() { w.fresh().Judge() }

func (w *world) Locate() { w.fresh().Locate() }

func (w *world) image(findings ...scan.Finding) { w.set(w.State.ImageScans, "web", 100, findings) }

func (w *world) scanned(n int, findings ...scan.Finding) {
	w.set(w.State.BaseScans, w.base.Name, n, findings)
}

func (w *world) set(scans map[string]*state.Scans, name string, n int, findings []scan.Finding) {
	if scans[name] == nil {
		scans[name] = &state.Scans{Name: name}
	}
	r := &scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12.5", Findings: findings, Looked: true}
	scans[name].Set(state.NewScan(digest(n), "", r, scan.High))
}

func (w *world) judge(after time.Duration) *state.Candidate {
	w.Now = start.Add(after)
	w.Judge()
	return w.base.Find(digest(2))
}

func (w *world) decide() policy.Decision {
	return policy.Decide(w.Config, w.State, w.Graph, w.Now)[0]
}

func TestFixReleases(t *testing.T) {
	w := newWorld(t, "{minAge: 1d}")
	w.image(openssl, own)
	w.scanned(1, openssl)
	w.scanned(2)
	got := w.Of(w.Config.Find("web"))
	require.True(t, got.Scanned)
	require.Len(t, got.Findings, 2)
	assert.Equal(t, exposure.Vulnerability{FindingJSON: state.FindingJSON{ID: openssl.ID, Severity: scan.Critical, Package: "openssl", Installed: "1", Fixed: "2", Where: state.InBase},
		Base: ref, Remedy: exposure.ByCandidate, Digest: digest(2), Ready: start.Add(24 * time.Hour)}, got.Findings[0])
	assert.Equal(t, state.InOwn, got.Findings[1].Where)
	assert.Equal(t, exposure.ByImage, got.Findings[1].Remedy)

	c := w.judge(23 * time.Hour)
	assert.Zero(t, c.Released, "too young")
	c = w.judge(24 * time.Hour)
	assert.Equal(t, []string{"CVE-2026-0001"}, c.Urgent)
	assert.Equal(t, "fixes CVE-2026-0001 (critical, openssl)", c.Reason)
	released := c.Released
	c = w.judge(48 * time.Hour)
	assert.Equal(t, released, c.Released, "released once")
	dec := w.decide()
	assert.Equal(t, policy.Due, dec.Status)
	assert.Equal(t, "newer digest of node:22 fixes CVE-2026-0001 (critical, openssl)", dec.Reason)
	assert.Equal(t, []string{"CVE-2026-0001"}, dec.Bases[0].Urgent)
}

// TestAbsenceIsNoFix: a finding that a scan of the candidate does not list is not fixed if the scan cannot tell.
func TestAbsenceIsNoFix(t *testing.T) {
	for name, change := range map[string]func(s *state.Scan){
		"older than what is known of the base": func(s *state.Scan) { s.Behind = true },
		"another scanner":                      func(s *state.Scan) { s.Scanner = "grype" },
		"a distribution without data":          func(s *state.Scan) { s.OS = "debian 14" },
		"cut":                                  func(s *state.Scan) { s.Others = map[scan.Severity]int{scan.Critical: 1} },
		"only worse ones are listed":           func(s *state.Scan) { s.Severity = scan.Severity("none") },
	} {
		w := newWorld(t, "{minAge: 0}")
		w.image(openssl)
		w.scanned(1, openssl)
		w.scanned(2)
		change(w.State.BaseScans[w.base.Name].Of(state.Snapshot{Digest: digest(2)}, "linux/amd64"))
		c := w.judge(time.Hour)
		assert.Zero(t, c.Released, name)
	}
	w := newWorld(t, "{minAge: 0}")
	w.image(openssl)
	w.scanned(1, openssl)
	assert.Zero(t, w.judge(time.Hour).Released, "the candidate was not scanned")
	w.scanned(2)
	on := w.State.BaseScans[w.base.Name].Of(state.Snapshot{Digest: digest(1)}, "linux/amd64")
	on.Behind = true
	assert.Zero(t, w.judge(2*time.Hour).Released, "a report of the candidate from before the vulnerability was known came late, or its severity changed since")
	on.Behind = false
	assert.NotZero(t, w.judge(3*time.Hour).Released)
}

func TestOnlyInheritedIsUrgent(t *testing.T) {
	w := newWorld(t, "{minAge: 0}")
	w.image(own)
	w.scanned(1, openssl)
	w.scanned(2)
	assert.Zero(t, w.judge(time.Hour).Released, "the image does not have what the candidate fixes")
	w = newWorld(t, "{minAge: 0}")
	w.image(minor)
	w.scanned(1, minor)
	w.scanned(2)
	assert.Zero(t, w.judge(time.Hour).Released, "not severe enough")
}

func TestIgnoreAndVEX(t *testing.T) {
	w := newWorld(t, "{minAge: 0, ignore: [{id: CVE-2026-0001, until: 2026-03-02, reason: not reachable}]}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	assert.Zero(t, w.judge(time.Hour).Released)
	assert.Equal(t, 1, w.Of(w.Config.Find("web")).Ignored)
	assert.NotZero(t, w.judge(36*time.Hour).Released, "ignored until the end of March 2")

	w.State.ImageScans["web"].State(state.VEXStatement{ID: "CVE-2026-0001", Status: scan.NotAffected})
	assert.Zero(t, w.judge(37*time.Hour).Released, "the scan takes its release back")
	w.State.ImageScans["web"].State(state.VEXStatement{ID: "CVE-2026-0001", Status: scan.Affected})
	assert.NotZero(t, w.judge(38*time.Hour).Released)
	w.State.BaseScans[w.base.Name].State(state.VEXStatement{ID: "CVE-2026-0001", Status: scan.FixedIn, Digest: digest(1)})
	assert.Zero(t, w.judge(39*time.Hour).Released, "the publisher of the base says so")
}

func TestReleaseStaysWhenImageIsRebuilt(t *testing.T) {
	w := newWorld(t, "{minAge: 0}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	require.NotZero(t, w.judge(time.Hour).Released)
	w.State.Images["web"].BuiltOn[0].Digest = digest(2)
	w.State.Images["web"].CurrentDigest = digest(101)
	assert.NotZero(t, w.judge(2*time.Hour).Released)
}

func TestOneReleaseForOneFix(t *testing.T) {
	w := newWorld(t, "{minAge: 0}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	w.judge(time.Hour)
	w.base.Observe(state.Snapshot{Digest: digest(3)}, start.Add(2*time.Hour))
	w.scanned(3)
	w.judge(3 * time.Hour)
	assert.Zero(t, w.base.Find(digest(3)).Released, "the rebuild for digest 2 fixes it")
}

func TestAddedIsFlaggedOrHeld(t *testing.T) {
	w := newWorld(t, "{minAge: 0}")
	w.image(own)
	w.scanned(1)
	w.scanned(2, curl)
	assert.Zero(t, w.judge(time.Hour).Held)
	require.Len(t, w.Of(w.Config.Find("web")).Added, 1)
	assert.Equal(t, "CVE-2026-0002", w.Of(w.Config.Find("web")).Added[0].ID)

	w = newWorld(t, "{minAge: 0, hold: true}")
	w.image(own)
	w.scanned(1)
	w.scanned(2, curl)
	c := w.judge(time.Hour)
	require.NotZero(t, c.Held)
	assert.Equal(t, []string{"CVE-2026-0002"}, c.Adds)
	assert.Equal(t, "adds CVE-2026-0002 (critical, curl)", c.Reason)
	assert.Equal(t, policy.Held, w.decide().Status)
	w.State.BaseScans[w.base.Name].Digests[0].Behind = true
	assert.NotZero(t, w.judge(2*time.Hour).Held, "not known any more")
	w.State.BaseScans[w.base.Name].Digests[0].Behind = false
	w.scanned(1, curl)
	assert.Zero(t, w.judge(3*time.Hour).Held, "the image has it already")
}

func TestPeopleDecide(t *testing.T) {
	w := newWorld(t, "{minAge: 0, hold: true}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	w.base.Find(digest(2)).Hold("breaks http3", start)
	assert.Zero(t, w.judge(time.Hour).Released)
	w.scanned(2, curl)
	w.base.Find(digest(2)).Release("tested", start)
	c := w.judge(2 * time.Hour)
	assert.Zero(t, c.Held)
	assert.Equal(t, "tested", c.Reason)
}

// TestOnlyThoseWhoWant: the release of a scan does not shorten the delay of an image that does not set `urgent`.
func TestOnlyThoseWhoWant(t *testing.T) {
	w := newWorld(t, "{minAge: 0}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	w.judge(time.Hour)
	img := w.Config.Find("web")
	urgent := img.Urgent
	img.Urgent = nil
	assert.Equal(t, policy.Waiting, w.decide().Status)
	img.Urgent = urgent
	age := config.Duration(2 * time.Hour)
	img.Urgent.MinAge = &age
	assert.Equal(t, policy.Waiting, w.decide().Status)
	w.Now = start.Add(2 * time.Hour)
	assert.Equal(t, policy.Due, w.decide().Status)
	w.base.Observe(state.Snapshot{Digest: digest(1)}, w.Now)
	assert.NotEqual(t, policy.Due, w.decide().Status, "withdrawn")
}

func TestNewerTag(t *testing.T) {
	w := newWorld(t, "{}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2, openssl)
	assert.Equal(t, exposure.ByTag, w.Of(w.Config.Find("web")).Findings[0].Remedy)
	other := &state.Base{Name: "node-24", Registry: "docker.io", Repository: "library/node", Tag: "24"}
	other.Observe(state.Snapshot{Digest: digest(9)}, start)
	w.State.Bases["node-24"] = other
	w.set(w.State.BaseScans, "node-24", 9, nil)
	assert.Equal(t, "docker.io/library/node:24", w.Of(w.Config.Find("web")).Findings[0].Tag)
	unfixed := openssl
	unfixed.Fixed = ""
	delete(w.State.BaseScans, "node-24")
	w.image(unfixed)
	assert.Equal(t, exposure.NoFix, w.Of(w.Config.Find("web")).Findings[0].Remedy)
}

func TestLocate(t *testing.T) {
	w := newWorld(t, "{}")
	w.image(openssl, own)
	w.Locate()
	assert.Empty(t, w.State.ImageScans["web"].Digests[0].Findings[0].Where, "the base was not scanned")
	w.scanned(1, openssl)
	w.Locate()
	assert.Equal(t, state.InBase, w.State.ImageScans["web"].Digests[0].Findings[0].Where)
	assert.Equal(t, state.InOwn, w.State.ImageScans["web"].Digests[0].Findings[1].Where)
}

func TestOfBase(t *testing.T) {
	w := newWorld(t, "{minAge: 1d}")
	w.image(openssl, own)
	w.scanned(1, openssl)
	w.scanned(2, curl, minor)
	assert.Equal(t, []exposure.ScannedDigest{
		{Digest: digest(1), Counts: map[scan.Severity]int{scan.Critical: 1}},
		{Digest: digest(2), Counts: map[scan.Severity]int{scan.Critical: 1, scan.Low: 1}, Fixes: json(openssl), Adds: json(curl)},
	}, w.OfBase(w.base.Name))
	assert.Nil(t, w.OfBase("other"))
}

func json(f scan.Finding) []state.FindingJSON {
	found := state.Finding{Finding: f}
	return []state.FindingJSON{found.JSON()}
}

// TestReady: a fix is ready when the candidate is released or ripe, and never while it is held.
func TestReady(t *testing.T) {
	w := newWorld(t, "{minAge: 1d}")
	w.image(openssl)
	w.scanned(1, openssl)
	w.scanned(2)
	c := w.base.Find(digest(2))
	ready := func() time.Time { return w.Of(w.Config.Find("web")).Findings[0].Ready }
	c.Hold("breaks http3", start)
	assert.Zero(t, ready())
	c.Release("tested", start.Add(time.Hour))
	assert.Equal(t, start.Add(time.Hour), ready())
	*c = state.Candidate{Snapshot: c.Snapshot, FirstSeen: c.FirstSeen}
	w.Config.Find("web").Urgent = nil
	assert.Equal(t, start.Add(w.Config.Find("web").Delay().Std()), ready())
}
