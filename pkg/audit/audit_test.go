package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const ref = "docker.io/library/node:22"

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// world is a fleet of one image on one base image, as state keeps it and without bounds.
type world struct {
	now      time.Time
	bounded  *state.State
	all      *state.State // keeps every candidate and every rebuild
	builds   []Build
	digests  int
	versions []version // oldest first
	before   map[string][]byte
}

type version struct {
	file string
	at   time.Time
	data []byte
}

func newWorld() *world {
	w := &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), bounded: state.New(), all: state.New(), before: map[string][]byte{}}
	for _, st := range []*state.State{w.bounded, w.all} {
		st.Bases["node-22"] = &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22"}
		st.Images["web"] = &state.Image{
			Name: "web", Repository: "ghcr.io/acme/web", Dockerfile: &state.Dockerfile{Repo: "acme/web", Path: "Dockerfile", Digest: digest(0)},
			BaseImages: []state.BaseUse{{Ref: ref, Uses: []state.Use{{Kind: "from", Line: 1}}}},
		}
	}
	w.move(digest(0))
	return w
}

// move moves the tag, perhaps back.
func (w *world) move(to string) {
	base, all := w.bounded.Bases["node-22"], w.all.Bases["node-22"]
	base.Observe(state.Snapshot{Digest: to}, w.now)
	all.Baseline, all.CurrentDigest, all.LastUpdated = base.Baseline, base.CurrentDigest, base.LastUpdated
	for _, c := range base.Candidates {
		if old := all.Find(c.Digest); old != nil {
			*old = c
		} else {
			all.Candidates = append(all.Candidates, c)
		}
	}
}

// keep copies the last rebuild, and what is published, to where nothing is left out.
func (w *world) keep() {
	img, all := w.bounded.Images["web"], w.all.Images["web"]
	all.CurrentDigest, all.CurrentVersion, all.LastBuilt, all.BuiltOn = img.CurrentDigest, img.CurrentVersion, img.LastBuilt, img.BuiltOn
	all.Rebuild = img.Rebuild
}

func (w *world) request() {
	img, all := w.bounded.Images["web"], w.all.Images["web"]
	if img.Rebuild != nil && img.Rebuild.Status.Active() {
		return
	}
	if img.Rebuild != nil {
		all.RebuildHistory = append(all.RebuildHistory, *img.Rebuild)
	}
	w.digests++
	img.Request(state.Rebuild{
		ID: fmt.Sprintf("r-%016x", w.digests), Reason: "due", RequestedAt: state.At(w.now),
		Bases: []state.Target{{Ref: ref, Snapshot: state.Snapshot{Digest: w.bounded.Bases["node-22"].CurrentDigest}}},
	})
	w.keep()
}

func (w *world) cancel() {
	img, all := w.bounded.Images["web"], w.all.Images["web"]
	if img.Rebuild == nil || img.Rebuild.Status != state.Requested {
		return
	}
	img.CancelRequest()
	if n := len(all.RebuildHistory); n > 0 {
		all.RebuildHistory = all.RebuildHistory[:n-1]
	}
	w.keep()
}

func (w *world) finish(status state.RebuildStatus) {
	img := w.bounded.Images["web"]
	if img.Rebuild == nil || !img.Rebuild.Status.Active() {
		return
	}
	img.Rebuild.Finish(status, "message", w.now)
	if status.CountsAsBuilt() {
		w.publish()
	}
	w.keep()
}

func (w *world) publish() {
	w.digests++
	img := w.bounded.Images["web"]
	img.CurrentDigest, img.CurrentVersion, img.LastBuilt = digest(w.digests+1000), strconv.Itoa(w.digests), state.At(w.now)
	img.BuiltOn = []state.BuiltOn{{Ref: ref, Snapshot: state.Snapshot{Digest: w.bounded.Bases["node-22"].CurrentDigest}, Evidence: state.Provenance}}
	w.builds = append(w.builds, Build{img.CurrentDigest, img.CurrentVersion, w.now, img.BuiltOn})
	w.keep()
}

// commit records the files that have changed.
func (w *world) commit(t require.TestingT) {
	files, err := w.bounded.Encode()
	require.NoError(t, err)
	for file := range state.Changed(w.before, files) {
		w.versions = append(w.versions, version{file, w.now, files[file]})
	}
	w.before = files
}

// TestHistoryLosesNothing: the audit of the bounded state and its history is that of facts without bounds.
func TestHistoryLosesNothing(t *testing.T) {
	cfg, err := config.Load(strings.NewReader("- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n"), "images.yaml")
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.commit(t)
		statuses := []state.RebuildStatus{state.Succeeded, state.Unproven, state.Failed, state.WrongBase}
		for range rapid.IntRange(1, 250).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 48).Draw(t, "hours")) * time.Hour)
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				w.digests++
				w.move(digest(w.digests))
			case 3: // back
				if list := w.bounded.Bases["node-22"].Candidates; len(list) > 1 {
					w.move(list[len(list)-2].Digest)
				}
			case 4, 5:
				w.request()
			case 6:
				w.cancel()
			case 7, 8:
				w.finish(rapid.SampledFrom(statuses).Draw(t, "status"))
			case 9:
				w.publish()
			}
			w.commit(t)
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		from := start.Add(time.Duration(rapid.Int64Range(0, int64(w.now.Sub(start))).Draw(t, "from"))).Truncate(time.Second)

		unbounded := NewFacts(w.all)
		for _, b := range w.builds {
			unbounded.images["web"].builds[buildKey{b.Digest, b.At}] = b
		}
		past := NewFacts(w.bounded)
		var newest []File
		done := map[string]bool{}
		for _, v := range slices.Backward(w.versions) { // and of each file the version before the period
			if !done[v.file] {
				newest = append(newest, File{v.file, v.data})
				done[v.file] = v.at.Before(from)
			}
		}
		for batch := range slices.Chunk(newest, rapid.IntRange(1, 20).Draw(t, "batch")) {
			require.Zero(t, past.Add(batch))
		}
		assert.Equal(t, w.audit(cfg, unbounded, from), w.audit(cfg, past, from))
	})
}

func (w *world) audit(cfg *config.Config, facts *Facts, from time.Time) *Report {
	g := graph.Build(cfg, w.bounded)
	return Of(&Input{
		Config: cfg, Graph: g, Facts: facts, Decisions: policy.Decide(cfg, w.bounded, g, w.now), Images: []string{"web"},
		From: from, To: w.now, Stale: 24 * time.Hour, Labels: func(*config.Image) []string { return []string{"team=shop"} },
	})
}

func TestWaits(t *testing.T) {
	w := newWorld()
	cfg, err := config.Load(strings.NewReader("- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n"), "images.yaml")
	require.NoError(t, err)
	for i := range 20 { // the digest waits i+1 days before it is built
		w.now = w.now.Add(24 * time.Hour)
		w.move(digest(i + 1))
		w.now = w.now.Add(time.Duration(i+1) * 24 * time.Hour)
		w.request()
		w.finish(state.Succeeded)
	}
	w.now = w.now.Add(24 * time.Hour)
	w.move(digest(99))
	w.now = w.now.Add(25 * time.Hour)
	r := w.audit(cfg, NewFacts(w.all), time.Time{})
	day := Seconds(24 * 60 * 60)
	assert.Equal(t, Group{Name: "all", Images: 1, Rebuilds: 20, Stale: 1, Waits: Waits{Changes: 20, Median: 10 * day, P95: 19 * day, Worst: 20 * day}}, r.Total)
	assert.Equal(t, "team=shop", r.Groups[0].Name)
	assert.Equal(t, r.Total.Waits, r.Groups[0].Waits)
	assert.Equal(t, state.Provenance, r.Rebuilds[19].Changes[0].Evidence)
	assert.Equal(t, w.now.Add(-25*time.Hour), r.Stale[0].Since)
	assert.Empty(t, r.Unripe, "the last build waited long enough")
}

// TestCoverage: state covers everything until a rebuild is left out.
func TestCoverage(t *testing.T) {
	w := newWorld()
	for range 11 {
		assert.Zero(t, CoverageOf(w.bounded).From)
		w.now = w.now.Add(time.Hour)
		w.request()
		w.finish(state.Failed)
	}
	oldest := w.bounded.Images["web"].RebuildHistory[0].RequestedAt.Time
	assert.Equal(t, oldest, CoverageOf(w.bounded).From)
	assert.Len(t, maps.Collect(maps.All(NewFacts(w.bounded).images["web"].rebuilds)), 11)
}

func FuzzAdd(f *testing.F) {
	f.Add("images/web.yaml", []byte("name: web\nrebuild: {id: r-1, status: failed}\n"))
	f.Add("base-images/node-22.yaml", []byte("name: node-22\ncandidates:\n- digest: sha256:1\n"))
	f.Fuzz(func(_ *testing.T, file string, data []byte) {
		facts := NewFacts(state.New())
		facts.Add([]File{{file, data}}) // does not panic
		facts.sort()
	})
}
