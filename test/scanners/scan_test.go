package scanners

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// both runs a test with each scanner.
func both(t *testing.T, test func(t *testing.T, scanner string)) {
	t.Helper()
	for _, scanner := range []string{"trivy", "grype"} {
		t.Run(scanner, func(t *testing.T) { test(t, scanner) })
	}
}

func TestScan(t *testing.T) {
	both(t, func(t *testing.T, scanner string) {
		f := newFleet(t, "")
		f.run(t, "scan", "--with", scanner)
		assert.ElementsMatch(t, []string{"CVE-2099-1001 libssl3 base", "CVE-2099-1002 zlib1g base", "CVE-2099-2001 golang.org/x/text own"}, f.findings(t, "image-scans/web.yaml", "web"))
		assert.ElementsMatch(t, []string{"CVE-2099-1002 zlib1g base", "CVE-2099-2001 golang.org/x/text own"}, f.findings(t, "image-scans/worker.yaml", "worker"))
		assert.ElementsMatch(t, []string{"CVE-2099-1001 libssl3 -", "CVE-2099-1002 zlib1g -"}, f.findings(t, "base-image-scans/*web-base*", "web-base"))

		f.upstream(t, fixedBase)
		before := f.candidate(t)
		assert.Empty(t, before.Released)
		f.run(t, "scan", "--with", scanner)
		after := f.candidate(t)
		assert.NotEmpty(t, after.Released)
		assert.Equal(t, []string{"CVE-2099-1001"}, after.Urgent)
		assert.Equal(t, "fixes CVE-2099-1001 (critical, libssl3)", after.Reason)
		assert.ElementsMatch(t, []string{"CVE-2099-1002 zlib1g -"}, f.findings(t, "base-image-scans/*web-base*", "candidate"))
		assert.Regexp(t, `(?m)^web .*CVE-2099-1001`, f.run(t, "status"))

		files := f.files(t)
		assert.Contains(t, f.run(t, "scan", "--with", scanner, "--all"), "nothing new")
		assert.Equal(t, files, f.files(t), "a scan that learns nothing changes no byte")
	})
}

// TestScanBeforeRecord scans a new digest, that of an index, before it is recorded, and records both at once.
func TestScanBeforeRecord(t *testing.T) {
	both(t, func(t *testing.T, scanner string) {
		f := newFleet(t, "")
		f.run(t, "scan", "--with", scanner)
		f.digests["candidate"] = f.registry.pushIndex(t, "library/web-base:12", base(t, fixedBase))
		name := strings.TrimSuffix(filepath.Base(f.file(t, "base-images/*web-base*")), ".yaml")
		event := []string{"--base-image", name, "--tag", "12", "--digest", f.digests["candidate"]}
		require.NoError(t, os.Mkdir(filepath.Join(f.dir, "reports"), 0o755))
		assert.Contains(t, f.run(t, append([]string{"scan", "--with", scanner, "--write", "reports"}, event...)...), "2 reports written")
		out := f.run(t, append([]string{"analyze", "--source-dir", "src", "--report", "reports"}, event...)...)
		assert.NotContains(t, out, "warning")
		assert.Contains(t, out, "fixes CVE-2099-1001 (critical, libssl3)")
		assert.Equal(t, []string{"CVE-2099-1001"}, f.candidate(t).Urgent)
		assert.Contains(t, f.run(t, "scan", "--with", scanner, "--all"), "nothing new")
	})
}

func TestCandidateAddsHole(t *testing.T) {
	both(t, func(t *testing.T, scanner string) {
		f := newFleet(t, ", hold: true")
		f.upstream(t, worseBase)
		f.run(t, "scan", "web", "--with", scanner)
		held := f.candidate(t)
		assert.NotEmpty(t, held.Held)
		assert.Empty(t, held.Released)
		assert.Equal(t, []string{"CVE-2099-1004"}, held.Adds)
		assert.Equal(t, "adds CVE-2099-1004 (critical, libcurl4)", held.Reason)

		f.write(t, "images.yaml", fmt.Sprintf(images, "", f.registry.host))
		f.run(t, "scan", "web", "--with", scanner)
		flagged := f.candidate(t)
		assert.Empty(t, flagged.Held)
		assert.Equal(t, []string{"CVE-2099-1001"}, flagged.Urgent)
	})
}

func TestVEX(t *testing.T) {
	both(t, func(t *testing.T, scanner string) {
		f := newFleet(t, "")
		f.upstream(t, fixedBase)
		f.run(t, "scan", "web", "--with", scanner)
		assert.Equal(t, []string{"CVE-2099-1001"}, f.candidate(t).Urgent)

		f.write(t, "vex.json", strings.NewReplacer("CVE-2099-1002", "CVE-2099-1001", "zlib1g", "libssl3").Replace(vex))
		f.run(t, "scan", "web", "--report", "vex.json")
		assert.Empty(t, f.candidate(t).Released, "released for a hole that affects nobody")
		f.run(t, "scan", "web", "--with", scanner, "--all")
		assert.Empty(t, f.candidate(t).Released, "the statement is a fact, which the next scan does not forget")
	})
}

// TestScannerFails kills a scanner in the middle of its report, and runs one without a database.
func TestScannerFails(t *testing.T) {
	both(t, func(t *testing.T, scanner string) {
		f := newFleet(t, "")
		f.run(t, "scan", "--with", scanner)
		f.upstream(t, fixedBase)
		before := f.files(t)
		f.script(t, "killed", scanner+` "$@" | head -c 300; kill -9 $$`)
		f.script(t, "asks-for-another", scanner+` $(echo "$@" | sed 's/@sha256:......../@sha256:00000000/')`)

		for name, test := range map[string]struct {
			args, env, says []string
		}{
			"killed": {[]string{"--program", "./killed"}, nil, []string{
				scanner + " was killed (if memory is short, lower --parallel)", "earlier findings are kept"}},
			"no database": {nil, []string{"TRIVY_CACHE_DIR=" + t.TempDir(), "GRYPE_DB_CACHE_DIR=" + t.TempDir()}, []string{
				"the database of " + scanner + " cannot be used", "to the folder that has one)"}},
			"no image": {[]string{"--program", "./asks-for-another"}, nil, []string{"MANIFEST_UNKNOWN", "earlier findings are kept"}},
		} {
			out, err := f.try(t, test.env, append([]string{"scan", "--with", scanner, "--all"}, test.args...)...)
			require.Error(t, err, name)
			for _, text := range test.says {
				assert.Contains(t, out, text, name)
			}
			assert.Equal(t, before, f.files(t), name)
		}

		f.run(t, "scan", "--with", scanner)
		assert.Equal(t, []string{"CVE-2099-1001"}, f.candidate(t).Urgent, "the next scan gets there")
	})
}

// fleet is a checkout with images.yaml, Dockerfiles and state, of images in a registry.
type fleet struct {
	registry fakeRegistry
	dir      string
	digests  map[string]string
}

const images = `factory: {state: {url: "https://git.example.com/fleet.git"}}
defaults: {urgent: {severity: high, minAge: 0%s}}
images:
- {name: web, registry: %[2]q, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}
- {name: worker, registry: %[2]q, repository: acme/worker, source: {provider: github, repo: acme/worker, workflow: b.yml}}
`

// newFleet publishes and analyzes two images: web on Debian with a hole that upstream will fix, and worker on one with a hole
// that nobody fixes. Both add the app. urgent is added to what images.yaml has under that key.
func newFleet(t *testing.T, urgent string) *fleet {
	t.Helper()
	f := &fleet{registry: newRegistry(t), dir: t.TempDir(), digests: map[string]string{}}
	f.write(t, "images.yaml", fmt.Sprintf(images, urgent, f.registry.host))
	for name, packages := range map[string][]pkg{"web": oldBase, "worker": oldBase[1:]} {
		f.write(t, "src/"+name+"/Dockerfile", "FROM "+f.registry.host+"/library/"+name+"-base:12\nCOPY app /usr/bin/app\n")
		below := base(t, packages)
		reference := "library/" + name + "-base:12"
		f.digests[name+"-base"] = f.registry.push(t, reference, below)
		f.digests[name] = f.registry.push(t, "acme/"+name+":1.0.0", on(t, below, f.registry.host+"/"+reference))
	}
	f.run(t, "analyze", "--source-dir", "src")
	return f
}

// upstream pushes a new digest of the base of web, and analyzes.
func (f *fleet) upstream(t *testing.T, packages []pkg) {
	t.Helper()
	f.digests["candidate"] = f.registry.push(t, "library/web-base:12", base(t, packages))
	f.run(t, "analyze", "--source-dir", "src")
}

func (f *fleet) write(t *testing.T, path, content string) {
	t.Helper()
	path = filepath.Join(f.dir, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// script writes a program that the shell runs.
func (f *fleet) script(t *testing.T, path, command string) {
	t.Helper()
	f.write(t, path, "#!/bin/sh\n"+command+"\n")
	require.NoError(t, os.Chmod(filepath.Join(f.dir, path), 0o755))
}

// run runs imagefactory, which must succeed, and returns what it prints.
func (f *fleet) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := f.try(t, nil, args...)
	require.NoError(t, err, out)
	return out
}

// try runs imagefactory with some more environment.
func (f *fleet) try(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = f.dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("imagefactory %s\n%s", strings.Join(args, " "), out.String())
	return out.String(), err
}

// files returns the content of all state files.
func (f *fleet) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.Walk(filepath.Join(f.dir, "state"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		out[path] = string(content)
		return err
	}))
	return out
}

// findings returns the findings that state has of an image: each as its ID, package and where it comes from.
func (f *fleet) findings(t *testing.T, file, image string) []string {
	t.Helper()
	file, digest := f.file(t, file), f.digests[image]
	var scans struct {
		Digests []struct {
			Digest   string
			Findings []string
		}
	}
	f.read(t, file, &scans)
	for _, s := range scans.Digests {
		if s.Digest != digest {
			continue
		}
		out := []string{}
		for _, line := range s.Findings {
			fields := strings.Fields(line)
			require.GreaterOrEqual(t, len(fields), 7, line)
			out = append(out, fields[0]+" "+fields[2]+" "+fields[5])
		}
		return out
	}
	t.Fatalf("%s has no scan of %s", file, digest)
	return nil
}

// candidate is what state has of the candidate of web's base.
type candidate struct {
	Digest, Released, Held, Reason string
	Urgent, Adds                   []string
}

func (f *fleet) candidate(t *testing.T) candidate {
	t.Helper()
	var base struct{ Candidates []candidate }
	f.read(t, f.file(t, "base-images/*web-base*"), &base)
	require.Len(t, base.Candidates, 1)
	assert.Equal(t, f.digests["candidate"], base.Candidates[0].Digest)
	return base.Candidates[0]
}

// file returns the path of the only state file that matches a pattern.
func (f *fleet) file(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.dir, "state", pattern))
	require.NoError(t, err)
	require.Len(t, paths, 1, pattern)
	return paths[0]
}

func (f *fleet) read(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, into))
}
