package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// TestChannelsAreChecked has one mistake at a time, and its place.
func TestChannelsAreChecked(t *testing.T) {
	const mail = "{name: a, kind: mail, server: mail.example.com, from: a@example.com, to: [b@example.com]"
	for channel, want := range map[string]string{
		"{kind: slack, secret: {secret: s, key: k}}": "4:7: factory.notify.channels[0] has no name",
		"{name: a}": "factory.notify.channels[0] has no kind",
		"{name: A_b, kind: slack, secret: {secret: s, key: k}}":                                                `4:14: invalid factory.notify.channels[0].name "A_b"`,
		"{name: a, kind: slak, secret: {secret: s, key: k}}":                                                   `4:23: factory.notify.channels[0].kind: unknown kind "slak" (did you mean "slack"?)`,
		"{name: a, kind: slack}":                                                                               "factory.notify.channels[0] has no secret",
		"{name: a, kind: slack, url: 'https://hooks.example.com', secret: {secret: s, key: k}}":                "4:30: factory.notify.channels[0].url: not for the kind slack",
		"{name: a, kind: slack, secret: {secret: s}}":                                                          "factory.notify.channels[0].secret: want both secret and key",
		"{name: a, kind: slack, events: [fail], secret: {secret: s, key: k}}":                                  `4:39: factory.notify.channels[0].events: unknown event "fail" (did you mean "failed"?)`,
		"{name: a, kind: slack, selector: '!!', secret: {secret: s, key: k}}":                                  "factory.notify.channels[0].selector: invalid label selector",
		"{name: a, kind: slack, owners: ['-'], secret: {secret: s, key: k}}":                                   `factory.notify.channels[0].owners: invalid owner "-"`,
		"{name: a, kind: matrix, url: 'https://m.example', room: '#x:m.example', secret: {secret: s, key: k}}": `factory.notify.channels[0].room: invalid room ID "#x:m.example"`,
		"{name: a, kind: matrix, url: 'http://m.example', room: '!x:m.example', secret: {secret: s, key: k}}":  "want https, because a secret is sent to it",
		"{name: a, kind: webhook}":                                                                             "factory.notify.channels[0] has neither url nor secret",
		"{name: a, kind: webhook, url: 'https://u:p@events.example.com'}":                                      "the URL may contain a secret",
		"{name: a, kind: webhook, url: 'https://events.example.com/?token=x'}":                                 "the URL may contain a secret",
		"{name: a, kind: webhook, url: 'http://169.254.169.254/latest'}":                                       `factory.notify.channels[0].url: "169.254.169.254" is a link-local address`,
		"{name: a, kind: webhook, url: events.example.com}":                                                    `invalid URL "events.example.com"`,
		mail + ", username: bot}":                                                                              "username and secret belong together",
		mail + ", username: bot, secret: {secret: s, key: k}, tls: none}":                                      "a password needs an encrypted connection",
		mail + ", tls: ssl}": `factory.notify.channels[0].tls: unknown value "ssl"`,
		"{name: a, kind: mail, server: mail.example.com, from: 'A <a@example.com>', to: [b@example.com]}":              "factory.notify.channels[0].from: invalid mail address",
		"{name: a, kind: mail, server: mail.example.com, from: a@example.com, to: ['b@example.com, c@x.y']}":           "factory.notify.channels[0].to: invalid mail address",
		"{name: a, kind: mail, server: mail.example.com, from: a@example.com, to: []}":                                 "factory.notify.channels[0].to: no address",
		"{name: a, kind: mail, server: 'smtp://mail.example.com', from: a@example.com, to: [b@example.com]}":           "factory.notify.channels[0].server: want a host without scheme",
		"{name: a, kind: webhook, url: 'https://e.example'}\n    - {name: a, kind: webhook, url: 'https://e.example'}": `factory.notify.channels[1].name: duplicate "a"`,
		"text": "4:7: factory.notify.channels[0]: want a mapping",
	} {
		_, err := config.Load(strings.NewReader("factory:\n  notify:\n    channels:\n    - "+channel+"\nimages: []\n"), "images.yaml")
		var list finding.List
		require.ErrorAs(t, err, &list, channel)
		assert.Len(t, list, 1, channel)
		assert.Contains(t, list[0].String(), want, channel)
	}
	_, err := config.Load(strings.NewReader("factory: {notify: {stuckAfter: 5m}}\nimages: []\n"), "images.yaml")
	assert.ErrorContains(t, err, "factory.notify.stuckAfter: want at least 1h")
}

func TestChannelDefaults(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
factory:
  notify:
    channels:
    - {name: a, kind: mail, server: mail.example.com, from: a@example.com, to: [b@example.com]}
    - {name: b, kind: mail, server: "mail.example.com:465", from: a@example.com, to: [b@example.com]}
    - {name: c, kind: mail, server: "mail.example.com:25", tls: none, from: a@example.com, to: [b@example.com]}
images: []
`), "images.yaml")
	require.NoError(t, err)
	list := cfg.Factory.Notify.Channels
	assert.Equal(t, "mail.example.com:587", list[0].Server)
	assert.Equal(t, []config.MailTLS{config.StartTLS, config.ImplicitTLS, config.NoTLS}, []config.MailTLS{list[0].TLS, list[1].TLS, list[2].TLS})
	assert.Equal(t, []config.Event{config.EventFailedForGood, config.EventStuck, config.EventHeld, config.EventUntrusted}, list[0].Events)
	assert.Equal(t, 12*time.Hour, cfg.Factory.Notify.Limit())
	cfg.Factory.Notify.Channels = nil
	assert.Zero(t, cfg.Factory.Notify.Limit(), "nobody is told")
}
