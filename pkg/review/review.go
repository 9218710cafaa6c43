// Package review compares a fleet with another git revision of images.yaml and the Dockerfiles, for those who review a change.
// Both sides use the recorded state and no network. The bases of an image whose Dockerfile is in another repository are
// those in state.
package review

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/plan"
)

// Options say what is compared.
type Options struct {
	Paths     fleet.Paths
	Revision  string // git revision that the work tree is compared with
	SourceDir string // folder with checkouts, as for analyze; "": Dockerfiles of this repository only
	Direct    bool   // no cluster: Kargo resources are left out
	Now       time.Time
}

// Compare returns what the work tree changes since a revision.
func Compare(ctx context.Context, o Options) (*plan.Diff, error) {
	co, found, err := checkout.Find(filepath.Dir(o.Paths.Config))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fleet.Usagef("%s is in no git checkout, so there is no revision %q to compare with", o.Paths.Config, o.Revision)
	}
	tree, err := gitrepo.OpenRevision(co.Root, o.Revision)
	if err != nil {
		return nil, fmt.Errorf("%w (in CI, fetch the branch that the change is for)", err)
	}
	worktree, err := os.OpenRoot(co.Root)
	if err != nil {
		return nil, fmt.Errorf("opening checkout: %w", err)
	}
	defer worktree.Close()
	c := &comparison{Options: o, checkout: co, diff: &plan.Diff{
		Revision: o.Revision, Commit: tree.Commit, Secrets: []plan.SecretDiff{}, Factory: []plan.SettingDiff{}, Images: []plan.ImageDiff{}, Due: []plan.NewlyDue{}, Resources: []plan.ResourceDiff{},
		New: []finding.Finding{}, Fixed: []finding.Finding{}, Unread: []string{}, Notes: []string{}, // never null in JSON
	}}
	if c.after, err = c.open(ctx, worktree.FS(), "", func() (*config.Config, error) { return config.LoadFile(o.Paths.Config) }); err != nil {
		return nil, err
	}
	if c.before, err = c.open(ctx, tree.FS, "at "+o.Revision+", ", func() (*config.Config, error) { return c.configAt(tree.FS) }); err != nil {
		return nil, fmt.Errorf("the fleet at revision %q cannot be compared: %s", o.Revision, err) //nolint:errorlint // findings about it are not those of the work tree
	}
	c.factory()
	c.images()
	c.due()
	c.findings()
	if !o.Direct {
		c.resources()
	}
	return c.diff, nil
}

// comparison is one call of Compare.
type comparison struct {
	Options
	checkout      checkout.Checkout
	before, after *side
	diff          *plan.Diff
}

// side is the fleet before or after the change.
type side struct {
	*fleet.Fleet
	unread map[string]bool // images whose Dockerfiles are elsewhere
	failed map[string]bool // images whose Dockerfiles cannot be read
}

// configAt reads images.yaml of the revision. If there was none, everything is added.
func (c *comparison) configAt(files fs.FS) (*config.Config, error) {
	name := fleet.OrPath("", c.checkout.Root, c.Paths.Config)
	file, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		c.note("there was no %s before", name)
		return config.Load(strings.NewReader("images: []\n"), c.Paths.Config)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	defer file.Close()
	cfg, err := config.Load(file, c.Paths.Config)
	if err != nil {
		return nil, err
	}
	folder, err := fs.Sub(files, path.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("opening the folder of %q: %w", name, err)
	}
	cfg.SetFolder(folder)
	return cfg, nil
}

func (c *comparison) note(format string, a ...any) {
	c.diff.Notes = append(c.diff.Notes, fmt.Sprintf(format, a...))
}

// open returns the fleet of one side, with the bases that its Dockerfiles use. If one cannot be read, those in state stay.
func (c *comparison) open(ctx context.Context, files fs.FS, where string, load func() (*config.Config, error)) (*side, error) {
	f, err := fleet.OpenFS(c.Paths, os.DirFS(c.Paths.StateDir), load)
	if err != nil {
		return nil, err
	}
	s, src := &side{f, map[string]bool{}, map[string]bool{}}, &sources{c.checkout, files, c.SourceDir}
	scope := analyze.Scope{}
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		if _, ok := src.path(img); ok {
			scope.Dockerfiles = append(scope.Dockerfiles, img.Name)
		} else if img.Managed() {
			s.unread[img.Name] = true
		}
	}
	report, err := analyze.Fleet(ctx, f, scope, analyze.Clients{Source: src, Now: func() time.Time { return c.Now }})
	if err != nil {
		return nil, err
	}
	for i := range report.Images {
		if img := &report.Images[i]; img.Error != "" {
			s.failed[img.Image] = true
			c.note("%s%s: %s", where, img.Image, img.Error)
		}
	}
	return s, nil
}
