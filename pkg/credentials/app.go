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
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// app gives tokens of the installation of a GitHub App, and renews them before they expire.
type app struct {
	*ghinstallation.Transport
	from string

	mu       sync.Mutex
	failures int // in a row
	err      error
}

// maxFailures is how often in a row an App may get no token; then GitHub is not asked again. A fleet asks for each image.
const maxFailures = 3

// Token asks for a token, or returns the one that is still valid. Callers take turns.
func (a *app) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failures >= maxFailures {
		return "", a.err
	}
	asking, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	value, err := a.Transport.Token(asking)
	switch {
	case err == nil:
		a.failures = 0
	case ctx.Err() == nil:
		a.failures++
		a.err = err
	}
	return value, err
}

const tokenTimeout = 30 * time.Second

// AskAgain lets Apps ask GitHub again that got no token several times. Long-running callers call it between passes.
func (s *Store) AskAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		a.mu.Lock()
		a.failures = 0
		a.mu.Unlock()
	}
}

// appOfFiles is the App of DIR/USE/HOST/app-id, installation-id and private-key.
func (s *Store) appOfFiles(ctx context.Context, use Use, host string) (Token, error) {
	dir := filepath.Join(s.Dir, string(use), host)
	var values [3]string
	for i, name := range []string{"app-id", "installation-id", "private-key"} {
		var err error
		if values[i], err = s.read(filepath.Join(dir, name)); err != nil {
			return Token{}, err
		}
	}
	if values == [3]string{} {
		return Token{}, nil
	}
	return s.appToken(ctx, host, values, "the GitHub App of "+dir)
}

// appOfEnvironment is the App of IMAGEFACTORY_GITHUB_APP_ID, _INSTALLATION_ID and _PRIVATE_KEY, of the host that
// IMAGEFACTORY_GITHUB_APP_HOST names.
func (s *Store) appOfEnvironment(ctx context.Context, host string) (Token, error) {
	const prefix = "IMAGEFACTORY_GITHUB_APP_"
	values := [3]string{s.Getenv(prefix + "ID"), s.Getenv(prefix + "INSTALLATION_ID"), s.Getenv(prefix + "PRIVATE_KEY")}
	if values == [3]string{} || host != cmp.Or(s.Getenv(prefix+"HOST"), config.HomeHost(config.GitHub)) {
		return Token{}, nil
	}
	return s.appToken(ctx, host, values, "the GitHub App of "+prefix+"ID")
}

// appToken asks for a token of an installation, or returns the one that is still valid.
func (s *Store) appToken(ctx context.Context, host string, values [3]string, from string) (Token, error) {
	a, err := s.app(host, values, from)
	if err != nil {
		return Token{}, fmt.Errorf("reading %s: %w", from, err)
	}
	value, err := a.Token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("asking for a token of %s: %w; check its ids and its key, and that it is installed", from, why(err))
	}
	return Token{value, tokenUser, from}, nil
}

// why says what went wrong without what the library quotes: its request holds what signed it, and its answer may too.
func why(err error) error {
	var failed *ghinstallation.HTTPError
	switch {
	case !errors.As(err, &failed):
		return errors.New("its answer holds no token")
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
	appID, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return nil, errors.New("invalid app id: want a number (see the App's settings page)")
	}
	installation, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil {
		return nil, errors.New("invalid installation id: want a number (it ends the URL of the installation's settings page)")
	}
	block, _ := pem.Decode([]byte(values[2]))
	if block == nil {
		return nil, errors.New("invalid private key: not in PEM format")
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return nil, errors.New("invalid private key: want an RSA key in PKCS #1 form, as GitHub makes them")
	}
	t, err := ghinstallation.New(s.Transport, appID, installation, []byte(values[2]))
	if err != nil {
		return nil, err
	}
	t.BaseURL = (&config.Source{Provider: config.GitHub, Host: host}).APIURL()
	s.apps[key] = &app{Transport: t, from: from}
	return s.apps[key], nil
}
