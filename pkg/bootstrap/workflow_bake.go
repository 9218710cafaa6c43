package bootstrap

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// noEnvironment makes buildx evaluate a bake or Compose file as analyze does: no variable of the runner replaces one of the file.
const noEnvironment = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"

// bakeBuild is how `docker buildx bake` builds a target of a bake file or a service of a Compose file.
type bakeBuild struct {
	folder string // in which it runs
	file   string // seen from the folder
	target string
	set    []string // what the entry itself says, as TARGET.KEY=VALUE
}

// bakeOf returns how an image is built whose entry names a bake or Compose file. It is nil for another one.
func bakeOf(img *config.Image) (*bakeBuild, error) {
	file, target := img.Source.BuildFile()
	if file == "" {
		return nil, nil
	}
	b := &bakeBuild{folder: path.Dir(file), target: strings.ReplaceAll(target, ".", "_")} // as buildx names a service
	if img.Source.Bake != nil {
		b.folder, b.target = path.Clean(img.Source.Bake.Workdir), target
	}
	relative, err := filepath.Rel(filepath.FromSlash(b.folder), filepath.FromSlash(file))
	if err != nil {
		return nil, fleet.Usagef("%q: %s is not below the folder of the repository", img.Name, file)
	}
	b.file = filepath.ToSlash(relative)
	for _, text := range []string{b.folder, b.file} {
		if strings.TrimSpace(text) != text || strings.ContainsAny(text, ",\"#{}\r\n") {
			return nil, fleet.Usagef("%q: a workflow cannot pass the path %q: it contains a comma, a quote, #, a brace or a line break, or has spaces around it", img.Name, text)
		}
	}
	if !targetName().MatchString(b.target) {
		return nil, fleet.Usagef("%q: a workflow cannot pass the target %q: want letters, digits, - and _", img.Name, target)
	}
	own := img.Source.Written()
	for _, pair := range pairs(own.BuildArgs) {
		if name, _, _ := strings.Cut(pair, "="); strings.HasSuffix(name, "+") {
			return nil, fleet.Usagef("%q: a workflow cannot pass the build argument %q: its name ends in +", img.Name, name)
		}
		b.set = append(b.set, b.target+".args."+pair)
	}
	if img.Source.OwnPlatforms() {
		for _, platform := range own.Platforms {
			b.set = append(b.set, "*.platform="+platform)
		}
	}
	return b, nil
}

var targetName = lazy.Regexp(`^[A-Za-z0-9_-]+$`)

// tagged returns the overrides that name what is published. The target may be a group with one target.
func (b *bakeBuild) tagged(references []string) []string {
	out := make([]string, len(references))
	for i, reference := range references {
		out[i] = "*.tags=" + reference
	}
	return out
}

// emulates reports whether an image may need emulation on a runner for linux/amd64: the platforms of a bake or Compose file may change.
func emulates(src *config.Source) bool {
	file, _ := src.BuildFile()
	return file != "" && !src.OwnPlatforms() || slices.ContainsFunc(src.Platforms, emulated)
}

// step returns the step that builds with docker/bake-action.
func (b *bakeBuild) step(references []string) gitHubStep {
	set := make([]string, len(b.set))
	for i, override := range b.set {
		set[i] = verbatim(override)
	}
	source := b.folder
	if source != "." { // it must not be taken for an address
		source = "./" + source
	}
	return gitHubStep{
		Name: "Build with the lock", Uses: "docker/bake-action", Env: map[string]string{noEnvironment: "1"},
		With: map[string]string{
			"source": source, "files": b.file, "targets": b.target, "push": "true", "provenance": "mode=max",
			"set": strings.Join(append(set, b.tagged(references)...), "\n"),
		},
	}
}
