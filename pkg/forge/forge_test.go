package forge_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

const (
	canary  = "ghp_canary0123456789"
	rebuild = "r-0123456789abcdef"
)

// world is a forge, a client of it, and a clock that only waiting moves.
type world struct {
	*forgetest.Server
	client *forge.Client
	waits  []time.Duration

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{Server: forgetest.New(t), now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	w.Token = canary
	w.client = w.newClient()
	return w
}

func (w *world) newClient() *forge.Client {
	sleep := func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waits = append(w.waits, d)
		w.now = w.now.Add(d)
		return ctx.Err()
	}
	return forge.New(forge.Options{Now: w.clock, Sleep: sleep, API: forgeapi.New(forgeapi.Options{
		Token: func(context.Context, string) (string, error) { return canary, nil },
		Hint:  func(host string) string { return "set TOKEN for " + host },
		HTTP:  httpx.Options{Now: w.clock, Sleep: sleep},
	})})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) image(provider config.Provider) *config.Image {
	src := &config.Source{Provider: provider, Host: w.Host, Repo: "team/app", Branch: "main", Dockerfile: "Dockerfile"}
	if provider == config.GitHub {
		src.Workflow = "build.yml"
	}
	return &config.Image{Name: "app", Source: src}
}

func (w *world) order(img *config.Image) forge.Dispatch {
	return forge.Dispatch{Rebuild: rebuild, Image: img, Base: "docker.io/library/node:22", Digest: "sha256:abc", RequestedAt: w.now}
}

func (w *world) workflows() *forgetest.Workflows {
	f := w.Workflows("team/app")
	f.Now = w.clock
	return f
}

func (w *world) pipelines() *forgetest.Pipelines {
	p := w.Pipelines("team/app")
	p.Now = w.clock
	return p
}

// posts is how many requests to start something came in.
func (w *world) posts() int { return len(w.Requests("POST ")) }

func free(forge.Run) bool { return false }

func id(run forge.Run) int64 {
	n, _ := strconv.ParseInt(run.ID, 10, 64)
	return n
}

// refusedFor requires a final no that says something, and no token.
func refusedFor(t *testing.T, err error, texts ...string) {
	t.Helper()
	var refused *forge.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Error(t, refused.Unwrap())
	says(t, err, texts...)
}

// failsFor requires an error that is not final and says something, and no token.
func failsFor(t *testing.T, err error, texts ...string) {
	t.Helper()
	require.Error(t, err)
	var refused *forge.RefusedError
	require.NotErrorAs(t, err, &refused)
	says(t, err, texts...)
}

func says(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
	assert.NotContains(t, err.Error(), canary)
}

const movedBody = `{"message":"Moved Permanently"}`

const (
	githubPost = "POST /api/v3/repos/team/app/actions/workflows/build.yml/dispatches"
	gitlabPost = "POST /api/v4/projects/team%2Fapp/pipeline"
)

// onBoth runs a test for both kinds of forge.
func onBoth(t *testing.T, test func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run)) {
	t.Run("github", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, w.image(config.GitHub), githubPost, w.workflows().Runs)
	})
	t.Run("gitlab", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, w.image(config.GitLab), gitlabPost, w.pipelines().Runs)
	})
}

func TestStartStatuses(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   forgetest.Fault
		refused bool
		says    []string
	}{
		"401":          {forgetest.Fault{Status: 401, Body: `{"message":"Bad credentials"}`}, false, []string{"401", "Bad credentials", "set TOKEN for 127.0.0.1"}},
		"403":          {forgetest.Fault{Status: 403, Body: `{"message":"Resource not accessible"}`}, false, []string{"403", "the token needs", "set TOKEN for"}},
		"404":          {forgetest.Fault{Status: 404, Body: `{"message":"Not Found"}`}, true, []string{"404", "check source.repo"}},
		"400":          {forgetest.Fault{Status: 400, Body: `{"error":"ref is missing","error_description":"it must be set"}`}, true, []string{"ref is missing; it must be set"}},
		"422":          {forgetest.Fault{Status: 422, Body: `{"message":"Invalid","errors":[{"message":"too many"}]}`}, true, []string{"Invalid; too many"}},
		"no JSON":      {forgetest.Fault{Status: 410, Body: `<html>`}, false, []string{"410 Gone", "not an API response", "proxy or gateway"}},
		"bare 404":     {forgetest.Fault{Status: 404}, false, []string{"404 Not Found", "not an API response"}},
		"page 404":     {forgetest.Fault{Status: 404, Body: `<html>404</html>`}, false, []string{"404 Not Found", "not an API response"}},
		"no route":     {forgetest.Fault{Status: 404, Body: `{"message":"no Route matched with those values"}`}, false, []string{"no Route matched", "not an API response"}},
		"odd JSON":     {forgetest.Fault{Status: 404, Body: `{"code":404}`}, false, []string{"404 Not Found", "not an API response"}},
		"moved":        {forgetest.Fault{Status: 307, Header: http.Header{"Location": {"/elsewhere"}}, Body: movedBody}, true, []string{"307", "has moved", "source.repo"}},
		"moved to GET": {forgetest.Fault{Status: 301, Header: http.Header{"Location": {"/elsewhere"}}, Body: movedBody}, true, []string{"301", "has moved"}},
		"renamed":      {forgetest.Fault{Status: 301, Header: http.Header{"Location": {"/api/v1/repos/team/renamed/actions"}}}, false, []string{"301", "has moved", "source.repo"}},
		"sign in":      {forgetest.Fault{Status: 302, Header: http.Header{"Location": {"/login"}}}, false, []string{"302", "not an API response"}},
		"long wait": {
			forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}, false, []string{"rate limit reached", "retry after 2026-03-01T11:00:00Z"},
		},
		"spent": {
			forgetest.Fault{Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1772362800"}}}, false,
			[]string{"retry after 2026-03-01T11:00:00Z"},
		},
		"date": {
			forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"Sun, 01 Mar 2026 10:30:00 GMT"}}}, false, []string{"retry after 2026-03-01T10:30:00Z"},
		},
		"an echo":   {forgetest.Fault{Status: 400, Body: `{"message":"bad header ` + canary + `\u001b[31m"}`}, true, []string{"bad header [token]"}},
		"much text": {forgetest.Fault{Status: 400, Body: `{"message":"` + strings.Repeat("x", 1<<21) + `"}`}, false, []string{"400 Bad Request"}},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, _ func() []forgetest.Run) {
				tt.fault.Match = post
				w.Fail(tt.fault)
				_, err := w.client.Start(t.Context(), w.order(img), nobody)
				if tt.refused {
					refusedFor(t, err, tt.says...)
				} else {
					failsFor(t, err, tt.says...)
				}
				assert.Equal(t, 1, w.posts())
				assert.Empty(t, w.waits)
				assert.Less(t, len(err.Error()), 1500)
			})
		})
	}
}

func TestShortRateLimitIsWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		fault forgetest.Fault
		wait  time.Duration
	}{
		"seconds":       {forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, 7 * time.Second},
		"403":           {forgetest.Fault{Status: 403, Header: http.Header{"Retry-After": {"7"}}}, 7 * time.Second},
		"now":           {forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}}, time.Second},
		"reset":         {forgetest.Fault{Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1772359230"}}}, 30 * time.Second},
		"gitlab reset":  {forgetest.Fault{Status: 429, Header: http.Header{"Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"1772359230"}}}, 30 * time.Second},
		"nothing known": {forgetest.Fault{Status: 403, Body: `{"message":"You have exceeded a secondary rate limit"}`}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
				tt.fault.Match = post
				w.Fail(tt.fault, tt.fault)
				run, err := w.client.Start(t.Context(), w.order(img), nobody)
				require.NoError(t, err)
				assert.Equal(t, tt.wait, w.waits[0])
				assert.NotEmpty(t, run.ID)
				assert.Len(t, started(), 1)
				assert.Equal(t, 3, w.posts())
			})
		})
	}
}

func TestPersistentRateLimitFails(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
		for range 5 {
			w.Fail(forgetest.Fault{Match: post, Status: 429, Header: http.Header{"Retry-After": {"5"}}})
		}
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		failsFor(t, err, "retry after 2026-03-01T10:00:15Z")
		assert.Equal(t, 3, w.posts())
		assert.Empty(t, started())
	})
}

func TestLostResponseStartsNothingTwice(t *testing.T) {
	for name, fault := range map[string]forgetest.Fault{
		"cut":       {Break: true, After: true},
		"500":       {Status: 500, After: true},
		"502":       {Status: 502, After: true},
		"503":       {Status: 503, After: true, Body: "<html>"},
		"504":       {Status: 504, After: true},
		"408":       {Status: 408, After: true},
		"no JSON":   {Status: 200, After: true, Body: "<html>please sign in</html>"},
		"too large": {Status: 200, After: true, Body: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
				fault.Match = post
				w.Fail(fault)
				run, err := w.client.Start(t.Context(), w.order(img), nobody)
				require.NoError(t, err)
				require.Len(t, started(), 1)
				assert.Equal(t, started()[0].ID, id(run))
				assert.NotEmpty(t, run.URL)
				assert.Equal(t, 1, w.posts())
			})
		})
	}
}

func TestUndeliveredStartIsRetried(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
		w.Fail(forgetest.Fault{Match: post, Status: 502}, forgetest.Fault{Match: post, Break: true})
		run, err := w.client.Start(t.Context(), w.order(img), nobody)
		require.NoError(t, err)
		require.Len(t, started(), 1)
		assert.Equal(t, started()[0].ID, id(run))
		assert.Equal(t, 3, w.posts())
		assert.Equal(t, []time.Duration{2e9, 5e9, 10e9, 2e9, 5e9, 10e9}, w.waits, "it was looked for before each")
	})
}

func TestFailingForgeIsSkippedAfterThreeStarts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
		for range 5 {
			w.Fail(forgetest.Fault{Match: post, Status: 503})
		}
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		failsFor(t, err, "503 Service Unavailable", "no run appeared after 3 attempts")
		assert.Equal(t, 3, w.posts())
		assert.Empty(t, started())
	})
}

func TestNothingIsResentWhileRunsAreUnknown(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
		w.Fail(forgetest.Fault{Match: post, Status: 502, After: true})
		for range 3 {
			w.Fail(forgetest.Fault{Match: "GET ", Status: 404, Body: `{"message":"Not Found"}`})
		}
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		failsFor(t, err, "502", "checking whether it started", "404")
		assert.Equal(t, 1, w.posts())
		require.Len(t, started(), 1)

		run, found, err := w.client.Find(t.Context(), w.order(img), free)
		for range 2 { // the other two faults
			run, found, err = w.client.Find(t.Context(), w.order(img), free)
		}
		require.NoError(t, err)
		assert.Equal(t, forge.Found, found)
		assert.Equal(t, started()[0].ID, id(run))
	})
}

func TestReadsAreRetried(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, _ string, _ func() []forgetest.Run) {
		w.Fail(forgetest.Fault{Match: "GET ", Break: true}, forgetest.Fault{Match: "GET ", Status: 502})
		_, found, err := w.client.Find(t.Context(), w.order(img), free)
		require.NoError(t, err)
		assert.Equal(t, forge.NotFound, found)
		assert.Len(t, w.Requests("GET "), 3)
		assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, w.waits)
	})
}

func TestUnreachableForgeIsRetriedWithoutLookup(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	onBoth(t, func(t *testing.T, w *world, img *config.Image, _ string, _ func() []forgetest.Run) {
		img.Source.Host = l.Addr().String()
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		failsFor(t, err, "connection failed", "connection refused", l.Addr().String())
		look := []time.Duration{time.Second, 2 * time.Second}
		assert.Equal(t, append(look, look...), w.waits, "which runs there are, and the request, which did not leave")
	})
}

func TestTokenIsRequired(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		token func(context.Context, string) (string, error)
		says  string
	}{
		"none":   {func(context.Context, string) (string, error) { return "", nil }, "no token for 127.0.0.1"},
		"broken": {func(context.Context, string) (string, error) { return "", errors.New("the file is empty") }, "the file is empty"},
		"nobody": {nil, "no token for"},
	} {
		t.Run(name, func(t *testing.T) {
			c := forge.New(forge.Options{API: forgeapi.New(forgeapi.Options{Token: tt.token})})
			img := w.image(config.GitHub)
			_, err := c.Start(t.Context(), w.order(img), nobody)
			failsFor(t, err, tt.says)
			_, _, err = c.Find(t.Context(), w.order(img), free)
			failsFor(t, err, tt.says)
			_, err = c.Follow(t.Context(), img, forge.Run{ID: "1"})
			failsFor(t, err, tt.says)
		})
	}
	assert.Empty(t, w.Requests(""))
}

func TestTokenIsNotSentToAnotherHost(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the stranger was asked") }))
	t.Cleanup(stranger.Close)
	for _, status := range []int{301, 302, 307, 308} {
		onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, _ func() []forgetest.Run) {
			there := http.Header{"Location": {stranger.URL + "/x"}}
			w.Fail(forgetest.Fault{Match: "GET ", Status: status, Header: there}, forgetest.Fault{Match: post, Status: status, Header: there, Body: movedBody})
			_, _, err := w.client.Find(t.Context(), w.order(img), free)
			failsFor(t, err, "has moved")
			_, err = w.client.Start(t.Context(), w.order(img), nobody)
			refusedFor(t, err, "has moved")
		})
	}
}

func TestRenamedRepositoryIsRead(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	run := f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Status: "queued"})
	img := w.image(config.GitHub)
	img.Source.Repo = "team/old"
	path := "/api/v3/repos/team/app/actions/runs/" + strconv.FormatInt(run, 10)
	w.Fail(forgetest.Fault{Match: "GET /api/v3/repos/team/old/", Status: 301, Header: http.Header{"Location": {path}}})
	result, err := w.client.Follow(t.Context(), img, forge.Run{ID: strconv.FormatInt(run, 10)})
	require.NoError(t, err)
	assert.Equal(t, forge.Running, result.Phase)
}

func TestUnstartableRebuildIsRejected(t *testing.T) {
	w := newWorld(t)
	img := w.image(config.Git)
	_, err := w.client.Start(t.Context(), w.order(img), nobody)
	refusedFor(t, err, "source.provider is git")
	img = w.image(config.GitHub)
	img.Source.Workflow = ""
	_, err = w.client.Start(t.Context(), w.order(img), nobody)
	refusedFor(t, err, "source.workflow is not set")
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, started func() []forgetest.Run) {
		ctx, cancel := context.WithCancel(t.Context())
		sleep := func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
		c := forge.New(forge.Options{Sleep: sleep, API: forgeapi.New(forgeapi.Options{
			Token: func(context.Context, string) (string, error) { return canary, nil }, HTTP: httpx.Options{Sleep: sleep},
		})})
		w.Fail(forgetest.Fault{Match: post, Status: 502, After: true})
		_, err := c.Start(ctx, w.order(img), nobody)
		require.ErrorIs(t, err, context.Canceled)
		failsFor(t, err, "502")
		assert.Equal(t, 1, w.posts())
		assert.Len(t, started(), 1)
		_, err = c.Start(ctx, w.order(img), nobody)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestInvalidRunIsNotRequested(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"", "abc", "../1", "-1", "0", "99999999999999999999"} {
		_, err := w.client.Follow(t.Context(), w.image(config.GitHub), forge.Run{ID: bad})
		failsFor(t, err, "invalid run ID")
	}
	assert.Empty(t, w.Requests(""))
}

func TestFollowRun(t *testing.T) {
	t.Run("github", func(t *testing.T) {
		w := newWorld(t)
		f := w.workflows()
		testFollow(t, w, w.image(config.GitHub), f.Finish, f.Delete, f.URL, map[string]forge.Phase{
			"success": forge.Succeeded, "failure": forge.Failed, "cancelled": forge.Failed, "timed_out": forge.Failed, "neutral": forge.Failed,
		})
		f.Gone = true
		_, err := w.client.Follow(t.Context(), w.image(config.GitHub), forge.Run{ID: "5"})
		failsFor(t, err, "404", "check source.repo")
	})
	t.Run("gitlab", func(t *testing.T) {
		w := newWorld(t)
		p := w.pipelines()
		testFollow(t, w, w.image(config.GitLab), p.Finish, p.Delete, p.URL, map[string]forge.Phase{
			"success": forge.Succeeded, "failed": forge.Failed, "canceled": forge.Failed, "skipped": forge.Failed,
			"manual": forge.Running, "running": forge.Running, "canceling": forge.Running, "scheduled": forge.Running,
		})
		p.Gone = true
		_, err := w.client.Follow(t.Context(), w.image(config.GitLab), forge.Run{ID: "5"})
		failsFor(t, err, "404", "check source.repo")
	})
}

func testFollow(t *testing.T, w *world, img *config.Image, finish func(int64, string), remove func(int64), url func(int64) string, ends map[string]forge.Phase) {
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	assert.Equal(t, url(id(run)), run.URL)
	result, err := w.client.Follow(t.Context(), img, run)
	require.NoError(t, err)
	assert.Equal(t, forge.RunState{Run: run, Phase: forge.Running}, result)
	for end, want := range ends {
		finish(id(run), end)
		result, err = w.client.Follow(t.Context(), img, forge.Run{ID: run.ID})
		require.NoError(t, err)
		message := ""
		if want == forge.Failed {
			message = run.URL + " ended as " + end
		}
		assert.Equal(t, forge.RunState{Run: run, Phase: want, Message: message}, result)
	}
	remove(id(run))
	result, err = w.client.Follow(t.Context(), img, run)
	require.NoError(t, err)
	assert.Equal(t, forge.RunState{Run: run, Phase: forge.Failed, Message: run.URL + " was deleted"}, result)

	for _, fault := range []forgetest.Fault{{Status: 404}, {Status: 404, Body: "<html>"}, {Status: 403, Body: "<html>"}} { // of a gateway
		fault.Match = "GET "
		w.Fail(fault)
		_, err = w.client.Follow(t.Context(), img, run)
		failsFor(t, err, strconv.Itoa(fault.Status))
	}
	for _, body := range []string{"<html>", "{}", "null", `{"id": 1}`} { // the list of runs that is to show that one is gone
		for range 4 {
			w.Fail(forgetest.Fault{Match: "GET ", Status: 404, Body: `{"message":"404 Not Found"}`})
		}
		w.Fail(forgetest.Fault{Match: "GET ", Status: 200, Body: body})
		_, err = w.client.Follow(t.Context(), img, run)
		failsFor(t, err, "unexpected content")
	}
	w.Fail(forgetest.Fault{Match: "GET ", Status: 200, Body: `{}`}, forgetest.Fault{Match: "GET ", Status: 200, Body: `[`})
	for range 2 {
		_, err = w.client.Follow(t.Context(), img, run)
		failsFor(t, err, "unexpected content")
	}
}

// TestInvalidResponseIsNotAStart: a gateway can answer 200 to anything. Only a run that is listed shows that it was started.
func TestInvalidResponseIsNotAStart(t *testing.T) {
	for _, body := range []string{"", "{}", "null", "[]", "<html>", `{"workflow_run_id": 0, "id": 0}`, `{"message":"welcome"}`} {
		onBoth(t, func(t *testing.T, w *world, img *config.Image, post string, runs func() []forgetest.Run) {
			w.Fail(forgetest.Fault{Match: post, Status: 200, Body: body}, forgetest.Fault{Match: "GET ", Status: 200, Body: "{}"}, forgetest.Fault{Match: "GET ", Status: 200, Body: "{}"})
			_, err := w.client.Start(t.Context(), w.order(img), nobody)
			failsFor(t, err, "unexpected content", "checking whether it started")
			assert.Empty(t, runs())

			w.Fail(forgetest.Fault{Match: post, Status: 200, Body: body, After: true})
			run, err := w.client.Start(t.Context(), w.order(img), nobody)
			require.NoError(t, err)
			require.Len(t, runs(), 1, "it was started")
			assert.Equal(t, runs()[0].ID, id(run))
		})
	}
}

func TestCompletedRunWithoutConclusion(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	run := f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch"})
	f.Finish(run, "")
	_, err := w.client.Follow(t.Context(), w.image(config.GitHub), forge.Run{ID: strconv.FormatInt(run, 10)})
	failsFor(t, err, "unexpected content")
}

// TestInvalidListDoesNotMeanNothingRuns: else a build that runs would be started again.
func TestInvalidListDoesNotMeanNothingRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, _ string, _ func() []forgetest.Run) {
		for _, body := range []string{"", "<html>", "{}", "null", `{"workflow_runs": []}`, `{"total_count": 2, "workflow_runs": []}`, `{"message":"x"}`, "[null]"} {
			w.Fail(forgetest.Fault{Match: "GET ", Status: 200, Body: body})
			_, _, err := w.client.Find(t.Context(), w.order(img), free)
			require.Error(t, err, body)
		}
		for _, status := range []int{404, 410} {
			w.Fail(forgetest.Fault{Match: "GET ", Status: status})
			_, _, err := w.client.Find(t.Context(), w.order(img), free)
			failsFor(t, err, strconv.Itoa(status))
		}
		_, found, err := w.client.Find(t.Context(), w.order(img), free)
		require.NoError(t, err)
		assert.Equal(t, forge.NotFound, found)
	})
}

func TestInvalidURLIsRejected(t *testing.T) {
	for _, url := range []string{"javascript:alert(1)", "https://user:secret@host/x", "https:///x", "x\\ny", "https://h/\\u001b[31m"} {
		w := newWorld(t)
		w.workflows()
		w.Fail(forgetest.Fault{Match: "POST ", Status: 200, Body: `{"workflow_run_id": 7, "html_url": "` + url + `"}`})
		run, err := w.client.Start(t.Context(), w.order(w.image(config.GitHub)), nobody)
		require.NoError(t, err)
		assert.Equal(t, forge.Run{ID: "7"}, run)
	}
}

// nobody has a run that is known.
func nobody(forge.Run) bool { return false }

// TestRefusedTokenIsNotSentAgain: forges ban clients that go on.
func TestRefusedTokenIsNotSentAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, img *config.Image, _ string, started func() []forgetest.Run) {
		w.Token = "another"
		for range 5 {
			_, err := w.client.Start(t.Context(), w.order(img), nobody)
			failsFor(t, err, "401", "the token is invalid or has expired", "set TOKEN for")
		}
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		failsFor(t, err, "not sending it again in this run")
		assert.Len(t, w.Requests(""), 3)
		assert.Empty(t, started())
	})
}
