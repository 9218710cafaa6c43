package policy_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// history draws what a registry answered for a tag over some weeks, and what people decided, through the same facts
// transitions that the tool uses.
func history(t *rapid.T, b *state.Base) {
	at := now.Add(-40 * day)
	b.Observe(snapOf("0"), at)
	for i := range rapid.IntRange(0, 12).Draw(t, "observations") {
		at = at.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "hours")) * time.Hour)
		if at.After(now) {
			break
		}
		known := len(b.Candidates)
		switch rapid.IntRange(0, 8).Draw(t, "event") {
		case 0:
			b.Observe(b.Baseline.Snapshot, at)
		case 1:
			if known > 0 {
				b.Observe(b.Candidates[rapid.IntRange(0, known-1).Draw(t, "which")].Snapshot, at)
			}
		case 2:
			if known > 0 {
				b.Candidates[rapid.IntRange(0, known-1).Draw(t, "which")].Release("", at)
			}
		case 3:
			if known > 0 {
				b.Candidates[rapid.IntRange(0, known-1).Draw(t, "which")].Hold("", at)
			}
		case 8: // an index that is not complete yet
			s := snapOf(fmt.Sprintf("i%d", i))
			delete(s.Platforms, amd64)
			b.Observe(s, at)
		case 4: // another platform only
			s := snapOf(fmt.Sprintf("o%d", i))
			s.Platforms[amd64] = b.Baseline.Platforms[amd64]
			if known > 0 {
				s.Platforms[amd64] = b.Candidates[known-1].Platforms[amd64]
			}
			if s.Platforms[amd64] == "" {
				delete(s.Platforms, amd64)
			}
			b.Observe(s, at)
		default:
			b.Observe(snapOf(strconv.Itoa(i+1)), at)
		}
	}
}

// drawn is an image on one tag with a drawn history, built on something of it.
func drawn(t *rapid.T) (f *fleet, base *state.Base, on string) {
	f = app(t, rapid.SampledFrom([]string{mature, settle}).Draw(t, "policy"))
	delay := config.Duration(rapid.IntRange(0, 12).Draw(t, "delay")) * config.Duration(day)
	longest := 2 * delay
	img := f.cfg.Find("app")
	img.RebuildDelay, img.MaxRebuildDelay = &delay, &longest
	if rapid.Bool().Draw(t, "lock") {
		f.lock("app")
	}
	base = f.st.Base(ref)
	*base = state.Base{Name: base.Name, Registry: base.Registry, Repository: base.Repository, Tag: base.Tag}
	history(t, base)
	facts := f.st.Images["app"]
	switch n := rapid.IntRange(-2, len(base.Candidates)-1).Draw(t, "built on"); n {
	case -2:
		facts.BuiltOn = nil
		on = base.Baseline.Digest
	case -1:
		on = base.Baseline.Digest
		f.on("app", ref, "0")
	default:
		on = base.Candidates[n].Digest
		facts.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: base.Candidates[n].Snapshot, Evidence: state.Provenance})
	}
	return f, base, on
}

// like lists the candidates whose content for the image's platform is that of a digest, in order.
func like(base *state.Base, digest string) (out []state.Candidate) {
	content := base.Baseline.Effective(amd64)
	if c := base.Find(digest); c != nil {
		content = c.Effective(amd64)
	}
	for _, c := range append([]state.Candidate{*base.Baseline}, base.Candidates...) {
		if c.Effective(amd64) == content {
			out = append(out, c)
		}
	}
	return out
}

func TestDecideAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, base, on := drawn(t)
		img := f.cfg.Find("app")
		dec := f.decide()["app"]
		b := dec.Bases[0]
		lock := b.Lock.Digest
		same := slices.ContainsFunc(like(base, on), func(c state.Candidate) bool { return c.Digest == lock })
		if same {
			if b.Due {
				t.Fatal("due for what it is built on")
			}
		} else {
			locked := like(base, lock)
			c := base.Find(lock)
			if c != nil && !c.Held.IsZero() {
				t.Fatal("the lock is held")
			}
			if c != nil && c.Platforms[amd64] == "" {
				t.Fatal("the lock is incomplete")
			}
			wasReleased := slices.ContainsFunc(locked, func(c state.Candidate) bool { return !c.Released.IsZero() })
			if c != nil && !c.Withdrawn.IsZero() && c.Released.IsZero() {
				t.Fatal("the lock is withdrawn")
			}
			if !img.Source.PinsBases() && !slices.ContainsFunc(locked, func(c state.Candidate) bool { return c.Withdrawn.IsZero() }) {
				t.Fatal("the lock is what no build could get")
			}
			if c != nil && !wasReleased && now.Sub(locked[0].FirstSeen.Time) < img.Delay().Std() {
				t.Fatal("the lock is younger than the delay")
			}
			order := func(d string) int {
				return slices.IndexFunc(base.Candidates, func(c state.Candidate) bool { return c.Digest == d })
			}
			// An image built on a content that is held, was withdrawn, or that the tag left by going back, may go back.
			gone := slices.ContainsFunc(base.Candidates, func(c state.Candidate) bool {
				return (!c.Withdrawn.IsZero() || !c.Held.IsZero()) && slices.ContainsFunc(like(base, on), func(o state.Candidate) bool { return o.Digest == c.Digest })
			}) || len(like(base, lock)) > 1
			if order(lock) < order(on) && !gone {
				t.Fatalf("the lock %s is older than %s, which it is built on", lock, on)
			}
		}
		if b.Due != (dec.Status == policy.Due) || b.Due != (len(policy.Startable(f.cfg, []policy.Decision{dec})) == 1) || b.Due != (len(dec.Targets) == 1) {
			t.Fatalf("due is not what starts: %+v", dec)
		}
		if b.Due && b.Since.After(now) || !b.Due && !dec.Until.IsZero() && !dec.Until.After(now) {
			t.Fatalf("due since the future, or waiting for the past: %+v", dec)
		}
		if dec.Status == policy.Waiting && (dec.Until.IsZero() || len(policy.Recheck([]policy.Decision{dec})) == 0) {
			t.Fatalf("waiting for nothing: %+v", dec)
		}
		again := f.decide()["app"]
		if !reflect.DeepEqual(dec, again) {
			t.Fatal("not deterministic")
		}

		// An index that differs only for other platforms changes nothing.
		if at := len(base.Candidates) - 1; at >= 0 && base.Candidates[at].Withdrawn.IsZero() && base.Candidates[at].Digest == base.CurrentDigest && base.Candidates[at].Platforms[amd64] != "" {
			s := snapOf("more")
			s.Platforms[amd64] = base.Candidates[at].Platforms[amd64]
			base.Observe(s, now)
			after := f.decide()["app"]
			after.Bases[0].Current = dec.Bases[0].Current
			if !reflect.DeepEqual(dec, after) {
				t.Fatalf("another platform changed\n%+v\nto\n%+v", dec, after)
			}
		}
	})
}

// Building what is due, again and again while nothing new comes, ends: with the lock and without.
func TestDecideConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, base, _ := drawn(t)
		img := f.cfg.Find("app")
		at, rebuilds := now, 0
		for at.Before(now.Add(40 * day)) {
			dec := policy.Decide(f.cfg, f.st, f.graph(), at)[0]
			if dec.Status == policy.Due {
				rebuilds++
				policy.Begin(f.st, dec, at)
				used := dec.Bases[0].Lock
				if !img.Source.PinsBases() {
					used = state.Snapshot{Digest: base.CurrentDigest}
				}
				policy.RecordPublication(img, f.st, f.graph(), policy.Publication{
					Digest: dig(fmt.Sprint("app", rebuilds)), BuiltOn: []state.BuiltOn{{Ref: ref, Snapshot: used, Evidence: state.Provenance}},
				}, at)
				if s := f.st.Images["app"].Rebuild.Status; s != state.Succeeded && img.Source.PinsBases() {
					t.Fatalf("rebuilt with the lock, and %s", s)
				}
			}
			at = at.Add(6 * time.Hour)
		}
		if limit := len(base.Candidates) + 1; rebuilds > limit {
			t.Fatalf("%d rebuilds for %d candidates", rebuilds, len(base.Candidates))
		}
		dec := policy.Decide(f.cfg, f.st, f.graph(), at)[0]
		if dec.Status != policy.Current && dec.Status != policy.Held && dec.Status != policy.Incomplete {
			t.Fatalf("not at rest: %s, %s", dec.Status, dec.Reason)
		}
		tag := base.Find(base.CurrentDigest)
		policy.Assume(img, f.st, f.graph())
		built := like(base, f.st.Images["app"].On(ref).Digest)
		holds := slices.ContainsFunc(built, func(c state.Candidate) bool { return c.Digest == base.CurrentDigest })
		if dec.Status == policy.Current && !holds && tag != nil && !slices.ContainsFunc(built, func(c state.Candidate) bool { return !c.Released.IsZero() }) {
			t.Fatalf("at rest, but not on what the tag holds: on %s, tag %s", f.st.Images["app"].On(ref).Digest, base.CurrentDigest)
		}
	})
}

// many is a fleet with one to three bases for each image, a tenth as many bases, and a parent for every fifth.
func many(t require.TestingT, n int) *fleet {
	deps := make(map[string][]string, n)
	for i := range n {
		var refs []string
		for j := range 1 + i%3 {
			refs = append(refs, fmt.Sprintf("docker.io/library/base%d:1-slim", (i*7+j*13)%(n/10)))
		}
		if i%5 == 4 {
			refs[0] = fmt.Sprintf("ghcr.io/acme/i%d:latest", i-1)
		}
		deps[fmt.Sprintf("i%d", i)] = refs
	}
	f := enroll(t, settle, deps, nil)
	for name, refs := range deps {
		for k, r := range refs {
			if r[:7] == "ghcr.io" {
				f.st.Images[name].SetBuiltOn(state.BuiltOn{Ref: r, Snapshot: state.Snapshot{Digest: dig("x")}, Evidence: state.Provenance})
				continue
			}
			f.tag(r, cand("1", 20), cand("2", 10), cand("3", 9, likeAMD64("2")), cand("4", 2))
			f.on(name, r, strconv.Itoa(k))
		}
	}
	return f
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		f := many(b, n)
		g := graph.Build(f.cfg, f.st)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				policy.Decide(f.cfg, f.st, g, now)
			}
		})
	}
}
