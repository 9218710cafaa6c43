package trust_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/trust"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

var (
	image   = "sha256:" + strings.Repeat("a", 64)
	another = "sha256:" + strings.Repeat("b", 64)
	robot   = sigstoretest.Signer{Identity: "robot@example.com", Issuer: "https://accounts.example.com"}
	acme    = sigstoretest.Workflow("acme/images")
)

func bundleOf(data []byte) *registry.Attachment {
	return &registry.Attachment{Kind: registry.SigstoreBundle, Data: data}
}

func layerOf(kind registry.AttachmentKind) func(data []byte, annotations map[string]string) *registry.Attachment {
	return func(data []byte, annotations map[string]string) *registry.Attachment {
		return &registry.Attachment{Kind: kind, Data: data, Annotations: annotations}
	}
}

func keyless(by sigstoretest.Signer, require config.Requirement) *config.Trust {
	return &config.Trust{Keyless: &config.Keyless{Issuer: by.Issuer, Identity: by.Identity}, Require: require}
}

func verifierOf(t testing.TB, rule *config.Trust, roots ...[]byte) *trust.Verifier {
	var file []byte
	for _, r := range roots {
		file = append(append(file, r...), '\n')
	}
	parsed, err := trust.ParseRoots(file)
	require.NoError(t, err)
	v, err := trust.NewVerifier(rule, parsed)
	require.NoError(t, err)
	return v
}

func TestVerify(t *testing.T) {
	s, other := sigstoretest.New(t), sigstoretest.New(t)
	signature, statement := layerOf(registry.CosignSignature), layerOf(registry.CosignAttestation)
	regexps := func(issuer, identity string) *config.Trust {
		return &config.Trust{Keyless: &config.Keyless{IssuerRegexp: issuer, IdentityRegexp: identity}}
	}
	github := &config.Trust{GitHub: "acme/images"}
	fork := acme
	fork.Repository = "https://github.com/evil/images"
	expired := robot
	expired.Expired = true
	tests := []struct {
		name string
		rule *config.Trust
		at   *registry.Attachment
		want string // part of the error; empty if it is valid
		root []byte
	}{
		{"bundle of a signature", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.Signature, robot)), "", s.TrustedRoot()},
		{"bundle of provenance", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "", s.TrustedRoot()},
		{"instance without log", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "", s.TrustedRootWithoutLog()},
		{"SBOM", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.SBOM, robot)), "neither signature nor provenance", s.TrustedRoot()},
		{"signature for provenance", keyless(robot, config.RequireProvenance), bundleOf(s.Bundle(image, sigstoretest.Signature, robot)), "it is a signature, not a provenance", s.TrustedRoot()},
		{"provenance for signature", keyless(robot, config.RequireSignature), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "it is a provenance, not a signature", s.TrustedRoot()},
		{"bundle of another image", keyless(robot, ""), bundleOf(s.Bundle(another, sigstoretest.Provenance, robot)), "does not match any digest", s.TrustedRoot()},
		{"another identity", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.Provenance, acme)), "expected SAN value", s.TrustedRoot()},
		{"another issuer", keyless(sigstoretest.Signer{Identity: robot.Identity, Issuer: "https://accounts.example.org"}, ""), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "expected issuer value", s.TrustedRoot()},
		{"expired certificate", keyless(robot, ""), bundleOf(s.Bundle(image, sigstoretest.Provenance, expired)), "outside certificate validity", s.TrustedRoot()},
		{"another authority", keyless(robot, ""), bundleOf(other.Bundle(image, sigstoretest.Provenance, robot)), "not enough verified log entries", s.TrustedRoot()},
		{"second of two roots", keyless(robot, ""), bundleOf(other.Bundle(image, sigstoretest.Provenance, robot)), "", append(append(s.TrustedRoot(), '\n'), other.TrustedRoot()...)},
		{"regular expressions", regexps(`https://.*\.example\.com`, `[a-z]+@example\.com`), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "", s.TrustedRoot()},
		{"regular expression of a part", regexps(`https://.*\.example\.com`, `obot@example`), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "SAN", s.TrustedRoot()},
		{"alternatives of a regular expression", regexps(`.*`, `nobody|robot`), bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)), "SAN", s.TrustedRoot()},
		{"workflow of the repository", github, bundleOf(s.Bundle(image, sigstoretest.Provenance, acme)), "", s.TrustedRoot()},
		{"signature of a workflow", github, bundleOf(s.Bundle(image, sigstoretest.Signature, acme)), "not a provenance", s.TrustedRoot()},
		{"workflow of another repository", github, bundleOf(s.Bundle(image, sigstoretest.Provenance, sigstoretest.Workflow("acme/images-evil"))), "SAN", s.TrustedRoot()},
		{"workflow run for another repository", github, bundleOf(s.Bundle(image, sigstoretest.Provenance, fork)), "SourceRepositoryURI", s.TrustedRoot()},
		{"cosign's signature", keyless(robot, ""), signature(s.CosignSignature(image, robot)), "", s.CosignRoot()},
		{"cosign's signature of another image", keyless(robot, ""), signature(s.CosignSignature(another, robot)), "of another image", s.CosignRoot()},
		{"cosign's signature by another identity", keyless(acme, ""), signature(s.CosignSignature(image, robot)), "SAN", s.CosignRoot()},
		{"cosign's signature for provenance", keyless(robot, config.RequireProvenance), signature(s.CosignSignature(image, robot)), "not a provenance", s.CosignRoot()},
		{"cosign's attestation", keyless(robot, ""), statement(s.CosignAttestation(image, sigstoretest.Provenance, robot)), "", s.TrustedRoot()},
		{"cosign's attestation of another image", keyless(robot, ""), statement(s.CosignAttestation(another, sigstoretest.Provenance, robot)), "does not match any digest", s.TrustedRoot()},
		{"cosign's attestation of another kind", keyless(robot, ""), statement(s.CosignAttestation(image, sigstoretest.SBOM, robot)), "neither", s.TrustedRoot()},
		{"key instead of an identity", keyless(robot, ""), bundleOf(sigstoretest.NewKey(t).Bundle(image, sigstoretest.Signature)), "log", s.TrustedRoot()},
		{"nothing", keyless(robot, ""), bundleOf(nil), "invalid bundle", s.TrustedRoot()},
		{"null", keyless(robot, ""), bundleOf([]byte("null")), "invalid bundle", s.TrustedRoot()},
		{"empty envelope", keyless(robot, ""), statement([]byte("{}"), nil), "invalid envelope", s.TrustedRoot()},
		{"no signature", keyless(robot, ""), signature(sigstoretest.Payload(image), nil), "missing or invalid", s.TrustedRoot()},
		{"unknown kind", keyless(robot, ""), layerOf("zip")(nil, nil), "unknown kind", s.TrustedRoot()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := verifierOf(t, tt.rule, tt.root).Verify(image, tt.at)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestVerifyWithKey(t *testing.T) {
	key, other, s := sigstoretest.NewKey(t), sigstoretest.NewKey(t), sigstoretest.New(t)
	v, err := trust.NewKeyVerifier(&config.Trust{Key: "cosign.pub"}, key.PEM())
	require.NoError(t, err)
	signature := layerOf(registry.CosignSignature)
	require.NoError(t, v.Verify(image, signature(key.CosignSignature(image))))
	require.NoError(t, v.Verify(image, bundleOf(key.Bundle(image, sigstoretest.Provenance))))
	for name, a := range map[string]*registry.Attachment{
		"another key":      signature(other.CosignSignature(image)),
		"another image":    signature(key.CosignSignature(another)),
		"an SBOM":          bundleOf(key.Bundle(image, sigstoretest.SBOM)),
		"another's bundle": bundleOf(other.Bundle(image, sigstoretest.Provenance)),
		"a certificate":    bundleOf(s.Bundle(image, sigstoretest.Provenance, robot)),
	} {
		require.Error(t, v.Verify(image, a), name)
	}
	data, annotations := key.CosignSignature(image)
	changed := []byte(strings.Replace(string(data), "registry.example", "registry.example.org", 1))
	require.Error(t, v.Verify(image, signature(changed, annotations)), "a payload that was changed")
	_, err = trust.NewKeyVerifier(&config.Trust{}, []byte("none"))
	require.Error(t, err)
}

func TestParseRoots(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", "{", `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`, strings.Repeat(string(sigstoretest.New(t).TrustedRoot())+"\n", 17)} {
		_, err := trust.ParseRoots([]byte(text))
		require.Error(t, err, "%.40s", text)
	}
}
