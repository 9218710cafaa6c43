// Program demo plays nine days of a fleet in a few seconds: with a registry on this machine and a clock of its own, and with
// the commands that a user gives. It shows what waiting, due and the lock look like, which needs days and registries
// otherwise. `make demo` runs it.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

const sources = "testdata/fleet"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo IMAGES_YAML FOLDER, and FOLDER/state holds what an analysis found in the Dockerfiles")
		os.Exit(2)
	}
	d := &demo{dir: os.Args[2], now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), held: map[string]registrytest.Content{}}
	d.registry = registrytest.New(&d.outcome)
	defer d.outcome.cleanup()
	d.play(os.Args[1])
}

// outcome is what the packages for tests report to: here, what fails ends the program.
type outcome struct {
	testing.TB
	cleanups []func()
}

func (*outcome) Helper()                   {}
func (o *outcome) Cleanup(f func())        { o.cleanups = append(o.cleanups, f) }
func (*outcome) FailNow()                  { os.Exit(1) }
func (*outcome) Errorf(s string, a ...any) { fmt.Fprintf(os.Stderr, "demo: "+s+"\n", a...) }

func (o *outcome) cleanup() {
	for _, f := range o.cleanups {
		f()
	}
}

type demo struct {
	outcome  outcome
	dir      string
	now      time.Time
	registry *registrytest.Registry
	held     map[string]registrytest.Content // by reference, with its registry
}

func (d *demo) play(images string) {
	d.check(d.mirrored(images))
	d.publish()

	d.title("Monday, 2 March: registries are asked for the first time, and what they hold is the baseline")
	d.run("analyze", "--source-dir", sources, "--quiet")
	d.run("status")

	d.later(24*time.Hour, "Tuesday: Debian and Node move upstream. Nothing is rebuilt yet: the new digests have to age")
	d.push("docker.io/library/debian:trixie-slim", "2")
	d.push("docker.io/library/node:24-trixie-slim", "2")
	d.run("analyze", "--source-dir", sources, "--quiet")
	d.run("status", "base-os", "runtime-node", "ci-tools", "support-portal")
	d.run("promote", "--dry-run")

	d.later(7*24*time.Hour+time.Hour, "Tuesday, a week later: due. base-os comes first; then runtime-node, once, for both")
	d.run("status", "base-os", "runtime-node", "ci-tools", "support-portal")
	d.run("promote", "--dry-run")
	d.run("pin", "base-os")

	d.later(time.Hour, "Its workflow has run: the new base-os is seen, built on the new Debian, and runtime-node is next")
	debian := d.held["docker.io/library/debian:trixie-slim"]
	d.registry.Publish("acme-platform/base-os:13", registrytest.Built{Version: "2", From: &debian, Provenance: true})
	d.run("analyze", "base-os", "--source-dir", sources, "--quiet")
	d.run("status", "base-os", "runtime-node", "ci-tools", "support-portal")
}

// mirrored writes an images.yaml whose registries are all on this machine.
func (d *demo) mirrored(images string) error {
	text, err := os.ReadFile(images)
	if err != nil {
		return err
	}
	cfg, err := config.LoadFile(images)
	if err != nil {
		return err
	}
	st, err := state.Load(os.DirFS(filepath.Join(d.dir, "state")), d.dir)
	if err != nil {
		return err
	}
	hosts := map[string]bool{}
	for i := range cfg.Images {
		hosts[cfg.Images[i].Registry] = true
	}
	for _, base := range st.Bases {
		hosts[base.Registry] = true
	}
	var mirrors strings.Builder
	mirrors.WriteString("factory:\n  mirrors: # of this demo\n")
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprintf(&mirrors, "    %s: [%q]\n", host, d.registry.Host)
	}
	before, after, found := strings.Cut(string(text), "\nfactory:\n")
	if !found {
		return fmt.Errorf("%s has no section factory", images)
	}
	return os.WriteFile(d.config(), []byte(before+"\n"+mirrors.String()+after), 0o600)
}

func (d *demo) config() string { return filepath.Join(d.dir, "images.yaml") }

// publish fills the registry: base images, and on them the images of the fleet.
func (d *demo) publish() {
	cfg, err := config.LoadFile(d.config())
	d.check(err)
	st, err := state.Load(os.DirFS(filepath.Join(d.dir, "state")), d.dir)
	d.check(err)
	g := graph.Build(cfg, st)
	for _, name := range g.Bases() {
		d.push(g.BaseRef(name).String(), "1")
	}
	for _, name := range g.Order() {
		img := cfg.Find(name)
		built := registrytest.Built{Version: "1", Provenance: true}
		for _, dep := range g.Deps(name) {
			if c, ok := d.held[dep.Ref.String()]; ok && dep.Final {
				built.From = &c
			} else if ok {
				built.Used = append(built.Used, c)
			}
		}
		for _, tag := range []string{"1.0.0", "2.1.0", "8.2.1", "main-0123abcd", "2026.02.27", "latest", "3.13", "13", "16", "22", "24"} {
			if ref := img.Ref() + ":" + tag; img.Tags == nil && tag == "1.0.0" || graph.Publishes(img, nil, tag) {
				d.held[ref] = d.registry.Publish(strings.TrimPrefix(ref, img.Registry+"/"), built)
			}
		}
	}
}

// push makes a tag of a base image hold another digest.
func (d *demo) push(ref, version string) {
	_, repository, _ := strings.Cut(ref, "/")
	d.held[ref] = d.registry.Base(repository, version)
}

func (d *demo) title(text string) { fmt.Printf("\n--- %s\n", text) }

func (d *demo) later(by time.Duration, text string) {
	d.now = d.now.Add(by)
	d.title(text)
}

// run runs a command as it would run on that day.
func (d *demo) run(args ...string) {
	args = append(args, "--config", d.config())
	fmt.Printf("$ imagefactory %s\n", strings.Join(args, " "))
	code := cli.Main(context.Background(), args, &cli.World{
		In: strings.NewReader(""), Out: os.Stdout, Err: os.Stdout, Now: func() time.Time { return d.now }, Getenv: func(string) string { return "" },
	})
	if code != 0 {
		fmt.Fprintf(os.Stderr, "demo: exit code %d\n", code)
		os.Exit(1)
	}
}

func (*demo) check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
