package discover

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// memory is a tree in memory.
type memory map[string]string

func (m memory) Files() []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (m memory) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	text, ok := m[name]
	switch {
	case !ok:
		return nil, errors.New("no such file")
	case int64(len(text)) > limit:
		return nil, tooLarge(limit)
	}
	return []byte(text), nil
}

// discovered returns what is found in a repository.
func discovered(t *testing.T, provider config.Provider, files memory) *Report {
	t.Helper()
	repo := Repository{Provider: provider, Host: config.HomeHost(provider), Name: "acme/web", Branch: "main", remote: true}
	cfg, err := config.Load(strings.NewReader(""), "images.yaml")
	require.NoError(t, err)
	r, err := scan(t.Context(), repo, files, registryOf(repo, cfg))
	require.NoError(t, err)
	report, err := propose(t.Context(), cfg, []*reading{r})
	require.NoError(t, err)
	return report
}

// check holds what every report must hold: no mark is left, and every entry can be enrolled.
func check(t *testing.T, r *Report) {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(text), `\u0001`)
	require.NotContains(t, string(text), `\u0002`)
	list, err := r.EntryList(Medium)
	require.NoError(t, err)
	_, err = config.AppendList(nil, "images.yaml", list, "")
	require.NoError(t, err)
}

const workflowSeed = `on: {workflow_dispatch: {inputs: {x: {default: y}}}, push: {}}
env: {A: "b-${{ github.repository }}"}
jobs:
  m:
    outputs: {list: "${{ steps.s.outputs.v }}"}
    steps:
    - id: s
      run: echo "v=[1]" >> $GITHUB_OUTPUT
  b:
    needs: [m]
    if: github.ref == 'refs/heads/main' && !cancelled()
    strategy: {matrix: {i: ["${{ env.A }}", c], include: [{i: d, f: e}], exclude: [{i: c}]}}
    steps:
    - uses: docker/metadata-action@v5
      id: meta
      with: {images: "ghcr.io/acme/${{ matrix.i }}"}
    - uses: docker/build-push-action@v6
      with: {file: "${{ matrix.f || 'Dockerfile' }}", push: true, tags: "${{ steps.meta.outputs.tags }}", outputs: 'type=image,"name=a,b",push=true'}
    - uses: ./.github/actions/x
      with: {y: z}
    - run: |
        for i in a b; do docker build -t $i . && docker push $i; done
        make push REG=x; ./ci.sh
  c:
    uses: ./.github/workflows/called.yml
    with: {x: "${{ fromJSON('[1,2]')[0] }}"}
`

func FuzzWorkflow(f *testing.F) {
	f.Add(workflowSeed)
	f.Add("on: push\njobs: {a: {steps: [{run: 'docker push $(x | tr A-Z a-z)'}]}}\n")
	f.Add("on: &a [*a]\njobs: {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		check(t, discovered(t, config.GitHub, memory{
			".github/workflows/a.yml": text, "Dockerfile": "FROM a\n", "Makefile": "push: ; \n\tdocker build -t $(REG)/y .\n\tdocker push $(REG)/y\n", "ci.sh": "docker build .",
			".github/workflows/called.yml": "on: {workflow_call: {inputs: {x: {}}}}\njobs: {a: {steps: [{run: 'docker buildx build --push -t ghcr.io/acme/${{ inputs.x }} .'}]}}\n",
			".github/actions/x/action.yml": "inputs: {y: {}}\nruns: {steps: [{run: 'docker build -t ${{ inputs.y }} .', shell: bash}]}\n",
		}))
	})
}

func FuzzGitLab(f *testing.F) {
	f.Add("include: [{local: /b.yml}, {template: x}]\nvariables: {A: $CI_REGISTRY_IMAGE/$B, B: {value: c}}\n.t: {before_script: [x], script: [docker build -t $A .]}\n" +
		"job: {extends: .t, parallel: {matrix: [{C: [1, 2]}]}, script: [!reference [.t, script], docker push $A, /kaniko/executor --context . --destination $A:$C]}\n")
	f.Add("a: {extends: a, script: [!reference [a, script]]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		check(t, discovered(t, config.GitLab, memory{gitLabFile: text, "Dockerfile": "FROM a\n", "b.yml": "x: {script: [ko build]}\n"}))
	})
}

func FuzzScript(f *testing.F) {
	f.Add("IMG=${A:-x}; if [ $X ]; then IMG=y; else export IMG=z; fi; docker build -t \"$IMG\" -f d/Dockerfile --build-arg A=b . | cat\ndocker tag $IMG q; docker push q")
	f.Add("f() { docker buildx build --push -t $1:${2,,} \"${@}\"; }; f A B; case $x in a) cd b;; esac; while true; do X=$X$X; done; echo A=b | tee $GITHUB_ENV")
	f.Add("docker buildx bake --set '*.tags=a/b' -f c.hcl x; docker compose -f d.yml build; buildah bud -t x; podman push x docker://y; {1..9999999999}")
	f.Fuzz(func(t *testing.T, text string) {
		s := newScanner(t.Context(), Repository{Name: "acme/web", remote: true}, memory{"c.hcl": "target \"x\" {}", "d.yml": "services: {a: {build: .}}", "s.sh": text})
		m := &images{scan: s, aliases: map[string]string{}, pushed: map[string]bool{}, env: func(string) (string, bool) { return "", false }}
		m.sh = s.newShell(map[string]string{"GITHUB_ENV": envFile}, ".", 0, m.command)
		s.script(m.sh, "s.sh", text)
		for _, b := range m.finish() {
			require.NotContains(t, s.marks.show(strings.Join(b.tags, "")), markStart)
		}
	})
}

func FuzzBake(f *testing.F) {
	f.Add("variable \"A\" { default = \"x\" }\ngroup \"default\" { targets = [\"b\"] }\ntarget \"b\" {\n name = \"b-${i}\"\n matrix = { i = [1, A] }\n inherits = [\"c\"]\n tags = [lower(\"X/${A}:${i}\"), f(1)]\n args = { K = i }\n}\ntarget \"c\" { platforms = [for p in [\"a\"]: p] }\n", false)
	f.Add("B = replace(replace(\"aaaa\", \"\", \"bbbb\"), \"\", format(\"%900000d\", 1))\ntarget \"default\" { tags = [B, \"${B}${B}\"] }", false)
	f.Add(`{"variable": {"A": {"default": "b"}}, "group": {"default": {"targets": ["t"]}}, "target": {"t": {"tags": ["x/${A}:${B:-c}"], "args": {"n": 1}, "output": ["type=registry"]}}}`, true)
	f.Add("group \"default\" { targets = [\"b\"] }\ntarget \"b\" {\n name = \"\"\n matrix = { i = [1] }\n tags = [\"x/y:${i}\"]\n args = { K = i }\n}\n", false)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "docker-bake.hcl"
		if isJSON {
			name = "docker-bake.json"
		}
		files := memory{name: text, "Dockerfile": "ARG K\nFROM a:${K}\n", ".github/workflows/a.yml": "on: workflow_dispatch\njobs: {a: {steps: [{run: A=y docker buildx bake --push}]}}\n"}
		r := discovered(t, config.GitHub, files)
		check(t, r)
		readAsFound(t, files, r)
	})
}

func FuzzMakefile(f *testing.F) {
	f.Add("REG ?= ghcr.io/acme\nIMG := $(REG)/web\nA = $(A)$(A)\nall: build-x ; echo\nbuild-%: | dep\n\t@docker build -t $(IMG)-$* \\\n\t  . && \\\n\t  docker push $(IMG)-$*\ndep: $(A)\n\t$(MAKE) -C sub all\n")
	f.Add("compose.yaml:\n\tdocker compose build --push\n")
	f.Add("%:%:$($(%")
	f.Add("all: a1\na%: a$(%)$*\n")
	f.Fuzz(func(t *testing.T, text string) {
		check(t, discovered(t, config.GitHub, memory{"Makefile": text, "sub/Makefile": text, "Dockerfile": "FROM a\n", "compose.yaml": "services: {a: {image: '${X:-y}', build: {context: ., args: [A=b]}}}\n"}))
	})
}

func FuzzExpression(f *testing.F) {
	f.Add("github.event.repository['name'] == 'x' && !(env.A || format('{0}-{1}', 1, null)) != contains(fromJSON('[\"a\"]'), 'a')")
	f.Add("a.b.*.c[0] >= -1.5e3")
	f.Fuzz(func(t *testing.T, text string) {
		c := contexts{"github": open{"event": open{"repository": map[string]any{"name": "x"}}}, "env": open{"A": "b"}}
		m := &marks{}
		require.NotContains(t, m.show(c.text(m, "${{"+strings.NewReplacer(markStart, "", markEnd, "").Replace(text)+"}}")), markStart)
	})
}
