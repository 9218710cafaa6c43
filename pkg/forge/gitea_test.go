package forge_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

func (w *world) gitea(kind forgetest.Kind) (*forgetest.GiteaWorkflows, *config.Image) {
	f := w.GiteaWorkflows("team/app")
	f.Kind, f.Now = kind, w.clock
	img := w.image(config.Gitea)
	img.Source.Workflow, img.Source.Inputs = "build.yml", map[string]string{"rebuild": "{{promotion}}", "base": "{{base}}@{{digest}}"}
	return f, img
}

func title(inputs map[string]string) string { return "build " + inputs["rebuild"] }

func TestStartAtGitea(t *testing.T) {
	for name, tt := range map[string]struct {
		kind forgetest.Kind
		url  bool // the response names the page of the run
	}{"Gitea": {forgetest.Gitea, true}, "Forgejo": {forgetest.Forgejo, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f, img := w.gitea(tt.kind)
			run, err := w.client.Start(t.Context(), w.order(img), nobody)
			require.NoError(t, err)
			require.Len(t, f.Runs(), 1)
			assert.Equal(t, map[string]string{"rebuild": rebuild, "base": "docker.io/library/node:22@sha256:abc"}, f.Runs()[0].Values)
			assert.Equal(t, f.Runs()[0].ID, id(run))
			if tt.url {
				assert.Equal(t, f.URL(id(run)), run.URL)
			}
			assert.Len(t, w.Requests(""), 2, "which runs there are, and the request")

			for _, step := range []struct {
				conclusion, message string
				phase               forge.Phase
			}{{"", "", forge.Running}, {"success", "", forge.Succeeded}, {"cancelled", f.URL(id(run)) + " ended as cancelled", forge.Failed}} {
				if step.conclusion != "" {
					f.Finish(id(run), step.conclusion)
				}
				state, err := w.client.Follow(t.Context(), img, run)
				require.NoError(t, err)
				assert.Equal(t, forge.RunState{Run: forge.Run{ID: run.ID, URL: f.URL(id(run))}, Phase: step.phase, Message: step.message}, state)
			}
			f.Delete(id(run))
			state, err := w.client.Follow(t.Context(), img, run)
			require.NoError(t, err)
			assert.Contains(t, state.Message, "was deleted")
		})
	}
}

func TestOlderGiteaNamesNoRun(t *testing.T) {
	w := newWorld(t)
	f, img := w.gitea(forgetest.OlderThan)
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	assert.Equal(t, forge.Run{}, run, "its image shows the outcome")
	assert.Len(t, f.Runs(), 1)
	assert.Equal(t, 1, w.posts())

	_, found, err := w.newClient().Find(t.Context(), w.order(img), free)
	require.NoError(t, err)
	assert.Equal(t, forge.Unread, found, "it cannot be found, so it is not started again")
}

func TestLostResponseOfGitea(t *testing.T) {
	for _, kind := range []forgetest.Kind{forgetest.Gitea, forgetest.Forgejo} {
		w := newWorld(t)
		f, img := w.gitea(kind)
		f.Title = title
		f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: "build r-fedcba9876543210", Status: "queued"})
		w.Fail(forgetest.Fault{Match: "POST ", Status: 502, After: true})
		run, err := w.client.Start(t.Context(), w.order(img), nobody)
		require.NoError(t, err)
		require.Len(t, f.Runs(), 2)
		assert.Equal(t, f.Runs()[1].ID, id(run))
		assert.Equal(t, 1, w.posts())
	}
}

func TestGiteaRunsAreFoundAfterACrash(t *testing.T) {
	early := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		runs  []forgetest.Run // dispatched on main now, unless they say otherwise
		found int             // index, or -1
		want  forge.Match
	}{
		"none":                      {found: -1, want: forge.NotFound},
		"by its title":              {runs: []forgetest.Run{{Title: "build " + rebuild}, {Title: "x"}}, found: 0, want: forge.Found},
		"the only one":              {runs: []forgetest.Run{{Title: "x"}}, found: 0, want: forge.Found},
		"named for another rebuild": {runs: []forgetest.Run{{Title: "build r-fedcba9876543210"}}, found: -1, want: forge.NotFound},
		"two":                       {runs: []forgetest.Run{{Title: "x"}, {Title: "x"}}, found: -1, want: forge.Ambiguous},
		"two that are over":         {runs: []forgetest.Run{{Conclusion: "success", Status: "completed"}, {Conclusion: "failure", Status: "completed"}}, found: -1, want: forge.Ended},
		"pushed":                    {runs: []forgetest.Run{{Event: "push"}}, found: -1, want: forge.NotFound},
		"another branch":            {runs: []forgetest.Run{{Ref: "dev"}}, found: -1, want: forge.NotFound},
		"before":                    {runs: []forgetest.Run{{Created: early, Status: "in_progress"}}, found: -1, want: forge.NotFound},
		"queued before one that is too old": {
			runs: []forgetest.Run{{Created: early, Status: "queued"}, {Created: early, Status: "in_progress"}, {Title: "x"}}, found: 2, want: forge.Found,
		},
	} {
		for _, kind := range []forgetest.Kind{forgetest.Gitea, forgetest.Forgejo} {
			t.Run(name+" "+strconv.Itoa(int(kind)), func(t *testing.T) {
				w := newWorld(t)
				f, img := w.gitea(kind)
				var ids []string
				for _, run := range tt.runs {
					if run.Event == "" {
						run.Event = "workflow_dispatch"
					}
					if run.Ref == "" {
						run.Ref = "main"
					}
					if run.Status == "" {
						run.Status = "queued"
					}
					ids = append(ids, strconv.FormatInt(f.Add(run), 10))
				}
				run, found, err := w.client.Find(t.Context(), w.order(img), free)
				require.NoError(t, err)
				assert.Equal(t, tt.want, found)
				if tt.found >= 0 {
					assert.Equal(t, ids[tt.found], run.ID)
				}
			})
		}
	}
}

func TestGiteaSearchIsBounded(t *testing.T) {
	w := newWorld(t)
	f, img := w.gitea(forgetest.Gitea)
	for range 200 {
		f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: "build r-fedcba9876543210", Status: "queued"})
	}
	_, found, err := w.client.Find(t.Context(), w.order(img), free)
	require.NoError(t, err)
	assert.Equal(t, forge.Unread, found)
	assert.Len(t, w.Requests("GET /api/v1/repos/team/app/actions/runs?"), 5)
}

func TestRefusedWorkflowOfGiteaHasHint(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*forgetest.GiteaWorkflows, *config.Source)
		says   []string
	}{
		"branch":     {func(_ *forgetest.GiteaWorkflows, s *config.Source) { s.Branch = "dev" }, []string{`ref "dev" doesn't exist`, "correct source.branch"}},
		"workflow":   {func(_ *forgetest.GiteaWorkflows, s *config.Source) { s.Workflow = "x.yml" }, []string{`workflow "x.yml" doesn't exist`, "check source.workflow"}},
		"disabled":   {func(f *forgetest.GiteaWorkflows, _ *config.Source) { f.Disabled = true }, []string{"workflow is disabled", "enable the workflow in the Actions of team/app"}},
		"repository": {func(f *forgetest.GiteaWorkflows, _ *config.Source) { f.Gone = true }, []string{"The target couldn't be found", "check source.repo", "the scope write:repository"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f, img := w.gitea(forgetest.Gitea)
			tt.change(f, img.Source)
			_, err := w.client.Start(t.Context(), w.order(img), nobody)
			refusedFor(t, err, tt.says...)
			assert.Empty(t, f.Runs())
			assert.Equal(t, 1, w.posts())
		})
	}
}

func TestGatewayBeforeGiteaRefusesNothing(t *testing.T) {
	w := newWorld(t)
	_, img := w.gitea(forgetest.Gitea)
	w.Fail(forgetest.Fault{Match: "POST ", Status: 404, Body: `{"message":"no Route matched with those values"}`})
	_, err := w.client.Start(t.Context(), w.order(img), nobody)
	var refused *forge.RefusedError
	require.NotErrorAs(t, err, &refused)
	says(t, err, "no Route matched", "not an API response")
}
