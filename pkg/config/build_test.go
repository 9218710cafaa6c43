package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// What images.yaml says about arguments and platforms takes precedence over the file, however often that is read.
func TestSetBuild(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`
defaults: {source: {provider: github, workflow: b.yml, repo: acme/web, platforms: [linux/riscv64], updatePins: pullRequest}}
images:
- {name: own, repository: a/own, source: {bake: {target: web}, buildArgs: {A: "1"}, platforms: [linux/arm64]}}
- {name: file, repository: a/file, source: {compose: {service: web}, pinFiles: [ci.yaml]}}
`), "images.yaml")
	require.NoError(t, err)
	own, file := cfg.Find("own").Source, cfg.Find("file").Source
	assert.Empty(t, own.Dockerfile, "it is not known yet")

	first := &config.Build{Dockerfile: "x", Target: "y", BuildArgs: map[string]string{"A": "2", "B": "3"}, Platforms: []string{"linux/s390x"}}
	for _, b := range []*config.Build{first, {Dockerfile: "web/Dockerfile", BuildArgs: map[string]string{"A": "2", "C": "4"}, BuildContexts: map[string]string{"c": "d"}, Platforms: []string{"linux/amd64"}}} {
		own.SetBuild(b)
		file.SetBuild(b)
	}
	assert.Equal(t, "web/Dockerfile", own.Dockerfile)
	assert.Empty(t, own.Target)
	assert.Equal(t, map[string]string{"A": "1", "C": "4"}, own.BuildArgs)
	assert.Equal(t, map[string]string{"c": "d"}, own.BuildContexts)
	assert.Equal(t, []string{"linux/arm64"}, own.Platforms)
	assert.Equal(t, []string{"docker-bake.hcl"}, own.PinFiles)
	assert.Equal(t, []string{"linux/amd64"}, file.Platforms)
	assert.Equal(t, []string{"ci.yaml", "compose.yaml"}, file.PinFiles)

	file.SetBuild(&config.Build{Dockerfile: "Dockerfile"})
	assert.Equal(t, []string{"linux/riscv64"}, file.Platforms, "the file says nothing of them")
	file.SetBuild(nil)
	assert.Empty(t, file.Dockerfile)
	assert.Equal(t, []string{"ci.yaml"}, file.PinFiles)
}
