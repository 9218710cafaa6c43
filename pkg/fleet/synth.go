package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/manifest"
)

// each generates the n Kargo resources of the fleet. The findings name the resources that are left out.
func (f *Fleet) each() (objects iter.Seq[kargo.Object], n int, leftOut finding.List, err error) {
	if err := f.needState(); err != nil {
		return nil, 0, nil, err
	}
	location, err := f.Location()
	if err != nil {
		return nil, 0, nil, err
	}
	objects, n, omitted, err := kargo.Each(f.Config, f.State, f.Graph, location)
	leftOut = newIgnores(f.Config).apply(append(f.omissions(omitted), f.neverAnalyzed()...))
	leftOut.Sort()
	return objects, n, leftOut, err
}

// neverAnalyzed returns findings about managed images without state, whose base images are not known.
func (f *Fleet) neverAnalyzed() finding.List {
	var l finding.List
	for i := range f.Config.Images {
		if img := &f.Config.Images[i]; img.Managed() && f.State.Images[img.Name] == nil {
			l = append(l, f.noState(img))
		}
	}
	return l
}

func (f *Fleet) noState(img *config.Image) finding.Finding {
	message := "never analyzed, so its base images are not watched"
	if !img.Managed() {
		message = "its registry was not asked yet"
	}
	return finding.NoState.At(f.Config.File(), img.Line, img.Column, img.Name+": "+message, f.analyzeAgain(img)).Of(img.Name)
}

// analyzeAgain returns the command that analyzes an image.
func (f *Fleet) analyzeAgain(img *config.Image) string {
	return fmt.Sprintf("run `%s`", f.Paths.command("analyze "+img.Name))
}

// omissions returns findings about objects that are left out.
func (f *Fleet) omissions(omitted []kargo.Omission) finding.List {
	var l finding.List
	for i := range omitted {
		o := &omitted[i]
		img := f.Config.Find(o.Image)
		var message, fix string
		switch {
		case o.Base != "":
			img = f.Config.Find(f.Graph.Dependents(o.Base)[0])
			message = fmt.Sprintf("%s has no Warehouse: %s; used by %s", o.Ref, o.Reason, f.usesOf(o.Base))
			fix = "the CronJob promote finds its new digests; use another name, or a mirror, to have Kargo find them"
		case o.Stage:
			message = fmt.Sprintf("%s: no Stage %s: %s", o.Image, kargo.RebuildStage(o.Image), o.Reason)
			fix = "rebuild it with `imagefactory promote --direct`, or by hand"
		default:
			message = fmt.Sprintf("%s: %s has no Warehouse: %s", o.Image, o.Ref, o.Reason)
			fix = "the CronJob promote finds its new versions; use another name, or a mirror, to have Kargo find them"
		}
		l = append(l, finding.LeftOut.At(f.Config.File(), img.Line, img.Column, message, fix).Of(o.Image))
	}
	return l
}

// usesOf lists the images that use a base image, with the lines of their Dockerfiles.
func (f *Fleet) usesOf(base string) string {
	var uses []string
	for _, name := range f.Graph.Dependents(base) {
		uses = append(uses, name+" ("+f.placeOf(name, base)+")")
	}
	return plural.Listed(uses, maxNamed)
}

// placeOf returns where the Dockerfile of an image uses a base image, as PATH:LINE.
func (f *Fleet) placeOf(image, base string) string {
	at := "Dockerfile"
	if file := f.State.Images[image].Dockerfile; file != nil {
		at = file.Path
	}
	for _, dep := range f.Graph.Deps(image) {
		if dep.Base == base {
			return fmt.Sprintf("%s:%d", cmp.Or(dep.Uses[0].File, at), dep.Uses[0].Line)
		}
	}
	return at
}

// needState returns an error if the state folder is missing, or empty while state is kept elsewhere: treated as empty, it would remove
// the Warehouse of every base image from dist.
func (f *Fleet) needState() error {
	if err := f.StateElsewhere(); err != nil {
		return err
	}
	if _, err := os.Stat(f.Paths.StateDir); !errors.Is(err, fs.ErrNotExist) {
		return nil // another problem was reported when the state was read
	}
	if f.manages() {
		return Usagef("no state folder %q (run `imagefactory analyze` first, or pass --state-dir)", f.Paths.StateDir)
	}
	return nil
}

// manages reports whether an image is managed.
func (f *Fleet) manages() bool {
	return slices.ContainsFunc(f.Config.Images, func(img config.Image) bool { return img.Managed() })
}

// StateElsewhere returns an error if the state folder beside images.yaml holds nothing, and images.yaml says that state is on another
// branch or in another repository. A folder that was named is taken as it is.
func (f *Fleet) StateElsewhere() error {
	if f.Paths.StateDir != f.Paths.defaultState() || len(f.State.Images)+len(f.State.Bases)+len(f.lost) > 0 || !f.manages() {
		return nil
	}
	at := &f.Config.Factory
	branch, where := cmp.Or(at.State.Branch, config.DefaultBranch), ""
	if co, _, err := checkout.Find(filepath.Dir(f.Paths.Config)); err == nil && at.State.URL != "" && co.Origin != "" && !hostname.SameRepository(at.State.URL, co.Origin) {
		where = fmt.Sprintf(" of %s", at.State.URL)
	}
	if where == "" && (at.Config.Ref == "" || at.Config.Ref == branch) {
		return nil
	}
	return Usagef("no state in %q: it is on the branch %q%s (check that out, and name its folder with --state-dir or IMAGEFACTORY_STATE_DIR; "+
		"if it does not exist yet, run `imagefactory analyze --push`)", f.Paths.StateDir, branch, where)
}

// Synth returns the files of dist with the Kargo resources, by name: one file, or one per resource if split is set. The
// findings name the resources that are left out.
func (f *Fleet) Synth(split bool) (map[string][]byte, finding.List, error) {
	objects, n, leftOut, err := f.each()
	if err != nil {
		return nil, nil, err
	}
	if split {
		files, err := manifest.RenderSplit(objects)
		return files, leftOut, err
	}
	data, err := manifest.Render(objects, n)
	if err != nil {
		return nil, nil, err
	}
	return map[string][]byte{manifest.DefaultFile: data}, leftOut, nil
}

// Location returns where the Jobs in the cluster find state and images.yaml. Settings that images.yaml leaves out come from
// the git checkout that contains it.
func (f *Fleet) Location() (kargo.Options, error) {
	repo := f.Config.Factory.State
	opts := kargo.Options{StateURL: repo.URL, StatePath: repo.Path, ConfigPath: f.Config.Factory.Config.Path}
	if repo.URL == "" || repo.Path == "" || opts.ConfigPath == "" {
		co, found, err := checkout.Find(filepath.Dir(f.Paths.Config))
		if err != nil {
			return opts, err
		}
		if repo.URL == "" {
			if co.Origin == "" {
				return opts, finding.List{f.noStateRepo(found)}
			}
			opts.StateURL, _ = f.Config.OriginURL(co.Origin, co.SSH)
		}
		if found && repo.URL == "" || hostname.SameRepository(co.Origin, repo.URL) {
			opts.StatePath = OrPath(opts.StatePath, co.Root, f.Paths.StateDir)
			opts.ConfigPath = OrPath(opts.ConfigPath, co.Root, f.Paths.Config)
		}
	}
	if opts.StatePath == "" {
		opts.StatePath = "state"
	}
	if opts.ConfigPath == "" {
		opts.ConfigPath = "images.yaml"
	}
	return opts, nil
}

func (f *Fleet) noStateRepo(checkout bool) finding.Finding {
	message, fix := "no state repository: images.yaml is not in a git checkout", "set factory.state.url"
	if checkout {
		message = "no state repository: the git remote origin is missing, or has no https or ssh URL"
		fix += ", or run `git remote add origin URL`"
	}
	return finding.NoStateRepo.At(f.Config.File(), 1, 1, message, fix)
}

// OrPath returns given, or else the path of a file relative to root, or "" if the file is outside.
func OrPath(given, root, file string) string {
	if given != "" {
		return given
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return ""
	}
	return path.Clean(filepath.ToSlash(rel))
}
