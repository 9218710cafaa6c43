package policy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	day       = 24 * time.Hour
	amd64     = "linux/amd64"
	pollBases = 6 * time.Hour
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// rule is how the images of a world are enrolled.
type rule struct {
	policy config.RebuildPolicy
	delay  time.Duration
	pin    bool
}

// weather is what goes wrong, as probabilities.
type weather struct {
	lostEvent, failedJob, staleJob, lostPass, unreachable float64
	dispatch502, crash, runFails, runHangs, developer     float64
	evidence                                              bool
}

var calm = weather{evidence: true}

func stormy(evidence bool) weather {
	return weather{
		lostEvent: 0.1, failedJob: 0.2, staleJob: 0.05, lostPass: 0.1, unreachable: 0.1,
		dispatch502: 0.1, crash: 0.02, runFails: 0.1, runHangs: 0.02, developer: 1.0 / (10 * 24), evidence: evidence,
	}
}

// push is one content of a tag in the registry.
type push struct {
	state.Snapshot
	seq int
	at  time.Time
}

// tag is a tag of a public base image in the model of a registry.
type tag struct {
	current push
	since   time.Time // when it last moved
	pushes  int
	// waiting are effective contents that the tag has moved through and not gone back behind, with the time since which
	// they count: what an image must not miss for ever.
	waiting []push
	flaps   *push // what another replica still answers, now and then
	freight map[string]bool
}

// product is a published image in the model of a registry.
type product struct {
	digest string
	used   map[string]state.Snapshot // by reference: the truth
	at     time.Time
}

// run is a build at the model of a forge.
type run struct {
	id, image      string
	reads, ends    time.Time
	fails, hangs   bool
	used           map[string]state.Snapshot
	done, reported bool
}

type event struct {
	at     time.Time
	base   string // reference to analyze; else an image
	image  string
	answer *push // what the registry answered long before the Job records it
}

// world is a fleet with everything around it: registry, Kargo, forge and people.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	rule    rule
	weather weather
	now     time.Time

	cfg    *config.Config
	st     *state.State
	g      *graph.Graph
	tags   map[string]*tag
	images map[string]*product
	deps   map[string][]string
	runs   []*run
	events []event
	ids    map[string]bool

	decisions []policy.Decision // of the last step

	seqOf      map[string]int      // digest, of an index or a manifest, to the number of the push
	lastLock   map[string]lockSeen // by image and reference
	loosened   bool                // people changed a delay or held a digest: locks may go back once
	failAll    bool
	stuckSince map[string]time.Time
	rebuilds   map[string]int
	counter    int
	known      map[string]map[string]bool // Freight of the images' Warehouses
	excused    time.Time                  // until then something kept every image from being rebuilt, such as a hold
	exempt     map[string]bool            // images that nobody expects to be rebuilt
	slack      time.Duration
	quiet      bool
	moves      int                  // how often tags moved
	kept       [2]push              // what a pattern keeps for later
	appeared   map[string]time.Time // digest to when its tag came to hold it, the last time after it had been away for long
	left       map[string]time.Time // digest to when its tag went back behind it
	builds     time.Duration        // how long every build takes; 0: they differ
	planner    *planner             // checks plans, if any
	skew       time.Duration        // by which the clock of an observer is ahead
	jitter     time.Duration        // by which the clocks of observers differ
}

func newWorld(t *testing.T, seed uint64, r rule, wx weather, deps map[string][]string, extra map[string]string) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), rule: r, weather: wx, now: epoch, st: state.New(), deps: deps,
		tags: map[string]*tag{}, images: map[string]*product{}, ids: map[string]bool{}, lastLock: map[string]lockSeen{}, seqOf: map[string]int{},
		stuckSince: map[string]time.Time{}, rebuilds: map[string]int{}, known: map[string]map[string]bool{},
		exempt: map[string]bool{}, slack: 2 * day, appeared: map[string]time.Time{}, left: map[string]time.Time{},
	}
	if wx.runFails > 0 {
		w.slack = 9 * day
	}
	w.configure(extra)
	for _, name := range slices.Sorted(maps.Keys(deps)) {
		w.st.Images[name] = &state.Image{Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Repo: "acme/x", Path: "Dockerfile", Digest: w.digest()}}
		w.known[name] = map[string]bool{}
		w.setBases(name, deps[name]...)
	}
	for _, name := range w.g.Order() { // everything was built by hand once, parents first
		w.publish(name, w.read(name, false))
	}
	w.moves = 0
	w.quiet = true // enrollment is repeated until it works
	w.sweep()
	w.quiet = false
	return w
}

// configure writes images.yaml; extra are lines for one image by name, and keys of its source by "NAME source".
func (w *world) configure(extra map[string]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "factory:\n  schedule: 0 * * * *\ndefaults:\n  rebuildDelay: %s\n  rebuildPolicy: %s\n  source: {provider: github, repo: acme/x, workflow: build.yml, pinBases: %t}\nimages:\n",
		config.Duration(w.rule.delay), w.rule.policy, w.rule.pin)
	for _, name := range slices.Sorted(maps.Keys(w.deps)) {
		fmt.Fprintf(&b, "- name: %s\n  repository: acme/%s\n  tags: latest\n  source: {dockerfile: %s/Dockerfile%s}\n%s", name, name, name, extra[name+" source"], extra[name])
	}
	cfg, err := config.Load(strings.NewReader(b.String()), "images.yaml")
	require.NoError(w.t, err)
	w.cfg = cfg
	w.g = graph.Build(cfg, w.st)
}

func (w *world) setBases(name string, refs ...string) {
	w.deps[name] = refs
	facts := w.st.Images[name]
	facts.BaseImages = nil
	for i, ref := range refs {
		facts.BaseImages = append(facts.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		if !strings.HasPrefix(ref, "ghcr.io/acme/") && w.tags[ref] == nil {
			w.tags[ref] = &tag{freight: map[string]bool{}}
			w.push(ref)
			w.tags[ref].waiting = nil
		}
	}
	w.g = graph.Build(w.cfg, w.st)
}

func (w *world) digest() string {
	w.counter++
	sum := sha256.Sum256(fmt.Append(nil, "digest", w.counter))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (w *world) chance(p float64) bool { return p > 0 && !w.quiet && w.rng.Float64() < p }

func (w *world) hours() int { return int(w.now.Sub(epoch) / time.Hour) }

// daily reports whether this step is the first of every n-th day.
func (w *world) daily(n int) bool { return w.hours()%(24*n) == 24*n-1 }

// push moves a tag to new content.
func (w *world) push(ref string) push {
	t := w.tags[ref]
	return w.move(ref, push{Snapshot: state.Snapshot{Digest: w.digest(), Platforms: state.Platforms{amd64: w.digest(), "linux/arm64": w.digest()}}, seq: t.pushes + 1})
}

// complete makes the n-th step of a new index: it has the platforms that are built so far, or those and the old ones of the others.
func (w *world) complete(ref string, n int, keepOld bool) {
	t := w.tags[ref]
	p := push{Snapshot: state.Snapshot{Digest: w.digest(), Platforms: state.Platforms{}}, seq: t.pushes}
	if n == 0 || keepOld {
		p.seq++
	}
	if n == 0 {
		w.kept[0] = t.current // before the first step
	}
	for i, platform := range completed {
		switch {
		case i == n:
			p.Platforms[platform] = w.digest()
		case i < n:
			p.Platforms[platform] = t.current.Platforms[platform]
		case keepOld:
			p.Platforms[platform] = w.kept[0].Platforms[platform]
			if p.Platforms[platform] == "" {
				p.Platforms[platform] = w.digest()
			}
		}
	}
	w.move(ref, p)
}

// completed are the platforms of an index in the order in which they are built.
var completed = []string{amd64, "linux/arm/v7", "linux/arm64", "linux/386", "linux/s390x"}

// fails reports whether a build for an image fails because an index lacks one of its platforms.
func (w *world) fails(name string, used map[string]state.Snapshot) bool {
	for _, s := range used {
		for _, p := range w.cfg.Find(name).Source.Platforms {
			if s.Lacks(p) {
				return true
			}
		}
	}
	return false
}

// pushOther moves a tag to an index in which only another platform is new.
func (w *world) pushOther(ref string) {
	p := w.tags[ref].current
	p.Snapshot = state.Snapshot{Digest: w.digest(), Platforms: state.Platforms{amd64: p.Platforms[amd64], "linux/arm64": w.digest()}}
	w.move(ref, p)
}

// move makes a tag hold something, new or not.
func (w *world) move(ref string, p push) push {
	t := w.tags[ref]
	if p.seq > t.pushes {
		t.pushes = p.seq
	}
	p.at = w.now
	w.moves++
	w.seqOf[p.Digest], w.seqOf[p.Platforms[amd64]] = p.seq, p.seq
	if p.seq > t.current.seq && w.now.Sub(t.since) < 20*time.Hour { // nobody may have seen it
		t.waiting = slices.DeleteFunc(t.waiting, func(o push) bool { return o.seq == t.current.seq })
	}
	if left, gone := w.left[p.Digest]; w.appeared[p.Digest].IsZero() || gone && w.now.Sub(left) >= day { // long enough to be noticed
		w.appeared[p.Digest] = w.now
	}
	delete(w.left, p.Digest)
	if p.seq < t.current.seq { // back: what came after it is gone
		w.left[t.current.Digest] = w.now
		t.waiting = slices.DeleteFunc(t.waiting, func(o push) bool { return o.seq > p.seq })
	}
	if !slices.ContainsFunc(t.waiting, func(o push) bool { return o.seq == p.seq }) && p.seq > 1 {
		t.waiting = append(t.waiting, p)
	}
	t.current, t.since = p, w.now
	return p
}

// answer is what the registry says a tag holds.
func (w *world) answer(ref string) (push, bool) {
	if w.chance(w.weather.unreachable) {
		return push{}, false
	}
	if f := w.tags[ref].flaps; f != nil && w.rng.IntN(2) == 0 {
		return *f, true
	}
	return w.tags[ref].current, true
}

// observed is what the clock of an observer says.
func (w *world) observed() time.Time {
	at := w.now.Add(w.skew)
	if w.jitter > 0 {
		at = at.Add(time.Duration(w.rng.Int64N(int64(w.jitter))) - w.jitter/2)
	}
	return at
}

func (w *world) observeBase(ref string, p push) {
	r, err := state.ParseRef(ref)
	require.NoError(w.t, err)
	name := state.BaseName(r)
	if w.st.Bases[name] == nil {
		w.st.Bases[name] = &state.Base{Name: name, Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
	}
	seen := p.Snapshot
	if w.chance(w.weather.failedJob) { // half an answer: the platforms are not known yet
		seen.Platforms = nil
	}
	w.st.Bases[name].Observe(seen, w.observed())
}

func (w *world) observeImage(name string) {
	if !w.chance(w.weather.unreachable) {
		w.record(name)
	}
}

func (w *world) record(name string) {
	p := w.images[name]
	w.st.Images[name].ObservePublished("latest", state.Snapshot{Digest: p.digest}, w.observed())
	seen := policy.Publication{Version: "latest", Digest: p.digest, Created: p.at}
	if w.weather.evidence {
		for _, ref := range slices.Sorted(maps.Keys(p.used)) {
			seen.BuiltOn = append(seen.BuiltOn, state.BuiltOn{Ref: ref, Snapshot: state.Snapshot{Digest: p.used[ref].Digest}, Evidence: state.Provenance})
		}
	}
	policy.RecordPublication(w.cfg.Find(name), w.st, w.g, seen, w.observed())
}

// sweep is a pass over everything that is enrolled.
func (w *world) sweep() {
	for _, base := range w.g.Bases() {
		ref := w.g.BaseRef(base).String()
		if p, ok := w.answer(ref); ok {
			w.observeBase(ref, p)
		}
	}
	for _, name := range w.g.Order() {
		w.observeImage(name)
	}
	for _, name := range w.g.Order() {
		policy.Assume(w.cfg.Find(name), w.st, w.g)
	}
}

// read is what a build that starts now uses.
func (w *world) read(name string, locked bool) map[string]state.Snapshot {
	used := map[string]state.Snapshot{}
	if locked {
		for _, b := range policy.Lock(w.cfg.Find(name), w.st, w.g, w.now) {
			w.checkLock(name, &b)
			used[b.Ref] = b.Lock
		}
		return used
	}
	for _, ref := range w.deps[name] {
		if parent, ok := strings.CutPrefix(ref, "ghcr.io/acme/"); ok {
			used[ref] = state.Snapshot{Digest: w.images[strings.TrimSuffix(parent, ":latest")].digest}
		} else {
			used[ref] = w.tags[ref].current.Snapshot
		}
	}
	return used
}

func (w *world) publish(name string, used map[string]state.Snapshot) {
	w.images[name] = &product{digest: w.digest(), used: used, at: w.now}
}

// step is one hour.
func (w *world) step(act func(*world)) {
	w.now = w.now.Add(time.Hour)
	if act != nil {
		act(w)
	}
	w.forge()
	w.kargo()
	if !w.chance(w.weather.lostPass) {
		w.promote()
	}
	w.people()
	w.check()
	w.planner.step(w)
}

func (w *world) forge() {
	w.runs = slices.DeleteFunc(w.runs, func(r *run) bool { return r.reported })
	for _, r := range w.runs {
		if r.used == nil && !w.now.Before(r.reads) {
			r.used = w.read(r.image, w.rule.pin)
			r.fails = r.fails || w.fails(r.image, r.used)
		}
		if !r.done && !r.hangs && r.used != nil && !w.now.Before(r.ends) {
			r.done = true
			if !r.fails {
				w.publish(r.image, r.used)
			}
		}
	}
}

// kargo polls, and makes an event of what it never saw before, and only of that.
func (w *world) kargo() {
	for i, ref := range slices.Sorted(maps.Keys(w.tags)) {
		t := w.tags[ref]
		if (w.hours()+i)%int(pollBases/time.Hour) == 0 && !t.freight[t.current.Digest] {
			t.freight[t.current.Digest] = true
			e := event{at: w.now.Add(time.Duration(w.rng.IntN(2)) * time.Hour), base: ref}
			if w.chance(w.weather.staleJob) {
				p := t.current
				e.answer, e.at = &p, w.now.Add(8*time.Hour)
			}
			w.enqueue(e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.images)) {
		if p := w.images[name]; !w.known[name][p.digest] {
			w.known[name][p.digest] = true
			w.enqueue(event{at: w.now, image: name})
		}
	}
	for i := 0; i < len(w.events); i++ {
		e := w.events[i]
		if e.at.After(w.now) {
			continue
		}
		w.events = slices.Delete(w.events, i, i+1)
		i--
		switch {
		case w.chance(w.weather.failedJob): // lost with all its retries
		case e.image != "":
			w.observeImage(e.image)
		case e.answer != nil:
			w.observeBase(e.base, *e.answer)
		default:
			if p, ok := w.answer(e.base); ok {
				w.observeBase(e.base, p)
			}
		}
	}
}

func (w *world) enqueue(e event) {
	if !w.chance(w.weather.lostEvent) {
		w.events = append(w.events, e)
	}
}

// promote is the pass that decides and starts; every sixth hour it looks at everything.
func (w *world) promote() {
	for _, r := range w.runs {
		if rebuild := w.st.Images[r.image].Rebuild; r.done && !r.reported {
			r.reported = true
			if rebuild.ID == r.id && (rebuild.Status == state.Running || rebuild.Status == state.Requested) {
				status := state.Built
				if r.fails {
					status = state.Failed
				}
				rebuild.Finish(status, "", w.now)
			}
		}
	}
	policy.CloseOverdue(w.st, w.now)
	for _, name := range w.g.Order() { // recorded, but a crash came before it was started
		if r := w.st.Images[name].Rebuild; r != nil && r.Status == state.Requested && !slices.ContainsFunc(w.runs, func(o *run) bool { return o.id == r.ID }) {
			w.dispatch(name, r.ID)
		}
	}
	if w.hours()%6 == 5 {
		w.sweep()
	} else {
		for _, base := range policy.Recheck(w.decisions) {
			ref := w.g.BaseRef(base).String()
			if w.tags[ref] == nil {
				continue // dropped since the last step
			}
			if p, ok := w.answer(ref); ok {
				w.observeBase(ref, p)
			}
		}
	}
	startable := policy.Startable(w.cfg, w.decide())
	w.planner.starting(w, startable)
	for _, dec := range startable {
		w.checkStart(dec)
		policy.Begin(w.st, dec, w.now)
		w.rebuilds[dec.Image]++
		if !w.chance(w.weather.crash) {
			w.dispatch(dec.Image, dec.Rebuild)
		}
	}
}

func (w *world) decide() []policy.Decision { return policy.Decide(w.cfg, w.st, w.g, w.now) }

func (w *world) dispatch(name, id string) {
	r := w.st.Images[name].Rebuild
	if w.chance(w.weather.dispatch502) {
		r.Finish(state.Failed, "502 Bad Gateway", w.now)
		return
	}
	r.Status = state.Running
	reads := w.now.Add(time.Duration(w.rng.IntN(90)) * time.Minute)
	ends := reads.Add(time.Duration(10+w.rng.IntN(180)) * time.Minute)
	if w.builds > 0 {
		reads, ends = w.now, w.now.Add(w.builds)
	}
	w.runs = append(w.runs, &run{
		id: id, image: name, reads: reads, ends: ends,
		fails: w.failAll || w.chance(w.weather.runFails), hangs: w.chance(w.weather.runHangs),
	})
}

// people push now and then, and reset what failed too often two days after they could see it.
func (w *world) people() {
	for _, name := range w.g.Order() {
		if w.chance(w.weather.developer) && (w.weather.evidence || !w.active(name)) {
			if used := w.read(name, w.rule.pin); !w.fails(name, used) {
				w.publish(name, used)
			}
			if !w.weather.evidence { // else it could be taken for the result of a rebuild that starts right now
				w.record(name)
			}
		}
		r := w.st.Images[name].Rebuild
		if r == nil || r.Failures < policy.MaxFailures {
			delete(w.stuckSince, name)
			continue
		}
		if w.stuckSince[name].IsZero() {
			w.stuckSince[name] = w.now
		}
		if !w.failAll && w.now.Sub(w.stuckSince[name]) >= 2*day {
			w.st.Images[name].Reset("fixed")
		}
	}
}

func (w *world) active(name string) bool {
	r := w.st.Images[name].Rebuild
	return r != nil && r.Status.Active()
}
