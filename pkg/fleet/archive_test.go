package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// An entry that was renamed goes on from what is known under the old name, whose facts stay as they are.
func TestRenamedImageSharesNoState(t *testing.T) {
	dir := t.TempDir()
	paths := Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state")}
	require.NoError(t, os.WriteFile(paths.Config, []byte("- {name: web, repository: acme/web}\n"), 0o600))
	f, err := Open(paths)
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

func digestOf(s string) string { return "sha256:" + strings.Repeat(s, 64) }
