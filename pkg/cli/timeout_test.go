package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hanging returns the hosts of registries that accept requests and never respond.
func hanging(t *testing.T, n int) []string {
	end := make(chan struct{})
	var hosts []string
	for range n {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(server.Close)
		hosts = append(hosts, server.Listener.Addr().String())
	}
	t.Cleanup(func() { close(end) })
	return hosts
}

// TestAnalysisTimeoutKeepsResults: registries that hang use up neither the time of a run nor its results.
func TestAnalysisTimeoutKeepsResults(t *testing.T) {
	s := newSite(t)
	node := s.registry.Base("library/node:22", "1")
	var hostile strings.Builder
	hostile.WriteString("FROM scratch\n")
	for i, host := range hanging(t, 40) {
		fmt.Fprintf(&hostile, "COPY --from=%s/a/b%d:1 / /\n", host, i)
	}
	s.forge.GitHub("acme/hostile").Commit("Dockerfile", hostile.String())
	s.git.Commit("fleet", map[string]string{"images.yaml": s.entry("a-hostile", "acme/hostile", "acme/hostile") + s.entry("web", "acme/web", "acme/web")}, "Enroll")
	got := s.do("analyze", "--timeout", "4s")
	assert.Equal(t, 1, got.code, got.err)
	assert.Contains(t, got.err, "40 not reached in time (--timeout)")
	name := ""
	for _, file := range strings.Fields(s.git.Git("fleet", "ls-tree", "--name-only", "main:state/base-images")) {
		if strings.Contains(file, "node-22") {
			name = strings.TrimSuffix(file, ".yaml")
		}
	}
	require.NotEmpty(t, name)
	assert.Contains(t, s.git.Git("fleet", "cat-file", "blob", "main:state/base-images/"+name+".yaml"), node.Digest, "the others are recorded")

	node = s.registry.Base("library/node:22", "2")
	event := []string{"--base-image", name, "--tag", "22", "--digest", node.Digest, "--timeout", "4s"}
	got = s.do("analyze", event...)
	assert.Zero(t, got.code, "what the event told of was looked at: %s", got.err)
	assert.Contains(t, s.git.Git("fleet", "cat-file", "blob", "main:state/base-images/"+name+".yaml"), node.Digest)
}
