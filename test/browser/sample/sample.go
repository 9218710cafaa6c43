// Package sample writes the files of a fleet whose images have every status, of any size.
package sample

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	took = 20 * time.Minute // of each rebuild

	lastBuilt = 36 * day // ago
)

// Options describe a fleet.
type Options struct {
	Images   int
	Findings int // of scans, for each base image; each scanned image has two of its own besides
	Now      time.Time
	Text     string // that every free text begins with
	RunURL   string // of every run; default one at GitHub
}

var (
	bases  = []string{"node:22-slim", "golang:1.26-bookworm", "python:3.13-slim", "debian:12-slim", "nginx:1.29", "eclipse-temurin:21-jre", "alpine:3.22", "ruby:3.4"}
	words  = []string{"shop", "login", "search", "ledger", "invoice", "tracking", "gateway", "mail", "depot", "fraud", "portal", "catalog", "stock", "label"}
	owners = []string{"team-shop", "team-core", "@acme/data"}
)

// Write writes images.yaml and state below dir.
func Write(dir string, o Options) error {
	w := &writer{Options: o, dir: dir}
	n := max(o.Images/10, len(bases))
	for i := range n {
		if err := w.base(i); err != nil {
			return err
		}
	}
	var images strings.Builder
	images.WriteString("factory:\n  state: {url: \"https://github.com/acme/image-factory.git\"}\nimages:\n")
	for i := range o.Images {
		name := w.name(i)
		fmt.Fprintf(&images, "- name: %[1]s\n  registry: ghcr.io\n  repository: acme/%[1]s\n  owner: %[2]q\n  source: {provider: github, repo: acme/%[1]s, workflow: build.yml}\n  rebuildDelay: 7d\n",
			name, owners[i%len(owners)])
		if i%19 == 7 {
			images.WriteString("  autoRebuild: false\n")
		}
		if i%3 == 0 {
			images.WriteString("  urgent: {severity: high, minAge: 1d}\n")
		}
		if err := w.image(i, n); err != nil {
			return err
		}
	}
	return w.file("images.yaml", images.String())
}

type writer struct {
	Options
	dir string
}

func (w *writer) file(path, text string) error {
	path = filepath.Join(w.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

func (w *writer) ago(d time.Duration) string {
	return w.Now.Add(-d).UTC().Truncate(time.Second).Format(time.RFC3339)
}

func digest(format string, args ...any) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Appendf(nil, format, args...)))
}

// ref returns the repository and the tag of a base image.
func ref(i int) (repository, tag string) {
	repository, tag, _ = strings.Cut(bases[i%len(bases)], ":")
	if i >= len(bases) {
		tag = fmt.Sprintf("%s-%d", tag, i/len(bases))
	}
	return repository, tag
}

func (w *writer) name(i int) string {
	name := words[i%len(words)] + "-" + []string{"api", "web", "worker", "job"}[i/len(words)%4]
	if i >= 4*len(words) {
		name = fmt.Sprintf("%s-%d", name, i/(4*len(words)))
	}
	return name
}

// base writes a base image whose tag moved: never, a while ago, lately, or to a digest that is held.
func (w *writer) base(i int) error {
	repository, tag := ref(i)
	name := strings.NewReplacer(":", "-", ".", "-").Replace(repository + "-" + tag)
	ages := [][]time.Duration{nil, {9 * day}, {5 * day, 2 * day}, {12 * day, 3 * day, day}, {4 * day}}[i%5]
	current := digest("base %d 0", i)
	var candidates, history strings.Builder
	for k, age := range ages {
		next := digest("base %d %d", i, k+1)
		fmt.Fprintf(&candidates, "- digest: %s\n  firstSeen: %q\n", next, w.ago(age))
		switch {
		case i%5 == 4:
			fmt.Fprintf(&candidates, "  held: %q\n  reason: %q\n", w.ago(age/2), w.Text+"breaks http3")
		case k == 0 && w.Findings > 0:
			fmt.Fprintf(&candidates, "  released: %q\n  reason: %q\n  urgent: [%s]\n", w.ago(age-day), "fixes "+cve(i, 0)+" (critical, openssl)", cve(i, 0))
		}
		fmt.Fprintf(&history, "- at: %q\n  from: %s\n  to: %s\n", w.ago(age), current, next)
		current = next
	}
	text := fmt.Sprintf("name: %s\nregistry: docker.io\nrepository: library/%s\ntag: %q\ncurrentDigest: %s\nlastUpdated: %q\nbaseline:\n  digest: %s\n  firstSeen: %q\n",
		name, repository, tag, current, w.ago(append([]time.Duration{60 * day}, ages...)[len(ages)]), digest("base %d 0", i), w.ago(60*day))
	if candidates.Len() > 0 {
		text += "candidates:\n" + candidates.String() + "updateHistory:\n" + history.String()
	}
	if w.Findings > 0 {
		if err := w.baseScans(i, name, len(ages)); err != nil {
			return err
		}
	}
	return w.file("state/base-images/"+name+".yaml", text)
}

// cve returns the ID of a finding of a base image. Base images of the same kind share them.
func cve(i, k int) string { return fmt.Sprintf("CVE-2026-%d", 1000+i%3*500+k) }

// finding returns a line of a finding: the first of a base image is critical, most are high.
func (w *writer) finding(i, k int) string {
	fixed := []string{"3.0.17-1", "1.2.3", "-"}[k%3]
	pkg := []string{"openssl", "libxml2", "zlib", "glibc", "curl"}[k%5]
	return fmt.Sprintf("%s %s %s 1.0.%d %s - -", cve(i, k), []string{"critical", "high", "high", "high"}[k%4], pkg, k, fixed)
}

// scans returns what a scan found in a digest.
func scans(digest string, findings []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "- digest: %s\n  platform: linux/amd64\n  scanner: trivy\n  os: debian 12.5\n  severity: high\n", digest)
	if len(findings) > 0 {
		text.WriteString("  findings:\n")
	}
	for _, f := range findings {
		fmt.Fprintf(&text, "  - %q\n", f)
	}
	text.WriteString("  others: {medium: 7, low: 21}\n")
	return text.String()
}

// baseScans writes what scans found in the digests of a base image. Each newer digest fixes a third of the findings; a few add one.
func (w *writer) baseScans(i int, name string, newer int) error {
	var found []string
	for k := range w.Findings {
		found = append(found, w.finding(i, k))
	}
	digests := map[string]string{digest("base %d 0", i): scans(digest("base %d 0", i), found)}
	for k := range newer {
		found = found[min(len(found), (w.Findings+2)/3):]
		if i%5 == 3 && k == 1 {
			found = append(slices.Clone(found), "CVE-2026-4242 high busybox 1.36 1.37 - -")
		}
		digests[digest("base %d %d", i, k+1)] = scans(digest("base %d %d", i, k+1), found)
	}
	var text strings.Builder
	text.WriteString("name: " + name + "\ndigests:\n")
	for _, d := range slices.Sorted(maps.Keys(digests)) {
		text.WriteString(digests[d])
	}
	return w.file("state/base-image-scans/"+name+".yaml", text.String())
}

// imageScans writes what a scan found in an image that is built on a base image: the findings of that, and two of its own.
func (w *writer) imageScans(i, base int) error {
	found := []string{cve(i, 400) + " high " + w.word() + "express 4.1 4.2 - -", cve(i, 401) + " critical lodash 4.17.20 - - -"}
	for k := range w.Findings {
		found = append(found, w.finding(base, k))
	}
	return w.file("state/image-scans/"+w.name(i)+".yaml", "name: "+w.name(i)+"\ndigests:\n"+scans(digest("image %d", i), found))
}

// word returns the text that free texts begin with, as the name of a package has it.
func (w *writer) word() string { return strings.ReplaceAll(strings.TrimSpace(w.Text), " ", "_") }

// image writes an image that is built on one or two base images, or on another image.
func (w *writer) image(i, bases int) error {
	name := w.name(i)
	var uses, built, targets strings.Builder
	add := func(ref, digest string, line int) {
		fmt.Fprintf(&targets, "{ref: %q, digest: %q}, ", ref, digest)
		fmt.Fprintf(&uses, "- ref: %s\n  final: %t\n  uses: [{kind: %s, stage: \"0\", line: %d}]\n", ref, line == 1, []string{"from", "copy"}[(line-1)%2], line)
		fmt.Fprintf(&built, "- ref: %s\n  digest: %s\n  evidence: provenance\n", ref, digest)
	}
	if w.Findings > 0 && i%6 != 4 {
		if err := w.imageScans(i, i%bases); err != nil {
			return err
		}
	}
	if parent := i / 7; i%4 == 3 && parent != i {
		add("ghcr.io/acme/"+w.name(parent)+":1.4.0", digest("image %d", parent), 1)
	} else {
		repository, tag := ref(i % bases)
		add("docker.io/library/"+repository+":"+tag, digest("base %d 0", i%bases), 1)
	}
	if other := (i*3 + 1) % bases; i%3 == 0 && other != i%bases {
		repository, tag := ref(other)
		add("docker.io/library/"+repository+":"+tag, digest("base %d 0", other), 2)
	}
	text := fmt.Sprintf("name: %[1]s\nrepository: ghcr.io/acme/%[1]s\ndockerfile: {repo: acme/%[1]s, path: Dockerfile, digest: %[2]q}\nbaseImages:\n%[3]sbuiltOn:\n%[4]scurrentVersion: 1.4.0\ncurrentDigest: %[5]s\nlastBuilt: %[6]q\npublished:\n- {tag: 1.4.0, digest: %[5]q, since: %[6]q}\n",
		name, digest("dockerfile"), uses.String(), built.String(), digest("image %d", i), w.ago(lastBuilt))
	if i%17 == 5 {
		text += fmt.Sprintf("analysisError: %q\n", w.Text+"Dockerfile:3: COPY --from does not expand variables")
	}
	switch i % 11 {
	case 2:
		text += "rebuild:\n  " + w.rebuild(i, 0, "running", time.Hour)
	case 6:
		text += "rebuild:\n  " + w.rebuild(i, 0, "failed", 5*time.Hour) + "  failures: 3\n"
	case 9:
		text += "rebuild:\n  " + w.rebuild(i, 0, "requested", time.Hour)
	}
	var history strings.Builder
	for k := range 5 {
		history.WriteString("- " + w.rebuild(i, k+1, "succeeded", lastBuilt+took+time.Duration(4-k)*6*day))
		history.WriteString("  bases: [" + targets.String() + "]\n")
	}
	return w.file("state/images/"+name+".yaml", text+"rebuildHistory:\n"+history.String())
}

func (w *writer) rebuild(i, k int, status string, age time.Duration) string {
	url := w.RunURL
	if url == "" {
		url = fmt.Sprintf("https://github.com/acme/%s/actions/runs/%d", w.name(i), 7000000000+i*10+k)
	}
	lines := []string{
		"id: r-" + digest("%d %d", i, k)[7:23], fmt.Sprintf("reason: %q", w.Text+"newer digest of debian:12-slim is due"), fmt.Sprintf("requestedAt: %q", w.ago(age)),
		"status: " + status,
	}
	if status == "requested" {
		lines = append(lines, fmt.Sprintf("message: %q", w.Text+"no token for github.com (run imagefactory doctor)"))
	} else {
		lines = append(lines, fmt.Sprintf("run: %q", strconv.Itoa(7000000000+i*10+k)), fmt.Sprintf("runURL: %q", url))
	}
	if status == "failed" {
		lines = append(lines, fmt.Sprintf("message: %q", w.Text+"the run ended with failure"))
	}
	if status == "failed" || status == "succeeded" {
		lines = append(lines, fmt.Sprintf("finishedAt: %q", w.ago(age-took)))
	}
	return strings.Join(lines, "\n  ") + "\n"
}
