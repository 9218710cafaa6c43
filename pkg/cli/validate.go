package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/endoflife"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type validateOptions struct {
	selected selectFlags
	output   outputFlag
	crds     string
	strict   bool
}

func newValidate(env *Env, paths *pathFlags) *cobra.Command {
	o := &validateOptions{}
	cmd := &cobra.Command{
		Use:   "validate [NAME...]",
		Short: "Check images.yaml and state, and report all problems at once",
		Long: `Validate checks images.yaml and the state files, reports every problem at once as FILE:LINE:COLUMN, and lints both.
With --crds it also checks the resources that synth would write against the CRDs in a folder, as an API server does:
schema, defaults, CEL rules, and unknown fields as errors.

With names, --selector or --owner, warnings about other images and about the whole fleet are left out. If images.yaml is invalid,
all of its problems are reported.

The exit code is 2 when there is an error, and 0 when there are only warnings.`,
		Example: `  imagefactory validate
  imagefactory validate --crds ./crds -o sarif > findings.sarif
  imagefactory validate -o github          # annotations in GitHub Actions
  imagefactory validate -o gitlab > gl-code-quality.json`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runValidate(cmd.Context(), env, paths, o, names)
		},
	}
	f := cmd.Flags()
	o.output.add(cmd, "text", "sarif", "github", "gitlab")
	o.selected.add(cmd, paths)
	f.StringVar(&o.crds, "crds", "", "`folder` of CRDs to check the generated resources against")
	f.BoolVar(&o.strict, "strict", false, "exit with 2 for warnings too")
	return cmd
}

func runValidate(ctx context.Context, env *Env, paths *pathFlags, o *validateOptions, names []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	lines := func(url string, repositories []string) (map[string][]endoflife.Cycle, error) {
		client := endoflife.Client{HTTP: httpx.New(httpx.Options{Logger: env.log, Sleep: env.Sleep}), URL: url}
		return client.Cycles(ctx, repositories)
	}
	list, err := fleet.Validate(paths.paths(), o.crds, selection, lines, env.Now())
	if err != nil {
		return err
	}
	if cfg, err := config.LoadFile(paths.config); err == nil { // otherwise its problems are in the list
		if err := warnNoMatch(env, cfg, selection); err != nil {
			return err
		}
	}
	if list == nil {
		list = finding.List{}
	}
	switch o.output.value {
	case "json", "yaml", "name":
		err = report.Print(env.Out, o.output.value, FindingList{report.NewMeta("FindingList"), list})
	case "sarif":
		err = report.SARIF(env.Out, list, version())
	case "github":
		err = report.GitHubAnnotations(env.Out, list)
	case "gitlab":
		err = report.CodeQuality(env.Out, list)
	default:
		err = report.Findings(env.Out, list)
	}
	if err != nil {
		return err
	}
	warnings := len(list.Warnings())
	counts := plural.Count(len(list)-warnings, "error") + ", " + plural.Count(warnings, "warning")
	summary := report.JobSummary{Title: "imagefactory validate", Text: counts}
	summary.Header, summary.Rows = report.FindingRows(list)
	if err := env.summarize(summary); err != nil {
		return err
	}
	if err := env.infof("%s", counts); err != nil {
		return err
	}
	if len(list) > warnings || o.strict && warnings > 0 {
		return errInvalid
	}
	return nil
}
