package issues_test

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
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/issues"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

// world is a fleet, and the forge that its repositories are at.
type world struct {
	*forgetest.Server
	t     *testing.T
	repo  *forgetest.Issues
	fleet *fleet.Fleet
	now   time.Time
}

// newWorld returns a world with the images app and web of one repository.
func newWorld(t *testing.T, provider config.Provider, keys string) *world {
	w := &world{Server: forgetest.New(t), t: t, now: time.Now()}
	switch provider {
	case config.GitHub:
		w.repo = w.GitHubIssues("acme/app")
	case config.GitLab:
		w.repo = w.GitLabIssues("acme/app")
	case config.Gitea:
		w.repo = w.GiteaIssues("acme/app")
	}
	w.configure(provider, keys)
	return w
}

func (w *world) configure(provider config.Provider, keys string) {
	workflow := ""
	if provider != config.GitLab {
		workflow = ", workflow: b.yml"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "factory: {notify: {issues: {%s}}}\ndefaults: {source: {provider: %s, host: %q, repo: acme/app}}\nimages:\n", keys, provider, w.Host)
	st := state.New()
	for _, name := range []string{"app", "web"} {
		fmt.Fprintf(&text, "- {name: %s, repository: acme/%s, tags: latest, owner: '@acme/shop', source: {dockerfile: %s%s}}\n", name, name, name, workflow)
		st.Images[name] = &state.Image{Name: name, Repository: "ghcr.io/acme/" + name}
	}
	cfg, err := config.Load(strings.NewReader(text.String()), "images.yaml")
	require.NoError(w.t, err)
	w.fleet = &fleet.Fleet{Config: cfg, State: st}
}

// fail records that the rebuilds of an image failed for good.
func (w *world) fail(name, id, message string) {
	w.fleet.State.Images[name].Rebuild = &state.Rebuild{
		ID: id, Status: state.Failed, Failures: 3, Message: message, Reason: "newer digest of node:22 is due", FinishedAt: state.At(w.now.Add(-time.Minute)),
		RunURL: "https://forge.example/runs/7",
	}
}

func (w *world) options() issues.Options {
	client := forge.New(forge.Options{API: forgeapi.New(forgeapi.Options{Token: func(context.Context, string) (string, error) { return "token", nil }})})
	return issues.Options{Issues: client.Issues, Now: w.now}
}

func (w *world) groups() []issues.Group {
	return issues.Groups(w.fleet, map[string]bool{"app": true, "web": true}, func(string, *issues.Fact) bool { return true })
}

// pass makes a pass and returns what it did, by image.
func (w *world) pass() map[string]issues.Action {
	out := map[string]issues.Action{}
	for _, r := range issues.Sync(w.t.Context(), w.groups(), w.options()) {
		out[r.Image] = r.Action
	}
	return out
}

func does(image string, a issues.Action) map[string]issues.Action {
	return map[string]issues.Action{image: a}
}

func forEach(t *testing.T, test func(t *testing.T, w *world)) {
	for _, p := range []config.Provider{config.GitHub, config.GitLab, config.Gitea} {
		t.Run(string(p), func(t *testing.T) { test(t, newWorld(t, p, "labels: [ops], assignees: [ann]")) })
	}
}

func TestOpenedOnceAndClosedBySuccess(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		assert.Empty(t, w.pass())
		w.fail("app", "app-1", "exit code 1")
		assert.Equal(t, does("app", issues.Opened), w.pass())
		require.Len(t, w.repo.All(), 1)
		i := w.repo.All()[0]
		assert.Equal(t, "app: 3 rebuilds failed in a row", i.Title)
		assert.Equal(t, []string{"imagefactory", "ops"}, i.Labels)
		assert.Equal(t, []string{"ann"}, i.Assignees)
		for _, part := range []string{"- Error: `exit code 1`\n", "- Owner: `@acme/shop`\n", "- Run: <https://forge.example/runs/7>\n", "imagefactory reset app --push"} {
			assert.Contains(t, i.Body, part)
		}
		before := len(w.Requests(""))
		assert.Empty(t, w.pass())
		for _, r := range w.Requests("")[before:] {
			assert.Equal(t, "GET", r.Method)
		}

		w.fleet.State.Images["app"].Rebuild.Failures = 0
		assert.Equal(t, does("app", issues.Closed), w.pass())
		assert.Equal(t, "closed", w.repo.All()[0].State)
		assert.Empty(t, w.pass())
		w.fail("app", "app-2", "again")
		assert.Equal(t, does("app", issues.Opened), w.pass())
		assert.Len(t, w.repo.All(), 2)
	})
}

func TestEditedWhenTheFactChanges(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fleet.State.Images["app"].Stuck = state.At(w.now.Add(-13 * time.Hour))
		assert.Equal(t, does("app", issues.Opened), w.pass())
		assert.Equal(t, "app: the rebuild does not start", w.repo.All()[0].Title)
		w.repo.Set(1, func(i *forgetest.Issue) { i.Title = "we are on it" })
		assert.Empty(t, w.pass(), "what a person edits stays")
		w.fail("app", "app-1", "exit code 1")
		assert.Equal(t, does("app", issues.Updated), w.pass())
		require.Len(t, w.repo.All(), 1)
		assert.Equal(t, "app: 3 rebuilds failed in a row", w.repo.All()[0].Title)
	})
}

func TestClosedByAPersonIsRespected(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fail("app", "app-1", "x")
		w.pass()
		w.repo.Set(1, func(i *forgetest.Issue) { i.State = "closed" })
		assert.Empty(t, w.pass())
		w.fail("app", "app-1", "another text, the same fact")
		assert.Empty(t, w.pass())
		w.fail("app", "app-2", "x")
		assert.Equal(t, does("app", issues.Opened), w.pass(), "another fact")
		assert.Len(t, w.repo.All(), 2)
	})
}

func TestReopened(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		stuck := state.At(w.now.Add(-13 * time.Hour))
		w.fleet.State.Images["app"].Stuck = stuck
		w.pass()
		w.fleet.State.Images["app"].Stuck = state.Time{}
		w.pass()
		w.repo.Set(1, func(i *forgetest.Issue) { i.State = "open" })
		assert.Empty(t, w.pass(), "a person opened it again")
		w.repo.Set(1, func(i *forgetest.Issue) { i.State = "closed" })
		w.fleet.State.Images["app"].Stuck = stuck // as after a pause
		assert.Equal(t, does("app", issues.Reopened), w.pass())
		require.Len(t, w.repo.All(), 1)
		assert.Equal(t, "open", w.repo.All()[0].State)
		assert.Empty(t, w.pass())
	})
}

func TestTwoPassesOpenOneIssue(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fail("app", "app-1", "x")
		o := w.options()
		o.Grace = 10 * time.Minute
		assert.Empty(t, issues.Sync(t.Context(), w.groups(), o), "the pass that recorded it opens it")
		o.Recorded = map[string]bool{"app": true}
		assert.Len(t, issues.Sync(t.Context(), w.groups(), o), 1)
		twin := w.repo.All()[0]
		w.repo.Add(twin)
		assert.Equal(t, does("app", issues.Closed), w.pass())
		assert.Equal(t, "open", w.repo.All()[0].State)
		assert.Equal(t, "closed", w.repo.All()[1].State)
		assert.Empty(t, w.pass())
	})
}

func TestNothingFollowsFromAFailedLookup(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fail("app", "app-1", "x")
		w.fail("web", "web-1", "x")
		w.pass()
		w.fleet.State.Images["web"].Rebuild.Failures = 0
		for _, body := range []string{"", "null", `{}`, `[null]`} {
			status := http.StatusOK
			if body == "" {
				status = http.StatusForbidden
			}
			for range 10 {
				w.Fail(forgetest.Fault{Match: "GET ", Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}})
			}
			assert.Equal(t, does("", issues.Failed), w.pass(), body)
			w.Unfail()
			require.Len(t, w.repo.All(), 2, body)
			assert.Equal(t, "open", w.repo.All()[1].State)
		}
		assert.Equal(t, does("web", issues.Closed), w.pass())
	})
}

func TestLostResponseOpensNoSecondIssue(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fail("app", "app-1", "x")
		w.Fail(forgetest.Fault{Match: "POST " + w.repo.API + "/issues", Break: true, After: true})
		assert.Equal(t, does("app", issues.Failed), w.pass())
		assert.Empty(t, w.pass())
		assert.Len(t, w.repo.All(), 1)
	})
}

func TestTokenThatCannotSetLabels(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.fail("app", "app-1", "x")
		w.repo.NoLabels = true
		assert.Equal(t, does("app", issues.Failed), w.pass())
		assert.Equal(t, "closed", w.repo.All()[0].State, "it would not be found again")
	})
}

func TestOneRepositoryDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	other := w.GitHubIssues("acme/web")
	w.fleet.Config.Find("web").Source.Repo = "acme/web"
	w.fail("app", "app-1", "x")
	w.fail("web", "web-1", "x")
	w.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/app/issues", Status: http.StatusGone, Body: `{"message":"Issues are disabled for this repo"}`})
	results := issues.Sync(t.Context(), w.groups(), w.options())
	require.Len(t, results, 2)
	assert.Equal(t, issues.Failed, results[0].Action)
	assert.Contains(t, results[0].Message, "that it has issues")
	assert.Equal(t, issues.Opened, results[1].Action)
	assert.Empty(t, w.repo.All())
	assert.Len(t, other.All(), 1)
}

func TestCentralRepositoryAndSelection(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	central := w.GitLabIssues("acme/ops")
	w.configure(config.GitHub, fmt.Sprintf("provider: gitlab, host: %q, repo: acme/ops, label: images", w.Host))
	w.fail("app", "app-1", "x")
	w.fail("web", "web-1", "x")
	groups := issues.Groups(w.fleet, map[string]bool{"web": true}, func(string, *issues.Fact) bool { return true })
	results := issues.Sync(t.Context(), groups, w.options())
	require.Len(t, results, 1, "app is not selected")
	assert.Equal(t, "web", results[0].Image)
	assert.Equal(t, []string{"images"}, central.All()[0].Labels)
	assert.Empty(t, w.repo.All())

	w.configure(config.GitHub, "owners: [somebody]")
	w.fail("app", "app-1", "x")
	assert.Empty(t, w.groups())
}

func TestIssuesOfOthersAreLeft(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	for _, body := range []string{"", "<!-- imagefactory:issue other app rebuild/1 00 -->", "<!-- imagefactory:issue image-factory-kargo gone rebuild/1 00 -->", "<!-- imagefactory:issue app -->"} {
		w.repo.Add(forgetest.Issue{Title: "theirs", Body: body, Labels: []string{"imagefactory"}})
	}
	assert.Empty(t, w.pass())
	for _, i := range w.repo.All() {
		assert.Equal(t, "open", i.State)
	}
}

func TestHostileTextIsCode(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.fail("app", "app-1", "`@everyone` fixes #1\n<!-- imagefactory:closed -->\n/close <script> [x](http://evil.example)")
	w.fleet.State.Images["app"].Rebuild.RunURL = "javascript:alert(1)"
	w.pass()
	body := w.repo.All()[0].Body
	assert.Contains(t, body, "- Error: `'@everyone' fixes #1 <!-- imagefactory:closed --> /close <script> [x](http://evil.example)`\n")
	assert.NotContains(t, body, "javascript")
	assert.Empty(t, w.pass(), "its marker is read")
}

func TestDryRunChangesNothing(t *testing.T) {
	w := newWorld(t, config.GitHub, "")
	w.fail("app", "app-1", "x")
	o := w.options()
	o.DryRun = true
	results := issues.Sync(t.Context(), w.groups(), o)
	require.Len(t, results, 1)
	assert.Equal(t, issues.Opened, results[0].Action)
	assert.Empty(t, w.repo.All())
	assert.Empty(t, w.Requests("POST "))
}
