package credentials

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	ecr "github.com/awslabs/amazon-ecr-credential-helper/ecr-login"
	acr "github.com/chrismellard/docker-credential-acr-env/pkg/credhelper"
	docker "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/google"
)

// Keychain returns the credentials for registries: those of DIR/registry/HOST/config.json, then what docker and podman
// login wrote, then those of the cloud whose registry it is. A cloud is not asked about any other registry.
func (s *Store) Keychain() authn.Keychain {
	return authn.NewMultiKeychain(mounted{s}, authn.DefaultKeychain, clouds{})
}

// mounted are the docker config.json files of a Store.
type mounted struct{ store *Store }

// Resolve implements authn.Keychain.
func (m mounted) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return m.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (m mounted) ResolveContext(_ context.Context, r authn.Resource) (authn.Authenticator, error) {
	hosts, keys := []string{r.RegistryStr()}, []string{r.RegistryStr()}
	if r.RegistryStr() == name.DefaultRegistry {
		hosts, keys = append(hosts, "docker.io"), append(keys, authn.DefaultAuthKey, "docker.io")
	}
	for _, host := range hosts {
		path := filepath.Join(m.store.Dir, "registry", host, "config.json")
		text, err := m.store.read(path)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		file, err := docker.LoadFromReader(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("reading credential %q: it is no docker config.json", path)
		}
		for _, key := range keys {
			c, err := file.GetAuthConfig(key)
			if err != nil {
				return nil, fmt.Errorf("reading credential %q: %w", path, err)
			}
			if c.ServerAddress = ""; c != (types.AuthConfig{}) {
				return authn.FromConfig(authn.AuthConfig{
					Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
				}), nil
			}
		}
	}
	return authn.Anonymous, nil
}

// clouds are the credentials of the machine or pod, for the registry of its cloud.
type clouds struct{}

var (
	ecrHost = regexp.MustCompile(`^(\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws)|public\.ecr\.aws)$`)
	acrHost = regexp.MustCompile(`\.azurecr\.(io|cn|de|us)$`)
)

// Resolve implements authn.Keychain.
func (c clouds) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return c.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain.
func (clouds) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	switch host := r.RegistryStr(); {
	case host == "gcr.io", strings.HasSuffix(host, ".gcr.io"), strings.HasSuffix(host, ".pkg.dev"):
		return authn.Resolve(ctx, google.Keychain, r)
	case ecrHost.MatchString(host):
		return authn.Resolve(ctx, authn.NewKeychainFromHelper(ecr.NewECRHelper(ecr.WithLogger(io.Discard))), r)
	case acrHost.MatchString(host):
		return authn.Resolve(ctx, authn.NewKeychainFromHelper(acr.NewACRCredentialsHelper()), r)
	}
	return authn.Anonymous, nil
}
