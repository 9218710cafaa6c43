// Command databases makes a small vulnerability database for Trivy and for Grype, and prints the settings with which the scanners
// use them and ask nobody for others, one assignment of a shell each.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	grypedb "github.com/anchore/grype/grype/db/v6"
	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/spf13/afero"
	bolt "go.etcd.io/bbolt"
)

// hole is a vulnerability of one package.
type hole struct {
	id, severity string // severity as Grype spells it
	pkg          string // a Debian source package, or a Go module
	fixed        string // "" when there is no fix
}

func (h hole) ecosystem() string {
	if filepath.Base(h.pkg) == h.pkg {
		return "deb"
	}
	return "go-module"
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: databases FOLDER")
		os.Exit(2)
	}
	trivy, grype, at := filepath.Join(os.Args[1], "trivy"), filepath.Join(os.Args[1], "grype"), time.Now().UTC().Truncate(time.Hour)
	if err := errors.Join(trivyDatabase(trivy, at), grypeDatabase(grype, at)); err != nil {
		fmt.Fprintln(os.Stderr, "databases:", err)
		os.Exit(1)
	}
	for _, setting := range []string{
		"TRIVY_CACHE_DIR=" + trivy,
		"TRIVY_SKIP_DB_UPDATE=true",
		"TRIVY_SKIP_JAVA_DB_UPDATE=true",
		"TRIVY_SKIP_VEX_REPO_UPDATE=true",
		"TRIVY_OFFLINE_SCAN=true",
		"TRIVY_DISABLE_TELEMETRY=true",
		"TRIVY_SKIP_VERSION_CHECK=true",
		"GRYPE_DB_CACHE_DIR=" + grype,
		"GRYPE_DB_AUTO_UPDATE=false",
		"GRYPE_CHECK_FOR_APP_UPDATE=false",
		"GRYPE_REGISTRY_INSECURE_USE_HTTP=true",
	} {
		fmt.Println(setting)
	}
}

// The holes in both databases. No real vulnerability has these IDs.
var holes = []hole{
	{id: "CVE-2099-1001", severity: "critical", pkg: "openssl", fixed: "3.0.13-1~deb12u1"},
	{id: "CVE-2099-1002", severity: "high", pkg: "zlib"},
	{id: "CVE-2099-1003", severity: "low", pkg: "bash", fixed: "5.2.15-3"},
	{id: "CVE-2099-1004", severity: "critical", pkg: "curl", fixed: "7.88.1-10+deb12u9"},
	{id: "CVE-2099-2001", severity: "high", pkg: "golang.org/x/text", fixed: "99.0.0"},
}

var (
	trivySeverity = map[string]types.Severity{"low": types.SeverityLow, "high": types.SeverityHigh, "critical": types.SeverityCritical}
	debian        = types.DataSource{ID: "debian", Name: "Debian Security Tracker", URL: "https://security-tracker.example.com"}
	advisories    = types.DataSource{ID: "ghsa", Name: "GitHub Security Advisory Go", URL: "https://advisories.example.com"}
)

// trivyDatabase writes the holes as a database of Trivy below its cache folder.
func trivyDatabase(cache string, at time.Time) error {
	dir := filepath.Join(cache, "db")
	if err := db.Init(dir); err != nil {
		return err
	}
	err := db.Config{}.BatchUpdate(func(tx *bolt.Tx) error {
		for _, h := range holes {
			if err := putTrivy(tx, h, at); err != nil {
				return fmt.Errorf("%s: %w", h.id, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	return metadata.NewClient(dir).Update(metadata.Metadata{Version: db.SchemaVersion, UpdatedAt: at, DownloadedAt: at, NextUpdate: at.AddDate(100, 0, 0)})
}

func putTrivy(tx *bolt.Tx, h hole, at time.Time) error {
	bucket, source := "debian 12", debian
	advisory := types.Advisory{FixedVersion: h.fixed}
	if h.fixed == "" {
		advisory.Status = types.StatusWillNotFix
	}
	if h.ecosystem() == "go-module" {
		bucket, source = "go::"+advisories.Name, advisories
		advisory = types.Advisory{PatchedVersions: []string{h.fixed}, VulnerableVersions: []string{"<" + h.fixed}}
	}
	c := db.Config{}
	if err := c.PutDataSource(tx, bucket, source); err != nil {
		return err
	}
	if err := c.PutAdvisoryDetail(tx, h.id, h.pkg, []string{bucket}, &advisory); err != nil {
		return err
	}
	if err := c.SaveAdvisoryDetails(tx, h.id); err != nil {
		return err
	}
	return c.PutVulnerability(tx, h.id, types.Vulnerability{
		Title:          "Hole in " + h.pkg,
		Description:    "A hole in " + h.pkg + " that only this test knows.",
		VendorSeverity: types.VendorSeverity{source.ID: trivySeverity[h.severity]},
		PublishedDate:  &at,
	})
}

// grypeDatabase writes the holes as a database of Grype below its cache folder.
func grypeDatabase(cache string, at time.Time) error {
	dir := filepath.Join(cache, strconv.Itoa(grypedb.ModelVersion))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w, err := grypedb.NewWriter(grypedb.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		return err
	}
	for _, h := range holes {
		if err := putGrype(w, h, at); err != nil {
			return fmt.Errorf("%s: %w", h.id, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := grypedb.Hydrater()(dir); err != nil {
		return err
	}
	_, err = grypedb.WriteImportMetadata(afero.NewOsFs(), dir, "")
	return err
}

func putGrype(w grypedb.Writer, h hole, at time.Time) error {
	provider := &grypedb.Provider{ID: "debian", Version: "1", Processor: "test", DateCaptured: &at, InputDigest: "xxh64:0"}
	system := &grypedb.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: "12", Codename: "bookworm"}
	format, constraint := "dpkg", ""
	if h.ecosystem() == "go-module" {
		provider.ID, system, format = "github", nil, "go"
	}
	fix := &grypedb.Fix{State: grypedb.WontFixStatus}
	if h.fixed != "" {
		fix, constraint = &grypedb.Fix{State: grypedb.FixedStatus, Version: h.fixed}, "< "+h.fixed
	}
	vulnerability := &grypedb.VulnerabilityHandle{
		Name: h.id, Status: grypedb.VulnerabilityActive, PublishedDate: &at, ModifiedDate: &at,
		ProviderID: provider.ID, Provider: provider,
		BlobValue: &grypedb.VulnerabilityBlob{
			ID: h.id, Description: "A hole in " + h.pkg + " that only this test knows.",
			Severities: []grypedb.Severity{{Scheme: grypedb.SeveritySchemeCHMLN, Value: h.severity, Rank: 1}},
		},
	}
	if err := w.AddVulnerabilities(vulnerability); err != nil {
		return err
	}
	return w.AddAffectedPackages(&grypedb.AffectedPackageHandle{
		VulnerabilityID: vulnerability.ID, Vulnerability: vulnerability,
		OperatingSystem: system, Package: &grypedb.Package{Name: h.pkg, Ecosystem: h.ecosystem()},
		BlobValue: &grypedb.PackageBlob{CVEs: []string{h.id}, Ranges: []grypedb.Range{{Version: grypedb.Version{Type: format, Constraint: constraint}, Fix: fix}}},
	})
}
