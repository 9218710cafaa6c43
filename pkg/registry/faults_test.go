package registry_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/registry"
)

func isManifestGet(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/")
}

// times answers the first n manifest GETs.
func times(n int64, answer http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var count atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifestGet(r) || count.Add(1) > n {
			return false
		}
		answer(w, r)
		return true
	}
}

func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"schemaVersion":2,`))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"secret-of-the-server"}]}`))
	}
}

// saysUnknown answers as a registry does that does not have something.
func saysUnknown(code string) http.HandlerFunc {
	return answer(404, `{"errors":[{"code":"`+code+`"}]}`)
}

func answer(status int, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(content))
	}
}

func body(contentType, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(content))
	}
}

func TestTransientErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		times  int64
		waits  []time.Duration // those that the registry asks for
	}{
		"cut in the middle":     {answer: cut, times: 2},
		"unavailable":           {answer: status(503), times: 4},
		"bad gateway":           {answer: status(502), times: 1},
		"rate limit":            {answer: status(429, "Retry-After", "7"), times: 3, waits: []time.Duration{7 * time.Second, 7 * time.Second, 7 * time.Second}},
		"rate limit, past date": {answer: status(429, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), times: 1, waits: []time.Duration{time.Second}},
		"rate limit, no number": {answer: status(429, "Retry-After", "soon"), times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			img := newImage(t, "linux/amd64", day, nil)
			s.push("base:1", img)
			s.breaks(times(c.times, c.answer))
			waits := new(noSleep)
			got, err := client(registry.Options{HTTP: httpx.Options{Sleep: waits.sleep}}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.NoError(t, err)
			assert.Equal(t, digestOf(t, img), got.Digest)
			if c.waits != nil {
				assert.Equal(t, c.waits, waits.all())
				return
			}
			require.Len(t, waits.all(), int(c.times))
			for i, w := range waits.all() {
				base := 500 * time.Millisecond << i
				assert.GreaterOrEqual(t, w, base/2)
				assert.LessOrEqual(t, w, base*3/2)
			}
		})
	}
}

func TestPersistentErrors(t *testing.T) {
	image := "application/vnd.oci.image.manifest.v1+json"
	index := "application/vnd.oci.image.index.v1+json"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		gets   int
	}{
		"cut":              {cut, "connection failed: unexpected EOF", 5},
		"storm":            {status(429, "Retry-After", "1"), "too many requests (429), retry in 1s: sign in for a higher limit, or set factory.mirrors [TOOMANYREQUESTS]", 5},
		"asked to go away": {status(429, "Retry-After", "3600"), "too many requests (429), retry in 1h0m0s", 1},
		"in trouble":       {status(503), "registry unavailable (503 Service Unavailable)", 5},
		"denied":           {status(403), "access denied (403): the repository does not exist or HOST needs credentials", 1},
		"teapot":           {status(418), "unexpected status 418", 1},
		"chatty": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"errors":[{"code":"secret-of-the-server"}]}`))
		}, "unexpected status 400", 1},
		"no content":   {status(204), "unexpected status 204", 1},
		"web page":     {body("text/html", "<html>"), "has digest", 1},
		"other digest": {body(image, `{"schemaVersion":2}`), "the content has digest sha256:", 1},
		"20 MB":        {body(image, strings.Repeat(" ", 20<<20)), "larger than 4096 KiB", 1},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index)
			for range 10 {
				_, _ = w.Write(make([]byte, 1<<20))
				w.(http.Flusher).Flush()
			}
		}, "larger than 4096 KiB", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.push("base:1", newImage(t, "linux/amd64", day, nil))
			s.breaks(times(1000, c.answer))
			_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, strings.ReplaceAll(c.want, "HOST", s.host))
			require.ErrorContains(t, err, s.host+": ")
			assert.NotContains(t, err.Error(), "secret-of-the-server")
			gets := 0
			for _, r := range s.asked() {
				if strings.HasPrefix(r, "GET base/manifests/") {
					gets++
				}
			}
			assert.Equal(t, c.gets, gets)
			var e *registry.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, s.host, e.Host)
		})
	}
}

// TestContent has manifests whose digest nobody knows, since the registry knows no HEAD.
func TestContent(t *testing.T) {
	image, index := "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	config := `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"` + fakeDigest("c") + `"}`
	for name, c := range map[string]struct{ contentType, content, want string }{
		"web page":           {"text/html; charset=utf-8", "<html>", `the response is not a manifest (content type: "text/html")`},
		"no type":            {"", `{}`, "content type"},
		"docker schema 1":    {"application/vnd.docker.distribution.manifest.v1+prettyjws", `{}`, "content type"},
		"truncated":          {image, `{"schemaVersion":2,` + config, "not valid JSON: unexpected end of JSON input"},
		"trailing":           {image, `{"schemaVersion":2,` + config + `} {}`, "not valid JSON"},
		"list":               {index, `[]`, "not valid JSON"},
		"another type":       {image, `{"mediaType":"` + index + `",` + config + `}`, "but content type"},
		"both":               {image, `{` + config + `,"manifests":[]}`, "an image and an index at once"},
		"index with layers":  {index, `{"layers":[]}`, "an image and an index at once"},
		"no config":          {image, `{"schemaVersion":2}`, "no config"},
		"digest of nonsense": {image, `{"config":{"digest":"secret"}}`, "not valid JSON: invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.Method == http.MethodHead:
					w.WriteHeader(http.StatusMethodNotAllowed)
				case isManifestGet(r):
					body(c.contentType, c.content)(w, r)
				default:
					return false
				}
				return true
			})
			_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestWrongDigestOfTagAndBlob(t *testing.T) {
	s := serve(t)
	s.push("base:1", newImage(t, "linux/amd64", day, nil))
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			body("application/octet-stream", `{"os":"linux","architecture":"s390x"}`)(w, r)
			return true
		}
		return false
	})
	_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.ErrorContains(t, err, "the content has digest")
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}
		w.Header().Set("Docker-Content-Digest", fakeDigest("other"))
		if isManifestGet(r) {
			body("application/vnd.oci.image.manifest.v1+json", "{}")(w, r)
			return true
		}
		return false
	})
	_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.ErrorContains(t, err, "not "+fakeDigest("other"))
}

func TestSlowBody(t *testing.T) {
	s := serve(t)
	s.push("base:1", newImage(t, "linux/amd64", day, nil))
	ctx, cancel := context.WithCancel(t.Context())
	s.breaks(times(1000, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		cancel() // the deadline comes while the body is being read
		<-r.Context().Done()
	}))
	_, err := client(registry.Options{}).Snapshot(ctx, s.ref("base:1"), nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, s.asked(), 2, "skipping")

	past, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err = client(registry.Options{}).Snapshot(past, s.ref("base:1"), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestUnresponsiveHostIsSkipped(t *testing.T) {
	s := serve(t)
	s.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		<-r.Context().Done()
		return true
	})
	c := client(registry.Options{HTTP: httpx.Options{Timeout: 50 * time.Millisecond}})
	for range 4 {
		_, err := c.Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "for the rest of the run")
	}
	assert.Len(t, s.asked(), 3)
}

func TestRefusingHostIsSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		asked  int // of ten questions
		again  int // of one more, later
	}{
		"storm":            {status(429), "too many requests (429): sign in", 3 * 5, 5},
		"asked to go away": {status(429, "Retry-After", "3600"), "too many requests (429): sign in", 1, 0},
		"down":             {status(503), "registry unavailable (503 Service Unavailable)", 3 * 5, 5},
		"not found":        {status(404), "", 2 * 10, 2}, // a HEAD that finds nothing is confirmed by a GET
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/" {
					c.answer(w, r)
				}
				return r.URL.Path != "/v2/"
			})
			asks := client(registry.Options{})
			var err error
			for i := range 10 {
				_, err = asks.Snapshot(t.Context(), s.ref(fmt.Sprintf("base:%d", i)), nil)
				require.Error(t, err)
			}
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, "; skipping this host ")
			}
			assert.Len(t, s.asked(), c.asked)
			asks.ResetBreakers()
			_, err = asks.Snapshot(t.Context(), s.ref("base:later"), nil)
			require.Error(t, err)
			assert.Len(t, s.asked(), c.again)
		})
	}
	t.Run("a few repositories", func(t *testing.T) {
		s := serve(t)
		s.push("good:1", newImage(t, "linux/amd64", day, nil))
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			broken := strings.HasPrefix(r.URL.Path, "/v2/broken/")
			if broken {
				status(500)(w, r)
			}
			return broken
		})
		var asks *registry.Client
		good := func() {
			_, err := asks.Snapshot(t.Context(), s.ref("good:1"), nil)
			assert.NoError(t, err)
		}
		// the others are asked for while a broken one waits
		asks = client(registry.Options{HTTP: httpx.Options{Sleep: func(context.Context, time.Duration) error { good(); return nil }}})
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				_, err := asks.Snapshot(t.Context(), s.ref("broken:1"), nil)
				assert.ErrorContains(t, err, "registry unavailable (500") //nolint:testifylint // require must not be called outside the test's goroutine
				assert.NotContains(t, err.Error(), "skipping")
			})
		}
		group.Wait()
		good()
	})
}

const password = "p4ss-w0rd"

type login struct{}

func (login) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "user", Password: password}), nil
}

// secrets are all forms in which credentials are sent.
var secrets = []string{password, base64.StdEncoding.EncodeToString([]byte("user:" + password)), "t0ken", "Basic ", "Bearer "}

func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, s := range secrets {
		assert.NotContains(t, err.Error(), s)
	}
}

// guarded asks for a sign-in, with tokens or without. It gives the Authorization that it saw back in what it says.
func guarded(host string, bearer bool, accept func(auth string) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		auth := r.Header.Get("Authorization")
		if r.URL.Path == "/token" {
			if !accept(auth) {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte("you sent " + auth))
				return true
			}
			_, _ = w.Write([]byte(`{"token":"t0ken"}`))
			return true
		}
		if bearer && auth == "Bearer t0ken" || !bearer && accept(auth) {
			return false
		}
		challenge := `Basic realm="x"`
		if bearer {
			challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, host)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte("you sent " + auth))
		return true
	}
}

// The library asks no token server at another private address. That is not an answer of this server.
func TestTokenServerIsNotContacted(t *testing.T) {
	s := serve(t)
	s.breaks(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://127.0.0.1:1/token?k=`+secrets[1]+`",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, err := client(registry.Options{Keychain: login{}}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.ErrorContains(t, err, "signing in failed: refusing its token server")
	assertNoSecret(t, err)
}

func TestCredentials(t *testing.T) {
	right := func(auth string) bool { return strings.HasPrefix(auth, "Basic ") && strings.Contains(auth, secrets[1]) }
	for name, bearer := range map[string]bool{"basic": false, "bearer": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			img := newImage(t, "linux/amd64", day, nil)
			s.push("base:1", img)
			s.breaks(guarded(s.host, bearer, right))
			got, err := client(registry.Options{Keychain: login{}}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.NoError(t, err)
			assert.Equal(t, digestOf(t, img), got.Digest)

			_, err = client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, s.host+" needs credentials")
			s.breaks(guarded(s.host, bearer, func(string) bool { return false }))
			_, err = client(registry.Options{Keychain: login{}}).Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, "access denied (401)")
			assertNoSecret(t, err)
		})
	}
	t.Run("useless token answer", func(t *testing.T) {
		s := serve(t)
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				_, _ = w.Write([]byte(`{"refresh_token":"t0ken"}`))
				return true
			}
			return guarded(s.host, true, right)(w, r)
		})
		_, err := client(registry.Options{Keychain: login{}}).Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "signing in failed")
		assertNoSecret(t, err)
	})
	t.Run("broken keychain", func(t *testing.T) {
		s := serve(t)
		_, err := client(registry.Options{Keychain: brokenKeychain{}}).Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "reading the credentials")
	})
}

func TestRefusedPasswordIsNotSentAgain(t *testing.T) {
	for name, bearer := range map[string]bool{"basic": false, "bearer": true} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			denied := 0
			s.breaks(guarded(s.host, bearer, func(auth string) bool {
				if strings.HasPrefix(auth, "Basic ") {
					denied++
				}
				return false
			}))
			asks := client(registry.Options{Keychain: login{}})
			var err error
			for i := range 10 {
				_, err = asks.Snapshot(t.Context(), s.ref(fmt.Sprintf("base%d:1", i)), nil)
				require.Error(t, err)
			}
			require.ErrorContains(t, err, "invalid user name or password (401)")
			assert.True(t, registry.Denied(err))
			assertNoSecret(t, err)
			assert.Equal(t, 3, denied)
		})
	}
	t.Run("one that is right", func(t *testing.T) {
		s := serve(t)
		s.push("good:1", newImage(t, "linux/amd64", day, nil))
		s.breaks(guarded(s.host, false, func(auth string) bool { return strings.HasPrefix(auth, "Basic ") }))
		asks := client(registry.Options{Keychain: login{}})
		_, err := asks.Snapshot(t.Context(), s.ref("good:1"), nil)
		require.NoError(t, err)
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			denied := strings.HasPrefix(r.URL.Path, "/v2/mine")
			if denied {
				w.WriteHeader(http.StatusUnauthorized)
			}
			return denied
		})
		for i := range 4 {
			_, err = asks.Snapshot(t.Context(), s.ref(fmt.Sprintf("mine%d:1", i)), nil)
			require.ErrorContains(t, err, "access denied (401)")
		}
		_, err = asks.Snapshot(t.Context(), s.ref("good:1"), nil)
		require.NoError(t, err)
	})
}

type brokenKeychain struct{}

func (brokenKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, fmt.Errorf("parsing config.json: unexpected end")
}

func TestRedirectToAnotherHost(t *testing.T) {
	for name, bearer := range map[string]bool{"basic": false, "bearer": true} {
		t.Run(name, func(t *testing.T) {
			s, elsewhere := serve(t), serve(t)
			img := newImage(t, "linux/amd64", day, nil)
			s.push("base:1", img)
			elsewhere.push("base:1", img)
			var followed atomic.Int64
			elsewhere.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
				followed.Add(1)
				assert.Empty(t, r.Header.Get("Authorization"))
				return false
			})
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if guarded(s.host, bearer, func(auth string) bool { return strings.HasPrefix(auth, "Basic ") })(w, r) {
					return true
				}
				if r.URL.Path == "/v2/" {
					return false
				}
				http.Redirect(w, r, elsewhere.URL+r.URL.Path+"?signature=t0ken", http.StatusTemporaryRedirect)
				return true
			})
			c := client(registry.Options{Keychain: login{}})
			got, err := c.Snapshot(t.Context(), s.ref("base:1"), nil)
			require.NoError(t, err)
			assert.Equal(t, digestOf(t, img), got.Digest)
			assert.Equal(t, int64(3), followed.Load(), "HEAD, manifest, config")
			assert.Equal(t, 3, c.Requests()[elsewhere.host].Requests)

			elsewhere.breaks(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
			_, err = c.Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, "access denied")
			assertNoSecret(t, err)
			elsewhere.Close()
			_, err = c.Snapshot(t.Context(), s.ref("base:1"), nil)
			require.ErrorContains(t, err, "connection failed")
			assertNoSecret(t, err)
		})
	}
	t.Run("in a circle", func(t *testing.T) {
		s := serve(t)
		s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
			return true
		})
		_, err := client(registry.Options{}).Snapshot(t.Context(), s.ref("base:1"), nil)
		require.ErrorContains(t, err, "more than 5 redirects")
	})
}

func TestNoPlainHTTP(t *testing.T) {
	s := serve(t)
	s.push("base:1", newImage(t, "linux/amd64", day, nil))
	_, err := client(registry.Options{HTTP: httpx.Options{Insecure: func(string) bool { return false }}}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.Error(t, err)
	assert.Empty(t, s.asked())
}

func TestUnreachable(t *testing.T) {
	s := serve(t)
	s.Close()
	waits := new(noSleep)
	_, err := client(registry.Options{HTTP: httpx.Options{Sleep: waits.sleep}}).Snapshot(t.Context(), s.ref("base:1"), nil)
	require.ErrorContains(t, err, "connection refused")
	assert.Empty(t, waits.all(), "a refused connection is not tried again")
}

func TestMirrors(t *testing.T) {
	origin, empty, mirror := serve(t), serve(t), serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	origin.push("team/base:1", img)
	mirror.push("proxy/team/base:1", img)
	o := registry.Options{Mirrors: map[string][]string{origin.host: {empty.host, mirror.host + "/proxy"}}}

	got, err := client(o).Snapshot(t.Context(), origin.ref("team/base:1"), nil)
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, img), got.Digest)
	assert.Empty(t, origin.asked(), "the mirror has it")
	assert.NotEmpty(t, empty.asked())
	tags, err := client(o).Tags(t.Context(), origin.host+"/team/base")
	require.NoError(t, err)
	assert.Equal(t, []string{"1"}, tags)

	for name, fault := range map[string]http.HandlerFunc{
		"in trouble": status(503), "rate limit": status(429), "denied": status(401), "nonsense": body("text/html", "<html>"), "cut": cut,
	} {
		t.Run(name, func(t *testing.T) {
			mirror.breaks(func(w http.ResponseWriter, r *http.Request) bool { fault(w, r); return true })
			origin.asked()
			waits := new(noSleep)
			o.HTTP.Sleep = waits.sleep
			got, err := client(o).Snapshot(t.Context(), origin.ref("team/base:1"), nil)
			require.NoError(t, err)
			assert.Equal(t, digestOf(t, img), got.Digest)
			assert.NotEmpty(t, origin.asked())
			assert.Empty(t, waits.all(), "mirrors are not waited for")
		})
	}
	_, err = client(o).Snapshot(t.Context(), origin.ref("team/base:2"), nil)
	require.ErrorContains(t, err, origin.host+": not found (404)")
	require.ErrorContains(t, err, "mirrors: "+empty.host)
}

func TestConcurrency(t *testing.T) {
	s := serve(t)
	for i := range 12 {
		s.push(fmt.Sprintf("app:build-%d", i), newImage(t, "linux/amd64", day.Add(time.Duration(i)*time.Minute), nil))
	}
	s.breaks(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("RateLimit-Remaining", "76;w=21600")
		return false
	})
	under := &counting{}
	c := client(registry.Options{HTTP: httpx.Options{Concurrency: 2, Base: under}})
	done := make(chan error)
	for i := range 12 {
		go func() {
			_, err := c.Snapshot(t.Context(), s.ref(fmt.Sprintf("app:build-%d", i)), nil)
			done <- err
		}()
	}
	for range 12 {
		require.NoError(t, <-done)
	}
	assert.Equal(t, int64(2), under.most.Load())
	u := c.Requests()[s.host]
	assert.Equal(t, registry.Usage{Requests: 12*3 + 1, Pulls: 12, Remaining: 76}, u, "a ping, and for each a HEAD, a manifest and a config")
}

// counting counts how many requests are under way at once.
type counting struct{ now, most atomic.Int64 }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for old := c.most.Load(); n > old && !c.most.CompareAndSwap(old, n); old = c.most.Load() {
	}
	time.Sleep(time.Millisecond) // so that others come meanwhile, if they may
	return http.DefaultTransport.RoundTrip(r)
}
