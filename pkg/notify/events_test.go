package notify_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/notify"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const images = `
factory:
  notify:
    channels:
    - {name: all, kind: webhook, url: https://events.example.com, events: [started, succeeded, failed, failedForGood, stuck, urgent, withdrawn, held, untrusted, paused, resumed]}
    - {name: people, kind: webhook, url: https://events.example.com}
    - {name: shop, kind: webhook, url: https://events.example.com, owners: ["@acme/shop"], events: [failed, held, paused]}
    - {name: gold, kind: webhook, url: https://events.example.com, selector: tier=gold, events: [failed, held]}
images:
- {name: web, repository: acme/web, owner: "@acme/shop", source: {provider: github, repo: acme/web, workflow: build.yml}}
- {name: api, repository: acme/api, labels: {tier: gold}, source: {provider: github, repo: acme/api, workflow: build.yml}}
`

var (
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	oldSum  = "sha256:" + strings.Repeat("0", 64)
	newSum  = "sha256:" + strings.Repeat("1", 64)
	nodeRef = "docker.io/library/node:22"
)

func load(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(strings.NewReader(images), "images.yaml")
	require.NoError(t, err)
	return cfg
}

// fleet returns the state of two images that are built on node:22.
func fleet() *state.State {
	st := state.New()
	for _, name := range []string{"web", "api"} {
		st.Images[name] = &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, CurrentVersion: "1.4.2",
			BaseImages: []state.BaseUse{{Ref: nodeRef, Uses: []state.Use{{Kind: "from", Line: 1}}}},
		}
	}
	st.Bases["node-22"] = &state.Base{
		Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22", CurrentDigest: newSum,
		Baseline:   &state.Candidate{Snapshot: state.Snapshot{Digest: oldSum}, FirstSeen: state.At(noon)},
		Candidates: []state.Candidate{{Snapshot: state.Snapshot{Digest: newSum}, FirstSeen: state.At(noon)}},
	}
	return st
}

// eventsOf returns the events of a change from one state to another.
func eventsOf(t *testing.T, before, after func(*state.State)) []notify.Event {
	t.Helper()
	cfg, old, now := load(t), fleet(), fleet()
	before(old)
	after(now)
	was, err := old.Encode()
	require.NoError(t, err)
	is, err := now.Encode()
	require.NoError(t, err)
	c := notify.Change{
		Config: cfg, Graph: graph.Build(cfg, now), Before: was, After: map[string][]byte{}, Source: "https://git.example.com/acme/images.git", Time: noon,
	}
	for file, data := range state.Changed(was, is) {
		c.Changed, c.After[file] = append(c.Changed, file), data
	}
	slices.Sort(c.Changed)
	return c.Events()
}

func same(*state.State) {}

func rebuild(id string, status state.RebuildStatus, failures int, message string) func(*state.State) {
	return func(s *state.State) {
		s.Images["web"].Rebuild = &state.Rebuild{
			ID: id, Reason: "newer digest of node:22 is due", RequestedAt: state.At(noon), Status: status, Failures: failures, Message: message,
			Run: "7", RunURL: "https://github.com/acme/web/actions/runs/7?token=x",
		}
	}
}

func candidate(change func(*state.Candidate)) func(*state.State) {
	return func(s *state.State) { change(&s.Bases["node-22"].Candidates[0]) }
}

func TestEventsOfAChange(t *testing.T) {
	at := state.At(noon)
	paused := func(s *state.State) { s.Pause(state.Pause{Reason: "freeze", By: "bob", At: at}) }
	for name, test := range map[string]struct {
		before, after func(*state.State)
		kind          config.Event
		text, fix     string
	}{
		"requested":  {same, rebuild("a", state.Requested, 0, ""), "", "", ""},
		"started":    {rebuild("a", state.Requested, 0, ""), rebuild("a", state.Running, 0, ""), config.EventStarted, "rebuild of web started: newer digest of node:22 is due", ""},
		"built":      {rebuild("a", state.Running, 0, ""), rebuild("a", state.Built, 0, ""), "", "", ""},
		"succeeded":  {rebuild("a", state.Built, 0, ""), rebuild("a", state.Succeeded, 0, ""), config.EventSucceeded, "web was rebuilt and published as 1.4.2: newer digest of node:22 is due", ""},
		"failed":     {rebuild("a", state.Running, 0, ""), rebuild("a", state.Failed, 2, "tests\nfailed"), config.EventFailed, "rebuild of web failed (2 of 3): tests failed", ""},
		"wrong base": {rebuild("a", state.Built, 0, ""), rebuild("a", state.WrongBase, 1, ""), config.EventFailed, "rebuild of web failed (1 of 3)", ""},
		"for good": {
			rebuild("a", state.Running, 0, ""), rebuild("a", state.Failed, 3, "x"), config.EventFailedForGood,
			"3 rebuilds of web failed in a row, and no other will be started: x", "imagefactory reset web --push --reason TEXT",
		},
		"other message": {rebuild("a", state.Failed, 3, "x"), rebuild("a", state.Failed, 3, "y"), "", "", ""},
		"replaced": {
			rebuild("a", state.Running, 0, ""),
			func(s *state.State) {
				rebuild("a", state.Failed, 1, "x")(s)
				s.Images["web"].RebuildHistory = []state.Rebuild{*s.Images["web"].Rebuild}
				rebuild("b", state.Requested, 0, "")(s)
			},
			config.EventFailed, "rebuild of web failed (1 of 3): x", "",
		},
		"stuck": {
			rebuild("a", state.Requested, 0, "no token"),
			func(s *state.State) {
				rebuild("a", state.Requested, 0, "no token")(s)
				s.Images["web"].Stuck = at
			}, config.EventStuck, "web has been due since 2026-03-01 12:00 UTC, and could not be started: no token", "imagefactory describe web",
		},
		"no longer stuck": {func(s *state.State) { s.Images["web"].Stuck = at }, same, "", "", ""},
		"urgent": {
			same, candidate(func(c *state.Candidate) {
				c.Released, c.Urgent, c.Reason = at, []string{"CVE-2026-1"}, "fixes CVE-2026-1"
			}),
			config.EventUrgent, "node:22@sha256:111111111111 (used by api, web) was released before it had ripened: fixes CVE-2026-1", "",
		},
		"released by hand": {same, candidate(func(c *state.Candidate) { c.Released, c.Reason = at, "mine" }), "", "", ""},
		"held": {
			same, candidate(func(c *state.Candidate) { c.Held, c.Reason = at, "adds CVE-2026-2" }), config.EventHeld,
			"node:22@sha256:111111111111 (used by api, web) is held: adds CVE-2026-2", "imagefactory release node:22@sha256:111111111111 --push --reason TEXT",
		},
		"untrusted": {
			same, candidate(func(c *state.Candidate) { c.Untrusted = "no signature" }), config.EventUntrusted,
			"node:22@sha256:111111111111 (used by api, web) could not be verified: no signature", "imagefactory describe node:22",
		},
		"untrusted for another reason": {
			candidate(func(c *state.Candidate) { c.Untrusted = "no signature" }), candidate(func(c *state.Candidate) { c.Untrusted = "wrong key" }), "", "", "",
		},
		"withdrawn": {
			same, func(s *state.State) {
				s.Bases["node-22"].Candidates[0].Withdrawn, s.Bases["node-22"].CurrentDigest = at, oldSum
			},
			config.EventWithdrawn, "node:22@sha256:111111111111 (used by api, web) was withdrawn: the tag went back to sha256:000000000000", "",
		},
		"unused": {
			func(s *state.State) { s.Images["web"].BaseImages, s.Images["api"].BaseImages = nil, nil },
			func(s *state.State) {
				s.Images["web"].BaseImages, s.Images["api"].BaseImages = nil, nil
				candidate(func(c *state.Candidate) { c.Held = at })(s)
			}, "", "", "",
		},
		"from the archive": {
			func(s *state.State) { delete(s.Images, "web"); delete(s.Bases, "node-22") },
			func(s *state.State) {
				rebuild("a", state.Failed, 3, "x")(s)
				candidate(func(c *state.Candidate) { c.Held = at })(s)
			}, "", "", "",
		},
		"removed": {rebuild("a", state.Failed, 3, "x"), func(s *state.State) { delete(s.Images, "web"); delete(s.Bases, "node-22") }, "", "", ""},
		"paused":  {same, paused, config.EventPaused, "rebuilds of all images are paused by bob: freeze", ""},
		"resumed": {paused, same, config.EventResumed, "rebuilds of all images are no longer paused", ""},
		"over": {
			func(s *state.State) { s.Pause(state.Pause{Reason: "x", At: at, Until: at}) }, same, "", "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			events := eventsOf(t, test.before, test.after)
			if test.kind == "" {
				assert.Empty(t, events)
				return
			}
			require.Len(t, events, 1)
			e := events[0]
			assert.Equal(t, test.kind, e.Kind)
			assert.Equal(t, test.text, e.Text)
			assert.Equal(t, test.fix, e.Fix)
			assert.NotContains(t, e.URL, "token")
			assert.Equal(t, e.ID, eventsOf(t, test.before, test.after)[0].ID, "whoever finds it")
			if e.Kind == config.EventFailed {
				assert.Equal(t, []string{"@acme/shop"}, e.Owners)
			}
		})
	}
}

// TestChannelsGetTheirEvents: kind of event, owner and labels decide; what concerns all images reaches every owner.
func TestChannelsGetTheirEvents(t *testing.T) {
	cfg := load(t)
	receivers := func(events []notify.Event) (names []string) {
		for i := range cfg.Factory.Notify.Channels {
			if len(notify.Wanted(&cfg.Factory.Notify.Channels[i], events)) > 0 {
				names = append(names, cfg.Factory.Notify.Channels[i].Name)
			}
		}
		return names
	}
	at := state.At(noon)
	assert.Equal(t, []string{"all", "shop"}, receivers(eventsOf(t, rebuild("a", state.Running, 0, ""), rebuild("a", state.Failed, 1, ""))))
	assert.Equal(t, []string{"all", "people"}, receivers(eventsOf(t, rebuild("a", state.Running, 0, ""), rebuild("a", state.Failed, 3, ""))))
	assert.Equal(t, []string{"all", "people", "shop", "gold"}, receivers(eventsOf(t, same, candidate(func(c *state.Candidate) { c.Held = at }))))
	assert.Equal(t, []string{"all", "shop"}, receivers(eventsOf(t, same, func(s *state.State) { s.Pause(state.Pause{Reason: "x", At: at}) })))
	assert.Equal(t, []string{"all"}, receivers(eventsOf(t, same, func(s *state.State) { s.Pause(state.Pause{Reason: "x", At: at}, "api") })))
}
