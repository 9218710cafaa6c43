package parts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// ArgoCDNamespace is the namespace of Argo CD and its Applications.
const ArgoCDNamespace = "argocd"

// ArgoCD is the application controller and the repo server of Argo CD, with the Redis server that they share. It manages the cluster
// that it is configured in, as its standard installation does, and has Kubernetes' garbage collector beside it.
type ArgoCD struct {
	collector, redis, repo, controller process

	redisAt, repoHealth, controllerHealth string
}

// StartArgoCD installs Argo CD in a cluster, starts it there, and returns when it responds.
func StartArgoCD(ctx context.Context, o Options, c *Cluster) (_ *ArgoCD, err error) {
	folders := []string{o.program("argocd/crds")}
	if o.Kargo != "" {
		folders = append(folders, filepath.Join(o.Kargo, "crds"), filepath.Join(o.Kargo, "rollouts-crds"))
	}
	if err := c.Define(ctx, folders...); err != nil {
		return nil, err
	}
	if err := configureArgoCD(ctx, o, c); err != nil {
		return nil, err
	}
	var addresses [4]string
	var ports [4]string
	for i := range addresses {
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
		if _, ports[i], err = net.SplitHostPort(addresses[i]); err != nil {
			return nil, err
		}
	}
	redis, repo := addresses[0], addresses[1]
	a := &ArgoCD{
		collector: newProcess(o, "garbagecollector", o.program("e2e/garbagecollector"), c.Kubeconfig),
		redis:     newProcess(o, "redis", "redis-server", "--bind", "127.0.0.1", "--port", ports[0], "--save", "", "--appendonly", "no"),
		repo: newProcess(o, "argocd-repo-server", o.program("argocd/argocd"), "argocd-repo-server", "--redis", redis,
			"--address", "127.0.0.1", "--port", ports[1], "--metrics-address", "127.0.0.1", "--metrics-port", ports[2], "--revision-cache-expiration", "5s"),
		controller: newProcess(o, "argocd-application-controller", o.program("argocd/argocd"), "argocd-application-controller", "--redis", redis,
			"--repo-server", repo, "--kubeconfig", c.Kubeconfig, "--namespace", ArgoCDNamespace, "--metrics-port", ports[3], "--persist-resource-health",
			"--app-resync", "15", "--app-resync-jitter", "0"), // it also tries again what failed when it started

		redisAt: redis, repoHealth: "http://" + addresses[2] + "/healthz", controllerHealth: "http://" + addresses[3] + "/healthz",
	}
	env, err := argoCDEnvironment(o, c)
	if err != nil {
		return nil, err
	}
	a.repo.env, a.controller.env = env, env
	defer func() {
		if err != nil {
			a.Stop()
		}
	}()
	if err := a.collector.start(ctx); err != nil {
		return nil, err
	}
	return a, a.start(ctx)
}

// start starts Argo CD, and returns when it responds.
func (a *ArgoCD) start(ctx context.Context) error {
	if err := errors.Join(a.redis.start(ctx), a.repo.start(ctx), a.controller.start(ctx)); err != nil {
		return err
	}
	return errors.Join(
		a.redis.wait(ctx, func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.redisAt)
			if err != nil {
				return err
			}
			return conn.Close()
		}),
		a.repo.wait(ctx, func(ctx context.Context) error { return answers(ctx, http.DefaultClient, a.repoHealth, "") }),
		a.controller.wait(ctx, func(ctx context.Context) error { return answers(ctx, http.DefaultClient, a.controllerHealth, "") }),
	)
}

// Stop ends all servers.
func (a *ArgoCD) Stop() {
	a.controller.Stop()
	a.repo.Stop()
	a.redis.Stop()
	a.collector.Stop()
}

// argoCDEnvironment returns the environment of the servers, which keep their files below Options.Dir. The repo server runs git, and
// kustomize for folders that have a kustomization.
func argoCDEnvironment(o Options, c *Cluster) ([]string, error) {
	dir := filepath.Join(o.Dir, "argocd")
	folders := map[string]string{
		"TMPDIR": "tmp", "HOME": "home", "ARGOCD_TLS_DATA_PATH": "tls", "ARGOCD_SSH_DATA_PATH": "ssh", "ARGOCD_GNUPGHOME": "gpg/keys",
		"ARGOCD_GPG_DATA_PATH": "gpg/source", "ARGOCD_PLUGINSOCKFILEPATH": "plugins",
	}
	env := append(os.Environ(), "ARGOCD_ASK_PASS_SOCK="+filepath.Join(dir, "askpass.sock"), "ARGOCD_GPG_ENABLED=false", "ARGOCD_FAKE_IN_CLUSTER=true", "KUBECONFIG="+c.Kubeconfig, "PATH="+o.program("argocd")+string(os.PathListSeparator)+os.Getenv("PATH"))
	for name, folder := range folders {
		path := filepath.Join(dir, filepath.FromSlash(folder))
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		env = append(env, name+"="+path)
	}
	return env, nil
}

// configureArgoCD creates the namespace of Argo CD and its configuration: that of its installation, and the project default.
func configureArgoCD(ctx context.Context, o Options, c *Cluster) error {
	const core, inNamespace = "/api/v1/namespaces/", ArgoCDNamespace + "/"
	objects := map[string]string{
		core + ArgoCDNamespace: `{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}`,
	}
	if err := c.applyAll(ctx, objects); err != nil {
		return err
	}
	objects = map[string]string{
		core + inNamespace + "secrets/argocd-secret": `{apiVersion: v1, kind: Secret, metadata: {name: argocd-secret, labels: {app.kubernetes.io/part-of: argocd}},
  stringData: {server.secretkey: ` + rand.Text() + `}}`,
		"/apis/argoproj.io/v1alpha1/namespaces/" + inNamespace + "appprojects/default": `{apiVersion: argoproj.io/v1alpha1, kind: AppProject, metadata: {name: default},
  spec: {sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}], clusterResourceWhitelist: [{group: "*", kind: "*"}]}}`,
	}
	files, err := filepath.Glob(o.program("argocd/config/*-cm.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no configuration of Argo CD in %s: %w", o.program("argocd/config"), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		objects[core+inNamespace+"configmaps/"+strings.TrimSuffix(filepath.Base(file), ".yaml")] = string(data)
	}
	return c.applyAll(ctx, objects)
}
