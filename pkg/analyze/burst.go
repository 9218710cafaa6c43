package analyze

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// When many images are published at once, each has an analysis of its own. The first of them records all, so that the others
// find their digest recorded, and a burst costs a few commits instead of one for each image:
//
//   - An analysis probes the registry for a few other images, and for twice as many again as long as it finds new ones. So a
//     single new image costs a few requests, and a burst is found whole.
//   - If it finds a burst, it first waits for a random time, and ends if another analysis has recorded its digest meanwhile.
//     Short waits are rare: hundreds of analyses may wait, and few of them should do the same work at once.

const (
	probes    = 8 // images that are probed first
	burstSize = 8 // new images that make a burst, besides the one of the event
	// waitWorks is how many times as long as an analysis of all images takes the longest wait in a burst is, within minWait and maxWait.
	waitWorks = 6
	minWait   = 30 * time.Second
	maxWait   = 5 * time.Minute
	waitStep  = 10 * time.Second // between looks at the state while waiting
)

// probed is the result of probing registries for new images.
type probed struct {
	chosen map[string]*publicationResult // by image
	fresh  []string                      // images that are new
	took   time.Duration
}

// probe reads the newest tags of scope.Expected and of scope.Neighbors. Of the latter it reads a few, and twice as many again
// while there are new ones among them; unless all, it ends when it has found a burst.
func (s *Scope) probe(ctx context.Context, f *fleet.Fleet, clients Clients, all bool) {
	if clients.Registry == nil {
		return
	}
	ctx, cancel := fair.Share(ctx, 5, "looking for other new images")
	defer cancel()
	s.leaveOut(f)
	clients.Progress = nil // the analysis shows its own
	a := newAnalysis(f, *s, clients)
	s.chosen = map[string]*publicationResult{}
	begin := time.Now()
	batch, rest := s.Expected, s.Neighbors
	for size := probes; ; size *= 2 {
		n := min(size, len(rest))
		batch, rest = slices.Concat(batch, rest[:n]), rest[n:]
		before := len(s.fresh)
		for name, p := range forEach(ctx, a, a.tasks(ctx, batch, a.registryOf), a.newest) {
			s.chosen[name] = p
			if p.isNew(f, name) {
				s.fresh = append(s.fresh, name)
			}
		}
		if len(rest) == 0 || len(s.fresh) == before || ctx.Err() != nil || !all && len(s.fresh) >= burstSize {
			break
		}
		batch = nil
	}
	s.took = time.Since(begin)
	slices.Sort(s.fresh)
	s.Dockerfiles = union(s.Dockerfiles, s.fresh)
	s.Published = union(s.Published, s.Expected, s.fresh)
}

// isNew reports whether the newest tag of an image differs from the recorded one.
func (p *publicationResult) isNew(f *fleet.Fleet, name string) bool {
	facts := f.State.Images[name]
	return p.err == nil && p.tag != "" && (facts == nil || facts.CurrentDigest != p.snapshot.Digest || facts.CurrentVersion != p.tag)
}

// neighbors returns the images that follow the one of the event in the order of their names: names with the same beginning are
// often published together. It leaves out images whose newest tag takes many requests to find.
func neighbors(f *fleet.Fleet, image string) []string {
	names := slices.Sorted(slices.Values(f.Graph.Order()))
	at, _ := slices.BinarySearch(names, image)
	names = slices.Concat(names[at:], names[:at])
	return slices.DeleteFunc(names, func(name string) bool {
		facts := f.State.Images[name]
		if name == image || expected(facts) || facts.CurrentDigest == "" || policy.Unseen(facts.Rebuild) {
			return true
		}
		tags, decided := graph.TagsOf(f.Config.Find(name), facts)
		return !decided || tags.Strategy == config.NewestBuild
	})
}

// union returns the names in any of the lists, each once.
func union(lists ...[]string) []string {
	var out []string
	for _, name := range slices.Concat(lists...) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// dropUnread leaves out the new neighbors whose Dockerfiles could not be read: the analysis of their own event does both, since
// their base images may have changed with them.
func (a *analysis) dropUnread(scope *Scope) {
	scope.Published = slices.DeleteFunc(slices.Clone(scope.Published), func(name string) bool {
		d := a.files[name]
		return slices.Contains(scope.Neighbors, name) && (d == nil || d.err != nil && d.answer == "")
	})
}

// turn is the wait of an analysis in a burst.
type turn struct {
	o    *Options
	left time.Duration // before it analyzes; zero if it need not wait
	over bool          // it has waited, or need not
}

// begin begins the wait.
func (t *turn) begin(f *fleet.Fleet, found *probed) {
	images := len(f.Config.Images)
	work := 2 * found.took * time.Duration(images) / time.Duration(max(len(found.chosen), 1)) // an analysis also reads what was built
	t.left = waitIn(images, min(max(waitWorks*work, minWait), maxWait), t.o.Random())
	if t.o.Inform != nil {
		t.o.Inform(fmt.Sprintf("many images are new: waiting up to %s for another analysis to record them", t.left.Round(time.Second)))
	}
}

// wait waits until the state is to be looked at again.
func (t *turn) wait(ctx context.Context) error {
	step := min(t.left, waitStep)
	t.left -= step
	t.over = t.left <= 0
	return t.o.Sleep(ctx, step)
}

// waitIn returns how long an analysis waits in a burst, from the longest wait and a random number in (0, 1]. Short waits are rare, as
// in the feedback timers of RFC 4654: if as many analyses wait as there are images, about one begins at once; if fewer do, the first
// begins later. Either way few others begin while it works.
func waitIn(images int, most time.Duration, random float64) time.Duration {
	part := 1 + math.Log(random)/math.Log(float64(max(images, 2)))
	return max(time.Duration(part*float64(most)), time.Second)
}

// random returns a random number in (0, 1].
func random() float64 { return 1 - rand.Float64() } //nolint:gosec // nobody gains by guessing it
