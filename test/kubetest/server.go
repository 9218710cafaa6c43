// Package kubetest provides a Kubernetes API server with Kargo for tests. It has the endpoints that imagefactory uses, and admits
// what the Role in dist allows and Kargo's webhook accepts. Any other request fails the test.
package kubetest

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Token is the token of the ServiceAccount.
const Token = "sa-token-canary-0123456789"

type object = map[string]any

// Server is an API server with one Project.
type Server struct {
	Namespace string
	PageSize  int // upper bound for the objects in a list; 0 for none
	Now       func() time.Time

	t   testing.TB
	url string
	ca  []byte

	mu      sync.Mutex
	objects map[string][]object // by resource
	answers map[string]object   // by path; nil is forbidden
	secrets map[string]object   // those that the account may patch: their data
	denied  map[string]bool     // verb and resource, in access reviews
	clock   time.Time
	faults  []Fault
	instead func(w http.ResponseWriter, r *http.Request) bool
}

// Fault is a response that replaces the normal one.
type Fault struct {
	Match  string // method and resource: "POST promotions"
	Status int
	Break  bool // close the connection without a response
	After  bool // process the request, then fail: the response is lost

	Reason, Message string // of the response; default: an internal error
	Body            string // replaces the whole response
}

// New starts a server; it stops with the test.
func New(t testing.TB) *Server {
	s := &Server{
		Namespace: "image-factory-kargo", t: t,
		Now:     func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) },
		objects: map[string][]object{"stages": {}, "promotions": {}, "freights": {}},
	}
	s.answers, s.denied, s.secrets = map[string]object{}, map[string]bool{}, map[string]object{}
	server := httptest.NewTLSServer(http.HandlerFunc(s.serve)) // client-go sends no token from a kubeconfig without TLS
	t.Cleanup(server.Close)
	s.url = server.URL
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return s
}

// Config returns a client configuration for the ServiceAccount.
func (s *Server) Config() *rest.Config {
	return &rest.Config{Host: s.url, BearerToken: Token, TLSClientConfig: rest.TLSClientConfig{CAData: s.ca}}
}

// Kubeconfig writes a kubeconfig file and returns its path.
func (s *Server) Kubeconfig() string {
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	require.NoError(s.t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"c": {Server: s.url, CertificateAuthorityData: s.ca}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": {Token: Token}},
		Contexts:  map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	}, file))
	require.NoError(s.t, os.Chmod(file, 0o600))
	return file
}

// AddStage adds the rebuild Stage of an image.
func (s *Server) AddStage(image string) {
	s.add("stages", object{"metadata": object{"name": "rebuild-" + image, "labels": object{"imagefactory/role": "rebuild", "imagefactory/image": image}}})
}

// Close adds a rebuild Stage whose promotion windows are closed; next is when they open, "" if that is not known.
func (s *Server) Close(image, next, reason string) {
	status := object{"closed": true, "reason": reason}
	if next != "" {
		status["nextOpen"] = next
	}
	s.add("stages", object{
		"metadata": object{"name": "rebuild-" + image, "labels": object{"imagefactory/role": "rebuild", "imagefactory/image": image}},
		"status":   object{"promotionWindowStatus": status},
	})
}

// Hold adds an observe Stage whose auto-promotion is on hold.
func (s *Server) Hold(stage, warehouse, by string) {
	s.add("stages", object{
		"metadata": object{"name": stage, "labels": object{"imagefactory/role": "observe"}},
		"status": object{"effectiveAutoPromotionHolds": object{"Warehouse/" + warehouse: object{
			"actor": by, "freightName": "f1", "origin": object{"kind": "Warehouse", "name": warehouse},
		}}},
	})
}

// AddFreight adds Freight of a Warehouse.
func (s *Server) AddFreight(warehouse, digest string) string {
	name := fmt.Sprintf("f%039d", len(s.List("freights")))
	s.add("freights", object{
		"metadata": object{"name": name}, "origin": object{"kind": "Warehouse", "name": warehouse},
		"images": []any{object{"repoURL": "example.com/" + warehouse, "digest": digest}},
	})
	return name
}

// AddPromotion adds a Promotion that a person created.
func (s *Server) AddPromotion(image, freight, by string) string {
	p := s.named(object{
		"metadata": object{"annotations": object{"kargo.akuity.io/create-actor": by}},
		"spec":     object{"stage": "rebuild-" + image, "freight": freight},
	})
	s.add("promotions", p)
	return name(p)
}

// Finish sets the phase of a Promotion and the run that its steps started.
func (s *Server) Finish(promotion, phase, run, url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.objects["promotions"] {
		if name(p) == promotion {
			status := object{"phase": phase, "state": object{"rebuild::dispatch": object{"run": run, "url": url}}}
			if f := s.find("freights", p["spec"].(object)["freight"].(string)); f != nil {
				status["freight"] = object{"name": name(f), "origin": f["origin"], "images": f["images"]}
			}
			p["status"] = status
			return
		}
	}
	s.t.Errorf("no such Promotion: %s", promotion)
}

// Answer sets the response for a path that only doctor requests: an object, 404 if it is empty, or 403 if it is nil.
func (s *Server) Answer(path string, o map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = o
}

// AllowSecret adds a Secret that the account may patch. It must not read any.
func (s *Server) AllowSecret(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name] = object{}
}

// Secret returns the data of a Secret that was added with AllowSecret.
func (s *Server) Secret(name string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.secrets[name])
}

// Deny makes access reviews deny a verb and a resource, such as "create promotions".
func (s *Server) Deny(access string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[access] = true
}

// Add adds an object.
func (s *Server) Add(resource string, o map[string]any) { s.add(resource, o) }

// List returns the objects of a resource, oldest first.
func (s *Server) List(resource string) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.objects[resource])
}

// Break sets a handler that replaces the response of the server if it returns true; nil removes it.
func (s *Server) Break(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// Fail makes the next requests that match fail, one fault for each.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

func (s *Server) add(resource string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(resource, o)
}

func (s *Server) insert(resource string, o object) {
	if s.clock = s.clock.Add(time.Second); s.Now().After(s.clock) { // each object has its own time
		s.clock = s.Now()
	}
	meta := o["metadata"].(object)
	meta["namespace"], meta["creationTimestamp"] = s.Namespace, s.clock.Format(time.RFC3339)
	o["apiVersion"], o["kind"] = "kargo.akuity.io/v1alpha1", map[string]string{"stages": "Stage", "promotions": "Promotion", "freights": "Freight"}[resource]
	s.objects[resource] = append(s.objects[resource], o)
}

func name(o object) string { return o["metadata"].(object)["name"].(string) }

// named gives a Promotion the name that Kargo's webhook sets in any case: <stage>.<ulid>.<freight>.
func (s *Server) named(p object) object {
	spec := p["spec"].(object)
	p["metadata"].(object)["name"] = fmt.Sprintf("%s.%026d.%.7s", spec["stage"], len(s.objects["promotions"]), spec["freight"])
	return p
}

func (s *Server) find(resource, wanted string) object {
	for _, o := range s.objects[resource] {
		if name(o) == wanted {
			return o
		}
	}
	return nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instead != nil && s.instead(w, r) {
		return
	}
	prefix := "/apis/kargo.akuity.io/v1alpha1/namespaces/" + s.Namespace + "/"
	resource, ok := strings.CutPrefix(r.URL.Path, prefix)
	if r.Header.Get("Authorization") != "Bearer "+Token {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	}
	if o, known := s.answers[r.URL.Path]; known && r.Method == http.MethodGet {
		switch {
		case o == nil:
			refuse(w, http.StatusForbidden, "Forbidden", "not allowed")
		case len(o) == 0:
			refuse(w, http.StatusNotFound, "NotFound", "not found")
		default:
			send(w, http.StatusOK, o)
		}
		return
	}
	if secret, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+s.Namespace+"/secrets/"); ok && r.Method == http.MethodPatch {
		s.patch(w, r, secret)
		return
	}
	if r.URL.Path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" && r.Method == http.MethodPost {
		s.review(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/openapi/") { // no right is needed to read it, and this server has none
		refuse(w, http.StatusNotFound, "NotFound", "not found")
		return
	}
	if !ok && strings.HasPrefix(r.URL.Path, "/apis/kargo.akuity.io/") {
		refuse(w, http.StatusForbidden, "Forbidden", "the ServiceAccount cannot list resources in this namespace")
		return
	}
	_, known := s.objects[resource]
	if !known || r.Method != http.MethodGet && (r.Method != http.MethodPost || resource != "promotions") {
		s.t.Errorf("the Role does not allow %s %s", r.Method, r.URL)
		refuse(w, http.StatusForbidden, "Forbidden", "not allowed")
		return
	}
	answer := func(w http.ResponseWriter) { s.list(w, r, resource) }
	if r.Method == http.MethodPost {
		answer = func(w http.ResponseWriter) { s.create(w, r) }
	}
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.Match == r.Method+" "+resource })
	if i < 0 {
		answer(w)
		return
	}
	fault := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	if fault.After {
		answer(httptest.NewRecorder())
	}
	if fault.Break {
		panic(http.ErrAbortHandler)
	}
	if fault.Body != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(fault.Status)
		_, _ = w.Write([]byte(fault.Body)) // the client may be gone
		return
	}
	refuse(w, fault.Status, cmp.Or(fault.Reason, "InternalError"), cmp.Or(fault.Message, "injected fault"))
}

// patch merges a patch of a Secret into its data.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, name string) {
	var patch struct {
		Data object `json:"data"`
	}
	switch data := s.secrets[name]; {
	case data == nil:
		refuse(w, http.StatusForbidden, "Forbidden", fmt.Sprintf("secrets %q is forbidden: the ServiceAccount cannot patch resource \"secrets\"", name))
	case r.Header.Get("Content-Type") != "application/merge-patch+json" || json.NewDecoder(r.Body).Decode(&patch) != nil:
		refuse(w, http.StatusBadRequest, "BadRequest", "not a merge patch")
	default:
		maps.Copy(data, patch.Data)
		send(w, http.StatusOK, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": name}, "data": data})
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, resource string) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	items := []any{}
	for _, o := range s.objects[resource] {
		set := labels.Set{}
		marked, _ := o["metadata"].(object)["labels"].(object)
		for k, v := range marked {
			set[k] = v.(string)
		}
		if selector.Matches(set) {
			items = append(items, o)
		}
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	limit = cmp.Or(s.PageSize, limit, len(items))
	meta := object{"resourceVersion": "1"}
	if from+limit < len(items) {
		meta["continue"] = strconv.Itoa(from + limit)
	}
	send(w, http.StatusOK, object{
		"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "List", "metadata": meta, "items": items[from:min(from+limit, len(items))],
	})
}

func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Attributes struct{ Verb, Resource string } `json:"resourceAttributes"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	a := review.Spec.Attributes
	send(w, http.StatusCreated, object{"kind": "SelfSubjectAccessReview", "status": object{"allowed": !s.denied[a.Verb+" "+a.Resource]}})
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var p object
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	spec, _ := p["spec"].(object)
	stage, _ := spec["stage"].(string)
	freight, _ := spec["freight"].(string)
	if s.find("stages", stage) == nil || s.find("freights", freight) == nil {
		refuse(w, http.StatusNotFound, "NotFound", fmt.Sprintf("admission webhook \"promotion.kargo.akuity.io\" denied the request: stage %q or freight %q not found", stage, freight))
		return
	}
	p = s.named(p)
	s.insert("promotions", p)
	send(w, http.StatusCreated, p)
}

func refuse(w http.ResponseWriter, code int, reason, message string) {
	send(w, code, object{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": message})
}

func send(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}
