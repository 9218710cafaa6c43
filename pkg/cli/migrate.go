package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/migrate"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type migrateOptions struct {
	to     string
	dryRun bool
	force  bool
}

// migrateFolder is the default folder of the new files, inside the one that is migrated.
const migrateFolder = "imagefactory"

func newMigrate(env *Env) *cobra.Command {
	o := &migrateOptions{}
	cmd := &cobra.Command{
		Use:   "migrate [DIR]",
		Short: "Convert the files of the older cdk8s tool",
		Long: `Migrate reads images.yaml and the state files of the older cdk8s tool in DIR (default the current folder), in either of
its layouts: everything under image-factory/, or a repository of its own with images.yaml, images/ and base-images/.
It writes the new images.yaml and state/ into a folder beside them, deletes nothing, and reports what it could not
convert. On stdout it prints the kubectl commands that delete the old Kargo objects; with --dry-run a diff.

The exit code is 1 when an entry could not be enrolled; it stays in the new images.yaml as a comment.`,
		Example: `  imagefactory migrate --dry-run          # what would be written
  imagefactory migrate > delete-old.sh    # writes imagefactory/images.yaml and imagefactory/state
  imagefactory migrate ../image-factory-state --to .`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			for _, name := range []string{"config", "state-dir", "out-dir"} {
				if cmd.Flags().Changed(name) {
					return fleet.Usagef("--%s: migrate writes images.yaml and state below --to", name)
				}
			}
			return runMigrate(env, o, append(dirs, ".")[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "`folder` that the new files go to (default imagefactory in DIR)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff and write nothing")
	f.BoolVar(&o.force, "force", false, "overwrite existing files that differ")
	return cmd
}

func runMigrate(env *Env, o *migrateOptions, dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("reading %q: %w", dir, errors.Unwrap(err))
	} else if !info.IsDir() {
		return fleet.Usagef("invalid folder %q: want the one that holds image-factory/ or images.yaml", dir)
	}
	to := o.to
	if to == "" {
		to = filepath.Join(dir, migrateFolder)
	}
	plan, err := migrate.Read(os.DirFS(dir), filepath.ToSlash(filepath.Clean(dir)), env.Now())
	if err != nil {
		return fmt.Errorf("migrating %q: %w", dir, err)
	}
	if same(filepath.Join(dir, filepath.FromSlash(plan.Layout.Config)), filepath.Join(to, config.DefaultConfigFile)) {
		return fleet.Usagef("--to %q: the new images.yaml would replace the old one, which you need to go back (name another folder)", to)
	}
	if err := report.Findings(env.Err, plan.Findings); err != nil {
		return err
	}
	var written []string
	if o.dryRun {
		err = migrateDiff(env, plan, dir, to)
	} else {
		written, err = plan.Write(to, o.force)
	}
	if err != nil {
		return err
	}
	if err := migrateSummary(env, o, plan, dir, to, written); err != nil {
		return err
	}
	if plan.Findings.Err() != nil {
		return errReported
	}
	return nil
}

// same reports whether two paths are of one file.
func same(a, b string) bool {
	old, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(old, other)
}

// migrateDiff prints a diff of the files that would be written. A new images.yaml is compared with the old one.
func migrateDiff(env *Env, plan *migrate.Plan, dir, to string) error {
	missing, conflict, err := plan.Check(to)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		target := filepath.Join(to, filepath.FromSlash(name))
		from := target
		if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) && name == config.DefaultConfigFile {
			from = filepath.Join(dir, filepath.FromSlash(plan.Layout.Config))
		}
		have, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) {
			from = "/dev/null"
		} else if err != nil {
			return fmt.Errorf("comparing: %w", err)
		}
		if err := report.Diff(env.Out, udiff.Unified(filepath.ToSlash(from), filepath.ToSlash(target), string(have), string(missing[name]))); err != nil {
			return err
		}
	}
	if conflict != nil {
		return env.infof("without --dry-run this fails: %s", conflict)
	}
	return nil
}

// migrateSummary prints the number of files, the old objects and the next steps.
func migrateSummary(env *Env, o *migrateOptions, plan *migrate.Plan, dir, to string, written []string) error {
	objects := env.Out
	done := fmt.Sprintf("%s written to %s", plural.Count(len(written), "file"), to)
	if o.dryRun {
		objects, done = env.Err, "nothing was written (--dry-run)"
	}
	lines := []string{
		fmt.Sprintf("read %s: %d of %s, %s", plan.Layout.Kind, plan.Enrolled, plural.Form(plan.Images, "entry", "entries")+" enrolled", plural.Count(plan.Bases, "base image")),
		fmt.Sprintf("%s; %s above", done, plural.Count(len(plan.Findings), "finding")),
		"kept under their names: " + listObjects(plan.Kept),
	}
	if len(plan.Retired) > 0 {
		old := make([]string, len(plan.Retired))
		for i, name := range plan.Retired {
			old[i] = filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(name)))
		}
		lines = append(lines, "may be deleted once the new resources run: "+strings.Join(old, ", "))
	}
	if !o.dryRun {
		lines = append(lines, fmt.Sprintf("next, in %s: imagefactory validate, imagefactory analyze, imagefactory synth", to))
	}
	for _, line := range lines {
		if err := env.infof("%s", line); err != nil {
			return err
		}
	}
	return printDeletes(objects, plan.Old)
}

func listObjects(objects []migrate.Object) string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = o.Kind + " " + o.Name
	}
	return strings.Join(out, ", ")
}

// printDeletes prints the commands that delete the old objects. Their names are valid in Kubernetes, so a shell needs no
// quotes around them.
func printDeletes(out io.Writer, objects []migrate.Object) error {
	var b strings.Builder
	b.WriteString("# Kargo objects of the older tool. Delete them before Argo CD applies the new ones, so that no build starts twice.\n")
	for i, o := range objects {
		if i == 0 || objects[i-1].Kind != o.Kind {
			fmt.Fprintf(&b, "kubectl delete %s --namespace %s --ignore-not-found", o.Resource(), o.Namespace)
		}
		b.WriteString(" \\\n  " + o.Name)
		if i+1 == len(objects) || objects[i+1].Kind != o.Kind {
			b.WriteString("\n")
		}
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("printing objects: %w", err)
	}
	return nil
}
