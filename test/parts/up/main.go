// Command up starts real servers on loopback, and a runner that builds what workflows at Gitea ask for. It prints the addresses as
// assignments of a shell, and runs until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/test/parts"
	"github.com/imagefactory/imagefactory/test/parts/buildrunner"
)

// builds is the number of jobs that run at the same time.
const builds = 4

// source is the repository of imagefactory, seen from the module's folder.
const source = "../.."

func main() {
	programs := flag.String("programs", ".cache", "folder of the programs that `make loop` builds")
	registry := flag.String("registry", "docker-registry", "Debian's docker-registry")
	kargo := flag.String("kargo", os.Getenv("KARGO_SCHEMAS"), "folder with Kargo's CustomResourceDefinitions in crds and rollouts-crds")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: up [flags] FOLDER (the servers write to the last one)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(parts.Options{Programs: *programs, Registry: *registry, Kargo: *kargo, Dir: flag.Arg(0)}); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func run(o parts.Options) (err error) {
	release, err := occupy(o.Dir)
	if err != nil {
		return err
	}
	defer release()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := parts.Start(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	stopBuilds, err := build(ctx, p)
	if err != nil {
		return err
	}
	defer stopBuilds()
	for _, line := range p.Addresses() {
		fmt.Println(line)
	}
	fmt.Fprintln(os.Stderr, "Press Ctrl-C to stop.")
	<-ctx.Done()
	return nil
}

// build runs the jobs of all repositories at Gitea until ctx is done. stop waits for that.
func build(ctx context.Context, p *parts.Parts) (stop func(), err error) {
	log, err := os.Create(filepath.Join(p.Dir, "builds.log"))
	if err != nil {
		return nil, err
	}
	runner, err := buildrunner.New(ctx, buildrunner.Options{
		Parts: p, Source: source, Program: filepath.Join(p.Programs, "loop", "imagefactory"), Log: log,
		Environ: func() []string { return []string{"IMAGEFACTORY_TEST_NOW=" + time.Now().Format(time.RFC3339)} },
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	var serving sync.WaitGroup
	for range builds {
		serving.Go(func() { runner.Serve(ctx) })
	}
	return func() {
		serving.Wait()
		runner.Close()
		_ = log.Close()
	}, nil
}
