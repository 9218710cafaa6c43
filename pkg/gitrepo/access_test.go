package gitrepo_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/test/gittest"
)

// TestAccess: what a credential may do is found out with two questions, and nothing is fetched or pushed.
func TestAccess(t *testing.T) {
	server := gittest.NewServer(t, gittest.Options{User: "u", Password: "p"})
	url := server.Init("r", map[string]string{"a": "b"})
	ask := func(branch, password string) (gitrepo.Access, error) {
		repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: url, Branch: branch, Path: "state", Auth: func(context.Context, string) (string, string, error) {
			return "u", password, nil
		}})
		require.NoError(t, err)
		return repo.Access(t.Context())
	}
	access, err := ask("main", "p")
	require.NoError(t, err)
	assert.Equal(t, gitrepo.Access{Branch: true}, access)
	assert.Equal(t, []string{"GET /r.git/info/refs?service=git-upload-pack", "GET /r.git/info/refs?service=git-receive-pack"}, server.Requests())

	access, err = ask("state", "p")
	require.NoError(t, err)
	assert.Equal(t, gitrepo.Access{}, access)

	server.Git("r", "config", "http.receivepack", "false")
	access, err = ask("main", "p")
	require.NoError(t, err)
	require.ErrorContains(t, access.Write, "no access")

	_, err = ask("main", "wrong")
	assert.ErrorContains(t, err, "no access (set a credential")
}
