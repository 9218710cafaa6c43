package loop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/loop/content"
	"github.com/imagefactory/imagefactory/test/parts"
	"github.com/imagefactory/imagefactory/test/parts/buildrunner"
)

// syncTimeout bounds the wait for Argo CD, which takes seconds on a machine that is not busy.
const syncTimeout = 4 * time.Minute

// deployment is a factory whose repository is at Gitea, with the CI that `init --full` writes, and whose dist Argo CD applies.
type deployment struct {
	*factory
	project string
	synth   []string // the command that writes dist
	app     string   // path of the Application at the API server

	repo   *parts.Repository
	runner *buildrunner.Runner
	log    strings.Builder // of CI
	runs   int             // of CI, that have ended
}

// TestArgoCD takes a fleet from `init --full` in an empty repository to a cluster that Argo CD keeps in sync, with dist in one file and
// in one file per resource. After that a person changes images.yaml alone: CI writes dist.
func TestArgoCD(t *testing.T) {
	t.Parallel()
	for name, synth := range map[string][]string{"one-file": {"synth"}, "split": {"synth", "--split"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t, "argocd-"+name, synth)
			d.first()
			d.repeated()
			d.changed()
			d.edited()
			d.dropped()
			d.reverted()
			waitForRuns(t, d.repo, 5)
		})
	}
}

// newDeployment makes an organization with the repositories of a factory of four images: a parent, two that are built on it, and redis.
func newDeployment(t *testing.T, project string, synth []string) *deployment {
	t.Helper()
	d := &deployment{factory: newFactory(t), project: project, synth: synth}
	d.app = "/apis/argoproj.io/v1alpha1/namespaces/" + parts.ArgoCDNamespace + "/applications/" + project
	d.env = []string{variable("TOKEN") + "=" + servers.Gitea.Token}
	for _, name := range []string{"node:22", "library/redis:7"} {
		_, err := content.Push(d.ref(name), content.Image{Platforms: []string{"linux/amd64"}, Files: map[string]content.File{"etc/name": content.Text(name)}})
		require.NoError(t, err)
	}
	require.NoError(t, servers.Gitea.NewOrganization(t.Context(), project))
	empty := map[string]any{"name": "factory", "default_branch": "main", "private": true}
	require.NoError(t, servers.Gitea.Call(t.Context(), http.MethodPost, "orgs/"+project+"/repos", empty, nil))
	d.repo = servers.Gitea.Repository(project + "/factory")
	for name, base := range map[string]string{"base": d.ref("node:22"), "web": d.ref("base:latest"), "worker": d.ref("base:latest")} {
		code, err := servers.Gitea.NewRepository(t.Context(), project, name, true)
		require.NoError(t, err)
		require.NoError(t, code.Commit(t.Context(), "main", "Add files", map[string]string{"Dockerfile": "FROM " + base + "\n"}))
	}
	d.startCI()
	d.git("init", "--quiet", "--initial-branch=main")
	d.git("remote", "add", "origin", d.url())
	d.run("init", "--full", "--ci", "gitea")
	d.write("images.yaml", d.images("build.yml", "base", "web", "worker"))
	d.run("init", "--full", "--ci", "gitea", "--force") // the Secrets and the Project are those of images.yaml
	return d
}

// ref returns a reference in the registry, in a folder of this deployment.
func (d *deployment) ref(name string) string {
	return servers.Docker.Host + "/" + d.project + "/" + name
}

func (d *deployment) url() string {
	return d.repo.URL()
}

// images returns an images.yaml with redis and the named images. workflow is that of web.
func (d *deployment) images(workflow string, names ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `factory: {project: %s, credentials: {"%s": {api: {secret: forge, key: token}, git: {secret: forge, key: token}}}}
defaults: {registry: "%s", source: {provider: gitea, host: "%s", branch: main, workflow: build.yml}}
images:
- {name: redis, registry: "%s", repository: %s/library/redis, tags: "7"}
`, d.project, servers.Gitea.Host, servers.Docker.Host, servers.Gitea.Host, servers.Docker.Host, d.project)
	for _, name := range names {
		own := ""
		if name == "web" {
			own = ", workflow: " + workflow
		}
		fmt.Fprintf(&text, "- {name: %[1]s, repository: %[2]s/%[1]s, source: {repo: %[2]s/%[1]s%[3]s}}\n", name, d.project, own)
	}
	return text.String()
}

func (d *deployment) git(args ...string) string {
	d.t.Helper()
	return git(d.t, d.dir, args...)
}

// startCI registers a runner for the organization, and creates the secret that CI reads the Dockerfiles with.
func (d *deployment) startCI() {
	d.t.Helper()
	require.NoError(d.t, d.repo.SetSecret(d.t.Context(), variable("API_TOKEN"), servers.Gitea.Token))
	d.runner = d.newRunner(d.project, &d.log)
}

// The conclusions of the jobs of CI.
var (
	onMain    = map[string]string{"check": "skipped", "plan": "skipped", "update": "success"}
	onRequest = map[string]string{"check": "success", "plan": "success", "update": "skipped"}
)

// ci runs the jobs of the next run of CI, checks their conclusions, and returns what they print.
func (d *deployment) ci(want map[string]string) string {
	d.t.Helper()
	d.runs++
	d.log.Reset()
	waitForRuns(d.t, d.repo, d.runs)
	begin := time.Now()
	for {
		runs, err := d.repo.Runs(d.t.Context())
		require.NoError(d.t, err)
		if runs[0].Status == "completed" {
			got, err := d.repo.Jobs(d.t.Context(), runs[0].ID)
			require.NoError(d.t, err)
			require.Equal(d.t, want, got, d.log.String())
			d.t.Logf("CI of %q: %s", runs[0].Title, time.Since(begin).Round(100*time.Millisecond))
			return d.log.String()
		}
		done, err := d.runner.Next(d.t.Context())
		require.NoError(d.t, err)
		require.NotNil(d.t, done, "a run waits, but there is no job")
	}
}

// commit commits all changes.
func (d *deployment) commit(message string) {
	d.t.Helper()
	d.git("add", "-A")
	d.git("commit", "--quiet", "-m", message)
}

// updated runs CI after a change of images.yaml on main: it changes dist alone, in one commit. It returns that commit.
func (d *deployment) updated() string {
	d.t.Helper()
	person := d.git("rev-parse", "origin/main")
	d.ci(onMain)
	d.git("pull", "--quiet", "--ff-only", "origin", "main")
	assert.Equal(d.t, "imagefactory: Synthesize dist", d.git("log", "--format=%an: %s", person+".."))
	for file := range strings.Lines(d.git("diff", "--name-only", person)) {
		assert.Equal(d.t, "dist", filepath.Dir(file))
	}
	d.run("synth", "--check")
	return d.git("rev-parse", "HEAD")
}

// propose opens a pull request with the commits that are not on main, and takes them away here. It returns the number.
func (d *deployment) propose(branch, title string) int {
	d.t.Helper()
	d.git("push", "--quiet", "origin", "HEAD:refs/heads/"+branch)
	d.git("reset", "--quiet", "--hard", "origin/main")
	number, err := d.repo.Propose(d.t.Context(), branch, title)
	require.NoError(d.t, err)
	return number
}

// object is an object of Kubernetes.
type object map[string]any

func (o object) at(keys ...string) any {
	var v any = map[string]any(o)
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (o object) text(keys ...string) string {
	s, _ := o.at(keys...).(string)
	return s
}

func (o object) id() string { return o.text("kind") + "/" + o.text("metadata", "name") }

func (o object) wave() string {
	return o.text("metadata", "annotations", "argocd.argoproj.io/sync-wave")
}

// decode returns the objects in a file.
func decode(t *testing.T, data string) []object {
	t.Helper()
	var out []object
	for text := range strings.SplitSeq(data, "\n---\n") {
		var o object
		require.NoError(t, yaml.Unmarshal([]byte(text), &o))
		out = append(out, o)
	}
	return out
}

// dist returns what synth has written, by kind and name.
func (d *deployment) dist() map[string]object {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, "dist", "*.yaml"))
	require.NoError(d.t, err)
	out := map[string]object{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(d.t, err)
		for _, o := range decode(d.t, string(data)) {
			if o.text("kind") != "Kustomization" {
				out[o.id()] = o
			}
		}
	}
	return out
}

// path returns where the API server has an object.
func (d *deployment) path(o object) string {
	api := "/apis/" + o.text("apiVersion")
	if o.text("apiVersion") == "v1" {
		api = "/api/v1"
	}
	if namespace := o.text("metadata", "namespace"); namespace != "" {
		api += "/namespaces/" + namespace
	}
	plural := strings.ToLower(o.text("kind")) + "s"
	return api + "/" + plural + "/" + o.text("metadata", "name")
}

// apply applies an object as kubectl does.
func (d *deployment) apply(o object) {
	d.t.Helper()
	data, err := json.Marshal(o)
	require.NoError(d.t, err)
	require.NoError(d.t, servers.Cluster.Call(d.t.Context(), http.MethodPatch, d.path(o)+"?fieldManager=kubectl&force=true", parts.Apply, data, nil))
}

// patch changes an object by hand.
func (d *deployment) patch(path, change string) {
	d.t.Helper()
	require.NoError(d.t, servers.Cluster.Call(d.t.Context(), http.MethodPatch, path, parts.MergePatch, []byte(change), nil))
}

func (d *deployment) get(path string) object {
	d.t.Helper()
	var o object
	require.NoError(d.t, servers.Cluster.Call(d.t.Context(), http.MethodGet, path, "", nil, &o))
	return o
}

// live returns the objects of dist as the cluster has them.
func (d *deployment) live() map[string]object {
	d.t.Helper()
	out := map[string]object{}
	for id, o := range d.dist() {
		out[id] = d.get(d.path(o))
	}
	return out
}

// revisions returns the version of each object, which every write changes.
func revisions(objects map[string]object) map[string]string {
	out := map[string]string{}
	for id, o := range objects {
		out[id] = o.text("metadata", "resourceVersion")
	}
	return out
}

// status is the status of an Application.
type status struct {
	Sync struct {
		Status, Revision string
	}
	Health struct {
		Status string
	}
	Conditions     []struct{ Type, Message string }
	OperationState struct {
		Phase, Message, FinishedAt string
		Operation                  struct {
			Info []struct{ Value string }
		}
		SyncResult struct{ Revision string }
	}
	Resources []struct {
		Kind, Name, Status string
		Health             *struct{ Status string }
	}
}

// application is an Application, as far as the tests compare it.
type application struct {
	Metadata struct {
		Annotations map[string]string
	}
	Operation *struct{}
	Status    status
}

// await waits until the Application is as wanted.
func (d *deployment) await(what string, wanted func(*application) bool) *status {
	d.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(d.t.Context(), syncTimeout)
	defer cancel()
	var last application
	for {
		var a application
		if err := servers.Cluster.Call(ctx, http.MethodGet, d.app, "", nil, &a); err == nil {
			if last = a; wanted(&a) {
				d.t.Logf("%s: %s", what, time.Since(begin).Round(100*time.Millisecond))
				return &a.Status
			}
		}
		select {
		case <-ctx.Done():
			text, _ := yaml.Marshal(last)
			require.FailNow(d.t, "Argo CD did not get there: "+what, string(text))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// refresh makes Argo CD compare at once, also what it has cached.
func (d *deployment) refresh() *status {
	d.t.Helper()
	const key = "argocd.argoproj.io/refresh"
	d.patch(d.app, `{"metadata": {"annotations": {"`+key+`": "hard"}}}`)
	return d.await("compared", func(a *application) bool { return a.Metadata.Annotations[key] == "" })
}

// synced waits until Argo CD has synced a commit and finds no difference.
func (d *deployment) synced(what, commit string) *status {
	d.t.Helper()
	return d.await(what, func(a *application) bool {
		s := &a.Status
		return a.Operation == nil && s.Sync.Status == "Synced" && s.Sync.Revision == commit && s.OperationState.Phase == "Succeeded" && s.OperationState.SyncResult.Revision == commit
	})
}

// sync starts a sync by hand that applies every object, and waits for its end.
func (d *deployment) sync(what string) {
	d.t.Helper()
	d.await("idle", func(a *application) bool { return a.Operation == nil })
	d.patch(d.app, `{"operation": {"info": [{"name": "test", "value": "`+what+`"}], "sync": {"syncOptions": ["CreateNamespace=true", "ServerSideApply=true"]}}}`)
	s := d.await(what, func(a *application) bool {
		last := &a.Status.OperationState
		return a.Operation == nil && last.FinishedAt != "" && len(last.Operation.Info) == 1 && last.Operation.Info[0].Value == what
	})
	require.Equal(d.t, "Succeeded", s.OperationState.Phase, s.OperationState.Message)
}

func (d *deployment) checkSynced(s *status) {
	d.t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for id := range d.dist() {
		want[id] = "Synced"
	}
	for _, r := range s.Resources {
		got[r.Kind+"/"+r.Name] = r.Status
	}
	assert.Equal(d.t, want, got)
	assert.Empty(d.t, s.Conditions)
	assert.Equal(d.t, "Healthy", s.Health.Status)
	for _, r := range s.Resources {
		if r.Kind == "CronJob" {
			require.NotNil(d.t, r.Health, r.Name)
			assert.Equal(d.t, "Healthy", r.Health.Status, r.Name)
		} else {
			assert.Nil(d.t, r.Health, "Argo CD knows no health of a %s", r.Kind)
		}
	}
}

// first installs the factory as docs/install.md says.
func (d *deployment) first() {
	d.t.Helper()
	d.run("analyze")
	d.run(d.synth...)
	d.commit("Set up imagefactory")
	d.git("push", "--quiet", "origin", "main")
	d.ci(onMain)
	commit := d.git("rev-parse", "HEAD")
	d.git("fetch", "--quiet")
	require.Equal(d.t, commit, d.git("rev-parse", "origin/main"), "CI has no news, so it must not commit")
	out, err := exec.CommandContext(d.t.Context(), filepath.Join(programs, "argocd", "kustomize"), "build", filepath.Join(d.dir, "deploy")).Output()
	require.NoError(d.t, err)
	d.apply(d.permissions())
	d.apply(d.credentials())
	for _, o := range decode(d.t, string(out)) {
		if o.text("kind") == "Application" {
			o["spec"].(map[string]any)["project"] = d.project
		}
		d.apply(o)
	}
	s := d.synced("first sync", commit)
	d.checkSynced(s)
	d.checkOrder()
}

// permissions returns a project of Argo CD that allows what docs/install.md says, and nothing else.
func (d *deployment) permissions() object {
	return object{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": map[string]any{"name": d.project, "namespace": parts.ArgoCDNamespace},
		"spec": map[string]any{
			"sourceRepos":              []string{d.url()},
			"destinations":             []map[string]string{{"server": "https://kubernetes.default.svc", "namespace": d.project}},
			"clusterResourceWhitelist": []map[string]string{{"group": "", "kind": "Namespace"}, {"group": "kargo.akuity.io", "kind": "Project"}},
		},
	}
}

// credentials returns the Secret with which Argo CD reads the repository, which is private.
func (d *deployment) credentials() object {
	return object{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{
			"name": d.project + "-repository", "namespace": parts.ArgoCDNamespace, "labels": map[string]string{"argocd.argoproj.io/secret-type": "repository"},
		},
		"stringData": map[string]string{"type": "git", "url": d.url(), "username": "acme", "password": servers.Gitea.Token},
	}
}

// checkOrder checks that no object was created before one of an earlier sync wave: etcd counts writes.
func (d *deployment) checkOrder() {
	d.t.Helper()
	waves := map[string][]string{}
	for id, version := range revisions(d.live()) {
		wave := d.dist()[id].wave()
		waves[wave] = append(waves[wave], fmt.Sprintf("%9s", version))
	}
	require.Len(d.t, waves, 3)
	for _, pair := range [][2]string{{"-2", "-1"}, {"-1", ""}} {
		assert.Less(d.t, slices.Max(waves[pair[0]]), slices.Min(waves[pair[1]]), "wave %s and %q", pair[0], pair[1])
	}
}

// repeated checks that further syncs, and both ways to compare, find nothing to do.
func (d *deployment) repeated() {
	d.t.Helper()
	d.controlled()
	before := revisions(d.live())
	for _, diff := range []string{"true", "false"} {
		d.patch(d.app, `{"metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=`+diff+`"}}}`)
		d.checkSynced(d.refresh())
		d.sync("sync with ServerSideDiff=" + diff)
		d.checkSynced(d.refresh())
		assert.Equal(d.t, before, revisions(d.live()), "ServerSideDiff=%s", diff)
	}
	d.patch(d.app, `{"metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}}}`)
}

// controlled writes what Kargo's controllers write to the objects: finalizers and a status.
func (d *deployment) controlled() {
	d.t.Helper()
	for _, o := range d.dist() {
		if kind := o.text("kind"); kind == "Project" || kind == "Stage" || kind == "Warehouse" {
			d.patch(d.path(o), `{"metadata": {"finalizers": ["kargo.akuity.io/finalizer"]}}`)
			d.patch(d.path(o)+"/status", `{"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Testing", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}`)
		}
	}
}

// changed checks that a change of images.yaml, pushed alone, changes what it concerns.
func (d *deployment) changed() {
	d.t.Helper()
	before := revisions(d.live())
	d.write("images.yaml", d.images("other.yml", "base", "web", "worker"))
	d.commit("Build web with another workflow")
	d.git("push", "--quiet", "origin", "main")
	commit := d.updated()
	d.refresh()
	s := d.synced("sync of a changed workflow", commit)
	d.checkSynced(s)
	assert.Equal(d.t, []string{"Stage/rebuild-web"}, differing(before, revisions(d.live())))
	assert.Contains(d.t, fmt.Sprint(d.live()["Stage/rebuild-web"].at("spec")), "other.yml")
}

// differing returns the keys whose values differ.
func differing(a, b map[string]string) []string {
	var out []string
	for key := range a {
		if a[key] != b[key] {
			out = append(out, key)
		}
	}
	for key := range b {
		if _, known := a[key]; !known {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// edited checks that CI does not accept a pull request in which dist was edited by hand, in whichever of its commits.
func (d *deployment) edited() {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, "dist", "*.yaml"))
	require.NoError(d.t, err)
	changes := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(d.t, err)
		text := strings.ReplaceAll(string(data), "other.yml", "mine.yml")
		if text != string(data) {
			changes++
		}
		require.NoError(d.t, os.WriteFile(file, []byte(text), 0o644))
	}
	require.NotZero(d.t, changes)
	d.commit("Edit dist")
	d.write("images.yaml", d.images("other.yml", "base", "web"))
	d.commit("Drop worker")
	number := d.propose("edited", "Drop worker, and edit dist")
	log := d.ci(map[string]string{"check": "failure", "plan": "success", "update": "skipped"})
	assert.Contains(d.t, log, "dist is out of date")
	require.NoError(d.t, d.repo.ClosePull(d.t.Context(), number))
}

// dropped checks that the objects of an image that is no longer enrolled are removed, when Kargo lets go of them. A pull request drops it.
func (d *deployment) dropped() {
	d.t.Helper()
	before, gone := d.live(), d.dist()
	d.write("images.yaml", d.images("other.yml", "base", "web"))
	d.commit("Drop worker")
	number := d.propose("dropped", "Drop worker")
	assert.Contains(d.t, d.ci(onRequest), "images: 0 added, 1 removed, 0 changed, 0 due at once; 4 Kargo resources")
	require.NoError(d.t, d.repo.Merge(d.t.Context(), number))
	d.git("pull", "--quiet", "--ff-only", "origin", "main")
	commit := d.updated()
	for id := range d.dist() {
		delete(gone, id)
	}
	require.ElementsMatch(d.t, []string{"Warehouse/image-worker", "Stage/observe-image-worker", "Stage/rebuild-worker"}, slices.Collect(maps.Keys(gone)))
	d.refresh()
	d.await("worker is being removed", func(*application) bool {
		for _, o := range gone {
			if d.get(d.path(o)).text("metadata", "deletionTimestamp") == "" {
				return false
			}
		}
		return true
	})
	for _, o := range gone {
		d.patch(d.path(o), `{"metadata": {"finalizers": null}}`)
	}
	s := d.synced("sync of a dropped image", commit)
	d.checkSynced(s)
	for _, o := range gone {
		err := servers.Cluster.Call(d.t.Context(), http.MethodGet, d.path(o), "", nil, nil)
		var status *parts.StatusError
		require.ErrorAs(d.t, err, &status, o.id())
		assert.Equal(d.t, http.StatusNotFound, status.Code, o.id())
		delete(before, o.id())
	}
	assert.Equal(d.t, []string{"Role/image-factory"}, differing(revisions(before), revisions(d.live())))
}

// reverted checks that Argo CD takes back what a person changed, and that nothing else is lost.
func (d *deployment) reverted() {
	d.t.Helper()
	before := d.live()
	commit := d.git("rev-parse", "HEAD")
	changes := map[string]string{
		"CronJob/promote":            `{"spec": {"suspend": true, "schedule": "0 0 1 1 *"}}`,
		"Stage/rebuild-web":          `{"spec": {"promotionTemplate": null}, "metadata": {"labels": {"imagefactory/role": "observe"}}}`,
		"Warehouse/image-web":        `{"spec": {"freightCreationPolicy": "Manual", "interval": "9h0m0s"}}`,
		"ProjectConfig/" + d.project: `{"spec": {"promotionPolicies": [{"stageSelector": {"name": "rebuild-web"}, "autoPromotionEnabled": true}]}}`,
		"Role/image-factory":         `{"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}`,
	}
	for id, change := range changes {
		require.Contains(d.t, before, id)
		d.patch(d.path(before[id]), change)
	}
	restored := func(*application) bool {
		for id := range changes {
			if !assert.ObjectsAreEqual(declared(before[id]), declared(d.get(d.path(before[id])))) {
				return false
			}
		}
		return true
	}
	d.await("changes by hand are reverted", restored)
	d.checkSynced(d.synced("sync after it", commit))
	after := d.live()
	for id, o := range after {
		assert.Equal(d.t, declared(before[id]), declared(o), id)
		assert.Equal(d.t, before[id].at("status"), o.at("status"), id)
		assert.Equal(d.t, before[id].text("metadata", "uid"), o.text("metadata", "uid"), id)
	}
}

// declared returns what people and programs declare of an object: everything but its status and what the API server adds.
func declared(o object) object {
	out := maps.Clone(o)
	delete(out, "status")
	m := maps.Clone(out["metadata"].(map[string]any))
	for _, key := range []string{"resourceVersion", "generation", "managedFields"} {
		delete(m, key)
	}
	out["metadata"] = m
	return out
}
