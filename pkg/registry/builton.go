package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxAttestations = 32 // of one image
	maxStatements   = 16 // in one attestation manifest
	maxPlatforms    = 8  // of one image whose annotations and layers are read
	maxLayerProbes  = 8  // snapshots of a base whose layers are compared
	annotationName  = "org.opencontainers.image.base.name"
	annotationDgst  = "org.opencontainers.image.base.digest"
)

// Base is a reference that an image's build uses.
type Base struct {
	Ref       state.Ref
	Platforms []string         // whose builds use it; empty for all
	Known     []state.Snapshot // its digests so far, oldest first: the baseline and the candidates
	Final     bool             // the image's last stage is built on it: its layers come first in the image
}

// BuiltOn returns the snapshots of the bases that a published image, given by digest, was built on. For each base it uses the
// strongest evidence: BuildKit's provenance attestation, then the base image annotations of the OCI image specification,
// then, for the final base only, that the image's layers begin with those of a known snapshot. Labels are no evidence: an
// image inherits them from its base. A base without evidence is left out.
//
// Evidence names the digest of an index or of one platform. BuiltOn returns the known snapshot with that digest, the oldest
// of several, because a newer one would lose an update. An unknown digest is returned with its platforms if the registry
// still has it.
func (c *Client) BuiltOn(ctx context.Context, published state.Ref, bases []Base) ([]state.BuiltOn, error) {
	out, err := c.builtOn(ctx, published, bases)
	if err != nil {
		return nil, fmt.Errorf("finding the bases of %q: %w", published, err)
	}
	return out, nil
}

func (c *Client) builtOn(ctx context.Context, published state.Ref, bases []Base) ([]state.BuiltOn, error) {
	if published.Digest == "" {
		return nil, errors.New("want a reference with a digest")
	}
	src, err := c.source(published)
	if err != nil {
		return nil, err
	}
	m, err := c.manifest(ctx, src, published.Digest)
	if err != nil {
		return nil, err
	}
	proven, attested, err := c.provenance(ctx, src, m)
	if err != nil {
		return nil, err
	}
	out, rest, err := c.match(ctx, bases, proven, state.Provenance)
	if err != nil || len(rest) == 0 && attested.all(m) {
		return out, err
	}
	images, err := c.images(ctx, src, m)
	if err != nil {
		return nil, err
	}
	if err := c.unattested(ctx, src, images, attested, bases, out); err != nil {
		return nil, err
	}
	more, _, err := c.match(ctx, rest, annotated(m, images), state.Annotation)
	if err != nil {
		return nil, err
	}
	if out = append(out, more...); len(out) > 0 {
		return out, nil
	}
	for i := range bases {
		if bases[i].Final {
			return c.byLayers(ctx, src, images, &bases[i])
		}
	}
	return out, nil
}

// attested are the manifests that statements are about, by digest.
type attested map[string]bool

// all reports whether statements cover every image of an index, or none.
func (a attested) all(index *manifest) bool {
	return len(a) == 0 || !slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool {
		return d.Annotations[attestationType] == "" && !a[d.Digest.String()]
	})
}

// unattested corrects the final base if statements cover some platforms only and the layers of the others come from an
// older snapshot: a newer one would lose an update.
func (c *Client) unattested(ctx context.Context, src source, images []image, a attested, bases []Base, proven []state.BuiltOn) error {
	others := slices.DeleteFunc(slices.Clone(images), func(i image) bool { return a[i.manifest.digest] })
	final := slices.IndexFunc(bases, func(b Base) bool { return b.Final })
	if len(a) == 0 || len(others) == 0 || final < 0 {
		return nil
	}
	b := &bases[final]
	at := func(on state.BuiltOn) int {
		return slices.IndexFunc(b.Known, func(s state.Snapshot) bool { return s.Digest == on.Digest })
	}
	for i := range proven {
		if proven[i].Ref != b.Ref.String() {
			continue
		}
		byLayers, err := c.byLayers(ctx, src, others, b)
		if err != nil {
			return err
		}
		if len(byLayers) == 1 && at(byLayers[0]) < at(proven[i]) {
			proven[i] = byLayers[0]
		}
	}
	return nil
}

// match returns the bases that are among the materials, and the rest.
func (c *Client) match(ctx context.Context, bases []Base, materials []material, evidence state.Evidence) (out []state.BuiltOn, rest []Base, err error) {
	for i := range bases {
		used := bases[i].among(materials)
		if len(used) == 0 {
			rest = append(rest, bases[i])
			continue
		}
		s, err := c.snapshotFor(ctx, &bases[i], used)
		if err != nil {
			return nil, nil, err
		}
		if s.Digest == "" {
			rest = append(rest, bases[i])
			continue
		}
		out = append(out, state.BuiltOn{Ref: bases[i].Ref.String(), Snapshot: s, Evidence: evidence})
	}
	return out, rest, nil
}

// among returns the materials that are the base: those with its tag, else those of its repository without a tag whose
// digest is known. If some of them are for its platforms, it returns only those.
func (b *Base) among(materials []material) []material {
	var tagged, untagged []material
	for _, m := range materials {
		final := b.Final && m.ref == state.Ref{} // an annotation without a name
		if !final && (m.ref.Registry != b.Ref.Registry || m.ref.Repository != b.Ref.Repository) {
			continue
		}
		switch {
		case m.ref.Tag != "" && m.ref.Tag == b.Ref.Tag, b.Ref.Pinned() && b.Ref.Digest == m.digest:
			tagged = append(tagged, m)
		case m.ref.Tag == "" && slices.ContainsFunc(b.Known, func(s state.Snapshot) bool { return holds(s, m.digest) }):
			untagged = append(untagged, m)
		}
	}
	found := tagged
	if len(found) == 0 {
		found = untagged
	}
	ours := slices.DeleteFunc(slices.Clone(found), func(m material) bool {
		return !b.buildsFor(m.platform)
	})
	if len(ours) > 0 {
		return ours
	}
	return found
}

// buildsFor reports whether a build for a platform uses the base; true if unknown.
func (b *Base) buildsFor(platform string) bool {
	return len(b.Platforms) == 0 || platform == "" ||
		slices.ContainsFunc(b.Platforms, func(p string) bool { return state.SamePlatform(p, platform) })
}

func holds(s state.Snapshot, digest string) bool {
	if s.Digest == digest {
		return true
	}
	for _, d := range s.Platforms {
		if d == digest {
			return true
		}
	}
	return false
}

// snapshotFor returns the snapshot of the materials of one base: the oldest known one that has them all or, if platforms were
// built on different ones, the oldest that has any. Unknown digests are resolved by the registry; the snapshot is empty if
// they contradict each other.
func (c *Client) snapshotFor(ctx context.Context, b *Base, used []material) (state.Snapshot, error) {
	var oldest *state.Snapshot
	unknown := slices.IndexFunc(used, func(m material) bool {
		return !slices.ContainsFunc(b.Known, func(s state.Snapshot) bool { return holds(s, m.digest) })
	})
	for i := range b.Known {
		n := 0
		for _, m := range used {
			if holds(b.Known[i], m.digest) {
				n++
			}
		}
		if n == len(used) {
			return b.Known[i], nil
		}
		if n > 0 && oldest == nil {
			oldest = &b.Known[i]
		}
	}
	if unknown < 0 {
		return *oldest, nil
	}
	if ambiguous(used) {
		return state.Snapshot{}, nil
	}
	out := state.Snapshot{Digest: used[unknown].digest}
	seen := map[string]bool{}
	for _, m := range used {
		if seen[m.digest] {
			continue
		}
		seen[m.digest] = true
		s, err := c.resolve(ctx, b, m)
		if err != nil {
			return state.Snapshot{}, err
		}
		out.Platforms = merge(out.Platforms, s.Platforms, m.platform)
	}
	return out, nil
}

// ambiguous reports whether evidence names two digests of one base for the same platform.
func ambiguous(used []material) bool {
	digests := map[string]string{}
	for _, m := range used {
		if d, is := digests[m.platform]; is && d != m.digest {
			return true
		}
		digests[m.platform] = m.digest
	}
	return false
}

// merge adds platforms: all of them, or only the used one if there are others already.
func merge(all, more state.Platforms, used string) state.Platforms {
	if len(all) == 0 {
		return maps.Clone(more)
	}
	for p, d := range more {
		if _, taken := all[p]; !taken || state.SamePlatform(p, used) {
			all[p] = d
		}
	}
	return all
}

// resolve returns the snapshot of a digest: a known one, or that of the registry. Without a usable response its platforms
// stay unknown.
func (c *Client) resolve(ctx context.Context, b *Base, m material) (state.Snapshot, error) {
	if i := slices.IndexFunc(b.Known, func(s state.Snapshot) bool { return holds(s, m.digest) }); i >= 0 {
		return b.Known[i], nil
	}
	s := state.Snapshot{Digest: m.digest}
	src, err := c.source(b.Ref)
	if err != nil {
		return s, err
	}
	found, err := c.manifest(ctx, src, m.digest)
	switch {
	case ctx.Err() != nil:
		return s, err
	case err != nil:
		return s, nil //nolint:nilerr // the digest is evidence enough
	case !found.index && m.platform != "":
		s.Platforms = state.Platforms{m.platform: m.digest}
		return s, nil
	}
	if resolved, err := c.snapshotOf(ctx, src, found); err == nil {
		return resolved, nil
	}
	return s, ctx.Err()
}

// provenance returns the materials in the attestations of an image's index. A damaged or oversized attestation is skipped, so
// that weaker evidence is used; a failing registry is an error.
func (c *Client) provenance(ctx context.Context, src source, index *manifest) ([]material, attested, error) {
	subjects, told := map[string]bool{}, attested{}
	for i := range index.Manifests {
		subjects[index.Manifests[i].Digest.String()] = true
	}
	var out []material
	read := 0
	for i := range index.Manifests {
		d := &index.Manifests[i]
		subject := d.Annotations[attestationOf]
		if d.Annotations[attestationType] != attestationIs || !subjects[subject] {
			continue
		}
		if read++; read > maxAttestations {
			break
		}
		found, err := c.attestation(ctx, src, d.Digest.String(), subject)
		if err != nil {
			return nil, nil, err
		}
		if len(found) > 0 {
			told[subject] = true
		}
		out = append(out, found...)
	}
	return out, told, nil
}

// attestation reads one attestation manifest. A damaged one, or one that the registry reports missing, as after a copy, is
// skipped.
func (c *Client) attestation(ctx context.Context, src source, digest, subject string) ([]material, error) {
	m, err := c.manifest(ctx, src, digest)
	if IsAbsent(err) || isInvalid(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []material
	read := 0
	for i := range m.Layers {
		d := &m.Layers[i]
		if d.MediaType != inTotoMediaType || !isProvenance(d) {
			continue
		}
		if d.Size > maxProvenanceBytes {
			continue
		}
		if read++; read > maxStatements {
			break
		}
		data, err := c.blob(ctx, src, d, maxProvenanceBytes)
		if IsAbsent(err) || isInvalid(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found, err := parseProvenance(data, subject); err == nil {
			out = append(out, found...)
		}
	}
	return out, nil
}

func isProvenance(d *v1.Descriptor) bool {
	t := d.Annotations[predicateTypeLabel]
	return len(t) >= len(slsaPrefix) && t[:len(slsaPrefix)] == slsaPrefix
}

// image is the manifest of one platform of a published image.
type image struct {
	platform string // empty if unknown, as in a single manifest
	manifest *manifest
}

// images returns the manifests of the image's platforms, sorted.
func (c *Client) images(ctx context.Context, src source, m *manifest) ([]image, error) {
	if !m.index {
		s, err := c.snapshotOf(ctx, src, m)
		if err != nil {
			return nil, err
		}
		one := image{manifest: m}
		for p := range s.Platforms {
			one.platform = p
		}
		return []image{one}, nil
	}
	found, err := c.platformsOf(ctx, src, m)
	if err != nil {
		return nil, err
	}
	var out []image
	for _, p := range slices.Sorted(maps.Keys(found)) {
		if len(out) == maxPlatforms {
			break
		}
		child, err := c.manifest(ctx, src, found[p])
		if IsAbsent(err) {
			continue // an index may be copied with some of its platforms only
		}
		if err != nil {
			return nil, err
		}
		if child.notImage(src.host()) == nil {
			out = append(out, image{platform: p, manifest: child})
		}
	}
	return out, nil
}

// annotated returns the materials in the base image annotations of the index and of each platform's manifest. They describe
// the base of the last stage, whose name is optional.
func annotated(index *manifest, images []image) []material {
	var out []material
	add := func(m *manifest, platform string) {
		var ref state.Ref
		var err error
		if name := m.Annotations[annotationName]; name != "" {
			ref, err = state.ParseRef(name)
		}
		if digest := m.Annotations[annotationDgst]; err == nil && isSupported(digest) {
			ref.Digest = ""
			out = append(out, material{ref: ref, platform: platform, digest: digest})
		}
	}
	for _, i := range images {
		add(i.manifest, i.platform)
	}
	if len(out) == 0 && index.index {
		add(index, "")
	}
	return out
}
