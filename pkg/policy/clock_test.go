package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const year = 365

// Nothing waits for a time that only a wrong clock can have written.
func TestFutureTimesDelayNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*state.Image)
		want   policy.Status
	}{
		{"a rebuild that failed", func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Failed, RequestedAt: ago(-year), FinishedAt: ago(-year), Failures: 1}
		}, policy.Due},
		{"a rebuild that runs", func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: ago(-year)}
		}, policy.Due},
		{"a rebuild that was tried again", func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: ago(2), TriedAt: ago(-year)}
		}, policy.Due},
		{"a rebuild that is built", func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Built, RequestedAt: ago(-year), FinishedAt: ago(-year)}
		}, policy.Due},
		{"a rebuild for the same digests", func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Unproven, RequestedAt: ago(-year), FinishedAt: ago(-year), Bases: []state.Target{{Ref: ref, Snapshot: snapOf("1")}}}
		}, policy.Due},
		{"an image on a digest that was never seen", func(i *state.Image) {
			i.LastBuilt = ago(-year)
			i.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: snapOf("x"), Evidence: state.Provenance})
		}, policy.Due},
		{"an image that was never published", func(i *state.Image) {
			i.CurrentDigest, i.Unpublished = "", ago(-year)
		}, policy.Due},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := app(t, mature, cand("1", 8))
			test.change(f.st.Images["app"])
			for _, days := range []float64{0, 3, 30} { // a failure that is recorded late is tried again like any other
				dec := policy.Decide(f.cfg, f.st, f.graph(), ago(-days).Time)[0]
				if dec.Status == test.want {
					assert.False(t, dec.Since.After(ago(-days).Time), "since %s", dec.Since)
					return
				}
				assert.Less(t, dec.Until, ago(-days-2).Time, dec.Reason)
				policy.CloseOverdue(f.st, ago(-days).Time)
			}
			t.Fatal("it is never due")
		})
	}
}

func TestParentWithFutureTimeDelaysNoChild(t *testing.T) {
	for name, parent := range map[string]func(*state.Image){
		"failed": func(i *state.Image) {
			i.Rebuild = &state.Rebuild{ID: "r-1", Status: state.Failed, RequestedAt: ago(-year), FinishedAt: ago(0.01), Failures: 1}
		},
		"published": func(i *state.Image) { i.Published[0].Since = ago(-year) },
	} {
		t.Run(name, func(t *testing.T) {
			f := enroll(t, mature, map[string][]string{"child": {parentRef, ref}, "parent": {ref}}, nil)
			f.tag(ref, cand("1", 8))
			f.on("child", ref, "0")
			f.on("parent", ref, "0")
			f.st.Images["child"].SetBuiltOn(state.BuiltOn{Ref: parentRef, Snapshot: state.Snapshot{Digest: dig("before")}, Evidence: state.Provenance})
			parent(f.st.Images["parent"])
			if name == "published" {
				f.on("parent", ref, "1")
			}
			dec := f.decide()["child"]
			require.Equal(t, policy.Due, dec.Status, dec.Reason)
			assert.False(t, dec.Since.After(now))
		})
	}
}

// The tag moved after the rebuild was requested: what it then held is too new to be believed, whatever the times say.
func TestRebuildWithAFutureTime(t *testing.T) {
	f := app(t, mature, cand("1", 8), cand("2", -year))
	policy.Begin(f.st, f.decide()["app"], ago(-year).Time)
	f.record("app", policy.Publication{Version: "latest", Digest: dig("new")})
	assert.Equal(t, state.Unproven, f.st.Images["app"].Rebuild.Status)
	assert.Equal(t, dig("1"), f.st.Images["app"].On(ref).Digest)
}

func TestDigestBeforeAReturn(t *testing.T) {
	f := app(t, mature, cand("1", 9), cand("2", 8, returned(0.01)))
	f.st.Images["app"].Request(state.Rebuild{ID: "r-1", RequestedAt: ago(1), Bases: []state.Target{{Ref: ref, Snapshot: snapOf("1")}}})
	f.record("app", policy.Publication{Version: "latest", Digest: dig("new")})
	assert.Equal(t, dig("1"), f.st.Images["app"].On(ref).Digest, "the build ran while it was away")
}
