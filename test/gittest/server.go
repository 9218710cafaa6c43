// Package gittest provides a git server for tests: git's own smart HTTP server, on this machine.
package gittest

import (
	"context"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/cgi" //nolint:gosec // the hole was closed in Go 1.6.3
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Options set the credentials and the transport of a server.
type Options struct {
	User, Password string // if set, required by every request
	TLS            bool   // with a certificate of a private CA
}

// Server serves bare repositories.
type Server struct {
	Options
	Host string

	t    testing.TB
	http *httptest.Server
	root string

	active sync.RWMutex // held for reading by every request

	mu       sync.Mutex
	faults   []Fault
	requests []string
	instead  func(w http.ResponseWriter, r *http.Request) bool
}

// Fault is a response that replaces that of git.
type Fault struct {
	Match  string // part of the path with its query: "service=git-receive-pack"
	Status int
	Header http.Header
	Break  bool // close the connection without a response
	After  bool // process the request, then fail: the response is lost
}

// NewServer starts a server; it stops with the test.
func NewServer(t testing.TB, o Options) *Server {
	s := &Server{Options: o, t: t, root: t.TempDir()}
	path := strings.TrimSpace(s.run("", "--exec-path"))
	backend := &cgi.Handler{
		Path: filepath.Join(path, "git-http-backend"), Stderr: &strings.Builder{},
		Env: []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.root},
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(backend, w, r) }))
	if o.TLS {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	t.Cleanup(s.http.Close)
	s.Host = s.http.Listener.Addr().String()
	return s
}

func (s *Server) serve(backend *cgi.Handler, w http.ResponseWriter, r *http.Request) {
	s.active.RLock()
	defer s.active.RUnlock()
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	fault := Fault{}
	if i := slices.IndexFunc(s.faults, func(f Fault) bool { return strings.Contains(r.URL.RequestURI(), f.Match) }); i >= 0 {
		fault = s.faults[i]
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if user, password, _ := r.BasicAuth(); user != s.User || password != s.Password {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials required", http.StatusUnauthorized)
		return
	}
	if fault.After {
		backend.ServeHTTP(httptest.NewRecorder(), r)
	}
	switch {
	case fault.Break:
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		maps.Copy(w.Header(), fault.Header)
		http.Error(w, "injected fault", fault.Status)
	default:
		// Each request needs its own handler: cgi.Handler writes the errors of a process to one writer.
		own := *backend
		own.Stderr = &strings.Builder{}
		own.ServeHTTP(w, r)
	}
}

// Break sets a handler that replaces the response of git if it returns true; nil removes it.
func (s *Server) Break(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// URL returns the URL of a repository.
func (s *Server) URL(name string) string { return s.http.URL + "/" + name + ".git" }

// Dir returns the folder of a repository.
func (s *Server) Dir(name string) string { return filepath.Join(s.root, name+".git") }

// Init creates a repository with files on its branch main, and returns its URL.
func (s *Server) Init(name string, files map[string]string) string {
	s.run("", "init", "-q", "--bare", "-b", "main", s.Dir(name))
	for _, setting := range []string{"http.receivepack=true", "receive.denyNonFastForwards=true", "receive.fsckObjects=true", "gc.auto=0"} {
		key, value, _ := strings.Cut(setting, "=")
		s.Git(name, "config", key, value)
	}
	s.Commit(name, files, "First")
	return s.URL(name)
}

// Commit commits files to the branch main with git itself; an empty text removes a file. It returns the commit.
func (s *Server) Commit(name string, files map[string]string, message string) string {
	work := s.t.TempDir()
	s.run(work, "clone", "-q", s.Dir(name), ".")
	for path, text := range files {
		file := filepath.Join(work, filepath.FromSlash(path))
		if text == "" {
			require.NoError(s.t, os.Remove(file))
			continue
		}
		require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(s.t, os.WriteFile(file, []byte(text), 0o644))
	}
	s.CommitFolder(work, message)
	return strings.TrimSpace(s.Git(name, "rev-parse", "main"))
}

// CommitFolder commits everything in a clone and pushes it.
func (s *Server) CommitFolder(work, message string) {
	s.run(work, "add", "-A")
	s.run(work, "commit", "-q", "--allow-empty", "-m", message)
	s.run(work, "push", "-q", "origin", "HEAD:main")
}

// Files returns the files of the branch main.
func (s *Server) Files(name string) map[string]string {
	out := map[string]string{}
	for path := range strings.SplitSeq(s.Git(name, "ls-tree", "-r", "-z", "--name-only", "main"), "\x00") {
		if path != "" {
			out[path] = s.Git(name, "cat-file", "blob", "main:"+path)
		}
	}
	return out
}

// Log returns the commit messages of the branch main without their trailers, newest first.
func (s *Server) Log(name string) []string {
	log := strings.Split(strings.TrimSuffix(s.Git(name, "log", "-z", "--format=%B", "main"), "\x00"), "\x00")
	for i := range log {
		message, _, _ := strings.Cut(log[i], "\n\nImagefactory-Run: ")
		log[i] = strings.TrimSpace(message)
	}
	return log
}

// Git runs git in a repository.
func (s *Server) Git(name string, args ...string) string {
	return s.run(s.Dir(name), args...)
}

// CACert writes the certificate of the CA to a file in PEM format.
func (s *Server) CACert() string {
	file := filepath.Join(s.t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}
	require.NoError(s.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file
}

// Client returns a client that trusts the CA.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Fail makes the next requests that match fail, one fault for each.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Wait waits for the requests in flight, whose clients may be gone.
func (s *Server) Wait() {
	s.active.Lock()
	defer s.active.Unlock()
}

// Requests returns the requests since the last call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

func (s *Server) run(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), "git", args...) //nolint:gosec // arguments of tests, and used while a test ends
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Somebody", "GIT_AUTHOR_EMAIL=somebody@example.com", "GIT_COMMITTER_NAME=Somebody", "GIT_COMMITTER_EMAIL=somebody@example.com")
	out, err := cmd.Output()
	if failed, ok := err.(*exec.ExitError); ok {
		require.NoError(s.t, err, "git %s: %s", strings.Join(args, " "), failed.Stderr)
	}
	require.NoError(s.t, err)
	return string(out)
}
