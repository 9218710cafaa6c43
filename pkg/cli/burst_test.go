package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// fleetOf returns a site with n published images, enrolled and recorded, with their names and repositories.
func fleetOf(t *testing.T, n int) (_ *site, names []string, repos []*forgetest.Repo) {
	t.Helper()
	s := newSiteWithoutCluster(t)
	node := s.registry.Base("library/node:22", "1")
	var entries strings.Builder
	names, repos = make([]string, n), make([]*forgetest.Repo, n)
	for i := range n {
		names[i] = fmt.Sprintf("web-%03d", i)
		repos[i] = s.forge.GitHub("acme/" + names[i])
		entries.WriteString(s.entry(names[i], "acme/"+names[i], "acme/"+names[i]))
		repos[i].Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\n")
		s.registry.Publish("acme/"+names[i]+":1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
	}
	s.git.Commit("fleet", map[string]string{"images.yaml": entries.String()}, "enroll")
	s.ok("analyze")
	s.requests()
	return s, names, repos
}

// requests returns the numbers of requests to the registry, the forge and the git server since the last call.
func (s *site) requests() (registry, forge, git int) {
	total := len(s.forge.Requests(""))
	defer func() { s.asked = total }()
	return len(s.registry.Requests()), total - s.asked, len(s.git.Requests())
}

// jobs runs the analysis of each image as Kargo's Jobs do: so many at a time. It returns how many of them waited: all but the first
// worker wait until there is a commit.
func (s *site) jobs(atOnce int, digests map[string]string, names []string) (waited int) {
	s.t.Helper()
	commits := s.commits()
	queue := make(chan string)
	var group sync.WaitGroup
	var mu sync.Mutex
	for worker := range atOnce {
		sleep := func(ctx context.Context, _ time.Duration) error {
			for worker > 0 && s.commits() == commits && ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			return ctx.Err()
		}
		group.Go(func() {
			for name := range queue {
				var out, errOut bytes.Buffer
				code := cli.Main(s.t.Context(), []string{
					"analyze", "--state-repo", s.git.URL("fleet"), "--push", "--config", "images.yaml", "--image", name, "--tag", "1.0.1", "--digest", digests[name],
				}, &cli.Env{
					In: strings.NewReader(""), Out: &out, Err: &errOut, Now: func() time.Time { return s.now },
					Getenv: func(name string) string { return s.env[name] }, Sleep: sleep,
				})
				assert.Zero(s.t, code, errOut.String())
				mu.Lock()
				waited += strings.Count(errOut.String(), "many images are new")
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	group.Wait()
	return waited
}

// TestBurstCostsFewCommits: many images are published at once, and each has a Job. A few commits record them all.
func TestBurstCostsFewCommits(t *testing.T) {
	const images, atOnce = 60, 8
	s, names, _ := fleetOf(t, images)
	next := s.registry.Base("library/node:22", "2")
	digests := map[string]string{}
	for _, name := range names {
		digests[name] = s.registry.Publish("acme/"+name+":1.0.1", registrytest.Built{Version: "2", From: &next, Provenance: true}).Digest
	}
	before := s.commits()
	s.jobs(atOnce, digests, names)
	registry, forge, git := s.requests()
	t.Logf("%d images: %d commits; requests: registry %d, forge %d, git %d", images, s.commits()-before, registry, forge, git)
	assert.LessOrEqual(t, s.commits()-before, 2)
	for _, name := range names {
		img := s.image(name)
		require.Equal(t, digests[name], img.CurrentDigest, name)
		assert.Equal(t, state.Provenance, img.BuiltOn[0].Evidence, name)
		assert.Equal(t, next.Digest, img.BuiltOn[0].Digest, name)
	}
}

// TestSingleImageCostsFewRequests: without a burst, an analysis asks for a few other images only.
func TestSingleImageCostsFewRequests(t *testing.T) {
	s, names, _ := fleetOf(t, 60)
	node := s.registry.Base("library/node:22", "1")
	web := s.registry.Publish("acme/"+names[7]+":1.0.1", registrytest.Built{Version: "2", From: &node, Provenance: true})
	s.requests()
	assert.Zero(t, s.jobs(1, map[string]string{names[7]: web.Digest}, names[7:8]), "nothing to wait for")
	registry, forge, _ := s.requests()
	t.Logf("requests: registry %d, forge %d", registry, forge)
	assert.Less(t, registry, 40)
	assert.Equal(t, 1, forge)
	assert.Equal(t, web.Digest, s.image(names[7]).CurrentDigest)
}

// event runs the analysis of one image.
func (s *site) event(image, tag, digest string) result {
	return s.do("analyze", "--image", image, "--tag", tag, "--digest", digest)
}

// TestAnalysisOfANeighbor: an image that another one's analysis records gets its Dockerfile read too, or else it is left to its own.
func TestAnalysisOfANeighbor(t *testing.T) {
	s, names, repos := fleetOf(t, 3)
	other := s.registry.Base("library/go:1", "1")
	publish := func(name string) registrytest.Content {
		return s.registry.Publish("acme/"+name+":1.0.1", registrytest.Built{Version: "2", From: &other, Provenance: true})
	}
	first, second, third := publish(names[0]), publish(names[1]), publish(names[2])
	repos[1].Commit("Dockerfile", "FROM "+s.registry.Host+"/library/go:1\n")
	s.forge.Fail(repeat(10, forgetest.Fault{Match: "GET /api/v3/repos/acme/" + names[2] + "/", Status: 502})...)
	got := s.event(names[0], "1.0.1", first.Digest)
	require.Zero(t, got.code, got.err)
	assert.Equal(t, first.Digest, s.image(names[0]).CurrentDigest)
	img := s.image(names[1])
	assert.Equal(t, second.Digest, img.CurrentDigest)
	require.Len(t, img.BuiltOn, 1)
	assert.Equal(t, s.registry.Host+"/library/go:1", img.BuiltOn[0].Ref)
	assert.Equal(t, other.Digest, img.BuiltOn[0].Digest)
	assert.Equal(t, state.Provenance, img.BuiltOn[0].Evidence)
	assert.NotEqual(t, third.Digest, s.image(names[2]).CurrentDigest, "its Dockerfile could not be read")

	s.forge.Unfail()
	before := s.commits()
	assert.Contains(t, s.event(names[1], "1.0.1", second.Digest).err, "already recorded")
	assert.Equal(t, before, s.commits())
	require.Zero(t, s.event(names[2], "1.0.1", third.Digest).code)
	assert.Equal(t, third.Digest, s.image(names[2]).CurrentDigest)
}

// TestEventOfAnOlderVersion: a newer version was recorded with it.
func TestEventOfAnOlderVersion(t *testing.T) {
	s, names, _ := fleetOf(t, 1)
	old := s.image(names[0])
	node := s.registry.Base("library/node:22", "1")
	web := s.registry.Publish("acme/"+names[0]+":1.0.1", registrytest.Built{Version: "2", From: &node, Provenance: true})
	require.Zero(t, s.event(names[0], "1.0.1", web.Digest).code)
	s.requests()
	assert.Contains(t, s.event(names[0], "1.0.0", old.CurrentDigest).err, "already recorded")
	registry, forge, _ := s.requests()
	assert.Zero(t, registry+forge)
}
