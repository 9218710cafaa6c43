package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type enrollOptions struct {
	image        config.Image
	managed      bool
	source       config.Source
	provider     string
	buildArgs    []string
	tag          string
	rebuildDelay string
	labels       []string
	noRebuild    bool
	pinBases     bool
	dryRun       bool
	output       outputFlag
}

// sourceFlags make an image a managed one.
var sourceFlags = []string{"provider", "host", "repo", "branch", "dockerfile", "target", "build-arg", "platform", "workflow", "job", "pin-bases"}

func newEnroll(env *Env, paths *pathFlags) *cobra.Command {
	o := &enrollOptions{}
	cmd := &cobra.Command{
		Use:   "enroll NAME --repository OWNER/NAME [--provider github --repo OWNER/REPO ...]",
		Short: "Add an image to images.yaml",
		Long: `Enroll appends an entry to images.yaml and keeps every comment and the layout of the file. With --repo and the other flags of its source
the image is managed: rebuilt when its base images change. Without them it is external: watched, never rebuilt. The whole
file is checked before it is written.`,
		Example: `  imagefactory enroll web --repository acme/web --provider github --repo acme/web --workflow build.yml
  imagefactory enroll postgres --repository library/postgres --tag 16`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) != 1 {
				return fleet.Usagef("enroll needs NAME, e.g. imagefactory enroll web --repository acme/web")
			}
			o.image.Name = names[0]
			o.managed = slices.ContainsFunc(sourceFlags, cmd.Flags().Changed)
			return runEnroll(env, paths, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.image.Registry, "registry", "", "registry `host` (default ghcr.io; docker.io for an external image)")
	f.StringVar(&o.image.Repository, "repository", "", "`path` of the image in its registry")
	f.StringVar(&o.tag, "tag", "", "the only `tag` to follow (default: chosen from the registry's tags)")
	f.StringVar(&o.provider, "provider", "", "forge of the source: github, gitlab or git")
	f.StringVar(&o.source.Host, "host", "", "`host` of a self-hosted forge")
	f.StringVar(&o.source.Repo, "repo", "", "source repository, such as `owner/repo`")
	f.StringVar(&o.source.Branch, "branch", "", "`branch` to build (default main)")
	f.StringVar(&o.source.Dockerfile, "dockerfile", "", "`path` of the Dockerfile in the repository (default Dockerfile)")
	f.StringVar(&o.source.Target, "target", "", "`stage` to build (default the last)")
	f.StringArrayVar(&o.buildArgs, "build-arg", nil, "build argument `NAME=VALUE` that the workflow sets")
	f.StringSliceVar(&o.source.Platforms, "platform", nil, "`platforms` to build (default linux/amd64)")
	f.StringVar(&o.source.Workflow, "workflow", "", "GitHub Actions workflow `file`")
	f.StringVar(&o.source.Job, "job", "", "GitLab `job`")
	f.BoolVar(&o.pinBases, "pin-bases", false, "the workflow builds with the lock that pin prints")
	f.StringVar(&o.rebuildDelay, "rebuild-delay", "", "`time` that a new digest of a base image waits (default 7d)")
	f.StringVar(&o.image.Owner, "owner", "", "team or person that owns the image, such as team-shop or @acme/shop")
	f.StringArrayVar(&o.labels, "label", nil, "`label` KEY=VALUE to select the image by; may be given several times")
	f.BoolVar(&o.noRebuild, "no-rebuild", false, "only watch the image, never rebuild it")
	_ = cmd.RegisterFlagCompletionFunc("owner", completeLabels(paths, ownerWords)) // the flag exists
	o.output.add(cmd, "text")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff and write nothing")
	return cmd
}

func runEnroll(env *Env, paths *pathFlags, o *enrollOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	img := o.image
	if img.Repository == "" {
		return fleet.Usagef("enroll needs --repository, the path of the image in its registry")
	}
	if o.managed {
		src := o.source
		src.Provider = config.Provider(o.provider)
		if o.pinBases {
			src.PinBases = &o.pinBases
		}
		args, err := keyValues(env, "build-arg", o.buildArgs, false)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			src.BuildArgs = args
		}
		img.Source = &src
	}
	labels, err := keyValues(env, "label", o.labels, false)
	if err != nil {
		return err
	}
	if len(labels) > 0 {
		img.Labels = labels
	}
	if o.tag != "" {
		img.Tags = &config.Tags{Strategy: config.Digest, Constraint: o.tag}
	}
	if o.rebuildDelay != "" {
		d, err := config.ParseDuration(o.rebuildDelay)
		if err != nil {
			return fleet.Usagef("--rebuild-delay: %s", err)
		}
		img.RebuildDelay = &d
	}
	if o.noRebuild {
		never := false
		img.AutoRebuild = &never
	}
	text, err := os.ReadFile(paths.config)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %q: no such file: run `imagefactory init` first", paths.config)
	}
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	out, err := config.Append(text, paths.config, &img)
	if err != nil {
		return err
	}
	files := newFileList([]string{paths.config}, o.dryRun)
	if o.dryRun && o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, files)
	}
	if o.dryRun {
		return report.Diff(env.Out, udiff.Unified(paths.config, paths.config, string(text), string(out)))
	}
	target, err := filepath.EvalSymlinks(paths.config) // a link stays a link
	if err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	if err := renameio.WriteFile(target, out, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, files)
	}
	return env.infof("enrolled %s in %s; next: imagefactory analyze %s", img.Name, paths.config, img.Name)
}
