package kargo

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/crd"
)

func TestBefore111(t *testing.T) {
	for _, tt := range []struct {
		fields []string
		want   bool
	}{
		{[]string{"freightHistory"}, true},
		{[]string{"freightHistory", "autoPromotionHolds"}, false},
		{nil, false},
	} {
		assert.Equal(t, tt.want, Before111(func(field string) bool { return slices.Contains(tt.fields, field) }), tt.fields)
	}
}

// TestVersionOfTheCRDs holds what tells the version against Kargo's own CRDs.
func TestVersionOfTheCRDs(t *testing.T) {
	dir := os.Getenv("KARGO_SCHEMAS")
	if dir == "" {
		t.Skip("KARGO_SCHEMAS is not set: it names a folder with Kargo's crds, rollouts-crds and step-schemas")
	}
	set, err := crd.Load(dir + "/crds")
	require.NoError(t, err)
	has := func(field string) bool { return set.HasField("kargo.akuity.io", "Stage", "status", field) }
	assert.True(t, has("freightHistory"))
	assert.True(t, has("autoPromotionHolds"))
	assert.False(t, has("freightHistories"))
	assert.False(t, set.HasField("kargo.akuity.io", "Stages", "status"))
}
