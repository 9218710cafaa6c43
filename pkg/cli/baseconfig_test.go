package cli_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// copies returns a config whose ONBUILD trigger copies from an image of the registry.
func (s *site) copies(from string) v1.Config {
	return v1.Config{OnBuild: []string{"COPY --from=" + s.registry.Host + "/" + from + " /t /t", "RUN make"}}
}

// uses returns the kinds of instructions in which an image uses a reference of the registry.
func (s *site) uses(name, ref string) []string {
	s.t.Helper()
	var kinds []string
	for _, b := range s.image(name).BaseImages {
		if b.Ref != s.registry.Host+"/"+ref {
			continue
		}
		for _, u := range b.Uses {
			kinds = append(kinds, u.Kind)
		}
	}
	return kinds
}

// basesInState returns the base images that have a state file.
func (s *site) basesInState() string {
	s.t.Helper()
	return s.git.Git("fleet", "ls-tree", "--name-only", "main:state/base-images")
}

func TestTriggersOfABaseImage(t *testing.T) {
	s := newSite(t)
	for _, tool := range []string{"lib/tool:1", "lib/tool:2", "lib/tool:3"} {
		s.registry.Base(tool, "1")
	}
	s.registry.Configured("library/node:22", "1", s.copies("lib/tool:1"))
	s.ok("analyze")
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:1"))
	assert.Equal(t, []string{"from"}, s.uses("web", "library/node:22"))
	assert.Contains(t, s.basesInState(), "tool-1")

	// A Job starts with an empty cache: state is enough.
	s.env["IMAGEFACTORY_CACHE_DIR"] = t.TempDir()
	s.registry.Requests()
	before := s.commits()
	got := s.ok("analyze")
	assert.Contains(t, got.err, "nothing new")
	assert.Equal(t, before, s.commits())
	asked := s.registry.Requests()
	assert.Len(t, slices.DeleteFunc(asked, func(r string) bool { return !strings.Contains(r, "library/node/manifests/") }), 1, "one HEAD")
	assert.NotContains(t, strings.Join(asked, "\n"), "blobs")

	s.registry.Configured("library/node:22", "2", s.copies("lib/tool:2"))
	s.ok("analyze")
	assert.Empty(t, s.uses("web", "lib/tool:1"))
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:2"))

	// A config that cannot be read removes nothing.
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "library/node/blobs/") {
			http.Error(w, "", http.StatusForbidden)
			return true
		}
		return false
	})
	third := s.registry.Configured("library/node:22", "3", s.copies("lib/tool:3"))
	got = s.ok("analyze")
	assert.Contains(t, got.err, "warning: reading the config of \""+s.registry.Host+"/library/node:22@")
	assert.Contains(t, got.err, "access denied (403)")
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:2"))
	before = s.commits()
	got = s.ok("analyze")
	assert.Contains(t, got.err, "warning: reading the config of", "it is said each time")
	assert.Equal(t, before, s.commits())

	s.registry.Break(nil)
	s.ok("analyze")
	assert.Empty(t, s.uses("web", "lib/tool:2"))
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:3"))
	assert.Contains(t, s.git.Git("fleet", "grep", third.Platforms["linux/amd64"], "main", "--", "state/base-images"), "digest:")
}

// The current digest of the tag decides, not state: no other analysis is needed first.
func TestTriggersArriveWithTheirDigest(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.registry.Base("lib/tool:1", "1")
	s.ok("analyze")
	s.registry.Configured("library/node:22", "2", s.copies("lib/tool:1"))
	s.ok("analyze")
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:1"))
	s.registry.Base("library/node:22", "3")
	s.ok("analyze")
	assert.Empty(t, s.uses("web", "lib/tool:1"))
}

// A trigger can make a stage part of the build, whose base image has triggers of its own.
func TestTriggersThatNeedMoreTriggers(t *testing.T) {
	s := newSite(t)
	s.registry.Base("lib/tool:1", "1")
	s.registry.Configured("library/tools:1", "1", s.copies("lib/tool:1"))
	s.registry.Configured("library/node:22", "1", v1.Config{OnBuild: []string{"COPY --from=tools /t /t"}})
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/tools:1 AS tools\nFROM "+s.registry.Host+"/library/node:22\n")
	s.ok("analyze")
	assert.Equal(t, []string{"from"}, s.uses("web", "library/tools:1"))
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:1"))
}

func TestTriggersOfAPinnedImage(t *testing.T) {
	s := newSite(t)
	s.registry.Base("lib/tool:1", "1")
	node := s.registry.Configured("library/node:22", "1", s.copies("lib/tool:1"))
	s.registry.Base("library/node:22", "2")
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22@"+node.Digest+"\n")
	s.ok("analyze")
	assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:1"))
	s.env["IMAGEFACTORY_CACHE_DIR"] = t.TempDir()
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	before := s.commits()
	got := s.ok("analyze")
	assert.Contains(t, got.err, "warning: reading the config of")
	assert.Equal(t, before, s.commits(), "what is known stays")
}

// A pin of the current digest costs no more requests than the tag.
func TestTriggersOfAPinOfTheNewest(t *testing.T) {
	s := newSite(t)
	s.registry.Base("lib/tool:1", "1")
	node := s.registry.Configured("library/node:22", "1", s.copies("lib/tool:1"))
	for _, digest := range []string{node.Digest, node.Platforms["linux/amd64"]} {
		s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22@"+digest+"\n")
		s.ok("analyze")
		s.env["IMAGEFACTORY_CACHE_DIR"] = t.TempDir()
		s.registry.Requests()
		assert.Contains(t, s.ok("analyze").err, "nothing new")
		assert.Equal(t, []string{"onbuild"}, s.uses("web", "lib/tool:1"))
		assert.NotContains(t, strings.Join(s.registry.Requests(), "\n"), "GET /v2/library/node/")
	}
}

func TestTriggersThatBuildKitRefuses(t *testing.T) {
	s := newSite(t)
	s.registry.Configured("library/node:22", "1", v1.Config{OnBuild: []string{"FROM scratch"}})
	s.registry.Base("library/good:1", "1")
	s.forge.GitHub("acme/good").Commit("Dockerfile", "FROM "+s.registry.Host+"/library/good:1\n")
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("web", "acme/web", "acme/web") + s.entry("good", "acme/good", "acme/good")}, "Enroll")
	for range 2 {
		got := s.do("analyze")
		assert.Equal(t, 1, got.code)
		assert.Contains(t, got.err, "error: web: web/Dockerfile:1: ONBUILD trigger of "+s.registry.Host+"/library/node:22: ")
		assert.NotNil(t, s.image("good").Dockerfile, "the others go on")
	}
}

// Too many triggers count as unknown.
func TestTriggersWithoutEnd(t *testing.T) {
	s := newSite(t)
	s.registry.Configured("library/node:22", "1", v1.Config{OnBuild: slices.Repeat([]string{"COPY --from=a /a /a"}, 501)})
	got := s.ok("analyze")
	assert.Contains(t, got.err, "warning: reading the config of")
	assert.Contains(t, got.err, "more than 500 ONBUILD triggers")
	assert.Empty(t, s.uses("web", "a:latest"))
}

func TestEnvironmentOfABaseImage(t *testing.T) {
	s := newSite(t)
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\nRUN --mount=type=cache,uid=$APP_UID,target=/c make\n")
	s.registry.Configured("library/node:22", "1", v1.Config{Env: []string{"APP_UID=1000", "TOKEN=canary-of-an-image"}})
	got := s.ok("analyze")
	assert.NotContains(t, got.err, "warning")
	assert.NotContains(t, s.git.Git("fleet", "cat-file", "--batch-all-objects", "--batch"), "canary-of-an-image", "variables stay out of state")

	s.registry.Configured("library/node:22", "2", v1.Config{Env: []string{"PATH=/bin"}})
	got = s.do("analyze")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "error: web: web/Dockerfile:2: invalid value  for uid")
	assert.Equal(t, []string{"from"}, s.uses("web", "library/node:22"))
}

// A base whose config is unknown is handled without it, and the command reports what depends on it.
func TestEnvironmentThatIsNotKnown(t *testing.T) {
	s := newSite(t)
	s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\nRUN --mount=type=cache,uid=$APP_UID,target=/c make\n")
	s.registry.Base("library/node:22", "1")
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Error(w, "", http.StatusForbidden)
			return true
		}
		return false
	})
	got := s.ok("analyze")
	assert.Contains(t, got.err, "BuildKit refuses this unless the base image sets the environment")
	assert.Contains(t, got.err, "warning: reading the config of")
}

// The images of a file for another frontend are unknown, so those in state stay.
func TestOtherFrontendKeepsKnownImages(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.ok("analyze")
	s.source.Commit("Dockerfile", "// syntax=frontend.example/acme/builder:1\nanything\n")
	got := s.ok("analyze")
	assert.Contains(t, got.err, "Dockerfile:1: the file is for the frontend frontend.example/acme/builder:1 and is not a Dockerfile")
	assert.Equal(t, []string{"from"}, s.uses("web", "library/node:22"))
	before := s.commits()
	s.ok("analyze")
	assert.Equal(t, before, s.commits())
	web := s.image("web")
	require.True(t, slices.ContainsFunc(web.BaseImages, func(b state.BaseUse) bool { return b.Ref == "frontend.example/acme/builder:1" }))
}

// A Dockerfile must not lead to a state file that no command can read.
func TestMoreImagesThanStateCanHold(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	s.ok("analyze")
	var huge strings.Builder
	huge.WriteString("FROM scratch\n")
	for i := range 1500 {
		fmt.Fprintf(&huge, "COPY --from=registry.example/%s/n%d /a /b\n", strings.Repeat("x", 160), i)
	}
	s.source.Commit("Dockerfile", huge.String())
	got := s.do("analyze")
	assert.Equal(t, 1, got.code)
	assert.Regexp(t, `error: web: web/Dockerfile:\d+: the Dockerfile uses more images than fit in 256 KiB`, got.err)
	assert.Equal(t, []string{"from"}, s.uses("web", "library/node:22"), "it keeps its state")
}

// An index that lacks a platform costs no request more than others do until it changes.
func TestPlatformMissingFromBase(t *testing.T) {
	s := newSite(t)
	s.registry.Base("library/node:22", "1")
	images := s.git.Git("fleet", "show", "main:images.yaml")
	require.Contains(t, images, "workflow: ")
	s.git.Commit("fleet", map[string]string{"images.yaml": strings.Replace(images, "workflow: ", "platforms: [linux/amd64, linux/s390x], workflow: ", 1)}, "another platform")
	assert.Contains(t, s.ok("analyze").err, "no image for linux/s390x")
	s.env["IMAGEFACTORY_CACHE_DIR"] = t.TempDir()
	s.registry.Requests()
	assert.Contains(t, s.ok("analyze").err, "no image for linux/s390x")
	asked := slices.DeleteFunc(s.registry.Requests(), func(r string) bool { return !strings.Contains(r, "library/node/") })
	assert.Len(t, asked, 1, "one HEAD")
}

// A config that was not read in time is not reported as missing because of --offline.
func TestConfigThatIsNotReadInTime(t *testing.T) {
	s := newSite(t)
	s.registry.Configured("library/node:22", "1", s.copies("lib/tool:1"))
	s.registry.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "library/node/blobs/") {
			<-r.Context().Done()
			return true
		}
		return false
	})
	got := s.do("analyze", "--timeout", "4s")
	assert.Contains(t, got.err, `library/node:22": not read in this run (images used by its ONBUILD triggers are unknown`)
	assert.NotContains(t, got.err, "offline")
}
