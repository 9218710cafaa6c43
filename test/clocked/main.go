// Command clocked is imagefactory with a clock that its environment sets, for tests that play days in seconds with a program.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

// nowVariable holds the time, as RFC 3339.
const nowVariable = "IMAGEFACTORY_TEST_NOW"

func main() {
	now, err := time.Parse(time.RFC3339, os.Getenv(nowVariable))
	if err != nil {
		fmt.Fprintf(os.Stderr, "clocked: invalid %s: %v\n", nowVariable, err)
		os.Exit(2)
	}
	env := cli.System()
	env.Now = func() time.Time { return now }
	os.Exit(cli.Main(context.Background(), os.Args[1:], env))
}
