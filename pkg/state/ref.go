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

// respell returns a reference of a state file with the spelling of its host that this version writes. Whatever else is
// unusual about it stays, for validation to report.
func respell(ref string) string {
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

// respell brings the references of an image into the spelling that this version writes.
func (i *Image) respell() {
	if host, path, ok := strings.Cut(i.Repository, "/"); ok {
		host, path = hostname.Repository(host, path)
		i.Repository = host + "/" + path
	}
	i.BaseImages = respellAll(i.BaseImages, func(b *BaseUse) *string { return &b.Ref })
	i.BuiltOn = respellAll(i.BuiltOn, func(b *BuiltOn) *string { return &b.Ref })
	if i.Rebuild != nil {
		for k := range i.Rebuild.Bases {
			i.Rebuild.Bases[k].Ref = respell(i.Rebuild.Bases[k].Ref)
		}
	}
}

// respellAll brings the references of a list into the spelling that this version writes. Of two that were spelled differently
// and are one, the first stays; the next analysis fills in where the other one was used.
func respellAll[T any](list []T, refOf func(*T) *string) []T {
	isOld := func(item T) bool { return respell(*refOf(&item)) != *refOf(&item) }
	if !slices.ContainsFunc(list, isOld) {
		return list
	}
	out, seen := list[:0], map[string]bool{} // true for a reference that was spelled otherwise
	for k := range list {
		old, ref := isOld(list[k]), refOf(&list[k])
		*ref = respell(*ref)
		if before, known := seen[*ref]; known && (before || old) {
			continue
		}
		seen[*ref] = seen[*ref] || old
		out = append(out, list[k])
	}
	return out
}

// Respelled reports whether the host of the base image is spelled in a way that this version does not write.
func (b *Base) Respelled() bool { return hostname.Normalize(b.Registry) != b.Registry }

// addRespelled adds the facts of a base image under an old spelling of its host. Of several the first counts, with the
// holds and releases of all.
func (s *State) addRespelled(b *Base) {
	if !b.Respelled() {
		return
	}
	r, err := ParseRef(b.Ref())
	if err != nil {
		return
	}
	if known := s.respelled[r]; known != nil {
		known.takeWords(b)
		return
	}
	now := *b.Clone()
	now.Name, now.Registry, now.Repository = BaseName(r), r.Registry, r.Repository
	if s.respelled == nil {
		s.respelled = map[Ref]*Base{}
	}
	s.respelled[r] = &now
}

// takeWords takes over the holds and releases of the same base image under another spelling, where they are the later word.
func (b *Base) takeWords(of *Base) {
	for i := range of.Candidates {
		from := &of.Candidates[i]
		if c := b.Find(from.Digest); c != nil && from.lastWord().After(c.lastWord().Time) {
			c.Held, c.Released, c.Reason = from.Held, from.Released, from.Reason
		}
	}
}

// lastWord returns when the candidate was last held or released.
func (c *Candidate) lastWord() Time {
	if c.Held.After(c.Released.Time) {
		return c.Held
	}
	return c.Released
}

// String is the normalised form.
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

// WithoutDigest is the tag that a pinned reference was taken from; ok is false when it names none.
func (r Ref) WithoutDigest() (Ref, bool) {
	r.Digest = ""
	return r, r.Tag != ""
}

const (
	maxBaseName = 40
	hashLength  = 13 // 65 bits: whoever may write a Dockerfile must not be able to make the name of another's base
)

var hashAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var hashSuffix = lazy.Regexp(`-[a-z2-7]{13}$`)

// BaseName returns the name that a base image can always have, whatever other base images there are: a DNS-1123 label of at
// most 40 characters that depends on the reference alone. A reference of Docker's official images that can be read back from
// its name has a plain one (node-22-bookworm-slim); every other name ends in a hash of the whole reference. The name in use
// can be a shorter one, see [State.BaseNames].
func BaseName(r Ref) string {
	repository := strings.TrimPrefix(r.Repository, "library/")
	plain := slug(repository + "-" + r.Tag)
	if official := r.Registry == "docker.io" && repository != r.Repository; official && len(plain) <= maxBaseName &&
		!hashSuffix().MatchString(plain) && readBack(plain) == repository+":"+r.Tag {
		return plain
	}
	return hashedName(r)
}

// hashedName returns the name of a base image that ends in a hash of its reference.
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

// slug is the text in lower case, with one dash for whatever is neither a letter nor a digit.
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

// readBack guesses the reference from a plain name: the tag starts at the first digit after a dash (else after the
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
