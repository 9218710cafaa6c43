package loop_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// What [TestManyAtOnce] enrolls: images that are built on as many bases, from Dockerfiles in some repositories of Gitea.
const (
	manyImages, manyBases, manyRepositories = 300, 30, 10
	manyProject                             = "many-factory"
)

// many is a fleet whose Dockerfiles, builds and state are at Gitea.
type many struct {
	*factory
	bases  [manyBases]v1.Image // what the tags hold
	images [manyImages]v1.Image
	table  strings.Builder // a line for each step
}

// TestManyAtOnce publishes 300 images and moves their 30 bases at once, and counts what each step asks of each server. Times
// are only reported.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	m := &many{factory: newFactory(t)}
	defer func() { t.Log("\n" + m.table.String()) }()
	m.write("credentials/api/"+servers.Gitea.Host+"/token", servers.Gitea.Token)
	m.write("credentials/git/"+servers.Gitea.Host+"/token", "acme:"+servers.Gitea.Token)
	m.env = []string{"IMAGEFACTORY_CREDENTIALS=" + filepath.Join(m.dir, "credentials")} // also in a clone
	m.release("1")
	m.enroll()

	got := m.step("analyze: all is new", "analyze", "--all", "--push")
	assert.Equal(t, 1, m.commits(), "commits")
	assert.Equal(t, manyImages, got.forge.requests, "one request for each Dockerfile")

	got = m.step("analyze: nothing is new", "analyze", "--all", "--push")
	assert.Equal(t, 1, m.commits(), "commits")
	assert.Zero(t, got.pushes)

	m.release("2")
	m.later(time.Hour)
	m.jobs()
	assert.Equal(t, 2, m.commits(), "one commit for the burst")

	m.moveBases("3")
	got = m.step("analyze: the bases have moved", "analyze", "--all", "--push")
	assert.Equal(t, 3, m.commits(), "commits")
	assert.Equal(t, 1, got.pushes)

	m.dir = m.clone("many")
	got = m.step("synth", "synth")
	assert.Zero(t, got.total(), "synth asks nobody")
	got = m.step("plan", "plan")
	assert.Zero(t, got.total(), "plan asks nobody")

	m.later(8 * day)
	m.copyTo("many-kargo")
	m.promoteDirect()
	m.promoteInCluster()
}

// release pushes a version of all bases, and of all images, which begin with the layers of their bases.
func (m *many) release(version string) {
	m.t.Helper()
	m.moveBases(version)
	for n := range m.images {
		m.images[n] = m.image(m.bases[n%manyBases], fmt.Sprintf("image %d %s", n, version))
	}
	m.push(m.images[:], func(n int) string { return fmt.Sprintf("many/image-%03d:1.0.%s", n, version) })
}

// moveBases pushes a version of all bases.
func (m *many) moveBases(version string) {
	m.t.Helper()
	for n := range m.bases {
		m.bases[n] = m.image(nil, fmt.Sprintf("base %d %s", n, version))
	}
	m.push(m.bases[:], baseOf)
}

// push pushes images, some at a time.
func (m *many) push(images []v1.Image, ref func(int) string) {
	m.t.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for n, img := range images {
		group.Go(func() error {
			tag, err := name.NewTag(servers.Docker.Host + "/" + ref(n))
			if err != nil {
				return err
			}
			return remote.Write(tag, img)
		})
	}
	require.NoError(m.t, group.Wait())
}

// baseOf returns the reference of the base of an image.
func baseOf(image int) string { return fmt.Sprintf("many/base-%02d:1", image%manyBases) }

// image returns an image with a layer of its own.
func (m *many) image(base v1.Image, text string) v1.Image {
	m.t.Helper()
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	img, err := mutate.AppendLayers(base, static.NewLayer([]byte(text), types.OCILayer))
	require.NoError(m.t, err)
	cfg, err := img.ConfigFile()
	require.NoError(m.t, err)
	cfg.OS, cfg.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(m.t, err)
	return img
}

func (m *many) digest(img v1.Image) string {
	m.t.Helper()
	hash, err := img.Digest()
	require.NoError(m.t, err)
	return hash.String()
}

// enroll makes the repositories at Gitea.
func (m *many) enroll() {
	m.t.Helper()
	var images strings.Builder
	fmt.Fprintf(&images, "factory: {project: "+manyProject+", maxConcurrentRebuilds: %d, state: {url: %q}}\ndefaults: {registry: %q, rebuildDelay: 7d}\nimages:\n",
		manyImages, m.url("many"), servers.Docker.Host)
	repositories := make([]map[string]string, manyRepositories)
	for n := range manyImages {
		at := n % manyRepositories
		if repositories[at] == nil {
			repositories[at] = map[string]string{".gitea/workflows/build.yml": manyWorkflow}
		}
		repositories[at][fmt.Sprintf("%03d/Dockerfile", n)] = fmt.Sprintf("FROM %s/%s\n", servers.Docker.Host, baseOf(n))
		fmt.Fprintf(&images, "- name: many-%03d\n  repository: many/image-%03[1]d\n  source: {provider: gitea, host: %q, repo: acme/many-%d, dockerfile: %03[1]d/Dockerfile, workflow: build.yml, inputs: {rebuild: \"{{promotion}}\"}}\n",
			n, servers.Gitea.Host, at)
	}
	for at, files := range repositories {
		newRepository(m.t, fmt.Sprintf("many-%d", at), files)
	}
	newRepository(m.t, "many", map[string]string{"images.yaml": images.String()})
}

const manyWorkflow = `name: build
run-name: Build ${{ inputs.rebuild }}
on:
  workflow_dispatch:
    inputs:
      rebuild: {type: string}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
    - run: "true"
`

func (m *many) call(method, path string, body, into any) {
	m.t.Helper()
	require.NoError(m.t, servers.Gitea.Call(m.t.Context(), method, path, body, into))
}

func (m *many) url(repository string) string {
	return servers.Gitea.Repository("acme/" + repository).URL()
}

func (m *many) clone(repository string) string {
	m.t.Helper()
	dir := filepath.Join(m.t.TempDir(), repository)
	git(m.t, "", "clone", "--quiet", m.url(repository), dir)
	return dir
}

// commits returns the number of commits of imagefactory in the state repository.
func (m *many) commits() int {
	m.t.Helper()
	return strings.Count(git(m.t, m.clone("many"), "log", "--format=%an"), "imagefactory")
}

// asked is what one step asked of each server.
type asked struct {
	git, forge, registry, cluster count
	pushes                        int
}

// count is a number of requests and the time that their responses took, in all.
type count struct {
	requests int
	took     time.Duration
}

func (c count) String() string {
	return fmt.Sprintf("%d (%s)", c.requests, c.took.Round(time.Millisecond))
}

func (a *asked) total() int {
	return a.git.requests + a.forge.requests + a.registry.requests + a.cluster.requests
}

var loggedRequest = regexp.MustCompile(`msg="http request" method=(\w+) url="?([^ "]+)"? duration=(\S+)`)

// add adds the requests that a command has logged.
func (a *asked) add(t *testing.T, log string) {
	t.Helper()
	for _, found := range loggedRequest.FindAllStringSubmatch(log, -1) {
		at, err := url.Parse(found[2])
		require.NoError(t, err)
		took, err := time.ParseDuration(found[3])
		require.NoError(t, err)
		c := &a.registry
		switch {
		case at.Host == servers.Gitea.Host && strings.Contains(at.Path, ".git/"):
			c = &a.git
		case at.Host == servers.Gitea.Host:
			c = &a.forge
		case strings.HasSuffix(servers.Cluster.Host, at.Host):
			c = &a.cluster
		}
		c.requests, c.took = c.requests+1, c.took+took
		if found[1] == http.MethodPost && strings.HasSuffix(at.Path, "/git-receive-pack") {
			a.pushes++
		}
	}
}

// step runs a command that must succeed on the state repository, and adds a line to the table.
func (m *many) step(what, command string, flags ...string) *asked {
	m.t.Helper()
	begin := time.Now()
	got := &asked{}
	log, err := m.logged(append([]string{command}, flags...)...)
	require.NoError(m.t, err, "%s", log[max(0, len(log)-2000):])
	got.add(m.t, log)
	m.row(what, time.Since(begin), got)
	return got
}

func (m *many) row(what string, took time.Duration, got *asked) {
	fmt.Fprintf(&m.table, "| %s | %s | %s | %s | %s | %s |\n", what, took.Round(100*time.Millisecond), got.registry, got.git, got.forge, got.cluster)
}

// logged runs a command and returns what it prints to standard error, with all requests.
func (m *many) logged(args ...string) (string, error) {
	if slices.Contains(args, "--push") && !slices.Contains(args, "--state-repo") {
		args = append(args, "--state-repo", m.url("many"))
	}
	cmd := exec.CommandContext(m.t.Context(), filepath.Join(bin, "imagefactory"), append(args, "--verbose")...)
	cmd.Dir, cmd.Env = m.dir, m.environ()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	err := cmd.Run()
	return errOut.String(), err
}

// jobs runs the analyses that Kargo starts when all images and bases are new at once, several at a time. Not all that it would
// start: those that come later find their digest recorded, as the last ones here do.
func (m *many) jobs() {
	m.t.Helper()
	const jobs, atOnce = 12, 4
	begin := time.Now()
	var group errgroup.Group
	group.SetLimit(atOnce)
	logs := make([]string, jobs)
	for n := range logs {
		image := n * manyImages / jobs
		digest := m.digest(m.images[image])
		group.Go(func() (err error) {
			logs[n], err = m.logged("analyze", fmt.Sprintf("--image=many-%03d", image), "--tag=1.0.2", "--digest="+digest, "--push")
			return err
		})
	}
	require.NoError(m.t, group.Wait())
	got := &asked{}
	for _, log := range logs {
		got.add(m.t, log)
	}
	m.row(fmt.Sprintf("analyze: %d Jobs of a burst", jobs), time.Since(begin), got)
	assert.Equal(m.t, 1, got.pushes, "pushes")
}

// copyTo copies the state repository.
func (m *many) copyTo(name string) {
	m.t.Helper()
	newRepository(m.t, name, nil)
	git(m.t, m.dir, "push", "--quiet", "--force", m.url(name), "HEAD:main")
}

// promoteDirect starts the builds at Gitea.
func (m *many) promoteDirect() {
	m.t.Helper()
	got := m.step("promote --direct", "promote", "--direct", "--push")
	var runs struct {
		Total int `json:"total_count"`
	}
	total := 0
	for at := range manyRepositories {
		m.call(http.MethodGet, fmt.Sprintf("repos/acme/many-%d/actions/runs", at), nil, &runs)
		total += runs.Total
	}
	assert.Equal(m.t, manyImages, total, "each image is built once")
	assert.Equal(m.t, 2, got.pushes, "one that claims the rebuilds, one that records the runs")
	assert.LessOrEqual(m.t, got.forge.requests, 2*manyImages)
	got = m.step("promote --direct, again", "promote", "--direct", "--push")
	assert.Zero(m.t, got.pushes)
	assert.LessOrEqual(m.t, got.forge.requests, manyImages)
}

// promoteInCluster starts the builds through Promotions.
func (m *many) promoteInCluster() {
	m.t.Helper()
	api := newAPI(m.t)
	api.prepare(m)
	m.env = append(m.env, "KUBECONFIG="+servers.Cluster.Kubeconfig)
	got := m.step("promote", "promote", "--push", "--state-repo", m.url("many-kargo"))
	assert.Equal(m.t, manyImages, api.promotions(), "Promotions")
	assert.LessOrEqual(m.t, got.pushes, 2)
	assert.LessOrEqual(m.t, got.cluster.requests, 2*manyImages+10)
	got = m.step("promote, again", "promote", "--push", "--state-repo", m.url("many-kargo"))
	assert.Equal(m.t, manyImages, api.promotions(), "Promotions")
	assert.Zero(m.t, got.pushes)
	assert.LessOrEqual(m.t, got.cluster.requests, 10)
}

// resource is a Kubernetes object.
type resource = map[string]any

// api is a client of the API server.
type api struct {
	t      *testing.T
	client *http.Client
}

func newAPI(t *testing.T) *api {
	t.Helper()
	ca, err := os.ReadFile(servers.Cluster.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	return &api{t, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}}
}

// call sends a request and decodes the response.
func (a *api) call(method, path, kind string, body any) (resource, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, servers.Cluster.Host+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+servers.Cluster.Token)
	req.Header.Set("Content-Type", kind)
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var out resource
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s: %v", method, path, resp.Status, out["message"])
	}
	return out, nil
}

// collections are the paths of the kinds that are applied.
var collections = map[string]string{
	"Namespace": "/api/v1/namespaces",
	"Warehouse": manyAPI + "warehouses", "Stage": manyAPI + "stages", "Freight": manyAPI + "freights",
}

const manyAPI = "/apis/kargo.akuity.io/v1alpha1/namespaces/" + manyProject + "/"

// apply applies objects as Argo CD does, some at a time.
func (a *api) apply(objects ...resource) {
	a.t.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for _, o := range objects {
		group.Go(func() error {
			kind, _ := o["kind"].(string)
			path := collections[kind] + "/" + nameOf(o) + "?fieldManager=argocd-controller&force=true"
			_, err := a.call(http.MethodPatch, path, "application/apply-patch+yaml", o)
			return err
		})
	}
	require.NoError(a.t, group.Wait())
}

func nameOf(o resource) string {
	metadata, _ := o["metadata"].(resource)
	name, _ := metadata["name"].(string)
	return name
}

// objectsIn reads a file of objects.
func objectsIn(t *testing.T, file string) []resource {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var out []resource
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		var o resource
		require.NoError(t, yaml.Unmarshal([]byte(text), &o), file)
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// prepare applies the Warehouses and Stages of the fleet, and the Freight that Kargo would make of its bases.
func (a *api) prepare(m *many) {
	a.t.Helper()
	// Kargo's webhook adds the steps, which a Promotion must have.
	const promotions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/promotions.kargo.akuity.io"
	_, err := a.call(http.MethodPatch, promotions, "application/json-patch+json", []resource{
		{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/required"},
	})
	require.NoError(a.t, err)
	a.apply(resource{"apiVersion": "v1", "kind": "Namespace", "metadata": resource{"name": manyProject}})
	digests := map[string]string{}
	for n, img := range m.bases {
		digests[servers.Docker.Host+"/"+baseOf(n)] = m.digest(img)
	}
	var all []resource
	for _, o := range objectsIn(a.t, filepath.Join(m.dir, "dist", "image-factory.k8s.yaml")) {
		switch o["kind"] {
		case "Stage":
			all = append(all, o)
		case "Warehouse":
			all = append(all, o)
			if repository, tag := watched(o); digests[repository+":"+tag] != "" {
				all = append(all, resource{
					"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Freight", "metadata": resource{"name": fmt.Sprintf("%040x", len(all))},
					"origin": resource{"kind": "Warehouse", "name": nameOf(o)},
					"images": []resource{{"repoURL": repository, "tag": tag, "digest": digests[repository+":"+tag]}},
				})
			}
		}
	}
	begin := time.Now()
	a.apply(all...)
	m.t.Logf("%d objects applied in %s", len(all), time.Since(begin).Round(100*time.Millisecond))
}

// watched returns the repository and the tag that a Warehouse watches.
func watched(warehouse resource) (repository, tag string) {
	spec, _ := warehouse["spec"].(resource)
	subscriptions, _ := spec["subscriptions"].([]any)
	first, _ := subscriptions[0].(resource)
	image, _ := first["image"].(resource)
	repository, _ = image["repoURL"].(string)
	tag, _ = image["constraint"].(string)
	return repository, tag
}

// promotions returns the number of Promotions.
func (a *api) promotions() int {
	a.t.Helper()
	list, err := a.call(http.MethodGet, manyAPI+"promotions", "", nil)
	require.NoError(a.t, err)
	items, _ := list["items"].([]any)
	return len(items)
}
