package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/report"
)

const defaultArgoCDNamespace = "argocd"

type initOptions struct {
	bootstrap.InitOptions
	dryRun bool
	output outputFlag
}

func newInit(env *Env, paths *pathFlags) *cobra.Command {
	o := &initOptions{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first images.yaml and the folders around it",
		Long: `Init writes images.yaml with comments, the folders of state and dist, and lines into .gitignore and .gitattributes. It
overwrites nothing.

With --full it also writes, from the current images.yaml: the Argo CD Application for dist and the namespace of the Kargo
Project, the CI configuration that updates state and dist, templates for the Secrets (with placeholders, and as
ExternalSecrets), and a Job that runs doctor. These files are yours from then on: if one exists and differs, init fails
and writes nothing, unless --force is given. images.yaml itself is never replaced.

With --full --direct it writes CI configuration for a fleet without a cluster: every hour, CI analyzes and starts the builds
that are due.`,
		Example: `  imagefactory init
  imagefactory init --full                       # after enrolling images, which decide the Secrets
  imagefactory init --full --direct              # without a cluster: one scheduled workflow
  imagefactory init --full --force --dry-run     # what would change in existing files`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return runInit(env, paths, o) },
	}
	f := cmd.Flags()
	o.output.add(cmd, "text")
	f.BoolVar(&o.Full, "full", false, "also write files for Argo CD, CI and Secrets")
	f.BoolVar(&o.Direct, "direct", false, "with --full, no cluster: CI starts the rebuilds on a schedule")
	f.BoolVar(&o.PullRequest, "pull-request", false, "with --full, CI proposes dist in a pull or merge request instead of pushing it")
	f.BoolVar(&o.Force, "force", false, "with --full, replace existing files that differ (never images.yaml)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff of what would be written and write nothing")
	f.StringVar(&o.CI, "ci", "", "with --full, CI `system`: github, gitlab, gitea or both (default that of the repository's host)")
	f.StringVar(&o.ArgoCDNamespace, "argocd-namespace", defaultArgoCDNamespace, "with --full, `namespace` of Argo CD")
	return cmd
}

func runInit(env *Env, paths *pathFlags, o *initOptions) error {
	switch {
	case o.CI != "" && o.CI != "github" && o.CI != "gitlab" && o.CI != "gitea" && o.CI != "both":
		return fleet.Usagef("--ci %q: want github, gitlab, gitea or both", o.CI)
	case o.PullRequest && (o.Direct || o.CI == "gitea"):
		return fleet.Usagef("--pull-request is for CI at GitHub and GitLab that writes dist, so not with --direct or --ci gitea")
	case !o.Full && (o.Force || o.Direct || o.PullRequest || o.CI != "" || o.ArgoCDNamespace != defaultArgoCDNamespace):
		return fleet.Usagef("--force, --direct, --pull-request, --ci and --argocd-namespace belong to --full")
	}
	if err := o.output.check(); err != nil {
		return err
	}
	o.Version, o.Commit = "latest", releaseCommit
	if v := version(); strings.HasPrefix(v, "v") && !strings.Contains(v, "+") { // a published one
		o.Version = v
	}
	plan, err := bootstrap.PlanInit(paths.paths(), o.InitOptions)
	if err != nil {
		return err
	}
	for _, note := range plan.Notes {
		if err := env.infof("%s", note); err != nil {
			return err
		}
	}
	if o.dryRun {
		files, diffs := plan.Changes()
		if o.output.forPrograms() {
			return report.Print(env.Out, o.output.value, newFileList(files, true))
		}
		for i := range files {
			if diffs[i] == "" { // an empty file
				diffs[i] = "--- /dev/null\n+++ " + files[i] + "\n"
			}
			if err := report.Diff(env.Out, diffs[i]); err != nil {
				return err
			}
		}
		return env.infof("%s would be written", plural.Count(len(files), "file"))
	}
	written, err := plan.Write()
	if o.output.forPrograms() {
		if err != nil {
			return err
		}
		return report.Print(env.Out, o.output.value, newFileList(written, false))
	}
	for _, file := range written {
		if err := env.infof("wrote %s", file); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case !o.Full:
		return env.infof("next: imagefactory enroll NAME --repository OWNER/NAME ...")
	case len(written) == 0:
		return env.infof("all files exist already")
	}
	return printNext(env, o.Direct, plan.Elsewhere)
}

// printNext prints the next steps. elsewhere says that state is not in the checkout of images.yaml.
func printNext(env *Env, direct, elsewhere bool) error {
	analyze, first := "imagefactory analyze", "imagefactory analyze && imagefactory synth"
	if elsewhere {
		analyze = "imagefactory analyze --push"
		first = analyze + ", check the state out (docs/install.md), imagefactory synth"
	}
	lines := []string{
		"next:",
		"  1. " + first + ", then commit and push everything",
		"  2. kubectl apply -f " + bootstrap.NamespaceFile,
		"  3. copy " + bootstrap.SecretsFile + " to a place outside of git, fill it in, kubectl apply -f it",
		"     (or fill in " + bootstrap.ExternalSecretsFile + ")",
		"  4. kubectl apply -k deploy: Argo CD starts to apply dist",
		"  5. imagefactory workflow NAME --write DIR for each image: the workflow that builds with the lock; commit and push it",
		"  6. run imagefactory doctor: it lists what is still missing",
	}
	if direct {
		lines = []string{
			"next:",
			"  1. " + analyze + ", then commit and push everything",
			"  2. create the secrets that the CI configuration names",
			"  3. imagefactory workflow NAME --write DIR for each image: the workflow that builds with the lock; commit and push it",
			"  4. run it once by hand; imagefactory status shows the images, and doctor --direct lists what is still missing",
		}
	}
	for _, line := range lines {
		if err := env.infof("%s", line); err != nil {
			return err
		}
	}
	return nil
}
