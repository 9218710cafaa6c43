package cli_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

// watchFor runs a command that waits. Before each look but the first, it calls the next of the steps; after the last one it is
// interrupted.
func watchFor(t *testing.T, dir string, steps []func(), args ...string) result {
	now, err := time.Parse(time.RFC3339, scriptNow)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut bytes.Buffer
	watching := false
	code := cli.Main(ctx, args, &cli.Env{
		Watching: func() { watching = true },
		In:       strings.NewReader(""), Out: &out, Err: &errOut, Now: func() time.Time { return now },
		Getenv: func(name string) string {
			return map[string]string{"IMAGEFACTORY_CONFIG": filepath.Join(dir, "images.yaml")}[name]
		},
		Sleep: func(_ context.Context, d time.Duration) error {
			if len(steps) == 0 {
				cancel()
				return context.Canceled
			}
			now = now.Add(d)
			steps[0]()
			steps = steps[1:]
			return nil
		},
	})
	assert.Equal(t, code == 1, watching, "an interrupt has nothing to say")
	return result{code, out.String(), errOut.String()}
}

func TestStatusWatch(t *testing.T) {
	const entry = "- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n"
	dir := t.TempDir()
	write := func(images string) func() {
		return func() { writeFiles(t, dir, map[string]string{"images.yaml": images}) }
	}
	write(entry)()
	got := watchFor(t, dir, []func(){
		func() {}, // no news, no line
		write(entry + "- {name: redis, repository: library/redis}\n"), write("- {name: web, nope: 1}\n"), func() {}, write(entry),
	}, "status", "--watch", "--interval", "60s")
	assert.Equal(t, 1, got.code, "main makes 130 of it")
	assert.Equal(t, `IMAGE  STATUS   WHEN (UTC)  WHY
web    unknown              never analyzed

1 unknown
2026-03-01T12:02:00Z redis: unknown: never analyzed
2026-03-01T12:05:00Z redis: no longer
`, got.out)
	assert.Equal(t, 1, strings.Count(got.err, "warning: "), got.err)
	assert.Contains(t, got.err, `unknown key "nope"`)

	write("- {name: web, nope: 1}\n")()
	assert.Equal(t, 2, watchFor(t, dir, nil, "status", "--watch").code, "invalid from the start")
	write(entry)()
	for _, args := range []string{"--bases", "--exit-code", "-o json", "--interval 0s"} {
		assert.Equal(t, 2, watchFor(t, dir, nil, append([]string{"status", "--watch"}, strings.Fields(args)...)...).code, args)
	}
}
