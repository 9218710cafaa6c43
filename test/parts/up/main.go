// Command up starts real servers on loopback, prints their addresses as assignments of a shell, and runs until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/imagefactory/imagefactory/test/parts"
)

func main() {
	programs := flag.String("programs", ".cache", "folder of the programs that `make loop` builds")
	registry := flag.String("registry", "docker-registry", "Debian's docker-registry")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: up [flags] FOLDER (the servers write to the last one)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(parts.Options{Programs: *programs, Registry: *registry, Dir: flag.Arg(0)}); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func run(o parts.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := parts.Start(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	defer p.Stop()
	for _, line := range p.Addresses() {
		fmt.Println(line)
	}
	fmt.Fprintln(os.Stderr, "Press Ctrl-C to stop.")
	<-ctx.Done()
	return nil
}
