package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

func digest(c byte) string { return "sha256:" + string(make([]byte, 0)) + repeat(c) }

func repeat(c byte) string {
	b := make([]byte, 64)
	for i := range b {
		b[i] = c
	}
	return string(b)
}

func sample(now time.Time) *state.State {
	st := state.New()
	b := &state.Base{Name: "node-22-slim", Registry: "docker.io", Repository: "library/node", Tag: "22-slim"}
	b.Observe(state.Snapshot{Digest: digest('a'), Platforms: state.Platforms{"linux/amd64": digest('1'), "linux/arm64": digest('2')}}, now)
	b.Observe(state.Snapshot{Digest: digest('b')}, now.Add(time.Hour))
	b.Candidates[0].Hold("bad: \"glibc\"", now)
	st.Bases[b.Name] = b
	st.Images["web"] = &state.Image{
		Name: "web", Repository: "ghcr.io/acme/web",
		Dockerfile:    &state.Dockerfile{Repo: "acme/web", Path: "Dockerfile", Digest: digest('c')},
		BaseImages:    []state.BaseUse{{Ref: b.Ref(), Uses: []state.Use{{Kind: "from", Stage: "build", Line: 1}}}},
		BuiltOn:       []state.BuiltOn{{Ref: b.Ref(), Snapshot: b.Baseline.Snapshot, Evidence: state.Assumed}},
		CurrentDigest: digest('d'), CurrentVersion: "1.10", LastBuilt: state.At(now),
		Rebuild: &state.Rebuild{ID: "r-1", Reason: "x", RequestedAt: state.At(now), Status: state.Running, RunURL: "https://example.com/1"},
	}
	return st
}

func TestStateSurvivesSavingAndLoading(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.FixedZone("x", 3600))
	files, err := sample(now).Encode()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, state.WriteFiles(dir, files))
	loaded, err := state.Load(os.DirFS(dir), "state")
	require.NoError(t, err)
	again, err := loaded.Encode()
	require.NoError(t, err)
	require.Equal(t, files, again)
	require.Equal(t, sample(now), loaded)
	require.Empty(t, state.Changed(files, again))
	require.Contains(t, string(files["base-images/node-22-slim.yaml"]), `firstSeen: "2026-01-02T02:04:05Z"`)
}

func TestUnknownKeysSurvive(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "images"), 0o755))
	text := `name: web
repository: ghcr.io/acme/web
baseImages:
- ref: docker.io/library/node:22
  uses:
  - kind: from
    line: 1
    futureUse: 1.50
  futureBase: [1, two, {three: "3"}]
rebuild:
  id: r-1
  reason: x
  requestedAt: "2026-01-02T03:04:05Z"
  status: running
  futureRebuild: "2026-01-02T03:04:05Z"
futureTop: {a: null, b: true}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images", "web.yaml"), []byte(text), 0o644))
	st, err := state.Load(os.DirFS(dir), "state")
	require.NoError(t, err)
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(dir, files))
	again, err := state.Load(os.DirFS(dir), "state")
	require.NoError(t, err)
	require.Equal(t, st, again)
	for _, key := range []string{"futureUse", "futureBase", "futureRebuild", "futureTop"} {
		require.Contains(t, string(files["images/web.yaml"]), key)
	}
}

func TestManyFilesAreWrittenAndRemoved(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{}
	for i := range 200 {
		files[fmt.Sprintf("images/web-%d.yaml", i)] = fmt.Appendf(nil, "name: web-%d\n", i)
	}
	require.NoError(t, state.WriteFiles(dir, files))
	for p := range files {
		data, err := os.ReadFile(filepath.Join(dir, p))
		require.NoError(t, err)
		require.Equal(t, files[p], data, p)
		files[p] = nil
	}
	files["base-images/node.yaml"] = []byte("name: node\n")
	require.NoError(t, state.WriteFiles(dir, files))
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "base-images", "node.yaml")}, left)
}

func TestUnwritableFileIsReported(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{"images/gone.yaml": nil}
	for i := range 50 {
		files[fmt.Sprintf("images/web-%02d.yaml", i)] = []byte("new\n")
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "images", "web-07.yaml", "in-the-way"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images", "gone.yaml"), nil, 0o644))
	require.ErrorContains(t, state.WriteFiles(dir, files), "web-07.yaml")
	require.FileExists(t, filepath.Join(dir, "images", "gone.yaml"), "nothing is removed before all is written")
	left, err := filepath.Glob(filepath.Join(dir, "images", ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no temporary file stays")
}
