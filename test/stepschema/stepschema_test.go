package stepschema

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func parse(t require.TestingT, text string) map[string]any {
	var obj map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &obj))
	return obj
}

func write(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestValidate(t *testing.T) {
	s, err := Load("testdata")
	require.NoError(t, err)
	tests := map[string]struct {
		steps string
		want  []string
	}{
		"valid":              {"[{uses: call, config: {url: 'https://a.example', method: GET, mode: fast, retries: 1}}]", nil},
		"expressions":        {"[{uses: call, config: {url: '${{ a }}', method: '${{ vars.m }}', mode: 'x${{ b }}', pattern: '${{ c }}'}}]", nil},
		"expression, lines":  {"[{uses: call, config: {url: 'https://a.example', method: \"${{\\n a\\n}}\"}}]", nil},
		"expression, number": {"[{uses: call, config: {url: 'https://a.example', retries: '${{ 1 }}'}}]", []string{"spec.steps[0].config.retries: got string, want integer"}},
		"no config":          {"[{uses: call}]", []string{"spec.steps[0].config: missing property 'url'"}},
		"pattern":            {"[{task: {name: t}}, {uses: call, config: {url: 'https://a.example', method: PUT}}]", []string{"spec.steps[1].config.method: 'PUT' does not match pattern '^(GET|POST)$'"}},
		"length":             {"[{uses: call, config: {url: short}}]", []string{"spec.steps[0].config.url: minLength: got 5, want 12"}},
		"enum":               {"[{uses: call, config: {url: 'https://a.example', mode: x}}]", []string{"spec.steps[0].config.mode: value must be one of 'fast', 'slow'"}},
		"unknown field":      {"[{uses: call, config: {url: 'https://a.example', urls: x}}]", []string{"spec.steps[0].config: additional properties 'urls' not allowed"}},
		"unknown step":       {"[{uses: cal}]", []string{`spec.steps[0].uses: unknown step "cal"`}},
		"reference":          {"[{uses: call, config: {url: 'https://a.example', target: {name: '${{ n }}'}}}]", nil},
		"alternatives":       {"[{uses: call, config: {url: 'https://a.example', target: {name: '${{ n }}', selector: {}}}}]", []string{"spec.steps[0].config.target: 'oneOf' failed, none matched: value must be <nil>; value must be one of '', <nil>"}},
		"task":               {"[{task: {name: t}}]", nil},
		"odd":                {"[1, {uses: 2}, {}]", nil},
		"no list":            {"{}", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"PromotionTask", "ClusterPromotionTask", "Promotion"} {
				obj := parse(t, "kind: "+kind+"\nspec: {steps: "+tt.steps+"}")
				assert.ElementsMatch(t, tt.want, s.Validate(obj))
			}
			stage := parse(t, "kind: Stage\nspec: {promotionTemplate: {spec: {steps: "+tt.steps+"}}}")
			var want []string
			for _, w := range tt.want {
				want = append(want, "spec.promotionTemplate."+w)
			}
			assert.ElementsMatch(t, want, s.Validate(stage))
			assert.Empty(t, s.Validate(parse(t, "kind: Other\nspec: {steps: "+tt.steps+"}")))
		})
	}
	cyclic := map[string]any{}
	cyclic["url"] = cyclic
	obj := map[string]any{"kind": "Promotion", "spec": map[string]any{"steps": []any{map[string]any{"uses": "call", "config": cyclic}}}}
	problems := s.Validate(obj)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], "spec.steps[0].config: encoding as JSON: ")
}

func TestLoadErrors(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":       {map[string]string{"a.json": "{}"}, "found no *-config.json"},
		"not json":      {map[string]string{"a-config.json": "{"}, `a-config.json": unexpected EOF`},
		"not a schema":  {map[string]string{"a-config.json": `{"type": 1}`}, `compiling step schema "`},
		"bad reference": {map[string]string{"a-config.json": `{"$ref": "b.json"}`}, "b.json"},
		"file outside":  {map[string]string{"a-config.json": `{"$ref": "file:///etc/hostname"}`}, "no URLLoader registered"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, tt.files))
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "reading step schemas")
}

// TestNoPanic gives the validator steps with anything inside.
func TestNoPanic(t *testing.T) {
	s, err := Load("testdata")
	require.NoError(t, err)
	keys := []string{"uses", "config", "url", "target", "name", "task", "mode"}
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalars := rapid.SampledFrom([]any{nil, true, 1.0, 1e300, "", "call", "${{ x }}", map[string]any{}, []any{}})
		if depth == 0 {
			return scalars
		}
		return rapid.OneOf(scalars,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom(keys), value(depth-1), 0, 4), func(v map[string]any) any { return v }))
	}
	rapid.Check(t, func(t *rapid.T) {
		obj := map[string]any{"kind": "Promotion", "spec": map[string]any{"steps": value(4).Draw(t, "steps")}}
		first := s.Validate(obj)
		require.Equal(t, first, s.Validate(obj))
	})
}

func FuzzValidate(f *testing.F) {
	s, err := Load("testdata")
	require.NoError(f, err)
	f.Add([]byte("kind: PromotionTask\nspec: {steps: [{uses: call, config: {url: '${{ a }}'}}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var obj map[string]any
		if yaml.Unmarshal(data, &obj) == nil {
			first := s.Validate(obj)
			require.Equal(t, first, s.Validate(obj))
		}
	})
}
