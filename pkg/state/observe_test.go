package state_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/state"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func hour(n int) time.Time { return t0.Add(time.Duration(n) * time.Hour) }

func snap(c byte) state.Snapshot {
	return state.Snapshot{Digest: digest(c), Platforms: state.Platforms{"linux/amd64": digest(c + 1)}}
}

func TestObserveMakesTheFirstDigestTheBaseline(t *testing.T) {
	var b state.Base
	require.True(t, b.Observe(snap('a'), t0))
	assert.Equal(t, &state.Candidate{Snapshot: snap('a'), FirstSeen: state.At(t0)}, b.Baseline)
	assert.Equal(t, digest('a'), b.CurrentDigest)
	assert.Empty(t, b.Candidates)
	require.False(t, b.Observe(snap('a'), hour(1)), "the same again is no news")
	assert.Equal(t, state.At(t0), b.LastUpdated)
}

func TestObserveMakesNewDigestsCandidates(t *testing.T) {
	var b state.Base
	b.Observe(snap('a'), t0)
	require.True(t, b.Observe(snap('c'), hour(1)))
	require.True(t, b.Observe(snap('e'), hour(2)))
	require.False(t, b.Observe(snap('e'), hour(3)))
	assert.Equal(t, []state.Candidate{
		{Snapshot: snap('c'), FirstSeen: state.At(hour(1))}, {Snapshot: snap('e'), FirstSeen: state.At(hour(2))},
	}, b.Candidates)
	assert.Equal(t, digest('e'), b.CurrentDigest)
	assert.Equal(t, digest('c'), b.PreviousDigest)
	assert.Equal(t, []state.Update{
		{At: state.At(hour(1)), From: digest('a'), To: digest('c')}, {At: state.At(hour(2)), From: digest('c'), To: digest('e')},
	}, b.UpdateHistory)
	assert.Equal(t, digest('c'), b.Find(digest('c')).Digest)
	assert.Nil(t, b.Find(digest('x')))
}

func TestObserveWithdrawsCandidatesAfterARollback(t *testing.T) {
	withdrawn := func(b *state.Base) (out []bool) {
		for _, c := range b.Candidates {
			out = append(out, !c.Withdrawn.IsZero())
		}
		return out
	}
	var b state.Base
	for i, c := range []byte("aceg") {
		b.Observe(snap(c), hour(i))
	}
	require.True(t, b.Observe(snap('c'), hour(4)))
	assert.Equal(t, []bool{false, true, true}, withdrawn(&b))
	assert.Equal(t, state.At(hour(4)), b.Candidates[1].Withdrawn)
	require.False(t, b.Observe(snap('c'), hour(5)))
	require.True(t, b.Observe(snap('a'), hour(6)), "back to the baseline")
	assert.Equal(t, []bool{true, true, true}, withdrawn(&b))
	assert.Equal(t, state.At(hour(4)), b.Candidates[1].Withdrawn, "the first time counts")
	require.True(t, b.Observe(snap('e'), hour(7)), "a digest returns")
	assert.Equal(t, []bool{true, false, true}, withdrawn(&b))
	assert.Equal(t, state.At(hour(2)), b.Candidates[1].FirstSeen, "and is as old as it was")
	require.True(t, b.Observe(snap('i'), hour(8)))
	assert.Equal(t, []bool{true, false, true, false}, withdrawn(&b))
}

func TestObserveFillsInPlatforms(t *testing.T) {
	for _, of := range []byte("ac") { // baseline and candidate
		var b state.Base
		b.Observe(state.Snapshot{Digest: digest('a')}, t0)
		b.Observe(state.Snapshot{Digest: digest(of)}, hour(1))
		require.True(t, b.Observe(snap(of), hour(2)))
		require.False(t, b.Observe(snap(of), hour(3)))
		require.False(t, b.Observe(state.Snapshot{Digest: digest(of)}, hour(4)), "half an answer takes nothing away")
		got := b.Baseline.Snapshot
		if of != 'a' {
			got = b.Candidates[0].Snapshot
		}
		assert.Equal(t, snap(of), got)
	}
}

func TestObserveOfNothingChangesNothing(t *testing.T) {
	var b state.Base
	require.False(t, b.Observe(state.Snapshot{}, t0))
	b.Observe(snap('a'), t0)
	require.False(t, b.Observe(state.Snapshot{}, hour(1)))
	assert.Equal(t, digest('a'), b.CurrentDigest)
	assert.Empty(t, b.Candidates)
}

func TestObserveWithClocksThatDifferALittle(t *testing.T) {
	var b state.Base
	b.Observe(snap('a'), t0)
	b.Observe(snap('c'), hour(10))
	b.Observe(snap('e'), hour(10).Add(-state.ClockSkew))
	assert.Equal(t, state.At(hour(10)), b.Candidates[1].FirstSeen, "not older than what came before it")
}

func TestObserveCorrectsFutureTimes(t *testing.T) {
	const ahead = 365 * 24
	var b state.Base
	b.Observe(snap('a'), t0)
	b.Observe(snap('c'), hour(1))
	b.Observe(snap('e'), hour(ahead)) // by a clock that is a year ahead
	b.Observe(snap('a'), hour(ahead+1))
	b.Candidates[0].Hold("", hour(ahead+2))
	require.True(t, b.Observe(snap('g'), hour(20)))
	assert.Equal(t, state.At(hour(1)), b.Candidates[0].FirstSeen, "right times stay")
	assert.Equal(t, state.At(hour(20)), b.Candidates[0].Held)
	assert.Equal(t, state.At(hour(20)), b.Candidates[1].FirstSeen, "neither old nor a year ahead")
	assert.Equal(t, state.At(hour(20)), b.Candidates[1].Withdrawn)
	assert.Equal(t, state.At(hour(20)), b.Candidates[2].FirstSeen, "a later digest is not dated ahead")
	assert.Equal(t, state.At(hour(20)), b.LastUpdated)
	require.False(t, b.Observe(snap('g'), hour(21)), "they are corrected once")
	b.Observe(snap('i'), hour(22))
	assert.Equal(t, state.At(hour(22)), b.Candidates[3].FirstSeen)
}

func TestObserveOfTheSameDigestCorrectsToo(t *testing.T) {
	var b state.Base
	b.Observe(snap('a'), hour(5000))
	b.Observe(snap('c'), hour(6000))
	require.True(t, b.Observe(snap('c'), t0))
	assert.Equal(t, state.At(t0), b.Baseline.FirstSeen)
	assert.Equal(t, state.At(t0), b.Candidates[0].FirstSeen)
	require.False(t, b.Observe(snap('c'), hour(1)))
}

func TestCorrected(t *testing.T) {
	b := &state.Base{
		Baseline: &state.Candidate{Snapshot: snap('a'), FirstSeen: state.At(hour(9000))},
		Candidates: []state.Candidate{
			{Snapshot: snap('c'), FirstSeen: state.At(hour(8000))},
			{Snapshot: snap('e'), FirstSeen: state.At(hour(5))},
			{Snapshot: snap('g'), FirstSeen: state.At(hour(7000))},
		},
	}
	got := b.Corrected(hour(10))
	assert.Equal(t, state.At(hour(5)), got.Baseline.FirstSeen, "seen before what follows it")
	assert.Equal(t, state.At(hour(5)), got.Candidates[0].FirstSeen)
	assert.Equal(t, state.At(hour(5)), got.Candidates[1].FirstSeen)
	assert.Equal(t, state.At(hour(10)), got.Candidates[2].FirstSeen)
	assert.Equal(t, state.At(hour(8000)), b.Candidates[0].FirstSeen, "the facts stay as they are")
	assert.Same(t, got, got.Corrected(hour(10)))
}

func TestReturningDigest(t *testing.T) {
	var b state.Base
	b.Observe(snap('a'), t0)
	b.Observe(snap('c'), hour(1))
	flap := func(back, again int) state.Candidate {
		b.Observe(snap('a'), hour(back))
		require.True(t, b.Observe(snap('c'), hour(again)))
		return b.Candidates[0]
	}
	assert.Zero(t, flap(2, 7).Returned, "replicas disagree")
	got := flap(8, 14)
	assert.Equal(t, state.At(hour(14)), got.Returned)
	assert.Equal(t, state.At(hour(1)), got.FirstSeen, "a fact")
	assert.Equal(t, state.At(hour(14)), flap(15, 20).Returned, "a short absence does not start the wait again")
	assert.Equal(t, state.At(hour(60)), flap(21, 60).Returned)
}

func TestObservePublishedCorrectsFutureTime(t *testing.T) {
	var i state.Image
	i.ObservePublished("a", snap('c'), hour(5000))
	require.True(t, i.ObservePublished("a", snap('c'), t0))
	assert.Equal(t, state.At(t0), i.PublishedTag("a").Since)
	require.False(t, i.ObservePublished("a", snap('c'), hour(1)))
}

func TestLastAttemptCounts(t *testing.T) {
	r := state.Rebuild{RequestedAt: state.At(hour(5000))}
	assert.Equal(t, r.RequestedAt, r.Claimed())
	r.TriedAt = state.At(hour(1))
	assert.Equal(t, state.At(hour(1)), r.Claimed(), "whatever the clock said that recorded the rebuild")
}

// A tag that moves every hour must leave enough behind for a digest of about every age, and stay small.
func TestThinning(t *testing.T) {
	var b state.Base
	now := t0
	seen := func(i int) state.Snapshot { return state.Snapshot{Digest: fmt.Sprintf("sha256:%064d", i)} }
	b.Observe(seen(0), now)
	for i := 1; i <= 90*24; i++ {
		now = now.Add(time.Hour)
		b.Observe(seen(i), now)
		switch i {
		case 500:
			b.Find(seen(i).Digest).Hold("", now)
		case 600:
			b.Find(seen(i).Digest).Release("", now)
		}
		require.LessOrEqual(t, len(b.Candidates), 64)
		require.Equal(t, seen(i).Digest, b.Candidates[len(b.Candidates)-1].Digest, "the newest stays")
		if i < 40*24 {
			continue
		}
		for _, delay := range []time.Duration{24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour} {
			ripe := time.Duration(0)
			for _, c := range b.Candidates {
				if age := now.Sub(c.FirstSeen.Time); age >= delay && (ripe == 0 || age < ripe) {
					ripe = age
				}
			}
			require.Positive(t, ripe, "nothing ripe for %s", delay)
			require.LessOrEqual(t, ripe, delay+delay/4+2*time.Hour, "the newest ripe one is too old for %s", delay)
		}
	}
	require.NotNil(t, b.Find(seen(500).Digest), "what a person decided on stays")
	require.NotNil(t, b.Find(seen(600).Digest))
	require.LessOrEqual(t, len(b.UpdateHistory), 10)
}

func TestThinningWithVerdictsOnEverything(t *testing.T) {
	var b state.Base
	for i := range 200 {
		d := fmt.Sprintf("sha256:%064d", i)
		b.Observe(state.Snapshot{Digest: d}, hour(i))
		if c := b.Find(d); c != nil {
			c.Hold("", hour(i))
		}
	}
	assert.Len(t, b.Candidates, 64)
}

func TestReleaseAndHoldCancelEachOther(t *testing.T) {
	var c state.Candidate
	c.Release("CVE-1", t0)
	assert.Equal(t, state.Candidate{Released: state.At(t0), Reason: "CVE-1"}, c)
	c.Hold("broken", hour(1))
	assert.Equal(t, state.Candidate{Held: state.At(hour(1)), Reason: "broken"}, c)
	c.Release("", hour(2))
	assert.Equal(t, state.Candidate{Released: state.At(hour(2))}, c)
}

func TestObservePublished(t *testing.T) {
	var i state.Image
	require.True(t, i.ObservePublished("b", state.Snapshot{Digest: digest('a')}, t0))
	require.True(t, i.ObservePublished("a", snap('c'), hour(1)))
	require.False(t, i.ObservePublished("a", snap('c'), hour(2)))
	require.True(t, i.ObservePublished("b", snap('a'), hour(3)), "platforms become known")
	assert.Equal(t, []state.Published{
		{Tag: "a", Snapshot: snap('c'), Since: state.At(hour(1))}, {Tag: "b", Snapshot: snap('a'), Since: state.At(t0)},
	}, i.Published)
	require.True(t, i.ObservePublished("a", snap('e'), hour(4)))
	assert.Equal(t, state.At(hour(4)), i.PublishedTag("a").Since)
	assert.Nil(t, i.PublishedTag("z"))
	require.False(t, i.ObservePublished("a", state.Snapshot{}, hour(5)), "half an answer is no observation")
	assert.Equal(t, digest('e'), i.PublishedTag("a").Digest)
}

func TestTagsThatNobodyUsesAreForgotten(t *testing.T) {
	var i state.Image
	for n := range 300 {
		i.ObservePublished(fmt.Sprintf("1.%d", n), snap('a'), hour(n))
	}
	i.CurrentVersion = "1.0"
	i.ForgetTags(func(tag string) bool { return tag == "1.7" })
	assert.Len(t, i.Published, 100)
	for _, tag := range []string{"1.0", "1.7", "1.299", "1.202"} {
		assert.NotNil(t, i.PublishedTag(tag), tag)
	}
	assert.Nil(t, i.PublishedTag("1.201"))
	i.ForgetTags(func(string) bool { return true })
	assert.Len(t, i.Published, 100)
	for n := range 200 {
		i.ObservePublished(fmt.Sprintf("2.%d", n), snap('a'), hour(n))
	}
	i.ForgetTags(func(string) bool { return true })
	assert.Len(t, i.Published, 300, "what is in use stays")
}

func TestSetBuiltOn(t *testing.T) {
	var i state.Image
	on := func(ref string, c byte, e state.Evidence) state.BuiltOn {
		return state.BuiltOn{Ref: ref, Snapshot: snap(c), Evidence: e}
	}
	require.True(t, i.SetBuiltOn(on("z", 'a', state.Assumed)))
	require.True(t, i.SetBuiltOn(on("b", 'c', state.Provenance)))
	require.False(t, i.SetBuiltOn(on("b", 'c', state.Provenance)))
	i.On("b").Extra = state.Extra{"future": 1}
	require.True(t, i.SetBuiltOn(on("b", 'c', state.Recorded)))
	assert.Equal(t, state.Extra{"future": 1}, i.On("b").Extra, "what a newer version wrote survives")
	require.True(t, i.SetBuiltOn(on("b", 'e', state.Recorded)))
	assert.Equal(t, "b", i.BuiltOn[0].Ref)
	assert.Len(t, i.BuiltOn, 2)
	assert.Nil(t, i.On("y"))
}

func TestRebuildsAreCounted(t *testing.T) {
	i := &state.Image{}
	fail := func(n int, status state.RebuildStatus) {
		i.Request(state.Rebuild{ID: strconv.Itoa(n), RequestedAt: state.At(hour(n))})
		require.Equal(t, state.Requested, i.Rebuild.Status)
		i.Rebuild.Finish(state.Built, "", hour(n))
		i.Rebuild.Finish(status, "why", hour(n+1))
	}
	require.False(t, i.Reset("fixed"))
	fail(1, state.Failed)
	fail(2, state.WrongBase)
	fail(3, state.Failed)
	assert.Equal(t, 3, i.Rebuild.Failures, "a run that succeeded without an image does not end the row")
	assert.Equal(t, state.At(hour(4)), i.Rebuild.FinishedAt)
	assert.Equal(t, "why", i.Rebuild.Message)
	require.True(t, i.Reset("fixed"))
	require.False(t, i.Reset("fixed"))
	fail(4, state.Failed)
	assert.Equal(t, 1, i.Rebuild.Failures)
	fail(5, state.Unproven)
	assert.Zero(t, i.Rebuild.Failures)
	for n := 6; n < 30; n++ {
		fail(n, state.Succeeded)
	}
	assert.Len(t, i.RebuildHistory, 10)
	assert.Equal(t, "28", i.RebuildHistory[9].ID)
}

func TestCancelRequestRestoresState(t *testing.T) {
	var i state.Image
	i.Request(state.Rebuild{ID: "1", RequestedAt: state.At(t0)})
	i.CancelRequest()
	assert.Equal(t, state.Image{}, i)
	i.Request(state.Rebuild{ID: "1", RequestedAt: state.At(t0)})
	i.Rebuild.Finish(state.Failed, "no", hour(1))
	before := i
	i.Request(state.Rebuild{ID: "2", RequestedAt: state.At(hour(2))})
	i.CancelRequest()
	assert.Equal(t, before.Rebuild, i.Rebuild, "its failures go on counting")
	assert.Empty(t, i.RebuildHistory)
}

func TestStatuses(t *testing.T) {
	for _, s := range []state.RebuildStatus{state.Requested, state.Running, state.Built} {
		assert.True(t, s.Active(), s)
		assert.False(t, s.CountsAsBuilt(), s)
	}
	for _, s := range []state.RebuildStatus{state.Succeeded, state.Unproven, state.WrongBase, state.Failed, ""} {
		assert.False(t, s.Active(), s)
		assert.Equal(t, s == state.Succeeded || s == state.Unproven, s.CountsAsBuilt(), s)
	}
}

func TestTime(t *testing.T) {
	at := state.At(time.Date(2026, 1, 31, 16, 4, 5, 999, time.FixedZone("CET", 3600)))
	text, err := at.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "2026-01-31T15:04:05Z", string(text))
	var back state.Time
	require.NoError(t, back.UnmarshalText([]byte("2026-01-31T16:04:05+01:00")))
	assert.Equal(t, at, back)
	require.NoError(t, back.UnmarshalText(nil))
	assert.True(t, back.IsZero())
	for _, bad := range []string{"yesterday", "2026-01-31", "2026-01-31 15:04:05", "1769871845"} {
		require.Error(t, back.UnmarshalText([]byte(bad)), bad)
	}
	data, err := json.Marshal(state.Candidate{FirstSeen: at})
	require.NoError(t, err)
	assert.JSONEq(t, `{"digest":"","firstSeen":"2026-01-31T15:04:05Z"}`, string(data))
}

func TestBaseOfAReference(t *testing.T) {
	st := state.New()
	b := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22"}
	st.Bases[b.Name] = b
	assert.Same(t, b, st.Base("node:22"))
	assert.Same(t, b, st.Base("docker.io/library/node:22@"+sha))
	assert.Nil(t, st.Base("node:23"))
	assert.Nil(t, st.Base("node@"+sha))
	assert.Nil(t, st.Base("::"))
}

// Whatever a registry answers, and whenever: candidates stay in order, unique and few, what the tag holds is never
// withdrawn, and the same answer again is no news.
func TestObserveAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b state.Base
		now := t0
		for i := range rapid.IntRange(1, 120).Draw(t, "answers") {
			now = now.Add(time.Duration(rapid.IntRange(-50, 200).Draw(t, "minutes")) * time.Minute)
			seen := state.Snapshot{Digest: fmt.Sprintf("sha256:%064d", rapid.IntRange(0, 8).Draw(t, "digest"))}
			if rapid.Bool().Draw(t, "new") {
				seen.Digest = fmt.Sprintf("sha256:%064d", 100+i)
			}
			if rapid.Bool().Draw(t, "platforms") {
				seen.Platforms = state.Platforms{"linux/amd64": seen.Digest}
			}
			b.Observe(seen, now)
			if b.Observe(seen, now) {
				t.Fatal("the same answer is news twice")
			}
			if b.CurrentDigest != seen.Digest {
				t.Fatal("current is not what was seen")
			}
			digests := map[string]bool{b.Baseline.Digest: true}
			last := b.Baseline.FirstSeen.Time
			for _, c := range b.Candidates {
				if digests[c.Digest] {
					t.Fatal("a digest is there twice")
				}
				if digests[c.Digest] = true; c.FirstSeen.Before(last) {
					t.Fatal("not in order")
				}
				if last = c.FirstSeen.Time; c.Digest == seen.Digest && !c.Withdrawn.IsZero() {
					t.Fatal("what the tag holds is withdrawn")
				}
			}
			if len(b.Candidates) > 64 {
				t.Fatal("too many candidates")
			}
		}
	})
}

// TestRebuildSummary: a commit message says in words how a rebuild ended.
func TestRebuildSummary(t *testing.T) {
	encode := func(status state.RebuildStatus, message string) []byte {
		st := state.New()
		st.Images["web"] = &state.Image{Name: "web", Repository: "ghcr.io/acme/web", Rebuild: &state.Rebuild{ID: "r-1", Reason: "x", RequestedAt: state.At(t0), Status: status, Message: message}}
		files, err := st.Encode()
		require.NoError(t, err)
		return files["images/web.yaml"]
	}
	for status, want := range map[state.RebuildStatus]string{
		state.Succeeded: "rebuild r-1 succeeded: m", state.Failed: "rebuild r-1 failed: m", state.WrongBase: "rebuild r-1 has the wrong base: m",
		state.Unproven: "rebuild r-1 is unproven: m", state.Built: "rebuild r-1 is built: m",
	} {
		assert.Equal(t, []string{"web: " + want}, state.Summary("images/web.yaml", encode(state.Running, ""), encode(status, "m")))
	}
	assert.Equal(t, "wrong base", state.WrongBase.Words())
	assert.Equal(t, "failed", state.Failed.Words())
}
