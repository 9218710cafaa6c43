package lab_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/gittest"
)

// What `make loop-up` prints: the addresses of real servers, which take the place of those in this process. Without them a test has
// a git server, a forge and a registry of its own, and kubectl applies what synth writes.
var (
	gitea        = os.Getenv("LOOP_GITEA")
	giteaToken   = os.Getenv("LOOP_GITEA_TOKEN")
	loopRegistry = os.Getenv("LOOP_REGISTRY") // in which the runner of LOOP_GITEA publishes
	argoCD       = os.Getenv("LOOP_ARGOCD")   // kubeconfig of the cluster in which Argo CD runs
)

// repository is the git repository with images.yaml and state.
type repository struct {
	url, host, login string          // over HTTP; the login is USER:PASSWORD
	requests         func() []string // since the last call

	l   *lab
	dir string // bare, on this machine

	mu      sync.Mutex
	fetched time.Time // of a copy; zero if dir is the repository itself
}

// newRepository makes the repository, on a git server of this process or at Gitea.
func (l *lab) newRepository() *repository {
	l.t.Helper()
	if gitea == "" {
		server := gittest.NewServer(l.t, gittest.Options{User: "bot", Password: gitPassword})
		server.Init("fleet", map[string]string{"README.md": "The fleet of the lab.\n"})
		return &repository{
			url: server.URL("fleet"), host: server.Host, login: "bot:" + gitPassword, requests: server.Requests, l: l, dir: server.Dir("fleet"),
		}
	}
	name := l.project
	_ = l.callGitea(http.MethodDelete, "repos/acme/"+name, nil, nil) // of an earlier run
	require.NoError(l.t, l.callGitea(http.MethodPost, "user/repos", map[string]any{"name": name, "auto_init": true, "default_branch": "main"}, nil))
	r := &repository{
		url: "http://" + gitea + "/acme/" + name + ".git", host: gitea, login: "acme:" + giteaToken, requests: func() []string { return nil },
		l: l, dir: filepath.Join(l.t.TempDir(), "fleet.git"), fetched: time.Now(),
	}
	l.must("git", "clone", "-q", "--mirror", r.url, r.dir)
	return r
}

// git runs git in the repository, or in a copy that is at most a second old.
func (r *repository) git(args ...string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fetched.IsZero() && time.Since(r.fetched) > time.Second {
		if _, err := r.l.try("git", "-C", r.dir, "fetch", "-q", "--prune"); err != nil {
			return "", err
		}
		r.fetched = time.Now()
	}
	return r.l.try("git", append([]string{"-C", r.dir}, args...)...)
}

// must runs git as [repository.git] does, and must succeed.
func (r *repository) must(args ...string) string {
	r.l.t.Helper()
	out, err := r.git(args...)
	require.NoError(r.l.t, err)
	return out
}

// clone returns a checkout that may push.
func (r *repository) clone() string {
	r.l.t.Helper()
	dir := r.l.t.TempDir()
	header := "http.extraHeader=Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(r.login))
	r.l.must("git", "clone", "-q", "-c", header, r.url, dir)
	return dir
}

// commit commits files to the branch main.
func (r *repository) commit(files map[string]string, message string) error {
	dir := r.clone()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return r.push(dir, message)
}

// push commits and pushes what was changed in a checkout.
func (r *repository) push(dir, message string) error {
	for _, args := range [][]string{
		{"add", "-A"}, {"-c", "user.name=Lab", "-c", "user.email=lab@example.com", "commit", "-q", "-m", message}, {"push", "-q", "origin", "HEAD:main"},
	} {
		if _, err := r.l.try("git", append([]string{"-C", dir}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// sync has Argo CD apply what synth writes, with the Application that `init --full` writes: both are pushed to the repository, and
// Argo CD syncs the commit to the cluster of the lab.
func (l *lab) sync() {
	l.t.Helper()
	dir := l.repo.clone()
	at := []string{"--config", filepath.Join(dir, "images.yaml"), "--state-dir", filepath.Join(dir, "state"), "--out-dir", filepath.Join(dir, "dist")}
	l.must(l.binary, append([]string{"synth"}, at...)...)
	l.must(l.binary, append([]string{"init", "--full", "--force", "--ci", "gitea"}, at...)...)
	if strings.TrimSpace(l.must("git", "-C", dir, "status", "--porcelain")) != "" {
		require.NoError(l.t, l.repo.push(dir, "Synth [skip ci]"))
	}
	revision := strings.TrimSpace(l.must("git", "-C", dir, "rev-parse", "HEAD"))
	server := strings.TrimSpace(l.must("kubectl", "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"))
	token := strings.TrimSpace(l.must("kubectl", "config", "view", "--raw", "-o", "jsonpath={.users[0].user.token}"))
	application, err := os.ReadFile(filepath.Join(dir, "deploy", "application.yaml"))
	require.NoError(l.t, err)
	l.inArgoCD(fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: lab, labels: {argocd.argoproj.io/secret-type: cluster}}
stringData: {name: lab, server: %q, config: '{"bearerToken": %q, "tlsClientConfig": {"insecure": true}}'}
---
%s`, server, token, strings.Replace(string(application), "https://kubernetes.default.svc", server, 1)), "apply", "-f", "-")
	l.synced(revision)
}

// synced has Argo CD compare what is in the cluster with the newest commit, and waits until it finds no difference from a commit or a
// later one.
func (l *lab) synced(revision string) {
	l.t.Helper()
	l.inArgoCD("", "annotate", "application", l.project, "--overwrite", "argocd.argoproj.io/refresh=hard")
	l.eventually("Argo CD has compared and synced", func() bool {
		out := l.inArgoCD("", "get", "application", l.project, "-o", "jsonpath={.metadata.annotations.argocd\\.argoproj\\.io/refresh}:"+
			"{.status.operationState.phase}:{.status.health.status}:{.status.sync.status}:{.status.sync.revision}")
		at, ok := strings.CutPrefix(out, ":Succeeded:Healthy:Synced:")
		if !ok {
			return false
		}
		_, err := l.repo.git("merge-base", "--is-ancestor", revision, at)
		return err == nil
	})
}

// inArgoCD runs kubectl in the namespace of Argo CD.
func (l *lab) inArgoCD(in string, args ...string) string {
	l.t.Helper()
	out, err := l.input(in, "kubectl", append([]string{"--kubeconfig", argoCD, "-n", "argocd"}, args...)...)
	require.NoError(l.t, err)
	return out
}
