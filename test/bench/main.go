// Command bench times version, analyze and synth as whole processes on generated fleets. It prints a table of wall time, CPU time
// and peak memory, and their ratios to a floor: for synth a program that parses the same files and writes the same bytes, for
// version an empty program. docs/performance.md explains the rows.
//
//	bench BINARY FLOOR EMPTY [SIZE...]
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	startRuns = 30 // of commands that take milliseconds
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
	fmt.Println("| images | command | best wall ms | least CPU ms | peak MiB | wall, CPU and peak as multiples of the floor |\n|---|---|---|---|---|---|")
	err := table(ctx, "", []step{
		{"version", startRuns, []string{args[0], "version"}},
		{"floor of version: an empty program", startRuns, []string{args[2]}},
	})
	if err != nil {
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
	if err := self(ctx, os.Stdout, "generate", dir, size); err != nil {
		return err
	}
	files := []string{"--config", in("images.yaml"), "--state-dir", in("state"), "--out-dir", in("dist")}
	analyze := append([]string{binary, "analyze", "--offline", "--source-dir", in("src")}, files...)
	return table(ctx, size, []step{
		{"analyze, first", 1, analyze}, // only the first run starts without state
		{"analyze, nothing new", runs, analyze},
		{"synth", runs, append([]string{binary, "synth"}, files...)},
		{"floor of synth", runs, []string{floor, in("images.yaml"), in("state"), in("dist/image-factory.k8s.yaml"), in("floor.out")}},
	})
}

// step is a command to measure, and how often it is run.
type step struct {
	name    string
	runs    int
	command []string
}

// table measures steps and prints a row for each. The last step is the floor of the one before it.
func table(ctx context.Context, size string, steps []step) error {
	took := make([]figures, len(steps))
	for i, s := range steps {
		var out bytes.Buffer
		if err := self(ctx, &out, append([]string{"measure", strconv.Itoa(s.runs)}, s.command...)...); err != nil {
			return err
		}
		if _, err := fmt.Sscan(out.String(), &took[i].wall, &took[i].cpu, &took[i].peak); err != nil {
			return fmt.Errorf("reading the figures of %q: %w", s.name, err)
		}
	}
	last := len(steps) - 1
	for i, s := range steps {
		multiples := ""
		if i == last-1 {
			multiples = took[i].over(took[last])
		}
		fmt.Printf("| %s | %s | %.0f | %.0f | %.0f | %s |\n", size, s.name, took[i].wall, took[i].cpu, took[i].peak, multiples)
	}
	return nil
}

// figures are the best wall time and the least CPU time in milliseconds, and the highest peak memory in MiB.
type figures struct{ wall, cpu, peak float64 }

func (f figures) over(floor figures) string {
	return fmt.Sprintf("%.1f, %.1f, %.1f", f.wall/floor.wall, f.cpu/floor.cpu, f.peak/floor.peak)
}

// self runs this program again, so that the measured process has a small parent: Linux counts the memory of the parent
// towards the peak of its child.
func self(ctx context.Context, out io.Writer, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd.Run()
}

// measure runs a command several times and prints its figures.
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
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	fmt.Println(ms(slices.Min(walls)), ms(slices.Min(cpus)), float64(peak)/1024)
	return nil
}
