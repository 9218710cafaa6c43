package loop_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cascadeImages is a diamond: left and right are built on root, by one workflow of one repository; bottom is built on both.
const cascadeImages = `
defaults: {registry: REGISTRY, source: {provider: gitea, host: "GITEA", workflow: build.yml, pinBases: true}}
images:
- name: root
  repository: ORG/root
  tags: latest
  source: {repo: ORG/root, platforms: [linux/amd64, linux/arm64], inputs: {rebuild: "{{promotion}}"}}
- name: left
  repository: ORG/left
  tags: latest
  source: {repo: ORG/sides, dockerfile: left/Dockerfile, target: final, buildArgs: {MESSAGE: "hello, world"}, inputs: {rebuild: "{{promotion}}", image: "{{image}}"}}
- name: right
  repository: ORG/right
  tags: latest
  source: {repo: ORG/sides, dockerfile: right/Dockerfile, buildContexts: {parent: "docker-image://REGISTRY/ORG/root:latest"}, inputs: {rebuild: "{{promotion}}", image: "{{image}}"}}
- name: bottom
  repository: ORG/bottom
  tags: latest
  source: {repo: ORG/bottom, workflow: bake.yml, inputs: {rebuild: "{{promotion}}"}}
`

// bakeWorkflow is a workflow that its users wrote: it takes the lock and runs docker buildx.
const bakeWorkflow = `name: Bake
run-name: Bake ${{ inputs.rebuild || github.ref_name }}
on:
  push: {branches: [main]}
  workflow_dispatch: {inputs: {rebuild: {type: string}}}
jobs:
  bake:
    runs-on: ubuntu-latest
    steps:
    - uses: https://github.com/actions/checkout@v7
      with: {persist-credentials: false}
    - uses: https://github.com/docker/setup-buildx-action@v4
    - uses: https://github.com/imagefactory/imagefactory/pin@v1
      id: lock
      with: {image: bottom, repository: ORG/factory, version: v1.2.3, token: "${{ secrets.IMAGEFACTORY_READ_TOKEN }}"}
    - run: |
        test -s "$POLICY"
        docker buildx bake --push
      env: {POLICY: "${{ steps.lock.outputs.policy }}"}
`

const bakeFile = `target "default" {
  tags   = ["REGISTRY/ORG/bottom:latest"]
  attest = ["type=provenance,mode=max"]
}
`

// TestCascade lets a base move twice. The workflows at Gitea build the diamond anew for each digest that has ripened: each image
// once, parents first, on exactly that digest, while the tag holds a newer one.
func TestCascade(t *testing.T) {
	t.Parallel()
	s := newSite(t, "cascade", cascadeImages)
	first, tool := s.push("os:13", "1"), s.push("tool:1", "1")
	s.startDiamond()
	s.wantDiamond(first, tool)
	s.wantRuns(map[string]int{"root": 1, "sides": 1, "bottom": 1})
	s.wantCommits(4, "the bases, root, left and right, bottom")
	start := s.now

	s.now = start.Add(day)
	second := s.push("os:13", "2")
	s.pass()
	s.pass()
	assert.Equal(t, "waiting", s.statuses()["root"])
	s.now = start.Add(4 * day)
	third := s.push("os:13", "3")
	s.pass()
	s.wantRuns(map[string]int{"root": 1, "sides": 1, "bottom": 1})
	s.wantCommits(2, "two digests of the base")

	s.now = start.Add(8 * day)
	s.rebuildDiamond(1, func() { s.push("os:13", "4") })
	s.wantDiamond(second, tool)
	s.now = start.Add(11 * day)
	s.rebuildDiamond(2, func() {})
	s.wantDiamond(third, tool)
	for _, image := range []string{"root", "left", "right", "bottom"} {
		assert.Equal(t, []string{"succeeded", "succeeded"}, s.history(image), image)
	}
}

// startDiamond makes the repositories of the code. The push of each workflow builds the first version of its images, with the lock.
func (s *site) startDiamond() {
	s.t.Helper()
	s.commit("root", map[string]string{"Dockerfile": "FROM REGISTRY/ORG/os:13\nCOPY own /\n", "own": "root\n"})
	s.commit("sides", map[string]string{
		"left/Dockerfile":  "FROM REGISTRY/ORG/root:latest AS final\nARG MESSAGE\nRUN cat /etc/version > /left && echo \"$MESSAGE\" >> /left\nFROM final\nRUN false\n",
		"right/Dockerfile": "FROM parent\nRUN cat /etc/version > /right\n",
	})
	s.commit("bottom", map[string]string{
		"Dockerfile":      "FROM REGISTRY/ORG/left:latest\nCOPY --from=REGISTRY/ORG/right:latest /right /\nCOPY --from=REGISTRY/ORG/tool:1 /etc/version /tool\n",
		"docker-bake.hcl": bakeFile,
	})
	s.observe()
	s.workflow("root", "root")
	s.observe()
	s.workflow("left", "sides")
	s.observe()
	s.commitAsIs("bottom", map[string]string{".gitea/workflows/bake.yml": strings.ReplaceAll(bakeWorkflow, "ORG", s.org)})
	s.started("bottom", 1)
	s.build()
	s.pass()
}

// rebuildDiamond makes passes until nothing is started, and builds what they start. meanwhile happens before root is built.
func (s *site) rebuildDiamond(round int, meanwhile func()) {
	s.t.Helper()
	s.pass()
	s.wantRuns(map[string]int{"root": 1 + round, "sides": 2*round - 1, "bottom": round})
	meanwhile()
	s.build()
	s.pass()
	s.wantRuns(map[string]int{"root": 1 + round, "sides": 1 + 2*round, "bottom": round})
	s.build()
	s.pass()
	s.wantRuns(map[string]int{"root": 1 + round, "sides": 1 + 2*round, "bottom": 1 + round})
	s.build()
	s.pass()
	s.pass()
	s.wantRuns(map[string]int{"root": 1 + round, "sides": 1 + 2*round, "bottom": 1 + round})
	s.wantCommits(9, "of each level: requested, running, published")
}

// wantRuns checks how many runs of workflows each repository has had.
func (s *site) wantRuns(want map[string]int) {
	s.t.Helper()
	got := map[string]int{}
	for repo := range want {
		got[repo] = len(s.runs(repo))
	}
	require.Equal(s.t, want, got)
}

// wantDiamond checks the attestations of the diamond, which digests each image was built on, and that none was unripe.
func (s *site) wantDiamond(os, tool string) {
	s.t.Helper()
	root := map[string]string{"root:latest": s.digest("root:latest")}
	for image, want := range map[string]map[string]string{
		"root:latest": {"os:13": os}, "left:latest": root, "right:latest": root,
		"bottom:latest": {"left:latest": s.digest("left:latest"), "right:latest": s.digest("right:latest"), "tool:1": tool},
	} {
		assert.Equal(s.t, want, s.built(image), image)
	}
	for image, status := range s.statuses() {
		if image != "root" { // for which a newer digest may wait
			assert.Equal(s.t, "current", status, image)
		}
	}
	assert.Empty(s.t, s.unripe())
}
