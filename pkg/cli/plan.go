package cli

import (
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type planOptions struct {
	output  outputFlag
	base    string
	horizon config.Duration
}

func newPlan(env *Env, paths *pathFlags) *cobra.Command {
	o := &planOptions{horizon: config.Duration(plan.DefaultHorizon)}
	cmd := &cobra.Command{
		Use:   "plan [NAME...]",
		Short: "Show which rebuilds come next, and when",
		Long: `Plan shows, from state alone, the rebuilds that come until the horizon: those that run, those that promote would start now,
and the whole cascade after them, wave by wave, with the reason for each. It also shows how many builds each forge gets in an
hour, and which images with a newer base are skipped. Plan decides as promote does. It assumes that no tag moves meanwhile,
that builds succeed and take as long as usual, that a rebuild moves all tags of the current image, and that promote runs by
factory.schedule.

With --base, plan shows what would follow if the tag of a base image, or the published tag of a managed image, moved now.

A large plan is summarised by time and wave; -o wide and -o json list every rebuild.`,
		Example: `  imagefactory plan
  imagefactory plan web --horizon 90d
  imagefactory plan --base node:22          # which images follow a new digest of node:22, and when`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runPlan(env, paths, o, names) },
	}
	f := cmd.Flags()
	o.output.add(cmd, "table", "wide", "markdown")
	f.StringVar(&o.base, "base", "", "show what follows if `REF`, a base image or managed image, moves now to any digest; REF=DIGEST names the digest")
	f.TextVar(&o.horizon, "horizon", o.horizon, "how far to look ahead, a `duration` such as 30d")
	_ = cmd.RegisterFlagCompletionFunc("base", func(cmd *cobra.Command, names []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return baseNames(paths)(cmd, names, typed)
	}) // the flag exists
	return cmd
}

func runPlan(env *Env, paths *pathFlags, o *planOptions, names []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	if o.horizon == 0 {
		return fleet.Usagef("--horizon is a duration such as 30d")
	}
	f, err := fleet.Open(paths.paths())
	if err != nil {
		return err
	}
	p, err := f.Plan(names, o.base, o.horizon.Std(), env.Now())
	if err != nil {
		return err
	}
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, Plan{report.NewMeta("Plan"), p})
	case o.output.value == "markdown":
		return report.PlanMarkdown(env.Out, p)
	}
	return env.style(o.output.wide()).Plan(env.Out, p, o.output.wide())
}
