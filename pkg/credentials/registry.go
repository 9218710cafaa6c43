package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ecr "github.com/awslabs/amazon-ecr-credential-helper/ecr-login"
	acr "github.com/chrismellard/docker-credential-acr-env/pkg/credhelper"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/google"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// dockerVariable holds a docker config.json. The docker CLI reads it before its file; GitLab's runners set it.
const dockerVariable = "DOCKER_AUTH_CONFIG"

// Keychain returns the credentials for registries: those of DIR/registry/HOST/config.json, of DOCKER_AUTH_CONFIG, of docker
// login, of podman login, and of the cloud that runs the registry. A cloud is not asked for any other registry.
func (s *Store) Keychain() authn.Keychain { return authn.NewMultiKeychain(logins{s}, clouds{}) }

// logins is the keychain of the docker config.json files of a Store.
type logins struct{ store *Store }

// Resolve implements authn.Keychain.
func (l logins) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return l.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (l logins) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	target := targetOf(r)
	for _, read := range []func() (*dockerConfig, error){
		func() (*dockerConfig, error) { return l.store.mounted(target.host) },
		l.store.environment,
		l.store.dockerFile,
		l.store.podmanFile,
	} {
		c, err := read()
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		if found, err := c.find(ctx, target); err != nil {
			return nil, err
		} else if found != (authn.AuthConfig{}) {
			return authn.FromConfig(found), nil
		}
	}
	return authn.Anonymous, nil
}

// mounted reads DIR/registry/HOST/config.json, in any spelling of the host.
func (s *Store) mounted(host string) (*dockerConfig, error) {
	if s.Dir == "" {
		return nil, nil
	}
	folder := filepath.Join(s.Dir, "registry")
	folders, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading credential: %w", err)
	}
	for _, f := range folders {
		if hostname.Normalize(f.Name()) != host {
			continue
		}
		path := filepath.Join(folder, f.Name(), "config.json")
		text, err := s.read(path)
		if err != nil {
			return nil, err
		}
		if c, err := parsed(text, path); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

func (s *Store) environment() (*dockerConfig, error) {
	return parsed(s.Getenv(dockerVariable), dockerVariable)
}

// dockerFile reads the file of docker login.
func (s *Store) dockerFile() (*dockerConfig, error) {
	return firstOf(below(cmp.Or(s.Getenv("DOCKER_CONFIG"), below(s.home(), ".docker")), "config.json"))
}

// podmanFile reads the file of podman login.
func (s *Store) podmanFile() (*dockerConfig, error) {
	const name = "containers/auth.json"
	return firstOf(s.Getenv("REGISTRY_AUTH_FILE"), below(s.Getenv("XDG_RUNTIME_DIR"), name),
		below(cmp.Or(s.Getenv("XDG_CONFIG_HOME"), below(s.home(), ".config")), name))
}

// firstOf reads the first file that exists.
func firstOf(paths ...string) (*dockerConfig, error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if path == "" || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Size() > maxLoginBytes {
			return nil, fmt.Errorf("reading credential %q: want a file of at most %d KiB", path, maxLoginBytes>>10)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading credential: %w", err)
		}
		return parsed(string(data), path)
	}
	return nil, nil
}

const maxLoginBytes = 4 << 20

// parsed decodes a config.json; nil if it is empty.
func parsed(text, from string) (*dockerConfig, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	return parseDockerConfig(text, from)
}

func (s *Store) home() string { return cmp.Or(s.Getenv("HOME"), s.Getenv("USERPROFILE")) }

// below returns a path below a folder; empty without a folder.
func below(dir, path string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, path)
}

// clouds is the keychain of the machine's or pod's identity, for the registries of its cloud.
type clouds struct{}

var (
	ecrHost = lazy.Regexp(`^(\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws)|public\.ecr\.aws)$`)
	acrHost = lazy.Regexp(`\.azurecr\.(io|cn|de|us)$`)
)

// Resolve implements authn.Keychain.
func (c clouds) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return c.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (clouds) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	switch host := r.RegistryStr(); {
	case host == "gcr.io", strings.HasSuffix(host, ".gcr.io"), strings.HasSuffix(host, ".pkg.dev"):
		auth, err := authn.Resolve(ctx, google.Keychain, r)
		return auth, neterr.Clean(err)
	case ecrHost().MatchString(host):
		return authn.Resolve(ctx, authn.NewKeychainFromHelper(ecr.NewECRHelper(ecr.WithLogger(io.Discard))), r)
	case acrHost().MatchString(host):
		return authn.Resolve(ctx, authn.NewKeychainFromHelper(acr.NewACRCredentialsHelper()), r)
	}
	return authn.Anonymous, nil
}
