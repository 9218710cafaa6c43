package policy_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/long"
)

var update = flag.Bool("update", false, "write docs/simulation.md")

const (
	python = "docker.io/library/python:3.12-slim"
	node   = "docker.io/library/node:22-slim"
	tableF = "../../docs/simulation.md"
)

// pattern is a way in which bases move and people act.
type pattern struct {
	name   string
	deps   func() map[string][]string
	extra  map[string]string
	step   func(w *world)
	proven bool   // only with evidence: without, nobody can know what a build got from a tag that flaps
	count  string // the image whose rebuilds the table shows
	check  func(w *world)
}

func one() map[string][]string { return map[string][]string{"app": {python}} }

func every(days int) func(*world) {
	return func(w *world) {
		if w.daily(days) {
			w.push(python)
		}
	}
}

// at reports whether this is the step of that hour.
func (w *world) at(d time.Duration) bool { return w.now.Sub(epoch) == d }

// newest is the candidate of what python holds, as state has it, or nil.
func (w *world) newest() *state.Candidate {
	return w.st.Base(python).Find(w.tags[python].current.Digest)
}

var diamond = map[string][]string{
	"a": {python}, "b": {"ghcr.io/acme/a:latest"}, "c": {"ghcr.io/acme/a:latest"},
	"d": {"ghcr.io/acme/b:latest", "ghcr.io/acme/c:latest", python},
}

var patterns = []pattern{
	{name: "pushed every day", deps: one, step: every(1), count: "app"},
	{name: "pushed every 5 days", deps: one, step: every(5), count: "app"},
	{name: "pushed every 30 days", deps: one, step: every(30), count: "app"},
	{name: "other platforms only, five times in 12 hours, every 10 days", deps: one, count: "app", step: func(w *world) {
		if h := w.hours() % 240; h < 12 && h%3 == 0 || h == 12 {
			w.pushOther(python)
		}
	}, check: func(w *world) { require.Zero(w.t, w.rebuilds["app"]) }},
	{name: "taken back after 20 hours", deps: one, count: "app", step: func(w *world) {
		good := w.tags[python].current
		if w.daily(10) && !w.at(90*day-time.Hour) {
			w.push(python)
		} else if w.hours()%240 == 19 && good.seq > 1 {
			good.seq, good.Snapshot = 1, w.st.Base(python).Baseline.Snapshot
			w.move(python, good)
		}
	}, check: func(w *world) {
		if w.rule.delay > 20*time.Hour && w.weather == calm {
			require.Zero(w.t, w.rebuilds["app"])
		}
	}},
	{name: "taken back, and returned 3 days later", deps: one, count: "app", step: returns},
	{name: "replicas disagree for 3 days after each push, every 10 days", deps: one, proven: true, count: "app", step: func(w *world) {
		if w.daily(10) {
			old := w.tags[python].current
			w.push(python)
			w.tags[python].flaps = &old
		} else if w.hours()%240 == 71 {
			w.tags[python].flaps = nil
		}
	}},
	{name: "seen by a clock that is a year ahead, every 10 days", deps: one, count: "app", step: func(w *world) {
		every(10)(w)
		w.skew = 0
		if w.hours()%240 < 8 {
			w.skew = 365 * day
		}
	}},
	{name: "clocks differ by ten minutes, every 5 days", deps: one, count: "app", step: func(w *world) {
		every(5)(w)
		w.jitter = state.ClockSkew
	}},
	{name: "two delays on one base, every 5 days", count: "slow", extra: map[string]string{"slow": "  rebuildDelay: 12d\n"}, step: every(5),
		deps: func() map[string][]string { return map[string][]string{"app": {python}, "slow": {python}} }},
	{name: "delay changed while waiting, every 10 days", deps: one, count: "app", step: func(w *world) {
		every(10)(w)
		if h := w.hours() % 480; h == 300 || h == 420 {
			w.rule.delay = map[int]time.Duration{300: 2 * w.rule.delay, 420: w.rule.delay / 2}[h]
			w.configure(nil)
			w.loosened = true
		}
	}},
	{name: "base dropped while its candidate waits", deps: func() map[string][]string { return map[string][]string{"app": {python, node}} }, count: "app", step: func(w *world) {
		if w.at(10 * day) {
			w.push(node)
		}
		if w.at(10*day + 20*time.Hour) {
			w.setBases("app", python)
			delete(w.tags, node)
		}
	}, check: func(w *world) { require.Zero(w.t, w.rebuilds["app"]) }},
	{name: "builds fail for 20 days, then reset, every 10 days", deps: one, count: "app", step: func(w *world) {
		every(10)(w)
		if w.failAll = w.now.Sub(epoch) > 20*day && w.now.Sub(epoch) < 40*day; w.failAll {
			w.excused = w.now.Add(3 * day)
		}
	}},
	{name: "released after a day, and held after two, every 15 days", deps: one, count: "app", step: func(w *world) {
		every(15)(w)
		switch c := w.newest(); {
		case c == nil:
		case w.hours()%360 == 24:
			c.Release("fixes a serious finding", w.now)
		case w.hours()%360 == 48:
			c.Hold("breaks the fonts", w.now)
			w.loosened = true
		}
		if c := w.newest(); c != nil && !c.Held.IsZero() {
			w.excused = w.now
		}
	}},
	{name: "diamond, tip also on the base, every 10 days", deps: func() map[string][]string { return cloneDeps(diamond) }, count: "d", step: every(10), check: func(w *world) {
		if w.weather == calm {
			require.Equal(w.t, w.rebuilds["a"], w.rebuilds["d"], "the tip is built once per change")
		}
	}},
	{name: "diamond, delay shortened while it waits", deps: func() map[string][]string { return cloneDeps(diamond) }, count: "d", step: func(w *world) {
		every(30)(w)
		if w.at(33 * day) {
			w.rule.delay, w.excused = 12*time.Hour, w.now
			w.configure(nil)
		}
	}, check: func(w *world) {
		if w.weather == calm {
			require.Equal(w.t, w.rebuilds["a"], w.rebuilds["d"], "the tip is built once per change")
		}
	}},
	{name: "chain of five, every 10 days", count: "i5", step: every(10), deps: func() map[string][]string {
		m := map[string][]string{"i1": {python}}
		for i := 2; i <= 5; i++ {
			m[fmt.Sprintf("i%d", i)] = []string{fmt.Sprintf("ghcr.io/acme/i%d:latest", i-1)}
		}
		return m
	}, check: func(w *world) {
		if w.weather == calm {
			require.Equal(w.t, w.rebuilds["i1"], w.rebuilds["i5"])
		}
	}},
	{name: "index completed in five steps, every 10 days", deps: one, extra: map[string]string{"app source": ", platforms: [linux/amd64, linux/arm64]"}, count: "app",
		step: func(w *world) { steps(w, false) }, check: func(w *world) {
			if w.weather == calm {
				require.Equal(w.t, 9, w.rebuilds["app"], "once for each index")
			}
		}},
	{name: "five platforms replaced one by one, every 10 days", deps: one, count: "app",
		extra: map[string]string{"app source": ", platforms: [linux/amd64, linux/arm/v7, linux/arm64, linux/386, linux/s390x]"},
		step:  func(w *world) { steps(w, true) }, check: func(w *world) {
			if w.weather == calm {
				require.LessOrEqual(w.t, w.rebuilds["app"], 2*9, "rebuildInterval takes the later ones together")
			}
		}},
	{name: "pushed every day, rebuildInterval 3d", deps: one, extra: map[string]string{"app": "  rebuildInterval: 3d\n"}, step: every(1), count: "app"},
	{name: "weekends closed, pushed every 5 days", deps: one, count: "app", step: every(5),
		extra: map[string]string{"app": "  windows: [{kind: Deny, schedule: \"0 0 * * 6\", duration: 2d}]\n"}},
	{name: "open for three hours a week, pushed every 5 days", deps: one, count: "app", step: every(5),
		extra: map[string]string{"app": "  windows: [{kind: Allow, schedule: \"0 6 * * 2\", duration: 3h}]\n"}},
	{name: "diamond, paused for 12 days every 30", deps: func() map[string][]string { return cloneDeps(diamond) }, count: "d", step: func(w *world) {
		every(10)(w)
		switch w.hours() % 720 {
		case 200:
			w.st.Pause(state.Pause{Reason: "freeze", At: state.At(w.now), Until: state.At(w.now.Add(15 * day))})
		case 200 + 12*24:
			w.st.Resume()
		}
	}, check: func(w *world) {
		if w.weather == calm {
			require.Equal(w.t, w.rebuilds["a"], w.rebuilds["d"], "the tip is built once per change")
		}
	}},
	{name: "frozen from the 10th to the 22nd, urgent after 12 hours, every 15 days", deps: one, count: "app",
		extra: map[string]string{"app": "  windows: [{kind: Deny, schedule: \"0 0 10 * *\", duration: 12d, urgent: true}]\n  urgent: {minAge: 0}\n"}, step: func(w *world) {
			every(15)(w)
			if c := w.newest(); c != nil && w.hours()%360 == 12 {
				c.Release("fixes CVE-2026-1", w.now)
				c.Urgent = []string{"CVE-2026-1"}
			}
			if t := w.tags[python]; w.weather == calm && w.hours()%360 == 24 && t.current.seq > 1 {
				require.Equal(w.t, t.current.seq, w.seqOf[w.images["app"].used[python].Digest], "%s: the fix waits", w.now)
			}
		}},
	{name: "autoRebuild: false, every 5 days", deps: one, extra: map[string]string{"app": "  autoRebuild: false\n"}, count: "app", step: every(5),
		check: func(w *world) { require.Zero(w.t, w.rebuilds["app"]) }},
}

// steps completes an index in five steps within eight hours.
func steps(w *world, keepOld bool) {
	if h := w.hours() % 240; h >= 100 && h <= 108 && h%2 == 0 {
		w.complete(python, (h-100)/2, keepOld)
	}
}

// returns takes a push back and brings the same digest again: no Freight and no event come of that.
func returns(w *world) {
	t := w.tags[python]
	switch w.hours() % 720 {
	case 100:
		old := t.current
		w.push(python)
		w.kept = [2]push{old, t.current}
	case 112:
		w.move(python, w.kept[0])
	case 184:
		w.move(python, w.kept[1])
	}
}

func cloneDeps(m map[string][]string) map[string][]string {
	out := map[string][]string{}
	for k, v := range m {
		out[k] = slices.Clone(v)
	}
	return out
}

var rules = []rule{
	{config.Mature, day, true}, {config.Mature, 7 * day, true}, {config.Settle, day, false}, {config.Settle, 7 * day, false},
}

func live(t *testing.T, p pattern, r rule, wx weather, seed uint64) *world {
	w := newWorld(t, seed, r, wx, p.deps(), p.extra)
	for range 90 * 24 {
		w.step(p.step)
	}
	w.settle()
	if p.check != nil {
		p.check(w)
	}
	return w
}

func TestSimulation(t *testing.T) {
	type row struct {
		pushes, calm int
		stormy       float64
	}
	const seedsOfTable = 20
	seeds := long.Iterations(len(rules), seedsOfTable)
	rows := make([][]row, len(patterns))
	t.Run("patterns", func(t *testing.T) {
		for i, p := range patterns {
			rows[i] = make([]row, len(rules))
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				for j, r := range rules {
					w := live(t, p, r, calm, 1)
					rows[i][j] = row{pushes: w.moves, calm: w.rebuilds[p.count]}
				}
				for seed := range seeds {
					j, round := seed%len(rules), seed/len(rules)
					s := rules[j]
					s.pin = s.pin != (round%4 >= 2) // either policy also with the other way to build
					w := live(t, p, s, stormy(round%2 == 0 || p.proven), uint64(seed)+2)
					rows[i][j].stormy += float64(w.rebuilds[p.count]) * float64(len(rules)) / float64(seeds)
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	want, err := os.ReadFile(tableF)
	require.NoError(t, err)
	var b strings.Builder
	b.WriteString(introduction)
	for i, p := range patterns {
		for j, r := range rules {
			row := rows[i][j]
			calmly := fmt.Sprintf("| %s | %s | %s | %d | %d | ", p.name, r.policy, config.Duration(r.delay), row.pushes, row.calm)
			if !*update {
				require.Contains(t, string(want), "\n"+calmly, stale)
			}
			fmt.Fprintf(&b, "%s%.1f |\n", calmly, row.stormy)
		}
	}
	if seeds < seedsOfTable {
		return
	}
	if *update {
		require.NoError(t, os.WriteFile(tableF, []byte(b.String()), 0o644))
		return
	}
	require.Equal(t, string(want), b.String(), stale)
}

const stale = "docs/simulation.md is out of date: run go test ./pkg/policy -run Simulation -update"

const introduction = `<!-- Generated by: go test ./pkg/policy -run Simulation -update. Do not edit. -->
# Ninety days of rebuilds, simulated

How often is an image rebuilt, and can one be forgotten? A test simulates ninety days of a small fleet, hour by hour,
with an injected clock. It models the systems around imagefactory:

- a **registry** whose tags move by the patterns below;
- **Kargo**, which polls every six hours and makes an event only for a digest that it never saw before;
- the **Jobs** that analyze, and the hourly pass of promote, which checks everything every sixth time, and in between the tags
  that wait, are due, or may return to a withdrawn digest;
- a **forge** whose runs take minutes to hours and publish an image;
- **people** who push, release, hold, pause, reset, and change delays.

The same functions as in the commands record facts and decide. Each pattern is simulated
once without failures (*calm*), and with twenty seeds in which much fails (*storm*): events are lost, Jobs fail with all their
retries or record an answer that is hours old, registries are unreachable or send partial responses, whole passes fail,
dispatches are answered with 502, promote is killed between recording and starting a rebuild, runs fail or never end,
developers push on their own. In half of the storms images have provenance, in the other half there is no evidence of
what they were built on. Both policies are also tested with the other way to build, with or without the lock.

After every hour the test asserts that

- the lock never holds a digest that is younger than the delay (counted from its return, if it had been away for a day),
  held, or withdrawn, unless it was released or the published image is already built on it; and never one that lacks a platform
  of the image;
- the lock never goes back, except away from a withdrawn digest, or because a person held a digest or changed a delay;
- no rebuild starts in a pause, outside the windows of its image, or sooner than rebuildInterval after the last one that published
  something: urgent ones excepted where the window says so, and those that a person's release or hold caused;
- a rebuild never starts for a digest that the image is already built on, for one that only changes other platforms, while
  another rebuild runs, or under an ID that was used before;
- nothing starves: every digest that stayed under a tag, and every image that a parent published, is picked up within the delay
  (under settle, within the longest delay if newer ones arrive) and rebuildInterval, plus slack for failures; a digest that was
  away for 6 hours or longer waits from its return, and a freeze counts from its end;
- state files stay small.

Without failures it also asserts that the tip of a diamond is built once for each change, that an index completed in five steps
costs one rebuild, and that an urgent fix is built within half a day, also in a freeze that lets it pass. At the end failures and pushes
stop, and the test asserts that every image ends up on the digests that the tags hold, and that one more pass changes no byte.

It does not promise this: without evidence nobody can know which digest a build got from a tag that moved while the build ran.
Such an image catches up with the next digest.

Calm: rebuilds of the lowest image of the pattern, in ninety days and until everything is up to date. Storm: the mean of five
seeds each, including failed rebuilds and those after developers' own pushes to parents. In the calm runs mature uses the lock and
settle does not, as by default.

| pattern | policy | delay | pushes | rebuilds, calm | rebuilds, storm |
|---|---|---|---:|---:|---:|
`
