// Package forge starts builds at GitHub Actions and GitLab CI and says what became of them. A build that was started twice
// costs more than one that starts late: where an answer is lost, the forge is asked what runs before anything is sent again.
package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/clock"
)

// Order is a build to start.
type Order struct {
	Rebuild      string // id of the rebuild
	Image        *config.Image
	Base, Digest string    // what it is for; Base without the digest, such as docker.io/library/node:22
	RequestedAt  time.Time // by our clock; its run cannot be older
	Shared       bool      // the same workflow or project builds other images too
}

// Run is a workflow run of GitHub or a pipeline of GitLab. It has no ID when it was started and the forge did not say which
// it is.
type Run struct{ ID, URL string }

// Status is how far a run is.
type Status string

// Statuses of a run.
const (
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
)

// Result is what became of a run. Message says how it failed.
type Result struct {
	Run     Run
	Status  Status
	Message string
}

// FoundState says what a search for a run has found.
type FoundState int

// Ends of a search.
const (
	NotFound  FoundState = iota
	Found                // this run
	Ambiguous            // it can be one of several
	Unread               // it can be among those that were not read: there are too many, or the token may not read them
	Ended                // whichever it was of several that cannot be told apart: all of them are over
)

// Options are what a Client works with. Each may be left out.
type Options struct {
	// Token gives the token for the API of a host, empty when there is none.
	Token func(ctx context.Context, host string) (string, error)
	// Hint says what to set to give a token for a host.
	Hint func(host string) string
	// Transport sends requests. Default a clone of http.DefaultTransport.
	Transport http.RoundTripper
	// Sleep waits. For tests.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Client asks forges. It may be used by many goroutines, and remembers the runs that it started.
type Client struct {
	o      Options
	memory memory
}

// New makes a Client.
func New(o Options) *Client {
	if o.Token == nil {
		o.Token = func(context.Context, string) (string, error) { return "", nil }
	}
	if o.Hint == nil {
		o.Hint = func(string) string { return "give one" }
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
		if t, ok := o.Transport.(*http.Transport); ok {
			o.Transport = t.Clone()
		}
	}
	if o.Sleep == nil {
		o.Sleep = clock.Sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{o: o, memory: memory{started: map[string]start{}}}
}

// service is one repository at a forge.
type service interface {
	// builder names what builds, for people.
	builder() string
	// start sends the request that starts a build, once. The Run has no ID when the forge gave none.
	start(ctx context.Context, o Order) (Run, error)
	// look lists the runs since a time that can be the one of an order.
	look(ctx context.Context, o Order, since time.Time, taken func(Run) bool) (sighting, error)
	// follow reads a run. It is nil when there is none of that id.
	follow(ctx context.Context, id int64) (*Result, error)
	// visible fails when the repository cannot be read.
	visible(ctx context.Context) error
}

// sighting is what a forge shows of an order. Without exact, its run can be one of maybe; with more, also one that cannot
// be told.
type sighting struct {
	exact *Run
	maybe []Run
	live  bool // one of maybe is not over
	more  bool
}

func (s *sighting) add(run Run, over bool) {
	s.maybe = append(s.maybe, run)
	s.live = s.live || !over
}

// rebuildForm is the id of a rebuild, and promotionForm the name that Kargo gives a Promotion to a rebuild Stage. Either is
// what {{promotion}} becomes.
var (
	rebuildForm   = regexp.MustCompile(`\br-[0-9a-f]{16}\b`)
	promotionForm = regexp.MustCompile(`\brebuild-[-a-z0-9]+\.[0-9a-z]{26}\.[0-9a-f]{7}\b`)
)

// names reports whether the title of a run names a rebuild, and whether that is the one.
func names(title, rebuild string) (named, ours bool) {
	ours = rebuild != "" && strings.Contains(title, rebuild)
	return ours || rebuildForm.MatchString(title) || promotionForm.MatchString(title), ours
}

// service finds who builds an image, and the token for it.
func (c *Client) service(ctx context.Context, src *config.Source) (service, error) {
	if !src.Triggerable() {
		return nil, &RefusedError{fmt.Errorf("source.provider is %s: a build can be started at github and gitlab only", src.Provider)}
	}
	if src.Provider == config.GitHub && src.Workflow == "" {
		return nil, &RefusedError{errors.New("source.workflow is not set: no workflow to start")}
	}
	token, err := c.o.Token(ctx, src.Host)
	if err != nil {
		return nil, fmt.Errorf("finding the token for %s: %w", src.Host, err)
	}
	if token == "" {
		return nil, fmt.Errorf("no token for the API of %s: %s", src.Host, c.o.Hint(src.Host))
	}
	api, err := url.Parse(src.APIURL())
	if err != nil {
		return nil, fmt.Errorf("source.host %q is no host", src.Host)
	}
	w := &wire{host: src.Host, api: api, token: token, o: &c.o}
	if src.Provider == config.GitLab {
		return newGitLab(w, src)
	}
	return newGitHub(w, src)
}

const (
	starts = 3 // how often a request is sent whose answer does not come
	// skew is how much the forge's clock may be behind ours.
	skew = time.Minute
)

// looks are the waits before each look for a run that was just started: GitHub lists one some seconds later.
var looks = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second}

// Start starts a build. When the forge does not say which run that is, it is looked for; a Run without ID is one that was
// started, or may have been, and cannot be told from others. A *RefusedError error is final. After any other it is not known
// whether the build was started: ask Find before starting it again.
// No run that was there before, or that taken says is another's, is taken for it.
func (c *Client) Start(ctx context.Context, o Order, taken func(Run) bool) (Run, error) {
	s, err := c.service(ctx, o.Image.Source)
	if err != nil {
		return Run{}, &StartError{"the build of " + o.Image.Name, err}
	}
	run, err := c.start(ctx, s, o, taken)
	if err != nil {
		return Run{}, &StartError{s.builder(), err}
	}
	return run, nil
}

func (c *Client) start(ctx context.Context, s service, o Order, taken func(Run) bool) (Run, error) {
	since := c.o.Now().Add(-skew)
	there, _ := s.look(ctx, o, since, taken) // when that fails, the request will say why
	others := func(r Run) bool {
		return taken(r) || slices.ContainsFunc(there.maybe, func(x Run) bool { return x.ID == r.ID })
	}
	for try := 1; ; try++ {
		c.memory.put(s, o, Run{})
		run, err := s.start(ctx, o)
		switch {
		case err == nil && run.ID != "":
			c.memory.put(s, o, run)
			return run, nil
		case err != nil && !uncertain(err):
			if ctx.Err() == nil {
				c.memory.drop(o)
			}
			return Run{}, err
		}
		run, found, lookErr := c.await(ctx, s, o, since, others)
		switch {
		case err == nil || found == Found:
			return run, nil
		case found != NotFound:
			return Run{}, fmt.Errorf("%w; a run that may be it is there, so nothing is sent again", err)
		case lookErr != nil:
			return Run{}, fmt.Errorf("%w; and looking whether it was started all the same: %w", err, lookErr)
		case try == starts:
			return Run{}, fmt.Errorf("%w; no run of it was seen after %d attempts", err, starts)
		}
	}
}

// await looks for a run that was just started.
func (c *Client) await(ctx context.Context, s service, o Order, since time.Time, taken func(Run) bool) (Run, FoundState, error) {
	for _, wait := range looks {
		if err := c.o.Sleep(ctx, wait); err != nil {
			return Run{}, NotFound, err
		}
		run, found, err := c.find(ctx, s, o, since, taken, false)
		if err != nil || found != NotFound {
			return run, found, err
		}
	}
	return Run{}, NotFound, nil
}

// Find says whether a run was started for an order: after a crash, or when the answer was lost. A run that names the
// rebuild is it; so is the only one since the order that nobody else has, as far as taken and the Client know, where the
// workflow builds no other image.
func (c *Client) Find(ctx context.Context, o Order, taken func(Run) bool) (Run, FoundState, error) {
	s, err := c.service(ctx, o.Image.Source)
	if err != nil {
		return Run{}, NotFound, fmt.Errorf("looking for the build of %s: %w", o.Image.Name, err)
	}
	run, found, err := c.find(ctx, s, o, o.RequestedAt.Add(-skew), taken, o.Shared)
	if err != nil {
		return Run{}, NotFound, fmt.Errorf("looking for the runs of %s: %w", s.builder(), err)
	}
	return run, found, nil
}

func (c *Client) find(ctx context.Context, s service, o Order, since time.Time, taken func(Run) bool, shared bool) (Run, FoundState, error) {
	if run := c.memory.get(o); run.ID != "" {
		return run, Found, nil
	}
	others, blind := c.memory.others(s, o)
	seen, err := s.look(ctx, o, since, func(r Run) bool { return others[r.ID] || taken(r) })
	switch {
	case err != nil:
		return Run{}, NotFound, err
	case seen.exact != nil:
		c.memory.put(s, o, *seen.exact)
		return *seen.exact, Found, nil
	case len(seen.maybe) == 0 && !seen.more:
		return Run{}, NotFound, nil
	case len(seen.maybe) == 1 && !seen.more && !blind && !shared:
		c.memory.put(s, o, seen.maybe[0])
		return seen.maybe[0], Found, nil
	case seen.more:
		return Run{}, Unread, nil
	case seen.live:
		return Run{}, Ambiguous, nil
	}
	return Run{}, Ended, nil
}

// Follow says what became of a run. One that was deleted has failed.
func (c *Client) Follow(ctx context.Context, img *config.Image, run Run) (Result, error) {
	id, err := parseID(run.ID)
	if err != nil {
		return Result{}, fmt.Errorf("following the build of %s: %w", img.Name, err)
	}
	s, err := c.service(ctx, img.Source)
	if err != nil {
		return Result{}, fmt.Errorf("following the build of %s: %w", img.Name, err)
	}
	result, err := c.follow(ctx, s, id)
	if err != nil {
		return Result{}, fmt.Errorf("reading run %s of %s: %w", run.ID, s.builder(), err)
	}
	result.Run.ID = run.ID
	if result.Run.URL == "" {
		result.Run.URL = run.URL
	}
	if result.Status == Failed {
		result.Message = strings.TrimSpace(result.Run.URL + " " + result.Message)
	}
	return *result, nil
}

// follow reads a run. It asks again for one that is not there: a forge can be late to show a run, and hides what a token
// may not read.
func (c *Client) follow(ctx context.Context, s service, id int64) (*Result, error) {
	for try := 0; ; try++ {
		result, err := s.follow(ctx, id)
		if err != nil || result != nil {
			return result, err
		}
		if try == len(looks) {
			break
		}
		if err := c.o.Sleep(ctx, looks[try]); err != nil {
			return nil, err
		}
	}
	if err := s.visible(ctx); err != nil {
		return nil, err
	}
	return &Result{Status: Failed, Message: "is gone: somebody deleted the run"}, nil
}
