package history

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// treeOf returns a tree of entries such as "100644 a.yaml 1", whose hash is a repeated character.
func treeOf(entries ...string) tree {
	var out tree
	for _, e := range entries {
		var mode, name, hash string
		if _, err := fmt.Sscan(e, &mode, &name, &hash); err != nil {
			panic(err)
		}
		out = append(out, mode+" "+name+"\x00"+strings.Repeat(hash, len(plumbing.ZeroHash))...)
	}
	return out
}

func TestChanged(t *testing.T) {
	for name, tt := range map[string]struct {
		now, before tree
		want        string
	}{
		"nothing":                {treeOf("100644 a 1", "100644 b 1"), treeOf("100644 a 1", "100644 b 1"), ""},
		"all are new":            {treeOf("100644 a 1", "100755 b 1"), nil, "a b"},
		"no file left":           {nil, treeOf("100644 a 1"), ""},
		"one changed":            {treeOf("100644 a 1", "100644 b 2", "100644 c 1"), treeOf("100644 a 1", "100644 b 1", "100644 c 1"), "b"},
		"one added":              {treeOf("100644 a 1", "100644 b 1", "100644 c 1"), treeOf("100644 a 1", "100644 c 1"), "b"},
		"one removed":            {treeOf("100644 a 1", "100644 c 1"), treeOf("100644 a 1", "100644 b 1", "100644 c 1"), ""},
		"mode alone":             {treeOf("100755 a 1"), treeOf("100644 a 1"), ""},
		"folders are no files":   {treeOf("100644 a-b 1", "40000 a 1", "100644 a0 2"), treeOf("100644 a-b 1", "40000 a 2", "100644 a0 1"), "a0"},
		"a folder became a file": {treeOf("100644 a 1", "100644 a-b 1"), treeOf("100644 a-b 1", "40000 a 1"), "a"},
		"a link became a file":   {treeOf("100644 a 1"), treeOf("120000 a 1"), "a"},
		"links and submodules":   {treeOf("120000 a 1", "160000 b 1"), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.True(t, tt.now.valid())
			var got []string
			for file := range tt.now.changed(tt.before) {
				got = append(got, file)
			}
			assert.Equal(t, tt.want, strings.Join(got, " "))
		})
	}
}

// FuzzTree: whatever a tree holds, each file of a valid one is found once, and it differs in nothing from itself.
func FuzzTree(f *testing.F) {
	f.Add([]byte(treeOf("100644 a 1", "40000 b 2")), []byte(treeOf("100644 a 2")))
	f.Add([]byte("100644 a\x00short"), []byte(nil))
	f.Add([]byte("9 a\x0012345678901234567890"), []byte(nil))
	f.Fuzz(func(t *testing.T, now, before []byte) {
		a, b := tree(now), tree(before)
		if !a.valid() || !b.valid() {
			return
		}
		assert.Empty(t, maps.Collect(a.changed(a)))
		for name, hash := range a.changed(b) {
			assert.Contains(t, string(now), name+"\x00"+string(hash[:]))
		}
	})
}
