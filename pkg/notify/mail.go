package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// MailOptions configure how mail is sent.
type MailOptions struct {
	TLS *tls.Config // default: the certificates of the system
}

// mailTimeout bounds the time to connect, and each step of sending.
const mailTimeout = 10 * time.Second

// mail sends one mail about all events.
func (n *Notifier) mail(ctx context.Context, c *config.Channel, password string, events []Event, source string) error {
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := errors.Join(m.From(c.From), m.To(c.To...)); err != nil {
		return fmt.Errorf("addressing mail: %w", err)
	}
	m.Subject(title(events))
	m.SetBodyString(mail.TypeTextPlain, strings.Join(lines(events, source), "\n")+"\n")
	m.SetDateWithValue(n.o.Now())
	m.SetMessageIDWithValue(events[0].ID + "@" + c.From[strings.LastIndexByte(c.From, '@')+1:])
	m.SetGenHeader("Auto-Submitted", "auto-generated") // so that nobody's absence notice answers
	client, err := n.mailClient(c, password)
	if err != nil {
		return err
	}
	if err := client.DialAndSendWithContext(ctx, m); err != nil {
		return mailError(c, err, password)
	}
	return nil
}

// mailClient returns a client for the server of a channel. It connects when it is told to.
func (n *Notifier) mailClient(c *config.Channel, password string) (*mail.Client, error) {
	host, text, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, fmt.Errorf("invalid server: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("invalid port %q", text)
	}
	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(mailTimeout), mail.WithoutNoop()}
	switch c.TLS {
	case config.ImplicitTLS:
		options = append(options, mail.WithSSL())
	case config.NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if n.o.Mail.TLS != nil {
		own := n.o.Mail.TLS.Clone()
		own.ServerName = host
		options = append(options, mail.WithTLSConfig(own))
	}
	if c.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(c.Username), mail.WithPassword(password))
	}
	return mail.NewClient(host, options...)
}

func mailError(c *config.Channel, err error, password string) error {
	return fmt.Errorf("%s: %s", c.Server, sanitize.Cut(sanitize.Foreign(err.Error(), password), maxAnswer))
}
