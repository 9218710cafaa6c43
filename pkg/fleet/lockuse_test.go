package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/fleet"
)

func TestBuildsWithoutLock(t *testing.T) {
	const build = "  - uses: docker/build-push-action@v7\n"
	for text, want := range map[string]bool{
		"jobs: {a: {steps: [{uses: docker/bake-action@v6}]}}": true,
		"steps:\n" + build: true,
		"steps:\n- run: docker buildx build --push .\n":                                          true,
		"steps:\n  # - uses: imagefactory/imagefactory/pin@v1\n" + build:                         true,
		"steps:\n  - uses: imagefactory/imagefactory/pin@v1\n" + build:                           false,
		"env: {EXPERIMENTAL_BUILDKIT_SOURCE_POLICY: lock.json}\nsteps:\n" + build:                false,
		"steps:\n- run: imagefactory pin web -o source-policy > p\n- run: docker buildx build .": false,
		"steps:\n  - uses: ./.github/actions/lock\n" + build:                                     false,
		"jobs: {a: {uses: acme/ci/.github/workflows/build.yml@main}}":                            false,
		"steps:\n- run: make push":                                                               false,
		"":                                                                                       false, "{": false, "a: &a [*a]": false,
	} {
		assert.Equal(t, want, fleet.BuildsWithoutLock([]byte(text)), text)
	}
}
