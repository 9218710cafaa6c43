package kargo

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func load(t require.TestingT, images string) *config.Config {
	cfg, err := config.Load(strings.NewReader(images), "images.yaml")
	require.NoError(t, err)
	return cfg
}

// fleet is an images.yaml with what its Dockerfiles use.
type fleet struct {
	Images string              `yaml:"images"`
	Uses   map[string][]string `yaml:"uses"` // image name to references
	Tags   map[string]state.Tags
}

func (f fleet) state() *state.State {
	st := state.New()
	for name, refs := range f.Uses {
		img := &state.Image{Name: name}
		for _, ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from", Line: 1}}})
		}
		if tags, ok := f.Tags[name]; ok {
			img.Tags = &tags
		}
		st.Images[name] = img
	}
	return st
}

func testOptions() Options {
	return Options{StateURL: "https://github.com/acme/factory.git", StatePath: "state", ConfigPath: "images.yaml"}
}

func (f fleet) objects(t require.TestingT) []Object {
	cfg, st := load(t, f.Images), f.state()
	objects, _, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
	require.NoError(t, err)
	return objects
}

// example is the fleet of the golden file.
func example(t *testing.T) fleet {
	data, err := os.ReadFile("testdata/fleet.yaml")
	require.NoError(t, err)
	var f fleet
	require.NoError(t, yaml.Unmarshal(data, &f))
	return f
}

// bigFleet has n images on n/10 base images, each on one base image and, nine in ten, a parent.
func bigFleet(t require.TestingT, n int) (*config.Config, *state.State) {
	var images strings.Builder
	f := fleet{Uses: map[string][]string{}}
	for i := range n {
		name := fmt.Sprintf("service-%04d", i)
		fmt.Fprintf(&images, "- {name: %s, repository: acme/%s, tags: {strategy: SemVer}, source: {provider: github, repo: acme/%s, workflow: build.yml}}\n", name, name, name)
		f.Uses[name] = []string{fmt.Sprintf("docker.io/library/node:22.%d", i%(n/10))}
		if i%10 != 0 {
			f.Uses[name] = append(f.Uses[name], fmt.Sprintf("ghcr.io/acme/service-%04d:1.0.0", i-i%10))
		}
	}
	return load(t, images.String()), f.state()
}
