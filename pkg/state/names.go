package state

import "strings"

// plainName returns the readable name of a base image: its repository and tag. It returns "" if that is too long, or looks
// like a name with a hash.
func plainName(r Ref) string {
	name := slug(strings.TrimPrefix(r.Repository, "library/") + "-" + r.Tag)
	if name == "" || len(name) > maxBaseName || hashSuffix().MatchString(name) {
		return ""
	}
	return name
}

// Recorded returns the state of the base image with a reference (without digest), or nil.
func (s *State) Recorded(r Ref) *Base { return baseOf(s.Bases, r) }

// baseOf returns the base image with a reference, under any of its possible names, or nil.
func baseOf(bases map[string]*Base, r Ref) *Base {
	for _, name := range []string{BaseName(r), plainName(r), hashedName(r)} {
		if b := bases[name]; b != nil && b.tag() == r {
			return b
		}
	}
	return nil
}

// tag returns the reference of the base image as its file spells it.
func (b *Base) tag() Ref { return Ref{Registry: b.Registry, Repository: b.Repository, Tag: b.Tag} }

// knownName returns the name that a base image has in the state or in the archive, or "".
func (s *State) knownName(r Ref) string {
	if b := s.Recorded(r); b != nil {
		return b.Name
	}
	if b := s.ArchivedBase(r); b != nil && s.Bases[b.Name] == nil {
		return b.Name
	}
	return ""
}

// taken reports whether a name belongs to a base image in the state or in the archive.
func (s *State) taken(name string) bool {
	_, archived := s.archivedBases[name]
	return archived || s.Bases[name] != nil
}

// BaseNames returns the name of each base image in use. A base image in the state or in the archive keeps its name. A new one
// is named after its repository and tag, with a hash of the reference if that name is taken or if two new ones compete for
// it. So names depend on the state and on the set of references, never on their order.
func (s *State) BaseNames(refs []Ref) map[Ref]string {
	names := make(map[Ref]string, len(refs))
	claims := map[string]int{}
	for _, r := range refs {
		if _, seen := names[r]; seen {
			continue
		}
		if names[r] = s.knownName(r); names[r] == "" {
			claims[plainName(r)]++
		}
	}
	for r, name := range names {
		if name != "" {
			continue
		}
		plain := plainName(r)
		official := BaseName(r) == plain // a Docker Official Image wins the plain name
		if plain == "" || s.taken(plain) || claims[plain] > 1 && !official {
			plain = hashedName(r)
		}
		names[r] = plain
	}
	return names
}
