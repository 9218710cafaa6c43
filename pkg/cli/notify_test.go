package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// inbox is a webhook that keeps the events that it receives.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	events []string
	ids    map[string]bool
	status int // of answers; 0: 200
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{ids: map[string]bool{}}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var e struct{ ID, Type, Subject string }
		in.mu.Lock()
		defer in.mu.Unlock()
		switch {
		case json.Unmarshal(raw, &e) != nil || r.Header.Get("Authorization") != "Bearer "+hookToken:
			w.WriteHeader(http.StatusBadRequest)
		case in.status != 0:
			http.Error(w, "no: "+hookToken, in.status)
		default:
			in.events, in.ids[e.ID] = append(in.events, e.Type+" "+e.Subject), true
		}
	}))
	t.Cleanup(in.Close)
	return in
}

// take returns the events that came since the last call.
func (in *inbox) take() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	out := in.events
	in.events = nil
	return out
}

const (
	hookToken = "canary-hook-0123456789"
	events    = "started, succeeded, failed, failedForGood, stuck, held, paused, resumed"
)

// notified is a site with a published image and a webhook that receives all events.
func notified(t *testing.T) (*site, *inbox, *forgetest.Workflows) {
	t.Helper()
	s, _ := published(t)
	in := newInbox(t)
	s.git.Commit("fleet", map[string]string{"images.yaml": "factory:\n  notify:\n    channels:\n" +
		"    - {name: all, kind: webhook, url: '" + in.URL + "', secret: {secret: s, key: k}, events: [" + events + "]}\n" +
		"    - {name: broken, kind: slack, secret: {secret: s, key: k}}\n" +
		"images:\n" + s.entry("web", "acme/web", "acme/web")}, "notify")
	writeFiles(t, s.env["IMAGEFACTORY_CREDENTIALS"], map[string]string{"notify/all/secret": hookToken + "\n", "notify/broken/secret": "http://127.0.0.1:1/canary"})
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	return s, in, runs
}

// TestEventsAreToldOnce: the pass whose commit recorded a fact tells it, and no other.
func TestEventsAreToldOnce(t *testing.T) {
	s, in, runs := notified(t)
	s.due()
	assert.Empty(t, in.take(), "a digest that waits is no event")
	s.do("promote", "--direct")
	assert.Equal(t, []string{"io.github.imagefactory.started web"}, in.take())
	for i, want := range []string{"failed", "failed", "failedForGood"} {
		runs.Finish(runs.Runs()[i].ID, "failure")
		s.now = s.now.Add(time.Hour)
		got := s.do("promote", "--direct")
		assert.Equal(t, []string{"io.github.imagefactory." + want + " web"}, in.take(), got.err)
		if want == "failedForGood" {
			assert.Contains(t, got.err, "warning: channel broken: connection failed")
			assert.Zero(t, got.code, "a channel that fails does not fail the pass: %s", got.err)
		}
		s.do("promote", "--direct")
		assert.Empty(t, in.take(), "told once")
		s.now = s.now.Add(24 * time.Hour)
		s.do("promote", "--direct")
		if want == "failed" {
			assert.Equal(t, []string{"io.github.imagefactory.started web"}, in.take())
		}
	}
	assert.Empty(t, in.take())
	s.ok("reset", "web", "--reason", "fixed")
	s.ok("promote", "--direct")
	node := s.registry.Base("library/node:22", "2")
	s.now = s.now.Add(time.Hour)
	runs.Finish(runs.Runs()[3].ID, "success")
	s.registry.Publish("acme/web:9.0.0", registrytest.Built{Version: "9", From: &node, Provenance: true})
	s.ok("promote", "--direct")
	assert.Equal(t, []string{"io.github.imagefactory.started web", "io.github.imagefactory.succeeded web"}, in.take())

	s.ok("pause", "--reason", "freeze")
	s.ok("resume")
	assert.Equal(t, []string{"io.github.imagefactory.paused ", "io.github.imagefactory.resumed "}, in.take())
	assert.Len(t, in.ids, 10, "every event has an ID of its own")
	s.assertNoSecrets()
}

// TestStuckImageIsToldOnce: an image that is due for days and cannot be started is told once, and again when that happens again.
func TestStuckImageIsToldOnce(t *testing.T) {
	s, in, _ := notified(t)
	s.due()
	token := filepath.Join(s.env["IMAGEFACTORY_CREDENTIALS"], "api", s.forge.Host, "token")
	require.NoError(t, os.Remove(token))
	s.do("promote", "--direct")
	s.now = s.now.Add(11 * time.Hour)
	s.do("promote", "--direct")
	assert.Empty(t, in.take())
	s.now = s.now.Add(2 * time.Hour)
	s.do("promote", "--direct")
	assert.Equal(t, []string{"io.github.imagefactory.stuck web"}, in.take())
	assert.False(t, s.image("web").Stuck.IsZero())
	before := s.commits()
	s.now = s.now.Add(2 * time.Minute)
	s.do("promote", "--direct")
	assert.Equal(t, before, s.commits(), "a pass that learns nothing pushes nothing")
	s.now = s.now.Add(24 * time.Hour)
	s.do("promote", "--direct")
	assert.Equal(t, []string{"io.github.imagefactory.failed web"}, in.take(), "it could not be started for a day")
	for range 3 {
		s.now = s.now.Add(6 * time.Hour)
		s.do("promote", "--direct")
	}
	assert.Empty(t, in.take(), "it is still the same wait")

	require.NoError(t, os.WriteFile(token, []byte(forgeToken), 0o600))
	s.now = s.now.Add(time.Hour)
	s.do("promote", "--direct")
	s.do("promote", "--direct")
	assert.True(t, s.image("web").Stuck.IsZero())
	assert.Equal(t, []string{"io.github.imagefactory.started web"}, in.take())
	s.assertNoSecrets()
}

// TestFailedMessageIsNotRepeated: there is no record of what was sent, so a message is lost rather than sent twice.
func TestFailedMessageIsNotRepeated(t *testing.T) {
	s, in, _ := notified(t)
	in.status = http.StatusInternalServerError
	got := s.ok("pause", "--reason", "freeze")
	assert.Contains(t, got.err, "warning: channel all: "+in.Listener.Addr().String()+" answered 500: no: [token]; this message is not sent again")
	in.status = 0
	s.ok("promote", "--direct")
	assert.Empty(t, in.take())
	s.assertNoSecrets()
}
