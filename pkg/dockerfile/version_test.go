package dockerfile_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

// answers are what testdata/version.json holds: hashes of the answers that a version gives.
type answers struct {
	Version  int               `json:"version"`
	BuildKit string            `json:"buildkit"`
	Answers  map[string]string `json:"answers"` // by the hash of the question
}

// What state keeps of an analysis stands until Version changes, so Version must change when an answer does, and with each
// version of BuildKit, which may answer differently what no fixture asks.
func TestVersionChangesWithTheAnswers(t *testing.T) {
	const file = "testdata/version.json"
	now := answers{Version: dockerfile.Version, BuildKit: buildkitVersion(t), Answers: map[string]string{}}
	for _, kind := range []string{"resolved", "refused"} {
		for _, f := range fixtures(t, kind) {
			res, err := dockerfile.Resolve(t.Context(), f.src, f.opts)
			opts := []any{f.opts.BuildArgs, f.opts.Target, f.opts.Platform, f.opts.BuildPlatform, f.opts.Contexts, f.opts.AllStages}
			now.Answers[hashOf(t, string(f.src), opts, f.configs)] = hashOf(t, res, err == nil) // texts of errors are not kept
		}
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var before answers
	require.NoError(t, json.Unmarshal(data, &before))
	if before.Version == now.Version {
		assert.Equal(t, before.BuildKit, now.BuildKit, "raise dockerfile.Version, and run the test with -update")
		for question, answer := range before.Answers {
			if again, asked := now.Answers[question]; asked {
				assert.Equal(t, answer, again, "an answer changed: raise dockerfile.Version, and run the test with -update")
			}
		}
	}
	if *update && !t.Failed() {
		data, err = json.MarshalIndent(now, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(data, '\n'), 0o644))
		return
	}
	assert.True(t, reflect.DeepEqual(before, now), "testdata/version.json is out of date: run the test with -update")
}

func buildkitVersion(t *testing.T) string {
	data, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	found := regexp.MustCompile(`github.com/moby/buildkit (\S+)`).FindSubmatch(data)
	require.NotNil(t, found)
	return string(found[1])
}

func hashOf(t *testing.T, values ...any) string {
	data, err := json.Marshal(values)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
