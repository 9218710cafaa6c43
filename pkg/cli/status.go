package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type statusOptions struct {
	output   outputFlag
	selected selectFlags
	bases    bool
	exitCode bool
	failOn   []string

	conditions []fleet.Condition
	selection  fleet.Selection
}

func newStatus(env *Env, paths *pathFlags) *cobra.Command {
	o := &statusOptions{}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show the status of every image, and the reason",
		Long: `Status shows the status of every enrolled image and the reason, from state alone: current, waiting until a date, due,
starting, running, blocked (a recorded rebuild could not be started), failed, held, opted out or unknown. The table
shortens reasons to fit the terminal and times as people say them; -o wide shows both in full. Describe shows everything
about one image.

With --bases, status shows the base images instead: the digest that each tag holds, when it moved, the digests that wait, and
how many images use it. NAME is then a base image. (The command bases reads Dockerfiles, not state: it lists the images that
the build of one Dockerfile uses.)

For CI, --fail-on sets the exit code to 3 if an image meets a condition: due, blocked, failed, held, unknown, unresolved (its
Dockerfile uses a reference that cannot be resolved), or stale=DURATION (a base has held a newer digest for that long, whether
or not it is due). --exit-code is short for --fail-on due,blocked,failed. An exit code of 1 means that status itself failed.`,
		Example: `  imagefactory status
  imagefactory status -l team=shop
  imagefactory status web -o json
  imagefactory status --bases
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
	f, err := fleet.Open(paths.paths())
	if err != nil {
		return err
	}
	if err := warnNoMatch(env, f.Config, o.selection); err != nil {
		return err
	}
	if o.bases {
		return o.printBases(env, f)
	}
	decisions, err := f.Decide(o.selection, env.Now())
	if err != nil {
		return err
	}
	fleet.LogDecisions(ctx, env.log, decisions)
	if err := o.printStatus(env, decisions); err != nil {
		return err
	}
	met := f.Met(o.conditions, decisions, env.Now())
	for _, line := range met {
		if err := env.errorf("%s", line); err != nil {
			return err
		}
	}
	if len(met) > 0 {
		return errConditionMet
	}
	return nil
}

// errConditionMet sets exit code 3: an image meets a condition of --fail-on.
var errConditionMet = errors.New("a condition is met")

func (o *statusOptions) printStatus(env *Env, decisions []policy.Decision) error {
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, StatusList{report.NewMeta("StatusList"), decisions})
	}
	if len(decisions) == 0 && o.selection.Labels != nil {
		return nil // no table of headings only
	}
	return env.style(o.output.wide()).Decisions(env.Out, decisions, env.Now(), o.output.wide())
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
