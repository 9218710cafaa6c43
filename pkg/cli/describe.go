package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newDescribe(env *Env, paths *pathFlags) *cobra.Command {
	output := &outputFlag{}
	cmd := &cobra.Command{
		Use:   "describe IMAGE|BASE",
		Short: "Show everything about one image or base image",
		Long: `Describe shows, from state alone, all that is known about one enrolled image or base image.

For an image: what is published, what it was built on and the evidence for it, the digests of each base with the times at
which they were seen and are ripe, the chain of reasons (facts with their file and line, the rule, the decision), its rebuilds,
the images that are built on it, its next rebuild, findings, and its Kargo objects.

For a base image: its digests, the images that use it, the moves of its tag, and the rebuilds that it causes.

An image is given by its name or a published reference, a base image by its name or reference. BASE@DIGEST selects one of its
digests, and a digest alone what has it; digests may be short.`,
		Example: `  imagefactory describe web
  imagefactory describe node:22
  imagefactory describe node:22@sha256:bf027f8e -o json`,
		Args: args(cobra.ExactArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			images, directive := imageNames(paths)(cmd, args, typed)
			bases, _ := baseNames(paths)(cmd, args, typed)
			return slices.Concat(images, bases), directive
		},
		RunE: func(_ *cobra.Command, names []string) error { return runDescribe(env, paths, output, names[0]) },
	}
	output.add(cmd, "text", "wide")
	return cmd
}

func runDescribe(env *Env, paths *pathFlags, output *outputFlag, spec string) error {
	if err := output.check(); err != nil {
		return err
	}
	f, err := openToShow(env, paths, fleet.Open)
	if err != nil {
		return err
	}
	subject, err := f.Subject(spec)
	if err != nil {
		return err
	}
	now := env.Now()
	d, err := f.Describer(now)
	if err != nil {
		return err
	}
	style := env.style(false)
	if subject.Image != "" {
		img := d.ScannedImage(subject.Image)
		if output.forPrograms() {
			return report.Print(env.Out, output.value, ImageDescription{report.NewMeta("ImageDescription"), img})
		}
		return style.DescribeImage(env.Out, img, now, output.wide())
	}
	b := d.ScannedBase(subject.Base)
	if subject.Digest != "" {
		b.Candidates = slices.DeleteFunc(b.Candidates, func(c describe.BaseCandidate) bool { return c.Digest != subject.Digest })
		if v := b.Vulnerabilities; v != nil {
			v.Digests = slices.DeleteFunc(v.Digests, func(g exposure.ScannedDigest) bool { return g.Digest != subject.Digest })
		}
	}
	if output.forPrograms() {
		return report.Print(env.Out, output.value, BaseDescription{report.NewMeta("BaseDescription"), b})
	}
	return style.DescribeBase(env.Out, b, now, output.wide())
}
