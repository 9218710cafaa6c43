package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/factory"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type graphOptions struct {
	output   string
	up, down bool
}

func newGraph(w *World, paths *pathFlags) *cobra.Command {
	o := &graphOptions{}
	cmd := &cobra.Command{
		Use:   "graph [NAME]",
		Short: "Draw what is built on what",
		Long: `Graph draws the images and the base images that they are built on: the whole fleet, or one image with what it is
built on (--up), what is built on it (--down), or both. Edges that follow from others are left out of drawings.`,
		Example: `  imagefactory graph                       # Mermaid, for a README
  imagefactory graph base-node --down -o dot | dot -Tsvg > graph.svg
  imagefactory graph web --up -o json`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runGraph(w, paths, o, names) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "mermaid", "mermaid, dot or json")
	f.BoolVar(&o.up, "up", false, "what NAME is built on")
	f.BoolVar(&o.down, "down", false, "what is built on NAME")
	return cmd
}

func runGraph(w *World, paths *pathFlags, o *graphOptions, names []string) error {
	if err := checkOutput(o.output, "mermaid", "dot", "json"); err != nil {
		return err
	}
	if len(names) == 0 && (o.up || o.down) {
		return factory.Usagef("--up and --down need the NAME of an image")
	}
	fleet, err := factory.Open(paths.paths())
	if err != nil {
		return err
	}
	keep := fleet.Graph.Order()
	if len(names) == 1 {
		if _, err := fleet.Image(names[0]); err != nil {
			return err
		}
		part := []string{names[0]}
		if o.up || !o.down {
			part = append(part, fleet.Graph.Ancestors(names[0])...)
		}
		if o.down || !o.up {
			part = append(part, fleet.Graph.Descendants(names[0])...)
		}
		keep = slices.DeleteFunc(slices.Clone(keep), func(n string) bool { return !slices.Contains(part, n) })
	}
	d := report.Draw(fleet.Config, fleet.Graph, keep)
	switch o.output {
	case "json":
		return report.JSON(w.Out, d)
	case "dot":
		return d.DOT(w.Out)
	default:
		return d.Mermaid(w.Out)
	}
}
