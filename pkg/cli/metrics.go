package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/metrics"
	"github.com/imagefactory/imagefactory/pkg/promote"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

func newMetrics(env *Env, paths *pathFlags) *cobra.Command {
	var push string
	var otlp bool
	var selected selectFlags
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "Print the state of the fleet as Prometheus metrics, or push it",
		Long: `Metrics prints the status and the times of every image and base image in Prometheus' text format, from state alone.

With --push it sends them to a Pushgateway instead, and with --otlp to the OpenTelemetry collector that the variables
OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT name (http/protobuf). The passes of promote and analyze
can do both at their end, and add their own outcome: see --metrics-push there.

With -l or --owner, metrics describes only the images that match and the base images that they use.`,
		Example: `  imagefactory metrics
  imagefactory metrics --push http://pushgateway.example.com:9091
  imagefactory metrics --push http://pushgateway.example.com:9091/metrics/job/imagefactory/team/shop
  imagefactory metrics --owner @acme/shop`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			selection, err := selected.selection(nil)
			if err != nil {
				return err
			}
			f, err := openSelected(env, paths, fleet.Open, selection)
			if err != nil {
				return err
			}
			set, err := fleetMetrics(env, f, selection)
			if err != nil {
				return err
			}
			gateway, err := parseGateway(push, selection)
			if err != nil {
				return err
			}
			return sendMetrics(cmd.Context(), env, set, gateway, otlp)
		},
	}
	selected.add(cmd, paths)
	cmd.Flags().StringVar(&push, "push", "", "`URL` of a Pushgateway to replace the metrics of; a path /metrics/job/NAME/LABEL/VALUE names the group (default /metrics/job/imagefactory)")
	cmd.Flags().BoolVar(&otlp, "otlp", false, "send the metrics to the collector that the OTEL_EXPORTER_OTLP variables name")
	return cmd
}

// parseGateway parses the URL of --push; nil without one. Metrics of a part of the fleet must not replace those of the whole.
func parseGateway(push string, s fleet.Selection) (*metrics.Gateway, error) {
	if push == "" {
		return nil, nil
	}
	gateway, err := metrics.ParseGateway(push)
	switch {
	case err != nil:
		return nil, fleet.Usagef("--push: %s", err)
	case !s.All() && !gateway.NamesGroup():
		return nil, fleet.Usagef("--push: the metrics of selected images need a group of their own (add /metrics/job/NAME to the URL)")
	}
	return gateway, nil
}

// fleetMetrics returns the metrics of the selected images.
func fleetMetrics(env *Env, f *fleet.Fleet, s fleet.Selection) (*metrics.Set, error) {
	now := env.Now()
	decisions, err := f.Decide(s, now)
	if err != nil {
		return nil, err
	}
	return metrics.Fleet(&metrics.Facts{Config: f.Config, State: f.State, Graph: f.Graph, Now: now, Decisions: decisions, Version: version()}), nil
}

// sendMetrics prints metrics, or sends them to where the flags say.
func sendMetrics(ctx context.Context, env *Env, set *metrics.Set, gateway *metrics.Gateway, otlp bool) error {
	if gateway == nil && !otlp {
		return set.Write(env.Out)
	}
	client := metrics.NewClient((&clients{env: env}).http())
	if gateway != nil {
		if err := gateway.Replace(ctx, client, set); err != nil {
			return err
		}
		if err := env.infof("metrics pushed to %s", gateway); err != nil {
			return err
		}
	}
	if !otlp {
		return nil
	}
	collector, err := metrics.CollectorOf(env.Getenv, version())
	switch {
	case err != nil:
		return fleet.Usagef("--otlp: %s", err)
	case metrics.SwitchedOff(env.Getenv) != "":
		return fleet.Usagef("--otlp: %s switches it off", metrics.SwitchedOff(env.Getenv))
	case collector == nil:
		return fleet.Usagef("--otlp: no collector (set OTEL_EXPORTER_OTLP_ENDPOINT)")
	}
	if err := collector.Send(ctx, client, set, env.Now()); err != nil {
		return err
	}
	return env.infof("metrics sent to %s", collector)
}

// metricsFlags say where a pass sends its metrics.
type metricsFlags struct{ gateway string }

func (m *metricsFlags) add(env *Env, cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.gateway, "metrics-push", env.Getenv(config.PushgatewayVariable), "then push metrics to the Pushgateway at this `URL` (env IMAGEFACTORY_METRICS_PUSH)")
	cmd.Flag("metrics-push").DefValue = "" // it may hold a password
}

// passMetrics collects the metrics of a pass.
type passMetrics struct {
	metrics.Pass
	env       *Env
	client    *clients
	gateway   *metrics.Gateway
	collector *metrics.Collector
	seen      *lastFleet
	errs      []error
}

// begin returns where the metrics of a pass are collected, and the store that the pass is to use; nil if nobody wants any.
func (m *metricsFlags) begin(c *clients, command string, st store.Store) (*passMetrics, store.Store) {
	p := &passMetrics{Pass: metrics.Pass{Command: command, Begin: c.env.Now(), Ended: map[state.RebuildStatus]int{}}, env: c.env, client: c}
	var err error
	if m.gateway != "" {
		if p.gateway, err = metrics.ParseGateway(m.gateway); err != nil {
			p.errs = append(p.errs, err)
		}
	}
	if p.collector, err = metrics.CollectorOf(c.env.Getenv, version()); err != nil {
		p.errs = append(p.errs, err)
	}
	if p.gateway == nil && p.collector == nil && len(p.errs) == 0 {
		return nil, st
	}
	p.seen = &lastFleet{Store: st}
	return p, p.seen
}

// promoted counts what a pass of promote did.
func (p *passMetrics) promoted(r *promote.Report) {
	if p == nil || r == nil {
		return
	}
	p.Started += len(r.Started)
	p.Problems = len(r.Problems)
	for _, e := range r.Ended {
		p.Ended[e.Status]++
	}
}

// analyzed counts what an analysis did.
func (p *passMetrics) analyzed(r *analyze.Report) {
	if p == nil || r == nil {
		return
	}
	images, bases := r.Late()
	p.Images = len(r.Images) + len(r.Bases) - images - bases
	p.Problems = r.Failed
}

// end sends the metrics of a pass with this outcome. A failure is a warning: the pass has done its work.
func (p *passMetrics) end(ctx context.Context, outcome error) error {
	if p == nil {
		return outcome
	}
	p.End, p.Success = p.env.Now(), outcome == nil
	p.Requests = map[string]metrics.Requests{}
	if p.client.registries != nil {
		for host, u := range p.client.registries.Requests() {
			p.Requests[host] = metrics.Requests(u)
		}
	}
	for _, err := range append(p.errs, p.send(context.WithoutCancel(ctx))...) {
		if printed := p.env.errorf("warning: %s", err); printed != nil {
			return printed
		}
	}
	return outcome
}

func (p *passMetrics) send(ctx context.Context) (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	client := metrics.NewClient(p.client.http())
	pass, all := p.Set(), p.Set()
	if f := p.seen.fleet; f != nil {
		set, err := fleetMetrics(p.env, f, fleet.Selection{})
		if err != nil {
			return []error{err}
		}
		if p.gateway != nil {
			add(p.gateway.Replace(ctx, client, set))
		}
		all.Join(set)
	}
	if p.gateway != nil {
		add(p.gateway.Add(ctx, client, pass, "command", p.Command))
	}
	if p.collector != nil {
		add(p.collector.Send(ctx, client, all, p.End))
	}
	return errs
}

// lastFleet remembers the fleet as the last update of a store left it.
type lastFleet struct {
	store.Store
	fleet *fleet.Fleet
}

// Update implements [store.Store].
func (l *lastFleet) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	return l.Store.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		c, err := do(ctx, f)
		if err == nil {
			l.fleet = f
		}
		return c, err
	})
}
