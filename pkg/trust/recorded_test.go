package trust_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/trust"
)

// recorded returns a file of the module of Sigstore's library, whose tests have bundles of real releases and the trusted root of the
// public instance.
func recorded(t *testing.T, name string) []byte {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), filepath.FromSlash(name)))
	require.NoError(t, err)
	return data
}

// TestRecordedBundles: what the release workflow of sigstore-js and a person have signed with the public instance, and its log, is valid for
// them and for what they signed, and for nothing else.
func TestRecordedBundles(t *testing.T) {
	const (
		release  = "sha512:46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c"
		older    = "sha512:76176ffa33808b54602c7c35de5c6e9a4deb96066dba6533f50ac234f4f1f4c6b3527515dc17c06fbe2860030f410eee69ea20079bd3a2c6f3dcf3b329b10751"
		archive  = "sha512:bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f"
		workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
	)
	bundles := map[string][]byte{
		"release": recorded(t, "pkg/testing/data/bundles/sigstore.js@2.0.0-provenance.sigstore.json"),
		"older":   recorded(t, "examples/bundle-provenance.json"),
		"publish": recorded(t, "examples/bundle-publish.json"),
		"person":  recorded(t, "pkg/testing/data/bundles/dsse.sigstore.json"),
	}
	public := recorded(t, "pkg/testing/data/trusted-roots/public-good.json")
	by := func(issuer, identity string) *config.Trust {
		return &config.Trust{Keyless: &config.Keyless{Issuer: issuer, Identity: identity}}
	}
	signed := by(config.GitHubIssuer, workflow)
	tests := []struct {
		name, bundle string
		rule         *config.Trust
		digest, want string // want is part of the error; empty if it is valid
	}{
		{"repository of the workflow", "release", &config.Trust{GitHub: "sigstore/sigstore-js"}, release, ""},
		{"workflow", "release", signed, release, ""},
		{"regular expressions", "release", &config.Trust{Keyless: &config.Keyless{IssuerRegexp: `https://.*\.githubusercontent\.com`, IdentityRegexp: `https://github\.com/sigstore/.*@refs/heads/main`}}, release, ""},
		{"older format", "older", signed, older, ""},
		{"address of a person", "person", by("https://github.com/login/oauth", "brian@dehamer.com"), archive, ""},
		{"another repository", "release", &config.Trust{GitHub: "sigstore/sigstore"}, release, "SAN"},
		{"another branch", "release", by(config.GitHubIssuer, strings.Replace(workflow, "main", "next", 1)), release, "SAN"},
		{"another issuer", "release", by("https://accounts.google.com", workflow), release, "issuer"},
		{"another digest", "release", signed, older, "does not match any digest"},
		{"digest of an image", "release", signed, image, "digest"},
		{"signature for provenance", "release", &config.Trust{GitHub: "sigstore/sigstore-js", Require: config.RequireSignature}, release, "it is a provenance, not a signature"},
		{"key of the package registry", "publish", signed, older, "transparency log certificate does not match"},
		{"another person", "person", by("https://github.com/login/oauth", "brian@example.com"), archive, "SAN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := verifierOf(t, tt.rule, public).Verify(tt.digest, bundleOf(bundles[tt.bundle]))
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
	t.Run("another instance", func(t *testing.T) {
		staging := recorded(t, "pkg/testing/data/trusted-roots/scaffolding.json")
		require.Error(t, verifierOf(t, signed, staging).Verify(release, bundleOf(bundles["release"])))
	})
	t.Run("changed", func(t *testing.T) {
		changed := strings.Replace(string(bundles["release"]), `"payload": "ey`, `"payload": "fy`, 1)
		require.NotEqual(t, string(bundles["release"]), changed)
		require.Error(t, verifierOf(t, signed, public).Verify(release, bundleOf([]byte(changed))))
	})
	t.Run("public key", func(t *testing.T) {
		key := recorded(t, "examples/publish_key.pub")
		v, err := trust.NewKeyVerifier(&config.Trust{Key: "key.pub"}, key)
		require.NoError(t, err)
		// The signature is valid. A statement that a package was published says nothing about who built it.
		require.ErrorContains(t, v.Verify(older, &registry.Attachment{Kind: registry.SigstoreBundle, Data: bundles["publish"]}), "neither signature nor provenance")
	})
}
