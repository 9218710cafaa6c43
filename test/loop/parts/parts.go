// Package parts runs real servers on loopback: BuildKit and image registries. Tests and `make loop-up` start the same ones.
package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Options names the programs.
type Options struct {
	Bin      string // folder with buildkitd, buildctl and buildx
	Registry string // Debian's docker-registry
	Dir      string // where the servers write; Start creates it
}

// Parts are running servers.
type Parts struct {
	Options

	Docker   *Registry // CNCF Distribution; BuildKit also uses it as the mirror of the public registries
	Memory   string    // host of the registry of go-containerregistry, which runs in this process
	BuildKit *BuildKit

	memory *http.Server
}

// Start starts all servers and returns when they respond. They end with [Parts.Stop], or with this process.
func Start(ctx context.Context, o Options) (_ *Parts, err error) {
	p := &Parts{Options: o}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := p.serveMemory(ctx); err != nil {
		return nil, err
	}
	if p.Docker, err = StartRegistry(ctx, o, "docker-registry"); err != nil {
		return nil, err
	}
	if p.BuildKit, err = startBuildKit(ctx, o, p.Docker.Host, p.Memory); err != nil {
		return nil, err
	}
	return p, nil
}

// serveMemory starts the registry in this process.
func (p *Parts) serveMemory(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("starting the registry in memory: %w", err)
	}
	p.Memory = l.Addr().String()
	p.memory = &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = p.memory.Serve(l) }()
	return nil
}

// Stop ends all servers, the last one first.
func (p *Parts) Stop() {
	if p.BuildKit != nil {
		p.BuildKit.Stop()
	}
	if p.Docker != nil {
		p.Docker.Stop()
	}
	if p.memory != nil {
		_ = p.memory.Close()
	}
}

// Addresses returns what a person needs to use the servers, one line each.
func (p *Parts) Addresses() []string {
	return []string{
		"BuildKit            " + p.BuildKit.Address,
		"docker-registry     http://" + p.Docker.Host,
		"registry in memory  http://" + p.Memory,
		"logs                " + filepath.Join(p.Dir, "*.log"),
	}
}

// wait calls ready until it returns nil, until the process ends, or for at most a minute.
func (p *process) wait(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("starting %s: it ended: %w\n%s", p.name, errors.Join(p.err, err), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("starting %s: not ready: %w\n%s", p.name, err, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
