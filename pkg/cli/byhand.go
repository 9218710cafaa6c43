package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/factory"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newRelease(w *World, paths *pathFlags) *cobra.Command {
	return newByHand(w, paths, &cobra.Command{
		Use:   "release BASE[@DIGEST]",
		Short: "Make a waiting digest of a base image due now",
		Long: `Release makes the newest candidate of a base image due now, or the one that DIGEST names. BASE is the name of a base
image (node-22-slim) or its reference (node:22-slim). It takes back a hold. The reason goes into the state file.`,
		Example: `  imagefactory release node:22-slim --reason "fixes CVE-2026-1234"
  imagefactory release node-22-slim@sha256:0123... --reason "tested by hand"`,
	}, (*factory.Fleet).Release)
}

func newHold(w *World, paths *pathFlags) *cobra.Command {
	return newByHand(w, paths, &cobra.Command{
		Use:   "hold BASE[@DIGEST]",
		Short: "Keep a digest of a base image from becoming due",
		Long: `Hold keeps the newest candidate of a base image from becoming due, or the one that DIGEST names, until it is released.
Others pass. BASE is the name of a base image (node-22-slim) or its reference (node:22-slim). The reason goes into the
state file.`,
		Example: `  imagefactory hold node:22-slim --reason "breaks TLS"`,
	}, (*factory.Fleet).Hold)
}

func newReset(w *World, paths *pathFlags) *cobra.Command {
	cmd := newByHand(w, paths, &cobra.Command{
		Use:   "reset NAME",
		Short: "Start the rebuilds of an image again after it failed too often",
		Long: `Reset forgets the failures in a row of an image, so that its rebuilds start again. After three of them nothing else
does. The reason goes into the state file.`,
		Example: `  imagefactory reset web --reason "the workflow is fixed"`,
	}, func(f *factory.Fleet, name, reason string, _ time.Time) (*factory.StateChange, error) {
		return f.Reset(name, reason)
	})
	cmd.ValidArgsFunction = imageNames(paths)
	return cmd
}

// newByHand completes a command that changes one state file for a reason.
func newByHand(w *World, paths *pathFlags, cmd *cobra.Command, verb func(*factory.Fleet, string, string, time.Time) (*factory.StateChange, error)) *cobra.Command {
	reason, dryRun := "", false
	cmd.Args = args(cobra.ExactArgs(1))
	cmd.RunE = func(_ *cobra.Command, names []string) error {
		if reason == "" {
			return factory.Usagef("give a --reason: it stays in the record")
		}
		fleet, err := factory.Open(paths.paths())
		if err != nil {
			return err
		}
		change, err := verb(fleet, names[0], reason, w.Now())
		if err != nil {
			return err
		}
		if dryRun {
			return report.Diff(w.Out, change.Diff(paths.state))
		}
		if err := fleet.Save(change); err != nil {
			return err
		}
		return say(w, "%s written; commit and push it", plural(len(change.Changed), "state file"))
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print a diff of the state and write nothing")
	return cmd
}
