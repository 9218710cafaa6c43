package credentials_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/credentials"
)

const canary = "canary-0123456789"

// store has files, by their path below the folder of credentials, and variables.
func store(t *testing.T, files, env map[string]string) *credentials.Store {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		file := filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return credentials.New(credentials.Options{Dir: dir, Getenv: func(name string) string { return env[name] }})
}

type vars = map[string]string

func TestWhereACredentialIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		files, env vars
		use        credentials.Use
		host       string
		want, user string
	}{
		"file of the use":              {vars{"api/github.com/token": "a\n", "git/github.com/token": "g"}, vars{"GITHUB_TOKEN": "e"}, credentials.API, "github.com", "a", "x-access-token"},
		"file of the other use":        {vars{"api/github.com/token": "a"}, nil, credentials.Git, "github.com", "a", "x-access-token"},
		"user and password":            {vars{"git/git.example.com/token": "bot:p:w"}, nil, credentials.Git, "git.example.com", "p:w", "bot"},
		"password of git for the API":  {vars{"git/git.example.com/token": "bot:pw"}, nil, credentials.API, "git.example.com", "pw", "bot"},
		"host with a port":             {vars{"api/forge.example.com:8443/token": "a"}, nil, credentials.API, "forge.example.com:8443", "a", "x-access-token"},
		"variable of the use":          {nil, vars{"IMAGEFACTORY_GIT_TOKEN_FORGE_EXAMPLE_COM_8443": "g", "IMAGEFACTORY_TOKEN_FORGE_EXAMPLE_COM_8443": "t"}, credentials.Git, "forge.example.com:8443", "g", "x-access-token"},
		"variable of the host":         {nil, vars{"IMAGEFACTORY_TOKEN_GITHUB_COM": "t", "GITHUB_TOKEN": "e"}, credentials.API, "github.com", "t", "x-access-token"},
		"variable of the other use":    {nil, vars{"IMAGEFACTORY_API_TOKEN_GITHUB_COM": "a"}, credentials.Git, "github.com", "a", "x-access-token"},
		"GITHUB_TOKEN":                 {nil, vars{"GITHUB_TOKEN": "e"}, credentials.API, "github.com", "e", "x-access-token"},
		"GH_TOKEN first":               {nil, vars{"GITHUB_TOKEN": "e", "GH_TOKEN": "h"}, credentials.API, "github.com", "h", "x-access-token"},
		"in Actions of an own server":  {nil, vars{"GITHUB_TOKEN": "e", "GITHUB_SERVER_URL": "https://ghe.example.com"}, credentials.API, "ghe.example.com", "e", "x-access-token"},
		"not for github.com then":      {nil, vars{"GITHUB_TOKEN": "e", "GITHUB_SERVER_URL": "https://ghe.example.com"}, credentials.API, "github.com", "", ""},
		"GITHUB_TOKEN is for no other": {nil, vars{"GITHUB_TOKEN": "e", "GITLAB_TOKEN": "l"}, credentials.API, "evil.example.com", "", ""},
		"GitLab":                       {nil, vars{"GITLAB_TOKEN": "l"}, credentials.API, "gitlab.com", "l", "x-access-token"},
		"GitLab of one's own":          {nil, vars{"GITLAB_TOKEN": "l", "GITLAB_HOST": "https://gitlab.example.com"}, credentials.API, "gitlab.example.com", "l", "x-access-token"},
		"not for gitlab.com then":      {nil, vars{"GITLAB_TOKEN": "l", "GITLAB_HOST": "gitlab.example.com"}, credentials.API, "gitlab.com", "", ""},
		"job token for git":            {nil, vars{"CI_JOB_TOKEN": "j", "CI_SERVER_HOST": "gitlab.example.com", "CI_SERVER_PORT": "8443"}, credentials.Git, "gitlab.example.com:8443", "j", "gitlab-ci-token"},
		"job token not for the API":    {nil, vars{"CI_JOB_TOKEN": "j", "CI_SERVER_HOST": "gitlab.com", "CI_SERVER_PORT": "443"}, credentials.API, "gitlab.com", "", ""},
		"nothing":                      {nil, nil, credentials.API, "github.com", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := store(t, c.files, c.env).Token(t.Context(), c.use, c.host)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Value)
			assert.Equal(t, c.user, got.Username)
			assert.Equal(t, c.want != "", got.From != "")
		})
	}
}

func TestInvalidCredentials(t *testing.T) {
	for path, text := range map[string]string{"token": " \n", "app-id": "x", "token2": ""} {
		s := store(t, vars{"api/github.com/" + path: text}, nil)
		_, err := s.Token(t.Context(), credentials.API, "github.com")
		if path == "token2" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, filepath.Join("api", "github.com"))
	}
	for _, host := range []string{"", "..", "a/b", `a\b`} {
		_, err := store(t, nil, nil).Token(t.Context(), credentials.API, host)
		require.ErrorContains(t, err, "invalid host", host)
	}
	s := store(t, vars{"api/github.com/token": strings.Repeat("x", 70<<10)}, nil)
	_, err := s.Token(t.Context(), credentials.API, "github.com")
	require.ErrorContains(t, err, "at most 64 KiB")
}

func TestTokenIsNeverShown(t *testing.T) {
	token, err := store(t, nil, vars{"GITHUB_TOKEN": canary}).Token(t.Context(), credentials.API, "github.com")
	require.NoError(t, err)
	var shown strings.Builder
	fmt.Fprintf(&shown, "%v %+v %#v %s %q", token, token, token, token, token)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		data, err := marshal(struct{ Token credentials.Token }{token})
		require.NoError(t, err)
		shown.Write(data)
	}
	assert.NotContains(t, shown.String(), canary)
	assert.Contains(t, shown.String(), "credential from GITHUB_TOKEN")
	assert.Contains(t, fmt.Sprint(credentials.Token{}), "no credential")
}

func TestHintsNameWhatToSet(t *testing.T) {
	s := store(t, nil, nil)
	assert.Equal(t, "set IMAGEFACTORY_API_TOKEN_GITHUB_COM or GITHUB_TOKEN, or in the cluster factory.credentials (github.com: {api: ...})", s.Hint(credentials.API, "github.com"))
	assert.Contains(t, s.Hint(credentials.Git, "git.example.com:1"), "IMAGEFACTORY_GIT_TOKEN_GIT_EXAMPLE_COM_1,")
}

func TestGitHubAppTokens(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	var asked atomic.Int32
	status := http.StatusCreated
	github := roundTripper(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		assert.Equal(t, "https://ghe.example.com/api/v3/app/installations/42/access_tokens", r.URL.String())
		signed := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		claims := jwt.RegisteredClaims{}
		_, err := jwt.ParseWithClaims(signed, &claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
		require.NoError(t, err)
		assert.Equal(t, "7", claims.Issuer)
		return answer(r, status, fmt.Sprintf(`{"token": %q, "expires_at": %q}`, canary, time.Now().Add(time.Hour).Format(time.RFC3339))), nil
	})
	files := t.TempDir()
	for file, text := range map[string]string{"app-id": "7", "installation-id": "42\n", "private-key": private} {
		path := filepath.Join(files, "api", "ghe.example.com", file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	env := vars{
		"IMAGEFACTORY_GITHUB_APP_ID": "7", "IMAGEFACTORY_GITHUB_APP_INSTALLATION_ID": "42",
		"IMAGEFACTORY_GITHUB_APP_PRIVATE_KEY": private, "IMAGEFACTORY_GITHUB_APP_HOST": "ghe.example.com",
	}
	for name, o := range map[string]credentials.Options{
		"files":     {Dir: files, Getenv: func(string) string { return "" }},
		"variables": {Getenv: func(name string) string { return env[name] }},
	} {
		t.Run(name, func(t *testing.T) {
			o.HTTP.Base = github
			asked.Store(0)
			s := credentials.New(o)
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					token, err := s.Token(context.Background(), credentials.Git, "ghe.example.com")
					assert.NoError(t, err) //nolint:testifylint // require must not be called outside the test's goroutine
					assert.Equal(t, canary, token.Value)
					assert.Equal(t, "x-access-token", token.Username)
				})
			}
			group.Wait()
			assert.Equal(t, int32(1), asked.Load(), "one token for all")
			other, err := s.Token(t.Context(), credentials.Git, "github.com")
			require.NoError(t, err)
			assert.Empty(t, other.Value)

			status = http.StatusNotFound
			defer func() { status = http.StatusCreated }()
			asked.Store(0)
			refused := credentials.New(o)
			for range 10 {
				_, err = refused.Token(t.Context(), credentials.Git, "ghe.example.com")
				require.ErrorContains(t, err, "check its IDs, its key, and that it is installed")
			}
			assert.Equal(t, int32(3), asked.Load(), "GitHub is not asked for each image")
			refused.ResetBreakers()
			_, err = refused.Token(t.Context(), credentials.Git, "ghe.example.com")
			require.ErrorContains(t, err, "check its IDs, its key, and that it is installed")
			assert.Equal(t, int32(4), asked.Load(), "but in the next pass of who goes on for hours")
			for _, secret := range []string{canary, "eyJ", "PRIVATE"} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
	for wrong, env := range map[string]vars{
		"invalid app ID":                       {"IMAGEFACTORY_GITHUB_APP_ID": "x", "IMAGEFACTORY_GITHUB_APP_INSTALLATION_ID": "1"},
		"invalid installation ID":              {"IMAGEFACTORY_GITHUB_APP_ID": "1"},
		"invalid private key: not in PEM":      {"IMAGEFACTORY_GITHUB_APP_ID": "1", "IMAGEFACTORY_GITHUB_APP_INSTALLATION_ID": "1", "IMAGEFACTORY_GITHUB_APP_PRIVATE_KEY": canary},
		"invalid private key: want an RSA key": {"IMAGEFACTORY_GITHUB_APP_ID": "1", "IMAGEFACTORY_GITHUB_APP_INSTALLATION_ID": "1", "IMAGEFACTORY_GITHUB_APP_PRIVATE_KEY": "-----BEGIN X-----\nAAAA\n-----END X-----\n"},
	} {
		_, err := store(t, nil, env).Token(t.Context(), credentials.API, "github.com")
		require.ErrorContains(t, err, wrong)
		assert.NotContains(t, err.Error(), canary)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }

func answer(q *http.Request, status int, body string) *http.Response {
	rec := &http.Response{StatusCode: status, Status: strconv.Itoa(status), Request: q, Header: http.Header{}, Body: http.NoBody}
	rec.Body = nopCloser{strings.NewReader(body)}
	return rec
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }

func TestKeychain(t *testing.T) {
	docker := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(docker, "config.json"), []byte(`{"auths": {"ghcr.io": {"username": "docker", "password": "login"}, "quay.io": {"username": "quay", "password": "q"}}}`), 0o600))
	s := store(t, vars{
		"registry/ghcr.io/config.json":                   `{"auths": {"ghcr.io": {"auth": "bW91bnRlZDpwdw=="}}}`,
		"registry/docker.io/config.json":                 `{"auths": {"https://index.docker.io/v1/": {"username": "hub", "password": "h"}}}`,
		"registry/registry.example.com:5000/config.json": `{"auths": {"registry.example.com:5000": {"identitytoken": "` + canary + `"}}}`,
		"registry/broken.example.com/config.json":        `{"auths": ` + canary,
	}, vars{"DOCKER_CONFIG": docker})
	for repository, want := range map[string]authn.AuthConfig{
		"ghcr.io/acme/web":                   {Username: "mounted", Password: "pw"},
		"quay.io/acme/web":                   {Username: "quay", Password: "q"},
		"library/node":                       {Username: "hub", Password: "h"},
		"registry.example.com:5000/acme/web": {IdentityToken: canary},
		"other.example.com/acme/web":         {},
	} {
		repo, err := name.NewRepository(repository)
		require.NoError(t, err)
		auth, err := authn.Resolve(t.Context(), s.Keychain(), repo)
		require.NoError(t, err, repository)
		got, err := auth.Authorization()
		require.NoError(t, err)
		got.Auth = ""
		assert.Equal(t, want, *got, repository)
	}
	repo, err := name.NewRepository("broken.example.com/acme/web")
	require.NoError(t, err)
	_, err = authn.Resolve(t.Context(), s.Keychain(), repo)
	require.ErrorContains(t, err, "invalid docker config.json")
	assert.NotContains(t, err.Error(), canary)
}
