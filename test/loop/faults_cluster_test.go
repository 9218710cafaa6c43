package loop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/parts"
)

// door is a proxy in front of the API server, and what happens when it gets the request that creates a Promotion.
type door struct {
	kubeconfig string
	before     func() // it is lost
	after      func() // its response is lost
}

func newDoor(t *testing.T) *door {
	target, err := url.Parse(servers.Cluster.Host)
	require.NoError(t, err)
	ca, err := os.ReadFile(servers.Cluster.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}
	d := &door{}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the connection breaks, as that of the server did
		},
		ModifyResponse: func(r *http.Response) error {
			if d.after != nil && creates(r.Request) {
				d.after()
				panic(http.ErrAbortHandler)
			}
			return nil
		},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.before != nil && creates(r) {
			d.before()
			panic(http.ErrAbortHandler)
		}
		if creates(r) {
			fillSteps(t, r)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	data, err := os.ReadFile(servers.Cluster.Kubeconfig)
	require.NoError(t, err)
	dir := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), certificate, 0o600))
	d.kubeconfig = filepath.Join(dir, "kubeconfig")
	text := strings.NewReplacer(servers.Cluster.Host, server.URL, servers.Cluster.CAFile, filepath.Join(dir, "ca.crt")).Replace(string(data))
	require.NoError(t, os.WriteFile(d.kubeconfig, []byte(text), 0o600))
	return d
}

// fillSteps adds steps to a Promotion, as Kargo's webhook does.
func fillSteps(t *testing.T, r *http.Request) {
	var promotion map[string]any
	if err := json.NewDecoder(r.Body).Decode(&promotion); err != nil {
		t.Error(err)
		return
	}
	spec, _ := promotion["spec"].(map[string]any)
	spec["steps"] = []any{map[string]any{"uses": "compose-output"}}
	body, err := json.Marshal(promotion)
	if err != nil {
		t.Error(err)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

func creates(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/promotions")
}

// kubeObject is an object of Kubernetes, as far as the tests read it.
type kubeObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Stage string `json:"stage"`
	} `json:"spec"`
}

// applyStages applies the namespace and the Stages of dist.
func (s *site) applyStages(namespace string) {
	s.t.Helper()
	dist, err := os.ReadFile(filepath.Join(s.dir, "dist", "image-factory.k8s.yaml"))
	require.NoError(s.t, err)
	require.NoError(s.t, servers.Cluster.Call(s.t.Context(), http.MethodPost, "/api/v1/namespaces", parts.YAML, []byte("{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}"), nil))
	for doc := range strings.SplitSeq(string(dist), "\n---\n") {
		var o kubeObject
		require.NoError(s.t, yaml.Unmarshal([]byte(doc), &o))
		if o.Kind == "Stage" {
			require.NoError(s.t, servers.Cluster.Call(s.t.Context(), http.MethodPost, kargoPath(namespace, "stages"), parts.YAML, []byte(doc), nil))
		}
	}
}

func kargoPath(namespace, resource string) string {
	return "/apis/kargo.akuity.io/v1alpha1/namespaces/" + namespace + "/" + resource
}

// promotions returns the Promotions, by Stage.
func (s *site) promotions(namespace string) map[string][]kubeObject {
	s.t.Helper()
	var list struct{ Items []kubeObject }
	require.NoError(s.t, servers.Cluster.Call(s.t.Context(), http.MethodGet, kargoPath(namespace, "promotions"), "", nil, &list))
	out := map[string][]kubeObject{}
	for _, p := range list.Items {
		out[p.Spec.Stage] = append(out[p.Spec.Stage], p)
	}
	return out
}

// TestAPIServerGone ends the API server under each command that reads or writes the cluster. Without it nothing is started, and the
// rebuild that it was to start is started once, when it is back.
func TestAPIServerGone(t *testing.T) {
	const project = "apiserver"
	ctx := context.WithoutCancel(t.Context())
	s := newPair(t, servers.Docker.Host, project, "")
	d := newDoor(t)
	s.env = append(s.env, "KUBECONFIG="+d.kubeconfig)
	s.enroll("factory: {project: " + project + "}\n" + pairImages)
	s.run("synth")
	s.applyStages(project)
	start := func() {
		require.NoError(t, servers.Cluster.Start(ctx))
		require.Eventually(t, func() bool {
			return servers.Cluster.Call(ctx, http.MethodGet, kargoPath(project, "promotions"), "", nil, nil) == nil
		}, time.Minute, 100*time.Millisecond)
	}
	t.Cleanup(func() {
		if t.Failed() { // perhaps without the server, which other tests need
			servers.Cluster.Kill()
			start()
		}
	})
	promote := func() {
		_, err := s.try("promote", "--push")
		require.Error(t, err)
		s.git("pull", "--quiet", "--ff-only")
	}

	s.later(day)
	digest := s.push("os:13", "1")
	s.observe()
	warehouses, err := filepath.Glob(filepath.Join(s.dir, "state/base-images/*.yaml"))
	require.NoError(t, err)
	require.Len(t, warehouses, 1)
	freight := fmt.Sprintf(`{apiVersion: kargo.akuity.io/v1alpha1, kind: Freight, metadata: {name: "%040d"}, origin: {kind: Warehouse, name: base-%s}, images: [{repoURL: %q, tag: "13", digest: %q}]}`,
		1, strings.TrimSuffix(filepath.Base(warehouses[0]), ".yaml"), strings.TrimSuffix(s.ref("os:13"), ":13"), digest)
	require.NoError(t, servers.Cluster.Call(ctx, http.MethodPost, kargoPath(project, "freights"), parts.YAML, []byte(freight), nil))
	s.later(8 * day)

	servers.Cluster.Kill()
	before := s.head()
	for command, says := range map[string]string{
		"promote --push": "reaching the API server", "status --live": "reaching the API server", "doctor": "reaching the API server",
		"status": "", "synth --check": "", "pin one": "", "validate": "",
	} {
		_, err := s.try(strings.Fields(command)...)
		if says == "" {
			require.NoError(t, err, command)
		} else {
			require.ErrorContains(t, err, says, command)
		}
	}
	s.git("pull", "--quiet", "--ff-only")
	assert.Equal(t, before, s.head(), "nothing was recorded")
	start()
	assert.Empty(t, s.promotions(project))

	d.before = servers.Cluster.Kill
	promote()
	d.before = nil
	start()
	assert.Empty(t, s.promotions(project), "the requests were lost")
	assert.Equal(t, map[string]string{"one": "blocked", "two": "blocked"}, s.statuses())

	d.after = servers.Cluster.Kill
	s.later(11 * time.Minute)
	promote()
	d.after = nil
	start()
	for range 3 {
		s.later(11 * time.Minute)
		s.run("promote", "--push")
	}
	s.git("pull", "--quiet", "--ff-only")
	assert.Equal(t, map[string]string{"one": "running", "two": "running"}, s.statuses())
	created := s.promotions(project)
	for _, name := range []string{"one", "two"} {
		require.Len(t, created["rebuild-"+name], 1)
		require.Len(t, s.runs(name), 1)
		p := created["rebuild-"+name][0]
		s.dispatch(name, p.Metadata.Labels["imagefactory/rebuild"])
		s.build()
		status := fmt.Sprintf(`{"status": {"phase": "Succeeded", "state": {"rebuild::dispatch": {"run": "%d"}}}}`, s.runs(name)[0].ID)
		require.NoError(t, servers.Cluster.Call(ctx, http.MethodPatch, kargoPath(project, "promotions")+"/"+p.Metadata.Name+"/status", parts.MergePatch, []byte(status), nil))
	}

	servers.Cluster.Kill()
	before = s.head()
	promote()
	assert.Equal(t, before, s.head())
	start()
	s.observe()
	s.run("promote", "--push")
	s.run("promote", "--push")
	s.git("pull", "--quiet", "--ff-only")
	for _, name := range []string{"one", "two"} {
		assert.Equal(t, []string{"succeeded"}, s.history(name))
		assert.Len(t, s.promotions(project)["rebuild-"+name], 1)
		assert.Len(t, s.runs(name), 2)
		assert.Equal(t, map[string]string{"os:13": digest}, s.built(name+":latest"))
	}
	assert.Empty(t, s.unripe())
	s.fsck()
}

// head returns the commit of the checkout.
func (s *site) head() string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, ".git/refs/heads/main"))
	require.NoError(s.t, err)
	return string(data)
}

// dispatch starts the workflow of an image, as the steps of a Promotion do.
func (s *site) dispatch(image, rebuild string) {
	s.t.Helper()
	body := map[string]any{"ref": "main", "inputs": map[string]any{"rebuild": rebuild, "image": image}}
	require.NoError(s.t, s.code[image].Call(s.t.Context(), http.MethodPost, "/actions/workflows/build.yml/dispatches", body, nil))
}
