package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/promote"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

type promoteOptions struct {
	repoFlags
	executorFlags
	metrics    metricsFlags
	selected   selectFlags
	wait, poll time.Duration
	dryRun     bool
	offline    bool
	output     outputFlag
}

// executorFlags choose the backend that starts rebuilds.
type executorFlags struct {
	project string
	direct  bool
}

func (e *executorFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.project, "project", "", "Kargo `project` and namespace that rebuilds are started in (default factory.project)")
	f.BoolVar(&e.direct, "direct", false, "start workflows and pipelines at the forges, without Kargo")
}

// backend returns the backend that starts rebuilds.
func (e *executorFlags) backend(c *clients) promote.Backend {
	if e.direct {
		return promote.Direct{Client: c.forge(), Now: c.env.Now}
	}
	return promote.Kargo{Cluster: cluster.Options{Namespace: e.project, HTTP: httpx.Options{Logger: c.http().Logger}}}
}

func newPromote(env *Env, paths *pathFlags) *cobra.Command {
	o := &promoteOptions{}
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Start the rebuilds that are due, and record the results of earlier ones",
		Long: `Promote makes one pass: it records the results of earlier rebuilds, resolves the tags that images wait for, decides which
rebuilds are due, records them, and starts them: parents before the images built on them, and at most
factory.maxConcurrentRebuilds per forge. Each rebuild has an ID and is recorded before it starts, so a crash or a second
promoter neither loses it nor starts it twice.

Images with source.updatePins get pull or merge requests that move the digests of their pinned references, once these have
ripened: one for all images of a repository and branch, brought up to date by every pass.

Rebuilds are started through Kargo: in the cluster with the token of the service account, elsewhere with the kubeconfig.
With --direct they are started at the forges, without a cluster. With --wait, passes are repeated until no rebuild
runs. A rebuild that is due but cannot be started is blocked: each pass prints the reason, and its exit code is 1.

With --selector or --owner, a pass starts the rebuilds of these images only. It still records the results of all rebuilds.

Without --push, state is the folder beside images.yaml. With --push it is a git repository that several promoters and
analyses may share.`,
		Example: `  imagefactory promote --dry-run                       # the rebuilds that would start now, from state alone
  imagefactory promote --push                          # one pass, through Kargo
  imagefactory promote --push --direct --wait 2h       # without a cluster, from any scheduler`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runPromote(cmd.Context(), env, paths, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be started, from state alone, and start nothing")
	f.BoolVar(&o.offline, "offline", false, "ask no registry: tags are not resolved again")
	f.DurationVar(&o.wait, "wait", 0, "repeat passes until no rebuild runs, at most this long; exit code 1 if one still does")
	f.DurationVar(&o.poll, "poll", 30*time.Second, "with --wait, the time between two passes")
	o.output.add(cmd, "table", "wide")
	o.repoFlags.add(env, cmd)
	o.executorFlags.add(cmd)
	o.metrics.add(env, cmd)
	o.selected.add(cmd, paths)
	return cmd
}

func (o *promoteOptions) check() error {
	switch {
	case o.url != "" && !o.push && !o.dryRun:
		return fleet.Usagef("--state-repo needs --push, because started rebuilds must be recorded (or use --dry-run)")
	case o.wait < 0 || o.poll <= 0:
		return fleet.Usagef("--wait and --poll are durations such as 2h and 30s")
	}
	return o.output.check()
}

func runPromote(ctx context.Context, env *Env, paths *pathFlags, o *promoteOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	selection, err := o.selected.selection(nil)
	if err != nil {
		return err
	}
	c := o.clients(env)
	o.tolerant = true
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return err
	}
	defer closeStore()
	if o.dryRun {
		return o.preview(ctx, c, st, selection)
	}
	measured, st := o.metrics.begin(c, "promote", st)
	return measured.end(ctx, o.passes(ctx, c, st, selection, measured))
}

// passes makes passes until no rebuild runs, or one without --wait.
func (o *promoteOptions) passes(ctx context.Context, c *clients, st store.Store, selection fleet.Selection, measured *passMetrics) error {
	env := c.env
	pass := promote.Options{
		Backend: o.backend(c), Clients: c.registryClients(o.offline, c.progress("image")), Sweep: !o.offline, Now: env.Now, Log: env.log,
		Select: selection, Repository: c.forge().Repository, Issues: c.forge().Issues,
	}
	waiting, done := context.WithTimeout(ctx, o.wait)
	defer done()
	var started []string
	for {
		r, err := promote.Run(ctx, st, pass)
		measured.promoted(r)
		if r != nil {
			pass.Missed = r.Missed
			for _, s := range r.Started {
				started = append(started, s.Image)
			}
			if err := o.print(env, r); err != nil {
				return err
			}
		}
		over := o.wait == 0 || err == nil && r.Active+r.Blocked == 0 && len(r.Started) == 0
		if !over && err != nil && waiting.Err() == nil {
			if err := env.infof("this pass failed; retrying with the next one: %s", err); err != nil {
				return err
			}
		}
		if over || httpx.Sleep(waiting, o.poll) != nil {
			if err := env.stepOutputs(counted("started", started)...); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			return o.finish(ctx, c, r)
		}
		pass.Sweep = false
		c.resetBreakers()
	}
}

// finish returns the error of the last pass: problems of earlier passes that are gone do not count. With --wait, a rebuild
// that is still running is an error.
func (o *promoteOptions) finish(ctx context.Context, c *clients, last *promote.Report) error {
	if err := c.printUsage(ctx); err != nil {
		return err
	}
	unfinished := last.Unfinished()
	if o.wait > 0 && len(unfinished) > 0 {
		why := "stopped waiting after " + o.wait.String()
		if ctx.Err() != nil {
			why = "interrupted"
		}
		if err := c.env.errorf("error: %s; not finished: %s (run `imagefactory promote` again to follow them)", why, plural.Listed(unfinished, 20)); err != nil {
			return err
		}
		return errReported
	}
	if len(last.Problems) > 0 || ctx.Err() != nil {
		return errReported
	}
	return nil
}

// preview prints the rebuilds that promote would start, and the pull requests that it would open or change.
func (o *promoteOptions) preview(ctx context.Context, c *clients, st store.Store, selection fleet.Selection) error {
	env, output := c.env, &o.output
	f, err := store.View(ctx, st)
	if err != nil {
		return err
	}
	if err := env.printLeftOut(f); err != nil {
		return err
	}
	now := env.Now()
	decisions, err := f.Decide(fleet.Selection{}, now)
	if err != nil {
		return err
	}
	fleet.LogDecisions(ctx, env.log, decisions)
	if err := warnNoMatch(env, f.Config, selection); err != nil {
		return err
	}
	start, err := f.Startable(decisions, selection)
	if err != nil {
		return err
	}
	if err := env.dueOutputs(start); err != nil {
		return err
	}
	if output.forPrograms() {
		return report.Print(env.Out, output.value, StatusList{report.NewMeta("StatusList"), start, nil})
	}
	requests, err := o.previewRequests(ctx, c, f, decisions, selection)
	if err != nil {
		return err
	}
	if err := printStartable(env, output, start, now); err != nil {
		return err
	}
	if err := env.showStarts(f, start); err != nil {
		return err
	}
	if err := printPreview(env, requests); err != nil || o.offline {
		return err
	}
	return previewIssues(ctx, c, f, selection)
}

// printStartable prints the rebuilds that promote would start.
func printStartable(env *Env, output *outputFlag, start []policy.Decision, now time.Time) error {
	rows := make([][]string, len(start))
	for i := range start {
		rows[i] = []string{start[i].Image, start[i].Rebuild, report.When(&start[i], now, output.wide()), start[i].Reason}
	}
	if len(start) == 0 {
		return env.infof("0 rebuilds would be started") // and no table of headings only
	}
	if err := env.style(output.wide()).Table(env.Out, []string{"IMAGE", "REBUILD", "DUE (UTC)", "WHY"}, rows); err != nil {
		return err
	}
	return env.infof("%s would be started", plural.Count(len(start), "rebuild"))
}

func (o *promoteOptions) print(env *Env, r *promote.Report) error {
	if o.output.forPrograms() {
		if err := report.Print(env.Out, o.output.value, PromoteReport{report.NewMeta("PromoteReport"), r}); err != nil {
			return err
		}
	} else if len(r.Started)+len(r.Ended)+len(r.Dropped) > 0 {
		rows := [][]string{}
		for _, s := range r.Started {
			rows = append(rows, []string{s.Image, s.Rebuild, "started", s.Reason, s.RunURL})
		}
		for _, d := range r.Dropped {
			rows = append(rows, []string{d.Image, d.Rebuild, "dropped", "no longer due: " + d.Message, ""})
		}
		for _, e := range r.Ended {
			rows = append(rows, []string{e.Image, e.Rebuild, e.Status.Words(), e.Message, ""})
		}
		if err := env.style(o.output.wide()).Table(env.Out, []string{"IMAGE", "REBUILD", "STATUS", "WHY", "RUN"}, rows); err != nil {
			return err
		}
	}
	if !o.output.forPrograms() {
		if err := printRequests(env, r.Requests, o.output.wide()); err != nil {
			return err
		}
		if err := printIssues(env, r.Issues, o.output.wide()); err != nil {
			return err
		}
	}
	return printPromotion(env, r)
}

// promoteSummary returns the summary of a pass for the page of a CI job.
func promoteSummary(r *promote.Report, counts string) report.JobSummary {
	s := report.JobSummary{Title: "imagefactory promote", Text: counts, Header: []string{"Image", "Status", "Why", "Run"}}
	for _, p := range r.Problems {
		s.Rows = append(s.Rows, []string{p.Image, "failed", p.Error, ""})
	}
	for _, p := range r.NotReady {
		s.Rows = append(s.Rows, []string{p.Image, "not started", p.Error, ""})
	}
	for _, x := range r.Started {
		s.Rows = append(s.Rows, []string{x.Image, "started", x.Reason, x.RunURL})
	}
	for _, e := range r.Ended {
		s.Rows = append(s.Rows, []string{e.Image, e.Status.Words(), e.Message, ""})
	}
	for _, x := range r.Issues {
		s.Rows = append(s.Rows, []string{x.Image, "issue " + string(x.Action), x.Title, x.URL})
	}
	for i := range r.Requests {
		x := &r.Requests[i]
		s.Rows = append(s.Rows, []string{strings.Join(x.Images, ", "), "pull request " + string(x.Action), strings.Join(state.ShortRefs(x.Pins), ", "), x.URL})
	}
	return s
}

// printPromotion prints the outcome of a pass for people.
func printPromotion(env *Env, r *promote.Report) error {
	for _, p := range r.Problems {
		if p.Image != "" {
			p.Error = p.Image + ": " + p.Error
		}
		if err := env.errorf("error: %s", p.Error); err != nil {
			return err
		}
	}
	for _, p := range r.NotReady {
		if err := env.errorf("warning: %s is due and was not started: %s", p.Image, p.Error); err != nil {
			return err
		}
	}
	for _, text := range r.Warnings {
		if err := env.errorf("warning: %s", text); err != nil {
			return err
		}
	}
	text := ""
	if r.Stopped {
		text = "stopped: "
	}
	text += plural.Count(len(r.Started), "rebuild") + " started, " + plural.Count(r.Active, "rebuild") + " active"
	if r.Blocked > 0 {
		text += fmt.Sprintf(", %d blocked", r.Blocked)
	}
	if n := changedRequests(r.Requests); n > 0 {
		text += ", " + plural.Count(n, "pull request") + " changed"
	}
	text += changedIssues(r.Issues)
	if r.Saved.Commit != "" {
		text += "; state pushed to " + r.Saved.Where + " as " + r.Saved.Commit
	} else if r.Saved.Files > 0 {
		text += "; " + plural.Count(r.Saved.Files, "state file") + " written"
	}
	if err := env.summarize(promoteSummary(r, text)); err != nil {
		return err
	}
	return env.infof("%s", text)
}
