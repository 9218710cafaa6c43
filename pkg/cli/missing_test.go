package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// quietRun runs a command in this process, with no credentials and at the time of the scripts.
func quietRun(t require.TestingT, args ...string) result {
	now, err := time.Parse(time.RFC3339, scriptNow)
	require.NoError(t, err)
	var out, errOut bytes.Buffer
	code := cli.Main(context.Background(), args, &cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &errOut, Now: func() time.Time { return now }, Getenv: func(string) string { return "" },
	})
	return result{code, out.String(), errOut.String()}
}

// holey draws a fleet in which any state file, or any part of one, may be missing.
func holey(t *rapid.T) (images string, st *state.State) {
	const digests = "0123456789abcdef"
	digest := func(label string) string {
		return "sha256:" + strings.Repeat(string(digests[rapid.IntRange(0, len(digests)-1).Draw(t, label)]), 64)
	}
	at := func(label string) state.Time {
		return state.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(-time.Duration(rapid.IntRange(0, 60*24).Draw(t, label)) * time.Hour))
	}
	chance := func(label string) bool { return rapid.Bool().Draw(t, label) }
	st = state.New()
	var b strings.Builder
	b.WriteString("factory: {state: {url: 'https://example.com/fleet.git'}}\nimages:\n")
	n := rapid.IntRange(1, 6).Draw(t, "images")
	for i := range n {
		name := fmt.Sprintf("i%d", i)
		source := fmt.Sprintf(", source: {provider: github, repo: acme/%s, workflow: b.yml}", name)
		if chance("external") {
			source = ""
		}
		fmt.Fprintf(&b, "- {name: %s, registry: r.example.com, repository: acme/%s%s}\n", name, name, source)
		if chance("no state") {
			continue
		}
		img := &state.Image{Name: name, Repository: "r.example.com/acme/" + name}
		st.Images[name] = img
		refs := map[string]bool{}
		for range rapid.IntRange(0, 3).Draw(t, "bases") {
			ref := "docker.io/library/b" + rapid.SampledFrom([]string{"0", "1", "2"}).Draw(t, "base") + ":1"
			if i > 0 && chance("parent") { // an earlier image, so that there is no cycle
				ref = fmt.Sprintf("r.example.com/acme/i%d:1.0.0", rapid.IntRange(0, i-1).Draw(t, "which"))
			}
			refs[ref] = true
		}
		for ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Final: true, Uses: []state.Use{{Kind: "from", Line: 1}}})
		}
		slices.SortFunc(img.BaseImages, func(a, b state.BaseUse) int { return strings.Compare(a.Ref, b.Ref) })
		if chance("Dockerfile") {
			img.Dockerfile = &state.Dockerfile{Repo: "acme/" + name, Path: "Dockerfile", Digest: digest("content")}
		}
		if chance("published") {
			img.CurrentVersion, img.CurrentDigest, img.LastBuilt = "1.0.0", digest("current"), at("built")
			if chance("tags") {
				img.Published = []state.Published{{Tag: "1.0.0", Snapshot: state.Snapshot{Digest: img.CurrentDigest}, Since: at("since")}}
			}
		} else if chance("unpublished") {
			img.Unpublished = at("first seen")
		}
		for _, use := range img.BaseImages {
			if chance("builtOn") {
				img.BuiltOn = append(img.BuiltOn, state.BuiltOn{Ref: use.Ref, Snapshot: state.Snapshot{Digest: digest("on")}, Evidence: state.Assumed})
			}
		}
		if chance("rebuild") {
			status := rapid.SampledFrom([]state.RebuildStatus{state.Requested, state.Running, state.Built, state.Succeeded, state.Unproven, state.WrongBase, state.Failed}).Draw(t, "status")
			img.Rebuild = &state.Rebuild{ID: "r-" + strings.Repeat("0", 16), Status: status, RequestedAt: at("requested"), Failures: rapid.IntRange(0, 4).Draw(t, "failures")}
			if chance("target") {
				img.Rebuild.Bases = []state.Target{{Ref: "docker.io/library/b0:1", Snapshot: state.Snapshot{Digest: digest("target")}}}
			}
			if status != state.Requested && status != state.Running {
				img.Rebuild.FinishedAt = at("finished")
			}
		}
	}
	for i := range 3 {
		if chance("no base") {
			continue
		}
		base := &state.Base{Name: fmt.Sprintf("b%d-1", i), Registry: "docker.io", Repository: fmt.Sprintf("library/b%d", i), Tag: "1"}
		st.Bases[base.Name] = base
		for range rapid.IntRange(0, 3).Draw(t, "observations") {
			base.Observe(state.Snapshot{Digest: digest("seen")}, at("seen at").Time)
		}
	}
	return b.String(), st
}

// TestIncompleteState: whatever is missing in state, no command panics, and read-only commands succeed.
func TestIncompleteState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "fleet")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		images, st := holey(t)
		config := filepath.Join(dir, "images.yaml")
		require.NoError(t, os.WriteFile(config, []byte(images), 0o600))
		files, err := st.Encode()
		require.NoError(t, err)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o755))
		require.NoError(t, state.WriteFiles(filepath.Join(dir, "state"), files))
		for _, show := range []string{"status", "status -o json", "graph", "graph i0", "promote --dry-run", "validate", "synth"} {
			got := quietRun(t, append(strings.Fields(show), "--config", config)...)
			require.Zero(t, got.code, "%s: %s", show, got.err)
		}
		for i := range strings.Count(images, "- {name") {
			got := quietRun(t, "pin", fmt.Sprintf("i%d", i), "--partial", "--config", config)
			require.LessOrEqual(t, got.code, 2, got.err)
		}
		got := quietRun(t, "promote", "--direct", "--offline", "--config", config)
		require.LessOrEqual(t, got.code, 1, got.err)
		require.Contains(t, got.err, "rebuilds started")
	})
}

// TestCycleOfNewImagesIsReported: two new, published images that are built on each other are reported.
func TestCycleOfNewImagesIsReported(t *testing.T) {
	s := newSite(t)
	node := s.registry.Base("library/node:22", "1")
	web := s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node})
	s.registry.Publish("acme/api:1.0.0", registrytest.Built{Version: "1", From: &web})
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/acme/api:1.0.0\n")
	s.forge.GitHub("acme/api").Commit("Dockerfile", "FROM "+s.registry.Host+"/acme/web:1.0.0\n")
	s.forge.GitHub("acme/other").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("api", "acme/api", "acme/api") +
		s.entry("other", "acme/other", "acme/other") + s.entry("web", "acme/web", "acme/web")}, "Enroll")
	got := s.do("analyze")
	assert.Equal(t, 1, got.code, got.err)
	assert.Contains(t, got.err, "images are built on each other")
	assert.NotNil(t, s.image("other").Dockerfile, "the others go on")
}
