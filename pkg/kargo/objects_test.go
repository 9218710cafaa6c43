package kargo

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var update = flag.Bool("update", false, "write golden files")

func encode(t require.TestingT, objects []Object) []byte {
	var buf bytes.Buffer
	for _, o := range objects {
		data, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		buf.WriteString("---\n")
		buf.Write(data)
	}
	return buf.Bytes()
}

func TestObjectsGolden(t *testing.T) {
	got := encode(t, example(t).objects(t))
	const golden = "testdata/fleet.golden.yaml"
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func TestObjectsAreDeterministic(t *testing.T) {
	want := encode(t, example(t).objects(t))
	for range 20 {
		require.Equal(t, want, encode(t, example(t).objects(t)))
	}
}

func namesOf[T Object](objects []Object) []string {
	var out []string
	for _, o := range objects {
		if _, ok := o.(T); ok {
			out = append(out, o.Name())
		}
	}
	return out
}

func TestObjectsOfExample(t *testing.T) {
	o := example(t).objects(t)
	assert.Equal(t, []string{
		"base-debian-12", "base-fedora-fedora-42", "base-golang-1-26", "base-node-22", "base-node-22-slim", "base-postgres-17",
		"image-app", "image-base", "image-builder", "image-cache", "image-gitea", "image-manual", "image-nightly", "image-pinned", "image-service", "image-worker",
	}, namesOf[*Warehouse](o), "postgres is watched as a base image only; a pinned alpine not at all")
	var observed, rebuilt []string
	for _, name := range namesOf[*Stage](o) {
		if stage := find[*Stage](t, o, name); stage.Metadata.Labels[RoleLabel] == string(Observe) {
			observed = append(observed, name)
			require.Len(t, stage.Spec.RequestedFreight, 1)
			assert.Equal(t, "observe-"+stage.Spec.RequestedFreight[0].Origin.Name, name)
		} else {
			rebuilt = append(rebuilt, name)
			assert.Nil(t, stage.Spec.Verification)
		}
	}
	assert.Len(t, observed, 16)
	assert.Equal(t, []string{"rebuild-app", "rebuild-base", "rebuild-builder", "rebuild-manual", "rebuild-service", "rebuild-worker"}, rebuilt)
	assert.Equal(t, []string{gitHubTask, gitLabTask}, namesOf[*PromotionTask](o))
	for _, obj := range o {
		if obj.Kind() == "Project" {
			assert.Empty(t, obj.Namespace())
		} else {
			assert.Equal(t, "image-factory-kargo", obj.Namespace())
		}
	}
}

func TestObjectsOfNothing(t *testing.T) {
	o := fleet{Images: "[]"}.objects(t)
	require.Len(t, o, 7)
	assert.Empty(t, namesOf[*PromotionTask](o))
	role := find[*AccessRole](t, o, ServiceAccountName)
	assert.Len(t, role.Rules, 2, "nothing to promote")
}

func TestObjectsFail(t *testing.T) {
	cfg, st := load(t, "[]"), state.New()
	_, _, err := Objects(cfg, st, graph.Build(cfg, st), Options{})
	require.ErrorContains(t, err, "set factory.state.url")
}

// TestObservation evaluates the arguments of verifications, where Kargo knows neither Freight nor variables by name.
func TestObservation(t *testing.T) {
	o := example(t).objects(t)
	tests := []struct {
		stage   string
		freight freight
		want    map[string]any
	}{
		{"observe-base-node-22", nodeFreight(), map[string]any{"subject": "--base-image=node-22", "tag": "22", "digest": "sha256:abc"}},
		{"observe-image-app", freight{"image-app", freightImage{"ghcr.io/acme/app", "1.10", "sha256:1"}}, map[string]any{"subject": "--image=app", "tag": "1.10", "digest": "sha256:1"}},
		{"observe-image-cache", freight{"image-cache", freightImage{"mirror.example.com:5000/quay/acme/cache", "true", "1e10"}}, map[string]any{"subject": "--image=cache", "tag": "true", "digest": "1e10"}},
	}
	for _, tt := range tests {
		t.Run(tt.stage, func(t *testing.T) {
			got := map[string]any{}
			env := map[string]any{"ctx": map[string]any{"project": "p", "stage": tt.stage}}
			for _, a := range find[*Stage](t, o, tt.stage).Spec.Verification.Args {
				v, err := evaluate(a.Value, env, functions(tt.freight, nil)...)
				require.NoError(t, err)
				got[a.Name] = v
			}
			assert.Equal(t, tt.want, got)
			var args []string
			for _, a := range find[*AnalysisTemplate](t, o, AnalysisTemplateName).Spec.Args {
				args = append(args, a.Name)
			}
			assert.ElementsMatch(t, keysOf(tt.want), args)
		})
	}
}

func TestSubscriptions(t *testing.T) {
	o := example(t).objects(t)
	tests := map[string]ImageSubscription{
		"base-node-22-slim": {RepoURL: "docker.io/library/node", ImageSelectionStrategy: "Digest", Constraint: "22-slim"},
		"image-app":         {RepoURL: "ghcr.io/acme/app", ImageSelectionStrategy: "SemVer", Constraint: ">=1.0.0", AllowTagsRegexes: []string{`^v?\d`}, IgnoreTagsRegexes: []string{"-rc"}},
		"image-base":        {RepoURL: "ghcr.io/acme/base", ImageSelectionStrategy: "Digest", Constraint: "latest"},
		"image-nightly":     {RepoURL: "ghcr.io/acme/nightly", ImageSelectionStrategy: "NewestBuild", AllowTagsRegexes: []string{"^nightly-"}},
		"image-service":     {RepoURL: "registry.gitlab.com/group/service", ImageSelectionStrategy: "SemVer"},
		"image-worker":      {RepoURL: "registry.gitlab.com/group/worker", ImageSelectionStrategy: "Digest", Constraint: "latest"},
		"image-cache":       {RepoURL: "mirror.example.com:5000/quay/acme/cache", ImageSelectionStrategy: "SemVer"},
	}
	for name, want := range tests {
		want.DiscoveryLimit, want.StrictSemvers = 1, true
		assert.Equal(t, []Subscription{{want}}, find[*Warehouse](t, o, name).Spec.Subscriptions, name)
	}
	assert.Equal(t, "6h0m0s", find[*Warehouse](t, o, "base-node-22").Spec.Interval)
	assert.Equal(t, "1h0m0s", find[*Warehouse](t, o, "image-app").Spec.Interval)
}

func TestExternalImageWatchedAsBase(t *testing.T) {
	image := func(tags, repository string) fleet {
		return fleet{
			Images: fmt.Sprintf(`[{name: db, repository: %s, tags: %s}, {name: a, repository: o/a, source: {provider: github, repo: o/a, workflow: w.yml}}]`, repository, tags),
			Uses:   map[string][]string{"a": {"docker.io/library/postgres:17"}},
		}
	}
	pinned := image(`"17"`, "library/postgres")
	pinned.Uses["a"] = []string{"docker.io/library/postgres:17@sha256:0000000000000000000000000000000000000000000000000000000000000000"}
	tests := map[string]struct {
		fleet fleet
		own   bool
	}{
		"same tag":                 {image(`"17"`, "library/postgres"), false},
		"short name of the same":   {image(`"17"`, "postgres"), false},
		"other tag":                {image(`"16"`, "postgres"), true},
		"other strategy":           {image(`{strategy: SemVer, constraint: "17"}`, "postgres"), true},
		"the base image is pinned": {pinned, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.own, strings.Contains(strings.Join(namesOf[*Warehouse](tt.fleet.objects(t)), " "), "image-db"))
		})
	}
}

func TestSourcesAreNamedOnce(t *testing.T) {
	f := fleet{
		Images: `[{name: p, repository: o/p, source: {provider: git, repo: 'https://e/p'}}, {name: a, repository: o/a, source: {provider: github, repo: o/a, workflow: w.yml}}]`,
		Uses:   map[string][]string{"a": {"ghcr.io/o/p:1.0.0", "docker.io/library/node:22", "ghcr.io/o/p:1.0.1", "docker.io/library/node:22"}},
	}
	assert.Equal(t, []FreightRequest{from("image-p"), from("base-node-22")}, find[*Stage](t, f.objects(t), "rebuild-a").Spec.RequestedFreight)
}

func TestLongNames(t *testing.T) {
	long := strings.Repeat("n", 49)
	f := fleet{
		Images: `[{name: ` + long + `, repository: o/a, source: {provider: github, repo: o/a, workflow: w.yml}}]`,
		Uses:   map[string][]string{long: {"registry.example.com/" + strings.Repeat("r", 100) + ":" + strings.Repeat("t", 100)}},
	}
	for _, o := range f.objects(t) {
		assert.Empty(t, validation.IsDNS1123Label(o.Name()), "%s %s", o.Kind(), o.Name())
	}
}

func TestRolesStaySmall(t *testing.T) {
	cfg, st := bigFleet(t, 4500)
	o, _, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
	require.NoError(t, err)
	require.Equal(t, []string{"image-factory", "image-factory-2", "image-factory-3"}, namesOf[*AccessRole](o))
	assert.Equal(t, namesOf[*AccessRole](o), namesOf[*RoleBinding](o))
	promotable := map[string]bool{}
	for i, name := range namesOf[*AccessRole](o) {
		role := find[*AccessRole](t, o, name)
		data, err := json.Marshal(role)
		require.NoError(t, err)
		assert.Less(t, len(data), 200<<10)
		assert.Equal(t, name, find[*RoleBinding](t, o, name).RoleRef.Name)
		assert.Len(t, role.Rules, map[bool]int{true: 3, false: 1}[i == 0])
		promote := role.Rules[len(role.Rules)-1]
		assert.Equal(t, []string{"promote"}, promote.Verbs)
		for _, n := range promote.ResourceNames {
			promotable[n] = true
		}
	}
	assert.Len(t, promotable, 4500)
}

func TestTimeZone(t *testing.T) {
	tests := map[string][2]string{
		"17 * * * *":                         {"17 * * * *", ""},
		"@hourly":                            {"@hourly", ""},
		"CRON_TZ=Europe/Zurich 0 6 * * 1":    {"0 6 * * 1", "Europe/Zurich"},
		"TZ=America/New_York   30 6 * * 1-5": {"30 6 * * 1-5", "America/New_York"},
	}
	for schedule, want := range tests {
		expression, zone := timeZone(schedule)
		assert.Equal(t, want, [2]string{expression, zone})
	}
}

func TestCredentialsAreFiles(t *testing.T) {
	o := example(t).objects(t)
	pods := map[string]PodSpec{
		"analyze": find[*AnalysisTemplate](t, o, AnalysisTemplateName).Spec.Metrics[0].Provider.Job.Spec.Template.Spec,
		"promote": find[*CronJob](t, o, PromoteName).Spec.JobTemplate.Spec.Template.Spec,
	}
	for name, pod := range pods {
		t.Run(name, func(t *testing.T) {
			require.Len(t, pod.Volumes, 2)
			var paths []string
			for _, s := range pod.Volumes[1].Projected.Sources {
				assert.True(t, s.Secret.Optional)
				paths = append(paths, s.Secret.Name+"/"+s.Secret.Items[0].Key+" "+s.Secret.Items[0].Path)
			}
			assert.Equal(t, []string{
				"ghcr/.dockerconfigjson registry/ghcr.io/config.json", "ghe/token api/ghe.example.com/token", "forge.github/api-token.txt api/github.com/token",
				"github-credentials/password git/github.com/token", "internal/config.json registry/registry.example.com:8443/config.json",
			}, paths)
			for _, e := range pod.Containers[0].Env {
				assert.Equal(t, EnvVar{Name: "HOME", Value: "/tmp"}, e)
			}
		})
	}
	none := find[*CronJob](t, fleet{Images: "[]"}.objects(t), PromoteName).Spec.JobTemplate.Spec.Template.Spec
	assert.Len(t, none.Volumes, 1)
}

func TestJobVariableWins(t *testing.T) {
	src := &config.Source{Job: "{{image}}", Variables: map[string]string{config.JobVariable: "other", "A": "{{image}}"}}
	got := newTemplates(&config.Image{Name: "app"}, []source{{"w", "r", "r"}}).pipelineVariables(src)
	assert.Equal(t, `[{'key': 'A', 'value': 'app'}, {'key': 'IMAGEFACTORY_JOB', 'value': '\u007b\u007bimage\u007d\u007d'}]`, got)
}
