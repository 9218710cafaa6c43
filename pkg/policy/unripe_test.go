package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func TestBuiltOnAnUnripeDigest(t *testing.T) {
	for _, test := range []struct {
		name       string
		on         string
		built      float64 // days ago
		evidence   state.Evidence
		candidates []state.Candidate
		want       string
		reason     string
	}{
		{"on the baseline", "0", 3, state.Provenance, nil, "", "up to date"},
		{"on a ripe one", "1", 1, state.Provenance, []state.Candidate{cand("1", 9)}, "", "up to date"},
		{"on a young one", "1", 3, state.Provenance, []state.Candidate{cand("1", 9)}, "younger than 7d", "up to date; built on a digest of node:22 that was younger than 7d"},
		{"on a young one, by its layers", "1", 3, state.Layers, []state.Candidate{cand("1", 9)}, "younger than 7d", "up to date; built on a digest of node:22 that was younger than 7d"},
		{"on a young one, as far as assumed", "1", 3, state.Assumed, []state.Candidate{cand("1", 9)}, "", "up to date"},
		{"on a young one, and a newer one waits", "1", 3, state.Provenance, []state.Candidate{cand("1", 9), cand("2", 1)}, "younger than 7d", "node:22 moved 1d ago; 7d delay; built on a digest of node:22 that was younger than 7d"},
		{"on one that the tag held between two observations", "x", 3, state.Provenance, nil, "never seen under its tag", "up to date; built on a digest of node:22 that was never seen under its tag"},
		{"on one from before the baseline", "x", 40, state.Provenance, nil, "", "up to date"},
		{"on one from about the time of the baseline", "x", 29.5, state.Provenance, nil, "", "up to date"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := app(t, mature, test.candidates...)
			facts := f.st.Images["app"]
			facts.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: snapOf(test.on), Evidence: test.evidence})
			facts.LastBuilt = ago(test.built)
			dec := f.decide()["app"]
			assert.Equal(t, test.want, dec.Bases[0].Unripe)
			assert.Equal(t, test.reason, dec.Reason)
		})
	}
}

// Only so many candidates are kept, so a digest that is not among them may have ripened before it was dropped.
func TestBuiltOnADigestThatMayHaveBeenDropped(t *testing.T) {
	var list []state.Candidate
	for i := range state.MaxCandidates {
		list = append(list, cand(string(rune('A'+i)), 29-float64(i)/10))
	}
	f := app(t, mature, list...)
	facts := f.st.Images["app"]
	facts.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: snapOf("x"), Evidence: state.Provenance})
	facts.LastBuilt = ago(1)
	assert.Empty(t, policy.NewPast().Unripe(f.cfg.Find("app"), f.tag(ref, list...), facts.On(ref), []string{"linux/amd64"}, now))
	assert.Empty(t, f.decide()["app"].Bases[0].Unripe)
}
