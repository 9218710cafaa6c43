package cli

import (
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/factory"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newPromote(w *World, paths *pathFlags) *cobra.Command {
	dryRun, output := false, ""
	cmd := &cobra.Command{
		Use:   "promote --dry-run",
		Short: "Show which rebuilds would be started now",
		Long: `Promote decides from state which rebuilds are due and, with --dry-run, prints them in the order in which they would be
started, at most factory.maxConcurrentRebuilds on one forge.`,
		Example: `  imagefactory promote --dry-run
  imagefactory promote --dry-run -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if !dryRun {
				return factory.Usagef("promote only decides so far, and starts nothing: give --dry-run")
			}
			if err := checkOutput(output, "table", "json"); err != nil {
				return err
			}
			fleet, err := factory.Open(paths.paths())
			if err != nil {
				return err
			}
			now := w.Now()
			start := fleet.Startable(now)
			if output == "json" {
				return report.JSON(w.Out, start)
			}
			rows := make([][]string, len(start))
			for i := range start {
				rows[i] = []string{start[i].Image, start[i].Rebuild, report.When(&start[i], now), start[i].Reason}
			}
			if err := report.Table(w.Out, []string{"IMAGE", "REBUILD", "DUE (UTC)", "WHY"}, rows); err != nil {
				return err
			}
			return say(w, "%s would be started", plural(len(start), "rebuild"))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be started and start nothing")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}
