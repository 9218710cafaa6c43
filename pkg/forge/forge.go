// Package forge starts builds at GitHub Actions, GitLab CI and Gitea Actions (Forgejo too), or by a webhook, and reads their results. A build that starts twice costs more
// than one that starts late: where a response is lost, the runs are listed before the request is sent again. Clients, retries
// and the meaning of responses are left to package forgeapi.
package forge

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Dispatch is a request to start a build.
type Dispatch struct {
	Rebuild      string // ID of the rebuild
	Image        *config.Image
	Lock         string    // of the image, if its inputs or variables take it
	Base, Digest string    // of the base image that it is for; Base without the digest, such as docker.io/library/node:22
	RequestedAt  time.Time // by our clock; its run cannot be older
	Shared       bool      // the workflow or project also builds other images
}

// Run is a workflow run of GitHub or Gitea, or a pipeline of GitLab. The ID is empty if the forge did not return which run was started.
type Run struct{ ID, URL string }

// Phase is how far a run is, as in the status of a Pod.
type Phase string

// Phases of a run.
const (
	Running   Phase = "running"
	Succeeded Phase = "succeeded"
	Failed    Phase = "failed"
)

// RunState is the state of a run; Message is why it failed.
type RunState struct {
	Run     Run
	Phase   Phase
	Message string
}

// Match is the outcome of a search for a run.
type Match int

// Outcomes of a search.
const (
	NotFound  Match = iota
	Found           // exactly one run matches
	Ambiguous       // several runs may match, and one of them still runs
	Unread          // the run may be among those that were not read: there are too many, or the token cannot read them
	Ended           // several runs may match, and all of them have ended
)

// Options configure a [Client].
type Options struct {
	// API builds the clients of the forges. Default: without tokens.
	API *forgeapi.Clients
	// Secret returns the key of a Secret that the header of a webhook needs. Default: none is known.
	Secret func(ctx context.Context, name, key string) (string, error)
	// Sleep waits between two lists of runs. For tests.
	Sleep func(context.Context, time.Duration) error
	// Now is the clock. Default [time.Now].
	Now func() time.Time
}

// Client starts and follows builds. It may be used by many goroutines, and remembers the runs that it started.
type Client struct {
	o      Options
	memory memory
}

// New returns a Client.
func New(o Options) *Client {
	if o.API == nil {
		o.API = forgeapi.New(forgeapi.Options{})
	}
	if o.Secret == nil {
		o.Secret = func(context.Context, string, string) (string, error) { return "", nil }
	}
	if o.Sleep == nil {
		o.Sleep = httpx.Sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{o: o, memory: memory{started: map[string]start{}}}
}

// service is one repository at a forge.
type service interface {
	// builder names the workflow or pipeline for people.
	builder() string
	// start sends the request that starts a build, once. The Run has no ID if the forge does not return one.
	start(ctx context.Context, d Dispatch) (Run, error)
	// list lists the runs since a time that may match.
	list(ctx context.Context, d Dispatch, since time.Time, taken func(Run) bool) (candidates, error)
	// follow reads a run; nil if there is none with that ID.
	follow(ctx context.Context, id int64) (*RunState, error)
	// visible returns an error if the runs cannot be read.
	visible(ctx context.Context) error
}

// candidates are the runs that may match a [Dispatch].
type candidates struct {
	exact *Run  // the run that names the rebuild
	maybe []Run // otherwise, those that may be for it
	live  bool  // one of maybe has not ended
	more  bool  // there are runs that were not read
}

func (c *candidates) add(run Run, ended bool) {
	c.maybe = append(c.maybe, run)
	c.live = c.live || !ended
}

// rebuildPattern matches what {{promotion}} becomes: the ID of a rebuild, or the name that Kargo gives to a Promotion of a
// rebuild Stage.
var rebuildPattern = lazy.Regexp(`\b(r-[0-9a-f]{16}|rebuild-[-a-z0-9]+\.[0-9a-z]{26}\.[0-9a-f]{7})\b`)

// names reports whether the title of a run names a rebuild, and whether it names this one.
func names(title, rebuild string) (named, ours bool) {
	ours = rebuild != "" && strings.Contains(title, rebuild)
	return ours || rebuildPattern().MatchString(title), ours
}

// services open the repository of a source at its forge. Without an Endpoint no token is needed.
var services = map[config.Provider]func(context.Context, *Client, *config.Source) (service, *forgeapi.Endpoint, error){
	config.GitHub: openGitHub,
	config.GitLab: openGitLab,
	config.Gitea:  openGitea,

	config.WebhookProvider: openWebhook,
}

// service returns the repository that builds an image.
func (c *Client) service(ctx context.Context, src *config.Source) (service, error) {
	open := services[src.Provider]
	if open == nil {
		return nil, &RefusedError{fmt.Errorf("source.provider is %s: only %s can start builds", src.Provider, config.StartingProviders())}
	}
	if key := src.MissingKey(); key != "" {
		return nil, &RefusedError{fmt.Errorf("source.%s is not set: no workflow to start", key)}
	}
	s, endpoint, err := open(ctx, c, src.Builder())
	if err != nil || endpoint == nil {
		return s, err
	}
	return s, requireToken(endpoint)
}

func requireToken(e *forgeapi.Endpoint) error {
	if e.Token == "" {
		return fmt.Errorf("no token for %s (run `imagefactory doctor`)", e.Host)
	}
	return nil
}

const (
	maxStarts = 3 // how often a request without a response is sent
	// skew is how far the clock of the forge may be behind ours.
	skew = time.Minute
)

// listWaits are the waits before each list of runs after a start: GitHub lists a new run after some seconds.
var listWaits = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second}

// Start starts a build. If the response does not name the run, Start searches for it; a Run without ID was started, or may
// have been, and cannot be identified. A [*RefusedError] is permanent. After any other error the build may have
// started: call [Client.Find] before starting it again.
//
// Runs that existed before, and those for which taken returns true, never match.
func (c *Client) Start(ctx context.Context, d Dispatch, taken func(Run) bool) (Run, error) {
	s, err := c.service(ctx, d.Image.Source)
	if err != nil {
		return Run{}, &StartError{"the build of " + d.Image.Name, err}
	}
	run, err := c.start(ctx, s, d, taken)
	if err != nil {
		return Run{}, &StartError{s.builder(), err}
	}
	return run, nil
}

func (c *Client) start(ctx context.Context, s service, d Dispatch, taken func(Run) bool) (Run, error) {
	since := c.o.Now().Add(-skew)
	existing, _ := s.list(ctx, d, since, taken) // an error will show again when the build is started
	others := func(r Run) bool {
		return taken(r) || slices.ContainsFunc(existing.maybe, func(x Run) bool { return x.ID == r.ID })
	}
	for attempt := 1; ; attempt++ {
		c.memory.put(s, d, Run{})
		run, err := s.start(ctx, d)
		switch {
		case err == nil && run.ID != "":
			c.memory.put(s, d, run)
			return run, nil
		case err != nil && !maybeStarted(err):
			if ctx.Err() == nil {
				c.memory.drop(d)
			}
			return Run{}, err
		}
		run, match, listErr := c.await(ctx, s, d, since, others)
		switch {
		case err == nil || match == Found:
			return run, nil
		case match != NotFound:
			return Run{}, fmt.Errorf("%w; not sent again, because a run exists that may be this build", err)
		case listErr != nil:
			return Run{}, fmt.Errorf("%w; and checking whether it started: %w", err, listErr)
		case attempt == maxStarts:
			return Run{}, fmt.Errorf("%w; no run appeared after %d attempts", err, maxStarts)
		}
	}
}

// await searches for a run that was just started.
func (c *Client) await(ctx context.Context, s service, d Dispatch, since time.Time, taken func(Run) bool) (Run, Match, error) {
	for _, wait := range listWaits {
		if err := c.o.Sleep(ctx, wait); err != nil {
			return Run{}, NotFound, err
		}
		run, match, err := c.find(ctx, s, d, since, taken, false)
		if err != nil || match != NotFound {
			return run, match, err
		}
	}
	return Run{}, NotFound, nil
}

// Find searches for the run of a Dispatch, after a crash or a lost response. A run whose title or variables contain the
// rebuild ID matches. Otherwise the only unclaimed run created since the request matches, unless the workflow also builds
// other images. Runs for which taken returns true, and those that the Client started for others, are claimed.
func (c *Client) Find(ctx context.Context, d Dispatch, taken func(Run) bool) (Run, Match, error) {
	s, err := c.service(ctx, d.Image.Source)
	if err != nil {
		return Run{}, NotFound, fmt.Errorf("finding the build of %s: %w", d.Image.Name, err)
	}
	run, match, err := c.find(ctx, s, d, d.RequestedAt.Add(-skew), taken, d.Shared)
	if err != nil {
		return Run{}, NotFound, fmt.Errorf("listing the runs of %s: %w", s.builder(), err)
	}
	return run, match, nil
}

func (c *Client) find(ctx context.Context, s service, d Dispatch, since time.Time, taken func(Run) bool, shared bool) (Run, Match, error) {
	if run := c.memory.get(d); run.ID != "" {
		return run, Found, nil
	}
	others, incomplete := c.memory.others(s, d)
	seen, err := s.list(ctx, d, since, func(r Run) bool { return others[r.ID] || taken(r) })
	switch {
	case err != nil:
		return Run{}, NotFound, err
	case seen.exact != nil:
		c.memory.put(s, d, *seen.exact)
		return *seen.exact, Found, nil
	case len(seen.maybe) == 0 && !seen.more:
		return Run{}, NotFound, nil
	case len(seen.maybe) == 1 && !seen.more && !incomplete && !shared:
		c.memory.put(s, d, seen.maybe[0])
		return seen.maybe[0], Found, nil
	case seen.more:
		return Run{}, Unread, nil
	case seen.live:
		return Run{}, Ambiguous, nil
	}
	return Run{}, Ended, nil
}

// Follow returns the state of a run. A run that was deleted has failed.
func (c *Client) Follow(ctx context.Context, img *config.Image, run Run) (RunState, error) {
	id, err := parseID(run.ID)
	if err != nil {
		return RunState{}, fmt.Errorf("following the build of %s: %w", img.Name, err)
	}
	s, err := c.service(ctx, img.Source)
	if err != nil {
		return RunState{}, fmt.Errorf("following the build of %s: %w", img.Name, err)
	}
	result, err := c.follow(ctx, s, id)
	if err != nil {
		return RunState{}, fmt.Errorf("reading run %s of %s: %w", run.ID, s.builder(), err)
	}
	result.Run.ID = run.ID
	if result.Run.URL == "" {
		result.Run.URL = run.URL
	}
	if result.Phase == Failed {
		result.Message = strings.TrimSpace(result.Run.URL + " " + result.Message)
	}
	return *result, nil
}

// follow reads a run, and retries if it does not exist: a forge can be late to show a run, and hides what a token cannot
// read.
func (c *Client) follow(ctx context.Context, s service, id int64) (*RunState, error) {
	for attempt := 0; ; attempt++ {
		result, err := s.follow(ctx, id)
		if err != nil || result != nil {
			return result, err
		}
		if attempt == len(listWaits) {
			break
		}
		if err := c.o.Sleep(ctx, listWaits[attempt]); err != nil {
			return nil, err
		}
	}
	if err := s.visible(ctx); err != nil {
		return nil, err
	}
	return &RunState{Phase: Failed, Message: "was deleted"}, nil
}

// webURL returns the URL of a run if it is safe to print, else "": a forge could write anything.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > 500 || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.String() != s {
		return ""
	}
	return sanitize.URL(s)
}

// fill replaces the placeholders in the templates of an image's entry.
func fill(templates map[string]string, d Dispatch) map[string]string {
	out := make(map[string]string, len(templates))
	for key, template := range templates {
		out[key] = d.fill(template)
	}
	return out
}

// fill replaces the placeholders in a template.
func (d *Dispatch) fill(template string) string {
	return config.Fill(template, map[string]string{
		"image": d.Image.Name, "base": d.Base, "digest": d.Digest, "promotion": d.Rebuild, "lock": d.Lock,
		"repo": d.Image.Source.Repo, "branch": d.Image.Source.Branch,
	})
}
