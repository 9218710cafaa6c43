package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/discover"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type discoverOptions struct {
	dirs       []string
	confidence string
	write      bool
	save       enrollOptions // output and dry run
}

func newDiscover(env *Env, paths *pathFlags) *cobra.Command {
	o := &discoverOptions{}
	cmd := &cobra.Command{
		Use:   "discover --dir FOLDER...",
		Short: "Find the images that repositories build, and propose their entries",
		Long: `Discover reads repositories and finds their Dockerfiles, and which GitHub workflow, GitLab job, bake file, compose file, makefile
or script builds and pushes what. It prints a proposed entry for each image with its reasons and its confidence: high if
everything is written there, medium if something depends on a condition or has to be changed first, low if something is not
known; an expression that cannot be resolved is shown as it is written. It also lists the Dockerfiles whose image nothing pushes,
and images of yours that others are built on and nobody enrolled.

With --write it adds the proposed entries to images.yaml, as enroll does. An entry that is there is never changed: differences are
shown. Nothing of what is read is run.`,
		Example: `  imagefactory discover --dir ~/src/acme
  imagefactory discover --dir . -o wide
  imagefactory discover --dir ~/src/acme --write --min-confidence high
  imagefactory discover --dir ~/src/acme -o entries > more.yaml    # edit, then: imagefactory enroll --from more.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDiscover(cmd.Context(), env, paths, o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.dirs, "dir", nil, "`folder` of checkouts, or a checkout (repeatable)")
	f.BoolVar(&o.write, "write", false, "add the proposed entries to images.yaml")
	f.BoolVar(&o.save.dryRun, "dry-run", false, "with --write, print a diff and write nothing")
	f.StringVar(&o.confidence, "min-confidence", string(discover.Medium), "least `confidence` of the entries that are written: high or medium")
	_ = cmd.RegisterFlagCompletionFunc("min-confidence", cobra.FixedCompletions([]string{"high", "medium"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	o.save.output.add(cmd, "table", "wide", "entries")
	return cmd
}

func runDiscover(ctx context.Context, env *Env, paths *pathFlags, o *discoverOptions) error {
	least := discover.Confidence(o.confidence)
	switch {
	case len(o.dirs) == 0:
		return fleet.Usagef("discover needs --dir FOLDER, e.g. imagefactory discover --dir ~/src/acme")
	case least != discover.High && least != discover.Medium:
		return fleet.Usagef("--min-confidence %q: want high or medium", o.confidence)
	case o.save.dryRun && !o.write:
		return fleet.Usagef("--dry-run belongs to --write")
	}
	if err := o.save.output.check(); err != nil {
		return err
	}
	cfg, err := o.enrolled(paths)
	if err != nil {
		return err
	}
	found, err := discover.Folders(ctx, o.dirs, cfg)
	if err != nil {
		return err
	}
	if o.write {
		return o.writeEntries(env, paths, found, least)
	}
	return o.print(env, found, least)
}

// enrolled returns images.yaml. Without --write, it need not exist.
func (o *discoverOptions) enrolled(paths *pathFlags) (*config.Config, error) {
	cfg, err := config.LoadFile(paths.config)
	if errors.Is(err, fs.ErrNotExist) && !o.write {
		return config.Load(strings.NewReader(""), paths.config)
	}
	return cfg, err
}

func (o *discoverOptions) print(env *Env, found *discover.Report, least discover.Confidence) error {
	switch output := o.save.output; {
	case output.forPrograms():
		return report.Print(env.Out, output.value, Discovery{report.NewMeta("Discovery"), found})
	case output.value == "entries":
		text, err := found.Entries(least)
		if err != nil {
			return err
		}
		if _, err := env.Out.Write(text); err != nil {
			return fmt.Errorf("printing entries: %w", err)
		}
		return nil
	default:
		return env.style(output.wide()).Discovery(env.Out, found, output.wide())
	}
}

// writeEntries adds the proposed entries to images.yaml.
func (o *discoverOptions) writeEntries(env *Env, paths *pathFlags, found *discover.Report, least discover.Confidence) error {
	text, err := os.ReadFile(paths.config)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	list, err := found.EntryList(least)
	if err != nil {
		return err
	}
	added, err := config.AppendList(text, paths.config, list, "")
	if err != nil {
		return err
	}
	for i := range found.Items {
		p := &found.Items[i]
		for _, d := range p.Differences {
			if err := env.infof("%s differs and stays: %s is %q in images.yaml, %q in the repository", p.Name, d.Key, d.Have, d.Want); err != nil {
				return err
			}
		}
	}
	if n := found.Counts()[discover.Incomplete]; n > 0 {
		if err := env.infof("%d incomplete, not enrolled; without --write, discover shows what is not known", n); err != nil {
			return err
		}
	}
	return o.save.save(env, paths, text, added.Text, enrolled(added, paths.config))
}
