package credentials_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/credentials"
)

// auths is a config.json whose entries have their name as user and "pw" as password.
func auths(users map[string]string) string {
	var entries []string
	for key, user := range users {
		value := `{}`
		if user != "" {
			value = fmt.Sprintf(`{"auth": %q}`, base64.StdEncoding.EncodeToString([]byte(user+":pw")))
		}
		entries = append(entries, fmt.Sprintf("%q: %s", key, value))
	}
	return `{"auths": {` + strings.Join(entries, ", ") + `}}`
}

// userFor returns the user whose password is sent for a repository; empty when none is.
func userFor(s *credentials.Store, repository string) (string, error) {
	repo, err := name.NewRepository(repository)
	if err != nil {
		return "", err
	}
	auth, err := s.Keychain().Resolve(repo)
	if err != nil {
		return "", err
	}
	found, err := auth.Authorization()
	if err != nil {
		return "", err
	}
	if found.IdentityToken != "" {
		return "token " + found.IdentityToken, nil
	}
	return found.Username, nil
}

// everySource gives a config.json in each place where one is read, as a Store.
func everySource(t *testing.T, host, text string) map[string]*credentials.Store {
	t.Helper()
	write := func(path string) string {
		file := filepath.Join(t.TempDir(), path)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return strings.TrimSuffix(file, "/"+path)
	}
	return map[string]*credentials.Store{
		"mounted":            store(t, vars{"registry/" + host + "/config.json": text}, nil),
		"DOCKER_AUTH_CONFIG": store(t, nil, vars{"DOCKER_AUTH_CONFIG": text}),
		"DOCKER_CONFIG":      store(t, nil, vars{"DOCKER_CONFIG": write("config.json"), "HOME": "/nonexistent"}),
		"docker login":       store(t, nil, vars{"HOME": write(".docker/config.json")}),
		"REGISTRY_AUTH_FILE": store(t, nil, vars{"REGISTRY_AUTH_FILE": write("auth.json") + "/auth.json"}),
		"podman login":       store(t, nil, vars{"XDG_RUNTIME_DIR": write("containers/auth.json")}),
		"podman of old":      store(t, nil, vars{"HOME": write(".config/containers/auth.json")}),
	}
}

func TestLongestPathCounts(t *testing.T) {
	teams := map[string]string{
		"ghcr.io/team-a": "a", "ghcr.io/team-b": "b", "ghcr.io/team-b/deep/er": "deeper", "ghcr.io/team-b/deep": "deep", "ghcr.io/blank": "",
	}
	withHost := map[string]string{"ghcr.io": "host"}
	for key, user := range teams {
		withHost[key] = user
	}
	for name, c := range map[string]struct {
		auths map[string]string
		want  map[string]string // by repository
	}{
		"paths only": {teams, map[string]string{
			"ghcr.io/team-a/base": "a", "ghcr.io/team-a": "a", "ghcr.io/team-b/x": "b", "ghcr.io/team-b/deep/x": "deep",
			"ghcr.io/team-b/deep/er/x": "deeper", "ghcr.io/team-b/deeper": "b", "ghcr.io/team-ab/x": "", "ghcr.io/other/x": "", "ghcr.io/blank/x": "",
			"quay.io/team-a/base": "",
		}},
		"and the host": {withHost, map[string]string{"ghcr.io/team-a/base": "a", "ghcr.io/other/x": "host", "ghcr.io/blank/x": "host", "ghcr.io/team-ab/x": "host"}},
		"ports": {map[string]string{"reg.example:5000/team": "port", "reg.example/team": "none", "reg.example:5000": "host"}, map[string]string{
			"reg.example:5000/team/x": "port", "reg.example/team/x": "none", "reg.example:5000/x": "host", "reg.example:5001/team/x": "",
		}},
		"spellings": {map[string]string{"https://GHCR.io/v2/team-a/": "a", "http://ghcr.io:443/team-b": "b", "https://quay.io/v1/": "q", "reg.example:443": "r", "gitlab.example/v2": "g"},
			map[string]string{"ghcr.io/team-a/x": "a", "ghcr.io/team-b/x": "b", "ghcr.io/x": "", "quay.io/x/y": "q", "reg.example/x": "r", "reg.example:443/x": "r", "gitlab.example/v2/y": "g", "gitlab.example/y": "g"}},
		"Docker Hub":      {map[string]string{"https://index.docker.io/v1/": "hub"}, map[string]string{"library/node": "hub", "index.docker.io/a/b": "hub", "docker.io/a/b": "hub"}},
		"Hub by name":     {map[string]string{"docker.io": "hub"}, map[string]string{"library/node": "hub"}},
		"Hub as registry": {map[string]string{"https://registry-1.docker.io/v2/": "hub"}, map[string]string{"acme/web": "hub"}},
		"Hub paths":       {map[string]string{"docker.io/acme": "acme", "docker.io/library": "lib", "index.docker.io": "hub"}, map[string]string{"acme/web": "acme", "node": "lib", "other/x": "hub"}},
		"tokens of Hub":   {map[string]string{"https://index.docker.io/v1/": "hub", "https://index.docker.io/v1/access-token": "no", "https://index.docker.io/v1/app-token": "no"}, map[string]string{"library/node": "hub"}},
		"same host twice": {map[string]string{"https://ghcr.io": "url", "ghcr.io": "plain", "GHCR.IO": "upper", "https://ghcr.io/v2/": "api"}, map[string]string{"ghcr.io/x/y": "plain"}},
		"Hub twice":       {map[string]string{"docker.io": "short", "https://index.docker.io/v1/": "login", "index.docker.io": "index"}, map[string]string{"x/y": "login"}},
		"patterns": {map[string]string{"*.example.com": "star", "a.example.com": "exact", "*.example.com/team": "team", "*.example.com:5000": "port"}, map[string]string{
			"a.example.com/x": "exact", "b.example.com/x": "star", "b.example.com/team/x": "team", "a.b.example.com/x": "", "example.com/x": "", "b.example.com:5000/x": "port",
		}},
	} {
		for repository, want := range c.want {
			host, _, _ := strings.Cut(repository, "/")
			if !strings.ContainsAny(host, ".:") || strings.HasSuffix(host, "docker.io") {
				host = "docker.io"
			}
			for source, s := range everySource(t, strings.TrimSuffix(host, ":443"), auths(c.auths)) {
				for range 3 { // maps have another order each time
					got, err := userFor(s, repository)
					require.NoError(t, err)
					assert.Equal(t, want, got, "%s: %s from %s", name, repository, source)
				}
			}
		}
	}
}

func TestFirstSourceWins(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".docker"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".docker/config.json"), []byte(auths(map[string]string{"a.example": "docker", "b.example": "docker", "c.example": "docker"})), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(home, "auth.json"), []byte(auths(map[string]string{"c.example": "podman", "d.example": "podman"})), 0o600))
	s := store(t, vars{"registry/A.example:443/config.json": auths(map[string]string{"a.example": "mounted", "b.example": "of another host"})}, vars{
		"HOME": home, "REGISTRY_AUTH_FILE": home + "/auth.json",
		"DOCKER_AUTH_CONFIG": auths(map[string]string{"a.example": "variable", "b.example/team": "variable"}),
	})
	for repository, want := range map[string]string{
		"a.example/x": "mounted", "b.example/team/x": "variable", "b.example/x": "docker", "c.example/x": "docker", "d.example/x": "podman", "e.example/x": "",
	} {
		got, err := userFor(s, repository)
		require.NoError(t, err)
		assert.Equal(t, want, got, repository)
	}
}

func TestBrokenEntryFailsItsRepositoriesOnly(t *testing.T) {
	broken := base64.StdEncoding.EncodeToString([]byte("no password " + canary))
	text := `{"auths": {
		"ghcr.io": {"auth": "` + base64.RawStdEncoding.EncodeToString([]byte("host:p")) + `"}, "ghcr.io/a": {"auth": "` + broken + `"},
		"ghcr.io/b": {"auth": "%%% ` + canary + `"}, "ghcr.io/c": {"auth": 5, "x": "` + canary + `"}, "ghcr.io/d": "` + canary + `", "ghcr.io/e": null,
		"ghcr.io/f": {"username": "f", "password": "p"}, "ghcr.io/g": {"identitytoken": "t"}, "": {"auth": "eDp5"}, "/": {"auth": "eDp5"}, "[": {"auth": "eDp5"}, "*[": {"auth": "eDp5"}
	}, "unknown": [1]}`
	for source, s := range everySource(t, "ghcr.io", text) {
		for repository, want := range map[string]string{"ghcr.io/x": "host", "ghcr.io/e/x": "host", "ghcr.io/f/x": "f", "ghcr.io/g/x": "token t"} {
			got, err := userFor(s, repository)
			require.NoError(t, err, source)
			assert.Equal(t, want, got, "%s from %s", repository, source)
		}
		for _, key := range []string{"ghcr.io/a", "ghcr.io/b", "ghcr.io/c", "ghcr.io/d"} {
			_, err := userFor(s, key+"/x")
			require.ErrorContains(t, err, `invalid entry "`+key+`"`, source)
			assert.NotContains(t, err.Error(), canary)
			assert.NotContains(t, err.Error(), broken)
		}
	}
	for _, text := range []string{canary, `{"auths": [` + canary, `[]`, `{"auths": "` + canary + `"}`} {
		for source, s := range everySource(t, "ghcr.io", text) {
			_, err := userFor(s, "ghcr.io/x")
			require.ErrorContains(t, err, "invalid docker config.json", source)
			assert.NotContains(t, err.Error(), canary)
		}
	}
	for _, text := range []string{`{}`, `{"auths": null}`, `null`, `{"auths": {}, "credHelpers": {}}`} {
		for source, s := range everySource(t, "ghcr.io", text) {
			got, err := userFor(s, "ghcr.io/x")
			require.NoError(t, err, source)
			assert.Empty(t, got)
		}
	}
}

func TestCredentialHelpers(t *testing.T) {
	bin := t.TempDir()
	for name, script := range map[string]string{
		"ours": `read server; case "$server" in none.example) echo "credentials not found in native keychain"; exit 1;; bad.example) echo "see https://u:` + canary + `@x.example/?t=` + canary + `"; exit 1;; esac
			echo "{\"ServerURL\": \"$server\", \"Username\": \"ours of $server\", \"Secret\": \"s\"}"`,
		"store": `read server; case "$server" in *empty.example) echo "credentials not found in native keychain"; exit 1;; token.example) echo '{"Username": "<token>", "Secret": "id"}'; exit;; esac
			echo "{\"Username\": \"store of $server\", \"Secret\": \"s\"}"`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	file := `{"auths": {"file.example": {"auth": "ZmlsZTpw"}, "kept.example": {"auth": "ZmlsZTpw"}, "empty.example": {"auth": "ZmlsZTpw"}, "ghcr.io/team": {"auth": "dGVhbTpw"}, "blank.example": {}},
		"credHelpers": {"ghcr.io": "ours", "none.example": "ours", "bad.example": "ours", "kept.example": "", "lost.example": "missing"}%s}`
	for name, c := range map[string]struct {
		text string
		want map[string]string
	}{
		"helpers": {fmt.Sprintf(file, ""), map[string]string{
			"ghcr.io/x": "ours of ghcr.io", "ghcr.io/team/x": "team", "none.example/x": "", "file.example/x": "file", "kept.example/x": "file", "other.example/x": "",
		}},
		"store": {fmt.Sprintf(file, `, "credsStore": "store"`), map[string]string{
			"ghcr.io/x": "ours of ghcr.io", "ghcr.io/team/x": "team", "none.example/x": "", "file.example/x": "store of file.example", "kept.example/x": "file",
			"empty.example/x": "file", "blank.example/x": "store of blank.example", "other.example/x": "store of other.example", "token.example/x": "token id",
			"library/node": "store of https://index.docker.io/v1/", "a.empty.example/x": "",
		}},
	} {
		s := store(t, nil, vars{"DOCKER_AUTH_CONFIG": c.text})
		for repository, want := range c.want {
			got, err := userFor(s, repository)
			require.NoError(t, err, repository)
			assert.Equal(t, want, got, "%s: %s", name, repository)
		}
		_, err := userFor(s, "bad.example/x")
		require.ErrorContains(t, err, "running docker-credential-ours for bad.example")
		assert.NotContains(t, err.Error(), canary)
		_, err = userFor(s, "lost.example/x")
		require.ErrorContains(t, err, "docker-credential-missing")
	}
}

// A helper that waits for somebody, or that never stops talking, is an error of its own host after a while.
func TestCredentialHelperIsBounded(t *testing.T) {
	credentials.SetHelperTime(t, 2*time.Second)
	bin := t.TempDir()
	for name, script := range map[string]string{"waits": "sleep 60", "floods": "yes"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := store(t, nil, vars{"DOCKER_AUTH_CONFIG": `{"auths": {"file.example": {"auth": "ZmlsZTpw"}}, "credHelpers": {"slow.example": "waits", "loud.example": "floods"}}`})
	began := time.Now()
	_, err := userFor(s, "slow.example/x")
	require.ErrorContains(t, err, "running docker-credential-waits for slow.example: no response within 2s")
	_, err = userFor(s, "loud.example/x")
	require.ErrorContains(t, err, "running docker-credential-floods for loud.example")
	assert.NotContains(t, err.Error(), "no answer", "it is stopped by its size")
	got, err := userFor(s, "file.example/x")
	require.NoError(t, err)
	assert.Equal(t, "file", got)
	assert.Less(t, time.Since(began), 30*time.Second)

	repo, err := name.NewRepository("slow.example/x")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = authn.Resolve(ctx, s.Keychain(), repo)
	require.ErrorIs(t, err, context.Canceled)
}

// FuzzDockerConfig checks that no config.json stops the program, and that what is sent does not depend on chance.
func FuzzDockerConfig(f *testing.F) {
	f.Add(`{"auths": {"ghcr.io/a": {"auth": "YTpi"}, "https://ghcr.io/v2/": {"username": "x"}}}`, "a/b")
	f.Add(`{"auths": {"*.io": {"identitytoken": "x"}, "[": {}}}`, "b")
	f.Fuzz(func(t *testing.T, text, path string) {
		repository := "ghcr.io/" + path // not the registry of a cloud, which would be asked for the credential of this machine
		if strings.Contains(strings.ToLower(text), "cred") || strings.Contains(text, `\u`) {
			return // no helper is run
		}
		s := credentials.New(credentials.Options{Getenv: func(name string) string { return vars{"DOCKER_AUTH_CONFIG": text}[name] }})
		first, err := userFor(s, repository)
		for range 3 {
			again, errAgain := userFor(s, repository)
			if again != first || (err == nil) != (errAgain == nil) {
				t.Fatalf("%q and %q", first, again)
			}
		}
	})
}
