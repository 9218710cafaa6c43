package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const parentRef = "ghcr.io/acme/parent:latest"

// started is an image whose rebuild for a ripe digest was begun an hour ago and is at a status.
func started(t *testing.T, status state.RebuildStatus) *fleet {
	f := app(t, mature, cand("1", 8))
	policy.Begin(f.st, f.decide()["app"], now.Add(-time.Hour))
	r := f.st.Images["app"].Rebuild
	require.Equal(t, state.Requested, r.Status)
	require.Equal(t, state.At(now.Add(-time.Hour)), r.RequestedAt)
	require.Len(t, r.Bases, 1)
	if status != state.Requested {
		r.Finish(status, "", now.Add(-time.Minute))
	}
	return f
}

func (f *fleet) record(name string, p policy.Publication) bool {
	return policy.RecordPublication(f.cfg.Find(name), f.st, f.graph(), p, now)
}

func proven(content string) []state.BuiltOn {
	return []state.BuiltOn{{Ref: ref, Snapshot: state.Snapshot{Digest: dig(content)}, Evidence: state.Provenance}}
}

func TestOutcomeOfARebuild(t *testing.T) {
	for _, test := range []struct {
		name     string
		status   state.RebuildStatus // before the image is seen
		evidence []state.BuiltOn
		change   func(f *fleet)
		want     state.RebuildStatus
		on       string
	}{
		{"on the expected digest", state.Running, proven("1"), nil, state.Succeeded, "1"},
		{"on its manifest", state.Built, proven("1-amd64"), nil, state.Succeeded, "1-amd64"},
		{"on a later one", state.Built, proven("2"), func(f *fleet) { f.tag(ref, cand("1", 8), cand("2", 1)) }, state.Succeeded, "2"},
		{"on a later one that was withdrawn", state.Built, proven("2"), func(f *fleet) { f.tag(ref, cand("1", 8), cand("2", 1, withdrawn(0))) }, state.WrongBase, "2"},
		{"on an older one", state.Built, proven("0"), nil, state.WrongBase, "0"},
		{"on an older one while the run goes on: somebody else's", state.Running, proven("0"), nil, state.Running, "0"},
		{"on a digest that was never seen", state.Built, proven("x"), nil, state.Succeeded, "x"},
		{"without evidence", state.Requested, nil, nil, state.Unproven, "1"},
		{"expected digest no longer known", state.Built, proven("2"), func(f *fleet) { f.tag(ref, cand("2", 7)) }, state.Unproven, "2"},
		{"expected digest no longer known, and on it", state.Built, proven("1"), func(f *fleet) { f.tag(ref, cand("2", 7)) }, state.Succeeded, "1"},
		{"base dropped meanwhile", state.Built, nil, func(f *fleet) { f.st.Images["app"].BaseImages = nil }, state.Succeeded, ""},
		{"base unknown meanwhile", state.Built, proven("0"), func(f *fleet) { clear(f.st.Bases) }, state.WrongBase, "0"},
		{"given up, and on the expected digest", state.Failed, proven("1"), nil, state.Succeeded, "1"},
		{"given up, and on an older one", state.Failed, proven("0"), nil, state.Failed, "0"},
		{"given up, without evidence", state.Failed, nil, nil, state.Failed, "0"},
		{"over already", state.Unproven, proven("0"), nil, state.Unproven, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := started(t, state.Requested)
			f.lock("app")
			facts := f.st.Images["app"]
			facts.Rebuild.Failures = 1
			switch test.status {
			case state.Running:
				facts.Rebuild.Status = state.Running
			case state.Requested:
			default:
				facts.Rebuild.Finish(test.status, "", now.Add(-time.Minute))
			}
			before := facts.Rebuild.Failures
			if test.change != nil {
				test.change(f)
			}
			require.True(t, f.record("app", policy.Publication{Version: "latest", Digest: dig("app2"), BuiltOn: test.evidence}))
			assert.Equal(t, test.want, facts.Rebuild.Status, facts.Rebuild.Message)
			if test.on != "" {
				assert.Equal(t, dig(test.on), facts.On(ref).Digest)
			} else {
				assert.Nil(t, facts.On(ref))
			}
			switch test.want {
			case test.status:
				assert.Equal(t, before, facts.Rebuild.Failures)
			case state.WrongBase:
				assert.Equal(t, 2, facts.Rebuild.Failures)
				assert.Contains(t, facts.Rebuild.Message, "node:22")
			default:
				assert.Zero(t, facts.Rebuild.Failures)
				assert.NotEqual(t, policy.Running, f.decide()["app"].Status)
			}
			assert.Equal(t, state.At(now), facts.LastBuilt)
			assert.Equal(t, dig("app2"), facts.CurrentDigest)
			require.False(t, f.record("app", policy.Publication{Version: "latest", Digest: dig("app2"), BuiltOn: test.evidence}), "the same again is no news")
		})
	}
}

// A rebuild that the forge refused had no run: whoever built the expected image, it was not the rebuild.
func TestRefusedRebuildStaysFailed(t *testing.T) {
	f := started(t, state.Requested)
	r := f.st.Images["app"].Rebuild
	r.Refused = true
	r.Finish(state.Failed, "no such workflow", now.Add(-time.Hour))
	require.True(t, f.record("app", policy.Publication{Version: "latest", Digest: dig("app2"), BuiltOn: proven("1")}))
	assert.Equal(t, state.Failed, r.Status)
	assert.Equal(t, "no such workflow", r.Message)
	dec := f.decide()["app"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Empty(t, dec.Failure, "there is nothing to repeat")
	f.tag(ref, cand("1", 9), cand("2", 8))
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "neither rebuildInterval nor the backoff counts from it")
	f.st.Images["app"].Rebuild.Refused = false
	require.True(t, f.record("app", policy.Publication{Version: "latest", Digest: dig("app3"), BuiltOn: proven("1")}))
	assert.Equal(t, state.Succeeded, r.Status, "a run can publish late")
}

func TestOutcomeOnAParent(t *testing.T) {
	for on, want := range map[string]state.RebuildStatus{"new": state.Succeeded, "newer": state.Succeeded, "parent": state.WrongBase} {
		f := family(t)
		f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
		policy.Begin(f.st, f.decide()["child"], now)
		f.st.Images["child"].Rebuild.Finish(state.Built, "", now)
		f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("newer")}, now)
		f.record("child", policy.Publication{Digest: dig("child2"), BuiltOn: []state.BuiltOn{{Ref: parentRef, Snapshot: state.Snapshot{Digest: dig(on)}, Evidence: state.Provenance}}})
		assert.Equal(t, want, f.st.Images["child"].Rebuild.Status, on)
	}
}

func TestOutcomeOfNothing(t *testing.T) {
	f := app(t, "")
	status, _ := policy.Outcome(f.cfg.Find("app"), f.st, f.graph(), now)
	assert.Equal(t, state.Unproven, status)
	delete(f.st.Images, "app")
	status, _ = policy.Outcome(f.cfg.Find("app"), f.st, f.graph(), now)
	assert.Equal(t, state.Unproven, status)
	assert.False(t, f.record("app", policy.Publication{Digest: dig("x")}))
	assert.False(t, policy.Assume(f.cfg.Find("app"), f.st, f.graph()))
}

func TestWithoutEvidence(t *testing.T) {
	t.Run("first enrollment: the baseline", func(t *testing.T) {
		f := app(t, "", cand("1", 1))
		facts := f.st.Images["app"]
		facts.CurrentDigest, facts.BuiltOn, facts.LastBuilt, facts.Unpublished = "", nil, state.Time{}, ago(1)
		require.True(t, f.record("app", policy.Publication{Version: "1", Digest: dig("app"), Created: now.Add(-90 * day)}))
		assert.Equal(t, []state.BuiltOn{{Ref: ref, Snapshot: snapOf("0"), Evidence: state.Assumed}}, facts.BuiltOn)
		assert.Equal(t, ago(90), facts.LastBuilt)
		assert.True(t, facts.Unpublished.IsZero())
		require.True(t, f.record("app", policy.Publication{Version: "2", Digest: dig("app2"), Created: now.Add(-80 * day)}))
		assert.Equal(t, state.At(now), facts.LastBuilt, "later ones are as old as we know")
	})
	t.Run("a first image from the future", func(t *testing.T) {
		f := app(t, "")
		f.st.Images["app"].CurrentDigest = ""
		f.record("app", policy.Publication{Digest: dig("app"), Created: now.Add(day)})
		assert.Equal(t, state.At(now), f.st.Images["app"].LastBuilt)
	})
	t.Run("a first image of a date that cannot be written", func(t *testing.T) {
		f := app(t, "")
		f.st.Images["app"].CurrentDigest = ""
		created, err := time.Parse(time.RFC3339, "0000-01-01T00:00:00+14:00")
		require.NoError(t, err)
		f.record("app", policy.Publication{Digest: dig("app"), Created: created})
		assert.True(t, f.st.Images["app"].LastBuilt.IsZero())
	})
	t.Run("a developer's push tells nothing", func(t *testing.T) {
		f := app(t, "", cand("1", 1))
		want := *f.st.Images["app"].On(ref)
		require.Equal(t, state.Provenance, want.Evidence)
		want.Evidence = state.Assumed
		require.True(t, f.record("app", policy.Publication{Digest: dig("app2")}))
		assert.Equal(t, want, *f.st.Images["app"].On(ref), "the evidence was that of another image")
	})
	t.Run("a rebuild without the lock: what the tag held", func(t *testing.T) {
		f := started(t, state.Running)
		f.tag(ref, cand("1", 8), cand("2", 3, withdrawn(0.01)), cand("3", 0)) // 3 came after the request
		f.record("app", policy.Publication{Digest: dig("app2")})
		assert.Equal(t, dig("2"), f.st.Images["app"].On(ref).Digest)
		assert.Equal(t, state.Recorded, f.st.Images["app"].On(ref).Evidence)
	})
	t.Run("a rebuild with the lock: the lock at the request", func(t *testing.T) {
		f := enroll(t, mature, map[string][]string{"app": {ref, python}}, nil)
		f.lock("app")
		f.tag(ref, cand("1", 8))
		f.tag(python, cand("1", 6.98), cand("2", 6.97))
		policy.Begin(f.st, f.decide()["app"], now.Add(-time.Hour))
		f.tag(ref, cand("1", 9), cand("2", 8))
		f.tag(python, cand("1", 7), cand("2", 6.9, released(0)))
		f.record("app", policy.Publication{Digest: dig("app2")})
		facts := f.st.Images["app"]
		assert.Equal(t, dig("1"), facts.On(ref).Digest, "what was asked for, though newer ones are ripe by now")
		assert.Equal(t, dig("0"), facts.On(python).Digest, "what was ripe then, and not what was released since")
		assert.Equal(t, state.Unproven, facts.Rebuild.Status)
	})
	t.Run("some evidence: the rest is recorded", func(t *testing.T) {
		f := enroll(t, mature, map[string][]string{"app": {ref, python}}, nil)
		f.tag(ref, cand("1", 8))
		f.tag(python)
		policy.Begin(f.st, f.decide()["app"], now)
		f.record("app", policy.Publication{Digest: dig("app2"), BuiltOn: proven("1")})
		facts := f.st.Images["app"]
		assert.Equal(t, state.Provenance, facts.On(ref).Evidence)
		assert.Equal(t, state.Recorded, facts.On(python).Evidence)
		assert.Equal(t, state.Succeeded, facts.Rebuild.Status)
	})
	t.Run("a child: what its parent had published at the request", func(t *testing.T) {
		f := family(t)
		f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
		policy.Begin(f.st, f.decide()["child"], now)
		f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("newer")}, now)
		f.record("child", policy.Publication{Digest: dig("child2")})
		assert.Equal(t, dig("new"), f.st.Images["child"].On(parentRef).Digest)
		assert.Equal(t, policy.StopInterval, f.decide()["child"].Stop, "for the newer one")
		assert.Equal(t, dig("newer"), f.decide()["child"].Targets[0].Digest)
	})
	t.Run("what is used no longer is forgotten", func(t *testing.T) {
		f := app(t, "")
		f.on("app", python, "7")
		f.record("app", policy.Publication{Digest: dig("app2")})
		assert.Len(t, f.st.Images["app"].BuiltOn, 1)
	})
	t.Run("half an answer", func(t *testing.T) {
		f := app(t, "")
		assert.False(t, f.record("app", policy.Publication{Version: "9"}))
		assert.Equal(t, "latest", f.st.Images["app"].CurrentVersion)
	})
}

func TestAssume(t *testing.T) {
	f := family(t)
	child := f.st.Images["child"]
	assume := func() bool { return policy.Assume(f.cfg.Find("child"), f.st, f.graph()) }
	require.False(t, assume(), "known")
	child.BuiltOn = nil
	require.True(t, assume())
	require.False(t, assume())
	assert.Equal(t, []state.BuiltOn{{Ref: parentRef, Snapshot: state.Snapshot{Digest: dig("parent")}, Evidence: state.Assumed}}, child.BuiltOn)
	assert.Equal(t, policy.Current, f.decide()["child"].Status)
	child.BuiltOn, f.st.Images["parent"].Published, f.st.Images["parent"].CurrentDigest = nil, nil, ""
	require.False(t, assume(), "the parent has published nothing")
	child.CurrentDigest = ""
	require.False(t, assume(), "what was never published was built on nothing")
}

func TestCloseOverdue(t *testing.T) {
	f := started(t, state.Requested)
	f.st.Images["app"].Rebuild.Message = "the token is not valid"
	require.Empty(t, policy.CloseOverdue(f.st, now))
	require.Equal(t, []string{"app"}, policy.CloseOverdue(f.st, now.Add(23*time.Hour)))
	r := f.st.Images["app"].Rebuild
	assert.Equal(t, state.Failed, r.Status)
	assert.Equal(t, 1, r.Failures)
	assert.Equal(t, "could not be started within 1d: the token is not valid", r.Message)
	require.Empty(t, policy.CloseOverdue(f.st, now.Add(24*time.Hour)))

	f = started(t, state.Running)
	f.st.Images["app"].Rebuild.TriedAt = state.At(now.Add(20 * time.Hour)) // a later pass started it
	require.Empty(t, policy.CloseOverdue(f.st, now.Add(43*time.Hour)))
	require.Equal(t, []string{"app"}, policy.CloseOverdue(f.st, now.Add(44*time.Hour)))
	assert.Equal(t, "the run did not end within 1d", f.st.Images["app"].Rebuild.Message)
}
