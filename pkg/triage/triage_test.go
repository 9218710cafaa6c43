package triage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/pkg/triage"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	node  = "docker.io/library/node"
	web   = "ghcr.io/acme/web"
	entry = `factory:
  state: {url: "https://github.com/acme/factory.git"}
images:
- name: web
  registry: ghcr.io
  repository: acme/web
  source: {provider: github, repo: acme/web, workflow: build.yml}
`
)

// digest returns the n-th digest of node:22; web is built on that with n = 0.
func digest(n int) string { return fmt.Sprintf("sha256:%064x", n+1) }

var published = "sha256:" + strings.Repeat("c", 64)

// folder writes a fleet whose image web is built on the first of some digests of node:22.
func folder(t *testing.T, candidates int) store.Folder {
	t.Helper()
	dir := t.TempDir()
	p := fleet.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state"), OutDir: filepath.Join(dir, "dist")}
	require.NoError(t, os.WriteFile(p.Config, []byte(entry), 0o600))
	st := state.New()
	base := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22"}
	for n := range candidates + 1 {
		base.Observe(state.Snapshot{Digest: digest(n)}, now.Add(time.Duration(n-candidates)*time.Hour))
	}
	img := &state.Image{
		Name: "web", Repository: web, Dockerfile: &state.Dockerfile{Repo: "acme/web", Path: "Dockerfile", Digest: published}, CurrentVersion: "1.0.0", CurrentDigest: published,
		BaseImages: []state.BaseUse{{Ref: node + ":22", Final: true, Uses: []state.Use{{Kind: "from", Line: 1}}}},
	}
	img.SetBuiltOn(state.BuiltOn{Ref: node + ":22", Snapshot: state.Snapshot{Digest: digest(0)}, Evidence: state.Provenance})
	st.Images["web"], st.Bases["node-22"] = img, base
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(p.StateDir, files))
	return store.Folder{Paths: p}
}

func stateOf(t *testing.T, f store.Folder) *state.State {
	t.Helper()
	opened, err := fleet.Open(f.Paths)
	require.NoError(t, err)
	return opened.State
}

func report(ids ...string) *scan.Report {
	r := &scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12", Looked: true}
	for _, id := range ids {
		r.Findings = append(r.Findings, scan.Finding{ID: id, Severity: scan.Critical, Package: "openssl", Installed: "1", Fixed: "2"})
	}
	return r
}

// scanner is a [triage.Scanner] and a [triage.Reporter] that remembers what it was asked for.
type scanner struct {
	answer func(ref string) (*scan.Report, error)

	mu    sync.Mutex
	asked []string
}

func (s *scanner) Scan(_ context.Context, ref, _ string) (*scan.Report, error) {
	s.mu.Lock()
	s.asked = append(s.asked, ref)
	s.mu.Unlock()
	return s.answer(ref)
}

func (s *scanner) Report(ctx context.Context, ref, platform string, w io.Writer) (*scan.Report, error) {
	_, _ = io.WriteString(w, ref)
	return s.Scan(ctx, ref, platform)
}

func options(s triage.Scanner) triage.Options {
	return triage.Options{Scanner: s, Parallel: 2, Now: func() time.Time { return now }}
}

// TestIncompleteCandidate scans a candidate for the platforms that it has.
func TestIncompleteCandidate(t *testing.T) {
	f := folder(t, 1)
	st := stateOf(t, f)
	require.NoError(t, os.WriteFile(f.Paths.Config, []byte(strings.Replace(entry, "workflow: build.yml", "workflow: build.yml, platforms: [linux/amd64, linux/arm64]", 1)), 0o600))
	base := st.Bases["node-22"]
	base.Baseline.Platforms = state.Platforms{"linux/amd64": digest(10), "linux/arm64": digest(11)}
	base.Candidates[0].Platforms = state.Platforms{"linux/amd64": digest(12)}
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(f.Paths.StateDir, files))
	s := &scanner{answer: func(string) (*scan.Report, error) { return report("CVE-2026-1"), nil }}
	_, _, err = triage.Run(t.Context(), f, options(s))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{node + "@" + digest(10), node + "@" + digest(11), node + "@" + digest(12), web + "@" + published, web + "@" + published}, s.asked)
}

// TestBadAnswers: a digest that is gone from the registry and a scan without packages keep the findings from before, and stop no other.
func TestBadAnswers(t *testing.T) {
	f := folder(t, 2)
	all := &scanner{answer: func(string) (*scan.Report, error) { return report("CVE-2026-1"), nil }}
	_, _, err := triage.Run(t.Context(), f, options(all))
	require.NoError(t, err)
	bad := &scanner{answer: func(ref string) (*scan.Report, error) {
		switch ref {
		case node + "@" + digest(0):
			return nil, errors.New("manifest unknown")
		case node + "@" + digest(1):
			return &scan.Report{Format: scan.Trivy, Scanner: "trivy"}, nil
		}
		return report("CVE-2026-2"), nil
	}}
	got, saved, err := triage.Run(t.Context(), f, options(bad))
	require.NoError(t, err)
	assert.Equal(t, 2, got.Failed)
	assert.Equal(t, 2, saved.Files)
	require.Len(t, got.Results, 4)
	var failed []string
	for i := range got.Results {
		if r := &got.Results[i]; r.Error != "" {
			failed = append(failed, r.Digest+": "+r.Error)
			assert.Empty(t, r.Findings)
		}
	}
	require.Len(t, failed, 2)
	assert.Equal(t, digest(0)+": manifest unknown", failed[0])
	assert.Contains(t, failed[1], digest(1)+": scanning "+node+"@"+digest(1)+": the scanner found no packages")

	st := stateOf(t, f)
	found := map[string]string{}
	for _, scans := range []*state.Scans{st.ImageScans["web"], st.BaseScans["node-22"]} {
		for i := range scans.Digests {
			d := &scans.Digests[i]
			require.Len(t, d.Findings, 1)
			found[d.Digest] = d.Findings[0].ID
			assert.Equal(t, d.Digest == digest(0) || d.Digest == digest(1), d.Behind, "findings from before are not compared with new ones")
		}
	}
	assert.Equal(t, map[string]string{published: "CVE-2026-2", digest(0): "CVE-2026-1", digest(1): "CVE-2026-1", digest(2): "CVE-2026-2"}, found)
}

// TestBounded: the digest that the image is built on and the newest candidates are scanned, a number at a time, and the results are in
// the same order each time.
func TestBounded(t *testing.T) {
	f := folder(t, 40)
	var mu sync.Mutex
	running, most := 0, 0
	both := make(chan struct{})
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		running += by
		if running == 2 && most < 2 {
			close(both)
		}
		most = max(most, running)
	}
	s := &scanner{answer: func(string) (*scan.Report, error) {
		count(1)
		defer count(-1)
		<-both // until two run at once
		return report(), nil
	}}
	got, _, err := triage.Run(t.Context(), f, options(s))
	require.NoError(t, err)
	assert.Equal(t, 2, most)
	want := []string{published, digest(0)}
	for n := 25; n <= 40; n++ {
		want = append(want, digest(n))
	}
	var order []string
	for i := range got.Results {
		order = append(order, got.Results[i].Digest)
	}
	assert.Equal(t, want, order)
	assert.Len(t, s.asked, len(want), "each once")
}

// TestInterrupted: what was scanned until then is recorded, and the rest is no failure.
func TestInterrupted(t *testing.T) {
	f := folder(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	first := true
	s := &scanner{answer: func(string) (*scan.Report, error) {
		if first {
			first = false
			return report("CVE-2026-1"), nil
		}
		cancel()
		return nil, ctx.Err()
	}}
	o := options(s)
	o.Parallel = 1
	fl, err := fleet.Open(f.Paths)
	require.NoError(t, err)
	var got *triage.Report
	got, _, err = triage.Run(ctx, opened{fl}, o)
	require.NoError(t, err)
	assert.True(t, got.Interrupted)
	assert.Zero(t, got.Failed)
	require.Len(t, got.Results, 1)
	assert.Len(t, s.asked, 2)
	assert.NotNil(t, fl.State.ImageScans["web"])
	assert.Nil(t, fl.State.BaseScans["node-22"])
}

// opened is a [store.Store] of a fleet that is open, which saves nothing.
type opened struct{ *fleet.Fleet }

func (s opened) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	_, err := do(ctx, s.Fleet)
	return store.Saved{}, err
}

// contended is a [store.Store] whose first change loses a race with another writer.
type contended struct{ store.Folder }

func (s contended) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	lost, err := fleet.Open(s.Paths)
	if err != nil {
		return store.Saved{}, err
	}
	if _, err := do(ctx, lost); err != nil {
		return store.Saved{}, err
	}
	return s.Folder.Update(ctx, do)
}

func TestContended(t *testing.T) {
	f := folder(t, 1)
	s := &scanner{answer: func(string) (*scan.Report, error) { return report("CVE-2026-1"), nil }}
	got, saved, err := triage.Run(t.Context(), contended{f}, options(s))
	require.NoError(t, err)
	assert.Len(t, got.Results, 3)
	assert.Equal(t, 2, saved.Files)
	assert.Len(t, s.asked, 3, "nothing is scanned twice")
}

// TestForgets: a digest that no image uses any more is dropped, once the image is built on a newer one.
func TestForgets(t *testing.T) {
	f := folder(t, 2)
	s := &scanner{answer: func(string) (*scan.Report, error) { return report("CVE-2026-1"), nil }}
	_, _, err := triage.Run(t.Context(), f, options(s))
	require.NoError(t, err)
	_, err = f.Update(t.Context(), func(_ context.Context, fl *fleet.Fleet) (*fleet.Change, error) {
		before, err := fl.State.Encode()
		fl.State.Images["web"].SetBuiltOn(state.BuiltOn{Ref: node + ":22", Snapshot: state.Snapshot{Digest: digest(1)}, Evidence: state.Provenance})
		change := fl.ChangeSince(before)
		return &change, err
	})
	require.NoError(t, err)
	_, _, err = triage.Run(t.Context(), f, options(s))
	require.NoError(t, err)
	var left []string
	for _, d := range stateOf(t, f).BaseScans["node-22"].Digests {
		left = append(left, d.Digest)
	}
	slices.Sort(left)
	assert.Equal(t, []string{digest(1), digest(2)}, left)
}

// TestAhead: the digest of the event comes first, one that fails stops no other and leaves no file, and nothing is recorded.
func TestAhead(t *testing.T) {
	f := folder(t, 2)
	fl, err := fleet.Open(f.Paths)
	require.NoError(t, err)
	event := triage.Event{Base: "node-22", Tag: "22", Digest: digest(3)}
	s := &scanner{answer: func(ref string) (*scan.Report, error) {
		if ref == node+"@"+digest(1) {
			return nil, errors.New("manifest unknown")
		}
		return report(), nil
	}}
	dir := t.TempDir()
	reports, errs := triage.Ahead(t.Context(), fl, event, triage.AheadOptions{Scanner: s, Dir: dir, Parallel: 1, Now: now})
	assert.Equal(t, 3, reports)
	require.Len(t, errs, 1)
	require.EqualError(t, errs[0], "manifest unknown")
	assert.Equal(t, []string{node + "@" + digest(3), node + "@" + digest(0), node + "@" + digest(1), node + "@" + digest(2)}, s.asked)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	assert.Equal(t, []string{"000.json", "001.json", "003.json"}, names)
	text, err := os.ReadFile(filepath.Join(dir, "000.json"))
	require.NoError(t, err)
	assert.Equal(t, node+"@"+digest(3), string(text))
	assert.Empty(t, stateOf(t, f).BaseScans)

	for name, e := range map[string]triage.Event{
		"unknown image": {Image: "api", Tag: "1", Digest: digest(3)},
		"unused base":   {Base: "golang-1", Tag: "1", Digest: digest(3)},
		"recorded":      {Image: "web", Tag: "1.0.0", Digest: published},
	} {
		fl, err := fleet.Open(f.Paths)
		require.NoError(t, err)
		reports, errs := triage.Ahead(t.Context(), fl, e, triage.AheadOptions{Scanner: s, Dir: dir, Now: now})
		assert.Zero(t, reports, name)
		assert.Empty(t, errs, name)
	}
}

// TestRecord: a report about a digest is recorded, one about a digest that nobody uses is a problem.
func TestRecord(t *testing.T) {
	fl, err := fleet.Open(folder(t, 1).Paths)
	require.NoError(t, err)
	about := func(digest string) *scan.Report {
		r := report("CVE-2026-1")
		r.Subject.Platform = "linux/amd64"
		r.Subject.Refs = []string{digest}
		return r
	}
	got, err := triage.Record(fl, []triage.File{{Path: "1.json", Report: about(digest(1))}, {Path: "2.json", Report: about(digest(7))}}, func() time.Time { return now })
	require.NoError(t, err)
	assert.True(t, got.About(digest(1)))
	assert.False(t, got.About(digest(7)))
	assert.False(t, got.About(published))
	assert.Equal(t, []string{"2.json: no image in use has the digest " + digest(7)}, got.Problems)
	require.Len(t, fl.State.BaseScans["node-22"].Digests, 1)
	assert.Equal(t, digest(1), fl.State.BaseScans["node-22"].Digests[0].Digest)
}
