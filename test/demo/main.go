// Program demo plays two weeks of five images in a few seconds, with the commands that a user gives: base images move, wait,
// and everything built on them is rebuilt in order; then one moves that fixes a vulnerability, and waits for a day only. The registry and the forge are servers on this machine, and the clock is
// the demo's own. `make demo` runs it; with -svg it writes the recording that the README shows, of the first part.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	svg := flag.String("svg", "", "write the recording to this `file`, and print nothing")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: demo [-svg FILE] FOLDER (run it at the top of the repository)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *svg); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(dir, svg string) (err error) {
	out := io.Writer(os.Stdout)
	if svg != "" {
		out = io.Discard
	}
	o := &outcome{}
	defer func() { err = errors.Join(err, o.end(recover())) }()
	d, err := newDemo(o, "testdata/fleet", dir, out)
	if err != nil {
		return err
	}
	if err := d.play(); err != nil {
		return err
	}
	if svg == "" {
		return d.playFix()
	}
	return os.WriteFile(svg, record(d.scenes), 0o644)
}
