// Package monitoring tests metrics, alert rules and the dashboard with the programs that read them: a Pushgateway, the official OTLP
// types, and Prometheus' own parsers and query engine. It is a Go module of its own, so that their dependencies are not those of
// the tool.
package monitoring

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/pushgateway/handler"
	"github.com/prometheus/pushgateway/storage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// files are a fleet: an image, its Dockerfile, and a base image that has moved.
var files = map[string]string{
	"images.yaml":    "- {name: web, repository: acme/web, autoRebuild: false, source: {provider: github, repo: acme/web, workflow: b.yml}}\n",
	"src/Dockerfile": "FROM node:22\n",
	"state/base-images/node-22.yaml": "name: node-22\nregistry: docker.io\nrepository: library/node\ntag: \"22\"\ncurrentDigest: sha256:" + strings.Repeat("b", 64) +
		"\nlastUpdated: \"2026-01-02T00:00:00Z\"\nbaseline:\n  digest: sha256:" + strings.Repeat("a", 64) + "\n  firstSeen: \"2026-01-01T00:00:00Z\"\ncandidates:\n- digest: sha256:" +
		strings.Repeat("b", 64) + "\n  firstSeen: \"2026-01-02T00:00:00Z\"\n",
	"state/images/web.yaml": "name: web\nrepository: ghcr.io/acme/web\nbaseImages:\n- ref: docker.io/library/node:22\n  uses:\n  - {kind: from, line: 1}\nbuiltOn:\n- ref: docker.io/library/node:22\n  digest: sha256:" +
		strings.Repeat("a", 64) + "\n  evidence: layers\ncurrentVersion: \"1\"\ncurrentDigest: sha256:" + strings.Repeat("c", 64) + "\nlastBuilt: \"2026-01-01T12:00:00Z\"\nrebuild:\n  id: r-1\n  reason: due\n" +
		"  requestedAt: \"2026-01-01T11:00:00Z\"\n  status: succeeded\n  finishedAt: \"2026-01-01T12:00:00Z\"\n",
}

// fleet writes the files of a fleet and returns their folder.
func fleet(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return dir
}

// version returns the version of the binary, which depends on the checkout that it was built in.
func version(t *testing.T) string {
	t.Helper()
	out, stderr, code := run(t, t.TempDir(), nil, "version", "-o", "name")
	require.Zero(t, code, stderr)
	return strings.TrimSpace(out)
}

// run runs the binary that MONITORING_BINARY names.
func run(t *testing.T, dir string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	binary := os.Getenv("MONITORING_BINARY")
	require.NotEmpty(t, binary, "MONITORING_BINARY must name the binary (run `make monitoring`)")
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append([]string{"HOME=" + dir}, env...)
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// gateway starts a Pushgateway.
func gateway(t *testing.T) (url string, seen func() map[string]map[string]float64) {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	store := storage.NewDiskMetricStore("", time.Minute, prometheus.NewRegistry(), silent)
	t.Cleanup(func() { _ = store.Shutdown() })
	router := route.New()
	for _, path := range []string{"/metrics/job/:job/*labels", "/metrics/job/:job"} {
		router.Put(path, handler.Push(store, true, true, false, silent))
		router.Post(path, handler.Push(store, false, true, false, silent))
	}
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return server.URL, func() map[string]map[string]float64 {
		out := map[string]map[string]float64{}
		for _, f := range store.GetMetricFamilies() {
			samples := map[string]float64{}
			for _, m := range f.Metric {
				var labels []string
				for _, l := range m.Label {
					if l.GetValue() != "" {
						labels = append(labels, l.GetName()+"="+l.GetValue())
					}
				}
				samples[strings.Join(labels, ",")] = m.GetGauge().GetValue()
			}
			out[f.GetName()] = samples
		}
		return out
	}
}

func TestPushgateway(t *testing.T) {
	url, seen := gateway(t)
	dir := fleet(t)
	out, errs, code := run(t, dir, nil, "metrics", "--push", url)
	require.Zero(t, code, errs)
	assert.Empty(t, out)
	assert.Equal(t, "metrics pushed to "+url+"/metrics/job/imagefactory\n", errs)
	assert.Equal(t, map[string]float64{"image=web,job=imagefactory": 1767312000}, seen()["imagefactory_image_outdated_timestamp_seconds"])

	// A metric without samples is gone with the next push, not kept.
	base := filepath.Join(dir, "state/base-images/node-22.yaml")
	require.NoError(t, os.WriteFile(base, []byte(strings.Split(files["state/base-images/node-22.yaml"], "candidates:")[0]), 0o600))
	_, errs, code = run(t, dir, nil, "metrics", "--push", url)
	require.Zero(t, code, errs)
	assert.NotContains(t, seen(), "imagefactory_image_outdated_timestamp_seconds")
	assert.Contains(t, seen(), "imagefactory_images")

	// The group that the URL names.
	_, errs, code = run(t, dir, nil, "metrics", "--push", url+"/metrics/job/images/team/shop")
	require.Zero(t, code, errs)
	assert.Contains(t, seen()["imagefactory_build_info"], "job=images,team=shop,version="+version(t))
}

// TestPasses: a pass that fails leaves the time of the last success.
func TestPasses(t *testing.T) {
	url, seen := gateway(t)
	dir := fleet(t)
	env := []string{"IMAGEFACTORY_METRICS_PUSH=" + url}
	analyze := []string{"analyze", "--source-dir", "src", "--offline"}
	_, errs, code := run(t, dir, env, analyze...)
	require.Zero(t, code, errs)
	key := func() string {
		for labels := range seen()["imagefactory_pass_success_timestamp_seconds"] {
			return labels
		}
		return ""
	}()
	assert.Contains(t, key, "command=analyze")
	success := seen()["imagefactory_pass_success_timestamp_seconds"][key]
	assert.Positive(t, success)
	assert.InDelta(t, 1, seen()["imagefactory_pass_success"][key], 0)
	assert.Contains(t, seen(), "imagefactory_image_status", "the fleet is sent too")

	require.NoError(t, os.Remove(filepath.Join(dir, "src/Dockerfile")))
	_, errs, code = run(t, dir, env, analyze...)
	require.Equal(t, 1, code, errs)
	assert.InDelta(t, 0, seen()["imagefactory_pass_success"][key], 0)
	assert.InDelta(t, 1, seen()["imagefactory_pass_problems"][key], 0)
	assert.InDelta(t, success, seen()["imagefactory_pass_success_timestamp_seconds"][key], 0)

	_, errs, code = run(t, dir, env, "promote", "--direct", "--offline")
	require.Zero(t, code, errs)
	assert.Len(t, seen()["imagefactory_pass_success"], 2, "analyze and promote")
}

// TestServersThatRefuse: they are warnings of a pass, without secrets.
func TestServersThatRefuse(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		http.Error(w, "no entry for "+password+" "+token, http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	env := []string{
		"IMAGEFACTORY_METRICS_PUSH=" + strings.Replace(refusing.URL, "http://", "http://user:hunter2@", 1),
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + refusing.URL, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20t0psecret",
	}
	_, errs, code := run(t, fleet(t), env, "promote", "--direct", "--offline", "--verbose")
	assert.Zero(t, code, errs)
	assert.Contains(t, errs, "warning: pushing metrics to "+refusing.URL+"/metrics/job/imagefactory: 403 Forbidden: no entry for ")
	assert.Contains(t, errs, "warning: sending metrics to "+refusing.URL+"/v1/metrics: 403 Forbidden: no entry for ")
	assert.NotContains(t, errs, "hunter2")
	assert.NotContains(t, errs, base64.StdEncoding.EncodeToString([]byte("user:hunter2")))
	assert.NotContains(t, errs, "t0psecret")
}

// receiver is an OTLP receiver.
type receiver struct {
	mu       sync.Mutex
	requests []*collector.ExportMetricsServiceRequest
	headers  []http.Header
	paths    []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(req.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	data, err := io.ReadAll(body)
	message := &collector.ExportMetricsServiceRequest{}
	if err == nil {
		err = proto.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(data, message)
	}
	if err != nil || req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "no protobuf", http.StatusUnsupportedMediaType)
		return
	}
	r.requests, r.headers, r.paths = append(r.requests, message), append(r.headers, req.Header), append(r.paths, req.URL.Path)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func TestOTLP(t *testing.T) {
	r := &receiver{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	dir := fleet(t)
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + server.URL + "/base/", "OTEL_EXPORTER_OTLP_HEADERS=X-Scope-OrgID=a%20b", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		"OTEL_RESOURCE_ATTRIBUTES=team=shop,service.name=other", "OTEL_SERVICE_NAME=images",
	}
	_, errs, code := run(t, dir, env, "metrics", "--otlp")
	require.Zero(t, code, errs)
	require.Len(t, r.requests, 1)
	assert.Equal(t, "/base/v1/metrics", r.paths[0])
	assert.Equal(t, "a b", r.headers[0].Get("X-Scope-OrgID"))
	assert.Equal(t, "gzip", r.headers[0].Get("Content-Encoding"))
	of := r.requests[0].ResourceMetrics[0]
	attributes := map[string]string{}
	for _, a := range of.Resource.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	assert.Equal(t, map[string]string{"service.name": "images", "service.version": version(t), "team": "shop"}, attributes)
	byName := map[string]*metrics.Metric{}
	for _, m := range of.ScopeMetrics[0].Metrics {
		byName[m.Name] = m
	}
	point := byName["imagefactory_image_outdated_timestamp_seconds"].GetGauge().DataPoints[0]
	assert.InDelta(t, 1767312000, point.GetAsDouble(), 0)
	assert.Equal(t, "web", point.Attributes[0].Value.GetStringValue())
	assert.NotZero(t, point.TimeUnixNano)
	assert.Equal(t, "s", byName["imagefactory_image_outdated_timestamp_seconds"].Unit)
	summary := byName["imagefactory_rebuild_duration_seconds"].GetSummary().DataPoints[0]
	assert.Equal(t, uint64(1), summary.Count)
	assert.InDelta(t, 3600, summary.QuantileValues[0].Value, 0)

	// A pass sends its own metrics with those of the fleet; the variable for metrics wins, and is taken as it is.
	_, errs, code = run(t, dir, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=" + server.URL + "/m"},
		"promote", "--direct", "--offline")
	require.Zero(t, code, errs)
	require.Len(t, r.requests, 2)
	assert.Equal(t, "/m", r.paths[1])
	var names []string
	for _, m := range r.requests[1].ResourceMetrics[0].ScopeMetrics[0].Metrics {
		names = append(names, m.Name)
	}
	assert.Contains(t, names, "imagefactory_pass_success_timestamp_seconds")
	assert.Contains(t, names, "imagefactory_images")

	for _, off := range []string{"OTEL_METRICS_EXPORTER=none", "OTEL_SDK_DISABLED=true"} {
		_, errs, code = run(t, dir, append(env, off), "promote", "--direct", "--offline")
		require.Zero(t, code, errs)
	}
	assert.Len(t, r.requests, 2)
}
