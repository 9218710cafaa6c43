package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// clouds stands in for the token services and the registries of three clouds, by the names of their hosts.
type clouds struct {
	t        *testing.T
	registry http.Handler // behind all of them

	mu    sync.Mutex
	asked map[string]int // requests for tokens, by what they ask for
}

const (
	ecrRegistry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
	acrRegistry = "acme.azurecr.io"
	garRegistry = "europe-docker.pkg.dev"
	identity    = "canary.of.the.pod" // token of the ServiceAccount
)

func (c *clouds) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[what]++
}

// taken returns what was asked for since the last call, sorted.
func (c *clouds) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	what := slices.Sorted(maps.Keys(c.asked))
	c.asked = map[string]int{}
	return what
}

// serve answers the requests to all hosts.
func (c *clouds) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	authorization := r.Header.Get("Authorization")
	switch place := r.Host + r.URL.Path; {
	case place == "sts.eu-central-1.amazonaws.com/" && form.Get("Action") == "AssumeRoleWithWebIdentity":
		assert.Equal(c.t, identity, form.Get("WebIdentityToken"))
		assert.Equal(c.t, "arn:aws:iam::123456789012:role/images", form.Get("RoleArn"))
		c.count("role of Amazon")
		_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ASIAOFTHEROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	case place == "api.ecr.eu-central-1.amazonaws.com/":
		assert.Contains(c.t, authorization, "Credential=ASIAOFTHEROLE/", "it asks as the role")
		c.count("login of ECR")
		token := base64.StdEncoding.EncodeToString([]byte("AWS:of-ecr"))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = fmt.Fprintf(w, `{"authorizationData": [{"authorizationToken": %q, "expiresAt": %d, "proxyEndpoint": "https://%s"}]}`, token, time.Now().Add(time.Hour).Unix(), ecrRegistry)
	case place == "login.microsoftonline.com/tenant-1/oauth2/token":
		assert.Equal(c.t, identity, form.Get("client_assertion"))
		assert.Equal(c.t, "client-1", form.Get("client_id"))
		c.count("token of Azure")
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token": "of-azure", "token_type": "Bearer", "expires_in": "3600", "expires_on": "%d"}`, time.Now().Add(time.Hour).Unix())
	case place == acrRegistry+"/oauth2/exchange":
		assert.Equal(c.t, "of-azure", form.Get("access_token"))
		c.count("login of ACR")
		_, _ = io.WriteString(w, `{"refresh_token": "of-acr"}`)
	case place == acrRegistry+"/oauth2/token":
		assert.Equal(c.t, "of-acr", form.Get("refresh_token"))
		_, _ = io.WriteString(w, `{"access_token": "for-acr"}`)
	case r.Host == ecrRegistry:
		c.guarded(w, r, authorization == "Basic "+base64.StdEncoding.EncodeToString([]byte("AWS:of-ecr")), "Basic")
	case r.Host == acrRegistry:
		c.guarded(w, r, authorization == "Bearer for-acr", `Bearer realm="https://`+acrRegistry+`/oauth2/token",service="`+acrRegistry+`"`)
	case r.Host == garRegistry:
		c.guarded(w, r, authorization == "Basic "+base64.StdEncoding.EncodeToString([]byte("_token:of-google")), "Basic")
	default:
		c.t.Errorf("unexpected request to %s", place)
		http.NotFound(w, r)
	}
}

// guarded is a registry that needs a login.
func (c *clouds) guarded(w http.ResponseWriter, r *http.Request, ok bool, challenge string) {
	if !ok {
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors": [{"code": "UNAUTHORIZED"}]}`)
		return
	}
	c.registry.ServeHTTP(w, r)
}

// metadata is the metadata server of a node of Google, with the identity of the pod.
func (c *clouds) metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if strings.HasSuffix(r.URL.Path, "/token") {
		c.count("token of Google")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token": "of-google", "expires_in": 3600, "token_type": "Bearer"}`)
		return
	}
	http.NotFound(w, r)
}

// certificateFor returns a certificate for hosts, and itself in PEM format.
func certificateFor(t *testing.T, hosts ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clouds"}, NotBefore: time.Now().Add(-24 * 365 * time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
		DNSNames: hosts, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// tunnelAll is a proxy that connects every host to one server.
func tunnelAll(t *testing.T, server string) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", server)
		if r.Method != http.MethodConnect || err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		down, sent, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = up.Close()
			return
		}
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, sent); _ = up.Close() }() // some may have been read already
		_, _ = io.Copy(down, up)
		_ = down.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// TestCloudIdentities: with what a cloud puts into a pod whose ServiceAccount or labels factory.jobs names, private registries of Amazon,
// Azure and Google can be read, and nothing else is needed.
func TestCloudIdentities(t *testing.T) {
	images := registrytest.New(t)
	images.Base("library/db:1", "1")
	backend, err := url.Parse("http://" + images.Host)
	require.NoError(t, err)
	c := &clouds{t: t, registry: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		r.Out.Header.Del("Authorization")
	}}, asked: map[string]int{}}
	cert, ca := certificateFor(t, ecrRegistry, acrRegistry, garRegistry, "sts.eu-central-1.amazonaws.com", "api.ecr.eu-central-1.amazonaws.com", "login.microsoftonline.com")
	server := httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	metadata := httptest.NewServer(http.HandlerFunc(c.metadata))
	t.Cleanup(metadata.Close)

	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"ca.crt": ca, "token": identity, "home/.keep": ""})
	token := filepath.Join(dir, "token")
	for registry, tt := range map[string]struct {
		env  []string // that the cloud sets in the pod
		want []string // that was asked for
	}{
		ecrRegistry: {
			[]string{"AWS_ROLE_ARN=arn:aws:iam::123456789012:role/images", "AWS_WEB_IDENTITY_TOKEN_FILE=" + token, "AWS_REGION=eu-central-1", "AWS_STS_REGIONAL_ENDPOINTS=regional"},
			[]string{"login of ECR", "role of Amazon"},
		},
		acrRegistry: {
			[]string{"AZURE_CLIENT_ID=client-1", "AZURE_TENANT_ID=tenant-1", "AZURE_FEDERATED_TOKEN_FILE=" + token, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"},
			[]string{"login of ACR", "token of Azure"},
		},
		garRegistry: {
			[]string{"GCE_METADATA_HOST=" + strings.TrimPrefix(metadata.URL, "http://")},
			[]string{"token of Google"},
		},
	} {
		t.Run(registry, func(t *testing.T) {
			work := t.TempDir()
			writeFiles(t, work, map[string]string{"images.yaml": "[{name: db, registry: " + registry + ", repository: library/db, tags: '1'}]\n", "state/.gitkeep": ""})
			cmd := exec.CommandContext(t.Context(), "imagefactory", "analyze", "--config", work+"/images.yaml", "--state-dir", work+"/state")
			cmd.Env = append([]string{
				nowVariable + "=" + scriptNow, "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HTTPS_PROXY=" + tunnelAll(t, strings.TrimPrefix(server.URL, "https://")), "NO_PROXY=127.0.0.1", "SSL_CERT_FILE=" + dir + "/ca.crt",
			}, tt.env...)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			assert.NotContains(t, string(out), identity)
			assert.FileExists(t, work+"/state/images/db.yaml")
			assert.Equal(t, tt.want, c.taken())
		})
	}
}
