package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/promote"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

type analyzeOptions struct {
	repoFlags
	executorFlags
	metrics   metricsFlags
	selected  selectFlags
	sourceDir string
	offline   bool
	dryRun    bool
	all       bool
	promote   bool
	timeout   time.Duration
	event     analyze.Event
	reports   []string
	output    outputFlag
}

// eventTimeout bounds the analysis of one event. It leaves the Job time for a second try, after a lost push, and to
// promote.
const eventTimeout = 10 * time.Minute

func newAnalyze(env *Env, paths *pathFlags) *cobra.Command {
	o := &analyzeOptions{}
	cmd := &cobra.Command{
		Use:   "analyze [NAME...]",
		Short: "Read Dockerfiles and registries, and record the result in state",
		Long: `Analyze reads every enrolled image, or the named ones, and records in state:

  - the Dockerfile, read from the forge (or from --source-dir), and every image that BuildKit would use for the build;
  - the current digest of each of these base images;
  - the published image and the digests it was built on, by the best evidence there is.

If an image fails, its state stays unchanged, the others are recorded, and the exit code is 1. Without --push, state is
the folder beside images.yaml. With --push it is a git repository: analyze commits and pushes the changes, and computes
them again if another writer pushed first. A run without news makes no commit.

Kargo's analysis Jobs use --image or --base-image: analyze records that image or base image, and every other change,
unless another run has done so already. --report reads reports of scanners as scan does, and records their findings together
with the digests.

Dockerfiles below --source-dir DIR are read from DIR/<owner>/<repo> or DIR/<repo> if it exists, else from DIR.`,
		Example: `  imagefactory analyze                                      # everything, into the state folder
  imagefactory analyze web api --dry-run                    # what would be recorded
  imagefactory analyze -l team=shop                         # the images of a team
  imagefactory analyze --source-dir ~/src --offline         # Dockerfiles of local checkouts only
  imagefactory analyze --all --push                         # in CI
  imagefactory analyze --state-repo https://github.com/acme/images.git --base-image node-22-slim \
    --tag 22-slim --digest sha256:0123... --push            # in the cluster`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runAnalyze(cmd.Context(), env, paths, o, names)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.sourceDir, "source-dir", "", "`folder` of local checkouts to read Dockerfiles from, instead of asking forges")
	f.BoolVar(&o.offline, "offline", false, "ask no registry")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff of the state and keep nothing")
	f.BoolVar(&o.all, "all", false, "all enrolled images (the default without names)")
	f.StringVar(&o.event.Image, "image", "", "(Jobs only) `name` of the enrolled image that changed")
	f.StringVar(&o.event.Base, "base-image", "", "(Jobs only) `name` of the base image that changed")
	f.StringVar(&o.event.Tag, "tag", "", "(Jobs only) `tag` that changed")
	f.StringVar(&o.event.Digest, "digest", "", "(Jobs only) new `digest` of the tag")
	f.BoolVar(&o.promote, "promote", false, "then start the rebuilds that became due, through Kargo")
	f.DurationVar(&o.timeout, "timeout", 0, "stop after this time, record the results so far, and leave the rest to the next run (default 10m with --image or --base-image, else none)")
	addReports(cmd, &o.reports)
	o.output.add(cmd, "text")
	o.repoFlags.add(env, cmd)
	o.executorFlags.add(cmd)
	o.metrics.add(env, cmd)
	o.selected.add(cmd, paths)
	return cmd
}

func (o *analyzeOptions) check(s fleet.Selection) error {
	switch event := o.event.Name(); {
	case o.event.Image != "" && o.event.Base != "":
		return fleet.Usagef("--image and --base-image exclude each other")
	case event != "" && !s.All(), o.all && !s.All(), o.all && event != "":
		return fleet.Usagef("names or labels, --all and --image or --base-image exclude each other")
	case event == "" && o.event.Digest+o.event.Tag != "":
		return fleet.Usagef("--tag and --digest need --image or --base-image")
	case o.promote && event == "":
		return fleet.Usagef("--promote needs --image or --base-image (otherwise run `imagefactory promote`)")
	case o.timeout < 0:
		return fleet.Usagef("--timeout is a duration such as 10m")
	case o.offline && o.sourceDir == "":
		return fleet.Usagef("--offline needs --source-dir: the Dockerfiles of a local checkout")
	}
	return o.output.check()
}

func runAnalyze(ctx context.Context, env *Env, paths *pathFlags, o *analyzeOptions, names []string) error {
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	if err := o.check(selection); err != nil {
		return err
	}
	c := o.clients(env)
	o.tolerant = true
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return err
	}
	defer closeStore()
	if o.dryRun || o.url != "" && !o.push {
		o.dryRun = true
		dry := &dryRun{Store: st}
		return dry.end(env, o.analyze(ctx, c, paths, selection, dry, nil))
	}
	measured, st := o.metrics.begin(c, "analyze", st)
	return measured.end(ctx, o.analyze(ctx, c, paths, selection, st, measured))
}

// analyze makes one analysis, and promotes what it made due if asked to.
func (o *analyzeOptions) analyze(ctx context.Context, c *clients, paths *pathFlags, selection fleet.Selection, st store.Store, measured *passMetrics) error {
	env := c.env
	clients, err := c.analysis(o.sourceDir, o.offline, c.progress("image"))
	if err != nil {
		return err
	}
	if o.event.Name() != "" && o.timeout == 0 {
		o.timeout = eventTimeout
	}
	found := o.findings(env)
	r, saved, err := analyze.Run(ctx, st, analyze.Options{
		Clients: clients, Timeout: o.timeout, Select: selection, Event: o.event, Sleep: env.Sleep, Record: found.record(),
		Inform: func(text string) { _ = env.infof("%s", text) }, // a later message fails too if this one cannot be written
	})
	measured.analyzed(r)
	if r == nil && errors.Is(err, context.Canceled) && ctx.Err() != nil {
		if err := env.infof("interrupted before anything was analyzed; nothing saved"); err != nil {
			return err
		}
		return errReported
	}
	if err != nil {
		return err
	}
	if err := env.stepOutputs(fmt.Sprintf("changed=%t", saved.Files > 0)); err != nil {
		return err
	}
	if r.Skipped != "" {
		if o.output.forPrograms() {
			return report.Print(env.Out, o.output.value, AnalyzeReport{report.NewMeta("AnalyzeReport"), r})
		}
		if err := env.infof("%s", r.Skipped); err != nil {
			return err
		}
	} else if err := o.print(env, paths, r, saved); err != nil {
		return err
	}
	if err := found.print(env); err != nil {
		return err
	}
	if err := c.printUsage(ctx); err != nil {
		return err
	}
	if o.promote && saved.Files > 0 {
		if err := o.promoteAfter(ctx, env, c, st); err != nil {
			return err
		}
	}
	if err := o.outcome(r); err != nil || o.event.Name() != "" {
		return err
	}
	return found.outcome()
}

// promoteAfter starts the rebuilds that the analysis made due. A failure does not fail the analysis, which is recorded:
// the next run of promote retries.
func (o *analyzeOptions) promoteAfter(ctx context.Context, env *Env, c *clients, st store.Store) error {
	r, err := promote.Run(ctx, st, promote.Options{Backend: o.backend(c), Clients: c.registryClients(o.offline, nil), Now: env.Now, Log: env.log,
		Repository: c.forge().Repository, Issues: c.forge().Issues})
	if err != nil {
		return env.errorf("warning: promote failed and will be retried by the next run: %s", err)
	}
	return printPromotion(env, r)
}

// outcome returns the error that sets the exit code. The analysis of an event fails only if that of the event's own image
// or base image failed.
func (o *analyzeOptions) outcome(r *analyze.Report) error {
	if r.Interrupted {
		return errReported
	}
	images, bases := r.Late()
	failed := r.Failed+images+bases > 0
	if o.event.Name() != "" {
		failed = !r.Done(o.event)
	}
	if failed {
		return errReported
	}
	return nil
}

func (o *analyzeOptions) print(env *Env, paths *pathFlags, r *analyze.Report, saved store.Saved) error {
	switch {
	case o.output.forPrograms():
		if err := report.Print(env.Out, o.output.value, AnalyzeReport{report.NewMeta("AnalyzeReport"), r}); err != nil {
			return err
		}
	case o.dryRun:
		if err := report.Diff(env.Out, r.Diff(o.shown(paths))); err != nil {
			return err
		}
	}
	if err := reportFailures(env, paths, r); err != nil {
		return err
	}
	return printAnalysis(env, r, saved, o.dryRun)
}

// reportFailures reports the images whose analysis failed where GitHub Actions shows them.
func reportFailures(env *Env, paths *pathFlags, r *analyze.Report) error {
	s := report.JobSummary{Title: "imagefactory analyze", Text: countsLine(r), Header: []string{"Image", "Error"}}
	var failed finding.List
	for i := range r.Images {
		if img := &r.Images[i]; img.Error != "" {
			s.Rows = append(s.Rows, []string{img.Image, img.Error})
			failed = append(failed, finding.Finding{Rule: "analyze", Severity: finding.Error, File: paths.config, Message: img.Image + ": " + img.Error})
		}
	}
	for i := range r.Bases {
		if base := &r.Bases[i]; base.Error != "" {
			s.Rows = append(s.Rows, []string{base.Ref, base.Error})
		}
	}
	if err := env.annotate(failed); err != nil {
		return err
	}
	return env.summarize(s)
}

func printAnalysis(env *Env, r *analyze.Report, saved store.Saved, dryRun bool) error {
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
	for _, base := range r.Bases {
		if base.Error != "" {
			fmt.Fprintf(&b, "error: %s\n", base.Error)
		}
	}
	unknownConfigs(&b, r.UnknownConfigs)
	b.WriteString(countsLine(r))
	switch {
	case len(r.Changed) == 0:
		b.WriteString("; nothing new")
	case dryRun:
		b.WriteString("; " + plural.Count(len(r.Changed), "file") + " would change")
	case saved.Commit != "":
		b.WriteString("; " + plural.Count(len(r.Changed), "file") + " pushed to " + saved.Where + " as " + saved.Commit)
	default:
		b.WriteString("; " + plural.Count(len(r.Changed), "file") + " written")
	}
	return infoLines(env, b.String())
}

// countsLine returns how many images and base images were analyzed, failed, or were not reached.
func countsLine(r *analyze.Report) string {
	total := plural.Count(len(r.Images), "image")
	if len(r.Bases) > 0 {
		total += " and " + plural.Count(len(r.Bases), "base image")
	}
	images, bases := r.Late()
	late := images + bases
	text := "analyzed " + total
	if r.Failed+late > 0 {
		text = fmt.Sprintf("%s: %d analyzed", total, max(len(r.Images)+len(r.Bases)-r.Failed-late, 0))
	}
	switch {
	case r.Failed == 1:
		text += ", 1 failed (its earlier results are kept)"
	case r.Failed > 1:
		text += fmt.Sprintf(", %d failed (their earlier results are kept)", r.Failed)
	}
	if late > 0 {
		text += fmt.Sprintf(", %d not reached", late)
		if !r.Interrupted {
			text += " in time (--timeout)"
		}
	}
	if r.Interrupted {
		text = "interrupted: " + text
	}
	return text
}

// unknownConfigs warns of base images whose config is unknown.
func unknownConfigs(b *strings.Builder, unknown []analyze.UnknownConfig) {
	var unasked []string
	for _, u := range unknown {
		if u.Error == "" {
			unasked = append(unasked, state.Short(u.Ref))
			continue
		}
		fmt.Fprintf(b, "warning: %s (images used by its ONBUILD triggers are unknown; those in state are kept)\n", u.Error)
	}
	if len(unasked) > 0 {
		fmt.Fprintf(b, "warning: offline: images used by ONBUILD triggers of %s are unknown; those in state are kept\n", plural.Listed(unasked, 3))
	}
}

func infoLines(env *Env, text string) error {
	for line := range strings.Lines(text) {
		printf := env.infof
		if strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "warning: ") {
			printf = env.errorf
		}
		if err := printf("%s", strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// fewPulls is the number of remaining pulls below which a registry is reported.
const fewPulls = 20

// requestCounts returns a line for each registry, or only for those with few pulls left.
func requestCounts(usage map[string]registry.Usage, all bool) []string {
	var out []string
	for host, u := range usage {
		if !all && (u.Remaining < 0 || u.Remaining >= fewPulls) {
			continue
		}
		line := fmt.Sprintf("%s: %s, %s", host, plural.Count(u.Requests, "request"), plural.Count(u.Pulls, "pull"))
		if u.Remaining >= 0 {
			line += fmt.Sprintf(", %d pulls left", u.Remaining)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}
