package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

// repositoryRoot is where images.yaml and testdata/fleet are, seen from this package.
const repositoryRoot = "../.."

// nowVariable sets the clock of the command under test. Only this test's main reads it.
const nowVariable = "IMAGEFACTORY_TEST_NOW"

// scriptNow is the clock of every script.
const scriptNow = "2026-03-01T12:00:00Z"

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imagefactory": func() {
		now, err := time.Parse(time.RFC3339, os.Getenv(nowVariable))
		if err != nil {
			panic(err)
		}
		w := cli.System()
		w.Now = func() time.Time { return now }
		os.Exit(cli.Main(context.Background(), os.Args[1:], w))
	}})
}

// TestScripts runs the whole command line as a user does. Scripts have these commands in addition to those of testscript:
//
//	exits CODE COMMAND [ARG...]  run a command that must end with this exit code
//	big FILE BYTES               write a file of that many bytes, with a long comment in front of FROM scratch
//	bytes FILE TEXT              write a text, quoted as in Go, so that it can hold any byte
func TestScripts(t *testing.T) {
	root, err := filepath.Abs(repositoryRoot)
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(nowVariable, scriptNow)
			env.Setenv("ROOT", root)
			env.Setenv("ESC", "\x1b[31m")
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" { // permissions do not apply to root
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "big": writeBig, "bytes": writeBytes,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("running %q: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if out := ts.ReadFile("stdout"); strings.HasPrefix(out, "{\n  \"apiVersion\": \"imagefactory/v1\"") {
		_, err := checkObjects(out)
		ts.Check(err)
	}
}

func writeBig(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	const end = "\nFROM scratch\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("#"+strings.Repeat("x", size-1-len(end))+end), 0o600))
}

func writeBytes(ts *testscript.TestScript, _ bool, args []string) {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// result is the outcome of a command.
type result struct {
	code     int
	out, err string
}

// run runs a command in this process, with paths relative to a folder.
func run(t *testing.T, dir string, args ...string) result {
	t.Helper()
	now, err := time.Parse(time.RFC3339, scriptNow)
	require.NoError(t, err)
	env := map[string]string{
		"IMAGEFACTORY_CONFIG":    filepath.Join(dir, "images.yaml"),
		"IMAGEFACTORY_STATE_DIR": filepath.Join(dir, "state"),
		"IMAGEFACTORY_OUT_DIR":   filepath.Join(dir, "dist"),
	}
	var out, errOut bytes.Buffer
	code := cli.Main(t.Context(), args, &cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errOut,
		Now:    func() time.Time { return now },
		Getenv: func(name string) string { return env[name] },
	})
	return result{code, out.String(), errOut.String()}
}

// writeFiles writes files below a folder: path to content.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}
