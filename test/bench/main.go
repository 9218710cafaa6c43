// Command bench times analyze and synth as whole processes on generated fleets, beside the floor: a program that parses
// the same files and writes the same bytes and does nothing else. It prints a table of wall time and peak memory.
//
//	bench BINARY FLOOR EMPTY [SIZE...]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/test/fleetgen"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const (
	runs      = 5
	startRuns = 30 // of what takes milliseconds
)

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 1 && args[0] == "measure":
		return measure(ctx, args[1:])
	case len(args) == 3 && args[0] == "generate":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return fleetgen.Write(args[1], n)
	case len(args) < 3:
		return errors.New("want the paths of imagefactory, of floor and of empty, and sizes")
	}
	sizes := args[3:]
	if len(sizes) == 0 {
		sizes = []string{"100", "1000", "5000", "20000"}
	}
	fmt.Println("| images | command | best wall ms | least CPU ms | peak MiB |\n|---|---|---|---|---|")
	if err := row(ctx, "", "version", startRuns, args[0], "version"); err != nil {
		return err
	}
	if err := row(ctx, "", "an empty program", startRuns, args[2]); err != nil {
		return err
	}
	for _, size := range sizes {
		if err := benchSize(ctx, args[0], args[1], size); err != nil {
			return err
		}
	}
	return nil
}

func benchSize(ctx context.Context, binary, floor, size string) error {
	dir, err := os.MkdirTemp("", "imagefactory-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := self(ctx, "generate", dir, size); err != nil {
		return err
	}
	files := []string{"--config", in("images.yaml"), "--state-dir", in("state"), "--out-dir", in("dist")}
	analyze := append([]string{binary, "analyze", "--offline", "--source-dir", in("src")}, files...)
	steps := []struct {
		name    string
		command []string
	}{
		{"analyze, first", analyze},
		{"analyze, nothing new", analyze},
		{"synth", append([]string{binary, "synth"}, files...)},
		{"floor of synth", []string{floor, in("images.yaml"), in("state"), in("dist/image-factory.k8s.yaml"), in("floor.out")}},
	}
	for i, s := range steps {
		n := runs
		if i == 0 { // the first is only once the first
			n = 1
		}
		if err := row(ctx, size, s.name, n, s.command...); err != nil {
			return err
		}
	}
	return nil
}

// row prints a row of the table: what n runs of a command take.
func row(ctx context.Context, size, name string, n int, command ...string) error {
	fmt.Printf("| %s | %s |", size, name)
	return self(ctx, append([]string{"measure", strconv.Itoa(n)}, command...)...)
}

// self runs this program again, so that what is measured is the child of a small process: Linux counts the memory of
// the process that it was forked from towards a child's peak.
func self(ctx context.Context, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// measure runs a command several times and prints the best wall time and the least CPU time in milliseconds, and the highest peak memory in MiB.
func measure(ctx context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var walls, cpus []time.Duration
	peak := int64(0)
	for range n {
		cmd := exec.CommandContext(ctx, args[1], args[2:]...)
		start := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("running %q: %w\n%s", args[1], err, out)
		}
		walls = append(walls, time.Since(start))
		cpus = append(cpus, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peak = max(peak, usage.Maxrss)
		}
	}
	fmt.Printf(" %d | %d | %d |\n", slices.Min(walls).Milliseconds(), slices.Min(cpus).Milliseconds(), peak/1024)
	return nil
}
