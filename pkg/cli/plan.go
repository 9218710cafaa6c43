package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/review"
)

type planOptions struct {
	selected selectFlags
	output   outputFlag
	base     string
	diff     string
	sources  string
	direct   bool
	horizon  config.Duration
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

With --diff, plan compares images.yaml and the Dockerfiles of this repository with another git revision: images and bases that
are added, removed or changed, Kargo resources, images that become due at once, and findings. It reads git and state, no network;
-o markdown is for a pull request. With --source-dir, it also reads the Dockerfiles in checkouts below that folder.

A large plan is summarised by time and wave; -o wide and -o json list every rebuild.`,
		Example: `  imagefactory plan
  imagefactory plan web --horizon 90d
  imagefactory plan --owner team-shop
  imagefactory plan --base node:22          # which images follow a new digest of node:22, and when
  imagefactory plan --diff origin/main -o markdown`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runPlan(cmd.Context(), env, paths, o, cmd.Flags().Changed, names)
		},
	}
	f := cmd.Flags()
	o.output.add(cmd, "table", "wide", "markdown")
	o.selected.add(cmd, paths)
	f.StringVar(&o.base, "base", "", "show what follows if `REF`, a base image or managed image, moves now to any digest; REF=DIGEST names the digest")
	f.TextVar(&o.horizon, "horizon", o.horizon, "how far to look ahead, a `duration` such as 30d")
	f.StringVar(&o.diff, "diff", "", "compare with this git `revision`, such as origin/main")
	f.StringVar(&o.sources, "source-dir", "", "with --diff, `folder` with checkouts of the images' repositories, inside this one")
	f.BoolVar(&o.direct, "direct", false, "with --diff, leave out Kargo resources: rebuilds are started without a cluster")
	_ = cmd.RegisterFlagCompletionFunc("base", func(cmd *cobra.Command, names []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return baseNames(paths)(cmd, names, typed)
	}) // the flag exists
	return cmd
}

func (o *planOptions) check(s fleet.Selection, isSet func(flag string) bool) error {
	switch {
	case isSet("base") && o.base == "":
		return fleet.Usagef("--base is a base image or managed image, such as node:22")
	case isSet("diff") && o.diff == "": // of a variable that is empty in this run of CI
		return fleet.Usagef("--diff is a git revision, such as origin/main")
	case o.horizon == 0:
		return fleet.Usagef("--horizon is a duration such as 30d")
	case o.diff != "" && (o.base != "" || !s.All()):
		return fleet.Usagef("--diff compares all images, without --base, NAME and labels")
	case (o.sources != "" || o.direct) && o.diff == "":
		return fleet.Usagef("--source-dir and --direct are for --diff")
	}
	return o.output.check()
}

func runPlan(ctx context.Context, env *Env, paths *pathFlags, o *planOptions, isSet func(flag string) bool, names []string) error {
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	if err := o.check(selection, isSet); err != nil {
		return err
	}
	if o.diff != "" {
		return runDiff(ctx, env, paths, o)
	}
	f, err := openSelected(env, paths, fleet.Open, selection)
	if err != nil {
		return err
	}
	if err := env.printPause(f.State); err != nil {
		return err
	}
	p, err := f.Plan(selection, o.base, o.horizon.Std(), env.Now())
	if err != nil {
		return err
	}
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, Plan{report.NewMeta("Plan"), p})
	case o.output.value == "markdown":
		return report.PlanMarkdown(env.Out, p)
	}
	if selection.Labels != nil && len(p.Items)+len(p.Skipped)+p.Others == 0 {
		return nil
	}
	return env.style(o.output.wide()).Plan(env.Out, p, o.output.wide())
}

func runDiff(ctx context.Context, env *Env, paths *pathFlags, o *planOptions) error {
	d, err := review.Compare(ctx, review.Options{Paths: paths.paths(), Revision: o.diff, SourceDir: o.sources, Direct: o.direct, Now: env.Now()})
	if err != nil {
		return err
	}
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, PlanDiff{report.NewMeta("PlanDiff"), d})
	case o.output.value == "markdown":
		return report.PlanDiffMarkdown(env.Out, d)
	}
	return env.style(o.output.wide()).PlanDiff(env.Out, d, o.output.wide())
}
