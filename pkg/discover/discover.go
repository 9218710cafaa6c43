// Package discover reads repositories and finds their Dockerfiles, and which workflow, bake file, compose file or GitLab job builds
// and pushes which image. It proposes entries of images.yaml, each with its reasons; an expression that cannot be resolved is shown,
// never guessed. It runs nothing of what it reads.
package discover

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// Confidence is how sure a proposal is.
type Confidence string

// Confidences. Entries are made for high and medium.
const (
	High   Confidence = "high"   // everything is written in the files that were read
	Medium Confidence = "medium" // something depends on a condition, or a person has to change something first
	Low    Confidence = "low"    // something that the entry needs is not known
)

// Status is how a proposal relates to images.yaml.
type Status string

// Statuses.
const (
	New        Status = "new"        // not enrolled
	Enrolled   Status = "enrolled"   // enrolled like this
	Differs    Status = "differs"    // enrolled with other values
	Incomplete Status = "incomplete" // not enrolled, and something is not known
)

// Proposal is an image that something builds and pushes.
type Proposal struct {
	Name        string              `json:"name"`
	Image       string              `json:"image"` // reference, with its expressions as they are written
	Repository  string              `json:"repository"`
	Status      Status              `json:"status"`
	Confidence  Confidence          `json:"confidence"`
	Entry       *config.Entry       `json:"entry,omitempty"` // of images.yaml; none if it is incomplete
	Reasons     []Reason            `json:"reasons"`
	Unresolved  []string            `json:"unresolved,omitempty"`  // expressions
	Notes       []string            `json:"notes,omitempty"`       // what a person should know or do
	Differences []config.Difference `json:"differences,omitempty"` // of the enrolled entry (have) and the repository (want)
	UsedBy      []string            `json:"usedBy,omitempty"`      // names of images that are built on it
}

// Reason is a place that says how the image is built.
type Reason struct {
	Place
	Text string `json:"text"`
}

// Unbuilt is a Dockerfile whose image nothing pushes.
type Unbuilt struct {
	Repository string `json:"repository"`
	Dockerfile string `json:"dockerfile"`
	Reason     string `json:"reason"`
}

// Parent is an image of one's own that others are built on, and that nothing builds in the repositories that were read.
type Parent struct {
	Ref    string   `json:"ref"`
	UsedBy []string `json:"usedBy"` // REPOSITORY FILE:LINE
}

// Unread is a repository that could not be read.
type Unread struct {
	Repository string `json:"repository"`
	Error      string `json:"error"`
}

// Report is the result of a discovery.
type Report struct {
	Items        []Proposal `json:"items"`
	Unbuilt      []Unbuilt  `json:"unbuilt"`
	Parents      []Parent   `json:"parents"`
	Problems     []Problem  `json:"problems"`
	Repositories int        `json:"repositories"` // that were read
	Unread       []Unread   `json:"unread,omitempty"`
	Later        *time.Time `json:"later,omitempty"` // end of a rate limit: a run after it reads the rest
}

// reading is what was found in one repository.
type reading struct {
	repo        Repository
	marks       *marks
	builds      []*build
	dockerfiles []string
	contents    map[string][]byte // of Dockerfiles that are built
	files       map[string]bool
	problems    []Problem
}

// scan reads one repository. The error is about the whole repository.
func scan(ctx context.Context, repo Repository, tree Tree, registry string) (r *reading, err error) {
	defer func() {
		if p := recover(); p != nil { // of one repository: the others are read
			r, err = nil, fmt.Errorf("internal error: %v", p)
		}
	}()
	s := newScanner(ctx, repo, tree)
	s.registry = registry
	s.gitHub()
	s.gitLab()
	if len(s.builds) == 0 {
		s.byHand()
	}
	r = &reading{repo: repo, marks: s.marks, dockerfiles: dockerfiles(tree.Files()), contents: map[string][]byte{}, files: s.files}
	for _, b := range s.builds {
		if known(b.dockerfile) && s.has(b.dockerfile) {
			if text := s.read(b.dockerfile, maxFileBytes); text != nil {
				r.contents[b.dockerfile] = text
			}
		}
	}
	r.builds, r.problems = s.builds, s.problems
	if s.failed != nil {
		return nil, s.failed
	}
	return r, ctx.Err()
}

// byHand reads what people build with where no workflow builds: bake files, compose files and the makefile in the root folder.
func (s *scanner) byHand() {
	none := func(string) (string, bool) { return "", false }
	for _, f := range bakeDefaults {
		if s.has(f) {
			s.builds = append(s.builds, s.bake(bakeRun{by: "docker buildx bake", place: Place{File: f}, dir: ".", wanted: nil, env: none})...)
			break
		}
	}
	s.builds = append(s.builds, s.composeBuilds(composeRun{by: "docker compose", dir: ".", env: none})...)
	m := &images{scan: s, aliases: map[string]string{}, pushed: map[string]bool{}, env: none}
	if file := m.makefileIn(".", ""); file != "" {
		m.sh = s.newShell(map[string]string{}, ".", 0, m.command)
		mk := parseMakefile(string(s.read(file, maxFileBytes)))
		m.make(command{dir: ".", line: 1}, mk.order[:min(len(mk.order), maxLoop)])
		s.builds = append(s.builds, m.finish()...)
	}
}

// sortReport brings everything into a stable order.
func (r *Report) sort() {
	slices.SortStableFunc(r.Items, func(a, b Proposal) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Image, b.Image))
	})
	slices.SortStableFunc(r.Unbuilt, func(a, b Unbuilt) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Dockerfile, b.Dockerfile))
	})
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	slices.SortFunc(r.Parents, func(a, b Parent) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.SortFunc(r.Unread, func(a, b Unread) int { return cmp.Compare(a.Repository, b.Repository) })
}

// Counts returns the number of proposals by status.
func (r *Report) Counts() map[Status]int {
	out := map[Status]int{}
	for i := range r.Items {
		out[r.Items[i].Status]++
	}
	return out
}

// Proposed returns the proposals with an entry, of at least a confidence.
func (r *Report) Proposed(least Confidence) []*Proposal {
	var out []*Proposal
	for i := range r.Items {
		if p := &r.Items[i]; p.Entry != nil && (least != High || p.Confidence == High) {
			out = append(out, p)
		}
	}
	return out
}

// EntryList returns the proposed entries of at least a confidence as a list for images.yaml.
func (r *Report) EntryList(least Confidence) ([]byte, error) {
	list := []config.Entry{}
	for _, p := range r.Proposed(least) {
		list = append(list, *p.Entry)
	}
	text, err := yamlenc.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("writing entries: %w", err)
	}
	return text, nil
}

// Entries returns the same list with the reasons as comments, for people who edit it.
func (r *Report) Entries(least Confidence) ([]byte, error) {
	var b bytes.Buffer
	for _, p := range r.Proposed(least) {
		for _, reason := range p.Reasons {
			fmt.Fprintf(&b, "# %s: %s\n", reason.Place, sanitize.Words(reason.Text))
		}
		for _, note := range p.Notes {
			fmt.Fprintf(&b, "# note: %s\n", sanitize.Words(note))
		}
		text, err := yamlenc.Marshal([]config.Entry{*p.Entry})
		if err != nil {
			return nil, fmt.Errorf("writing entry %q: %w", p.Name, err)
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}
