// Package trust verifies the signatures and provenance of images, which their registry or GitHub holds, with sigstore's library, by the
// rules of factory.trust in images.yaml. What a verified candidate may do is decided by package policy.
package trust

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
)

const (
	cosignPredicate = "https://sigstore.dev/cosign/sign/"
	slsaPredicate   = "https://slsa.dev/provenance/"
)

// Verifier verifies attachments of images by one rule.
type Verifier struct {
	requires  config.Requirement
	signer    verify.PolicyOption
	verifiers []*verify.Verifier // one of them must accept an attachment
}

// NewKeyVerifier returns a Verifier for a rule with a public key. Neither a log nor a time is needed: the key alone counts.
func NewKeyVerifier(rule *config.Trust, pem []byte) (*Verifier, error) {
	key, err := config.ParsePublicKey(pem)
	if err != nil {
		return nil, err
	}
	keyVerifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("unsupported public key: %w", err)
	}
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(keyVerifier, time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return nil, err
	}
	return &Verifier{requires: rule.Requires(), signer: verify.WithKey(), verifiers: []*verify.Verifier{v}}, nil
}

// NewVerifier returns a Verifier for a rule with an identity. A signature must be by a certificate of one of the trusted roots,
// with what that root provides for: an entry in its transparency log, a timestamp, an entry in its certificate log.
func NewVerifier(rule *config.Trust, roots []*root.TrustedRoot) (*Verifier, error) {
	identity, err := identityOf(rule)
	if err != nil {
		return nil, err
	}
	v := &Verifier{requires: rule.Requires(), signer: verify.WithCertificateIdentity(identity)}
	for _, r := range roots {
		options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
		if len(r.RekorLogs()) > 0 {
			options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
		} else {
			options = append(options, verify.WithSignedTimestamps(1))
		}
		if len(r.CTLogs()) > 0 {
			options = append(options, verify.WithSignedCertificateTimestamps(1))
		}
		verifier, err := verify.NewVerifier(r, options...)
		if err != nil {
			return nil, err
		}
		v.verifiers = append(v.verifiers, verifier)
	}
	return v, nil
}

// identityOf returns the identity that a certificate must have. Regular expressions match whole values.
func identityOf(rule *config.Trust) (verify.CertificateIdentity, error) {
	if rule.GitHub != "" {
		home := "https://github.com/" + rule.GitHub
		san, err := verify.NewSANMatcher("", "^"+regexp.QuoteMeta(home+"/"))
		if err != nil {
			return verify.CertificateIdentity{}, err
		}
		issuer, err := verify.NewIssuerMatcher(config.GitHubIssuer, "")
		if err != nil {
			return verify.CertificateIdentity{}, err
		}
		return verify.NewCertificateIdentity(san, issuer, certificate.Extensions{SourceRepositoryURI: home})
	}
	k := rule.Keyless
	if k == nil {
		return verify.CertificateIdentity{}, errors.New("no identity is named")
	}
	return verify.NewShortCertificateIdentity(k.Issuer, whole(k.IssuerRegexp), k.Identity, whole(k.IdentityRegexp))
}

func whole(pattern string) string {
	if pattern == "" {
		return ""
	}
	return `^(?:` + pattern + `)$`
}

// Verify returns an error unless an attachment is a valid signature or provenance of the image, given by its digest, by the rule.
func (v *Verifier) Verify(image string, a *registry.Attachment) (err error) {
	defer func() {
		if r := recover(); r != nil { // libraries parse what anybody may have pushed
			err = fmt.Errorf("internal error of the verification: %v", r)
		}
	}()
	entity, about, err := entityOf(image, a)
	if err != nil {
		return err
	}
	d, err := digest.Parse(about)
	if err != nil {
		return fmt.Errorf("unsupported digest %q", about)
	}
	sum, err := hex.DecodeString(d.Encoded())
	if err != nil {
		return fmt.Errorf("unsupported digest %q", about)
	}
	policy := verify.NewPolicy(verify.WithArtifactDigest(d.Algorithm().String(), sum), v.signer)
	var failed error
	for _, verifier := range v.verifiers {
		result, err := verifier.Verify(entity, policy)
		if err == nil {
			err = v.suits(result)
		}
		if err == nil {
			return nil
		}
		if failed == nil || rankOf(err) > rankOf(failed) {
			failed = err
		}
	}
	if failed == nil {
		failed = errors.New("no trusted root")
	}
	return failed
}

// wrongKindError reports a valid attachment that is not what the rule requires.
type wrongKindError struct{ text string }

func (e *wrongKindError) Error() string { return e.text }

// suits returns an error unless a verified attachment is of the kind that the rule requires. Attestations such as an SBOM or the
// report of a scanner do not say that an image was published.
func (v *Verifier) suits(result *verify.VerificationResult) error {
	kind := config.RequireSignature
	if s := result.Statement; s != nil {
		switch {
		case strings.HasPrefix(s.GetPredicateType(), slsaPredicate):
			kind = config.RequireProvenance
		case !strings.HasPrefix(s.GetPredicateType(), cosignPredicate):
			return &wrongKindError{fmt.Sprintf("an attestation of type %q is neither signature nor provenance", s.GetPredicateType())}
		}
	}
	if v.requires != "" && v.requires != kind {
		return &wrongKindError{fmt.Sprintf("it is a %s, not a %s", kind, v.requires)}
	}
	return nil
}

// rankOf orders failures by how close the attachment came.
func rankOf(err error) int {
	var kind *wrongKindError
	var identity *verify.ErrNoMatchingCertificateIdentity
	switch {
	case errors.As(err, &kind):
		return 2
	case errors.As(err, &identity):
		return 1
	}
	return 0
}

// entityOf returns an attachment as a bundle, and the digest that its signature must be about: that of the image, or that of
// cosign's payload, which must name the image.
func entityOf(digest string, a *registry.Attachment) (entity verify.SignedEntity, about string, err error) {
	switch a.Kind {
	case registry.SigstoreBundle:
		b := &bundle.Bundle{}
		if err := b.UnmarshalJSON(a.Data); err != nil {
			return nil, "", fmt.Errorf("invalid bundle: %w", err)
		}
		return b, digest, nil
	case registry.CosignAttestation:
		b, err := attestationBundle(a)
		return b, digest, err
	case registry.CosignSignature:
		if err := checkPayload(a.Data, digest); err != nil {
			return nil, "", err
		}
		sum := sha256.Sum256(a.Data)
		b, err := signatureBundle(a, sum[:])
		return b, "sha256:" + hex.EncodeToString(sum[:]), err
	}
	return nil, "", fmt.Errorf("unknown kind of attachment %q", a.Kind)
}

// checkPayload returns an error unless the payload of a cosign signature is about an image.
func checkPayload(data []byte, digest string) error {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return errors.New("invalid payload of a signature")
	}
	switch t := p.Critical.Type; {
	case t != "cosign container image signature" && t != "atomic container signature" && !strings.HasPrefix(t, cosignPredicate):
		return fmt.Errorf("payload of an unknown type %q", t)
	case p.Critical.Image.Digest != digest:
		return errors.New("it is the signature of another image")
	}
	return nil
}
