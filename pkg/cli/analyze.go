package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/factory"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/source"
)

type analyzeOptions struct {
	sourceDir string
	offline   bool
	dryRun    bool
	output    string
}

func newAnalyze(w *World, paths *pathFlags) *cobra.Command {
	o := &analyzeOptions{}
	cmd := &cobra.Command{
		Use:   "analyze [NAME...]",
		Short: "Find what each build uses and record it in state",
		Long: `Analyze reads the Dockerfile of each enrolled image (or of the named ones) from a local checkout, finds every image
that BuildKit would use for the build, and records that in the state folder. An image that fails is reported and keeps
its state; the others are written, and the exit code is 1.

Dockerfiles are read from DIR/<owner>/<repo> or DIR/<repo> if it exists, else from DIR.`,
		Example: `  imagefactory analyze --source-dir ~/src --offline
  imagefactory analyze web api --source-dir . --offline --dry-run`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runAnalyze(cmd.Context(), w, paths, o, names)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.sourceDir, "source-dir", "", "`folder` of local checkouts to read Dockerfiles from")
	f.BoolVar(&o.offline, "offline", false, "ask no registry")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff of the state and write nothing")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func runAnalyze(ctx context.Context, w *World, paths *pathFlags, o *analyzeOptions, names []string) error {
	if err := checkOutput(o.output, "text", "json"); err != nil {
		return err
	}
	if !o.offline || o.sourceDir == "" {
		return factory.Usagef("analyze reads local checkouts so far: give --source-dir DIR and --offline")
	}
	src, err := source.NewLocal(o.sourceDir)
	if err != nil {
		return err
	}
	fleet, err := factory.Open(paths.paths())
	if err != nil {
		return err
	}
	r, err := fleet.Analyze(ctx, names, src)
	if err != nil {
		return err
	}
	if !o.dryRun {
		if err := fleet.Save(&r.StateChange); err != nil {
			return err
		}
	}
	switch {
	case o.output == "json":
		if err := report.JSON(w.Out, r); err != nil {
			return err
		}
	case o.dryRun:
		if err := report.Diff(w.Out, r.Diff(paths.state)); err != nil {
			return err
		}
	}
	if err := sayAnalysis(w, r, o.dryRun); err != nil {
		return err
	}
	if r.Failed > 0 {
		return errReported
	}
	return nil
}

func sayAnalysis(w *World, r *factory.AnalyzeReport, dryRun bool) error {
	var b strings.Builder
	for i := range r.Images {
		img := &r.Images[i]
		if img.Error != "" {
			fmt.Fprintf(&b, "error: %s: %s\n", img.Image, img.Error)
		}
		for _, u := range img.Unresolved {
			fmt.Fprintf(&b, "warning: %s: %s:%d: cannot resolve %s: no value for %s (give it in source.buildArgs)\n",
				img.Image, img.Dockerfile, u.Line, u.Text, strings.Join(u.Variables, ", "))
		}
		for _, warning := range img.Warnings {
			fmt.Fprintf(&b, "warning: %s: %s\n", img.Image, warning)
		}
	}
	b.WriteString("analyzed " + plural(len(r.Images), "image"))
	if r.Failed > 0 {
		fmt.Fprintf(&b, ", %d failed and keep their state", r.Failed)
	}
	switch {
	case len(r.Changed) == 0:
		b.WriteString("; nothing new")
	case dryRun:
		b.WriteString("; " + plural(len(r.Changed), "state file") + " would change")
	default:
		b.WriteString("; " + plural(len(r.Changed), "state file") + " written")
	}
	for line := range strings.Lines(b.String()) {
		if err := say(w, "%s", strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	return nil
}
