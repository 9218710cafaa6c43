package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type statusOptions struct {
	output   outputFlag
	selected selectFlags
	bases    bool
	live     bool
	watching bool
	interval config.Duration
	exitCode bool
	failOn   []string

	conditions []fleet.Condition
	selection  fleet.Selection
}

func newStatus(env *Env, paths *pathFlags) *cobra.Command {
	o := &statusOptions{interval: config.Duration(30 * time.Second)}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show the status of every image, and the reason",
		Long: `Status shows the status of every enrolled image and the reason, from state alone: current, waiting until a date, due,
starting, running, blocked (a recorded rebuild could not be started), paused, failed, held, incomplete (the newest digest of
a base lacks a platform), untrusted, opted out or unknown. The table shortens reasons to fit the terminal and times as people say them; -o wide shows both in full. Describe shows everything
about one image.

With --bases, status shows the base images instead: the digest that each tag holds, when it moved, the digests that wait, and
how many images use it. NAME is then a base image. (The command bases reads Dockerfiles, not state: it lists the images that
the build of one Dockerfile uses.)

With --live, status also shows what the cluster of the kubeconfig (or of the pod) knows: Warehouses without Freight, failed
verifications, auto-promotion holds, and Promotions that wait or failed, each with the fix. If something cannot be read, status
warns, shows the rest, and exits with 1.

With --watch, status goes on until it is interrupted (exit code 130): it redraws a terminal, and prints a line for each change
otherwise.

For CI, --fail-on sets the exit code to 3 if an image meets a condition: due, blocked, failed, held, incomplete, untrusted,
unknown, unresolved (its Dockerfile uses a reference that cannot be resolved), or stale=DURATION (a base has held a newer
digest for that long, whether or not it is due). --exit-code is short for --fail-on due,blocked,failed. An exit code of 1 means
that status itself failed.`,
		Example: `  imagefactory status
  imagefactory status -l team=shop
  imagefactory status web -o json
  imagefactory status --bases
  imagefactory status --live
  imagefactory status --fail-on stale=14d --fail-on failed`,
		Args: args(cobra.ArbitraryArgs),
		ValidArgsFunction: func(cmd *cobra.Command, names []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if o.bases {
				return baseNames(paths)(cmd, names, typed)
			}
			return imageNames(paths)(cmd, names, typed)
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := o.check(names); err != nil {
				return err
			}
			return runStatus(cmd.Context(), env, paths, o)
		},
	}
	o.output.add(cmd, "table", "wide")
	o.selected.add(cmd, paths)
	f := cmd.Flags()
	f.BoolVar(&o.bases, "bases", false, "show base images instead of images")
	f.BoolVar(&o.live, "live", false, "also show what needs attention in the cluster")
	f.BoolVar(&o.watching, "watch", false, "go on until interrupted: redraw a terminal, or print changes as lines")
	f.TextVar(&o.interval, "interval", o.interval, "with --watch, the `duration` between two looks")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 3 if an image is due, blocked or failed")
	f.StringSliceVar(&o.failOn, "fail-on", nil, "exit with 3 if an image meets this `condition`: due, blocked, failed, held, unknown, unresolved or stale=DURATION (repeatable)")
	return cmd
}

// check checks and parses the flags.
func (o *statusOptions) check(names []string) error {
	err := o.output.check()
	if err != nil {
		return err
	}
	if o.selection, err = o.selected.selection(names); err != nil {
		return err
	}
	if o.bases && (o.exitCode || len(o.failOn) > 0) {
		return fleet.Usagef("--bases and --exit-code or --fail-on exclude each other: conditions are about images")
	}
	if o.bases && o.live {
		return fleet.Usagef("--bases and --live exclude each other")
	}
	if o.watching && (o.bases || o.exitCode || len(o.failOn) > 0 || o.output.forPrograms()) {
		return fleet.Usagef("--watch excludes --bases, --exit-code, --fail-on and output for programs")
	}
	if o.watching && o.interval.Std() < time.Second {
		return fleet.Usagef("--interval %s: want at least 1s", o.interval)
	}
	if o.exitCode {
		o.conditions = fleet.DefaultConditions()
	}
	for _, text := range o.failOn {
		c, err := fleet.ParseCondition(text)
		if err != nil {
			return err
		}
		o.conditions = append(o.conditions, c)
	}
	return nil
}

func runStatus(ctx context.Context, env *Env, paths *pathFlags, o *statusOptions) error {
	f, err := openSelected(env, paths, fleet.OpenWithoutScans, o.selection)
	if err != nil {
		return err
	}
	switch {
	case o.bases:
		return o.printBases(env, f)
	case o.watching:
		return o.watch(ctx, env, func() ([]policy.Decision, *cluster.Live, error) {
			f, err := openToShow(env, paths, fleet.OpenWithoutScans)
			if err != nil {
				return nil, nil, err
			}
			return o.look(ctx, env, f)
		})
	}
	decisions, live, err := o.look(ctx, env, f)
	if err != nil {
		return err
	}
	if err := o.printStatus(env, decisions, live); err != nil {
		return err
	}
	if err := env.dueOutputs(decisions); err != nil {
		return err
	}
	if err := env.printPause(f.State); err != nil {
		return err
	}
	if err := warnUnread(env, live); err != nil {
		return err
	}
	met := f.Met(o.conditions, decisions, env.Now())
	for _, line := range met {
		if err := env.errorf("%s", line); err != nil {
			return err
		}
	}
	switch {
	case live != nil && len(live.Unread) > 0:
		return errReported
	case len(met) > 0:
		return errConditionMet
	}
	return nil
}

// look returns the decisions about the selected images, and what needs attention in the cluster.
func (o *statusOptions) look(ctx context.Context, env *Env, f *fleet.Fleet) ([]policy.Decision, *cluster.Live, error) {
	decisions, err := f.Decide(o.selection, env.Now())
	if err != nil {
		return nil, nil, err
	}
	fleet.LogDecisions(ctx, env.log, decisions)
	return decisions, o.lookLive(ctx, env, f, decisions), nil
}

// lookLive returns what needs attention in the cluster, nil without --live.
func (o *statusOptions) lookLive(ctx context.Context, env *Env, f *fleet.Fleet, decisions []policy.Decision) *cluster.Live {
	if !o.live {
		return nil
	}
	project := f.Config.Factory.Project
	in, err := cluster.NewInspector(nil, httpx.Options{Logger: env.log})
	if errors.Is(err, cluster.ErrNoCluster) {
		err = errors.New("no cluster configured (set KUBECONFIG, or run this in the cluster)")
	}
	if err != nil {
		return &cluster.Live{Project: project, Problems: []cluster.Problem{}, Unread: []cluster.Unread{{Resource: "cluster", Error: err.Error()}}}
	}
	live := in.Live(ctx, project)
	if o.selection.All() {
		return live
	}
	selected := map[string]bool{}
	for i := range decisions {
		name := decisions[i].Image
		selected[kargo.RebuildStage(name)], selected[kargo.ImageWarehouse(name)] = true, true
		for _, b := range decisions[i].Bases {
			selected[kargo.BaseWarehouse(b.Base)] = true
		}
	}
	live.Problems = slices.DeleteFunc(live.Problems, func(p cluster.Problem) bool {
		return !selected[p.Warehouse] && !selected[kargo.RebuildStage(p.Image)]
	})
	return live
}

// warnUnread warns of what could not be read of the cluster.
func warnUnread(env *Env, live *cluster.Live) error {
	if live == nil {
		return nil
	}
	for _, u := range live.Unread {
		if err := env.errorf("warning: %s: %s", u.Resource, u.Error); err != nil {
			return err
		}
	}
	return nil
}

// errConditionMet sets exit code 3: an image meets a condition of --fail-on.
var errConditionMet = errors.New("a condition is met")

func (o *statusOptions) printStatus(env *Env, decisions []policy.Decision, live *cluster.Live) error {
	style, now := env.style(o.output.wide()), env.Now()
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, StatusList{report.NewMeta("StatusList"), decisions, live})
	case len(decisions) == 0 && o.selection.Labels != nil: // no table of headings only
	default:
		if err := style.Decisions(env.Out, decisions, now, o.output.wide()); err != nil {
			return err
		}
	}
	if live == nil {
		return nil
	}
	return style.Live(env.Out, live, now, o.output.wide())
}

func (o *statusOptions) printBases(env *Env, f *fleet.Fleet) error {
	list, err := f.Bases(o.selection, env.Now())
	if err != nil {
		return err
	}
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, BaseList{report.NewMeta("BaseList"), list})
	}
	return env.style(o.output.wide()).Bases(env.Out, list, env.Now(), o.output.wide())
}
