package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// TestSampleFleet analyzes the sample fleet and compares the result with references that were read from the Dockerfiles by hand.
func TestSampleFleet(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(repositoryRoot, "images.yaml")
	here := []string{"--config", images, "--state-dir", filepath.Join(dir, "state"), "--out-dir", filepath.Join(dir, "dist")}
	analyze := append([]string{"analyze", "--source-dir", filepath.Join(repositoryRoot, "testdata/fleet"), "--offline"}, here...)
	got := run(t, dir, analyze...)
	require.Equal(t, 0, got.code, got.err)

	data, err := os.ReadFile(filepath.Join(repositoryRoot, "testdata/fleet/want.json"))
	require.NoError(t, err)
	var want map[string][]string
	require.NoError(t, json.Unmarshal(data, &want))
	cfg, err := config.LoadFile(images)
	require.NoError(t, err)
	st, err := state.Load(os.DirFS(filepath.Join(dir, "state")), "state")
	require.NoError(t, err)
	managed := 0
	for i := range cfg.Images {
		img := &cfg.Images[i]
		require.Contains(t, st.Images, img.Name)
		var refs []string
		for _, b := range st.Images[img.Name].BaseImages {
			refs = append(refs, b.Ref)
		}
		slices.Sort(refs)
		assert.Equal(t, want[img.Name], refs, img.Name)
		if img.Managed() {
			managed++
		}
	}
	assert.Len(t, want, managed, "want.json has an image that is not enrolled")

	assert.Contains(t, run(t, dir, analyze...).err, "nothing new")
	require.Equal(t, 0, run(t, dir, append([]string{"synth"}, here...)...).code)
	first, err := os.ReadFile(filepath.Join(dir, "dist/image-factory.k8s.yaml"))
	require.NoError(t, err)
	assert.Equal(t, 0, run(t, dir, append([]string{"synth", "--check"}, here...)...).code)
	require.NoError(t, os.Remove(filepath.Join(dir, "dist/image-factory.k8s.yaml")))
	require.Equal(t, 0, run(t, dir, append([]string{"synth"}, here...)...).code)
	second, err := os.ReadFile(filepath.Join(dir, "dist/image-factory.k8s.yaml"))
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
	assert.NotContains(t, string(first), dir, "something of this machine is in dist")

	validated := run(t, dir, append([]string{"validate"}, here...)...)
	assert.Equal(t, 0, validated.code, validated.out)
	for _, verb := range [][]string{{"status"}, {"graph"}, {"graph", "-o", "dot"}, {"promote", "--dry-run"}, {"pin", "base-os", "--partial"}} {
		assert.Equal(t, 0, run(t, dir, append(verb, here...)...).code, verb)
	}
}

// TestSourcePolicy passes the output of pin to BuildKit's own engine, parsed as buildx does.
func TestSourcePolicy(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"images.yaml": withURL + web,
		"state/images/web.yaml": using("docker.io/library/node:22", "docker.io/library/node:22-slim", "docker.io/library/redis:8@"+digestB) +
			"builtOn:\n- {ref: \"docker.io/library/node:22\", digest: \"" + digestA + "\", evidence: provenance}\n",
		"state/base-images/node-22.yaml": "name: node-22\nregistry: docker.io\nrepository: library/node\ntag: \"22\"\n" +
			"baseline: {digest: \"" + digestA + "\", firstSeen: \"2026-01-01T00:00:00Z\"}\n" +
			"candidates: [{digest: \"" + digestB + "\", firstSeen: \"2026-02-01T00:00:00Z\"}]\n",
	})
	got := run(t, dir, "pin", "web", "-o", "source-policy", "--partial")
	require.Equal(t, 0, got.code, got.err)
	var policy spb.Policy
	require.NoError(t, json.Unmarshal([]byte(got.out), &policy))
	engine := sourcepolicy.NewEngine([]*spb.Policy{&policy})
	for from, want := range map[string]string{
		"docker-image://docker.io/library/node:22":      "docker-image://docker.io/library/node:22@" + digestB,
		"docker-image://docker.io/library/node:22-slim": "docker-image://docker.io/library/node:22-slim", // not known yet
		"docker-image://docker.io/library/node:222":     "docker-image://docker.io/library/node:222",
		"docker-image://docker.io/library/redis:8":      "docker-image://docker.io/library/redis:8",
		"docker-image://ghcr.io/library/node:22":        "docker-image://ghcr.io/library/node:22",
	} {
		op := &pb.SourceOp{Identifier: from}
		changed, err := engine.Evaluate(context.Background(), op)
		require.NoError(t, err)
		assert.Equal(t, want, op.Identifier)
		assert.Equal(t, from != want, changed)
	}
}

// TestSchema validates with the printed schema as an editor does: the repository's own images.yaml, and small examples for which
// schema and loader must agree.
func TestSchema(t *testing.T) {
	got := run(t, t.TempDir(), "schema")
	require.Equal(t, 0, got.code, got.err)
	committed, err := os.ReadFile(filepath.Join(repositoryRoot, "images.schema.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
		assert.Equal(t, string(committed), got.out, "run `make generate`")
	}

	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(got.out))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("images.schema.json", doc))
	schema, err := compiler.Compile("images.schema.json")
	require.NoError(t, err)
	check := func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		require.NoError(t, err)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		require.NoError(t, err)
		return schema.Validate(value)
	}

	own, err := os.ReadFile(filepath.Join(repositoryRoot, "images.yaml"))
	require.NoError(t, err)
	require.NoError(t, check(string(own)))
	for name, text := range map[string]string{
		"list":          "- {name: a, repository: x/a}",
		"mapping":       "factory: {}\ndefaults: {}\nimages: []",
		"empty":         "[]",
		"durations":     "- {name: a, repository: x/a, rebuildDelay: 0, maxRebuildDelay: 2w3d, source: {provider: github, repo: a/b, workflow: b.yml}}",
		"plain tag":     "- {name: a, repository: x/a, tags: '22'}",
		"plain version": "- {name: a, repository: x/a, tags: 22, source: {provider: github, repo: a/b, workflow: b.yml, buildArgs: {GO: 1.24, CGO: true}, inputs: {bump: 1}}}",
		"tags":          "- {name: a, repository: x/a, tags: {strategy: SemVer, constraint: ^1.0.0, allow: [a], ignore: [b]}}",
		"defaults":      "defaults: {rebuildPolicy: mature, source: {provider: github, workflow: b.yml}}\nimages: [{name: a, repository: x/a, source: {repo: a/b}}]",
		"jobs": "factory: {jobs: {env: {A: x, B: 1, C: true, D: {secret: s, key: k}}, envFrom: [{configMap: c}], proxy: {https: 'http://p.example:1', noProxy: [a]}, " +
			"caBundle: {configMap: c}, resources: {limits: {cpu: 2, memory: 1Gi}}, tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]}}\nimages: []",
		"README": `
- name: myapp
  registry: ghcr.io
  repository: owner/myapp
  source: {provider: github, repo: owner/repo, branch: main, dockerfile: apps/myapp/Dockerfile, workflow: build.yml}
  rebuildDelay: 7d
  autoRebuild: true`,
	} {
		_, loadErr := config.Load(strings.NewReader(text), "images.yaml")
		require.NoError(t, loadErr, name)
		assert.NoError(t, check(text), name)
	}
	for name, text := range map[string]string{
		"no name":       "- {repository: x/a}",
		"no repository": "- {name: a}",
		"unknown key":   "- {name: a, repository: x/a, rebuildDealy: 7d}",
		"unknown root":  "images: []\nimage: []",
		"no images":     "factory: {}",
		"bad name":      "- {name: A_b, repository: x/a}",
		"bad duration":  "- {name: a, repository: x/a, rebuildDelay: 7 days}",
		"bad provider":  "- {name: a, repository: x/a, source: {provider: svn, repo: a/b}}",
		"bad policy":    "- {name: a, repository: x/a, rebuildPolicy: soon}",
		"bad default":   "defaults: {rebuildPolicy: soon}\nimages: []",
		"bad defaults":  "defaults: {source: {provider: svn}}\nimages: []",
		"bad strategy":  "- {name: a, repository: x/a, tags: {strategy: semver}}",
		"bad type":      "- {name: a, repository: x/a, autoRebuild: maybe}",
		"bad env":       "factory: {jobs: {env: {A: [x]}}}\nimages: []",
		"bad effect":    "factory: {jobs: {tolerations: [{key: a, effect: noschedule}]}}\nimages: []",
		"bad resource":  "factory: {jobs: {resources: {limits: {gpu: 1}}}}\nimages: []",
		"text":          "hello",
	} {
		_, loadErr := config.Load(strings.NewReader(text), "images.yaml")
		require.Error(t, loadErr, name)
		assert.Error(t, check(text), name)
	}
}
