package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Notify is whom the passes tell what happened.
type Notify struct {
	Channels   []Channel `yaml:"channels" jsonschema_description:"Where messages are sent."`
	Issues     *Issues   `yaml:"issues" jsonschema_description:"Open issues at the forges about images that a person must look after; {} for the repositories that the images are built from."`
	StuckAfter *Duration `yaml:"stuckAfter" jsonschema_description:"An image that has been due for this long without being started is stuck. Default 12h."`
}

// Channel is a place that messages are sent to.
type Channel struct {
	Name     string      `yaml:"name" jsonschema:"required,minLength=1,maxLength=40,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"Name of the channel."`
	Kind     ChannelKind `yaml:"kind" jsonschema:"required,enum=slack,enum=teams,enum=matrix,enum=mail,enum=webhook" jsonschema_description:"What receives the messages."`
	Events   []Event     `yaml:"events" jsonschema:"enum=started,enum=succeeded,enum=failed,enum=failedForGood,enum=stuck,enum=urgent,enum=withdrawn,enum=held,enum=untrusted,enum=paused,enum=resumed" jsonschema_description:"Events to send. Default: failedForGood, stuck, held and untrusted."`
	Owners   []string    `yaml:"owners" jsonschema_description:"Send the events of images of these owners only."`
	Selector string      `yaml:"selector" jsonschema_description:"Send the events of images with these labels only, such as team=shop."`
	Secret   *SecretKey  `yaml:"secret" jsonschema_description:"slack, teams: URL of the webhook. matrix: access token. mail: password. webhook: bearer token, or without url the URL."`
	URL      string      `yaml:"url" jsonschema_description:"matrix: URL of the homeserver. webhook: URL that receives the events."`
	Room     string      `yaml:"room" jsonschema_description:"matrix: ID of the room, such as !abc:example.com."`
	Server   string      `yaml:"server" jsonschema_description:"mail: host and port of the SMTP server. Default port 587."`
	TLS      MailTLS     `yaml:"tls" jsonschema:"enum=starttls,enum=implicit,enum=none" jsonschema_description:"mail: how the connection is encrypted. Default implicit on port 465, else starttls."`
	Username string      `yaml:"username" jsonschema_description:"mail: user name for the SMTP server."`
	From     string      `yaml:"from" jsonschema_description:"mail: address of the sender."`
	To       []string    `yaml:"to" jsonschema_description:"mail: addresses of the receivers."`

	selector labels.Selector // nil for all images
}

// ChannelKind is what receives messages.
type ChannelKind string

// Kinds of channels.
const (
	Slack   ChannelKind = "slack"
	Teams   ChannelKind = "teams"
	Matrix  ChannelKind = "matrix"
	Mail    ChannelKind = "mail"
	Webhook ChannelKind = "webhook"
)

// MailTLS is how the connection to an SMTP server is encrypted.
type MailTLS string

// Kinds of encryption.
const (
	StartTLS    MailTLS = "starttls"
	ImplicitTLS MailTLS = "implicit"
	NoTLS       MailTLS = "none"
)

// Event is a kind of event that messages are about.
type Event string

// Events.
const (
	EventStarted       Event = "started"
	EventSucceeded     Event = "succeeded"
	EventFailed        Event = "failed"        // and tried again
	EventFailedForGood Event = "failedForGood" // only a reset starts another rebuild
	EventStuck         Event = "stuck"
	EventUrgent        Event = "urgent"
	EventWithdrawn     Event = "withdrawn"
	EventHeld          Event = "held"
	EventUntrusted     Event = "untrusted"
	EventPaused        Event = "paused"
	EventResumed       Event = "resumed"
)

// Events returns all events, in the order in which they are listed.
func Events() []Event {
	return []Event{EventStarted, EventSucceeded, EventFailed, EventFailedForGood, EventStuck, EventUrgent, EventWithdrawn, EventHeld,
		EventUntrusted, EventPaused, EventResumed}
}

// forPeople are the events that a person has to act on.
var forPeople = []Event{EventFailedForGood, EventStuck, EventHeld, EventUntrusted}

const (
	defaultStuckAfter = 12 * hour
	minStuckAfter     = hour
	maxChannels       = 50
	mailPort          = "587"
	implicitTLSPort   = "465"
)

var roomForm = lazy.Regexp(`^![^\s:/?#]+(:[^\s/?#]+)?$`)

func (n *Notify) applyDefaults(d *SourceDefault) {
	if n.Issues != nil {
		n.Issues.applyDefaults(d)
	}
	n.StuckAfter = orDefault(n.StuckAfter, defaultStuckAfter)
	for i := range n.Channels {
		c := &n.Channels[i]
		if len(c.Events) == 0 {
			c.Events = forPeople
		}
		c.selector, _ = ParseSelector(c.Selector, c.Owners) // was validated
		if c.Kind != Mail {
			continue
		}
		if _, _, err := net.SplitHostPort(c.Server); err != nil {
			c.Server = net.JoinHostPort(strings.Trim(c.Server, "[]"), mailPort)
		}
		if c.TLS == "" {
			c.TLS = StartTLS
			if strings.HasSuffix(c.Server, ":"+implicitTLSPort) {
				c.TLS = ImplicitTLS
			}
		}
	}
}

// Limit returns after which time an image that is due is stuck; 0 if nobody is told.
func (n *Notify) Limit() time.Duration {
	if n.Issues != nil || slices.ContainsFunc(n.Channels, func(c Channel) bool { return slices.Contains(c.Events, EventStuck) }) {
		return n.StuckAfter.Std()
	}
	return 0
}

// Wants reports whether the channel receives an event of images; no image stands for the whole fleet.
func (c *Channel) Wants(e Event, images ...*Image) bool {
	return slices.Contains(c.Events, e) && (c.selector == nil || len(images) == 0 || slices.ContainsFunc(images, func(i *Image) bool {
		return c.selector.Matches(labels.Set(i.SelectorLabels()))
	}))
}

// Host returns the host that the secret is sent to; "" if the secret names it.
func (c *Channel) Host() string {
	if c.Server != "" {
		return c.Server
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// channelKeys holds the keys of a channel that only some kinds have, by kind. Those that are true are required.
var channelKeys = map[ChannelKind]map[string]bool{
	Slack:   {"secret": true},
	Teams:   {"secret": true},
	Matrix:  {"secret": true, "url": true, "room": true},
	Mail:    {"secret": false, "server": true, "tls": false, "username": false, "from": true, "to": true},
	Webhook: {"secret": false, "url": false},
}

func (v *validator) notify(n *yaml.Node) {
	c, at := &v.cfg.Factory.Notify, "factory.notify"
	if d := c.StuckAfter; d != nil && *d < minStuckAfter {
		v.add(finding.BadValue, child(n, "stuckAfter"), at+".stuckAfter: want at least "+minStuckAfter.String(), "")
	}
	v.issues(child(n, "issues"), at+".issues", c.Issues)
	list, names := child(n, "channels"), map[string]bool{}
	if len(c.Channels) > maxChannels {
		v.add(finding.BadValue, list, fmt.Sprintf("%s.channels: %d channels; at most %d are supported", at, len(c.Channels), maxChannels), "")
	}
	for i := range c.Channels {
		item, at := item(list, i), fmt.Sprintf("%s.channels[%d]", at, i)
		if item.Kind != yaml.MappingNode {
			continue // reported by the decoder
		}
		ch := &c.Channels[i]
		v.channel(item, at, ch)
		if names[ch.Name] {
			v.add(finding.Duplicate, child(item, "name"), fmt.Sprintf("%s.name: duplicate %q", at, ch.Name), "")
		}
		names[ch.Name] = ch.Name != ""
	}
}

func (v *validator) channel(n *yaml.Node, at string, c *Channel) {
	if c.Name == "" {
		v.missing(n, "name", at+" has no name")
	} else {
		v.label(child(n, "name"), at+".name", c.Name, 40)
	}
	for i, e := range c.Events {
		if !slices.Contains(Events(), e) {
			v.add(finding.BadValue, item(child(n, "events"), i), fmt.Sprintf("%s.events: unknown event %q", at, e), suggest(string(e), texts(Events())))
		}
	}
	v.scope(n, at, c.Selector, c.Owners)
	keys, known := channelKeys[c.Kind]
	switch {
	case c.Kind == "":
		v.missing(n, "kind", at+" has no kind")
		return
	case !known:
		v.add(finding.BadValue, child(n, "kind"), fmt.Sprintf("%s.kind: unknown kind %q", at, c.Kind), suggest(string(c.Kind), texts(slices.Sorted(maps.Keys(channelKeys)))))
		return
	}
	for _, key := range []string{"secret", "url", "room", "server", "tls", "username", "from", "to"} {
		required, allowed := keys[key]
		switch given := child(n, key) != nil; {
		case given && !allowed:
			v.add(finding.BadValue, keyNode(n, key), fmt.Sprintf("%s.%s: not for the kind %s", at, key, c.Kind), "")
		case !given && required:
			v.missing(n, key, fmt.Sprintf("%s has no %s", at, key))
		}
	}
	v.secret(child(n, "secret"), at+".secret", c.Secret)
	switch c.Kind {
	case Matrix:
		v.channelURL(n, at, c.URL, true)
		if c.Room != "" && !roomForm().MatchString(c.Room) {
			v.add(finding.BadValue, child(n, "room"), fmt.Sprintf("%s.room: invalid room ID %q", at, c.Room), "want one such as !abc:example.com; an alias that begins with # is not enough")
		}
	case Webhook:
		v.channelURL(n, at, c.URL, c.Secret != nil)
		if c.URL == "" && c.Secret == nil {
			v.missing(n, "url", at+" has neither url nor secret")
		}
	case Mail:
		v.mail(n, at, c)
	}
}

// channelURL checks the URL of a channel. A secret is sent over https only.
func (v *validator) channelURL(n *yaml.Node, at, s string, secret bool) {
	if s == "" {
		return
	}
	v.check(child(n, "url"), at+".url", checkChannelURL(s, secret))
}

func checkChannelURL(s string, secret bool) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && (u.User != nil || u.RawQuery != "") || holdsSecret("", s):
		return errors.New("the URL may contain a secret; put it into a Secret and reference it as secret: {secret: NAME, key: KEY}")
	case err != nil, u.Scheme != "http" && u.Scheme != "https", checkHost(u.Host) != nil, u.Fragment != "":
		return fmt.Errorf("invalid URL %s: want one such as https://events.example.com", shown(s))
	case hostname.IsLinkLocal(u.Host):
		return linkLocal(u.Host)
	case secret && u.Scheme != "https" && !hostname.IsLoopback(u.Host):
		return fmt.Errorf("invalid URL %s: want https, because a secret is sent to it", shown(s))
	}
	return plainCharacters(s)
}

func linkLocal(host string) error {
	return fmt.Errorf("%q is a link-local address, such as those that give out the credentials of a cloud's machine: want a host name or another address", host)
}

func (v *validator) mail(n *yaml.Node, at string, c *Channel) {
	if c.Server != "" {
		v.check(child(n, "server"), at+".server", checkHost(c.Server))
	}
	if c.TLS != "" && !slices.Contains([]MailTLS{StartTLS, ImplicitTLS, NoTLS}, c.TLS) {
		v.add(finding.BadValue, child(n, "tls"), fmt.Sprintf("%s.tls: unknown value %q", at, c.TLS), suggest(string(c.TLS), texts([]MailTLS{StartTLS, ImplicitTLS, NoTLS})))
	}
	if (c.Username == "") != (c.Secret == nil) {
		v.add(finding.Missing, n, at+": username and secret belong together", "")
	}
	if c.TLS == NoTLS && c.Secret != nil {
		v.check(child(n, "tls"), at+".tls", errors.New("a password needs an encrypted connection"))
	}
	if c.From != "" {
		v.check(child(n, "from"), at+".from", checkAddress(c.From))
	}
	if child(n, "to") != nil && len(c.To) == 0 {
		v.check(child(n, "to"), at+".to", errors.New("no address"))
	}
	for i, to := range c.To {
		v.check(item(child(n, "to"), i), at+".to", checkAddress(to))
	}
}

// checkAddress accepts a plain mail address.
func checkAddress(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(validation.IsDNS1123Subdomain(strings.ToLower(s[strings.LastIndexByte(s, '@')+1:]))) > 0 {
		return fmt.Errorf("invalid mail address %s: want one such as team@example.com", shown(s))
	}
	return nil
}
