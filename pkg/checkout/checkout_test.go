package checkout_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/checkout"
)

func TestHTTPSURL(t *testing.T) {
	tests := map[string]string{
		"https://github.com/acme/fleet.git":                        "https://github.com/acme/fleet.git",
		"https://user:canary@github.com/acme/fleet.git":            "https://github.com/acme/fleet.git",
		"https://canary@github.com/acme/fleet?access_token=canary": "https://github.com/acme/fleet",
		"https://github.com/acme/fleet#canary":                     "https://github.com/acme/fleet",
		"git@github.com:acme/fleet.git":                            "https://github.com/acme/fleet.git",
		"github.com:acme/fleet.git":                                "https://github.com/acme/fleet.git",
		"git@GitHub.com:Acme/Fleet.git":                            "https://github.com/Acme/Fleet.git",
		"https://Git.Example.com:443/acme/fleet.git":               "https://git.example.com/acme/fleet.git",
		"ssh://git@Git.Example.com/acme/fleet.git":                 "https://git.example.com/acme/fleet.git",
		"ssh://git@git.example.com:2222/acme/fleet.git":            "https://git.example.com/acme/fleet.git",
		"http://git.example.com:8080/acme/fleet.git":               "http://git.example.com:8080/acme/fleet.git",
		"/srv/git/fleet.git":                                       "",
		"../fleet.git":                                             "",
		"file:///srv/git/fleet.git":                                "",
		"":                                                         "",
	}
	for remote, want := range tests {
		got := checkout.HTTPSURL(remote)
		assert.Equal(t, want, got, remote)
		assert.NotContains(t, got, "canary")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	_, found, err := checkout.Find(dir)
	require.NoError(t, err)
	assert.False(t, found)

	below := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(below, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o755))
	c, found, err := checkout.Find(below)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, checkout.Checkout{Root: dir}, c, "no remote yet")

	config := "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@git.example.com:team/fleet.git\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "config"), []byte(config), 0o644))
	c, _, err = checkout.Find(below)
	require.NoError(t, err)
	assert.Equal(t, "https://git.example.com/team/fleet.git", c.Origin)

	worktree := filepath.Join(t.TempDir(), "tree")
	link := filepath.Join(dir, ".git", "worktrees", "tree")
	require.NoError(t, os.MkdirAll(worktree, 0o755))
	require.NoError(t, os.MkdirAll(link, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(link, "commondir"), []byte("../..\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(worktree, ".git"), []byte("gitdir: "+link+"\n"), 0o644))
	c, found, err = checkout.Find(worktree)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, checkout.Checkout{Root: worktree, Origin: "https://git.example.com/team/fleet.git", SSH: true}, c)
}
