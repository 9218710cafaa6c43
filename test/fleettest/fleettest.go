// Package fleettest makes fleets for tests.
package fleettest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// Hostile returns images.yaml and the state of a fleet in which the image a-hostile has many bases, each on a registry that
// never responds, and the images good0, good1 and so on have one base each on the registry good.
func Hostile(t testing.TB, good *registrytest.Registry, slow, others int) (images string, st *state.State) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	var b strings.Builder
	st = state.New()
	enroll := func(name string, refs ...string) {
		fmt.Fprintf(&b, "- {name: %s, registry: %q, repository: acme/%s, source: {provider: github, repo: acme/%s, workflow: b.yml}}\n", name, good.Host, name, name)
		img := &state.Image{Name: name, Repository: good.Host + "/acme/" + name, Dockerfile: &state.Dockerfile{Repo: "acme/" + name, Path: "Dockerfile", Digest: "sha256:" + strings.Repeat("a", 64)}}
		for i, ref := range refs {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Final: i == 0, Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		}
		st.Images[name] = img
	}
	var refs []string
	for i := range slow {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(server.Close)
		refs = append(refs, fmt.Sprintf("%s/a/slow%d:1", server.Listener.Addr(), i))
	}
	enroll("a-hostile", refs...)
	for i := range others {
		name := fmt.Sprintf("good%d", i)
		base := good.Base("base/"+name+":1", "1")
		good.Publish("acme/"+name+":1.0.0", registrytest.Built{Version: "1", From: &base, Provenance: true})
		enroll(name, good.Host+"/base/"+name+":1")
	}
	return b.String(), st
}
