package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/history"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

type auditOptions struct {
	selected     selectFlags
	since, stale string
	noHistory    bool
	output       outputFlag
}

func newAudit(env *Env, paths *pathFlags) *cobra.Command {
	o := &auditOptions{}
	cmd := &cobra.Command{
		Use:   "audit [NAME...]",
		Short: "Report what was rebuilt in a period, why, and how long changes waited",
		Long: `Audit reports, for every managed image or the named ones:

  - the rebuilds that were requested in the period, the digests that they were for, and the evidence that the published image has
    them;
  - how long each change waited, from the moment its digest was first seen to the published image: median, 95th percentile, worst;
  - the images for which a base has held a newer digest for longer than --stale, and why;
  - the published images that were built on a digest that was held, withdrawn or younger than rebuildDelay.

State files keep the last ten rebuilds of an image; audit reads older ones from the git history of the state folder, if it is in
a checkout. The report says what time it covers.`,
		Example: `  imagefactory audit --since 90d
  imagefactory audit web api --since 2026-01-01 -o markdown
  imagefactory audit -l team=shop --since 90d
  imagefactory audit --since 90d --stale 14d -o csv > audit.csv`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runAudit(cmd.Context(), env, paths, o, names)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "90d", "begin of the period: a `time` before now such as 90d, or a date such as 2026-01-31")
	f.StringVar(&o.stale, "stale", "30d", "`time` after which an image is stale")
	f.BoolVar(&o.noHistory, "no-history", false, "do not read the git history")
	o.output.add(cmd, "table", "wide", "markdown", "csv")
	o.selected.add(cmd, paths)
	return cmd
}

func runAudit(ctx context.Context, env *Env, paths *pathFlags, o *auditOptions, names []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	now := env.Now().UTC().Truncate(time.Second)
	from, err := beginOf(o.since, now)
	if err != nil {
		return err
	}
	stale, err := config.ParseDuration(o.stale)
	if err != nil {
		return fleet.Usagef("--stale: %s", err)
	}
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	f, err := openSelected(env, paths, fleet.OpenWithoutScans, selection)
	if err != nil {
		return err
	}
	in := audit.Input{From: from, To: now, Stale: stale.Std()}
	if in.Decisions, err = f.Decide(fleet.Selection{}, now); err != nil {
		return err
	}
	r, err := auditOf(ctx, f, in, selection, !o.noHistory)
	if err != nil {
		return err
	}
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, AuditReport{report.NewMeta("AuditReport"), r})
	case o.output.value == "csv":
		return report.AuditCSV(env.Out, r)
	case o.output.value == "markdown":
		return report.AuditMarkdown(env.Out, r)
	}
	return env.style(o.output.wide()).Audit(env.Out, r)
}

// beginOf parses the begin of a period: a date, or a time before now.
func beginOf(s string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, s); err == nil {
		if at.After(now) {
			return time.Time{}, fleet.Usagef("--since %q is in the future", s)
		}
		return at, nil
	}
	d, err := config.ParseDuration(s)
	if err != nil || d <= 0 {
		return time.Time{}, fleet.Usagef("--since %q: want a time before now such as 90d, or a date such as 2026-01-31", s)
	}
	return now.Add(-d.Std()), nil
}

// labelsOf returns the labels of an image and its owner, as images.yaml has them.
func labelsOf(img *config.Image) []string {
	var out []string
	for key, value := range img.Labels {
		out = append(out, key+"="+value)
	}
	if img.Owner != "" {
		out = append(out, config.OwnerKey+"="+img.Owner)
	}
	slices.Sort(out)
	return out
}

// auditOf audits a fleet whose state is in a folder, from its decisions of the end of the period, with the git history of that folder if asked for.
func auditOf(ctx context.Context, f *fleet.Fleet, in audit.Input, selection fleet.Selection, past bool) (*audit.Report, error) {
	images, err := f.Images(selection)
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		in.Images = append(in.Images, img.Name)
	}
	in.Config, in.Graph, in.Facts, in.Coverage = f.Config, f.Graph, audit.NewFacts(f.State), audit.CoverageOf(f.State)
	in.Labels = labelsOf
	if past {
		if err := readHistory(ctx, f.Paths.StateDir, &in); err != nil {
			return nil, err
		}
	}
	in.Coverage.Complete = !in.Coverage.From.After(in.From)
	return audit.Of(&in), nil
}

// readHistory adds the facts of the past to an audit.
func readHistory(ctx context.Context, dir string, in *audit.Input) error {
	const size = 256 // of a batch, which is parsed while the next one is read
	skipped, oldest := 0, map[string][]byte{}
	batches, parsed := make(chan []audit.File), make(chan struct{})
	go func() {
		defer close(parsed)
		for b := range batches {
			skipped += in.Facts.Add(b)
		}
	}()
	var batch []audit.File
	read, err := history.Read(ctx, dir, []string{state.ImagesFolder, state.BasesFolder}, in.From, func(v history.Version) error {
		oldest[v.File] = v.Data
		if batch = append(batch, audit.File{Path: v.File, Data: v.Data}); len(batch) == size {
			batches <- batch
			batch = nil
		}
		return nil
	})
	batches <- batch
	close(batches)
	<-parsed
	switch {
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%w (use --no-history to audit state alone)", err)
	case err != nil || read.Commits == 0:
		return err
	}
	c := &in.Coverage
	c.Source, c.Commits, c.Skipped = "git", read.Commits, skipped+read.Unread
	switch {
	case read.Complete && read.Began.IsZero():
		c.From = time.Time{}
	case read.Complete: // what the first versions had left out already is lost
		c.From = coveredBy(oldest)
	case read.From.Before(c.From):
		c.From = read.From
	}
	return nil
}

// coveredBy returns since when state files record every rebuild.
func coveredBy(files map[string][]byte) time.Time {
	st := state.New()
	for file, data := range files {
		if img, _, err := state.Parse(file, data); err == nil && img != nil {
			st.Images[img.Name] = img
		}
	}
	return audit.CoverageOf(st).From
}
