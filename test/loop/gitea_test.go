package loop_test

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
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
