// Command man writes the manual pages of imagefactory, one for each command:
//
//	man -out DIR -date SECONDS [-version V]
//
// The same commit gives the same pages: the date is that of the commit, in seconds since 1970.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/imagefactory/imagefactory/pkg/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("man", flag.ContinueOnError)
	dir := flags.String("out", "bin/man", "`folder` to write")
	seconds := flags.Int64("date", 0, "`time` of the commit, in seconds since 1970")
	version := flags.String("version", "", "version that the pages name")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *seconds == 0 {
		return errors.New("-date is required: the time of the commit, as `git log -1 --format=%ct` prints it")
	}
	if err := os.RemoveAll(*dir); err != nil { // pages of commands that are gone
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	date := time.Unix(*seconds, 0).UTC()
	root := cli.Command()
	prepare(root)
	return doc.GenManTree(root, &doc.GenManHeader{
		Section: "1", Date: &date, Source: strings.TrimSpace("imagefactory " + *version), Manual: "imagefactory manual",
	}, *dir)
}

// prepare has the pages carry no date of their own, and keeps text such as <owner> from being taken for HTML.
func prepare(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.Long = strings.ReplaceAll(cmd.Long, "<", `\<`)
	for _, c := range cmd.Commands() {
		prepare(c)
	}
}
