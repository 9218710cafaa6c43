package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
)

// enrolled opens a fleet with one image, whose source is given as JSON.
func enrolled(t require.TestingT, dir string, source map[string]any) *fleet.Fleet {
	entry, err := json.Marshal([]any{map[string]any{"name": "web", "repository": "acme/web", "source": source}})
	require.NoError(t, err)
	file := filepath.Join(dir, "images.yaml")
	require.NoError(t, os.WriteFile(file, []byte("factory: {state: {url: https://github.com/acme/factory}}\nimages: "+string(entry)+"\n"), 0o600))
	f, err := fleet.Open(fleet.Paths{Config: file, StateDir: filepath.Join(dir, "state")})
	if err != nil { // not every text is valid in images.yaml
		return nil
	}
	return f
}

// hostile generates texts that mean something to a shell, to an expression or to YAML.
func hostile() *rapid.Generator[string] {
	parts := rapid.SampledFrom([]string{"a", "/", "1", ".", " ", "${{", "}}", " secrets.X ", "$(id)", "`id`", "$HOME", "'", `"`, `\`, ";", "|", "&", "#", ": ", "- ", "{", "*", "!", "%", "ö", ",", "=", "@"})
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(parts, 1, 6).Draw(t, "parts"), "") })
}

// expressions are all that a workflow may evaluate.
var (
	expression  = regexp.MustCompile(`\$\{\{.*?\}\}`)
	expressions = regexp.MustCompile(`^\$\{\{ (inputs\.[-\w]+( \|\| (github\.ref_name|inputs\.[-\w]+))*|secrets\.[A-Z_]+|github\.(actor|token)|'\$\{\{') \}\}$`)
)

// unescaped returns what GitHub makes of a text that contains no expressions but escaped ones.
func unescaped(s string) string { return strings.ReplaceAll(s, "${{ '${{' }}", "${{") }

// TestWorkflowsEvaluateNothingOfAnEntry: whatever an entry holds reaches BuildKit as it is.
func TestWorkflowsEvaluateNothingOfAnEntry(t *testing.T) {
	for _, provider := range []config.Provider{config.GitHub, config.GitLab} {
		t.Run(string(provider), func(t *testing.T) { evaluateNothing(t, provider) })
	}
}

func evaluateNothing(t *testing.T, provider config.Provider) {
	dir, written := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		evil := rapid.SliceOfN(rapid.SampledFrom([]string{"branch", "dockerfile", "target", "value", "name", "context", "contents", "input", "job"}), 1, 3).Draw(t, "evil")
		text := func(name string) string {
			if slices.Contains(evil, name) {
				return hostile().Draw(t, name)
			}
			return rapid.StringMatching(`[a-z]{3}`).Draw(t, name)
		}
		source := map[string]any{
			"provider": string(provider), "repo": "acme/web", "branch": text("branch"), "dockerfile": text("dockerfile"), "target": text("target"),
			"buildArgs": map[string]string{"ARG": text("value"), text("name"): "x"}, "buildContexts": map[string]string{text("context"): text("contents")},
			"platforms": []string{"linux/arm64"},
		}
		if provider == config.GitHub {
			source["workflow"], source["inputs"] = "build.yml", map[string]string{"id": "{{promotion}}", "lock": "{{lock}}", "x": text("input")}
		} else {
			source["job"] = text("job")
		}
		doc, src := workflowOf(t, dir, source)
		if doc == nil {
			return
		}
		written++
		if provider == config.GitLab {
			checkGitLab(t, doc, src)
		} else {
			checkGitHub(t, doc, src)
		}
	})
	assert.Positive(t, written, "all entries are invalid")
}

// workflowOf returns the workflow of an entry, and the entry as it was read. It returns nothing if the entry is invalid, or its workflow
// is refused.
func workflowOf(t *rapid.T, dir string, source map[string]any) (doc map[string]any, src *config.Source) {
	f := enrolled(t, dir, source)
	if f == nil {
		return nil, nil
	}
	w, err := bootstrap.NewWorkflow(f, "web", bootstrap.WorkflowOptions{Release: "v1.2.3", Context: "."})
	if usage := (*fleet.UsageError)(nil); err != nil {
		require.ErrorAs(t, err, &usage)
		return nil, nil
	}
	require.NoError(t, yaml.UnmarshalStrict(w.Content, &doc), "%s", w.Content)
	return doc, f.Config.Find("web").Source
}

// TestBakeWorkflowsEvaluateNothingOfAnEntry: whatever an entry with a bake file holds reaches buildx as it is.
func TestBakeWorkflowsEvaluateNothingOfAnEntry(t *testing.T) {
	for _, provider := range []config.Provider{config.GitHub, config.GitLab} {
		t.Run(string(provider), func(t *testing.T) { bakeNothing(t, provider) })
	}
}

func bakeNothing(t *testing.T, provider config.Provider) {
	dir, written := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		evil := rapid.SliceOfN(rapid.SampledFrom([]string{"file", "target", "workdir", "value", "name"}), 1, 2).Draw(t, "evil")
		text := func(name string) string {
			if slices.Contains(evil, name) {
				return hostile().Draw(t, name)
			}
			return rapid.StringMatching(`[a-z]{3}`).Draw(t, name)
		}
		source := map[string]any{
			"provider": string(provider), "repo": "acme/web", "platforms": []string{"linux/arm64"},
			"bake":      map[string]string{"file": text("file") + ".hcl", "target": text("target"), "workdir": text("workdir")},
			"buildArgs": map[string]string{"ARG": text("value"), text("name"): "x"},
		}
		if provider == config.GitHub {
			source["workflow"] = "build.yml"
		}
		doc, src := workflowOf(t, dir, source)
		if doc == nil {
			return
		}
		written++
		want := []string{"*.platform=linux/arm64", "*.tags=ghcr.io/acme/web:latest"}
		for name, value := range src.BuildArgs {
			want = append(want, src.Bake.Target+".args."+name+"="+value)
		}
		var set []string
		folder, file, target := "", "", ""
		if provider == config.GitHub {
			set, folder, file, target = bakeInputs(t, doc)
		} else {
			set, folder, file, target = bakeVariables(t, doc)
		}
		assert.ElementsMatch(t, want, set)
		assert.Equal(t, src.Bake.File, path.Join(folder, file))
		assert.Equal(t, path.Clean(src.Bake.Workdir), path.Clean(folder))
		assert.Equal(t, src.Bake.Target, target)
	})
	assert.Positive(t, written, "all entries are invalid")
}

// bakeInputs returns the inputs of docker/bake-action.
func bakeInputs(t *rapid.T, doc map[string]any) (set []string, folder, file, target string) {
	steps := doc["jobs"].(map[string]any)["build-web"].(map[string]any)["steps"].([]any)
	step := steps[len(steps)-1].(map[string]any)
	require.Regexp(t, "^docker/bake-action@", step["uses"])
	with := step["with"].(map[string]any)
	for _, value := range with {
		for _, e := range expression.FindAllString(value.(string), -1) {
			assert.Regexp(t, expressions, e)
		}
	}
	return strings.Split(unescaped(with["set"].(string)), "\n"), with["source"].(string), with["files"].(string), with["targets"].(string)
}

// bakeVariables returns what the job of GitLab gives to docker buildx bake.
func bakeVariables(t *rapid.T, doc map[string]any) (set []string, folder, file, target string) {
	job := doc["build-web"].(map[string]any)
	for _, line := range job["script"].([]any) {
		assert.Regexp(t, `^[-\w\s/:.="$|'%]+$`, line)
	}
	literals := map[string]string{"BUILD_FOLDER": "."}
	for name, value := range job["variables"].(map[string]any) {
		if text, expanded := value.(string); expanded && name == "BUILD_TAG_1" {
			set = append(set, text)
		} else if v, literal := value.(map[string]any); literal {
			assert.Equal(t, false, v["expand"])
			literals[name] = v["value"].(string)
			if strings.HasPrefix(name, "BUILD_SET_") {
				set = append(set, literals[name])
			}
		}
	}
	return set, literals["BUILD_FOLDER"], literals["BUILD_FILE"], literals["BUILD_TARGET"]
}

func checkGitHub(t *rapid.T, doc map[string]any, src *config.Source) {
	var build map[string]any
	var walk func(key string, value any)
	walk = func(key string, value any) {
		switch v := value.(type) {
		case map[string]any:
			assert.NotContains(t, v, "run", "a workflow runs no script")
			if v["uses"] != nil && strings.HasPrefix(v["uses"].(string), "docker/build-push-action@") {
				build = v["with"].(map[string]any)
			}
			for key, inner := range v {
				walk(key, inner)
			}
		case []any:
			for _, inner := range v {
				walk(key, inner)
			}
		case string:
			if key == "branches" { // GitHub evaluates nothing there
				return
			}
			for _, e := range expression.FindAllString(v, -1) {
				assert.Regexp(t, expressions, e)
			}
		}
	}
	walk("", doc)
	require.NotNil(t, build)
	assert.Equal(t, src.Dockerfile, unescaped(build["file"].(string)))
	assert.Equal(t, src.Target, unescaped(build["target"].(string)))
	for key, want := range map[string]map[string]string{"build-args": src.BuildArgs, "build-contexts": src.BuildContexts} {
		got := map[string]string{}
		for line := range strings.SplitSeq(unescaped(build[key].(string)), "\n") {
			name, value, _ := strings.Cut(line, "=")
			got[name] = value
		}
		assert.Equal(t, want, got, key)
	}
}

func checkGitLab(t *rapid.T, doc map[string]any, src *config.Source) {
	job := doc["build-web"].(map[string]any)
	variables := job["variables"].(map[string]any)
	literal := func(name string) string {
		v := variables[name].(map[string]any)
		assert.Equal(t, false, v["expand"])
		return v["value"].(string)
	}
	assert.Equal(t, src.Dockerfile, literal("BUILD_FILE"))
	assert.Equal(t, src.Target, literal("BUILD_TARGET"))
	got := map[string]string{}
	for range src.BuildArgs {
		name, value, _ := strings.Cut(literal(fmt.Sprintf("BUILD_ARG_%d", len(got)+1)), "=")
		got[name] = value
	}
	assert.Equal(t, src.BuildArgs, got)
	for _, line := range job["script"].([]any) {
		assert.Regexp(t, `^[-\w\s/:.="$|'%]+$`, line)
	}
}

// TestWorkflowsAreUsedByCommit: the action that fetches the lock, and those of others, are named by their commits.
func TestWorkflowsAreUsedByCommit(t *testing.T) {
	f := enrolled(t, t.TempDir(), map[string]any{"provider": "github", "repo": "acme/web", "workflow": "build.yml", "platforms": []string{"linux/amd64", "linux/arm64"}})
	w, err := bootstrap.NewWorkflow(f, "web", bootstrap.WorkflowOptions{Release: "v1.2.3", Commit: strings.Repeat("0a", 20), Context: "."})
	require.NoError(t, err)
	uses := 0
	for line := range strings.Lines(string(w.Content)) {
		if strings.Contains(line, "uses:") {
			uses++
			assert.Regexp(t, `uses: [-\w]+(/[-\w]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n$`, line)
		}
	}
	assert.Equal(t, 6, uses)
}

// TestWorkflowNamesItsCommand: what wrote a workflow is read back from it, whatever the tags and folders contain.
func TestWorkflowNamesItsCommand(t *testing.T) {
	f := enrolled(t, t.TempDir(), map[string]any{"provider": "github", "repo": "acme/web", "workflow": "build.yml"})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringN(1, 8, -1), hostile())
		o := bootstrap.WorkflowOptions{Release: "v1.2.3-rc.1", Context: text.Draw(t, "context"), Tags: rapid.SliceOfN(text, 1, 3).Draw(t, "tags")}
		if rapid.Bool().Draw(t, "commit known") {
			o.Commit = strings.Repeat("0a", 20)
		}
		w, err := bootstrap.NewWorkflow(f, "web", o)
		if err != nil {
			require.ErrorContains(t, err, "line break")
			return
		}
		name, present, ok := bootstrap.ParseWorkflow(w.Content)
		require.True(t, ok)
		assert.Equal(t, "web", name)
		assert.Equal(t, []any{o.Release, o.Commit, o.Context, o.Tags}, []any{present.Release, present.Commit, present.Context, present.Tags})
		again, err := bootstrap.NewWorkflow(f, "web", bootstrap.WorkflowOptions{}.Or(present))
		require.NoError(t, err)
		assert.Equal(t, string(w.Content), string(again.Content))
	})
	_, err := bootstrap.NewWorkflow(f, "web", bootstrap.WorkflowOptions{Release: "v1.2.3", Context: ".", Tags: []string{"a\nrun: id"}})
	require.ErrorContains(t, err, `invalid tag or folder "a\nrun: id": it contains a line break`)
}

func FuzzParseWorkflow(f *testing.F) {
	f.Add("# Written by `imagefactory workflow web --release v1.2.3 --tag '1.0.${{ github.run_number }}'`, from images.yaml. To change it, change the entry and write it again.\n  - uses: a/b@c # v1\n")
	f.Add("# Written by `imagefactory workflow '")
	f.Add("# Written by `imagefactory workflow web --release")
	f.Fuzz(func(t *testing.T, text string) {
		if _, o, ok := bootstrap.ParseWorkflow([]byte(text)); ok && !strings.HasPrefix(strings.TrimSpace(text), "# Written by `imagefactory") {
			t.Errorf("taken for a workflow of imagefactory: %q, %v", text, o)
		}
	})
}
