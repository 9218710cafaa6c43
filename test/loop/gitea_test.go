package loop_test

import (
	"encoding/base64"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
	"github.com/imagefactory/imagefactory/test/parts/buildrunner"
)

// authorization is the header with which git signs in as acme.
func authorization() string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("acme:"+servers.Gitea.Token))
}

// variable returns the variable of imagefactory with a credential of Gitea.
func variable(kind string) string {
	return "IMAGEFACTORY_" + kind + "_" + strings.NewReplacer(".", "_", ":", "_").Replace(servers.Gitea.Host)
}

// git runs git in a folder, as acme, and returns its output.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	args = append([]string{"-c", "user.name=acme", "-c", "user.email=acme@acme.example", "-c", "http.extraHeader=" + authorization()}, args...)
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// newRepository makes a public repository of acme, with files on the branch main.
func newRepository(t *testing.T, name string, files map[string]string) *parts.Repository {
	t.Helper()
	made, err := servers.Gitea.NewRepository(t.Context(), "acme", name, false)
	require.NoError(t, err)
	if len(files) > 0 {
		require.NoError(t, made.Commit(t.Context(), "main", "Add files", files))
	}
	return made
}

// newRunner registers a runner for an organization, whose jobs have the clock of the factory. It ends with the test.
func (f *factory) newRunner(organization string, log io.Writer) *buildrunner.Runner {
	f.t.Helper()
	r, err := buildrunner.New(f.t.Context(), buildrunner.Options{
		Parts: servers, Organization: organization, Source: repository, Program: filepath.Join(bin, "imagefactory"), Log: log,
		Environ: func() []string { return []string{"IMAGEFACTORY_TEST_NOW=" + f.now.Format(time.RFC3339)} },
	})
	require.NoError(f.t, err)
	f.t.Cleanup(r.Close)
	return r
}

// waitForRuns waits until a repository has had a number of runs: Gitea starts those of a push a little later. It must not have more.
func waitForRuns(t *testing.T, repo *parts.Repository, want int) {
	t.Helper()
	var runs []parts.WorkflowRun
	require.Eventually(t, func() bool {
		var err error
		runs, err = repo.Runs(t.Context())
		return err == nil && len(runs) >= want
	}, time.Minute, 100*time.Millisecond, "runs of %s", repo.Name)
	require.Len(t, runs, want, "runs of %s", repo.Name)
}
