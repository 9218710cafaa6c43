package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

const (
	// delay is the rebuildDelay of these scenarios; a team would use days.
	delay = 45 * time.Second
	// patience bounds the wait for an expected change.
	patience = 6 * time.Minute
	// manager is the field manager of Argo CD's server-side apply.
	manager = "argocd-controller"

	gitPassword = "lab-git-password"
	forgeToken  = "lab-forge-token"
	gitlabToken = "lab-gitlab-token"
)

// lab is a Kargo Project on the running lab, with a team's servers around it.
type lab struct {
	t        *testing.T
	project  string
	run      string // folder of the lab
	binary   string
	repo     *repository
	registry *registrytest.Registry
	forge    *forge
	gitlab   *forge
	space    string // namespace of the images in the registry, and of their repositories at the forge

	entries strings.Builder
	ids     map[string]*image
	poll    string        // interval of the Warehouses
	pass    time.Duration // interval of promote

	asked, called int // requests to the forge and to Kubernetes at the last count

	mu   sync.Mutex
	tags map[string]registrytest.Content // current content of each tag
	all  map[string]registrytest.Content // everything pushed, by digest
	away string                          // requests to the registry with this prefix are refused; empty for none
	held map[string]chan struct{}        // posts to the registry that wait, by path
}

// newLab starts the servers of a project. It skips the test if no lab is running.
func newLab(t *testing.T, project string) *lab {
	t.Helper()
	run := os.Getenv("LAB_RUN")
	if run == "" {
		t.Skip("LAB_RUN names no folder of a running lab: skipped")
	}
	l := &lab{
		t: t, project: project, run: run, binary: filepath.Join(run, "imagefactory", "imagefactory"),
		registry: registrytest.New(t), space: "lab",
		forge:  &forge{Server: forgetest.New(t), provider: "github", repos: "/api/v3/repos/", token: forgeToken},
		gitlab: &forge{Server: forgetest.New(t), provider: "gitlab", token: gitlabToken},
		tags:   map[string]registrytest.Content{}, all: map[string]registrytest.Content{}, ids: map[string]*image{}, poll: "10s", pass: 15 * time.Second,
		held: map[string]chan struct{}{},
	}
	l.forge.Token, l.gitlab.Token = forgeToken, gitlabToken
	l.repo = l.newRepository()
	l.must("go", "build", "-o", l.binary, "../../cmd/imagefactory")
	return l
}

// must runs a program that must succeed, and returns its output.
func (l *lab) must(name string, args ...string) string {
	l.t.Helper()
	out, err := l.try(name, args...)
	require.NoError(l.t, err)
	return out
}

func (l *lab) try(name string, args ...string) (string, error) {
	return l.input("", name, args...)
}

func (l *lab) input(in, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(l.run, "kubeconfig"))
	if name == l.binary {
		cmd.Env = append(cmd.Env, "IMAGEFACTORY_CREDENTIALS="+l.folder("credentials"), "IMAGEFACTORY_CACHE_DIR="+l.folder("cache"))
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String() + errOut.String(), nil
}

// folder returns the folder with the project's files for the Jobs.
func (l *lab) folder(name string) string {
	return filepath.Join(l.run, "imagefactory", l.project, name)
}

func (l *lab) kubectl(args ...string) string {
	l.t.Helper()
	return l.must("kubectl", append([]string{"-n", l.project}, args...)...)
}

// object is a Kubernetes object, reduced to the fields that the scenarios read.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		Created     time.Time         `json:"creationTimestamp"`
		Generation  int64             `json:"generation"`
	} `json:"metadata"`
	Spec   map[string]any `json:"spec"`
	Status map[string]any `json:"status"`
}

// list reads objects of a kind.
func (l *lab) list(kind string, args ...string) []object {
	l.t.Helper()
	var out struct {
		Items []object `json:"items"`
	}
	require.NoError(l.t, json.Unmarshal([]byte(l.kubectl(append([]string{"get", kind, "-o", "json"}, args...)...)), &out))
	return out.Items
}

// tag pushes a version of a base image under its tag.
func (l *lab) tag(ref, version string) registrytest.Content {
	return l.put(ref, l.registry.Base(ref, version))
}

func (l *lab) put(ref string, c registrytest.Content) registrytest.Content {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags[ref], l.all[c.Digest] = c, c
	return c
}

func (l *lab) holds(ref string) registrytest.Content {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tags[ref]
}

// start sets the project up: it analyzes, generates dist and applies it, as CI and Argo CD do.
func (l *lab) start() {
	l.t.Helper()
	l.registry.Break(l.fault)
	text := fmt.Sprintf(`factory:
  project: %s
  state: {url: %q}
  poll: {baseImages: %s, images: %[3]s}
  maxConcurrentRebuilds: 100
  credentials:
    %q: {api: {secret: forge, key: token}}
    %q: {api: {secret: forge, key: gitlab}}
    %q: {git: {secret: git, key: token}}
defaults:
  rebuildDelay: %s
  rebuildInterval: 0
images:
`, l.project, l.repo.url, l.poll, l.forge.Host, l.gitlab.Host, l.repo.host, delay) + l.entries.String()
	require.NoError(l.t, os.RemoveAll(l.folder("")))
	for name, text := range map[string]string{
		"credentials/api/" + l.forge.Host + "/token": l.forge.token, "credentials/git/" + l.forge.Host + "/token": l.forge.token,
		"credentials/api/" + l.gitlab.Host + "/token": l.gitlab.token, "credentials/git/" + l.gitlab.Host + "/token": l.gitlab.token,
		"credentials/git/" + l.repo.host + "/token": l.repo.login,
	} {
		require.NoError(l.t, os.MkdirAll(filepath.Dir(l.folder(name)), 0o750))
		require.NoError(l.t, os.WriteFile(l.folder(name), []byte(text), 0o600))
	}
	require.NoError(l.t, l.repo.commit(map[string]string{"images.yaml": text}, "Enroll images"))
	l.t.Log(l.imagefactory("analyze", "--all"))
	l.buildFirst()
	l.clear() // of an earlier run
	l.apply()
	l.secrets()
	go l.work(l.t.Context())
}

// fault keeps a request from the registry if a scenario wants that.
func (l *lab) fault(w http.ResponseWriter, r *http.Request) bool {
	l.mu.Lock()
	away, held := l.away, l.held[r.URL.Path]
	l.mu.Unlock()
	if away != "" && strings.HasPrefix(r.URL.Path, away) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if held != nil && r.Method == http.MethodPost {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}
	return false
}

// refuseRequests has the registry refuse requests with a prefix; empty for none.
func (l *lab) refuseRequests(prefix string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = prefix
}

// hold has posts to a path of the registry wait, or go on.
func (l *lab) hold(path string, wait bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch held := l.held[path]; {
	case wait && held == nil:
		l.held[path] = make(chan struct{})
	case !wait && held != nil:
		close(held)
		delete(l.held, path)
	}
}

// secrets creates the Secret that Kargo reads and the files that the Jobs use instead of Secrets, as a team does by hand.
func (l *lab) secrets() {
	l.t.Helper()
	secret := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"forge","namespace":%q,"labels":{"kargo.akuity.io/cred-type":"generic"}},"stringData":{"token":%q,"gitlab":%q}}`,
		l.project, l.forge.token, l.gitlab.token)
	_, err := l.input(secret, "kubectl", "apply", "-f", "-")
	require.NoError(l.t, err)
	l.serviceAccount()
}

// end deletes the project if the test passed; otherwise it stays for inspection.
func (l *lab) end() {
	if !l.t.Failed() {
		l.clear()
	}
}

// clear deletes the project with everything in it.
func (l *lab) clear() {
	l.t.Helper()
	if argoCD != "" { // which would apply it again
		l.inArgoCD("", "delete", "application", l.project, "--ignore-not-found")
	}
	l.must("kubectl", "delete", "project", l.project, "--ignore-not-found", "--wait=false")
	l.eventually("the namespace is gone", func() bool {
		_, err := l.try("kubectl", "get", "namespace", l.project)
		return err != nil
	})
}

// work plays the forge's runners and the CronJob controller, which the lab lacks.
func (l *lab) work(ctx context.Context) {
	var cron sync.WaitGroup
	last := time.Time{}
	for ctx.Err() == nil {
		for _, i := range l.ids {
			if s, ok := i.builder.(interface{ work() }); ok {
				s.work()
			}
		}
		if time.Since(last) > l.pass {
			last = time.Now()
			cron.Wait()
			cron.Go(func() {
				name := fmt.Sprintf("promote-%d", time.Now().UnixMilli())
				_, err := l.try("kubectl", "-n", l.project, "create", "job", name, "--from=cronjob/promote")
				if err == nil {
					_, _ = l.try("kubectl", "-n", l.project, "wait", "--for=condition=complete", "--timeout=120s", "job/"+name)
				}
			})
		}
		time.Sleep(time.Second)
	}
	cron.Wait()
}

// imagefactory runs the binary on the state repository, as CI does.
func (l *lab) imagefactory(command string, args ...string) string {
	l.t.Helper()
	return l.must(l.binary, append([]string{command, "--state-repo", l.repo.url, "--push", "--config", "images.yaml"}, args...)...)
}

// apply generates dist from the state repository and applies it: Argo CD does, or kubectl as Argo CD would, the Project first.
func (l *lab) apply() {
	l.t.Helper()
	if argoCD != "" {
		l.sync()
		return
	}
	dist := l.dist()
	l.applyProject(dist[0])
	l.applyObjects(dist[1:])
}

// applyProject applies the Project and waits for its namespace.
func (l *lab) applyProject(project string) {
	l.t.Helper()
	l.applyObjects([]string{project})
	l.eventually("the namespace of the project", func() bool {
		out, err := l.try("kubectl", "get", "project", l.project, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		return err == nil && out == "True"
	})
}

// dist generates the resources, in their order.
func (l *lab) dist() []string {
	l.t.Helper()
	dir := l.repo.clone()
	l.must(l.binary, "synth", "--config", filepath.Join(dir, "images.yaml"), "--state-dir", filepath.Join(dir, "state"), "--out-dir", filepath.Join(dir, "dist"))
	return written(l.t, dir)
}

// written returns the objects that were generated in a folder.
func written(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "dist", "image-factory.k8s.yaml"))
	require.NoError(t, err)
	return strings.Split(string(data), "\n---\n")
}

func (l *lab) applyObjects(objects []string) {
	l.t.Helper()
	_, err := l.input(strings.Join(objects, "\n---\n"), "kubectl", "apply", "--server-side", "--field-manager="+manager, "--force-conflicts", "-f", "-")
	require.NoError(l.t, err)
}

// serviceAccount writes the kubeconfig that the Jobs use.
func (l *lab) serviceAccount() {
	l.t.Helper()
	token := strings.TrimSpace(l.kubectl("create", "token", "image-factory", "--duration=24h"))
	server := strings.TrimSpace(l.must("kubectl", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"))
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: job, user: {token: %q}}]
contexts: [{name: lab, context: {cluster: lab, user: job}}]
current-context: lab
`, server, token)
	require.NoError(l.t, os.WriteFile(l.folder("kubeconfig"), []byte(config), 0o600))
}

// eventually waits until something holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	eventually(l.t, what, holds)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	within(t, patience, what, holds)
}

func within(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(d); ; {
		begin := time.Now()
		if holds() {
			return
		}
		require.True(t, time.Now().Before(end), "not after %s: %s", d, what)
		time.Sleep(max(time.Second, 4*time.Since(begin))) // looking must not take the time of what is looked at
	}
}

// read decodes a file of the state repository; it reports whether the file exists.
func (l *lab) read(file string, into any) bool {
	out, err := l.repo.git("cat-file", "blob", "main:state/"+file)
	if err != nil {
		return false
	}
	require.NoError(l.t, yaml.Unmarshal([]byte(out), into))
	return true
}

// state returns the state of the image.
func (i *image) state() *state.Image {
	out := &state.Image{}
	i.read("images/"+i.name+".yaml", out)
	if out.Rebuild == nil {
		out.Rebuild = &state.Rebuild{}
	}
	return out
}

// builtOn returns the recorded digest of one of the image's bases, and its evidence.
func (i *image) builtOn(ref string) (string, state.Evidence) {
	for _, on := range i.state().BuiltOn {
		if strings.HasSuffix(on.Ref, "/"+ref) {
			return on.Digest, on.Evidence
		}
	}
	return "", ""
}

// base returns the state of a base image, found by its reference.
func (l *lab) base(ref string) *state.Base {
	names, err := l.repo.git("ls-tree", "--name-only", "main:state/base-images")
	if err != nil {
		return &state.Base{}
	}
	for name := range strings.FieldsSeq(names) {
		b := &state.Base{}
		if l.read("base-images/"+name, b) && b.Ref() == l.registry.Host+"/"+ref {
			return b
		}
	}
	return &state.Base{}
}

// promotions returns the Promotions to the image's rebuild Stage.
func (i *image) promotions() []object {
	var out []object
	for _, p := range i.list("promotions") {
		if p.Spec["stage"] == "rebuild-"+i.name {
			out = append(out, p)
		}
	}
	return out
}
