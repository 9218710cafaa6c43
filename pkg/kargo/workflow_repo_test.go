package kargo

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWorkflowInAnotherRepository: the build is started and followed where the workflow is; links and inputs name the Dockerfile's repository.
func TestWorkflowInAnotherRepository(t *testing.T) {
	const git = "git.example.com"
	for provider, tt := range map[string]struct {
		keys, post, get, page string
		posts, gets           answer
	}{
		"github": {
			`workflow: b.yml`, "https://api.github.com/repos/o/ci/actions/workflows/b.yml/dispatches", "https://api.github.com/repos/o/ci/actions/runs/83968004123",
			"https://github.com/o/a/blob/release/Dockerfile", githubRun(), run("completed", "success"),
		},
		"gitea": {
			`workflow: b.yml, host: ` + git, "https://git.example.com/api/v1/repos/o/ci/actions/workflows/b.yml/dispatches?return_run_details=true",
			"https://git.example.com/api/v1/repos/o/ci/actions/runs/83968004123", "https://git.example.com/o/a/src/branch/release/Dockerfile",
			answer{200, body{"workflow_run_id": bigRun, "html_url": "https://git.example.com/run"}}, run("completed", "success"),
		},
		"gitlab": {
			`job: build`, "https://gitlab.com/api/v4/projects/o%2Fci/pipeline", "https://gitlab.com/api/v4/projects/o%2Fci/pipelines/1",
			"https://gitlab.com/o/a/-/blob/release/Dockerfile", answer{201, body{"id": 1}}, pipeline("success"),
		},
	} {
		t.Run(provider, func(t *testing.T) {
			fl := fleet{
				Images: fmt.Sprintf(`[{name: a, repository: o/a, source: {provider: %s, repo: o/a, branch: release, workflowRepo: o/ci, %s,
					inputs: {repo: "{{repo}}", ref: "{{branch}}"}}}]`, provider, tt.keys),
				Uses: map[string][]string{"a": {"docker.io/library/node:22"}},
			}
			secrets := map[string]map[string]string{git + "-api-token": {"token": "t"}, "gitlab.com-api-token": {"token": "t"}, "github-workflow-token": {"token": "t"}}
			objects := fl.objects(t)
			p := &promotion{
				t: t, objects: objects, stage: "rebuild-a", freight: nodeFreight(), secrets: secrets,
				forge: script([]answer{tt.posts}, []answer{tt.gets}),
			}
			require.True(t, p.run(), p.message)
			require.Len(t, p.requests, 2)
			assert.Equal(t, tt.post, p.requests[0].url)
			assert.Contains(t, p.requests[0].body, `"main"`)
			assert.Contains(t, p.requests[0].body, `"o/a"`)
			assert.Contains(t, p.requests[0].body, `"release"`)
			assert.Equal(t, tt.get, p.requests[1].url)
			for _, o := range objects {
				if s, ok := o.(*Stage); ok && s.Metadata.Name == "rebuild-a" {
					assert.Equal(t, tt.page, s.Metadata.Annotations[dockerfileURL])
				}
			}
		})
	}
}
