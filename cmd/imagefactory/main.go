// Command imagefactory keeps container images fresh when the public base images under them change.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
