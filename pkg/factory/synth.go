package factory

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/statestore"
)

// OutFile is the one file that Synth writes into dist.
const OutFile = "image-factory.k8s.yaml"

// Objects generates the Kargo resources of the fleet.
func (f *Fleet) Objects() ([]kargo.Object, error) {
	if err := f.needState(); err != nil {
		return nil, err
	}
	location, err := f.Location()
	if err != nil {
		return nil, err
	}
	return kargo.Objects(f.Config, f.State, f.Graph, location)
}

// needState refuses a state folder that is not there: taken for an empty one, it would take every Warehouse of a base
// image out of dist.
func (f *Fleet) needState() error {
	if _, err := os.Stat(f.Paths.StateDir); !errors.Is(err, fs.ErrNotExist) {
		return nil // another problem was reported when the state was read
	}
	for i := range f.Config.Images {
		if f.Config.Images[i].Managed() {
			return Usagef("there is no state folder %q: run `imagefactory analyze` first, or name yours with --state-dir", f.Paths.StateDir)
		}
	}
	return nil
}

// Synth renders the Kargo resources: file name to content, one file or, when split, one for each resource.
func (f *Fleet) Synth(split bool) (map[string][]byte, error) {
	objects, err := f.Objects()
	if err != nil {
		return nil, err
	}
	if split {
		return manifest.RenderSplit(objects)
	}
	data, err := manifest.Render(objects)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{OutFile: data}, nil
}

// Location says where the Jobs in the cluster find state and images.yaml. What images.yaml leaves out comes from the
// checkout that it stands in.
func (f *Fleet) Location() (kargo.Options, error) {
	repo := f.Config.Factory.State
	opts := kargo.Options{StateURL: repo.URL, StatePath: repo.Path, ConfigPath: f.Config.Factory.Config.Path}
	if repo.URL == "" || repo.Path == "" || opts.ConfigPath == "" {
		checkout, found, err := statestore.FindCheckout(filepath.Dir(f.Paths.Config))
		if err != nil {
			return opts, err
		}
		if repo.URL == "" {
			if checkout.Origin == "" {
				return opts, finding.List{finding.NoStateRepo.At(f.Config.File(), 1, 1,
					"the state repository is not known: images.yaml is in no git checkout whose remote origin has an https or ssh URL", "set factory.state.url")}
			}
			opts.StateURL = checkout.Origin
		}
		if found && repo.URL == "" || checkout.Origin == repo.URL {
			opts.StatePath = orPath(opts.StatePath, checkout.Root, f.Paths.StateDir)
			opts.ConfigPath = orPath(opts.ConfigPath, checkout.Root, f.Paths.Config)
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

// orPath returns the given path, or the place of a file in the checkout when it is inside.
func orPath(given, root, file string) string {
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
