package fleet

import (
	"cmp"
	"fmt"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// notAllowed returns a text for each reference of an image that factory.registries.allow does not name. What the fleet's own
// images publish needs no entry.
func (f *Fleet) notAllowed(img *config.Image, facts *state.Image) []string {
	own := map[string]bool{}
	for _, dep := range f.Graph.Deps(img.Name) {
		own[dep.Ref.String()] = dep.Parent != ""
	}
	var out []string
	for i := range facts.BaseImages {
		use := &facts.BaseImages[i]
		ref, err := state.ParseRef(use.Ref)
		if err != nil || own[ref.String()] || f.Config.Factory.Registries.Allows(ref.Registry, ref.Repository, ref.Tag) {
			continue
		}
		place := "the Dockerfile"
		if facts.Dockerfile != nil {
			place = facts.Dockerfile.Path
		}
		if len(use.Uses) > 0 && use.Uses[0].Line > 0 {
			place = cmp.Or(use.Uses[0].File, place)
			place += fmt.Sprintf(":%d", use.Uses[0].Line)
		}
		out = append(out, fmt.Sprintf("%s uses %s, which is from none of the allowed registries", place, ref))
	}
	return out
}
