package cli_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/test/kubetest"
	"github.com/imagefactory/imagefactory/test/long"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// mirrored is a credential that a server received and repeats.
type mirrored struct {
	header string // the Authorization header
	secret string // the password or token in it
}

func (m mirrored) String() string { return m.header + " " + m.secret }

func (m mirrored) escaped() string { return url.QueryEscape(m.String()) }

// mirrors are servers that repeat the credential that they receive. Each returns a raw response.
var mirrors = map[string]func(mirrored) string{
	"redirect to a login page": func(m mirrored) string {
		return "HTTP/1.1 302 Found\r\nLocation: /login?ticket=" + m.escaped() + "#" + m.escaped() + "\r\nContent-Length: 0\r\n\r\n"
	},
	"redirect to another host": func(m mirrored) string {
		return "HTTP/1.1 307 " + m.String() + "\r\nLocation: http://" + m.secret + ":" + m.secret + "@127.0.0.1:1/?x=" + m.escaped() + "\r\nContent-Length: 0\r\n\r\n"
	},
	"redirect to no URL": func(m mirrored) string {
		return "HTTP/1.1 302 Found\r\nLocation: http://" + m.secret + "/%zz?" + m.escaped() + "\r\nContent-Length: 0\r\n\r\n"
	},
	"reason":      func(m mirrored) string { return "HTTP/1.1 400 " + m.String() + "\r\nContent-Length: 0\r\n\r\n" },
	"status line": func(m mirrored) string { return "HTTP/1.1 " + m.String() + "\r\n\r\n" },
	"no HTTP":     func(m mirrored) string { return m.String() + "\r\n\r\n" },
	"header line": func(m mirrored) string { return "HTTP/1.1 200 OK\r\n" + m.String() + "\r\n\r\n" },
	"headers": func(m mirrored) string {
		return "HTTP/1.1 200 OK\r\nContent-Type: " + m.secret + "\r\nDocker-Content-Digest: " + m.secret + "\r\nLink: <" + m.secret + ">\r\nETag: " + m.secret +
			"\r\nX-Oauth-Scopes: " + m.secret + "\r\nContent-Length: 2\r\n\r\n{}"
	},
	"media type": func(m mirrored) string {
		return "HTTP/1.1 200 OK\r\nContent-Type: text/" + m.secret + "\r\nDocker-Content-Digest: sha256:" + m.secret + "\r\nContent-Length: 2\r\n\r\n{}"
	},
	"token server": func(m mirrored) string {
		return "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://" + m.secret + "@127.0.0.1:1/token?k=" + m.escaped() +
			"\",service=\"" + m.secret + "\"\r\nContent-Length: 0\r\n\r\n"
	},
	"error of git": func(m mirrored) string {
		line := "ERR " + m.String() + " at https://bot:" + m.secret + "@git.example/x?k=" + m.escaped()
		body := fmt.Sprintf("%04x%s", len(line)+4, line)
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	},
	"200": func(m mirrored) string { return jsonSaying(m, http.StatusOK) },
	"400": func(m mirrored) string { return jsonSaying(m, http.StatusBadRequest) },
	"401": func(m mirrored) string { return jsonSaying(m, http.StatusUnauthorized) },
	"403": func(m mirrored) string { return jsonSaying(m, http.StatusForbidden) },
	"404": func(m mirrored) string { return jsonSaying(m, http.StatusNotFound) },
	"422": func(m mirrored) string { return jsonSaying(m, http.StatusUnprocessableEntity) },
}

// jsonSaying returns an error response in the form of forges, registries and their token servers.
func jsonSaying(m mirrored, status int) string {
	said := m.String() + ": see https://bot:" + m.secret + "@forge.example/x?token=" + m.escaped() + " or /x?" + m.escaped()
	body, err := json.Marshal(map[string]any{
		"message": said, "error": map[string]any{"field": []string{said}}, "error_description": said, "errors": []any{map[string]any{"code": m.secret, "message": said}},
		"mediaType": m.secret, "sha": m.secret, "type": m.secret, "encoding": m.secret, "state": said, "html_url": "https://forge.example/?" + m.escaped(), "workflow_run_id": 1,
	})
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, m, len(body), body)
}

// mirror returns a handler that repeats the credential of each request.
func mirror(answer func(mirrored) string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		m := mirrored{header: r.Header.Get("Authorization") + r.Header.Get("Private-Token")}
		if m.header == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		m.secret = m.header[strings.LastIndex(m.header, " ")+1:]
		if _, password, ok := r.BasicAuth(); ok {
			m.secret = password
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = conn.Write([]byte(answer(m)))
		_ = conn.Close()
		return true
	}
}

// TestServersThatRepeatCredentials runs commands against servers that repeat the credential in every part of a response: it must
// not be printed, logged or stored.
func TestServersThatRepeatCredentials(t *testing.T) {
	log.SetOutput(io.Discard) // net/http logs unexpected responses
	defer log.SetOutput(os.Stderr)
	var group sync.WaitGroup // most of the time is waiting for the deadline of the last command
	sites := map[string]*site{}
	for name, answer := range mirrors {
		for _, provider := range []string{"github", "gitlab"} {
			s := newDueSite(t, provider)
			sites[provider+", "+name] = s
			group.Go(func() {
				ctx := context.Background()
				s.forge.Break(mirror(answer))
				s.verbose(ctx, "promote", "--push", "--direct") // dispatches, and records the error
				s.registry.Break(mirror(answer))
				s.verbose(ctx, "analyze", "--push")
				s.verbose(ctx, "doctor")
				s.git.Break(mirror(answer))
				ctx, stop := context.WithTimeout(ctx, 2*time.Second) // it retries until then
				defer stop()
				s.verbose(ctx, "analyze", "--push")
			})
		}
	}
	group.Wait()
	for name, s := range sites {
		t.Run(name, func(t *testing.T) {
			s.assertNothingRepeated(t)
			assert.Contains(t, s.said.String(), s.registry.Host, "the servers were asked")
			assert.Contains(t, s.said.String(), s.forge.Host, "the servers were asked")
		})
	}
}

// TestClustersThatRepeatCredentials does the same with an API server.
func TestClustersThatRepeatCredentials(t *testing.T) {
	long.Only(t, "clusters that repeat credentials")
	log.SetOutput(io.Discard)
	defer log.SetOutput(os.Stderr)
	kube := kubetest.New(t)
	t.Setenv("KUBECONFIG", kube.Kubeconfig())
	for name, answer := range mirrors {
		t.Run(name, func(t *testing.T) {
			s := newDueSite(t, "gitlab")
			var asked int
			repeat := mirror(answer)
			s.forge.Break(repeat)
			kube.Break(func(w http.ResponseWriter, r *http.Request) bool {
				asked++
				return repeat(w, r)
			})
			ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
			defer stop()
			s.verbose(ctx, "promote", "--push", "--offline")
			s.verbose(ctx, "doctor", "--timeout", "1s")
			s.assertNothingRepeated(t)
			assert.Contains(t, s.said.String(), "/apis/kargo.akuity.io/v1alpha1/namespaces/"+kube.Namespace+"/stages", "requests to the API server are logged")
			assert.Positive(t, asked)
		})
	}
}

// newDueSite returns a site with an image at GitHub or GitLab that is due for a rebuild.
func newDueSite(t *testing.T, provider string) *site {
	s := newSiteWithoutCluster(t)
	s.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	if provider == "gitlab" {
		s.source = s.forge.GitLab("acme/web")
		s.source.Commit("Dockerfile", "FROM "+s.registry.Host+"/library/node:22\nRUN npm ci\n")
		entry := strings.Replace(s.entry("web", "acme/web", "acme/web"), "provider: github", "provider: gitlab", 1)
		s.git.Commit("fleet", map[string]string{"images.yaml": strings.Replace(entry, ", workflow: build.yml", "", 1)}, "build at GitLab")
		s.forge.Pipelines("acme/web")
	} else {
		s.forge.Workflows("acme/web")
	}
	node := s.registry.Base("library/node:22", "1")
	s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
	s.ok("analyze")
	s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(week + time.Minute)
	return s
}

// verbose runs a command with --verbose on the state repository, whatever its exit code.
func (s *site) verbose(ctx context.Context, command string, args ...string) {
	s.runUntil(ctx, append([]string{command, "--verbose", "--state-repo", s.git.URL("fleet"), "--config", "images.yaml"}, args...)...)
}

// assertNothingRepeated asserts that no credential was printed, logged, committed or cached.
func (s *site) assertNothingRepeated(t *testing.T) {
	kept := map[string]string{"output": s.said.String(), "commits": s.git.Git("fleet", "cat-file", "--batch-all-objects", "--batch")}
	require.NoError(t, filepath.WalkDir(s.env["IMAGEFACTORY_CACHE_DIR"], func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		kept[path] = string(data)
		return err
	}))
	for where, text := range kept {
		for _, credential := range []string{":" + forgeToken, "bot:" + gitPassword, "robot:" + registryPassword, ":" + kubetest.Token} {
			_, secret, _ := strings.Cut(credential, ":")
			for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(credential)), base64.StdEncoding.EncodeToString([]byte(secret))} {
				assert.NotContains(t, strings.ToLower(text), strings.ToLower(form), where)
			}
		}
	}
	assert.Contains(t, s.said.String(), `msg="http request" method=GET`, "the log is looked at")
}

func TestLibrariesLogNothing(t *testing.T) {
	writer := log.Writer()
	defer log.SetOutput(writer)
	cli.System()
	assert.Equal(t, io.Discard, log.Writer(), "net/http logs what a server sends out of turn")
}
