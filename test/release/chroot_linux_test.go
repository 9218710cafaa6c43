package main

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// container is an image's files in a folder, to run programs in with nothing else of this machine but its network.
type container struct {
	t    *testing.T
	root string
	img  v1.Image
}

func newContainer(t *testing.T, s *sample) *container {
	// Not t.TempDir, whose parents are closed to other users.
	root, err := os.MkdirTemp("", "imagefactory-root-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(root)) })
	require.NoError(t, os.Chmod(root, 0o755))
	for _, f := range s.files {
		path := filepath.Join(root, filepath.FromSlash(f.Name))
		if f.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(path, 0o755))
		} else {
			require.NoError(t, os.WriteFile(path, f.content, 0o600))
		}
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(path, f.Uid, f.Gid))
		}
		mode := f.FileInfo().Mode()
		require.NoError(t, os.Chmod(path, mode.Perm()|mode&os.ModeSticky))
	}
	return &container{t, root, s.img}
}

// file puts a file into the container, as a volume of a pod does.
func (c *container) file(path, content string) {
	file := filepath.Join(c.root, filepath.FromSlash(path))
	require.NoError(c.t, os.MkdirAll(filepath.Dir(file), 0o755))
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(c.t, err)
	_, err = f.WriteString(content)
	require.NoError(c.t, err)
	require.NoError(c.t, f.Close())
}

// run runs the image's entrypoint as the image's user in the image's folder with the image's environment. Root changes
// its user; anybody else becomes that user in a user namespace, which the kernel may forbid: then this needs root.
func (c *container) run(args ...string) (string, error) {
	cfg, err := c.img.ConfigFile()
	require.NoError(c.t, err)
	cmd := exec.CommandContext(c.t.Context(), cfg.Config.Entrypoint[0], append(cfg.Config.Entrypoint[1:], args...)...)
	cmd.Dir, cmd.Env = cfg.Config.WorkingDir, cfg.Config.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.root}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
	} else {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestAnalyzeInTheImage runs what the Jobs in dist run, with the files of the image alone, against servers that speak TLS.
func TestAnalyzeInTheImage(t *testing.T) {
	b := build(t)
	c := newContainer(t, b)
	out, err := c.run("version")
	require.NoError(t, err, out)
	assert.Contains(t, out, "imagefactory "+testVersion+" (commit "+b.source.commit+", ")

	const gitPassword, forgeToken, registryPassword = "git-secret", "forge-secret", "registry-secret"
	git := gittest.NewServer(t, gittest.Options{User: "bot", Password: gitPassword, TLS: true})
	forge, registry := forgetest.NewTLS(t), registrytest.NewTLS(t)
	forge.Token, registry.User, registry.Password = forgeToken, "robot", registryPassword
	gitHost, forgeHost, registryHost := named(t, git.Host), named(t, forge.Host), named(t, registry.Host)
	base := registry.Base("library/node:22", "1")
	commit := forge.GitHub("acme/web").Commit("Dockerfile", "FROM "+registryHost+"/library/node:22\n")
	url := git.Init("fleet", map[string]string{"images.yaml": fmt.Sprintf(`factory: {schedule: "CRON_TZ=Europe/Oslo 15 * * * *"}
images:
- {name: web, registry: %q, repository: acme/web, source: {provider: github, host: %q, repo: acme/web, workflow: build.yml}}
`, registryHost, forgeHost)})
	c.file("etc/hosts", "127.0.0.1 "+tlsName+"\n") // as the kubelet writes one
	c.file(kargo.CredentialsPath+"/git/"+gitHost+"/token", "bot:"+gitPassword)
	c.file(kargo.CredentialsPath+"/api/"+forgeHost+"/token", forgeToken)
	c.file(kargo.CredentialsPath+"/registry/"+registryHost+"/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`,
		registryHost, base64.StdEncoding.EncodeToString([]byte("robot:"+registryPassword))))
	analyze := []string{"analyze", "--state-repo=" + strings.Replace(url, git.Host, gitHost, 1), "--branch=main", "--path=state", "--config=images.yaml", "--push"}

	out, err = c.run(analyze...)
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "servers of an unknown CA are trusted: %s", out)
	assert.Equal(t, 1, failed.ExitCode(), out)
	assert.Contains(t, out, "certificate signed by unknown authority")

	// The CA of the servers is in the image's own file: that is the one that is read.
	ca, err := os.ReadFile(git.CACert())
	require.NoError(t, err)
	c.file(rootsPath, string(ca))
	out, err = c.run(analyze...)
	require.NoError(t, err, out)
	assert.Contains(t, git.Git("fleet", "cat-file", "blob", "main:state/images/web.yaml"), commit)
	bases := strings.Fields(git.Git("fleet", "ls-tree", "--name-only", "-r", "main:state/base-images"))
	require.Len(t, bases, 1)
	assert.Contains(t, git.Git("fleet", "cat-file", "blob", "main:state/base-images/"+bases[0]), base.Digest)
	before := len(git.Log("fleet"))
	out, err = c.run(analyze...)
	require.NoError(t, err, out)
	assert.Contains(t, out, "nothing new")
	assert.Len(t, git.Log("fleet"), before)
	for _, secret := range []string{gitPassword, forgeToken, registryPassword} {
		assert.NotContains(t, out, secret)
	}
}

// TestCABesideTheImages: a team mounts its own CA beside the image's certificates.
func TestCABesideTheImages(t *testing.T) {
	c := newContainer(t, build(t))
	git := gittest.NewServer(t, gittest.Options{TLS: true})
	git.Init("fleet", map[string]string{"images.yaml": "[]\n"})
	ca, err := os.ReadFile(git.CACert())
	require.NoError(t, err)
	c.file("etc/ssl/certs/team.pem", string(ca))
	out, err := c.run("analyze", "--state-repo="+git.URL("fleet"), "--config=images.yaml", "--push")
	require.NoError(t, err, out)
}

// tlsName is a name in the certificate of httptest: names of this machine itself would be asked without TLS.
const tlsName = "example.com"

func named(t *testing.T, host string) string {
	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	return net.JoinHostPort(tlsName, port)
}
