package trust

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/imagefactory/imagefactory/pkg/registry"
)

// Annotations of the layers that cosign pushes.
const (
	signatureAnnotation   = "dev.cosignproject.cosign/signature"
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	logAnnotation         = "dev.sigstore.cosign/bundle"
	timestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// oldBundle is the media type of bundles whose log entries need no inclusion proof, which cosign's annotations lack.
const oldBundle = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// signatureBundle converts a signature that cosign pushed under the tag .sig.
func signatureBundle(a *registry.Attachment, digest []byte) (*bundle.Bundle, error) {
	sig, err := base64.StdEncoding.DecodeString(a.Annotations[signatureAnnotation])
	if err != nil || len(sig) == 0 {
		return nil, errors.New("the signature is missing or invalid")
	}
	material, err := materialOf(a)
	if err != nil {
		return nil, err
	}
	return bundle.NewBundle(&protobundle.Bundle{MediaType: oldBundle, VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest}, Signature: sig,
		}}})
}

// attestationBundle converts an attestation that cosign pushed under the tag .att.
func attestationBundle(a *registry.Attachment) (*bundle.Bundle, error) {
	var e struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(a.Data, &e); err != nil || len(e.Signatures) == 0 {
		return nil, errors.New("invalid envelope of an attestation")
	}
	material, err := materialOf(a)
	if err != nil {
		return nil, err
	}
	envelope := &protodsse.Envelope{PayloadType: e.PayloadType, Payload: e.Payload}
	for _, s := range e.Signatures {
		envelope.Signatures = append(envelope.Signatures, &protodsse.Signature{Keyid: s.KeyID, Sig: s.Sig})
	}
	return bundle.NewBundle(&protobundle.Bundle{MediaType: oldBundle, VerificationMaterial: material,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: envelope}})
}

// materialOf converts the annotations of a layer: the certificate, or else a key that is known from elsewhere, the entry of the
// transparency log and the timestamp.
func materialOf(a *registry.Attachment) (*protobundle.VerificationMaterial, error) {
	m := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}
	if text := a.Annotations[certificateAnnotation]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("invalid certificate")
		}
		m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes}}
	}
	if text := a.Annotations[logAnnotation]; text != "" {
		entry, err := logEntry(text)
		if err != nil {
			return nil, fmt.Errorf("invalid entry of the transparency log: %w", err)
		}
		m.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := a.Annotations[timestampAnnotation]; text != "" {
		var t struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return nil, errors.New("invalid timestamp")
		}
		m.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: t.SignedRFC3161Timestamp}},
		}
	}
	return m, nil
}

// logEntry converts the entry of the transparency log that cosign keeps with a signature.
func logEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var e struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return nil, errors.New("not the expected JSON")
	}
	id, err := hex.DecodeString(e.Payload.LogID)
	if err != nil {
		return nil, errors.New("invalid ID of the log")
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(e.Payload.Body, &kind); err != nil {
		return nil, errors.New("invalid body")
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: e.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: e.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
		CanonicalizedBody: e.Payload.Body,
	}, nil
}
