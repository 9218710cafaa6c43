package cli

import (
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newStatus(env *Env, paths *pathFlags) *cobra.Command {
	output, selected := &outputFlag{}, &selectFlags{}
	cmd := &cobra.Command{
		Use:   "status [NAME...]",
		Short: "Show the status of every image, and the reason",
		Long: `Status shows the status of every enrolled image and the reason, from state alone: current, waiting until a date, due,
starting, running, blocked (a recorded rebuild could not be started), failed, held, opted out or unknown. The table
shortens reasons to fit the terminal and times as people say them; -o wide shows both in full.`,
		Example: `  imagefactory status
  imagefactory status -l team=shop
  imagefactory status web -o json`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := output.check(); err != nil {
				return err
			}
			selection, err := selected.selection(names)
			if err != nil {
				return err
			}
			f, err := fleet.Open(paths.paths())
			if err != nil {
				return err
			}
			if err := warnNoMatch(env, f.Config, selection); err != nil {
				return err
			}
			now := env.Now()
			decisions, err := f.Decide(selection, now)
			if err != nil {
				return err
			}
			fleet.LogDecisions(cmd.Context(), env.log, decisions)
			if output.forPrograms() {
				return report.Print(env.Out, output.value, StatusList{report.NewMeta("StatusList"), decisions})
			}
			if len(decisions) == 0 && selection.Labels != nil {
				return nil // no table of headings only
			}
			return env.style(output.wide()).Decisions(env.Out, decisions, now, output.wide())
		},
	}
	output.add(cmd, "table", "wide")
	selected.add(cmd, paths)
	return cmd
}
