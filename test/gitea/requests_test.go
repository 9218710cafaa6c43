package gitea_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRequests runs the tests of package forge that open pull requests on this server: this module cannot import the package.
func TestRequests(t *testing.T) {
	newRepository(t, "pinned", map[string]string{"Dockerfile": "FROM a\n", "folder/x": "x", "big": strings.Repeat("x", 2<<20)})
	for _, step := range []struct {
		method, path string
		body         map[string]any
	}{
		{http.MethodPost, "admin/users", map[string]any{"username": "bob", "email": "bob@acme.example", "password": "only-for-Tests-1"}},
		{http.MethodPost, "repos/acme/pinned/labels", map[string]any{"name": "deps", "color": "#00aabb"}},
		{http.MethodPut, "repos/acme/pinned/collaborators/bob", map[string]any{"permission": "write"}},
	} {
		require.NoError(t, server.Call(t.Context(), step.method, step.path, step.body, nil))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "AtRealGitea$", "./pkg/forge")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GITEA_HOST="+server.Host, "GITEA_TOKEN="+server.Token, "GITEA_REPO=acme/pinned")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestRequestAtRealGitea")
	require.Contains(t, string(out), "--- PASS: TestFilesAtRealGitea")
	require.Contains(t, string(out), "--- PASS: TestIssueAtRealGitea")
}
