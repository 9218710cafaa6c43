package bootstrap

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/renameio/v2"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/state"
)

//go:embed init_images.yaml
var firstImages []byte

//go:embed init_gitignore
var gitignoreHints []byte

// InitOptions configure [PlanInit].
type InitOptions struct {
	Full            bool   // also the files around images.yaml: CI, and the manifests for Argo CD and Kargo
	Direct          bool   // with Full, for a fleet without a cluster: only CI, which starts the rebuilds
	PullRequest     bool   // with Full, CI proposes dist by a pull or merge request instead of pushing it
	Force           bool   // replace existing files of Full that differ
	CI              string // github, gitlab, gitea or both (GitHub and GitLab); default: that of the repository's host
	ArgoCDNamespace string
	Version         string // of imagefactory that CI installs
	Commit          string // of that version, if it is a release
}

// InitPlan lists the files that Init would write.
type InitPlan struct {
	Notes     []string // what may not be intended
	Elsewhere bool     // state is on another branch than images.yaml, or in another repository
	files     []planned
}

// planned is a file to write.
type planned struct {
	path       string
	have, want []byte
	exists     bool
}

// PlanInit plans a first images.yaml with comments, the folders of state and dist, and lines in .gitignore and
// .gitattributes. With Full it also plans the files that [Files] renders from images.yaml. An existing file that would lose
// text is an error, unless Force is set; images.yaml itself is never replaced.
func PlanInit(p fleet.Paths, o InitOptions) (*InitPlan, error) {
	_, err := os.Lstat(p.Config)
	isNew := err != nil
	if !isNew && !o.Full {
		return nil, fmt.Errorf("writing %q: already exists; nothing was changed (next: enroll images, then init --full writes the files around it)", p.Config)
	}
	plan := &InitPlan{}
	if isNew {
		if err := plan.add(p.Config, firstImages); err != nil {
			return nil, err
		}
	}
	folders := []string{filepath.Join(p.StateDir, state.ImagesFolder), filepath.Join(p.StateDir, state.BasesFolder)}
	if !o.Direct {
		folders = append(folders, p.OutDir)
	}
	for _, dir := range folders {
		if err := plan.addFolder(dir); err != nil {
			return nil, err
		}
	}
	beside := filepath.Dir(p.Config)
	if err := plan.ignore(filepath.Join(beside, ".gitignore")); err != nil {
		return nil, err
	}
	if err := plan.keepLF(filepath.Join(beside, ".gitattributes"), p.OutDir, p.StateDir); err != nil {
		return nil, err
	}
	if o.Full {
		if err := plan.addFull(p, o, isNew); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(plan.files, func(a, b planned) int { return strings.Compare(a.path, b.path) })
	return plan, nil
}

// note adds a note.
func (plan *InitPlan) note(format string, args ...any) {
	plan.Notes = append(plan.Notes, "note: "+fmt.Sprintf(format, args...))
}

// add plans a file, unless the present one is equal, apart from line endings.
func (plan *InitPlan) add(file string, want []byte) error {
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %q: %w", file, err)
	}
	if err != nil || !manifest.SameText(have, want) {
		plan.files = append(plan.files, planned{file, have, want, err == nil})
	}
	return nil
}

// addFolder plans a placeholder so that git keeps an empty folder.
func (plan *InitPlan) addFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading folder: %w", err)
	}
	if len(entries) > 0 {
		return nil
	}
	return plan.add(filepath.Join(dir, ".gitkeep"), nil)
}

func (plan *InitPlan) ignore(file string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %q: %w", file, err)
	}
	if bytes.Contains(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), gitignoreHints) {
		return nil
	}
	want := slices.Clone(old)
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		want = append(want, '\n')
	}
	return plan.add(file, append(want, gitignoreHints...))
}

// addFull plans the files around images.yaml.
func (plan *InitPlan) addFull(p fleet.Paths, o InitOptions, isNew bool) error {
	cfg, err := config.LoadFile(p.Config)
	if isNew {
		cfg, err = config.Load(bytes.NewReader(firstImages), p.Config)
	}
	if err != nil {
		return err
	}
	root, options, err := around(&fleet.Fleet{Paths: p, Config: cfg}, o)
	if err != nil {
		return err
	}
	files, err := Files(options)
	if err != nil {
		return fleet.Usagef("%s", err)
	}
	if here, want := options.CheckedOut, options.branch(); here != "" && here != want {
		plan.note("CI, the Jobs and Argo CD read images.yaml and dist from branch %q, but this checkout is on %q (to use another branch, set factory.config.ref and factory.state.branch)", want, here)
	}
	if options.Guessed {
		fix := "set factory.state.url"
		if cfg.Factory.State.URL != "" { // which names another repository
			fix = "give the remote its https URL"
		}
		plan.note("%s is guessed from the ssh remote origin, which does not name the port of the web server (if it is wrong, %s and run init --full --force)", options.RepoURL, fix)
	}
	plan.Elsewhere = options.elsewhere()
	before := len(plan.files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := plan.add(filepath.Join(root, filepath.FromSlash(name)), files[name]); err != nil {
			return err
		}
	}
	var differ []string
	for _, f := range plan.files[before:] {
		if f.exists && !o.Force {
			differ = append(differ, fmt.Sprintf("%q", f.path))
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("writing %s: already exists with other content; nothing was changed (compare with --force --dry-run, replace with --force)", strings.Join(differ, ", "))
	}
	return nil
}

// around returns the root of the repository with images.yaml, and its options for [Files].
func around(f *fleet.Fleet, o InitOptions) (root string, _ Options, err error) {
	location, err := f.Location()
	if err != nil {
		return "", Options{}, err
	}
	co, found, err := checkout.Find(filepath.Dir(f.Paths.Config))
	if err != nil {
		return "", Options{}, err
	}
	out := Options{
		Config: f.Config, Location: location, CheckedOut: co.Branch, Direct: o.Direct, PullRequest: o.PullRequest, Version: o.Version, Commit: o.Commit, ArgoCDNamespace: o.ArgoCDNamespace,
	}
	if out.RepoURL, out.Guessed = f.Config.OriginURL(co.Origin, co.SSH); out.RepoURL == "" {
		out.RepoURL = location.StateURL
	}
	root = filepath.Dir(f.Paths.Config)
	if found {
		root = co.Root
	}
	if root, err = shownRoot(root); err != nil {
		return "", out, err
	}
	for _, place := range []struct {
		file string
		into *string
	}{{f.Paths.Config, &out.ConfigPath}, {f.Paths.StateDir, &out.StatePath}, {f.Paths.OutDir, &out.DistPath}} {
		abs, err := filepath.Abs(root)
		if err != nil {
			return "", out, err
		}
		elsewhere := place.file == f.Paths.StateDir // maybe: Files decides
		if *place.into = fleet.OrPath("", abs, place.file); *place.into == "" && !elsewhere {
			return "", out, fleet.Usagef("%q is outside of the repository %q: init --full writes paths in it", place.file, root)
		}
	}
	_, err = os.Stat(filepath.Join(f.Paths.OutDir, manifest.KustomizationFile))
	out.Split = err == nil
	switch o.CI {
	case "":
		out.CI = CIOf(f.Config, out.RepoURL)
	case "both":
		out.CI = []CI{GitHub, GitLab}
	default:
		out.CI = []CI{CI(o.CI)}
	}
	return root, out, nil
}

// shownRoot returns the path of a folder relative to the working directory if that is shorter.
func shownRoot(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	here, err := os.Getwd()
	if err != nil {
		return abs, nil //nolint:nilerr // the absolute path works too
	}
	if rel, err := filepath.Rel(here, abs); err == nil && (rel == "." || path.IsAbs(rel) || len(rel) < len(abs)) {
		return rel, nil
	}
	return abs, nil
}

// Changes returns the files that Write would write, by path, and how each differs from the present one.
func (plan *InitPlan) Changes() (files, diffs []string) {
	for _, f := range plan.files {
		from := f.path
		if !f.exists {
			from = "/dev/null"
		}
		files = append(files, f.path)
		diffs = append(diffs, udiff.Unified(from, f.path, string(f.have), string(f.want)))
	}
	return files, diffs
}

// Write writes the planned files and returns their paths.
func (plan *InitPlan) Write() ([]string, error) {
	var written []string
	for _, f := range plan.files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return written, fmt.Errorf("creating folder: %w", err)
		}
		if err := renameio.WriteFile(f.path, f.want, 0o644); err != nil {
			return written, fmt.Errorf("writing %q: %w", f.path, err)
		}
		written = append(written, f.path)
	}
	return written, nil
}
