package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

// newTerminal returns a terminal that a command can write to.
func newTerminal(t *testing.T) *os.File {
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { control.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

// TestPictureInTerminal: bytes of a picture are not written to a terminal; the other formats are.
func TestPictureInTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"images.yaml": "- {name: redis, repository: library/redis}\n"})
	run := func(format string) (code int, errors string) {
		var errOut strings.Builder
		code = cli.Main(t.Context(), []string{"graph", "-o", format}, &cli.Env{
			In: strings.NewReader(""), Out: newTerminal(t), Err: &errOut, Now: time.Now,
			Getenv: func(name string) string {
				return map[string]string{"IMAGEFACTORY_CONFIG": filepath.Join(dir, "images.yaml")}[name]
			},
		})
		return code, errOut.String()
	}
	code, errors := run("png")
	assert.Equal(t, 2, code)
	assert.Equal(t, "imagefactory: a PNG image cannot be shown in a terminal: redirect it to a file, or use -o text\n", errors)
	code, errors = run("text")
	assert.Equal(t, 0, code, errors)
}
