package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type graphOptions struct {
	output                   outputFlag
	selected                 selectFlags
	up, down                 bool
	depth                    int
	cluster, collapse, theme string
}

// collapses are the values of --collapse.
var collapses = []string{"auto", "never"}

func newGraph(env *Env, paths *pathFlags) *cobra.Command {
	o := &graphOptions{}
	cmd := &cobra.Command{
		Use:   "graph [NAME]",
		Short: "Draw which images are built on which",
		Long: `Graph draws the images and their base images: the whole fleet, or one image with its bases (--up), the images built on it
(--down), or both; or a base image (node:22) with the images built on it. Colours show the status of each image, lines how a
Dockerfile uses another image. Drawings leave out edges that follow from others, and draw similar images of a large fleet as
one (--collapse never shows each).

With -l or --owner, graph draws the images that match and everything they are built on (with --down, what is built on them),
and says on stderr how many images and base images it leaves out.`,
		Example: `  imagefactory graph                             # a tree for the terminal
  imagefactory graph -o svg > fleet.svg
  imagefactory graph base-node --down -o mermaid # for a README
  imagefactory graph web --up --depth 1 -o json
  imagefactory graph -l team=shop -o svg > shop.svg`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(_ *cobra.Command, names []string) error { return runGraph(env, paths, o, names) },
	}
	f := cmd.Flags()
	o.output.add(cmd, "text", "svg", "png", "mermaid", "dot")
	o.selected.add(cmd, paths)
	f.BoolVar(&o.up, "up", false, "show the bases of NAME or of the selected images")
	f.BoolVar(&o.down, "down", false, "show the images built on NAME or on the selected images")
	f.IntVar(&o.depth, "depth", 0, "show what is at most so many steps from these (0: everything)")
	addChoice(cmd, &o.cluster, "cluster", "draw a frame around the images of each: ", texts(draw.Clusters()))
	addChoice(cmd, &o.collapse, "collapse", "draw similar images of a large fleet as one: ", collapses)
	addChoice(cmd, &o.theme, "theme", "colours of svg and png: ", texts(draw.Themes()))
	return cmd
}

// addChoice adds a flag that takes one of a few values, the first by default.
func addChoice(cmd *cobra.Command, value *string, name, usage string, values []string) {
	cmd.Flags().StringVar(value, name, values[0], usage+strings.Join(values, ", "))
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func (o *graphOptions) check(env *Env, s fleet.Selection) error {
	if err := o.output.check(); err != nil {
		return err
	}
	for _, c := range []struct {
		flag, value string
		values      []string
	}{
		{"cluster", o.cluster, texts(draw.Clusters())}, {"collapse", o.collapse, collapses}, {"theme", o.theme, texts(draw.Themes())},
	} {
		if !slices.Contains(c.values, c.value) {
			return fleet.Usagef("invalid --%s %q: want %s", c.flag, c.value, strings.Join(c.values, ", "))
		}
	}
	switch {
	case s.All() && (o.up || o.down || o.depth != 0):
		return fleet.Usagef("--up, --down and --depth need the NAME of an image, --selector or --owner")
	case o.depth < 0:
		return fleet.Usagef("invalid --depth %d: want 0 or more", o.depth)
	case o.output.value == "png" && progress.IsTerminal(env.Out):
		return fleet.Usagef("a PNG image cannot be shown in a terminal: redirect it to a file, or use -o text")
	}
	return nil
}

func runGraph(env *Env, paths *pathFlags, o *graphOptions, names []string) error {
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	if err := o.check(env, selection); err != nil {
		return err
	}
	f, err := openSelected(env, paths, fleet.OpenWithoutScans, selection)
	if err != nil {
		return err
	}
	decisions, err := f.Decide(fleet.Selection{}, env.Now())
	if err != nil {
		return err
	}
	all := report.Draw(f.Config, f.State, f.Graph, decisions)
	m, focus, err := o.part(f, all, selection)
	if err != nil {
		return err
	}
	if err := o.print(env, m, focus, o.title(selection)); err != nil {
		return err
	}
	if selection.Labels == nil || len(m.Nodes) == 0 { // warnNoMatch has said why
		return nil
	}
	return env.infof("left out: %s", leftOut(&all, &m))
}

// part returns the part of a drawing that is asked for, and the ID of the node that it is about, if that is one.
func (o *graphOptions) part(f *fleet.Fleet, all draw.Model, s fleet.Selection) (draw.Model, string, error) {
	switch {
	case s.All():
		return all, "", nil
	case s.Labels != nil:
		var ids []string
		for _, img := range f.Config.Select(s.Labels) {
			ids = append(ids, imageNode(img.Name))
		}
		return all.Around(ids, o.up || !o.down, o.down, o.depth), "", nil
	}
	focus, err := nodeOf(f, s.Names[0])
	if err != nil {
		return draw.Model{}, "", err
	}
	both := o.up == o.down
	return all.Around([]string{focus}, o.up || both, o.down || both, o.depth), focus, nil
}

// title returns the title of a drawing.
func (o *graphOptions) title(s fleet.Selection) string {
	switch {
	case s.Labels != nil && !o.down:
		return "Images with " + s.Labels.String() + ", and their bases"
	case s.Labels != nil && !o.up:
		return "Images with " + s.Labels.String() + ", and the images built on them"
	case s.Labels != nil:
		return "Images with " + s.Labels.String() + ", their bases, and the images built on them"
	case s.All():
		return "Images and what they are built on"
	case o.up == o.down:
		return s.Names[0] + ", its bases and what is built on it"
	case o.up:
		return s.Names[0] + " and its bases"
	}
	return s.Names[0] + " and what is built on it"
}

// leftOut counts the images and base images that only the whole drawing has.
func leftOut(all, part *draw.Model) string {
	images, bases := all.Count()
	shownImages, shownBases := part.Count()
	return plural.Count(images-shownImages, "image") + ", " + plural.Count(bases-shownBases, "base image")
}

func (o *graphOptions) print(env *Env, m draw.Model, focus, title string) error {
	if o.output.forPrograms() {
		return report.Print(env.Out, o.output.value, Graph{report.NewMeta("Graph"), m})
	}
	options := draw.Options{Title: title, Cluster: draw.Cluster(o.cluster), Theme: draw.Theme(o.theme)}
	if o.collapse == "auto" {
		m = m.Collapse(options.Cluster)
	}
	switch o.output.value {
	case "svg":
		return m.SVG(env.Out, options)
	case "png":
		return m.PNG(env.Out, options)
	case "dot":
		return m.DOT(env.Out, options)
	case "mermaid":
		return m.Mermaid(env.Out, options)
	default:
		return env.style(false).Tree(env.Out, &m, focus)
	}
}

// nodeOf returns the ID of the node of an image or a base image.
func nodeOf(f *fleet.Fleet, name string) (string, error) {
	if base := f.Base(name); base != "" {
		return "base/" + base, nil
	}
	if f.Config.Find(name) == nil {
		return "", f.Unknown(name)
	}
	return imageNode(name), nil
}

func imageNode(name string) string { return "image/" + name }
