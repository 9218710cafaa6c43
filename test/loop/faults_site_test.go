package loop_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/loop/content"
	"github.com/imagefactory/imagefactory/test/parts"
)

const pairImages = `
defaults: {registry: REGISTRY, source: {provider: gitea, host: "GITEA", workflow: build.yml, pinBases: true}}
images:
- {name: one, repository: ORG/one, tags: latest, source: {repo: ORG/one, inputs: {rebuild: "{{promotion}}", image: one}}}
- {name: two, repository: ORG/two, tags: latest, source: {repo: ORG/two, inputs: {rebuild: "{{promotion}}", image: two}}}
`

// newPair returns a site with two images on one base, and builds them. steps are instructions of their Dockerfiles.
func newPair(t *testing.T, host, org, steps string) *site {
	s := newSiteAt(t, host, org, pairImages)
	s.push("os:13", "0")
	for _, name := range []string{"one", "two"} {
		s.commit(name, map[string]string{"Dockerfile": "FROM REGISTRY/ORG/os:13\n" + steps + "COPY own /\n", "own": name + "\n"})
	}
	s.observe()
	s.workflow("one", "one")
	s.workflow("two", "two")
	s.pass()
	require.Equal(t, map[string]string{"one": "current", "two": "current"}, s.statuses())
	return s
}

// gate is a hook of the state repository that stops a push at Gitea.
type gate struct{ dir, hook string }

const gateScript = `#!/bin/sh
cat > /dev/null
echo >> %[1]s/pushes
[ "$(wc -l < %[1]s/pushes)" = %[2]d ] || exit 0
touch %[1]s/reached
while [ -e %[1]s/shut ]; do sleep 0.05; done
`

// newGate stops the nth push from now on: at pre-receive before it is accepted, at post-receive after that.
func (s *site) newGate(hook string, nth int) *gate {
	s.t.Helper()
	hooks := filepath.Join(s.state.Dir(), "hooks")
	dir, err := os.MkdirTemp(hooks, "gate-")
	require.NoError(s.t, err)
	require.NoError(s.t, os.Chmod(dir, 0o777)) // Gitea runs as somebody else
	g := &gate{dir, filepath.Join(hooks, hook+".d", "a-gate")}
	require.NoError(s.t, os.WriteFile(filepath.Join(g.dir, "shut"), nil, 0o644))
	require.NoError(s.t, os.WriteFile(g.hook, fmt.Appendf(nil, gateScript, g.dir, nth), 0o755))
	return g
}

func (g *gate) reached() bool {
	_, err := os.Stat(filepath.Join(g.dir, "reached"))
	return err == nil
}

// pushes returns how many pushes have come to the gate.
func (g *gate) pushes() int {
	data, _ := os.ReadFile(filepath.Join(g.dir, "pushes")) // the first one writes it
	return len(data)
}

func (g *gate) open(t *testing.T) { require.NoError(t, os.Remove(filepath.Join(g.dir, "shut"))) }

// remove removes the gate. No push may be in it.
func (g *gate) remove(t *testing.T) {
	require.NoError(t, os.Remove(g.hook))
	require.NoError(t, os.RemoveAll(g.dir))
}

// outage is what happens to Gitea while it handles a push.
type outage struct {
	name string
	run  func(t *testing.T, g *gate)
}

// outages end Gitea, and start it again. The git process of a push survives a crash, as that of a real server does, and may
// finish the push when Gitea runs again.
var outages = []outage{
	{"killed", func(t *testing.T, g *gate) {
		servers.Gitea.Kill()
		require.NoError(t, servers.Gitea.Start(context.WithoutCancel(t.Context())))
		g.open(t)
	}},
	{"killed with its push", func(t *testing.T, g *gate) {
		servers.Gitea.Kill()
		g.open(t)
		require.NoError(t, servers.Gitea.Start(context.WithoutCancel(t.Context())))
	}},
	{"restarted", func(t *testing.T, g *gate) {
		g.open(t)
		require.NoError(t, servers.Gitea.Restart(context.WithoutCancel(t.Context())))
	}},
}

// during runs a command, and lets an outage happen in its nth push. The command may fail.
func (s *site) during(o outage, hook string, nth int, args ...string) {
	s.t.Helper()
	g := s.newGate(hook, nth)
	done := make(chan error, 1)
	go func() {
		_, err := s.try(args...)
		done <- err
	}()
	require.Eventually(s.t, func() bool { return g.reached() || len(done) > 0 }, 5*time.Minute, 20*time.Millisecond)
	if !assert.True(s.t, g.reached(), "no push %d of %s", nth, args[0]) {
		assert.NoError(s.t, <-done)
		return
	}
	o.run(s.t, g)
	if err := <-done; err != nil {
		s.t.Logf("%s, %s: %v", o.name, hook, err)
	}
	g.remove(s.t)
}

// recordedOnce checks that no commit of the state repository repeats a fact of another.
func (s *site) recordedOnce() {
	s.t.Helper()
	messages, err := s.state.Messages(s.t.Context())
	require.NoError(s.t, err)
	seen := map[string]bool{}
	for _, fact := range regexp.MustCompile(`(?m)^\S+ (rebuild r-\w+ requested: .+|rebuild r-\w+ succeeded|moved from \S+ to \S+)$`).FindAllString(strings.Join(messages, "\n"), -1) {
		assert.False(s.t, seen[fact], fact)
		seen[fact] = true
	}
	assert.NotEmpty(s.t, seen)
}

// fsck checks the state repository on Gitea's disk.
func (s *site) fsck() {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), "git", "-c", "safe.directory=*", "-C", s.state.Dir(), "fsck", "--full", "--strict").CombinedOutput()
	assert.NoError(s.t, err, "%s", out)
}

// TestGiteaInPush ends Gitea while it handles a push of analyze, or one of the two of promote. Whatever becomes of the push, each image
// is started once, is built on the digest that has ripened, and is recorded once.
func TestGiteaInPush(t *testing.T) {
	s := newPair(t, servers.Docker.Host, "outages", "")
	const before, after = "pre-receive", "post-receive"
	started := 1
	for _, f := range []struct {
		analyze, promote outage
		hook             string
		push             int // of promote: 1 claims, 2 records the runs
	}{
		{outages[0], outages[0], before, 1},
		{outages[0], outages[0], after, 1},
		{outages[1], outages[1], before, 2},
		{outages[2], outages[0], after, 2},
		{outages[1], outages[2], before, 1},
		{outages[2], outages[1], after, 1},
	} {
		what := fmt.Sprintf("analyze: %s, promote: %s, %s of push %d", f.analyze.name, f.promote.name, f.hook, f.push)
		s.later(day)
		digest := s.push("os:13", what)
		s.during(f.analyze, f.hook, 1, "analyze", "--all", "--push")
		s.observe()
		seen := s.now
		s.later(7*day - time.Minute)
		s.promote()
		assert.Empty(t, s.waiting(), "%s: nothing has ripened", what)
		s.now = seen.Add(7*day + time.Minute)
		s.during(f.promote, f.hook, f.push, "promote", "--push", "--direct")
		for range 3 { // what was recorded and not started is started after ten minutes
			s.promote()
			s.later(11 * time.Minute)
		}
		started++
		assert.Equal(t, []string{"one", "two"}, s.waiting(), what)
		s.build()
		s.pass()
		s.pass()
		for _, name := range []string{"one", "two"} {
			assert.Len(t, s.runs(name), started, "%s: runs of %s", what, name)
			assert.Equal(t, slices.Repeat([]string{"succeeded"}, started-1), s.history(name), "%s: rebuilds of %s", what, name)
			assert.Equal(t, map[string]string{"os:13": digest}, s.built(name+":latest"), "%s: %s", what, name)
		}
		s.recordedOnce()
		s.fsck()
		if t.Failed() {
			return
		}
	}
	assert.Empty(t, s.unripe())
}

// TestGiteaBuildFails has the run of a workflow fail because BuildKit is killed, or because the registry is full. The next attempt is
// a run of its own.
func TestGiteaBuildFails(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	t.Run("BuildKit killed", func(t *testing.T) {
		s := newPair(t, servers.Docker.Host, "killed", "RUN sleep 1\n")
		s.failOnce(fault{during: running, happen: servers.BuildKit.Kill, repair: func() { require.NoError(t, servers.BuildKit.Start(ctx)) }})
	})
	t.Run("registry out of space", func(t *testing.T) {
		small, filler := smallRegistry(t)
		s := newPair(t, small.Host, "full", "RUN sleep 1 && dd if=/dev/urandom of=/random bs=1M count=16\n")
		s.failOnce(fault{during: running, happen: func() { fill(t, filler) }, repair: func() { require.NoError(t, os.Remove(filler)) }})
	})
}

// failOnce rebuilds the images of a pair. A fault ends the first build.
func (s *site) failOnce(f fault) {
	s.later(day)
	digest := s.push("os:13", "1")
	s.observe()
	s.later(8 * day)
	s.promote()
	require.Equal(s.t, []string{"one", "two"}, s.waiting())

	happened := false
	s.runner.Log = writer(func(text string) {
		if !happened && strings.Contains(text, f.during) {
			happened = true
			f.happen()
		}
	})
	done, err := s.runner.Next(s.t.Context())
	require.NoError(s.t, err)
	require.True(s.t, happened)
	require.Error(s.t, done.Err)
	failed := strings.TrimPrefix(done.Task.Context.Repository, s.org+"/")
	f.repair()
	s.build()
	s.pass()
	s.pass()
	other := map[string]string{"one": "two", "two": "one"}[failed]
	assert.Equal(s.t, map[string]string{failed: "failed", other: "current"}, s.statuses())
	assert.Empty(s.t, s.waiting(), "the next attempt comes later")

	s.later(61 * time.Minute)
	s.promote()
	assert.Equal(s.t, []string{failed}, s.waiting())
	s.build()
	s.pass()
	s.pass()
	assert.Equal(s.t, []string{"succeeded", "failed"}, s.history(failed))
	assert.Equal(s.t, []string{"succeeded"}, s.history(other))
	assert.Len(s.t, s.runs(failed), 3)
	assert.Len(s.t, s.runs(other), 2)
	for _, name := range []string{"one", "two"} {
		assert.Equal(s.t, map[string]string{"os:13": digest}, s.built(name+":latest"))
	}
	assert.Empty(s.t, s.unripe())
	s.fsck()
}

// writer calls a function with each text that is written.
type writer func(string)

func (w writer) Write(data []byte) (int, error) {
	w(string(data))
	return len(data), nil
}

// TestTwoPromoters runs two promoters at the same time, many times. Gitea shows one run of each image for each of its rebuilds.
// In one round Gitea holds the claims of the first promoter until the other has pushed its own. In the next, it holds the response to the
// first claims until the other promoter has ended.
func TestTwoPromoters(t *testing.T) {
	t.Parallel()
	const images, rounds = 8, 6 // as many runs as Gitea lists at once
	var enrolled strings.Builder
	enrolled.WriteString(`
factory: {maxConcurrentRebuilds: 100}
defaults: {registry: REGISTRY, rebuildDelay: 0s, rebuildInterval: 0s, source: {provider: gitea, host: "GITEA", workflow: build.yml}}
images:
`)
	for i := range images {
		fmt.Fprintf(&enrolled, "- {name: image-%d, repository: ORG/image-%[1]d, tags: latest, source: {repo: ORG/all, inputs: {rebuild: \"{{promotion}}\", image: \"{{image}}\"}}}\n", i)
	}
	s := newSite(t, "promoters", enrolled.String())
	s.push("os:13", "0")
	s.commit("all", map[string]string{"Dockerfile": "FROM REGISTRY/ORG/os:13\n", ".gitea/workflows/build.yml": titledWorkflow})
	tasks, err := servers.Gitea.NewRunner(t.Context(), s.org)
	require.NoError(t, err)
	for round := range rounds {
		s.later(time.Hour)
		s.push("os:13", strconv.Itoa(round+1))
		s.observe()
		s.promoteTwice(round%2 == 0)
		s.promote()
		started, rebuilds := map[string]int{}, map[string]bool{}
		for _, run := range s.runs("all") {
			image, rebuild, _ := strings.Cut(run.Title, " ")
			started[image]++
			rebuilds[rebuild] = true
		}
		require.Len(t, started, images)
		for image, n := range started {
			require.Equal(t, round+1, n, "%s in round %d", image, round)
		}
		require.Len(t, rebuilds, images*(round+1))
		for range images {
			task, err := tasks.Next(t.Context())
			require.NoError(t, err)
			require.NotNil(t, task)
			_, err = content.Push(s.ref(task.Context.Event.Inputs["image"]+":latest"), content.Image{Files: map[string]content.File{"rebuild": content.Text(task.Context.Event.Inputs["rebuild"])}})
			require.NoError(t, err)
			require.NoError(t, tasks.End(t.Context(), task, parts.Success))
		}
		s.pass()
	}
	for i := range images {
		assert.Len(t, s.history(fmt.Sprintf("image-%d", i)), rounds)
	}
	s.fsck()
}

// promoteTwice runs two promoters. Gitea holds the first push until both have pushed, or its response until the other one has ended.
func (s *site) promoteTwice(pushed bool) {
	s.t.Helper()
	done := make(chan error, 2)
	hook, overlap := "post-receive", func(*gate) bool { return len(done) == 1 }
	if pushed {
		hook, overlap = "pre-receive", func(g *gate) bool { return g.pushes() >= 2 }
	}
	g := s.newGate(hook, 1)
	for range 2 {
		go func() {
			_, err := s.try("promote", "--push", "--direct")
			done <- err
		}()
	}
	require.Eventually(s.t, func() bool { return overlap(g) }, 5*time.Minute, 20*time.Millisecond)
	g.open(s.t)
	require.NoError(s.t, <-done)
	require.NoError(s.t, <-done)
	g.remove(s.t)
}

const titledWorkflow = `name: build
run-name: ${{ inputs.image }} ${{ inputs.rebuild }}
on:
  workflow_dispatch: {inputs: {image: {type: string}, rebuild: {type: string}}}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
    - run: "true"
`
