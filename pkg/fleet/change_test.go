package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/fleet"
)

func TestMessageNamesFirstFact(t *testing.T) {
	const base, image = "base-images/library-node-22.yaml", "images/web.yaml"
	node := "name: library-node-22\nregistry: registry.platform.example.com\nrepository: library/node\ntag: \"22\"\ncurrentDigest: sha256:2f270f41903e07ca2f5dcf7ce42cb25ace41f295da57622eb19c4b83c02cb7c9\n" +
		"baseline: {digest: sha256:2f270f41903e07ca2f5dcf7ce42cb25ace41f295da57622eb19c4b83c02cb7c9}\n"
	web := "name: web\nrepository: registry.platform.example.com/apps/web\n"
	requested := "rebuild:\n  id: r-b39d27420f4fd1e1\n  reason: newer digest of registry.platform.example.com/library/node:22 is due\n  status: requested\n"
	change := func(files map[string][2]string) *fleet.Change {
		c := &fleet.Change{Before: map[string][]byte{}, After: map[string][]byte{}}
		for _, file := range []string{base, image} {
			if versions, ok := files[file]; ok {
				c.Changed = append(c.Changed, file)
				c.Before[file], c.After[file] = []byte(versions[0]), []byte(versions[1])
			}
		}
		return c
	}
	triggers := [2]string{node, node + "triggers:\n- platform: linux/amd64\n  digest: sha256:5edf63fec30991f60ea89cfff27e72435ee9f26c184858a611931d862e408bd6\n"}
	fact := "web: rebuild r-b39d27420f4fd1e1 requested: newer digest of registry.platform.example.com/library/node:22 is due"
	for name, tt := range map[string]struct {
		files map[string][2]string
		want  string
	}{
		"short": {map[string][2]string{image: {web, web + "currentVersion: 1.0.1\ncurrentDigest: sha256:5edf63fec30991f60ea89cfff27e72435ee9f26c184858a611931d862e408bd6\n"}},
			"web: published as 1.0.1 (sha256:5edf63fec309)\n"},
		"long": {map[string][2]string{image: {web, web + requested}},
			"web: rebuild r-b39d27420f4fd1e1 requested: newer digest of registry.p...\n\n" + fact + "\n"},
		"no fact before": {map[string][2]string{base: triggers, image: {web, web + requested}},
			"web: rebuild r-b39d27420f4fd1e1 requested: newer digest of... and 1 more\n\nlibrary-node-22: updated\n" + fact + "\n"},
		"no fact": {map[string][2]string{base: triggers}, "library-node-22: updated\n"},
		"nothing": {nil, "Update 0 state files\n"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, change(tt.files).Message()) })
	}
}
