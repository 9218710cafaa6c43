package trust_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/trust"
	"github.com/imagefactory/imagefactory/test/sigstoretest"
)

// FuzzVerify: whatever a registry holds, verifying it ends without a panic, and accepts no bundle for another image.
func FuzzVerify(f *testing.F) {
	s, key := sigstoretest.New(f), sigstoretest.NewKey(f)
	add := func(kind byte, data []byte, annotations map[string]string) {
		text, err := json.Marshal(annotations)
		require.NoError(f, err)
		f.Add(kind, data, text)
	}
	add(0, s.Bundle(image, sigstoretest.Provenance, acme), nil)
	add(0, key.Bundle(image, sigstoretest.Signature), nil)
	data, annotations := s.CosignSignature(image, robot)
	add(1, data, annotations)
	data, annotations = s.CosignAttestation(image, sigstoretest.SBOM, robot)
	add(2, data, annotations)
	kinds := []registry.AttachmentKind{registry.SigstoreBundle, registry.CosignSignature, registry.CosignAttestation}
	byIdentity := verifierOf(f, keyless(robot, ""), s.TrustedRoot(), s.CosignRoot())
	byKey, err := trust.NewKeyVerifier(keyless(robot, ""), key.PEM())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, kind byte, data, annotations []byte) {
		a := &registry.Attachment{Kind: kinds[int(kind)%len(kinds)], Data: data}
		_ = json.Unmarshal(annotations, &a.Annotations)
		for _, v := range []*trust.Verifier{byIdentity, byKey} {
			require.Error(t, v.Verify(another, a))
			if err := v.Verify(image, a); err != nil {
				require.NotContains(t, err.Error(), "internal error")
			}
		}
	})
}

// FuzzParseRoots: a trusted root is read or refused.
func FuzzParseRoots(f *testing.F) {
	s := sigstoretest.New(f)
	f.Add(append(append(s.TrustedRoot(), '\n'), s.CosignRoot()...))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}],"certificateAuthorities":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		roots, err := trust.ParseRoots(data)
		if err == nil {
			require.NotEmpty(t, roots)
		}
	})
}
