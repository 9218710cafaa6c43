package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// urgently has scans release candidates for every image.
const urgently = mature + ", urgent: {minAge: 0}"

// configured is one image that is due for one tag, with more lines in its entry of images.yaml.
func configured(t *testing.T, lines string, candidates ...state.Candidate) *fleet {
	f := enroll(t, urgently, map[string][]string{"app": {ref}}, map[string]string{"app": lines})
	if len(candidates) == 0 {
		candidates = []state.Candidate{cand("1", 8)}
	}
	f.tag(ref, candidates...)
	f.on("app", ref, "0")
	f.lock("app")
	return f
}

// rebuilt records a rebuild of the image that was requested some days ago and counts as built.
func (f *fleet) rebuilt(name, id string, days float64) {
	img := f.st.Images[name]
	if img.Rebuild != nil {
		img.RebuildHistory = append(img.RebuildHistory, *img.Rebuild)
	}
	img.Rebuild = &state.Rebuild{ID: id, Status: state.Succeeded, RequestedAt: ago(days), FinishedAt: ago(days - 0.01)}
	img.LastBuilt = ago(days - 0.01)
}

func urgentFor(ids ...string) func(*state.Candidate) {
	return func(c *state.Candidate) { c.Urgent = ids }
}

func TestRebuildInterval(t *testing.T) {
	for _, test := range []struct {
		name   string
		lines  string
		change func(f *fleet)
		want   policy.Stop
		until  float64 // days from now
	}{
		{"no rebuild before", "", func(*fleet) {}, "", 0},
		{"rebuilt a day ago", "", func(f *fleet) { f.rebuilt("app", "r-1", 1) }, "", 0},
		{"rebuilt this morning", "", func(f *fleet) { f.rebuilt("app", "r-1", 0.25) }, policy.StopInterval, 0.75},
		{"rebuilt this morning, no interval", "  rebuildInterval: 0\n", func(f *fleet) { f.rebuilt("app", "r-1", 0.25) }, "", 0},
		{"a longer interval", "  rebuildInterval: 7d\n", func(f *fleet) { f.rebuilt("app", "r-1", 5) }, policy.StopInterval, 2},
		{"by hand this morning", "", func(f *fleet) { f.rebuilt("app", "rebuild-app.01jd", 0.25) }, "", 0},
		{"by hand this morning, and yesterday evening automatically", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.5)
			f.rebuilt("app", "rebuild-app.01jd", 0.25)
		}, policy.StopInterval, 0.5},
		{"failed this morning: repeated with its own backoff", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.st.Images["app"].Rebuild.Status, f.st.Images["app"].Rebuild.Failures = state.Failed, 1
		}, "", 0},
		{"failed, after one that succeeded this morning", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.4)
			f.rebuilt("app", "r-2", 0.25)
			f.st.Images["app"].Rebuild.Status, f.st.Images["app"].Rebuild.Failures = state.Failed, 1
		}, policy.StopInterval, 0.6},
		{"rebuilt in the future, by a wrong clock", "", func(f *fleet) { f.rebuilt("app", "r-1", -400) }, "", 0},
		{"urgent", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 1, released(0.1), urgentFor("CVE-1")))
		}, "", 0},
		{"a newer one than the urgent one is ripe", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 9, released(8.5), urgentFor("CVE-1")), cand("2", 8))
		}, "", 0},
		{"built on the urgent one already", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 9, released(8.5), urgentFor("CVE-1")), cand("2", 8))
			f.on("app", ref, "1")
		}, policy.StopInterval, 0.75},
		{"released by hand since then", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 1, released(0.1)))
		}, "", 0},
		{"released by hand before that", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 1, released(0.5)))
		}, policy.StopInterval, 0.75},
		{"held by hand since then", "", func(f *fleet) {
			f.rebuilt("app", "r-1", 0.25)
			f.tag(ref, cand("1", 20), cand("2", 9, held(0.1)))
			f.on("app", ref, "2")
		}, "", 0},
		{"never published", "", func(f *fleet) {
			f.st.Images["app"].CurrentDigest, f.st.Images["app"].BuiltOn, f.st.Images["app"].Unpublished = "", nil, ago(0)
		}, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := configured(t, test.lines)
			test.change(f)
			dec := f.decide()["app"]
			require.Equal(t, test.want, dec.Stop, dec.Reason)
			if test.want == "" {
				assert.Equal(t, policy.Due, dec.Status, dec.Reason)
				return
			}
			assert.Equal(t, policy.Waiting, dec.Status)
			assert.Equal(t, ago(-test.until).Time, dec.Until)
			assert.NotEmpty(t, dec.Targets)
			assert.Empty(t, policy.Startable(f.cfg, []policy.Decision{dec}))
			after := policy.Decide(f.cfg, f.st, f.graph(), dec.Until)[0]
			assert.Equal(t, policy.Due, after.Status, after.Reason)
		})
	}
	f := configured(t, "")
	f.rebuilt("app", "r-1", 0.25)
	assert.Equal(t, "last rebuild 6h ago; rebuildInterval 1d; newer digest of node:22 is due", f.decide()["app"].Reason)
}

// An image whose digest ripens sooner waits for the end of rebuildInterval, or for its window.
func TestStopAhead(t *testing.T) {
	const windows = `  windows: [{kind: Allow, schedule: "0 20 * * *", duration: 4h}]` + "\n"
	const hour = 1.0 / 24
	for _, test := range []struct {
		name, lines string
		rebuilt     float64 // days ago
		ripens      float64 // days from now
		want        policy.Stop
		until       float64 // days from now
		reason      string
	}{
		{"interval is over before", "", 0.5, 0.75, "", 0.75, "node:22 moved 6d ago; 7d delay"},
		{"interval ends later", "", 0.25, 0.5, policy.StopInterval, 0.75, "last rebuild 6h ago; rebuildInterval 1d; node:22 moved 6d ago; 7d delay"},
		{"window opens later", windows, 3, 2 * hour, policy.StopWindow, 8 * hour, "next window opens Mon 20:00 UTC; node:22 moved 6d ago; 7d delay"},
		{"window is open then", windows, 3, 9 * hour, "", 9 * hour, "node:22 moved 6d ago; 7d delay"},
		{"interval ends after the window", windows, 0.25, 9 * hour, policy.StopWindow, 1 + 8*hour, "next window opens Tue 20:00 UTC; node:22 moved 6d ago; 7d delay"},
		{"no window opens", `  windows: [{kind: Deny, schedule: "* * * * *", duration: 1m}]` + "\n", 3, 0.5, policy.StopWindow, 0.5, "window closed; none opens within a year; node:22 moved 6d ago; 7d delay"},
		{"opted out", "  autoRebuild: false\n", 0.25, 0.5, "", 0, "autoRebuild is false; node:22 moved 6d ago; 7d delay"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := configured(t, test.lines, cand("1", 7-test.ripens))
			f.rebuilt("app", "r-1", test.rebuilt)
			dec := f.decide()["app"]
			assert.Equal(t, test.want, dec.StopAhead)
			assert.Empty(t, dec.Stop, "it is not due")
			assert.Equal(t, test.reason, dec.Reason)
			if dec.Status == policy.OptedOut {
				assert.Zero(t, dec.Until)
				return
			}
			assert.Equal(t, policy.Waiting, dec.Status)
			assert.Equal(t, ago(-test.until).Time, dec.Until)
			assert.Equal(t, ago(-test.ripens).Time, dec.Bases[0].Until)
		})
	}
	f := configured(t, "", cand("1", 6.5))
	f.rebuilt("app", "r-1", 0.25)
	f.st.Images["app"].Rebuild.Status = state.Running
	assert.Empty(t, f.decide()["app"].StopAhead)
}

// now is a Monday, 12:00 UTC.
func TestWindows(t *testing.T) {
	const evenings = `  windows: [{kind: Allow, schedule: "0 20 * * *", duration: 4h, timeZone: Europe/Berlin}]` + "\n"
	for _, test := range []struct {
		name, lines string
		candidates  []state.Candidate
		want        policy.Stop
		reason      string
	}{
		{"none", "", nil, "", ""},
		{"closed", evenings, nil, policy.StopWindow, "window closed until Mon 20:00 Europe/Berlin; newer digest of node:22 is due"},
		{"open", strings.ReplaceAll(evenings, "20", "14"), nil, "", ""},
		{"denied for long", `  windows: [{kind: Deny, schedule: "0 0 1 6 *", duration: 30d}]` + "\n", nil, policy.StopWindow, "window closed until 2026-07-01 00:00 UTC; "},
		{"denied, urgent", `  windows: [{kind: Deny, schedule: "0 0 1 6 *", duration: 30d}]` + "\n", []state.Candidate{cand("1", 1, released(0), urgentFor("CVE-1"))}, policy.StopWindow, ""},
		{"denied, urgent may pass", `  windows: [{kind: Deny, schedule: "0 0 1 6 *", duration: 30d, urgent: true}]` + "\n", []state.Candidate{cand("1", 1, released(0), urgentFor("CVE-1"))}, "", ""},
		{"denied, released by hand", `  windows: [{kind: Deny, schedule: "0 0 1 6 *", duration: 30d, urgent: true}]` + "\n", []state.Candidate{cand("1", 1, released(0))}, policy.StopWindow, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := configured(t, test.lines, test.candidates...)
			dec := f.decide()["app"]
			require.Equal(t, test.want, dec.Stop, dec.Reason)
			assert.Equal(t, test.want == "", len(policy.Startable(f.cfg, []policy.Decision{dec})) == 1)
			if test.want == "" {
				assert.Equal(t, policy.Due, dec.Status)
				return
			}
			assert.Equal(t, policy.Waiting, dec.Status)
			assert.Contains(t, dec.Reason, test.reason)
			assert.Equal(t, policy.Due, policy.Decide(f.cfg, f.st, f.graph(), dec.Until)[0].Status)
			assert.NotEqual(t, policy.Due, policy.Decide(f.cfg, f.st, f.graph(), dec.Until.Add(-time.Second))[0].Status)
		})
	}
	f := configured(t, `  windows: [{kind: Deny, schedule: "* * * * *", duration: 1m}]`+"\n")
	dec := f.decide()["app"]
	assert.Equal(t, policy.Paused, dec.Status)
	assert.Equal(t, "window closed; none opens within a year; newer digest of node:22 is due", dec.Reason)
	assert.Zero(t, dec.Until)

	f = configured(t, evenings) // the interval ends after the window of today
	f.rebuilt("app", "r-1", 0.1)
	dec = f.decide()["app"]
	assert.Equal(t, policy.StopWindow, dec.Stop)
	assert.Equal(t, "window closed until Tue 20:00 Europe/Berlin; newer digest of node:22 is due", dec.Reason)
}

func TestPause(t *testing.T) {
	f := configured(t, "")
	f.st.Pause(state.Pause{Reason: "freeze", By: "alice", At: ago(1), Until: ago(-1)})
	dec := f.decide()["app"]
	assert.Equal(t, policy.Paused, dec.Status)
	assert.Equal(t, policy.StopPause, dec.Stop)
	assert.Equal(t, ago(-1).Time, dec.Until)
	assert.Equal(t, "paused by alice until 2026-06-02 12:00 UTC: freeze; newer digest of node:22 is due", dec.Reason)
	assert.Empty(t, policy.Startable(f.cfg, []policy.Decision{dec}))
	assert.Equal(t, policy.Due, policy.Decide(f.cfg, f.st, f.graph(), dec.Until)[0].Status, "it is over")

	f.tag(ref, cand("1", 1, released(0), urgentFor("CVE-1")))
	assert.Equal(t, policy.Paused, f.decide()["app"].Status, "urgent ones too")
	f.tag(ref, cand("1", 1))
	assert.Equal(t, policy.Waiting, f.decide()["app"].Status, "it is not due")

	f.tag(ref, cand("1", 8))
	f.st.Resume()
	assert.Nil(t, f.st.Pauses)
	f.st.Pause(state.Pause{Reason: "move", At: ago(1)}, "other")
	assert.Equal(t, policy.Due, f.decide()["app"].Status, "another image is")
	f.st.Pause(state.Pause{Reason: "move", At: ago(1)}, "app")
	assert.Equal(t, "paused: move; newer digest of node:22 is due", f.decide()["app"].Reason)
	f.st.Pause(state.Pause{Reason: "all", At: ago(1), Until: ago(-9)})
	assert.Zero(t, f.decide()["app"].Until, "the one that lasts longer")
	f.st.Images["app"].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: ago(0.1)}
	assert.Equal(t, policy.Running, f.decide()["app"].Status, "what runs goes on")
}

// stoppedParent is a parent that is due and stopped, and a child that is due for a base of its own.
func stoppedParent(t *testing.T, dueSince float64) *fleet {
	f := enroll(t, urgently, map[string][]string{"parent": {ref}, "child": {parentRef, python}}, nil)
	f.tag(ref, cand("1", 7+dueSince))
	f.tag(python, cand("1", 8))
	f.on("parent", ref, "0")
	f.on("child", python, "0")
	f.st.Images["child"].SetBuiltOn(state.BuiltOn{Ref: parentRef, Snapshot: state.Snapshot{Digest: dig("parent")}, Evidence: state.Provenance})
	f.st.Pause(state.Pause{Reason: "x", At: ago(1)}, "parent")
	return f
}

// A stopped parent is waited for like one that nobody can start: for a day since it was due.
func TestChildOfAStoppedParent(t *testing.T) {
	f := stoppedParent(t, 0.5)
	dec := f.decide()["child"]
	assert.Equal(t, policy.Waiting, dec.Status, dec.Reason)
	assert.Equal(t, "parent", dec.After)
	assert.Equal(t, ago(-0.5).Time, dec.Until)
	assert.Equal(t, policy.Due, stoppedParent(t, 1).decide()["child"].Status)

	f.tag(python, cand("1", 1, released(0), urgentFor("CVE-1")))
	assert.Equal(t, policy.Due, f.decide()["child"].Status, "an urgent one does not wait for it")
	f.st.Resume("parent")
	assert.Equal(t, policy.Waiting, f.decide()["child"].Status, "it does for one that starts now")
	f.st.Images["parent"].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: ago(0.1)}
	assert.Equal(t, policy.Waiting, f.decide()["child"].Status, "or that runs")
}

// What an urgent rebuild of a parent published is urgent for its children, and theirs.
func TestUrgencyIsInherited(t *testing.T) {
	f := family(t)
	f.rebuilt("child", "r-0", 0.4)
	f.rebuilt("parent", "r-1", 0.2)
	f.st.Images["parent"].Rebuild.Urgent = []string{"CVE-1"}
	f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
	dec := f.decide()["child"]
	assert.Equal(t, policy.Due, dec.Status, dec.Reason)
	assert.Equal(t, []string{"CVE-1"}, dec.Urgent)
	policy.Begin(f.st, dec, now)
	assert.Equal(t, []string{"CVE-1"}, f.st.Images["child"].Rebuild.Urgent, "so that it goes on")

	f = family(t)
	f.rebuilt("parent", "r-1", 0.4)
	f.st.Images["parent"].Rebuild.Urgent = []string{"CVE-1"}
	f.rebuilt("child", "r-2", 0.2)
	f.rebuilt("parent", "r-3", 0.1)
	f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
	dec = f.decide()["child"]
	assert.Equal(t, policy.StopInterval, dec.Stop, "the child has had the urgent one")
	assert.Empty(t, dec.Urgent)

	f = family(t)
	f.rebuilt("child", "r-0", 0.5)
	f.rebuilt("parent", "r-1", 0.4)
	f.st.Images["parent"].Rebuild.Urgent = []string{"CVE-1"}
	f.rebuilt("parent", "r-3", 0.1)
	f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
	assert.Equal(t, []string{"CVE-1"}, f.decide()["child"].Urgent, "another rebuild came after it")
}

// What a person released is rebuilt on all levels, whatever rebuildInterval says. Windows and pauses still stop it.
func TestReleasePassesOn(t *testing.T) {
	f := enroll(t, mature, map[string][]string{"base": {ref}, "middle": {"ghcr.io/acme/base:latest"}, "top": {"ghcr.io/acme/middle:latest"}}, nil)
	for child, parent := range map[string]string{"middle": "base", "top": "middle"} {
		f.st.Images[child].SetBuiltOn(state.BuiltOn{Ref: "ghcr.io/acme/" + parent + ":latest", Snapshot: state.Snapshot{Digest: dig(parent)}, Evidence: state.Provenance})
	}
	f.tag(ref, cand("1", 1, released(0.1)))
	f.on("base", ref, "0")
	for _, name := range []string{"base", "middle", "top"} {
		f.rebuilt(name, "r-"+name, 0.2)
	}
	at := now
	for i, name := range []string{"base", "middle", "top"} {
		dec := policy.Decide(f.cfg, f.st, f.graph(), at)[i] // parents first
		require.Equal(t, policy.Due, dec.Status, dec.Reason)
		policy.Begin(f.st, dec, at)
		assert.True(t, f.st.Images[name].Rebuild.Released)
		at = at.Add(time.Minute)
		f.st.Images[name].ObservePublished("latest", state.Snapshot{Digest: dig("new " + name)}, at)
		policy.RecordPublication(f.cfg.Find(name), f.st, f.graph(), policy.Publication{Version: "latest", Digest: dig("new " + name)}, at)
	}

	child := func(change func(f *fleet)) policy.Decision {
		f := family(t)
		f.rebuilt("child", "r-0", 0.4)
		f.rebuilt("parent", "r-1", 0.2)
		f.st.Images["parent"].Rebuild.Released = true
		f.st.Images["parent"].ObservePublished("latest", state.Snapshot{Digest: dig("new")}, now)
		change(f)
		return f.decide()["child"]
	}
	assert.Equal(t, policy.Due, child(func(*fleet) {}).Status)
	assert.Equal(t, policy.Due, child(func(f *fleet) {
		f.rebuilt("parent", "r-2", 0.1)
	}).Status, "another rebuild came after it")
	assert.Equal(t, policy.StopInterval, child(func(f *fleet) {
		f.st.Images["parent"].Rebuild.Released = false
	}).Stop, "nobody asked for it")
	assert.Equal(t, policy.StopInterval, child(func(f *fleet) {
		f.rebuilt("child", "r-2", 0.1)
		f.rebuilt("parent", "r-3", 0.05)
	}).Stop, "the child has had it")
	assert.Equal(t, policy.StopInterval, child(func(f *fleet) {
		f.st.Images["parent"].Rebuild.Status = state.Failed
	}).Stop, "it failed")
	assert.Equal(t, policy.StopPause, child(func(f *fleet) { f.st.Pause(state.Pause{Reason: "freeze", At: ago(1)}) }).Stop)
}

// A hold makes images leave the digest, and their children wait for rebuildInterval.
func TestHoldDoesNotPassOn(t *testing.T) {
	f := family(t)
	f.tag(ref, cand("1", 20), cand("2", 9, held(0.1)))
	f.on("parent", ref, "2")
	f.lock("parent")
	f.rebuilt("parent", "r-1", 0.2)
	dec := f.decide()["parent"]
	require.Equal(t, policy.Due, dec.Status, dec.Reason)
	policy.Begin(f.st, dec, now)
	assert.False(t, f.st.Images["parent"].Rebuild.Released)
}

func TestUrgentFindings(t *testing.T) {
	f := enroll(t, urgently, map[string][]string{"app": {ref, python}}, nil)
	f.tag(ref, cand("1", 2, released(1), urgentFor("CVE-2", "CVE-1")), cand("2", 1, released(0), urgentFor("CVE-3", "CVE-1")))
	f.tag(python, cand("1", 1))
	f.on("app", ref, "0")
	f.on("app", python, "0")
	f.lock("app")
	dec := f.decide()["app"]
	assert.Equal(t, []string{"CVE-1", "CVE-2", "CVE-3"}, dec.Urgent)
	f.st.Base(ref).Candidates[1].Hold("bad", now.Add(time.Hour))
	assert.Equal(t, []string{"CVE-1", "CVE-2"}, f.decide()["app"].Urgent, "what is held fixes nothing")
	f.on("app", ref, "1")
	assert.Empty(t, f.decide()["app"].Urgent)
	zero := config.Duration(0)
	f.cfg.Find("app").RebuildDelay = &zero
	assert.Empty(t, f.decide()["app"].Urgent)
}
