package parts

import (
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
	ca, err := os.ReadFile(c.CAFile) // it writes this when it starts for the first time
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}}
	return answers(ctx, &client, c.Host+"/readyz", "Bearer "+c.Token)
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
