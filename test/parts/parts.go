// Package parts runs real servers on loopback: BuildKit, image registries, Gitea, the API server of Kubernetes, and Argo CD. Tests
// and `make loop-up` start the same ones.
package parts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// Options names the programs.
type Options struct {
	Programs string   // folder in which the Makefile builds programs, .cache
	Registry string   // Debian's docker-registry
	Dir      string   // where the servers write; Start creates it
	Plain    []string // hosts of further registries that speak HTTP
	Kargo    string   // folder with the CustomResourceDefinitions of Kargo in crds and of Argo Rollouts in rollouts-crds; empty for none
}

func (o Options) program(path string) string {
	return filepath.Join(o.Programs, filepath.FromSlash(path))
}

// Parts are running servers.
type Parts struct {
	Options

	Docker   *Registry // CNCF Distribution; BuildKit also uses it as the mirror of the public registries
	BuildKit *BuildKit
	Gitea    *Gitea
	Cluster  *Cluster
	ArgoCD   *ArgoCD // works on Cluster
}

// Start starts all servers and returns when they respond. They end with [Parts.Stop], or with this process.
func Start(ctx context.Context, o Options) (*Parts, error) {
	p := &Parts{Options: o}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	var errs [3]error
	var wait sync.WaitGroup
	wait.Go(func() {
		if p.Docker, errs[0] = StartRegistry(ctx, o, "docker-registry", ""); errs[0] == nil {
			p.BuildKit, errs[0] = startBuildKit(ctx, o, append([]string{p.Docker.Host}, o.Plain...)...)
		}
	})
	wait.Go(func() { p.Gitea, errs[1] = StartGitea(ctx, o) })
	wait.Go(func() {
		if p.Cluster, errs[2] = StartCluster(ctx, o); errs[2] == nil {
			p.ArgoCD, errs[2] = StartArgoCD(ctx, o, p.Cluster)
		}
	})
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Stop ends all servers. An error says what they have left behind.
func (p *Parts) Stop() (err error) {
	if p.ArgoCD != nil {
		p.ArgoCD.Stop()
	}
	if p.Cluster != nil {
		p.Cluster.Stop()
	}
	if p.Gitea != nil {
		p.Gitea.Stop()
	}
	if p.BuildKit != nil {
		err = p.BuildKit.Stop()
	}
	if p.Docker != nil {
		p.Docker.Stop()
	}
	return err
}

// Addresses returns what a person needs to use the servers, one assignment of a shell each.
func (p *Parts) Addresses() []string {
	return []string{
		"BUILDKIT_HOST=" + p.BuildKit.Address,
		"LOOP_REGISTRY=" + p.Docker.Host,
		"LOOP_GITEA=" + p.Gitea.Host,
		"LOOP_GITEA_TOKEN=" + p.Gitea.Token,
		"KUBECONFIG=" + p.Cluster.Kubeconfig,
		"LOOP_ARGOCD=" + p.Cluster.Kubeconfig, // also where KUBECONFIG names another cluster
		"LOOP_LOGS=" + p.Dir,
	}
}
