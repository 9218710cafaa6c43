package factory

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// An entry that was renamed goes on from what is known under the old name, whose facts stay as they are.
func TestARenamedImageSharesNothing(t *testing.T) {
	f, err := Open(folder(t).Paths)
	require.NoError(t, err)
	f.files = fstest.MapFS{}
	img := f.Config.Find("web")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	old := &state.Image{
		Name: "old", Repository: img.Ref(), BuiltOn: []state.BuiltOn{{Ref: "a", Evidence: state.Assumed}},
		Published: []state.Published{{Tag: "1"}}, Rebuild: &state.Rebuild{ID: "r-1", Status: state.Running},
	}
	f.State.Images["old"] = old
	before := old.Clone()
	renamed := f.inherit(img)
	require.Equal(t, "web", renamed.Name)
	renamed.Rebuild.Finish(state.Failed, "no", now)
	renamed.SetBuiltOn(state.BuiltOn{Ref: "a", Evidence: state.Recorded})
	renamed.ObservePublished("1", state.Snapshot{Digest: digestOf("a")}, now)
	assert.Equal(t, before, old)
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
		_, err := store.Update(t.Context(), func(_ context.Context, f *Fleet) (*StateChange, error) { return f.Prune("unused") })
		require.NoError(t, err)
	}
	assert.Equal(t, "broken", candidate().Reason)
	prune()
	assert.NoFileExists(t, filepath.Join(store.Paths.StateDir, "base-images", old.Name+".yaml"))
	assert.Equal(t, state.At(now.Add(time.Hour)), candidate().Held)

	require.NoError(t, state.WriteFiles(store.Paths.StateDir, files)) // before it was pruned
	_, err = store.Update(t.Context(), func(_ context.Context, f *Fleet) (*StateChange, error) {
		return f.change(func() { f.State.Bases["node-22"].Candidates[0].Release("fixed", now.Add(2*time.Hour)) })
	})
	require.NoError(t, err)
	assert.Equal(t, "fixed", candidate().Reason, "the later word counts")
	prune()
	assert.Equal(t, "fixed", candidate().Reason)
	prune()
	assert.Equal(t, "fixed", candidate().Reason)
}
