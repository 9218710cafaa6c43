package state

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Ref is an image reference in its parts, normalised as Docker and BuildKit do, and with one spelling for each host.
type Ref struct {
	Registry   string // docker.io
	Repository string // library/node
	Tag        string // 22-slim; empty when the reference has only a digest
	Digest     string // set when the reference is pinned
}

// ParseRef normalises a reference. One without tag and digest gets the tag latest.
func ParseRef(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, fmt.Errorf("parsing reference %q: %w", s, err)
	}
	if reference.Domain(named) == "" { // the library takes a host with an underscore for a part of the path
		host, _, _ := strings.Cut(s, "/")
		return Ref{}, fmt.Errorf("parsing reference %q: invalid host %q", s, host)
	}
	named = reference.TagNameOnly(named)
	var r Ref
	r.Registry, r.Repository = hostname.Repository(reference.Domain(named), reference.Path(named))
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest().String()
	}
	return r, nil
}

// normaliseRef returns a reference from a state file with an alias of its host replaced, as earlier versions did not. It
// changes nothing else: validation reports any other deviation.
func normaliseRef(ref string) string {
	if host, _, _ := strings.Cut(ref, "/"); hostname.Normalize(host) == host {
		return ref
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || reference.TagNameOnly(named).String() != ref {
		return ref
	}
	r, err := ParseRef(ref)
	if err != nil {
		return ref
	}
	return r.String()
}

// normalise replaces aliases of hosts in the references of an image.
func (i *Image) normalise() {
	if host, path, ok := strings.Cut(i.Repository, "/"); ok {
		host, path = hostname.Repository(host, path)
		i.Repository = host + "/" + path
	}
	i.BaseImages = normaliseAll(i.BaseImages, func(b *BaseUse) *string { return &b.Ref })
	i.BuiltOn = normaliseAll(i.BuiltOn, func(b *BuiltOn) *string { return &b.Ref })
	if i.Rebuild != nil {
		for k := range i.Rebuild.Bases {
			i.Rebuild.Bases[k].Ref = normaliseRef(i.Rebuild.Bases[k].Ref)
		}
	}
}

// normaliseAll replaces aliases of hosts in the references of a list. If that makes two of them equal, the first one stays;
// the next analysis adds the uses of the other one.
func normaliseAll[T any](list []T, refOf func(*T) *string) []T {
	isOld := func(item T) bool { return normaliseRef(*refOf(&item)) != *refOf(&item) }
	if !slices.ContainsFunc(list, isOld) {
		return list
	}
	out, seen := list[:0], map[string]bool{} // true for a reference that had an alias
	for k := range list {
		old, ref := isOld(list[k]), refOf(&list[k])
		*ref = normaliseRef(*ref)
		if before, known := seen[*ref]; known && (before || old) {
			continue
		}
		seen[*ref] = seen[*ref] || old
		out = append(out, list[k])
	}
	return out
}

// HasHostAlias reports whether the registry of the base image is an alias of its host, which only earlier versions wrote.
func (b *Base) HasHostAlias() bool { return hostname.Normalize(b.Registry) != b.Registry }

// addAliased adds a base image whose registry is an alias to [State.AliasedBase]. If several have the same normalised
// reference, the first one counts, with the holds and releases of all.
func (s *State) addAliased(b *Base) {
	if !b.HasHostAlias() {
		return
	}
	r, err := ParseRef(b.Ref())
	if err != nil {
		return
	}
	if known := s.aliased[r]; known != nil {
		known.mergeVerdicts(b)
		return
	}
	now := *b.Clone()
	now.Name, now.Registry, now.Repository = BaseName(r), r.Registry, r.Repository
	if s.aliased == nil {
		s.aliased = map[Ref]*Base{}
	}
	s.aliased[r] = &now
}

// mergeVerdicts copies the holds and releases of the same base image under an alias of its host if they are later.
func (b *Base) mergeVerdicts(of *Base) {
	for i := range of.Candidates {
		from := &of.Candidates[i]
		if c := b.Find(from.Digest); c != nil && from.lastVerdict().After(c.lastVerdict().Time) {
			c.Held, c.Released, c.Reason = from.Held, from.Released, from.Reason
			c.Urgent, c.Adds = from.Urgent, from.Adds
		}
	}
}

// lastVerdict returns when the candidate was last held or released.
func (c *Candidate) lastVerdict() Time {
	if c.Held.After(c.Released.Time) {
		return c.Held
	}
	return c.Released
}

// String returns the normalised reference.
func (r Ref) String() string {
	s := r.Registry + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Pinned reports whether the reference has a digest, so that a rebuild cannot move it.
func (r Ref) Pinned() bool { return r.Digest != "" }

// WithoutDigest returns the reference without its digest; ok is false if that leaves no tag.
func (r Ref) WithoutDigest() (tag Ref, ok bool) {
	r.Digest = ""
	return r, r.Tag != ""
}

const (
	maxBaseName = 40
	hashLength  = 13 // 65 bits: the author of a Dockerfile must not be able to collide with the name of another base image
)

var hashAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var hashSuffix = lazy.Regexp(`-[a-z2-7]{13}$`)

// BaseName returns the unique name of a base image: a DNS-1123 label of at most 40 characters that depends on the reference
// alone. A Docker Official Image gets a plain name (node-22-bookworm-slim) if its reference can be reconstructed from that
// name; any other name ends in a hash of the reference. The name in use may be shorter; see [State.BaseNames].
func BaseName(r Ref) string {
	repository := strings.TrimPrefix(r.Repository, "library/")
	plain := slug(repository + "-" + r.Tag)
	if official := r.Registry == "docker.io" && repository != r.Repository; official && len(plain) <= maxBaseName &&
		!hashSuffix().MatchString(plain) && readBack(plain) == repository+":"+r.Tag {
		return plain
	}
	return hashedName(r)
}

// hashedName returns a name for a base image that ends in a hash of its reference.
func hashedName(r Ref) string {
	plain := slug(strings.TrimPrefix(r.Repository, "library/") + "-" + r.Tag)
	sum := sha256.Sum256([]byte(r.Registry + "/" + r.Repository + ":" + r.Tag))
	head := plain
	if room := maxBaseName - hashLength - 1; len(head) > room {
		head = head[:room]
	}
	head = strings.Trim(head, "-")
	if head == "" {
		head = "image"
	}
	return head + "-" + hashAlphabet.EncodeToString(sum[:])[:hashLength]
}

// slug returns s in lower case, with each run of characters other than ASCII letters and digits replaced by a dash.
func slug(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range []byte(strings.ToLower(s)) {
		switch {
		case c >= 'a' && c <= 'z' || isDigit(c):
			b = append(b, c)
		case len(b) > 0 && b[len(b)-1] != '-':
			b = append(b, '-')
		}
	}
	return strings.TrimRight(string(b), "-")
}

// readBack guesses the reference from a plain name: the tag starts at the first digit after a dash (or else after the
// first dash), and a dash between two digits of the tag was a dot.
func readBack(name string) string {
	at := strings.IndexByte(name, '-')
	if at < 0 {
		return ""
	}
	for i := at; i+1 < len(name); i++ {
		if name[i] == '-' && isDigit(name[i+1]) {
			at = i
			break
		}
	}
	b := []byte(name)
	b[at] = ':'
	for i := at + 2; i+1 < len(b); i++ {
		if b[i] == '-' && isDigit(b[i-1]) && isDigit(b[i+1]) {
			b[i] = '.'
		}
	}
	return string(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
