package bootstrap_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/test/gittest"
)

const images = `
factory: {credentials: {ghcr.io: {registry: {secret: r, key: .dockerconfigjson}}}}
images:
- name: web
  repository: acme/web
  source: {provider: github, repo: acme/web, workflow: build.yml}
`

func options(t *testing.T, text string) bootstrap.Options {
	t.Helper()
	cfg, err := config.Load(strings.NewReader(text), "images.yaml")
	require.NoError(t, err)
	const url = "https://github.com/acme/images.git"
	return bootstrap.Options{
		Config: cfg, Location: kargo.Options{StateURL: url, StatePath: "state", ConfigPath: "images.yaml"}, RepoURL: url,
		ConfigPath: "images.yaml", StatePath: "state", DistPath: "dist", CI: []bootstrap.CI{bootstrap.GitHub, bootstrap.GitLab},
		Version: "v1.2.3", ArgoCDNamespace: "argocd",
	}
}

// TestFilesAreYAML: strict YAML, the same bytes each time, whatever the names are, and nothing of the own repository's
// names ends up as code.
func TestFilesAreYAML(t *testing.T) {
	o := options(t, images)
	o.DistPath, o.Location.StateURL = `o'ut "dist": #x`, "https://github.com/acme/state.git"
	files, err := bootstrap.Files(o)
	require.NoError(t, err)
	again, err := bootstrap.Files(o)
	require.NoError(t, err)
	assert.Equal(t, files, again)
	require.Len(t, files, 8)
	assertYAML(t, files)
	app := object(t, files[bootstrap.ApplicationFile])
	assert.Equal(t, o.DistPath, app["spec"].(map[string]any)["source"].(map[string]any)["path"])

	o.Direct = true
	files, err = bootstrap.Files(o)
	require.NoError(t, err)
	require.Len(t, files, 2, "CI alone")
	assertYAML(t, files)
}

func assertYAML(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		for _, document := range bytes.Split(data, []byte("\n---\n")) {
			_, err := yaml.YAMLToJSONStrict(document)
			require.NoError(t, err, "%s\n%s", name, document)
		}
		assert.NotContains(t, string(data), "<<", name)
		assert.False(t, bytes.Contains(data, []byte(" \n")), "%s has spaces at the end of a line", name)
	}
}

// TestKeyContents: who makes one token for two uses is told of both, wherever the Secret comes from.
func TestKeyContents(t *testing.T) {
	o := options(t, strings.Replace(images, "{ghcr.io: {registry: {secret: r, key: .dockerconfigjson}}}", "{github.com: {api: {secret: forge, key: token}, git: {secret: forge, key: token}}}", 1))
	files, err := bootstrap.Files(o)
	require.NoError(t, err)
	for _, name := range []string{bootstrap.SecretsFile, bootstrap.ExternalSecretsFile} {
		assert.Contains(t, string(files[name]), "Actions: write", name)
		assert.Contains(t, string(files[name]), "Contents: write", name)
	}
	o = options(t, strings.Replace(images, "{ghcr.io: {registry: {secret: r, key: .dockerconfigjson}}}", "{github.com: {git: {secret: forge, key: token}}}", 1))
	files, err = bootstrap.Files(o)
	require.NoError(t, err)
	assert.Contains(t, string(files[bootstrap.SecretsFile]), "pushes state and reads Dockerfiles (Contents: write on the state repository, Contents: read on the others)",
		"the Jobs have no other token for the API")
}

// TestPinned: what runs in CI and is not ours is named by a full commit.
func TestPinned(t *testing.T) {
	for _, direct := range []bool{false, true} {
		o := options(t, strings.Replace(images, "factory: {", "factory: {reportURL: https://acme.example/images/, ", 1))
		o.Direct = direct
		files, err := bootstrap.Files(o)
		require.NoError(t, err)
		uses := 0
		for line := range strings.Lines(string(files[bootstrap.GitHubFile])) {
			if strings.Contains(line, "uses:") {
				uses++
				assert.Regexp(t, `uses: [-\w]+/[-\w]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n$`, line)
			}
		}
		assert.Equal(t, 6, uses)
	}
}

// TestReleaseIsUsedByItsAction: a release writes CI that downloads it, by the commit of its action; another version is built from source.
func TestReleaseIsUsedByItsAction(t *testing.T) {
	for _, direct := range []bool{false, true} {
		o := options(t, images)
		o.Direct, o.Version, o.Commit = direct, "v1.2.3", strings.Repeat("0a", 20)
		files, err := bootstrap.Files(o)
		require.NoError(t, err)
		text := string(files[bootstrap.GitHubFile])
		assertYAML(t, files)
		assert.Equal(t, len(object(t, files[bootstrap.GitHubFile])["jobs"].(map[string]any)), strings.Count(text, "uses: imagefactory/imagefactory@"+o.Commit+" # v1.2.3\n"))
		assert.NotContains(t, text, "go install")
		assert.NotContains(t, text, "IMAGEFACTORY_VERSION")
		gitlab := object(t, files[bootstrap.GitLabFile])
		assert.Equal(t, "ghcr.io/imagefactory/imagefactory:v1.2.3-shell", gitlab[".imagefactory"].(map[string]any)["image"])
		assert.NotContains(t, string(files[bootstrap.GitLabFile]), "go install")
		assert.NotContains(t, string(files[bootstrap.GitLabFile]), "GOTOOLCHAIN")
		o.Commit = ""
		files, err = bootstrap.Files(o)
		require.NoError(t, err)
		assert.NotContains(t, string(files[bootstrap.GitHubFile]), "uses: imagefactory/")
		assert.Contains(t, string(files[bootstrap.GitLabFile]), "go install")
	}
}

// TestCommitOfDist runs the last step of the workflow as a runner does: it commits what synth changes, once, on top of what
// somebody else pushed meanwhile, and commits nothing when there is nothing new.
func TestCommitOfDist(t *testing.T) {
	files, err := bootstrap.Files(options(t, images))
	require.NoError(t, err)
	steps := object(t, files[bootstrap.GitHubFile])["jobs"].(map[string]any)["update"].(map[string]any)["steps"].([]any)
	script := steps[len(steps)-1].(map[string]any)["run"].(string)

	server := gittest.NewServer(t, gittest.Options{})
	url := server.Init("fleet", map[string]string{"images.yaml": "a", "dist/old.yaml": "old"})
	work, bin := t.TempDir(), t.TempDir()
	runIn(t, work, nil, "git", "clone", "-q", url, ".")
	// A synth that, the first time, is overtaken by somebody else.
	synth := "#!/bin/sh\nset -e\ncp images.yaml dist/new.yaml\nrm -f dist/old.yaml\n" +
		"if [ -e $OVERTAKE ]; then rm $OVERTAKE; git clone -q " + url + " $OVERTAKE.clone; cd $OVERTAKE.clone; printf b >images.yaml; " +
		"git -c user.name=x -c user.email=x commit -qam Other; git push -q; fi\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "imagefactory"), []byte(synth), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sleep"), []byte("#!/bin/sh\n"), 0o755))
	overtake := filepath.Join(t.TempDir(), "overtake")
	require.NoError(t, os.WriteFile(overtake, nil, 0o600))
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "BRANCH=main", "IMAGEFACTORY_OUT_DIR=dist", "OVERTAKE=" + overtake}
	for range 2 {
		runIn(t, work, env, "bash", "-e", "-c", script)
		assert.Equal(t, []string{"Synthesize dist", "Other", "First"}, server.Log("fleet"))
	}
	assert.Equal(t, map[string]string{"images.yaml": "b", "dist/new.yaml": "b"}, server.Files("fleet"))
}

// TestNoDistWithoutState: the workflow synthesizes after a failed analysis, and never without the state that it could not fetch:
// Argo CD would prune what dist has not.
func TestNoDistWithoutState(t *testing.T) {
	o := options(t, images)
	o.Location.StateURL = "https://github.com/acme/state.git"
	files, err := bootstrap.Files(o)
	require.NoError(t, err)
	steps := object(t, files[bootstrap.GitHubFile])["jobs"].(map[string]any)["update"].(map[string]any)["steps"].([]any)
	fetch, synth := steps[len(steps)-2].(map[string]any), steps[len(steps)-1].(map[string]any)
	assert.Equal(t, "!cancelled()", fetch["if"])
	assert.Equal(t, fmt.Sprintf("!cancelled() && steps.%s.outcome == 'success'", fetch["id"]), synth["if"])
}

// TestGitLabAnalyzes: only a push of the Jobs is not analyzed. The newest commit of a scheduled pipeline often is theirs, too.
func TestGitLabAnalyzes(t *testing.T) {
	files, err := bootstrap.Files(options(t, images))
	require.NoError(t, err)
	var parts []string
	for _, part := range object(t, files[bootstrap.GitLabFile])["imagefactory-update"].(map[string]any)["script"].([]any) {
		parts = append(parts, part.(string))
	}
	script := strings.Join(parts, "\n")
	for name, c := range map[string]struct {
		source, author string
		analyzes       bool
	}{
		"a person's push": {"push", "Ada <ada@example.com>", true},
		"the Jobs' push":  {"push", "imagefactory <imagefactory@users.noreply.invalid>", false},
		"a schedule":      {"schedule", "imagefactory <imagefactory@users.noreply.invalid>", true},
	} {
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\n"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(bin, "imagefactory"), []byte("#!/bin/sh\necho \"$1\" >>"+bin+"/called\n"), 0o755))
		runIn(t, bin, []string{
			"PATH=" + bin + ":" + os.Getenv("PATH"), "IMAGEFACTORY_CREDENTIALS=" + t.TempDir(), "CI_JOB_TOKEN=x", "CI_PIPELINE_SOURCE=" + c.source, "CI_COMMIT_AUTHOR=" + c.author,
		}, "bash", "-e", "-c", script)
		called, err := os.ReadFile(filepath.Join(bin, "called"))
		require.NoError(t, err)
		assert.Equal(t, c.analyzes, strings.Contains(string(called), "analyze"), name)
		assert.Contains(t, string(called), "synth", name)
	}
}

// TestReport: the page is an artifact of the run, or published where factory.reportURL says so. Only the job that publishes it may
// do that, and it runs nothing else. State that CI does not have is not shown.
func TestReport(t *testing.T) {
	published := strings.Replace(images, "factory: {", "factory: {reportURL: https://acme.example/images/, ", 1)
	for _, direct := range []bool{false, true} {
		for _, text := range []string{images, published} {
			o := options(t, text)
			o.Direct = direct
			files, err := bootstrap.Files(o)
			require.NoError(t, err)
			jobs := object(t, files[bootstrap.GitHubFile])["jobs"].(map[string]any)
			assert.Equal(t, map[string]any{"contents": "read"}, jobs["report"].(map[string]any)["permissions"])
			gitlab := object(t, files[bootstrap.GitLabFile])
			if text == images {
				assert.NotContains(t, jobs, "pages")
				assert.Contains(t, gitlab, "imagefactory-report")
				assert.NotContains(t, gitlab, "pages")
				continue
			}
			pages := jobs["pages"].(map[string]any)
			assert.Equal(t, map[string]any{"pages": "write", "id-token": "write"}, pages["permissions"])
			assert.Len(t, pages["steps"], 1)
			assert.Equal(t, map[string]any{"paths": []any{"public"}}, gitlab["pages"].(map[string]any)["artifacts"])
		}
		o := options(t, published)
		o.Direct, o.Location.StateURL = direct, "https://github.com/acme/state.git"
		files, err := bootstrap.Files(o)
		require.NoError(t, err)
		assert.Equal(t, !direct, strings.Contains(string(files[bootstrap.GitHubFile]), "imagefactory report"))
		assert.Equal(t, !direct, strings.Contains(string(files[bootstrap.GitLabFile]), "imagefactory report"))
	}
}

// TestPlanComment runs the step that comments as a runner does: the first plan is a new comment, and a later one updates it.
func TestPlanComment(t *testing.T) {
	files, err := bootstrap.Files(options(t, images))
	require.NoError(t, err)
	job := object(t, files[bootstrap.GitHubFile])["jobs"].(map[string]any)["plan"].(map[string]any)
	assert.Equal(t, map[string]any{"contents": "read", "pull-requests": "write"}, job["permissions"])
	steps := job["steps"].([]any)
	script := steps[len(steps)-1].(map[string]any)["run"].(string)
	const fake = `#!/bin/sh
case "$*" in *--paginate*) printf '%s' "$KNOWN" ;; *) echo "$*" ;; esac
`
	for known, want := range map[string]string{
		"":         "api --silent --method POST repos/acme/images/issues/7/comments --field body=@/tmp/plan.md\n",
		"41\n42\n": "api --silent --method PATCH repos/acme/images/issues/comments/41 --field body=@/tmp/plan.md\n",
	} {
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "gh"), []byte(fake), 0o755))
		env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "GITHUB_REPOSITORY=acme/images", "NUMBER=7", "RUNNER_TEMP=/tmp", "KNOWN=" + known}
		assert.Equal(t, want, runIn(t, bin, env, "bash", "-e", "-c", script))
	}
}

// TestPullRequestsGetNoSecret: what a pull request runs holds no credential but the token of its own run, which may only read and
// comment.
func TestPullRequestsGetNoSecret(t *testing.T) {
	for name, direct := range map[string]bool{"with a cluster": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			o := options(t, images)
			o.Direct = direct
			files, err := bootstrap.Files(o)
			require.NoError(t, err)
			workflow := object(t, files[bootstrap.GitHubFile])
			assert.NotContains(t, string(files[bootstrap.GitHubFile]), "pull_request_target")
			assert.Empty(t, workflow["permissions"])
			checked := 0
			for id, job := range workflow["jobs"].(map[string]any) {
				j := job.(map[string]any)
				if condition, _ := j["if"].(string); !strings.HasPrefix(condition, "github.event_name == 'pull_request'") {
					continue
				}
				checked++
				text, err := json.Marshal(j)
				require.NoError(t, err)
				assert.NotContains(t, string(text), "secrets.", id)
				for permission, access := range j["permissions"].(map[string]any) {
					assert.True(t, access == "read" || permission == "pull-requests", "%s: %s", id, permission)
				}
				first := j["steps"].([]any)[0].(map[string]any)
				assert.Equal(t, false, first["with"].(map[string]any)["persist-credentials"], id)
			}
			assert.Equal(t, 2, checked, "check and plan")
		})
	}
}

// TestPlanNote runs the script of the merge request: without a token it writes no note; else it writes one and updates it.
func TestPlanNote(t *testing.T) {
	o := options(t, images)
	o.CI = []bootstrap.CI{bootstrap.GitLab}
	files, err := bootstrap.Files(o)
	require.NoError(t, err)
	script := object(t, files[bootstrap.GitLabFile])["imagefactory-plan"].(map[string]any)["script"].([]any)
	note := script[len(script)-1].(string)
	const fake = "#!/bin/sh\nfor last; do :; done\ncase \"$last\" in */user) ;; *sort=asc*) echo \"${last##*&}\" ;; *) shift 2; echo \"$*\" ;; esac\n"
	const jq = `#!/bin/sh
list=$(cat)
case "$list $*" in
*username) echo bot ;;
"page=3 length") echo 7 ;;
*length) echo 100 ;;
"page=${ID%:*} "*) printf '%s' "${ID#*:}" ;;
esac
`
	for _, c := range []struct{ token, id, want string }{ // id: the page and the ID of the note
		{"", "1:2", ""},
		{"t", "", "--fail --silent --show-error --output /dev/null --request POST --data-urlencode body@plan.md https://gitlab.example/api/v4/projects/1/merge_requests/2/notes\n"},
		{"t", "3:5", "--fail --silent --show-error --output /dev/null --request PUT --data-urlencode body@plan.md https://gitlab.example/api/v4/projects/1/merge_requests/2/notes/5\n"},
		{"t", "1:2", "--fail --silent --show-error --output /dev/null --request PUT --data-urlencode body@plan.md https://gitlab.example/api/v4/projects/1/merge_requests/2/notes/2\n"},
	} {
		bin := t.TempDir()
		for name, text := range map[string]string{"curl": fake, "jq": jq, "apt-get": "#!/bin/sh\n"} {
			require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
		}
		env := []string{
			"PATH=" + bin + ":" + os.Getenv("PATH"), "CI_API_V4_URL=https://gitlab.example/api/v4", "CI_PROJECT_ID=1", "CI_MERGE_REQUEST_IID=2",
			"IMAGEFACTORY_NOTE_TOKEN=" + c.token, "ID=" + c.id,
		}
		assert.Equal(t, c.want, runIn(t, bin, env, "bash", "-e", "-c", note))
	}
}

// TestRefused: what CI would expand is refused, and a place of state that CI would not find.
func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*bootstrap.Options){
		"expression": func(o *bootstrap.Options) { o.DistPath = "${{ secrets.X }}" },
		"line":       func(o *bootstrap.Options) { o.ConfigPath = "a\nb" },
		"no URL":     func(o *bootstrap.Options) { o.Location.StateURL = "nowhere" },
		"state path": func(o *bootstrap.Options) {
			o.Location.StatePath, o.Location.StateURL = "ops/state", "https://github.com/acme/other.git"
		},
	} {
		o := options(t, images)
		change(&o)
		_, err := bootstrap.Files(o)
		assert.Error(t, err, name)
	}
}

func TestCIOf(t *testing.T) {
	cfg := options(t, images+"- name: b\n  repository: acme/b\n  source: {provider: gitlab, host: code.example.com, repo: acme/b}\n").Config
	for url, want := range map[string][]bootstrap.CI{
		"https://github.com/acme/images":         {bootstrap.GitHub},
		"https://code.example.com/acme/images":   {bootstrap.GitLab},
		"https://gitlab.example.com/acme/images": {bootstrap.GitLab},
		"https://git.example.com/acme/images":    {bootstrap.GitHub, bootstrap.GitLab},
	} {
		assert.Equal(t, want, bootstrap.CIOf(cfg, url), url)
	}
}

func object(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, yaml.Unmarshal(data, &out))
	return out
}

func runIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}
