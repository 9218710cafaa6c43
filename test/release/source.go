package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	modulePath = "github.com/imagefactory/imagefactory"
	sourceURL  = "https://" + modulePath
)

// source is the commit that is built.
type source struct {
	root      string
	version   string
	commit    string
	committed time.Time
	dirty     bool
	goVersion string // that go.mod asks for
	goChanges string // GOEXPERIMENT, where it is not Go's default
}

// readSource asks git, so that everything in the image follows from the commit, never from the machine or the time.
func readSource(ctx context.Context, version string) (*source, error) {
	root, err := output(ctx, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	head, err := output(ctx, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, err
	}
	commit, unix, _ := strings.Cut(head, " ")
	seconds, err := strconv.ParseInt(unix, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the time of commit %s: %w", commit, err)
	}
	changes, err := output(ctx, "git", "status", "--porcelain")
	if err != nil {
		return nil, err
	}
	goVersion, err := output(ctx, "go", "list", "-m", "-f", "{{.GoVersion}}", modulePath)
	if err != nil {
		return nil, err
	}
	goChanges, err := output(ctx, "go", "env", "GOEXPERIMENT")
	if err != nil {
		return nil, err
	}
	s := &source{
		root: root, version: version, commit: commit, committed: time.Unix(seconds, 0).UTC(),
		dirty: changes != "", goVersion: "go" + goVersion, goChanges: goChanges,
	}
	if s.version == "" {
		if s.version, err = output(ctx, "git", "describe", "--tags", "--exact-match", "--match", "v*"); err != nil {
			s.version = "devel-" + commit[:12]
		}
		if s.dirty {
			s.version += "-dirty"
		}
	}
	return s, nil
}

// checkToolchain refuses another Go than go.mod names: compilers and compressors of different releases write different
// bytes, and so does a compiler with other experiments.
func (s *source) checkToolchain() error {
	if s.goChanges != "" {
		return fmt.Errorf("GOEXPERIMENT is %s, which makes another image (unset it, or run `go env -u GOEXPERIMENT` if `go env -w` set it)", s.goChanges)
	}
	if runtime.Version() == s.goVersion {
		return nil
	}
	return fmt.Errorf("running on %s, but go.mod names %s, which makes another image (use `make image`)", runtime.Version(), s.goVersion)
}

// flags are those of the compiler. .goreleaser.yaml has the same, as a test checks.
func (s *source) flags() []string {
	return []string{
		"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace",
		"-ldflags=-s -w -X " + modulePath + "/pkg/cli.releaseVersion=" + s.version + " -X " + modulePath + "/pkg/cli.releaseCommit=" + s.commit,
	}
}

// environment returns the variables that affect the binary.
func environment() []string {
	return []string{"CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOFIPS140=off"}
}

// build compiles imagefactory for a platform into a folder, and returns the path of the binary.
func (s *source) build(ctx context.Context, dir, goos, goarch string) (string, error) {
	file := filepath.Join(dir, "imagefactory-"+goos+"-"+goarch)
	args := append([]string{"build", "-o", file}, s.flags()...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/imagefactory")...) //nolint:gosec // our own program
	cmd.Dir = s.root
	cmd.Env = slices.Concat(os.Environ(), environment(), []string{"GOOS=" + goos, "GOARCH=" + goarch, "GOTOOLCHAIN=" + s.goVersion})
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building for %s/%s: %w", goos, goarch, err)
	}
	return file, nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // constants of this file
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
