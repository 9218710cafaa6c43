package doctor

import (
	"context"
	"errors"

	"github.com/imagefactory/imagefactory/pkg/notify"
)

// channels checks the channels of factory.notify, and sends nothing.
func (d *doctor) channels() []probe {
	n := notify.New(notify.Options{Credentials: d.Credentials, HTTP: d.HTTP, Now: d.Now})
	var out []probe
	for i := range d.Config.Factory.Notify.Channels {
		c := &d.Config.Factory.Notify.Channels[i]
		out = append(out, probe{"channel " + c.Name, func(ctx context.Context) []Check {
			secret, _ := d.Credentials.ChannelSecret(c.Name) // its error is that of Check
			d.hide(secret.Value)
			switch err := n.Check(ctx, c); {
			case errors.Is(err, notify.ErrUnchecked):
				return []Check{notChecked("imagefactory notify test "+c.Name, "%s", err)}
			case errors.Is(err, notify.ErrNoSecret):
				return []Check{warning("set it where messages are sent from; the check of Secrets shows whether the Jobs have it", "%s", err)}
			case err != nil:
				return []Check{bad("correct factory.notify in images.yaml or the secret, then run: imagefactory notify test "+c.Name, "%s", err)}
			}
			return []Check{ok("%s accepts the credentials", c.Kind)}
		}})
	}
	return out
}
