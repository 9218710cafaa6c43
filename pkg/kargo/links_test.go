package kargo

import (
	"strings"
	"testing"
	"text/template"

	"github.com/expr-lang/expr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// linksOf evaluates the links of a Stage as Kargo's API server does: If is an expression, and URL a template over the Stage.
func linksOf(t *testing.T, objects []Object, name string) map[string]string {
	t.Helper()
	stage := find[*Stage](t, objects, name)
	metadata := map[string]any{"name": name}
	for key, values := range map[string]map[string]string{"labels": stage.Metadata.Labels, "annotations": stage.Metadata.Annotations} {
		m := map[string]any{}
		for k, v := range values {
			m[k] = v
		}
		metadata[key] = m
	}
	env := map[string]any{"stage": map[string]any{"metadata": metadata}}
	out := map[string]string{}
	for _, link := range find[*ProjectConfig](t, objects, "image-factory-kargo").Spec.StageLinks {
		shown, err := expr.Eval(link.If, env)
		require.NoError(t, err)
		require.IsType(t, true, shown)
		if shown == false {
			continue
		}
		parsed, err := template.New("").Parse(link.URL)
		require.NoError(t, err)
		var b strings.Builder
		require.NoError(t, parsed.Execute(&b, env))
		out[link.Title] = b.String()
	}
	other, err := expr.Eval(find[*ProjectConfig](t, objects, "image-factory-kargo").Spec.StageLinks[0].If, map[string]any{"stage": map[string]any{"metadata": map[string]any{}}})
	require.NoError(t, err)
	assert.Equal(t, false, other, "a Stage of somebody else")
	return out
}

const linkedImages = `
factory: {reportURL: "https://acme.example/images/"}
images:
- {name: app, repository: acme/app, owner: "@acme/shop", labels: {team: shop, app.kubernetes.io/part-of: shop}, source: {provider: github, repo: acme/app, workflow: build.yml, branch: "a'b{{c", dockerfile: "x y/Dockerfile"}}
- {name: job, repository: acme/job, source: {provider: gitlab, host: git.acme.example, repo: group/sub/job}}
- {name: plain, repository: acme/plain, source: {provider: git, repo: "https://git.example.com/plain.git"}}
- {name: cache, repository: library/redis, tags: "7"}
`

func linkedObjects(t *testing.T, stateURL string) []Object {
	t.Helper()
	cfg, st := load(t, linkedImages), state.New()
	cfg.Factory.State.Branch = "st/{{ate"
	for _, name := range []string{"app", "job", "plain"} {
		st.Images[name] = &state.Image{Name: name, BaseImages: []state.BaseUse{{Ref: "docker.io/library/node:22", Uses: []state.Use{{Kind: "from", Line: 1}}}}}
	}
	objects, _, err := Objects(cfg, st, graph.Build(cfg, st), Options{StateURL: stateURL, StatePath: "fleet/state", ConfigPath: "images.yaml"})
	require.NoError(t, err)
	return objects
}

func TestStageLinks(t *testing.T) {
	o := linkedObjects(t, "https://github.com/acme/images.git")
	const folder = "https://github.com/acme/images/blob/st/%7B%7Bate/fleet/state/"
	app := map[string]string{
		"Dockerfile": "https://github.com/acme/app/blob/a%27b%7B%7Bc/x%20y/Dockerfile",
		"State":      folder + "images/app.yaml", "Report": "https://acme.example/images/#image/app",
	}
	assert.Equal(t, app, linksOf(t, o, "rebuild-app"))
	assert.Equal(t, app, linksOf(t, o, "observe-image-app"))
	assert.Equal(t, "https://git.acme.example/group/sub/job/-/blob/main/Dockerfile", linksOf(t, o, "rebuild-job")["Dockerfile"])
	assert.NotContains(t, linksOf(t, o, "observe-image-plain"), "Dockerfile")
	assert.Equal(t, map[string]string{"State": folder + "images/cache.yaml", "Report": "https://acme.example/images/#image/cache"}, linksOf(t, o, "observe-image-cache"))
	var base string
	for _, name := range namesOf[*Stage](o) {
		if strings.HasPrefix(name, "observe-base-") {
			base = name
		}
	}
	require.NotEmpty(t, base)
	short := strings.TrimPrefix(base, "observe-base-")
	assert.Equal(t, map[string]string{"State": folder + "base-images/" + short + ".yaml", "Report": "https://acme.example/images/#base/" + short}, linksOf(t, o, base))
}

// TestStateLink: the state file has a link only where the form of its URL is known.
func TestStateLink(t *testing.T) {
	for stateURL, want := range map[string]string{
		"https://gitlab.com/acme/images.git/":   "https://gitlab.com/acme/images/-/blob/st/%7B%7Bate/fleet/state/images/app.yaml",
		"https://git.acme.example/{{x}}/images": "https://git.acme.example/%7B%7Bx%7D%7D/images/-/blob/st/%7B%7Bate/fleet/state/images/app.yaml",
		"https://git.unknown.example/a/b.git":   "",
		"file:///srv/images.git":                "",
	} {
		assert.Equal(t, want, linksOf(t, linkedObjects(t, stateURL), "rebuild-app")["State"], stateURL)
	}
}

func TestColorsAndLabels(t *testing.T) {
	o := linkedObjects(t, "https://github.com/acme/images.git")
	rebuild, observe := find[*Stage](t, o, "rebuild-app"), find[*Stage](t, o, "observe-image-app")
	assert.Equal(t, Labels{
		"app.kubernetes.io/managed-by": "imagefactory", "app.kubernetes.io/part-of": "shop", "imagefactory/image": "app",
		"imagefactory/owner": "acme.shop", "imagefactory/role": "rebuild", "team": "shop",
	}, rebuild.Metadata.Labels)
	assert.Equal(t, "observe", observe.Metadata.Labels[RoleLabel])
	warehouse := find[*Warehouse](t, o, "image-app")
	assert.Equal(t, "shop", warehouse.Metadata.Labels["team"])
	assert.NotContains(t, warehouse.Metadata.Labels, RoleLabel)
	colors := map[string]bool{}
	for _, name := range namesOf[*Stage](o) {
		stage := find[*Stage](t, o, name)
		assert.Regexp(t, `^#[0-9A-F]{6}$`, stage.Metadata.Annotations[color])
		colors[stage.Metadata.Annotations[color]] = true
		if stage.Metadata.Labels[baseLabel] != "" {
			assert.NotContains(t, stage.Metadata.Labels, ownerLabel)
			assert.Len(t, stage.Metadata.Labels, 3)
		}
	}
	assert.Len(t, colors, 3)
}

func TestLinksOfRuns(t *testing.T) {
	links := func(p *promotion) any { return p.outputs[linksStep].(map[string]any)["links"] }
	workflow := map[string]any{"url": "https://github.com/acme/app/actions/workflows/build.yml", "label": "Workflow"}
	p := newPromotion(t, "app", nodeFreight(), script([]answer{githubRun()}, []answer{run("completed", "success")}))
	require.True(t, p.run())
	assert.Equal(t, []any{map[string]any{"url": "https://github.com/acme/app/actions/runs/83968004123", "label": "Run"}, workflow}, links(p))
	p = newPromotion(t, "app", nodeFreight(), script([]answer{{204, nil}}, nil))
	require.True(t, p.run())
	assert.Equal(t, []any{workflow}, links(p), "the forge did not return the run")
	p = newPromotion(t, "service", freight{"image-app", freightImage{"ghcr.io/acme/app", "1.2.3", "sha256:abc"}},
		script([]answer{{201, body{"id": 7, "web_url": "https://gitlab.com/group/sub/service/-/pipelines/7"}}}, []answer{{200, body{"status": "success"}}}))
	require.True(t, p.run())
	assert.Equal(t, []any{
		map[string]any{"url": "https://gitlab.com/group/sub/service/-/pipelines/7", "label": "Run"},
		map[string]any{"url": "https://gitlab.com/group/sub/service/-/pipelines", "label": "Pipelines"},
	}, links(p))
}
