// Package lab_test runs scenarios on a real Kargo: what synth wrote is applied, and its Jobs run the binary.
package lab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

// scenario is enrolled before everything starts, and run then.
type scenario struct {
	name string
	run  func(t *testing.T)
}

// TestScenarios runs scenarios of one team beside each other, and then those that shake the whole installation.
func TestScenarios(t *testing.T) {
	l := newLab(t, "lab-scenarios")
	if loopRegistry != "" {
		l.buildAtGitea()
	}
	defer l.end()
	var beside []scenario
	for _, enroll := range []func(*lab) scenario{
		newDigest, tagThatMovesAgain, releasedAndHeld, diamond, chain, badGateway, refused, failing, sameForThePlatform,
		optedOut, gitlab, neverPublished, withdrawn, failingJob, twoBases, oddInputs, paused, closedWindow,
	} {
		beside = append(beside, enroll(l))
	}
	current := l.upToDate("j-current", "j/current:1")
	killed := l.upToDate("l-poll", "l/node:1")
	due, built := l.upToDate("p-due", "p/due:1"), l.upToDate("p-built", "p/built:1")
	waits, runs := l.upToDate("h-waits", "h/waits:1", "rebuildDelay: 1h"), l.upToDate("h-runs", "h/runs:1")
	l.start()
	l.observedWithin(t, patience)
	t.Run("beside each other", func(t *testing.T) {
		for _, s := range beside {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t)
			})
		}
	})
	t.Run("what is enrolled and up to date is left alone", func(t *testing.T) {
		assert.Empty(t, current.runs())
		assert.Empty(t, current.promotions())
		assert.Equal(t, "1.0.1", current.state().CurrentVersion)
	})
	t.Run("a controller that is killed while it polls", func(t *testing.T) { controllerKilled(t, killed) })
	t.Run("an API server that is gone for a minute", func(t *testing.T) { apiServerGone(t, due, built) })
	t.Run("no drift", func(t *testing.T) { noDrift(t, l) })
	t.Run("everything deleted and applied again", func(t *testing.T) { appliedAgain(t, l, current, waits, runs) })
}

// upToDate enrolls an image that is published on what its base holds.
func (l *lab) upToDate(name, base string, settings ...string) *image {
	l.tag(base, "1")
	i := l.enroll(name, []string{base}, settings...)
	i.publish("")
	return i
}

// observedWithin waits until every observe Stage has verified what it holds.
func (l *lab) observedWithin(t *testing.T, d time.Duration) {
	t.Helper()
	within(t, d, "every observe Stage has verified its Freight", func() bool {
		for _, s := range l.list("stages", "-l", "imagefactory/role=observe") {
			if s.Status["freightHistory"] != nil && !verified(s.Status) {
				return false
			}
		}
		return true
	})
}

// verified reports whether the newest verification of a Stage's Freight has succeeded.
func verified(status map[string]any) bool {
	data, err := json.Marshal(status["freightHistory"])
	var history []struct {
		VerificationHistory []struct {
			Phase string `json:"phase"`
		} `json:"verificationHistory"`
	}
	if err != nil || json.Unmarshal(data, &history) != nil || len(history) == 0 || len(history[0].VerificationHistory) == 0 {
		return false
	}
	return history[0].VerificationHistory[0].Phase == "Successful"
}

// candidate waits for a digest to be recorded as a candidate of a base image.
func (l *lab) candidate(t *testing.T, ref, digest string) state.Candidate {
	t.Helper()
	var found state.Candidate
	eventually(t, digest+" is a candidate of "+ref, func() bool {
		c := l.base(ref).Find(digest)
		if c != nil {
			found = *c
		}
		return c != nil
	})
	return found
}

// succeeds waits for the n-th rebuild of an image to be proven to be built on a digest.
func (i *image) succeeds(t *testing.T, n int, ref, digest string) {
	t.Helper()
	eventually(t, fmt.Sprintf("rebuild %d of %s has succeeded", n, i.name), func() bool {
		s := i.state()
		return len(i.runs()) == n && s.Rebuild.Status == state.Succeeded
	})
	on, by := i.builtOn(ref)
	assert.Equal(t, digest, on, i.name)
	assert.Equal(t, state.Provenance, by)
	assert.Len(t, i.promotions(), n)
}

// links waits for the run to be recorded, and for Kargo's UI to link to it: Kargo keeps what the dispatch gave once the first
// question about the run has returned.
func (i *image) links(t *testing.T, url string) {
	t.Helper()
	eventually(t, "the run is recorded", func() bool { return i.state().Rebuild.RunURL != "" })
	assert.Equal(t, url, i.state().Rebuild.RunURL)
	eventually(t, "Kargo's UI links to the run", func() bool {
		all := i.promotions()
		links := uiLinks(&all[len(all)-1])
		return len(links) == 2 && reflect.DeepEqual(links[0], map[string]any{"label": "Run", "url": url})
	})
}

// uiLinks returns the links that Kargo's UI shows for a Promotion: the lists named links in the outputs of its steps.
func uiLinks(p *object) (links []any) {
	outputs, _ := p.Status["state"].(map[string]any)
	steps, _ := p.Spec["steps"].([]any)
	for _, step := range steps {
		fields, _ := step.(map[string]any)
		alias, _ := fields["as"].(string)
		output, _ := outputs[alias].(map[string]any)
		of, _ := output["links"].([]any)
		links = append(links, of...)
	}
	return links
}

// quiet asserts that nothing is started for an image for a while after it would have been due.
func (i *image) quiet(t *testing.T, n int) {
	t.Helper()
	time.Sleep(delay + 40*time.Second)
	assert.Len(t, i.runs(), n, i.name)
}

func newDigest(l *lab) scenario {
	i := l.upToDate("a-new", "a/node:1")
	return scenario{"a new digest waits, is built once, and is proven", func(t *testing.T) {
		two := l.tag("a/node:1", "2")
		seen := l.candidate(t, "a/node:1", two.Digest)
		assert.Empty(t, i.runs())
		i.succeeds(t, 1, "a/node:1", two.Digest)
		s := i.state()
		assert.GreaterOrEqual(t, s.Rebuild.RequestedAt.Sub(seen.FirstSeen.Time), delay)
		assert.Equal(t, two.Digest, i.runs()[0].Values["digest"])
		i.links(t, i.url(i.runs()[0].ID))
		assert.Equal(t, "1.0.2", s.CurrentVersion)
		assert.Equal(t, s.Rebuild.ID, i.promotions()[0].Metadata.Labels["imagefactory/rebuild"])
	}}
}

func tagThatMovesAgain(l *lab) scenario {
	mature := l.upToDate("b-mature", "b/node:1", "rebuildPolicy: mature", "source.pinBases: true")
	settle := l.upToDate("b-settle", "b/node:1", "rebuildPolicy: settle")
	return scenario{"a tag that moves again before the delay is over", func(t *testing.T) {
		two := l.tag("b/node:1", "2")
		l.candidate(t, "b/node:1", two.Digest)
		time.Sleep(delay / 2)
		three := l.tag("b/node:1", "3")
		seen := l.candidate(t, "b/node:1", three.Digest)
		settle.succeeds(t, 1, "b/node:1", three.Digest)
		assert.GreaterOrEqual(t, settle.state().Rebuild.RequestedAt.Sub(seen.FirstSeen.Time), delay)
		mature.succeeds(t, 2, "b/node:1", three.Digest)
		assert.Equal(t, []string{two.Digest, three.Digest}, []string{mature.runs()[0].Values["digest"], mature.runs()[1].Values["digest"]})
	}}
}

func releasedAndHeld(l *lab) scenario {
	released := l.upToDate("c-released", "c/released:1", "rebuildDelay: 1h")
	held := l.upToDate("c-held", "c/held:1")
	return scenario{"release and hold, by commits", func(t *testing.T) {
		urgent, bad := l.tag("c/released:1", "2"), l.tag("c/held:1", "2")
		l.candidate(t, "c/held:1", bad.Digest)
		l.imagefactory("hold", l.base("c/held:1").Name, "--reason", "it breaks TLS")
		l.candidate(t, "c/released:1", urgent.Digest)
		l.imagefactory("release", l.base("c/released:1").Name, "--reason", "it fixes a hole")
		released.succeeds(t, 1, "c/released:1", urgent.Digest)
		held.quiet(t, 0)
		l.imagefactory("release", l.base("c/held:1").Name, "--reason", "it was something else")
		held.succeeds(t, 1, "c/held:1", bad.Digest)
	}}
}

func paused(l *lab) scenario {
	i := l.upToDate("o-paused", "o/paused:1")
	return scenario{"a pause and its end, by commits", func(t *testing.T) {
		l.imagefactory("pause", i.name, "--reason", "a freeze")
		two := l.tag("o/paused:1", "2")
		l.candidate(t, "o/paused:1", two.Digest)
		i.quiet(t, 0)
		assert.Empty(t, i.promotions())
		assert.Contains(t, l.status(i.name), "a freeze")
		l.imagefactory("resume", i.name)
		i.succeeds(t, 1, "o/paused:1", two.Digest)
	}}
}

// closedWindow: the window is closed when the digest is due, and opens by itself.
func closedWindow(l *lab) scenario {
	const closed = 10 * time.Minute // a slow set-up is part of it
	from := time.Now().UTC().Truncate(time.Minute)
	i := l.upToDate("o-window", "o/window:1", fmt.Sprintf("windows: [{kind: Deny, schedule: %q, duration: %s}]", fmt.Sprintf("%d %d * * *", from.Minute(), from.Hour()), closed))
	return scenario{"a window that is closed when a digest is due", func(t *testing.T) {
		two := l.tag("o/window:1", "2")
		seen := l.candidate(t, "o/window:1", two.Digest)
		opens := from.Add(closed)
		require.True(t, seen.FirstSeen.Add(delay).Before(opens), "the digest is due before the window opens")
		within(t, time.Until(opens)+patience, "the rebuild is requested", func() bool { return i.state().Rebuild.ID != "" })
		assert.False(t, i.state().Rebuild.RequestedAt.Before(opens))
		i.succeeds(t, 1, "o/window:1", two.Digest)
	}}
}

func diamond(l *lab) scenario {
	root := l.upToDate("d-root", "d/os:1", "tags: latest")
	child := func(name string, from ...string) *image {
		i := l.enroll(name, from, "tags: latest")
		i.publish("")
		return i
	}
	left, right := child("d-left", l.own("d-root")), child("d-right", l.own("d-root"))
	tip := child("d-tip", l.own("d-left"), l.own("d-right"))
	return scenario{"a diamond is rebuilt once, in order", func(t *testing.T) {
		two := l.tag("d/os:1", "2")
		root.succeeds(t, 1, "d/os:1", two.Digest)
		for _, i := range []*image{left, right} {
			i.succeeds(t, 1, l.own("d-root"), l.digest(l.own("d-root")))
			assert.True(t, i.runs()[0].Created.After(root.runs()[0].Created), i.name)
			assert.False(t, tipBefore(tip, i), i.name)
		}
		tip.succeeds(t, 1, l.own("d-left"), l.digest(l.own("d-left")))
		on, _ := tip.builtOn(l.own("d-right"))
		assert.Equal(t, l.digest(l.own("d-right")), on)
		tip.quiet(t, 1)
		for _, i := range []*image{root, left, right} {
			assert.Len(t, i.runs(), 1, i.name)
		}
	}}
}

// tipBefore reports whether the tip of a diamond was started before one of its parents.
func tipBefore(tip, parent *image) bool {
	runs := tip.runs()
	return len(runs) > 0 && runs[0].Created.Before(parent.runs()[0].Created)
}

func chain(l *lab) scenario {
	one := l.upToDate("d-one", "d/chain:1", "tags: latest")
	two := l.enroll("d-two", []string{l.own("d-one")}, "tags: latest")
	two.publish("")
	three := l.enroll("d-three", []string{l.own("d-two")})
	three.publish("")
	return scenario{"a chain is rebuilt once, in order", func(t *testing.T) {
		next := l.tag("d/chain:1", "2")
		one.succeeds(t, 1, "d/chain:1", next.Digest)
		two.succeeds(t, 1, l.own("d-one"), l.digest(l.own("d-one")))
		three.succeeds(t, 1, l.own("d-two"), l.digest(l.own("d-two")))
		three.quiet(t, 1)
		assert.Len(t, one.runs(), 1)
		assert.Len(t, two.runs(), 1)
	}}
}

func badGateway(l *lab) scenario {
	i := l.upToDate("e-502", "e/gateway:1")
	return scenario{"a forge that answers 502 for a while", func(t *testing.T) {
		for range 3 {
			l.forge.Fail(forgetest.Fault{Match: "POST " + i.path() + "/actions/", Status: 502})
		}
		two := l.tag("e/gateway:1", "2")
		i.succeeds(t, 1, "e/gateway:1", two.Digest)
		assert.Len(t, l.forge.Requests("POST "+i.path()+"/actions/"), 4)
	}}
}

func refused(l *lab) scenario {
	i := l.upToDate("e-422", "e/refused:1")
	return scenario{"a forge that refuses", func(t *testing.T) {
		words := i.refuse()
		l.tag("e/refused:1", "2")
		eventually(t, "the refusal is recorded", func() bool { return i.state().Rebuild.Status == state.Failed })
		assert.Contains(t, i.state().Rebuild.Message, words)
		assert.Equal(t, 1, i.state().Rebuild.Failures)
		i.quiet(t, 0)
		assert.Len(t, i.promotions(), 1, "not tried again at once")
		assert.Contains(t, l.status(i.name), "rebuild failed (1 of 3)")
	}}
}

func failing(l *lab) scenario {
	i := l.upToDate("e-fails", "e/fails:1")
	return scenario{"a run that fails three times", func(t *testing.T) {
		i.ends("failure")
		two := l.tag("e/fails:1", "2")
		for n := 1; n <= policy.MaxFailures; n++ {
			eventually(t, fmt.Sprintf("failure %d is recorded", n), func() bool { return i.state().Rebuild.Failures == n && i.state().Rebuild.Status == state.Failed })
			assert.Contains(t, i.state().Rebuild.Message, "failure")
			time.Sleep(30 * time.Second)
			assert.Len(t, i.runs(), n, "with distance")
			l.later(t, i.name, policy.RetryAfter(n))
		}
		l.later(t, i.name, 48*time.Hour)
		time.Sleep(40 * time.Second)
		assert.Len(t, i.runs(), policy.MaxFailures, "no more")
		assert.Contains(t, l.status(i.name), "imagefactory reset e-fails")
		i.ends("success")
		l.imagefactory("reset", i.name, "--reason", "the workflow is repaired")
		i.succeeds(t, policy.MaxFailures+1, "e/fails:1", two.Digest)
	}}
}

func sameForThePlatform(l *lab) scenario {
	i := l.upToDate("f-same", "f/node:1")
	return scenario{"another index with the same image for the platform", func(t *testing.T) {
		same := l.put("f/node:1", l.registry.Again("f/node:1", l.holds("f/node:1"), "linux/amd64", "2"))
		eventually(t, "the index is seen", func() bool { return l.base("f/node:1").CurrentDigest == same.Digest })
		i.quiet(t, 0)
		assert.Empty(t, i.promotions())
	}}
}

func optedOut(l *lab) scenario {
	i := l.upToDate("g-hand", "g/node:1", "autoRebuild: false")
	return scenario{"autoRebuild: false, and a Promotion by hand", func(t *testing.T) {
		two := l.tag("g/node:1", "2")
		l.candidate(t, "g/node:1", two.Digest)
		i.quiet(t, 0)
		promotion := fmt.Sprintf(`{"apiVersion":"kargo.akuity.io/v1alpha1","kind":"Promotion","metadata":{"generateName":"hand-","namespace":%q},
			"spec":{"stage":"rebuild-g-hand","origin":{"kind":"Warehouse","name":"base-%s"}}}`, l.project, l.base("g/node:1").Name)
		_, err := l.input(promotion, "kubectl", "create", "-f", "-")
		require.NoError(t, err)
		i.succeeds(t, 1, "g/node:1", two.Digest)
		assert.Contains(t, i.state().Rebuild.Reason, "by hand")
	}}
}

func gitlab(l *lab) scenario {
	l.tag("i/node:1", "1")
	i := l.enrolAt(l.gitlab, "i-gitlab", []string{"i/node:1"})
	i.publish("")
	return scenario{"GitLab", func(t *testing.T) {
		two := l.tag("i/node:1", "2")
		i.succeeds(t, 1, "i/node:1", two.Digest)
		assert.Equal(t, two.Digest, i.runs()[0].Values["DIGEST"])
		i.links(t, i.url(i.runs()[0].ID))
	}}
}

func neverPublished(l *lab) scenario {
	l.tag("j/node:1", "1")
	i := l.enroll("j-new", []string{"j/node:1"})
	return scenario{"an image that was never published", func(t *testing.T) {
		i.succeeds(t, 1, "j/node:1", l.digest("j/node:1"))
		assert.Equal(t, "1.0.1", i.state().CurrentVersion)
	}}
}

func withdrawn(l *lab) scenario {
	i := l.upToDate("m-back", "m/node:1")
	return scenario{"a tag that goes back", func(t *testing.T) {
		two := l.tag("m/node:1", "2")
		l.candidate(t, "m/node:1", two.Digest)
		l.tag("m/node:1", "1")
		eventually(t, "the candidate is withdrawn", func() bool { return !l.base("m/node:1").Find(two.Digest).Withdrawn.IsZero() })
		i.quiet(t, 0)
	}}
}

func failingJob(l *lab) scenario {
	i := l.upToDate("n-job", "n/node:1")
	return scenario{"an analysis that fails for a while", func(t *testing.T) {
		argument, fail := "--base-image="+l.base("n/node:1").Name, filepath.Join(l.run, "imagefactory", "fail")
		require.NoError(t, os.WriteFile(fail, []byte(argument+"\n"), 0o600))
		two := l.tag("n/node:1", "2")
		eventually(t, "a Job fails", func() bool {
			log, err := os.ReadFile(filepath.Join(l.run, "logs", "pods.log"))
			require.NoError(t, err)
			return strings.Contains(string(log), "this Job is made to fail: "+argument)
		})
		require.NoError(t, os.Remove(fail))
		i.succeeds(t, 1, "n/node:1", two.Digest)
		eventually(t, "the verification is made up for", func() bool {
			for _, run := range l.list("analysisruns", "-l", "kargo.akuity.io/stage=observe-base-"+l.base("n/node:1").Name) {
				if phase := run.Status["phase"]; phase != "Successful" {
					return false
				}
			}
			return true
		})
	}}
}

func twoBases(l *lab) scenario {
	l.tag("o/one:1", "1")
	l.tag("o/two:1", "1")
	i := l.enroll("o-two", []string{"o/one:1", "o/two:1"})
	i.publish("")
	return scenario{"two bases at once are one rebuild", func(t *testing.T) {
		l.refuseRequests("/v2/o/") // both appear at once
		one, two := l.tag("o/one:1", "2"), l.tag("o/two:1", "2")
		l.refuseRequests("")
		i.succeeds(t, 1, "o/one:1", one.Digest)
		on, _ := i.builtOn("o/two:1")
		assert.Equal(t, two.Digest, on)
		assert.Len(t, i.state().Rebuild.Bases, 2)
		i.quiet(t, 1)
	}}
}

func oddInputs(l *lab) scenario {
	const code = "${ { secret('forge').token } } ${% secret('forge').token %} }} '\"`\\ $(HOME) é"
	i := l.upToDate("q-odd", "q/node:1", fmt.Sprintf("source.inputs: {code: %q, number: \"1.10\", yes: \"true\", note: \"{{base}}@{{digest}}\"}", code))
	return scenario{"inputs that mean something to Kargo are sent as they are", func(t *testing.T) {
		two := l.tag("q/node:1", "2")
		i.succeeds(t, 1, "q/node:1", two.Digest)
		assert.Equal(t, map[string]string{
			"code": code, "number": "1.10", "yes": "true", "note": l.registry.Host + "/q/node:1@" + two.Digest,
		}, i.runs()[0].Values)
	}}
}

// controllerKilled kills Kargo's controller (kill -9) once it has polled the run, and starts it again.
func controllerKilled(t *testing.T, i *image) {
	i.ends("never")
	two := i.tag("l/node:1", "2")
	eventually(t, "the run is polled", func() bool {
		return len(i.forge.Requests("GET "+i.path()+"/actions/runs/")) > 0
	})
	time.Sleep(5 * time.Second) // Kargo keeps what a step has put out once the step that follows has returned
	i.kill("kargo-controller")()
	i.ends("success")
	i.succeeds(t, 1, "l/node:1", two.Digest)
	assert.Len(t, i.forge.Requests("POST "+i.path()+"/actions/"), 1, "dispatched once")
}

// apiServerGone takes the API server of Kubernetes away for a minute, in which a digest becomes due and a build ends.
func apiServerGone(t *testing.T, due, built *image) {
	l := due.lab
	built.ends("never")
	two := l.tag("p/built:1", "2")
	eventually(t, "the build has started", func() bool { return len(built.runs()) == 1 })
	young := l.tag("p/due:1", "2")
	l.candidate(t, "p/due:1", young.Digest)
	l.observedWithin(t, patience) // no Job of an analysis runs: the lab does not report twice how one ended
	start := l.kill("apiserver")
	built.ends("success")
	time.Sleep(time.Minute)
	start()
	due.succeeds(t, 1, "p/due:1", young.Digest)
	built.succeeds(t, 1, "p/built:1", two.Digest)
}

// kill kills a process of the lab, which start starts again as it was.
func (l *lab) kill(name string) (start func()) {
	l.t.Helper()
	file := filepath.Join(l.run, "pids", name)
	text, err := os.ReadFile(file)
	require.NoError(l.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(l.t, err)
	proc := func(what string) []string {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), what))
		require.NoError(l.t, err)
		return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	}
	args, env := proc("cmdline"), proc("environ")
	require.NoError(l.t, syscall.Kill(pid, syscall.SIGKILL))
	return func() {
		l.t.Helper()
		log, err := os.OpenFile(filepath.Join(l.run, "logs", name+".log"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		require.NoError(l.t, err)
		cmd := exec.Command(args[0], args[1:]...) // it outlives the test
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = l.run, env, log, log
		require.NoError(l.t, cmd.Start())
		require.NoError(l.t, os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
		go func() { _ = cmd.Wait() }()
	}
}

// TestStoredAsWritten has the API server and Kargo's webhooks say what they would store of fleets that use every kind of
// entry: the sample fleet, and one whose texts are chosen to be misunderstood.
func TestStoredAsWritten(t *testing.T) {
	l := newLab(t, "lab-stored")
	hostile := t.TempDir()
	require.NoError(t, os.CopyFS(hostile, os.DirFS(filepath.Join("..", "e2e", "testdata", "hostile"))))
	l.must(l.binary, "analyze", "--config", filepath.Join(hostile, "images.yaml"), "--source-dir", filepath.Join(hostile, "src"), "--offline")
	l.must(l.binary, "synth", "--config", filepath.Join(hostile, "images.yaml"))
	l.clear() // of an earlier run
	defer l.end()
	for project, dir := range map[string]string{"image-factory-kargo": filepath.Join("..", ".."), "hostile-fleet": hostile} {
		for i, text := range written(t, dir) {
			text = strings.ReplaceAll(text, project, l.project)
			if i == 0 {
				l.applyProject(text)
			}
			want, got := decode(t, text), map[string]any{}
			out, err := l.input(text, "kubectl", "apply", "--server-side", "--field-manager="+manager, "--dry-run=server", "-o", "json", "-f", "-")
			require.NoError(t, err, text)
			require.NoError(t, json.Unmarshal([]byte(out), &got), out)
			contains(t, fmt.Sprint(project, " ", want["kind"]), want, got)
		}
	}
}

// decode reads a generated object as JSON has it.
func decode(t *testing.T, text string) (out map[string]any) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(text), &out))
	return out
}

// noDrift compares what is stored with what was applied, as Argo CD does: field by field, and by a second apply.
func noDrift(t *testing.T, l *lab) {
	before := map[string]int64{}
	objects := l.dist()
	for _, text := range objects {
		want, got := decode(t, text), map[string]any{}
		meta := want["metadata"].(map[string]any)
		name := fmt.Sprint(want["kind"], "/", meta["name"])
		require.NoError(t, json.Unmarshal([]byte(l.kubectl("get", strings.ToLower(name), "-o", "json")), &got), name)
		contains(t, name, want, got)
		generation, _ := got["metadata"].(map[string]any)["generation"].(float64)
		before[name] = int64(generation)
	}
	l.applyObjects(objects)
	if argoCD != "" {
		l.synced(strings.TrimSpace(l.repo.must("log", "-1", "--format=%H", "main", "--", "dist")))
	}
	for name, generation := range before {
		if generation > 0 {
			assert.Equal(t, strconv.FormatInt(generation, 10), l.kubectl("get", strings.ToLower(name), "-o", "jsonpath={.metadata.generation}"), name)
		}
	}
}

// contains asserts that what was applied is stored as it was written; lists have nothing added to them.
func contains(t *testing.T, at string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		require.True(t, ok, "%s is not stored", at)
		for name, value := range want {
			contains(t, at+"."+name, value, got[name])
		}
	case []any:
		got, ok := got.([]any)
		require.True(t, ok && len(got) == len(want), "%s is not stored as it was written", at)
		for i := range want {
			contains(t, fmt.Sprintf("%s[%d]", at, i), want[i], got[i])
		}
	default:
		assert.Equal(t, want, got, at)
	}
}

// appliedAgain deletes everything in the cluster and applies it again, while one image waits for a digest to ripen and
// another one is built: nothing is rebuilt for that, and nothing is lost.
func appliedAgain(t *testing.T, l *lab, i, waits, running *image) {
	running.ends("never")
	young, ripe := l.tag("h/waits:1", "2"), l.tag("h/runs:1", "2")
	l.candidate(t, "h/waits:1", young.Digest)
	eventually(t, "the build is recorded", func() bool { return len(running.runs()) == 1 && running.state().Rebuild.Status == state.Running })
	running.links(t, running.url(running.runs()[0].ID))
	runs := map[string]int{}
	for name, i := range l.ids {
		runs[name] = len(i.runs())
	}
	before := l.repo.must("rev-parse", "main")
	l.clear()
	l.apply()
	l.secrets()
	l.observedWithin(t, patience)
	time.Sleep(delay + 30*time.Second)
	for name, i := range l.ids {
		assert.Len(t, i.runs(), runs[name], name)
	}
	changed := l.repo.must("diff", "--stat", strings.TrimSpace(before), "main")
	assert.Empty(t, changed, "nothing is new")
	two := l.tag("j/current:1", "2")
	i.succeeds(t, 1, "j/current:1", two.Digest)
	l.imagefactory("release", l.base("h/waits:1").Name, "--reason", "it fixes a hole")
	waits.succeeds(t, 1, "h/waits:1", young.Digest)
	running.ends("success")
	eventually(t, "the build that went on is recorded", func() bool { return running.state().Rebuild.Status == state.Succeeded })
	on, _ := running.builtOn("h/runs:1")
	assert.Equal(t, ripe.Digest, on)
	assert.Len(t, running.runs(), 1, "dispatched once")
}

// status returns the output of `imagefactory status` for an image.
func (l *lab) status(name string) string {
	dir := l.repo.clone()
	out, err := l.try(l.binary, "status", name, "--config", filepath.Join(dir, "images.yaml"), "--state-dir", filepath.Join(dir, "state"))
	require.NoError(l.t, err)
	return out
}

// later lets time pass for the rebuild of an image: what is recorded of it is moved into the past.
func (l *lab) later(t *testing.T, name string, d time.Duration) {
	t.Helper()
	eventually(t, "time passes for "+name, func() bool {
		dir := l.repo.clone()
		st, err := state.Load(os.DirFS(filepath.Join(dir, "state")), "state")
		require.NoError(t, err)
		r := st.Images[name].Rebuild
		r.RequestedAt, r.FinishedAt = state.At(r.RequestedAt.Add(-d)), state.At(r.FinishedAt.Add(-d))
		files, err := st.Encode()
		require.NoError(t, err)
		file := "images/" + name + ".yaml"
		require.NoError(t, state.WriteFiles(filepath.Join(dir, "state"), map[string][]byte{file: files[file]}))
		return l.repo.push(dir, "Let time pass for "+name) == nil
	})
}
