package crd

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/stepschema"
)

func parse(t require.TestingT, text string) map[string]any {
	var obj map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &obj))
	return obj
}

func load(t require.TestingT) *Set {
	s, err := Load("testdata/crds")
	require.NoError(t, err)
	return s
}

// problemsOf are the problems of an object as "path: message".
func problemsOf(problems []Problem) []string {
	texts := []string{}
	for _, p := range problems {
		texts = append(texts, p.Path+": "+p.Message)
	}
	return texts
}

const head = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		in   string
		want []string
	}{
		"valid":                    {head + "spec: {size: 1}", nil},
		"whole float":              {head + "spec: {size: 1.0, ratio: 1}", nil},
		"default satisfies":        {head + "spec: {size: 1, min: 5}", nil},
		"all":                      {head + "spec: {size: 10, policy: Never, image: 'a:1', ratio: 1.5, tags: [a, b], nested: {a: x}}", nil},
		"preserved":                {head + "spec: {size: 1, free: {a: {b: [1]}}}", nil},
		"wrong type":               {head + "spec: {size: '1'}", []string{`spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"`}},
		"fraction":                 {head + "spec: {size: 1.5}", []string{`spec.size: Invalid value: "number": spec.size in body must be of type integer: "number"`, `: Invalid value: "": Checked value must be of type integer (default format) in spec.size`}},
		"missing":                  {head + "spec: {}", []string{"spec.size: Required value"}},
		"missing spec":             {head, []string{"spec: Required value"}},
		"pattern":                  {head + "spec: {size: 1, image: A}", []string{`spec.image: Invalid value: "A": spec.image in body should match '^[a-z]+:[0-9]+$'`}},
		"enum":                     {head + "spec: {size: 1, policy: Maybe}", []string{`spec.policy: Unsupported value: "Maybe": supported values: "Always", "Never"`}},
		"maximum":                  {head + "spec: {size: 11}", []string{`spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10`}},
		"rule":                     {head + "spec: {size: 1, min: 6}", []string{`spec: Invalid value: min must not exceed max`}},
		"unknown field":            {head + "spec: {size: 1, sise: 2, nested: {b: 1}}", []string{"spec.nested.b: unknown field", "spec.sise: unknown field"}},
		"unknown at root":          {head + "spec: {size: 1}\nstatus: {}\n", []string{"status: unknown field"}},
		"unknown metadata":         {"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, nam: x}\nspec: {size: 1}", []string{"metadata.nam: unknown field"}},
		"set":                      {head + "spec: {size: 1, tags: [a, a]}", []string{`spec.tags[1]: Duplicate value: "a"`}},
		"too many":                 {head + "spec: {size: 1, tags: [a, b, c, d]}", []string{"spec.tags: Too many: 4: must have at most 3 items"}},
		"several":                  {head + "spec: {policy: x, extra: 1}", []string{"spec.extra: unknown field", `spec.policy: Unsupported value: "x": supported values: "Always", "Never"`, "spec.size: Required value"}},
		"other version":            {"apiVersion: example.com/v1beta1\nkind: Widget\nmetadata: {name: w}\nspec: {old: a}", nil},
		"field of another version": {"apiVersion: example.com/v1beta1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}", []string{"spec.size: unknown field"}},
		"version not served":       {"apiVersion: example.com/v1alpha1\nkind: Widget\nmetadata: {name: w}", []string{`apiVersion: version "v1alpha1" is not served; served are: v1, v1beta1`}},
		"version unknown":          {"apiVersion: example.com/v2\nkind: Widget\nmetadata: {name: w}", []string{`apiVersion: version "v2" is not served; served are: v1, v1beta1`}},
		"json crd":                 {"apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\nsize: a", []string{`size: Invalid value: "string": size in body must be of type integer: "string"`}},
		"cluster scope":            {"apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g, namespace: ns}", []string{"metadata.namespace: Forbidden: not allowed on this type"}},
		"generated name":           {"apiVersion: example.com/v1\nkind: Gadget\nmetadata: {generateName: g-}", nil},
		"no name":                  {"apiVersion: example.com/v1\nkind: Gadget\nmetadata: {}", []string{"metadata.name: Required value: name or generateName is required"}},
		"no metadata":              {"apiVersion: example.com/v1\nkind: Gadget", []string{"metadata.name: Required value: name or generateName is required"}},
		"metadata type":            {"apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: 1}", []string{"metadata: cannot unmarshal number into Go struct field ObjectMeta.name of type string"}},
	}
	s := load(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, tt.in)
			before := parse(t, tt.in)
			problems, known := s.Validate(obj)
			assert.True(t, known)
			assert.ElementsMatch(t, tt.want, problemsOf(problems))
			assert.Equal(t, before, obj, "the object was changed")
		})
	}
}

func TestMetadata(t *testing.T) {
	tests := map[string]struct{ metadata, path, message string }{
		"upper case": {"{name: W}", "metadata.name", "lowercase RFC 1123 subdomain"},
		"too long":   {"{name: " + strings.Repeat("a", 254) + "}", "metadata.name", "no more than 253"},
		"label key":  {"{name: w, labels: {'a b': x}}", "metadata.labels", "a b"},
		"label":      {"{name: w, labels: {a: 'x y'}}", "metadata.labels", "x y"},
		"annotation": {"{name: w, annotations: {'-': x}}", "metadata.annotations", "-"},
		"namespace":  {"{name: w, namespace: A_b}", "metadata.namespace", "RFC 1123 label"},
	}
	s := load(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			problems, known := s.Validate(parse(t, "apiVersion: example.com/v1\nkind: Widget\nspec: {size: 1}\nmetadata: "+tt.metadata))
			assert.True(t, known)
			require.NotEmpty(t, problems)
			assert.Equal(t, tt.path, problems[0].Path)
			assert.Contains(t, problems[0].Message, tt.message)
		})
	}
}

func TestNotKnown(t *testing.T) {
	s := load(t)
	for _, text := range []string{
		"apiVersion: example.com/v1\nkind: Gizmo",
		"apiVersion: other.com/v1\nkind: Widget",
		"apiVersion: v1\nkind: Pod",
		"apiVersion: example.com/v1\nkind: Job",
	} {
		problems, known := s.Validate(parse(t, text))
		assert.False(t, known, text)
		assert.Empty(t, problems, text)
	}
	for text, want := range map[string]string{
		"kind: Widget":                    ": missing apiVersion or kind",
		"apiVersion: 1\nkind: Widget":     ": missing apiVersion or kind",
		"apiVersion: a/b/c\nkind: Widget": ": unexpected GroupVersion string: a/b/c",
	} {
		problems, known := s.Validate(parse(t, text))
		assert.False(t, known, text)
		assert.Equal(t, []string{want}, problemsOf(problems), text)
	}
	_, known := s.Validate(nil)
	assert.False(t, known)
}

func TestHugeInput(t *testing.T) {
	s := load(t)
	huge := strings.Repeat("x", maxObjectBytes)
	obj := parse(t, head+"spec: {size: 1}")
	obj["spec"].(map[string]any)["free"] = map[string]any{"a": huge}
	problems, known := s.Validate(obj)
	assert.True(t, known)
	assert.Equal(t, []string{": larger than 3145728 bytes"}, problemsOf(problems))

	obj["spec"] = map[string]any{"size": 1, "image": huge[:1<<20]}
	problems, _ = s.Validate(obj)
	require.Len(t, problems, 1)
	assert.LessOrEqual(t, len(problems[0].Message), maxMessage+len("…"))

	loop := map[string]any{}
	loop["self"] = loop
	obj["spec"] = loop
	problems, _ = s.Validate(obj)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0].Message, "encountered a cycle")
}

func TestBuiltin(t *testing.T) {
	tests := map[string]struct {
		in   string
		want []string
	}{
		"service account":   {"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}", nil},
		"namespace":         {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}", nil},
		"config map":        {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}", nil},
		"secret":            {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: b}", nil},
		"role":              {"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'a:b'}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]", nil},
		"role binding":      {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}", nil},
		"job":               {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {backoffLimit: 3, template: {spec: {containers: [{name: a, resources: {requests: {cpu: 100m}}}]}}}", nil},
		"cron job":          {"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {schedule: '0 * * * *'}", nil},
		"unknown field":     {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {backoffLimits: 3, template: {spec: {containers: [{nam: a}]}}}", []string{"spec.backoffLimits: unknown field", "spec.template.spec.containers[0].nam: unknown field"}},
		"unknown case":      {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {backofflimit: 3}", []string{"spec.backofflimit: unknown field"}},
		"unknown metadata":  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, label: {}}", []string{"metadata.label: unknown field"}},
		"wrong type":        {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {backoffLimit: x}", []string{"spec.backoffLimit: is a string, not a int32"}},
		"config map number": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}", []string{"data: is a number, not a string"}},
		"old version":       {"apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: a}", []string{`apiVersion: version "v1beta1" is not supported, only "v1"`}},
		"role name":         {"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a/b}", []string{`metadata.name: Invalid value: "a/b": may not contain '/'`}},
		"no name":           {"apiVersion: v1\nkind: Secret", []string{"metadata.name: Required value: name or generateName is required"}},
		"namespaced":        {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}", []string{"metadata.namespace: Forbidden: not allowed on this type"}},
	}
	s := load(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			problems, known := s.Validate(parse(t, tt.in))
			assert.True(t, known)
			assert.ElementsMatch(t, tt.want, problemsOf(problems))
		})
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}":                                 "must not contain dots",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: " + strings.Repeat("a", 53) + "}": "must be no more than 52 characters",
		"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: A}":                              "RFC 1123",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: '%'}":                      "illegal base64",
	} {
		problems, _ := s.Validate(parse(t, text))
		require.Len(t, problems, 1, text)
		assert.Contains(t, problems[0].Message, want)
	}
}

func TestProblem(t *testing.T) {
	problems, _ := load(t).Validate(parse(t, head+"spec: {size: 1, x: 1}"))
	require.Len(t, problems, 1)
	assert.Equal(t, Problem{Object: "Widget/w", Path: "spec.x", Message: "unknown field"}, problems[0])
	assert.Equal(t, "Widget/w: spec.x: unknown field", problems[0].String())
	assert.Equal(t, "Job/a: bad", Problem{Object: "Job/a", Message: "bad"}.String())
}

func TestConcurrentUse(t *testing.T) {
	s := load(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			problems, _ := s.Validate(parse(t, head+"spec: {size: 1, min: 6, x: 1}"))
			assert.Len(t, problems, 2)
		})
	}
	wg.Wait()
}

func write(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestLoadErrors(t *testing.T) {
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: as.b.c}\nspec:\n  group: b.c\n  names: {kind: A, plural: as}\n  scope: Namespaced\n  versions:\n  - name: v1\n    served: true\n    storage: true\n"
	const open = crd + "    schema:\n      openAPIV3Schema:\n        type: object\n"
	tests := map[string]struct{ text, want string }{
		"nothing":         {"kind: ConfigMap", "found no CustomResourceDefinition"},
		"not yaml":        {"a: [", "a.yaml\": yaml: "},
		"helm":            {"{{ if .Values.crds }}\nkind: CustomResourceDefinition\n", "a.yaml\": yaml: "},
		"wrong type":      {strings.Replace(open, "group: b.c", "group: []", 1), `a.yaml": decoding the CustomResourceDefinition at line 1: `},
		"old version":     {"apiVersion: apiextensions.k8s.io/v1beta1\nkind: CustomResourceDefinition\nmetadata: {name: x}", `a.yaml": reading CustomResourceDefinition "x" at line 1: unsupported apiVersion "apiextensions.k8s.io/v1beta1"`},
		"no group":        {strings.Replace(open, "group: b.c", "group: ''", 1), "missing spec.group or spec.names.kind"},
		"no scope":        {strings.Replace(open, "Namespaced", "''", 1), `unsupported spec.scope ""`},
		"no versions":     {strings.Split(open, "  versions")[0], "missing spec.versions"},
		"no schema":       {crd, `compiling version "v1": missing schema.openAPIV3Schema`},
		"not structural":  {open + "        properties: {a: {properties: {b: {type: string}}}}", "schema.openAPIV3Schema.properties[a].type: Required value"},
		"bad default":     {open + "        properties: {a: {type: integer, default: x}}", "schema.openAPIV3Schema.properties[a].default: Invalid value"},
		"bad rule":        {open + "        properties: {a: {type: object, x-kubernetes-validations: [{rule: 'self.b >'}]}}", `compiling rule "self.b >"`},
		"rule of nothing": {open + "        properties: {a: {type: object, x-kubernetes-validations: [{rule: 'self.b'}]}}", `undefined field 'b'`},
		"twice":           {open + "---\n" + open, `reading CustomResourceDefinition "as.b.c" at line 15: defining "A.b.c" a second time`},
		"too large":       {strings.Repeat(" ", maxFileBytes+1), "larger than 8388608 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, map[string]string{"a.yaml": tt.text}))
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "reading CRDs")
	s, err := Load(write(t, map[string]string{"a.yml": "kind: Secret\n---\n" + open + "---\n"}))
	require.NoError(t, err)
	assert.Len(t, s.kinds, 1)
}

// kargoSchemas is the folder with Kargo's CRDs and step schemas.
func kargoSchemas(t *testing.T) string {
	dir := os.Getenv("KARGO_SCHEMAS")
	if dir == "" {
		t.Skip("KARGO_SCHEMAS is not set: it names a folder with crds/, rollouts-crds/ and step-schemas/")
	}
	return dir
}

func TestKargo(t *testing.T) {
	dir := kargoSchemas(t)
	kargo, err := Load(filepath.Join(dir, "crds"))
	require.NoError(t, err)
	rollouts, err := Load(filepath.Join(dir, "rollouts-crds"))
	require.NoError(t, err)
	steps, err := stepschema.Load(filepath.Join(dir, "step-schemas"))
	require.NoError(t, err)

	const task = `
apiVersion: kargo.akuity.io/v1alpha1
kind: PromotionTask
metadata: {name: rebuild, namespace: factory}
spec:
  vars: [{name: image}]
  steps:
  - uses: http
    as: dispatch
    config:
      url: https://api.example.com/${{ vars.image }}
      method: POST
      headers: [{name: Accept, value: application/json}]
      body: ${{ quote({'ref':'main'}) }}
      CONFIG
`
	tests := map[string]struct {
		set              *Set
		in               string
		want, wantConfig []string
	}{
		"task": {kargo, strings.Replace(task, "CONFIG", "timeout: 30s", 1), nil, nil},
		"unknown field in config": {kargo, strings.Replace(task, "CONFIG", "time: 30s", 1), nil,
			[]string{"spec.steps[0].config: additional properties 'time' not allowed"}},
		"unknown field in step": {kargo, strings.NewReplacer("as: dispatch", "ass: dispatch", "CONFIG", "timeout: 30s").Replace(task),
			[]string{"spec.steps[0].ass: unknown field"}, nil},
		"step without uses": {kargo, "apiVersion: kargo.akuity.io/v1alpha1\nkind: PromotionTask\nmetadata: {name: a}\nspec: {steps: [{as: a}]}",
			[]string{"spec.steps[0]: Invalid value: PromotionTask step must have uses set and must not reference another task"}, nil},
		"warehouse without subscriptions": {kargo, "apiVersion: kargo.akuity.io/v1alpha1\nkind: Warehouse\nmetadata: {name: a}\nspec: {interval: 6h0m0s}",
			[]string{"spec.subscriptions: Required value"}, nil},
		"analysis template": {rollouts, "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: a}\nspec: {metrics: [{name: a, provider: {job: {spec: {template: {spec: {containers: [{name: a, image: b}], restartPolicy: Never}}}}}}]}", nil, nil},
		"analysis template, unknown field": {rollouts, "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: a}\nspec: {metrics: [{name: a, provider: {}, every: 1m}]}",
			[]string{"spec.metrics[0].every: unknown field"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			obj := parse(t, tt.in)
			problems, known := tt.set.Validate(obj)
			assert.True(t, known)
			assert.ElementsMatch(t, tt.want, problemsOf(problems))
			assert.ElementsMatch(t, tt.wantConfig, steps.Validate(obj))
		})
	}
}

// TestNoPanic gives the validators objects of the right kind with anything inside.
func TestNoPanic(t *testing.T) {
	s := load(t)
	keys := []string{"spec", "size", "metadata", "name", "labels", "free", "tags", "min", "steps", "uses", "config", "url", "template", "status", "nested"}
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalars := rapid.SampledFrom([]any{nil, true, 1.0, -1.5, 1e300, "", "call", "a", "${{ x }}", map[string]any{}, []any{}})
		if depth == 0 {
			return scalars
		}
		return rapid.OneOf(scalars,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom(keys), value(depth-1), 0, 4), func(v map[string]any) any { return v }))
	}
	heads := []map[string]any{
		{"apiVersion": "example.com/v1", "kind": "Widget"}, {"apiVersion": "batch/v1", "kind": "Job"},
		{"apiVersion": "v1", "kind": "Secret"}, {"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "PromotionTask"},
	}
	rapid.Check(t, func(t *rapid.T) {
		obj := rapid.MapOfN(rapid.SampledFrom(keys), value(4), 0, 4).Draw(t, "object")
		maps.Copy(obj, rapid.SampledFrom(heads).Draw(t, "head"))
		before, err := json.Marshal(obj)
		require.NoError(t, err)
		first, _ := s.Validate(obj)
		again, _ := s.Validate(obj)
		require.Equal(t, first, again)
		after, err := json.Marshal(obj)
		require.NoError(t, err)
		require.JSONEq(t, string(before), string(after))
	})
}

func FuzzValidate(f *testing.F) {
	s := load(f)
	f.Add([]byte(head + "spec: {size: 1}"))
	f.Add([]byte("apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {backoffLimit: x}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var obj map[string]any
		if yaml.Unmarshal(data, &obj) != nil {
			return
		}
		first, _ := s.Validate(obj)
		again, _ := s.Validate(obj)
		require.Equal(t, first, again)
	})
}
