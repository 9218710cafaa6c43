package tagrule_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/tagrule"
)

// TestFloatingTags holds the one difference between what is published and what is the newest version.
func TestFloatingTags(t *testing.T) {
	r, err := tagrule.New(config.Tags{Strategy: config.SemVer, Constraint: "^9", Ignore: []string{"-rc"}})
	require.NoError(t, err)
	tags := []string{"9", "9.1", "v9.1", "9.1.2", "v9.1.2", "9.2.0-rc", "8.0.0", "latest"}
	assert.Equal(t, []string{"v9.1.2", "9.1.2"}, r.Versions(tags))
	var published []string
	for _, tag := range tags {
		if r.Publishes(tag) {
			published = append(published, tag)
		}
	}
	assert.Equal(t, []string{"9", "9.1", "v9.1", "9.1.2", "v9.1.2"}, published)
}

func TestInvalidRules(t *testing.T) {
	for want, tags := range map[string]config.Tags{
		`invalid constraint "&"`: {Strategy: config.SemVer, Constraint: "&"},
		`invalid expression "("`: {Strategy: config.Lexical, Allow: []string{"("}},
		`invalid expression "["`: {Strategy: config.Lexical, Ignore: []string{"["}},
	} {
		_, err := tagrule.New(tags)
		require.ErrorContains(t, err, want)
	}
}
