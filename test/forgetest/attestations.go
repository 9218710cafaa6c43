package forgetest

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/klauspost/compress/snappy"
)

// Attestations are the attestations that GitHub holds: https://docs.github.com/rest/repos/attestations. The list of a repository, an
// organisation or a user without any for a digest is a 404, as GitHub answers.
type Attestations struct {
	Inline bool // as in older versions of the API: the list holds the bundles themselves

	server *Server
	mu     sync.Mutex
	lists  map[string][]map[string]any // by owner and digest
	blobs  [][]byte
}

// Attestations adds the API for attestations. Bundles are stored on another server, which refuses tokens.
func (s *Server) Attestations(storage *Server) *Attestations {
	a := &Attestations{server: storage, lists: map[string][]map[string]any{}}
	for _, owner := range []string{"repos/{owner}/{repo}", "orgs/{owner}", "users/{owner}"} {
		s.Handle("GET /api/v3/"+owner+"/attestations/{digest}", a.list)
	}
	s.Handle("GET /api/v3/users/{owner}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("owner") != "acme" {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
			return
		}
		sendJSON(w, http.StatusOK, map[string]any{"login": "acme"})
	})
	storage.Handle("GET /bundles/{blob}", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "a signed URL with a token", http.StatusBadRequest)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-snappy")
		_, _ = w.Write(a.blobs[int(r.PathValue("blob")[0]-'a')])
	})
	return a
}

// Add stores a bundle about a digest for an owner: "repos/acme/images", "orgs/acme" or "users/acme".
func (a *Attestations) Add(owner, digest string, bundle []byte) {
	a.AddBlob(owner, digest, bundle, snappy.Encode(nil, bundle))
}

// AddBlob stores a bundle and what the storage sends for it.
func (a *Attestations) AddBlob(owner, digest string, bundle, blob []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entry := map[string]any{"repository_id": 1}
	if a.Inline {
		entry["bundle"] = json.RawMessage(bundle)
	} else {
		entry["bundle_url"] = "http://" + a.server.Host + "/bundles/" + string(rune('a'+len(a.blobs))) + "?sig=SECRET"
	}
	a.blobs = append(a.blobs, blob)
	a.lists[owner+" "+digest] = append(a.lists[owner+" "+digest], entry)
}

func (a *Attestations) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	owner := r.URL.Path[len("/api/v3/") : len(r.URL.Path)-len("/attestations/")-len(r.PathValue("digest"))]
	list := a.lists[owner+" "+r.PathValue("digest")]
	if list == nil {
		sendJSON(w, http.StatusNotFound, map[string]any{"message": "Not Found", "status": "404"})
		return
	}
	sendJSON(w, http.StatusOK, map[string]any{"attestations": list})
}
