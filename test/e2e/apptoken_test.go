package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig writes a configuration to a file.
func kubeconfig(t *testing.T, c *rest.Config) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"c": {Server: c.Host, CertificateAuthority: c.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": {Token: c.BearerToken}},
		Contexts:  map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	}, file))
	return file
}

// TestAppTokenIsKeptFresh: the CronJob's account writes the token of a GitHub App to the Secret of dist, and may change no other;
// applying dist again leaves the token alone.
func TestAppTokenIsKeptFresh(t *testing.T) {
	const project = "app-fleet"
	made := 0
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "POST /api/v3/app/installations/42/access_tokens", r.Method+" "+r.URL.Path)
		made++
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token": "ghs_%d", "expires_at": %q}`, made, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	defer github.Close()
	host := strings.TrimPrefix(github.URL, "http://")
	secret := strings.ReplaceAll(host, ":", "-") + "-app-token"
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for file, text := range map[string]string{
		"images.yaml": fmt.Sprintf(`
factory: {project: %s, state: {url: "https://git.example.com/acme/images.git"}, credentials: {%q: {app: {secret: app}}}}
images: [{name: web, repository: acme/web, source: {provider: github, host: %q, repo: acme/web, workflow: build.yml}}]
`, project, host, host),
		"src/web/Dockerfile":                           "FROM alpine:3\n",
		"credentials/api/" + host + "/app-id":          "7",
		"credentials/api/" + host + "/installation-id": "42",
		"credentials/api/" + host + "/private-key":     string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	imagefactory(t, dir, "analyze", "--source-dir", "src", "--offline")
	imagefactory(t, dir, "synth")
	_, objects := generated(t, dir)
	appliedTwice(t, objects)
	a := admin(t)
	for name, spec := range jobs(t, objects) {
		if name == "CronJob/app-token" {
			_, err := a.typed.CoreV1().Pods(project).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec.Template.Spec}, metav1.CreateOptions{})
			require.NoError(t, err, "the restricted standard")
		}
	}

	account := configOf(t, a, project, "app-token")
	spec := jobs(t, objects)["CronJob/app-token"]
	refresh := func() {
		cmd := exec.CommandContext(t.Context(), binary, append(spec.Template.Spec.Containers[0].Args, "--credentials", filepath.Join(dir, "credentials"))...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(t, account))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	token := func() string {
		got, err := a.typed.CoreV1().Secrets(project).Get(t.Context(), secret, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, "generic", got.Labels[kargo+"/cred-type"])
		return string(got.Data["token"])
	}
	require.Empty(t, token())
	refresh()
	assert.Equal(t, "ghs_1", token())
	a.applyAll(t, objects)
	assert.Equal(t, "ghs_1", token(), "Argo CD leaves it")
	refresh()
	assert.Equal(t, "ghs_2", token())

	_, err = a.typed.CoreV1().Secrets(project).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "app"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	mine, err := newAPI(account)
	require.NoError(t, err)
	patch := []byte(`{"data":{"token":"eA=="}}`)
	_, err = mine.typed.CoreV1().Secrets(project).Patch(t.Context(), "app", types.MergePatchType, patch, metav1.PatchOptions{})
	assert.True(t, apierrors.IsForbidden(err), "another Secret: %v", err)
	_, err = mine.typed.CoreV1().Secrets(project).List(t.Context(), metav1.ListOptions{})
	assert.True(t, apierrors.IsForbidden(err), "all Secrets: %v", err)
	assert.Contains(t, rulesOf(t, mine, project), "patch /secrets of a list")
	promote, err := newAPI(configOf(t, a, project, "image-factory"))
	require.NoError(t, err)
	_, err = promote.typed.CoreV1().Secrets(project).Patch(t.Context(), secret, types.MergePatchType, patch, metav1.PatchOptions{})
	assert.True(t, apierrors.IsForbidden(err), "the account of the other Jobs: %v", err)
}
