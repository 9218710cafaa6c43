package forge_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// answering answers every request with the same status and body.
type answering struct {
	status int
	body   string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}, nil
}

// FuzzAnswers: whatever a forge answers, nothing panics, and only an answer of its API says that nothing runs, that a run is
// gone or that a build is refused.
func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"total_count":0,"workflow_runs":[]}`)
	f.Add(200, `{"total_count":1,"workflow_runs":[{"id":1,"display_title":"r-0123456789abcdef","created_at":"2026-03-01T10:00:00Z"}]}`)
	f.Add(200, `[{"id":1,"source":"api","created_at":"2026-03-01T10:00:00Z","status":"running"}]`)
	f.Add(200, `{"total_count":1,"workflow_runs":[{"id":1,"title":"x","workflow_id":"b.yml","prettyref":"main","trigger_event":"workflow_dispatch"}]}`)
	f.Add(200, `[null]`)
	f.Add(200, `null`)
	f.Add(404, `<html>`)
	f.Add(404, `{"message":"Not Found"}`)
	f.Add(302, ``)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		for _, provider := range []config.Provider{config.GitHub, config.GitLab, config.Gitea} {
			sleep := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
			c := forge.New(forge.Options{Sleep: sleep, API: forgeapi.New(forgeapi.Options{
				Token: func(context.Context, string) (string, error) { return canary, nil },
				HTTP:  httpx.Options{Sleep: sleep, Base: answering{status, body}},
			})})
			img := &config.Image{Name: "app", Source: &config.Source{Provider: provider, Host: "example.com", Repo: "a/b", Branch: "main", Workflow: "b.yml"}}
			o := forge.Dispatch{Rebuild: rebuild, Image: img, RequestedAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
			_, found, err := c.Find(t.Context(), o, free)
			if err == nil && found == forge.NotFound && !strings.ContainsAny(body, "{[") {
				t.Errorf("%d %q says that nothing runs", status, body)
			}
			r, err := c.Follow(t.Context(), img, forge.Run{ID: "1"})
			if err == nil && r.Phase == forge.Failed && !strings.Contains(body, "{") {
				t.Errorf("%d %q says that a run failed", status, body)
			}
			_, err = c.Start(t.Context(), o, free)
			if refused := (*forge.RefusedError)(nil); err != nil && errors.As(err, &refused) && !strings.Contains(body, "{") {
				t.Errorf("%d %q refuses a build", status, body)
			}
		}
	})
}
