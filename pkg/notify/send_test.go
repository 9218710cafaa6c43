package notify_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/notify"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	canary  = "canary-0123456789"
	hostile = `<!channel> & **bold** [link](https://evil.example) @room` + "\r\nBcc: evil@evil.example\x1b[31m"
	source  = "https://git.example.com/acme/images.git"
)

// call is a request that a server received.
type call struct {
	method, path string
	header       http.Header
	body         map[string]any
	raw          string
}

// receiver answers like a service that accepts messages, and keeps what it received.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, c call)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		c := call{method: req.Method, path: req.URL.EscapedPath(), header: req.Header, raw: string(raw)}
		if len(raw) > 0 && json.Unmarshal(raw, &c.body) != nil {
			http.Error(w, "invalid_payload", http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		r.calls = append(r.calls, c)
		r.mu.Unlock()
		answer(w, c)
	}))
	t.Cleanup(r.Close)
	return r
}

// notifier returns a Notifier with secrets by channel.
func notifier(secrets map[string]string, o notify.Options) *notify.Notifier {
	o.Credentials = credentials.New(credentials.Options{Getenv: func(name string) string {
		for channel, secret := range secrets {
			if name == credentials.ChannelVariable(channel) {
				return secret
			}
		}
		return ""
	}})
	o.Now = func() time.Time { return noon }
	return notify.New(o)
}

func channels(t *testing.T, list string) *config.Notify {
	t.Helper()
	cfg, err := config.Load(strings.NewReader("factory: {notify: {channels: ["+list+"]}}\nimages: []\n"), "images.yaml")
	require.NoError(t, err)
	return &cfg.Factory.Notify
}

// failures returns two events with hostile texts.
func failures(t *testing.T) []notify.Event {
	t.Helper()
	events := eventsOf(t, rebuild("a", state.Running, 0, ""), rebuild("a", state.Failed, 3, hostile))
	return append(events, eventsOf(t, same, candidate(func(c *state.Candidate) { c.Held, c.Reason = state.At(noon), hostile }))...)
}

func TestSlack(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, c call) {
		if c.method != http.MethodPost || c.path != "/services/T0/B0/"+canary || c.header.Get("Content-Type") != "application/json" || c.body["text"] == "" {
			http.Error(w, "invalid_payload", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	n := notifier(map[string]string{"ops": r.URL + "/services/T0/B0/" + canary}, notify.Options{})
	assert.Empty(t, n.Send(t.Context(), channels(t, "{name: ops, kind: slack, secret: {secret: s, key: k}}"), source, failures(t)))
	require.Len(t, r.calls, 1, "one message for all events")
	body := r.calls[0].body
	assert.Equal(t, false, body["mrkdwn"])
	assert.Equal(t, false, body["unfurl_links"])
	text := body["text"].(string)
	assert.True(t, strings.HasPrefix(text, "imagefactory: 2 events\n3 rebuilds of web failed in a row"), text)
	assert.Contains(t, text, "&lt;!channel&gt; &amp; **bold**")
	assert.NotContains(t, text, "<")
	assert.NotContains(t, text, "\x1b")
	assert.NotContains(t, text, "\nBcc")
	assert.Contains(t, text, "to do: imagefactory reset web --push --reason TEXT\nrun: https://github.com/acme/web/actions/runs/7\n")
	assert.Contains(t, text, "state: "+source)
}

func TestTeams(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ call) { w.WriteHeader(http.StatusAccepted) })
	n := notifier(map[string]string{"ops": r.URL + "/workflows/" + canary + "/triggers/manual/paths/invoke?api-version=2016-06-01&sig=" + canary}, notify.Options{})
	assert.Empty(t, n.Send(t.Context(), channels(t, "{name: ops, kind: teams, secret: {secret: s, key: k}}"), source, failures(t)))
	require.Len(t, r.calls, 1)
	body := r.calls[0].body
	assert.Equal(t, "message", body["type"])
	attachment := body["attachments"].([]any)[0].(map[string]any)
	assert.Equal(t, "application/vnd.microsoft.card.adaptive", attachment["contentType"])
	card := attachment["content"].(map[string]any)
	assert.Equal(t, "AdaptiveCard", card["type"])
	for _, block := range card["body"].([]any) {
		assert.Equal(t, "RichTextBlock", block.(map[string]any)["type"], "its text is not Markdown")
		for _, run := range block.(map[string]any)["inlines"].([]any) {
			assert.Equal(t, "TextRun", run.(map[string]any)["type"])
			assert.NotEmpty(t, run.(map[string]any)["text"])
		}
	}
	assert.Contains(t, r.calls[0].raw, "**bold** [link](https://evil.example)")
}

func TestMatrix(t *testing.T) {
	transactions := map[string]int{}
	r := newReceiver(t, func(w http.ResponseWriter, c call) {
		const room = "/_matrix/client/v3/rooms/%21abc:example.com/send/m.room.message/"
		transaction, is := strings.CutPrefix(c.path, room)
		switch {
		case c.header.Get("Authorization") != "Bearer "+canary:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errcode":"M_UNKNOWN_TOKEN","error":"Invalid access token"}`)
		case c.method == http.MethodGet && c.path == "/_matrix/client/v3/joined_rooms":
			_, _ = io.WriteString(w, `{"joined_rooms":["!abc:example.com"]}`)
		case c.method != http.MethodPut || !is || strings.Contains(transaction, "/") || c.body["msgtype"] == nil || c.body["body"] == nil:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errcode":"M_UNRECOGNIZED"}`)
		default:
			transactions[transaction]++
			_, _ = io.WriteString(w, `{"event_id":"$1"}`)
		}
	})
	list := "{name: room, kind: matrix, url: '" + r.URL + "/', room: '!abc:example.com', secret: {secret: s, key: k}}"
	n := notifier(map[string]string{"room": canary}, notify.Options{})
	for range 2 {
		assert.Empty(t, n.Send(t.Context(), channels(t, list), source, failures(t)))
	}
	assert.Len(t, transactions, 1, "the same events have the same transaction ID")
	assert.Equal(t, map[string]any{}, r.calls[0].body["m.mentions"], "@room mentions nobody")
	assert.Equal(t, "m.notice", r.calls[0].body["msgtype"])
	require.NoError(t, n.Check(t.Context(), &channels(t, list).Channels[0]))
	other := strings.Replace(list, "!abc:", "!other:", 1)
	require.EqualError(t, n.Check(t.Context(), &channels(t, other).Channels[0]), "the account has not joined the room !other:example.com (invite it and accept)")

	wrong := notifier(map[string]string{"room": "wrong"}, notify.Options{})
	failed := wrong.Send(t.Context(), channels(t, list), source, failures(t))
	require.Len(t, failed, 1)
	require.ErrorContains(t, failed[0].Err, `answered 401: {"errcode":"M_UNKNOWN_TOKEN"`)
	assert.ErrorContains(t, wrong.Check(t.Context(), &channels(t, list).Channels[0]), "refuses the token")
}

// TestWebhookGetsCloudEvents checks what the specification of CloudEvents 1.0 requires of an event in the structured mode.
func TestWebhookGetsCloudEvents(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ call) { w.WriteHeader(http.StatusNoContent) })
	n := notifier(map[string]string{"hook": canary, "whole": r.URL + "/in/" + canary}, notify.Options{})
	list := "{name: hook, kind: webhook, url: '" + r.URL + "/in', secret: {secret: s, key: k}}"
	events := failures(t)
	assert.Empty(t, n.Send(t.Context(), channels(t, list), source, events))
	require.Len(t, r.calls, 2, "one request for each event")
	for i, c := range r.calls {
		assert.Equal(t, "application/cloudevents+json; charset=UTF-8", c.header.Get("Content-Type"))
		assert.Equal(t, "Bearer "+canary, c.header.Get("Authorization"))
		assert.Equal(t, "1.0", c.body["specversion"])
		assert.Equal(t, source, c.body["source"])
		assert.NotEmpty(t, c.body["id"])
		at, err := time.Parse(time.RFC3339, c.body["time"].(string))
		require.NoError(t, err)
		assert.Equal(t, noon, at)
		for name := range c.body {
			if name != "data" {
				assert.Regexp(t, "^[a-z0-9]{1,20}$", name)
			}
		}
		assert.Equal(t, string(events[i].Kind), c.body["data"].(map[string]any)["event"])
	}
	assert.Equal(t, "io.github.imagefactory.failedForGood", r.calls[0].body["type"])
	assert.Equal(t, "web", r.calls[0].body["subject"])
	assert.Equal(t, "node:22", r.calls[1].body["subject"])
	assert.NotEqual(t, r.calls[0].body["id"], r.calls[1].body["id"])

	assert.Empty(t, n.Send(t.Context(), channels(t, "{name: whole, kind: webhook, secret: {secret: s, key: k}}"), source, events[:1]))
	require.Len(t, r.calls, 3)
	assert.Equal(t, "/in/"+canary, r.calls[2].path)
	assert.Empty(t, r.calls[2].header.Get("Authorization"))
}

// TestOneChannelDoesNotHurtOthers: servers that refuse, hang up, redirect, or do not exist are errors without secret and URL.
func TestOneChannelDoesNotHurtOthers(t *testing.T) {
	good := newReceiver(t, func(http.ResponseWriter, call) {})
	refuses := newReceiver(t, func(w http.ResponseWriter, c call) {
		http.Error(w, "no_service "+c.path+" "+canary+" https://x.example/?token="+canary+strings.Repeat(" much", 1000), http.StatusNotFound)
	})
	moves := newReceiver(t, func(w http.ResponseWriter, _ call) {
		w.Header().Set("Location", good.URL+"/stolen")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	dies := newReceiver(t, func(http.ResponseWriter, call) { panic(http.ErrAbortHandler) })
	gone := httptest.NewServer(nil)
	gone.Close()
	secret := ", kind: slack, secret: {secret: team-chat, key: k}}"
	list := channels(t, "{name: refuses"+secret+", {name: moves"+secret+", {name: dies"+secret+", {name: gone"+secret+", {name: none"+secret+", {name: bad"+secret+", {name: good"+secret)
	n := notifier(map[string]string{
		"refuses": refuses.URL + "/" + canary, "moves": moves.URL + "/" + canary, "dies": dies.URL + "/" + canary, "gone": gone.URL + "/" + canary,
		"bad": "ht tp://" + canary, "good": good.URL + "/" + canary,
	}, notify.Options{})
	failed := n.Send(t.Context(), list, source, failures(t))
	texts := map[string]string{}
	for _, f := range failed {
		texts[f.Channel] = f.Err.Error()
		assert.NotContains(t, f.Err.Error(), canary)
		assert.NotContains(t, f.Err.Error(), "\n")
		assert.Less(t, len(f.Err.Error()), 400)
	}
	require.Len(t, failed, 6)
	assert.Contains(t, texts["refuses"], "answered 404: no_service")
	assert.Contains(t, texts["moves"], "answered 307")
	assert.Contains(t, texts["dies"], "connection failed")
	assert.Contains(t, texts["gone"], "connection")
	assert.Equal(t, "no secret (set IMAGEFACTORY_NOTIFY_NONE; in the cluster, create the Secret team-chat)", texts["none"])
	assert.Equal(t, "the URL is invalid", texts["bad"])
	for _, r := range []*receiver{good, dies} {
		r.Close() // waits for what no response tells the end of
	}
	require.Len(t, good.calls, 1, "and none by the redirect")
	assert.Len(t, dies.calls, 1, "a message that may have arrived is not repeated")
}

// The URL of a workflow of Teams has its secret in the query.
func TestAnswerThatQuotesTheURL(t *testing.T) {
	for _, quote := range []func(u *url.URL) string{
		func(u *url.URL) string { return "no workflow at " + u.RequestURI() },
		func(u *url.URL) string { return "invalid query " + u.RawQuery },
		func(u *url.URL) string { return "invalid signature " + u.Query().Get("sig") },
	} {
		echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			http.Error(w, quote(req.URL), http.StatusBadRequest)
		}))
		t.Cleanup(echo.Close)
		n := notifier(map[string]string{"t": echo.URL + "/workflows/invoke?sp=x&sig=a%2B" + canary}, notify.Options{})
		failed := n.Send(t.Context(), channels(t, "{name: t, kind: teams, secret: {secret: s, key: k}}"), source, failures(t))
		require.Len(t, failed, 1)
		require.ErrorContains(t, failed[0].Err, "answered 400: ")
		require.NotContains(t, failed[0].Err.Error(), canary)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	r := newReceiver(t, func(http.ResponseWriter, call) {})
	event := failures(t)[0]
	var many []notify.Event
	for i := range 5000 {
		e := event
		e.ID, e.Text = strconv.Itoa(i), strings.Repeat("x", 500)
		many = append(many, e)
	}
	n := notifier(map[string]string{"ops": r.URL}, notify.Options{})
	assert.Empty(t, n.Send(t.Context(), channels(t, "{name: ops, kind: slack, secret: {secret: s, key: k}}"), source, many))
	assert.Less(t, len(r.calls[0].raw), 20_000)
	assert.Contains(t, r.calls[0].raw, "and 4980 events more")
}

// mailbox is an SMTP server that requires a password.
type mailbox struct {
	mu       sync.Mutex
	letters  []letter
	sessions int
}

type letter struct {
	from string
	to   []string
	text string
	tls  bool
}

type session struct {
	*mailbox
	conn   *smtp.Conn
	open   bool
	letter letter
}

func (m *mailbox) NewSession(c *smtp.Conn) (smtp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions++
	return &session{mailbox: m, conn: c}, nil
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "bot" || password != canary {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "bad credentials " + password}
		}
		s.open = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.open {
		return smtp.ErrAuthRequired
	}
	s.letter.from = from
	_, s.letter.tls = s.conn.TLSConnectionState()
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.letter.text = string(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters = append(s.letters, s.letter)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// newMailServer starts an SMTP server and returns its address, and the TLS settings of clients that trust it.
func newMailServer(t *testing.T, m *mailbox, kind config.MailTLS) (address string, trusts *tls.Config) {
	t.Helper()
	certificates := httptest.NewTLSServer(nil)
	t.Cleanup(certificates.Close)
	pool := x509.NewCertPool()
	pool.AddCert(certificates.Certificate())
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := smtp.NewServer(m)
	s.Domain, s.ReadTimeout, s.WriteTimeout = "127.0.0.1", 10*time.Second, 10*time.Second
	s.ErrorLog = log.New(io.Discard, "", 0)
	own := &tls.Config{Certificates: certificates.TLS.Certificates, MinVersion: tls.VersionTLS12}
	switch kind {
	case config.StartTLS:
		s.TLSConfig = own
	case config.ImplicitTLS:
		l = tls.NewListener(l, own)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestMail(t *testing.T) {
	for _, kind := range []config.MailTLS{config.StartTLS, config.ImplicitTLS} {
		t.Run(string(kind), func(t *testing.T) {
			var box mailbox
			address, trusts := newMailServer(t, &box, kind)
			list := channels(t, fmt.Sprintf("{name: team, kind: mail, server: %q, tls: %s, username: bot, secret: {secret: s, key: k}, from: factory@example.com, to: [a@example.com, b@example.com]}", address, kind))
			n := notifier(map[string]string{"team": canary}, notify.Options{Mail: notify.MailOptions{TLS: trusts}})
			assert.Empty(t, n.Send(t.Context(), list, source, failures(t)[:1]))
			require.Len(t, box.letters, 1)
			got := box.letters[0]
			assert.True(t, got.tls)
			assert.Equal(t, "factory@example.com", got.from)
			assert.Equal(t, []string{"a@example.com", "b@example.com"}, got.to)
			msg, err := mail.ReadMessage(bufio.NewReader(strings.NewReader(got.text)))
			require.NoError(t, err)
			assert.Empty(t, msg.Header.Get("Bcc"), "text adds no header")
			assert.Equal(t, "auto-generated", msg.Header.Get("Auto-Submitted"))
			assert.Contains(t, msg.Header.Get("Message-ID"), "@example.com>")
			assert.Contains(t, msg.Header.Get("Subject"), "imagefactory: 3 rebuilds of web failed in a row")
			assert.Contains(t, msg.Header.Get("Content-Type"), "text/plain")

			require.NoError(t, n.Check(t.Context(), &list.Channels[0]))
			assert.Len(t, box.letters, 1, "a check sends nothing")

			wrong := notifier(map[string]string{"team": "not-" + canary}, notify.Options{Mail: notify.MailOptions{TLS: trusts}})
			failed := wrong.Send(t.Context(), list, source, failures(t))
			require.Len(t, failed, 1)
			require.ErrorContains(t, failed[0].Err, "bad credentials [token]")
			assert.NotContains(t, failed[0].Err.Error(), canary)
			require.ErrorContains(t, wrong.Check(t.Context(), &list.Channels[0]), "bad credentials")

			stranger := notifier(map[string]string{"team": canary}, notify.Options{})
			failed = stranger.Send(t.Context(), list, source, failures(t))
			require.Len(t, failed, 1)
			require.ErrorContains(t, failed[0].Err, "certificate", "an unknown authority")
			assert.Len(t, box.letters, 1)
		})
	}
}

// TestMailNeedsEncryption: no password goes to a server without TLS.
func TestMailNeedsEncryption(t *testing.T) {
	var box mailbox
	address, _ := newMailServer(t, &box, config.NoTLS)
	list := channels(t, fmt.Sprintf("{name: team, kind: mail, server: %q, username: bot, secret: {secret: s, key: k}, from: factory@example.com, to: [a@example.com]}", address))
	failed := notifier(map[string]string{"team": canary}, notify.Options{}).Send(t.Context(), list, source, failures(t))
	require.Len(t, failed, 1)
	require.ErrorContains(t, failed[0].Err, "STARTTLS")
	assert.Empty(t, box.letters)
}

func TestCheckSendsNothing(t *testing.T) {
	r := newReceiver(t, func(http.ResponseWriter, call) {})
	n := notifier(map[string]string{"ops": r.URL, "bad": "not a url"}, notify.Options{})
	list := channels(t, "{name: ops, kind: slack, secret: {secret: s, key: k}}, {name: bad, kind: teams, secret: {secret: s, key: k}}, {name: plain, kind: webhook, url: 'http://events.events.svc:8080/in'}")
	require.ErrorIs(t, n.Check(t.Context(), &list.Channels[0]), notify.ErrUnchecked)
	require.EqualError(t, n.Check(t.Context(), &list.Channels[1]), "the secret is not a URL")
	require.ErrorIs(t, n.Check(t.Context(), &list.Channels[2]), notify.ErrUnchecked)
	assert.Empty(t, r.calls)
}
