package promote

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/test/fleettest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestMain has properties checked more often than rapid does by itself: some interleavings of promoters are rare.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// crash ends a promoter in the middle of what it does.
type crash struct{}

// simulation runs passes of promoters that crash, overtake each other and are late, over a store and an executor that fail.
type simulation struct {
	t              require.TestingT
	chance         *rapid.T
	now            time.Time
	files          map[string][]byte // below the state folder
	version        int
	depth          int             // of passes inside of each other
	quiet          bool            // nothing goes wrong any longer
	slow           time.Duration   // what a start at ghe.example.com takes, to fail
	asked          []string        // what Find was asked for
	hang           map[string]bool // images of which Find gives no answer
	observeTimeout time.Duration
	remembers      bool                // passes are of one process
	missed         Missed              // what the pass before had no time for, if it remembers
	ends           state.RebuildStatus // of what runs
	at             map[string]func()   // what happens at a point, once
	started        map[string]int      // rebuild to how often it was started
}

const enrolled = `
- {name: base, repository: acme/base, source: {provider: github, repo: acme/base, workflow: b.yml}}
- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}
- {name: api, repository: acme/api, source: {provider: github, repo: acme/api, workflow: b.yml}}
`

func newSimulation(t require.TestingT) *simulation {
	s := &simulation{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), at: map[string]func(){}, started: map[string]int{}}
	fill := state.New()
	for _, name := range []string{"base", "web", "api"} {
		img := &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Unpublished: state.At(s.now),
			Dockerfile: &state.Dockerfile{Repo: "acme/" + name, Path: "Dockerfile", Digest: digestOf(name)},
		}
		fill.Images[name] = img
	}
	files, err := fill.Encode()
	require.NoError(t, err)
	s.files = files
	return s
}

func digestOf(s string) string { return "sha256:" + strings.Repeat(s[:1], 64) }

// happen lets something happen at a point of a pass: nothing, a crash, other passes, or time going by.
func (s *simulation) happen(where string, longest time.Duration) {
	if do := s.at[where]; do != nil {
		delete(s.at, where)
		do()
	}
	if s.quiet {
		return
	}
	switch rapid.SampledFrom([]string{"nothing", "nothing", "nothing", "crash", "pass", "time"}).Draw(s.chance, where) {
	case "crash":
		panic(crash{})
	case "pass":
		if s.depth < 3 {
			s.pass()
		}
	case "time":
		s.now = s.now.Add(time.Duration(rapid.Int64Range(0, int64(longest)).Draw(s.chance, "later")))
	}
}

// pass is a pass of a promoter of its own. What it does wrong is what another one has to put right.
func (s *simulation) pass() { s.passUntil(context.Background()) }

func (s *simulation) passUntil(ctx context.Context) {
	s.depth++
	defer func() {
		s.depth--
		if r := recover(); r != nil && r != (crash{}) {
			panic(r)
		}
	}()
	r, err := Run(ctx, s, Options{
		Backend: s,
		Clients: func(*fleet.Fleet) (analyze.Clients, error) {
			return analyze.Clients{Now: func() time.Time { return s.now }}, nil
		},
		Now:            func() time.Time { return s.now },
		ObserveTimeout: s.observeTimeout,
		Missed:         s.missed,
	})
	if r != nil && s.remembers {
		s.missed = r.Missed
	}
	if s.quiet {
		require.NoError(s.t, err)
	}
}

// Update implements store.Store, as a repository does: whoever is late begins anew.
func (s *simulation) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	for {
		s.happen("before reading", 15*time.Minute)
		version, files := s.version, fstest.MapFS{}
		for name, data := range s.files {
			files[name] = &fstest.MapFile{Data: data}
		}
		f, err := fleet.OpenFS(fleet.Paths{Config: "images.yaml", StateDir: "state"}, files, func() (*config.Config, error) {
			text := enrolled
			if s.slow > 0 {
				text = strings.ReplaceAll(text, "repo: acme/api", "host: ghe.example.com, repo: acme/api")
				text = strings.ReplaceAll(text, "repo: acme/base", "host: ghe.example.com, repo: acme/base")
			}
			return config.Load(strings.NewReader(text), "images.yaml")
		})
		require.NoError(s.t, err)
		c, err := do(ctx, f)
		if err != nil || c == nil || len(c.After) == 0 {
			return store.Saved{}, err
		}
		s.happen("before saving", 15*time.Minute)
		if s.version != version {
			continue
		}
		s.version++
		s.files = maps.Clone(s.files)
		maps.Copy(s.files, c.After)
		s.happen("after saving", 15*time.Minute)
		return store.Saved{Files: len(c.After)}, nil
	}
}

// executor implements Backend.
func (s *simulation) executor(*fleet.Fleet) (executor, error) { return s, nil }

// Ready implements executor.
func (s *simulation) Ready(context.Context, *rebuildRequest) (string, error) { return "", nil }

// LookupRun implements executor.
func (s *simulation) LookupRun(context.Context, *rebuildRequest) (*runStatus, error) { return nil, nil }

// External implements executor.
func (s *simulation) External(context.Context) ([]externalRebuild, error) { return nil, nil }

var errTrouble = errors.New("bad gateway")

// Find implements executor.
func (s *simulation) Find(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	s.asked = append(s.asked, r.Image.Name)
	if s.hang[r.Image.Name] && ctx.Err() == nil {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if r.Image.Source.Host == "ghe.example.com" {
		return nil, errTrouble
	}
	s.happen("before finding", 15*time.Minute)
	if !s.quiet && rapid.IntRange(0, 5).Draw(s.chance, "find fails") == 0 {
		return nil, errTrouble
	}
	if s.started[r.ID] == 0 {
		return nil, nil
	}
	return &runStatus{Status: cmp.Or(s.ends, state.Running), Run: "run-" + r.ID}, nil
}

// Start implements executor. A request that was not sent in time is not sent.
func (s *simulation) Start(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	if r.Image.Source.Host == "ghe.example.com" {
		s.now = s.now.Add(s.slow)
		return nil, errTrouble
	}
	since := s.now
	if s.happen("before starting", 15*time.Minute); s.now.Sub(since) >= startTimeout {
		return nil, context.DeadlineExceeded
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	outcome := "works"
	if !s.quiet {
		outcome = rapid.SampledFrom([]string{"works", "works", "fails", "answer is lost", "refused"}).Draw(s.chance, "start")
	}
	switch outcome {
	case "fails":
		return nil, errTrouble
	case "refused":
		return nil, &refusedError{errors.New("no such workflow")}
	}
	s.started[r.ID]++
	s.happen("after starting", 15*time.Minute)
	if outcome == "answer is lost" {
		return nil, errTrouble
	}
	return &runStatus{Status: state.Running, Run: "run-" + r.ID}, nil
}

func (s *simulation) images() map[string]*state.Image {
	files := fstest.MapFS{}
	for name, data := range s.files {
		files[name] = &fstest.MapFile{Data: data}
	}
	st, err := state.Load(files, "state")
	require.NoError(s.t, err)
	return st.Images
}

// TestPromotersNeitherLoseNorDouble: whatever crashes, fails or overtakes, no rebuild is started twice, and in the end each
// image is being rebuilt, or what was refused is recorded as failed.
func TestPromotersNeitherLoseNorDouble(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSimulation(t)
		s.chance = t
		for range rapid.IntRange(1, 6).Draw(t, "passes") {
			s.pass()
			s.now = s.now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pause")))
		}
		s.quiet = true
		for range 4 { // the passes of the hours that follow
			s.now = s.now.Add(time.Hour)
			s.pass()
		}
		for id, n := range s.started {
			assert.Equal(t, 1, n, "rebuild %s", id)
		}
		ids := map[string]bool{}
		images := s.images()
		for _, name := range slices.Sorted(maps.Keys(images)) {
			r := images[name].Rebuild
			require.NotNil(t, r, name)
			assert.False(t, ids[r.ID], "a rebuild of its own")
			ids[r.ID] = true
			switch r.Status {
			case state.Running:
				assert.Equal(t, 1, s.started[r.ID], name)
				assert.Equal(t, "run-"+r.ID, r.Run)
			case state.Failed: // refused, or too often; or tried again with growing distance
				assert.NotEmpty(t, r.Message)
				assert.Equal(t, r.Message == "no such workflow", r.Refused)
			default:
				assert.Fail(t, "left behind", "%s is %s", name, r.Status)
			}
		}
	})
}

// dies is the end of a promoter.
func dies() { panic(crash{}) }

func TestClaimIsRespectedUntilItExpires(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	s.at["before starting"] = dies
	s.pass()
	s.now = s.now.Add(claimTTL)
	s.at["before starting"] = s.pass
	s.pass()
	require.Len(t, s.started, 3)
	for id, n := range s.started {
		assert.Equal(t, 1, n, "rebuild %s", id)
	}
}

func TestLatePassLooksUpTheRunAgain(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	s.at["before starting"] = dies
	s.pass()
	s.now = s.now.Add(claimTTL)
	s.at["before saving"] = func() {
		s.at["after starting"] = dies
		s.pass()
		s.now = s.now.Add(claimTTL)
	}
	s.pass()
	require.Len(t, s.started, 3)
	for id, n := range s.started {
		assert.Equal(t, 1, n, "rebuild %s", id)
	}
}

func TestLatePassRevertsNothing(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	s.at["after starting"] = func() {
		s.now, s.ends = s.now.Add(claimTTL), state.Built
		s.pass()
	}
	s.pass()
	ended := 0
	for _, img := range s.images() {
		if img.Rebuild.Status == state.Built {
			ended++
		}
	}
	assert.Equal(t, 1, ended, "what the other pass has seen to end")
}

func TestLatePassLeavesNextRebuildAlone(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	s.at["after starting"] = func() {
		next := state.New()
		next.Images = s.images()
		for _, img := range next.Images {
			img.Request(state.Rebuild{ID: "r-next", Reason: "test", RequestedAt: state.At(s.now)})
		}
		files, err := next.Encode()
		require.NoError(t, err)
		s.files = files
		s.version++
	}
	s.pass()
	for name, img := range s.images() {
		assert.Equal(t, state.Requested, img.Rebuild.Status, name)
		assert.Empty(t, img.Rebuild.Run, name)
	}
}

func TestSlowForgeLeavesTimeToStart(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	st := state.New()
	st.Images = s.images()
	st.Images["base"].Request(state.Rebuild{ID: "r-slow", Reason: "test", RequestedAt: state.At(s.now)})
	st.Images["base"].Rebuild.Status = state.Running
	files, err := st.Encode()
	require.NoError(t, err)
	s.files = files
	s.at["before finding"] = func() { s.now = s.now.Add(startDeadline) }
	s.pass()
	assert.Len(t, s.started, 2, "the others")
}

func TestFailingForgeLeavesTimeForExternalRebuilds(t *testing.T) {
	s := newSimulation(t)
	s.quiet, s.slow = true, startDeadline-time.Minute
	s.pass() // api and base are there, and come first
	assert.Len(t, s.started, 1)
	assert.Equal(t, state.Running, s.images()["web"].Rebuild.Status)

	s.now, s.ends = s.now.Add(time.Hour), state.Built
	s.pass()
	require.Len(t, s.asked, 3)
	assert.Equal(t, "web", s.asked[1], "nor when it is asked what became of them")
	assert.Equal(t, state.Built, s.images()["web"].Rebuild.Status)
}

// TestRebuildsThatGiveNoAnswerDoNotStarveTheOthers: two of one forge take all the time of each pass, and come first.
func TestUnresponsiveRebuildsLeaveTimeForExternalOnes(t *testing.T) {
	for name, tt := range map[string]struct {
		every     time.Duration
		remembers bool
	}{
		"one pass an hour":       {time.Hour, false},
		"passes of one promoter": {time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimulation(t)
			s.quiet = true
			s.pass()
			require.Len(t, s.started, 3)
			s.hang, s.observeTimeout, s.ends, s.remembers = map[string]bool{"api": true, "base": true}, 20*time.Millisecond, state.Built, tt.remembers
			for range 3 {
				s.now = s.now.Add(tt.every)
				s.pass()
			}
			assert.Equal(t, state.Built, s.images()["web"].Rebuild.Status)
		})
	}
}

func TestInterruptedPassBlamesNoRebuild(t *testing.T) {
	s := newSimulation(t)
	s.quiet = true
	ctx, stop := context.WithCancel(t.Context())
	s.at["before starting"] = stop
	s.passUntil(ctx)
	assert.Empty(t, s.started)
	for name, img := range s.images() {
		assert.Equal(t, state.Requested, img.Rebuild.Status, name)
		assert.Empty(t, img.Rebuild.Message, name)
	}
}

// TestPassRecordsWhatItMissed: a pass with little time records what it got to, says what it missed, and the next one of the
// same process begins with that.
func TestPassRecordsWhatItMissed(t *testing.T) {
	good := registrytest.New(t)
	images, st := fleettest.Hostile(t, good, 5, 3)
	paths := fleet.Paths{Config: filepath.Join(t.TempDir(), "images.yaml")}
	paths.StateDir = filepath.Join(filepath.Dir(paths.Config), "state")
	require.NoError(t, os.WriteFile(paths.Config, []byte(images), 0o600))
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(paths.StateDir, files))
	r, err := Run(t.Context(), store.Folder{Paths: paths}, Options{
		Backend: Direct{Client: forge.New(forge.Options{}), Now: time.Now},
		Clients: func(*fleet.Fleet) (analyze.Clients, error) {
			return analyze.Clients{Registry: registry.New(registry.Options{}), Now: time.Now}, nil
		},
		Now: time.Now, ObserveTimeout: 3 * time.Second,
	})
	require.NoError(t, err)
	assert.Len(t, r.Missed.names, 5)
	late := slices.DeleteFunc(slices.Clone(r.Problems), func(p Problem) bool { return !strings.Contains(p.Error, fair.ErrLate.Error()) })
	assert.Len(t, late, 5)
	seen, err := fleet.Open(paths)
	require.NoError(t, err)
	for _, name := range []string{"good0", "good1", "good2"} {
		assert.NotNil(t, seen.State.Base(seen.State.Images[name].BaseImages[0].Ref).Baseline, name)
	}
}

// A Promotion that fails before its dispatch step has an output was refused: it had no run.
func TestRefusedPromotion(t *testing.T) {
	for _, test := range []struct {
		phase, run string
		want       bool
	}{
		{"Failed", "", true},
		{"Failed", kargo.UnknownRun, false},
		{"Failed", "4711", false},
		{"Errored", "", false}, // the response may have been lost
		{"Aborted", "", false},
		{"Succeeded", "", false},
		{"Running", "", false},
	} {
		r := &state.Rebuild{Status: state.Requested}
		statusOf(&cluster.Promotion{Phase: test.phase, RunID: test.run}).applyTo(r, time.Now())
		assert.Equal(t, test.want, r.Refused, "%s %s", test.phase, test.run)
	}
}
