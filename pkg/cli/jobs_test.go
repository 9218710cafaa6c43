package cli_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// tunnel is a proxy that connects every host to one server, and counts the connections.
func tunnel(t *testing.T, server string) (url string, tunnels *atomic.Int32) {
	t.Helper()
	tunnels = &atomic.Int32{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "example.com:443" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		tunnels.Add(1)
		up, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", server)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(up, down); _ = up.Close() }()
		_, _ = io.Copy(down, up)
		_ = down.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, tunnels
}

// certificate returns the certificate of a server in PEM format.
func certificate(t *testing.T, server string) string {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // only to read its certificate
	conn, err := dialer.DialContext(t.Context(), "tcp", server)
	require.NoError(t, err)
	defer conn.Close()
	raw := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// podOf returns the pod of the CronJob in dist.
func podOf(t *testing.T, dir string) corev1.PodSpec {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "dist/cronjob-promote.k8s.yaml"))
	require.NoError(t, err)
	var job batchv1.CronJob
	require.NoError(t, yaml.UnmarshalStrict(data, &job))
	return job.Spec.JobTemplate.Spec.Template.Spec
}

// TestJobsUseProxyAndCA runs the program in the environment that dist sets for the Jobs: behind a proxy, with a registry whose
// certificate is from a private CA.
func TestJobsUseProxyAndCA(t *testing.T) {
	r := registrytest.NewTLS(t)
	r.Base("library/db:1", "1")
	proxy, tunnels := tunnel(t, r.Host)
	const images = "images: [{name: db, registry: example.com, repository: library/db, tags: '1'}]\n"
	for name, tt := range map[string]struct {
		jobs string
		want string // part of the error; empty if it works
	}{
		"all":   {"{proxy: {https: '" + proxy + "', noProxy: [.corp.example]}, caBundle: {configMap: ca}, env: {NOTE: '{{args.x}}'}}", ""},
		"no CA": {"{proxy: {https: '" + proxy + "'}}", "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{
				"images.yaml": "factory: {state: {url: https://github.com/acme/factory.git}, jobs: " + tt.jobs + "}\n" + images, "ca/ca.crt": certificate(t, r.Host), "state/.gitkeep": "",
			})
			got := run(t, dir, "synth", "--split")
			require.Zero(t, got.code, got.err)
			pod := podOf(t, dir)
			folders := []string{"$(KUBERNETES_SERVICE_HOST)", "10.96.0.1"}
			for _, m := range pod.Containers[0].VolumeMounts {
				folders = append(folders, m.MountPath, filepath.Join(dir, m.Name)) // an empty folder, except for ca
			}
			inPod := strings.NewReplacer(folders...)
			cmd := exec.CommandContext(t.Context(), "imagefactory", "analyze", "--config", dir+"/images.yaml", "--state-dir", dir+"/state")
			cmd.Env = []string{nowVariable + "=" + scriptNow, "PATH=" + os.Getenv("PATH")}
			for _, e := range pod.Containers[0].Env {
				cmd.Env = append(cmd.Env, e.Name+"="+inPod.Replace(e.Value))
			}
			tunnels.Store(0)
			out, err := cmd.CombinedOutput()
			if tt.want != "" {
				require.Error(t, err)
				assert.Contains(t, string(out), tt.want)
				return
			}
			require.NoError(t, err, string(out))
			assert.Positive(t, tunnels.Load())
			assert.FileExists(t, dir+"/state/images/db.yaml")
		})
	}
}
