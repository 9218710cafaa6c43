package analyze

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// A Dockerfile that takes too long is its own image's error; that of the whole analysis stays what it is.
func TestResolvingIsBounded(t *testing.T) {
	img := &config.Image{Name: "web", Source: &config.Source{Platforms: []string{"linux/amd64"}}}
	slow := func(ctx context.Context, _, _ string, _ bool) *dockerfile.BaseConfig {
		<-ctx.Done()
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		file := &source.File{Path: "Dockerfile", Content: []byte("FROM alpine")}
		d := &dockerfileResult{file: file, img: img, parts: []*part{{path: "Dockerfile", file: file}}}
		d.resolve(t.Context(), slow)
		require.EqualError(t, d.err, "Dockerfile: resolving took longer than 30s (split it, or build fewer platforms)")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d.resolve(ctx, slow)
		require.ErrorIs(t, d.err, context.Canceled)
	})
}

// Of what is kept, the line is that of today; what is found again is there once.
func TestKeptUses(t *testing.T) {
	use := func(kind, stage string, line int) state.Use { return state.Use{Kind: kind, Stage: stage, Line: line} }
	before := []state.BaseUse{
		{Ref: "docker.io/library/base:1", Final: true, Uses: []state.Use{use("from", "build", 1), use("from", "run", 5)}},
		{Ref: "docker.io/library/other:1", Uses: []state.Use{use("from", "other", 9)}},
		{Ref: "docker.io/library/tool:1", Uses: []state.Use{use("onbuild", "build", 1), use("copy", "build", 2), use("onbuild", "other", 9)}},
	}
	for name, tt := range map[string]struct {
		unknown []dockerfile.UnknownBase
		foreign bool
		want    []state.BaseUse
	}{
		"all is known": {want: nil},
		"a base that is not known": {
			unknown: []dockerfile.UnknownBase{{Ref: "docker.io/library/base:1", Stage: "build", Line: 3}, {Ref: "docker.io/library/base:1", Stage: "run", Line: 7}},
			want:    []state.BaseUse{{Ref: "docker.io/library/tool:1", Uses: []state.Use{use("onbuild", "build", 3)}}},
		},
		"another image than before": {unknown: []dockerfile.UnknownBase{{Ref: "docker.io/library/base:2", Stage: "build", Line: 3}}},
		"another frontend":          {foreign: true, want: before},
	} {
		t.Run(name, func(t *testing.T) {
			d := &dockerfileResult{before: before}
			kept := d.keeps(&dockerfile.Resolution{Unknown: tt.unknown, Foreign: tt.foreign})
			assert.Equal(t, tt.want, kept)
			assert.Equal(t, tt.want, withKept(withKept(nil, kept), kept))
		})
	}
}
