package issues

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/fair"
)

// Group is the images whose issues are in one repository.
type Group struct {
	Source *config.Source

	config  *config.Issues
	project string
	members []member
}

// member is an image of a group.
type member struct {
	name string
	fact *Fact // nil if there is nothing to tell
	skip bool  // its issue is left as it is
}

// Options configure [Sync].
type Options struct {
	// Issues returns the issues of a repository.
	Issues func(context.Context, *config.Source) (forge.Issues, error)
	Now    time.Time
	// Recorded are the images whose fact this pass recorded. The issue about another fact is opened only Grace after the fact was
	// recorded, so that two passes do not open it both.
	Recorded map[string]bool
	Grace    time.Duration
	DryRun   bool
	Timeout  time.Duration // for one repository; default 1m
}

const (
	defaultTimeout = time.Minute
	// maxOpened is the number of issues that a pass opens in one repository.
	maxOpened = 20
	// skew is how far the clock of a forge may be behind ours.
	skew = time.Hour
)

// Action is what was done with the issue of an image.
type Action string

// Actions.
const (
	Opened   Action = "opened"
	Updated  Action = "updated"
	Reopened Action = "reopened"
	Closed   Action = "closed"
	Limited  Action = "limited" // a later pass opens it
	Failed   Action = "failed"
)

// Result is what was done with an issue.
type Result struct {
	Repo    string `json:"repo"`
	Image   string `json:"image,omitempty"`
	Action  Action `json:"action"`
	Title   string `json:"title,omitempty"`
	URL     string `json:"url,omitempty"`
	Message string `json:"message,omitempty"`
}

// Groups returns the repositories with an image that is visited, sorted. Issues of images that are not selected are left as they are.
func Groups(f *fleet.Fleet, selected map[string]bool, visit func(image string, fact *Fact) bool) []Group {
	cfg := f.Config.Factory.Notify.Issues
	byKey, visited := map[string]*Group{}, map[string]bool{}
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		src := cfg.Of(img)
		if src == nil || !forge.HasIssues(src.Provider) {
			continue
		}
		key := src.Host + " " + src.Repo
		if byKey[key] == nil {
			byKey[key] = &Group{Source: src, config: cfg, project: f.Config.Factory.Project}
		}
		fact := FactOf(f, img)
		byKey[key].members = append(byKey[key].members, member{img.Name, fact, !selected[img.Name]})
		visited[key] = visited[key] || selected[img.Name] && visit(img.Name, fact)
	}
	var out []Group
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		if visited[key] {
			out = append(out, *byKey[key])
		}
	}
	return out
}

// Sync opens, edits and closes the issues of all groups. The failure of one repository does not stop the others.
func Sync(ctx context.Context, groups []Group, o Options) []Result {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	results := make([][]Result, len(groups))
	at := make([]int, len(groups))
	for i := range groups {
		at[i] = i
		results[i] = []Result{groups[i].failed("", errors.New("no time was left"))}
	}
	fair.ByHost(ctx, at, func(i int) string { return groups[i].Source.Host }, func(ctx context.Context, i int) bool {
		within, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		results[i] = groups[i].sync(within, &o)
		return within.Err() == nil
	})
	return slices.Concat(results...)
}

func (g *Group) failed(image string, err error) Result {
	return Result{Repo: g.Source.Repo, Image: image, Action: Failed, Message: err.Error()}
}

// since returns since when issues about the facts of the group can have been closed; the zero time if there are no facts.
func (g *Group) since() (since time.Time) {
	for i := range g.members {
		if f := g.members[i].fact; f != nil && !g.members[i].skip && (since.IsZero() || f.Since.Before(since)) {
			since = f.Since
		}
	}
	if !since.IsZero() {
		since = since.Add(-skew)
	}
	return since
}

// found is an issue of an image.
type found struct {
	forge.Issue
	*marker
}

// session is the work on one group.
type session struct {
	*Group
	o       *Options
	tracker forge.Issues
	results []Result
	opened  int
}

func (g *Group) sync(ctx context.Context, o *Options) []Result {
	s := &session{Group: g, o: o}
	var err error
	if s.tracker, err = o.Issues(ctx, g.Source); err != nil {
		return []Result{g.failed("", err)}
	}
	list, err := s.tracker.Issues(ctx, g.config.Label, g.since())
	if err != nil {
		return []Result{g.failed("", fmt.Errorf("listing issues: %w", err))}
	}
	byImage := map[string][]found{}
	for _, i := range list {
		if m := parseMarker(i.Body); m != nil && m.project == g.project {
			byImage[m.image] = append(byImage[m.image], found{i, m})
		}
	}
	for i := range g.members {
		if m := &g.members[i]; !m.skip {
			s.member(ctx, m, byImage[m.name])
		}
	}
	return s.results
}

// member brings the issue of an image up to date.
func (s *session) member(ctx context.Context, m *member, list []found) {
	var open []found
	var ours *found // closed by imagefactory, about the same fact
	person := false
	for i := range list {
		switch x := &list[i]; {
		case x.Open:
			open = append(open, *x)
		case m.fact == nil || x.fact != m.fact.ID:
		case x.closed:
			ours = x
		default:
			person = true
		}
	}
	switch {
	case m.fact == nil:
		for i := range open {
			if !open[i].closed { // else a person reopened it
				s.close(ctx, m, &open[i])
			}
		}
	case len(open) > 0:
		for i := range open[1:] { // two passes opened one each
			s.close(ctx, m, &open[1+i])
		}
		if x := &open[0]; x.closed || x.fact != m.fact.ID || x.content != m.fact.content() {
			s.edit(ctx, m, x, Updated)
		}
	case person:
	case ours != nil:
		s.edit(ctx, m, ours, Reopened)
	default:
		s.open(ctx, m)
	}
}

func (s *session) add(m *member, action Action, title, issueURL string, err error) {
	r := Result{Repo: s.Source.Repo, Image: m.name, Action: action, Title: title, URL: issueURL}
	var incomplete *forge.IncompleteError
	switch {
	case errors.As(err, &incomplete):
		r.Message = incomplete.Error()
	case err != nil:
		r = s.failed(m.name, err)
		r.URL = issueURL
	}
	s.results = append(s.results, r)
}

// close closes an issue, with a mark that distinguishes it from one that a person closed.
func (s *session) close(ctx context.Context, m *member, x *found) {
	var err error
	if !s.o.DryRun {
		body := strings.TrimRight(x.Body, "\r\n \t") + "\n" + closedMark + "\n"
		if err = s.tracker.EditIssue(ctx, x.Number, forge.IssueEdit{Title: x.Title, Body: body}); err != nil {
			err = fmt.Errorf("closing issue %d: %w", x.Number, err)
		}
	}
	s.add(m, Closed, x.Title, x.URL, err)
}

func (s *session) body(m *member) string {
	mark := marker{project: s.project, image: m.name, fact: m.fact.ID, content: m.fact.content()}
	return m.fact.body + "\n" + mark.String() + "\n"
}

func (s *session) edit(ctx context.Context, m *member, x *found, action Action) {
	var err error
	if !s.o.DryRun {
		err = s.tracker.EditIssue(ctx, x.Number, forge.IssueEdit{Title: m.fact.title, Body: s.body(m), Open: true})
		if err != nil {
			err = fmt.Errorf("editing issue %d: %w", x.Number, err)
		}
	}
	s.add(m, action, m.fact.title, x.URL, err)
}

func (s *session) open(ctx context.Context, m *member) {
	if !s.o.Recorded[m.name] && s.o.Now.Sub(m.fact.recorded) < s.o.Grace {
		return // the pass that recorded the fact does it
	}
	if s.opened++; s.opened > maxOpened {
		s.add(m, Limited, m.fact.title, "", nil)
		return
	}
	issueURL, err := "", error(nil)
	if !s.o.DryRun {
		var i *forge.Issue
		i, err = s.tracker.OpenIssue(ctx, forge.NewIssue{
			Title: m.fact.title, Body: s.body(m), Label: s.config.Label, Labels: s.config.Labels, Assignees: s.config.Assignees,
		})
		if i != nil {
			issueURL = i.URL
		}
		var incomplete *forge.IncompleteError
		if err != nil && !errors.As(err, &incomplete) {
			err = fmt.Errorf("opening the issue: %w", err)
		}
	}
	s.add(m, Opened, m.fact.title, issueURL, err)
}
