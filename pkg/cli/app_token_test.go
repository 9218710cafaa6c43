package cli_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/kubetest"
)

// appFiles returns the files of a GitHub App below the folder of credentials.
func appFiles(t *testing.T, host string) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	folder := "credentials/api/" + host + "/"
	return map[string]string{folder + "app-id": "7\n", folder + "installation-id": "42\n", folder + "private-key": string(private)}
}

// appTokenJob returns the arguments of the CronJob app-token for a fleet that is built at a host.
func appTokenJob(t *testing.T, host string) []string {
	t.Helper()
	cfg, err := config.Load(strings.NewReader(fmt.Sprintf(`
factory: {state: {url: "https://git.example.com/a/b"}, credentials: {%q: {app: {secret: app}}}}
images: [{name: web, repository: acme/web, source: {provider: github, host: %q, repo: acme/web, workflow: b.yml}}]
`, host, host)), "images.yaml")
	require.NoError(t, err)
	st := &state.State{Images: map[string]*state.Image{}, Bases: map[string]*state.Base{}}
	objects, _, err := kargo.Objects(cfg, st, graph.Build(cfg, st), kargo.Options{StateURL: cfg.Factory.State.URL})
	require.NoError(t, err)
	for _, o := range objects {
		if job, ok := o.(*kargo.CronJob); ok && job.Name() == kargo.AppTokenName {
			return job.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args
		}
	}
	require.Fail(t, "no CronJob "+kargo.AppTokenName)
	return nil
}

// TestAppToken runs the CronJob: GitHub makes a token that can only start workflows, and it is in the Secret that Kargo reads.
func TestAppToken(t *testing.T) {
	github, kube := forgetest.New(t), kubetest.New(t)
	t.Setenv("KUBECONFIG", kube.Kubeconfig())
	made := 0
	github.Handle("POST /api/v3/app/installations/42/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Permissions map[string]string `json:"permissions"`
		}
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
		assert.Equal(t, map[string]string{"actions": "write"}, asked.Permissions)
		made++
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"token": "ghs_canary%d", "expires_at": %q}`, made, time.Now().Add(time.Hour).Format(time.RFC3339))
	})
	dir, args := t.TempDir(), appTokenJob(t, github.Host)
	writeFiles(t, dir, appFiles(t, github.Host))
	flag := "--credentials=" + filepath.Join(dir, "credentials")
	secret := args[len(args)-1][strings.Index(args[len(args)-1], "=")+1:]
	kube.AllowSecret(secret)
	for i := 1; i <= 2; i++ { // each run makes a new one, however long the last is valid
		got := run(t, dir, append(args, flag)...)
		assert.Zero(t, got.code, got.err)
		assert.Equal(t, fmt.Sprintf("wrote a new token for %s to Secret %s\n", github.Host, secret), got.err)
		want := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "ghs_canary%d", i))
		assert.Equal(t, map[string]any{"token": want}, kube.Secret(secret))
	}

	// The account may write no other Secret. What can be done is done, and no token is shown.
	got := run(t, dir, append(args, flag, github.Host+"=other", "example.com=x")...)
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "wrote a new token for "+github.Host+" to Secret "+secret)
	assert.Contains(t, got.err, `writing Secret "other" in project image-factory-kargo: secrets "other" is forbidden: the ServiceAccount cannot patch resource "secrets" (apply dist, and run this with the ServiceAccount of its Role)`)
	assert.Contains(t, got.err, `refreshing the token for example.com: no GitHub App for "example.com": none of the files app-id, installation-id, private-key in `)
	assert.Contains(t, got.err, "imagefactory: 2 of 3 tokens not refreshed; the next run tries again")
	assert.NotContains(t, got.err, "canary")
	assert.NotContains(t, got.err, "PRIVATE KEY")

	for _, wrong := range [][]string{{"app-token"}, {"app-token", "--project=p", "github.com"}, {"app-token", "github.com=x"}} {
		assert.Equal(t, 2, run(t, dir, wrong...).code, wrong)
	}
}
