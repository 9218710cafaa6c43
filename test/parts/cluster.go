package parts

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
)

// Cluster is etcd and kube-apiserver on loopback, with Kubernetes' default admission and RBAC. No controller runs.
type Cluster struct {
	Host       string // URL of the API server
	Token      string // of an administrator
	CAFile     string
	Kubeconfig string // file for the administrator

	etcd, api process
}

// StartCluster starts etcd and the API server, and returns when they respond.
func StartCluster(ctx context.Context, o Options) (_ *Cluster, err error) {
	c := &Cluster{Token: rand.Text()}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	var addresses [3]string
	for i := range addresses {
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	key, tokens, certs := filepath.Join(o.Dir, "service-accounts.key"), filepath.Join(o.Dir, "tokens.csv"), filepath.Join(o.Dir, "apiserver")
	c.Host, c.CAFile, c.Kubeconfig = "https://"+addresses[2], filepath.Join(certs, "apiserver.crt"), filepath.Join(o.Dir, "kubeconfig")
	if err := errors.Join(writeKey(key), os.WriteFile(tokens, []byte(c.Token+",admin,admin,system:masters\n"), 0o600), c.writeKubeconfig()); err != nil {
		return nil, err
	}
	clients, peers := "http://"+addresses[0], "http://"+addresses[1]
	c.etcd = newProcess(o, "etcd", o.program("e2e/etcd"), "--data-dir="+filepath.Join(o.Dir, "etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	if err := c.etcd.start(ctx); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addresses[2])
	if err != nil {
		return nil, err
	}
	c.api = newProcess(o, "kube-apiserver", o.program("e2e/kube-apiserver"), "--etcd-servers="+clients, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--secure-port="+port, "--cert-dir="+certs, "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC",
		"--token-auth-file="+tokens, "--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+key, "--service-account-key-file="+key)
	return c, c.Start(ctx)
}

// Start starts the API server, also after a [Cluster.Kill], and returns when it is ready.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.api.start(ctx); err != nil {
		return err
	}
	return c.api.wait(ctx, c.ready)
}

// Kill ends the API server at once. What it has stored stays in etcd.
func (c *Cluster) Kill() { c.api.Kill() }

// Stop ends both servers.
func (c *Cluster) Stop() {
	c.api.Kill() // it waits a minute for open watches
	c.etcd.Stop()
}

func (c *Cluster) ready(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err // the server writes its certificate when it starts for the first time
	}
	return answers(ctx, client, c.Host+"/readyz", "Bearer "+c.Token)
}

// client returns a client that trusts the certificate of the API server.
func (c *Cluster) client() (*http.Client, error) {
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}}, nil
}

// Content types of what [Cluster.Call] sends.
const (
	YAML       = "application/yaml"
	Apply      = "application/apply-patch+yaml"
	MergePatch = "application/merge-patch+json"
)

// Call sends a request to the API server as the administrator, and decodes the response unless into is nil.
func (c *Cluster) Call(ctx context.Context, method, path, contentType string, body []byte, into any) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Host+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + c.Token}, "Accept": {"application/json"}, "Content-Type": {contentType}}
	return exchange(client, req, into)
}

// Create creates the object in a YAML file unless it exists.
func (c *Cluster) Create(ctx context.Context, collection, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	err = c.Call(ctx, http.MethodPost, collection, YAML, data, nil)
	if status := (*StatusError)(nil); errors.As(err, &status) && status.Code == http.StatusConflict {
		return nil
	}
	return err
}

// applyAll applies objects, by path, that are given as YAML.
func (c *Cluster) applyAll(ctx context.Context, objects map[string]string) error {
	for path, object := range objects {
		if err := c.Call(ctx, http.MethodPatch, path+"?fieldManager=parts&force=true", Apply, []byte(object), nil); err != nil {
			return err
		}
	}
	return nil
}

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// Define adds the CustomResourceDefinitions in the YAML files of folders, and returns when the API server serves them.
func (c *Cluster) Define(ctx context.Context, folders ...string) error {
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no CustomResourceDefinitions in %s: %w", folder, err)
		}
		for _, file := range files {
			if err := c.Create(ctx, definitions, file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return c.api.wait(ctx, func(ctx context.Context) error {
		if err := c.established(ctx); err != nil {
			return err
		}
		// It is computed for the first request, which on a busy machine takes longer than other clients wait.
		return c.Call(ctx, http.MethodGet, "/openapi/v2", "", nil, nil)
	})
}

// established returns an error as long as the API server does not serve all CustomResourceDefinitions.
func (c *Cluster) established(ctx context.Context) error {
	type condition struct{ Type, Status string }
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Conditions []condition }
		}
	}
	if err := c.Call(ctx, http.MethodGet, definitions, "", nil, &list); err != nil {
		return err
	}
	for _, crd := range list.Items {
		if !slices.Contains(crd.Status.Conditions, condition{"Established", "True"}) {
			return fmt.Errorf("%s is not established", crd.Metadata.Name)
		}
	}
	return nil
}

// answers returns an error if a URL cannot be read.
func answers(ctx context.Context, client *http.Client, url, authorization string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %s", url, resp.Status)
	}
	return nil
}

func (c *Cluster) writeKubeconfig() error {
	return os.WriteFile(c.Kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- {name: loopback, cluster: {server: %q, certificate-authority: %q}}
users:
- {name: admin, user: {token: %q}}
contexts:
- {name: loopback, context: {cluster: loopback, user: admin}}
current-context: loopback
`, c.Host, c.CAFile, c.Token), 0o600)
}

func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600)
}
