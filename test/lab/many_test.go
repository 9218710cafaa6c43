package lab_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManyAtOnce publishes new versions of 300 images at once. All are observed, and the requests to each server are counted.
func TestManyAtOnce(t *testing.T) {
	const images, bases = 300, 30
	l := newLab(t, "lab-many")
	l.poll, l.pass = "1h", time.Hour // Kargo is told of pushes instead, as by a webhook
	defer l.end()
	all := make([]*image, images)
	for n := range all {
		base := fmt.Sprintf("k/base-%d:1", n%bases)
		if n < bases {
			l.tag(base, "1")
		}
		all[n] = l.enroll(fmt.Sprintf("k-%03d", n), []string{base}, "rebuildDelay: 1h")
		all[n].publish("")
	}
	l.counts(t) // start from zero
	begin := time.Now()
	l.start()
	l.observedWithin(t, 30*time.Minute)
	t.Logf("%d images and %d base images, from nothing to observed: %s", images, bases, time.Since(begin).Round(time.Second))
	l.counts(t)

	for n := range bases {
		l.tag(fmt.Sprintf("k/base-%d:1", n), "2")
	}
	for _, i := range all {
		i.publish("")
	}
	before := l.commits()
	begin = time.Now()
	l.refresh()
	within(t, 30*time.Minute, "all new versions are recorded", func() bool {
		for _, i := range all {
			if i.state().CurrentVersion != "1.0.2" {
				return false
			}
		}
		return true
	})
	t.Logf("%d images and %d base images, all new at once, to recorded: %s", images, bases, time.Since(begin).Round(time.Second))
	l.observedWithin(t, 30*time.Minute)
	t.Logf("and to verified: %s", time.Since(begin).Round(time.Second))
	l.counts(t)
	for n := range bases {
		ref := fmt.Sprintf("k/base-%d:1", n)
		assert.NotNil(t, l.base(ref).Find(l.holds(ref).Digest), ref)
	}
	commits := l.commits() - before
	t.Logf("%d commits", commits)
	assert.LessOrEqual(t, commits, 2, "of the base images, and of the images; not one for each")
	l.repo.must("fsck", "--full", "--strict")
}

// commits returns the number of commits of the state repository.
func (l *lab) commits() int {
	l.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(l.repo.must("rev-list", "--count", "main")))
	require.NoError(l.t, err)
	return n
}

// refresh has Kargo poll all registries at once, in the way in which its webhook receivers do.
func (l *lab) refresh() {
	l.t.Helper()
	l.kubectl("annotate", "warehouses", "--all", "--overwrite", "kargo.akuity.io/refresh="+time.Now().Format(time.RFC3339Nano))
}

var requestTotal = regexp.MustCompile(`(?m)^apiserver_request_total\{.*\} ([0-9.e+]+)$`)

// counts logs the requests to each server since the last call.
func (l *lab) counts(t *testing.T) {
	t.Helper()
	total := 0.0
	for _, found := range requestTotal.FindAllStringSubmatch(l.must("kubectl", "get", "--raw", "/metrics"), -1) {
		n, err := strconv.ParseFloat(found[1], 64)
		require.NoError(t, err)
		total += n
	}
	pushes := 0
	git := l.repo.requests()
	for _, r := range git {
		if strings.HasPrefix(r, "POST") && strings.HasSuffix(r, "git-receive-pack") {
			pushes++
		}
	}
	forge := len(l.forge.Requests(""))
	t.Logf("requests: registry %d (Kargo's and ours), git %d with %d pushes, forge %d, Kubernetes API %d (everybody's)",
		len(l.registry.Requests()), len(git), pushes, forge-l.asked, int(total)-l.called)
	l.asked, l.called = forge, int(total)
}
