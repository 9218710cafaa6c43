package propose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Options configure [Sync].
type Options struct {
	// Repository returns the repository of a source.
	Repository func(context.Context, *config.Source) (forge.Repository, error)
	Timeout    time.Duration // for one group; default 2m
}

const defaultTimeout = 2 * time.Minute

// Action is what was done with the request of a group.
type Action string

// Actions.
const (
	Opened   Action = "opened"
	Updated  Action = "updated"
	Kept     Action = "kept"     // it was up to date
	Closed   Action = "closed"   // it is no longer needed
	Left     Action = "left"     // somebody else has changed its branch
	Limited  Action = "limited"  // too many requests are open in the repository
	Rejected Action = "rejected" // somebody has closed the request for these digests
	Nothing  Action = "nothing"
	Failed   Action = "failed"
)

// Result is what became of the request of a group.
type Result struct {
	Repo     string    `json:"repo"`
	Branch   string    `json:"branch"`
	Images   []string  `json:"images"`
	Action   Action    `json:"action"`
	URL      string    `json:"url,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Pins     []string  `json:"pins,omitempty"` // that it brings
	Message  string    `json:"message,omitempty"`
	Problems []string  `json:"problems,omitempty"`
	Diff     string    `json:"diff,omitempty"`

	images map[string][]string
}

// Failed reports whether the state of the request is not known.
func (r *Result) Failed() bool { return r.Action == Failed }

// Sync brings the request of every group up to date. The failure of one group does not stop the others.
func Sync(ctx context.Context, groups []Group, o Options) []Result {
	return each(ctx, groups, o, false)
}

// Preview returns what [Sync] would do, and changes nothing.
func Preview(ctx context.Context, groups []Group, o Options) []Result {
	return each(ctx, groups, o, true)
}

// Pending returns what the groups are to bring, from state alone.
func Pending(groups []Group) []Result {
	var out []Result
	for i := range groups {
		g := &groups[i]
		r := Result{Repo: g.Repo(), Branch: g.Source.Branch, Images: g.Images(), Action: Opened}
		for j := range g.Members {
			for _, p := range g.Members[j].Pins {
				r.Pins = append(r.Pins, p.To)
			}
		}
		r.Pins = slices.Compact(slices.Sorted(slices.Values(r.Pins)))
		switch open := g.open(); {
		case open != nil && len(r.Pins) == 0:
			r.Action = Closed
		case open != nil:
			r.Action, r.URL, r.Since = Updated, open.URL, open.Since.Time
		}
		out = append(out, r)
	}
	return out
}

func each(ctx context.Context, groups []Group, o Options, dry bool) []Result {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	open := map[string]int{} // by repository
	for i := range groups {
		if groups[i].asks() {
			open[groups[i].key()]++
		}
	}
	results := make([]Result, len(groups))
	at := make([]int, len(groups))
	for i := range groups {
		at[i] = i
		results[i] = groups[i].failed(errors.New("no time was left"))
	}
	fair.ByHost(ctx, at, func(i int) string { return groups[i].Source.Host }, func(ctx context.Context, i int) bool {
		within, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		g := &groups[i]
		s := &session{Group: g, o: &o, dry: dry, full: !g.asks() && open[g.key()] >= *g.config.MaxOpen}
		results[i] = s.run(within)
		if results[i].Action == Opened {
			open[g.key()]++
		}
		return within.Err() == nil
	})
	return results
}

func (g *Group) failed(err error) Result {
	return Result{Repo: g.Repo(), Branch: g.Source.Branch, Images: g.Images(), Action: Failed, Message: err.Error()}
}

// session is the work on one group.
type session struct {
	*Group
	o    *Options
	dry  bool
	full bool // no further request may be opened in the repository

	repo     forge.Repository
	base     string // newest commit of the branch that is built
	head     string // of the branch of the request, "" if there is none
	request  *forge.Request
	merged   string         // newest commit of the last request that was merged
	closed   *forge.Request // the last one that a person has closed
	rejected map[string]bool
	draft    *Draft
	result   Result
}

func (s *session) run(ctx context.Context) Result {
	s.result = Result{Repo: s.Repo(), Branch: s.Source.Branch, Images: s.Images()}
	if err := s.read(ctx); err != nil {
		return s.failed(err)
	}
	if err := s.act(ctx); err != nil {
		failed := s.failed(err)
		failed.Problems = s.result.Problems
		return failed
	}
	if s.request != nil && s.request.State == forge.Open {
		s.result.URL, s.result.Since = s.request.URL, s.request.Opened
	}
	return s.result
}

// read reads what the forge has: commits, requests, files.
func (s *session) read(ctx context.Context) (err error) {
	if s.repo, err = s.o.Repository(ctx, s.Source); err != nil {
		return err
	}
	if s.base, err = s.repo.Head(ctx, s.Source.Branch); err != nil {
		return fmt.Errorf("reading branch %s: %w", s.Source.Branch, err)
	}
	if s.base == "" {
		return fmt.Errorf("no branch %q, or the token cannot see the repository", s.Source.Branch)
	}
	requests, err := s.repo.Requests(ctx, s.Branch(), s.Source.Branch)
	if err != nil {
		return fmt.Errorf("listing requests: %w", err)
	}
	s.rejected = map[string]bool{}
	for i := range requests {
		r := &requests[i]
		switch {
		case r.State == forge.Open && s.request == nil:
			s.request = r
		case r.State == forge.Merged && s.merged == "":
			s.merged = r.Head
		case r.State == forge.Closed && !strings.Contains(r.Body, closedMark):
			if s.closed == nil {
				s.closed = r
			}
			for _, ref := range marked(r.Body) {
				s.rejected[ref] = true
			}
		}
	}
	if s.draft, err = s.Group.draft(ctx, s.repo, s.base, s.rejected); err != nil {
		return err
	}
	s.result.Problems = s.draft.Problems
	if s.head, err = s.repo.Head(ctx, s.Branch()); err != nil {
		return fmt.Errorf("reading branch %s: %w", s.Branch(), err)
	}
	return nil
}

func (s *session) act(ctx context.Context) error {
	content, theirs, err := s.ours(ctx)
	if err != nil {
		return err
	}
	switch {
	case theirs:
		s.result.Action, s.result.Message = Left, "branch "+s.Branch()+" has commits of somebody else; it is left to them (once it is merged, or closed and its branch deleted, the next digests get a new request)"
		s.bring(s.open())
		return nil
	case s.unsure && s.request != nil:
		s.result.Action = Kept
		s.bring(s.open())
		return nil
	case len(s.draft.Files) == 0:
		return s.close(ctx)
	case s.request == nil && s.full:
		s.result.Action = Limited
		s.result.Message = fmt.Sprintf("%d requests are open in the repository (factory.pullRequests.maxOpen)", *s.config.MaxOpen)
		return nil
	}
	s.result.Diff, s.result.images = s.draft.Diff, s.draft.images
	for _, p := range s.draft.Pins {
		s.result.Pins = append(s.result.Pins, p.To)
	}
	return s.propose(ctx, content)
}

// bring keeps what is recorded of the pins of an open request.
func (s *session) bring(known *state.PullRequest) {
	s.result.images = map[string][]string{}
	for i := range s.Members {
		if r := s.Members[i].facts.PullRequest; r != nil {
			s.result.images[s.Members[i].Image.Name] = r.Pins
		}
	}
	if known == nil && s.request != nil {
		for i := range s.Members {
			s.result.images[s.Members[i].Image.Name] = marked(s.request.Body)
		}
	}
}

// ours returns the hash of the content that the branch of the request has, and whether anybody else has changed it. Only a branch with
// a single commit on top of the branch that is built, and with the content that this commit says, is ours.
func (s *session) ours(ctx context.Context) (content string, theirs bool, err error) {
	if s.head == "" || s.request == nil && s.head == s.merged {
		return "", false, nil
	}
	c, err := s.repo.Compare(ctx, s.base, s.head)
	if err != nil {
		return "", false, fmt.Errorf("comparing branch %s: %w", s.Branch(), err)
	}
	if len(c.Commits) == 0 {
		return "", false, nil // merged, or nothing was committed yet
	}
	_, trailer, ok := strings.Cut(c.Commits[0].Message, contentTrailer)
	if len(c.Commits) > 1 || !ok {
		return "", true, nil
	}
	files := map[string][]byte{}
	for _, file := range c.Files {
		if files[file], err = s.repo.ReadFile(ctx, file, s.head); errors.Is(err, forge.ErrNoFile) || errors.As(err, new(*forge.FileError)) {
			return "", true, nil
		} else if err != nil {
			return "", false, fmt.Errorf("reading %s: %w", file, err)
		}
	}
	content = contentOf(files)
	return content, content != strings.TrimSpace(trailer), nil
}

// draftMark matches how GitLab and Gitea mark a request in its title that must not be merged yet.
var draftMark = lazy.Regexp(`(?i)^(?:\[(?:draft|wip)\]|\(draft\)|(?:draft|wip):)\s*`)

// propose makes the branch have the content of the draft, and opens or edits the request.
func (s *session) propose(ctx context.Context, content string) error {
	stale := content != contentOf(s.draft.Files)
	if !stale && s.request != nil {
		outdated, err := s.repo.Outdated(ctx, s.request)
		if err != nil {
			return fmt.Errorf("reading the request: %w", err)
		}
		stale = outdated
	}
	if s.request != nil {
		s.draft.Title = draftMark().FindString(s.request.Title) + s.draft.Title
	}
	edited := s.request != nil && (s.request.Title != s.draft.Title || strings.TrimSpace(strings.ReplaceAll(s.request.Body, "\r\n", "\n")) != strings.TrimSpace(s.draft.Body))
	switch {
	case s.request == nil:
		s.result.Action = Opened
	case stale || edited:
		s.result.Action = Updated
	default:
		s.result.Action = Kept
	}
	if s.dry {
		return nil
	}
	if stale {
		commit, err := s.repo.Commit(ctx, forge.Commit{Branch: s.Branch(), Next: s.nextBranch(), Parent: s.base, Replace: s.head, Message: s.draft.Message, Files: s.draft.Files})
		if err != nil {
			return fmt.Errorf("committing to branch %s: %w", s.Branch(), err)
		}
		s.head = commit
	}
	if s.request == nil {
		if err := s.openRequest(ctx); err != nil {
			return err
		}
	} else if edited {
		if err := s.repo.Edit(ctx, s.request, s.draft.Title, s.draft.Body); err != nil {
			return fmt.Errorf("editing the request: %w", err)
		}
	}
	s.request.Head = s.head
	if method := s.config.AutoMerge; method != "" {
		if err := s.repo.AutoMerge(ctx, s.request, forge.MergeMethod(method)); err != nil {
			s.result.Problems = append(s.result.Problems, "enabling auto-merge: "+err.Error())
		}
	}
	return nil
}

func (s *session) openRequest(ctx context.Context) error {
	r, err := s.repo.Open(ctx, forge.NewRequest{
		From: s.Branch(), Into: s.Source.Branch, Title: s.draft.Title, Body: s.draft.Body,
		Labels: s.config.Labels, Assignees: s.config.Assignees, Reviewers: s.config.Reviewers,
	})
	var incomplete *forge.IncompleteError
	if errors.As(err, &incomplete) {
		s.result.Problems = append(s.result.Problems, incomplete.Error())
		err = nil
	}
	if err != nil {
		return fmt.Errorf("opening the request: %w", err)
	}
	s.request = r
	return nil
}

// close closes a request that is no longer needed, with a word, and deletes its branch. The comment comes last: what fails before it
// is tried again by every pass.
func (s *session) close(ctx context.Context) error {
	s.result.Action = Nothing
	if s.request == nil {
		s.reject()
		return nil
	}
	if s.moves() && len(s.draft.Problems) > 0 { // the files could not be read as expected
		s.result.Action = Kept
		s.bring(s.open())
		return nil
	}
	s.result.Action = Closed
	if s.dry {
		return nil
	}
	if !strings.Contains(s.request.Body, closedMark) {
		if err := s.repo.Edit(ctx, s.request, s.request.Title, s.request.Body+"\n"+closedMark+"\n"); err != nil {
			return fmt.Errorf("editing the request: %w", err)
		}
	}
	if err := s.repo.Close(ctx, s.request); err != nil {
		return fmt.Errorf("closing the request: %w", err)
	}
	s.request.State = forge.Closed
	if err := s.repo.Comment(ctx, s.request, "No longer needed: no pin on branch `"+s.Source.Branch+"` is to be moved to these digests now."); err != nil {
		s.result.Problems = append(s.result.Problems, "commenting on the request: "+err.Error())
	}
	if s.head == "" {
		return nil
	}
	if err := s.repo.DeleteBranch(ctx, s.Branch(), s.head); err != nil {
		s.result.Problems = append(s.result.Problems, "deleting branch "+s.Branch()+": "+err.Error())
	}
	return nil
}

// rejectedText is recorded of a request that a person has closed.
const rejectedText = "closed by somebody; the next digests get a new request"

// reject reports if a person has closed the request for digests that pins are to move to.
func (s *session) reject() {
	images := map[string][]string{}
	for i := range s.Members {
		m := &s.Members[i]
		for _, p := range m.Pins {
			if s.rejected[p.To] {
				images[m.Image.Name] = append(images[m.Image.Name], p.To)
			}
		}
	}
	if len(images) > 0 {
		s.result.Action, s.result.Message = Rejected, rejectedText
		s.result.URL, s.result.Since, s.result.images = s.closed.URL, s.closed.Opened, images
	}
}

// Record records the open requests in state. It reports whether anything changed. The record of a group that failed stays.
func Record(f *fleet.Fleet, results []Result) bool {
	changed := false
	for i := range results {
		r := &results[i]
		if r.Failed() {
			continue
		}
		for _, name := range r.Images {
			if facts := f.State.Images[name]; facts != nil && facts.SetPullRequest(r.record(name)) {
				changed = true
			}
		}
	}
	return changed
}

// record returns what to record of the request of an image; nil for none. One that was closed for the digests that the pins are to
// move to is recorded with that message.
func (r *Result) record(image string) *state.PullRequest {
	if r.URL == "" || len(r.images[image]) == 0 {
		return nil
	}
	out := &state.PullRequest{URL: r.URL, Since: state.At(r.Since), Pins: r.images[image]}
	if r.Action == Left || r.Action == Rejected {
		out.Message = state.Text(r.Message)
	}
	return out
}
