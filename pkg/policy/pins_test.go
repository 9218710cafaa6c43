package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// whole is a digest as a reference can have it.
func whole(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// pinnable is a candidate whose digest a reference can have.
func pinnable(c string, age float64, change ...func(*state.Candidate)) state.Candidate {
	out := cand(c, age, change...)
	out.Digest = whole(c)
	return out
}

// pinnedApp is one image that pins node:22, whose tag held a 30 days ago, and the candidates since.
func pinnedApp(t *testing.T, pin, lines string, candidates ...state.Candidate) *fleet {
	f := enroll(t, "", map[string][]string{"app": {ref + "@" + whole(pin)}},
		map[string]string{"app": "  source: {dockerfile: Dockerfile, updatePins: pullRequest}\n" + lines})
	base := f.tag(ref, candidates...)
	baseline := pinnable("a", 30)
	base.Baseline = &baseline
	f.st.Images["app"].SetBuiltOn(state.BuiltOn{Ref: ref + "@" + whole(pin), Snapshot: state.Snapshot{Digest: whole(pin)}, Evidence: state.Provenance})
	return f
}

func TestPinsThatMove(t *testing.T) {
	for name, tt := range map[string]struct {
		pin        string
		lines      string
		candidates []state.Candidate
		tagHeld    string
		change     func(*fleet)
		want       string // digest; "" if the pin stays
		status     policy.Status
		reason     string
	}{
		"nothing newer":                          {pin: "a", status: policy.Current, reason: "up to date"},
		"ripe":                                   {pin: "a", candidates: []state.Candidate{pinnable("b", 8)}, want: "b", status: policy.Waiting, reason: "pin of node:22 is to be moved by a pull request"},
		"waits":                                  {pin: "a", candidates: []state.Candidate{pinnable("b", 6)}, status: policy.Waiting, reason: "node:22 moved 6d ago; 7d delay"},
		"newest ripe of several":                 {pin: "a", candidates: []state.Candidate{pinnable("b", 20), pinnable("c", 8), pinnable("d", 1)}, want: "c", status: policy.Waiting},
		"never older":                            {pin: "c", candidates: []state.Candidate{pinnable("b", 20), pinnable("c", 1)}, status: policy.Current},
		"held":                                   {pin: "a", candidates: []state.Candidate{pinnable("b", 8, held(1))}, status: policy.Held, reason: "newer digest of node:22 is held"},
		"released":                               {pin: "a", candidates: []state.Candidate{pinnable("b", 1, released(0.5))}, want: "b", status: policy.Waiting},
		"withdrawn":                              {pin: "a", candidates: []state.Candidate{pinnable("b", 8, withdrawn(2))}, status: policy.Current},
		"pinned one held":                        {pin: "b", candidates: []state.Candidate{pinnable("b", 8, held(1))}, want: "a", status: policy.Waiting},
		"pinned one withdrawn":                   {pin: "b", candidates: []state.Candidate{pinnable("b", 8, withdrawn(2))}, want: "a", status: policy.Waiting},
		"incomplete":                             {pin: "a", candidates: []state.Candidate{pinnable("b", 8, lacks)}, status: policy.Incomplete},
		"untrusted":                              {pin: "a", candidates: []state.Candidate{pinnable("b", 8, untrusted)}, status: policy.Untrusted},
		"unknown pin":                            {pin: "f", candidates: []state.Candidate{pinnable("b", 8)}, status: policy.Current},
		"unknown pin, tag held the baseline":     {pin: "f", tagHeld: "a", want: "a", status: policy.Waiting},
		"unknown pin, tag held a young digest":   {pin: "f", tagHeld: "b", candidates: []state.Candidate{pinnable("b", 2)}, status: policy.Waiting, reason: "node:22 moved 2d ago; 7d delay"},
		"pin and what the tag held were dropped": {pin: "f", tagHeld: "e", candidates: []state.Candidate{pinnable("b", 21), pinnable("c", 10), pinnable("d", 1)}, want: "c", status: policy.Waiting},
		"pin and what the tag held were dropped, nothing later": {pin: "f", tagHeld: "e", candidates: []state.Candidate{pinnable("b", 21)}, status: policy.Current},
		"opted out":              {pin: "a", lines: "  autoRebuild: false\n", candidates: []state.Candidate{pinnable("b", 8)}, status: policy.OptedOut},
		"settle waits no longer": {pin: "a", lines: "  rebuildPolicy: settle\n", candidates: []state.Candidate{pinnable("b", 8), pinnable("c", 1)}, want: "b", status: policy.Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			f := pinnedApp(t, tt.pin, tt.lines, tt.candidates...)
			if tt.tagHeld != "" {
				f.st.Images["app"].BaseImages[0].Pin = &state.Pin{Since: ago(20), TagHeld: whole(tt.tagHeld)}
			}
			dec := f.decide()["app"]
			assert.Equal(t, tt.status, dec.Status, dec.Reason)
			assert.Contains(t, dec.Reason, tt.reason)
			assert.Equal(t, whole(tt.pin), dec.Bases[0].Lock.Digest, "a build uses what is pinned")
			if tt.want == "" {
				assert.Empty(t, dec.Pins)
				return
			}
			require.Len(t, dec.Pins, 1)
			assert.Equal(t, ref+"@"+whole(tt.want), dec.Pins[0].To)
			assert.Empty(t, dec.Targets)
		})
	}
}

func TestPinIsNotMovedWithoutUpdatePins(t *testing.T) {
	f := enroll(t, "", map[string][]string{"app": {ref + "@" + whole("a")}}, nil)
	f.tag(ref, pinnable("b", 8))
	dec := f.decide()["app"]
	assert.Equal(t, policy.Current, dec.Status)
	assert.Empty(t, dec.Pins)
	assert.False(t, f.graph().Watched("node-22"))
	assert.True(t, pinnedApp(t, "a", "").graph().Watched("node-22"))
}

func TestMovedPinIsRebuiltAfterTheBuildOfTheMerge(t *testing.T) {
	for name, tt := range map[string]struct {
		since    float64 // days
		evidence state.Evidence
		built    float64
		status   policy.Status
	}{
		"just merged":                           {0.01, state.Provenance, 30, policy.Waiting},
		"nothing has built it":                  {0.1, state.Provenance, 30, policy.Due},
		"without evidence":                      {0.1, state.Assumed, 30, policy.Due},
		"published meanwhile, without evidence": {0.1, state.Assumed, 0.09, policy.Current},
		"published meanwhile, on the old one":   {0.1, state.Provenance, 0.09, policy.Due},
	} {
		t.Run(name, func(t *testing.T) {
			f := pinnedApp(t, "b", "", pinnable("b", 8))
			facts := f.st.Images["app"]
			facts.BaseImages[0].Pin = &state.Pin{Since: ago(tt.since)}
			facts.LastBuilt = ago(tt.built)
			facts.BuiltOn = []state.BuiltOn{{Ref: ref + "@" + whole("a"), Snapshot: state.Snapshot{Digest: whole("a")}, Evidence: tt.evidence}}
			dec := f.decide()["app"]
			assert.Equal(t, tt.status, dec.Status, dec.Reason)
			if tt.status != policy.Due {
				return
			}
			assert.Contains(t, dec.Reason, "which the Dockerfile pins")
			require.Len(t, dec.Targets, 1)
			assert.Equal(t, whole("b"), dec.Targets[0].Digest)
		})
	}
}

func TestPinnedParentCascades(t *testing.T) {
	pinned := "ghcr.io/acme/base:1.2.3@" + whole("a")
	f := enroll(t, "", map[string][]string{"base": {ref}, "app": {pinned}},
		map[string]string{"app": "  source: {dockerfile: Dockerfile, updatePins: pullRequest}\n", "base": "  source: {dockerfile: Dockerfile}\n"})
	f.tag(ref)
	f.on("base", ref, "0")
	f.cfg.Find("base").Tags = nil
	base := f.st.Images["base"]
	base.Tags = &state.Tags{Strategy: "SemVer"}
	base.Published = []state.Published{{Tag: "1.2.3", Snapshot: state.Snapshot{Digest: whole("a")}, Since: ago(20)}}
	base.CurrentVersion, base.CurrentDigest = "1.2.3", whole("a")
	f.st.Images["app"].BaseImages[0].Pin = &state.Pin{Since: ago(10), TagHeld: whole("a")}
	assert.Equal(t, []string{"base"}, f.graph().Parents("app"))
	assert.Empty(t, f.decide()["app"].Pins)

	base.Published = append(base.Published, state.Published{Tag: "1.3.0", Snapshot: state.Snapshot{Digest: whole("b")}, Since: ago(1)})
	base.CurrentVersion, base.CurrentDigest = "1.3.0", whole("b")
	pins := f.decide()["app"].Pins
	require.Len(t, pins, 1, "at once: the delay applies to the parent")
	assert.Equal(t, "ghcr.io/acme/base:1.3.0@"+whole("b"), pins[0].To)

	base.CurrentVersion, base.CurrentDigest = "1.1.0", whole("c")
	base.Published = append(base.Published, state.Published{Tag: "1.1.0", Snapshot: state.Snapshot{Digest: whole("c")}, Since: ago(0)})
	assert.Empty(t, f.decide()["app"].Pins, "no older release")

	base.Published[0].Digest, base.Published[0].Since = whole("d"), ago(0.5)
	pins = f.decide()["app"].Pins
	require.Len(t, pins, 1, "the tag itself has moved")
	assert.Equal(t, "ghcr.io/acme/base:1.2.3@"+whole("d"), pins[0].To)
	base.Published[0].Since = ago(12)
	assert.Empty(t, f.decide()["app"].Pins, "a pin that is newer than what was observed")
}

func TestPauseAndWindowsStopPullRequests(t *testing.T) {
	f := pinnedApp(t, "a", "", pinnable("b", 8))
	f.st.Pause(state.Pause{Reason: "freeze", At: ago(1)})
	dec := f.decide()["app"]
	assert.Len(t, dec.Pins, 1)
	assert.Contains(t, dec.PinsStop, "freeze")
	assert.Contains(t, dec.Reason, "freeze")
}

func TestOpenPullRequestIsShown(t *testing.T) {
	f := pinnedApp(t, "a", "", pinnable("b", 8))
	f.st.Images["app"].PullRequest = &state.PullRequest{URL: "https://github.example/acme/x/pull/1", Since: ago(2), Pins: []string{ref + "@" + whole("b")}}
	dec := f.decide()["app"]
	assert.Equal(t, "pull request https://github.example/acme/x/pull/1 for node:22 waits to be merged, opened 2d ago", dec.Reason)
	assert.Equal(t, f.st.Images["app"].PullRequest, dec.PullRequest)
}
