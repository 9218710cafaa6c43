package kargo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const bigRun = 83_968_004_123 // no float32, and written as 8.39e+10 by default

func nodeFreight() freight {
	return freight{"base-node-22", freightImage{"docker.io/library/node", "22", "sha256:abc"}}
}

func tokens() map[string]map[string]string {
	return map[string]map[string]string{
		"forge.github": {"api-token.txt": "gh-token\n"}, "ghe": {"token": "ghe-token"},
		"gitlab.com-api-token": {"token": "1e10"}, "gitlab.example.com-api-token": {"token": "gl-token"},
	}
}

func newPromotion(t *testing.T, image string, f freight, answer forge) *promotion {
	return &promotion{t: t, objects: example(t).objects(t), stage: RebuildStage(image), freight: f, secrets: tokens(), forge: answer}
}

// script answers POSTs and GETs with lists of answers; the last of a list repeats.
func script(posts, gets []answer) forge {
	next := func(list *[]answer) answer {
		a := (*list)[0]
		if len(*list) > 1 {
			*list = (*list)[1:]
		}
		return a
	}
	return func(r request) answer {
		if r.method == "POST" {
			return next(&posts)
		}
		return next(&gets)
	}
}

type body = map[string]any

func githubRun() answer {
	return answer{200, body{"workflow_run_id": bigRun, "html_url": "https://github.com/acme/app/actions/runs/83968004123"}}
}

func run(status, conclusion string) answer {
	return answer{200, body{"status": status, "conclusion": conclusion, "html_url": "https://github.com/run"}}
}

func TestGitHubPromotion(t *testing.T) {
	success := run("completed", "success")
	tooOld := answer{422, body{"message": "Invalid request.\n\n\"return_run_details\" is not a permitted key."}}
	running := answer{200, body{"status": "in_progress", "conclusion": nil, "html_url": "u"}}
	tests := []struct {
		name    string
		posts   []answer
		gets    []answer
		ok      bool
		status  map[string]string
		nPosts  int
		message string
	}{
		{"run found and successful", []answer{githubRun()}, []answer{{404, body{"message": "Not Found"}}, {200, body{"status": "queued", "conclusion": nil}}, running, success}, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Succeeded"}, 1, ""},
		{"older server says nothing of the run", []answer{{204, nil}}, nil, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Skipped"}, 1, ""},
		{"older server refuses to say", []answer{tooOld, {204, nil}}, nil, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Succeeded", "links": "Succeeded", "run": "Skipped"}, 2, ""},
		{"answer is a list", []answer{{200, []any{1}}}, nil, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Skipped"}, 1, ""},
		{"answer without id", []answer{{200, body{}}}, nil, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Skipped"}, 1, ""},
		{"inputs refused", []answer{{422, body{"message": `Unexpected inputs provided: ["x"]`}}}, nil, false,
			map[string]string{"token": "Skipped", "dispatch": "Failed", "legacy": "Skipped", "links": "Skipped", "run": "Skipped"}, 1, `Unexpected inputs provided: ["x"]`},
		{"answers of a gateway", []answer{{404, nil}, {404, "<html>"}, {400, body{"reason": "no route"}}, githubRun()}, []answer{success}, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Succeeded"}, 4, ""},
		{"answers of a gateway in JSON", []answer{{404, []any{1}}, {404, body{"message": "no Route matched with those values"}}, githubRun()}, []answer{success}, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Succeeded"}, 3, ""},
		{"no such workflow", []answer{{404, body{"message": "Not Found"}}}, nil, false,
			map[string]string{"token": "Skipped", "dispatch": "Failed", "legacy": "Skipped", "links": "Skipped", "run": "Skipped"}, 1, "Not Found"},
		{"a gateway for hours", []answer{{404, nil}}, nil, false,
			map[string]string{"token": "Skipped", "dispatch": "Running", "legacy": "Skipped", "links": "Skipped", "run": "Skipped"}, maxAttempts, ""},
		{"tried again", []answer{{502, "<html>"}, {403, body{"message": "API rate limit exceeded"}}, {429, nil}, githubRun()}, []answer{success}, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Succeeded"}, 4, ""},
		{"token expired", []answer{{401, body{"message": "Bad credentials"}}}, nil, false,
			map[string]string{"token": "Skipped", "dispatch": "Running", "legacy": "Skipped", "links": "Skipped", "run": "Skipped"}, maxAttempts, ""},
		{"run fails", []answer{githubRun()}, []answer{running, run("completed", "failure")}, false,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Failed"}, 1, "https://github.com/run ended as failure"},
		{"run is cancelled", []answer{githubRun()}, []answer{run("completed", "cancelled")}, false,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Failed"}, 1, "https://github.com/run ended as cancelled"},
		{"run is skipped", []answer{githubRun()}, []answer{run("completed", "skipped")}, false,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Failed"}, 1, "https://github.com/run ended as skipped"},
		{"run stays queued", []answer{githubRun()}, []answer{run("queued", "")}, false,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Running"}, 1, ""},
		{"forge is down meanwhile", []answer{githubRun()}, []answer{{502, "<html>"}, {500, body{"status": "completed"}}, success}, true,
			map[string]string{"token": "Skipped", "dispatch": "Succeeded", "legacy": "Skipped", "links": "Succeeded", "run": "Succeeded"}, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPromotion(t, "app", nodeFreight(), script(tt.posts, tt.gets))
			assert.Equal(t, tt.ok, p.run())
			assert.Equal(t, tt.status, p.status)
			assert.Equal(t, tt.message, p.message)
			assert.Len(t, p.sent("POST"), tt.nPosts)
		})
	}
}

func TestGitHubRequests(t *testing.T) {
	p := newPromotion(t, "app", nodeFreight(), script([]answer{githubRun()}, []answer{run("completed", "success")}))
	require.True(t, p.run())
	require.Len(t, p.requests, 2)
	post, get := p.requests[0], p.requests[1]
	assert.Equal(t, "https://api.github.com/repos/acme/app/actions/workflows/build.yml/dispatches", post.url)
	assert.Equal(t, map[string]string{"Authorization": "Bearer gh-token", "Accept": "application/vnd.github+json", "Content-Type": "application/json"}, post.header)
	assert.JSONEq(t, `{"ref": "main", "return_run_details": true, "inputs": {
		"image": "app", "base": "docker.io/library/node:22", "digest": "sha256:abc", "reason": "image factory, the-promotion"}}`, post.body)
	assert.Equal(t, "https://api.github.com/repos/acme/app/actions/runs/83968004123", get.url)
	assert.Equal(t, body{"run": "83968004123", "url": "https://github.com/acme/app/actions/runs/83968004123", "refused": false}, p.outputs[DispatchStep])
}

func TestGitHubInputsFollowTheFreight(t *testing.T) {
	for _, f := range []freight{
		{"image-base", freightImage{"ghcr.io/acme/base", "latest", "sha256:1"}},
		{"base-node-22-slim", freightImage{"docker.io/library/node", "22-slim", "sha256:2"}},
	} {
		p := newPromotion(t, "app", f, script([]answer{{204, nil}}, nil))
		require.True(t, p.run())
		var sent struct{ Inputs map[string]string }
		require.NoError(t, json.Unmarshal([]byte(p.requests[0].body), &sent))
		assert.Equal(t, f.image.RepoURL+":"+f.image.Tag, sent.Inputs["base"])
		assert.Equal(t, f.image.Digest, sent.Inputs["digest"])
	}
}

func TestRestartDispatchesOnce(t *testing.T) {
	tooOld := answer{422, body{"message": `"return_run_details" is not a permitted key.`}}
	tests := map[string]struct {
		posts []answer
		want  int
	}{
		"run known": {[]answer{githubRun()}, 1}, "run unknown": {[]answer{{204, nil}}, 1}, "older server": {[]answer{tooOld, {204, nil}}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPromotion(t, "app", nodeFreight(), script(tt.posts, []answer{run("completed", "success")}))
			require.True(t, p.run())
			require.True(t, p.run())
			assert.Len(t, p.sent("POST"), tt.want)
		})
	}
}

func TestMissingToken(t *testing.T) {
	for name, secrets := range map[string]map[string]map[string]string{"no Secret": {}, "no key": {"forge.github": {"other": "x"}}, "empty": {"forge.github": {"api-token.txt": " \n"}}} {
		t.Run(name, func(t *testing.T) {
			p := newPromotion(t, "app", nodeFreight(), nil)
			p.secrets = secrets
			assert.False(t, p.run())
			assert.Equal(t, "Secret forge.github has no key api-token.txt: create it with a token for https://api.github.com", p.message)
			assert.Empty(t, p.requests)
		})
	}
}

func TestSelfHostedGitHub(t *testing.T) {
	f := freight{"base-debian-12", freightImage{"docker.io/library/debian", "12", "sha256:abc"}}
	p := newPromotion(t, "builder", f, script([]answer{{204, nil}}, nil))
	require.True(t, p.run())
	assert.Equal(t, "https://ghe.example.com/api/v3/repos/build/builder/actions/workflows/nightly%20build.yml/dispatches", p.requests[0].url)
	assert.Equal(t, "Bearer ghe-token", p.requests[0].header["Authorization"])
	assert.JSONEq(t, `{"ref": "release/1.x", "return_run_details": true, "inputs": {}}`, p.requests[0].body)
}

func pipeline(status string) answer {
	return answer{200, body{"id": bigRun, "status": status, "web_url": "https://gitlab.com/p"}}
}

func TestGitLabPromotion(t *testing.T) {
	created := answer{201, body{"id": bigRun, "status": "created", "web_url": "https://gitlab.com/p"}}
	tests := []struct {
		name    string
		posts   []answer
		gets    []answer
		ok      bool
		run     string
		message string
	}{
		{"successful", []answer{created}, []answer{{404, nil}, pipeline("pending"), pipeline("running"), pipeline("success")}, true, "Succeeded", ""},
		{"failed", []answer{created}, []answer{pipeline("failed")}, false, "Failed", "https://gitlab.com/p ended as failed"},
		{"canceled", []answer{created}, []answer{pipeline("canceling"), pipeline("canceled")}, false, "Failed", "https://gitlab.com/p ended as canceled"},
		{"skipped", []answer{created}, []answer{pipeline("skipped")}, false, "Failed", "https://gitlab.com/p ended as skipped"},
		{"waits for a person", []answer{created}, []answer{pipeline("manual")}, false, "Running", ""},
		{"person acts", []answer{created}, []answer{pipeline("manual"), pipeline("success")}, true, "Succeeded", ""},
		{"no pipeline", []answer{{400, body{"message": body{"base": []any{"Missing CI config"}}}}}, nil, false, "Skipped", "map[base:[Missing CI config]]"},
		{"unknown project", []answer{{404, body{"error": "404 Not found"}}}, nil, false, "Skipped", "404 Not found"},
		{"gateway", []answer{{404, "<html>"}, {404, nil}, created}, []answer{pipeline("success")}, true, "Succeeded", ""},
		{"id unknown", []answer{{201, body{}}}, nil, true, "Skipped", ""},
		{"down", []answer{{502, "<html>"}, created}, []answer{pipeline("success")}, true, "Succeeded", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := freight{"image-app", freightImage{"ghcr.io/acme/app", "1.2.3", "sha256:abc"}}
			p := newPromotion(t, "service", f, script(tt.posts, tt.gets))
			assert.Equal(t, tt.ok, p.run())
			assert.Equal(t, tt.run, p.status[runStep])
			assert.Equal(t, tt.message, p.message)
			assert.Equal(t, "https://gitlab.com/api/v4/projects/group%2Fsub%2Fservice/pipeline", p.requests[0].url)
			assert.Equal(t, "1e10", p.requests[0].header["PRIVATE-TOKEN"])
			assert.JSONEq(t, `{"ref": "main", "variables": [{"key": "DIGEST", "value": "sha256:abc"}, {"key": "IMAGEFACTORY_JOB", "value": "build-image"}]}`, p.requests[0].body)
			if gets := p.sent("GET"); len(gets) > 0 {
				assert.Equal(t, "https://gitlab.com/api/v4/projects/group%2Fsub%2Fservice/pipelines/83968004123", gets[0].url)
				assert.Equal(t, "1e10", gets[0].header["PRIVATE-TOKEN"])
			}
		})
	}
}

func TestSelfHostedGitLab(t *testing.T) {
	f := freight{"base-debian-12", freightImage{"docker.io/library/debian", "12", "sha256:abc"}}
	p := newPromotion(t, "worker", f, script([]answer{{201, body{"id": 1}}}, []answer{pipeline("success")}))
	require.True(t, p.run())
	assert.Equal(t, "https://gitlab.example.com/api/v4/projects/group%2Fworker/pipeline", p.requests[0].url)
	assert.Equal(t, "gl-token", p.requests[0].header["PRIVATE-TOKEN"])
	assert.JSONEq(t, `{"ref": "main", "variables": []}`, p.requests[0].body)
}

func TestMirrorIsUnknownToBuilds(t *testing.T) {
	fl := fleet{
		Images: `{factory: {mirrors: {docker.io: [mirror.example.com/hub/, second.example.com]}}, images: [{name: a, repository: o/a,
			source: {provider: github, repo: o/a, workflow: w.yml, inputs: {base: "{{base}}", digest: "{{digest}}"}}}]}`,
		Uses: map[string][]string{"a": {"docker.io/library/node:22", "docker.io/library/nginx:1"}},
	}
	p := &promotion{
		t: t, objects: fl.objects(t), stage: "rebuild-a", secrets: map[string]map[string]string{"github-workflow-token": {"token": "x"}},
		freight: freight{"base-nginx-1", freightImage{"mirror.example.com/hub/library/nginx", "1", "sha256:1"}}, forge: script([]answer{{204, nil}}, nil),
	}
	require.True(t, p.run())
	assert.Contains(t, p.requests[0].body, `"inputs":{"base":"docker.io/library/nginx:1","digest":"sha256:1"}`)
	w := find[*Warehouse](t, p.objects, "base-nginx-1")
	assert.Equal(t, "mirror.example.com/hub/library/nginx", w.Spec.Subscriptions[0].Image.RepoURL)
}

func TestAPIURL(t *testing.T) {
	images := `[{name: a, repository: o/a, source: {provider: github, host: acme.ghe.com, repo: o/a, workflow: w.yml}}]`
	o := fleet{Images: images, Uses: map[string][]string{"a": {"docker.io/library/node:22"}}}.objects(t)
	vars := find[*Stage](t, o, "rebuild-a").Spec.PromotionTemplate.Spec.Steps[0].Vars
	assert.Equal(t, Var{"api", "https://api.acme.ghe.com"}, vars[0])
	assert.Equal(t, Var{"web", "https://acme.ghe.com"}, vars[1])
	assert.Equal(t, Var{"secret", "acme.ghe.com-api-token"}, vars[2])
}

func TestDefaultAPISecret(t *testing.T) {
	assert.Equal(t, "github-workflow-token", defaultAPISecret("github.com").Secret)
	assert.Equal(t, "git.example.com-8443-api-token", defaultAPISecret("Git.Example.com:8443").Secret)
	long := strings.Repeat("a", 199) + ".example.com"
	assert.Regexp(t, `^a{199}-[0-9a-f]{10}-api-token$`, defaultAPISecret(long).Secret)
	assert.NotEqual(t, defaultAPISecret(long), defaultAPISecret(long+"x"))
}
