package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func TestMain(m *testing.M) {
	holdFolderIfAsked()
	os.Exit(m.Run())
}

// folder is a Store with one image, whose state file says how often it was written.
func folder(t *testing.T) Folder {
	dir := t.TempDir()
	paths := fleet.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state")}
	require.NoError(t, os.WriteFile(paths.Config, []byte("- {name: web, repository: acme/web}\n"), 0o600))
	return Folder{Paths: paths}
}

// add records one more write of the image.
func add(_ context.Context, f *fleet.Fleet) (*fleet.Change, error) {
	return f.Change(func() {
		facts := f.ImageState(f.Config.Find("web"))
		facts.Published = append(facts.Published, state.Published{Tag: fmt.Sprintf("v%d", len(facts.Published))})
	})
}

func writes(t *testing.T, store Store) int {
	f, err := View(t.Context(), store)
	require.NoError(t, err)
	return len(f.State.Images["web"].Published)
}

// All read the same state before the first of them writes. Each has lost its first race by then, but one.
func TestWritersOfAFolderWaitForEachOther(t *testing.T) {
	const writers = 40
	store := folder(t)
	var opened, done sync.WaitGroup
	opened.Add(writers)
	errs := make([]error, writers)
	tries := make([]int, writers)
	for i := range writers {
		done.Go(func() {
			_, errs[i] = store.Update(t.Context(), func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
				if tries[i]++; tries[i] == 1 {
					opened.Done()
					opened.Wait()
				}
				return add(ctx, f)
			})
		})
	}
	done.Wait()
	require.NoError(t, errors.Join(errs...))
	assert.Equal(t, writers, writes(t, store), "nothing that was written is lost")
	for _, n := range tries {
		assert.LessOrEqual(t, n, 2, "the second time nobody else writes")
	}
}

// holdFolder is the variable by which the test binary is another process that holds a folder until it is killed.
const holdFolder = "TEST_HOLD_FOLDER"

func holdFolderIfAsked() {
	if dir := os.Getenv(holdFolder); dir != "" {
		if _, err := lock(context.Background(), dir); err != nil {
			panic(err)
		}
		fmt.Println("locked")
		select {}
	}
}

func TestDeadProcessHoldsNoLock(t *testing.T) {
	store := folder(t)
	_, err := store.Update(t.Context(), add)
	require.NoError(t, err)
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), holdFolder+"="+store.Paths.StateDir)
	out, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = store.lock(ended)
	require.ErrorContains(t, err, "waiting for another process", "a writer waits no longer than it may")
	require.NoError(t, other.Process.Kill())
	_, err = store.Update(t.Context(), add)
	require.NoError(t, err)
	assert.Equal(t, 2, writes(t, store))
	_ = other.Wait() // it was killed
}

// An earlier version recorded an image once for each spelling of its host. What was held under one of them stays held, also
// when its file is archived, until the image is released.
func TestHoldsUnderAnotherSpellingStay(t *testing.T) {
	store := folder(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	require.NoError(t, os.WriteFile(store.Paths.Config,
		[]byte("- {name: app, repository: acme/app, source: {provider: github, repo: acme/app, workflow: b.yml}}\n"), 0o600))
	st := state.New()
	st.Images["app"] = &state.Image{
		Name: "app", Repository: "ghcr.io/acme/app", Dockerfile: &state.Dockerfile{Path: "Dockerfile"},
		BaseImages: []state.BaseUse{{Ref: "docker.io/library/node:22", Uses: []state.Use{{Kind: "from", Stage: "0", Line: 1}}}},
	}
	for _, host := range []string{"docker.io", "registry-1.docker.io", "registry.hub.docker.com"} {
		b := &state.Base{Registry: host, Repository: "library/node", Tag: "22"}
		b.Name = state.BaseName(state.Ref{Registry: host, Repository: b.Repository, Tag: b.Tag})
		b.Observe(state.Snapshot{Digest: digestOf("a")}, now)
		b.Observe(state.Snapshot{Digest: digestOf("b")}, now)
		st.Bases[b.Name] = b
	}
	old := st.Bases[state.BaseName(state.Ref{Registry: "registry.hub.docker.com", Repository: "library/node", Tag: "22"})]
	old.Candidates[0].Hold("broken", now.Add(time.Hour))
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(store.Paths.StateDir, files))

	candidate := func() state.Candidate {
		f, err := View(t.Context(), store)
		require.NoError(t, err)
		return f.State.Bases["node-22"].Candidates[0]
	}
	prune := func() {
		_, err := store.Update(t.Context(), func(_ context.Context, f *fleet.Fleet) (*fleet.Change, error) { return f.Prune("unused") })
		require.NoError(t, err)
	}
	assert.Equal(t, "broken", candidate().Reason)
	prune()
	assert.NoFileExists(t, filepath.Join(store.Paths.StateDir, "base-images", old.Name+".yaml"))
	assert.Equal(t, state.At(now.Add(time.Hour)), candidate().Held)

	require.NoError(t, state.WriteFiles(store.Paths.StateDir, files)) // before it was pruned
	_, err = store.Update(t.Context(), func(_ context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		return f.Change(func() { f.State.Bases["node-22"].Candidates[0].Release("fixed", now.Add(2*time.Hour)) })
	})
	require.NoError(t, err)
	assert.Equal(t, "fixed", candidate().Reason, "the later word counts")
	prune()
	assert.Equal(t, "fixed", candidate().Reason)
	prune()
	assert.Equal(t, "fixed", candidate().Reason)
}

func digestOf(s string) string { return "sha256:" + strings.Repeat(s, 64) }
