package kargo

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/crd"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/test/stepschema"
)

// hostile draws texts out of what means something to Kargo, expr-lang, Argo Rollouts, Kubernetes or YAML.
func hostile() *rapid.Generator[string] {
	fragments := []string{
		"${{ secret('forge.github') }}", "${{", "${%", "%}", "}}", "{{", "}", "{", "$", "%", "'", `"`, "`", `\`, `\u007d`, "\n", "\r\n", "\r", "\t",
		"{{args.digest}}", "{{ args.tag }}", "{{args.braces}}", "$(HOME)", "$$", "1.10", "true", "f", "null", "~", "0x1F", "1e3", "[]", "{}", "a", " ", ": ", " #", "- ",
		"---", "é", "日本", "\u2028", "\u00a0", "\u200b", "\U0001f600", "\ufeff", "\ufffd", "\U000e0001", "\x00", "\x7f", "\u0085", "<&>", "/", "..", "?", "@", "+",
		"{{image}}", "{{ base }}", "{{digest}}", "{{promotion}}", "{{nothing}}",
	}
	return rapid.Map(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, 6), func(s []string) string { return strings.Join(s, "") })
}

var anyPlaceholder = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// filled is what a template with placeholders should give.
func filled(s string, f freight) string {
	return anyPlaceholder.ReplaceAllStringFunc(s, func(m string) string {
		switch strings.TrimSpace(strings.Trim(m, "{}")) {
		case "image":
			return "app"
		case "base":
			return f.image.RepoURL + ":" + f.image.Tag
		case "digest":
			return f.image.Digest
		case "promotion":
			return "the-promotion"
		}
		return m
	})
}

func hostileEnv(f freight) map[string]any {
	return map[string]any{"ctx": map[string]any{"promotion": "the-promotion", "targetFreight": map[string]any{"origin": map[string]any{"name": f.warehouse}}}}
}

func TestHostileText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := hostile().Draw(t, "text")
		got, err := evaluate(text(s), nil)
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.NotEmpty(t, text(s))
	})
}

func TestHostileTemplates(t *testing.T) {
	f := nodeFreight()
	img := &config.Image{Name: "app"}
	sources := []source{
		{"base-node-22", "docker.io/library/node", "docker.io/library/node"},
		{"base-odd", "mirror.example.com/odd", "example.com/odd"},
	}
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOf(hostile(), hostile()).Draw(t, "values")
		want, list := map[string]any{}, []any{}
		for k, v := range values {
			want[k] = filled(v, f)
		}
		template := value(newTemplates(img, sources).object(values))
		got, err := evaluate(template, hostileEnv(f), functions(f, nil)...)
		require.NoError(t, err)
		require.Equal(t, want, got)

		src := &config.Source{Variables: values, Job: hostile().Draw(t, "job")}
		got, err = evaluate(value(newTemplates(img, sources).pipelineVariables(src)), hostileEnv(f), functions(f, nil)...)
		require.NoError(t, err)
		for k, v := range want {
			list = append(list, map[string]any{"key": k, "value": v})
		}
		if src.Job != "" {
			list = append(list, map[string]any{"key": config.JobVariable, "value": src.Job})
		}
		require.ElementsMatch(t, list, got)
	})
}

// TestHostileFleet goes all the way from images.yaml to the request that a forge gets.
func TestHostileFleet(t *testing.T) {
	allowed := func(s string) bool {
		for _, m := range anyPlaceholder.FindAllString(s, -1) {
			switch strings.TrimSpace(strings.Trim(m, "{}")) {
			case "image", "base", "digest", "promotion":
			default:
				return false
			}
		}
		return !strings.ContainsAny(s, "\x00\x7f") && !strings.Contains(s, "\ufeff")
	}
	branch := regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|\x{feff}|/\.|\.lock/`)
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		inputs := rapid.MapOfN(hostile().Filter(allowed), hostile().Filter(allowed), 0, 4).Draw(t, "inputs")
		ref := "b" + hostile().Draw(t, "branch") + "e"
		for branch.MatchString(ref) { // what is left can match again
			ref = branch.ReplaceAllString(ref, "")
		}
		workflow := "w" + rapid.SampledFrom([]string{"/", "?", "#", "%2e", " ", "${{x}}", "é", "\n"}).Draw(t, "workflow")
		images, err := yamlenc.Marshal(map[string]any{
			"images": []any{map[string]any{"name": "app", "repository": "o/app", "source": map[string]any{
				"provider": "github", "repo": "o/app", "branch": ref, "workflow": "build.yml", "inputs": inputs,
			}}},
		})
		require.NoError(t, err)
		fl := fleet{Images: string(images), Uses: map[string][]string{"app": {"docker.io/library/node:22"}}}
		cfg, st := load(t, fl.Images), fl.state()
		cfg.Find("app").Source.Workflow = workflow // what validation refuses must be harmless here all the same
		objects, _, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
		require.NoError(t, err)
		p := &promotion{
			t: outer, objects: objects, stage: "rebuild-app", freight: nodeFreight(),
			secrets: map[string]map[string]string{"github-workflow-token": {"token": "x"}}, forge: script([]answer{{204, nil}}, nil),
		}
		requireYAML(t, p.objects)
		require.True(t, p.run())
		require.Len(t, p.requests, 1)
		var sent struct {
			Ref    string            `json:"ref"`
			Inputs map[string]string `json:"inputs"`
		}
		require.NoError(t, json.Unmarshal([]byte(p.requests[0].body), &sent))
		require.Equal(t, ref, sent.Ref)
		require.Len(t, sent.Inputs, len(inputs))
		for k, v := range inputs {
			require.Equal(t, filled(v, p.freight), sent.Inputs[k])
		}
		u, err := url.Parse(p.requests[0].url)
		require.NoError(t, err)
		require.Equal(t, "/repos/o/app/actions/workflows/"+workflow+"/dispatches", u.Path)
		require.Equal(t, 7, strings.Count(u.EscapedPath(), "/"))
		require.Empty(t, u.RawQuery+u.Fragment)
	})
}

// requireYAML requires that what is written is read back as what encoding/json sees.
func requireYAML(t require.TestingT, objects []Object) {
	for _, o := range objects {
		written, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		got, err := yaml.YAMLToJSONStrict(written)
		require.NoError(t, err)
		want, err := json.Marshal(o)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(got))
	}
}

// substitute does what Argo Rollouts does with a metric: it replaces arguments once, in its JSON.
func substitute(t require.TestingT, metric []byte, args map[string]string) []byte {
	var out strings.Builder
	for rest := string(metric); ; {
		before, after, found := strings.Cut(rest, "{{")
		out.WriteString(before)
		if !found {
			return []byte(out.String())
		}
		name, tail, found := strings.Cut(after, "}}")
		require.True(t, found, "no end of argument in %q", after)
		v, known := args[strings.TrimPrefix(strings.TrimSpace(name), "args.")]
		require.True(t, known, "unknown argument %q", name)
		quoted, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(quoted[1 : len(quoted)-1])
		rest = tail
	}
}

// expand does what Kubernetes does with an argument of a container.
func expand(s string) string {
	return regexp.MustCompile(`\$\$|\$\([^)]*\)`).ReplaceAllStringFunc(s, func(m string) string {
		if m == "$$" {
			return "$"
		}
		return "EXPANDED"
	})
}

func TestHostileJobs(t *testing.T) {
	cfg := load(t, `[{name: a, repository: o/a}]`)
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{StateURL: "https://e/" + hostile().Draw(t, "url"), StatePath: hostile().Draw(t, "state path"), ConfigPath: hostile().Draw(t, "config path")}
		changed := *cfg
		changed.Factory.State.Branch, changed.Factory.Config.Ref = hostile().Draw(t, "branch"), hostile().Draw(t, "ref")
		st := fleet{}.state()
		objects, _, err := Objects(&changed, st, graph.Build(&changed, st), opts)
		require.NoError(t, err)
		requireYAML(t, objects)
		want := []string{
			"--state-repo=" + opts.StateURL, "--branch=" + changed.Factory.State.Branch, "--path=" + opts.StatePath, "--config=" + opts.ConfigPath,
			"--config-ref=" + changed.Factory.Config.Ref, "--project=image-factory-kargo", "--push",
		}
		template := find[*AnalysisTemplate](t, objects, AnalysisTemplateName)
		values := map[string]string{"subject": "--image=a", "tag": "1.2.3", "digest": "sha256:1"}
		for _, a := range template.Spec.Args {
			if a.Value != "" {
				values[a.Name] = a.Value
			}
		}
		data, err := json.Marshal(template.Spec.Metrics[0])
		require.NoError(t, err)
		var metric Metric
		require.NoError(t, json.Unmarshal(substitute(t, data, values), &metric))
		require.Equal(t, append(append([]string{"analyze", "--image=a", "--tag=1.2.3", "--digest=sha256:1"}, want...), "--promote"), expanded(metric.Provider.Job))
		require.Equal(t, append([]string{"promote"}, want...), expanded(find[*CronJob](t, objects, PromoteName).Spec.JobTemplate))
	})
}

func expanded(j JobTemplate) []string {
	var out []string
	for _, a := range j.Spec.Template.Spec.Containers[0].Args {
		out = append(out, expand(a))
	}
	return out
}

// TestSchemas validates every object of the golden file, and those of a fleet that scans, against Kargo's and Argo Rollouts' CRDs and Kargo's step schemas.
func TestSchemas(t *testing.T) {
	dir := os.Getenv("KARGO_SCHEMAS")
	if dir == "" {
		t.Skip("KARGO_SCHEMAS is not set: it names a folder with Kargo's crds, rollouts-crds and step-schemas")
	}
	var sets []*crd.Set
	for _, folder := range []string{"crds", "rollouts-crds"} {
		set, err := crd.Load(dir + "/" + folder)
		require.NoError(t, err)
		sets = append(sets, set)
	}
	steps, err := stepschema.Load(dir + "/step-schemas")
	require.NoError(t, err)
	scans := fleet{Images: "factory: {scan: {with: grype, analysis: true}}\nimages: []"}.objects(t)
	for _, o := range append(example(t).objects(t), scans...) {
		written, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		var obj map[string]any
		require.NoError(t, yaml.UnmarshalStrict(written, &obj))
		known := false
		for _, set := range sets {
			problems, ok := set.Validate(obj)
			assert.Empty(t, problems, "%s/%s", o.Kind(), o.Name())
			known = known || ok
		}
		assert.True(t, known, "no schema for %s", o.Kind())
		assert.Empty(t, steps.Validate(obj), "%s/%s", o.Kind(), o.Name())
	}
}

func BenchmarkObjects(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			cfg, st := bigFleet(b, n)
			g := graph.Build(cfg, st)
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := Objects(cfg, st, g, testOptions())
				require.NoError(b, err)
			}
		})
	}
}
