package factory

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestTasksThatNeverEndLeaveRoomForTheOthers: one owner's tasks hang, at whatever place in the order and on however many
// hosts; all tasks of the others are done all the same.
func TestTasksThatNeverEndLeaveRoomForTheOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const workers = 8
		var tasks []task
		hosts := rapid.IntRange(1, 60).Draw(t, "slow hosts")
		for i := range rapid.IntRange(1, 60).Draw(t, "slow") {
			tasks = append(tasks, task{name: "slow", host: fmt.Sprintf("slow%d", i%hosts), owner: "hostile"})
		}
		good := rapid.IntRange(1, 40).Draw(t, "good")
		for i := range good {
			tasks = append(tasks, task{name: strconv.Itoa(i), host: "good", owner: strconv.Itoa(i % 7)})
		}
		tasks = rapid.Permutation(tasks).Draw(t, "order")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		done := map[string]bool{}
		fairly(ctx, workers, tasks, func(i int) {
			if tasks[i].name == "slow" {
				<-ctx.Done()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if done[tasks[i].name] = true; len(done) == good {
				cancel() // else it goes on for ever
			}
		})
		assert.Len(t, done, good)
	})
}

func TestEveryTaskIsDoneOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := make([]task, rapid.IntRange(0, 50).Draw(t, "tasks"))
		for i := range tasks {
			tasks[i].host = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "host")
			tasks[i].owner = rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "owner")
		}
		var mu sync.Mutex
		times := make([]int, len(tasks))
		fairly(t.Context(), rapid.IntRange(1, 9).Draw(t, "workers"), tasks, func(i int) {
			mu.Lock()
			defer mu.Unlock()
			times[i]++
		})
		for _, n := range times {
			assert.Equal(t, 1, n)
		}
	})
}

// TestEveryoneHasATurn: passes that get no further than a part of everything get to all of it.
func TestEveryoneHasATurn(t *testing.T) {
	names := make([]string, 60) // as many as there are minutes between two passes
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	for _, reached := range []int{1, 7, 30} {
		seen := map[string]bool{}
		now := time.Date(2026, 3, 1, 12, 0, 7, 0, time.UTC)
		passes := 0
		for ; len(seen) < len(names); passes++ {
			require.LessOrEqual(t, passes, len(names), "%d a pass", reached)
			for _, name := range (rotation{pass: now.Unix() / 3600}).order(names)[:reached] {
				seen[name] = true
			}
			now = now.Add(time.Hour)
		}
		assert.LessOrEqual(t, passes, 3*len(names)/reached, "hardly more than without any overlap")
	}
	got := rotation{pass: 5, first: map[string]bool{"17": true, "4": true}}.order(names)
	assert.ElementsMatch(t, []string{"4", "17"}, got[:2], "what the pass before missed comes first")
	assert.ElementsMatch(t, names, got)
}

func TestAHostThatHangsLosesOnlyItsShare(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var asked, causes []string
	items := []string{"slow/1", "slow/2", "good/1", "slow/3", "good/2", "bad/1", "bad/2"}
	byHost(ctx, items, func(item string) string { host, _, _ := strings.Cut(item, "/"); return host }, func(ctx context.Context, item string) bool {
		asked = append(asked, item)
		switch item[:3] {
		case "slo":
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx).Error())
			return false
		case "bad":
			return false
		}
		return ctx.Err() == nil
	})
	assert.Equal(t, []string{"slow/1", "good/1", "good/2", "bad/1"}, asked[:4])
	assert.Contains(t, causes[0], "slow used up its share of the time")
}

// hostileFleet has one image with many bases on hosts that never answer, and others on one that does.
func hostileFleet(t *testing.T, good *registrytest.Registry, slow, others int) (f *Fleet, images string) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	var b strings.Builder
	st := state.New()
	enroll := func(name string, refs ...string) {
		fmt.Fprintf(&b, "- {name: %s, registry: %q, repository: acme/%s, source: {provider: github, repo: acme/%s, workflow: b.yml}}\n", name, good.Host, name, name)
		img := &state.Image{Name: name, Repository: good.Host + "/acme/" + name, Dockerfile: &state.Dockerfile{Repo: "acme/" + name, Path: "Dockerfile", Digest: digestOf("a")}}
		for i, ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Final: i == 0, Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		}
		st.Images[name] = img
	}
	var refs []string
	for i := range slow {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(server.Close)
		refs = append(refs, fmt.Sprintf("%s/a/slow%d:1", server.Listener.Addr(), i))
	}
	enroll("a-hostile", refs...)
	for i := range others {
		name := fmt.Sprintf("good%d", i)
		base := good.Base("base/"+name+":1", "1")
		good.Publish("acme/"+name+":1.0.0", registrytest.Built{Version: "1", From: &base, Provenance: true})
		enroll(name, good.Host+"/base/"+name+":1")
	}
	cfg, err := config.Load(strings.NewReader(b.String()), "images.yaml")
	require.NoError(t, err)
	return &Fleet{Config: cfg, State: st, Graph: graph.Build(cfg, st), files: fstest.MapFS{}}, b.String()
}

func TestSlowRegistriesOfOneImageDoNotStarveTheOthers(t *testing.T) {
	good := registrytest.New(t)
	f, _ := hostileFleet(t, good, 2*looks, 12)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	left := map[string]bool{}
	for i := range 12 {
		left[fmt.Sprintf("/v2/base/good%d/", i)] = true
	}
	good.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		maps.DeleteFunc(left, func(prefix string, _ bool) bool { return strings.HasPrefix(r.URL.Path, prefix) })
		if len(left) == 0 {
			cancel() // the slow ones go on for ever
		}
		return false
	})
	guard := time.AfterFunc(time.Minute, cancel)
	defer guard.Stop()
	_, err := f.Analyze(ctx, Scope{AllBases: true}, Sight{Registry: registry.New(registry.Options{}), Now: time.Now})
	require.NoError(t, err)
	assert.Empty(t, left, "all bases of the others were asked for")
}

func TestOnePhaseLeavesTimeForTheNext(t *testing.T) {
	good := registrytest.New(t)
	f, _ := hostileFleet(t, good, 5, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	published := []string{"good0", "good1", "good2"}
	r, err := f.Analyze(ctx, Scope{Published: published, AllBases: true}, Sight{Registry: registry.New(registry.Options{}), Now: time.Now})
	require.NoError(t, err)
	for _, name := range published {
		img := f.State.Images[name]
		assert.Equal(t, "1.0.0", img.CurrentVersion, "%s: it was found out what it was built on", name)
		assert.NotNil(t, f.State.Base(img.BaseImages[0].Ref).Baseline, name)
	}
	late := slices.DeleteFunc(r.Bases, func(b BaseReport) bool { return !b.NotSeen })
	assert.Len(t, late, 5)
}

// TestAPassRemembersWhatItMissed: a pass with little time records what it got to, says what it missed, and the next one of the
// same process begins with that.
func TestAPassRemembersWhatItMissed(t *testing.T) {
	good := registrytest.New(t)
	f, images := hostileFleet(t, good, 5, 3)
	paths := Paths{Config: filepath.Join(t.TempDir(), "images.yaml")}
	paths.StateDir = filepath.Join(filepath.Dir(paths.Config), "state")
	require.NoError(t, os.WriteFile(paths.Config, []byte(images), 0o600))
	files, err := f.State.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(paths.StateDir, files))
	missed := &Missed{}
	r, err := Promote(t.Context(), Folder{paths}, PromoteOptions{
		Executor: func(*Fleet) (Executor, error) { return AtForges{forge.New(forge.Options{})}, nil },
		Sight: func(*Fleet) (Sight, error) {
			return Sight{Registry: registry.New(registry.Options{}), Now: time.Now}, nil
		},
		Now: time.Now, LookFor: 3 * time.Second, Missed: missed,
	})
	require.NoError(t, err)
	assert.Len(t, missed.names, 5)
	late := slices.DeleteFunc(slices.Clone(r.Problems), func(p Problem) bool { return !strings.Contains(p.Error, errLate.Error()) })
	assert.Len(t, late, 5)
	seen, err := Open(paths)
	require.NoError(t, err)
	for _, name := range []string{"good0", "good1", "good2"} {
		assert.NotNil(t, seen.State.Base(seen.State.Images[name].BaseImages[0].Ref).Baseline, name)
	}
}

// TestItemsOfOneHostThatHangLeaveTimeForTheOthers: what is left when a host gave no answer does not get stuck again.
func TestItemsOfOneHostThatHangLeaveTimeForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), startWithin)
		defer cancel()
		var answered []string
		byHost(ctx, []string{"a", "b", "c", "d"}, func(string) string { return "host" }, func(ctx context.Context, item string) bool {
			if item == "a" || item == "b" {
				within, cancel := context.WithTimeout(ctx, 2*time.Minute+30*time.Second)
				defer cancel()
				<-within.Done()
				return false
			}
			if ctx.Err() == nil {
				answered = append(answered, item)
			}
			return ctx.Err() == nil
		})
		assert.Equal(t, []string{"c", "d"}, answered)
	})
}
