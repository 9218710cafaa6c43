package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type graphOptions struct {
	output   outputFlag
	up, down bool
}

func newGraph(env *Env, paths *pathFlags) *cobra.Command {
	o := &graphOptions{}
	cmd := &cobra.Command{
		Use:   "graph [NAME]",
		Short: "Draw which images are built on which",
		Long: `Graph draws the images and their base images: the whole fleet, or one image with its bases (--up), the images built on it
(--down), or both; or a base image (node:22) with the images built on it. Drawings leave out edges that follow from others.`,
		Example: `  imagefactory graph                       # Mermaid, for a README
  imagefactory graph base-node --down -o dot | dot -Tsvg > graph.svg
  imagefactory graph web --up -o json`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runGraph(env, paths, o, names) },
	}
	f := cmd.Flags()
	o.output.add(cmd, "mermaid", "dot")
	f.BoolVar(&o.up, "up", false, "show the bases of NAME")
	f.BoolVar(&o.down, "down", false, "show the images built on NAME")
	return cmd
}

func runGraph(env *Env, paths *pathFlags, o *graphOptions, names []string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	if len(names) == 0 && (o.up || o.down) {
		return fleet.Usagef("--up and --down need the NAME of an image")
	}
	f, err := fleet.Open(paths.paths())
	if err != nil {
		return err
	}
	d := report.Draw(f.Config, f.Graph, f.Graph.Order(), func(_, _ string) bool { return true })
	if len(names) == 1 {
		if d, err = drawPart(f, names[0], o); err != nil {
			return err
		}
	}
	switch {
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, Graph{report.NewMeta("Graph"), d})
	case o.output.value == "dot":
		return d.DOT(env.Out)
	default:
		return d.Mermaid(env.Out)
	}
}

// drawPart draws what one image is built on, and what is built on it. Of a base image there is only the latter.
func drawPart(f *fleet.Fleet, name string, o *graphOptions) (report.Drawing, error) {
	g := f.Graph
	both := o.up == o.down
	var above, below []string // images to show with their base images, and without
	start := f.Base(name)
	if start == "" {
		if _, err := f.Image(name); err != nil {
			return report.Drawing{}, err
		}
		below = []string{name}
		if o.up || both {
			above = append(g.Ancestors(name), name)
		}
		if o.down || both {
			below = append(below, g.Descendants(name)...)
		}
	} else {
		for _, user := range g.Dependents(start) {
			below = append(append(below, user), g.Descendants(user)...)
		}
	}
	names := slices.DeleteFunc(slices.Clone(g.Order()), func(n string) bool {
		return !slices.Contains(above, n) && !slices.Contains(below, n)
	})
	return report.Draw(f.Config, g, names, func(image, base string) bool {
		return base == start || slices.Contains(above, image)
	}), nil
}
