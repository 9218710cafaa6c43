package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

//go:embed images.yaml
var imagesYAML string

const (
	debian = "docker.io/library/debian:trixie-slim"
	node   = "docker.io/library/node:24-trixie-slim"
	scm    = "docker.io/library/buildpack-deps:trixie-scm"
	uv     = "ghcr.io/astral-sh/uv:0.9"
	crane  = "gcr.io/go-containerregistry/crane:v0.20.6"

	baseOS        = "ghcr.io/acme-platform/base-os:13"
	runtimePython = "ghcr.io/acme-platform/runtime-python:3.13"
	runtimeNode   = "ghcr.io/acme-platform/runtime-node:24"
)

// upstream are the public images that the Dockerfiles of the five images use.
var upstream = []string{debian, node, scm, uv, crane, "docker.io/docker/dockerfile:1"}

// image is an image of the fleet and what its build uses.
type image struct {
	name, ref, from string
	used            []string
}

// fleet are the images of images.yaml, parents first.
var fleet = []image{
	{"base-os", baseOS, debian, nil},
	{"runtime-python", runtimePython, baseOS, []string{uv}},
	{"runtime-node", runtimeNode, baseOS, []string{node}},
	{"ci-tools", "ghcr.io/acme-platform/ci-tools:latest", scm, []string{runtimeNode, runtimePython, crane}},
	{"support-portal", "ghcr.io/acme-shop/support-portal:1.0.0", runtimeNode, []string{node}},
}

// demo is the fleet and the servers around it.
type demo struct {
	sources, dir string
	out          io.Writer
	now          time.Time

	registry *registrytest.Registry
	held     map[string]registrytest.Content // by reference
	forge    *forgetest.Server
	repos    []*forgetest.Workflows
	finished map[string]bool // by URL of the run
	builds   int
}

func newDemo(o *outcome, sources, dir string, out io.Writer) (*demo, error) {
	d := &demo{
		sources: sources, dir: dir, out: out, now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC),
		registry: registrytest.New(o), held: map[string]registrytest.Content{},
		forge: forgetest.New(o), finished: map[string]bool{},
	}
	for _, name := range []string{"acme-platform/base-images", "acme-shop/support-portal"} {
		repo := d.forge.Workflows(name)
		repo.Now, repo.Inputs = func() time.Time { return d.now }, []string{"image"}
		d.repos = append(d.repos, repo)
	}
	for _, ref := range upstream {
		d.push(ref)
	}
	for _, img := range fleet {
		d.build(img)
	}
	text := strings.NewReplacer("REGISTRY", d.registry.Host, "FORGE", d.forge.Host).Replace(imagesYAML)
	return d, errors.Join(
		os.RemoveAll(dir), write(filepath.Join(dir, "images.yaml"), text), write(filepath.Join(dir, "credentials/api", d.forge.Host, "token"), "demo"))
}

func write(file, text string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(text), 0o600))
}

// push pushes a new digest under the tag of a base image.
func (d *demo) push(ref string) {
	d.builds++
	d.hold(ref, d.registry.Base(path(ref), strconv.Itoa(d.builds)))
}

// build publishes an image that is built on the current digests of its bases.
func (d *demo) build(img image) {
	d.builds++
	from := d.held[img.from]
	built := registrytest.Built{Version: strconv.Itoa(d.builds), From: &from, Provenance: true}
	for _, ref := range img.used {
		built.Used = append(built.Used, d.held[ref])
	}
	d.hold(img.ref, d.registry.Publish(path(img.ref), built))
}

// hold records the content of a tag. Provenance names the registry of the Dockerfile, not its mirror.
func (d *demo) hold(ref string, c registrytest.Content) {
	c.Ref = ref
	d.held[ref] = c
}

// path returns a reference without its registry.
func path(ref string) string {
	_, path, _ := strings.Cut(ref, "/")
	return path
}

// finish ends every build that runs at the forge, and returns their number.
func (d *demo) finish() int {
	n := 0
	for _, repo := range d.repos {
		for _, run := range repo.Runs() {
			url := repo.URL(run.ID)
			for _, img := range fleet {
				if !d.finished[url] && run.Values["image"] == img.name {
					d.build(img)
					repo.Finish(run.ID, "success")
					d.finished[url] = true
					n++
				}
			}
		}
	}
	return n
}

func (d *demo) play() error {
	analyze := []string{"analyze", "--source-dir", d.sources}
	err := d.scene("Monday. Five images; whatever the registries hold now is the baseline.", analyze, []string{"status"})
	d.later(24 * time.Hour)
	d.push(debian)
	d.push(node)
	err = errors.Join(err, d.scene("Tuesday. debian:trixie-slim and node:24-trixie-slim have moved: both wait for 7 days.",
		analyze, []string{"status"}, []string{"promote", "--direct"}))
	d.later(7*24*time.Hour + time.Hour)
	promote := []string{"promote", "--direct"}
	err = errors.Join(err, d.scene("Tuesday, a week later. base-os is rebuilt first; the images built on it wait for it.",
		promote, []string{"status"}))
	return errors.Join(err, d.cascade(
		"20 minutes later. base-os is published: both images built on it are next.",
		"20 minutes later. Both are published: each image built on them is rebuilt once.",
		"20 minutes later. Everything is built on the new digests."))
}

// playFix goes on after play: a scan finds a vulnerability, and the digest that fixes it does not wait for 7 days.
func (d *demo) playFix() error {
	d.later(47 * time.Hour)
	err := errors.Join(d.scanned("base-os", baseOS, true), d.scanned("debian", debian, true), d.scene(
		"Thursday. A scan finds a vulnerability that base-os has from debian:trixie-slim.",
		[]string{"scan", "--report", d.file("base-os.json"), "--report", d.file("debian.json")}))
	d.later(24 * time.Hour)
	d.push(debian)
	err = errors.Join(err, d.scanned("debian-new", debian, false), d.scene(
		"Friday. debian:trixie-slim has moved, to a digest without it. urgent.minAge still keeps it for a day.",
		[]string{"analyze", "--source-dir", d.sources}, []string{"scan", "--report", d.file("debian.json"), "--report", d.file("debian-new.json")}, []string{"status"}))
	d.later(24*time.Hour + time.Minute)
	err = errors.Join(err, d.scene("Saturday. The fix goes through, six days before any other digest would.", []string{"promote", "--direct"}))
	return errors.Join(err, d.cascade(
		"20 minutes later. base-os is published without the vulnerability.",
		"20 minutes later. The images built on it follow.",
		"20 minutes later. Everything is built on the fix."))
}

// cascade ends the builds that run and promotes what follows, once for each title; status shows the end.
func (d *demo) cascade(titles ...string) error {
	var err error
	for i, title := range titles {
		d.later(20 * time.Minute)
		if d.finish() == 0 {
			err = errors.Join(err, fmt.Errorf("no build was started before: %s", title))
		}
		commands := [][]string{{"promote", "--direct"}}
		if i == len(titles)-1 {
			commands = append(commands, []string{"status"})
		}
		err = errors.Join(err, d.scene(title, commands...))
	}
	return err
}

// file returns the path of a file in the demo's folder, which the output leaves out.
func (d *demo) file(name string) string { return d.dir + "/" + name }

// scanned writes the report of a scanner for what a tag holds.
func (d *demo) scanned(name, ref string, vulnerable bool) error {
	found := ""
	if vulnerable {
		found = `, "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1234", "PkgName": "openssl", "InstalledVersion": "3.5.1", "FixedVersion": "3.5.2", "Severity": "CRITICAL"}]`
	}
	repository, _, _ := strings.Cut(ref, ":")
	return write(d.file(name+".json"), fmt.Sprintf(`{"SchemaVersion": 2, "ArtifactName": %q,
"Metadata": {"OS": {"Family": "debian", "Name": "13.2"}, "RepoDigests": [%q], "ImageConfig": {"os": "linux", "architecture": "amd64"}},
"Results": [{"Target": "debian 13.2", "Class": "os-pkgs", "Packages": [{"Name": "openssl", "Version": "3.5.1"}]%s}]}`, ref, repository+"@"+d.held[ref].Digest, found))
}

func (d *demo) later(by time.Duration) { d.now = d.now.Add(by) }

// scene runs commands and prints their output.
func (d *demo) scene(title string, commands ...[]string) error {
	_, _ = fmt.Fprintf(d.out, "\n# %s\n", title)
	for _, args := range commands {
		command := strings.ReplaceAll("imagefactory "+strings.Join(args, " "), d.file(""), "")
		_, _ = fmt.Fprintf(d.out, "\n$ %s\n", command)
		output, err := d.run(args)
		_, _ = io.WriteString(d.out, d.shown(output))
		if err != nil {
			return err
		}
	}
	return nil
}

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// shown returns output as this terminal shows it.
func (d *demo) shown(output string) string {
	if progress.IsTerminal(d.out) && os.Getenv("NO_COLOR") == "" {
		return output
	}
	return escape.ReplaceAllString(output, "")
}

// run runs a command as it would run on that day.
func (d *demo) run(args []string) (string, error) {
	var out bytes.Buffer
	env := map[string]string{
		"IMAGEFACTORY_CONFIG": filepath.Join(d.dir, "images.yaml"), "IMAGEFACTORY_CREDENTIALS": filepath.Join(d.dir, "credentials"),
	}
	code := cli.Main(context.Background(), append([]string{"--color", "always"}, args...), &cli.Env{
		In: strings.NewReader(""), Out: &out, Err: &out, Now: func() time.Time { return d.now }, Getenv: func(name string) string { return env[name] },
	})
	text := strings.NewReplacer("http://"+d.forge.Host, "https://github.com", d.forge.Host, "github.com", d.registry.Host, "registry", d.file(""), "").Replace(out.String())
	if code != 0 {
		return text, fmt.Errorf("imagefactory %s: exit code %d", strings.Join(args, " "), code)
	}
	return text, nil
}

// outcome is what the packages for tests report to: here, what fails ends the demo.
type outcome struct {
	testing.TB
	cleanups []func()
	errs     []error
}

// failed is the panic of FailNow.
type failed struct{}

func (*outcome) Helper()                     {}
func (o *outcome) Cleanup(f func())          { o.cleanups = append(o.cleanups, f) }
func (*outcome) FailNow()                    { panic(failed{}) }
func (o *outcome) Errorf(s string, a ...any) { o.errs = append(o.errs, fmt.Errorf(s, a...)) }

// end stops the servers and returns what went wrong; p is what recover returned.
func (o *outcome) end(p any) error {
	for _, f := range o.cleanups {
		f()
	}
	if _, ok := p.(failed); p != nil && !ok {
		panic(p)
	}
	return errors.Join(o.errs...)
}
