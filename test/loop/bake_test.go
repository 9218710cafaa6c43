package loop_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded answers, with which pkg/buildfile compares its own, are those of buildx. The environment is empty: neither
// variables nor a .env file say anything.
func TestBakeFilesInBuildx(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs("../../pkg/buildfile/testdata/buildx")
	require.NoError(t, err)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".print" {
			continue
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "buildx"), "bake", "--print", "-f", entry.Name(), "*")
		cmd.Dir, cmd.Env = folder, []string{"HOME=" + t.TempDir()}
		got, err := cmd.Output()
		require.NoError(t, err, entry.Name())
		file := filepath.Join(folder, entry.Name()+".print")
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, decodeBake(t, want), decodeBake(t, got), "%s: run `make loop LOOPFLAGS=-update`", entry.Name())
	}
}

// bakePlan is what buildx prints. It lists the targets of a matrix in any order.
type bakePlan struct {
	Group map[string]struct {
		Targets []string `json:"targets"`
	} `json:"group"`
	Target map[string]any `json:"target"`
}

func decodeBake(t *testing.T, data []byte) bakePlan {
	t.Helper()
	var b bakePlan
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&b))
	for _, group := range b.Group {
		slices.Sort(group.Targets)
	}
	return b
}
