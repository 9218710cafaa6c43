// Command release builds imagefactory's container image without a container engine, and its bills of materials.
//
//	release [-out DIR] [-push REF] [-version V] [-platforms LIST] [-base IMAGE]
//	release sbom [-out FILE] [-version V] BINARY
//
// The first writes an OCI layout and a bill of materials for each platform, and prints the image's digest; the same commit
// and version give the same digest on any machine. The second makes the bill of materials of any binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "sbom" {
		return runSBOM(ctx, args[1:], out)
	}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	dir := flags.String("out", "bin/image", "`folder` to write")
	push := flags.String("push", "", "`reference` to push to, such as ghcr.io/owner/name:v1.2.3")
	version := flags.String("version", "", "version; without it the tag of the commit, or devel-COMMIT")
	on := flags.String("base", "", "base image by digest, such as docker.io/library/buildpack-deps@sha256:…; without it the image is the program alone")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "`list` of platforms")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var to name.Reference
	if *push != "" {
		var err error
		if to, err = parseTag(*push); err != nil {
			return fmt.Errorf("pushing %s: %w", *push, err)
		}
	}
	var base *name.Digest
	if *on != "" {
		ref, err := name.NewDigest(*on)
		if err != nil {
			return fmt.Errorf("base image %q: %w", *on, err)
		}
		base = &ref
	}
	src, err := readSource(ctx, *version)
	if err != nil {
		return err
	}
	if to != nil && src.dirty {
		return errors.New("pushing: the working tree has uncommitted changes (commit or stash them)")
	}
	if err := src.checkToolchain(); err != nil {
		return err
	}
	b, err := makeImage(ctx, src, strings.Split(*platforms, ","), base)
	if err != nil {
		return err
	}
	if err := b.write(*dir); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Clean(*dir), err)
	}
	if to == nil {
		_, err = fmt.Fprintln(out, b.digest)
		return err
	}
	if err := b.push(ctx, to); err != nil {
		return fmt.Errorf("pushing %s: %w", *push, err)
	}
	_, err = fmt.Fprintf(out, "%s@%s\n", *push, b.digest)
	return err
}

func runSBOM(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("release sbom", flag.ContinueOnError)
	file := flags.String("out", "", "`file` to write; without it the standard output")
	version := flags.String("version", "", "version; without it the tag of the commit, or devel-COMMIT")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("sbom: want the path of one binary")
	}
	src, err := readSource(ctx, *version)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	bom, err := newSBOM(binary, src)
	if err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	if *file != "" {
		return os.WriteFile(*file, bom, 0o644)
	}
	_, err = out.Write(bom)
	return err
}
