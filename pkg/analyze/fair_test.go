package analyze

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/test/fleettest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

func hostileFleet(t *testing.T, good *registrytest.Registry, slow, others int) *fleet.Fleet {
	images, st := fleettest.Hostile(t, good, slow, others)
	files, err := st.Encode()
	require.NoError(t, err)
	tree := fstest.MapFS{}
	for name, data := range files {
		tree[name] = &fstest.MapFile{Data: data}
	}
	f, err := fleet.OpenFS(fleet.Paths{Config: "images.yaml", StateDir: "state"}, tree, func() (*config.Config, error) {
		return config.Load(strings.NewReader(images), "images.yaml")
	})
	require.NoError(t, err)
	return f
}

func TestSlowRegistriesOfOneImageDoNotStarveTheOthers(t *testing.T) {
	good := registrytest.New(t)
	f := hostileFleet(t, good, 2*maxParallel, 12)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	left := map[string]bool{}
	for i := range 12 {
		left[fmt.Sprintf("/v2/base/good%d/", i)] = true
	}
	good.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		maps.DeleteFunc(left, func(prefix string, _ bool) bool { return strings.HasPrefix(r.URL.Path, prefix) })
		if len(left) == 0 {
			cancel() // the slow ones go on for ever
		}
		return false
	})
	guard := time.AfterFunc(time.Minute, cancel)
	defer guard.Stop()
	_, err := Fleet(ctx, f, Scope{AllBases: true}, Clients{Registry: registry.New(registry.Options{}), Now: time.Now})
	require.NoError(t, err)
	assert.Empty(t, left, "all bases of the others were asked for")
}

func TestOnePhaseLeavesTimeForTheNext(t *testing.T) {
	good := registrytest.New(t)
	f := hostileFleet(t, good, 5, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	published := []string{"good0", "good1", "good2"}
	r, err := Fleet(ctx, f, Scope{Published: published, AllBases: true}, Clients{Registry: registry.New(registry.Options{}), Now: time.Now})
	require.NoError(t, err)
	for _, name := range published {
		img := f.State.Images[name]
		assert.Equal(t, "1.0.0", img.CurrentVersion, "%s: it was found out what it was built on", name)
		assert.NotNil(t, f.State.Base(img.BaseImages[0].Ref).Baseline, name)
	}
	late := slices.DeleteFunc(r.Bases, func(b BaseReport) bool { return !b.NotSeen })
	assert.Len(t, late, 5)
}
