package cli_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/test/registrytest"
)

// TestSameFaultIsReportedAgain: of several tags that cannot be read, the alphabetically first is named.
func TestSameFaultIsReportedAgain(t *testing.T) {
	s := newSiteWithoutCluster(t)
	images := []string{s.entry("base", "acme/base", "acme/base")}
	s.forge.GitHub("acme/base").Commit("Dockerfile", "FROM scratch\n")
	for _, name := range "abcdef" {
		repo := fmt.Sprintf("acme/on-%c", name)
		images = append(images, s.entry(fmt.Sprintf("on-%c", name), repo, repo))
		s.forge.GitHub(repo).Commit("Dockerfile", fmt.Sprintf("FROM %s/acme/base:%c\n", s.registry.Host, name))
	}
	s.git.Commit("fleet", map[string]string{"images.yaml": strings.Join(images, "")}, "More images")
	s.registry.Publish("acme/base:1.0.0", registrytest.Built{Version: "1"})
	s.do("analyze") // these tags do not exist yet
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		tag := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if !strings.HasPrefix(r.URL.Path, "/v2/acme/base/manifests/") || len(tag) != 1 {
			return false
		}
		w.WriteHeader(http.StatusPaymentRequired + int(tag[0]-'a')) // 402 for a, 403 for b
		return true
	})
	for range 5 {
		got := s.do("analyze", "base")
		assert.Equal(t, 1, got.code)
		assert.Regexp(t, `(?m)^error: base: .*acme/base:a`, got.err)
	}
}
