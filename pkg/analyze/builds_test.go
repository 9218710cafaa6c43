package analyze

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// repository is the files of a repository, or the error of a server that gives them.
type repository struct {
	fstest.MapFS
	err map[string]error
}

func (r repository) Dockerfile(_ context.Context, img *config.Image, _ source.Known) (*source.File, error) {
	name := img.Source.Dockerfile
	if err := r.err[name]; err != nil {
		return nil, err
	}
	text, err := r.ReadFile(name)
	return &source.File{Path: name, Content: text, Commit: "c0ffee"}, err
}

// A server that does not answer for one of the files says nothing: no fact changes, and no error is recorded.
func TestFilesOfABuildDuringAnOutage(t *testing.T) {
	repo := repository{fstest.MapFS{
		"docker-bake.hcl": {Data: []byte(`target "default" {
  context  = "app"
  contexts = { base = "target:base" }
}
target "base" { context = "base" }`)},
		"compose.yaml":    {Data: []byte("services: {app: {build: {context: app, target: \"${STAGE:-one}\"}}}")},
		".env":            {Data: []byte("STAGE=two\n")},
		"app/Dockerfile":  {Data: []byte("FROM node:22 AS one\nFROM alpine:3 AS two\nFROM base AS three\n")},
		"base/Dockerfile": {Data: []byte("FROM debian:12\n")},
	}, map[string]error{}}
	w := &world{images: `
- {name: bake, registry: ghcr.io, repository: acme/bake, source: {provider: github, repo: acme/app, workflow: b.yml, bake: {}}}
- {name: compose, registry: ghcr.io, repository: acme/compose, source: {provider: github, repo: acme/app, workflow: b.yml, compose: {service: app}}}
`}
	analyzed := func() *Report {
		f := w.open(t)
		report, err := Fleet(t.Context(), f, everything(f), Clients{Source: repo, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }})
		require.NoError(t, err)
		w.state, err = f.State.Encode()
		require.NoError(t, err)
		return report
	}
	require.Zero(t, analyzed().Failed)
	f := w.open(t)
	assert.Equal(t, []string{"docker.io/library/debian:12"}, refs(f.State.Images["bake"].BaseImages))
	assert.Equal(t, []string{"docker.io/library/alpine:3"}, refs(f.State.Images["compose"].BaseImages), "the stage is that of the file .env")
	assert.Equal(t, "app/Dockerfile", f.Config.Find("compose").Source.Dockerfile)
	before := w.state
	for file, image := range map[string]string{
		"docker-bake.hcl": "bake", "compose.yaml": "compose", ".env": "compose", "base/Dockerfile": "bake",
	} {
		repo.err = map[string]error{file: errors.New("503 Service Unavailable")}
		report := analyzed()
		require.Equal(t, 1, report.Failed, file)
		for _, img := range report.Images {
			if img.Image == image {
				assert.Contains(t, img.Error, "503 Service Unavailable", file)
			}
		}
		assert.Equal(t, before, w.state, file)
	}
	repo.err = nil
	require.Zero(t, analyzed().Failed)
	assert.Equal(t, before, w.state)
}

// A change of any of the files is noticed.
func TestFilesOfABuildChange(t *testing.T) {
	files := fstest.MapFS{
		"docker-bake.hcl": {Data: []byte("target \"default\" { contexts = { base = \"target:base\" } }\ntarget \"base\" { dockerfile = \"base.Dockerfile\" }")},
		"Dockerfile":      {Data: []byte("FROM base\n")},
		"base.Dockerfile": {Data: []byte("FROM debian:12\n")},
	}
	w := &world{images: `[{name: bake, registry: ghcr.io, repository: acme/bake, source: {provider: github, repo: acme/app, workflow: b.yml, bake: {}}}]`}
	for _, step := range []struct{ file, text, want string }{
		{"base.Dockerfile", "FROM debian:13\n", "docker.io/library/debian:13"},
		{"Dockerfile", "FROM alpine:3\nCOPY --from=base / /\n", "docker.io/library/alpine:3"},
		{"docker-bake.hcl", "target \"default\" { contexts = { alpine = \"docker-image://busybox:1\", \"alpine:3\" = \"docker-image://busybox:2\", base = \"docker-image://busybox:3\" } }", "docker.io/library/busybox:2"},
	} {
		files[step.file] = &fstest.MapFile{Data: []byte(step.text)}
		f := w.open(t)
		_, err := Fleet(t.Context(), f, everything(f), Clients{Source: repository{MapFS: files}, Now: time.Now})
		require.NoError(t, err)
		assert.Contains(t, refs(f.State.Images["bake"].BaseImages), step.want, step.file)
		w.state, err = f.State.Encode()
		require.NoError(t, err)
	}
}

// A context is pinned by NAME:TAG@DIGEST, which looks like USER:PASSWORD@HOST in a URL.
func TestPinnedContext(t *testing.T) {
	ref := "busybox:1.36@sha256:" + strings.Repeat("a", 64)
	files := fstest.MapFS{
		"docker-bake.hcl": {Data: []byte(`target "default" { contexts = { base = "docker-image://` + ref + `" } }`)}, "Dockerfile": {Data: []byte("FROM base\n")},
	}
	w := &world{images: `[{name: bake, registry: ghcr.io, repository: acme/bake, source: {provider: github, repo: acme/app, workflow: b.yml, bake: {}}}]`}
	f := w.open(t)
	report, err := Fleet(t.Context(), f, everything(f), Clients{Source: repository{MapFS: files}, Now: time.Now})
	require.NoError(t, err)
	assert.Empty(t, report.Images[0].Error)
	assert.Equal(t, []string{"docker.io/library/" + ref}, refs(f.State.Images["bake"].BaseImages))
}

// State holds neither tokens nor an error without the file that it is about.
func TestRefusedBuilds(t *testing.T) {
	var large strings.Builder
	large.WriteString("variable \"V\" { default = \"" + strings.Repeat("x", 3000) + "\" }\ntarget \"default\" {\n  context = \"app\"\n  args = {\n")
	for i := range 500 {
		fmt.Fprintf(&large, "    A%d = V\n", i)
	}
	large.WriteString("  }\n}\n")
	for name, test := range map[string]struct{ bake, want string }{
		"token in a context": {
			"target \"default\" {\n  context = \"https://x:ghp_0123456789abcdef@github.com/acme/app.git\"\n}",
			"docker-bake.hcl:2:13: the value is not valid here, and has the form of a token (let the build read it from a secret)",
		},
		"token in an argument": {
			"target \"default\" {\n  args = { T = \"ghp_0123456789abcdef\" }\n}",
			`docker-bake.hcl:1:1: T of "default" has the form of a token (let the build read it from a secret)`,
		},
		"too large": {large.String(), "app/Dockerfile: state file too large: 1471 KiB (limit 1024 KiB)"},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"docker-bake.hcl": {Data: []byte(test.bake)}, "app/Dockerfile": {Data: []byte("FROM alpine:3\n")}}
			w := &world{images: `[{name: bake, registry: ghcr.io, repository: acme/bake, source: {provider: github, repo: acme/app, workflow: b.yml, bake: {}}}]`}
			f := w.open(t)
			report, err := Fleet(t.Context(), f, everything(f), Clients{Source: repository{MapFS: files}, Now: time.Now})
			require.NoError(t, err)
			require.Equal(t, 1, report.Failed)
			assert.Equal(t, test.want, report.Images[0].Error)
			assert.Equal(t, test.want, f.State.Images["bake"].AnalysisError)
		})
	}
}

func refs(uses []state.BaseUse) []string {
	var out []string
	for _, u := range uses {
		out = append(out, u.Ref)
	}
	return out
}
