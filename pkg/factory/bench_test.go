package factory_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/factory"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/test/fleetgen"
)

var sizes = []int{100, 1000, 5000}

// analyzed writes a fleet of n images and its state.
func analyzed(b *testing.B, n int) (factory.Paths, *source.Local) {
	b.Helper()
	dir := b.TempDir()
	require.NoError(b, fleetgen.Write(dir, n))
	p := factory.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state"), OutDir: filepath.Join(dir, "dist")}
	src, err := source.NewLocal(filepath.Join(dir, "src"))
	require.NoError(b, err)
	_, _, err = factory.AnalyzeIn(b.Context(), factory.Folder{Paths: p}, sight(src), 0, everything)
	require.NoError(b, err)
	return p, src
}

func sight(src source.Source) factory.SightOf {
	return func(*factory.Fleet) (factory.Sight, error) { return factory.Sight{Source: src, Now: time.Now}, nil }
}

func everything(f *factory.Fleet) (*factory.Scope, error) {
	s := f.Everything()
	return &s, nil
}

func BenchmarkAnalyze(b *testing.B) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p, src := analyzed(b, n)
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := factory.AnalyzeIn(b.Context(), factory.Folder{Paths: p}, sight(src), 0, everything)
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
				fleet, err := factory.Open(p)
				require.NoError(b, err)
				files, _, err := fleet.Synth(false)
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
				_, err := factory.Open(p)
				require.NoError(b, err)
			}
		})
	}
}
