package state_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// TestDistrust: a candidate may be used if it satisfies the demand of images.yaml, or if somebody has waived that.
func TestDistrust(t *testing.T) {
	for _, tt := range []struct {
		name, demand string
		c            state.Candidate
		want         string
	}{
		{"no rule", "", state.Candidate{}, ""},
		{"no rule any longer", "", state.Candidate{Untrusted: "no signature"}, "no signature"},
		{"never asked", "signature by a", state.Candidate{}, state.NotVerified},
		{"verified", "signature by a", state.Candidate{Verified: "signature by a"}, ""},
		{"verified for another rule", "signature by b", state.Candidate{Verified: "signature by a"}, state.NotVerified},
		{"untrusted", "signature by a", state.Candidate{Untrusted: "no signature"}, "no signature"},
		{"waived", "signature by a", state.Candidate{Untrusted: "no signature", TrustWaived: at(1)}, ""},
		{"released is not waived", "signature by a", state.Candidate{Untrusted: "no signature", Released: at(1)}, "no signature"},
	} {
		b := &state.Base{Demand: tt.demand}
		assert.Equal(t, tt.want, b.Distrust(&tt.c), tt.name)
	}
}

func at(hours int) state.Time {
	return state.At(time.Date(2026, 3, 1, hours, 0, 0, 0, time.UTC))
}

// TestVerification: what an analysis learns about signatures, and what changes no byte.
func TestVerification(t *testing.T) {
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	b := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22", Demand: "signature by a"}
	for i, c := range []string{"0", "1", "2", "3"} {
		b.Observe(state.Snapshot{Digest: digest(c)}, at(i).Time)
	}
	b.Find(digest("2")).Withdrawn = at(3)
	assert.Equal(t, []string{digest("3"), digest("1"), digest("0")}, b.Unverified(10))
	assert.Equal(t, []string{digest("3")}, b.Unverified(1))

	b.SetVerified(digest("1"), at(5).Time)
	c := b.Find(digest("1"))
	assert.Equal(t, "signature by a", c.Verified)
	assert.True(t, c.Trusted.IsZero(), "it was never untrusted")
	b.SetUntrusted(digest("3"), "no\nsignature", false)
	c = b.Find(digest("3"))
	assert.Equal(t, "no signature", c.Untrusted)
	before := *c
	b.SetUntrusted(digest("3"), "no response", true)
	assert.Equal(t, before, *c, "an outage replaces no answer")
	b.SetUntrusted(digest("3"), "wrong identity", false)
	assert.Equal(t, "wrong identity", c.Untrusted)
	b.SetVerified(digest("3"), at(6).Time)
	assert.Equal(t, at(6), c.Trusted)
	assert.Empty(t, c.Untrusted)
	b.SetUntrusted(digest("0"), "no response", true)
	assert.Equal(t, "no response", b.Baseline.Untrusted)
	assert.Equal(t, []string{digest("0")}, b.Unverified(10))
	b.SetVerified(digest("9"), at(6).Time) // not known

	b.Demand = "signature by b"
	assert.Equal(t, []string{digest("3"), digest("1"), digest("0")}, b.Unverified(10), "another rule is a new question")
	b.Demand = ""
	assert.Empty(t, b.Unverified(10))
	b.ForgetTrust()
	require.Empty(t, b.Baseline.Untrusted)
	assert.True(t, c.Trusted.IsZero())
	c.Hold("broken", at(7).Time)
	assert.True(t, c.TrustWaived.IsZero())
}
