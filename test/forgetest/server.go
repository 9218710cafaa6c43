// Package forgetest provides the REST API of a forge for tests: a server on this machine with the endpoints of GitHub's or
// GitLab's API that imagefactory uses. Any other request fails the test.
package forgetest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/test/proxytest"
)

// Server is one forge. Its API is below /api/v3 (GitHub) or /api/v4 (GitLab) of Host.
type Server struct {
	Host  string // with the port: the source.host of an image
	Token string // if set, requests without this token get a 401

	t        testing.TB
	mux      *http.ServeMux
	patterns []string

	mu       sync.Mutex
	requests []Request
	faults   []Fault
	instead  func(w http.ResponseWriter, r *http.Request) bool
	repos    []*Repo // of GitHub, for GraphQL
}

// Request is a request that the server received.
type Request struct {
	Method string
	Path   string // with the query
	Status int    // of the response; 0 without one
	Body   []byte // of a POST
}

// Fault is a response that replaces the normal one.
type Fault struct {
	Match  string // method and path prefix: "POST /api/v3/repos/"
	Status int
	Header http.Header
	Body   string
	Break  bool // close the connection without a response
	After  bool // process the request, then fail: the response is lost
}

// New starts an empty server; it stops with the test.
func New(t testing.TB) *Server { return start(t, httptest.NewServer) }

// NewTLS starts a server with the certificate of package httptest, which names example.com and this machine.
func NewTLS(t testing.TB) *Server { return start(t, httptest.NewTLSServer) }

// Before starts a server that passes requests on to another forge, at a host without TLS.
func Before(t testing.TB, host string) *Server {
	s := New(t)
	s.mux.Handle("/", proxytest.To(host))
	return s
}

func start(t testing.TB, listen func(http.Handler) *httptest.Server) *Server {
	s := &Server{t: t, mux: http.NewServeMux()}
	var h http.Handler = http.HandlerFunc(s.serve)
	if dir := os.Getenv(RecordVariable); dir != "" {
		h = record(t, dir, h)
	}
	server := listen(h)
	t.Cleanup(server.Close)
	s.Host = server.Listener.Addr().String()
	return s
}

// Handle registers a handler for a pattern of http.ServeMux, such as "GET /api/v3/repos/{owner}/{repo}/contents/{path...}".
// The first handler of a pattern stays: files and runs of a repository both register the repository itself.
func (s *Server) Handle(pattern string, h http.HandlerFunc) {
	if !slices.Contains(s.patterns, pattern) {
		s.patterns = append(s.patterns, pattern)
		s.mux.HandleFunc(pattern, h)
	}
}

// Fail makes the next requests that match fail, one fault for each request, in order.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Break sets a handler that replaces the response of the forge if it returns true; nil removes it.
func (s *Server) Break(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// Unfail removes pending faults.
func (s *Server) Unfail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Requests returns the requests so far whose method and path begin with a prefix, such as "POST /api/v3/".
func (s *Server) Requests(prefix string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Request
	for _, r := range s.requests {
		if strings.HasPrefix(r.Method+" "+r.Path, prefix) {
			out = append(out, r)
		}
	}
	return out
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		fault(w)
		return
	}
	rec := &recorder{ResponseWriter: w, answer: s.note(r)}
	if f := s.fault(r); f != nil {
		fault(w)
		if f.After {
			s.mux.ServeHTTP(httptest.NewRecorder(), r)
		}
		if f.Break {
			panic(http.ErrAbortHandler)
		}
		for k, v := range f.Header {
			rec.Header()[k] = v
		}
		rec.WriteHeader(f.Status)
		_, _ = rec.Write([]byte(f.Body))
		return
	}
	if s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token && r.Header.Get("Private-Token") != s.Token {
		rec.Header().Set("Content-Type", "application/json")
		rec.WriteHeader(http.StatusUnauthorized)
		_, _ = rec.Write([]byte(`{"message":"Bad credentials"}`))
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.t.Errorf("unexpected request to the forge: %s %s", r.Method, r.URL.RequestURI())
	}
	s.mux.ServeHTTP(rec, r)
}

func (s *Server) fault(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if strings.HasPrefix(r.Method+" "+r.URL.RequestURI(), f.Match) {
			s.faults = slices.Delete(s.faults, i, i+1)
			return &f
		}
	}
	return nil
}

// note records a request, and returns a writer that records the status of its response.
func (s *Server) note(r *http.Request) func(status int) {
	var body []byte
	if r.Method == http.MethodPost {
		body, _ = io.ReadAll(r.Body) // who handles the request gets what was read
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.requests)
	s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.RequestURI(), Body: body})
	return func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests[at].Status = status
	}
}

// recorder records the status before the client can see it.
type recorder struct {
	http.ResponseWriter
	answer  func(status int)
	started bool
}

func (r *recorder) WriteHeader(status int) {
	r.started = true
	r.answer(status)
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	if !r.started {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(data)
}
