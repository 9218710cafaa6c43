package loop_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded answers, with which pkg/buildfile compares its own, are those of buildx. The environment is empty: neither
// variables nor a .env file say anything.
func TestBakeFilesInBuildx(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs("../../pkg/buildfile/testdata/buildx")
	require.NoError(t, err)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".print" {
			continue
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "buildx"), "bake", "--print", "-f", entry.Name(), "*")
		cmd.Dir, cmd.Env = folder, []string{"HOME=" + t.TempDir()}
		got, err := cmd.Output()
		require.NoError(t, err, entry.Name())
		file := filepath.Join(folder, entry.Name()+".print")
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, decodeBake(t, want), decodeBake(t, got), "%s: run `make loop LOOPFLAGS=-update`", entry.Name())
	}
}

// bakePlan is what buildx prints. It lists the targets of a matrix in any order.
type bakePlan struct {
	Group map[string]struct {
		Targets []string `json:"targets"`
	} `json:"group"`
	Target map[string]any `json:"target"`
}

func decodeBake(t *testing.T, data []byte) bakePlan {
	t.Helper()
	var b bakePlan
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&b))
	for _, group := range b.Group {
		slices.Sort(group.Targets)
	}
	return b
}

// bakedImages are built by one workflow: a target of a bake file, and a service of a Compose file.
const bakedImages = `
defaults: {registry: REGISTRY, source: {provider: gitea, host: "GITEA", repo: ORG/code, workflow: build.yml, pinBases: true}}
images:
- name: baked
  repository: ORG/baked
  tags: latest
  source: {bake: {file: ci/docker-bake.hcl, target: web, workdir: ci}, buildArgs: {MESSAGE: "hello, world"}, inputs: {rebuild: "{{promotion}}", image: "{{image}}"}}
- name: composed
  repository: ORG/composed
  tags: latest
  source: {compose: {file: deploy/compose.yaml, service: web.app}, inputs: {rebuild: "{{promotion}}", image: "{{image}}"}}
`

// bakedCode is built as its files say, whatever the environment of the runner says, which has another value of RUNNER_OS.
var bakedCode = map[string]string{
	"ci/docker-bake.hcl": `variable "RUNNER_OS" { default = "13" }
target "tools" { context = "../tools" }
target "web" {
  context    = ".."
  dockerfile = "web/Dockerfile"
  args       = { OS = RUNNER_OS, MESSAGE = "of the file" }
  contexts   = { tools = "target:tools" }
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = ["other.example.com/web"]
}
`,
	"tools/Dockerfile":    "FROM REGISTRY/ORG/tool:1\nRUN cat /etc/version > /tool\n",
	"web/Dockerfile":      "ARG OS\nFROM REGISTRY/ORG/os:${OS}\nARG MESSAGE\nRUN [ \"$MESSAGE\" = \"hello, world\" ]\nCOPY --from=tools /tool /\nCOPY own /\n",
	"own":                 "1\n",
	"deploy/compose.yaml": "services:\n  web.app:\n    image: other.example.com/web\n    build: {context: ., args: {OS: \"${RUNNER_OS}\"}}\n",
	"deploy/.env":         "RUNNER_OS=13\n",
	"deploy/Dockerfile":   "ARG OS\nFROM REGISTRY/ORG/os:${OS}\nCOPY own /\n",
	"deploy/own":          "1\n",
}

// TestBakeWorkflow lets the workflow that imagefactory writes build what a bake and a Compose file describe: with the lock, also when a
// push starts it while the tag holds a younger digest, and anew once that has ripened.
func TestBakeWorkflow(t *testing.T) {
	t.Parallel()
	s := newSite(t, "baked", bakedImages)
	first, tool := s.push("os:13", "1"), s.push("tool:1", "1")
	s.commit("code", bakedCode)
	s.observe()
	s.workflow("baked", "code")
	s.pass()
	want := func(os string) {
		t.Helper()
		assert.Equal(t, map[string]string{"os:13": os, "tool:1": tool}, s.built("baked:latest"))
		assert.Equal(t, map[string]string{"os:13": os}, s.built("composed:latest"))
		assert.Empty(t, s.unripe())
	}
	want(first)

	start, published := s.now, s.digest("baked:latest")
	s.now = start.Add(day)
	second := s.push("os:13", "2")
	s.pass()
	s.commit("code", map[string]string{"own": "2\n", "deploy/own": "2\n"})
	s.started("code", 2)
	s.build()
	s.pass()
	assert.NotEqual(t, published, s.digest("baked:latest"))
	want(first)

	s.now = start.Add(9 * day)
	s.pass()
	s.wantRuns(map[string]int{"code": 4})
	s.build()
	s.pass()
	want(second)
	for _, image := range []string{"baked", "composed"} {
		assert.Equal(t, []string{"succeeded"}, s.history(image), image)
		assert.Equal(t, "current", s.statuses()[image])
	}
}
