package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
		Use:   "workflow NAME",
		Short: "Write the workflow that builds an image with its lock",
		Long: `Workflow prints the GitHub workflow or the GitLab CI configuration that builds an image as it is enrolled: its Dockerfile,
target, build arguments, contexts and platforms, with the lock, and with provenance from which imagefactory reads what the
image was built on. Builds of an image run one after the other, and the title of a run names the rebuild that it is for.

A GitHub workflow that several entries name has a job for each of them; an input that they share selects one.

With --write DIR, it writes the file into DIR, a checkout of the repository that is built. With --check DIR, it prints how the
file there differs, and exits with 3 if it does.`,
		Example: `  imagefactory workflow web
  imagefactory workflow web --write ../web
  imagefactory workflow web --check ../web
  imagefactory workflow web --tag '1.0.${{ github.run_number }}'`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runWorkflow(env, paths, o, names[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.write, "write", "w", "", "write the file into `DIR`, a checkout of the repository that is built")
	f.StringVar(&o.check, "check", "", "compare with the file in `DIR`; exit code 3 when it differs")
	f.BoolVar(&o.force, "force", false, "with --write, replace a file that imagefactory did not write")
	f.StringArrayVar(&o.Tags, "tag", nil, "`tag` that a build publishes; may contain expressions of the CI system (repeatable; default the tag that the entry follows)")
	f.StringVar(&o.Context, "context", ".", "`folder` of the repository that is the build context")
	f.StringVar(&o.Release, "release", "", "`version` of imagefactory that fetches the lock, such as v1.2.3 (default this one, if it is a release)")
	return cmd
}

func runWorkflow(env *Env, paths *pathFlags, o *workflowOptions, name string) error {
	switch {
	case o.write != "" && o.check != "":
		return fleet.Usagef("--write and --check exclude each other")
	case o.force && o.write == "":
		return fleet.Usagef("--force belongs to --write")
	}
	if o.Release == "" && releaseVersion != "" {
		o.Release, o.Commit = releaseVersion, releaseCommit
	}
	f, err := fleet.Open(paths.paths())
	if err != nil {
		return err
	}
	w, err := bootstrap.NewWorkflow(f, name, o.WorkflowOptions)
	if err != nil {
		return err
	}
	switch {
	case o.check != "":
		return checkWorkflow(env, o.check, w)
	case o.write != "":
		err = o.writeWorkflow(env, w)
	default:
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

// readWorkflow returns the present file of a workflow in a checkout; nil if there is none.
func readWorkflow(dir string, w *bootstrap.Workflow) (file string, have []byte, err error) {
	file = filepath.Join(dir, filepath.FromSlash(w.Path))
	have, err = os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return file, nil, fmt.Errorf("reading %q: %w", file, err)
	}
	return file, have, nil
}

// checkWorkflow prints how the file in a checkout differs; that is an error.
func checkWorkflow(env *Env, dir string, w *bootstrap.Workflow) error {
	file, have, err := readWorkflow(dir, w)
	if err != nil {
		return err
	}
	if have != nil && manifest.SameText(have, w.Content) {
		return env.infof("%s is up to date", file)
	}
	if err := report.Diff(env.Out, udiff.Unified(file, file, string(have), string(w.Content))); err != nil {
		return err
	}
	if err := env.infof("%s is out of date: run `imagefactory workflow` with --write", file); err != nil {
		return err
	}
	return errDifference
}

func (o *workflowOptions) writeWorkflow(env *Env, w *bootstrap.Workflow) error {
	if _, err := os.Stat(o.write); err != nil {
		return fmt.Errorf("opening the checkout: %w", err)
	}
	file, have, err := readWorkflow(o.write, w)
	switch {
	case err != nil:
		return err
	case have != nil && manifest.SameText(have, w.Content):
		return env.infof("%s is up to date", file)
	case have != nil && !o.force && !strings.HasPrefix(string(bytes.TrimSpace(have)), bootstrap.WorkflowMarker):
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
