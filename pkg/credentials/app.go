package credentials

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// app issues tokens of the installation of a GitHub App, and renews them before they expire. It has a
// transport of its own, whose breaker opens after three refusals: a fleet needs a token for each image.
type app struct {
	*ghinstallation.Transport
	http *httpx.Transport
}

// ResetBreakers closes the circuit breakers of all GitHub Apps. Long-running callers (promote --wait) call it between passes.
func (s *Store) ResetBreakers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		a.http.Reset()
	}
}

// appOfFiles returns a token of the App in DIR/USE/HOST/app-id, installation-id and private-key.
func (s *Store) appOfFiles(ctx context.Context, use Use, host string) (Token, error) {
	values, from, err := s.appFiles(use, host)
	if err != nil || values == [3]string{} {
		return Token{}, err
	}
	return s.appToken(ctx, host, values, from)
}

func (s *Store) appFiles(use Use, host string) (values [3]string, from string, err error) {
	dir := filepath.Join(s.Dir, string(use), host)
	for i, name := range config.AppKeys {
		if values[i], err = s.read(filepath.Join(dir, name)); err != nil {
			return values, "", err
		}
	}
	return values, "the GitHub App of " + dir, nil
}

// WorkflowToken returns a new token of the App in the files of a host. It can start workflows and read their runs, and do nothing else.
func (s *Store) WorkflowToken(ctx context.Context, host string) (Token, error) {
	if !validHost(host) {
		return Token{}, fmt.Errorf("finding a GitHub App: invalid host %q", host)
	}
	values, from, err := s.appFiles(API, host)
	if err != nil {
		return Token{}, err
	}
	if values == [3]string{} {
		return Token{}, fmt.Errorf("no GitHub App for %q: none of the files %s in %s", host, strings.Join(config.AppKeys, ", "), filepath.Join(s.Dir, string(API), host))
	}
	a, err := s.newApp(host, values)
	if err != nil {
		return Token{}, fmt.Errorf("reading %s: %w", from, err)
	}
	a.InstallationTokenOptions = &github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Actions: github.Ptr("write")}}
	return tokenOf(ctx, a, from)
}

// appOfEnvironment returns a token of the App in IMAGEFACTORY_GITHUB_APP_ID, _INSTALLATION_ID and _PRIVATE_KEY, if the host is
// that of IMAGEFACTORY_GITHUB_APP_HOST.
func (s *Store) appOfEnvironment(ctx context.Context, host string) (Token, error) {
	const prefix = "IMAGEFACTORY_GITHUB_APP_"
	values := [3]string{s.Getenv(prefix + "ID"), s.Getenv(prefix + "INSTALLATION_ID"), s.Getenv(prefix + "PRIVATE_KEY")}
	if values == [3]string{} || host != cmp.Or(s.Getenv(prefix+"HOST"), config.HomeHost(config.GitHub)) {
		return Token{}, nil
	}
	return s.appToken(ctx, host, values, "the GitHub App of "+prefix+"ID")
}

// appToken returns a token of an installation: the last one while it is valid.
func (s *Store) appToken(ctx context.Context, host string, values [3]string, from string) (Token, error) {
	a, err := s.app(host, values, from)
	if err != nil {
		return Token{}, fmt.Errorf("reading %s: %w", from, err)
	}
	return tokenOf(ctx, a, from)
}

func tokenOf(ctx context.Context, a *app, from string) (Token, error) {
	value, err := a.Token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("getting a token of %s: %w (check its IDs, its key, and that it is installed)", from, tokenError(err))
	}
	return Token{value, tokenUser, from}, nil
}

// tokenError returns the cause of an error without the request and response that the library quotes: they hold the signed JWT,
// and maybe a token.
func tokenError(err error) error {
	var failed *ghinstallation.HTTPError
	switch {
	case !errors.As(err, &failed):
		return errors.New("no token in the response")
	case failed.RootCause != nil:
		return neterr.Clean(failed.RootCause)
	}
	return fmt.Errorf("GitHub answered %d %s", failed.Response.StatusCode, http.StatusText(failed.Response.StatusCode))
}

func (s *Store) app(host string, values [3]string, from string) (*app, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := host + " " + from
	if a := s.apps[key]; a != nil {
		return a, nil
	}
	a, err := s.newApp(host, values)
	if err == nil {
		s.apps[key] = a
	}
	return a, err
}

// newApp returns an app with no token yet.
func (s *Store) newApp(host string, values [3]string) (*app, error) {
	appID, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return nil, errors.New("invalid app ID: want a number (see the App's settings page)")
	}
	installation, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil {
		return nil, errors.New("invalid installation ID: want a number (it ends the URL of the installation's settings page)")
	}
	block, _ := pem.Decode([]byte(values[2]))
	if block == nil {
		return nil, errors.New("invalid private key: not in PEM format")
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return nil, errors.New("invalid private key: want an RSA key in PKCS #1 form, as GitHub makes them")
	}
	o := s.HTTP
	o.Attempts, o.Failed = 1, func(status int) bool { return status >= http.StatusBadRequest }
	client := httpx.New(o)
	t, err := ghinstallation.New(client, appID, installation, []byte(values[2]))
	if err != nil {
		return nil, err
	}
	t.BaseURL = (&config.Source{Provider: config.GitHub, Host: host}).APIURL()
	return &app{t, client}, nil
}
