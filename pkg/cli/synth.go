package cli

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type synthOptions struct {
	dryRun, diff, check, split bool
	output                     outputFlag
	keepLayout                 bool // --split is not given: dist stays split or one file
}

func newSynth(env *Env, paths *pathFlags) *cobra.Command {
	o := &synthOptions{}
	cmd := &cobra.Command{
		Use:   "synth",
		Short: "Generate the Kargo resources in dist from images.yaml and state",
		Long: `Synth generates the Kargo resources that watch registries, analyze and rebuild, from images.yaml and the state folder,
and writes them to dist/image-factory.k8s.yaml. Argo CD applies that file after review. A dist that is split into one file
per resource stays so; --split=false writes one file again.`,
		Example: `  imagefactory synth
  imagefactory synth --check      # in CI: exit code 3 and a diff when dist is out of date
  imagefactory synth --split      # one file per resource and a kustomization, from now on`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.keepLayout = !cmd.Flags().Changed("split")
			return runSynth(env, paths, o)
		},
	}
	f := cmd.Flags()
	o.output.add(cmd, "text")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the resources and write nothing")
	f.BoolVar(&o.diff, "diff", false, "print what would change in dist and write nothing")
	f.BoolVar(&o.check, "check", false, "like --diff, with exit code 3 when something would change")
	f.BoolVar(&o.split, "split", false, "one file per resource and a kustomization.yaml (default: as dist is)")
	return cmd
}

func runSynth(env *Env, paths *pathFlags, o *synthOptions) error {
	if o.dryRun && (o.diff || o.check) || o.diff && o.check {
		return fleet.Usagef("--dry-run, --diff and --check exclude each other")
	}
	if err := o.output.check(); err != nil {
		return err
	}
	f, err := fleet.OpenWithoutScans(paths.paths())
	if err != nil {
		return err
	}
	if o.keepLayout {
		o.split = f.Split()
	}
	files, leftOut, err := f.Synth(o.split)
	if err != nil {
		return err
	}
	if err := report.Findings(env.Err, leftOut); err != nil {
		return err
	}
	if err := env.annotate(leftOut); err != nil {
		return err
	}
	summary := report.JobSummary{Title: "imagefactory synth", Text: plural.Count(len(leftOut), "finding")}
	summary.Header, summary.Rows = report.FindingRows(leftOut)
	if err := env.summarize(summary); err != nil {
		return err
	}
	if o.dryRun && !o.output.forPrograms() {
		return printFiles(env, files)
	}
	if o.diff || o.check || o.dryRun {
		return compareDist(env, paths.out, files, o)
	}
	changes, err := manifest.Write(paths.out, files)
	if err != nil {
		return err
	}
	if err := env.stepOutputs(fmt.Sprintf("changed=%t", len(changes) > 0)); err != nil {
		return err
	}
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, distFiles(paths.out, changes, false))
	}
	if len(changes) == 0 {
		return env.infof("%s is up to date", paths.out)
	}
	resources := manifest.CompareResources(changes, files)
	return env.infof("%s: %s", distOf(paths.out, files), &resources)
}

// distFiles lists the files that synth changes.
func distFiles(dist string, changes []manifest.Change, dryRun bool) FileList {
	l := newFileList(nil, dryRun)
	for i := range changes {
		action := "written"
		if changes[i].Action == manifest.Removed {
			action = "removed"
		}
		l.Items = append(l.Items, FileItem{path.Join(filepath.ToSlash(dist), changes[i].File), action})
	}
	return l
}

// distOf names the one file of dist, or its folder when it holds several.
func distOf(dir string, files map[string][]byte) string {
	if len(files) != 1 {
		return dir
	}
	for name := range files {
		dir = path.Join(filepath.ToSlash(dir), name)
	}
	return dir
}

// compareDist prints what synth would change in dist; with check that is an error.
func compareDist(env *Env, dist string, files map[string][]byte, o *synthOptions) error {
	changes, err := manifest.Compare(dist, files)
	if err != nil {
		return err
	}
	if err := env.stepOutputs(fmt.Sprintf("changed=%t", len(changes) > 0)); err != nil {
		return err
	}
	if o.output.forPrograms() {
		if err := report.Print(env.Out, o.output.value, distFiles(dist, changes, true)); err != nil {
			return err
		}
		if o.check && len(changes) > 0 {
			return errDifference
		}
		return nil
	}
	if len(changes) == 0 {
		return env.infof("%s is up to date", dist)
	}
	for i := range changes {
		if err := report.Diff(env.Out, changes[i].Diff()); err != nil {
			return err
		}
	}
	if err := env.infof("%s", outOfDate(dist, changes, files, o)); err != nil {
		return err
	}
	if o.check {
		return errDifference
	}
	return nil
}

// outOfDate describes how dist differs from what synth would write, and the fix.
func outOfDate(dist string, changes []manifest.Change, files map[string][]byte, o *synthOptions) string {
	command := "imagefactory synth"
	switch {
	case o.keepLayout:
	case o.split:
		command += " --split"
	default:
		command += " --split=false"
	}
	if layout := manifest.OnlyLayout(changes); layout != "" {
		return fmt.Sprintf("%s differs only in how its lines end (%s): run `%s`, and have git keep LF with the line `/%s/** text eol=lf` in .gitattributes",
			dist, layout, command, filepath.Base(dist))
	}
	resources := manifest.CompareResources(changes, files)
	return fmt.Sprintf("%s is out of date: %s. Run `%s` and commit.", dist, resources.Pending(), command)
}

// printFiles prints resources as one stream of documents.
func printFiles(env *Env, files map[string][]byte) error {
	for i, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		if i > 0 && !bytes.HasPrefix(data, []byte("---")) {
			if _, err := fmt.Fprintln(env.Out, "---"); err != nil {
				return err
			}
		}
		if _, err := env.Out.Write(data); err != nil {
			return err
		}
	}
	return nil
}
