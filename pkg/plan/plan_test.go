package plan_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	day  = 24 * time.Hour
	node = "docker.io/library/node:22"
	base = "ghcr.io/acme/base:latest"
)

var now = time.Date(2026, 3, 1, 8, 40, 0, 0, time.UTC)

func dig(of string) string {
	sum := sha256.Sum256([]byte(of))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fleet is a fleet whose images were all built on the baselines.
type fleet struct {
	cfg *config.Config
	st  *state.State
}

// enroll returns a fleet with these images.yaml and references by image.
func enroll(t testing.TB, images string, deps map[string][]string) *fleet {
	cfg, err := config.Load(strings.NewReader(images), "images.yaml")
	require.NoError(t, err)
	f := &fleet{cfg, state.New()}
	for name, refs := range deps {
		img := &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Digest: dig(name)}, CurrentVersion: "latest", CurrentDigest: dig(name),
			LastBuilt: state.At(now.Add(-60 * day)), Tags: &state.Tags{Strategy: "Digest", Constraint: "latest"},
			Published: []state.Published{{Tag: "latest", Snapshot: state.Snapshot{Digest: dig(name)}, Since: state.At(now.Add(-60 * day))}},
		}
		f.st.Images[name] = img
		for i, ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from", Line: i + 1}}})
			if parent, ok := strings.CutPrefix(ref, "ghcr.io/acme/"); ok {
				img.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: dig(strings.TrimSuffix(parent, ":latest"))}, Evidence: state.Provenance})
				continue
			}
			r, err := state.ParseRef(ref)
			require.NoError(t, err)
			if r.Pinned() {
				continue
			}
			name := state.BaseName(r)
			if f.st.Bases[name] == nil {
				f.st.Bases[name] = &state.Base{Name: name, Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
				f.move(ref, "0", 60*day)
			}
			img.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: dig(ref + "0")}, Evidence: state.Provenance})
		}
	}
	return f
}

// move moves a tag to a digest some time ago.
func (f *fleet) move(ref, to string, ago time.Duration) {
	f.st.Base(ref).Observe(state.Snapshot{Digest: dig(ref + to)}, now.Add(-ago))
}

func (f *fleet) options() plan.Options {
	return plan.Options{Config: f.cfg, State: f.st, Graph: graph.Build(f.cfg, f.st), Now: now}
}

func (f *fleet) plan(t testing.TB, o plan.Options) *plan.Plan {
	before, err := f.st.Encode()
	require.NoError(t, err)
	p, err := plan.Make(o)
	require.NoError(t, err)
	after, err := f.st.Encode()
	require.NoError(t, err)
	require.Empty(t, state.Changed(before, after), "a plan changes the state")
	return p
}

// lines returns a plan in short: image, status, wave, time, parent.
func lines(p *plan.Plan) []string {
	var out []string
	for i := range p.Items {
		e := &p.Items[i]
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %d %s %s", e.Image, e.Status, e.Wave, e.At.Format("01-02 15:04"), e.After)))
	}
	return out
}

func skipped(p *plan.Plan) []string {
	var out []string
	for _, s := range p.Skipped {
		out = append(out, fmt.Sprintf("%s %s: %s", s.Image, s.Cause, s.Why))
	}
	return out
}

func entry(name, more string) string {
	return fmt.Sprintf("- {name: %s, repository: acme/%s, %s source: {provider: github, repo: acme/x, workflow: b.yml}}\n", name, name, more)
}

const head = "factory: {schedule: 17 * * * *}\nimages:\n"

func TestCascade(t *testing.T) {
	f := enroll(t, head+entry("base", "")+entry("web", "")+entry("api", ""), map[string][]string{"base": {node}, "web": {base, node}, "api": {base}})
	f.move(node, "1", 2*day)
	f.move(node, "2", day)
	p := f.plan(t, f.options())
	assert.Equal(t, []string{"base planned 1 03-07 09:17", "api planned 2 03-07 10:17 base", "web planned 2 03-07 10:17 base"}, lines(p))
	b := p.Items[0]
	assert.Equal(t, 2, b.Bases[0].Number, "the second digest")
	assert.Equal(t, dig(node+"2"), b.Bases[0].Digest)
	assert.Equal(t, now.Add(26*day), b.Latest, "the first digest waits no longer than maxRebuildDelay")
	assert.Equal(t, plan.FromDefault, b.ExpectedFrom)
	assert.Equal(t, now.Add(6*day).Add(37*time.Minute+30*time.Minute), b.Ends)
	assert.Empty(t, p.Items[1].Bases[0].Digest, "it is not built yet")
	assert.Equal(t, []plan.Dispatch{
		{Hour: time.Date(2026, 3, 7, 9, 0, 0, 0, time.UTC), Forge: "github.com", Builds: 1},
		{Hour: time.Date(2026, 3, 7, 10, 0, 0, 0, time.UTC), Forge: "github.com", Builds: 2},
	}, p.Dispatches)
	assert.Empty(t, p.Skipped)
}

// An image that was never published follows the parents that were not published either, on all levels.
func TestNeverPublished(t *testing.T) {
	f := enroll(t, head+entry("base", "")+entry("web", "")+entry("api", "")+entry("job", ""), map[string][]string{
		"base": {node}, "web": {base, node}, "api": {"ghcr.io/acme/web:latest"}, "job": {node},
	})
	for _, img := range f.st.Images {
		img.CurrentVersion, img.CurrentDigest, img.BuiltOn, img.Published, img.Unpublished = "", "", nil, nil, state.At(now.Add(-day))
	}
	p := f.plan(t, f.options())
	assert.Equal(t, []string{"base now 1 03-01 08:40", "job now 1 03-01 08:40", "web planned 2 03-01 09:17 base", "api planned 3 03-01 10:17 web"}, lines(p))

	f.st.Images["base"].CurrentDigest = dig("base")
	assert.Equal(t, []string{"job now 1 03-01 08:40", "web now 1 03-01 08:40", "api planned 2 03-01 09:17 web"}, lines(f.plan(t, f.options())))
}

// Times are whole seconds, and a rebuild that takes longer than usual may end now.
func TestWholeSeconds(t *testing.T) {
	f := enroll(t, head+entry("base", "")+entry("web", ""), map[string][]string{"base": {node}, "web": {node}})
	f.move(node, "1", 8*day)
	f.st.Images["base"].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Running, RequestedAt: state.At(now.Add(-5 * time.Hour))}
	o := f.options()
	o.Now = now.Add(123 * time.Millisecond).In(time.FixedZone("", 3600))
	p := f.plan(t, o)
	assert.Equal(t, now, p.Now)
	require.Len(t, p.Items, 2)
	assert.Equal(t, now, p.Items[0].Ends)
	assert.Equal(t, now, p.Items[1].At)
}

func TestSlotsOfAForge(t *testing.T) {
	var images strings.Builder
	deps := map[string][]string{}
	for i := range 12 {
		images.WriteString(entry(fmt.Sprintf("i%02d", i), ""))
		deps[fmt.Sprintf("i%02d", i)] = []string{node}
	}
	f := enroll(t, head+images.String(), deps)
	f.move(node, "1", 8*day)
	p := f.plan(t, f.options())
	require.Len(t, p.Items, 12)
	for i, e := range p.Items {
		assert.Equal(t, []string{"03-01 08:40", "03-01 09:17", "03-01 10:17"}[i/5], e.At.Format("01-02 15:04"), "five at once: %s", e.Image)
	}
}

func TestRunningAndBlocked(t *testing.T) {
	f := enroll(t, head+entry("base", "")+entry("web", "")+entry("api", ""), map[string][]string{"base": {node}, "web": {base}, "api": {node}})
	f.move(node, "1", 8*day)
	start := func(name string, ago time.Duration) *state.Rebuild {
		at := now.Add(-ago)
		d := policy.NewDecider(f.cfg, f.st, graph.Build(f.cfg, f.st), at).Decide(name)
		policy.Begin(f.st, d, at)
		return f.st.Images[name].Rebuild
	}
	f.st.Images["base"].RebuildHistory = []state.Rebuild{{ID: "r-0", Status: state.Succeeded, RequestedAt: state.At(now.Add(-9 * day)), FinishedAt: state.At(now.Add(-9*day + 2*time.Hour))}}
	r := start("base", time.Hour)
	r.Status, r.RunURL = state.Running, "https://github.com/acme/x/runs/1"
	start("api", 3*time.Hour).Message = "no token"
	p := f.plan(t, f.options())
	assert.Equal(t, []string{"base running 1 03-01 07:40", "api blocked 1 03-01 08:40", "web planned 2 03-01 10:17 base"}, lines(p))
	assert.Equal(t, plan.FromHistory, p.Items[0].ExpectedFrom)
	assert.Equal(t, now.Add(time.Hour), p.Items[0].Ends)
	assert.Equal(t, "could not be started yet: no token", p.Items[1].Reason)
	assert.Equal(t, f.st.Images["api"].Rebuild.ID, p.Items[1].Rebuild)
}

func TestSkipped(t *testing.T) {
	images := head + entry("out", "autoRebuild: false,") + entry("outheld", "autoRebuild: false,") + entry("held", "") + entry("pin", "") + entry("failed", "") + entry("never", "") + entry("slow", "rebuildDelay: 60d,") +
		"- {name: git, repository: acme/git, source: {provider: git, repo: \"https://git.example/x.git\"}}\n"
	other := "docker.io/library/alpine:3"
	f := enroll(t, images, map[string][]string{"out": {node}, "outheld": {other}, "held": {other}, "pin": {node + "@" + dig("pin")}, "failed": {node}, "slow": {node}, "git": {node}})
	f.move(node, "1", 8*day)
	f.move(other, "1", 8*day)
	f.st.Base(other).Candidates[0].Hold("bad", now)
	f.st.Images["failed"].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Failed, Failures: 3, Message: "exit 1", RequestedAt: state.At(now.Add(-day)), FinishedAt: state.At(now.Add(-day))}
	p := f.plan(t, f.options())
	assert.Empty(t, p.Items)
	assert.Equal(t, []string{
		"failed failed: 3 rebuilds failed in a row; no more until `imagefactory reset failed`; the last one: exit 1",
		"git manual: newer digest of node:22 is due; start the build by hand: source.provider is git",
		"held held: newer digest of alpine:3 is held",
		"never unknown: never analyzed",
		"out optedOut: autoRebuild is false; newer digest of node:22 is due",
		"outheld optedOut: autoRebuild is false; newer digest of alpine:3 is held",
		"pin pinned: pinned to a digest in the Dockerfile: a rebuild cannot move it",
		"slow later: node:22 moved 8d ago; 60d delay",
	}, skipped(p))
	assert.Equal(t, now.Add(52*day), p.Skipped[7].Until)
}

// An image whose rebuilds failed too often is skipped for that, also if its base has not ripened yet.
func TestSkippedAfterWait(t *testing.T) {
	f := enroll(t, head+entry("base", "")+entry("web", ""), map[string][]string{"base": {node}, "web": {"ghcr.io/acme/base:latest"}})
	f.move(node, "1", 2*day)
	for _, name := range []string{"base", "web"} {
		f.st.Images[name].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Failed, Failures: 3, RequestedAt: state.At(now.Add(-day)), FinishedAt: state.At(now.Add(-day))}
	}
	p := f.plan(t, f.options())
	assert.Empty(t, p.Items)
	assert.Equal(t, []string{"base failed: 3 rebuilds failed in a row; no more until `imagefactory reset base`"}, skipped(p))

	f.st.Images["base"].Rebuild = nil
	o := f.options()
	o.Change = &plan.Change{Ref: node, Base: "node-22", Digest: dig("new")}
	p = f.plan(t, o)
	assert.Len(t, p.Items, 1)
	assert.Equal(t, []string{"web failed: 3 rebuilds failed in a row; no more until `imagefactory reset web`"}, skipped(p))
}

func TestChange(t *testing.T) {
	images := head + entry("base", "") + entry("web", "") + entry("pin", "") + entry("out", "autoRebuild: false,") + entry("below", "") + entry("far", "rebuildDelay: 60d,") + entry("other", "")
	f := enroll(t, images, map[string][]string{
		"base": {node}, "web": {base}, "pin": {node + "@" + dig("pin")}, "out": {node}, "below": {"ghcr.io/acme/out:latest"}, "far": {node}, "other": {"docker.io/library/alpine:3"},
	})
	o := f.options()
	o.Change = &plan.Change{Ref: node, Base: "node-22", Digest: dig("new")}
	p := f.plan(t, o)
	assert.Equal(t, []string{"base planned 1 03-08 09:17", "web planned 2 03-08 10:17 base"}, lines(p))
	assert.Equal(t, []string{"far later: node:22 moved just now; 60d delay", "out optedOut: autoRebuild is false; node:22 moved just now; 7d delay", "pin pinned: pinned to a digest in the Dockerfile: a rebuild cannot move it"}, skipped(p))

	o.Change = &plan.Change{Ref: base, Image: "base", Digest: dig("new")}
	assert.Equal(t, []string{"web now 1 03-01 08:40"}, lines(f.plan(t, o)))
}

// A build without the lock takes what the tag holds, even if it is made for something else.
func TestChangeTakenByAnotherRebuild(t *testing.T) {
	other := "docker.io/library/alpine:3"
	f := enroll(t, head+entry("web", ""), map[string][]string{"web": {node, other}})
	f.move(other, "1", 8*day)
	o := f.options()
	o.Change = &plan.Change{Ref: node, Base: "node-22", Digest: dig("new")}
	p := f.plan(t, o)
	require.Equal(t, []string{"web now 1 03-01 08:40"}, lines(p))
	assert.Equal(t, node, p.Items[0].Takes)
}

func TestSchedule(t *testing.T) {
	f := enroll(t, head, nil)
	f.cfg.Factory.Schedule = "now and then"
	_, err := plan.Make(f.options())
	require.ErrorContains(t, err, `parsing factory.schedule "now and then"`)
}

// large returns a fleet of n images on n/20 base images, a fifth of them on another image.
func large(b *testing.B, n int, forges int) *fleet {
	var images strings.Builder
	images.WriteString(head)
	deps := map[string][]string{}
	for i := range n {
		name := fmt.Sprintf("i%05d", i)
		fmt.Fprintf(&images, "- {name: %s, repository: acme/%s, source: {provider: github, host: git%d.example, repo: acme/x, workflow: b.yml}}\n", name, name, i%forges)
		refs := []string{fmt.Sprintf("docker.io/library/b%d:1", i%(n/20)), fmt.Sprintf("docker.io/library/b%d:1", (i*7)%(n/20))}
		if i%5 == 4 {
			refs[0] = fmt.Sprintf("ghcr.io/acme/i%05d:latest", i-1-i%3)
		}
		deps[name] = refs
	}
	return enroll(b, images.String(), deps)
}

func BenchmarkMake(b *testing.B) {
	for _, test := range []struct {
		name   string
		spread time.Duration // between the moves of two tags
		forges int
	}{{"one by one", 2 * time.Hour, 1}, {"all at once", 0, 1}, {"all at once on two forges", 0, 2}} {
		f := large(b, 2000, test.forges)
		i := time.Duration(0)
		for _, base := range f.st.Bases {
			f.move(base.Ref(), "1", 8*day-i*test.spread)
			i++
		}
		o := f.options()
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := plan.Make(o)
				require.NoError(b, err)
				b.ReportMetric(float64(len(p.Items)), "rebuilds")
			}
		})
	}
}

// now is a Sunday, 08:40 UTC.
func TestStoppedRebuilds(t *testing.T) {
	images := head + entry("web", `windows: [{kind: Allow, schedule: "0 8 * * 1-5", duration: 10h, timeZone: Europe/Berlin}],`) + entry("api", "") + entry("job", "") + entry("often", "") +
		entry("never", `windows: [{kind: Deny, schedule: "* * * * *", duration: 1m}],`)
	f := enroll(t, images, map[string][]string{"web": {node}, "api": {node}, "job": {node}, "often": {node}, "never": {node}})
	f.move(node, "1", 8*day)
	f.st.Pause(state.Pause{Reason: "release", At: state.At(now), Until: state.At(now.Add(2 * day))}, "api")
	f.st.Pause(state.Pause{Reason: "broken", At: state.At(now)}, "job")
	f.st.Images["often"].Rebuild = &state.Rebuild{ID: "r-1", Status: state.Succeeded, RequestedAt: state.At(now.Add(-6 * time.Hour)), FinishedAt: state.At(now.Add(-5 * time.Hour))}
	p := f.plan(t, f.options())
	assert.Equal(t, []string{"often planned 1 03-02 03:17", "web planned 1 03-02 07:17", "api planned 1 03-03 09:17"}, lines(p))
	assert.Equal(t, []string{
		"job paused: paused: broken; newer digest of node:22 is due",
		"never paused: window closed; none opens within a year; newer digest of node:22 is due",
	}, skipped(p))
}
