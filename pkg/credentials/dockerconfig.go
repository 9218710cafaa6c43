package credentials

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// dockerConfig is a docker config.json, or a file of that form. Its keys are hosts or, as in podman and Kubernetes, hosts with
// a path: the longest path above a repository counts, else the host.
type dockerConfig struct {
	from    string // for messages
	entries []dockerEntry
	store   string // the credential helper of all other hosts
}

// dockerEntry is the value of one key of a config.json.
type dockerEntry struct {
	key    string
	scope  scope
	auth   json.RawMessage
	helper *string // for an entry of credHelpers; empty: the file itself has the credential
}

// parseDockerConfig decodes a config.json. An invalid entry is an error only when it is used.
func parseDockerConfig(text, from string) (*dockerConfig, error) {
	var file struct {
		Auths   map[string]json.RawMessage `json:"auths"`
		Helpers map[string]string          `json:"credHelpers"`
		Store   string                     `json:"credsStore"`
	}
	if json.Unmarshal([]byte(text), &file) != nil { // the error may quote the file
		return nil, fmt.Errorf("reading credential %q: invalid docker config.json", from)
	}
	c := &dockerConfig{from: from, store: file.Store}
	for key, helper := range file.Helpers {
		c.entries = append(c.entries, dockerEntry{key: key, scope: scopeOf(key), helper: &helper})
	}
	for key, auth := range file.Auths {
		c.entries = append(c.entries, dockerEntry{key: key, scope: scopeOf(key), auth: auth})
	}
	slices.SortFunc(c.entries, compareEntries)
	return c, nil
}

// compareEntries sorts the most specific entry first. Of two for the same scope, a helper comes first, as in docker, then the
// key that docker login writes.
func compareEntries(a, b dockerEntry) int {
	return cmp.Or(
		cmp.Compare(len(b.scope.path), len(a.scope.path)),
		compareBool(b.scope.glob(), a.scope.glob()),
		cmp.Compare(len(b.scope.host), len(a.scope.host)),
		compareBool(a.helper != nil, b.helper != nil),
		compareBool(a.key == serverOf(a.scope.host), b.key == serverOf(b.scope.host)),
		strings.Compare(a.key, b.key),
	)
}

// compareBool sorts true before false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// find returns the credential for a repository; the zero AuthConfig if there is none.
func (c *dockerConfig) find(ctx context.Context, target scope) (authn.AuthConfig, error) {
	store := c.store
	for _, e := range c.entries {
		if !e.scope.covers(target) {
			continue
		}
		if len(e.scope.path) == 0 && e.helper == nil && store != "" { // docker prefers the store to the file
			if found, err := c.ask(ctx, store, serverOf(target.host)); err != nil || found != (authn.AuthConfig{}) {
				return found, err
			}
			store = ""
		}
		if e.helper != nil && len(e.scope.path) == 0 {
			store = "" // the host has a helper of its own
		}
		if found, err := c.read(ctx, e); err != nil || found != (authn.AuthConfig{}) {
			return found, err
		}
	}
	if store == "" {
		return authn.AuthConfig{}, nil
	}
	return c.ask(ctx, store, serverOf(target.host))
}

// read returns the credential of one entry. Docker leaves empty entries for credentials in a store.
func (c *dockerConfig) read(ctx context.Context, e dockerEntry) (authn.AuthConfig, error) {
	if e.helper != nil {
		if *e.helper == "" {
			return authn.AuthConfig{}, nil
		}
		return c.ask(ctx, *e.helper, e.key)
	}
	var fields struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	invalid := fmt.Errorf("reading credential %q: invalid entry %q: want auth as base64 of USER:PASSWORD, or username and password", c.from, sanitize.Words(e.key))
	if json.Unmarshal(e.auth, &fields) != nil {
		return authn.AuthConfig{}, invalid
	}
	if fields.Auth != "" {
		var err error
		if fields.Username, fields.Password, err = decodeAuth(fields.Auth); err != nil {
			return authn.AuthConfig{}, invalid
		}
	}
	return authn.AuthConfig{
		Username: fields.Username, Password: fields.Password,
		IdentityToken: fields.IdentityToken, RegistryToken: fields.RegistryToken,
	}, nil
}

// decodeAuth decodes base64 of USER:PASSWORD, with or without padding.
func decodeAuth(text string) (user, password string, err error) {
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(text), "="))
	if err != nil {
		return "", "", err
	}
	user, password, ok := strings.Cut(string(data), ":")
	if !ok || user == "" {
		return "", "", errors.New("no user name")
	}
	return user, strings.Trim(password, "\x00"), nil
}

// ask runs the credential helper docker-credential-NAME.
func (c *dockerConfig) ask(ctx context.Context, helper, server string) (authn.AuthConfig, error) {
	within, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	command := "docker-credential-" + helper
	found, err := client.Get(func(args ...string) client.Program {
		cmd := exec.CommandContext(within, command, args...) //nolint:gosec // the helper that the config.json of the user names
		cmd.WaitDelay = time.Second                          // for processes that it left behind
		cmd.Stderr = struct{ io.Writer }{os.Stderr}          // a pipe, so that those do not hold ours open
		return &helperProgram{cmd}
	}, server)
	switch {
	case helpers.IsErrCredentialsNotFound(err):
		return authn.AuthConfig{}, nil
	case ctx.Err() != nil:
		return authn.AuthConfig{}, ctx.Err()
	case within.Err() != nil:
		return authn.AuthConfig{}, fmt.Errorf("reading credential %q: running %s for %s: no response within %s", c.from, command, server, helperTime)
	case err != nil:
		return authn.AuthConfig{}, fmt.Errorf("reading credential %q: running %s for %s: %s",
			c.from, command, server, sanitize.Cut(sanitize.Foreign(err.Error()), maxHelperText))
	case found.Username == identityUser:
		return authn.AuthConfig{IdentityToken: found.Secret}, nil
	}
	return authn.AuthConfig{Username: found.Username, Password: found.Secret}, nil
}

// helperTime bounds a credential helper, which may wait for input.
var helperTime = 30 * time.Second

// identityUser is the user name under which docker keeps an identity token.
const identityUser = "<token>"

// helperProgram runs a credential helper and bounds its output.
type helperProgram struct{ cmd *exec.Cmd }

func (p *helperProgram) Input(in io.Reader) { p.cmd.Stdin = in }

func (p *helperProgram) Output() ([]byte, error) {
	var out limitedBuffer
	p.cmd.Stdout = &out
	err := p.cmd.Run()
	return out.data, err
}

// limitedBuffer fails when it would grow larger than any credential.
type limitedBuffer struct{ data []byte }

func (b *limitedBuffer) Write(data []byte) (int, error) {
	if len(b.data)+len(data) > maxHelperBytes {
		return 0, errors.New("output too long")
	}
	b.data = append(b.data, data...)
	return len(data), nil
}

const maxHelperBytes = 1 << 20

const maxHelperText = 300

// scope is a host with the repositories below a path.
type scope struct {
	host string // normalized
	path []string
}

// scopeOf parses a key of a config.json: a host or a URL, with or without a path. As in Kubernetes, /v1/ and /v2/ at the
// beginning of a path belong to the registry API.
func scopeOf(key string) scope {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, rest, _ := strings.Cut(key, "/")
	segments := strings.FieldsFunc(rest, func(r rune) bool { return r == '/' })
	if len(segments) > 0 && (segments[0] == "v1" || segments[0] == "v2") {
		segments = segments[1:]
	}
	return scope{hostname.Normalize(host), segments}
}

// targetOf returns the scope of a repository, or of a whole registry.
func targetOf(r authn.Resource) scope {
	t := scope{host: hostname.Normalize(r.RegistryStr())}
	if repository, ok := strings.CutPrefix(r.String(), r.RegistryStr()+"/"); ok {
		t.path = strings.Split(repository, "/")
	}
	return t
}

// serverOf returns the key that docker login writes for a host.
func serverOf(host string) string {
	if host == hostname.DockerHub {
		return authn.DefaultAuthKey
	}
	return host
}

// glob reports whether the host is a pattern such as *.example.com, as in the pull secrets of Kubernetes.
func (s scope) glob() bool { return strings.ContainsAny(s.host, "*?") }

// covers reports whether a target is the scope or below it.
func (s scope) covers(target scope) bool {
	if len(s.path) > len(target.path) || !slices.Equal(s.path, target.path[:len(s.path)]) {
		return false
	}
	return s.host == target.host || s.glob() && globCovers(s.host, target.host)
}

// globCovers matches a host label by label: a star matches no dot.
func globCovers(pattern, host string) bool {
	patterns, labels := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(patterns) != len(labels) {
		return false
	}
	for i, label := range labels {
		if ok, err := path.Match(patterns[i], label); err != nil || !ok {
			return false
		}
	}
	return true
}
