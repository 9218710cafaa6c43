package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// now is when decisions are made; ages are counted back from it.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(days float64) state.Time {
	return state.At(now.Add(-time.Duration(days * float64(day))))
}

// dig is a digest with a readable start: what is short is easier to compare.
func dig(s string) string { return "sha256:" + s }

func snapOf(s string) state.Snapshot {
	return state.Snapshot{Digest: dig(s), Platforms: state.Platforms{amd64: dig(s + "-amd64"), "linux/arm64": dig(s + "-arm64")}}
}

func cand(s string, age float64, change ...func(*state.Candidate)) state.Candidate {
	c := state.Candidate{Snapshot: snapOf(s), FirstSeen: ago(age)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func withdrawn(age float64) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Withdrawn = ago(age) }
}
func returned(age float64) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Returned = ago(age) }
}
func released(age float64) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Released = ago(age) }
}
func held(age float64) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Held = ago(age) }
}

// lacks takes the image's platform away from the candidate.
func lacks(c *state.Candidate) { delete(c.Platforms, amd64) }

func untrusted(c *state.Candidate) { c.Untrusted = "no signature" }

// trusted makes a candidate one that was untrusted until some days ago.
func trusted(age float64) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Trusted = ago(age) }
}
func waived(c *state.Candidate) { c.TrustWaived = ago(0) }

// likeAMD64 gives the candidate the content of another one for linux/amd64.
func likeAMD64(s string) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Platforms[amd64] = dig(s + "-amd64") }
}

type fleet struct {
	cfg *config.Config
	st  *state.State
}

// enroll makes a fleet of images.yaml entries, given as lines by name; each uses the references listed for it.
func enroll(t require.TestingT, defaults string, deps map[string][]string, lines map[string]string) *fleet {
	var b strings.Builder
	fmt.Fprintf(&b, "defaults: {rebuildDelay: 7d, source: {provider: github, repo: acme/x, workflow: b.yml}%s}\nimages:\n", defaults)
	f := &fleet{st: state.New()}
	for _, name := range sortedKeys(deps) {
		fmt.Fprintf(&b, "- name: %s\n  repository: acme/%s\n  tags: latest\n", name, name)
		if !strings.Contains(lines[name], "source:") {
			b.WriteString("  source: {dockerfile: Dockerfile}\n")
		}
		b.WriteString(lines[name])
		facts := &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Path: "Dockerfile"},
			CurrentDigest: dig(name), CurrentVersion: "latest", LastBuilt: ago(30),
			Published: []state.Published{{Tag: "latest", Snapshot: state.Snapshot{Digest: dig(name)}, Since: ago(30)}},
		}
		for i, ref := range deps[name] {
			facts.BaseImages = append(facts.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		}
		f.st.Images[name] = facts
	}
	cfg, err := config.Load(strings.NewReader(b.String()), "images.yaml")
	require.NoError(t, err)
	f.cfg = cfg
	return f
}

func sortedKeys(m map[string][]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// tag records what a tag held: a baseline "0" of 30 days ago, and candidates.
func (f *fleet) tag(ref string, candidates ...state.Candidate) *state.Base {
	r, err := state.ParseRef(ref)
	if err != nil {
		panic(err)
	}
	base := cand("0", 30)
	b := &state.Base{Name: state.BaseName(r), Registry: r.Registry, Repository: r.Repository, Tag: r.Tag, Baseline: &base, Candidates: candidates, CurrentDigest: base.Digest}
	for _, c := range candidates {
		if c.Withdrawn.IsZero() {
			b.CurrentDigest = c.Digest
		}
	}
	f.st.Bases[b.Name] = b
	return b
}

func (f *fleet) on(name, ref, content string) {
	f.st.Images[name].SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: snapOf(content), Evidence: state.Provenance})
}

func (f *fleet) graph() *graph.Graph { return graph.Build(f.cfg, f.st) }

func (f *fleet) decide() map[string]policy.Decision {
	out := map[string]policy.Decision{}
	for _, dec := range policy.Decide(f.cfg, f.st, f.graph(), now) {
		out[dec.Image] = dec
	}
	return out
}

const ref = "docker.io/library/node:22"

// app is one image on one tag, built on the baseline.
func app(t require.TestingT, defaults string, candidates ...state.Candidate) *fleet {
	f := enroll(t, defaults, map[string][]string{"app": {ref}}, nil)
	f.tag(ref, candidates...)
	f.on("app", ref, "0")
	return f
}

const (
	mature = ", rebuildPolicy: mature"
	settle = ", rebuildPolicy: settle"
)

func TestDueImages(t *testing.T) {
	type want struct {
		status policy.Status
		lock   string
		origin policy.Origin
		until  float64 // days from now; 0 for none
	}
	both := func(w want) [2]want { return [2]want{w, w} }
	for _, test := range []struct {
		name       string
		on         string // what the image is built on; "0" is the baseline, "?" not known
		candidates []state.Candidate
		want       [2]want // mature, settle; both with the lock
	}{
		{"nothing new", "0", nil, both(want{policy.Current, "0", policy.FromBuilt, 0})},
		{"not known what it is built on", "?", nil, both(want{policy.Current, "0", policy.FromBaseline, 0})},
		{"too young", "0", []state.Candidate{cand("1", 6)}, both(want{policy.Waiting, "0", policy.FromBuilt, 1})},
		{"old enough to the second", "0", []state.Candidate{cand("1", 7)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"old enough, and unknown what it is built on", "?", []state.Candidate{cand("1", 8)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"built on it", "1", []state.Candidate{cand("1", 8)}, both(want{policy.Current, "1", policy.FromBuilt, 0})},
		{"built on it while it is young", "1", []state.Candidate{cand("1", 1)}, both(want{policy.Current, "1", policy.FromBuilt, 0})},
		{"built on a newer one", "2", []state.Candidate{cand("1", 9), cand("2", 1)}, both(want{policy.Current, "2", policy.FromBuilt, 0})},
		{"the newest of two", "0", []state.Candidate{cand("1", 9), cand("2", 8)}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{
			"a newer one arrived", "0", []state.Candidate{cand("1", 9), cand("2", 3)},
			[2]want{{policy.Due, "1", policy.FromRipe, 0}, {policy.Waiting, "1", policy.FromRipe, 4}},
		},
		{
			"newer ones arrive for the longest delay", "0", []state.Candidate{cand("1", 28), cand("2", 20), cand("3", 8), cand("4", 3)},
			both(want{policy.Due, "3", policy.FromRipe, 0}),
		},
		{
			"newer ones arrive for less than that", "0", []state.Candidate{cand("1", 27), cand("2", 20), cand("3", 8), cand("4", 3)},
			[2]want{{policy.Due, "3", policy.FromRipe, 0}, {policy.Waiting, "3", policy.FromRipe, 1}},
		},
		{"released", "0", []state.Candidate{cand("1", 1, released(0))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"released, and a younger one", "0", []state.Candidate{cand("1", 2, released(1)), cand("2", 1)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"released by a clock that is ahead", "0", []state.Candidate{cand("1", 1, released(-400))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"held by a clock that is ahead", "0", []state.Candidate{cand("1", 8, held(-400))}, both(want{policy.Held, "0", policy.FromBuilt, 0})},
		{"withdrawn by a clock that is ahead", "0", []state.Candidate{cand("1", 8, withdrawn(-400))}, both(want{policy.Current, "0", policy.FromBuilt, 0})},
		{"returned a short time ago", "0", []state.Candidate{cand("1", 8, returned(1))}, both(want{policy.Waiting, "0", policy.FromBuilt, 6})},
		{"returned a long time ago", "0", []state.Candidate{cand("1", 18, returned(8))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"returned a short time ago, and released", "0", []state.Candidate{cand("1", 8, returned(1), released(0))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"returned under another digest a short time ago", "0", []state.Candidate{cand("1", 20, withdrawn(5)), cand("2", 1, likeAMD64("1"))}, both(want{policy.Waiting, "0", policy.FromBuilt, 6})},
		{"returned under another digest at once", "0", []state.Candidate{cand("1", 20, withdrawn(5)), cand("2", 4.9, likeAMD64("1"))}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"held", "0", []state.Candidate{cand("1", 8, held(1))}, both(want{policy.Held, "0", policy.FromBuilt, 0})},
		{"held lets others pass", "0", []state.Candidate{cand("1", 9), cand("2", 8, held(1))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"held in the middle", "0", []state.Candidate{cand("1", 10), cand("2", 9, held(1)), cand("3", 8)}, both(want{policy.Due, "3", policy.FromRipe, 0})},
		{"built on it before it was held", "1", []state.Candidate{cand("1", 9, held(1))}, both(want{policy.Due, "0", policy.FromOlder, 0})},
		{"built on it before it was held: to the newest older one that is ripe", "3", []state.Candidate{cand("1", 20), cand("2", 10), cand("3", 9, held(1))}, both(want{policy.Due, "2", policy.FromOlder, 0})},
		{"built on it before it was held: not to one that is held too", "3", []state.Candidate{cand("1", 20), cand("2", 10, held(1)), cand("3", 9, held(1))}, both(want{policy.Due, "1", policy.FromOlder, 0})},
		{"built on it before it was held: not to a young one", "3", []state.Candidate{cand("1", 20), cand("2", 5), cand("3", 4, held(1))}, both(want{policy.Due, "1", policy.FromOlder, 0})},
		{"built on it before it was held: not to a withdrawn one", "3", []state.Candidate{cand("1", 20), cand("2", 12, withdrawn(11)), cand("3", 10, held(1))}, both(want{policy.Due, "1", policy.FromOlder, 0})},
		{"built on what is held, and a newer one is ripe", "1", []state.Candidate{cand("1", 20, held(1)), cand("2", 9)}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"built on what is held, and a newer one ripens", "1", []state.Candidate{cand("1", 20, held(1)), cand("2", 2)}, both(want{policy.Due, "0", policy.FromOlder, 0})},
		{"built on what is held, and was released again", "1", []state.Candidate{cand("1", 9, held(2), released(1))}, both(want{policy.Current, "1", policy.FromBuilt, 0})},
		{"built on what is held and was withdrawn", "2", []state.Candidate{cand("1", 20), cand("2", 9, held(1), withdrawn(0))}, both(want{policy.Due, "1", policy.FromOlder, 0})},
		{"incomplete", "0", []state.Candidate{cand("1", 9, lacks)}, both(want{policy.Incomplete, "0", policy.FromBuilt, 0})},
		{"incomplete lets others pass", "0", []state.Candidate{cand("1", 9), cand("2", 8, lacks)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"incomplete restarts no wait", "0", []state.Candidate{cand("1", 5), cand("2", 1, lacks)}, both(want{policy.Waiting, "0", policy.FromBuilt, 2})},
		{"incomplete, and released", "0", []state.Candidate{cand("1", 1, lacks, released(0))}, both(want{policy.Incomplete, "0", policy.FromBuilt, 0})},
		{"completed: waits from when it was complete", "0", []state.Candidate{cand("1", 9, lacks), cand("2", 5)}, both(want{policy.Waiting, "0", policy.FromBuilt, 2})},
		{"completed in steps: the later ones change nothing", "0", []state.Candidate{cand("1", 9, lacks), cand("2", 8), cand("3", 1, likeAMD64("2"))}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"incomplete, and the tag went back", "0", []state.Candidate{cand("1", 9, lacks, withdrawn(8))}, both(want{policy.Current, "0", policy.FromBuilt, 0})},
		{"platforms not known: not incomplete", "0", []state.Candidate{cand("1", 8, func(c *state.Candidate) { c.Platforms = nil })}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"untrusted", "0", []state.Candidate{cand("1", 9, untrusted)}, both(want{policy.Untrusted, "0", policy.FromBuilt, 0})},
		{"untrusted, and released", "0", []state.Candidate{cand("1", 9, untrusted, released(0))}, both(want{policy.Untrusted, "0", policy.FromBuilt, 0})},
		{"untrusted, and released all the same", "0", []state.Candidate{cand("1", 1, untrusted, waived, released(0))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"untrusted at first: waits from when it was verified", "0", []state.Candidate{cand("1", 9, trusted(2))}, both(want{policy.Waiting, "0", policy.FromBuilt, 5})},
		{"untrusted at first, long ago", "0", []state.Candidate{cand("1", 20, trusted(8))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"an untrusted index of verified content that was withdrawn", "0", []state.Candidate{cand("1", 20, withdrawn(9)), cand("2", 8, untrusted, likeAMD64("1"))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"untrusted lets others pass", "0", []state.Candidate{cand("1", 9), cand("2", 8, untrusted)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"of two indexes of one content the verified one", "0", []state.Candidate{cand("1", 9, untrusted), cand("2", 8, likeAMD64("1"))}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"withdrawn", "0", []state.Candidate{cand("1", 9, withdrawn(1))}, both(want{policy.Current, "0", policy.FromBuilt, 0})},
		{"withdrawn and released", "0", []state.Candidate{cand("1", 9, withdrawn(1), released(0))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"withdrawn, and a younger one waits", "0", []state.Candidate{cand("1", 9, withdrawn(5)), cand("2", 2)}, both(want{policy.Waiting, "0", policy.FromBuilt, 5})},
		{"built on what was withdrawn", "2", []state.Candidate{cand("1", 20), cand("2", 9, withdrawn(1))}, both(want{policy.Due, "1", policy.FromOlder, 0})},
		{"withdrawn a moment ago", "2", []state.Candidate{cand("1", 20), cand("2", 9, withdrawn(0))}, both(want{policy.Waiting, "1", policy.FromOlder, 0.25})},
		{"withdrawn, and before it only young ones", "2", []state.Candidate{cand("1", 5), cand("2", 4, withdrawn(1))}, both(want{policy.Due, "0", policy.FromOlder, 0})},
		{"built on what was withdrawn and released", "1", []state.Candidate{cand("1", 9, withdrawn(1), released(2))}, both(want{policy.Current, "1", policy.FromBuilt, 0})},
		{
			"withdrawn, and a younger one waits: away from it at once", "2", []state.Candidate{cand("1", 20), cand("2", 9, withdrawn(3)), cand("3", 2)},
			both(want{policy.Due, "1", policy.FromOlder, 0}),
		},
		{"only another platform changed", "0", []state.Candidate{cand("1", 8, likeAMD64("0"))}, both(want{policy.Current, "0", policy.FromBuilt, 0})},
		{"then another platform changed: no new wait", "0", []state.Candidate{cand("1", 8), cand("2", 1, likeAMD64("1"))}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{
			"back to the old content under a new index", "0", []state.Candidate{cand("1", 9), cand("2", 8, likeAMD64("0"))},
			both(want{policy.Current, "0", policy.FromBuilt, 0}),
		},
		{"of two indexes of one content the held one", "0", []state.Candidate{cand("1", 9), cand("2", 8, likeAMD64("1"), held(1))}, both(want{policy.Held, "0", policy.FromBuilt, 0})},
		{"of two indexes of one content released last", "0", []state.Candidate{cand("1", 3, held(2)), cand("2", 2, likeAMD64("1"), released(1))}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"a withdrawn content returns under a new index", "0", []state.Candidate{cand("1", 9, withdrawn(8)), cand("2", 7, likeAMD64("1"))}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"out of order, edited by hand", "0", []state.Candidate{cand("2", 8), cand("1", 9)}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"seen by a clock that is ahead", "0", []state.Candidate{cand("1", -400)}, both(want{policy.Waiting, "0", policy.FromBuilt, 7})},
		{"seen by a clock that is ahead, before others", "0", []state.Candidate{cand("1", -400), cand("2", 8)}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"seen by a clock that is a little ahead", "0", []state.Candidate{cand("1", -5.0/(24*60))}, both(want{policy.Waiting, "0", policy.FromBuilt, 7 + 5.0/(24*60)})},
		{"built on a digest between two looks", "x", []state.Candidate{cand("1", 40), cand("2", 20)}, both(want{policy.Due, "2", policy.FromRipe, 0})},
		{"built on a digest after the last look", "x", []state.Candidate{cand("1", 30.5)}, both(want{policy.Due, "1", policy.FromRipe, 0})},
		{"built on a digest older than the baseline", "x", nil, both(want{policy.Current, "x", policy.FromBuilt, 0})},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, rule := range []string{mature, settle} {
				f := app(t, rule, test.candidates...)
				f.lock("app")
				f.st.Images["app"].BuiltOn = nil
				if test.on != "?" {
					f.on("app", ref, test.on)
				}
				dec, want := f.decide()["app"], test.want[i]
				assert.Equal(t, want.status, dec.Status, "%s: %s", rule, dec.Reason)
				require.Len(t, dec.Bases, 1)
				assert.Equal(t, dig(want.lock), dec.Bases[0].Lock.Digest, rule)
				assert.Equal(t, want.origin, dec.Bases[0].Origin, rule)
				if want.until == 0 {
					assert.Zero(t, dec.Until, rule)
				} else {
					assert.Equal(t, ago(-want.until).Time, dec.Until, rule)
				}
				if want.status == policy.Due {
					require.Len(t, dec.Targets, 1)
					assert.Equal(t, dec.Bases[0].Lock, dec.Targets[0].Snapshot)
					assert.NotEmpty(t, dec.Rebuild)
					assert.False(t, dec.Since.IsZero())
					assert.False(t, dec.Since.After(now))
				} else {
					assert.Empty(t, dec.Targets)
				}
				assert.NotEmpty(t, dec.Reason)
				lock := policy.Lock(f.cfg.Find("app"), f.st, f.graph(), now)
				assert.Equal(t, dec.Bases, lock, "pin says the same")
			}
		})
	}
}

// lock makes an image's workflow build with the lock.
func (f *fleet) lock(name string) {
	yes := true
	f.cfg.Find(name).Source.PinBases = &yes
}

func TestBuildsWithoutTheLock(t *testing.T) {
	for _, test := range []struct {
		name       string
		on         string
		candidates []state.Candidate
		want       policy.Status
	}{
		{"due, and a younger one: it gets that", "0", []state.Candidate{cand("1", 9), cand("2", 3)}, policy.Due},
		{"what the tag holds is held: a build would take it", "0", []state.Candidate{cand("1", 9), cand("2", 3, held(1))}, policy.Held},
		{"held, and the tag moved on", "0", []state.Candidate{cand("1", 9, held(1)), cand("2", 8)}, policy.Due},
		{"built on a held one that the tag still holds", "1", []state.Candidate{cand("1", 9, held(1))}, policy.Held},
		{"built on a held one, and the tag holds a young one", "1", []state.Candidate{cand("1", 9, held(1)), cand("2", 3)}, policy.Waiting},
		{"what the tag holds is incomplete: a build would fail", "0", []state.Candidate{cand("1", 9), cand("2", 8, lacks)}, policy.Incomplete},
		{"incomplete, and the tag moved on", "0", []state.Candidate{cand("1", 9), cand("2", 8.5, lacks), cand("3", 8)}, policy.Due},
		{"withdrawn and released: a build could not get it", "0", []state.Candidate{cand("1", 9, withdrawn(2), released(1))}, policy.Current},
		{"away from what was withdrawn", "1", []state.Candidate{cand("1", 9, withdrawn(1))}, policy.Due},
		{"away from it, but the tag holds a young one", "1", []state.Candidate{cand("1", 9, withdrawn(5)), cand("2", 4)}, policy.Waiting},
		{"away from it, to an old one that returned", "2", []state.Candidate{cand("1", 9), cand("2", 8, withdrawn(1))}, policy.Due},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := app(t, mature, test.candidates...)
			f.on("app", ref, test.on)
			dec := f.decide()["app"]
			assert.Equal(t, test.want, dec.Status, dec.Reason)
		})
	}
}

func TestDelayZero(t *testing.T) {
	for _, rule := range []string{mature, settle} {
		f := app(t, rule, cand("1", 0))
		zero := config.Duration(0)
		f.cfg.Find("app").RebuildDelay, f.cfg.Find("app").MaxRebuildDelay = &zero, &zero
		assert.Equal(t, policy.Due, f.decide()["app"].Status)
		f.lock("app")
		f.tag(ref, cand("1", 0, withdrawn(0)))
		f.on("app", ref, "1")
		assert.Equal(t, policy.Due, f.decide()["app"].Status, "and back at once")
	}
}

func TestPlatformsOfTheImageCount(t *testing.T) {
	c := cand("1", 8, likeAMD64("0"))
	f := app(t, "", c)
	f.cfg.Find("app").Source.Platforms = []string{"linux/arm64"}
	assert.Equal(t, policy.Due, f.decide()["app"].Status)
	f.cfg.Find("app").Source.Platforms = []string{amd64, "linux/arm64"}
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "either counts")
	f.st.Images["app"].BaseImages[0].Uses[0].Platform = amd64
	assert.Equal(t, policy.Current, f.decide()["app"].Status, "FROM --platform counts more")
}

// An index that lacks a platform stands for an image that builds it only, and only if the tag had it before.
func TestIncompleteIsAboutThePlatformsOfTheImage(t *testing.T) {
	f := app(t, mature, cand("1", 8, lacks))
	f.cfg.Find("app").Source.Platforms = []string{"linux/arm64"}
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "it builds another one")
	f.cfg.Find("app").Source.Platforms = []string{amd64, "linux/arm64"}
	dec := f.decide()["app"]
	assert.Equal(t, policy.Incomplete, dec.Status)
	assert.Equal(t, "newest digest of node:22 lacks linux/amd64", dec.Reason)
	assert.Equal(t, []string{amd64}, dec.Bases[0].Missing)
	assert.Equal(t, []string{"node-22"}, policy.Recheck([]policy.Decision{dec}), "it may be completed without an event")
	f.cfg.Find("app").Source.Platforms = []string{"linux/riscv64"}
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "no digest of the tag ever had it")
	f.cfg.Find("app").Source.Platforms = []string{"linux/arm64/v8"}
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "another spelling of what it has")
}

// Without the lock, a build for another reason would use the incomplete digest.
func TestIncompleteStopsBuildsWithoutTheLock(t *testing.T) {
	f := enroll(t, mature, map[string][]string{"app": {ref, python}}, nil)
	f.tag(ref, cand("1", 1, lacks))
	f.tag(python, cand("1", 8))
	f.on("app", ref, "0")
	f.on("app", python, "0")
	dec := f.decide()["app"]
	assert.Equal(t, policy.Incomplete, dec.Status)
	assert.Equal(t, "newest digest of node:22 lacks linux/amd64, so a build would fail; newer digest of python:3.12-slim is due", dec.Reason)
	f.lock("app")
	dec = f.decide()["app"]
	assert.Equal(t, policy.Due, dec.Status)
	assert.Len(t, dec.Targets, 1)
	f.tag(ref, cand("1", 1, lacks), cand("2", 0))
	assert.Equal(t, policy.Due, f.decide()["app"].Status)
}

func TestEvidenceWithoutPlatforms(t *testing.T) {
	f := app(t, "", cand("1", 8), cand("2", 8, likeAMD64("1")))
	for _, on := range []string{"1", "2", "1-amd64"} { // an index, its successor, a manifest
		f.st.Images["app"].SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: dig(on)}, Evidence: state.Provenance})
		assert.Equal(t, policy.Current, f.decide()["app"].Status, on)
	}
}

func TestStatusOfAnImage(t *testing.T) {
	failed := func(failures int, hours float64) *state.Rebuild {
		return &state.Rebuild{ID: "r-1", Status: state.Failed, Failures: failures, RequestedAt: ago(hours / 24), FinishedAt: ago(hours / 24)}
	}
	active := func(s state.RebuildStatus, requested, finished float64) *state.Rebuild {
		return &state.Rebuild{ID: "r-1", Status: s, RequestedAt: ago(requested / 24), FinishedAt: ago(finished / 24)}
	}
	for _, test := range []struct {
		name   string
		change func(f *fleet, facts *state.Image)
		want   policy.Status
		reason string
	}{
		{"due", func(*fleet, *state.Image) {}, policy.Due, "newer digest of node:22 is due"},
		{"never analyzed", func(f *fleet, _ *state.Image) { delete(f.st.Images, "app") }, policy.Unknown, "never analyzed"},
		{"autoRebuild false", func(f *fleet, _ *state.Image) { no := false; f.cfg.Find("app").AutoRebuild = &no }, policy.OptedOut, "autoRebuild is false; newer digest"},
		{"requested just now", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Requested, 0.1, 0) }, policy.Starting, "being started"},
		{"requested, and left", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Requested, 1, 0) }, policy.Blocked, "before it started the rebuild; the next pass starts it"},
		{"requested, and tried", func(_ *fleet, i *state.Image) {
			i.Rebuild = active(state.Requested, 0.1, 0)
			i.Rebuild.Message = "no token\n\x1b[31mfor github.com" + strings.Repeat("!", 9999)
		}, policy.Blocked, "no token [31mfor github.com!!"},
		{"running", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Running, 23.9, 0) }, policy.Running, "running"},
		{"built", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Built, 40, 23) }, policy.Running, "not seen yet"},
		{"running for a day", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Running, 24, 0) }, policy.Failed, "did not end"},
		{"built a day ago, no image", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Built, 40, 24) }, policy.Failed, "no new image"},
		{"requested by a clock far ahead", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Running, -9999, 0) }, policy.Failed, "did not end"},
		{"failed just now", func(_ *fleet, i *state.Image) { i.Rebuild = failed(1, 0.9) }, policy.Failed, "1 of 3"},
		{"failed an hour ago", func(_ *fleet, i *state.Image) { i.Rebuild = failed(1, 1) }, policy.Due, ""},
		{"failed twice", func(_ *fleet, i *state.Image) { i.Rebuild = failed(2, 3.9) }, policy.Failed, "2 of 3"},
		{"failed twice, four hours ago", func(_ *fleet, i *state.Image) { i.Rebuild = failed(2, 4) }, policy.Due, ""},
		{"failed three times", func(_ *fleet, i *state.Image) { i.Rebuild = failed(3, 9999) }, policy.Failed, "imagefactory reset app"},
		{"overdue, the third time", func(_ *fleet, i *state.Image) { i.Rebuild = active(state.Running, 25, 0); i.Rebuild.Failures = 2 }, policy.Failed, "reset"},
		{"reset", func(_ *fleet, i *state.Image) { i.Rebuild = failed(3, 0); i.Reset("fixed") }, policy.Due, ""},
		{"rebuilt for just that", func(_ *fleet, i *state.Image) {
			i.Rebuild = active(state.Unproven, 3, 2)
			i.Rebuild.Bases = []state.Target{{Ref: ref, Snapshot: snapOf("1")}}
		}, policy.Waiting, "already rebuilt"},
		{"rebuilt for just that, the day before", func(_ *fleet, i *state.Image) {
			i.Rebuild = active(state.Unproven, 30, 25)
			i.Rebuild.Bases = []state.Target{{Ref: ref, Snapshot: snapOf("1")}}
		}, policy.Due, ""},
		{"never published", func(f *fleet, i *state.Image) {
			f.tag(ref)
			i.CurrentDigest, i.BuiltOn, i.Unpublished = "", nil, ago(0)
		}, policy.Due, "never published"},
		{"never published, and its Dockerfile is refused", func(_ *fleet, i *state.Image) {
			i.CurrentDigest, i.Unpublished, i.BaseImages, i.BuiltOn, i.Dockerfile = "", ago(1), nil, nil, nil
			i.AnalysisError = "Dockerfile:2: unknown instruction"
		}, policy.Unknown, "last analysis failed: Dockerfile:2: unknown instruction"},
		{"never published, and a digest waits", func(f *fleet, i *state.Image) {
			f.tag(ref, cand("1", 1))
			i.CurrentDigest, i.BuiltOn, i.Unpublished = "", nil, ago(0)
		}, policy.Due, "never published"},
		{"not analyzed", func(f *fleet, i *state.Image) { f.tag(ref); i.Dockerfile = nil }, policy.Unknown, "not analyzed"},
		{"not resolvable", func(f *fleet, i *state.Image) {
			f.tag(ref)
			i.Unresolved = []state.Missing{{Text: "$X", Line: 3, Variables: []string{"X"}}}
		}, policy.Unknown, "cannot resolve $X on line 3"},
		{"registry not asked", func(f *fleet, i *state.Image) { clear(f.st.Bases); i.BuiltOn = nil }, policy.Unknown, "registry not asked"},
		{"baseline nil, edited by hand", func(f *fleet, _ *state.Image) { f.st.Base(ref).Baseline = nil }, policy.Current, ""},
		{"state of the base lost", func(f *fleet, _ *state.Image) { clear(f.st.Bases) }, policy.Current, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := app(t, mature, cand("1", 8))
			test.change(f, f.st.Images["app"])
			dec := f.decide()["app"]
			assert.Equal(t, test.want, dec.Status, dec.Reason)
			assert.Contains(t, dec.Reason, test.reason)
			assert.Less(t, len(dec.Reason), 1000)
			assert.Equal(t, test.want == policy.Due, len(policy.Startable(f.cfg, []policy.Decision{dec})) == 1)
			if test.want == policy.Due {
				assert.Zero(t, dec.Until)
			}
		})
	}
	assert.Len(t, policy.Statuses(), 13)
}

func TestReasonOfTheLastFailureIsShown(t *testing.T) {
	for name, test := range map[string]struct {
		rebuild state.Rebuild
		status  policy.Status
		reason  bool // the reason has it too
	}{
		"until the next try":  {state.Rebuild{Status: state.Failed, Failures: 1, FinishedAt: ago(0.01)}, policy.Failed, true},
		"no more":             {state.Rebuild{Status: state.WrongBase, Failures: 3, FinishedAt: ago(9)}, policy.Failed, true},
		"due for another try": {state.Rebuild{Status: state.Failed, Failures: 1, FinishedAt: ago(1)}, policy.Due, false},
		"unproven":            {state.Rebuild{Status: state.Unproven, FinishedAt: ago(9)}, policy.Due, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := app(t, mature, cand("1", 8))
			test.rebuild.Message = "Unexpected\ninputs"
			f.st.Images["app"].Rebuild = &test.rebuild
			dec := f.decide()["app"]
			assert.Equal(t, test.status, dec.Status)
			assert.Equal(t, "Unexpected inputs", dec.Failure)
			assert.Equal(t, test.reason, strings.Contains(dec.Reason, "Unexpected inputs"), dec.Reason)
		})
	}
	f := app(t, mature, cand("1", 8))
	f.st.Images["app"].Rebuild = &state.Rebuild{Status: state.Failed, Failures: 3, Message: "x"}
	f.st.Images["app"].Reset("fixed")
	assert.Empty(t, f.decide()["app"].Failure, "somebody has seen to it")
}

func TestFailedAnalysisIsShown(t *testing.T) {
	f := app(t, mature)
	f.st.Images["app"].AnalysisError = "Dockerfile:3: bad\nline"
	dec := f.decide()["app"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Equal(t, "Dockerfile:3: bad line", dec.AnalysisError)
	f.st.Images["app"].Dockerfile = nil
	dec = f.decide()["app"]
	assert.Equal(t, policy.Unknown, dec.Status)
	assert.Equal(t, "last analysis failed: Dockerfile:3: bad line", dec.Reason)
}

func TestPinnedReferences(t *testing.T) {
	sha := "sha256:" + strings.Repeat("a", 64)
	f := enroll(t, "", map[string][]string{"app": {ref + "@" + sha}}, nil)
	f.tag(ref, cand("1", 8))
	dec := f.decide()["app"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Equal(t, policy.BaseDecision{Ref: ref + "@" + sha, Base: "node-22", Lock: state.Snapshot{Digest: sha}, Origin: policy.FromPin, Current: dig("1")}, dec.Bases[0])
	assert.Empty(t, policy.Recheck([]policy.Decision{dec}))
}

func TestExternalImages(t *testing.T) {
	cfg, err := config.Load(strings.NewReader("- {name: redis, repository: library/redis}\n"), "images.yaml")
	require.NoError(t, err)
	f := &fleet{cfg, state.New()}
	assert.Equal(t, policy.Unknown, f.decide()["redis"].Status)
	f.st.Images["redis"] = &state.Image{Name: "redis"}
	assert.Equal(t, policy.Unknown, f.decide()["redis"].Status)
	f.st.Images["redis"].CurrentDigest, f.st.Images["redis"].CurrentVersion = dig("x"), "8"
	dec := f.decide()["redis"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Contains(t, dec.Reason, "at 8")
}

func TestSeveralBasesAreOneRebuild(t *testing.T) {
	f := enroll(t, "", map[string][]string{"app": {ref, python}}, nil)
	f.tag(ref, cand("1", 8))
	f.tag(python, cand("1", 9))
	f.on("app", ref, "0")
	f.on("app", python, "0")
	dec := f.decide()["app"]
	assert.Equal(t, policy.Due, dec.Status)
	assert.Len(t, dec.Targets, 2)
	assert.Equal(t, ago(2).Time, dec.Since, "since the first of them")
	assert.Equal(t, "newer digest of node:22, python:3.12-slim is due", dec.Reason)
	assert.Equal(t, []string{"node-22", "python-3-12-slim"}, policy.Recheck([]policy.Decision{dec}))
	f.tag(python, cand("1", 5), cand("2", 4))
	dec = f.decide()["app"]
	assert.Len(t, dec.Targets, 1)
	assert.Zero(t, dec.Until)
}

func TestRecheck(t *testing.T) {
	for _, test := range []struct {
		name string
		c    []state.Candidate
		want bool
	}{
		{"nothing", nil, false},
		{"waiting", []state.Candidate{cand("1", 1)}, true},
		{"due", []state.Candidate{cand("1", 8)}, true},
		{"withdrawn: it may return without an event", []state.Candidate{cand("1", 8, withdrawn(1))}, true},
	} {
		f := app(t, mature, test.c...)
		got := policy.Recheck([]policy.Decision{f.decide()["app"]})
		assert.Equal(t, test.want, len(got) == 1, test.name)
	}
}

// family is a parent and its child.
func family(t *testing.T) *fleet {
	f := enroll(t, mature, map[string][]string{"parent": {ref}, "child": {"ghcr.io/acme/parent:latest"}}, nil)
	f.tag(ref, cand("1", 8))
	f.on("parent", ref, "1")
	f.st.Images["child"].SetBuiltOn(state.BuiltOn{Ref: "ghcr.io/acme/parent:latest", Snapshot: state.Snapshot{Digest: dig("parent")}, Evidence: state.Provenance})
	return f
}

func TestPublishedParent(t *testing.T) {
	f := family(t)
	assert.Equal(t, policy.Current, f.decide()["child"].Status)
	f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
	dec := f.decide()["child"]
	assert.Equal(t, policy.Due, dec.Status, "at once, whatever the delay")
	assert.Equal(t, policy.FromPublished, dec.Bases[0].Origin)
	assert.Equal(t, dig("new"), dec.Targets[0].Digest)
	assert.Equal(t, now, dec.Since)

	f.st.Images["parent"].Published = nil
	f.st.Images["parent"].CurrentDigest = dig("newer")
	assert.Equal(t, dig("newer"), f.decide()["child"].Targets[0].Digest, "the current version is a published tag too")

	f.st.Images["parent"].CurrentVersion = "other"
	dec = f.decide()["child"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Equal(t, policy.FromBuilt, dec.Bases[0].Origin)
	f.st.Images["child"].BuiltOn = nil
	assert.Equal(t, policy.Unknown, f.decide()["child"].Status)
}

func TestWaitingForAParent(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(f *fleet, parent *state.Image)
		want   policy.Status
	}{
		{"parent current", func(*fleet, *state.Image) {}, policy.Due},
		{"parent due", func(f *fleet, _ *state.Image) { f.on("parent", ref, "0") }, policy.Waiting},
		{"parent due for long: it starts now all the same", func(f *fleet, _ *state.Image) {
			f.on("parent", ref, "0")
			f.tag(ref, cand("1", 50))
		}, policy.Waiting},
		{"parent running", func(_ *fleet, p *state.Image) {
			p.Rebuild = &state.Rebuild{Status: state.Running, RequestedAt: ago(0.9)}
		}, policy.Waiting},
		{"parent built", func(_ *fleet, p *state.Image) {
			p.Rebuild = &state.Rebuild{Status: state.Built, RequestedAt: ago(0.9), FinishedAt: ago(0.8)}
		}, policy.Waiting},
		{"parent built, long ago", func(_ *fleet, p *state.Image) {
			p.Rebuild = &state.Rebuild{Status: state.Built, RequestedAt: ago(1.5), FinishedAt: ago(0.8)}
		}, policy.Due},
		{"parent failed an hour ago", func(f *fleet, p *state.Image) {
			f.on("parent", ref, "0")
			p.Rebuild = &state.Rebuild{Status: state.Failed, Failures: 1, RequestedAt: ago(0.1), FinishedAt: ago(0.01)}
		}, policy.Waiting},
		{"parent failed a day ago, and is tried again", func(f *fleet, p *state.Image) {
			f.on("parent", ref, "0")
			p.Rebuild = &state.Rebuild{Status: state.Failed, Failures: 1, RequestedAt: ago(1.1), FinishedAt: ago(0.1)}
		}, policy.Due},
		{"parent failed for good", func(f *fleet, p *state.Image) {
			f.on("parent", ref, "0")
			p.Rebuild = &state.Rebuild{Status: state.Failed, Failures: 3, RequestedAt: ago(0.1), FinishedAt: ago(0.01)}
		}, policy.Due},
		{"parent opted out", func(f *fleet, _ *state.Image) {
			f.on("parent", ref, "0")
			no := false
			f.cfg.Find("parent").AutoRebuild = &no
		}, policy.Due},
		{"parent that we cannot start, due today", func(f *fleet, _ *state.Image) {
			f.on("parent", ref, "0")
			f.tag(ref, cand("1", 7.5))
			f.cfg.Find("parent").Source.Provider = config.Git
		}, policy.Waiting},
		{"parent that we cannot start, due for days", func(f *fleet, _ *state.Image) {
			f.on("parent", ref, "0")
			f.cfg.Find("parent").Source.Provider = config.Git
		}, policy.Due},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := enroll(t, mature, map[string][]string{"parent": {ref}, "middle": {"ghcr.io/acme/parent:latest"}, "child": {"ghcr.io/acme/middle:latest", python}}, nil)
			f.tag(ref, cand("1", 8.5))
			f.tag(python, cand("1", 8))
			f.on("parent", ref, "1")
			f.on("child", python, "0")
			for child, parent := range map[string]string{"middle": "parent", "child": "middle"} {
				f.st.Images[child].SetBuiltOn(state.BuiltOn{Ref: "ghcr.io/acme/" + parent + ":latest", Snapshot: state.Snapshot{Digest: dig(parent)}, Evidence: state.Provenance})
			}
			test.change(f, f.st.Images["parent"])
			dec := f.decide()["child"]
			assert.Equal(t, test.want, dec.Status, dec.Reason)
			if test.want == policy.Waiting {
				assert.Contains(t, dec.Reason, "waits for parent (at most ")
				assert.True(t, dec.Until.After(now))
			}
		})
	}
}

func TestStartableKeepsWithinTheLimitOfEachForge(t *testing.T) {
	deps, lines := map[string][]string{}, map[string]string{}
	for i := range 8 {
		deps[fmt.Sprintf("hub%d", i)] = []string{ref}
	}
	deps["lab"], deps["plain"] = []string{ref}, []string{ref}
	lines["lab"] = "  source: {provider: gitlab, repo: acme/x}\n"
	lines["plain"] = "  source: {provider: git, repo: https://git.example.com/x.git}\n"
	f := enroll(t, mature, deps, lines)
	f.tag(ref, cand("1", 8))
	f.st.Images["hub3"].Rebuild = &state.Rebuild{Status: state.Running, RequestedAt: ago(0.1)}
	var names []string
	for _, dec := range policy.Startable(f.cfg, policy.Decide(f.cfg, f.st, f.graph(), now)) {
		names = append(names, dec.Image)
	}
	assert.Equal(t, []string{"hub0", "hub1", "hub2", "hub4", "lab"}, names, "five at GitHub with the one that runs")
	got := f.decide()
	assert.Equal(t, policy.Due, got["plain"].Status, "shown, for somebody to do")
	assert.Equal(t, "start the build by hand: source.provider is git", got["plain"].Queued)
	assert.Equal(t, "waits for a free slot: at most 5 at once on github.com (factory.maxConcurrentRebuilds)", got["hub5"].Queued)
	assert.Empty(t, got["hub4"].Queued)

	f.st.Images["hub3"].Rebuild = &state.Rebuild{Status: state.Requested, RequestedAt: ago(0.1), Message: "no token"}
	assert.Empty(t, f.decide()["hub5"].Queued, "a rebuild that could not be started takes no slot")
	f.st.Images["hub3"].Rebuild = &state.Rebuild{Status: state.Requested, RequestedAt: ago(0)}
	assert.NotEmpty(t, f.decide()["hub5"].Queued, "one that is being started does")
}

func TestRebuildIDs(t *testing.T) {
	f := app(t, mature, cand("1", 8))
	first := f.decide()["app"].Rebuild
	assert.Equal(t, first, f.decide()["app"].Rebuild, "two that decide the same decide on one rebuild")
	policy.Begin(f.st, f.decide()["app"], now)
	f.st.Images["app"].Rebuild.Finish(state.Failed, "", now.Add(-time.Hour))
	second := f.decide()["app"].Rebuild
	assert.NotEqual(t, first, second, "trying again is another one")
	f.st.Images["app"].Reset("fixed")
	assert.Equal(t, second, f.decide()["app"].Rebuild)
	f.tag(ref, cand("1", 8), cand("2", 8))
	assert.NotEqual(t, second, f.decide()["app"].Rebuild)
}

func TestRetryAfter(t *testing.T) {
	assert.Equal(t, time.Hour, policy.RetryAfter(1))
	assert.Equal(t, 4*time.Hour, policy.RetryAfter(2))
	assert.Equal(t, 16*time.Hour, policy.RetryAfter(3))
	assert.Equal(t, 16*time.Hour, policy.RetryAfter(1_000_000))
}

func TestCyclesAreDecided(t *testing.T) {
	f := enroll(t, mature, map[string][]string{"a": {"ghcr.io/acme/b:latest", ref}, "b": {"ghcr.io/acme/a:latest"}, "c": {"ghcr.io/acme/c:latest"}}, nil)
	f.tag(ref, cand("1", 8))
	f.on("a", ref, "0")
	got := f.decide()
	assert.Len(t, got, 3)
	assert.Equal(t, policy.Due, got["a"].Status)
}

func TestReasonSaysWhatHappened(t *testing.T) {
	for want, test := range map[string]struct {
		on         string
		candidates []state.Candidate
	}{
		"newer digest of node:22 is due":                                             {"0", []state.Candidate{cand("1", 9)}},
		"newer digest of node:22 was released":                                       {"0", []state.Candidate{cand("1", 1, released(0))}},
		"built on a withdrawn digest of node:22":                                     {"2", []state.Candidate{cand("1", 20), cand("2", 9, withdrawn(1))}},
		"built on a held digest of node:22":                                          {"2", []state.Candidate{cand("1", 20), cand("2", 9, held(1))}},
		"node:22 moved 5d ago; 7d delay; newest digest of node:22 lacks linux/amd64": {"0", []state.Candidate{cand("1", 5), cand("2", 1, lacks)}},
		"newest digest is not trusted: node:22: no signature":                        {"0", []state.Candidate{cand("1", 5, untrusted)}},
		"node:22 moved 1d ago; 7d delay":                                             {"0", []state.Candidate{cand("1", 1)}},
	} {
		f := app(t, mature, test.candidates...)
		f.lock("app")
		f.on("app", ref, test.on)
		assert.Equal(t, want, f.decide()["app"].Reason)
	}
	f := app(t, mature, cand("1", 20), cand("2", 9, withdrawn(0.1)))
	f.lock("app")
	f.on("app", ref, "2")
	f.st.Images["app"].LastBuilt = ago(1)
	got := f.decide()["app"]
	assert.Equal(t, policy.Waiting, got.Status)
	assert.Equal(t, "built on a withdrawn digest of node:22", got.Reason)
}

func TestReasonNamesAllParents(t *testing.T) {
	refs := []string{"ghcr.io/acme/one:latest", "ghcr.io/acme/two:latest"}
	f := enroll(t, mature, map[string][]string{"one": {}, "two": {}, "child": refs}, nil)
	for _, r := range refs {
		f.on("child", r, "0")
	}
	assert.Equal(t, "parents one, two were published", f.decide()["child"].Reason)
	f.st.Images["child"].SetBuiltOn(state.BuiltOn{Ref: refs[0], Snapshot: state.Snapshot{Digest: dig("one")}, Evidence: state.Provenance})
	assert.Equal(t, "parent two was published", f.decide()["child"].Reason)
}

// Nothing is known yet of what an image is built on, whatever is known of the image.
func TestParentWithoutState(t *testing.T) {
	for name, change := range map[string]func(*state.Image){
		"published":       func(*state.Image) {},
		"never published": func(i *state.Image) { i.CurrentDigest, i.Unpublished = "", ago(1) },
		"being rebuilt": func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: ago(0.1), Bases: []state.Target{{Ref: parentRef, Snapshot: snapOf("1")}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := enroll(t, mature, map[string][]string{"child": {parentRef}, "parent": {ref}}, nil)
			delete(f.st.Images, "parent")
			f.on("child", parentRef, "0")
			child := f.st.Images["child"]
			change(child)
			dec := f.decide()
			assert.Equal(t, policy.Unknown, dec["parent"].Status)
			assert.Equal(t, dig("0"), dec["child"].Bases[0].Lock.Digest, "what it is built on")
			policy.Startable(f.cfg, policy.Decide(f.cfg, f.st, f.graph(), now))
			f.record("child", policy.Publication{Version: "latest", Digest: dig("new")})
			assert.Equal(t, dig("new"), child.CurrentDigest)
		})
	}
}
