package cli_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// TestPauseStopsEveryPromoter: one pushed commit stops promote, promote --direct and the promotion of the analysis Jobs, while
// observations go on being recorded.
func TestPauseStopsEveryPromoter(t *testing.T) {
	s, _ := published(t)
	s.due()
	s.ok("pause", "--reason", "release week", "--by", "alice")
	assert.Contains(t, s.git.Log("fleet")[0], "all images: paused by alice: release week")
	before := s.commits()
	s.ok("promote")
	s.ok("promote", "--direct")
	s.ok("analyze", "--base-image", s.baseName(), "--promote")
	assert.Empty(t, s.kube.List("promotions"))
	assert.Nil(t, s.image("web").Rebuild)
	assert.Equal(t, before, s.commits(), "a pass that learns nothing pushes nothing")

	node := s.registry.Base("library/node:22", "3")
	s.ok("analyze", "--base-image", s.baseName(), "--promote")
	assert.Equal(t, node.Digest, s.base().CurrentDigest)
	assert.Nil(t, s.image("web").Rebuild)

	s.ok("resume")
	assert.Contains(t, s.git.Log("fleet")[0], "all images: resumed")
	s.due()
	s.ok("promote")
	require.Len(t, s.kube.List("promotions"), 1)
	assert.Equal(t, state.Running, s.image("web").Rebuild.Status)
}

// TestClosedPromotionWindowOfKargo: what Kargo's window closes is not recorded, so it never fails.
func TestClosedPromotionWindowOfKargo(t *testing.T) {
	s, _ := published(t)
	node := s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(week)
	s.kube.Close("web", "2030-06-08T08:00:00Z", "freeze")
	s.kube.AddFreight("base-"+s.baseName(), node.Digest)
	got := s.ok("promote")
	assert.Contains(t, got.err, "web is due and was not started: Kargo's promotion window is closed until 2030-06-08 08:00 UTC: freeze")
	assert.Empty(t, s.kube.List("promotions"))
	assert.Nil(t, s.image("web").Rebuild)
	s.kube.List("stages")[0]["status"] = map[string]any{"promotionWindowStatus": map[string]any{"closed": false}}
	s.ok("promote")
	require.Len(t, s.kube.List("promotions"), 1)
}
