package analyze

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// texts are Dockerfiles by the name of their image.
type texts map[string]string

func (s texts) Dockerfile(_ context.Context, img *config.Image, _ source.Known) (*source.File, error) {
	return &source.File{Path: "Dockerfile", Content: []byte(s[img.Name])}, nil
}

// world is a fleet whose files are in memory.
type world struct {
	images string
	state  map[string][]byte
	files  texts
}

func (w *world) open(t require.TestingT) *fleet.Fleet {
	fsys := fstest.MapFS{}
	for name, data := range w.state {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	f, err := fleet.OpenFS(fleet.Paths{Config: "images.yaml", StateDir: "state"}, fsys, func() (*config.Config, error) {
		return config.Load(strings.NewReader(w.images), "images.yaml")
	})
	require.NoError(t, err)
	return f
}

// forget returns the world without the hashes of earlier analyses.
func (w *world) forget(t require.TestingT) *world {
	f := w.open(t)
	for _, img := range f.State.Images {
		if img.Dockerfile != nil {
			img.Dockerfile.Analysis = ""
		}
	}
	files, err := f.State.Encode()
	require.NoError(t, err)
	return &world{images: w.images, state: files, files: w.files}
}

// analyze returns the state files and the report of an analysis.
func (w *world) analyze(t require.TestingT) (map[string][]byte, *Report) {
	f := w.open(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	report, err := Fleet(context.Background(), f, everything(f), Clients{Source: w.files, Now: func() time.Time { return now }})
	require.NoError(t, err)
	files, err := f.State.Encode()
	require.NoError(t, err)
	report.Change = fleet.Change{} // without hashes there is always something to write
	return files, report
}

var lines = []string{
	"COPY --from=node:22 /a /a", "COPY --from=busybox:1 / /", "RUN --mount=from=redis:7,target=/x true", "RUN true",
	"ONBUILD COPY --from=alpine:3 /b /b", "ARG V=1", "ENV A=b", "COPY --from=0 / /", "MAINTAINER me", "COPY --from=unknown-${Q} / /",
	"ARG Q", "cmd true", "WORKDIR /srv", "COPY --from=ghcr.io/acme/i0:1 / /",
}

var froms = []string{
	"FROM node:22", "FROM node:22 AS build", "FROM --platform=$BUILDPLATFORM golang:1.24 AS go", "FROM scratch", "FROM alpine:${V}",
	"FROM build", "FROM ghcr.io/acme/i0:1", "FROM debian:12@sha256:" + strings.Repeat("a", 64), "FROM --platform=linux/arm64 busybox:1", "FROM 0BAD:",
}

func drawDockerfile(t *rapid.T, label string) string {
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "", "# syntax=docker/dockerfile:1\n", "# syntax=example.com/other:1\n", "ARG V=3\n"}).Draw(t, label+" head"))
	for range rapid.IntRange(1, 3).Draw(t, label+" stages") {
		b.WriteString(rapid.SampledFrom(froms).Draw(t, label+" from") + "\n")
		for _, line := range rapid.SliceOfN(rapid.SampledFrom(lines), 0, 3).Draw(t, label+" lines") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func (w *world) drawImages(t *rapid.T) {
	var b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&b, "- name: i%d\n  registry: ghcr.io\n  repository: acme/i%d\n  source:\n    provider: github\n    repo: acme/r%d\n    workflow: b.yml\n", i, i, i)
		b.WriteString(rapid.SampledFrom([]string{"", "    target: build\n", "    buildArgs: {V: '3.22'}\n", "    platforms: [linux/amd64, linux/arm64]\n", "    buildContexts: {node:22: 'docker-image://node:20'}\n"}).Draw(t, "options"))
	}
	w.images = b.String()
}

// change changes what an analysis depends on.
func (w *world) change(t *rapid.T) {
	if rapid.Bool().Draw(t, "edit") {
		name := rapid.SampledFrom([]string{"i0", "i1", "i2"}).Draw(t, "image")
		w.files[name] = drawDockerfile(t, name)
	}
	if rapid.Bool().Draw(t, "configure") {
		w.drawImages(t)
	}
	f := w.open(t)
	for _, name := range slices.Sorted(maps.Keys(f.State.Bases)) {
		base := f.State.Bases[name]
		if !rapid.Bool().Draw(t, "know "+base.Name) {
			continue
		}
		digest := rapid.SampledFrom([]string{"b", "c"}).Draw(t, "digest")
		learnTriggers(base, digest, rapid.SampledFrom([][]string{nil, nil, {"COPY --from=redis:7 . ."}, {"COPY --from=perl:5 . ."}}).Draw(t, "triggers"))
	}
	files, err := f.State.Encode()
	require.NoError(t, err)
	w.state = files
}

// learnTriggers records that a base image moved to a digest with these triggers.
func learnTriggers(base *state.Base, digit string, onBuild []string) {
	digest := "sha256:" + strings.Repeat(digit, 64)
	seen := state.Snapshot{Digest: digest, Platforms: state.Platforms{"linux/amd64": digest, "linux/arm64": digest}}
	base.Observe(seen, time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC))
	for platform := range seen.Platforms {
		base.SetTriggers(state.Triggers{Platform: platform, Digest: digest, OnBuild: onBuild})
	}
}

// Whatever has changed since, an analysis that takes over what stands comes to the same files and the same report as one that
// converts every Dockerfile; and one of which nothing changed changes no byte.
func TestRecordedResultsEqualFreshResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{files: texts{}}
		w.drawImages(t)
		for _, name := range []string{"i0", "i1", "i2"} {
			w.files[name] = drawDockerfile(t, name)
		}
		w.state, _ = w.analyze(t)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			w.change(t)
			want, wantReport := w.forget(t).analyze(t)
			got, report := w.analyze(t)
			require.Equal(t, w.withoutFailed(t, want), w.withoutFailed(t, got)) // which keep what they have
			require.Equal(t, wantReport, report)
			w.state = got
			again, _ := w.analyze(t)
			require.Equal(t, textOf(got), textOf(again))
		}
	})
}

// withoutFailed returns state files without the hashes of images that could not be analyzed.
func (w *world) withoutFailed(t require.TestingT, files map[string][]byte) map[string]string {
	f := (&world{images: w.images, state: files}).open(t)
	for _, img := range f.State.Images {
		if img.Dockerfile != nil && img.AnalysisError != "" {
			img.Dockerfile.Analysis = ""
		}
	}
	out, err := f.State.Encode()
	require.NoError(t, err)
	return textOf(out)
}

func textOf(files map[string][]byte) map[string]string {
	out := map[string]string{}
	for name, data := range files {
		out[name] = string(data)
	}
	return out
}

// What stands is not converted again, and what the answer depends on makes it fall.
func TestRecordedResultIsReused(t *testing.T) {
	const images = "- name: i0\n  registry: ghcr.io\n  repository: acme/i0\n  source: {provider: github, repo: acme/r0, workflow: b.yml%s}\n"
	const plain = "FROM node:22 AS build\nFROM alpine:3\nCOPY --from=build / /\n"
	tests := map[string]struct {
		before, after string // Dockerfiles
		options       string
		edit          func(*fleet.Fleet)
		want          bool
	}{
		"nothing new":  {before: plain, after: plain, want: true},
		"content":      {before: plain, after: plain + "COPY --from=busybox:1 / /\n"},
		"options":      {before: plain, after: plain, options: ", buildArgs: {A: b}"},
		"edited state": {before: plain, after: plain, edit: func(f *fleet.Fleet) { f.State.Images["i0"].BaseImages[0].Final = false }},
		"triggers": {before: plain, after: plain, edit: func(f *fleet.Fleet) {
			learnTriggers(f.State.Base("docker.io/library/alpine:3"), "b", nil)
		}},
		"a warning":    {before: "FROM alpine:3 as a\n", after: "FROM alpine:3 as a\nFROM nothing-${X}\n"},
		"not resolved": {before: "ARG V\nFROM alpine:${V}\n", after: "ARG V\nFROM alpine:${V}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := &world{images: fmt.Sprintf(images, ""), files: texts{"i0": tt.before}}
			w.state, _ = w.analyze(t)
			w.images = fmt.Sprintf(images, tt.options)
			f := w.open(t)
			if tt.edit != nil {
				tt.edit(f)
			}
			a := &analysis{Fleet: f, Clients: Clients{Source: texts{"i0": tt.after}}, configs: configs{wanted: map[configKey]bool{}, read: map[configKey]*configResult{}}}
			d := &dockerfileResult{}
			var err error
			d.file, err = a.Source.Dockerfile(t.Context(), f.Config.Find("i0"), source.Known{})
			require.NoError(t, err)
			assert.Equal(t, tt.want, a.reuseAnalysis(d, f.Config.Find("i0")))
		})
	}
}
