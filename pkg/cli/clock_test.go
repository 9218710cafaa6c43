package cli_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestWrongClockRecordsNothing: the servers of a site send the date of this machine.
func TestWrongClockRecordsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		off  time.Duration
		want string
	}{
		"ahead":  {365 * 24 * time.Hour, "ahead of "},
		"behind": {-11 * time.Minute, "behind "},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := published(t)
			runs := s.forge.Workflows("acme/web")
			s.due()
			s.registry.Base("library/node:22", "3")
			before := s.commits()
			s.clock = func() time.Time { return time.Now().Add(c.off) }
			for _, command := range [][]string{{"analyze"}, {"promote"}, {"promote", "--direct"}} {
				got := s.do(command[0], command[1:]...)
				assert.Equal(t, 1, got.code, "%v: %s", command, got.err)
				assert.Contains(t, got.err, "nothing was recorded or started: the clock of this machine is", command)
				assert.Contains(t, got.err, c.want, command)
			}
			assert.Equal(t, before, s.commits())
			assert.Empty(t, runs.Runs())
			assert.Empty(t, s.kube.List("promotions"))

			s.clock = func() time.Time { return time.Now().Add(9 * time.Minute) }
			s.ok("analyze")
			assert.Equal(t, before+1, s.commits())
		})
	}
}

// TestSingleServerIsNotTrusted: it may be wrong itself.
func TestSingleServerIsNotTrusted(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.clock = func() time.Time { return time.Now().Add(-time.Hour) }
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"images.yaml":             s.entry("web", "acme/web", "acme/web"),
		"src/acme/web/Dockerfile": "FROM " + s.registry.Host + "/library/node:22\n",
	})
	got := s.run("analyze", "--config", dir+"/images.yaml", "--source-dir", dir+"/src")
	assert.Zero(t, got.code, got.err)
	assert.Contains(t, got.err, "2 files written")
	assert.Contains(t, got.err, "warning: the clock of this machine is 1h0m0s behind "+s.registry.Host+", the only server that was asked")
}

func TestDoctorComparesTheClock(t *testing.T) {
	s := newSite(t)
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	s.registry.Publish("acme/db:1.0.0", registrytest.Built{Version: "1"})
	s.git.Commit("fleet", map[string]string{"images.yaml": fmt.Sprintf("- {name: db, registry: %q, repository: acme/db}\n", s.registry.Host)}, "Change")
	s.clock = func() time.Time { return time.Now().Add(time.Hour) }
	got := s.run("doctor", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml")
	assert.Equal(t, 1, got.code)
	assert.Regexp(t, `(?m)^clock +error +the clock of this machine is 1h0m0s ahead of 127`, got.out)
	s.clock = time.Now
	got = s.run("doctor", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml")
	assert.NotContains(t, got.out, "clock")
}
