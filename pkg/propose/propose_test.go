package propose_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

const node = "docker.io/library/node:22"

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// world is a fleet, and the forge that its repository is at.
type world struct {
	*forgetest.Server
	t     *testing.T
	repo  *forgetest.Repo
	fleet *fleet.Fleet
	now   time.Time
}

func dockerfile(c string) string { return "FROM node:22@" + digest(c) + "\nRUN x\n" }

// newWorld returns a world with the images app and web of one repository, that pin digest a.
func newWorld(t *testing.T, provider config.Provider, factory string) *world {
	w := &world{Server: forgetest.New(t), t: t, now: now}
	if provider == config.GitHub {
		w.repo = w.GitHub("acme/app")
	} else {
		w.repo = w.GitLab("acme/app")
	}
	w.repo.Commit("Dockerfile", dockerfile("a"))
	w.repo.Commit("web/Dockerfile", dockerfile("a"))
	var b strings.Builder
	fmt.Fprintf(&b, "factory: {pullRequests: {labels: [deps]%s}}\ndefaults: {source: {provider: %s, host: %q, repo: acme/app, updatePins: pullRequest}}\nimages:\n", factory, provider, w.Host)
	st := state.New()
	for _, name := range []string{"app", "web"} {
		file := map[string]string{"app": "Dockerfile", "web": "web/Dockerfile"}[name]
		workflow := ""
		if provider == config.GitHub {
			workflow = ", workflow: b.yml"
		}
		fmt.Fprintf(&b, "- {name: %s, repository: acme/%s, tags: latest, source: {dockerfile: %s%s}}\n", name, name, file, workflow)
		st.Images[name] = &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Path: file}, CurrentVersion: "latest", CurrentDigest: digest("e"),
		}
	}
	cfg, err := config.Load(strings.NewReader(b.String()), "images.yaml")
	require.NoError(t, err)
	w.fleet = &fleet.Fleet{Config: cfg, State: st}
	w.pins("a")
	base := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22", Baseline: candidate("a", 30), CurrentDigest: digest("a")}
	st.Bases[base.Name] = base
	return w
}

// pins records what the Dockerfiles pin.
func (w *world) pins(c string) {
	for _, facts := range w.fleet.State.Images {
		facts.BaseImages = []state.BaseUse{{Ref: node + "@" + digest(c), Uses: []state.Use{{Kind: "from", Line: 1}}}}
	}
}

func candidate(c string, days int) *state.Candidate {
	return &state.Candidate{Snapshot: state.Snapshot{Digest: digest(c)}, FirstSeen: state.At(now.AddDate(0, 0, -days))}
}

// seen adds a candidate of that age.
func (w *world) seen(c string, days int) {
	base := w.fleet.State.Bases["node-22"]
	base.Candidates = append(base.Candidates, *candidate(c, days))
}

func (w *world) options() propose.Options {
	client := forge.New(forge.Options{API: forgeapi.New(forgeapi.Options{Token: func(context.Context, string) (string, error) { return "token", nil }})})
	return propose.Options{Repository: client.Repository}
}

func (w *world) groups() []propose.Group {
	w.fleet.Graph = graph.Build(w.fleet.Config, w.fleet.State)
	decisions := policy.Decide(w.fleet.Config, w.fleet.State, w.fleet.Graph, w.now)
	return propose.Groups(w.fleet, decisions, w.now, func(*policy.Decision) bool { return false })
}

// pass makes a pass and returns what it did with the only request.
func (w *world) pass() propose.Result {
	w.t.Helper()
	results := propose.Sync(w.t.Context(), w.groups(), w.options())
	propose.Record(w.fleet, results)
	if len(results) == 0 {
		return propose.Result{Action: propose.Nothing}
	}
	require.Len(w.t, results, 1)
	return results[0]
}

func (w *world) recorded() *state.PullRequest { return w.fleet.State.Images["app"].PullRequest }

const branch = "imagefactory/pins/main"

var providers = []config.Provider{config.GitHub, config.GitLab}

func forEach(t *testing.T, test func(t *testing.T, w *world)) {
	for _, p := range providers {
		t.Run(string(p), func(t *testing.T) { test(t, newWorld(t, p, "")) })
	}
}

func TestOneRequestForAllImagesOfTheRepository(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		assert.Empty(t, w.groups(), "nothing is to move")
		w.seen("b", 9)
		w.seen("c", 2)
		r := w.pass()
		require.Equal(t, propose.Opened, r.Action, r.Message)
		require.Len(t, w.repo.Pulls(), 1)
		pull := w.repo.Pulls()[0]
		assert.Equal(t, "Update pinned base images: node:22", pull.Title)
		assert.Equal(t, []string{"deps"}, pull.Labels)
		for _, part := range []string{"| `node:22` | `sha256:aaaaaaaaaaaa` | `sha256:bbbbbbbbbbbb` | seen 2026-05-23, ripe 2026-05-30 |", "The merge rebuilds app, web.", "<!-- imagefactory:pin " + node + "@" + digest("b") + " -->"} {
			assert.Contains(t, pull.Body, part)
		}
		assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
		assert.Equal(t, dockerfile("b"), w.repo.File(branch, "web/Dockerfile"))
		assert.Equal(t, dockerfile("a"), w.repo.File("main", "Dockerfile"))
		assert.Contains(t, w.repo.Message(branch), "node:22: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb")
		assert.Equal(t, r.URL, w.recorded().URL)
		assert.Equal(t, []string{node + "@" + digest("b")}, w.recorded().Pins)

		head := w.repo.Head(branch)
		assert.Equal(t, propose.Kept, w.pass().Action)
		assert.Equal(t, head, w.repo.Head(branch))
		assert.Len(t, w.repo.Pulls(), 1)
	})
}

func TestRequestFollowsTheLockAndMain(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.seen("c", 2)
		w.pass()
		w.now = now.AddDate(0, 0, 6)
		assert.Equal(t, propose.Updated, w.pass().Action)
		assert.Equal(t, dockerfile("c"), w.repo.File(branch, "Dockerfile"))
		assert.Contains(t, w.repo.Pulls()[0].Body, "sha256:cccccccccccc")
		assert.Equal(t, []string{node + "@" + digest("c")}, w.recorded().Pins)

		head := w.repo.Head(branch)
		w.repo.Commit("README", "x")
		assert.Equal(t, propose.Kept, w.pass().Action, "what main changed elsewhere does not matter")
		assert.Equal(t, head, w.repo.Head(branch))
		w.repo.Commit("Dockerfile", dockerfile("a")+"RUN y\n")
		assert.Equal(t, propose.Updated, w.pass().Action)
		assert.Equal(t, dockerfile("c")+"RUN y\n", w.repo.File(branch, "Dockerfile"))
		assert.Equal(t, "x", w.repo.File(branch, "README"))
		assert.Equal(t, "open", w.repo.Pulls()[0].State)
		assert.Len(t, w.repo.Pulls(), 1)

		w.repo.UpToDate = true
		w.repo.Commit("README", "y")
		assert.Equal(t, propose.Updated, w.pass().Action, "the rules of the branch want it to be up to date")
		assert.Equal(t, "y", w.repo.File(branch, "README"))
	})
}

func TestMergedRequestIsForgotten(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		w.repo.MergePull(1)
		assert.Equal(t, propose.Nothing, w.pass().Action, "state still has the old pins")
		assert.Len(t, w.repo.Pulls(), 1)
		assert.Nil(t, w.recorded())
		w.pins("b")
		assert.Empty(t, w.groups())
		w.seen("c", 8)
		assert.Equal(t, propose.Opened, w.pass().Action)
		assert.Equal(t, dockerfile("c"), w.repo.File(branch, "Dockerfile"))
		assert.Len(t, w.repo.Pulls(), 2)
	})
}

func TestCommitsOfOthersAreLeft(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		theirs := w.repo.Push(branch, "also this", "Dockerfile", dockerfile("b")+"RUN z\n")
		w.seen("c", 8)
		r := w.pass()
		assert.Equal(t, propose.Left, r.Action)
		assert.Equal(t, theirs, w.repo.Head(branch))
		assert.Contains(t, w.recorded().Message, "commits of somebody else")
		assert.Equal(t, []string{node + "@" + digest("b")}, w.recorded().Pins)
	})
}

func TestMergedBranchIsUsedAgain(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		w.repo.Push(branch, "also this", "other", "x")
		assert.Equal(t, propose.Left, w.pass().Action)
		w.repo.MergePull(1)
		w.repo.Commit("other", "y") // as a squash leaves the commits of the branch out of main
		w.pins("b")
		w.seen("c", 8)
		assert.Equal(t, propose.Opened, w.pass().Action)
		assert.Equal(t, dockerfile("c"), w.repo.File(branch, "Dockerfile"))
		theirs := w.repo.Push(branch, "and this", "other", "z")
		assert.Equal(t, propose.Left, w.pass().Action)
		assert.Equal(t, theirs, w.repo.Head(branch))
	})
}

func TestFindingsThatAPinFixesAreNamed(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	scans := func(c string, ids ...string) state.Scan {
		s := state.Scan{Digest: digest(c), Platform: "linux/amd64", Severity: scan.High}
		for _, id := range ids {
			s.Findings = append(s.Findings, state.Finding{Finding: scan.Finding{ID: id, Severity: scan.Critical, Package: "openssl"}})
		}
		return s
	}
	w.fleet.State.ImageScans["app"] = &state.Scans{Digests: []state.Scan{scans("e", "CVE-2026-1", "CVE-2026-2")}}
	w.fleet.State.BaseScans["node-22"] = &state.Scans{Digests: []state.Scan{scans("a", "CVE-2026-1", "CVE-2026-2"), scans("b", "CVE-2026-2")}}
	w.pass()
	assert.Contains(t, w.repo.Pulls()[0].Body, "`node:22` fixes CVE-2026-1.\n")
}

func TestAmendedCommitIsLeft(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		message := w.repo.Message(branch)
		w.repo.Reset(branch, "main")
		theirs := w.repo.Push(branch, message, "Dockerfile", "FROM scratch\n")
		assert.Equal(t, propose.Left, w.pass().Action)
		assert.Equal(t, theirs, w.repo.Head(branch))
	})
}

func TestClosedByAPersonIsNotOpenedAgain(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		w.repo.ClosePull(1)
		r := w.pass()
		assert.Equal(t, propose.Rejected, r.Action)
		assert.Equal(t, "closed by somebody; the next digests get a new request", w.recorded().Message)
		assert.Len(t, w.repo.Pulls(), 1)
		w.seen("c", 8)
		assert.Equal(t, propose.Opened, w.pass().Action, "another digest")
		assert.Empty(t, w.recorded().Message)
		assert.Len(t, w.repo.Pulls(), 2)
	})
}

func TestRequestThatIsNoLongerNeededIsClosed(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		base := w.fleet.State.Bases["node-22"]
		base.Candidates[0].Held = state.At(w.now)
		assert.Equal(t, propose.Closed, w.pass().Action)
		pull := w.repo.Pulls()[0]
		assert.Equal(t, "closed", pull.State)
		require.Len(t, pull.Comments, 1)
		assert.Contains(t, pull.Comments[0], "No longer needed")
		assert.Empty(t, w.repo.Head(branch))
		assert.Nil(t, w.recorded())
		base.Candidates[0].Held, base.Candidates[0].Released = state.Time{}, state.At(w.now)
		assert.Equal(t, propose.Opened, w.pass().Action, "nobody has refused it")
	})
}

func TestPreviewChangesNothing(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		results := propose.Preview(t.Context(), w.groups(), w.options())
		require.Len(t, results, 1)
		assert.Equal(t, propose.Opened, results[0].Action)
		assert.Contains(t, results[0].Diff, "-FROM node:22@"+digest("a")+"\n+FROM node:22@"+digest("b")+"\n")
		assert.Empty(t, w.repo.Pulls())
		assert.Empty(t, w.repo.Head(branch))
		pending := propose.Pending(w.groups())
		assert.Equal(t, []string{node + "@" + digest("b")}, pending[0].Pins)
	})
}

func TestFailedLookupOpensNothing(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		for range 40 { // whichever request fails, a pass that reports a failure has opened no wrong request
			w.Fail(forgetest.Fault{Match: "GET ", Status: http.StatusForbidden, Body: `{"message":"Resource not accessible"}`, Header: http.Header{"Content-Type": {"application/json"}}})
		}
		r := w.pass()
		assert.Equal(t, propose.Failed, r.Action)
		assert.Empty(t, w.repo.Pulls())
		assert.Nil(t, w.recorded())
		w.Unfail()
		assert.Equal(t, propose.Opened, w.pass().Action)
		recorded := w.recorded()
		for range 40 {
			w.Fail(forgetest.Fault{Match: "GET ", Status: http.StatusForbidden, Body: `{"message":"Resource not accessible"}`, Header: http.Header{"Content-Type": {"application/json"}}})
		}
		assert.Equal(t, propose.Failed, w.pass().Action)
		assert.Equal(t, recorded, w.recorded(), "nothing is concluded")
	})
}

func TestSharedDockerfileGetsWhatSuitsAllImages(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.fleet.Config.Find("web").Source.Dockerfile = "Dockerfile"
	long := config.Duration(20 * 24 * time.Hour)
	w.fleet.Config.Find("web").RebuildDelay = &long
	w.seen("b", 25)
	w.seen("c", 9)
	assert.Equal(t, propose.Opened, w.pass().Action)
	assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
}

func TestLimitOfOpenRequests(t *testing.T) {
	w := newWorld(t, config.GitHub, ", maxOpen: 1")
	w.seen("b", 9)
	w.repo.Push("next", "branch", "web/Dockerfile", dockerfile("a"))
	web := w.fleet.Config.Find("web").Source
	web.Branch = "next"
	results := propose.Sync(t.Context(), w.groups(), w.options())
	require.Len(t, results, 2)
	assert.Equal(t, propose.Opened, results[0].Action)
	assert.Equal(t, propose.Limited, results[1].Action)
	assert.Len(t, w.repo.Pulls(), 1)
}

func TestAutoMergeIsAskedFor(t *testing.T) {
	w := newWorld(t, config.GitHub, ", autoMerge: squash")
	w.repo.Protected = true
	w.seen("b", 9)
	r := w.pass()
	assert.Equal(t, propose.Opened, r.Action)
	require.Len(t, r.Problems, 1)
	assert.Contains(t, r.Problems[0], "enabling auto-merge")
	w.repo.AllowAutoMerge = true
	assert.Empty(t, w.pass().Problems)
	assert.True(t, w.repo.Pulls()[0].AutoMerge)
}

func TestPinThatCannotBeMovedIsReported(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.repo.Delete("Dockerfile")
	r := w.pass()
	assert.Equal(t, propose.Opened, r.Action)
	assert.Equal(t, []string{"Dockerfile: no such file on branch main"}, r.Problems)
	assert.Equal(t, []string{node + "@" + digest("b")}, r.Pins, "the other Dockerfile")
}

// A Dockerfile gets the pin from a build argument: it moves where that is written.
func TestPinInABakeFile(t *testing.T) {
	for file, text := range map[string]string{
		"docker-bake.hcl":  `variable "BASE" { default = "node:22@%s" }`,
		"docker-bake.json": `{"variable": {"BASE": {"default": "node:22@%s"}}}`,
		"compose.yaml":     "services: {app: {build: {args: {BASE: \"node:22@%s\"}}}}\n",
		"other.hcl":        `variable "BASE" {} # %s`,
	} {
		t.Run(file, func(t *testing.T) {
			w := newWorld(t, config.GitHub, "")
			src := w.fleet.Config.Find("app").Source
			src.BuildArgs, src.PinFiles = map[string]string{"BASE": "node:22@" + digest("a")}, []string{file}
			w.repo.Commit("Dockerfile", "ARG BASE\nFROM ${BASE}\n")
			w.repo.Commit(file, fmt.Sprintf(text, digest("a")))
			w.seen("b", 9)
			r := w.pass()
			assert.Equal(t, propose.Opened, r.Action)
			if file == "other.hcl" {
				require.Len(t, r.Problems, 1)
				assert.Contains(t, r.Problems[0], "it may come from a build argument")
				return
			}
			assert.Empty(t, r.Problems)
			assert.Equal(t, fmt.Sprintf(text, digest("b")), w.repo.File(branch, file))
		})
	}
}
