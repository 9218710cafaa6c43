package forge_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

// TestWorkflowInAnotherRepository: every request goes to the repository of the workflow, and the inputs name that of the Dockerfile.
func TestWorkflowInAnotherRepository(t *testing.T) {
	for provider, add := range map[config.Provider]func(w *world) (runs func() []forgetest.Run, finish func(int64, string)){
		config.GitHub: func(w *world) (func() []forgetest.Run, func(int64, string)) {
			f := w.Workflows("team/ci")
			f.Now, f.Inputs = w.clock, []string{"repo", "ref"}
			return f.Runs, f.Finish
		},
		config.GitLab: func(w *world) (func() []forgetest.Run, func(int64, string)) {
			p := w.Pipelines("team/ci")
			p.Now = w.clock
			return p.Runs, p.Finish
		},
		config.Gitea: func(w *world) (func() []forgetest.Run, func(int64, string)) {
			f := w.GiteaWorkflows("team/ci")
			f.Now = w.clock
			return f.Runs, f.Finish
		},
	} {
		t.Run(string(provider), func(t *testing.T) {
			w := newWorld(t)
			runs, finish := add(w)
			img := w.image(provider)
			img.Source.Branch, img.Source.WorkflowRepo, img.Source.WorkflowBranch = "release", "team/ci", "main"
			values := map[string]string{"repo": "{{repo}}", "ref": "{{branch}}"}
			if provider == config.GitLab {
				img.Source.Variables = values
			} else {
				img.Source.Workflow, img.Source.Inputs = "build.yml", values
			}
			run, err := w.client.Start(t.Context(), w.order(img), nobody)
			require.NoError(t, err)
			require.Len(t, runs(), 1)
			started := runs()[0]
			assert.Equal(t, "main", started.Ref)
			assert.Equal(t, "team/app", started.Values["repo"])
			assert.Equal(t, "release", started.Values["ref"])

			w.client = w.newClient() // without the memory of the start
			_, match, err := w.client.Find(t.Context(), w.order(img), nobody)
			require.NoError(t, err)
			assert.Equal(t, forge.Found, match)
			finish(started.ID, "success")
			got, err := w.client.Follow(t.Context(), img, run)
			require.NoError(t, err)
			assert.Equal(t, forge.Succeeded, got.Phase)
			for _, r := range w.Requests("") {
				assert.NotContains(t, r.Path, "app")
			}
		})
	}
}

func TestAdviceNamesTheKeysOfTheWorkflow(t *testing.T) {
	w := newWorld(t)
	w.Workflows("team/ci").Gone = true
	img := w.image(config.GitHub)
	img.Source.WorkflowRepo, img.Source.WorkflowBranch = "team/ci", "main"
	_, err := w.client.Start(t.Context(), w.order(img), nobody)
	refusedFor(t, err, "of team/ci at", "check source.workflowRepo and source.workflow")
}
