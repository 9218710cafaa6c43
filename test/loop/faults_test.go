package loop_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
)

// fault is something that happens while the build of a rebuild runs.
type fault struct {
	before func() // when the RUN starts; may be nil
	during string // text in BuildKit's progress
	happen func()
	repair func()
}

// running is in BuildKit's progress when the RUN of a [fault] starts.
const running = "RUN sleep"

// family returns a parent whose build is long enough to be stopped, and a child.
func family() []*subject {
	slow := strings.Replace(fromOne, "RUN cat", "RUN sleep 2 && dd if=/dev/urandom of=/random bs=1M count=16 && cat", 1)
	child := strings.Replace(fromOne, "base/os:13", "acme/root:latest", 1)
	out := []*subject{
		{name: "root", dockerfile: slow, publish: pushed("mode=max", ""), bases: []string{baseOS}},
		{name: "child", dockerfile: child, publish: pushed("mode=max", ""), bases: []string{"acme/root:latest"}},
	}
	for _, s := range out {
		s.shows, s.platforms, s.final, s.others = s.name, both[:1], provenance, provenance
	}
	return out
}

// TestFaults stops servers while a rebuild is built. Whatever happens, the rebuild is recorded as failed, nothing else is started
// for it, and the next one brings the fleet to where it would have been.
func TestFaults(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())                      // the servers outlive the test
	pause := func() { require.NoError(t, servers.Docker.Pause()) } // so that no push comes to an end
	t.Run("BuildKit killed in a RUN", func(t *testing.T) {
		survive(t, servers.Docker.Host, fault{during: running, happen: servers.BuildKit.Kill, repair: func() { require.NoError(t, servers.BuildKit.Start(ctx)) }})
	})
	t.Run("BuildKit killed in a push", func(t *testing.T) {
		kill := func() {
			servers.BuildKit.Kill()
			require.NoError(t, servers.Docker.Resume())
		}
		survive(t, servers.Docker.Host, fault{pause, "pushing layers", kill, func() { require.NoError(t, servers.BuildKit.Start(ctx)) }})
	})
	t.Run("registry killed in a push", func(t *testing.T) {
		survive(t, servers.Docker.Host, fault{pause, "pushing layers", servers.Docker.Kill, func() { require.NoError(t, servers.Docker.Start(ctx)) }})
	})
	t.Run("registry out of space in a push", func(t *testing.T) {
		small, filler := smallRegistry(t)
		survive(t, small.Host, fault{during: running, happen: func() { fill(t, filler) }, repair: func() { require.NoError(t, os.Remove(filler)) }})
	})
}

// smallRegistry starts a registry on a file system of its own. A file fills that.
func smallRegistry(t *testing.T) (r *parts.Registry, filler string) {
	t.Helper()
	name := "small-registry-" + strings.ReplaceAll(t.Name(), "/", "-")
	data := filepath.Join(servers.Dir, name)
	require.NoError(t, os.Mkdir(data, 0o755))
	require.NoError(t, syscall.Mount("tmpfs", data, "tmpfs", 0, "size=256m"))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(data, syscall.MNT_DETACH)) })
	r, err := parts.StartRegistry(t.Context(), servers.Options, name, "")
	require.NoError(t, err)
	t.Cleanup(r.Stop)
	return r, filepath.Join(data, "filler")
}

// fill writes a file until its file system is full.
func fill(t *testing.T, file string) {
	f, err := os.Create(file)
	require.NoError(t, err)
	chunk := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
}

func survive(t *testing.T, host string, f fault) {
	l := newFleet(t, host, family())
	l.push("1 " + rand.Text())
	l.enroll()
	first := clone(l.held)
	l.buildAll(false)
	l.wants("the first build", first, first, assumed)

	l.later(day)
	l.push("2 " + rand.Text())
	second := clone(l.held)
	l.analyze()
	l.later(8 * day)
	l.run("promote", "--direct")
	runs := l.forge.waiting()
	require.Len(t, runs, 1, "the parent comes first")
	require.Equal(t, "root", runs[0].inputs["image"])

	require.Error(t, l.buildUntil(l.subjects[0], f), "the build survived")
	_, _ = l.try("promote", "--direct") // the registry may be away: then nothing is known, and nothing is started
	assert.Len(t, l.forge.waiting(), 1)
	f.repair()
	l.run("promote", "--direct")
	assert.Equal(t, "running", l.statuses()["root"])
	l.wants("a build that failed", first, first, assumed)

	l.forge.end(runs[0], "failure")
	l.run("promote", "--direct")
	l.run("promote", "--direct")
	assert.Empty(t, l.forge.waiting(), "the next attempt comes later, and no child before its parent")
	assert.Equal(t, "failed", l.statuses()["root"])

	l.later(61 * time.Minute)
	assert.Equal(t, [][]string{{"root"}, {"child"}}, l.promote())
	l.wants("the rebuild", second, second, recorded)
	for _, s := range l.subjects {
		history := l.describe(s.name).History
		assert.Equal(t, "succeeded", history[0].Status, s.name)
		assert.Equal(t, "current", l.statuses()[s.name], s.name)
	}
	assert.Len(t, l.forge.runs, 3, "one attempt that failed, and one build of each image")
	assert.Empty(t, l.unripe())
}

// buildUntil builds a subject with the lock, and lets a fault happen on the way. It returns the error of the build.
func (l *fleet) buildUntil(s *subject, f fault) error {
	l.t.Helper()
	b := l.newBuild(s, true)
	cmd := servers.BuildKit.Command(l.t.Context(), append(b.arguments(s.platforms), "--opt", "attest:provenance=mode=max", "--no-cache", "--output", "type=image,push=true,name="+b.ref())...)
	progress, err := cmd.StderrPipe()
	require.NoError(l.t, err)
	require.NoError(l.t, cmd.Start())
	prepared, happened := f.before == nil, false
	var log strings.Builder
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		if !prepared && strings.Contains(lines.Text(), running) {
			prepared = true
			f.before()
		}
		if !happened && strings.Contains(lines.Text(), f.during) {
			happened = true
			f.happen()
		}
	}
	err = cmd.Wait()
	require.True(l.t, prepared && happened, "the build never came to %q:\n%s", f.during, &log)
	return err
}
