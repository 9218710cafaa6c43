// Package sigstoretest is a Sigstore instance for tests: a certificate authority, a timestamp authority and a transparency log, made
// anew for each test, and signatures of images in the forms in which cosign and GitHub attach them.
package sigstoretest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	sigdsse "github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/stretchr/testify/require"
)

// Predicate types of attestations.
const (
	Signature  = "https://sigstore.dev/cosign/sign/v1" // as cosign 3 signs
	Provenance = "https://slsa.dev/provenance/v1"
	SBOM       = "https://spdx.dev/Document/v2.3"
)

// BundleType is the media type of bundles.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Sigstore is a Sigstore instance.
type Sigstore struct {
	t      testing.TB
	shared *ca.VirtualSigstore // timestamps and log
	ca     *root.FulcioCertificateAuthority
	key    *ecdsa.PrivateKey // of the intermediate certificate
}

// Signer describes who signs.
type Signer struct {
	Identity   string // address or URL
	Issuer     string
	Repository string // of a GitHub workflow: its URL
	Expired    bool   // the certificate had expired when it was used
}

// Workflow returns the identity of a workflow in a repository on GitHub.
func Workflow(repository string) Signer {
	home := "https://github.com/" + repository
	return Signer{
		Identity: home + "/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com", Repository: home,
	}
}

// New returns a Sigstore instance.
func New(t testing.TB) *Sigstore {
	shared, err := ca.NewVirtualSigstore()
	require.NoError(t, err)
	rootCert, rootKey, err := ca.GenerateRootCa()
	require.NoError(t, err)
	intermediate, key, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	require.NoError(t, err)
	return &Sigstore{t: t, shared: shared, key: key, ca: &root.FulcioCertificateAuthority{
		Root: rootCert, Intermediates: []*x509.Certificate{intermediate}, URI: "https://fulcio.example",
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}}
}

// TrustedRoot returns the trusted root of the instance as JSON.
func (s *Sigstore) TrustedRoot() []byte { return s.trustedRoot(s.logs()) }

// TrustedRootWithoutLog returns the trusted root of an instance that has a timestamp authority and no log, as GitHub has for private
// repositories.
func (s *Sigstore) TrustedRootWithoutLog() []byte { return s.trustedRoot(nil) }

func (s *Sigstore) trustedRoot(logs map[string]*root.TransparencyLog) []byte {
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{s.ca}, nil, s.shared.TimestampingAuthorities(), logs)
	require.NoError(s.t, err)
	data, err := r.MarshalJSON()
	require.NoError(s.t, err)
	return data
}

func (s *Sigstore) logs() map[string]*root.TransparencyLog {
	out := maps.Clone(s.shared.RekorLogs())
	for id, log := range out {
		raw, err := hex.DecodeString(id)
		require.NoError(s.t, err)
		log.ID = raw
	}
	return out
}

// Statement returns an in-toto statement about an image.
func Statement(digest, predicateType string) []byte {
	data, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType,
		"subject":   []any{map[string]any{"name": "image", "digest": map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}},
		"predicate": map[string]any{},
	})
	if err != nil {
		panic(err)
	}
	return data
}

// Bundle returns a Sigstore bundle with an attestation of an image.
func (s *Sigstore) Bundle(digest, predicateType string, by Signer) []byte {
	return s.BundleOf(Statement(digest, predicateType), by)
}

// BundleOf returns a Sigstore bundle with a statement.
func (s *Sigstore) BundleOf(statement []byte, by Signer) []byte {
	cert, key := s.certificate(by)
	envelope, entry, timestamp := s.attest(statement, cert, key, true)
	return s.json(map[string]any{
		"mediaType": BundleType,
		"verificationMaterial": map[string]any{
			"certificate":               map[string]any{"rawBytes": cert.Raw},
			"tlogEntries":               []any{s.entry(entry)},
			"timestampVerificationData": map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": timestamp}}},
		},
		"dsseEnvelope": envelope,
	})
}

// CosignAttestation returns the layer of an attestation as cosign 2 pushes it under the tag .att.
func (s *Sigstore) CosignAttestation(digest, predicateType string, by Signer) (data []byte, annotations map[string]string) {
	cert, key := s.certificate(by)
	envelope, entry, timestamp := s.attest(Statement(digest, predicateType), cert, key, false)
	return s.json(envelope), s.annotations(cert, entry, timestamp, "")
}

// CosignSignature returns the layer of a signature as cosign 2 pushes it under the tag .sig. Its certificate is for an address, and of
// another authority than that of the bundles: see [Sigstore.CosignRoot].
func (s *Sigstore) CosignSignature(digest string, by Signer) (data []byte, annotations map[string]string) {
	data = Payload(digest)
	signed, err := s.shared.Sign(by.Identity, by.Issuer, data)
	require.NoError(s.t, err)
	material, err := signed.VerificationContent()
	require.NoError(s.t, err)
	entries, err := signed.TlogEntries()
	require.NoError(s.t, err)
	timestamps, err := signed.Timestamps()
	require.NoError(s.t, err)
	content, err := signed.SignatureContent()
	require.NoError(s.t, err)
	return data, s.annotations(material.Certificate(), entries[0], timestamps[0], base64.StdEncoding.EncodeToString(content.Signature()))
}

// CosignRoot returns the trusted root for [Sigstore.CosignSignature].
func (s *Sigstore) CosignRoot() []byte {
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.shared.FulcioCertificateAuthorities(), nil, s.shared.TimestampingAuthorities(), s.logs())
	require.NoError(s.t, err)
	data, err := r.MarshalJSON()
	require.NoError(s.t, err)
	return data
}

// Payload returns the simple signing payload of an image.
func Payload(digest string) []byte {
	return []byte(`{"critical":{"identity":{"docker-reference":"registry.example/image"},"image":{"docker-manifest-digest":"` + digest +
		`"},"type":"cosign container image signature"},"optional":null}`)
}

// Key is a key pair that signs without a certificate.
type Key struct {
	t       testing.TB
	private *ecdsa.PrivateKey
}

// NewKey returns a key pair.
func NewKey(t testing.TB) *Key {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &Key{t, key}
}

// PEM returns the public key.
func (k *Key) PEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	require.NoError(k.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// CosignSignature returns the layer of a signature as cosign 2 pushes it under the tag .sig.
func (k *Key) CosignSignature(digest string) (data []byte, annotations map[string]string) {
	data = Payload(digest)
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	require.NoError(k.t, err)
	return data, map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)}
}

// Bundle returns a Sigstore bundle with an attestation of an image.
func (k *Key) Bundle(digest, predicateType string) []byte {
	signer, err := signature.LoadECDSASigner(k.private, crypto.SHA256)
	require.NoError(k.t, err)
	envelope := envelopeOf(k.t, Statement(digest, predicateType), signer, k.private.Public())
	data, err := json.Marshal(map[string]any{
		"mediaType": BundleType, "dsseEnvelope": envelope,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "key"}},
	})
	require.NoError(k.t, err)
	return data
}

var (
	issuerOID     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	repositoryOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 12}
)

// certificate issues a certificate for ten minutes.
func (s *Sigstore) certificate(by Signer) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	from := time.Now().Add(-time.Minute)
	if by.Expired {
		from = from.Add(-20 * time.Minute)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: issuerOID, Value: []byte(by.Issuer)}},
	}
	if u, err := url.Parse(by.Identity); err == nil && u.Host != "" {
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{by.Identity}
	}
	if by.Repository != "" {
		value, err := asn1.MarshalWithParams(by.Repository, "utf8")
		require.NoError(s.t, err)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: repositoryOID, Value: value})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca.Intermediates[0], key.Public(), s.key)
	require.NoError(s.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(s.t, err)
	return cert, key
}

func (s *Sigstore) attest(statement []byte, cert *x509.Certificate, key *ecdsa.PrivateKey, proof bool) (*dsse.Envelope, *tlog.Entry, []byte) {
	signer, err := signature.LoadECDSASigner(key, crypto.SHA256)
	require.NoError(s.t, err)
	envelope := envelopeOf(s.t, statement, signer, key.Public())
	sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	require.NoError(s.t, err)
	entry, err := s.shared.GenerateTlogEntry(cert, envelope, sig, time.Now().Unix(), proof)
	require.NoError(s.t, err)
	timestamp, err := s.shared.TimestampResponse(sig)
	require.NoError(s.t, err)
	return envelope, entry, timestamp
}

func envelopeOf(t testing.TB, statement []byte, signer signature.Signer, public crypto.PublicKey) *dsse.Envelope {
	sign, err := dsse.NewEnvelopeSigner(&sigdsse.SignerAdapter{SignatureSigner: signer, Pub: public})
	require.NoError(t, err)
	envelope, err := sign.SignPayload(context.Background(), "application/vnd.in-toto+json", statement)
	require.NoError(t, err)
	envelope.Signatures[0].KeyID = ""
	return envelope
}

// entry returns a log entry as bundles hold it.
func (s *Sigstore) entry(e *tlog.Entry) map[string]any {
	p := e.TransparencyLogEntry()
	out := map[string]any{
		"logIndex": p.GetLogIndex(), "logId": map[string]any{"keyId": p.GetLogId().GetKeyId()}, "integratedTime": p.GetIntegratedTime(),
		"kindVersion":       map[string]any{"kind": p.GetKindVersion().GetKind(), "version": p.GetKindVersion().GetVersion()},
		"canonicalizedBody": p.GetCanonicalizedBody(),
		"inclusionPromise":  map[string]any{"signedEntryTimestamp": s.promise(e)},
	}
	if proof := p.GetInclusionProof(); proof != nil {
		out["inclusionProof"] = map[string]any{
			"logIndex": proof.GetLogIndex(), "rootHash": proof.GetRootHash(), "treeSize": proof.GetTreeSize(), "hashes": proof.GetHashes(),
			"checkpoint": map[string]any{"envelope": proof.GetCheckpoint().GetEnvelope()},
		}
	}
	return out
}

// promise returns the log's signature for an entry.
func (s *Sigstore) promise(e *tlog.Entry) []byte {
	p := e.TransparencyLogEntry()
	sig, err := s.shared.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(p.GetCanonicalizedBody()), IntegratedTime: p.GetIntegratedTime(), LogIndex: p.GetLogIndex(),
		LogID: hex.EncodeToString(p.GetLogId().GetKeyId()),
	})
	require.NoError(s.t, err)
	return sig
}

// annotations returns the annotations of a layer that cosign 2 pushes.
func (s *Sigstore) annotations(cert *x509.Certificate, e *tlog.Entry, timestamp []byte, sig string) map[string]string {
	p := e.TransparencyLogEntry()
	return map[string]string{
		"dev.cosignproject.cosign/signature": sig,
		"dev.sigstore.cosign/certificate":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		"dev.sigstore.cosign/bundle": string(s.json(map[string]any{
			"SignedEntryTimestamp": s.promise(e),
			"Payload": map[string]any{
				"body": p.GetCanonicalizedBody(), "integratedTime": p.GetIntegratedTime(), "logIndex": p.GetLogIndex(),
				"logID": hex.EncodeToString(p.GetLogId().GetKeyId()),
			},
		})),
		"dev.sigstore.cosign/rfc3161timestamp": string(s.json(map[string]any{"SignedRFC3161Timestamp": timestamp})),
	}
}

func (s *Sigstore) json(v any) []byte {
	data, err := json.Marshal(v)
	require.NoError(s.t, err)
	return data
}
