package loop_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The request for the parent carries the lock; the builder of the child asks for it.
const webhookImages = `
defaults: {registry: REGISTRY}
images:
- name: parent
  repository: ORG/parent
  tags: latest
  source:
    provider: webhook
    repo: http://GITEA/ORG/parent.git
    pinBases: true
    webhook:
      url: http://SERVICE/build
      headers: {Authorization: {secret: ci, key: token, prefix: "Bearer "}}
      body: {image: "{{image}}", lock: "{{lock}}"}
      success: {status: [202], body: {state: queued}}
- name: child
  repository: ORG/child
  tags: latest
  source:
    provider: webhook
    repo: http://GITEA/ORG/child.git
    pinBases: true
    webhook:
      url: http://SERVICE/build
      headers: {Authorization: {secret: ci, key: token, prefix: "Bearer "}}
      body: {image: "{{image}}"}
`

// buildService is a builder that is started by HTTP requests, and that knows nothing but the code at Gitea and BuildKit.
type buildService struct {
	host string

	mu     sync.Mutex
	orders []order
}

type order struct {
	Image string `json:"image"`
	Lock  string `json:"lock"`
}

func newBuildService(t *testing.T) *buildService {
	b := &buildService{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /build", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if r.Header.Get("Authorization") != "Bearer only-for-tests" || json.NewDecoder(r.Body).Decode(&o) != nil {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.orders = append(b.orders, o)
		w.WriteHeader(http.StatusAccepted)
		respond(w, map[string]string{"state": "queued"})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.host = server.Listener.Addr().String()
	return b
}

// take returns the orders that have come since the last call.
func (b *buildService) take() []order {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.orders
	b.orders = nil
	return taken
}

// TestWebhookCascade lets a base move twice. A builder that HTTP requests start builds parent and child on the digest that has
// ripened.
func TestWebhookCascade(t *testing.T) {
	t.Parallel()
	service := newBuildService(t)
	s := newSite(t, "webhook", strings.ReplaceAll(webhookImages, "SERVICE", service.host))
	s.env = append(s.env, "IMAGEFACTORY_SECRET_CI__TOKEN=only-for-tests")
	first := s.push("os:13", "1")
	s.commit("parent", map[string]string{"Dockerfile": "FROM REGISTRY/ORG/os:13\nRUN cat /etc/version > /built\n"})
	s.commit("child", map[string]string{"Dockerfile": "FROM REGISTRY/ORG/parent:latest\nRUN cp /built /child\n"})
	// cascade makes passes until each image is built once. The tag may move before each build.
	cascade := func(on string, meanwhile func()) {
		t.Helper()
		for _, image := range []string{"parent", "child"} {
			s.pass()
			s.pass()
			orders := service.take()
			require.Len(t, orders, 1)
			assert.Equal(t, image, orders[0].Image)
			assert.Equal(t, "running", s.statuses()[image], image)
			meanwhile()
			s.buildOrder(orders[0])
		}
		s.pass()
		s.pass()
		assert.Empty(t, service.take())
		assert.Equal(t, map[string]string{"os:13": on}, s.built("parent:latest"))
		assert.Equal(t, map[string]string{"parent:latest": s.digest("parent:latest")}, s.built("child:latest"))
		assert.Empty(t, s.unripe())
	}
	cascade(first, func() {})
	s.wantCommits(7, "the base; of each image: requested, running, published")
	start := s.now

	s.now = start.Add(day)
	second := s.push("os:13", "2")
	s.pass()
	s.now = start.Add(4 * day)
	s.push("os:13", "3")
	s.pass()
	assert.Empty(t, service.take(), "no digest has ripened")
	s.wantCommits(2, "two digests of the base")

	s.now = start.Add(8 * day)
	cascade(second, func() { s.push("os:13", "4") })
	s.wantCommits(6, "of each image: requested, running, published")
	for _, image := range []string{"parent", "child"} {
		assert.Equal(t, []string{"succeeded", "succeeded"}, s.history(image), image)
	}
}

// buildOrder clones the code of an image, and builds and publishes it with the lock of the order, or with the one that pin prints.
func (s *site) buildOrder(o order) {
	s.t.Helper()
	if o.Lock == "" {
		o.Lock = s.run("pin", o.Image, "-o", "source-policy", "--state-repo", s.state.URL())
	}
	s.buildClone(o.Image, "--source-policy-file", s.write("policies/"+o.Image+".json", o.Lock))
}
