package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type workflowOptions struct {
	bootstrap.WorkflowOptions
	write, check string // a checkout of the repository that is built
	force        bool
}

func newWorkflow(env *Env, paths *pathFlags) *cobra.Command {
	o := &workflowOptions{}
	cmd := &cobra.Command{
		Use:   "workflow NAME | --check DIR",
		Short: "Write the workflow that builds an image with its lock",
		Long: `Workflow prints the workflow of GitHub or Gitea, or the GitLab CI configuration, that builds an image as it is enrolled: its Dockerfile,
target, build arguments, contexts and platforms, or the target of its bake file or the service of its Compose file, with the lock, and
with provenance from which imagefactory reads what the image was built on. Builds of an image run one after the other, and the title of a run names the rebuild that it is for.

A workflow that several entries name has a job for each of them; an input that they share selects one.

With --write DIR, it writes the file into DIR, a checkout of the repository that is built. With --check DIR, it prints how the
file there differs, and exits with 3 if it does; without NAME, for each file in DIR that imagefactory wrote, and it fails if DIR is
of a repository that builds no image, or has no workflow. Both keep the
options with which the present file was written, and the versions of its actions, which a bot may have updated.`,
		Example: `  imagefactory workflow web
  imagefactory workflow web --write ../web
  imagefactory workflow web --check ../web
  imagefactory workflow --check .
  imagefactory workflow web --tag '1.0.${{ github.run_number }}'`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runWorkflow(env, paths, o, names) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.write, "write", "w", "", "write the file into `DIR`, a checkout of the repository that is built")
	f.StringVar(&o.check, "check", "", "compare with the file in `DIR`; exit code 3 when it differs")
	f.BoolVar(&o.force, "force", false, "with --write, replace a file that imagefactory did not write")
	f.StringArrayVar(&o.Tags, "tag", nil, "`tag` that a build publishes; may contain expressions of the CI system (repeatable; default the tag that the entry follows)")
	f.StringVar(&o.Context, "context", "", "`folder` of the repository that is the build context (default the repository)")
	f.StringVar(&o.Release, "release", "", "`version` of imagefactory that fetches the lock, such as v1.2.3 (default this one, if it is a release)")
	f.StringVar(&o.Commit, "commit", "", "`commit` of that release, by which the action is used (default that of this release)")
	return cmd
}

func runWorkflow(env *Env, paths *pathFlags, o *workflowOptions, names []string) error {
	switch {
	case o.write != "" && o.check != "":
		return fleet.Usagef("--write and --check exclude each other")
	case o.force && o.write == "":
		return fleet.Usagef("--force belongs to --write")
	case len(names) == 0 && o.check == "":
		return fleet.Usagef("workflow needs NAME, or --check DIR")
	}
	f, err := fleet.OpenWithoutScans(paths.paths())
	if err != nil {
		return err
	}
	switch {
	case len(names) == 0:
		return o.checkAll(env, f)
	case o.check != "":
		return o.checkOne(env, f, names[0])
	}
	dir := o.write
	w, have, err := o.render(f, names[0], dir)
	if err != nil {
		return err
	}
	if dir != "" {
		err = o.writeWorkflow(env, w, have)
	} else {
		_, err = env.Out.Write(w.Content)
	}
	if err != nil {
		return err
	}
	for _, note := range w.Notes {
		if err := env.infof("note: %s", note); err != nil {
			return err
		}
	}
	return nil
}

// render returns the workflow of an image and its present file in a checkout, if any. Options that are not given are those of
// the present file.
func (o *workflowOptions) render(f *fleet.Fleet, name, dir string) (w *bootstrap.Workflow, have []byte, err error) {
	file, err := bootstrap.WorkflowPath(f, name, dir)
	if err != nil {
		return nil, nil, err
	}
	if dir != "" {
		have, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("reading the present workflow: %w", err)
		}
	}
	_, present, _ := bootstrap.ParseWorkflow(have)
	given := o.WorkflowOptions
	given.Dir = dir
	if given.Release == "" && o.check == "" && releaseVersion != "" {
		given.Release, given.Commit = releaseVersion, releaseCommit
	}
	w, err = bootstrap.NewWorkflow(f, name, given.Or(present))
	return w, have, err
}

// checkAll compares every file in a checkout that imagefactory wrote.
func (o *workflowOptions) checkAll(env *Env, f *fleet.Fleet) error {
	names, reasons, err := bootstrap.WorkflowsIn(f, o.check)
	if err != nil {
		return err
	}
	for _, reason := range reasons {
		if err := env.infof("not compared: %s", reason); err != nil {
			return err
		}
	}
	differ := false
	for _, name := range names {
		switch err := o.checkOne(env, f, name); {
		case errors.Is(err, errDifference):
			differ = true
		case err != nil:
			return err
		}
	}
	if differ {
		return errDifference
	}
	return nil
}

// checkOne prints how the file in a checkout differs; that is an error.
func (o *workflowOptions) checkOne(env *Env, f *fleet.Fleet, name string) error {
	w, have, err := o.render(f, name, o.check)
	if err != nil {
		return err
	}
	file := filepath.Join(o.check, filepath.FromSlash(w.Path))
	if have != nil && manifest.SameText(have, w.Content) {
		return env.infof("%s is up to date", file)
	}
	if err := report.Diff(env.Out, udiff.Unified(file, file, string(have), string(w.Content))); err != nil {
		return err
	}
	if err := env.infof("%s is out of date: run `imagefactory workflow %s --write %s`", file, name, o.check); err != nil {
		return err
	}
	return errDifference
}

func (o *workflowOptions) writeWorkflow(env *Env, w *bootstrap.Workflow, have []byte) error {
	if _, err := os.Stat(o.write); err != nil {
		return fmt.Errorf("opening the checkout: %w", err)
	}
	file := filepath.Join(o.write, filepath.FromSlash(w.Path))
	_, _, written := bootstrap.ParseWorkflow(have)
	switch {
	case have != nil && manifest.SameText(have, w.Content):
		return env.infof("%s is up to date", file)
	case have != nil && !o.force && !written:
		return fmt.Errorf("writing %q: already exists and was not written by imagefactory (compare with --check, replace with --force)", file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("creating folder: %w", err)
	}
	if err := renameio.WriteFile(file, w.Content, 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	return env.infof("wrote %s", file)
}
