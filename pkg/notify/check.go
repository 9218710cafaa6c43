package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// ErrUnchecked means that whether a channel accepts messages shows only when one is sent.
var ErrUnchecked = errors.New("only a test message shows whether it is accepted")

// Check checks a channel without sending a message: its secret; the token and the room of Matrix; the server, the encryption and the
// password of mail.
func (n *Notifier) Check(ctx context.Context, c *config.Channel) error {
	secret, err := n.secret(c)
	if err != nil {
		return err
	}
	switch c.Kind {
	case config.Matrix:
		return n.checkMatrix(ctx, c, secret)
	case config.Mail:
		client, err := n.mailClient(c, secret)
		if err != nil {
			return err
		}
		if err := client.DialWithContext(ctx); err != nil {
			return mailError(c, err, secret)
		}
		return client.Close()
	default:
		to := c.URL
		if to == "" {
			to = secret
		}
		if u, err := url.Parse(to); err != nil || u.Host == "" {
			return errors.New("the secret is not a URL")
		}
		return ErrUnchecked
	}
}

func (n *Notifier) checkMatrix(ctx context.Context, c *config.Channel, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.URL, "/")+"/_matrix/client/v3/joined_rooms", nil)
	if err != nil {
		return errors.New("the URL is invalid")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := n.client.Do(req)
	if err != nil {
		return withoutURL(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s refuses the token (status %d)", req.URL.Host, resp.StatusCode)
	}
	var joined struct {
		Rooms []string `json:"joined_rooms"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&joined); err != nil {
		return fmt.Errorf("%s did not answer as a homeserver does", req.URL.Host)
	}
	if !slices.Contains(joined.Rooms, c.Room) {
		return fmt.Errorf("the account has not joined the room %s (invite it and accept)", c.Room)
	}
	return nil
}
