package forge_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// hook is a server that starts builds.
type hook struct {
	url     string
	answer  func(http.ResponseWriter)
	got     []*http.Request
	bodies  []string
	secrets map[string]string
	close   func() // ends the server, once its requests have ended
}

func newHook(t *testing.T) *hook {
	h := &hook{answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) }, secrets: map[string]string{"ci/token": canary + "\n"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.got, h.bodies = append(h.got, r), append(h.bodies, string(body))
		h.answer(w)
	}))
	t.Cleanup(server.Close)
	h.url, h.close = server.URL+"/start", server.Close
	return h
}

func (h *hook) client() *forge.Client {
	sleep := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return forge.New(forge.Options{
		Sleep:  sleep,
		API:    forgeapi.New(forgeapi.Options{HTTP: httpx.Options{Sleep: sleep}}),
		Secret: func(_ context.Context, name, key string) (string, error) { return h.secrets[name+"/"+key], nil },
	})
}

func (h *hook) dispatch() forge.Dispatch {
	src := &config.Source{Provider: config.WebhookProvider, Repo: "https://git.example.com/app.git", Branch: "main", Webhook: &config.WebhookRequest{
		URL: h.url, Method: "POST", Query: map[string]string{"tag": "{{base}}&x=1"},
		Headers: map[string]*config.WebhookHeader{
			"Authorization": {Secret: &config.WebhookSecret{Secret: "ci", Key: "token", Prefix: "Bearer "}}, "X-Rebuild": {Text: "id {{promotion}}"},
		},
		Body: &config.WebhookBody{Value: map[string]any{"lock": "{{lock}}", "n": int64(1), "list": []any{true, nil, "{{image}}"}}},
	}}
	return forge.Dispatch{
		Rebuild: rebuild, Image: &config.Image{Name: "app", Source: src}, Base: "docker.io/library/node:22", Digest: "sha256:abc",
		Lock: `{"x":"y"}` + "\n\", \"admin\": true", RequestedAt: time.Now(),
	}
}

func TestWebhookRequest(t *testing.T) {
	h := newHook(t)
	run, err := h.client().Start(t.Context(), h.dispatch(), nobody)
	require.NoError(t, err)
	assert.Equal(t, forge.Run{}, run, "the published image shows the outcome")
	require.Len(t, h.got, 1)
	r := h.got[0]
	assert.Equal(t, "POST", r.Method)
	assert.Equal(t, "/start", r.URL.Path)
	assert.Equal(t, map[string][]string{"tag": {"docker.io/library/node:22&x=1"}}, map[string][]string(r.URL.Query()))
	assert.Equal(t, "Bearer "+canary, r.Header.Get("Authorization"))
	assert.Equal(t, "id "+rebuild, r.Header.Get("X-Rebuild"))
	assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
	var body any
	require.NoError(t, json.Unmarshal([]byte(h.bodies[0]), &body))
	assert.Equal(t, map[string]any{"lock": `{"x":"y"}` + "\n\", \"admin\": true", "n": 1.0, "list": []any{true, nil, "app"}}, body, "no value changes the structure")
}

func TestWebhookResponses(t *testing.T) {
	for name, tt := range map[string]struct {
		status  int
		body    string
		success config.WebhookSuccess
		refused bool   // for good
		says    string // empty: accepted
		posts   int
	}{
		"created":           {status: 201, posts: 1},
		"one of the wanted": {status: 202, success: config.WebhookSuccess{Status: []int{201, 202}}, posts: 1},
		"another status":    {status: 200, success: config.WebhookSuccess{Status: []int{201}}, refused: true, says: "does not match source.webhook.success", posts: 1},
		"wanted body":       {status: 200, body: `{"data": {"state": "queued", "n": 3}}`, success: config.WebhookSuccess{Body: map[string]string{"data.state": "queued", "data.n": "3"}}, posts: 1},
		"other body":        {status: 200, body: `{"data": {"state": "refused"}, "message": "no ` + canary + `"}`, success: config.WebhookSuccess{Body: map[string]string{"data.state": "queued"}}, refused: true, says: "source.webhook.success: no [token]", posts: 1},
		"no body":           {status: 200, success: config.WebhookSuccess{Body: map[string]string{"a": "1"}}, refused: true, says: "does not match", posts: 1},
		"bad request":       {status: 400, body: `{"message": "unknown ` + canary + `"}`, refused: true, says: "400 Bad Request: unknown [token] (check source.webhook)", posts: 1},
		"denied":            {status: 401, says: "401 Unauthorized", posts: 1},
		"not found":         {status: 404, says: "404 Not Found", posts: 1},
		"gateway":           {status: 502, says: "not sent again", posts: 1},
		"limited":           {status: 429, says: "rate limit", posts: 3},
		"redirect":          {status: 302, refused: true, says: "redirects are not followed", posts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			h.answer = func(w http.ResponseWriter) {
				w.Header().Set("Location", "http://127.0.0.2:9/elsewhere")
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}
			d := h.dispatch()
			d.Image.Source.Webhook.Success = tt.success
			_, err := h.client().Start(t.Context(), d, nobody)
			assert.Len(t, h.got, tt.posts)
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.says)
			assert.NotContains(t, err.Error(), canary)
			var refused *forge.RefusedError
			assert.Equal(t, tt.refused, errors.As(err, &refused))
		})
	}
}

func TestWebhookWithoutSecret(t *testing.T) {
	h := newHook(t)
	h.secrets = nil
	_, err := h.client().Start(t.Context(), h.dispatch(), nobody)
	require.ErrorContains(t, err, "no value for key token of Secret ci, which source.webhook.headers names (set IMAGEFACTORY_SECRET_CI__TOKEN)")
	assert.Empty(t, h.got)
}

func TestLostResponseOfWebhookIsNotSentAgain(t *testing.T) {
	h := newHook(t)
	h.answer = func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	d := h.dispatch()
	_, err := h.client().Start(t.Context(), d, nobody)
	require.ErrorContains(t, err, "not sent again")
	_, found, err := h.client().Find(t.Context(), d, free)
	require.NoError(t, err)
	assert.Equal(t, forge.Unread, found)
	h.close() // waits for what no response tells the end of
	require.Len(t, h.got, 1)
}

func TestWebhookHeaderStaysOneLine(t *testing.T) {
	h := newHook(t)
	d := h.dispatch()
	d.Image.Source.Webhook.Headers["X-Lock"] = &config.WebhookHeader{Text: "{{lock}}"}
	_, err := h.client().Start(t.Context(), d, nobody)
	require.NoError(t, err)
	assert.Equal(t, `{"x":"y"} ", "admin": true`, h.got[0].Header.Get("X-Lock"))
}
