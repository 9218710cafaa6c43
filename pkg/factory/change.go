package factory

import (
	"maps"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// StateChange is what a verb changed of the state, in memory so far: see Save.
type StateChange struct {
	Changed []string          `json:"changed"` // state files, below the state folder
	before  map[string][]byte // state files before
	after   map[string][]byte // those that changed
}

func (f *Fleet) changeSince(before map[string][]byte) (StateChange, error) {
	now, err := f.State.Encode()
	if err != nil {
		return StateChange{}, err
	}
	after := state.Changed(before, now)
	changed := slices.AppendSeq([]string{}, maps.Keys(after)) // never null in JSON
	slices.Sort(changed)
	return StateChange{Changed: changed, before: before, after: after}, nil
}

// Save writes the state files that changed.
func (f *Fleet) Save(c *StateChange) error { return state.WriteFiles(f.Paths.StateDir, c.after) }

// Diff shows what Save would change.
func (c *StateChange) Diff(stateDir string) string {
	var b strings.Builder
	for _, p := range c.Changed {
		shown := display(stateDir, p)
		from := shown
		if c.before[p] == nil {
			from = "/dev/null"
		}
		b.WriteString(udiff.Unified(from, shown, string(c.before[p]), string(c.after[p])))
	}
	return b.String()
}
