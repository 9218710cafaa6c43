// Package credentials finds the token or password for a host: in files that Kubernetes mounts, or in the environment. A
// credential for one host is never sent to another.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// Use is the purpose of a credential. If only one of the two is set, it is used for both.
type Use string

// Uses.
const (
	API Use = "api" // the REST API of a forge
	Git Use = "git" // git over https
)

// Token is a credential. Printing it never shows its value.
type Token struct {
	Value    string
	Username string // for git
	From     string // where it was found, for messages
}

// String implements fmt.Stringer.
func (t Token) String() string {
	if t.Value == "" {
		return "no credential"
	}
	return "credential from " + t.From
}

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return t.String() }

// MarshalText implements encoding.TextMarshaler.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Options configure a Store.
type Options struct {
	// Dir holds files: USE/HOST/token for the uses api and git, or the three files of a GitHub App, and
	// registry/HOST/config.json. It may not exist.
	Dir string
	// Getenv reads the environment.
	Getenv func(string) string
	// HTTP configures the requests for tokens of a GitHub App.
	HTTP httpx.Options
}

// Store finds credentials. It may be used by many goroutines.
type Store struct {
	Options

	mu   sync.Mutex
	apps map[string]*app // by host and source
}

// New returns a Store. It reads nothing.
func New(o Options) *Store {
	return &Store{Options: o, apps: map[string]*app{}}
}

// maxFileBytes bounds the size of a file; keys have some KiB.
const maxFileBytes = 64 << 10

// tokenUser is the user name sent with a token. GitHub, GitLab, Forgejo and Gitea accept any.
const tokenUser = "x-access-token"

// Token returns the credential for a host, which includes its port if it has one; the zero Token if there is none. Files come
// first, then the environment: variables that name the host, then those of forges and their tools. An unreadable file, and
// a GitHub App without a token, are errors.
func (s *Store) Token(ctx context.Context, use Use, host string) (Token, error) {
	if !validHost(host) {
		return Token{}, fmt.Errorf("finding a credential: invalid host %q", host)
	}
	for _, u := range []Use{use, other(use)} {
		for _, find := range []func(context.Context, Use, string) (Token, error){s.file, s.appOfFiles} {
			if t, err := find(ctx, u, host); err != nil || t.Value != "" {
				return t, err
			}
		}
	}
	for _, u := range []Use{use, other(use)} {
		for _, name := range []string{Variable(u, host), "IMAGEFACTORY_TOKEN_" + hostVariable(host)} {
			if v := s.Getenv(name); v != "" {
				return Token{strings.TrimSpace(v), tokenUser, name}, nil
			}
		}
	}
	if t, err := s.appOfEnvironment(ctx, host); err != nil || t.Value != "" {
		return t, err
	}
	return s.usual(use, host), nil
}

// validHost reports whether a host can be part of a path.
func validHost(host string) bool {
	return host != "" && !strings.ContainsAny(host, `/\`) && filepath.IsLocal(host)
}

// ChannelSecret returns the secret of a channel of factory.notify, from the file notify/NAME/secret or the environment; the zero
// Token if there is none.
func (s *Store) ChannelSecret(channel string) (Token, error) {
	path := filepath.Join(s.Dir, "notify", channel, "secret")
	text, err := s.read(path)
	if err != nil || text != "" {
		return Token{Value: text, From: path}, err
	}
	name := ChannelVariable(channel)
	return Token{Value: strings.TrimSpace(s.Getenv(name)), From: name}, nil
}

// ChannelVariable returns the name of the environment variable with the secret of a channel.
func ChannelVariable(channel string) string { return "IMAGEFACTORY_NOTIFY_" + hostVariable(channel) }

func other(u Use) Use {
	if u == Git {
		return API
	}
	return Git
}

// file reads DIR/USE/HOST/token.
func (s *Store) file(_ context.Context, use Use, host string) (Token, error) {
	path := filepath.Join(s.Dir, string(use), host, "token")
	text, err := s.read(path)
	if err != nil || text == "" {
		return Token{}, err
	}
	t := Token{text, tokenUser, path}
	if user, password, ok := strings.Cut(text, ":"); ok && use == Git {
		t.Username, t.Value = user, password
	}
	return t, nil
}

// Secret returns a key of a Secret that the header of a webhook needs: a file below the folder, or an environment variable.
func (s *Store) Secret(_ context.Context, name, key string) (string, error) {
	if !filepath.IsLocal(name) || !filepath.IsLocal(key) {
		return "", nil
	}
	text, err := s.read(filepath.Join(s.Dir, "secret", name, key))
	if text == "" && err == nil {
		text = s.Getenv(config.SecretVariable(name, key))
	}
	return text, err
}

// read returns the content of a file; empty if it does not exist.
func (s *Store) read(path string) (string, error) {
	if s.Dir == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading credential: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return "", fmt.Errorf("reading credential %q: want a file of at most %d KiB", path, maxFileBytes>>10)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading credential: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("reading credential %q: the file is empty", path)
	}
	return text, nil
}

// usual returns the credential in the variables that forges set in their jobs and that their tools read.
func (s *Store) usual(use Use, host string) Token {
	server := hostOf(s.Getenv("GITHUB_SERVER_URL")) // of the current job
	if server == "" {
		server = config.HomeHost(config.GitHub)
	}
	gitlab := hostOf(s.Getenv("GITLAB_HOST"))
	if gitlab == "" {
		gitlab = config.HomeHost(config.GitLab)
	}
	job := s.Getenv("CI_SERVER_HOST")
	if port := s.Getenv("CI_SERVER_PORT"); port != "" && port != "443" && job != "" {
		job += ":" + port
	}
	for _, v := range []struct {
		name, user string
		is         bool
	}{
		{"GH_TOKEN", tokenUser, host == config.HomeHost(config.GitHub) || strings.HasSuffix(host, ".ghe.com")}, // as in gh
		{"GH_ENTERPRISE_TOKEN", tokenUser, host == s.Getenv("GH_HOST")},
		{"GITHUB_TOKEN", tokenUser, host == server},
		{"GITLAB_TOKEN", tokenUser, host == gitlab},
		{"GITEA_TOKEN", tokenUser, host == hostOf(s.Getenv("GITEA_SERVER_URL"))},
		{"CI_JOB_TOKEN", "gitlab-ci-token", host == job && use == Git}, // few API calls accept it
	} {
		if value := s.Getenv(v.name); v.is && value != "" {
			return Token{strings.TrimSpace(value), v.user, v.name}
		}
	}
	return Token{}
}

// hostOf returns the host of a URL; empty if it is invalid.
func hostOf(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return u.Host
	}
	return s
}

// Variable returns the name of the environment variable with the credential for one use of a host.
func Variable(use Use, host string) string {
	return "IMAGEFACTORY_" + strings.ToUpper(string(use)) + "_TOKEN_" + hostVariable(host)
}

// hostVariable returns a host as part of a variable name. Dashes and dots map to different text: otherwise whoever
// registers git-acme.com would receive the token of git.acme.com.
func hostVariable(host string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ReplaceAll(strings.ToUpper(host), "-", "__"))
}

// Hint returns one line about how to set a credential for a host.
func (s *Store) Hint(use Use, host string) string {
	names := Variable(use, host)
	switch host {
	case config.HomeHost(config.GitHub):
		names += " or GITHUB_TOKEN"
	case config.HomeHost(config.GitLab):
		names += " or GITLAB_TOKEN"
	}
	return fmt.Sprintf("set %s, or in the cluster factory.credentials (%s: {%s: ...})", names, host, use)
}
