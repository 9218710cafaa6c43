package analyze_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/source"
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
