package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/page"
)

// defaultPage is the file that report writes unless --output says otherwise.
const defaultPage = "imagefactory.html"

// The audit of the page has the defaults of the command audit.
const (
	auditedTime = 90 * 24 * time.Hour
	staleAfter  = 30 * 24 * time.Hour
)

func newReport(env *Env, paths *pathFlags) *cobra.Command {
	output, selected, noHistory := "", &selectFlags{}, false
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write an HTML page that shows the fleet",
		Long: `Report writes one HTML page: the images by status, the dependency graph, the images and base images with their candidates
and history, the rebuilds that come next, the findings of validate, and the audit of the last 90 days. It is made from images.yaml,
state and the git history of state. The page needs no server and loads nothing, so it can be opened from a disk, attached to a
build, or published as it is.`,
		Example: `  imagefactory report                       # imagefactory.html
  imagefactory report -o public             # public/index.html
  imagefactory report -o - > fleet.html
  imagefactory report --owner team-shop -o shop.html`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runReport(cmd.Context(), env, paths, selected, output, !noHistory)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", defaultPage, "`file` to write, if its name ends in .html; - for stdout; else the folder that gets an index.html")
	_ = cmd.MarkFlagFilename("output", "html") // the flag exists
	cmd.Flags().BoolVar(&noHistory, "no-history", false, "do not read the git history for the audit")
	selected.add(cmd, paths)
	return cmd
}

func runReport(ctx context.Context, env *Env, paths *pathFlags, selected *selectFlags, output string, past bool) error {
	if output == "" {
		return fleet.Usagef("--output is empty: want a file, a folder or -")
	}
	selection, err := selected.selection(nil)
	if err != nil {
		return err
	}
	f, err := openSelected(env, paths, fleet.Open, selection)
	if err != nil {
		return err
	}
	now := env.Now().UTC().Truncate(time.Second)
	d, err := f.Describer(now)
	if err != nil {
		return err
	}
	o := page.Options{Title: f.Config.Factory.Project, Version: version()}
	in := audit.Input{From: now.Add(-auditedTime), To: now, Stale: staleAfter, Decisions: d.Input().Decisions}
	if o.Audit, err = auditOf(ctx, f, in, selection, past); err != nil {
		return err
	}
	if where, err := f.Location(); err == nil {
		o.Title = strings.TrimSuffix(strings.TrimPrefix(where.StateURL, "https://"), ".git")
	}
	if !selection.All() {
		if o.Images, err = f.Selected(selection); err != nil {
			return err
		}
	}
	if output == "-" {
		return page.Write(env.Out, d, o)
	}
	var b bytes.Buffer
	if err := page.Write(&b, d, o); err != nil {
		return err
	}
	file := output
	if ext := strings.ToLower(filepath.Ext(output)); ext != ".html" && ext != ".htm" {
		file = filepath.Join(output, "index.html")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := renameio.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return env.infof("wrote %s", filepath.ToSlash(file))
}
