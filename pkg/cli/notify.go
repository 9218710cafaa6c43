package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/notify"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

func newNotify(env *Env, paths *pathFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try the channels of factory.notify",
		Long: `Notify tries the channels that factory.notify lists in images.yaml. The messages about rebuilds are sent by the commands that push
state: analyze, scan, promote, and those that decide by hand.`,
		Example: `  imagefactory notify test`,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNotifyTest(env, paths))
	return cmd
}

func newNotifyTest(env *Env, paths *pathFlags) *cobra.Command {
	o := &repoFlags{}
	cmd := &cobra.Command{
		Use:   "test [CHANNEL...]",
		Short: "Send a test message",
		Long: `Test sends a message to the named channels of factory.notify, or to all of them. Their secrets come from the environment
(IMAGEFACTORY_NOTIFY_ and the name of the channel) or, as in the cluster, from the files notify/CHANNEL/secret below
--credentials. The exit code is 1 if a channel did not accept its message.`,
		Example: `  imagefactory notify test
  IMAGEFACTORY_NOTIFY_OPS=https://hooks.slack.com/services/... imagefactory notify test ops`,
		Args: args(cobra.ArbitraryArgs),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			cfg, err := config.LoadFile(paths.config)
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return channelNames(&cfg.Factory.Notify), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			return runNotifyTest(cmd.Context(), env, paths, o, names)
		},
	}
	o.addPlace(env, cmd)
	return cmd
}

func channelNames(n *config.Notify) []string {
	names := make([]string, len(n.Channels))
	for i := range n.Channels {
		names[i] = n.Channels[i].Name
	}
	return names
}

func runNotifyTest(ctx context.Context, env *Env, paths *pathFlags, o *repoFlags, names []string) error {
	o.once, o.tolerant = true, true
	c := o.clients(env)
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return err
	}
	defer closeStore()
	f, err := store.View(ctx, st)
	if err != nil {
		return err
	}
	n := &f.Config.Factory.Notify
	channels, err := channelsOf(n, names)
	if err != nil {
		return err
	}
	notifier, failed := c.notifier(), false
	for _, channel := range channels {
		if err := notifier.Test(ctx, channel, sourceOf(f, o.url)); err != nil {
			failed = true
			if err := env.errorf("error: %s: %s", channel.Name, err); err != nil {
				return err
			}
			continue
		}
		if err := env.infof("%s: sent", channel.Name); err != nil {
			return err
		}
	}
	if failed {
		return errReported
	}
	return nil
}

// channelsOf returns the named channels, or all.
func channelsOf(n *config.Notify, names []string) ([]*config.Channel, error) {
	byName := map[string]*config.Channel{}
	for i := range n.Channels {
		byName[n.Channels[i].Name] = &n.Channels[i]
	}
	known := channelNames(n)
	if len(known) == 0 {
		return nil, fleet.Usagef("images.yaml has no channels (list them in factory.notify.channels)")
	}
	if len(names) == 0 {
		names = known
	}
	var out []*config.Channel
	for _, name := range names {
		if byName[name] == nil {
			return nil, fleet.Usagef("no channel %q (channels: %s)", name, strings.Join(known, ", "))
		}
		out = append(out, byName[name])
	}
	return out, nil
}

// notifier returns the client of the channels.
func (o *clients) notifier() *notify.Notifier {
	return notify.New(notify.Options{Credentials: o.credentials, HTTP: o.http(), Now: o.env.Now})
}

// sourceOf returns the URL of the state repository for messages, or the Kargo Project if it is not known.
func sourceOf(f *fleet.Fleet, url string) string {
	if url == "" {
		if where, err := f.Location(); err == nil {
			url = where.StateURL
		}
	}
	return cmp.Or(sanitize.URL(url), f.Config.Factory.Project)
}

// changeOf returns a change of a fleet, for its events.
func changeOf(env *Env, f *fleet.Fleet, c *fleet.Change, source string) *notify.Change {
	return &notify.Change{Config: f.Config, Graph: f.Graph, Changed: c.Changed, Before: c.Before, After: c.After, Source: source, Time: env.Now()}
}

// notifying is a store that sends messages about the changes that it pushed. They are sent while the command goes on, in the order of
// the changes; wait waits for them.
type notifying struct {
	store.Store
	clients *clients
	last    chan struct{} // closed when the messages of the last change were sent; nil before the first
	failed  []notify.Failure
}

// Update implements [store.Store].
func (n *notifying) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	var f *fleet.Fleet
	var c *fleet.Change
	saved, err := n.Store.Update(ctx, func(ctx context.Context, opened *fleet.Fleet) (_ *fleet.Change, err error) {
		f = opened
		c, err = do(ctx, f)
		return c, err
	})
	if err != nil || saved.Commit == "" || len(f.Config.Factory.Notify.Channels) == 0 {
		return saved, err
	}
	change := changeOf(n.clients.env, f, c, sourceOf(f, saved.Where))
	events := change.Events()
	if len(events) == 0 {
		return saved, nil
	}
	before, done := n.last, make(chan struct{})
	n.last = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		n.failed = append(n.failed, n.clients.notifier().Send(context.WithoutCancel(ctx), &f.Config.Factory.Notify, change.Source, events)...)
	}()
	return saved, nil
}

// wait waits until all messages were sent, and prints a warning for each channel that failed. The work of the command is done.
func (n *notifying) wait() {
	if n.last == nil {
		return
	}
	<-n.last
	for _, f := range n.failed {
		_ = n.clients.env.errorf("warning: channel %s: %s; this message is not sent again", f.Channel, f.Err) // stderr is gone, then
	}
}

// end prints the messages about the change that a dry run did not save, and returns the outcome of the run.
func (d *dryRun) end(env *Env, outcome error) error {
	if d.change == nil || len(d.fleet.Config.Factory.Notify.Channels) == 0 {
		return outcome
	}
	if err := env.showEvents(&d.fleet.Config.Factory.Notify, changeOf(env, d.fleet, d.change, "").Events()); err != nil {
		return err
	}
	return outcome
}

// showStarts prints the messages about rebuilds that promote would start.
func (env *Env) showStarts(f *fleet.Fleet, start []policy.Decision) error {
	events := make([]notify.Event, 0, len(start))
	for i := range start {
		d := &start[i]
		text := fmt.Sprintf("rebuild of %s started: %s", d.Image, d.Reason)
		events = append(events, notify.ForImage(notify.Event{Kind: config.EventStarted, Text: state.Text(text)}, f.Config.Find(d.Image)))
	}
	return env.showEvents(&f.Config.Factory.Notify, events)
}

func (env *Env) showEvents(n *config.Notify, events []notify.Event) error {
	const most = 20
	for i := range n.Channels {
		c := &n.Channels[i]
		wanted := notify.Wanted(c, events)
		for j := range wanted[:min(len(wanted), most)] {
			if err := env.infof("would notify %s: %s", c.Name, wanted[j].Text); err != nil {
				return err
			}
		}
		if more := len(wanted) - most; more > 0 {
			if err := env.infof("would notify %s of %s more", c.Name, plural.Count(more, "event")); err != nil {
				return err
			}
		}
	}
	return nil
}
