package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

const (
	// Timeout bounds what is sent to a channel after one change of the state. A pass does not wait longer for its messages.
	Timeout = 20 * time.Second

	maxAnswer = 200 // characters of the answer of a server in an error
)

// Options configure a Notifier.
type Options struct {
	Credentials *credentials.Store
	HTTP        httpx.Options
	Mail        MailOptions
	Now         func() time.Time
}

// Notifier sends messages. It may be used by many goroutines.
type Notifier struct {
	o      Options
	client *http.Client
	// plain also sends without TLS, for webhooks in a cluster that get no secret.
	plain *http.Client
}

// New returns a Notifier.
func New(o Options) *Notifier {
	// The path of a URL may be a secret, and so it must not be logged.
	o.HTTP.Logger, o.HTTP.Attempts, o.HTTP.RetryUnreachable, o.HTTP.Timeout = slog.New(slog.DiscardHandler), 3, true, Timeout/2
	client := func(h httpx.Options) *http.Client {
		return &http.Client{Transport: httpx.New(h), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	n := &Notifier{o: o, client: client(o.HTTP)}
	o.HTTP.Insecure = func(string) bool { return true }
	n.plain = client(o.HTTP)
	return n
}

// Failure is a channel that did not receive its message. Its text holds no secret.
type Failure struct {
	Channel string
	Err     error
}

// Send sends each channel the events that it wants, to all channels at once, and returns those that failed.
func (n *Notifier) Send(ctx context.Context, cfg *config.Notify, source string, events []Event) []Failure {
	failed := make([]error, len(cfg.Channels))
	var wait sync.WaitGroup
	for i := range cfg.Channels {
		c := &cfg.Channels[i]
		if wanted := Wanted(c, events); len(wanted) > 0 {
			wait.Go(func() { failed[i] = n.send(ctx, c, source, wanted) })
		}
	}
	wait.Wait()
	var out []Failure
	for i, err := range failed {
		if err != nil {
			out = append(out, Failure{cfg.Channels[i].Name, err})
		}
	}
	return out
}

// Wanted returns the events that a channel receives.
func Wanted(c *config.Channel, events []Event) []Event {
	var out []Event
	for i := range events {
		if c.Wants(events[i].Kind, events[i].images...) {
			out = append(out, events[i])
		}
	}
	return out
}

// Test sends a test message.
func (n *Notifier) Test(ctx context.Context, c *config.Channel, source string) error {
	now := n.o.Now().UTC().Truncate(time.Second)
	return n.send(ctx, c, source, []Event{{
		Kind: testKind, Text: "test message for the channel " + c.Name, Time: now, ID: fmt.Sprintf("test-%s-%d", c.Name, now.UnixNano()),
	}})
}

func (n *Notifier) send(ctx context.Context, c *config.Channel, source string, events []Event) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	secret, err := n.secret(c)
	if err != nil {
		return err
	}
	switch c.Kind {
	case config.Slack:
		return n.post(ctx, n.client, secret, "", slackMessage(events, source), secret)
	case config.Teams:
		return n.post(ctx, n.client, secret, "", teamsMessage(events, source), secret)
	case config.Matrix:
		return n.matrix(ctx, c, secret, events, source)
	case config.Webhook:
		return n.webhook(ctx, c, secret, events, source)
	case config.Mail:
		return n.mail(ctx, c, secret, events, source)
	}
	return fmt.Errorf("unknown kind %q", c.Kind)
}

// ErrNoSecret means that the secret of a channel is not known here.
var ErrNoSecret = errors.New("no secret")

// secret returns the secret of a channel; "" if it needs none.
func (n *Notifier) secret(c *config.Channel) (string, error) {
	if c.Secret == nil {
		return "", nil
	}
	t, err := n.o.Credentials.ChannelSecret(c.Name)
	if err == nil && t.Value == "" {
		err = fmt.Errorf("%w (set %s; in the cluster, create the Secret %s)", ErrNoSecret, credentials.ChannelVariable(c.Name), c.Secret.Secret)
	}
	return t.Value, err
}

// matrix sends a message to a room. Its transaction ID makes the homeserver ignore a repetition.
func (n *Notifier) matrix(ctx context.Context, c *config.Channel, token string, events []Event, source string) error {
	to := strings.TrimRight(c.URL, "/") + "/_matrix/client/v3/rooms/" + url.PathEscape(c.Room) + "/send/m.room.message/" + events[0].ID
	body, err := json.Marshal(matrixMessage(events, source))
	if err != nil {
		return err
	}
	return n.do(ctx, n.client, http.MethodPut, to, token, "application/json", body, token)
}

// webhook sends each event in a request of its own.
func (n *Notifier) webhook(ctx context.Context, c *config.Channel, secret string, events []Event, source string) error {
	to, token, client := c.URL, secret, n.client
	if to == "" {
		to, token = secret, ""
	} else if secret == "" {
		client = n.plain
	}
	for i := range events {
		e, err := newCloudEvent(&events[i], source)
		if err == nil {
			err = n.post(ctx, client, to, token, e, secret)
		}
		if err != nil {
			if left := len(events) - i; left > 1 {
				err = fmt.Errorf("%w (%d events were not sent)", err, left)
			}
			return err
		}
	}
	return nil
}

// post sends a body as JSON.
func (n *Notifier) post(ctx context.Context, client *http.Client, to, token string, body any, secret string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	contentType := "application/json"
	if _, is := body.(*cloudEvent); is {
		contentType = "application/cloudevents+json; charset=UTF-8"
	}
	return n.do(ctx, client, http.MethodPost, to, token, contentType, data, secret)
}

// do sends a request, with a bearer token if one is given. An error quotes neither the URL, which may be a secret, nor the secret.
func (n *Notifier) do(ctx context.Context, client *http.Client, method, to, token, contentType string, body []byte, secret string) error {
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil || req.URL.Host == "" {
		return errors.New("the URL is invalid")
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return withoutURL(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4*maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	hidden := []string{secret, token, req.URL.RequestURI(), req.URL.Path, req.URL.RawQuery}
	parts := strings.Split(req.URL.Path, "/")
	for _, values := range req.URL.Query() {
		parts = append(parts, values...)
	}
	for _, part := range parts {
		if len(part) > 7 { // such as the token in the path of a webhook, or the signature in its query
			hidden = append(hidden, part)
		}
	}
	text := sanitize.Cut(sanitize.Foreign(strings.ToValidUTF8(string(answer), ""), hidden...), maxAnswer)
	return fmt.Errorf("%s answered %d: %s", req.URL.Host, resp.StatusCode, cmp.Or(text, http.StatusText(resp.StatusCode)))
}

// withoutURL returns an error of a client without the URL.
func withoutURL(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", Timeout)
	}
	if at := (*url.Error)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}
