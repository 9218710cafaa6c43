package analyze_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/test/fleetgen"
)

var sizes = []int{100, 1000, 5000}

// analyzed writes a fleet of n images and its state.
func analyzed(b *testing.B, n int) (fleet.Paths, *source.Local) {
	b.Helper()
	dir := b.TempDir()
	require.NoError(b, fleetgen.Write(dir, n))
	p := fleet.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state"), OutDir: filepath.Join(dir, "dist")}
	src, err := source.NewLocal(filepath.Join(dir, "src"))
	require.NoError(b, err)
	_, _, err = analyze.Run(b.Context(), store.Folder{Paths: p}, options(src))
	require.NoError(b, err)
	return p, src
}

func options(src source.Source) analyze.Options {
	return analyze.Options{Clients: func(*fleet.Fleet) (analyze.Clients, error) {
		return analyze.Clients{Source: src, Now: time.Now}, nil
	}}
}

func BenchmarkAnalyze(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p, src := analyzed(b, n)
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := analyze.Run(b.Context(), store.Folder{Paths: p}, options(src))
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkSynth(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p, _ := analyzed(b, n)
			b.ReportAllocs()
			for b.Loop() {
				f, err := fleet.Open(p)
				require.NoError(b, err)
				files, _, err := f.Synth(false)
				require.NoError(b, err)
				_, err = manifest.Write(p.OutDir, files)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkOpenScans opens a fleet with 50 findings of each image, with and without them.
func BenchmarkOpenScans(b *testing.B) {
	p, _ := analyzed(b, 1000)
	f, err := fleet.Open(p)
	require.NoError(b, err)
	digest := "sha256:" + strings.Repeat("a", 64)
	for name := range f.State.Images {
		report := scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12", Looked: true}
		for i := range 50 {
			report.Findings = append(report.Findings, scan.Finding{
				ID: "CVE-2026-" + strconv.Itoa(10000+i), Severity: scan.High, Package: "libpackage" + strconv.Itoa(i), Installed: "3.0.11-1~deb12u2", Fixed: "3.0.13-1~deb12u1",
			})
		}
		s := &state.Scans{Name: name}
		s.Set(state.NewScan(digest, "linux/amd64", &report, scan.High))
		f.State.ImageScans[name] = s
	}
	files, err := f.State.Encode()
	require.NoError(b, err)
	require.NoError(b, state.WriteFiles(p.StateDir, files))
	for name, open := range map[string]func(fleet.Paths) (*fleet.Fleet, error){"with": fleet.Open, "without": fleet.OpenWithoutScans} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := open(p)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkOpen is the share of synth that parsing takes.
func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p, _ := analyzed(b, n)
			b.ReportAllocs()
			for b.Loop() {
				_, err := fleet.Open(p)
				require.NoError(b, err)
			}
		})
	}
}
