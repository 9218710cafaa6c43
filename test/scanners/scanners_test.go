// Package scanners tests `imagefactory scan` with the real Trivy and the real Grype, which find holes of a database made here.
package scanners

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var discard = log.New(io.Discard, "", 0)

// The folder of the scanners and the binary of imagefactory: `make scanners` names both.
var (
	scanners = filepath.Join(os.Getenv("PROGRAMS"), "scanners")
	binary   = os.Getenv("SCANNERS_BINARY")
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("PROGRAMS") == "" || binary == "" {
		fmt.Fprintln(os.Stderr, "run `make scanners`: it builds the scanners and the binary, and names them in PROGRAMS and SCANNERS_BINARY")
		return 1
	}
	cache, err := os.MkdirTemp("", "scanners")
	if err == nil {
		defer os.RemoveAll(cache)
		err = useDatabases(cache)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// useDatabases makes both databases below cache. Scanners started from now on use them, and ask nobody for another.
func useDatabases(cache string) error {
	settings, err := exec.Command(filepath.Join(scanners, "databases"), cache).Output()
	if err != nil {
		return fmt.Errorf("making the databases: %w", err)
	}
	for setting := range strings.Lines(string(settings)) {
		key, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return os.Setenv("PATH", scanners+string(os.PathListSeparator)+os.Getenv("PATH"))
}
