package factory

import (
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
