package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// webhook starts builds by a request. Nothing lists them, so the published image shows the outcome.
type webhook struct {
	c   *Client
	src *config.Source
}

func openWebhook(_ context.Context, c *Client, src *config.Source) (service, *forgeapi.Endpoint, error) {
	return &webhook{c, src}, nil, nil
}

func (w *webhook) builder() string { return fmt.Sprintf("the webhook at %s", w.src.BuildHost()) }

func (w *webhook) start(ctx context.Context, d Dispatch) (Run, error) {
	req, secrets, err := w.request(ctx, d)
	if err != nil {
		return Run{}, err
	}
	resp, err := w.c.o.API.Send(req)
	if err != nil {
		return Run{}, err
	}
	if w.accepts(resp.Status, resp.Body) {
		return Run{}, nil
	}
	refused := w.c.o.API.Refused(resp, secrets...)
	switch {
	case resp.Status < http.StatusMultipleChoices:
		refused.Message = strings.TrimSuffix("the response does not match source.webhook.success: "+refused.Message, ": ")
		return Run{}, &RefusedError{refused}
	case resp.Status < http.StatusBadRequest:
		refused.Hint = "redirects are not followed: correct source.webhook.url"
		return Run{}, &RefusedError{refused}
	case config.RefusesForGood(resp.Status):
		refused.Hint = "check source.webhook"
		return Run{}, &RefusedError{refused}
	}
	return Run{}, refused
}

// request returns the request, and the secrets in it.
func (w *webhook) request(ctx context.Context, d Dispatch) (*http.Request, []string, error) {
	hook := w.src.Webhook
	var body []byte
	if hook.Body != nil {
		var err error
		if body, err = json.Marshal(filled(hook.Body.Value, &d)); err != nil {
			return nil, nil, fmt.Errorf("writing the body of the request: %w", err)
		}
	}
	target := hook.URL
	if len(hook.Query) > 0 {
		query := url.Values{}
		for name, value := range fill(hook.Query, d) {
			query.Set(name, value)
		}
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, hook.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("invalid source.webhook.url %q", hook.URL)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	var secrets []string
	for name, h := range hook.Headers {
		if h.Secret == nil {
			req.Header.Set(name, oneLine(d.fill(h.Text)))
			continue
		}
		value, err := w.c.o.Secret(ctx, h.Secret.Secret, h.Secret.Key)
		if err != nil {
			return nil, nil, err
		}
		if value = strings.TrimSpace(value); value == "" {
			return nil, nil, fmt.Errorf("no value for key %s of Secret %s, which source.webhook.headers names (set %s)", h.Secret.Key, h.Secret.Secret, config.SecretVariable(h.Secret.Secret, h.Secret.Key))
		}
		secrets = append(secrets, value)
		req.Header.Set(name, h.Secret.Prefix+value)
	}
	return req, secrets, nil
}

// oneLine keeps a value, such as a lock, from ending its header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// filled replaces the placeholders in all texts of a value of JSON.
func filled(value any, d *Dispatch) any {
	switch v := value.(type) {
	case string:
		return d.fill(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = filled(v[i], d)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = filled(v[key], d)
		}
		return out
	}
	return value
}

// accepts reports whether a response means that the build was accepted.
func (w *webhook) accepts(status int, body []byte) bool {
	s := &w.src.Webhook.Success
	if status < 200 || status > 299 || len(s.Status) > 0 && !slices.Contains(s.Status, status) {
		return false
	}
	if len(s.Body) == 0 {
		return true
	}
	var response any
	if json.Unmarshal(body, &response) != nil {
		return false
	}
	for path, want := range s.Body {
		at := response
		for key := range strings.SplitSeq(path, ".") {
			fields, _ := at.(map[string]any)
			at = fields[key]
		}
		if at == nil || fmt.Sprint(at) != want {
			return false
		}
	}
	return true
}

// list implements service: a build that may have been started cannot be found.
func (w *webhook) list(context.Context, Dispatch, time.Time, func(Run) bool) (candidates, error) {
	return candidates{more: true}, nil
}

// follow implements service. There is no run to follow.
func (w *webhook) follow(context.Context, int64) (*RunState, error) { return nil, nil }

func (w *webhook) visible(context.Context) error { return nil }
