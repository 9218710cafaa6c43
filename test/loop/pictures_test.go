package loop_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/loop/content"
)

// picturedImages is the fleet of the pictures.
const picturedImages = `
factory: {mirrors: {docker.io: ["REGISTRY/docker.io"], ghcr.io: ["REGISTRY/ghcr.io"]}}
defaults:
  registry: REGISTRY
  owner: team-platform
  source: {provider: gitea, host: "GITEA", workflow: build.yml, pinBases: true}
images:
- {name: base-os, repository: ORG/base-os, tags: latest, source: {repo: ORG/base-os, inputs: {rebuild: "{{promotion}}"}}}
- {name: runtime-python, repository: ORG/runtime-python, tags: latest, source: {repo: ORG/runtime-python, inputs: {rebuild: "{{promotion}}"}}}
- {name: runtime-node, repository: ORG/runtime-node, tags: latest, source: {repo: ORG/runtime-node, inputs: {rebuild: "{{promotion}}"}}}
- {name: ci-tools, repository: ORG/ci-tools, tags: latest, source: {repo: ORG/ci-tools, inputs: {rebuild: "{{promotion}}"}}}
- {name: shop-api, repository: ORG/shop-api, tags: latest, owner: team-shop, source: {repo: ORG/shop-api, inputs: {rebuild: "{{promotion}}"}}}
- {name: shop-web, repository: ORG/shop-web, tags: latest, owner: team-shop, source: {repo: ORG/shop-web, inputs: {rebuild: "{{promotion}}"}}}
- {name: fraud-model, repository: ORG/fraud-model, tags: latest, owner: team-payments, source: {repo: ORG/fraud-model, inputs: {rebuild: "{{promotion}}"}}}
`

// The public images that the fleet uses.
const (
	debian = "docker.io/library/debian:13-slim"
	node   = "docker.io/library/node:22"
	nginx  = "docker.io/library/nginx:1.29"
	uv     = "ghcr.io/astral-sh/uv:0.9.18"
)

// picturedLevels are the Dockerfiles of the fleet, parents first.
var picturedLevels = []map[string]string{
	{
		"base-os":  "FROM debian:13-slim\nRUN cat /etc/version > /installed\n",
		"shop-web": "FROM node:22 AS build\nRUN cat /etc/version > /site\nFROM nginx:1.29\nCOPY --from=build /site /\n",
	},
	{
		"runtime-python": "FROM REGISTRY/ORG/base-os:latest\nCOPY --from=ghcr.io/astral-sh/uv:0.9.18 /etc/version /uv\n",
		"runtime-node":   "FROM REGISTRY/ORG/base-os:latest\nCOPY --from=node:22 /etc/version /node\n",
	},
	{
		"ci-tools":    "FROM REGISTRY/ORG/base-os:latest\nCOPY --from=REGISTRY/ORG/runtime-node:latest /node /\nCOPY --from=REGISTRY/ORG/runtime-python:latest /uv /\n",
		"shop-api":    "FROM REGISTRY/ORG/runtime-node:latest\nRUN cat /node > /app\n",
		"fraud-model": "FROM REGISTRY/ORG/runtime-python:latest\nRUN cat /uv > /app\n",
	},
}

// pictured is the fleet, and what its commands printed.
type pictured struct {
	*site
	stand  standIns
	scenes []scene
	pushed int
}

// TestPictures plays two weeks of a fleet whose state and workflows are at Gitea and whose images BuildKit builds, and compares the
// pictures in the documentation with what it showed. With -update it writes them.
func TestPictures(t *testing.T) {
	t.Parallel()
	p := &pictured{site: newSite(t, "acme-images", picturedImages)}
	p.now = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	p.stand = standIns{hosts: strings.NewReplacer(
		"acme-images", "acme", servers.Docker.Host, "registry.example",
		"http://"+servers.Gitea.Host, "https://git.example", servers.Gitea.Host, "git.example",
	), numbers: map[string]int{}}
	p.enroll()
	p.play()
	recording := record(p.scenes)
	wellFormed(t, recording)
	assert.Contains(t, string(recording), `fill="#7ee787">current`)
	p.golden("docs/img/demo.svg", recording)
	p.goOn()
	dir := p.example()
	p.golden("docs/img/graph-fleet.svg", p.in(dir, "graph", "-o", "svg", "--cluster", "none"))
	p.golden("docs/img/graph-image.svg", p.in(dir, "graph", "runtime-node", "-o", "svg"))
	page := p.in(dir, "report", "--no-history", "-o", "-")
	p.golden("test/loop/testdata/report.txt", pageText(page))
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Join(repository, "bin"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(repository, "bin/pictures.html"), page, 0o644))
	}
}

// enroll publishes the first version of everything.
func (p *pictured) enroll() {
	p.t.Helper()
	for _, ref := range []string{debian, node, nginx, uv} {
		p.move(ref)
	}
	for _, level := range picturedLevels {
		for name, dockerfile := range level {
			p.commit(name, map[string]string{"Dockerfile": dockerfile})
		}
	}
	for _, level := range picturedLevels {
		p.observe() // the workflows of this level build with the lock
		for _, name := range sorted(level) {
			p.workflow(name, name)
		}
		p.build()
	}
}

// move pushes a new digest under the tag of a public image.
func (p *pictured) move(ref string) {
	p.t.Helper()
	p.pushed++
	files := content.Shell(shell, false)
	files["etc/version"] = content.Text(fmt.Sprintln(ref, p.pushed))
	_, err := content.Push(servers.Docker.Host+"/"+ref, content.Image{Files: files})
	require.NoError(p.t, err)
}

// The commands of the recording.
const (
	analyzeCommand = "imagefactory analyze --push"
	statusCommand  = "git pull -q && imagefactory status"
	promoteCommand = "imagefactory promote --direct --push"
)

// play is what the recording shows.
func (p *pictured) play() {
	p.t.Helper()
	p.scene("Monday. Seven images; whatever the registries hold now is the baseline.", analyzeCommand, statusCommand)
	p.later(day)
	p.move(debian)
	p.move(node)
	p.scene("Tuesday. debian:13-slim and node:22 have moved: both wait for 7 days.", analyzeCommand, statusCommand, promoteCommand)
	p.later(7*day + time.Hour)
	p.scene("Tuesday, a week later. The lowest images are rebuilt first; those built on them wait.", promoteCommand, statusCommand)
	for _, title := range []string{
		"20 minutes later. base-os and shop-web are published: the images built on base-os are next.",
		"20 minutes later. Both runtimes are published: each image built on them is rebuilt once.",
	} {
		p.built()
		p.scene(title, promoteCommand)
	}
	p.built()
	p.scene("20 minutes later. Everything is built on the new digests.", promoteCommand, statusCommand)
	for image, status := range p.statuses() {
		require.Equal(p.t, "current", status, image)
	}
}

// built runs the builds that were started.
func (p *pictured) built() {
	p.t.Helper()
	require.NotEmpty(p.t, p.waiting(), "no build was started")
	p.build()
	p.later(20 * time.Minute)
}

// goOn brings the fleet to where its images have different statuses.
func (p *pictured) goOn() {
	p.t.Helper()
	p.later(3 * day)
	runs := len(p.runs("fraud-model"))
	p.commit("fraud-model", map[string]string{"Dockerfile": "FROM REGISTRY/ORG/runtime-python:latest\nRUN false\n"})
	p.started("fraud-model", runs+1)
	p.fail("fraud-model") // the build that the push starts
	p.move(uv)
	p.pass()
	p.later(6 * day)
	p.move(debian)
	p.move(node)
	p.pass()
	p.run("hold", node, "--reason", "npm drops lock files", "--push")
	p.later(day + time.Hour)
	p.move(nginx)
	p.pass()
	p.built() // runtime-python, for uv
	p.pass()
	p.fail("fraud-model")
	p.build()
	p.later(20 * time.Minute)
	p.pass()
	p.run("release", debian, "--reason", "fixes the certificates", "--push")
	p.pass() // starts base-os, which nobody builds
}

// fail runs jobs until one of a repository has run. It must fail.
func (p *pictured) fail(repo string) {
	p.t.Helper()
	for {
		done, err := p.runner.Next(p.t.Context())
		require.NoError(p.t, err)
		require.NotNil(p.t, done, "no job of %s", repo)
		if done.Task.Context.Repository == p.org+"/"+repo {
			require.Error(p.t, done.Err)
			return
		}
		require.NoError(p.t, done.Err)
	}
}

// scene runs commands in the checkout of the state, and records them.
func (p *pictured) scene(title string, commands ...string) {
	p.t.Helper()
	s := scene{title: title}
	for _, command := range commands {
		cmd := exec.CommandContext(p.t.Context(), "sh", "-c", strings.ReplaceAll(command, "imagefactory ", "imagefactory --color always "))
		cmd.Dir = p.dir
		cmd.Env = append(p.environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0="+authorization())
		out, err := cmd.CombinedOutput()
		require.NoError(p.t, err, "%s\n%s", command, out)
		s.steps = append(s.steps, step{command, p.stand.in(slowLine.ReplaceAllString(string(out), ""))})
	}
	p.scenes = append(p.scenes, s)
}

// slowLine is a line that shows the progress of a command if this takes long.
var slowLine = regexp.MustCompile(`(?m)^.*: \d+ of \d+ \w+, .*\n`)

// standIns replaces what differs from run to run: hosts, digests, commits, the IDs of rebuilds, and the numbers of runs, because
// Gitea counts those of all tests.
type standIns struct {
	hosts   *strings.Replacer
	numbers map[string]int // by what is replaced, in the order of appearance
}

var (
	varying = regexp.MustCompile(`\br-[0-9a-f]{16}\b|\b[0-9a-f]{64}\b|\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b`)
	runURL  = regexp.MustCompile(`/actions/runs/\d+`)
	runID   = regexp.MustCompile(`(?m)^( *run: ).*$`) // in state
)

// in replaces what a text contains. A short digest gets the beginning of what the digest gets.
func (s *standIns) in(text string) string {
	text = runURL.ReplaceAllStringFunc(s.hosts.Replace(text), func(found string) string { return fmt.Sprint("/actions/runs/", s.number(found)) })
	return varying.ReplaceAllStringFunc(text, func(found string) string {
		prefix := ""
		if strings.HasPrefix(found, "r-") {
			prefix, found = "r-", found[2:]
		}
		return prefix + fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, s.number(prefix+found[:12]))))[:len(found)]
	})
}

// number returns the number of a key in the order of appearance.
func (s *standIns) number(key string) int {
	if s.numbers[key] == 0 {
		s.numbers[key] = len(s.numbers) + 1
	}
	return s.numbers[key]
}

// example writes the fleet with stand-ins into a folder.
func (p *pictured) example() string {
	p.t.Helper()
	dir := p.t.TempDir()
	require.NoError(p.t, filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		rel, errRel := filepath.Rel(p.dir, path)
		if err := errors.Join(err, errRel); err != nil || entry.IsDir() || rel != "images.yaml" && !strings.HasPrefix(rel, "state/") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := runID.ReplaceAllString(p.stand.in(string(data)), `${1}"1"`)
		text = strings.Replace(text, "factory: {", "factory: {state: {url: \"https://git.example/acme/factory.git\"}, ", 1)
		return errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, rel)), 0o755), os.WriteFile(filepath.Join(dir, rel), []byte(text), 0o644))
	}))
	return dir
}

// in runs a command in a folder and returns what it writes to stdout.
func (p *pictured) in(dir string, args ...string) []byte {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(bin, "imagefactory"), args...)
	cmd.Dir, cmd.Env = dir, p.environ()
	out, err := cmd.Output()
	require.NoError(p.t, err, "imagefactory %s", strings.Join(args, " "))
	return out
}

var (
	unseen = regexp.MustCompile(`(?s)<(script|style)\b.*?</(script|style)>|<[^>]*>`)
	blank  = regexp.MustCompile(`\s*\n\s*`)
	maker  = regexp.MustCompile(`Made by imagefactory .*? from`)
)

// pageText returns the text of an HTML page, without the version that made it.
func pageText(page []byte) []byte {
	text := unseen.ReplaceAll(page, []byte("\n"))
	return maker.ReplaceAll(blank.ReplaceAll(text, []byte("\n")), []byte("Made by imagefactory from"))
}

// golden compares a file of the repository, or writes it.
func (p *pictured) golden(path string, got []byte) {
	p.t.Helper()
	file := filepath.Join(repository, filepath.FromSlash(path))
	if *update {
		require.NoError(p.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(p.t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(p.t, err)
	assert.Equal(p.t, string(want), string(got), "%s is out of date: run make pictures", path)
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	var err error
	for decoder := xml.NewDecoder(bytes.NewReader(svg)); err == nil; {
		_, err = decoder.Token()
	}
	assert.ErrorIs(t, err, io.EOF, "the recording is not well-formed")
}

func TestSpansCutLongLinesAndKeepColours(t *testing.T) {
	assert.Equal(t, `<tspan>a </tspan><tspan fill="#7ee787" class="b">&lt;b&gt;</tspan><tspan> c</tspan>`, spans("a \x1b[1;32m<b>\x1b[0m c"))
	assert.Equal(t, "<tspan>"+strings.Repeat("x", columns-1)+"…</tspan>", spans(strings.Repeat("x", columns+1)))
}
