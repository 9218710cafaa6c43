package lab_test

import (
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// forge is a forge at which images are built. It is in this process, or passes on what it is asked.
type forge struct {
	*forgetest.Server

	provider, token string
	repos           string // path of the repositories in the API; empty for GitLab
}

// image is an enrolled image with its repository at the forge.
type image struct {
	*lab
	builder

	name   string
	repo   string   // at the forge, and in the registry
	from   []string // references without registry, the final one first
	level  int      // 0 if it is built on no other enrolled image
	latest bool     // publishes the tag latest, and else semantic versions
	pinned bool     // builds with the digest in its inputs, otherwise with the current digest of the tag
}

// builder builds the versions of an image.
type builder interface {
	source() string         // further lines of source in images.yaml
	publish(digest string)  // builds a version that nobody asked for, on the current bases, or on a digest of the final base
	runs() []forgetest.Run  // those that were asked for, oldest first
	url(id int64) string    // of a run, for people
	ends(outcome string)    // of the next runs: success, failure or never
	refuse() (words string) // has the forge refuse to start a run, with these words
}

// path returns the repository of the image in the API of its forge.
func (i *image) path() string { return i.forge.repos + i.repo }

// own returns the reference of an enrolled image that publishes the tag latest.
func (l *lab) own(name string) string { return l.space + "/" + name + ":latest" }

// enroll adds an image to images.yaml and to the forge. Settings are further lines of the entry.
func (l *lab) enroll(name string, from []string, settings ...string) *image {
	return l.enrolAt(l.forge, name, from, settings...)
}

func (l *lab) enrolAt(at *forge, name string, from []string, settings ...string) *image {
	l.t.Helper()
	i := &image{lab: l, name: name, repo: l.space + "/" + name, from: from}
	var entry, source, dockerfile strings.Builder
	inputs := "    inputs: {digest: \"{{digest}}\"}\n"
	for _, s := range settings {
		inner, ok := strings.CutPrefix(s, "source.")
		switch {
		case !ok:
			i.latest = i.latest || s == "tags: latest"
			entry.WriteString("  " + s + "\n")
		case strings.HasPrefix(inner, "inputs:"):
			inputs = "    " + inner + "\n"
		default:
			i.pinned = i.pinned || inner == "pinBases: true"
			source.WriteString("    " + inner + "\n")
		}
	}
	for n, ref := range from {
		if parent := l.ids[strings.TrimSuffix(strings.TrimPrefix(ref, l.space+"/"), ":latest")]; parent != nil {
			i.level = max(i.level, parent.level+1)
		}
		if n > 0 {
			fmt.Fprintf(&dockerfile, "FROM %s/%s AS part%d\n", l.registry.Host, ref, n)
		}
	}
	fmt.Fprintf(&dockerfile, "FROM %s/%s\n", l.registry.Host, from[0])
	for n := range from[1:] {
		fmt.Fprintf(&dockerfile, "COPY --from=part%d /a /a\n", n+1)
	}
	switch at.provider {
	case "gitlab":
		i.builder, inputs = newPipelines(i, at, dockerfile.String()), "    variables: {DIGEST: \"{{digest}}\"}\n"
	case "github":
		i.builder = newWorkflows(i, at, dockerfile.String())
	default:
		i.builder = newAtGitea(i, dockerfile.String())
	}
	fmt.Fprintf(&l.entries, "- name: %s\n  registry: %q\n  repository: %s\n%s  source:\n    provider: %s\n    host: %q\n    repo: %s\n%s%s%s",
		name, l.registry.Host, i.repo, &entry, at.provider, at.Host, i.repo, &source, inputs, i.source())
	l.ids[name] = i
	return i
}

// digest returns the digest that a tag holds.
func (l *lab) digest(ref string) string {
	l.t.Helper()
	tag, err := name.NewTag(l.registry.Host + "/" + ref)
	require.NoError(l.t, err)
	head, err := remote.Head(tag)
	require.NoError(l.t, err)
	return head.Digest.String()
}

// standIn builds in this process, as the runners of a forge would, and pushes what they would push.
type standIn struct {
	*image

	mu      sync.Mutex
	built   int
	outcome string
}

func (s *standIn) ends(outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = outcome
}

func (s *standIn) publish(digest string) {
	s.mu.Lock()
	s.built++
	version := fmt.Sprintf("1.0.%d", s.built)
	s.mu.Unlock()
	final := s.holds(s.from[0])
	if digest != "" {
		s.lab.mu.Lock()
		final = s.all[digest]
		s.lab.mu.Unlock()
	}
	built := registrytest.Built{Version: version, From: &final, Provenance: true}
	for _, ref := range s.from[1:] {
		built.Used = append(built.Used, s.holds(ref))
	}
	ref := s.repo + ":" + version
	if s.latest {
		ref = s.repo + ":latest"
	}
	s.put(ref, s.registry.Publish(ref, built))
}

// build plays the forge's runners: it builds each run that waits, and ends it.
func (s *standIn) build(runs []forgetest.Run, end func(id int64, outcome string)) {
	for _, run := range runs {
		if run.Status != "queued" && run.Status != "created" {
			continue
		}
		s.mu.Lock()
		outcome := s.outcome
		s.mu.Unlock()
		if outcome == "never" {
			continue
		}
		if outcome == "success" {
			s.publish(map[bool]string{true: run.Values["digest"]}[s.pinned])
		}
		end(run.ID, outcome)
	}
}

// workflows is a repository at the stand-in of GitHub.
type workflows struct {
	standIn
	*forgetest.Workflows
}

func newWorkflows(i *image, at *forge, dockerfile string) *workflows {
	at.GitHub(i.repo).Commit("Dockerfile", dockerfile)
	w := &workflows{standIn{image: i, outcome: "success"}, at.Workflows(i.repo)}
	w.Inputs = []string{"digest", "code", "number", "yes", "note"}
	return w
}

func (w *workflows) source() string        { return "    workflow: build.yml\n" }
func (w *workflows) runs() []forgetest.Run { return w.Runs() }
func (w *workflows) url(id int64) string   { return w.URL(id) }
func (w *workflows) work()                 { w.build(w.Runs(), w.Finish) }

func (w *workflows) refuse() string {
	w.Disabled = true
	return "disabled workflow"
}

// pipelines is a project at the stand-in of GitLab.
type pipelines struct {
	standIn
	*forgetest.Pipelines
}

func newPipelines(i *image, at *forge, dockerfile string) *pipelines {
	at.GitLab(i.repo).Commit("Dockerfile", dockerfile)
	return &pipelines{standIn{image: i, outcome: "success"}, at.Pipelines(i.repo)}
}

func (p *pipelines) source() string        { return "" }
func (p *pipelines) runs() []forgetest.Run { return p.Runs() }
func (p *pipelines) url(id int64) string   { return p.URL(id) }

func (p *pipelines) work() {
	p.build(p.Runs(), func(id int64, outcome string) { p.Finish(id, strings.Replace(outcome, "failure", "failed", 1)) })
}

func (p *pipelines) refuse() string {
	p.Error = "Pipeline filtered out by workflow rules."
	return p.Error
}
