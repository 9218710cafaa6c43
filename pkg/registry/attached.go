package registry

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// AttachmentKind is the form in which a signature or attestation is attached to an image.
type AttachmentKind string

// Kinds of attachments.
const (
	SigstoreBundle    AttachmentKind = "bundle"    // Sigstore bundle in a referrer
	CosignSignature   AttachmentKind = "signature" // simple signing payload under cosign's tag .sig
	CosignAttestation AttachmentKind = "statement" // DSSE envelope under cosign's tag .att
)

// Attachment is a signature or attestation that is attached to an image in its registry. Nothing about it is verified, but
// that Data has the digest that its manifest names.
type Attachment struct {
	Kind        AttachmentKind
	Data        []byte
	Annotations map[string]string // of a cosign layer: signature, certificate, log entry
}

const (
	maxReferrerPages = 4
	maxReferrers     = 4096
	maxBundles       = 32      // of one image
	maxCosignLayers  = 32      // under one tag
	maxAttachment    = 4 << 20 // bytes
	maxAttachedBytes = 32 << 20

	bundleType          = "application/vnd.dev.sigstore.bundle"
	bundlePredicateType = "dev.sigstore.bundle.predicateType"
	simpleSigningType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeType        = "application/vnd.dsse.envelope.v1+json"
)

// Attached reads the signatures and attestations of an image, given by digest: Sigstore bundles from the referrers API or its
// tag schema, and what cosign pushed under tags of its own. It calls visit for one after the other until visit returns true.
// A mirror that lacks them proves nothing: then the registry itself is asked too. leftOut reports that there were more than
// Attached reads. After an error, some were not visited.
func (c *Client) Attached(ctx context.Context, ref state.Ref, visit func(*Attachment) (done bool)) (leftOut bool, err error) {
	if ref.Digest == "" {
		return false, errors.New("want a reference with a digest")
	}
	src, err := c.source(ref)
	if err != nil {
		return false, err
	}
	for _, at := range src.places {
		w := attachedWalk{Client: c, src: source{src.repository, []place{at}}, digest: ref.Digest, visit: visit, budget: maxAttachedBytes}
		err = w.all(ctx)
		leftOut = leftOut || w.leftOut
		if w.done || ctx.Err() != nil {
			break
		}
	}
	return leftOut, err
}

// attachedWalk visits the attachments of one image at one place.
type attachedWalk struct {
	*Client
	src     source // one place
	digest  string
	visit   func(*Attachment) bool
	budget  int64 // bytes that may still be read
	done    bool
	leftOut bool
}

// all visits every attachment. A failure of one does not stop the others; the error is the first.
func (w *attachedWalk) all(ctx context.Context) error {
	base := strings.Replace(w.digest, ":", "-", 1)
	var first error
	for _, step := range []func() error{
		func() error { return w.bundles(ctx, base) },
		func() error { return w.cosign(ctx, base+".sig", CosignSignature, simpleSigningType) },
		func() error { return w.cosign(ctx, base+".att", CosignAttestation, envelopeType) },
	} {
		if err := step(); err != nil && first == nil {
			first = err
		}
		if w.done {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// bundles visits the Sigstore bundles that refer to the image. Signatures and provenance come first, so that no number of
// other attestations hides them.
func (w *attachedWalk) bundles(ctx context.Context, tag string) error {
	list, err := w.referrers(ctx, tag)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(d v1.Descriptor) bool { return !strings.HasPrefix(d.ArtifactType, bundleType) })
	slices.SortStableFunc(list, func(a, b v1.Descriptor) int { return rank(a) - rank(b) })
	if len(list) > maxBundles {
		list, w.leftOut = list[:maxBundles], true
	}
	var first error
	for i := range list {
		if err := w.bundle(ctx, list[i].Digest.String()); err != nil && first == nil {
			first = err
		}
		if w.done || ctx.Err() != nil {
			break
		}
	}
	return first
}

// rank orders bundles by their claimed predicate: signatures, provenance, unknown ones, others.
func rank(d v1.Descriptor) int {
	switch t := d.Annotations[bundlePredicateType]; {
	case strings.HasPrefix(t, "https://sigstore.dev/cosign/sign/"):
		return 0
	case strings.HasPrefix(t, slsaPrefix):
		return 1
	case t == "":
		return 2
	}
	return 3
}

func (w *attachedWalk) bundle(ctx context.Context, digest string) error {
	m, err := w.manifest(ctx, w.src, digest)
	if err != nil {
		return err
	}
	for i := range m.Layers {
		if d := &m.Layers[i]; strings.HasPrefix(string(d.MediaType), bundleType) {
			return w.layer(ctx, d, SigstoreBundle)
		}
	}
	return nil
}

// cosign visits the layers of the image that cosign pushed under a tag.
func (w *attachedWalk) cosign(ctx context.Context, tag string, kind AttachmentKind, mediaType types.MediaType) error {
	m, err := w.manifest(ctx, w.src, tag)
	if IsAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var first error
	visited := 0
	for i := range m.Layers {
		if m.Layers[i].MediaType != mediaType {
			continue
		}
		if visited++; visited > maxCosignLayers {
			w.leftOut = true
			break
		}
		if err := w.layer(ctx, &m.Layers[i], kind); err != nil && first == nil {
			first = err
		}
		if w.done || ctx.Err() != nil {
			break
		}
	}
	return first
}

func (w *attachedWalk) layer(ctx context.Context, d *v1.Descriptor, kind AttachmentKind) error {
	limit := min(maxAttachment, w.budget)
	if limit <= 0 {
		w.leftOut = true
		return nil
	}
	data, err := w.blob(ctx, w.src, d, limit)
	if err != nil {
		return err
	}
	w.budget -= int64(len(data))
	w.done = w.visit(&Attachment{Kind: kind, Data: data, Annotations: d.Annotations})
	return nil
}

// referrers lists what refers to the image, by the referrers API, or by the tag schema if the registry does not support that.
func (w *attachedWalk) referrers(ctx context.Context, tag string) ([]v1.Descriptor, error) {
	at := w.src.places[0]
	var out []v1.Descriptor
	next := "referrers/" + w.digest
	for range maxReferrerPages {
		a, err := w.send(ctx, at, http.MethodGet, next, string(types.OCIImageIndex), maxManifestBytes)
		if len(out) == 0 && (isStatus(err, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented) ||
			err == nil && !isIndex(a)) {
			return w.referrersTag(ctx, tag)
		}
		if err != nil {
			return nil, err
		}
		var page struct {
			Manifests []v1.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, &Error{Host: at.host(), problem: "the list of referrers is not valid JSON", cause: jsonProblem(err), content: true}
		}
		if out = append(out, page.Manifests...); len(out) > maxReferrers {
			w.leftOut = true
			return out[:maxReferrers], nil
		}
		if next, err = nextPage(at, a); err != nil || next == "" {
			return out, err
		}
	}
	w.leftOut = true
	return out, nil
}

// isIndex reports whether a response is an index. Anything else means that the API is not supported.
func isIndex(a *response) bool {
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && types.MediaType(mediaType) == types.OCIImageIndex
}

// referrersTag reads the index that the OCI distribution specification keeps for registries without the referrers API.
func (w *attachedWalk) referrersTag(ctx context.Context, tag string) ([]v1.Descriptor, error) {
	m, err := w.manifest(ctx, w.src, tag)
	if IsAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) > maxReferrers {
		w.leftOut = true
		return m.Manifests[:maxReferrers], nil
	}
	return m.Manifests, nil
}
