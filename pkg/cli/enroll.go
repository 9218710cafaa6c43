package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
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
	updatePins   bool
	from         string // file with entries
	dryRun       bool
	output       outputFlag
}

// sourceFlags make an image a managed one.
var sourceFlags = []string{"provider", "host", "repo", "branch", "dockerfile", "target", "build-arg", "platform", "workflow", "job", "pin-bases", "update-pins"}

// entryFlags set other keys of an entry.
var entryFlags = append([]string{"registry", "repository", "tag", "rebuild-delay", "owner", "label", "no-rebuild"}, sourceFlags...)

func newEnroll(env *Env, paths *pathFlags) *cobra.Command {
	o := &enrollOptions{}
	cmd := &cobra.Command{
		Use:   "enroll NAME --repository OWNER/NAME [--provider github --repo OWNER/REPO ...] | --from FILE",
		Short: "Add images to images.yaml",
		Long: `Enroll appends an entry to images.yaml and keeps every comment and the layout of the file. With --repo and the other flags of its source
the image is managed: rebuilt when its base images change. Without them it is external: watched, never rebuilt. The whole
file is checked before it is written.

With --from, enroll appends every entry of a list: YAML or JSON with the keys of images.yaml, or what discover prints. An entry
that is already enrolled with the same values is skipped. If one entry is invalid, every problem is reported with its line,
and none is enrolled.`,
		Example: `  imagefactory enroll web --repository acme/web --provider github --repo acme/web --workflow build.yml
  imagefactory enroll postgres --repository library/postgres --tag 16
  imagefactory enroll --from more-images.yaml --dry-run`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if o.from != "" {
				if len(names) > 0 || slices.ContainsFunc(entryFlags, cmd.Flags().Changed) {
					return fleet.Usagef("--from reads whole entries: it excludes NAME and the flags of an entry")
				}
				return runEnrollFrom(env, paths, o)
			}
			if len(names) != 1 {
				return fleet.Usagef("enroll needs NAME, e.g. imagefactory enroll web --repository acme/web")
			}
			o.image.Name = names[0]
			o.managed = slices.ContainsFunc(sourceFlags, cmd.Flags().Changed)
			return namingFlags(runEnroll(env, paths, o), cmd.Flags())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.image.Registry, "registry", "", "registry `host` (default ghcr.io; docker.io for an external image)")
	f.StringVar(&o.image.Repository, "repository", "", "`path` of the image in its registry")
	f.StringVar(&o.tag, "tag", "", "the only `tag` to follow (default: chosen from the registry's tags)")
	f.StringVar(&o.provider, "provider", "", "forge of the source: github, gitlab, gitea or git")
	f.StringVar(&o.source.Host, "host", "", "`host` of a self-hosted forge; gitea needs it")
	f.StringVar(&o.source.Repo, "repo", "", "source repository, such as `owner/repo`")
	f.StringVar(&o.source.Branch, "branch", "", "`branch` to build (default main)")
	f.StringVar(&o.source.Dockerfile, "dockerfile", "", "`path` of the Dockerfile in the repository (default Dockerfile)")
	f.StringVar(&o.source.Target, "target", "", "`stage` to build (default the last)")
	f.StringArrayVar(&o.buildArgs, "build-arg", nil, "build argument `NAME=VALUE` that the workflow sets")
	f.StringSliceVar(&o.source.Platforms, "platform", nil, "`platforms` to build (default linux/amd64)")
	f.StringVar(&o.source.Workflow, "workflow", "", "workflow `file` of GitHub or Gitea Actions")
	f.StringVar(&o.source.Job, "job", "", "GitLab `job`")
	f.BoolVar(&o.pinBases, "pin-bases", false, "the workflow builds with the lock that pin prints")
	f.BoolVar(&o.updatePins, "update-pins", false, "move the pinned references of the Dockerfile by pull requests")
	f.StringVar(&o.rebuildDelay, "rebuild-delay", "", "`time` that a new digest of a base image waits (default 7d)")
	f.StringVar(&o.image.Owner, "owner", "", "team or person that owns the image, such as team-shop or @acme/shop")
	f.StringArrayVar(&o.labels, "label", nil, "`label` KEY=VALUE to select the image by; may be given several times")
	f.BoolVar(&o.noRebuild, "no-rebuild", false, "only watch the image, never rebuild it")
	_ = cmd.RegisterFlagCompletionFunc("owner", completeLabels(paths, ownerWords)) // the flag exists
	o.output.add(cmd, "text")
	f.StringVar(&o.from, "from", "", "`file` with a list of entries to add; - for stdin")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff and write nothing")
	return cmd
}

// namingFlags makes the fixes for missing keys of a new entry name the flags that set them.
func namingFlags(err error, flags *pflag.FlagSet) error {
	var problems finding.List
	if !errors.As(err, &problems) {
		return err
	}
	for i := range problems {
		f := &problems[i]
		key, isKey := strings.CutPrefix(f.Fix, "add ")
		if key = strings.Trim(key, `"`); isKey && f.Line == 0 && flags.Lookup(key) != nil {
			f.Fix = "pass --" + key
		}
	}
	return problems
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
		if o.updatePins {
			src.UpdatePins = config.ByPullRequest
		}
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
	text, err := readConfig(paths)
	if err != nil {
		return err
	}
	out, err := config.Append(text, paths.config, &img)
	if err != nil {
		return err
	}
	return o.save(env, paths, text, out, fmt.Sprintf("enrolled %s in %s; next: imagefactory analyze %s", img.Name, paths.config, img.Name))
}

// runEnrollFrom adds the entries of a file.
func runEnrollFrom(env *Env, paths *pathFlags, o *enrollOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	list, source, err := readEntries(env, o.from)
	if err != nil {
		return err
	}
	text, err := readConfig(paths)
	if err != nil {
		return err
	}
	added, err := config.AppendList(text, paths.config, list, source)
	if err != nil {
		return err
	}
	return o.save(env, paths, text, added.Text, enrolled(added, paths.config))
}

// readEntries reads a list of entries from a file or stdin, and returns its name for messages.
func readEntries(env *Env, from string) (list []byte, name string, err error) {
	in, name := env.In, "stdin"
	if from != "-" {
		f, err := os.Open(from)
		if err != nil {
			return nil, "", fmt.Errorf("reading entries: %w", err)
		}
		defer f.Close()
		in, name = f, from
	}
	list, err = io.ReadAll(io.LimitReader(in, config.ListLimit+1))
	if err != nil {
		return nil, "", fmt.Errorf("reading entries: %w", err)
	}
	return list, name, nil
}

// enrolled returns a sentence about what was added.
func enrolled(a *config.Added, file string) string {
	text := fmt.Sprintf("enrolled %s in %s", plural.Count(len(a.Names), "image"), file)
	if n := len(a.Present); n > 0 {
		text += fmt.Sprintf(" (%d already there)", n)
	}
	if len(a.Names) > 0 {
		text += "; next: imagefactory analyze"
	}
	return text
}

// readConfig reads images.yaml.
func readConfig(paths *pathFlags) ([]byte, error) {
	text, err := os.ReadFile(paths.config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading %q: no such file: run `imagefactory init` first", paths.config)
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	return text, nil
}

// save writes the new text of images.yaml, or prints the change if it is a dry run.
func (o *enrollOptions) save(env *Env, paths *pathFlags, before, after []byte, done string) error {
	var changed []string
	if !bytes.Equal(before, after) {
		changed = []string{paths.config}
	}
	files := newFileList(changed, o.dryRun)
	switch {
	case o.dryRun && o.output.forPrograms():
		return report.Print(env.Out, o.output.value, files)
	case o.dryRun:
		return report.Diff(env.Out, udiff.Unified(paths.config, paths.config, string(before), string(after)))
	}
	if len(changed) > 0 {
		if err := writeConfig(paths, after); err != nil {
			return err
		}
	}
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, files)
	}
	return env.infof("%s", done)
}

// writeConfig replaces images.yaml. A link stays a link.
func writeConfig(paths *pathFlags, text []byte) error {
	target, err := filepath.EvalSymlinks(paths.config)
	if err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	if err := renameio.WriteFile(target, text, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	return nil
}
