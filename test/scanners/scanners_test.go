// Package scanners tests `imagefactory scan` with the real Trivy and the real Grype, which find holes of a database made here.
package scanners

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var discard = log.New(io.Discard, "", 0)

// The folder of the scanners and the binary of imagefactory: `make scanners` names both.
var (
	scanners = os.Getenv("SCANNERS")
	binary   = os.Getenv("SCANNERS_BINARY")
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if scanners == "" || binary == "" {
		fmt.Fprintln(os.Stderr, "run `make scanners`: it builds the scanners and the binary, and names them in SCANNERS and SCANNERS_BINARY")
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
	at := time.Now().UTC().Truncate(time.Hour)
	trivy, grype := filepath.Join(cache, "trivy"), filepath.Join(cache, "grype")
	if err := trivyDatabase(trivy, holes, at); err != nil {
		return fmt.Errorf("making the database of Trivy: %w", err)
	}
	if err := grypeDatabase(grype, holes, at); err != nil {
		return fmt.Errorf("making the database of Grype: %w", err)
	}
	for key, value := range map[string]string{
		"TRIVY_CACHE_DIR":                  trivy,
		"TRIVY_SKIP_DB_UPDATE":             "true",
		"TRIVY_SKIP_JAVA_DB_UPDATE":        "true",
		"TRIVY_SKIP_VEX_REPO_UPDATE":       "true",
		"TRIVY_OFFLINE_SCAN":               "true",
		"TRIVY_DISABLE_TELEMETRY":          "true",
		"TRIVY_SKIP_VERSION_CHECK":         "true",
		"GRYPE_DB_CACHE_DIR":               grype,
		"GRYPE_DB_AUTO_UPDATE":             "false",
		"GRYPE_CHECK_FOR_APP_UPDATE":       "false",
		"GRYPE_REGISTRY_INSECURE_USE_HTTP": "true",
		"PATH":                             scanners + string(os.PathListSeparator) + os.Getenv("PATH"),
	} {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return nil
}
