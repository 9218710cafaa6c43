package fleet

import (
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// setBuilds completes the sources whose build a bake or Compose file describes, by what state holds of it.
func setBuilds(cfg *config.Config, st *state.State) {
	for i := range cfg.Images {
		if img := &cfg.Images[i]; img.Managed() {
			SetBuild(img, st.Images[img.Name])
		}
	}
}

// SetBuild completes the source of an image by what state holds of its bake or Compose file. Other sources stay as they are.
func SetBuild(img *config.Image, facts *state.Image) {
	if file, _ := img.Source.BuildFile(); file == "" {
		return
	}
	if facts == nil || facts.Build == nil || facts.Dockerfile == nil {
		img.Source.SetBuild(nil)
		return
	}
	b := facts.Build
	img.Source.SetBuild(&config.Build{
		Dockerfile: facts.Dockerfile.Path, Target: b.Stage, BuildArgs: b.Args, BuildContexts: b.Contexts, Platforms: b.Platforms,
	})
}
