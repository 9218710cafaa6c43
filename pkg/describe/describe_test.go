package describe_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	day  = 24 * time.Hour
	node = "docker.io/library/node:22"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func dig(of string) string {
	sum := sha256.Sum256([]byte(of))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fleet is a fleet whose images are built on the first digest of each base.
type fleet struct {
	yaml string
	cfg  *config.Config
	st   *state.State
}

func enroll(t testing.TB, images string, deps map[string][]string) *fleet {
	cfg, err := config.Load(strings.NewReader(images), "images.yaml")
	require.NoError(t, err)
	f := &fleet{images, cfg, state.New()}
	for name, refs := range deps {
		img := &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Repo: "acme/x", Path: name + "/Dockerfile", Digest: dig(name)},
			CurrentVersion: "latest", CurrentDigest: dig(name), LastBuilt: state.At(now.Add(-60 * day)), Tags: &state.Tags{Strategy: "Digest", Constraint: "latest"},
			Published: []state.Published{{Tag: "latest", Snapshot: state.Snapshot{Digest: dig(name)}, Since: state.At(now.Add(-60 * day))}},
		}
		f.st.Images[name] = img
		for i, ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Final: i == 0, Uses: []state.Use{{Kind: "from", Stage: "build", Line: i + 1}}})
			r, err := state.ParseRef(ref)
			require.NoError(t, err)
			switch parent, ours := strings.CutPrefix(ref, "ghcr.io/acme/"); {
			case r.Pinned():
				continue
			case ours:
				img.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: dig(strings.TrimSuffix(parent, ":latest"))}, Evidence: state.Layers})
			default:
				f.move(ref, "0", 60*day)
				img.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: dig(ref + "0")}, Evidence: state.Provenance})
			}
		}
	}
	return f
}

// move moves a tag to a digest some time ago.
func (f *fleet) move(ref, to string, ago time.Duration) {
	r, _ := state.ParseRef(ref)
	name := state.BaseName(r)
	if f.st.Bases[name] == nil {
		f.st.Bases[name] = &state.Base{Name: name, Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
	}
	f.st.Bases[name].Observe(state.Snapshot{Digest: dig(ref + to)}, now.Add(-ago))
}

func (f *fleet) describer(t testing.TB) *describe.Describer {
	g := graph.Build(f.cfg, f.st)
	p, err := plan.Make(plan.Options{Config: f.cfg, State: f.st, Graph: g, Now: now})
	require.NoError(t, err)
	files, err := f.st.Encode()
	require.NoError(t, err)
	return describe.New(describe.Input{
		Config: f.cfg, State: f.st, Graph: g, Now: now, StateDir: "state", Decisions: policy.Decide(f.cfg, f.st, g, now), Plan: p,
		Findings: finding.List{
			finding.FloatingTag.At("images.yaml", 3, 1, "about web", "").Of("web"),
			finding.Ahead.At("state/base-images/node-22.yaml", 7, 1, "in the future", ""),
		},
		Objects: []describe.Object{{Kind: "Stage", Name: "rebuild-web", Image: "web"}, {Kind: "Warehouse", Name: "base-node-22", Base: "node-22"}},
		Read: func(file string) []byte {
			if file == "images.yaml" {
				return []byte(f.yaml)
			}
			return files[strings.TrimPrefix(file, "state/")]
		},
	})
}

// line returns the text of the line of a place.
func (f *fleet) line(t *testing.T, p *describe.Place) string {
	require.NotNil(t, p)
	text := f.yaml
	if dir := path.Dir(p.File); dir != "." {
		files, err := f.st.Encode()
		require.NoError(t, err)
		text = string(files[strings.TrimPrefix(p.File, "state/")])
	}
	lines := strings.Split(text, "\n")
	require.NotZero(t, p.Line, p.File)
	require.LessOrEqual(t, p.Line, len(lines), p.File)
	return strings.TrimSpace(lines[p.Line-1])
}

func texts(steps []describe.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, string(s.Kind)+": "+s.Text)
	}
	return out
}

const images = `defaults:
  rebuildDelay: 10d
images:
- name: base
  repository: acme/base
  rebuildPolicy: mature
  source: {provider: github, repo: acme/x, workflow: b.yml}
- {name: web, repository: acme/web, rebuildDelay: 7d, source: {provider: github, repo: acme/x, workflow: b.yml}}
- {name: api, repository: acme/api, autoRebuild: false, source: {provider: github, repo: acme/x, workflow: b.yml}}
- {name: redis, repository: library/redis}
- {name: never, repository: acme/never, source: {provider: github, repo: acme/x, workflow: b.yml}}
`

func TestImage(t *testing.T) {
	f := enroll(t, images, map[string][]string{"base": {node}, "web": {"ghcr.io/acme/base:latest", node}, "api": {node + "@" + dig("pin")}})
	f.move(node, "1", 8*day)
	f.move(node, "2", 2*day)
	f.st.Bases["node-22"].Candidates[1].Hold("breaks http3", now.Add(-day))
	f.st.Images["web"].RebuildHistory = []state.Rebuild{{ID: "r-1", Status: state.Succeeded}}
	f.st.Images["web"].Rebuild = &state.Rebuild{ID: "r-2", Status: state.Succeeded}
	d := f.describer(t)

	web := d.Image("web")
	assert.Equal(t, describe.Place{File: "images.yaml", Line: 8}, web.Entry)
	assert.Equal(t, policy.Held, web.Decision.Status)
	assert.Equal(t, []string{"r-2", "r-1"}, []string{web.History[0].ID, web.History[1].ID})
	require.Len(t, web.Bases, 2)
	parent, upstream := web.Bases[0], web.Bases[1]
	assert.Equal(t, "base", parent.Parent)
	assert.True(t, parent.Final)
	assert.Equal(t, "its first layers are those of the digest", parent.BuiltOn.How)
	assert.Equal(t, describe.Place{File: "web/Dockerfile", Line: 2}, upstream.Uses[0].Place)
	require.Len(t, upstream.Candidates, 3)
	assert.Equal(t, []policy.ClockStatus{policy.IsBaseline, policy.IsRipe, policy.IsHeld},
		[]policy.ClockStatus{upstream.Candidates[0].Status, upstream.Candidates[1].Status, upstream.Candidates[2].Status})
	assert.True(t, upstream.Candidates[0].Built)
	assert.Equal(t, now.Add(-day), upstream.Candidates[1].Ripe)
	assert.True(t, upstream.Candidates[2].Current)
	assert.Equal(t, "breaks http3", upstream.Candidates[2].Reason)
	assert.Equal(t, "- ref: "+node, f.line(t, &upstream.BuiltOn.Place))
	assert.Equal(t, "about web", web.Findings[0].Message)
	assert.Equal(t, "Stage/rebuild-web", web.Objects[0].String())
	assert.Len(t, web.Skipped, 1)

	short := func(n string) string { return state.ShortDigest(dig(node + n)) }
	assert.Equal(t, []string{
		"fact: the Dockerfile uses ghcr.io/acme/base:latest (from in stage build)",
		"fact: the published image is built on " + state.ShortDigest(dig("base")) + ": its first layers are those of the digest",
		"fact: base published " + state.ShortDigest(dig("base")),
		"rule: an image is due as soon as a parent has published another digest",
		"decision: not due: nothing newer",
		"fact: the Dockerfile uses node:22 (from in stage build)",
		"fact: the published image is built on " + short("0") + ": its provenance attestation names it",
		"fact: the tag moved to " + short("1") + ", first seen 2026-02-21 12:00",
		"fact: the tag moved to " + short("2") + ", first seen 2026-02-27 12:00",
		"fact: " + short("2") + " was held 2026-02-28 12:00: breaks http3",
		"rule: policy settle: a digest is due 7d after it was first seen; each newer one restarts the wait, for 28d at most",
		"rule: a held digest is not used until it is released",
		"decision: not due: the newer digest is held",
		"fact: published latest as " + state.ShortDigest(dig("web")),
		"decision: held: newer digest of node:22 is held",
	}, texts(web.Reasons))
	assert.Equal(t, "- digest: "+dig(node+"2"), f.line(t, web.Reasons[8].Place))
	assert.Equal(t, "images.yaml:8", web.Reasons[10].Place.String())
	assert.Equal(t, "currentDigest: "+dig("web"), f.line(t, web.Reasons[13].Place))

	base := d.Image("base")
	assert.Equal(t, []string{"web"}, base.Users)
	mature := base.Reasons[len(base.Reasons)-5]
	assert.Contains(t, mature.Text, "policy mature")
	assert.Equal(t, "rebuildPolicy: mature", f.line(t, mature.Place))

	api := d.Image("api")
	assert.Equal(t, []string{
		"fact: the Dockerfile uses node:22@" + state.ShortDigest(dig("pin")) + " (from in stage build)", "fact: the tag holds " + short("2"),
		"rule: the Dockerfile names a digest, which a rebuild cannot move", "decision: no rebuild for it",
		"fact: published latest as " + state.ShortDigest(dig("api")), "rule: autoRebuild false: it is not rebuilt automatically", "decision: opted out: autoRebuild is false",
	}, texts(api.Reasons))
	assert.Equal(t, []string{"rule: an external image is watched and never rebuilt", "decision: unknown: never analyzed"}, texts(d.Image("redis").Reasons))
	assert.Equal(t, []string{"decision: unknown: never analyzed"}, texts(d.Image("never").Reasons))
	assert.Nil(t, d.Image("gone"))
}

func TestBase(t *testing.T) {
	f := enroll(t, images, map[string][]string{"base": {node}, "web": {"ghcr.io/acme/base:latest"}, "api": {node + "@" + dig("pin")}})
	f.move(node, "1", 11*day)
	f.move(node, "2", 2*day)
	d := f.describer(t)
	b := d.Base("node-22")
	assert.Equal(t, node, b.Ref)
	assert.True(t, b.Watched)
	assert.Equal(t, dig(node+"2"), b.Digest)
	assert.Equal(t, 3, b.AllUsers, "base, api, and web through base")
	require.Len(t, b.Users, 2)
	assert.Equal(t, []any{"api", true, "base", false}, []any{b.Users[0].Image, b.Users[0].Pinned, b.Users[1].Image, b.Users[1].Pinned})
	require.Len(t, b.Candidates, 3)
	assert.True(t, b.Candidates[0].Baseline)
	assert.Equal(t, []describe.Ripening{{At: now.Add(-day), Status: policy.IsRipe, Images: []string{"base"}}}, b.Candidates[1].Ripens)
	assert.Equal(t, []describe.Ripening{{At: now.Add(8 * day), Status: policy.IsRipening, Images: []string{"base"}}}, b.Candidates[2].Ripens)
	assert.Equal(t, "- digest: "+dig(node+"2"), f.line(t, &b.Candidates[2].Place))
	assert.Equal(t, dig(node+"2"), b.History[0].To, "the last move first")
	require.NotEmpty(t, b.Plan)
	assert.Equal(t, "base", b.Plan[0].Image)
	assert.Equal(t, "in the future", b.Findings[0].Message)
	assert.Equal(t, "Warehouse/base-node-22", b.Objects[0].String())
	assert.Nil(t, d.Base("gone"))
}

// Without Read, places have files and no lines.
func TestNoFiles(t *testing.T) {
	f := enroll(t, images, map[string][]string{"base": {node}})
	g := graph.Build(f.cfg, f.st)
	d := describe.New(describe.Input{Config: f.cfg, State: f.st, Graph: g, Now: now, StateDir: "state", Decisions: policy.Decide(f.cfg, f.st, g, now)})
	assert.Equal(t, describe.Place{File: "state/images/base.yaml"}, d.Image("base").Bases[0].BuiltOn.Place)
	assert.Empty(t, d.Image("base").Plan)
}

func BenchmarkFleet(b *testing.B) {
	const n = 2000
	var text strings.Builder
	text.WriteString("images:\n")
	deps := map[string][]string{}
	for i := range n {
		name := fmt.Sprintf("i%05d", i)
		fmt.Fprintf(&text, "- {name: %s, repository: acme/%s, source: {provider: github, repo: acme/x, workflow: b.yml}}\n", name, name)
		deps[name] = []string{fmt.Sprintf("docker.io/library/b%d:1", i%100), fmt.Sprintf("docker.io/library/b%d:1", (i*7+1)%100)}
	}
	f := enroll(b, text.String(), deps)
	for _, base := range f.st.Bases {
		f.move(base.Ref(), "1", 2*day)
	}
	g := graph.Build(f.cfg, f.st)
	decisions := policy.Decide(f.cfg, f.st, g, now)
	for b.Loop() {
		d := describe.New(describe.Input{Config: f.cfg, State: f.st, Graph: g, Now: now, StateDir: "state", Decisions: decisions})
		for name := range deps {
			d.Image(name)
		}
		for name := range f.st.Bases {
			d.Base(name)
		}
	}
}
