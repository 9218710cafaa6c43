package kargo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newGiteaPromotion(t *testing.T, answer forge) *promotion {
	fl := fleet{
		Images: `[{name: a, repository: o/a, source: {provider: gitea, host: git.example.com, repo: o/a, workflow: my build.yml,
			inputs: {base: "{{base}}", rebuild: "{{promotion}}"}}}]`,
		Uses: map[string][]string{"a": {"docker.io/library/node:22"}},
	}
	return &promotion{
		t: t, objects: fl.objects(t), stage: "rebuild-a", freight: nodeFreight(), forge: answer,
		secrets: map[string]map[string]string{"git.example.com-api-token": {"token": "gitea-token\n"}},
	}
}

func TestGiteaPromotion(t *testing.T) {
	const swagger = "https://git.example.com/api/swagger"
	forgejo := func(status string) answer {
		return answer{200, body{"id": bigRun, "status": status, "html_url": "https://git.example.com/run"}}
	}
	gitea := answer{200, body{"workflow_run_id": bigRun, "html_url": "https://git.example.com/run"}}
	created := answer{201, body{"id": bigRun, "run_number": 7, "jobs": []any{"build"}}}
	tests := []struct {
		name    string
		posts   []answer
		gets    []answer
		ok      bool
		run     string
		message string
	}{
		{"Gitea", []answer{gitea}, []answer{run("queued", ""), run("in_progress", ""), run("completed", "success")}, true, "Succeeded", ""},
		{"Gitea, failed", []answer{gitea}, []answer{run("completed", "failure")}, false, "Failed", "https://github.com/run ended as failure"},
		{"Forgejo", []answer{created}, []answer{forgejo("waiting"), forgejo("running"), forgejo("success")}, true, "Succeeded", ""},
		{"Forgejo, cancelled", []answer{created}, []answer{forgejo("blocked"), forgejo("cancelled")}, false, "Failed", "https://git.example.com/run ended as cancelled"},
		{"older server", []answer{{204, nil}}, nil, true, "Skipped", ""},
		{"no such workflow", []answer{{404, body{"message": `workflow "my build.yml" doesn't exist`, "url": swagger}}}, nil, false, "Skipped", `workflow "my build.yml" doesn't exist`},
		{"disabled workflow", []answer{{403, body{"message": "workflow is disabled", "url": swagger}}}, nil, false, "Skipped", "workflow is disabled"},
		{"missing scope", []answer{{403, body{"message": "token does not have at least one of required scope(s)", "url": swagger}}, gitea}, []answer{run("completed", "success")}, true, "Succeeded", ""},
		{"gateway", []answer{{404, "<html>"}, {404, body{"message": "no Route matched with those values"}}, {502, nil}, gitea}, []answer{run("completed", "success")}, true, "Succeeded", ""},
		{"token is being replaced", []answer{{401, body{"message": "invalid token", "url": swagger}}, gitea}, []answer{run("completed", "success")}, true, "Succeeded", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newGiteaPromotion(t, script(tt.posts, tt.gets))
			assert.Equal(t, tt.ok, p.run())
			assert.Equal(t, tt.run, p.status[runStep])
			assert.Equal(t, tt.message, p.message)
			posts := p.sent("POST")
			require.NotEmpty(t, posts)
			assert.Equal(t, "https://git.example.com/api/v1/repos/o/a/actions/workflows/my%20build.yml/dispatches?return_run_details=true", posts[0].url)
			assert.Equal(t, map[string]string{"Authorization": "Bearer gitea-token", "Content-Type": "application/json"}, posts[0].header)
			assert.JSONEq(t, `{"ref": "main", "return_run_info": true, "inputs": {"base": "docker.io/library/node:22", "rebuild": "the-promotion"}}`, posts[0].body)
			if gets := p.sent("GET"); len(gets) > 0 {
				assert.Equal(t, "https://git.example.com/api/v1/repos/o/a/actions/runs/83968004123", gets[0].url)
				assert.Equal(t, "Bearer gitea-token", gets[0].header["Authorization"])
			}
		})
	}
}

func TestGiteaRestartDispatchesOnce(t *testing.T) {
	p := newGiteaPromotion(t, script([]answer{{201, body{"id": bigRun}}}, []answer{run("completed", "success")}))
	require.True(t, p.run())
	require.True(t, p.run())
	assert.Len(t, p.sent("POST"), 1)
}

func TestGiteaWithoutToken(t *testing.T) {
	p := newGiteaPromotion(t, nil)
	p.secrets = nil
	assert.False(t, p.run())
	assert.Equal(t, "Secret git.example.com-api-token has no key token: create it with a token for https://git.example.com/api/v1", p.message)
}

func TestGiteaLinks(t *testing.T) {
	p := newGiteaPromotion(t, script([]answer{{204, nil}}, nil))
	assert.Equal(t, "https://git.example.com/o/a/src/branch/main/Dockerfile", linksOf(t, p.objects, "rebuild-a")["Dockerfile"])
	require.True(t, p.run())
	assert.Equal(t, []any{map[string]any{"url": "https://git.example.com/o/a/actions?workflow=my%20build.yml", "label": "Workflow"}}, p.outputs[linksStep].(map[string]any)["links"])
}
