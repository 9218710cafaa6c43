// Command imagefactory keeps container images fresh when the public base images under them change.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and the image has no other files of them

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/progress"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // a short-lived process: a quarter less memory for a few percent of time
	}
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var interrupted, watching atomic.Bool
	env := cli.System()
	env.Watching = func() { watching.Store(true) }
	go func() {
		interrupted.Store(<-signals == os.Interrupt)
		signal.Stop(signals) // the next one ends the process
		if progress.IsTerminal(os.Stderr) {
			fmt.Fprintln(os.Stderr) // below the bar
		}
		if !watching.Load() {
			fmt.Fprintln(os.Stderr, "imagefactory: stopping; results so far are saved (press Ctrl-C again to abort)")
		}
		cancel()
	}()
	code := cli.Main(ctx, os.Args[1:], env)
	if code != 0 && interrupted.Load() {
		code = 128 + int(syscall.SIGINT)
	}
	os.Exit(code)
}
