package factory

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// folder is a Store with one image, whose state file says how often it was written.
func folder(t *testing.T) Folder {
	dir := t.TempDir()
	paths := Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state")}
	require.NoError(t, os.WriteFile(paths.Config, []byte("- {name: web, repository: acme/web}\n"), 0o600))
	return Folder{paths}
}

// add records one more write of the image.
func add(_ context.Context, f *Fleet) (*StateChange, error) {
	return f.change(func() {
		facts := f.known(f.Config.Find("web"))
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
			_, errs[i] = store.Update(t.Context(), func(ctx context.Context, f *Fleet) (*StateChange, error) {
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

func TestAProcessThatDiesHoldsNoLock(t *testing.T) {
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
