package state_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// An earlier version recorded one image as two when a Dockerfile named it by two spellings of its host.
func TestReferencesThatBecomeOne(t *testing.T) {
	const use = "  uses: [{kind: from, stage: \"0\", line: 1}]\n"
	file := "name: app\nrepository: ghcr.io/acme/app\nbaseImages:\n" +
		"- ref: docker.io/library/node:22\n" + use +
		"- ref: registry-1.docker.io/library/node:22\n" + use +
		"- ref: quay.io/acme/base:1\n" + use
	st, err := state.Load(fstest.MapFS{"images/app.yaml": &fstest.MapFile{Data: []byte(file)}}, "state")
	require.NoError(t, err)
	img := st.Images["app"]
	var refs []string
	for _, b := range img.BaseImages {
		refs = append(refs, b.Ref)
	}
	assert.Equal(t, []string{"docker.io/library/node:22", "quay.io/acme/base:1"}, refs)
	assert.Empty(t, img.Faults())

	file += "- ref: quay.io/acme/base:1\n" + use
	st, err = state.Load(fstest.MapFS{"images/app.yaml": &fstest.MapFile{Data: []byte(file)}}, "state")
	require.NoError(t, err)
	assert.Len(t, st.Images["app"].Faults(), 1, "what was written twice is reported")
}
