package propose_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// delay sets the delay of an image.
func (w *world) delay(image string, days int) {
	d := config.Duration(time.Duration(days) * 24 * time.Hour)
	w.fleet.Config.Find(image).RebuildDelay = &d
}

// passWithout makes a pass that may not act on some images.
func (w *world) passWithout(images ...string) []propose.Result {
	w.t.Helper()
	w.fleet.Graph = graph.Build(w.fleet.Config, w.fleet.State)
	decisions := policy.Decide(w.fleet.Config, w.fleet.State, w.fleet.Graph, w.now)
	groups := propose.Groups(w.fleet, decisions, w.now, func(d *policy.Decision) bool { return strings.Contains(strings.Join(images, " "), d.Image) })
	results := propose.Sync(w.t.Context(), groups, w.options())
	propose.Record(w.fleet, results)
	return results
}

func TestTextNamesTheDigestThatTheFilesGet(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.fleet.Config.Find("web").Source.Dockerfile = "Dockerfile"
	w.delay("app", 20) // the first of both by name
	w.seen("b", 25)
	w.seen("c", 9)
	r := w.pass()
	assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
	assert.Equal(t, []string{node + "@" + digest("b")}, r.Pins)
	assert.NotContains(t, w.repo.Pulls()[0].Body, "cccccccccccc")
	assert.Equal(t, r.Pins, w.fleet.State.Images["web"].PullRequest.Pins)
	assert.Equal(t, r.Pins, w.recorded().Pins)
	w.repo.ClosePull(1)
	assert.Equal(t, propose.Rejected, w.pass().Action, "the digest that was refused")
	assert.Equal(t, propose.Rejected, w.pass().Action)
	assert.Len(t, w.repo.Pulls(), 1)
}

func TestEveryDigestOfARequestIsRefusedWhenItIsClosed(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.delay("app", 20)
	w.seen("b", 25)
	w.seen("c", 9)
	assert.ElementsMatch(t, []string{node + "@" + digest("b"), node + "@" + digest("c")}, w.pass().Pins)
	assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
	assert.Equal(t, dockerfile("c"), w.repo.File(branch, "web/Dockerfile"))
	w.repo.ClosePull(1)
	assert.Equal(t, propose.Rejected, w.pass().Action)
	assert.Len(t, w.repo.Pulls(), 1)
}

func TestSharedPinFileGetsWhatSuitsAllImages(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	for _, name := range []string{"app", "web"} {
		w.fleet.Config.Find(name).Source.PinFiles = []string{"docker-bake.json"}
	}
	bake := func(c string) string { return `{"x": "node:22@` + digest(c) + `"}` }
	w.repo.Commit("docker-bake.json", bake("a"))
	w.delay("web", 20)
	w.seen("b", 9)
	assert.Equal(t, propose.Opened, w.pass().Action)
	assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
	assert.Equal(t, bake("a"), w.repo.File(branch, "docker-bake.json"), "it has not ripened for web")
}

func TestImageThatCouldNotBeReadKeepsItsPartOfTheRequest(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.pass()
		w.seen("c", 8)
		w.fleet.State.Images["app"].BaseImages = nil // pins nothing
		w.fleet.State.Images["app"].PullRequest = nil
		w.repo.Commit("Dockerfile", dockerfile("b"))
		results := w.passWithout("web")
		require.Len(t, results, 1)
		assert.NotEqual(t, propose.Closed, results[0].Action)
		assert.Equal(t, "open", w.repo.Pulls()[0].State)
		assert.Equal(t, dockerfile("b"), w.repo.File(branch, "web/Dockerfile"), "as the request had it")
		assert.Equal(t, []string{node + "@" + digest("b")}, w.fleet.State.Images["web"].PullRequest.Pins)

		w.fleet.State.Images["web"].BaseImages = nil // a lookup that failed altogether
		head := w.repo.Head(branch)
		results = w.passWithout("web")
		require.Len(t, results, 1)
		assert.Equal(t, propose.Kept, results[0].Action)
		assert.Equal(t, "open", w.repo.Pulls()[0].State)
		assert.Equal(t, head, w.repo.Head(branch))
		assert.NotNil(t, w.fleet.State.Images["web"].PullRequest)
	})
}

func TestHeldDigestIsNotKeptInTheRequestOfAPausedImage(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.pass()
	w.seen("c", 8)
	w.fleet.State.Bases["node-22"].Candidates[0].Held = state.At(w.now)
	w.passWithout("web")
	assert.Equal(t, dockerfile("c"), w.repo.File(branch, "Dockerfile"))
	assert.Equal(t, dockerfile("a"), w.repo.File(branch, "web/Dockerfile"))
}

func TestRequestThatCannotBeClosedIsNotCommentedAgain(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.pass()
	w.fleet.State.Bases["node-22"].Candidates[0].Held = state.At(w.now)
	w.Break(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusForbidden)
		_, _ = rw.Write([]byte(`{"message":"Resource not accessible"}`))
		return true
	})
	for range 3 {
		assert.Equal(t, propose.Failed, w.pass().Action)
	}
	assert.LessOrEqual(t, len(w.repo.Pulls()[0].Comments), 1)
	w.Break(nil)
	assert.Equal(t, propose.Closed, w.pass().Action)
	assert.Len(t, w.repo.Pulls()[0].Comments, 1)
}

func TestClosedRequestsDoNotCountAsOpen(t *testing.T) {
	w := newWorld(t, config.GitHub, ", maxOpen: 1")
	w.repo.Push("next", "branch", "web/Dockerfile", dockerfile("a"))
	w.fleet.Config.Find("web").Source.Branch = "next"
	w.seen("b", 9)
	sync := func() (app, web propose.Action) {
		results := propose.Sync(t.Context(), w.groups(), w.options())
		propose.Record(w.fleet, results)
		require.Len(t, results, 2)
		return results[0].Action, results[1].Action
	}
	app, web := sync()
	assert.Equal(t, []propose.Action{propose.Opened, propose.Limited}, []propose.Action{app, web})
	w.repo.ClosePull(1)
	sync()
	app, web = sync()
	assert.Equal(t, []propose.Action{propose.Rejected, propose.Opened}, []propose.Action{app, web})
	w.seen("c", 8)
	app, _ = sync()
	assert.Equal(t, propose.Limited, app, "the next digest, while the other request is open")
}

func TestBranchesOfRequestsDiffer(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	names := map[string]bool{}
	for _, built := range []string{"main", "main-next", "release/1", "release-1"} {
		w.fleet.Config.Find("app").Source.Branch = built
		w.seen("b", 9)
		for _, g := range w.groups() {
			names[g.Branch()] = true
		}
	}
	assert.Len(t, names, 5-1)
}

func TestRequestForABranchNamedNextIsLeftAlone(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.repo.Push("main-next", "branch", "web/Dockerfile", dockerfile("a"))
	w.fleet.Config.Find("web").Source.Branch = "main-next"
	w.seen("b", 9)
	propose.Sync(t.Context(), w.groups(), w.options())
	require.Len(t, w.repo.Pulls(), 2)
	theirs := w.repo.Push("imagefactory/pins/main-next", "also this", "other", "x")
	w.seen("c", 8)
	propose.Sync(t.Context(), w.groups(), w.options())
	assert.Equal(t, dockerfile("c"), w.repo.File(branch, "Dockerfile"))
	assert.Equal(t, theirs, w.repo.Head("imagefactory/pins/main-next"))
	for _, pull := range w.repo.Pulls() {
		assert.Equal(t, "open", pull.State)
	}
}

func TestFileThatCannotBeChangedDoesNotStopOtherImages(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.seen("b", 9)
		w.repo.Link("web/Dockerfile", "../Dockerfile")
		r := w.pass()
		assert.Equal(t, propose.Opened, r.Action, r.Message)
		assert.Equal(t, dockerfile("b"), w.repo.File(branch, "Dockerfile"))
		require.Len(t, r.Problems, 1)
		assert.Contains(t, r.Problems[0], "web/Dockerfile is not a regular file")
	})
}

func TestRepositoryInAnotherCaseIsTheSame(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.fleet.Config.Find("web").Source.Repo = "ACME/app"
	w.seen("b", 9)
	require.Len(t, w.groups(), 1)
	assert.Equal(t, []string{"app", "web"}, w.groups()[0].Images())
}

func TestDraftOfAPersonStaysADraft(t *testing.T) {
	w := newWorld(t, config.GitLab, "")
	w.seen("b", 9)
	w.pass()
	w.repo.Retitle(1, "Draft: "+w.repo.Pulls()[0].Title)
	assert.Equal(t, propose.Kept, w.pass().Action)
	w.seen("c", 8)
	assert.Equal(t, propose.Updated, w.pass().Action)
	assert.Equal(t, "Draft: Update pinned base images: node:22", w.repo.Pulls()[0].Title)
}

func TestFailedPassKeepsWhatIsRecorded(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.pass()
	before := *w.recorded()
	w.fleet.State.Bases["node-22"].Candidates[0].Held = state.At(w.now)
	w.Break(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusNotFound)
		_, _ = rw.Write([]byte(`{"message":"Not Found"}`))
		return true
	})
	assert.Equal(t, propose.Failed, w.pass().Action)
	w.Break(nil)
	assert.Equal(t, before, *w.recorded())
	assert.Equal(t, "open", w.repo.Pulls()[0].State)
}

func TestHeldDigestLeavesTheRequestOfAnImageThatCouldNotBeRead(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.pass()
	w.fleet.State.Bases["node-22"].Candidates[0].Held = state.At(w.now)
	assert.Equal(t, propose.Closed, w.passWithout("web")[0].Action)
}

func TestUnreadableStateClosesNothing(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.seen("b", 9)
	w.pass()
	w.fleet.State.Images["app"].BaseImages = nil // it pins nothing any longer
	delete(w.fleet.State.Images, "web")
	w.fleet.State.LeaveOut("images/web.yaml")
	r := w.pass()
	assert.Equal(t, propose.Kept, r.Action)
	assert.Equal(t, "open", w.repo.Pulls()[0].State)
	assert.Equal(t, dockerfile("b"), w.repo.File(branch, "web/Dockerfile"))
}

func TestTextsFitTheForge(t *testing.T) {
	w := newWorld(t, config.GitHub, `, title: "`+strings.Repeat("é", 300)+`"`)
	var src strings.Builder
	for i := range 200 {
		repo := fmt.Sprintf("%sbase-%d", strings.Repeat("path/", 10), i)
		name := state.BaseName(state.Ref{Registry: "registry.example.com", Repository: repo, Tag: "22"})
		ref := "registry.example.com/" + repo + ":22"
		fmt.Fprintf(&src, "FROM %s@%s AS s%d\n", ref, digest("a"), i)
		w.fleet.State.Images["app"].BaseImages = append(w.fleet.State.Images["app"].BaseImages, state.BaseUse{Ref: ref + "@" + digest("a"), Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		w.fleet.State.Bases[name] = &state.Base{Name: name, Registry: "registry.example.com", Repository: repo, Tag: "22", Baseline: candidate("a", 30), CurrentDigest: digest("b"), Candidates: []state.Candidate{*candidate("b", 9)}}
	}
	src.WriteString("FROM scratch\n")
	for i := range 200 {
		fmt.Fprintf(&src, "COPY --from=s%d /a /a\n", i)
	}
	w.repo.Commit("Dockerfile", src.String())
	r := w.pass()
	require.Equal(t, propose.Opened, r.Action, "%s %v", r.Message, r.Problems)
	pull := w.repo.Pulls()[0]
	assert.Less(t, len([]rune(pull.Title)), 250)
	assert.Less(t, len(pull.Body), 65536)
	assert.Contains(t, pull.Body, "more.")
	assert.Len(t, r.Pins, 200)
	assert.Equal(t, propose.Kept, w.pass().Action)
}
