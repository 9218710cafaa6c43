// Program demo plays two weeks of five images in a few seconds, with the commands that a user gives: base images move, wait,
// and everything built on them is rebuilt in order; then one moves that fixes a vulnerability, and waits for a day only. The
// registry and the forge are those of the tests, and the clock is the demo's own. `make demo` runs it.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo FOLDER (run it at the top of the repository)")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(dir string) (err error) {
	o := &outcome{}
	defer func() { err = errors.Join(err, o.end(recover())) }()
	d, err := newDemo(o, "testdata/fleet", dir, os.Stdout)
	if err != nil {
		return err
	}
	if err := d.play(); err != nil {
		return err
	}
	return d.playFix()
}
