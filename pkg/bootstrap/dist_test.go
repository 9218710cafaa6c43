package bootstrap_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/test/gittest"
)

// stepOf returns the script of a step of a job of the workflow for GitHub, by its name.
func stepOf(t *testing.T, file []byte, job, name string) string {
	t.Helper()
	for _, step := range object(t, file)["jobs"].(map[string]any)[job].(map[string]any)["steps"].([]any) {
		if s := step.(map[string]any); s["name"] == name {
			return s["run"].(string)
		}
	}
	require.Fail(t, "no step "+name)
	return ""
}

// programs writes scripts into a folder and returns PATH with it in front.
func programs(t *testing.T, scripts map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	for name, text := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text), 0o755))
	}
	return "PATH=" + bin + ":" + os.Getenv("PATH")
}

// TestDistOfAPullRequest: a pull request may leave dist alone, as CI generates it after the merge. If it changes dist, that must be what
// synth writes.
func TestDistOfAPullRequest(t *testing.T) {
	files, err := bootstrap.Files(options(t, images))
	require.NoError(t, err)
	var gitlab []string
	for _, part := range object(t, files[bootstrap.GitLabFile])["imagefactory-check"].(map[string]any)["script"].([]any) {
		if strings.Contains(part.(string), "synth") {
			gitlab = append(gitlab, part.(string))
		}
	}
	require.Len(t, gitlab, 1)
	for name, script := range map[string]string{"github": stepOf(t, files[bootstrap.GitHubFile], "check", "Check dist"), "gitlab": gitlab[0]} {
		for change, want := range map[string]string{"images.yaml": "synth --dry-run\n", "dist/x.yaml": "synth --check\n", "dist/new.yaml": "synth --check\n"} {
			work := t.TempDir()
			git := func(args ...string) {
				runIn(t, work, nil, "git", append([]string{"-c", "user.name=x", "-c", "user.email=x"}, args...)...)
			}
			write := func(file, text string) {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(work, file)), 0o750))
				require.NoError(t, os.WriteFile(filepath.Join(work, file), []byte(text), 0o600))
				git("add", "--all")
				git("commit", "-qm", "x")
			}
			git("init", "-q")
			write("dist/x.yaml", "a")
			write(change, "b")
			called := filepath.Join(t.TempDir(), "called")
			path := programs(t, map[string]string{"imagefactory": `echo "$*" >>"$CALLED"`})
			runIn(t, work, []string{path, "CALLED=" + called, "IMAGEFACTORY_OUT_DIR=dist", "CI_MERGE_REQUEST_DIFF_BASE_SHA=HEAD~1"}, "bash", "-e", "-c", script)
			got, err := os.ReadFile(called)
			require.NoError(t, err)
			assert.Equal(t, want, string(got), "%s: %s", name, change)
		}
	}
}

// proposal is a repository in which CI proposes dist by a request.
type proposal struct {
	server *gittest.Server
	url    string
	work   string
	env    []string
	calls  string // file with the calls of gh, or the options of pushes
	script string
}

func newProposal(t *testing.T, ci bootstrap.CI) *proposal {
	t.Helper()
	o := options(t, images)
	o.PullRequest = true
	files, err := bootstrap.Files(o)
	require.NoError(t, err)
	p := &proposal{server: gittest.NewServer(t, gittest.Options{}), work: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls")}
	p.url = p.server.Init("fleet", map[string]string{"images.yaml": "a", "dist/x.yaml": "a"})
	p.server.Git("fleet", "config", "receive.denyNonFastForwards", "false")
	runIn(t, p.work, nil, "git", "clone", "-q", p.url, ".")
	number := filepath.Join(t.TempDir(), "number") // of the open request
	const gh = `echo "$1 $2" >>"$CALLS"
case "$2" in
list) cat "$NUMBER" 2>/dev/null || true ;;
create) echo 7 >"$NUMBER" ;;
close) rm "$NUMBER" ;;
esac
`
	p.env = []string{
		programs(t, map[string]string{"gh": gh, "imagefactory": "[ \"$1\" != synth ] || cp images.yaml dist/x.yaml\n"}), "BRANCH=main", "DIST_BRANCH=imagefactory/dist",
		"IMAGEFACTORY_OUT_DIR=dist", "CALLS=" + p.calls, "NUMBER=" + number, "IMAGEFACTORY_CREDENTIALS=" + t.TempDir(), "CI_JOB_TOKEN=x", "CI_PIPELINE_SOURCE=schedule", "CI_COMMIT_AUTHOR=x",
	}
	if ci == bootstrap.GitHub {
		p.script = stepOf(t, files[bootstrap.GitHubFile], "update", "Synthesize and propose")
		return p
	}
	var parts []string
	for _, part := range object(t, files[bootstrap.GitLabFile])["imagefactory-update"].(map[string]any)["script"].([]any) {
		parts = append(parts, part.(string))
	}
	p.script = strings.Join(parts, "\n")
	p.server.Git("fleet", "config", "receive.advertisePushOptions", "true")
	hook := "#!/bin/sh\necho \"$GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1 $GIT_PUSH_OPTION_3\" >>" + p.calls + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(p.server.Dir("fleet"), "hooks/post-receive"), []byte(hook), 0o755))
	return p
}

// run runs the script of CI and returns the calls.
func (p *proposal) run(t *testing.T) []string {
	t.Helper()
	require.NoError(t, os.RemoveAll(p.calls))
	runIn(t, p.work, p.env, "bash", "-e", "-c", p.script)
	calls, err := os.ReadFile(p.calls)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(calls)), "\n")
}

// proposed returns the commit and dist of the branch that is proposed.
func (p *proposal) proposed(t *testing.T) (commit, dist string) {
	t.Helper()
	dir := t.TempDir()
	runIn(t, dir, nil, "git", "clone", "-q", "-b", "imagefactory/dist", p.url, ".")
	data, err := os.ReadFile(filepath.Join(dir, "dist/x.yaml"))
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	return string(out), string(data)
}

// TestDistIsProposed: one request holds what synth changes. It is brought up to date, left alone if it is, and never takes a person's
// commits.
func TestDistIsProposed(t *testing.T) {
	for ci, want := range map[bootstrap.CI]struct{ opened, nothing, updated, closed []string }{
		bootstrap.GitHub: {[]string{"pr list", "pr create"}, []string{"pr list"}, []string{"pr list"}, []string{"pr list", "pr close"}},
		bootstrap.GitLab: {
			opened:  []string{"merge_request.create merge_request.target=main merge_request.remove_source_branch"},
			updated: []string{"merge_request.create merge_request.target=main merge_request.remove_source_branch"},
		},
	} {
		t.Run(string(ci), func(t *testing.T) {
			p := newProposal(t, ci)
			assert.Equal(t, want.nothing, p.run(t), "dist is up to date")
			p.server.Commit("fleet", map[string]string{"images.yaml": "b"}, "Change")
			assert.Equal(t, want.opened, p.run(t))
			first, dist := p.proposed(t)
			assert.Equal(t, "b", dist)
			assert.Equal(t, []string{"Change", "First"}, p.server.Log("fleet"), "nothing is pushed to main")
			assert.Equal(t, want.nothing, p.run(t))
			same, _ := p.proposed(t)
			assert.Equal(t, first, same)

			p.server.Commit("fleet", map[string]string{"images.yaml": "c"}, "Change again")
			assert.Equal(t, want.updated, p.run(t))
			second, dist := p.proposed(t)
			assert.Equal(t, "c", dist)

			work := t.TempDir()
			runIn(t, work, nil, "git", "clone", "-q", "-b", "imagefactory/dist", p.url, ".")
			runIn(t, work, nil, "git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "--allow-empty", "-m", "Mine")
			runIn(t, work, nil, "git", "push", "-q")
			p.server.Commit("fleet", map[string]string{"images.yaml": "d"}, "Change once more")
			assert.Equal(t, want.nothing, p.run(t), "a person's commit")
			third, dist := p.proposed(t)
			assert.NotEqual(t, second, third)
			assert.Equal(t, "c", dist)

			p.server.Commit("fleet", map[string]string{"dist/x.yaml": "d"}, "By hand")
			assert.Equal(t, want.closed, p.run(t), "no longer needed")
		})
	}
}
