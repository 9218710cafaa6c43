// Package fleet opens images.yaml, state and the graph together and checks them. Its operations need no server: lint, synth,
// the lock, and release, hold and reset. Package analyze asks registries, package promote starts rebuilds, and package store
// saves state.
package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Paths holds the paths of the files of a fleet.
type Paths struct {
	Config   string // images.yaml
	StateDir string // state
	OutDir   string // dist
}

// Fleet holds the input of all operations: the enrolled images, their state and their dependencies.
type Fleet struct {
	Paths  Paths
	Config *config.Config
	State  *state.State
	Graph  *graph.Graph

	files fs.FS        // the state folder
	lost  finding.List // about the state files that were left out
	lines ReleaseLines // nil: no API is asked
}

// Open reads a fleet from local files. If they are invalid, the error wraps a [finding.List] with every problem of images.yaml
// and of the state files. If only state files are invalid, it is a [StateError].
func Open(p Paths) (*Fleet, error) { return openDir(p, state.Load) }

// OpenWithoutScans is like [Open], but does not read the findings of scans. It is for commands that neither need nor change them:
// scheduling follows from what scans have released and held.
func OpenWithoutScans(p Paths) (*Fleet, error) { return openDir(p, state.LoadWithoutScans) }

func openDir(p Paths, loadState stateLoader) (*Fleet, error) {
	return open(p, os.DirFS(p.StateDir), loadState, func() (*config.Config, error) { return config.LoadFile(p.Config) })
}

// stateLoader loads the state folder files, which findings call display.
type stateLoader func(files fs.FS, display string) (*state.State, error)

// OpenFS is like [Open] for a state folder and an images.yaml that may be elsewhere, such as in a git tree. Paths only names
// them in findings.
func OpenFS(p Paths, files fs.FS, load func() (*config.Config, error)) (*Fleet, error) {
	return open(p, files, state.Load, load)
}

func open(p Paths, files fs.FS, loadState stateLoader, load func() (*config.Config, error)) (*Fleet, error) {
	cfg, st, configErr, stateErr := read(p, files, loadState, load)
	if err := join(configErr, stateErr); err != nil && (configErr != nil || !leaveOut(st, p, err)) {
		return nil, err
	}
	f := &Fleet{Paths: p, Config: cfg, State: st, files: files}
	impossible := verify(st, p.StateDir, files).Err()
	if impossible != nil {
		leaveOut(st, p, impossible)
	}
	for _, base := range st.Bases {
		f.setDemand(base)
	}
	setBuilds(cfg, st)
	f.Graph = graph.Build(cfg, st)
	if err := Cycles(cfg, f.Graph).Err(); err != nil {
		return nil, err
	}
	if err := join(stateErr, impossible); err != nil {
		errors.As(err, &f.lost)
		return nil, &StateError{Rest: f, Found: err}
	}
	return f, nil
}

// StateError is the error of a fleet with state files that cannot be read. Commands that only show a fleet show the rest of it, and
// analyses and promoters work on the rest; the others refuse, because the absence of a file means something to them.
type StateError struct {
	Rest  *Fleet // without these files
	Found error  // a [finding.List]
}

func (e *StateError) Error() string { return e.Found.Error() }

func (e *StateError) Unwrap() error { return e.Found }

// LeftOut returns the findings about the state files that were left out of the fleet.
func (f *Fleet) LeftOut() finding.List { return f.lost }

// Unreadable returns the finding about the state file of an image or base image that was left out of the fleet, as an error; or nil.
func (f *Fleet) Unreadable(folder, name string) error {
	if !f.State.Unreadable(folder, name) {
		return nil
	}
	file := stateFile(f.Paths.StateDir, folder, name)
	for _, found := range f.lost {
		if found.File == file {
			return finding.List{found}
		}
	}
	return fmt.Errorf("%s cannot be read", file)
}

// Readable returns those of the images whose state files were not left out.
func (f *Fleet) Readable(images []string) []string {
	return slices.DeleteFunc(slices.Clone(images), func(name string) bool { return f.State.Unreadable(state.ImagesFolder, name) })
}

// leaveOut leaves the files of findings out of the state. It reports false if the findings are about more than single files.
func leaveOut(st *state.State, p Paths, err error) bool {
	var found finding.List
	if !errors.As(err, &found) {
		return false
	}
	for i := range found {
		file, ok := strings.CutPrefix(found[i].File, display(p.StateDir, "")+"/")
		if !ok || path.Ext(file) != ".yaml" {
			return false
		}
		st.LeaveOut(file)
	}
	return true
}

// ReadState reads the state of a fleet again. Files that cannot be read are left out, and the error is a [finding.List] about them.
func ReadState(p Paths) (*state.State, error) {
	files := os.DirFS(p.StateDir)
	st, err := state.Load(files, p.StateDir)
	if err != nil && !leaveOut(st, p, err) {
		return nil, err
	}
	impossible := verify(st, p.StateDir, files).Err()
	if impossible != nil {
		leaveOut(st, p, impossible)
	}
	return st, join(err, impossible)
}

// read reads images.yaml and state concurrently, because parsing takes most of the time.
func read(p Paths, files fs.FS, loadState stateLoader, load func() (*config.Config, error)) (cfg *config.Config, st *state.State, configErr, stateErr error) {
	var group errgroup.Group
	group.Go(func() error {
		cfg, configErr = load()
		return nil
	})
	st, stateErr = loadState(files, p.StateDir)
	if found := (finding.List)(nil); stateErr != nil && !errors.As(stateErr, &found) {
		stateErr = fmt.Errorf("opening %q: %w", p.StateDir, stateErr)
	}
	_ = group.Wait() // the function returns no error
	return cfg, st, configErr, stateErr
}

// join merges the findings among errs into one list. Any other error takes precedence.
func join(errs ...error) error {
	var all finding.List
	for _, err := range errs {
		switch e := err.(type) {
		case nil:
		case finding.List:
			all = append(all, e...)
		default:
			return err
		}
	}
	return all.Err()
}

// Cycles returns a finding for each dependency cycle.
func Cycles(cfg *config.Config, g *graph.Graph) finding.List {
	var out finding.List
	for _, cycle := range g.Cycles() {
		img := cfg.Find(cycle[0])
		message := "images are built on each other: " + graph.PathString(cycle)
		if len(cycle) == 1 {
			message = fmt.Sprintf("image %q is built on itself", cycle[0])
		}
		out = append(out, finding.Cycle.At(cfg.File(), img.Line, img.Column, message,
			"remove one of these references from its Dockerfile, or set `tags` if the image does not publish the tag that is used"))
	}
	return out
}

// UsageError is an error in the arguments of a command.
type UsageError struct{ message string }

func (e *UsageError) Error() string { return e.message }

// Usagef returns a [UsageError].
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Image returns the enrolled image with a name. For an unknown name the error is a [UsageError].
func (f *Fleet) Image(name string) (*config.Image, error) {
	img := f.Config.Find(name)
	if img == nil {
		hint := ""
		if len(f.Config.Images) > 0 {
			if known := f.Config.Suggest(name); known != "" {
				hint = " (" + known + ")"
			}
		}
		return nil, Usagef("%s: no image %q is enrolled%s", f.Config.File(), name, hint)
	}
	return img, nil
}

func display(dir, file string) string { return filepath.ToSlash(filepath.Join(dir, file)) }
